"""Detections in a lattice, sorted by the amplitudes of their sites and named after motifs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.kernels.classes import matches, motifs
from stemkin.kernels.classes.descriptors import SITE_NAMES
from stemkin.kernels.classes.naming import ClassNames, name_components
from stemkin.kernels.classes.neighbours import PLACE_KINDS
from stemkin.kernels.classes.pairs import told_apart
from stemkin.kernels.classes.taxonomy import Taxonomy
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.learning.joined import JoinedLooks
from stemkin.learning.judging import judged_beside, judged_itself
from stemkin.materials import COMPLEX, DOPANT, DOUBLE_VACANCY, VACANCY, Material
from stemkin.model import PRIOR_ROWS, REGULARISATION, scaled

logger = logging.getLogger(__name__)

SITE_SCALE = 1e-4
"""Unit of the descriptor `site` (0, 1, 2): so small that no class mixes sites."""

MAX_UNKNOWN = 4
"""Classes that may be found beyond the known motifs."""

NEARLY_ALIKE = 0.85
"""Dimmer columns higher than this, over the brighter ones, may as well be the brighter ones."""

Sorted = tuple[np.ndarray, Taxonomy, ClassNames]
"""Scale of the descriptors, taxonomy, and what its classes are called."""


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of defects before they are sorted.

    Attributes
    ----------
    material
        Of the crystal.
    noise
        (3,) standard deviation of an amplitude on each kind of site.
    height
        Of the dimmer columns over the brighter ones.
    judged
        What an observer judges: `motifs.library` takes it.
    is_named
        Whether the lattice is that of the material.
    """

    material: Material
    noise: np.ndarray
    height: float
    judged: dict[str, Any]
    is_named: bool

    @classmethod
    def of(cls, sample: JoinedLooks, material: Material, detector: Any) -> _Known:
        """Return what a sample and its detector tell; what is doubtful is logged."""
        noise, height = sample.median("noise"), float(sample.median("chalcogen"))
        judged = {
            "beside": judged_beside(detector, noise),
            "itself": judged_itself(detector, noise),
        }
        is_named = _is_of(material, sample.spacing_nm, height)
        return cls(material, noise, height, judged, is_named)

    def library(self, **changed: Any) -> list[motifs.Motif]:
        """Return the motifs of the material; of a crystal that is another, that it is perfect."""
        if not self.is_named:
            return motifs.perfect()
        return motifs.library(self.material, dimmer=self.height, **self.judged | changed)


def _is_of(material: Material, spacing_nm: float, height: float) -> bool:
    """Tell whether a lattice is that of a material; what makes names doubtful is logged."""
    usual = min(motifs.column_heights(material))
    if not motifs.may_be(material, spacing_nm, height):
        logger.warning(
            "the lattice (%.4f nm, dimmer columns %.2f of the brighter) is not that of the "
            "material (%.4f nm, %.2f): "
            "classes are numbered, not named, and one defect on either kind of column is two of "
            "them (see `stemkin classes` to merge); "
            "give material=... or check pixel_size_nm",
            spacing_nm,
            height,
            material.a_nm,
            usual,
        )
        return False
    if height > NEARLY_ALIKE and not material.is_elemental:
        logger.warning(
            "the two kinds of columns are nearly equally bright (%.2f; %.2f is usual in %s): which "
            "of them are the metal's is not sure, and names of %s and %s may stand for each other; "
            "compare with a movie at a higher detector angle, or tell by their number",
            height,
            usual,
            material.formula,
            material.kinds[DOPANT],
            material.kinds[VACANCY],
        )
    return True


def sort_by_motif(
    sample: JoinedLooks,
    rows: np.ndarray,
    n_classes: int | None,
    material: Material,
    detector: Any,
    seed: int,
) -> Sorted:
    """Sort by the amplitudes of the sites, starting from the motif each detection resembles.

    Parameters
    ----------
    sample
        Looks at the sampled frames, in a lattice.
    rows
        (n, d) descriptors of their detections.
    n_classes
        How many classes; None lets the Bayesian information criterion choose.
    material
        What classes are named after.
    detector
        That found the detections.
    seed
        Decides the starts of the mixture.

    Returns
    -------
    (3, d) scale of the descriptors on each kind of site, the taxonomy, and what its classes are
    called.
    """
    from stemkin.learning.clustering import cluster

    known, n_physical = _Known.of(sample, material, detector), len(SITE_NAMES)
    physical = rows[:, :n_physical]
    swap = _swap_shown(physical, known)
    library = known.library(swap=swap)
    guess, present = matches.first_guess(physical, known.noise, library)
    # classes are told apart by the site and its 7 amplitudes, each over its own noise; the ring and
    # the components of the patch have scale 0 and are left out
    scale = np.zeros((3, rows.shape[1]))
    scale[:, 0] = SITE_SCALE
    scale[:, 1 : n_physical - 1] = known.noise[PLACE_KINDS[:, : n_physical - 2]]
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
    named, called = name_components(taxonomy, used, known.noise, library, **naming)
    if n_classes is None and known.is_named:
        shown = _shown_beside(named, used, called, known)
        pairs = _pairs(known.library(swap=swap, beside=shown), shown, material)
        for pair in pairs:
            named = told_apart(named, scaled(rows, scale), used, known.noise, pair, called)
    return scale, named, called


def _swap_shown(physical: np.ndarray, known: _Known) -> float | None:
    """Return the contrast that dopants show where the detections (n, 9) are sorted a first time.

    None where too few of them show it, or names are not known.
    """
    if not known.is_named:
        return None
    guess, present = matches.first_guess(physical, known.noise, known.library(), min_count=1)
    names = np.array([*(motif.name for motif in present), ""])[guess]
    return motifs.swap_of(physical, names.tolist(), known.material)


def _shown_beside(
    named: Taxonomy, used: np.ndarray, called: ClassNames, known: _Known
) -> dict[int, float]:
    """Return what a vacancy beside a dopant shows: by an observer, or else by those elsewhere."""
    shown = dict(known.judged["beside"])
    if not known.judged["itself"]:
        shown = _shown_by_vacancies(named, used, called, known.material) | shown
    return shown


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


def _pairs(
    library: list[motifs.Motif], shown: dict[int, float], material: Material
) -> list[tuple[motifs.Motif, motifs.Motif]]:
    """List the pairs that a mixture may have run together.

    Dopants with the same beside a vacancy, on sites at which it is known what that shows; and
    vacancies of one atom with those of two.
    """
    vacancy, two, dopant, both = (
        material.kinds[kind] for kind in (VACANCY, DOUBLE_VACANCY, DOPANT, COMPLEX)
    )
    told = [motif for motif in library if motif.site in shown]
    return [*_on_one_site(told, dopant, both), *_on_one_site(library, vacancy, two)]


def _on_one_site(
    library: list[motifs.Motif], first: str, second: str
) -> list[tuple[motifs.Motif, motifs.Motif]]:
    """List the pairs of two names that a library has on the same kind of site."""
    ones, others = ([one for one in library if one.name == name] for name in (first, second))
    return [(one, other) for one in ones for other in others if one.site == other.site]
