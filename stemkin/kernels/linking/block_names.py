r"""Names of tracks: what a block of frames knows of them, and how blocks are joined.

A track is called after its first detection, ``first_frame * 2**24 + rank`` (rank: the number of
that detection within its frame, in the order y, x). A block knows the name of every track that
begins in it. Of a track that came in from before it knows only which row of the last frame before
it (the *halo*) it continues: such a track is called ``-1 - row`` until the blocks before have been
joined, which takes one look-up per block.

>>> # two tracks begin in frame 0 and reach the block's last frame
>>> first = Seam(n_previous=0, last=np.array([0, 1]))
>>> # one came in (row 1 of the halo), one began in frame 5
>>> second = Seam(n_previous=2, last=np.array([-2, 5 * ID_STRIDE]))
>>> [names.tolist() for names in join([first, second])]
[[], [0, 1]]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ID_STRIDE = 2**24
"""Detections that a frame may hold: names of tracks that begin in the same frame stay below the
next frame's."""


@dataclass(frozen=True, eq=False)
class Seam:
    """What the next block must know: a few numbers per detection of one frame.

    Attributes
    ----------
    n_previous
        Rows in the halo of this block.
    last
        (m,) names of the tracks in the block's last occupied frame, in the order of its rows; where
        the block is empty, of the halo's rows.
    """

    n_previous: int
    last: np.ndarray


def ranks(frame: np.ndarray) -> np.ndarray:
    """Return the rank of each row within its frame.

    Parameters
    ----------
    frame
        (n,) frame numbers, ascending.

    Returns
    -------
    (n,) 0, 1, ... in each frame.
    """
    if not len(frame):
        return np.empty(0, np.int64)
    is_first = np.r_[True, frame[1:] != frame[:-1]]
    first = np.flatnonzero(is_first)
    return np.asarray(np.arange(len(frame)) - first[np.cumsum(is_first) - 1])


def name_tracks(
    before: np.ndarray, frame: np.ndarray, *, n_previous: int
) -> tuple[np.ndarray, np.ndarray, Seam]:
    """Name the track of every row.

    Parameters
    ----------
    before
        (n,) row that each row continues, -1 where a track begins; always an earlier row.
    frame
        (n,) frame numbers, ascending.
    n_previous
        So many of the first rows are the halo: the last occupied frame before the block.

    Returns
    -------
    (n - n_previous,) names of the block's own rows, int64, negative where a track came in; (n,) the
    same for all rows; and the block's `Seam`.
    """
    # `head` leads every row back towards the first row of its track; each turn doubles how far, so
    # a track of n rows takes log2(n) turns.
    head = np.where(before >= 0, before, np.arange(len(before)))
    while True:
        further = head[head]
        if np.array_equal(further, head):
            break
        head = further
    name = frame.astype(np.int64) * ID_STRIDE + ranks(frame)
    # The halo's rows are called -1, -2, ...: whoever goes on from one of them inherits that name,
    # and is told apart from tracks that begin here by its sign.
    name[:n_previous] = -1 - np.arange(n_previous)
    name = name[head]
    last = name[frame == frame[-1]] if len(frame) else name
    return name[n_previous:], name, Seam(n_previous, last)


def settle(names: np.ndarray, incoming: np.ndarray) -> np.ndarray:
    """Look up the names of tracks that came in from before a block.

    Parameters
    ----------
    names
        (n,) names; ``-1 - row`` where a track came in through that row of the halo.
    incoming
        (h,) names of the halo's rows.

    Returns
    -------
    (n,) names, none of them negative.
    """
    settled = names.copy()
    came_in = names < 0
    settled[came_in] = incoming[-1 - names[came_in]]
    return settled


def join(seams: Iterable[Seam]) -> list[np.ndarray]:
    """Carry the names of tracks from block to block, across the seams.

    Parameters
    ----------
    seams
        Of each block of a movie, in the order of time.

    Returns
    -------
    For each block, the (h,) names of the tracks in its halo.

    Raises
    ------
    ValueError
        If a block's halo is not the last occupied frame of the blocks before it.
    """
    incoming = [np.empty(0, np.int64)]
    for number, seam in enumerate(seams):
        if seam.n_previous != len(incoming[-1]):
            msg = (
                f"block {number} was linked to a halo of {seam.n_previous} rows, but the last "
                "occupied frame before it has "
                f"{len(incoming[-1])}; join blocks in the order of time, each linked with "
                "last_frame() of the one before"
            )
            raise ValueError(msg)
        incoming.append(settle(seam.last, incoming[-1]))
    return incoming[:-1]
