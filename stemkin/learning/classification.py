"""From looks at sampled frames to a model: descriptors, a mixture of classes, and their names.

Detections in a lattice are sorted by the amplitudes of their sites and named after the motif they
resemble; those of movies without one by the principal components of raw crops, and numbered.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.classes.descriptors import Describer
from stemkin.kernels.classes.naming import ClassNames
from stemkin.kernels.classes.taxonomy import nothing
from stemkin.kernels.crystal.patches import CROP, PATCH
from stemkin.learning.by_motif import Sorted, sort_by_motif
from stemkin.learning.joined import JoinedLooks
from stemkin.materials import Material
from stemkin.model import Model, Sample, class_row, scaled
from stemkin.network import NetworkDetector

logger = logging.getLogger(__name__)

N_COMPONENTS = 8
"""Principal components of a patch in the lattice's frame."""

N_RAW_COMPONENTS = 12
"""Principal components of a raw crop, which has nothing else to go by."""

MAX_PATCHES = 20_000
"""Patches from which components are made, drawn with the seed: 50 MB. The descriptors of as many
are kept with the model."""

MAX_PICTURES = 2_000
"""Patches that are kept with the model, to look at: 1.8 MB."""


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

    # a satellite is the other side of a defect that was detected already: it would count twice
    sample = replace(sample, looks=[look.only(~look.satellite) for look in sample.looks])
    n_found = sum(len(look.patches) for look in sample.looks)
    report: dict[str, Any] = {"n_frames": sample.n_frames, "n_detections": n_found, "seed": seed}
    if isinstance(detector, NetworkDetector):
        report["training"] = dict(detector.weights.record)
    if np.isfinite(sample.spacing_nm):
        report["lattice_nm"] = sample.spacing_nm
    if n_found < 2:
        logger.warning(
            "%d detections in %d frames are too few to learn classes from", n_found, sample.n_frames
        )
        return _empty_model(detector, sample.uses_lattice, report)
    patches = sample.joined("patches").reshape(n_found, -1).astype(np.float64)
    chosen = np.sort(np.random.default_rng(seed).permutation(n_found)[:MAX_PATCHES])
    n_components, sort, noise = N_RAW_COMPONENTS, _sort_by_look, np.ones(3)
    if sample.uses_lattice:
        n_components, sort, noise = N_COMPONENTS, sort_by_motif, sample.median("noise")
    mean, components, _ = principal_components(patches[chosen], n_components)
    describer = Describer(sample.uses_lattice, mean, components)
    rows = np.concatenate([describer.describe(look) for look in sample.looks])
    scale, taxonomy, called = sort(sample, rows, n_classes, material, detector, seed)
    class_id, _ = taxonomy.assign(scaled(rows, scale))
    pictures = sample.joined("pictures")
    classes = _classes(called, class_id, pictures)
    report |= {
        "n_unexplained": int((class_id < 0).sum()),
        "selection": list(taxonomy.selection),
        "matches": called.components,
    }
    # the sample is kept in random order, so that its first rows, which have pictures, are random
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


def _empty_model(detector: Any, uses_lattice: bool, report: dict[str, Any]) -> Model:
    """Return the model that names nothing, for samples too small to learn from."""
    n_pixels = CROP**2
    if uses_lattice:
        n_pixels = PATCH**2
    describer = Describer(uses_lattice, np.zeros(n_pixels), np.zeros((0, n_pixels)))
    return Model(
        detector=detector,
        describer=describer,
        taxonomy=nothing(),
        classes=tables.empty("classes"),
        scale=np.ones((1, len(describer.names))),
        oriented=np.empty(0, bool),
        noise=np.ones(3),
        report=report,
    )


def _classes(called: ClassNames, class_id: np.ndarray, pictures: np.ndarray) -> pd.DataFrame:
    """Return the table ``classes`` of a sample."""
    rows = []
    for i, (name, match) in enumerate(zip(called.names, called.matches, strict=True)):
        own = pictures[class_id == i]
        patch = np.zeros(pictures.shape[1:])
        if len(own):
            patch = own.mean(axis=0)
        row = class_row(i, name, len(own), patch)
        if match is not None:
            row["match_score"] = match.score
            row["runner_up"] = match.runner_up
            row["runner_up_score"] = match.runner_up_score
        rows.append(row)
    columns = {key: [row[key] for row in rows] for key in tables.COLUMNS["classes"]}
    return tables.conform(columns, "classes")


def _sort_by_look(
    sample: JoinedLooks,  # noqa: ARG001
    rows: np.ndarray,
    n_classes: int | None,
    material: Material,  # noqa: ARG001
    detector: Any,  # noqa: ARG001
    seed: int,
) -> Sorted:
    """Sort raw crops by their principal components; nothing tells their names."""
    from stemkin.learning.clustering import cluster

    scale = np.full((1, rows.shape[1]), float(rows.std(axis=0).mean()) or 1.0)
    taxonomy = cluster(scaled(rows, scale), n_classes=n_classes, seed=seed)
    called = ClassNames()
    for i in range(len(taxonomy.classes)):
        called.add(f"class {i}", oriented=False, match=None)
    return scale, taxonomy, called
