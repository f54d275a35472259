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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

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

    >>> order_by_track(np.array([1, 0, 1]), np.array([0, 0, 1]), n_tracks=2).tolist()
    [1, 0, 2]
    """
    n = len(track)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    if (track[1:] >= track[:-1]).all():
        order = np.arange(n)
    else:
        one = np.broadcast_to(np.int8(1), n)
        rows = sparse.csr_matrix(
            (one, track.astype(np.int32), np.arange(n + 1)), shape=(n, n_tracks)
        )
        order = np.asarray(
            rows.tocsc().indices, dtype=np.int64
        )  # a counting sort: linear, and stable
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
    for offset in range(1, min(1 if neighbours else max_lag, len(track) - 1) + 1):
        gap = frame[offset:] - frame[:-offset]
        pair = (track[offset:] == track[:-offset]) & (gap <= max_lag)
        if not pair.any():
            break  # a pair further apart in the table is further apart in time
        where = state[:-offset] * n_states + state[offset:] + (gap - 1) * n_states**2
        if group is not None:
            where += group[:-offset] * (max_lag * n_states**2)
        counts += np.bincount(where[pair], minlength=len(counts))
    shape = (max_lag, n_states, n_states)
    return counts.reshape(shape if group is None else (n_groups, *shape))


STRIP = 2**16
"""Packed rows that are looked at together: they fit into a processor's cache."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows of tracks as sorted whole numbers: owner, frame and state in the bits of one.

    Sorting these costs less than finding out which rows belong together, and afterwards a track is
    a run of neighbours.

    Attributes
    ----------
    rows
        (n,) ascending, all of one group.
    lowest
        (owner, frame, state) that stand for zero.
    frame_bits, state_bits
        Width of the fields; frames that are `max_lag` apart or less never belong to two owners.
    max_lag
        Largest lag that can be counted [frames].
    """

    rows: np.ndarray
    lowest: tuple[int, int, int]
    frame_bits: int
    state_bits: int
    max_lag: int

    @property
    def n_states(self) -> int:
        """Number of states that the bits can tell apart."""
        return 1 << self.state_bits

    @cached_property
    def twins(self) -> tuple[int, int, int] | None:
        """Owner and frame that are there twice, and how often that happens; None where it never
        does."""
        first, n_twins = 0, 0
        for strip in self._strips(1):
            twin = np.diff(strip >> self.state_bits) == 0
            if n := int(np.count_nonzero(twin)):
                first = first if n_twins else int(strip[twin.argmax()])
                n_twins += n
        owner, frame = divmod(first >> self.state_bits, 1 << self.frame_bits)
        return (owner + self.lowest[0], frame + self.lowest[1], n_twins) if n_twins else None

    @cached_property
    def states(self) -> np.ndarray:
        """The states that occur, ascending."""
        each = (
            np.bincount(strip & (self.n_states - 1), minlength=self.n_states)
            for strip in self._strips(0)
        )
        return np.flatnonzero(sum(each, np.zeros(self.n_states, np.int64))) + self.lowest[2]

    def without(self, states: Iterable[int]) -> Packed:
        """Return the rows that are in none of `states`."""
        gone = np.intersect1d(list(states), self.states) - self.lowest[2]
        if not len(gone):
            return self
        mask = np.ones(self.n_states, bool)
        mask[gone] = False
        return replace(self, rows=self.rows[mask[self.rows & (self.n_states - 1)]])

    def pair_counts(self, max_lag: int | None = None) -> np.ndarray:
        """Return the (max_lag, n_states, n_states) counts of `pair_counts`; the first state is
        ``lowest[2]``."""
        max_lag = self.max_lag if max_lag is None else max_lag
        return self._counts(max_lag, range(1, max_lag + 1))

    def neighbour_counts(self, max_gap: int) -> np.ndarray:
        """Return the (max_gap, n_states, n_states) counts of rows that follow each other, by the
        gap between them."""
        return self._counts(max_gap, range(1, 2))

    def _counts(self, max_lag: int, offsets: Iterable[int]) -> np.ndarray:
        mask, n_kinds = self.n_states - 1, self.n_states**2
        counts = np.zeros(max_lag * n_kinds, np.int64)
        for offset in offsets:
            for strip in self._strips(offset):
                time, state = strip >> self.state_bits, strip & mask
                gap = time[offset:] - time[:-offset]
                kind = (
                    ((gap - 1) << 2 * self.state_bits)
                    + (state[:-offset] << self.state_bits)
                    + state[offset:]
                )
                counts += np.bincount(kind[gap <= max_lag], minlength=len(counts))
        return counts.reshape(max_lag, self.n_states, self.n_states)

    def _strips(self, overlap: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.rows) - overlap, STRIP):
            yield self.rows[start : start + STRIP + overlap]


def packed(
    owner: np.ndarray, frame: np.ndarray, state: np.ndarray, *, max_lag: int
) -> Packed | None:
    """Pack rows, in any order, into one whole number each; None where 63 bits do not hold them.

    Parameters
    ----------
    owner, frame, state
        (n,) whole numbers, at least one row.
    max_lag
        Largest lag that will be counted [frames].

    >>> pack = packed(np.array([8, 7, 8]), np.array([1, 0, 0]), np.array([5, 4, 4]), max_lag=1)
    >>> pack.pair_counts().tolist(), pack.states.tolist()
    ([[[0, 1], [0, 0]]], [4, 5])
    """
    ends = [(int(v.min()), int(v.max())) for v in (owner, frame, state)]
    bits = [
        (high - low + extra).bit_length()
        for (low, high), extra in zip(ends, (0, max_lag, 0), strict=True)
    ]
    if sum(bits) > 63 or bits[2] > 8:
        return None
    rows = owner - np.int64(ends[0][0])
    for value, (low, _), width in zip((frame, state), ends[1:], bits[1:], strict=True):
        rows <<= width
        rows += value
        rows -= low
    rows.sort()
    return Packed(rows, (ends[0][0], ends[1][0], ends[2][0]), bits[1], bits[2], max_lag)


def neighbour_counts(
    track: np.ndarray, frame: np.ndarray, state: np.ndarray, *, n_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pairs of rows that follow each other in a track, whatever the gap between them.

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
    return gap, np.bincount(where, minlength=len(gap) * n_states**2).reshape(
        len(gap), n_states, n_states
    )


def run_starts(track: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return the (n,) mask of rows where a track begins or its state changes.

    >>> run_starts(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6])).tolist()
    [True, False, True, True]
    """
    first = np.ones(len(track), dtype=bool)
    first[1:] = (track[1:] != track[:-1]) | (state[1:] != state[:-1])
    return first
