"""The most likely rates behind names, by expectation and maximisation (Baum-Welch).

Expected counts along tracks, then the rates that explain them best, again and again.

The names lie in the workers' memory; what travels are sums over tracks, exact in any order. Source:
Baum & Petrie, Ann. Math. Stat. 37, 1554 (1966), with the generator as what is maximised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg

from stemkin.kernels.chains.generator import Generator, generator_at
from stemkin.kernels.chains.hidden_markov import expected_counts
from stemkin.kernels.chains.rate_intervals import probability_interval
from stemkin.kernels.chains.rate_likelihood import RateLikelihood
from stemkin.kernels.common.exact import slices, total
from stemkin.rows.groups import Key
from stemkin.rows.passes import Sums, sum_over

MAX_STEPS = 200
STRIP_TRACKS = 8192
CLOSE_ENOUGH = 1e-7
"""Baum and Welch's steps end when the log-likelihood gains less than this for each track, of at
most `MANY` tracks."""
MANY = 10_000


@dataclass(frozen=True, eq=False)
class Emissions:
    """What is kept of the rows of one group in a partition: the names along tracks.

    Attributes
    ----------
    edges
        (n_tracks + 1,) rows `edges[i]` to `edges[i + 1]` belong to track i.
    name, sure
        (n,) class of each row, and how sure it is (None where a confusion matrix says so).
    gap, gaps
        (n,) which of the `gaps` (movie, frames) leads to each row from the one before.
    """

    edges: np.ndarray
    name: np.ndarray
    sure: np.ndarray | None
    gap: np.ndarray
    gaps: list[tuple[str, int]]


def _expectation(
    held: Mapping[Key, Emissions],
    *,
    group: Key,
    states: tuple[int, ...],
    powers: dict[tuple[str, int], np.ndarray],
    emission: np.ndarray | None,
    prior: np.ndarray,
    start: np.ndarray,
) -> Sums:
    """Return what the tracks of a partition add to one step, as exact sums. Computes once."""
    names = held.get(group)
    if names is None:
        return {}
    k = len(states)
    place = np.searchsorted(np.array(states), names.name)
    if emission is not None:
        chance = emission.T[place]
    else:
        assert names.sure is not None
        sure = np.clip(np.nan_to_num(names.sure, nan=1.0), 1e-6, 1 - 1e-9)
        share = np.clip(prior[place], 1e-9, 1 - 1e-9)
        # Sureness is a posterior with the share of the name as its prior; divided by that prior it
        # is a likelihood, of which only the ratios within a row count.
        chance = np.repeat(((1 - sure) / (1 - share))[:, None], k, axis=1)
        chance[np.arange(len(place)), place] = sure / share
        chance /= chance.max(axis=1, keepdims=True)
    matrices = np.eye(k)[None]  # of tracks of one row, which no gap divides
    if names.gaps:
        matrices = np.stack([powers[gap] for gap in names.gaps])
    log_likelihood, counts, begin = np.zeros(4), np.zeros((*matrices.shape, 4)), np.zeros((k, 4))
    # Strip by strip, so that forward and backward probabilities of a few tracks only are in memory.
    # A strip of tracks has one edge more; its edges are rows of the whole partition. The sums are
    # exact slices (last axis), the same for every cut into strips.
    for i in range(0, len(names.edges) - 1, STRIP_TRACKS):
        found = expected_counts(
            names.edges[i : i + STRIP_TRACKS + 1], names.gap, chance, matrices, start
        )
        log_likelihood += slices(found.log_likelihood).sum(axis=0)
        counts += slices(found.counts).sum(axis=0)
        begin += slices(found.start).sum(axis=0)
    sums: Sums = {("log_likelihood",): log_likelihood, ("start",): begin}
    return sums | {("counts", *gap): counts[i] for i, gap in enumerate(names.gaps)}


class BaumWelch:
    """Maximum of the likelihood of names by expectation and maximisation.

    Parameters
    ----------
    names
        Delayed group → `Emissions`, one for each partition that holds the group.
    group
        The group whose tracks are looked at.
    states
        Classes, increasing.
    times
        (movie, frames) → seconds, of every gap that occurs.
    emission
        (k, k) probability that state i is named j, or None: what each row's own sureness says.
    prior
        (k,) share of each class among the names.
    """

    def __init__(
        self,
        names: list[Any],
        group: Key,
        states: tuple[int, ...],
        times: dict[tuple[str, int], float],
        emission: np.ndarray | None,
        prior: np.ndarray,
    ) -> None:
        """Climb to the maximum; see the class's docstring."""
        self.names, self.group, self.states, self.k = names, group, states, len(states)
        self.emission, self.prior = emission, prior
        self.unit = min(t / gap for (_, gap), t in times.items())  # the shortest frame time
        # Times are counted in shortest frame times; gaps of several movies that last as long share
        # one place in `distinct`, and one matrix of counts.
        self.distinct = np.unique(np.array(list(times.values())) / self.unit)
        self.position = {
            key: int(np.searchsorted(self.distinct, t / self.unit)) for key, t in times.items()
        }
        self.rows, self.columns = np.nonzero(~np.eye(self.k, dtype=bool))
        self.start = np.full(self.k, 1 / self.k)
        self.x = np.full(len(self.rows), 0.05 / max(self.k - 1, 1))
        self.log_likelihood, self.counts, self.begin = -np.inf, np.zeros(0), np.zeros(0)
        self._climb()

    def problem(self, counts: np.ndarray) -> RateLikelihood:
        """Return the likelihood of the rates if `counts` (m, k, k) had been seen."""
        return RateLikelihood(counts, self.distinct, self.rows, self.columns)

    def expect(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return log-likelihood, (m, k, k) expected counts and expected first states. One pass."""
        Q = self.problem(np.zeros((1, self.k, self.k))).matrix(x)
        at_time = linalg.expm(self.distinct[:, None, None] * Q)
        powers = {key: np.maximum(at_time[i], 0.0) for key, i in self.position.items()}
        sums = sum_over(
            self.names,
            partial(
                _expectation,
                group=self.group,
                states=self.states,
                powers=powers,
                emission=self.emission,
                prior=self.prior,
                start=self.start,
            ),
        )
        counts = np.zeros((len(self.distinct), self.k, self.k))
        for key, i in self.position.items():
            counts[i] += total(sums["counts", *key])
        return float(total(sums["log_likelihood",])), counts, total(sums["start",])

    def _climb(self) -> None:
        for _ in range(MAX_STEPS):
            value, self.counts, self.begin = self.expect(self.x)
            gained, self.log_likelihood = value - self.log_likelihood, value
            if gained < CLOSE_ENOUGH * np.clip(self.begin.sum(), 1, MANY):
                break
            self.x = self.problem(self.counts).maximise(start=self.x)
            self.start = np.maximum(self.begin / self.begin.sum(), 1e-9)

    def information(self) -> np.ndarray:
        """Return minus the second derivatives of the log-likelihood in the rates.

        From central differences of its slope (Fisher's identity: the slope of the expected one).
        """
        bend = np.zeros((len(self.x), len(self.x)))
        for i in range(len(self.x)):
            h = max(1e-3 * self.x[i], 1e-6)
            slopes = []
            for side in (h, -h):
                # a rate at its floor goes down less than h, so x[i] itself tells the distance
                x = np.maximum(self.x + side * (np.arange(len(self.x)) == i), RateLikelihood.floor)
                slopes.append((self.problem(self.expect(x)[1]).loss(x)[1], x[i]))
            bend[i] = (slopes[0][0] - slopes[1][0]) / (slopes[0][1] - slopes[1][1])
        return (bend + bend.T) / 2

    def table(self, confidence: float) -> pd.DataFrame:
        """Return the table ``transitions`` without the group's columns."""
        problem, information = self.problem(self.counts), self.information()
        words: Any = {"confidence": confidence, "information": information}
        rates = generator_at(
            problem, self.x, unit=self.unit, log_likelihood=self.log_likelihood, **words
        )
        P, low, high = probability_interval(problem, self.x, **words)
        k, ids = self.k, np.array(self.states)
        one = np.zeros((k, k))
        if np.isclose(self.distinct[0], 1):
            one = self.counts[0]
        return _rows(ids, np.rint(one).astype(np.int64), P, low, high, rates)


def _rows(
    ids: np.ndarray,
    count: np.ndarray,
    P: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    rates: Generator,
) -> pd.DataFrame:
    k = len(ids)
    return pd.DataFrame(
        {
            "lag_frames": 1,
            "from_id": np.repeat(ids, k),
            "to_id": np.tile(ids, k),
            "count": count.ravel(),
            "probability": P.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "rate_per_s": rates.rates.ravel(),
            "rate_low": rates.low.ravel(),
            "rate_high": rates.high.ravel(),
            "basis": rates.basis.ravel().astype(str),
        }
    )
