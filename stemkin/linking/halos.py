"""Halos: the few frames before and after a block that its links depend on.

A halo holds *occupied* frames, so it may lie several blocks away; partition by partition it is
handed on, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.linking.linking import CONTEXT
from stemkin.linking.blocks import HeldBlock
from stemkin.linking.clock import Clock
from stemkin.linking.executors import Executor
from stemkin.linking.positions import drift_corrected

BEFORE, AFTER = CONTEXT
"""Occupied frames before and after a block that are looked at with it."""

Pieces = dict[str, pd.DataFrame]
"""Movie → its rows in a partition, as `drift_corrected` gives them."""


@dataclass(frozen=True, eq=False)
class Halo:
    """What a partition must see of those before it (or of those after it).

    Attributes
    ----------
    movie
        The movie that goes on across the seam.
    rows
        Its rows in the occupied frames next to the seam.
    beyond
        The other movies that lie on that side.
    """

    movie: str
    rows: pd.DataFrame
    beyond: frozenset[str]


def in_movies(part: pd.DataFrame, clocks: dict[str, Clock]) -> Pieces:
    """Split a partition into movies and place each in nanometres.

    Parameters
    ----------
    part
        Rows of ``detections``.
    clocks
        The clock of every movie.

    Raises
    ------
    ValueError
        If a movie has no clock, or a coordinate is not finite.
    """
    movies = part["movie"].drop_duplicates().tolist()
    unknown = sorted(set(movies) - set(clocks))
    if unknown:
        msg = f"no calibration is known for movie {unknown[0]!r}; known are {list(clocks)[:5]}"
        raise ValueError(msg)
    return {
        movie: drift_corrected(part[(part["movie"] == movie).to_numpy()], clocks[movie])
        for movie in movies
    }


def held_blocks(executor: Executor, pieces: Sequence[Any], clocks: Any) -> list[Any]:
    """Give every partition its halos.

    Parameters
    ----------
    executor
        Who hands them on.
    pieces
        Handles of what `in_movies` returns for every partition, in the order of time.
    clocks
        Handle of the movies' clocks.

    Returns
    -------
    Handles of: movie → its `HeldBlock`.
    """
    before = _halos(executor, pieces, backwards=False)
    after = _halos(executor, pieces[::-1], backwards=True)[::-1]
    return executor.each(_with_halos, pieces, before, after, same=(clocks,))


def _halos(executor: Executor, pieces: Sequence[Any], *, backwards: bool) -> list[Any]:
    """Return handles of what each partition must see of those before it in `pieces`."""
    step = partial(_next_halo, backwards=backwards)
    halos: list[Any] = [None]
    for piece in pieces[:-1]:
        halos.append(executor.once(step, piece, halos[-1]))
    return halos[: len(pieces)]


def _next_halo(pieces: Pieces, halo: Halo | None, *, backwards: bool) -> Halo | None:
    """Return what the partition after this one (before it, if `backwards`) must see."""
    occupied = [movie for movie, rows in pieces.items() if len(rows)]
    if not occupied:
        return halo
    if backwards:
        occupied.reverse()
    movie, seen = occupied[-1], set(occupied)
    rows = [pieces[movie]]
    if halo is not None:
        seen |= halo.beyond | {halo.movie}
    if halo is not None and halo.movie == movie:
        # seen from this partition the halo lies before its rows, or behind them
        rows = [halo.rows, *rows]
        if backwards:
            rows.reverse()
    together = rows[0]
    if len(rows) > 1:
        together = pd.concat(rows, ignore_index=True)
    nearest = first_frames if backwards else last_frames
    return Halo(movie, nearest(together), frozenset(seen - {movie}))


def _with_halos(
    pieces: Pieces, before: Halo | None, after: Halo | None, clocks: dict[str, Clock]
) -> dict[str, HeldBlock]:
    """Return each movie's block; a halo belongs to at most one movie."""
    back: list[str] = []
    if before is not None:
        back = sorted(set(pieces) & before.beyond)
    if back:
        msg = (
            f"movie {back[0]!r} comes back after other movies; its partitions must follow each "
            "other: sort the rows by movie, frame"
        )
        raise ValueError(msg)

    def beside(halo: Halo | None, movie: str) -> pd.DataFrame:
        if halo is None or halo.movie != movie:
            return pieces[movie].iloc[:0]
        return halo.rows

    return {
        movie: HeldBlock.of(rows, beside(before, movie), beside(after, movie), clocks[movie])
        for movie, rows in pieces.items()
    }


def last_frames(placed: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last occupied frames, as many as the block after them must see."""
    return placed.iloc[_occupied_from_end(placed["frame"].to_numpy(), BEFORE) :]


def first_frames(placed: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first occupied frames, as many as the block before them must see."""
    # seen from behind, with negated numbers, the first frames are the last ones of an ascending row
    n_others = _occupied_from_end(-placed["frame"].to_numpy()[::-1], AFTER)
    return placed.iloc[: len(placed) - n_others]


def _occupied_from_end(frame: np.ndarray, n_frames: int) -> int:
    """Return the row where the last `n_frames` different values of the ascending `frame` begin."""
    row = len(frame)
    for _ in range(n_frames):
        if row:
            row = int(np.searchsorted(frame, frame[row - 1]))
    return row
