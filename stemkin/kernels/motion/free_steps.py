r"""How likely distances are where there is no lattice: a mixture of two Brownian motions.

The distance d of a Brownian step has Rayleigh's density d/v exp(-d²/2v). Two of them, a slow one
(localisation errors) and a fast one, are what hops on a lattice look like where the lattice does
not show. If the mixture is the likelier one, steps do not lie on the lattice.

>>> free_log_likelihood(np.array([10.0, 0.0]), np.array([0, 1])) < 0
True
"""

from __future__ import annotations

import numpy as np

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
    variance, share = np.array([0.1 * mean, 1.5 * mean]) / 2, np.array([0.5, 0.5])
    chance = np.zeros((2, len(bins)))
    for _ in range(N_STEPS):
        scale = 2 * np.maximum(variance, 1e-8)[:, None]
        chance = np.exp(-(low**2) / scale) - np.exp(-(high**2) / scale)
        joint = np.maximum(share[:, None] * chance, 1e-300)
        taken = histogram * joint / joint.sum(axis=0)
        share = taken.sum(axis=1) / n
        variance = (taken @ square) / np.maximum(taken.sum(axis=1), 1e-12) / 2
    return float(histogram @ np.log(np.maximum(share @ chance, 1e-300)))
