"""From looks at sampled frames to a model: descriptors, a mixture of classes, and their names.

Detections in a lattice are sorted by the amplitudes of their sites and named after the motif they
resemble; those of movies without one by the principal components of raw crops, and numbered.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.classes import matches, motifs
from stemkin.kernels.classes.descriptors import (
    SITE_NAMES,
    Describer,
)
from stemkin.kernels.classes.looks import (
    Look,
)
from stemkin.kernels.classes.naming import ClassNames, name_components
from stemkin.kernels.classes.neighbours import PLACE_KINDS
from stemkin.kernels.classes.taxonomy import Taxonomy, nothing
from stemkin.kernels.crystal.patches import CROP, PATCH
from stemkin.materials import Material
from stemkin.model import PRIOR_ROWS, REGULARISATION, Model, Sample, scaled
from stemkin.network import NetworkDetector

logger = logging.getLogger(__name__)

N_COMPONENTS = 8
"""Principal components of a patch in the lattice's frame."""

N_RAW_COMPONENTS = 12
"""Principal components of a raw crop, which has nothing else to go by."""

SITE_SCALE = 1e-4
"""Unit of the descriptor `site` (0, 1, 2): so small that no class mixes sites."""

MAX_UNKNOWN = 4
"""Classes that may be found beyond the known motifs."""

MAX_PATCHES = 20_000
"""Patches from which components are made, drawn with the seed: 50 MB. The descriptors of as many
are kept with the model."""

MAX_PICTURES = 2_000
"""Patches that are kept with the model, to look at: 1.8 MB."""


@dataclass(frozen=True, eq=False)
class JoinedLooks:
    """All looks of one kind (with a lattice, or without) put together."""

    uses_lattice: bool
    looks: list[Look]
    n_frames: int
    spacing_nm: float

    def joined(self, name: str) -> np.ndarray:
        """Return what the looks say of each detection, one after the other."""
        return np.concatenate([getattr(look, name) for look in self.looks])

    def median(self, name: str) -> Any:
        """Return the median over frames of what their `DescriptorScale` says."""
        return np.median([getattr(look.scale, name) for look in self.looks], axis=0)


def joined_looks(looks: list[tuple[Look, float | None]]) -> JoinedLooks:
    """Join looks: those in a lattice, or those without, whichever saw more.

    Parameters
    ----------
    looks
        Each with its pixel size [nm], None where it is not known.

    Returns
    -------
    The looks that were kept, and the median lattice constant [nm] of those with a pixel size.
    """
    counts = {
        kind: sum(len(look.patches) for look, _ in looks if look.has_lattice == kind)
        for kind in (True, False)
    }
    uses_lattice = counts[True] >= counts[False]
    if not uses_lattice:
        logger.warning(
            "most sampled detections lie in frames without a lattice: they are described by raw "
            "crops, "
            "so the classes do not carry over to other rotations or pixel sizes"
        )
    kept = [(look, size) for look, size in looks if look.has_lattice == uses_lattice]
    spacings_nm = [
        look.scale.spacing_px * size
        for look, size in kept
        if look.scale is not None and size is not None
    ]
    spacing_nm = float(np.median(spacings_nm)) if spacings_nm else float("nan")
    return JoinedLooks(uses_lattice, [look for look, _ in kept], len(looks), spacing_nm)


def model_of(
    sample: JoinedLooks, detector: Any, n_classes: int | None, material: Material, seed: int
) -> Model:
    """Make the model that a sample teaches; with fewer than two detections it names nothing.

    Parameters
    ----------
    sample
        Looks at the sampled frames.
    detector
        That found the detections; kept with the model.
    n_classes
        How many classes; None lets the Bayesian information criterion choose.
    material
        What classes are named after.
    seed
        Decides the patches that are drawn and the starts of the mixture.

    Returns
    -------
    A `Model`, with a record of how it was learned.
    """
    from stemkin.learning.clustering import principal_components

    sample = replace(sample, looks=[look.only(~look.satellite) for look in sample.looks])
    n_found = sum(len(look.patches) for look in sample.looks)
    report: dict[str, Any] = {"n_frames": sample.n_frames, "n_detections": n_found, "seed": seed}
    if isinstance(detector, NetworkDetector):
        report["training"] = dict(detector.weights.record)
    if n_found < 2:
        logger.warning(
            "%d detections in %d frames are too few to learn classes from", n_found, sample.n_frames
        )
        n_pixels = PATCH**2 if sample.uses_lattice else CROP**2
        describer = Describer(sample.uses_lattice, np.zeros(n_pixels), np.zeros((0, n_pixels)))
        n = len(describer.names)
        return Model(
            detector,
            describer,
            nothing(),
            tables.empty("classes"),
            np.ones((1, n)),
            np.empty(0, bool),
            np.ones(3),
            report,
        )
    patches = sample.joined("patches").reshape(n_found, -1).astype(np.float64)
    chosen = np.sort(np.random.default_rng(seed).permutation(n_found)[:MAX_PATCHES])
    mean, components, _ = principal_components(
        patches[chosen], N_COMPONENTS if sample.uses_lattice else N_RAW_COMPONENTS
    )
    describer = Describer(sample.uses_lattice, mean, components)
    rows = np.concatenate([describer.describe(look) for look in sample.looks])
    sort = _sort_by_motif if sample.uses_lattice else _sort_by_look
    scale, taxonomy, called = sort(sample, rows, n_classes, material, seed)
    class_id, _ = taxonomy.assign(scaled(rows, scale))
    pictures = sample.joined("pictures")
    classes = _classes(called, class_id, pictures)
    report |= {
        "n_unexplained": int((class_id < 0).sum()), "selection": list(taxonomy.selection), "matches": called.components,
    }  # fmt: skip
    noise = sample.median("noise") if sample.uses_lattice else np.ones(3)
    drawn = np.random.default_rng(seed).permutation(n_found)[:MAX_PATCHES]
    kept = Sample(rows[drawn].astype(np.float32), pictures[drawn[:MAX_PICTURES]].astype(np.float16))
    return Model(
        detector,
        describer,
        taxonomy,
        classes,
        scale,
        np.array(called.oriented, bool),
        noise,
        report,
        sample=kept,
    )


def _classes(called: ClassNames, class_id: np.ndarray, pictures: np.ndarray) -> pd.DataFrame:
    """Return the table ``classes`` of a sample."""
    ids = range(len(called.names))
    sizes = [int((class_id == i).sum()) for i in ids]
    means = [
        pictures[class_id == i].mean(axis=0) if sizes[i] else np.zeros(pictures.shape[1:])
        for i in ids
    ]
    return tables.conform(
        {
            "class_id": np.arange(len(sizes)), "name": called.names, "n_detections": sizes, "mean_patch": means,
            "match_score": [np.nan if m is None else m.score for m in called.matches],
            "runner_up": ["" if m is None else m.runner_up for m in called.matches],
            "runner_up_score": [np.nan if m is None else m.runner_up_score for m in called.matches],
        },
        "classes",
    )  # fmt: skip


_Sorted = tuple[np.ndarray, Taxonomy, ClassNames]
"""Scale of the descriptors, taxonomy, and what its classes are called."""


def _sort_by_look(
    sample: JoinedLooks,  # noqa: ARG001
    rows: np.ndarray,
    n_classes: int | None,
    material: Material,  # noqa: ARG001
    seed: int,
) -> _Sorted:
    """Sort raw crops by their principal components; nothing tells their names."""
    from stemkin.learning.clustering import cluster

    scale = np.full((1, rows.shape[1]), float(rows.std(axis=0).mean()) or 1.0)
    taxonomy = cluster(scaled(rows, scale), n_classes=n_classes, seed=seed)
    called = ClassNames()
    for i in range(len(taxonomy.classes)):
        called.add(f"class {i}", oriented=False, match=None)
    return scale, taxonomy, called


def _sort_by_motif(
    sample: JoinedLooks, rows: np.ndarray, n_classes: int | None, material: Material, seed: int
) -> _Sorted:
    """Sort by the amplitudes of the sites, starting from the motif each detection resembles."""
    from stemkin.learning.clustering import cluster

    noise, height = sample.median("noise"), float(sample.median("chalcogen"))
    library = motifs.library(material, dimmer=height)
    if not motifs.may_be(material, sample.spacing_nm, height):
        logger.warning(
            "the lattice (%.4f nm, dimmer columns %.2f of the brighter) is not that of the "
            "material (%.4f nm, %.2f): "
            "classes are numbered, not named, and one defect on either kind of column is two of "
            "them (see `stemkin classes` to merge); "
            "give material=... or check pixel_size_nm",
            sample.spacing_nm, height, material.a_nm, min(motifs.column_heights(material)),
        )  # fmt: skip
        library = motifs.perfect()
    n_physical = len(SITE_NAMES)
    guess, present = matches.first_guess(rows[:, :n_physical], noise, library)
    scale = np.zeros((3, rows.shape[1]))
    scale[:, 0] = SITE_SCALE
    scale[:, 1 : n_physical - 1] = noise[PLACE_KINDS[:, : n_physical - 2]]
    start = guess if n_classes is None or len(present) <= n_classes else None
    taxonomy = cluster(
        scaled(rows, scale), n_classes=n_classes, max_classes=len(present) + MAX_UNKNOWN, start_labels=start,
        regularisation=REGULARISATION, prior_rows=PRIOR_ROWS, seed=seed,
    )  # fmt: skip
    if taxonomy.mixture is None:
        return scale, taxonomy, ClassNames()
    used, component = scale[:, : n_physical - 1], taxonomy.components_of(scaled(rows, scale))
    rings = np.array([rows[component == k, n_physical - 1].mean() if (component == k).any() else 0.0
                      for k in range(taxonomy.mixture.n_components)])  # fmt: skip
    naming: dict[str, Any] = {"rings": rings, "n_rows": len(rows), "merge": n_classes is None}
    return scale, *name_components(taxonomy, used, noise, library, **naming)
