"""Which class becomes which: transition counts, probabilities and rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.chains.generator import Generator, Prior, fit_generator
from stemkin.kernels.chains.markov import overlap, transition_probabilities
from stemkin.kinetics.counts import MAX_GAP, count_transitions, counts_of
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import NOT_NAMED, POOLED, Experiment
from stemkin.vocabulary import chosen_classes


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
    frame_times
        Movie → what passes from frame to frame [s]; NaN where that is not known.
    """

    table: pd.DataFrame
    names: Mapping[int, str]
    class_ids: Sequence[int]
    frame_times: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> pd.DataFrame:
        """Pooled counts at the first lag, from row to column."""
        return self.matrix("count")

    @property
    def probabilities(self) -> pd.DataFrame:
        """Pooled probabilities at the first lag; NaN in the row of a class never seen twice."""
        return self.matrix("probability")

    @property
    def rates(self) -> pd.DataFrame:
        """Pooled rates [1/s]; the diagonal is minus the rate of leaving."""
        return self.matrix("rate_per_s")

    @property
    def reasons(self) -> pd.Series:
        """Why a class has no probabilities, by class; empty where all have."""
        never = self.counts.sum(axis=1) == 0
        why = (
            "never seen in two frames of one track at this lag: nothing is known of what becomes "
            "of it"
        )
        return pd.Series(why, index=never.index[never], name="reason", dtype="str")

    def matrix(
        self, column: str, *, movie: str = POOLED, lag_frames: int | None = None, **group: Any
    ) -> pd.DataFrame:
        """Return one column of `table` as a matrix, labelled by class.

        Parameters
        ----------
        column
            ``"count"``, ``"probability"``, ``"low"``, ``"rate_per_s"``, ...
        movie
            A movie, or "*" for all.
        lag_frames
            By default the first lag.
        group
            Where the table has columns of groups, the group meant, for instance ``from_s=60.0``.

        Raises
        ------
        ValueError
            If the table has no such column, movie, lag or group, or it does not say which group of
            several is meant.
        """
        columns = self.table.columns.tolist()
        values = columns[columns.index("to_id") + 1 :]
        if column not in values:
            msg = f"transitions have no column {column!r}; there are {values}"
            raise ValueError(msg)
        labels = pd.Index([self.names.get(i, i) for i in self.class_ids], dtype=object)
        k = len(labels)
        if k == 0:
            return pd.DataFrame(index=labels, columns=labels, dtype=self.table[column].dtype)
        lags = self.table["lag_frames"].to_numpy()
        lag = lag_frames
        if lag is None and len(lags):
            lag = int(lags[0])
        meant = (self.table["movie"] == movie).to_numpy() & (lags == lag)
        for name, value in group.items():
            meant &= name in columns and (self.table[name] == value).to_numpy()
        if meant.sum() != k * k:
            known = self.table["movie"].unique().tolist()
            wanted = "".join(f", {name} {value}" for name, value in group.items())
            msg = (
                f"there are no transitions of movie {movie!r} at lag {lag}{wanted}; movies "
                f"{known[:5]}, lags {np.unique(lags).tolist()}"
            )
            groups = columns[1 : columns.index("lag_frames")]
            if groups:
                msg += f"; say which of the groups is meant, by {groups}"
            raise ValueError(msg)
        return pd.DataFrame(
            self.table[column].to_numpy()[meant].reshape(k, k), index=labels, columns=labels
        )


@verb
def transitions(
    tracks: Any,
    *,
    lag_frames: int | Sequence[int] = 1,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    confidence: float = 0.95,
    prior: Prior = "none",
) -> Question[Transitions]:
    """Count what each class becomes, and divide once. Computes once: one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    lag_frames
        One lag or several. At a lag above 1 pairs overlap, and intervals are widened by as much as
        that repeats itself.
    by
        ``"pooled"`` for all movies together ("*"); ``"movie"`` for each movie as well; `Bins` of
        time or dose, or any column of the rows or of the movies; or several of these. A change
        belongs to the group of its earlier row.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves. Without any, rates
        are NaN.
    class_name, class_names, class_ids
        The states: one class, several, or their numbers; by default the classes of the experiment
        and of the rows. Rows of other classes, and rows that are not named, count as frames in
        which the particle was not seen.
    confidence
        Of all intervals.
    prior
        ``"none"``: rates at the maximum of the likelihood; a change that never was seen has the
        rate 0 and an upper bound. ``"jeffreys"``: for rare events, the mean of each rate's
        posterior with Jeffreys' prior on the generator (half a change more, for few of them), whose
        middle part is the interval; `basis` then says "posterior".

    Returns
    -------
    Transitions
        At lag 1 rates maximise the likelihood of all rows that follow each other in a track, also
        across gaps of up to `MAX_GAP` frames, each with its own exp(Q gap); at other lags that of
        the pairs. `basis` says what each rate rests on: of four classes or more those with fewer
        than 20 pairs are not fitted ("seldom seen", "never seen"), and a rate that cannot be told
        from mixing within a frame is infinite, with a lower bound. Pooled over movies with different frame times they still do; pooled probabilities
        are then NaN, since P belongs to a frame time.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or a lag is below 1.
    """
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    grouping = Grouping.of(by, tracks, calibrations)
    return question_of_changes(
        grouping,
        calibrations.frame_times_if_known(),
        lags=_lags(lag_frames),
        names=names_of(known),
        class_ids=chosen_classes(
            known, class_name=class_name, class_names=class_names, class_ids=class_ids
        ),
        confidence=confidence,
        prior=prior,
    )


def question_of_changes(
    grouping: Grouping,
    time_of: Callable[[str], float],
    *,
    lags: list[int],
    names: Mapping[int, str],
    class_ids: Iterable[int] | None,
    confidence: float,
    prior: Prior = "none",
) -> Question[Transitions]:
    """Return the question of what each class becomes.

    Parameters
    ----------
    grouping
        For what changes are counted.
    time_of
        Tells what passes from frame to frame of a movie: time, or dose.
    lags
        [frames]
    names
        Class number → name.
    class_ids
        The states; None: those of `names` and of the rows.
    confidence
        Of the intervals.
    prior
        Of the rates.
    """
    chosen: tuple[int, ...] | None = None
    if class_ids is not None:
        chosen = tuple(sorted({int(i) for i in class_ids}))

    def fitted(sums: Sums) -> Transitions:
        states = chosen
        if states is None:
            states = tuple(sorted({*names, *(i for _, *pair in sums for i in pair)}))
        counts = counts_of(sums, states)
        rows, sure = [], (confidence, prior)
        for group, keys in grouping.groups(counts):
            own = {key: counts[key] for key in keys}
            rows += [(group, part) for part in _rows_of(own, states, lags, time_of, *sure)]
        times = {key[0]: time_of(key[0]) for key in counts}
        return Transitions(grouping.table(rows, "transitions"), names, states, times)

    count = partial(
        count_transitions, max_lag=max(lags), states=chosen, grouping=grouping.of_rows()
    )
    return Question(count, fitted)


def names_of(experiment: Experiment | None) -> dict[int, str]:
    """Return class number → name of the named classes of `experiment`; empty where none known."""
    if experiment is None or experiment.classes is None:
        return {}
    classes = experiment.classes[experiment.classes["class_id"] != NOT_NAMED]
    return {int(i): str(n) for i, n in zip(classes["class_id"], classes["name"], strict=True)}


def _lags(lag_frames: int | Sequence[int]) -> list[int]:
    return [int(lag) for lag in np.atleast_1d(np.asarray(lag_frames))]


def _rows_of(
    parts: dict[Key, np.ndarray],
    states: tuple[int, ...],
    lags: list[int],
    time_of: Callable[[str], float],
    confidence: float,
    prior: Prior,
) -> Iterable[dict[str, np.ndarray]]:
    """Yield the columns of one group, lag by lag."""
    times = {key: time_of(key[0]) for key in parts}
    k = len(states)
    from_id, to_id = np.repeat(states, k), np.tile(states, k)
    for lag in lags:
        # A matrix holds the counts of all lags up to the longest, then those of neighbours in a
        # track with a gap of 1 to MAX_GAP frames; see `count_transitions`.
        lagged = np.sum([matrix[:lag] for matrix in parts.values()], axis=0)
        count, repeats = lagged[-1], overlap(transition_probabilities(lagged)[0])
        P, low, high = transition_probabilities(count, confidence=confidence, overlap=repeats)
        distinct = set(times.values())
        if len(distinct) > 1 and not np.isnan(list(distinct)).any():
            P, low, high = (np.full((k, k), np.nan) for _ in range(3))
        if lag == 1:
            own = [matrix[-MAX_GAP:] for matrix in parts.values()]
            steps = list(times.values())
        else:
            own = [matrix[lag - 1 : lag] for matrix in parts.values()]
            steps = [lag * seconds for seconds in times.values()]
        rates = _fitted(*spans(own, steps), lag, confidence, prior)
        yield {
            "lag_frames": np.full(k * k, lag),
            "from_id": from_id,
            "to_id": to_id,
            "count": count.ravel(),
            "probability": P.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "rate_per_s": rates.rates.ravel(),
            "rate_low": rates.low.ravel(),
            "rate_high": rates.high.ravel(),
            "basis": rates.basis.ravel().astype(str),
        }


def spans(counts: Sequence[np.ndarray], times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the (m, k, k) counts of each time that passed in several movies, and the (m,) times.

    Parameters
    ----------
    counts
        One (gaps, k, k) array per movie: counts of the pairs that are 1, 2, ... steps apart.
    times
        What passes in one step of each movie.
    """
    # A time is a key as it is: movies with equal frame times add up, others stand side by side.
    together: dict[float, np.ndarray] = {}
    for own, step in zip(counts, times, strict=True):
        for gap in np.flatnonzero(own.any(axis=(1, 2))).tolist():
            together[(gap + 1) * step] = together.get((gap + 1) * step, 0) + own[gap]
    if not together:
        return np.zeros((0, *counts[0].shape[1:])), np.zeros(0)
    return np.stack([together[t] for t in sorted(together)]), np.array(sorted(together))


def _fitted(
    counts: np.ndarray, times: np.ndarray, overlap: int, confidence: float, prior: Prior
) -> Generator:
    """Return the generator of counts whose times are known; NaN where one is not, or none are."""
    if not len(times) or np.isnan(times).any():
        return Generator.unknown(counts.shape[-1])
    return fit_generator(counts, times, confidence=confidence, overlap=overlap, prior=prior)
