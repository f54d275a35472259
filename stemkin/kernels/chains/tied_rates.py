"""Rates that are the same by symmetry: several entries of a generator, one number.

A vacancy beside a dopant sits on one of three columns that a third of a turn carries into each
other. The chain of {alone, @0, @1, @2} then has three rates and not twelve: attachment (to any of
the three), detachment, and rotation from one column to the next.

>>> entries = [(0, 1, 0, 0.5), (0, 2, 0, 0.5), (1, 0, 1, 1.0), (2, 0, 1, 1.0)]
>>> counts = np.array([[[80.0, 12, 8], [10, 40, 0], [10, 0, 40]]])
>>> problem = TiedRates(counts, np.ones(1), entries)
>>> problem.maximise().round(2).tolist()
[0.24, 0.24]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from stemkin.kernels.chains.rate_intervals import endless
from stemkin.kernels.chains.rate_likelihood import FAST, RateLikelihood
from stemkin.kernels.chains.rate_profile import profile_interval
from stemkin.kernels.common.intervals import rate_interval


class TiedRates(RateLikelihood):
    """The likelihood of counts as a function of a few rates, each of which stands in many places.

    Parameters
    ----------
    counts
        (m, k, k) pairs of each gap.
    times
        (m,) gaps, in units of the shortest, in ascending order.
    entries
        (from, to, which rate, share of it) of every place of the generator that is not 0.
    """

    def __init__(
        self,
        counts: np.ndarray,
        times: np.ndarray,
        entries: Sequence[tuple[int, int, int, float]],
    ) -> None:
        """Keep the counts; see the class's docstring."""
        rows, columns, which, share = (np.array(own) for own in zip(*entries, strict=True))
        super().__init__(counts, times, rows, columns)
        self.tie = np.zeros((len(rows), int(which.max()) + 1))
        self.tie[np.arange(len(rows)), which] = share
        self._tied(which, share)

    def guess(self) -> np.ndarray:
        """Return where to look first: changes over the time at risk."""
        pooled = self.counts.sum(axis=0)
        there = (self.tie > 0).T.astype(np.float64)
        events = there @ pooled[self.rows, self.columns]
        return np.asarray(np.clip((events + 0.1) / (self.at_risk() + 0.1), 1e-6, 1.0))

    def at_risk(self) -> np.ndarray:
        """Return the (n,) times at risk of each rate."""
        stayed = np.einsum("mij,m->i", self.counts, self.times)
        return np.asarray(self.tie.T @ stayed[self.rows])

    def intervals(self, x: np.ndarray, *, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the intervals of all rates: those of a count, or of the profile where none does.

        Parameters
        ----------
        x
            (n,) rates at the maximum.
        confidence
            Of the intervals.

        Returns
        -------
        (n,) lower and (n,) upper bounds per shortest gap.
        """
        information = self.information(np.maximum(x, 1e-7))
        held, free = self.covariance(x, information), linalg.pinvh(information)
        variance = np.where(x > 0, np.diag(held), np.diag(free))
        slope = np.maximum(self.loss(np.maximum(x, self.floor))[1], 1e-12)
        low, high, told = rate_interval(x, variance, self.at_risk(), slope, confidence)
        for i in np.flatnonzero(~told | (x > FAST)).tolist():
            low[i], high[i] = profile_interval(self, x, i, confidence=confidence)
        return low, np.maximum(high, endless(x))
