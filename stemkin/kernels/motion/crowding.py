r"""Hops that cannot be seen as hops: the neighbouring site is taken, or holds a trap.

A defect that hops to a site next to a dopant is taken up, one that hops onto another defect pairs
with it or stays where it is: its track ends, or does not move, but its time counts. If a share b of
the directions is taken, on average over the time at risk, only 1 - b of the hops are seen, and D of
a lone defect is that of the tracks over 1 - b. (Competing risks: Kalbfleisch & Prentice, The
Statistical Analysis of Failure Time Data (2002), ch. 8; site blocking in a lattice gas: Kehr &
Binder, Applications of the Monte Carlo Method (1984), ch. 6.) Where nothing moves, nothing is made
of it; and where defects stand in one place, as simulated ones that know nothing of each other do,
they take no site from each other.

On each lattice a defect of the same kind of site takes one direction at the distance a, of the six
of a triangular lattice, the four of a square one or the three of a honeycomb. On a triangular
lattice a defect of another class may stand on the other kind of site (a dopant on a metal site) and
takes the three sites around it: two of them are neighbours of a site 2a/sqrt(3) away, one of a site
sqrt(7/3) a away.

Who hopped beside another one finds the way back free and others taken: it goes back more often than
it came, the more so the more hops a frame has (`share_of_returns`).

>>> taken = taken_directions(np.zeros(2), np.array([0.0, 1.0]), hop_length=1.0)
>>> taken.directions.tolist(), taken.alike.tolist(), taken.n_beside, taken.n_within
([1, 1], [1, 1], 1, 0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from stemkin.kernels.motion.hop_shells import Lattice

DIRECTIONS: Mapping[Lattice, int] = {"triangular": 6, "honeycomb": 3, "square": 4}
RINGS: Mapping[Lattice, tuple[tuple[float, float, int], ...]] = {
    "triangular": ((0.8, 1.08, 1), (1.08, 1.34, 2), (1.34, 1.63, 1)),
    "honeycomb": ((0.8, 1.2, 1),),
    "square": ((0.8, 1.2, 1),),
}
"""(from, to, directions): what a defect of another class at that distance [a] takes."""
BESIDE: Mapping[Lattice, float] = {"triangular": 1.366, "honeycomb": 1.366, "square": 1.207}
"""Two of a class that are closer than this [a] stand beside each other: half way to the next shell."""
VACANCY_FACTORS: Mapping[Lattice, float] = {
    "triangular": 0.56006,
    "honeycomb": 1 / 3,
    "square": 0.46694,
}
"""Correlation factor of defects where all sites but one are taken."""

WITHIN = 0.5
"""Two defects that are closer than this [a] stand on one site."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What is taken around defects.

    Attributes
    ----------
    directions
        (n,) whole numbers from 0 to 6, 4 or 3, as the lattice has neighbours.
    alike
        (n,) those of them that are taken by defects of the same class.
    n_beside, n_within
        How many pairs stand beside each other, and how many on one site.
    """

    directions: np.ndarray
    alike: np.ndarray
    n_beside: int
    n_within: int


def taken_directions(
    y: np.ndarray,
    x: np.ndarray,
    *,
    hop_length: float,
    lattice: Lattice = "triangular",
    frame: np.ndarray | None = None,
    kind: np.ndarray | None = None,
) -> Taken:
    """Return how many of its directions are taken, for each defect.

    Parameters
    ----------
    y, x
        (n,) places of all defects of a frame, or of several [length].
    hop_length
        The distance between neighbouring sites a [length].
    lattice
        Which one the sites make.
    frame
        (n,) in which each defect is; None: all are in one.
    kind
        (n,) class of each defect: those of one class stand on one kind of sites. None: all are of
        one.
    """
    none = np.zeros(len(y), dtype=np.int64)
    if len(y) < 2:
        return Taken(none, none, 0, 0)
    points = np.stack([y, x], axis=1) / hop_length
    if frame is not None:  # frames lie so far apart that none reaches into the next
        points = np.column_stack([points, 2 * RINGS[lattice][-1][1] * frame])
    first, second = cKDTree(points).query_pairs(RINGS[lattice][-1][1], output_type="ndarray").T
    apart = np.hypot(*(points[first, :2] - points[second, :2]).T)
    one_kind = np.ones(len(first), bool)
    if kind is not None:
        one_kind = kind[first] == kind[second]
    takes = np.zeros(len(first))
    for low, high, n in RINGS[lattice]:
        takes[~one_kind & (apart >= low) & (apart < high)] = n
    takes[one_kind & (apart >= WITHIN) & (apart < BESIDE[lattice])] = 1
    directions = np.zeros((2, len(y)), dtype=np.int64)
    for end in (first, second):
        directions[0] += np.bincount(end, takes, len(y)).astype(np.int64)
        directions[1] += np.bincount(end, takes * one_kind, len(y)).astype(np.int64)
    directions = np.minimum(directions, DIRECTIONS[lattice])
    n_beside = int((apart >= RINGS[lattice][0][0]).sum())
    return Taken(directions[0], directions[1], n_beside, int((apart < WITHIN).sum()))


def share_of_returns(taken: float, hops_per_frame: float, lattice: Lattice) -> float:
    """Return by what share D of the tracks is lower, since the way back is free and others not.

    Of as many hops as one likes in a frame it is 1 - f with the correlation factor f of a lattice
    gas whose defects are all alike; of a few hops, of which a second one may lead back, less in
    proportion. (Between the two: u / (1 + u), which simulated lattice gases follow.)

    Parameters
    ----------
    taken
        Share of directions that are taken by defects alike.
    hops_per_frame
        As the tracks show them.
    lattice
        On which the hops lead.

    References
    ----------
    Nakazato & Kitahara, Prog. Theor. Phys. 64, 2261 (1980), eq. 3.20, with the correlation factors
    of a vacancy's neighbour of Compaan & Haven, Trans. Faraday Soc. 52, 786 (1956).

    >>> round(share_of_returns(1.0, np.inf, "honeycomb"), 3)
    0.667
    """
    factor = VACANCY_FACTORS[lattice]
    bend = (1 - factor) / factor / 2
    whole = 2 * bend * taken / (2 - taken + 2 * bend * taken)
    u = hops_per_frame / DIRECTIONS[lattice] / bend
    if np.isinf(u):
        return float(whole)
    return float(whole * u / (1 + u))
