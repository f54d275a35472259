"""Intervals of rates, of the rates of leaving, and of the probabilities that follow from them."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from stemkin.kernels.chains.rate_climb import FASTEST
from stemkin.kernels.chains.rate_likelihood import RateLikelihood
from stemkin.kernels.chains.rate_profile import profile_interval
from stemkin.kernels.common.intervals import rate_interval, share_interval

PLAIN = 0.3
"""A rate of leaving of more than this per shortest gap has a likelihood too far from that of a
count for its curvature to do."""

MOST_WORK = 6_000
"""Slopes that may be computed for the profiles of one fit, some hundredths of a second; for the
rates that are left over the curvature has to do, which `intervals` tells."""


def exit_rates(
    counts: np.ndarray, times: np.ndarray, *, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rate of leaving each state for any other, and its interval.

    Each state is set against all others together, as a chain of two states that makes the counts
    most likely. This allows for returns between two looks, and a rarely seen state does not spoil
    the interval of a common one. (The others together are no exact Markov state: at 0.4 exits per
    look the rate comes out 0.6 % too low.)

    Parameters
    ----------
    counts
        (m, k, k) pairs of each gap, from row to column.
    times
        (m,) the gaps, in units of time.
    confidence
        Of the intervals.

    Returns
    -------
    rate, low, high
        (k,) NaN for states that nothing is known of.

    >>> rate, low, high = exit_rates(np.array([[[90, 10], [20, 80]]]), np.array([2.0]))
    >>> rate.round(4).tolist(), bool((low < rate).all() and (rate < high).all())
    ([0.0594, 0.1189], True)
    """
    counts = np.asarray(counts, dtype=np.float64)
    k = counts.shape[-1]
    found = np.full((3, k), np.nan)
    if not counts.any():
        return found[0], found[1], found[2]
    unit = float(np.min(times))
    for state in np.flatnonzero(counts.sum(axis=(0, 2)) > 0):
        lumped = _against_the_rest(counts, int(state))
        left = lumped.sum(axis=(0, 2)) > 0
        rows, columns = np.nonzero(~np.eye(2, dtype=bool) & left[:, None])
        problem = RateLikelihood(lumped, np.asarray(times, dtype=np.float64) / unit, rows, columns)
        x = problem.maximise()
        if x[0] > PLAIN:
            low, high = profile_interval(problem, x, 0, confidence=confidence)
        else:
            information = problem.information(np.maximum(x, 1e-7))
            lows, highs = _exit_intervals(problem, x, information, confidence)
            low, high = lows[0], highs[0]
        found[:, state] = np.array([endless(x[0]), low, high]) / unit
    return found[0], found[1], found[2]


def endless(x: np.ndarray | float) -> np.ndarray:
    """Return rates with infinity in place of those that cannot be told from an infinite one.

    Parameters
    ----------
    x
        Rates per shortest gap.
    """
    return np.where(np.asarray(x) > 0.99 * FASTEST, np.inf, x)


def _against_the_rest(counts: np.ndarray, state: int) -> np.ndarray:
    """Return (m, 2, 2) counts between `state` and all other states together."""
    other = np.arange(counts.shape[-1]) != state
    lumped = np.empty((len(counts), 2, 2))
    lumped[:, 0, 0], lumped[:, 0, 1] = counts[:, state, state], counts[:, state, other].sum(axis=1)
    lumped[:, 1, 0] = counts[:, other, state].sum(axis=1)
    lumped[:, 1, 1] = counts[:, other][:, :, other].sum(axis=(1, 2))
    return lumped


def intervals(
    problem: RateLikelihood,
    x: np.ndarray,
    *,
    confidence: float,
    information: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the bounds of each rate, and of the total rate of leaving each state.

    Parameters
    ----------
    problem, x, confidence, information
        As of `stemkin.kernels.chains.generator.generator_at`.

    Returns
    -------
    low, high
        (n_free,) of the free rates per shortest gap.
    exit_low, exit_high
        (k,) of the rates of leaving.
    curved
        (n_free,) whether the bounds are those of the curvature although a profile was wanted.
    """
    known = information
    if known is None:
        known = problem.information(np.maximum(x, 1e-7))
    variance, slope, at_risk = _spread(problem, x, known)
    low, high, counted = rate_interval(x, variance, at_risk[problem.rows], slope, confidence)
    if information is not None:
        return low, high, *_exit_intervals(problem, x, known, confidence), np.zeros(len(x), bool)
    curved = ~counted
    for i in np.flatnonzero(curved).tolist():
        if problem.work > MOST_WORK:
            break
        low[i], high[i] = profile_interval(problem, x, i, confidence=confidence)
        curved[i] = False
    total = np.bincount(problem.rows, weights=x, minlength=problem.k)
    _, below, above = exit_rates(problem.counts, problem.times, confidence=confidence)
    return low, high, np.minimum(below, total), np.maximum(above, total), curved


def _exit_intervals(
    problem: RateLikelihood, x: np.ndarray, information: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (k,) bounds of the total rate of leaving each state."""
    covariance = problem.covariance(x, information)
    variance, slope, at_risk = _spread(problem, x, information)
    leaving, spread, least = (np.zeros(problem.k) for _ in range(3))
    for state in range(problem.k):
        own = problem.rows == state
        leaving[state], spread[state] = x[own].sum(), covariance[np.ix_(own, own)].sum()
        least[state] = slope[own].min(initial=np.inf)
        if leaving[state] == 0 and own.any():
            spread[state] = variance[own].max()
    low, high, _ = rate_interval(leaving, spread, at_risk, least, confidence)
    return low, high


def _spread(
    problem: RateLikelihood, x: np.ndarray, information: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the variance and the slope of each rate, and the (k,) times at risk.

    A rate of 0 has the variance that it would have if it were free.
    """
    held, free = problem.covariance(x, information), linalg.pinvh(information)
    variance = np.where(x > 0, np.diag(held), np.diag(free))
    falling = problem.loss(np.maximum(x, problem.floor))[1]  # -d log L / dx, also where x is 0
    slope = np.maximum(falling, 1e-12)
    return variance, slope, np.einsum("mij,m->i", problem.counts, problem.times)


def probability_interval(
    problem: RateLikelihood, x: np.ndarray, information: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P = exp(Q) of the shortest gap, with intervals as of shares with the same variance.

    Parameters
    ----------
    problem
        The likelihood that `x` maximises.
    x
        (n_free,) free rates per shortest gap.
    information
        (n_free, n_free) minus the second derivatives of the log-likelihood.
    confidence
        Of the intervals.

    Returns
    -------
    P, low, high
        (k, k) probabilities from row to column.
    """
    P, slopes = linalg.expm(problem.matrix(x)), problem.slopes(x)
    variance = np.einsum("uij,uv,vij->ij", slopes, problem.covariance(x, information), slopes)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = P * (1 - P) / variance
    told = (variance > 0) & (n > 0)
    low, high = share_interval(
        np.where(told, P * n, 0.5), np.where(told, n, 1), confidence=confidence
    )
    low, high = np.where(told, low, P), np.where(told, high, P)
    # A rate of 0 adds nothing to the variance of P: what it may be instead is its upper bound.
    _, fastest, _, leaving, _ = intervals(
        problem, x, confidence=confidence, information=information
    )
    none, each = x == 0, np.arange(len(x))
    more = -np.expm1(-fastest) * none
    at = problem.rows, problem.columns
    high[at] = np.maximum(high[at], np.minimum(P[at] + more * slopes[each, *at], 1.0))
    kept = np.flatnonzero(np.bincount(problem.rows, weights=x, minlength=problem.k) == 0)
    low[kept, kept] = np.exp(-leaving[kept])
    return P, low, high
