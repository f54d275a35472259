"""Rates behind names that are sometimes wrong: a hidden Markov model over tracks.

Five wrong names in a hundred make a class that switches twice in a hundred frames seem to switch
eleven times. Where the naming errors are known (a confusion matrix measured on simulated movies, or
the classifier's own probabilities), the rates of the hidden states follow from the likelihood of
the names along whole tracks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import dask
import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.controls import checked_confusion
from stemkin.kernels.chains.counting import run_starts
from stemkin.kinetics.baum_welch import BaumWelch, Emissions
from stemkin.kinetics.changes import Transitions, names_of, transitions
from stemkin.kinetics.counts import in_states
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Sums, held, sum_over
from stemkin.rows.tracks import Trajectories
from stemkin.tables import POOLED, Experiment
from stemkin.vocabulary import checked, chosen_classes


@one_thread
@checked
def hidden_transitions(
    tracks: Any,
    *,
    confusion: Any = None,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    confidence: float = 0.95,
    shuffle: bool | None = None,
) -> Transitions:
    """Return transitions with the naming errors taken out. Computes once.

    One pass over the tracks, then some 20 to 100 over the names that are held of them.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask). The names alone, about 12 bytes a row, stay in the
        workers' memory.
    confusion
        (k, k) probability that a defect of class i (row) is named j (column), in the order of the
        classes. None: each row's own ``probability`` p says how sure its name is. Such a posterior
        holds the share w of the name as a prior, so what was seen is p / (1 - p) times (1 - w) / w
        as likely in the named class as in any other.
    by
        As in `transitions`: each group has rates of its own.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    class_name, class_names, class_ids
        The states: one class, several, or their numbers; by default the classes of the experiment
        and of the rows.
    confidence
        Of all intervals.
    shuffle
        Whether a Dask table is shuffled, so that partitions hold whole tracks. None: where tracks
        are found to be cut and there are fewer than 20 million rows; see `stemkin.answers`.

    Returns
    -------
    Transitions
        Lag 1: `rate_per_s` at the maximum of the likelihood, `probability` = exp(Q t) of the
        shortest frame time, `count` the expected number of one-step transitions, rounded. Intervals
        come from the curvature of the likelihood.

    Raises
    ------
    ValueError
        If a column is missing, the confusion matrix does not fit the classes, or a frame time is
        not known.
    """
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    time_of = calibrations.frame_times()
    grouping = Grouping.of(by, tracks, calibrations)
    wanted = chosen_classes(
        known, class_name=class_name, class_names=class_names, class_ids=class_ids
    )
    words: Any = {"grouping": grouping, "states": wanted, "with_probability": confusion is None}
    names = held(tracks, partial(_names_of, **words), shuffle=shuffle)
    seen = sum_over(names, _contents)
    states = wanted or tuple(sorted({*names_of(known), *(k[2] for k in seen if k[0] == "state")}))
    gaps = {k[1:] for k in seen if k[0] == "gap"}
    if len(states) < 2:  # a single class has no other to be taken for
        words = {
            "by": by,
            "experiment": experiment,
            "frame_time_s": frame_time_s,
            "confidence": confidence,
            "shuffle": shuffle,
        }
        return transitions(tracks, class_ids=states, **words)
    pooled = {group for _, group, *_ in seen if group[0] == POOLED}
    named = np.array([sum(seen.get(("state", group, i), 0) for group in pooled) for i in states])
    prior, emission = (named + 0.5) / (named + 0.5).sum(), _emission_table(confusion, states)
    where = dask.compute(*[dask.delayed(list)(part) for part in names])
    rows = []
    for group, _ in grouping.groups((movie, *group[1:]) for group, movie, _ in gaps):
        times = {
            (movie, gap): time_of(movie) * gap for own, movie, gap in sorted(gaps) if own == group
        }
        holders = [part for part, groups in zip(names, where, strict=True) if group in groups]
        fit = BaumWelch(holders, group, states, times, emission, prior)
        rows.append((group, fit.table(confidence)))
    of_movies = {movie: time_of(movie) for _, movie, _ in gaps}
    return Transitions(grouping.table(rows, "transitions"), names_of(known), states, of_movies)


def _emission_table(confusion: Any, states: tuple[int, ...]) -> np.ndarray | None:
    if confusion is None:
        return None
    matrix = checked_confusion(confusion)
    if len(matrix) != len(states):
        msg = (
            f"the confusion matrix has {len(matrix)} rows, but there are {len(states)} classes "
            f"{states}; give class_ids=..."
        )
        raise ValueError(msg)
    return matrix


def _names_of(
    rows: pd.DataFrame,
    *,
    grouping: Grouping,
    states: tuple[int, ...] | None,
    with_probability: bool,
) -> dict[Key, Emissions]:
    """Return group → the names along whole tracks, without what is needed no more. Computes once.

    A track that passes from one group into another is cut there, and the row behind the cut ends
    the first piece as well: a change belongs to the group of its earlier row.
    """
    need = ["class_id"]
    if with_probability:
        need.append("probability")
    tracks = Trajectories.of(rows, need=tuple(need))
    kept = tracks.keep(in_states(tracks.class_id, states))
    sure = None
    if with_probability:
        sure = rows["probability"].to_numpy(np.float64)[kept.row]
    if sure is not None and ((sure < 0) | (sure > 1)).any():
        msg = (
            "the column 'probability' says how sure a name is, from 0 to 1, but it holds "
            f"{sure[(sure < 0) | (sure > 1)][0]}; give confusion=... instead"
        )
        raise ValueError(msg)
    n = len(kept.track)
    if n == 0:
        return {}
    movie = kept.movie[kept.track]
    keys, code = grouping.codes(kept.movies, movie, kept.frame, rows.iloc[kept.row])
    begin = np.flatnonzero(run_starts(kept.track, code))
    end = np.append(begin[1:], n)
    goes_on = np.append(kept.track[end[:-1]] == kept.track[end[:-1] - 1], False)
    found: dict[Key, Emissions] = {}
    for group, own in grouping.groups(keys):
        pieces = np.isin(code[begin], [keys.index(key) for key in own])
        # The pieces of this group, copied one behind the other: piece j takes the rows from `begin`
        # on, one more than its own where the track goes on, and fills `edges[j]` to `edges[j + 1]`.
        length = (end - begin + goes_on)[pieces]
        edges = np.append(0, np.cumsum(length))
        row = np.arange(edges[-1]) + np.repeat(begin[pieces] - edges[:-1], length)
        first = np.zeros(len(row), bool)
        first[edges[:-1]] = True
        step = np.where(first, 0, np.diff(kept.frame[row], prepend=0))
        pairs, gap = np.unique(
            np.stack([movie[row], step], axis=1)[~first], axis=0, return_inverse=True
        )
        position = np.zeros(len(row), dtype=np.int32)
        position[~first] = gap.ravel()
        gaps = [(kept.movies[m], int(g)) for m, g in pairs]
        own_sure = sure
        if sure is not None:
            own_sure = sure[row]
        found[group] = Emissions(
            edges, kept.class_id[row].astype(np.int32), own_sure, position, gaps
        )
    return found


def _contents(names: dict[Key, Emissions]) -> Sums:
    """Return how often each class is named in each group, and which gaps occur."""
    sums: Sums = {}
    for group, own in names.items():
        sums |= {
            ("state", group, int(i)): int(n)
            for i, n in zip(*np.unique(own.name, return_counts=True), strict=True)
        }
        sums |= {("gap", group, *gap): np.zeros(0) for gap in own.gaps}
    return sums
