"""Transition probabilities from counts.

A *transition matrix* P says with which probability a state i is a state j one frame later; its rows add up to 1. Counts
come from `stemkin.kernels.counting`, rates from `stemkin.kernels.generator`.

>>> counts = np.array([[90, 10], [20, 80]])
>>> P, low, high = transition_probabilities(counts)
>>> P.tolist(), low.round(3).tolist()
([[0.9, 0.1], [0.2, 0.8]], [[0.83, 0.053], [0.131, 0.714]])
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.intervals import share_interval


def transition_probabilities(
    counts: np.ndarray, *, confidence: float = 0.95, overlap: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide pooled counts once, with the interval of each entry.

    The interval is that of the Dirichlet posterior of the entry against the rest of its row, with Jeffreys' prior (one
    half for each); where nothing, or everything, was counted it reaches to 0, or 1 (Brown, Cai & DasGupta, Stat. Sci.
    16, 101 (2001)).

    Parameters
    ----------
    counts
        (..., k, k) pairs, from row to column.
    confidence
        Of the intervals.
    overlap
        How many times each independent pair was counted: the lag, for overlapping pairs. Widens the intervals.

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
