"""Which class becomes which: transition counts, probabilities and rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from stemkin.kernels.counting import pair_counts
from stemkin.kernels.generator import Generator, fit_generator
from stemkin.kernels.markov import transition_probabilities
from stemkin.tables import NOT_NAMED, POOLED, Experiment, conform, empty
from stemkin.trajectories import Sums, Trajectories, frame_times, packed_rows, sum_over

By = Literal["pooled", "movie"]


@dataclass(frozen=True, eq=False)
class Transitions:
    """Transitions of every movie and lag that was asked for.

    Attributes
    ----------
    table
        Table ``transitions``: one row per movie ("*" = pooled), lag and pair of classes.
    names
        Class number → name, where a name is known.
    class_ids
        The states, in the order of the matrices.
    """

    table: pd.DataFrame
    names: Mapping[int, str]
    class_ids: Sequence[int]

    @property
    def counts(self) -> pd.DataFrame:
        """Pooled counts at the first lag, from row to column."""
        return self.matrix("count")

    @property
    def probabilities(self) -> pd.DataFrame:
        """Pooled probabilities at the first lag; NaN in the row of a class that was never seen twice."""
        return self.matrix("probability")

    @property
    def rates(self) -> pd.DataFrame:
        """Pooled rates [1/s]; the diagonal is minus the rate of leaving."""
        return self.matrix("rate_per_s")

    @property
    def reasons(self) -> pd.Series:
        """Why a class has no probabilities, by class; empty where all have."""
        never = self.counts.sum(axis=1) == 0
        why = "never seen in two frames of one track at this lag: nothing is known of what becomes of it"
        return pd.Series(why, index=never.index[never], name="reason", dtype="str")

    def matrix(self, column: str, *, movie: str = POOLED, lag_frames: int | None = None) -> pd.DataFrame:
        """Return one column of `table` as a matrix, labelled by class.

        Parameters
        ----------
        column
            ``"count"``, ``"probability"``, ``"low"``, ``"rate_per_s"``, ...
        movie
            A movie, or "*" for all.
        lag_frames
            By default the first lag.

        Raises
        ------
        ValueError
            If the table has no such column, movie or lag.
        """
        if column not in self.table.columns[4:]:
            msg = f"transitions have no column {column!r}; there are {self.table.columns[4:].tolist()}"
            raise ValueError(msg)
        labels = pd.Index([self.names.get(i, i) for i in self.class_ids], dtype=object)
        k = len(labels)
        if k == 0:
            return pd.DataFrame(index=labels, columns=labels, dtype=self.table[column].dtype)
        lags = self.table["lag_frames"].unique().tolist()
        lag = lags[0] if lag_frames is None else lag_frames
        rows = self.table[(self.table["movie"] == movie) & (self.table["lag_frames"] == lag)]
        if len(rows) != k * k:
            known = self.table["movie"].unique().tolist()
            msg = f"there are no transitions of movie {movie!r} at lag {lag}; movies {known[:5]}, lags {lags}"
            raise ValueError(msg)
        return pd.DataFrame(rows[column].to_numpy().reshape(k, k), index=labels, columns=labels)


def transitions(
    tracks: Any,
    *,
    lag_frames: int | Sequence[int] = 1,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_ids: Iterable[int] | None = None,
    confidence: float = 0.95,
) -> Transitions:
    """Count what each class becomes, and divide once. Computes once: one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas, or Dask whose partitions hold whole tracks).
    lag_frames
        One lag or several. At a lag above 1 pairs overlap, and intervals are widened by the square root of the lag.
    by
        ``"pooled"`` for all movies together ("*"); ``"movie"`` for each movie as well.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves. Without any, rates are NaN.
    class_ids
        The states; by default the classes of the experiment and of the rows. Rows of other classes, and rows that are
        not named, count as frames in which the particle was not seen.
    confidence
        Of all intervals.

    Returns
    -------
    Transitions
        Rates maximise the likelihood of the counts. Pooled over movies with different frame times they still do, each
        count with its own time; pooled probabilities are then NaN, since P belongs to a frame time.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or a lag is below 1.
    """
    lags = _lags(lag_frames)
    known = experiment if experiment is not None else getattr(tracks, "experiment", None)
    names = class_names(known)
    states = None if class_ids is None else tuple(sorted({int(i) for i in class_ids}))
    sums = sum_over(tracks, partial(count_transitions, max_lag=max(lags), states=states))
    if states is None:
        states = tuple(sorted({*names, *(i for _, *pair in sums for i in pair)}))
    counts = _by_movie(sums, states, lags)
    time_of = _maybe_times(tracks, known, frame_time_s)
    rows = [
        row for movie, parts in _groups(counts, by) for row in _rows_of(movie, parts, states, lags, time_of, confidence)
    ]
    table = conform(pd.concat(rows), "transitions") if rows else empty("transitions")
    return Transitions(table, names, states)


def count_transitions(rows: pd.DataFrame, *, max_lag: int, states: tuple[int, ...] | None = None) -> Sums:
    """Return movie, from, to → (max_lag,) counts of the pairs in the `rows` of whole tracks. Computes once."""
    pack = packed_rows(rows, max_lag=max_lag)
    if pack is not None:
        movie, pairs = pack
        left_out = () if states is None else set(pairs.states.tolist()) - set(states)
        pairs = pairs.without({NOT_NAMED, *left_out})
        found = pairs.states
        at = found - pairs.lowest[2]
        return _as_sums([movie], found, pairs.pair_counts()[None][:, :, at[:, None], at])
    tracks = Trajectories.of(rows, need=("class_id",))
    wanted = tracks.class_id != NOT_NAMED if states is None else np.isin(tracks.class_id, states)
    if not wanted.all():
        tracks = tracks.keep(wanted)
    if len(tracks.frame) == 0:
        return {}
    found, state = small_codes(tracks.class_id)
    k, n_movies = len(found), len(tracks.movies)
    group = tracks.movie[tracks.track] if n_movies > 1 else None
    counts = pair_counts(
        tracks.track, tracks.frame, state, n_states=k, max_lag=max_lag, group=group, n_groups=n_movies
    ).reshape(-1, max_lag, k, k)
    return _as_sums(tracks.movies, found, counts)


def _as_sums(movies: Sequence[str], found: np.ndarray, counts: np.ndarray) -> Sums:
    """Return movie, from, to → (max_lag,) counts (n_movies, max_lag, k, k) of the classes `found`."""
    seen: Sums = {(m, int(i), int(i)): np.zeros(counts.shape[1], np.int64) for m in movies for i in found}
    where = zip(*np.nonzero(counts.any(axis=1)), strict=True)
    return seen | {(movies[m], int(found[i]), int(found[j])): counts[m, :, i, j] for m, i, j in where}


def small_codes(class_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the class numbers that occur, increasing, and each row's place among them. Linear for small numbers.

    >>> small_codes(np.array([7, 0, 7]))[0].tolist(), small_codes(np.array([7, 0, 7]))[1].tolist()
    ([0, 7], [1, 0, 1])
    """
    if len(class_id) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lowest = class_id.min()
    there = np.bincount(class_id - lowest) > 0
    return np.flatnonzero(there) + lowest, (np.cumsum(there) - 1)[class_id - lowest]


def class_names(experiment: Experiment | None) -> dict[int, str]:
    """Return class number → name of the named classes of `experiment`; empty where none is known."""
    if experiment is None or experiment.classes is None:
        return {}
    classes = experiment.classes[experiment.classes["class_id"] != NOT_NAMED]
    return {int(i): str(n) for i, n in zip(classes["class_id"], classes["name"], strict=True)}


def _lags(lag_frames: int | Sequence[int]) -> list[int]:
    lags = [int(lag) for lag in np.atleast_1d(np.asarray(lag_frames))]
    if not lags or min(lags) < 1:
        msg = f"a lag is a whole number of frames, 1 or more, but lag_frames is {lag_frames!r}"
        raise ValueError(msg)
    return lags


def _by_movie(sums: Sums, states: tuple[int, ...], lags: list[int]) -> dict[str, np.ndarray]:
    """Return movie → (n_lags, k, k) counts, movies in order of their names."""
    place = {state: i for i, state in enumerate(states)}
    counts: dict[str, np.ndarray] = {}
    for (movie, start, end), vector in sorted(sums.items()):
        if start in place and end in place:
            matrix = counts.setdefault(movie, np.zeros((len(lags), len(states), len(states)), dtype=np.int64))
            matrix[:, place[start], place[end]] = vector[np.array(lags) - 1]
    return counts


def _groups(counts: dict[str, np.ndarray], by: By) -> list[tuple[str, dict[str, np.ndarray]]]:
    if by not in ("pooled", "movie"):
        msg = f"by must be 'pooled' or 'movie', but it is {by!r}"
        raise ValueError(msg)
    each = [(movie, {movie: matrix}) for movie, matrix in counts.items()] if by == "movie" else []
    return [*each, (POOLED, counts)] if counts else []


def _maybe_times(tracks: Any, experiment: Experiment | None, frame_time_s: float | None) -> Callable[[str], float]:
    """Return what tells a movie's frame time, NaN where no calibration is known at all."""
    if experiment is None and frame_time_s is None:
        return lambda _: float("nan")
    return frame_times(tracks, experiment, frame_time_s)


def _rows_of(
    movie: str,
    parts: dict[str, np.ndarray],
    states: tuple[int, ...],
    lags: list[int],
    time_of: Callable[[str], float],
    confidence: float,
) -> Iterable[pd.DataFrame]:
    """Yield the rows of one group of movies, lag by lag."""
    times = {name: time_of(name) for name in parts}
    k = len(states)
    from_id, to_id = np.repeat(states, k), np.tile(states, k)
    for position, lag in enumerate(lags):
        by_time: dict[float, np.ndarray] = {}
        for name, matrix in parts.items():
            seconds = times[name]
            by_time[seconds] = by_time.get(seconds, 0) + matrix[position]
        count = np.sum([matrix[position] for matrix in parts.values()], axis=0)
        P, low, high = transition_probabilities(count, confidence=confidence, overlap=lag)
        if len(by_time) > 1 and not np.isnan(list(by_time)).any():
            P, low, high = (np.full((k, k), np.nan) for _ in range(3))
        rates = _rates(by_time, lag, confidence)
        yield pd.DataFrame(
            {
                "movie": movie, "lag_frames": lag, "from_id": from_id, "to_id": to_id, "count": count.ravel(),
                "probability": P.ravel(), "low": low.ravel(), "high": high.ravel(),
                "rate_per_s": rates.rates.ravel(), "rate_low": rates.low.ravel(), "rate_high": rates.high.ravel(),
            }
        )  # fmt: skip


def _rates(by_time: dict[float, np.ndarray], lag: int, confidence: float) -> Generator:
    """Return the generator of counts whose frame times are known; NaN where one is not."""
    stacked = np.stack(list(by_time.values()))
    times = np.array(list(by_time)) * lag
    if np.isnan(times).any() or not stacked.any():
        nothing = np.full(stacked.shape[1:], np.nan)
        return Generator(nothing, nothing, nothing, 0.0)
    return fit_generator(stacked, times, confidence=confidence, overlap=lag)
