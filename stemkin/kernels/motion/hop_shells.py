"""Shells of the triangular lattice: where a defect is after n hops, and at which distance.

>>> shells()[0][:4].round(3).tolist()
[0.0, 1.0, 1.732, 2.0]
>>> shell_probabilities(np.array([0.0]))[0, :2].tolist()
[1.0, 0.0]
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import special

BINS_PER_HOP = 40
"""Distances are counted in bins of a/40."""

MOST_HOPS = 24
"""In one displacement; more are as if they were not."""


@cache
def shells() -> tuple[np.ndarray, np.ndarray]:
    """Return the lattice's shells, and the chance to be on each after a number of hops.

    Returns
    -------
    radius
        (n_shells,) distances from the origin within 8 a, ascending [a].
    chance
        (25, n_shells) to be there after 0, 1, ... 24 hops.
    """
    # A site is u a1 + v a2, of two lattice vectors at 60 degrees; its squared distance is u² + u v
    # + v². The grid holds every site that the hops reach, so that none is rolled over its edge.
    size = 2 * MOST_HOPS + 1
    walk = np.zeros((size, size))
    walk[MOST_HOPS, MOST_HOPS] = 1
    u, v = np.meshgrid(np.arange(size) - MOST_HOPS, np.arange(size) - MOST_HOPS, indexing="ij")
    square, shell = np.unique(u**2 + u * v + v**2, return_inverse=True)
    chances = []
    for _ in range(MOST_HOPS + 1):
        chances.append(np.bincount(shell.ravel(), weights=walk.ravel(), minlength=len(square)))
        steps = ((0, 1), (1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1))
        walk = np.sum([np.roll(walk, step, axis=(0, 1)) for step in steps], axis=0) / 6
    near = square <= 64
    return np.sqrt(square[near]), np.stack(chances)[:, near]


def shell_probabilities(mean_hops: np.ndarray) -> np.ndarray:
    """Return the chance to be on each shell where the number of hops is a Poisson number.

    Parameters
    ----------
    mean_hops
        (...) mean numbers of hops.

    Returns
    -------
    (..., n_shells) chances.
    """
    n = np.arange(MOST_HOPS + 1)
    mean = np.asarray(mean_hops, dtype=np.float64)[..., None]
    weight = np.exp(special.xlogy(n, mean) - mean - special.gammaln(n + 1))
    return np.asarray(weight @ shells()[1])


def distance_probabilities(s: float, bins: np.ndarray) -> np.ndarray:
    """Return the chance to see a distance in each bin, from each shell: Rice's density.

    Parameters
    ----------
    s
        Localisation error per axis [a].
    bins
        (m,) numbers of bins, of a/40 each.

    Returns
    -------
    (n_shells, m) chances, at least 1e-12.
    """
    # Axes: 4 points within a bin, shells, bins; the mean over the first is the bin's.
    parts = 4
    d = (bins + (np.arange(parts)[:, None] + 0.5) / parts)[:, None] / BINS_PER_HOP
    radius = shells()[0][:, None]
    spread = 2 * s**2
    bell = np.exp(-((d - radius) ** 2) / (2 * spread))
    density = d / spread * bell * special.i0e(d * radius / spread)
    return np.asarray(np.maximum(density.mean(axis=0) / BINS_PER_HOP, 1e-12))
