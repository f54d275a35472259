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
from scipy import linalg, optimize, special

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
    least, most = 1e-9, LONGEST
    if kept_slope(held, most) >= 0:
        return most
    if kept_slope(held, least) <= 0:
        return 0.0
    return float(optimize.brentq(lambda kept: kept_slope(held, kept), least, most, xtol=1e-10))


def kept_slope(held: Mapping[int, np.ndarray], kept: float) -> float:
    """Return the slope of the log-likelihood in the logit of the probability that a name is kept.

    Parameters
    ----------
    held
        As of `likeliest_kept`.
    kept
        Where it is looked at.
    """
    slope = 0.0
    for gap, (stayed, anew) in held.items():
        slope += gap * (1 - kept) * (stayed - anew * kept**gap / -np.expm1(gap * np.log(kept)))
    return float(slope)


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
