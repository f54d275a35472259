"""Markov chains from counts: probabilities, rates, and how well both are known.

A *transition matrix* P says with which probability a state i is a state j one frame later; a *generator* Q holds the
rates behind it [1/s], so that a gap of time t has P = exp(Q t). Rows add up to 1 and 0. Counts come from
`stemkin.kernels.counting`.

Rates are not read off a matrix logarithm, which may not exist: Q maximises the likelihood of all counts, each gap
entering with its own exp(Q t) (Kalbfleisch & Lawless, J. Am. Stat. Assoc. 80, 863 (1985)).

>>> counts = np.array([[90, 10], [20, 80]])
>>> P, low, high = transition_probabilities(counts)
>>> P.tolist(), low.round(3).tolist()
([[0.9, 0.1], [0.2, 0.8]], [[0.83, 0.053], [0.131, 0.714]])
>>> fit = fit_generator(counts[None], np.array([2.0]))
>>> (linalg.expm(fit.rates * 2.0) - P).round(6).max() + 0.0
np.float64(0.0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, special

FASTEST = 20.0
"""A rate of more than this per shortest gap cannot be told from an infinite one."""


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


def share_interval(part: np.ndarray, whole: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the probability behind `part` successes in `whole` trials (Jeffreys' prior).

    >>> share_interval(np.array(0), np.array(10))[1].round(3)
    np.float64(0.217)
    """
    tail = (1 - confidence) / 2
    low = special.betaincinv(part + 0.5, whole - part + 0.5, tail)
    high = special.betaincinv(part + 0.5, whole - part + 0.5, 1 - tail)
    return np.where(part == 0, 0.0, low), np.where(part == whole, 1.0, high)


def count_interval(count: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the mean of a Poisson number that came out as `count` (Jeffreys' prior).

    >>> [v.round(2).tolist() for v in count_interval(np.array([0, 10]))]
    [[0.0, 5.14], [2.51, 17.74]]
    """
    tail = (1 - confidence) / 2
    count = np.asarray(count, dtype=np.float64)
    low = special.gammaincinv(count + 0.5, tail)
    return np.where(count == 0, 0.0, low), np.asarray(special.gammaincinv(count + 0.5, 1 - tail))


@dataclass(frozen=True, eq=False)
class Generator:
    """Rates and their intervals.

    Attributes
    ----------
    rates, low, high
        (k, k) [per unit of the times given]; the diagonal is minus the rate of leaving. NaN rows were never left.
    log_likelihood
        At its maximum.
    saturated
        Whether a rate ran to `FASTEST`: the states mix within a frame, and the counts cannot say how fast.
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
        Of the intervals, which come from the curvature of the likelihood, as of a gamma distribution with that width
        (so that a rate with no event has an upper bound).
    overlap
        How many times each independent pair was counted.
    """
    counts = np.asarray(counts, dtype=np.float64) / overlap
    k = counts.shape[-1]
    left = counts.sum(axis=(0, 2)) > 0
    rows, columns = np.nonzero(~np.eye(k, dtype=bool) & left[:, None])
    if len(rows) == 0:
        nothing = np.full((k, k), np.nan)
        return Generator(nothing, nothing, nothing, 0.0)
    unit = float(np.min(times))
    problem = _Likelihood(counts, np.asarray(times, dtype=np.float64) / unit, rows, columns)
    x = problem.maximise()
    low, high, exit_low, exit_high = problem.intervals(x, confidence)
    fitted, below, above = (problem.matrix(v) for v in (x, low, high))
    below[np.arange(k), np.arange(k)], above[np.arange(k), np.arange(k)] = -exit_high, -exit_low
    for matrix in (fitted, below, above):
        matrix[~left] = np.nan
    saturated = bool((x > 0.99 * FASTEST).any())
    return Generator(fitted / unit, below / unit, above / unit, -problem.loss(x)[0], saturated)


class _Likelihood:
    """The likelihood of counts as a function of the free rates x, in units of the shortest gap."""

    floor = 1e-9

    def __init__(self, counts: np.ndarray, times: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        self.counts, self.times, self.rows, self.columns = counts, times, rows, columns
        self.k = counts.shape[-1]

    def matrix(self, x: np.ndarray) -> np.ndarray:
        Q = np.zeros((self.k, self.k))
        Q[self.rows, self.columns] = x
        Q[np.arange(self.k), np.arange(self.k)] = -Q.sum(axis=1)
        return Q

    def loss(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the log-likelihood and its gradient (by the adjoint of the Frechet derivative)."""
        k, Qt = self.k, self.matrix(x).T
        P = np.maximum(linalg.expm(self.times[:, None, None] * Qt.T), 1e-300)
        block = np.zeros((len(self.times), 2 * k, 2 * k))
        block[:, :k, :k] = block[:, k:, k:] = self.times[:, None, None] * Qt
        block[:, :k, k:] = self.counts / P
        slope = np.einsum("m,mij->ij", self.times, linalg.expm(block)[:, :k, k:])
        gradient = slope[self.rows, self.columns] - slope[self.rows, self.rows]
        return -float((self.counts * np.log(P)).sum()), -gradient

    def maximise(self) -> np.ndarray:
        stayed = np.einsum("mij,m->ij", self.counts, self.times)
        pooled = self.counts.sum(axis=0)
        start = (pooled[self.rows, self.columns] + 0.1) / (stayed.sum(axis=1)[self.rows] + 0.1)
        n = max(self.counts.sum(), 1.0)

        def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.loss(x)
            return value / n, gradient / n

        found = optimize.minimize(
            scaled, np.clip(start, 1e-6, 1.0), jac=True, method="L-BFGS-B", bounds=[(self.floor, FASTEST)] * len(start),
            options={"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 30},
        )  # fmt: skip
        return np.where(found.x <= 10 * self.floor, 0.0, found.x)

    def information(self, x: np.ndarray) -> np.ndarray:
        """Return the expected information of the rates, sum of n_i dP_ij dP_ij / P_ij."""
        k, n_free = self.k, len(x)
        Q = self.matrix(x)
        direction = np.zeros((n_free, k, k))
        direction[np.arange(n_free), self.rows, self.columns] = 1
        direction[np.arange(n_free), self.rows, self.rows] = -1
        information = np.zeros((n_free, n_free))
        for counts, time in zip(self.counts, self.times, strict=True):
            block = np.zeros((n_free, 2 * k, 2 * k))
            block[:, :k, :k] = block[:, k:, k:] = Q * time
            block[:, :k, k:] = direction * time
            power = linalg.expm(block)
            P, slope = np.maximum(power[0, :k, :k], 1e-12), power[:, :k, k:]
            information += np.einsum("i,uij,vij->uv", counts.sum(axis=1), slope / P, slope)
        return information

    def intervals(self, x: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the bounds of each rate, and of the total rate of leaving each state."""
        inside = x > 0
        covariance = np.zeros((len(x), len(x)))
        if inside.any():
            information = self.information(np.maximum(x, self.floor))
            covariance[np.ix_(inside, inside)] = linalg.pinvh(information[np.ix_(inside, inside)])
        exposure = np.maximum(self.loss(np.maximum(x, self.floor))[1], 1e-12)  # -d log L / dx where x is 0
        low, high = _gamma_interval(x, np.diag(covariance), exposure, confidence)
        leaving, spread, at_risk = (np.zeros(self.k) for _ in range(3))
        for i in range(self.k):
            own = self.rows == i
            leaving[i], spread[i] = x[own].sum(), covariance[np.ix_(own, own)].sum()
            at_risk[i] = exposure[own].min(initial=np.inf)
        exit_low, exit_high = _gamma_interval(leaving, spread, at_risk, confidence)
        return low, high, exit_low, exit_high


def _gamma_interval(
    rate: np.ndarray, variance: np.ndarray, exposure: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of `rate` as if it were a number of events over an exposure."""
    with np.errstate(divide="ignore", invalid="ignore"):
        events = np.where(rate > 0, rate**2 / variance, 0.0)
        exposure = np.where(rate > 0, rate / variance, exposure)
        low, high = count_interval(events, confidence=confidence)
        return low / exposure, high / exposure


def stationary_distribution(P: np.ndarray) -> np.ndarray:
    """Return the (k,) shares that a chain with the transition matrix `P` keeps; NaN where it has none or several.

    >>> stationary_distribution(np.array([[0.9, 0.1], [0.2, 0.8]])).round(3).tolist()
    [0.667, 0.333]
    """
    k = len(P)
    if not np.isfinite(P).all():
        return np.full(k, np.nan)
    values, vectors = np.linalg.eig(P.T)
    ones = np.abs(values - 1) < 1e-9
    if ones.sum() != 1:
        return np.full(k, np.nan)
    share = np.real(vectors[:, ones][:, 0])
    return np.asarray(share / share.sum())


def implied_timescales(P: np.ndarray, lag: float) -> np.ndarray:
    """Return the (k - 1,) times over which a chain forgets, ``-lag / ln |eigenvalue|``, the longest first.

    >>> implied_timescales(np.array([[0.9, 0.1], [0.2, 0.8]]), 1.0).round(3).tolist()
    [2.804]
    """
    if not np.isfinite(P).all():
        return np.full(len(P) - 1, np.nan)
    size = np.sort(np.abs(np.linalg.eigvals(P)))[::-1][1:]
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(size >= 1 - 1e-12, np.inf, -lag / np.log(np.minimum(size, 1.0))))
