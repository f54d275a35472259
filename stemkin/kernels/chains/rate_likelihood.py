"""The likelihood of a Markov chain's rates, given counts of what became of what over each gap.

Its maximum is found by Fisher's scoring: the expected information takes the place of the second
derivatives, which needs no more than the slopes of P (Kalbfleisch & Lawless, J. Am. Stat. Assoc.
80, 863 (1985), eq. 3.4). A rate without an event goes to 0 in one step, and one that left 0 too
early comes back in one.

>>> free = np.nonzero(~np.eye(2, dtype=bool))
>>> likelihood = RateLikelihood(np.array([[[90.0, 10], [20, 80]]]), np.ones(1), *free)
>>> linalg.expm(likelihood.matrix(likelihood.maximise())).round(4).tolist()
[[0.9, 0.1], [0.2, 0.8]]
"""

from __future__ import annotations

from copy import copy

import numpy as np
from scipy import linalg

from stemkin.kernels.chains.generator_slopes import exponential_and_slopes
from stemkin.kernels.chains.rate_climb import (
    FASTEST,
    SLOWEST,
    climb_rates,
    generator_of,
    problem_of,
    sums_at,
)

FAST = 3.0
"""Only a rate of more than this is asked whether it might as well be infinite."""
AS_LIKELY = 1e-3
"""A loss of log-likelihood that says nothing."""
CLOSE_ENOUGH = 1e-8
"""The maximum is reached where a step promises less than this gain of the log-likelihood."""
CLOSE_HELD = 1e-5
"""Likewise where a rate is held, of which only the height of the likelihood is wanted."""


class RateLikelihood:
    """The likelihood of counts as a function of the free rates x.

    Parameters
    ----------
    counts
        (m, k, k) pairs of each gap.
    times
        (m,) gaps, in units of the shortest, in ascending order.
    rows, columns
        (n_free,) which rates are free.

    Attributes
    ----------
    work
        How many slopes were computed so far: a measure of time that is the same on any machine.
    """

    floor = SLOWEST

    def __init__(
        self, counts: np.ndarray, times: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        """Keep the counts; see the class's docstring."""
        self.counts, self.times, self.rows, self.columns = counts, times, rows, columns
        self.k, self.work = counts.shape[-1], 0
        self._tied(np.arange(len(rows)), np.ones(len(rows)))

    def _tied(self, rate: np.ndarray, share: np.ndarray) -> None:
        """Say which of the rates stands in each place, and how much of it."""
        self._problem = problem_of(self.counts, self.times, self.rows, self.columns, rate, share)

    def of_counts(self, counts: np.ndarray) -> RateLikelihood:
        """Return the likelihood of the same rates if `counts` (m, k, k) had been seen."""
        other = copy(self)
        other.counts, other.work = counts, 0
        other._problem = (np.ascontiguousarray(counts, np.float64), *self._problem[1:])
        return other

    def matrix(self, x: np.ndarray) -> np.ndarray:
        """Return the generator whose free rates are `x`."""
        return generator_of(np.ascontiguousarray(x, np.float64), self._problem)

    def value(self, x: np.ndarray) -> float:
        """Return the log-likelihood."""
        self.work += 1
        x = np.ascontiguousarray(x, np.float64)
        return sums_at(x, self._problem, np.zeros(0), np.zeros((0, 0)))

    def loss(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the log-likelihood and its gradient.

        Parameters
        ----------
        x
            (n_free,) free rates per shortest gap.
        """
        value, gradient, _ = self.evaluate(x)
        return -value, -gradient

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-likelihood, its gradient, and the expected information of the rates.

        Parameters
        ----------
        x
            (n_free,) free rates per shortest gap.

        Returns
        -------
        A number, (n_free,) slopes, and the (n_free, n_free) sum of n_i dP_ij dP_ij / P_ij.
        """
        self.work += len(self.rows)
        gradient, information = np.zeros(len(x)), np.zeros((len(x), len(x)))
        x = np.ascontiguousarray(x, np.float64)
        return sums_at(x, self._problem, gradient, information), gradient, information

    def information(self, x: np.ndarray) -> np.ndarray:
        """Return the expected information of the rates, sum of n_i dP_ij dP_ij / P_ij."""
        return self.evaluate(x)[2]

    def maximise(
        self,
        *,
        start: np.ndarray | None = None,
        held: int | None = None,
        enough: float = CLOSE_ENOUGH,
    ) -> np.ndarray:
        """Return the free rates at the maximum; 0 where they ran into their lower end.

        Parameters
        ----------
        start
            Where to begin.
        held
            A rate that stays at its `start`.
        enough
            Where a step promises less than this gain of the log-likelihood, the climb ends.
        """
        if start is None:
            start = self.guess()
        x = np.clip(np.array(start, np.float64), self.floor, FASTEST)
        movable = np.ones(len(x), bool)
        if held is not None:
            enough = CLOSE_HELD
            movable[held], x[held] = False, start[held]
        self.work += len(self.rows) * climb_rates(x, movable, enough, self._problem)
        if held is None:
            x = self._fastest(x)
        return np.where(x <= 10 * self.floor, 0.0, x)

    def _fastest(self, x: np.ndarray) -> np.ndarray:
        """Return the rates with those at `FASTEST` that are as likely there as where they are.

        States that mix within a frame have no rates but only the ratio of them: the climb ends
        wherever it no longer gains.
        """
        fast = x > FAST
        if not fast.any():
            return x
        further = np.where(fast, x * max(FASTEST / x[fast].min(), 1.0), x)
        if self.value(further) < self.value(x) - AS_LIKELY:
            return x
        return further

    def within_reach(self, x: np.ndarray) -> np.ndarray:
        """Return rates between `floor` and `FASTEST`, as likely as the rates `x` (n_free,).

        Of fast ones only the ratio counts, and some may lie beyond: all are slowed down alike.
        """
        x = np.maximum(x, self.floor)
        return np.where(x > FAST, x * min(FASTEST / x.max(), 1.0), x)

    def guess(self) -> np.ndarray:
        """Return where to look first: changes over the time at risk."""
        stayed = np.einsum("mij,m->ij", self.counts, self.times)
        pooled = self.counts.sum(axis=0)
        rates = (pooled[self.rows, self.columns] + 0.1) / (stayed.sum(axis=1)[self.rows] + 0.1)
        return np.asarray(np.clip(rates, 1e-6, 1.0))

    def covariance(self, x: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Return the covariance of the rates; 0 for those at their lower end."""
        inside = np.flatnonzero(x > 0)
        covariance = np.zeros((len(x), len(x)))
        if len(inside):
            covariance[np.ix_(inside, inside)] = linalg.pinvh(information[np.ix_(inside, inside)])
        return covariance

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """Return the (n_free, k, k) derivatives of exp(Q), of a gap of 1, in each free rate."""
        rows, columns = self._problem[5:7]
        return exponential_and_slopes(self.matrix(x), 1.0, rows, columns)[1]
