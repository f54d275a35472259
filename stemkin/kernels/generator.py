"""Rates from counts: the generator of a Markov chain in continuous time.

A *generator* Q holds the rates between states [1/s], its rows add up to 0, and a gap of time t has the transition matrix
P = exp(Q t). Rates are not read off a matrix logarithm, which may not exist: Q maximises the likelihood of all counts, each
gap entering with its own exp(Q t) (Kalbfleisch & Lawless, J. Am. Stat. Assoc. 80, 863 (1985)).

>>> counts = np.array([[90, 10], [20, 80]])
>>> fit = fit_generator(counts[None], np.array([2.0]))
>>> linalg.expm(fit.rates * 2.0).round(4).tolist()
[[0.9, 0.1], [0.2, 0.8]]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, optimize, special

from stemkin.kernels.intervals import count_interval, rate_interval

FASTEST = 20.0
"""A rate of more than this per shortest gap cannot be told from an infinite one."""

PLAIN = 0.3
"""A rate of leaving of more than this per shortest gap has a likelihood too far from that of a count for its curvature to do."""

FEW_STATES = 8
"""With more states the exact interval of a rate that is hard to tell costs too much, and its curvature has to do."""


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
    return problem.summary(x, unit=unit, log_likelihood=-problem.loss(x)[0], confidence=confidence)


def _with_unseen(
    only: Generator, counts: np.ndarray, times: np.ndarray, seen: np.ndarray, confidence: float
) -> Generator:
    """Return the generator of the `seen` states with all others: nothing went there in the time at risk, as far as was seen."""
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

    Each state is set against all others together, as a chain of two states that makes the counts most likely. This allows for
    returns between two looks, and a rarely seen state does not spoil the interval of a common one. (The others together are no
    exact Markov state: at 0.4 exits per look the rate comes out 0.6 % too low.)

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
            low, high = (v[0] for v in problem.exit_intervals(x, problem.information(np.maximum(x, 1e-7)), confidence))
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


class RateLikelihood:
    """The likelihood of counts as a function of the free rates x.

    Parameters
    ----------
    counts
        (m, k, k) pairs of each gap.
    times
        (m,) gaps, in units of the shortest.
    rows, columns
        (n_free,) which rates are free.
    """

    floor = 1e-9

    def __init__(self, counts: np.ndarray, times: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Keep the counts; see the class's docstring."""
        self.counts, self.times, self.rows, self.columns = counts, times, rows, columns
        self.k = counts.shape[-1]

    def matrix(self, x: np.ndarray) -> np.ndarray:
        """Return the generator whose free rates are `x`."""
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

    def maximise(self, *, start: np.ndarray | None = None, held: int | None = None) -> np.ndarray:
        """Return the free rates at the maximum; 0 where they ran into their lower end.

        Parameters
        ----------
        start
            Where to begin.
        held
            A rate that stays at its `start`.
        """
        start = self.guess() if start is None else start
        n = max(self.counts.sum(), 1.0)

        def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.loss(x)
            return value / n, gradient / n

        ends: list[Any] = [(self.floor, FASTEST) if i != held else (float(v), float(v)) for i, v in enumerate(start)]
        begin = np.array([np.clip(v, *end) for v, end in zip(start, ends, strict=True)])
        options: dict[str, Any] = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 30}
        found: Any = optimize.minimize(scaled, begin, jac=True, method="L-BFGS-B", bounds=ends, options=options)  # type: ignore[call-overload]
        return np.where(found.x <= 10 * self.floor, 0.0, found.x)

    def guess(self) -> np.ndarray:
        """Return where to look first: changes over the time at risk."""
        stayed = np.einsum("mij,m->ij", self.counts, self.times)
        pooled = self.counts.sum(axis=0)
        rates = (pooled[self.rows, self.columns] + 0.1) / (stayed.sum(axis=1)[self.rows] + 0.1)
        return np.asarray(np.clip(rates, 1e-6, 1.0))

    def profile_interval(self, x: np.ndarray, i: int, confidence: float) -> tuple[float, float]:
        """Return the values of the i-th rate at which the best likelihood has fallen as far as chance lets it."""
        lowest, reach = self.loss(np.maximum(x, self.floor))[0], float(np.sqrt(special.chdtri(1, 1 - confidence)))

        def spare(value: float) -> float:  # nearly a straight line in the rate, so that few steps find its zero
            kept = np.where(np.arange(len(x)) == i, value, x)
            fallen = self.loss(np.maximum(self.maximise(start=kept, held=i), self.floor))[0] - lowest
            return float(np.sqrt(max(2 * fallen, 0.0))) - reach

        best, top = max(float(x[i]), self.floor), max(2 * float(x[i]), 1e-3)
        while spare(top) < 0 and top < FASTEST:
            top *= 2
        low = 0.0 if spare(self.floor) < 0 else optimize.brentq(spare, self.floor, best, rtol=5e-3)
        return float(low), np.inf if top >= FASTEST else float(optimize.brentq(spare, best, top, rtol=5e-3))

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

    def intervals(
        self, x: np.ndarray, confidence: float, *, information: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the bounds of each rate, and of the total rate of leaving each state."""
        known = self.information(np.maximum(x, 1e-7)) if information is None else information
        variance, slope, at_risk = self._spread(x, known)
        low, high, counted = rate_interval(x, variance, at_risk[self.rows], slope, confidence)
        for i in np.flatnonzero(~counted).tolist() if information is None and self.k <= FEW_STATES else []:
            low[i], high[i] = self.profile_interval(x, i, confidence)
        if information is not None:
            return low, high, *self.exit_intervals(x, known, confidence)
        total = np.bincount(self.rows, weights=x, minlength=self.k)
        _, below, above = exit_rates(self.counts, self.times, confidence=confidence)
        return low, high, np.minimum(below, total), np.maximum(above, total)

    def exit_intervals(
        self, x: np.ndarray, information: np.ndarray, confidence: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the (k,) bounds of the total rate of leaving each state."""
        covariance = self.covariance(x, information)
        variance, slope, at_risk = self._spread(x, information)
        leaving, spread, least = (np.zeros(self.k) for _ in range(3))
        for state in range(self.k):
            own = self.rows == state
            leaving[state], spread[state] = x[own].sum(), covariance[np.ix_(own, own)].sum()
            least[state] = slope[own].min(initial=np.inf)
            if leaving[state] == 0 and own.any():
                spread[state] = variance[own].max()
        low, high, _ = rate_interval(leaving, spread, at_risk, least, confidence)
        return low, high

    def _spread(self, x: np.ndarray, information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the variance of each rate (for a rate of 0: as if it were free), how fast the likelihood falls, and times at risk."""
        variance = np.where(x > 0, np.diag(self.covariance(x, information)), np.diag(linalg.pinvh(information)))
        slope = np.maximum(self.loss(np.maximum(x, self.floor))[1], 1e-12)  # -d log L / dx where x is 0
        return variance, slope, np.einsum("mij,m->i", self.counts, self.times)

    def summary(
        self,
        x: np.ndarray,
        *,
        unit: float,
        log_likelihood: float,
        confidence: float,
        information: np.ndarray | None = None,
    ) -> Generator:
        """Return the rates `x` as a generator per unit of time, with intervals."""
        low, high, exit_low, exit_high = self.intervals(x, confidence, information=information)
        fitted, below, above = (self.matrix(v) for v in (x, low, high))
        diagonal = np.arange(self.k)
        below[diagonal, diagonal], above[diagonal, diagonal] = -exit_high, -exit_low
        unknown = ~np.isin(diagonal, self.rows)
        for matrix in (fitted, below, above):
            matrix[unknown] = np.nan
        saturated = bool((x > 0.99 * FASTEST).any())
        return Generator(fitted / unit, below / unit, above / unit, log_likelihood, saturated)

    def covariance(self, x: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Return the covariance of the rates; 0 for those at their lower end."""
        inside = np.flatnonzero(x > 0)
        covariance = np.zeros((len(x), len(x)))
        if len(inside):
            covariance[np.ix_(inside, inside)] = linalg.pinvh(information[np.ix_(inside, inside)])
        return covariance
