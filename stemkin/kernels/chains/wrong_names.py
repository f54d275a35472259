"""What is behind wrong names: how often each is given, and how long it lasts.

Three steps of a fit whose other steps are `hidden_markov.expected_counts` (what the tracks say) and
`rate_likelihood` (the rates): the confusion matrix that explains the expected names best, given by
how many rows it was measured (a Dirichlet prior); the probability that a name is kept from frame to
frame; and how much both, being uncertain, add to the uncertainty of the rates.

>>> likeliest_confusion(np.array([[90.0, 10.0], [0.0, 5.0]])).tolist()
[[0.9, 0.1], [0.0, 1.0]]
>>> round(likeliest_kept({1: np.array([80.0, 20.0])}), 3)
0.8
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import linalg, special

from stemkin.kernels.common.compiling import compiled

LONGEST = 1 - 1e-6
"""A name that is kept with a higher probability is one for good."""


def said_confusion(sure: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the confusion matrix that names with a sureness of their own amount to.

    A sureness p is a posterior whose prior is the share w of the name; divided by it, what was seen
    is (1 - p) / p w / (1 - w) times as likely in any other state as in the one named. The matrix
    with these ratios in its columns is the only one whose rows add up to 1.

    Parameters
    ----------
    sure
        (k,) mean sureness of each name.
    share
        (k,) share of each name.

    Returns
    -------
    (k, k) probability that state i is named j.

    Examples
    --------
    >>> said_confusion(np.array([0.9, 0.8]), np.array([0.5, 0.5])).round(3).tolist()
    [[0.771, 0.229], [0.086, 0.914]]
    """
    share = np.clip(share, 1e-9, 1 - 1e-9)
    sure = np.clip(sure, 1e-6, 1 - 1e-9)
    ratio = np.minimum((1 - sure) / sure * share / (1 - share), 0.9)
    right = 1 / (1 + (ratio / (1 - ratio)).sum()) / (1 - ratio)
    matrix = np.repeat((right * ratio)[None], len(ratio), axis=0)
    np.fill_diagonal(matrix, right)
    return matrix


def likeliest_confusion(drawn: np.ndarray) -> np.ndarray:
    """Return the confusion matrix that makes names most likely.

    Parameters
    ----------
    drawn
        (k, k) how often each state (row) drew each name, the rows by which the matrix was measured
        before among them.

    Returns
    -------
    (k, k) rows that add up to 1; a state that drew nothing is named right.
    """
    whole = drawn.sum(axis=1, keepdims=True)
    return np.where(whole > 0, drawn / np.maximum(whole, 1e-300), np.eye(len(drawn)))


def log_prior(confusion: np.ndarray, measured: np.ndarray) -> float:
    """Return the log-likelihood of a confusion matrix by what was measured of it.

    Parameters
    ----------
    confusion
        (k, k) probability that state i is named j.
    measured
        (k, k) rows of state i that were named j.
    """
    return float(special.xlogy(measured, np.maximum(confusion, 1e-300)).sum())


def likeliest_kept(held: Mapping[int, np.ndarray]) -> float:
    """Return the probability that a name is kept from one frame to the next.

    Parameters
    ----------
    held
        Gap [frames] → (2,) steps of that gap in which a name was kept all along, and in which it
        was drawn anew, both while the state stayed.

    Returns
    -------
    A number from 0 to `LONGEST`.
    """
    return float(_root_of_kept(*_of_gaps(held)))


def kept_slope(held: Mapping[int, np.ndarray], kept: float) -> float:
    """Return the slope of the log-likelihood in the logit of the probability that a name is kept.

    Parameters
    ----------
    held
        As of `likeliest_kept`.
    kept
        Where it is looked at.
    """
    return float(_slope_of_kept(*_of_gaps(held), kept))


def _of_gaps(held: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the (m,) gaps, and the (m, 2) steps in which a name was kept and drawn anew."""
    steps = np.zeros((len(held), 2))
    for i, own in enumerate(held.values()):
        steps[i] = own
    return np.array(list(held), np.float64), steps


@compiled
def _slope_of_kept(gaps: np.ndarray, steps: np.ndarray, kept: float) -> float:
    slope = 0.0
    for i in range(len(gaps)):
        gap, all_kept = gaps[i], kept ** gaps[i]
        one = steps[i, 0] - steps[i, 1] * all_kept / -np.expm1(gap * np.log(kept))
        slope += gap * (1 - kept) * one
    return slope


@compiled
def _root_of_kept(gaps: np.ndarray, steps: np.ndarray) -> float:
    """Return where the slope passes through 0, by halving: from 0 to `LONGEST`."""
    low, high = 1e-9, LONGEST
    if _slope_of_kept(gaps, steps, high) >= 0:
        return high
    if _slope_of_kept(gaps, steps, low) <= 0:
        return 0.0
    while high - low > 1e-13:
        middle = (low + high) / 2
        if _slope_of_kept(gaps, steps, middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@compiled
def name_chances(place: np.ndarray, confusion: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Return how likely each state is to be named as each row is.

    Parameters
    ----------
    place
        (n,) name of each row, 0 to k - 1.
    confusion
        (k, k) probability that state i is named j.
    doubt
        (n,) how much likelier than most rows each one is of any state but its name's: 1 where all
        rows are alike.

    Returns
    -------
    (n, k) probabilities, but for a factor of each row.
    """
    k = len(confusion)
    chance = np.empty((len(place), k))
    for row in range(len(place)):
        own = place[row]
        for state in range(k):
            chance[row, state] = confusion[state, own]
            if state != own:
                chance[row, state] *= doubt[row]
    return chance


def marginal_information(information: np.ndarray, n: int) -> np.ndarray:
    """Return what is known of the first `n` numbers when the others are not known.

    Parameters
    ----------
    information
        (m, m) minus the second derivatives of a log-likelihood.
    n
        How many numbers are wanted.

    Returns
    -------
    (n, n) the Schur complement: the inverse of the first block of the inverse.

    Examples
    --------
    >>> marginal_information(np.array([[2.0, 1.0], [1.0, 1.0]]), 1).tolist()
    [[1.0]]
    """
    own, cross, other = information[:n, :n], information[:n, n:], information[n:, n:]
    if not other.size:
        return own
    return np.asarray(own - cross @ linalg.pinvh(other) @ cross.T)
