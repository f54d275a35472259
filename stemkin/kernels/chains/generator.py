"""The generator of a Markov chain in continuous time: its rates, by maximum likelihood of counts.

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
from scipy import linalg  # noqa: F401 - for the example

from stemkin.kernels.chains.rate_intervals import intervals
from stemkin.kernels.chains.rate_likelihood import FASTEST, RateLikelihood
from stemkin.kernels.common.intervals import count_interval


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

    Returns
    -------
    Rates of the (k, k) pairs; NaN in the rows of states that were never left nor kept.
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
    return generator_at(
        problem, x, unit=unit, log_likelihood=-problem.loss(x)[0], confidence=confidence
    )


def _with_unseen(
    only: Generator, counts: np.ndarray, times: np.ndarray, seen: np.ndarray, confidence: float
) -> Generator:
    """Return the generator of the `seen` states with all others, where nothing was seen to go.

    Parameters
    ----------
    only
        Generator of the seen states alone.
    counts, times
        As of `fit_generator`, of all states.
    seen
        (n_seen,) places of the seen states among all.
    """
    # Rows of seen states hold 0 for the others, with the upper bound of a count of 0 over the time
    # at risk; rows of the others hold NaN; then the rates among the seen ones are put in.
    k = counts.shape[-1]
    known = np.zeros((k, k))
    known[seen] = np.where(counts.sum(axis=(0, 2)) > 0, 0.0, np.nan)[seen, None]
    known[np.setdiff1d(np.arange(k), seen)] = np.nan
    rates, low, high = known.copy(), known.copy(), known.copy()
    at_risk = np.maximum(np.einsum("mij,m->i", counts, times), 1e-300)
    high += (count_interval(np.zeros(1), confidence=confidence)[1] / at_risk)[:, None]
    for whole, part in ((rates, only.rates), (low, only.low), (high, only.high)):
        whole[np.ix_(seen, seen)] = part
    kept = (counts.sum(axis=(0, 2)) > 0)[seen]
    alone = seen[np.isnan(rates[seen, seen]) & kept]  # a single state that was only ever kept
    rates[alone, alone], high[alone, alone] = 0.0, 0.0
    low[alone, alone] = -high[alone].max(axis=1, initial=0.0)
    return Generator(rates, low, high, only.log_likelihood, only.saturated)


def generator_at(
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

    Returns
    -------
    (k, k) rates; NaN in the rows of states without free rates.
    """
    low, high, exit_low, exit_high = intervals(
        problem, x, confidence=confidence, information=information
    )
    fitted, below, above = (problem.matrix(v) for v in (x, low, high))
    diagonal = np.arange(problem.k)
    below[diagonal, diagonal], above[diagonal, diagonal] = -exit_high, -exit_low
    unknown = ~np.isin(diagonal, problem.rows)
    for matrix in (fitted, below, above):
        matrix[unknown] = np.nan
    saturated = bool((x > 0.99 * FASTEST).any())
    return Generator(fitted / unit, below / unit, above / unit, log_likelihood, saturated)
