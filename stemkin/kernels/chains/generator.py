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
from typing import Literal

import numpy as np
from scipy import linalg  # noqa: F401 - for the example

from stemkin.kernels.chains.rate_climb import FASTEST
from stemkin.kernels.chains.rate_intervals import endless, exit_rates, intervals
from stemkin.kernels.chains.rate_likelihood import RateLikelihood
from stemkin.kernels.chains.rate_posterior import MOST_WORK, posterior_of_rate
from stemkin.kernels.common.intervals import count_interval

Prior = Literal["none", "jeffreys"]

LEAST_SEEN = 20
"""Of four classes or more, those with fewer pairs than this are not fitted: their rates to all
others are more numbers than were seen."""
FEW_CLASSES = 3

FITTED, CURVED, COUNTED = "likelihood", "curvature", "count"
POSTERIOR = "posterior"
TOO_FAST, SELDOM, NEVER = "faster than frames", "seldom seen", "never seen"
"""What a rate rests on. `likelihood`: its maximum, the interval from the count that it amounts to
or from the profile. `curvature`: the same, but the work for profiles was used up. `count`: changes
over the time at risk, into a class that is itself not fitted; visits shorter than a gap are missed.
`posterior`: the mean and the middle part of a posterior with Jeffreys' prior.
`faster than frames`: only a lower bound is known. `seldom seen`, `never seen`: nothing is said of
what becomes of the class."""


@dataclass(frozen=True, eq=False)
class Generator:
    """Rates and their intervals.

    Attributes
    ----------
    rates, low, high
        (k, k) [per unit of the times given]; the diagonal is minus the rate of leaving. NaN rows
        are not known; infinite is a rate that cannot be told from mixing within a frame.
    log_likelihood
        At its maximum.
    basis
        (k, k) words: what each rate rests on (`FITTED` and the others); empty where none is known.
    """

    rates: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_likelihood: float
    basis: np.ndarray

    @staticmethod
    def unknown(k: int, why: str = "") -> Generator:
        """Return the generator of `k` states of which nothing is known, for the reason given."""
        nothing = np.full((k, k), np.nan)
        return Generator(
            nothing, nothing.copy(), nothing.copy(), 0.0, np.full((k, k), why, dtype=object)
        )


def fit_generator(
    counts: np.ndarray,
    times: np.ndarray,
    *,
    confidence: float = 0.95,
    overlap: float = 1.0,
    prior: Prior = "none",
) -> Generator:
    """Find the generator that makes the counts most likely, gap by gap.

    Parameters
    ----------
    counts
        (m, k, k) pairs of each gap, from row to column.
    times
        (m,) the gaps, in units of time, in ascending order.
    confidence
        Of the intervals, which come from the curvature of the likelihood, as of a gamma
        distribution with that width (so that a rate with no event has an upper bound), or from its
        profile where it is not that of a count.
    overlap
        How many times each independent pair was counted.
    prior
        "none": rates at the maximum of the likelihood. "jeffreys": the mean of each rate's
        posterior (`stemkin.kernels.chains.rate_posterior`), also of a change that never was seen.

    Returns
    -------
    Rates of the (k, k) pairs. Of more than `FEW_CLASSES` classes those with fewer than `LEAST_SEEN`
    pairs are left out of the fit; `basis` says so.
    """
    counts = np.asarray(counts, dtype=np.float64) / overlap
    times = np.asarray(times, dtype=np.float64)
    kept = counts.sum(axis=(0, 2))
    seen = np.flatnonzero(kept + counts.sum(axis=(0, 1)) > 0)
    often = seen
    if len(seen) > FEW_CLASSES:
        often = seen[kept[seen] >= LEAST_SEEN]
    found = Generator.unknown(counts.shape[-1], NEVER)
    found.basis[seen] = SELDOM
    if len(often) == 0:
        return found
    own = _of_all(counts[:, often[:, None], often], times, confidence, prior)
    among = np.ix_(often, often)
    for whole, part in (
        (found.rates, own.rates),
        (found.low, own.low),
        (found.high, own.high),
        (found.basis, own.basis),
    ):
        whole[among] = part
    if len(often) == len(kept):
        return own
    return _with_the_others(found, own, counts, times, often, confidence, prior)


def _of_all(
    counts: np.ndarray, times: np.ndarray, confidence: float, prior: Prior = "none"
) -> Generator:
    """Return the generator of states that are all fitted together; see `fit_generator`."""
    k = counts.shape[-1]
    left = counts.sum(axis=(0, 2)) > 0
    rows, columns = np.nonzero(~np.eye(k, dtype=bool) & left[:, None])
    if len(rows) == 0:
        return Generator.unknown(k, SELDOM)
    present = counts.any(axis=(1, 2))
    counts, times = counts[present], times[present]
    unit = float(np.min(times))
    problem = RateLikelihood(counts, times / unit, rows, columns)
    x = problem.maximise()
    found = generator_at(
        problem, x, unit=unit, log_likelihood=problem.value(x), confidence=confidence
    )
    if prior == "jeffreys":
        _put_posteriors(found, problem, x, unit, confidence)
    return found


def _put_posteriors(
    found: Generator, problem: RateLikelihood, x: np.ndarray, unit: float, confidence: float
) -> None:
    """Put the posteriors of the rates into a generator, and of the rates of leaving.

    A rate that may as well be infinite stays as it is, and so do those for which the work is used
    up.
    """
    for i in np.flatnonzero(x < 0.99 * FASTEST).tolist():
        if problem.work > MOST_WORK:
            break
        own = posterior_of_rate(problem, x, i, confidence=confidence)
        if own is not None:
            at = problem.rows[i], problem.columns[i]
            for matrix, value in zip((found.rates, found.low, found.high), own, strict=True):
                matrix[at] = value / unit
            found.basis[at] = POSTERIOR
    for state in np.unique(problem.rows).tolist():
        others = np.arange(problem.k) != state
        leaving = found.rates[state, others].sum()
        found.rates[state, state] = -leaving
        found.low[state, state] = min(found.low[state, state], -leaving)
        found.high[state, state] = max(found.high[state, state], -leaving)


def _with_the_others(
    found: Generator,
    own: Generator,
    counts: np.ndarray,
    times: np.ndarray,
    often: np.ndarray,
    confidence: float,
    prior: Prior = "none",
) -> Generator:
    """Return the generator with the rates at which fitted classes turn into those left out.

    Parameters
    ----------
    found
        Generator of all states, in which those among the fitted ones stand.
    own
        Generator of the fitted states alone.
    counts, times
        As of `fit_generator`, of all states.
    often
        (n,) places of the fitted states among all.
    """
    k = counts.shape[-1]
    left_out = np.setdiff1d(np.arange(k), often)
    at_risk = np.einsum("mij,m->i", counts, times)
    changes = counts.sum(axis=0)
    if len(often) == 1:  # it has no other to turn into among those that are fitted
        found.rates[often, often] = 0.0
    for state in often[at_risk[often] > 0]:
        events = changes[state, left_out]
        low, high = count_interval(events, confidence=confidence)
        if prior == "jeffreys":
            events = events + 0.5  # the mean of the gamma distribution whose middle part that is
        for matrix, values in ((found.rates, events), (found.low, low), (found.high, high)):
            matrix[state, left_out] = values / at_risk[state]
        found.basis[state, left_out] = COUNTED
        found.rates[state, state] -= events.sum() / at_risk[state]
    leaving = _exits(counts, times, confidence)
    for state in often[at_risk[often] > 0]:
        total = -found.rates[state, state]
        found.low[state, state] = -np.fmax(leaving[1][state], total)
        found.high[state, state] = -np.fmin(leaving[0][state], total)
    return Generator(found.rates, found.low, found.high, own.log_likelihood, found.basis)


def _exits(
    counts: np.ndarray, times: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (k,) bounds of the rates of leaving each state for any other."""
    _, low, high = exit_rates(counts, times, confidence=confidence)
    return low, high


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
    low, high, exit_low, exit_high, curved = intervals(
        problem, x, confidence=confidence, information=information
    )
    fitted, below, above = (problem.matrix(v) for v in (endless(x), low, endless(high)))
    diagonal = np.arange(problem.k)
    below[diagonal, diagonal], above[diagonal, diagonal] = -exit_high, -exit_low
    basis = np.full(fitted.shape, FITTED, dtype=object)
    basis[problem.rows[curved], problem.columns[curved]] = CURVED
    basis[np.isinf(fitted)] = TOO_FAST
    unknown = ~np.isin(diagonal, problem.rows)
    for matrix in (fitted, below, above):
        matrix[unknown] = np.nan
    basis[unknown] = SELDOM
    return Generator(fitted / unit, below / unit, above / unit, log_likelihood, basis)
