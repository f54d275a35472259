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

import numpy as np
from scipy import linalg

from stemkin.kernels.chains.generator_slopes import exponential_and_slopes, powers_and_slopes

FASTEST = 20.0
"""A rate of more than this per shortest gap cannot be told from an infinite one."""
FAST = 3.0
"""Only a rate of more than this is asked whether it might as well be infinite."""
AS_LIKELY = 1e-3
"""A loss of log-likelihood that says nothing."""
MOST_STEPS, MOST_HALVINGS = 200, 30
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

    floor = 1e-9

    def __init__(
        self, counts: np.ndarray, times: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        """Keep the counts; see the class's docstring."""
        self.counts, self.times, self.rows, self.columns = counts, times, rows, columns
        self.k, self.work = counts.shape[-1], 0
        self._series = _multiples(times)

    def matrix(self, x: np.ndarray) -> np.ndarray:
        """Return the generator whose free rates are `x`."""
        Q = np.zeros((self.k, self.k))
        Q[self.rows, self.columns] = x
        Q[np.arange(self.k), np.arange(self.k)] = -Q.sum(axis=1)
        return Q

    def value(self, x: np.ndarray) -> float:
        """Return the log-likelihood."""
        Q, total, none = self.matrix(x), 0.0, np.zeros(0, dtype=np.int64)
        self.work += 1
        for base, places, exponents in self._series:
            P, slopes = exponential_and_slopes(base * Q, none, none)
            for place, (power, _) in zip(
                places, powers_and_slopes(P, slopes, exponents), strict=True
            ):
                total += float((self.counts[place] * np.log(np.maximum(power, 1e-300))).sum())
        return total

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
        Q, n_free, value = self.matrix(x), len(self.rows), 0.0
        gradient, information = np.zeros(n_free), np.zeros((n_free, n_free))
        self.work += n_free
        for base, places, exponents in self._series:
            P, slopes = exponential_and_slopes(base * Q, self.rows, self.columns)
            found = powers_and_slopes(P, slopes * base, exponents)
            for place, (power, own) in zip(places, found, strict=True):
                counts, flat = self.counts[place], own.reshape(n_free, -1)
                power = np.maximum(power, 1e-300)
                value += float((counts * np.log(power)).sum())
                gradient += flat @ (counts / power).ravel()
                weight = counts.sum(axis=1)[:, None] / np.maximum(power, 1e-12)
                information += (flat * weight.ravel()) @ flat.T
        return value, gradient, information

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
        x = np.clip(start, self.floor, FASTEST)
        movable = np.ones(len(x), bool)
        if held is not None:
            enough = CLOSE_HELD
            movable[held], x[held] = False, start[held]
        found = self.evaluate(x)
        for _ in range(MOST_STEPS):
            value, gradient, information = found
            outwards = ((x <= self.floor) & (gradient <= 0)) | ((x >= FASTEST) & (gradient >= 0))
            free = np.flatnonzero(movable & ~outwards)
            step = scoring_step(gradient[free], information[np.ix_(free, free)])
            if len(free) == 0 or gradient[free] @ step < enough:
                break
            for _ in range(MOST_HALVINGS):
                # Rates stop at their ends; what a step promises is counted along the way left.
                after = x.copy()
                after[free] = np.clip(x[free] + step, self.floor, FASTEST)
                promised = float(gradient @ (after - x))
                found = self.evaluate(after)
                if promised < enough or found[0] >= value + 1e-4 * promised:
                    break
                step = step / 2
            if promised < enough:
                break
            x = after
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
        return exponential_and_slopes(self.matrix(x), self.rows, self.columns)[1]


def scoring_step(gradient: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Return the step of Fisher's scoring, information⁻¹ gradient, where some rates say nothing.

    Parameters
    ----------
    gradient
        (n,) slopes of the log-likelihood.
    information
        (n, n) expected information.
    """
    # Rates differ by orders of magnitude: in units of their own errors the matrix has ones on its
    # diagonal, and a small number added to them keeps flat directions from running away.
    scale = 1 / np.sqrt(np.maximum(np.diagonal(information), 1e-12))
    scaled = information * scale * scale[:, None] + 1e-9 * np.eye(len(scale))
    return np.asarray(scale * np.linalg.solve(scaled, scale * gradient))


def _multiples(times: np.ndarray) -> list[tuple[float, list[int], list[int]]]:
    """Return times as multiples of a few: (base, places of its multiples, the multiples)."""
    series: list[tuple[float, list[int], list[int]]] = []
    for place, time in enumerate(times.tolist()):
        for base, places, exponents in series:
            ratio = time / base
            if abs(ratio - round(ratio)) < 1e-9 and round(ratio) > exponents[-1]:
                places.append(place)
                exponents.append(round(ratio))
                break
        else:
            series.append((time, [place], [1]))
    return series
