r"""Which detections lie near each other, a given number of frames apart, for a whole block of frames at once.

Candidates are found on a grid: with cells at least twice the reach, what lies near a point is in 2 x 2 cells, and those
are two runs of the points sorted by cell. So no tree is built and no frame is visited by itself, and the cost grows as the
number of rows, in crowded frames as that of the pairs.

Frames are given as *ordinals*: the number of a frame among the good ones, so that a bad frame is no absence.

>>> pairs = near_pairs(np.array([0, 0, 1]), np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.1]]), np.full(3, 0.4))
>>> pairs.earlier.tolist(), pairs.later.tolist()
([0], [2])
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.matching import SLACK

WINDOW_ROWS = 30_000
"""Rows whose candidates are looked for together: they fit into a processor's cache."""

WINDOW_FRAMES = 16
"""Fewest frames that are looked at together, since a window sees a few more frames on either side."""

BATCH_CANDIDATES = 2_000_000
"""Upper bound of the pairs that are measured at once (about 50 bytes each), however crowded the frames are."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Candidate pairs, in no order.

    Attributes
    ----------
    earlier, later
        (p,) rows.
    squared
        (p,) squared distances [nm2].
    """

    earlier: np.ndarray
    later: np.ndarray
    squared: np.ndarray


@dataclass(frozen=True)
class Window:
    """Rows `first` to `last` (excluded), and those from `start` to `stop` (excluded) that are looked at with them."""

    start: int
    first: int
    last: int
    stop: int


def windows(ordinal: np.ndarray, *, before: int, after: int) -> Iterator[Window]:
    """Yield windows of whole frames that cover all rows, about `WINDOW_ROWS` each and no fewer than `WINDOW_FRAMES` frames.

    Parameters
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending.
    before, after
        Good frames that are looked at besides.
    """
    n, first = len(ordinal), 0
    while first < n:
        enough = max(int(ordinal[min(first + WINDOW_ROWS, n) - 1]), int(ordinal[first]) + WINDOW_FRAMES - 1)
        last = int(np.searchsorted(ordinal, enough, side="right"))
        start = int(np.searchsorted(ordinal, ordinal[first] - before))
        yield Window(start, first, last, int(np.searchsorted(ordinal, ordinal[last - 1] + after, side="right")))
        first = last


def near_pairs(ordinal: np.ndarray, points_nm: np.ndarray, reach_nm: np.ndarray, *, n_apart: int = 1) -> Pairs:
    """Return every pair of rows, `n_apart` good frames apart, within the reach of the later one.

    Parameters
    ----------
    ordinal, points_nm, reach_nm
        (n,) frame of each row, counted among the good frames, ascending; (n, 2) positions (y, x) [nm]; (n,) largest distance
        [nm] to the rows before, where 0 asks for none.
    """
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    if not len(ordinal) or not reach_nm.any():
        return nothing
    order, runs = _cell_runs(ordinal, points_nm, float(reach_nm.max()), n_apart)
    found = [_within_reach(order, chunk, points_nm, reach_nm) for chunk in _bounded(runs)]
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _cell_runs(
    ordinal: np.ndarray, points_nm: np.ndarray, reach: float, n_apart: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sort the rows into grid cells and say which runs of the sorted rows lie around each row, `n_apart` frames before.

    Returns
    -------
    The rows sorted by cell; and (row, start, length) of the runs.
    """
    low, high = points_nm.min(axis=0), points_nm.max(axis=0)
    frames = int(ordinal[-1] - ordinal[0]) + 1
    per_row = np.prod(high - low) * frames / len(ordinal)
    edge = max(2 * reach * (1 + SLACK), 0.5 * float(np.sqrt(per_row)), float((high - low).max()) / 2**20)
    while True:
        place = (points_nm - low) / edge + 1  # one empty cell all around
        n_x = int(place[:, 1].max()) + 2
        n_y = int(place[:, 0].max()) + 2
        cell = place.astype(np.int64)
        frame = ordinal - ordinal[0]
        key = (frame * n_y + cell[:, 0]) * n_x + cell[:, 1]
        order = np.argsort(key, kind="stable")
        # of the cells around, only those on the nearer side in y and in x can hold something within half an edge
        y0 = cell[:, 0] - (place[:, 0] - cell[:, 0] < 0.5)
        x0 = cell[:, 1] - (place[:, 1] - cell[:, 1] < 0.5)
        first = ((frame - n_apart) * n_y + y0) * n_x + x0
        row = np.flatnonzero(frame >= n_apart)
        sought = np.concatenate([first[row], first[row] + n_x])
        start, stop = _find_runs(key[order], sought, n_cells=frames * n_y * n_x)
        length = stop - start
        if length.sum() <= 32 * len(row) or edge <= 4 * reach:
            break
        edge = max(2 * reach * (1 + SLACK), edge / 4, float((high - low).max()) / 2**20)
    return order, (np.tile(row, 2), start, length)


def _find_runs(sorted_key: np.ndarray, sought: np.ndarray, *, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where, in `sorted_key`, the cells `sought` and `sought` + 1 begin and end."""
    if n_cells <= 8 * len(sorted_key) + 1024:
        begin = np.zeros(n_cells + 2, np.int64)
        np.cumsum(np.bincount(sorted_key, minlength=n_cells + 1), out=begin[1:])
        return begin[sought], begin[sought + 2]
    return np.searchsorted(sorted_key, sought), np.searchsorted(sorted_key, sought + 2)


def _bounded(runs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the runs in portions of at most about `BATCH_CANDIDATES` pairs."""
    row, start, length = runs
    total = np.cumsum(length)
    n_parts = max(1, -(-int(total[-1] if len(total) else 0) // BATCH_CANDIDATES))
    edges = np.searchsorted(total, np.arange(1, n_parts) * BATCH_CANDIDATES)
    for chunk in np.split(np.arange(len(row)), edges):
        yield row[chunk], start[chunk], length[chunk]


def _within_reach(
    order: np.ndarray,
    runs: tuple[np.ndarray, np.ndarray, np.ndarray],
    points_nm: np.ndarray,
    reach_nm: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure every pair of the runs and keep the near ones: (earlier, later, squared distance)."""
    row, start, length = runs
    y, x = points_nm[:, 0], points_nm[:, 1]
    later = np.repeat(row, length)
    place = np.arange(len(later)) + np.repeat(start - np.cumsum(length) + length, length)
    squared = (y[order][place] - y[later]) ** 2 + (x[order][place] - x[later]) ** 2
    limit = np.where(reach_nm > 0, (reach_nm * (1 + SLACK / 2)) ** 2, -1.0)
    near = np.flatnonzero(squared <= limit[later])
    return order[place[near]], later[near], squared[near]
