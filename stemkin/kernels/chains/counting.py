"""Counting what follows what along tracks.

Rows come ordered by track and then by frame. Two rows of one track form a *pair*; its *gap* is the
number of frames between them (1 for neighbours in time). Counts are pooled over tracks and divided
once, elsewhere.

>>> track = np.array([0, 0, 0, 0, 1, 1])
>>> frame = np.array([0, 1, 2, 4, 0, 1])
>>> state = np.array([0, 0, 1, 1, 1, 0])
>>> pair_counts(track, frame, state, n_states=2, max_lag=1)[0]
array([[1, 1],
       [1, 0]])

The pair of frames 2 and 4 is no one-frame pair: it is not counted at lag 1, but at lag 2.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def order_by_track(track: np.ndarray, frame: np.ndarray, *, n_tracks: int) -> np.ndarray:
    """Return the order in which rows stand by track and, within a track, by frame.

    Rows that already follow each other in time (as tables sorted by frame do) cost one linear pass.

    Parameters
    ----------
    track
        (n,) track of each row, 0 to ``n_tracks - 1``.
    frame
        (n,) frame of each row.
    n_tracks
        Number of tracks.

    Returns
    -------
    (n,) rows in that order.

    >>> order_by_track(np.array([1, 0, 1]), np.array([0, 0, 1]), n_tracks=2).tolist()
    [1, 0, 2]
    """
    n = len(track)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    if (track[1:] >= track[:-1]).all():
        order = np.arange(n)
    else:
        # Row i of a sparse matrix has a 1 in column track[i]: turned into columns it lists the rows
        # of each track, in their order. A counting sort, linear and stable.
        one = np.broadcast_to(np.int8(1), n)
        rows = sparse.csr_matrix(
            (one, track.astype(np.int32), np.arange(n + 1)), shape=(n, n_tracks)
        )
        order = np.asarray(rows.tocsc().indices, dtype=np.int64)
    t, f = track[order], frame[order]
    if ((f[1:] < f[:-1]) & (t[1:] == t[:-1])).any():
        order = np.lexsort((frame, track))
    return order


def pair_counts(
    track: np.ndarray,
    frame: np.ndarray,
    state: np.ndarray,
    *,
    n_states: int,
    max_lag: int,
    group: np.ndarray | None = None,
    n_groups: int = 1,
    neighbours: bool = False,
) -> np.ndarray:
    """Count the pairs of one track that are 1 to `max_lag` frames apart.

    Parameters
    ----------
    track, frame, state
        (n,) rows ordered by track and frame; states 0 to ``n_states - 1``.
    n_states
        Number of states.
    max_lag
        Largest lag [frames].
    group
        (n,) group of the earlier row of a pair, 0 to ``n_groups - 1``; by default all are one
        group.
    n_groups
        Number of groups.
    neighbours
        Count only rows that follow each other in a track, whatever the gap between them.

    Returns
    -------
    (max_lag, n_states, n_states) counts, from row to column; with groups (n_groups, max_lag,
    n_states, n_states).
    """
    counts = np.zeros(n_groups * max_lag * n_states**2, dtype=np.int64)
    farthest = 1 if neighbours else max_lag
    for offset in range(1, min(farthest, len(track) - 1) + 1):
        # Rows `offset` apart in the table. A pair is counted at (group, gap - 1, from, to), all in
        # one number of which `to` runs fastest.
        gap = frame[offset:] - frame[:-offset]
        pair = (track[offset:] == track[:-offset]) & (gap <= max_lag)
        if not pair.any():
            break  # a pair further apart in the table is further apart in time
        where = state[:-offset] * n_states + state[offset:] + (gap - 1) * n_states**2
        if group is not None:
            where += group[:-offset] * (max_lag * n_states**2)
        counts += np.bincount(where[pair], minlength=len(counts))
    by_group = counts.reshape(n_groups, max_lag, n_states, n_states)
    if group is None:
        ungrouped: np.ndarray = by_group[0]
        return ungrouped
    return by_group


def neighbour_counts(
    track: np.ndarray, frame: np.ndarray, state: np.ndarray, *, n_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pairs of rows that follow each other in a track, whatever the gap between them.

    Parameters
    ----------
    track, frame, state
        (n,) rows ordered by track and frame; states 0 to ``n_states - 1``.
    n_states
        Number of states.

    Returns
    -------
    gaps
        (m,) the gaps that occur [frames], increasing.
    counts
        (m, n_states, n_states) pairs of each gap, from row to column.
    """
    pair = track[1:] == track[:-1]
    gap, position = np.unique((frame[1:] - frame[:-1])[pair], return_inverse=True)
    where = position * n_states**2 + (state[:-1] * n_states + state[1:])[pair]
    counts = np.bincount(where, minlength=len(gap) * n_states**2)
    return gap, counts.reshape(len(gap), n_states, n_states)


def run_starts(track: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return where a track begins or its state changes.

    Parameters
    ----------
    track, state
        (n,) rows ordered by track and frame.

    Returns
    -------
    (n,) mask of the rows.

    >>> run_starts(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6])).tolist()
    [True, False, True, True]
    """
    first = np.ones(len(track), dtype=bool)
    first[1:] = (track[1:] != track[:-1]) | (state[1:] != state[:-1])
    return first


def small_codes(class_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the class numbers that occur, increasing, and each row's place among them.

    Linear for small numbers.

    Parameters
    ----------
    class_id
        (n,) class of each row.

    Returns
    -------
    found
        (k,) class numbers, increasing.
    place
        (n,) place of each row's class in `found`.

    >>> small_codes(np.array([7, 0, 7]))[0].tolist(), small_codes(np.array([7, 0, 7]))[1].tolist()
    ([0, 7], [1, 0, 1])
    """
    if len(class_id) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lowest = class_id.min()
    there = np.bincount(class_id - lowest) > 0
    return np.flatnonzero(there) + lowest, (np.cumsum(there) - 1)[class_id - lowest]
