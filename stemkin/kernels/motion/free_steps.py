r"""How likely distances are where there is no lattice: a mixture of two Brownian motions.

The distance d of a Brownian step has Rayleigh's density d/v exp(-d²/2v). Two of them, a slow one
(localisation errors) and a fast one, are what hops on a lattice look like where the lattice does
not show. If the mixture is the likelier one, steps do not lie on the lattice.

>>> free_log_likelihood(np.array([10.0, 0.0]), np.array([0, 1])) < 0
True
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.motion.hop_shells import EDGES, N_BINS

N_STEPS = 200


def free_log_likelihood(histogram: np.ndarray, bins: np.ndarray) -> float:
    """Return the log-likelihood of a mixture of two Rayleigh distributions at its maximum.

    By expectation and maximisation (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977)).

    Parameters
    ----------
    histogram
        (m,) weighted numbers of distances over one frame, by bins.
    bins
        (m,) numbers of the bins.

    Returns
    -------
    0 without a distance.
    """
    n = float(histogram.sum())
    if n == 0:
        return 0.0
    low, high = EDGES[bins], EDGES[np.minimum(bins + 1, N_BINS)]
    square = np.where(np.isfinite(high), (low**2 + low * high + high**2) / 3, low**2)
    mean = float(histogram @ square) / n
    counts = np.ascontiguousarray(histogram, np.float64)
    return float(_likeliest_mixture(counts, low**2, high**2, square, mean))


@compiled
def _likeliest_mixture(
    histogram: np.ndarray, low: np.ndarray, high: np.ndarray, square: np.ndarray, mean: float
) -> float:
    """Return the highest log-likelihood; (m,) squares of the ends of bins, and their mean ones."""
    n, size = histogram.sum(), len(histogram)
    variance, share = np.array([0.05 * mean, 0.75 * mean]), np.array([0.5, 0.5])
    chance = np.zeros((2, size))
    for _ in range(N_STEPS):
        taken, power = np.zeros(2), np.zeros(2)
        scale = 2 * np.maximum(variance, 1e-8)
        for i in range(size):
            for c in range(2):
                chance[c, i] = np.exp(-low[i] / scale[c]) - np.exp(-high[i] / scale[c])
            first = max(share[0] * chance[0, i], 1e-300)
            second = max(share[1] * chance[1, i], 1e-300)
            own = histogram[i] / (first + second)
            taken[0] += own * first
            taken[1] += own * second
            power[0] += own * first * square[i]
            power[1] += own * second * square[i]
        before = variance[0], variance[1], share[0]
        share = taken / n
        variance = power / np.maximum(taken, 1e-12) / 2
        if before == (variance[0], variance[1], share[0]):
            break
    total = 0.0
    for i in range(size):
        both = share[0] * chance[0, i] + share[1] * chance[1, i]
        total += histogram[i] * np.log(max(both, 1e-300))
    return total
