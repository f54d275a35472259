"""Transition probabilities from counts.

A *transition matrix* P says with which probability a state i is a state j one frame later; its rows
add up to 1. Counts come from `stemkin.kernels.chains.counting`, rates from
`stemkin.kernels.chains.generator`.

>>> counts = np.array([[90, 10], [20, 80]])
>>> P, low, high = transition_probabilities(counts)
>>> P.tolist(), low.round(3).tolist()
([[0.9, 0.1], [0.2, 0.8]], [[0.83, 0.053], [0.131, 0.714]])
"""

from __future__ import annotations

import numpy as np
from scipy import linalg  # noqa: F401 - for an example

from stemkin.kernels.common.intervals import share_interval


def overlap(P: np.ndarray) -> np.ndarray:
    """Return how many times each independent pair was counted, as pairs begin at every frame.

    A pair that begins s frames after another, inside it, says partly the same: with p = P_ij of the
    lag L, the variance of the share of pairs that go from i to j is p (1 - p) + 2 sum over 0 < s <
    L of P(s)_ii P(L - s)_ij (P(s)_jj - p), over the number of pairs.

    Parameters
    ----------
    P
        (L, k, k) transition matrices of the lags 1, 2, ... L.

    Returns
    -------
    (k, k) factors, between 1 and L.

    >>> Q = 1e-6 * np.array([[-1.0, 1], [1, -1]])
    >>> slow = np.stack([linalg.expm(lag * Q) for lag in (1, 2, 3)])
    >>> overlap(slow).round(2).tolist(), overlap(np.full((3, 2, 2), 0.5)).tolist()
    ([[3.0, 3.0], [3.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]])
    """
    n_lags, p = len(P), P[-1]
    stay = np.diagonal(P, axis1=1, axis2=2)
    factor = np.ones_like(p)
    with np.errstate(invalid="ignore", divide="ignore"):
        for s in range(1, n_lags):
            # Rows of P and stay begin with the lag 1: P(s) is P[s - 1], P(L - s) is P[L - s - 1].
            stays, rest = stay[s - 1], P[n_lags - s - 1]
            factor += 2 * stays[:, None] * rest * (stays - p) / (p * (1 - p))
    return np.clip(np.where(np.isfinite(factor), factor, n_lags), 1.0, n_lags)


def transition_probabilities(
    counts: np.ndarray, *, confidence: float = 0.95, overlap: float | np.ndarray = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return transition probabilities: pooled counts divided once, with the interval of each entry.

    The interval is that of the Dirichlet posterior of the entry against the rest of its row, with
    Jeffreys' prior (one half for each); where nothing, or everything, was counted it reaches to 0,
    or 1 (Brown, Cai & DasGupta, Stat. Sci. 16, 101 (2001)).

    Parameters
    ----------
    counts
        (..., k, k) pairs, from row to column.
    confidence
        Of the intervals.
    overlap
        How many times each independent pair was counted (see `overlap`; one number, or one for each
        entry). Widens the intervals.

    Returns
    -------
    probability, low, high
        (..., k, k); NaN in the row of a state that was never left nor kept.
    """
    n = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        probability = counts / n
    low, high = share_interval(counts / overlap, n / overlap, confidence=confidence)
    unseen = np.broadcast_to(n == 0, counts.shape)
    return probability, np.where(unseen, np.nan, low), np.where(unseen, np.nan, high)
