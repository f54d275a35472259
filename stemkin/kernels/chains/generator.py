"""Rates from counts: the generator of a Markov chain in continuous time.

A *generator* Q holds the rates between states [1/s], its rows add up to 0, and a gap of time t has
the transition matrix P = exp(Q t). Rates are not read off a matrix logarithm, which may not exist:
Q maximises the likelihood of all counts, each gap entering with its own exp(Q t) (Kalbfleisch &
Lawless, J. Am. Stat. Assoc. 80, 863 (1985)).

>>> counts = np.array([[90, 10], [20, 80]])
>>> fit = fit_generator(counts[None], np.array([2.0]))
>>> linalg.expm(fit.rates * 2.0).round(4).tolist()
[[0.9, 0.1], [0.2, 0.8]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from stemkin.kernels.chains.rate_likelihood import FASTEST, RateLikelihood
from stemkin.kernels.common.intervals import count_interval, rate_interval, share_interval

PLAIN = 0.3
"""A rate of leaving of more than this per shortest gap has a likelihood too far from that of a
count for its curvature to do."""

FEW_STATES = 8
"""With more states the exact interval of a rate that is hard to tell costs too much, and its
curvature has to do."""


@dataclass(frozen=True, eq=False)
class Generator:
    """Rates and their intervals.

    Attributes
    ----------
    rates, low, high
        (k, k) [per unit of the times given]; the diagonal is minus the rate of leaving. NaN rows
        were never left.
    log_likelihood
        At its maximum.
    saturated
        Whether a rate ran to `FASTEST`: the states mix within a frame, and the counts cannot say
        how fast.
    """

    rates: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_likelihood: float
    saturated: bool = False


def fit_generator(
    counts: np.ndarray, times: np.ndarray, *, confidence: float = 0.95, overlap: float = 1.0
) -> Generator:
    """Find the generator that makes the counts most likely, gap by gap.

    Parameters
    ----------
    counts
        (m, k, k) pairs of each gap, from row to column.
    times
        (m,) the gaps, in units of time.
    confidence
        Of the intervals, which come from the curvature of the likelihood, as of a gamma
        distribution with that width (so that a rate with no event has an upper bound).
    overlap
        How many times each independent pair was counted.
    """
    counts = np.asarray(counts, dtype=np.float64) / overlap
    k = counts.shape[-1]
    seen = np.flatnonzero(counts.sum(axis=(0, 1)) + counts.sum(axis=(0, 2)) > 0)
    if 0 < len(seen) < k:
        only = fit_generator(counts[:, seen[:, None], seen], times, confidence=confidence)
        return _with_unseen(only, counts, np.asarray(times, dtype=np.float64), seen, confidence)
    left = counts.sum(axis=(0, 2)) > 0
    rows, columns = np.nonzero(~np.eye(k, dtype=bool) & left[:, None])
    if len(rows) == 0:
        nothing = np.full((k, k), np.nan)
        return Generator(nothing, nothing, nothing, 0.0)
    unit = float(np.min(times))
    problem = RateLikelihood(counts, np.asarray(times, dtype=np.float64) / unit, rows, columns)
    x = problem.maximise()
    return summary(problem, x, unit=unit, log_likelihood=-problem.loss(x)[0], confidence=confidence)


def _with_unseen(
    only: Generator, counts: np.ndarray, times: np.ndarray, seen: np.ndarray, confidence: float
) -> Generator:
    """Return the generator of the `seen` states with all others: nothing went there in the time at
    risk, as far as was seen."""
    k = counts.shape[-1]
    known = np.zeros((k, k))
    known[seen] = np.where(counts.sum(axis=(0, 2)) > 0, 0.0, np.nan)[seen, None]
    known[np.setdiff1d(np.arange(k), seen)] = np.nan
    rates, low, high = known.copy(), known.copy(), known.copy()
    at_risk = np.maximum(np.einsum("mij,m->i", counts, times), 1e-300)
    high += (count_interval(np.zeros(1), confidence=confidence)[1] / at_risk)[:, None]
    for whole, part in ((rates, only.rates), (low, only.low), (high, only.high)):
        whole[np.ix_(seen, seen)] = part
    alone = seen[
        np.isnan(rates[seen, seen]) & (counts.sum(axis=(0, 2)) > 0)[seen]
    ]  # a single state that was only ever kept
    rates[alone, alone], high[alone, alone] = 0.0, 0.0
    low[alone, alone] = -high[alone].max(axis=1, initial=0.0)
    return Generator(rates, low, high, only.log_likelihood, only.saturated)


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
            low, high = problem.profile_interval(x, 0, confidence)
        else:
            low, high = (
                v[0]
                for v in _exit_intervals(
                    problem, x, problem.information(np.maximum(x, 1e-7)), confidence
                )
            )
        found[:, state] = np.array([x[0], low, high]) / unit
    return found[0], found[1], found[2]


def _against_the_rest(counts: np.ndarray, state: int) -> np.ndarray:
    """Return (m, 2, 2) counts between `state` and all other states together."""
    other = np.arange(counts.shape[-1]) != state
    lumped = np.empty((len(counts), 2, 2))
    lumped[:, 0, 0], lumped[:, 0, 1] = counts[:, state, state], counts[:, state, other].sum(axis=1)
    lumped[:, 1, 0] = counts[:, other, state].sum(axis=1)
    lumped[:, 1, 1] = counts[:, other][:, :, other].sum(axis=(1, 2))
    return lumped


def summary(
    problem: RateLikelihood,
    x: np.ndarray,
    *,
    unit: float,
    log_likelihood: float,
    confidence: float,
    information: np.ndarray | None = None,
) -> Generator:
    """Return the most likely rates `x` as a generator per `unit` of time, with intervals.

    Parameters
    ----------
    problem
        The likelihood that `x` maximises.
    x
        (n_free,) free rates per shortest gap.
    unit
        The shortest gap, in units of time.
    log_likelihood
        At `x`.
    confidence
        Of the intervals.
    information
        (n_free, n_free) minus the second derivatives of the log-likelihood, where they are not
        those of `problem`.
    """
    low, high, exit_low, exit_high = _intervals(problem, x, confidence, information)
    fitted, below, above = (problem.matrix(v) for v in (x, low, high))
    diagonal = np.arange(problem.k)
    below[diagonal, diagonal], above[diagonal, diagonal] = -exit_high, -exit_low
    unknown = ~np.isin(diagonal, problem.rows)
    for matrix in (fitted, below, above):
        matrix[unknown] = np.nan
    saturated = bool((x > 0.99 * FASTEST).any())
    return Generator(fitted / unit, below / unit, above / unit, log_likelihood, saturated)


def _intervals(
    problem: RateLikelihood, x: np.ndarray, confidence: float, information: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the bounds of each rate, and of the total rate of leaving each state."""
    known = problem.information(np.maximum(x, 1e-7)) if information is None else information
    variance, slope, at_risk = _spread(problem, x, known)
    low, high, counted = rate_interval(x, variance, at_risk[problem.rows], slope, confidence)
    if information is not None:
        return low, high, *_exit_intervals(problem, x, known, confidence)
    for i in np.flatnonzero(~counted).tolist() if problem.k <= FEW_STATES else []:
        low[i], high[i] = problem.profile_interval(x, i, confidence)
    total = np.bincount(problem.rows, weights=x, minlength=problem.k)
    _, below, above = exit_rates(problem.counts, problem.times, confidence=confidence)
    return low, high, np.minimum(below, total), np.maximum(above, total)


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
    """Return the variance of each rate (for a rate of 0: as if it were free), how fast the
    likelihood falls, and times at risk."""
    variance = np.where(
        x > 0, np.diag(problem.covariance(x, information)), np.diag(linalg.pinvh(information))
    )
    slope = np.maximum(
        problem.loss(np.maximum(x, problem.floor))[1], 1e-12
    )  # -d log L / dx where x is 0
    return variance, slope, np.einsum("mij,m->i", problem.counts, problem.times)


def probability_interval(
    problem: RateLikelihood, x: np.ndarray, information: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P = exp(Q) of a gap of 1, and its (k, k) intervals, as of shares with the same
    variance."""
    P, slopes = linalg.expm(problem.matrix(x)), problem.slopes(x)
    variance = np.einsum("uij,uv,vij->ij", slopes, problem.covariance(x, information), slopes)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.where(variance > 0, P * (1 - P) / variance, 1e12)
    low, high = share_interval(P * n, n, confidence=confidence)
    return P, low, high
