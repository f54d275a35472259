"""Rates behind names that are sometimes wrong: a hidden Markov model over tracks.

Five wrong names in a hundred make a class that switches twice in a hundred frames seem to switch eleven times. Where the
naming errors are known (a confusion matrix measured on simulated movies, or the classifier's own probabilities), the rates
of the hidden states follow from the likelihood of the names along whole tracks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg

from stemkin.controls import checked_confusion
from stemkin.kernels.exact import slices, total
from stemkin.kernels.generator import Generator, probability_interval, summary
from stemkin.kernels.hidden_markov import expected_counts
from stemkin.kernels.rate_likelihood import RateLikelihood
from stemkin.kinetics.switching import Transitions, class_names, transitions
from stemkin.tables import NOT_NAMED, POOLED, Experiment, conform, empty
from stemkin.trajectories import Sums, Trajectories, frame_times, held, sum_over

MAX_STEPS = 200
STRIP_TRACKS = 8192
CLOSE_ENOUGH = 1e-7
"""Baum and Welch's steps end when the log-likelihood per track gains less than this."""


@dataclass(frozen=True, eq=False)
class _Names:
    """What is kept of the rows of a partition: the names along tracks."""

    edges: np.ndarray
    name: np.ndarray
    sure: np.ndarray | None
    gap: np.ndarray
    gaps: list[tuple[str, int]]


def hidden_transitions(
    tracks: Any,
    *,
    confusion: Any = None,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_ids: Iterable[int] | None = None,
    confidence: float = 0.95,
) -> Transitions:
    """Return transitions with the naming errors taken out. Computes once, then passes over the names some 20 to 100 times.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas, or Dask whose partitions hold whole tracks). The names alone, about 12 bytes a row, stay in
        the workers' memory.
    confusion
        (k, k) probability that a defect of class i (row) is named j (column), in the order of the classes. None: each
        row's own ``probability`` p says how sure its name is. Such a posterior holds the share w of the name as a prior, so what
        was seen is p / (1 - p) times (1 - w) / w as likely in the named class as in any other.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    class_ids
        The states; by default the classes of the experiment and of the rows.
    confidence
        Of all intervals.

    Returns
    -------
    Transitions
        All movies pooled ("*"), lag 1: `rate_per_s` at the maximum of the likelihood, `probability` = exp(Q t) of the
        shortest frame time, `count` the expected number of one-step transitions, rounded. Intervals come from the curvature
        of the likelihood.

    Raises
    ------
    ValueError
        If a column is missing, the confusion matrix does not fit the classes, or a frame time is not known.
    """
    known = experiment if experiment is not None else getattr(tracks, "experiment", None)
    time_of = frame_times(tracks, experiment, frame_time_s)
    wanted = None if class_ids is None else tuple(sorted({int(i) for i in class_ids}))
    names = held(tracks, partial(_names_of, states=wanted, with_probability=confusion is None))
    seen = sum_over(names, _contents)
    states = wanted or tuple(sorted({*class_names(known), *(i for _, i in (k for k in seen if k[0] == "state"))}))
    keys = sorted(k[1:] for k in seen if k[0] == "gap")
    if not states or not keys:
        return Transitions(empty("transitions"), class_names(known), states)
    if len(states) < 2:  # a single class has no other to be taken for
        words: Any = {"experiment": experiment, "frame_time_s": frame_time_s, "confidence": confidence}
        return transitions(tracks, class_ids=states, **words)
    times = {key: time_of(key[0]) * key[1] for key in keys}
    named = np.array([seen.get(("state", state), 0) for state in states], dtype=np.float64)
    fit = _BaumWelch(names, states, times, _emission_table(confusion, states), (named + 0.5) / (named + 0.5).sum())
    return Transitions(fit.table(confidence), class_names(known), states)


def _emission_table(confusion: Any, states: tuple[int, ...]) -> np.ndarray | None:
    if confusion is None:
        return None
    matrix = checked_confusion(confusion)
    if len(matrix) != len(states):
        msg = f"the confusion matrix has {len(matrix)} rows, but there are {len(states)} classes {states}; give class_ids=..."
        raise ValueError(msg)
    return matrix


def _names_of(rows: pd.DataFrame, *, states: tuple[int, ...] | None, with_probability: bool) -> _Names:
    """Return the names along whole tracks, without what is needed no more. Computes once."""
    tracks = Trajectories.of(rows, need=("class_id", "probability") if with_probability else ("class_id",))
    kept = tracks.keep(tracks.class_id != NOT_NAMED if states is None else np.isin(tracks.class_id, states))
    sure = rows["probability"].to_numpy(np.float64)[kept.row] if with_probability else None
    if sure is not None and ((sure < 0) | (sure > 1)).any():
        msg = f"the column 'probability' says how sure a name is, from 0 to 1, but it holds {sure[(sure < 0) | (sure > 1)][0]}; give confusion=... instead"
        raise ValueError(msg)
    first = np.append(True, kept.track[1:] != kept.track[:-1]) if len(kept.track) else np.zeros(0, dtype=bool)
    movie = kept.movie[kept.track]
    step = np.where(first, 0, np.diff(kept.frame, prepend=0))
    pairs, gap = np.unique(np.stack([movie, step], axis=1)[~first], axis=0, return_inverse=True)
    position = np.zeros(len(first), dtype=np.int32)
    position[~first] = gap.ravel()
    edges = np.append(np.flatnonzero(first), len(first))
    gaps = [(kept.movies[m], int(g)) for m, g in pairs]
    return _Names(edges, kept.class_id.astype(np.int32), sure, position, gaps)


def _contents(names: _Names) -> Sums:
    """Return how often each class is named, and which gaps occur."""
    states = {("state", int(i)): int(n) for i, n in zip(*np.unique(names.name, return_counts=True), strict=True)}
    return states | {("gap", *gap): np.zeros(0) for gap in names.gaps}


def _expectation(
    names: _Names,
    *,
    states: tuple[int, ...],
    powers: dict[tuple[str, int], np.ndarray],
    emission: np.ndarray | None,
    prior: np.ndarray,
    start: np.ndarray,
) -> Sums:
    """Return what the tracks of a partition add to one step, as exact sums over tracks. Computes once."""
    if len(names.name) == 0:
        return {}
    k = len(states)
    place = np.searchsorted(np.array(states), names.name)
    if emission is not None:
        chance = emission.T[place]
    else:
        assert names.sure is not None
        sure = np.clip(np.nan_to_num(names.sure, nan=1.0), 1e-6, 1 - 1e-9)
        share = np.clip(prior[place], 1e-9, 1 - 1e-9)
        chance = np.repeat(((1 - sure) / (1 - share))[:, None], k, axis=1)
        chance[np.arange(len(place)), place] = sure / share
        chance /= chance.max(axis=1, keepdims=True)
    matrices = np.stack([powers[gap] for gap in names.gaps]) if names.gaps else np.eye(k)[None]
    log_likelihood, counts, begin = np.zeros(4), np.zeros((*matrices.shape, 4)), np.zeros((k, 4))
    for i in range(0, len(names.edges) - 1, STRIP_TRACKS):
        found = expected_counts(names.edges[i : i + STRIP_TRACKS + 1], names.gap, chance, matrices, start)
        log_likelihood += slices(found.log_likelihood).sum(axis=0)
        counts += slices(found.counts).sum(axis=0)
        begin += slices(found.start).sum(axis=0)
    sums: Sums = {("log_likelihood",): log_likelihood, ("start",): begin}
    return sums | {("counts", *gap): counts[i] for i, gap in enumerate(names.gaps)}


class _BaumWelch:
    """Maximum of the likelihood by expectation and maximisation: expected counts, then the rates that explain them best."""

    def __init__(
        self,
        names: list[Any],
        states: tuple[int, ...],
        times: dict[tuple[str, int], float],
        emission: np.ndarray | None,
        prior: np.ndarray,
    ) -> None:
        self.names, self.states, self.emission, self.prior, self.k = names, states, emission, prior, len(states)
        self.unit = min(t / gap for (_, gap), t in times.items())  # the shortest frame time
        self.distinct = np.unique(np.array(list(times.values())) / self.unit)
        self.position = {key: int(np.searchsorted(self.distinct, t / self.unit)) for key, t in times.items()}
        self.rows, self.columns = np.nonzero(~np.eye(self.k, dtype=bool))
        self.start = np.full(self.k, 1 / self.k)
        self.x = np.full(len(self.rows), 0.05 / max(self.k - 1, 1))
        self.log_likelihood, self.counts, self.begin = -np.inf, np.zeros(0), np.zeros(0)
        self._climb()

    def problem(self, counts: np.ndarray) -> RateLikelihood:
        return RateLikelihood(counts, self.distinct, self.rows, self.columns)

    def expect(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-likelihood, the (m, k, k) expected counts and the expected first states. One pass."""
        Q = self.problem(np.zeros((1, self.k, self.k))).matrix(x)
        at_time = linalg.expm(self.distinct[:, None, None] * Q)
        powers = {key: np.maximum(at_time[i], 0.0) for key, i in self.position.items()}
        sums = sum_over(
            self.names,
            partial(
                _expectation,
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
            if gained < CLOSE_ENOUGH * max(self.begin.sum(), 1):
                break
            self.x = self.problem(self.counts).maximise()
            self.start = np.maximum(self.begin / self.begin.sum(), 1e-9)

    def information(self) -> np.ndarray:
        """Return minus the second derivatives of the log-likelihood in the rates, from differences of its slope."""
        bend = np.zeros((len(self.x), len(self.x)))
        for i in range(len(self.x)):
            h = max(1e-3 * self.x[i], 1e-6)
            slopes = []
            for side in (h, -h):
                x = np.maximum(self.x + side * (np.arange(len(self.x)) == i), RateLikelihood.floor)
                slopes.append((self.problem(self.expect(x)[1]).loss(x)[1], x[i]))
            bend[i] = (slopes[0][0] - slopes[1][0]) / (slopes[0][1] - slopes[1][1])
        return (bend + bend.T) / 2

    def table(self, confidence: float) -> pd.DataFrame:
        """Return the table ``transitions``."""
        problem, information = self.problem(self.counts), self.information()
        words: Any = {"confidence": confidence, "information": information}
        rates = summary(problem, self.x, unit=self.unit, log_likelihood=self.log_likelihood, **words)
        P, low, high = probability_interval(problem, self.x, **words)
        k, ids = self.k, np.array(self.states)
        one = self.counts[0] if np.isclose(self.distinct[0], 1) else np.zeros((k, k))
        return conform(_rows(ids, np.rint(one).astype(np.int64), P, low, high, rates), "transitions")


def _rows(
    ids: np.ndarray, count: np.ndarray, P: np.ndarray, low: np.ndarray, high: np.ndarray, rates: Generator
) -> pd.DataFrame:
    k = len(ids)
    return pd.DataFrame(
        {
            "movie": POOLED, "lag_frames": 1, "from_id": np.repeat(ids, k), "to_id": np.tile(ids, k), "count": count.ravel(),
            "probability": P.ravel(), "low": low.ravel(), "high": high.ravel(), "rate_per_s": rates.rates.ravel(),
            "rate_low": rates.low.ravel(), "rate_high": rates.high.ravel(),
        }
    )  # fmt: skip
