"""Counting what follows what in a single pass over rows that come in the order of time.

A table of tracks lists frame after frame, so what a row follows is the row of its track that was
seen last: one look at a list with a place for every track, and nothing is sorted. `_one_pass` is a
plain loop; it is compiled when it is first needed (about a second once per machine, then a fifth of
a second per process), which is why small tables are counted otherwise.

>>> track, frame = np.array([7, 9, 7, 9, 7]), np.array([0, 0, 1, 2, 3])
>>> state = np.array([2, 2, 3, 3, 2])
>>> follow_counts(track, frame, state, max_gap=2)
(array([2, 3]), array([[[0, 1],
        [0, 0]],
<BLANKLINE>
       [[0, 1],
        [1, 0]]]))
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from stemkin.kernels.common.compiling import compiled

WORTH_COMPILING = 2**16
"""Number of rows from which on this counts faster than sorting them, compilation included."""

STRIDE_BITS = 24
"""A linker's names count upwards within a frame, and from frame to frame in steps of 2**24
(`stemkin.kernels.linking.block_names`)."""

PLACES_PER_ROW = 4
"""Longest list of tracks, in places per row, that is worth keeping (12 bytes a place)."""

MOST_STATES = 64
"""Widest range of states: more are counted otherwise."""

STRIP = 2**16
"""Rows that are looked at together: they fit into a processor's cache."""


def follow_counts(
    owner: np.ndarray,
    frame: np.ndarray,
    state: np.ndarray,
    *,
    max_gap: int,
    only: Collection[int] | None = None,
    left_out: Collection[int] = (),
) -> tuple[np.ndarray, np.ndarray] | None:
    """Count the rows of one track that follow each other, by the gap between them.

    Parameters
    ----------
    owner, frame, state
        (n,) whole numbers: the track's name, and when it was seen as what; at least one row.
    max_gap
        Largest gap that is counted [frames], at most 254.
    only, left_out
        Rows in other states than `only` (by default in any), and those in the states `left_out`,
        are as if they were not there.

    Returns
    -------
    (k,) the states that are counted, ascending; (max_gap, k, k) counts, from row to column. None
    where one pass does not do: rows of a track are not in the order of time (or a track is twice in
    a frame), or the names are scattered.
    """
    n = len(owner)
    first, bits, width, n_places = _places(owner, PLACES_PER_ROW * n + STRIP)
    (early, late), (low, high) = _ends(frame), _ends(state)
    if not n_places or late - early >= 2**30 or high - low >= MOST_STATES or max_gap > 254:
        return None
    span = range(low, high + 1)
    wanted = np.array([s not in left_out and (only is None or s in only) for s in span])
    # (gap - 1, from + 1, to): from 0 is from nothing, and the last gap stands for all longer ones;
    # both are cut off below.
    counts = np.zeros((max_gap + 1, len(wanted) + 1, len(wanted)), np.int64)
    columns = owner, frame, state
    if not _one_pass(*columns, first, bits, width, n_places, early, low, wanted, counts):
        return None
    at = np.flatnonzero(counts.any(axis=(0, 1)))
    return at + low, counts[:max_gap, at[:, None] + 1, at]


def _places(owner: np.ndarray, at_most: int) -> tuple[int, int, int, int]:
    """Return how a name becomes a place in a list, and how many places that takes.

    Returns
    -------
    first, bits, width, n_places: a name stands at ``(d >> bits) * width + d % 2**bits`` with ``d =
    name - first``; 0 places where there were `at_most` or more.
    """
    low, high = _ends(owner)
    if high - low < at_most:
        # Names are dense: all their bits are the place itself.
        return low, 62, 0, high - low + 1
    # A linker's names: the frame of the first sighting in the high bits, a small number in the low
    # ones. The list is a table of frames, each as wide as the largest of the small numbers.
    width = _ends(owner, 2**STRIDE_BITS - 1)[1] + 1
    first = low >> STRIDE_BITS << STRIDE_BITS
    n_places = ((high - first >> STRIDE_BITS) + 1) * width
    if n_places >= at_most:
        n_places = 0
    return first, STRIDE_BITS, width, n_places


def _ends(values: np.ndarray, mask: int = -1) -> tuple[int, int]:
    """Return the least and the greatest of the `values` (n,), of their bits in `mask`."""
    lows, highs = [], []
    for start in range(0, len(values), STRIP):
        strip = values[start : start + STRIP]
        if mask != -1:
            strip = strip & mask
        lows.append(int(strip.min()))
        highs.append(int(strip.max()))
    return min(lows), max(highs)


@compiled
def _one_pass(
    owner: np.ndarray,
    frame: np.ndarray,
    state: np.ndarray,
    first: int,
    bits: int,
    width: int,
    n_places: int,
    early: int,
    low: int,
    wanted: np.ndarray,
    counts: np.ndarray,
) -> bool:
    """Add every row to `counts` (gap - 1, from + 1, to); False as soon as a row comes too late.

    A number without a sign is not looked at for being negative: indices are made so, which is a
    third of the time.
    """
    # What is remembered of a track, in one number: from bit 16 on the frame in which it was last
    # seen (+ 1; 0 is never), in bits 8 to 15 how many frames before that a row of it last counted
    # (0: that row itself), in bits 0 to 7 the state it then had (+ 1; 0 is none).
    last = np.zeros(n_places, np.int64)
    for i in range(len(owner)):
        name = owner[i] - first
        place = np.uint64((name >> bits) * width + (name & ((1 << bits) - 1)))
        now, to = np.int64(frame[i]) - early + 1, np.int64(state[i]) - low
        before = last[place]
        passed = now - (before >> 16)
        if passed <= 0:
            return False
        gap, start = passed + (before >> 8 & 255), before & 255
        if wanted[np.uint64(to)]:
            last[place] = now << 16 | to + 1
            counts[np.uint64(min(gap, len(counts)) - 1), np.uint64(start), np.uint64(to)] += 1
        else:
            last[place] = now << 16 | min(gap, 255) << 8 | start
    return True
