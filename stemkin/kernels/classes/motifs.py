"""What each known defect looks like to the descriptors.

A motif is the row of site amplitudes that a defect would give without noise, from I ~ Z^1.7
(Krivanek et al., Nature 464, 571 (2010), found 1.6 to 1.8). In a column that the beam channels
along, atoms of different kinds differ by less (multislice: Z^1 to Z^1.5 between Mo and W), so what
a dopant changes is uncertain until the movie itself has told (`swap_of`). Noise changes the mean of a folded row
(the column that lost most is put first), so classes are compared with motifs that were given the
same noise.

>>> sorted({motif.name for motif in library(WS2)})
['Mo_W', 'Mo_W+V_S', 'Mo_W+V_S2', 'V_S', 'V_S2', 'V_W', 'W_ad', 'hole edge', 'perfect crystal']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stemkin.kernels.classes.amplitudes import FILTER_SD, blurred, fold
from stemkin.kernels.classes.neighbours import PLACE_KINDS, places_around
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.crystal.patches import HOLLOW
from stemkin.materials import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    MATERIALS,
    METAL_VACANCY,
    VACANCY,
    Material,
)

WS2 = MATERIALS["WS2"]

EXPONENT = 1.7
"""Of the atomic number in the intensity of a column."""

DOPANT_EXPONENTS = (1.0, 1.7)
"""Least and largest exponent between the columns of a metal and of its dopant: channelling makes
them alike."""

RARE = 0.03
"""How often an atom sits on top of a column, for one defect that replaces or takes an atom."""

LEAST_TOLD = 8
"""Fewer detections do not tell what a dopant changes."""

TOLERANCE = 0.15
"""Relative uncertainty of a motif's amplitudes: exponent, probe and strain."""

FLOOR = 0.01
"""Absolute uncertainty of any amplitude: relaxation, and what the perfect crystal's fit takes with
it."""

TAIL = 0.015
"""Share of a change that may be seen on every site around it: the tails of the probe reach farther
than a Gaussian."""

IMAGE_SD_NM = FILTER_SD * WS2.a_nm
"""Standard deviation of the image of a column: that for which the weights were chosen. In graphene,
whose columns are closer, it is more of the lattice constant than the weights are."""

PERFECT = "perfect crystal"
"""The motif without a change, against which every defect has to stand."""

HOLE_EDGE = "hole edge"
"""The motif of a site from which on, in some direction, every column is gone."""

RAGGED = 0.2
"""Relative uncertainty of the amplitudes beside a hole, where columns lean, and the crystal that is
compared with ends."""

SPACING_TOLERANCE = 0.08
"""Relative error of a calibration that is thought possible."""

HEIGHT_TOLERANCE = 2.5
"""Factor by which the height of a column may differ from Z^1.7: probe, tilt and detector."""


def column_heights(material: Material) -> tuple[float, float]:
    """Return the heights of a metal and of a chalcogen column, over that of the brighter one.

    Parameters
    ----------
    material
        Of the crystal.

    Returns
    -------
    One of the two is 1. In MoSe2 that is the selenium column: two atoms outshine one of Mo.

    Examples
    --------
    >>> [round(height, 3) for height in column_heights(WS2)]
    [1.0, 0.148]
    >>> [round(height, 3) for height in column_heights(MATERIALS["MoSe2"])]
    [0.716, 1.0]
    """
    one = (material.Z_chalcogen / material.Z_metal) ** EXPONENT
    chalcogen = float(material.atoms_per_chalcogen_column * one)
    if chalcogen <= 1:
        return 1.0, chalcogen
    return 1 / chalcogen, 1.0


def may_be(material: Material, spacing_nm: float, dimmer: float) -> bool:
    """Tell whether a crystal may be of this material.

    Parameters
    ----------
    material
        To compare with.
    spacing_nm
        Lattice constant [nm], trusted to `SPACING_TOLERANCE`; NaN where it is not known.
    dimmer
        Height of the dimmer columns over that of the brighter ones, trusted to a factor of
        `HEIGHT_TOLERANCE`.

    Returns
    -------
    True where both agree.
    """
    if not np.isnan(spacing_nm) and abs(spacing_nm / material.a_nm - 1) > SPACING_TOLERANCE:
        return False
    ratio = dimmer / min(column_heights(material))
    return bool(1 / HEIGHT_TOLERANCE < ratio < HEIGHT_TOLERANCE)


@dataclass(frozen=True, eq=False)
class Motif:
    """A defect as the descriptors would see it.

    Attributes
    ----------
    name
        As in the table ``classes``.
    site
        Kind of the site at its centre.
    amplitudes
        (13,) site amplitudes, ordered as `amplitudes.site_offsets`.
    tolerance
        Their relative uncertainty.
    first
        Which column of the occupied triangle comes first; None where noise decides.
    width
        Standard deviation of the image of a column [lattice constants], as `blurred` takes it.
    prior
        How often it occurs, for one that occurs as often as others.
    """

    name: str
    site: int
    amplitudes: np.ndarray
    tolerance: float = TOLERANCE
    first: int | None = None
    width: float = FILTER_SD
    prior: float = 1.0

    @property
    def oriented(self) -> bool:
        """Whether it changes when turned by 120 degrees."""
        return bool(np.ptp(self.amplitudes[1:4]) > 1e-9 or np.ptp(self.amplitudes[4:7]) > 1e-9)

    def expected_row(self, noise: np.ndarray, *, n_draws: int = 500) -> np.ndarray:
        """Return the (9,) mean physical descriptors in the (3,) `noise` of each kind of site."""
        seen = blurred(self.amplitudes, self.site, self.width)
        if self.first is not None:
            return np.append(float(self.site), fold(seen[None], np.array([self.first]))[0][0])
        # noise decides which column leads, so the mean of folded rows is not the row folded: it is
        # taken over seeded draws, the same ones for every motif
        sd = noise[PLACE_KINDS[self.site]]
        draws = seen + sd * np.random.default_rng(0).normal(size=(n_draws, 13))
        return np.append(float(self.site), fold(draws)[0].mean(axis=0))

    def distances(
        self, rows: np.ndarray, noise: np.ndarray, *, spread: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Return the (m,) squared distances of `rows` (m, 9) from this motif; inf on other sites.

        Amplitudes are compared in units of their (3,) `noise`, the motif's tolerance and the rows'
        own (7,) `spread`. The mean of the outer ring, which is as much the neighbours' as the
        defect's, is looked at only where it tells the edge of a hole from a vacancy.
        """
        expected = self.expected_row(noise)
        sd = noise[PLACE_KINDS[self.site, :7]]
        own = np.minimum(spread, sd)  # what scatters more widely is no class of this motif
        # independent errors add up in squares: noise, floor and tails, tolerance, own scatter
        fixed = FLOOR**2 + (TAIL * np.abs(self.amplitudes).sum()) ** 2
        unit = np.sqrt(sd**2 + fixed + (self.tolerance * expected[1:8]) ** 2 + own**2)
        distance = (((rows[:, 1:8] - expected[1:8]) / unit) ** 2).sum(axis=1)
        if self.name == HOLE_EDGE:
            distance += (rows[:, 8] - expected[8]) ** 2 / (fixed + (RAGGED * expected[8]) ** 2)
        return np.where(np.round(rows[:, 0]) == self.site, distance, np.inf)


def swap_of(rows: np.ndarray, names: Sequence[str], material: Material) -> float | None:
    """Measure what dopants change of a column, in detections that were sorted by motifs.

    Parameters
    ----------
    rows
        (m, 9) physical descriptors.
    names
        (m,) names of the motifs that they resemble most; empty for none.
    material
        Of the crystal.

    Returns
    -------
    The median, where at least `LEAST_TOLD` detections tell it; else None.
    """
    own = rows[np.asarray(names, dtype=str) == material.kinds[DOPANT], 1]
    if len(own) < LEAST_TOLD:
        return None
    return float(np.median(own))


def library(
    material: Material,
    *,
    dimmer: float | None = None,
    swap: float | None = None,
    beside: Mapping[int, float] | None = None,
    itself: Mapping[int, float] | None = None,
) -> list[Motif]:
    """Return the motifs of a crystal's defects, named as `Material.kinds` names them.

    A defect that may be detected from two of its sites comes twice, under one name.

    Parameters
    ----------
    material
        Of the crystal.
    dimmer
        Height of the dimmer columns over that of the brighter ones, as measured; from the atomic
        numbers unless given.
    swap
        Change of a metal column where a dopant takes its place, as measured; from the atomic
        numbers unless given.
    beside
        By the kind of site: amplitude of a vacancy on the columns bonded to it, as an observer
        judges them.
    itself
        By the kind of site: amplitude of a vacancy on it, as an observer judges it.

    Returns
    -------
    The motifs of point defects, then `hole_edges`, then `perfect`.
    """
    kinds, metal, chalcogen = material.kinds, *column_heights(material)
    if dimmer is None:
        dimmer = min(metal, chalcogen)
    # to the descriptors METAL is the brighter sublattice, whatever its atoms are
    if chalcogen <= metal:
        on_metal, on_chalcogen, metal, chalcogen = METAL, CHALCOGEN, 1.0, dimmer
    else:
        on_metal, on_chalcogen, metal, chalcogen = CHALCOGEN, METAL, dimmer, 1.0
    lost = vacancy_amplitude(material, dimmer=dimmer)
    swap_tolerance = TOLERANCE
    if swap is None:
        ratio = material.Z_dopant / material.Z_metal
        low, high = (metal * (ratio**exponent - 1) for exponent in DOPANT_EXPONENTS)
        swap = (low + high) / 2
        swap_tolerance = max(abs(high - low) / 2 / max(abs(swap), 1e-12), TOLERANCE)
    parts: list[tuple[str, int, dict[int, float]]] = [
        (kinds[VACANCY], on_chalcogen, {0: lost}),
        (kinds[DOPANT], on_metal, {0: swap}),
        (kinds[METAL_VACANCY], on_metal, {0: -metal}),
        (kinds[ADATOM], HOLLOW, {0: metal}),
    ]
    if material.is_elemental:
        parts += [
            (kinds[DOPANT], on_chalcogen, {0: swap}),
            (kinds[COMPLEX], on_metal, {0: swap, 1: lost}),
            (kinds[COMPLEX], on_chalcogen, {0: swap, 1: lost}),
        ]
    else:
        parts += [
            (kinds[ADATOM], on_metal, {0: metal}),
            (kinds[ADATOM], on_chalcogen, {0: metal}),
            (kinds[COMPLEX], on_metal, {0: swap, 1: lost}),
            (kinds[COMPLEX], on_chalcogen, {0: lost, 1: swap}),
        ]
    if material.atoms_per_chalcogen_column > 1:
        parts += [
            (kinds[DOUBLE_VACANCY], on_chalcogen, {0: -chalcogen}),
            (f"{kinds[COMPLEX]}2", on_metal, {0: swap, 1: -chalcogen}),
        ]
    # the tolerance of a complex is that of what changes most: its dopant
    doped = (kinds[DOPANT], kinds[COMPLEX], f"{kinds[COMPLEX]}2")
    tolerances = dict.fromkeys(doped, swap_tolerance)
    known = []
    for name, site, places in parts:
        prior = 1.0
        if name == kinds[ADATOM] and site != HOLLOW:
            prior = RARE
        row, tolerance = _amplitudes(places), tolerances.get(name, TOLERANCE)
        known.append(Motif(name, site, row, tolerance, prior=prior))
    width = max(FILTER_SD, IMAGE_SD_NM / material.a_nm)
    listed = [replace(motif, width=width) for motif in known + hole_edges(dimmer) + perfect()]
    around = {site: one / lost for site, one in (beside or {}).items()}
    own = {site: one / lost for site, one in (itself or {}).items()}
    return [
        _judged(motif, own.get(motif.site, 1.0), around.get(motif.site, 1.0)) for motif in listed
    ]


def vacancy_amplitude(material: Material, *, dimmer: float) -> float:
    """Return by how much a column changes that loses one of its atoms, over a brighter column.

    Parameters
    ----------
    material
        The crystal.
    dimmer
        Height of its dimmer column over that of the brighter one, as measured.
    """
    metal, chalcogen = column_heights(material)
    height = dimmer if chalcogen <= metal else 1.0
    return -height / material.atoms_per_chalcogen_column


def _judged(motif: Motif, own: float, around: float) -> Motif:
    """Return a motif that is darker by a factor, and whose bonded columns change by so much more."""
    amplitudes = motif.amplitudes.copy()
    amplitudes[1:4] *= around
    if amplitudes[0] < 0:
        amplitudes[0] *= own
    return replace(motif, amplitudes=amplitudes)


def hole_edges(chalcogen: float) -> list[Motif]:
    """List the motifs of a site at the edge of a hole.

    Beyond a straight line every column is gone: the line runs in any direction, just before or just
    behind the site. Sites that would look like another defect (nothing but the site itself, or one
    chalcogen column beside it, is missing) are left out, as are those that look alike once folded.
    Of several columns that are gone, each may come first.

    Parameters
    ----------
    chalcogen
        Height of a chalcogen column over that of a metal column.

    Returns
    -------
    Motifs called `HOLE_EDGE`, at METAL and CHALCOGEN sites.
    """
    found: dict[tuple[float, ...], Motif] = {}
    for site in (METAL, CHALCOGEN):
        places = places_around(site)
        heights = np.array([1.0, chalcogen, 0.0])[PLACE_KINDS[site]]
        for angle in np.radians(np.arange(0, 360, 10)):
            outwards = places @ np.array([np.sin(angle), np.cos(angle)])
            for line in (-0.1, 0.1):
                lost = -heights * (outwards > line)
                few = lost[0] == 0 and np.count_nonzero(lost[1:7]) < 2 and site == METAL
                if few:
                    continue
                # each column of the occupied triangle that is gone may lead once folded; rows that
                # are equal to six digits look alike, and the first motif stands for all
                for first in np.flatnonzero(lost[1:4]):
                    row = (float(site), *np.round(fold(lost[None], np.array([first]))[0][0, :7], 6))
                    found.setdefault(row, Motif(HOLE_EDGE, site, lost, RAGGED, int(first)))
    return list(found.values())


def needs_ring(motif: Motif) -> bool:
    """Tell whether only the outer ring tells this motif from a vacancy.

    Parameters
    ----------
    motif
        To look at.

    Returns
    -------
    True for the edge of a hole at a metal site with at most one column gone beside it.
    """
    return (
        motif.name == HOLE_EDGE
        and motif.site == METAL
        and int(np.count_nonzero(motif.amplitudes[1:7])) < 2
    )


def perfect() -> list[Motif]:
    """Return the motifs of a perfect crystal: all that is known of a material that is not.

    Returns
    -------
    Three motifs called `PERFECT`, without amplitudes, for METAL, CHALCOGEN and HOLLOW sites.
    """
    return [Motif(PERFECT, site, np.zeros(13)) for site in (METAL, CHALCOGEN, HOLLOW)]


def _amplitudes(places: dict[int, float]) -> np.ndarray:
    """Return the (13,) amplitudes that are 0 but at the given places."""
    row = np.zeros(13)
    for place, value in places.items():
        row[place] = value
    return row
