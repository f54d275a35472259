"""The likelihood of a Markov chain's rates, given counts of what became of what over each gap.

>>> free = np.nonzero(~np.eye(2, dtype=bool))
>>> likelihood = RateLikelihood(np.array([[[90.0, 10], [20, 80]]]), np.ones(1), *free)
>>> linalg.expm(likelihood.matrix(likelihood.maximise())).round(4).tolist()
[[0.9, 0.1], [0.2, 0.8]]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, optimize, special

FASTEST = 20.0
"""A rate of more than this per shortest gap cannot be told from an infinite one."""


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

    def __init__(
        self, counts: np.ndarray, times: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> None:
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
        """Return minus the log-likelihood and its gradient, by the adjoint Frechet derivative.

        Parameters
        ----------
        x
            (n_free,) free rates per shortest gap.
        """
        # The exponential of [[A, E], [0, A]] holds the derivative of exp(A) in the direction E in
        # its upper right corner; with A transposed it is the adjoint, and one exponential per gap
        # gives the slopes in all rates at once.
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
        if start is None:
            start = self.guess()
        n = max(self.counts.sum(), 1.0)

        def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.loss(x)
            return value / n, gradient / n

        ends: list[Any] = [(self.floor, FASTEST)] * len(start)
        if held is not None:
            ends[held] = float(start[held]), float(start[held])
        begin = np.array([np.clip(v, *end) for v, end in zip(start, ends, strict=True)])
        options: dict[str, Any] = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 30}
        found: Any = optimize.minimize(
            scaled, begin, jac=True, method="L-BFGS-B", bounds=ends, options=options
        )  # type: ignore[call-overload]
        return np.where(found.x <= 10 * self.floor, 0.0, found.x)

    def guess(self) -> np.ndarray:
        """Return where to look first: changes over the time at risk."""
        stayed = np.einsum("mij,m->ij", self.counts, self.times)
        pooled = self.counts.sum(axis=0)
        rates = (pooled[self.rows, self.columns] + 0.1) / (stayed.sum(axis=1)[self.rows] + 0.1)
        return np.asarray(np.clip(rates, 1e-6, 1.0))

    def profile_interval(self, x: np.ndarray, i: int, confidence: float) -> tuple[float, float]:
        """Return the profile likelihood interval of a rate.

        Parameters
        ----------
        x
            (n_free,) free rates at the maximum.
        i
            Which of them.
        confidence
            Of the interval.
        """
        lowest = self.loss(np.maximum(x, self.floor))[0]
        reach = float(np.sqrt(special.chdtri(1, 1 - confidence)))

        def spare(value: float) -> float:
            # Nearly a straight line in the rate, so that few steps find its zero.
            kept = np.where(np.arange(len(x)) == i, value, x)
            others = self.maximise(start=kept, held=i)
            fallen = self.loss(np.maximum(others, self.floor))[0] - lowest
            return float(np.sqrt(max(2 * fallen, 0.0))) - reach

        best, top = max(float(x[i]), self.floor), max(2 * float(x[i]), 1e-3)
        while spare(top) < 0 and top < FASTEST:
            top *= 2
        low, high = 0.0, np.inf
        if spare(self.floor) >= 0:
            low = float(optimize.brentq(spare, self.floor, best, rtol=5e-3))
        if top < FASTEST:
            high = float(optimize.brentq(spare, best, top, rtol=5e-3))
        return low, high

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

    def covariance(self, x: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Return the covariance of the rates; 0 for those at their lower end."""
        inside = np.flatnonzero(x > 0)
        covariance = np.zeros((len(x), len(x)))
        if len(inside):
            covariance[np.ix_(inside, inside)] = linalg.pinvh(information[np.ix_(inside, inside)])
        return covariance

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """Return the (n_free, k, k) derivatives of exp(Q), of a gap of 1, in each free rate."""
        Q, each = self.matrix(x), np.eye(len(x))
        return np.stack(
            [linalg.expm_frechet(Q, self.matrix(one), compute_expm=False) for one in each]
        )
