"""The most likely rates behind names, by expectation and maximisation (Baum-Welch).

Expected counts along tracks, then the rates, the confusion and the lasting of names that explain
them best, again and again.

The names lie in the workers' memory; what travels are sums over tracks, exact in any order. Source:
Baum & Petrie, Ann. Math. Stat. 37, 1554 (1966), with the generator as what is maximised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.kernels.chains.generator import Generator, generator_at
from stemkin.kernels.chains.generator_slopes import exponential_and_slopes
from stemkin.kernels.chains.hidden_markov import UNITS, expected_counts
from stemkin.kernels.chains.mixed_steps import Memory
from stemkin.kernels.chains.rate_intervals import probability_interval
from stemkin.kernels.chains.rate_likelihood import RateLikelihood
from stemkin.kernels.chains.wrong_names import (
    LONGEST,
    kept_slope,
    likeliest_confusion,
    likeliest_kept,
    log_prior,
    marginal_information,
    name_chances,
)
from stemkin.rows.groups import Key
from stemkin.rows.passes import Sums, added, sum_over

MAX_STEPS = 300
CLOSE_ENOUGH = 1e-8
"""Steps end when two of them together gain less log-likelihood than this for each track, of at most
`MANY` tracks."""
MANY = 10_000
CLOSE_STEP = 1e-5
"""Within a step, the rates are as likely as any but for this much of the log-likelihood."""
FIRST_KEPT = (0.5, 0.93)
"""Probabilities of being kept from which climbs begin."""
NO_EVENT = 1e-4
"""A rate that makes fewer events than this in all tracks together is 0."""
MOST_FRAMES = 32
"""Gaps of up to so many frames are powers of one matrix; beyond, rounding would add up."""
NO_LASTING = 1e-3
"""Names that are kept with less than this probability do not last."""


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

    def places(self, states: tuple[int, ...]) -> np.ndarray:
        """Return the (n,) place of each row's class among the increasing `states`."""
        return _places(self, states)

    def doubts(self, states: tuple[int, ...], odds: np.ndarray | None) -> np.ndarray:
        """Return (n,) how much likelier than most rows each one is of any state but its name's.

        Parameters
        ----------
        states
            Increasing.
        odds
            (k,) mean odds that each name is wrong; None: all rows are alike.
        """
        if odds is None:
            return np.ones(len(self.name))
        return _doubts(self, states, tuple(odds.tolist()))


@lru_cache(maxsize=8)
def _places(names: Emissions, states: tuple[int, ...]) -> np.ndarray:
    """Return what `Emissions.places` does; each look at the likelihood asks for the same."""
    return np.searchsorted(np.array(states), names.name)


@lru_cache(maxsize=8)
def _doubts(names: Emissions, states: tuple[int, ...], odds: tuple[float, ...]) -> np.ndarray:
    """Return what `Emissions.doubts` does; each look at the likelihood asks for the same."""
    assert names.sure is not None
    sure = np.clip(np.nan_to_num(names.sure, nan=1.0), 1e-6, 1 - 1e-9)
    return np.asarray((1 - sure) / sure / np.array(odds)[names.places(states)])


def joined(parts: Sequence[Mapping[Key, Emissions]], group: Key) -> dict[Key, Emissions]:
    """Return the names of a group in one piece, track by track as the `parts` hold them.

    Parameters
    ----------
    parts
        Of partitions that hold whole tracks.
    group
        Which one.
    """
    own = [part[group] for part in parts if group in part]
    if len(own) == 1:
        return {group: own[0]}
    gaps = sorted({gap for one in own for gap in one.gaps})
    number = {gap: i for i, gap in enumerate(gaps)}
    edges, gap = [np.zeros(1, np.int64)], []
    for one in own:
        edges.append(edges[-1][-1] + one.edges[1:])
        # a track's first row points to the first gap, whichever that is: it is not used
        numbers = np.array([number[pair] for pair in one.gaps] or [0], np.int32)
        gap.append(numbers[one.gap])
    sure = None
    if own[0].sure is not None:
        sure = np.concatenate([np.asarray(one.sure) for one in own])
    name = np.concatenate([one.name for one in own])
    return {group: Emissions(np.concatenate(edges), name, sure, np.concatenate(gap), gaps)}


def _powers(Q: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (m, k, k) transition matrices exp(Q t) of increasing `times` (m,).

    Where these are whole frames, each follows from the one before.
    """
    none = np.zeros(0, np.int64)
    whole = np.rint(times).astype(int)
    if not np.array_equal(whole, times) or whole[-1] > MOST_FRAMES:
        return np.stack([exponential_and_slopes(Q, t, none, none)[0] for t in times.tolist()])
    one = exponential_and_slopes(Q, 1.0, none, none)[0]
    power, found = np.eye(len(Q)), []
    for frames in np.diff(whole, prepend=0).tolist():
        for _ in range(frames):
            power = power @ one
        found.append(power)
    return np.stack(found)


@dataclass(frozen=True, eq=False)
class WrongNames:
    """What is known of wrong names before the tracks are looked at.

    Attributes
    ----------
    confusion
        (k, k) probability that state i is named j.
    measured
        (k,) of how many rows each row of `confusion` is known; infinite where it is exact.
    odds
        (k,) mean odds that each name is wrong, where rows say how sure they are; else None.
    """

    confusion: np.ndarray
    measured: np.ndarray
    odds: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class At:
    """Where the likelihood is looked at.

    Attributes
    ----------
    x
        (n_free,) rates per shortest frame time.
    confusion
        (k, k) probability that state i is named j.
    kept
        Probability that a name is kept from frame to frame while the state stays.
    start
        (k,) share of each state among the first ones of tracks.
    """

    x: np.ndarray
    confusion: np.ndarray
    kept: float
    start: np.ndarray


@dataclass(frozen=True, eq=False)
class Looked:
    """What all tracks add at one place of the likelihood.

    Attributes
    ----------
    log_likelihood
        Of the names, and of the confusion by what was measured of it.
    counts
        (m, k, k) expected transitions of each time.
    start
        (k,) expected first states.
    held
        Gap [frames] → (2,) expected steps in which a name was kept, and in which it was drawn anew
        though the state stayed.
    drawn
        (k, k) how often each state was expected to draw each name.
    """

    log_likelihood: float
    counts: np.ndarray
    start: np.ndarray
    held: dict[int, np.ndarray]
    drawn: np.ndarray


def _unbounded(at: At) -> np.ndarray:
    """Return a place as numbers along which steps are mixed: roots, logits and logarithms."""
    kept = special.logit(np.clip(at.kept, 1e-9, LONGEST))
    shares = np.log(np.maximum(np.concatenate([at.confusion.ravel(), at.start]), 1e-20))
    return np.concatenate([np.sqrt(at.x), [kept], shares])


def _bounded(there: np.ndarray, near: At) -> At:
    """Return the place of `_unbounded` numbers; what is exactly known stays as it is `near`."""
    n, k = len(near.x), len(near.start)
    x = np.clip(there[:n], 0.0, None) ** 2
    shares = np.exp(np.clip(there[n + 1 :], -50, 0))
    confusion, start = shares[: k * k].reshape(k, k), shares[k * k :]
    confusion = confusion / confusion.sum(axis=1, keepdims=True)
    kept = near.kept
    if kept > NO_LASTING:
        kept = float(np.clip(special.expit(there[n]), 0.0, LONGEST))
    return At(x, confusion, kept, start / start.sum())


def _expectation(
    held: Mapping[Key, Emissions],
    *,
    group: Key,
    states: tuple[int, ...],
    powers: dict[tuple[str, int], np.ndarray],
    confusion: np.ndarray,
    odds: np.ndarray | None,
    kept: float,
    start: np.ndarray,
) -> Sums:
    """Return what the tracks of a partition add to one step, in whole numbers. Computes once."""
    names = held.get(group)
    if names is None:
        return {}
    k, place = len(states), names.places(states)
    chance = name_chances(place, confusion, names.doubts(states, odds))
    matrices, lasts = np.eye(k)[None], np.zeros(1)  # of tracks of one row, which no gap divides
    if names.gaps:
        matrices = np.stack([powers[gap] for gap in names.gaps])
        lasts = np.array([kept**gap for _, gap in names.gaps])
    found = expected_counts(names.edges, names.gap, chance, matrices, start, name=place, kept=lasts)
    sums: Sums = {
        ("log_likelihood",): found.log_likelihood,
        ("start",): found.start,
        ("drawn",): found.drawn,
    }
    sums |= {("counts", *gap): found.counts[i] for i, gap in enumerate(names.gaps)}
    return sums | {("held", *gap): found.held[i] for i, gap in enumerate(names.gaps)}


class BaumWelch:
    """Maximum of the likelihood of names by expectation and maximisation.

    Parameters
    ----------
    names
        Group → `Emissions`, one for each partition that holds the group; delayed where they lie in
        the workers' memory.
    group
        The group whose tracks are looked at.
    states
        Classes, increasing.
    times
        (movie, frames) → seconds, of every gap that occurs.
    wrong
        What is known of wrong names.
    lasting
        Whether names may be kept from frame to frame.

    Attributes
    ----------
    at, looked
        The maximum, and what the tracks add there.
    """

    def __init__(
        self,
        names: list[Any],
        group: Key,
        states: tuple[int, ...],
        times: dict[tuple[str, int], float],
        wrong: WrongNames,
        *,
        lasting: bool = False,
    ) -> None:
        """Climb to the maximum; see the class's docstring."""
        self.names, self.group, self.states, self.k = names, group, states, len(states)
        self.wrong, self.lasting = wrong, lasting
        self.unit = min(t / gap for (_, gap), t in times.items())  # the shortest frame time
        # Times are counted in shortest frame times; gaps of several movies that last as long share
        # one place in `distinct`, and one matrix of counts.
        self.distinct = np.unique(np.array(list(times.values())) / self.unit)
        self.position = {
            key: int(np.searchsorted(self.distinct, t / self.unit)) for key, t in times.items()
        }
        self.rows, self.columns = np.nonzero(~np.eye(self.k, dtype=bool))
        nothing = np.zeros((len(self.distinct), self.k, self.k))
        self.rates = RateLikelihood(nothing, self.distinct, self.rows, self.columns)
        self.at, self.looked = self._best_of(FIRST_KEPT if lasting else (0.0,))

    @property
    def known(self) -> np.ndarray:
        """(k,) mask of the states whose confusion is known exactly."""
        return np.asarray(np.isinf(self.wrong.measured))

    def problem(self, counts: np.ndarray) -> RateLikelihood:
        """Return the likelihood of the rates if `counts` (m, k, k) had been seen."""
        return self.rates.of_counts(counts)

    def look(self, at: At) -> Looked:
        """Return what all tracks add at a place of the likelihood. One pass over the names."""
        at_time = _powers(self.rates.matrix(at.x), self.distinct)
        powers = {key: np.maximum(at_time[i], 0.0) for key, i in self.position.items()}
        words: Any = {"group": self.group, "states": self.states, "powers": powers}
        words |= {"confusion": at.confusion, "odds": self.wrong.odds, "kept": at.kept}
        expectation: Callable[[Any], Sums] = partial(_expectation, start=at.start, **words)
        if all(isinstance(part, Mapping) for part in self.names):
            sums = added([expectation(part) for part in self.names])
        else:
            sums = sum_over(self.names, expectation)
        counts = np.zeros((len(self.distinct), self.k, self.k))
        held: dict[int, np.ndarray] = {}
        for (movie, gap), i in sorted(self.position.items()):
            counts[i] += sums["counts", movie, gap] / UNITS
            held[gap] = held.get(gap, np.zeros(2)) + sums["held", movie, gap] / UNITS
        value = float(sums["log_likelihood",][0] / UNITS)
        value += log_prior(at.confusion, self._measured())
        return Looked(value, counts, sums["start",] / UNITS, held, sums["drawn",] / UNITS)

    def _measured(self) -> np.ndarray:
        """Return the (k, k) rows by which the confusion is known; 0 where it is exact."""
        rows = np.where(self.known, 0.0, self.wrong.measured)
        return np.asarray(rows[:, None] * self.wrong.confusion)

    def _best_of(self, begun: Sequence[float]) -> tuple[At, Looked]:
        """Return the highest of the maxima that climbs from several lastings end at.

        Few real visits and wrong names that last may explain names nearly as well as many visits
        and names that hardly last: there may be a hill of each kind.
        """
        ends = []
        for kept in begun:
            guess = np.full(len(self.rows), 0.05 * (1 - kept) / max(self.k - 1, 1))
            even = np.full(self.k, 1 / self.k)
            ends.append(self._climb(At(guess, self.wrong.confusion, kept, even)))
        return max(ends, key=lambda end: end[1].log_likelihood)

    def _climb(self, at: At) -> tuple[At, Looked]:
        """Climb from a place to the maximum, and look there.

        Each step goes where the last ones together lead, or, where that would lose, to what
        explains best what was expected, which never does. Source: Anderson's mixing of the steps
        of expectation and maximisation; Henderson & Varadhan, J. Comput. Graph. Stat. 28, 834
        (2019).
        """
        looked, memory, before = self.look(at), Memory(), np.inf
        close = CLOSE_ENOUGH * np.clip(looked.start.sum(), 1, MANY)
        for _ in range(MAX_STEPS):
            value, plain = looked.log_likelihood, self._next(at, looked)
            there = memory.mixed(_unbounded(at), _unbounded(plain))
            after = plain
            if there is not None:
                after = self._as_known(_bounded(there, plain))
            seen = self.look(after)
            if there is not None:
                memory.judged(good=seen.log_likelihood >= value)
            if after is not plain and seen.log_likelihood < value:
                after, seen = plain, self.look(plain)
            gained = seen.log_likelihood - value
            at, looked = after, seen
            if gained + before < close:
                break
            before = gained
        return self._without_traces(at, looked)

    def _without_traces(self, at: At, looked: Looked) -> tuple[At, Looked]:
        """Return a place without rates that are on their way to 0, and look there.

        What is left of them makes no event, but its curvature would be taken for what is known.
        """
        at_risk = np.einsum("mij,m->i", looked.counts, self.distinct)
        traces = at.x * at_risk[self.rows] < NO_EVENT
        if not (traces & (at.x > 0)).any():
            return at, looked
        at = replace(at, x=np.where(traces, 0.0, at.x))
        return at, self.look(at)

    def _as_known(self, at: At) -> At:
        """Return a place with the confusion of the states of which it is known exactly."""
        confusion = np.where(self.known[:, None], self.wrong.confusion, at.confusion)
        return replace(at, confusion=confusion)

    def _next(self, at: At, looked: Looked) -> At:
        """Return what explains best what was expected at a place."""
        x = self.problem(looked.counts).maximise(start=at.x, enough=CLOSE_STEP)
        confusion = np.where(
            self.known[:, None],
            self.wrong.confusion,
            likeliest_confusion(looked.drawn + self._measured()),
        )
        kept = 0.0
        if self.lasting:
            kept = likeliest_kept(looked.held)
        start = np.maximum(looked.start / looked.start.sum(), 1e-9)
        return At(x, confusion, kept, start)

    @cached_property
    def joint_information(self) -> np.ndarray:
        """Minus the second derivatives of the log-likelihood in all that was fitted.

        First the rates, then what `_around` varies besides. From central differences of the slope
        (Fisher's identity: the slope of the expected log-likelihood).
        """
        slopes = []
        for after, place in self._around():
            looked = self.look(after)
            x = np.maximum(after.x, RateLikelihood.floor)
            rates = self.problem(looked.counts).loss(x)[1]
            slopes.append((np.append(rates, -self._nuisance_slope(after, looked)), place))
        pairs = zip(slopes[::2], slopes[1::2], strict=True)
        bend = np.array([(up - down) / (far - near) for (up, far), (down, near) in pairs])
        return np.asarray((bend + bend.T) / 2)

    def kept_interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval of the probability that a name is kept from frame to frame."""
        reach, beyond = float(special.ndtri((1 + confidence) / 2)), 0.0
        if self._is_lasting():
            n = len(self.at.x)
            order = [n, *range(n), *range(n + 1, len(self.joint_information))]
            own = marginal_information(self.joint_information[np.ix_(order, order)], 1)
            kept, spread = self.at.kept, 1 / np.sqrt(max(float(own[0, 0]), 1e-12))
            ends = special.expit(special.logit(kept) + np.array([-reach, reach]) * spread)
            if kept > 3 * spread * kept * (1 - kept):
                return float(ends[0]), float(ends[1])
            beyond = float(ends[1])  # too few wrong names to tell: both ends are asked
        # Near its lower end: a parabola with the slope and bend of the log-likelihood there, which
        # may fall by reach²/2 below its highest value at 0 or more.
        slope, step = [], (1e-3, 2e-2)
        for near in step:
            looked = self.look(replace(self.at, kept=near))
            slope.append(kept_slope(looked.held, near) / (near * (1 - near)))
        bend = max((slope[0] - slope[1]) / (step[1] - step[0]), 1e-9)
        top = slope[0] / bend  # where the parabola is highest, maybe below 0
        drop = reach**2 / bend + min(top, 0.0) ** 2
        low, high = max(top - np.sqrt(drop), 0.0), min(top + np.sqrt(drop), 1.0)
        return float(min(low, self.at.kept)), float(max(high, beyond))

    def _around(self) -> list[tuple[At, float]]:
        """Return two places on either side of the maximum for each of what was fitted.

        They are the rates, the logit of the lasting, and the logarithms of the confusion's ratios.
        """
        at, places = self.at, []
        for i in range(len(at.x)):
            h = max(1e-3 * at.x[i], 1e-6)
            for side in (h, -h):
                # a rate at its floor goes down less than h, so x[i] itself tells the distance
                x = np.maximum(at.x + side * (np.arange(len(at.x)) == i), RateLikelihood.floor)
                places.append((replace(at, x=x), float(x[i])))
        if self._is_lasting():
            for side in (1e-2, -1e-2):
                odds = at.kept / (1 - at.kept) * np.exp(side)
                places.append((replace(at, kept=odds / (1 + odds)), side))
        for i, j in self._free_names():
            for side in (1e-2, -1e-2):
                confusion = at.confusion.copy()
                confusion[i, j] *= np.exp(side)
                confusion[i] /= confusion[i].sum()
                places.append((replace(at, confusion=confusion), side))
        return places

    def _is_lasting(self) -> bool:
        return NO_LASTING < self.at.kept < 1 - 1e-9

    def _free_names(self) -> list[tuple[int, int]]:
        """Return the wrong names whose probability was fitted."""
        free = ~self.known[:, None] & ~np.eye(self.k, dtype=bool) & (self.at.confusion > 1e-9)
        return list(zip(*(where.tolist() for where in np.nonzero(free)), strict=True))

    def _nuisance_slope(self, at: At, looked: Looked) -> np.ndarray:
        """Return the slopes of the log-likelihood in what `_around` varies besides the rates."""
        drawn = looked.drawn + self._measured()
        away = drawn - at.confusion * drawn.sum(axis=1, keepdims=True)
        slope = [away[i, j] for i, j in self._free_names()]
        if self._is_lasting():
            slope = [kept_slope(looked.held, at.kept), *slope]
        return np.array(slope)

    def wrong_share(self) -> float:
        """Return the share of names that are wrong, of the rows that another one follows."""
        stayed = self.looked.counts.sum(axis=(0, 2))
        wrong = 1 - np.diagonal(self.at.confusion)
        return float((stayed * wrong).sum() / max(stayed.sum(), 1e-300))

    def share_of_changes(self) -> float:
        """Return what share of the changes of name is due to wrong names alone."""
        steps = self.looked.counts.sum()
        real = steps - np.einsum("mii->", self.looked.counts)
        false = 2 * self.wrong_share() * (1 - self.at.kept) * steps
        return float(false / max(false + real, 1e-300))

    def table(self, confidence: float) -> pd.DataFrame:
        """Return the table ``transitions`` without the group's columns."""
        problem = self.problem(self.looked.counts)
        information = marginal_information(self.joint_information, len(self.at.x))
        words: Any = {"confidence": confidence, "information": information}
        value = self.looked.log_likelihood
        rates = generator_at(problem, self.at.x, unit=self.unit, log_likelihood=value, **words)
        P, low, high = probability_interval(problem, self.at.x, **words)
        # Where a rate is infinite the likelihood is flat, and its curvature bounds nothing.
        endless = np.isinf(rates.rates)
        flat = endless | (np.abs(rates.low) > np.abs(rates.rates))
        np.fill_diagonal(flat, np.diagonal(endless))
        rates.low[flat & (rates.rates >= 0)], rates.high[flat & (rates.rates >= 0)] = 0.0, np.inf
        rates.low[flat & (rates.rates < 0)], rates.high[flat & (rates.rates < 0)] = -np.inf, 0.0
        low, high = np.minimum(low, P), np.maximum(high, P)
        k, ids = self.k, np.array(self.states)
        one = np.zeros((k, k))
        if np.isclose(self.distinct[0], 1):
            one = self.looked.counts[0]
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
