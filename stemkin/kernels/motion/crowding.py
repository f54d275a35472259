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
lattice a defect on the other kind of site (a dopant on a metal site) takes the three sites around it: two of
them are neighbours of a site 2a/sqrt(3) away, one of a site sqrt(7/3) a away.

>>> taken, n_beside, n_within = taken_directions(np.zeros(2), np.array([0.0, 1.0]), hop_length=1.0)
>>> taken.tolist(), n_beside, n_within
([1, 1], 1, 0)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from stemkin.kernels.motion.hop_shells import Lattice

DIRECTIONS: Mapping[Lattice, int] = {"triangular": 6, "honeycomb": 3, "square": 4}
RINGS: Mapping[Lattice, tuple[tuple[float, float, int], ...]] = {
    "triangular": ((0.8, 1.08, 1), (1.08, 1.34, 2), (1.34, 1.63, 1)),
    "honeycomb": ((0.8, 1.2, 1),),
    "square": ((0.8, 1.2, 1),),
}
"""(from, to, directions): what a defect at that distance [a] takes."""


WITHIN = 0.5
"""Two defects that are closer than this [a] stand on one site."""


def taken_directions(
    y: np.ndarray,
    x: np.ndarray,
    *,
    hop_length: float,
    lattice: Lattice = "triangular",
    frame: np.ndarray | None = None,
) -> tuple[np.ndarray, int, int]:
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

    Returns
    -------
    (n,) whole numbers from 0 to 6, 4 or 3, as the lattice has neighbours; how many pairs stand beside each other, and how many on one
    site.
    """
    taken = np.zeros(len(y), dtype=np.int64)
    if len(y) < 2:
        return taken, 0, 0
    points = np.stack([y, x], axis=1) / hop_length
    if frame is not None:  # frames lie so far apart that none reaches into the next
        points = np.column_stack([points, 2 * RINGS[lattice][-1][1] * frame])
    pairs = cKDTree(points).query_pairs(RINGS[lattice][-1][1], output_type="ndarray")
    apart = np.hypot(*(points[pairs[:, 0], :2] - points[pairs[:, 1], :2]).T)
    for low, high, n in RINGS[lattice]:
        near = pairs[(apart >= low) & (apart < high)]
        taken += n * np.bincount(near.ravel(), minlength=len(y))
    n_beside = int((apart >= RINGS[lattice][0][0]).sum())
    return np.minimum(taken, DIRECTIONS[lattice]), n_beside, int((apart < WITHIN).sum())
