"""Which class is followed by which in whole tracks: the sums behind transitions and rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.chains.counting import pair_counts, small_codes
from stemkin.kernels.chains.packed_counting import packed
from stemkin.kernels.chains.single_pass_counting import WORTH_COMPILING, follow_counts
from stemkin.rows.groups import Grouping, Key
from stemkin.rows.passes import Sums
from stemkin.rows.tracks import Trajectories, movie_codes, surely_named, twins, whole_numbers
from stemkin.tables import NOT_NAMED, check_columns

MAX_GAP = 16
"""Rows of a track that follow each other with at most this gap [frames] enter the rates, each with
its own exp(Q gap)."""


def count_transitions(
    rows: pd.DataFrame,
    *,
    max_lag: int,
    states: tuple[int, ...] | None = None,
    grouping: Grouping | None = None,
) -> Sums:
    """Return key, from, to → counts of the pairs in the `rows` of whole tracks. Computes once.

    Rows that the edge of the frame cuts are as if they were not there.

    Each vector holds `max_lag` counts of the pairs that are 1, 2, ... frames apart, and then
    `MAX_GAP` counts of the rows that follow each other in a track with a gap of 1, 2, ... frames.
    """
    grouping, rows = grouping or Grouping(), surely_named(rows)
    if not grouping.parts:
        one_movie = _of_one_movie(rows, max_lag, states)
        if one_movie is not None:
            return one_movie
    tracks = Trajectories.of(rows, need=("class_id",))
    wanted = in_states(tracks.class_id, states)
    if not wanted.all():
        tracks = tracks.keep(wanted)
    if len(tracks.frame) == 0:
        return {}
    found, state = small_codes(tracks.class_id)
    keys, group = grouping.codes(
        tracks.movies, tracks.movie[tracks.track], tracks.frame, rows.iloc[tracks.row]
    )
    words: Any = {"n_states": len(found), "group": group, "n_groups": len(keys)}
    where = (tracks.track, tracks.frame, state)
    near = pair_counts(*where, max_lag=MAX_GAP, neighbours=True, **words)
    # A row and the one a frame later are neighbours in their track too, so lag 1 is counted
    # already; at longer lags there may be rows in between.
    lagged = near[:, :1]
    if max_lag != 1:
        lagged = pair_counts(*where, max_lag=max_lag, **words)
    return _as_sums(keys, found, np.concatenate([lagged, near], axis=1))


def in_states(class_id: np.ndarray, states: Sequence[int] | None) -> np.ndarray:
    """Return the (n,) mask of rows whose class is one of the `states`; None: of any named class."""
    if states is None:
        return np.asarray(class_id != NOT_NAMED)
    return np.isin(class_id, states)


def _of_one_movie(rows: pd.DataFrame, max_lag: int, states: Sequence[int] | None) -> Sums | None:
    """Return what `count_transitions` does, without putting tracks in order.

    None where there are several movies, or particle, frame and class have no room in one number.
    """
    check_columns(rows, "tracks", needed=("frame", "particle", "class_id"))
    movies, _ = movie_codes(rows)
    named = rows["class_id"].to_numpy()
    if len(movies) != 1 or not len(rows) or named.dtype.kind not in "iu":
        return None
    columns = whole_numbers(rows, "particle"), whole_numbers(rows, "frame"), named
    key = (movies[0],)
    if max_lag == 1 and len(rows) >= WORTH_COMPILING:
        followed = follow_counts(*columns, max_gap=MAX_GAP, only=states, left_out=(NOT_NAMED,))
        if followed is not None:
            found, near = followed
            return _as_sums([key], found, np.concatenate([near[:1], near])[None])
    pairs = packed(*columns, max_lag=max(max_lag, MAX_GAP))
    if pairs is None:
        return None
    if pairs.twins is not None:
        raise twins(*pairs.twins)
    left_out = {NOT_NAMED}
    if states is not None:
        left_out |= set(pairs.states.tolist()) - set(states)
    pairs = pairs.without(left_out)
    # Packed classes count from the lowest one: the matrices have a row and a column for every
    # number from there on, and `at` picks those of the classes that occur.
    found = pairs.states
    at = found - pairs.lowest[2]
    near = pairs.neighbour_counts(MAX_GAP)
    lagged = near[:1]
    if max_lag != 1:
        lagged = pairs.pair_counts(max_lag)
    counts = np.concatenate([lagged, near])
    return _as_sums([key], found, counts[None][:, :, at[:, None], at])


def _as_sums(keys: Sequence[Key], found: np.ndarray, counts: np.ndarray) -> Sums:
    """Return key, from, to → counts, of (n_keys, n_lags, k, k) counts of the classes `found`."""
    # Each class that occurs has its diagonal, be it 0, so that it becomes a state of the matrices.
    nothing = np.zeros(counts.shape[1], np.int64)
    seen: Sums = {(key, int(i), int(i)): nothing for key in keys for i in found}
    where = zip(*np.nonzero(counts.any(axis=1)), strict=True)
    return seen | {(keys[m], int(found[i]), int(found[j])): counts[m, :, i, j] for m, i, j in where}


def counts_of(sums: Sums, states: tuple[int, ...]) -> dict[Key, np.ndarray]:
    """Return key → (n, k, k) counts of the sums of `count_transitions`, in order of the keys."""
    place = {state: i for i, state in enumerate(states)}
    counts: dict[Key, np.ndarray] = {}
    for (key, start, end), vector in sorted(sums.items()):
        if start in place and end in place:
            matrix = counts.setdefault(
                key, np.zeros((len(vector), len(states), len(states)), dtype=np.int64)
            )
            matrix[:, place[start], place[end]] = vector
    return counts
