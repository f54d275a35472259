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
from stemkin.kernels.classes.descriptors import SITE_NAMES, Describer
from stemkin.kernels.classes.looks import Look
from stemkin.kernels.classes.naming import ClassNames, name_components
from stemkin.kernels.classes.neighbours import PLACE_KINDS
from stemkin.kernels.classes.pairs import told_apart
from stemkin.kernels.classes.taxonomy import Taxonomy, nothing
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.crystal.patches import CROP, PATCH
from stemkin.materials import COMPLEX, DOPANT, DOUBLE_VACANCY, VACANCY, Material
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
    in_lattice = sum(len(look.patches) for look, _ in looks if look.has_lattice)
    without = sum(len(look.patches) for look, _ in looks if not look.has_lattice)
    uses_lattice = in_lattice >= without
    if not uses_lattice:
        logger.warning(
            "most sampled detections lie in frames without a lattice: they are described by raw "
            "crops, so the classes do not carry over to other rotations or pixel sizes"
        )
    kept = [(look, size) for look, size in looks if look.has_lattice == uses_lattice]
    spacings_nm = [
        look.scale.spacing_px * size
        for look, size in kept
        if look.scale is not None and size is not None
    ]
    spacing_nm = float("nan")
    if spacings_nm:
        spacing_nm = float(np.median(spacings_nm))
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
        n_components, sort, noise = N_COMPONENTS, _sort_by_motif, sample.median("noise")
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
        row: dict[str, Any] = {
            "class_id": i,
            "name": name,
            "n_detections": len(own),
            "mean_patch": np.zeros(pictures.shape[1:]),
            "match_score": np.nan,
            "runner_up": "",
            "runner_up_score": np.nan,
        }
        if len(own):
            row["mean_patch"] = own.mean(axis=0)
        if match is not None:
            row["match_score"] = match.score
            row["runner_up"] = match.runner_up
            row["runner_up_score"] = match.runner_up_score
        rows.append(row)
    columns = {key: [row[key] for row in rows] for key in tables.COLUMNS["classes"]}
    return tables.conform(columns, "classes")


_Sorted = tuple[np.ndarray, Taxonomy, ClassNames]
"""Scale of the descriptors, taxonomy, and what its classes are called."""


def _sort_by_look(
    sample: JoinedLooks,  # noqa: ARG001
    rows: np.ndarray,
    n_classes: int | None,
    material: Material,  # noqa: ARG001
    detector: Any,  # noqa: ARG001
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


def _judged_beside(detector: Any, noise: np.ndarray) -> dict[int, float]:
    """Return the amplitude of a vacancy beside METAL and CHALCOGEN sites as the observer judges it.

    Its signals are counted in the noise (3,) of an amplitude. Empty where nothing was learned.
    """
    observer = getattr(detector, "observer", None)
    if observer is None:
        return {}
    pairs = ((METAL, CHALCOGEN), (CHALCOGEN, METAL))
    told = np.isfinite(observer.beside) & observer.judges
    known = [(site, which) for site, which in pairs if told[which]]
    return {site: -float(observer.beside[which] * noise[which]) for site, which in known}


def _judged_itself(detector: Any, noise: np.ndarray) -> dict[int, float]:
    """Return the amplitude of a vacancy on METAL and CHALCOGEN sites as the observer judges it.

    Counted as `_judged_beside` does. Empty where nothing was learned.
    """
    observer = getattr(detector, "observer", None)
    if observer is None:
        return {}
    known = [w for w in (METAL, CHALCOGEN) if observer.knows(w) and observer.judges_itself[w]]
    return {w: -float(observer.depths[w] / observer.tails[w] * noise[w]) for w in known}


NEARLY_ALIKE = 0.85
"""Dimmer columns higher than this, over the brighter ones, may as well be the brighter ones."""

SURE = 4.0
"""Where a vacancy stands out by so many standard deviations of its column's amplitude, that is left
to judge it: what an observer sees beside a strong defect has heavier tails."""


def judging_where_it_tells_more(sample: JoinedLooks, detector: Any, material: Material) -> Any:
    """Return a detector whose observer judges the columns beside defects only where that helps.

    At a usual dose the amplitude of a column tells a missing atom more surely than an observer that
    is blind to all around; in haze and at a low dose it is the other way round.

    Parameters
    ----------
    sample
        Looks at the detections of some frames.
    detector
        With an observer or without; it is returned as it is where nothing changes.
    material
        What vacancies are missing from.
    """
    observer = getattr(detector, "observer", None)
    if observer is None or not (sample.uses_lattice and sample.looks):
        return detector
    noise, height = sample.median("noise"), float(sample.median("chalcogen"))
    told = _judged_beside(detector, noise)
    judges = observer.judges.copy()
    for site, which in ((METAL, CHALCOGEN), (CHALCOGEN, METAL)):
        lost = motifs.vacancy_amplitude(material, dimmer=height)
        # what bound vacancies look like was learned at dopants, whose tails were measured with it
        learned_there = which == CHALCOGEN and observer.knows_bound
        is_sure = -lost > SURE * noise[which] and not learned_there
        judges[which] = site in told and told[site] < lost and not is_sure
    itself = _told_itself(detector, noise, height, material)
    if (judges == observer.judges).all() and (itself == observer.judges_itself).all():
        return detector
    return replace(detector, observer=replace(observer, judges=judges, judges_itself=itself))


def _told_itself(detector: Any, noise: np.ndarray, height: float, material: Material) -> np.ndarray:
    """Tell for which sites (2,) the observer's signal says more of a vacancy than its amplitude.

    Vacancies are on the dimmer columns; what else is dark there, or on the others, is told by its
    amplitude.
    """
    itself, (metal, chalcogen) = np.zeros(2, bool), motifs.column_heights(material)
    if material.is_elemental or chalcogen > metal:
        return itself
    lost = motifs.vacancy_amplitude(material, dimmer=height)
    told = _judged_itself(detector, noise)
    is_sure = -lost > SURE * noise[CHALCOGEN]
    itself[CHALCOGEN] = CHALCOGEN in told and told[CHALCOGEN] < lost and not is_sure
    return itself


def _sort_by_motif(
    sample: JoinedLooks,
    rows: np.ndarray,
    n_classes: int | None,
    material: Material,
    detector: Any,
    seed: int,
) -> _Sorted:
    """Sort by the amplitudes of the sites, starting from the motif each detection resembles."""
    from stemkin.learning.clustering import cluster

    noise, height = sample.median("noise"), float(sample.median("chalcogen"))
    judged: dict[str, Any] = {
        "beside": _judged_beside(detector, noise),
        "itself": _judged_itself(detector, noise),
    }
    library, library_is_named = motifs.library(material, dimmer=height, **judged), True
    if not motifs.may_be(material, sample.spacing_nm, height):
        logger.warning(
            "the lattice (%.4f nm, dimmer columns %.2f of the brighter) is not that of the "
            "material (%.4f nm, %.2f): "
            "classes are numbered, not named, and one defect on either kind of column is two of "
            "them (see `stemkin classes` to merge); "
            "give material=... or check pixel_size_nm",
            sample.spacing_nm,
            height,
            material.a_nm,
            min(motifs.column_heights(material)),
        )
        library, library_is_named = motifs.perfect(), False
    elif height > NEARLY_ALIKE and not material.is_elemental:
        logger.warning(
            "the two kinds of columns are nearly equally bright (%.2f; %.2f is usual in %s): which "
            "of them are the metal's is not sure, and names of %s and %s may stand for each other; "
            "compare with a movie at a higher detector angle, or tell by their number",
            height,
            min(motifs.column_heights(material)),
            material.formula,
            material.kinds[DOPANT],
            material.kinds[VACANCY],
        )
    n_physical = len(SITE_NAMES)
    physical = rows[:, :n_physical]
    guess, present = matches.first_guess(physical, noise, library, min_count=1)
    names = np.array([*(motif.name for motif in present), ""])[guess]
    # the same detections are sorted once more by the contrast that dopants show
    swap = None
    if library_is_named:
        swap = motifs.swap_of(physical, names.tolist(), material)
        library = motifs.library(material, dimmer=height, swap=swap, **judged)
    guess, present = matches.first_guess(physical, noise, library)
    # classes are told apart by the site and its 7 amplitudes, each over its own noise; the ring and
    # the components of the patch have scale 0 and are left out
    scale = np.zeros((3, rows.shape[1]))
    scale[:, 0] = SITE_SCALE
    scale[:, 1 : n_physical - 1] = noise[PLACE_KINDS[:, : n_physical - 2]]
    start = None
    if n_classes is None or len(present) <= n_classes:
        start = guess
    taxonomy = cluster(
        scaled(rows, scale),
        n_classes=n_classes,
        max_classes=len(present) + MAX_UNKNOWN,
        start_labels=start,
        regularisation=REGULARISATION,
        prior_rows=PRIOR_ROWS,
        seed=seed,
    )
    if taxonomy.mixture is None:
        return scale, taxonomy, ClassNames()
    used, component = scale[:, : n_physical - 1], taxonomy.components_of(scaled(rows, scale))
    rings = np.zeros(taxonomy.mixture.n_components)
    for k in np.unique(component):
        rings[k] = rows[component == k, n_physical - 1].mean()
    naming: dict[str, Any] = {"rings": rings, "n_rows": len(rows), "merge": n_classes is None}
    named, called = name_components(taxonomy, used, noise, library, **naming)
    if n_classes is None and library_is_named:
        # what a vacancy beside a dopant shows is told by an observer, or else by those elsewhere
        shown = judged["beside"]
        if not judged["itself"]:
            shown = _shown_by_vacancies(named, used, called, material) | shown
        told = motifs.library(material, dimmer=height, swap=swap, beside=shown)
        pairs = _doped_pairs([one for one in told if one.site in shown], material)
        pairs += _on_one_site(told, material.kinds[VACANCY], material.kinds[DOUBLE_VACANCY])
        for pair in pairs:
            named = told_apart(named, scaled(rows, scale), used, noise, pair, called)
    return scale, named, called


def _shown_by_vacancies(
    named: Taxonomy, scale: np.ndarray, called: ClassNames, material: Material
) -> dict[int, float]:
    """Return the amplitude of vacancies in their class, by the kind of site that they lie beside.

    Empty where there is no such class. `scale` are the (3, 8) units of what was sorted.
    """
    shown, name = {}, material.kinds[VACANCY]
    if named.mixture is None or name not in called.names:
        return {}
    own = np.flatnonzero(named.class_ids == called.names.index(name))
    sites = np.round(named.mixture.means[own, 0] * scale[0, 0]).astype(int)
    for site, opposite in ((METAL, CHALCOGEN), (CHALCOGEN, METAL)):
        here = own[sites == opposite]
        if len(here):
            heaviest = here[named.mixture.weights[here].argmax()]
            shown[site] = float(named.mixture.means[heaviest, 1] * scale[opposite, 1])
    return shown


def _doped_pairs(
    library: list[motifs.Motif], material: Material
) -> list[tuple[motifs.Motif, motifs.Motif]]:
    """List the dopants of a library, each with the same beside a vacancy on its kind of site."""
    return _on_one_site(library, material.kinds[DOPANT], material.kinds[COMPLEX])


def _on_one_site(
    library: list[motifs.Motif], first: str, second: str
) -> list[tuple[motifs.Motif, motifs.Motif]]:
    """List the pairs of two names that a library has on the same kind of site."""
    ones, others = ([one for one in library if one.name == name] for name in (first, second))
    return [(one, other) for one in ones for other in others if one.site == other.site]
