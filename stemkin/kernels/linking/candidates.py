r"""Candidate pairs: detections that lie near each other, a given number of frames apart.

Candidates are found on a grid: with cells at least twice the reach, what lies near a point is in 2
x 2 cells, and those are two runs of the points sorted by cell. So no tree is built and no frame is
visited by itself, and the cost grows as the number of rows, in crowded frames as that of the pairs.

Frames are given as *ordinals*: the number of a frame among the good ones, so that a bad frame is no
absence.

>>> points_nm = np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.1]])
>>> pairs = near_pairs(np.array([0, 0, 1]), points_nm, np.full(3, 0.4))
>>> pairs.earlier.tolist(), pairs.later.tolist()
([0], [2])
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.common.matching import SLACK

WINDOW_ROWS = 40_000
"""Rows whose candidates are looked for together: they fit into a processor's cache."""

WINDOW_FRAMES = 16
"""Fewest frames that are looked at together, since a window sees a few more frames on either
side."""

BATCH_CANDIDATES = 2_000_000
"""Upper bound of the pairs that are measured at once (about 50 bytes each), however crowded the
frames are."""


LONG_RUN = 16
"""Where points crowd so much that a row has more candidates in one run, all candidates are written
out at once."""


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
    """Rows `first` to `last` (excluded), and those looked at with them.

    The latter go from `start` to `stop` (excluded).
    """

    start: int
    first: int
    last: int
    stop: int


def windows(ordinal: np.ndarray, *, before: int, after: int) -> Iterator[Window]:
    """Cut rows into windows of whole frames that cover all of them.

    Parameters
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending.
    before, after
        Good frames that are looked at besides.

    Yields
    ------
    Windows of about `WINDOW_ROWS` rows each, and no fewer than `WINDOW_FRAMES` frames.
    """
    n, first = len(ordinal), 0
    while first < n:
        enough = max(
            int(ordinal[min(first + WINDOW_ROWS, n) - 1]), int(ordinal[first]) + WINDOW_FRAMES - 1
        )
        last = int(np.searchsorted(ordinal, enough, side="right"))
        start = int(np.searchsorted(ordinal, ordinal[first] - before))
        yield Window(
            start,
            first,
            last,
            int(np.searchsorted(ordinal, ordinal[last - 1] + after, side="right")),
        )
        first = last


def near_pairs(
    ordinal: np.ndarray, points_nm: np.ndarray, reach_nm: np.ndarray, *, n_apart: int = 1
) -> Pairs:
    """Find every pair of rows, `n_apart` good frames apart, within the reach of the later one.

    Parameters
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending.
    points_nm
        (n, 2) positions (y, x) [nm].
    reach_nm
        (n,) largest distance to the rows before [nm]; 0 asks for none.
    n_apart
        Good frames between the two, plus one.

    Returns
    -------
    Pairs, in no order.
    """
    rows = np.flatnonzero(reach_nm > 0)
    if not len(rows):
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    later, earlier, squared = NeighbourGrid(ordinal, points_nm, float(reach_nm.max())).near(
        rows, reach_nm[rows], -n_apart
    )
    return Pairs(earlier, later, squared)


class NeighbourGrid:
    """Rows sorted by frame and cell, in which neighbours are found."""

    def __init__(self, ordinal: np.ndarray, points_nm: np.ndarray, reach_nm: float) -> None:
        """Sort the rows so that neighbours up to `reach_nm` can be found.

        The arguments are those of `near_pairs`.
        """
        n = len(ordinal)
        self._frame = ordinal - ordinal[:1]
        self._y, self._x = (np.ascontiguousarray(points_nm[:, axis]) for axis in (0, 1))
        n_frames, self._low, extent = 1, [0.0, 0.0], [0.0, 0.0]
        if n:
            n_frames = int(self._frame[-1]) + 1
            self._low = [float(self._y.min()), float(self._x.min())]
            extent = [float(self._y.max()) - self._low[0], float(self._x.max()) - self._low[1]]
        least = max(2 * reach_nm * (1 + SLACK), max(extent) / 2**20, 1e-300)
        # few empty cells where points are sparse; small ones where they crowd somewhere
        edge = max(least, 0.5 * float(np.sqrt(extent[0] * extent[1] * n_frames / max(n, 1))))
        # A cell's key counts (frame, cell y, cell x) in that order. One empty cell lies all around
        # every frame, so the cell after the last of a row is empty and keys x, x + 1 never wrap.
        while True:
            self._edge = edge
            self._n_y, self._n_x = (int(e / edge + 1) + 2 for e in extent)
            cell_y, cell_x = (place.astype(np.int64) for place in self._place(slice(None)))
            key = (self._frame * self._n_y + cell_y) * self._n_x + cell_x
            self._n_cells = n_frames * self._n_y * self._n_x
            self._order = _sorting(key, self._n_cells)
            self._key = key[self._order]
            crowd = np.diff(np.flatnonzero(np.r_[True, self._key[1:] != self._key[:-1], True]))
            if edge == least or (crowd.astype(np.float64) ** 2).sum() <= 8 * n:
                break
            edge = max(least, edge / 4)
        self._sorted_y, self._sorted_x = self._y[self._order], self._x[self._order]
        # `_begin[cell]`: where a cell's rows begin among the sorted ones; with very many cells it
        # is looked up in the sorted keys instead
        self._begin = None
        if self._n_cells <= 8 * n + 1024:
            self._begin = np.zeros(self._n_cells + 2, np.int64)
            np.cumsum(np.bincount(self._key, minlength=self._n_cells + 1), out=self._begin[1:])

    def _place(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Return where `rows` lie, in cells (y, x); one empty cell lies all around."""
        y, x = (
            (v[rows] - low) / self._edge + 1
            for v, low in zip((self._y, self._x), self._low, strict=True)
        )
        return y, x

    def near(
        self, rows: np.ndarray, reach_nm: np.ndarray, n_later: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what lies near some rows in another frame.

        Parameters
        ----------
        rows
            (k,) rows.
        reach_nm
            (k,) largest distance from each; not more than the grid was made for.
        n_later
            Where to look: so many good frames later, or earlier if it is negative.

        Returns
        -------
        (p,) rows, (p,) what lies near them, (p,) squared distances [nm2].
        """
        frame = self._frame[rows] + n_later
        inside = (frame >= 0) & (frame <= self._frame[-1:])  # (0,) where there are no rows at all
        rows, reach_nm, frame = rows[inside], reach_nm[inside], frame[inside]
        # Of the cells around, only those on the nearer side in y and in x hold something within
        # half an edge: 2 x 2 cells, whose first is `first`. Cells x and x + 1 are neighbours among
        # the sorted rows, so the four are two runs, one per row of cells.
        cell_y, cell_x = ((place - 0.5).astype(np.int64) for place in self._place(rows))
        first = (frame * self._n_y + cell_y) * self._n_x + cell_x
        start, stop = self._runs(np.concatenate([first, first + self._n_x]))
        limit = np.tile((reach_nm * (1 + SLACK / 2)) ** 2, 2)
        found = [
            self._measured(*part) for part in _bounded(np.tile(rows, 2), start, stop - start, limit)
        ]
        of_row, other, squared = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return of_row, other, squared

    def _runs(self, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the sorted rows of each `cell` begin and those of the next cell end."""
        if self._begin is not None:
            return self._begin[cell], self._begin[cell + 2]
        return np.searchsorted(self._key, cell), np.searchsorted(self._key, cell + 2)

    def _measured(
        self, row: np.ndarray, start: np.ndarray, length: np.ndarray, limit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Measure every row against its run of the sorted rows and keep what is near.

        First of each run, then second of each, ...: most runs hold one or two, so this is a few
        short passes without counting out.
        """
        if len(length) and int(length.max()) > LONG_RUN:
            of_row = np.repeat(np.arange(len(row)), length)
            place = np.arange(len(of_row)) + np.repeat(start - np.cumsum(length) + length, length)
            return self._kept(row, of_row, place, limit)
        parts, among, turn = [], np.flatnonzero(length), 0
        while len(among):
            parts.append(self._kept(row, among, start[among] + turn, limit))
            turn += 1
            among = among[length[among] > turn]
        if not parts:
            parts = [self._kept(row, among, among, limit)]
        of_rows, others, squared = (np.concatenate(column) for column in zip(*parts, strict=True))
        return of_rows, others, squared

    def _kept(
        self, row: np.ndarray, of_row: np.ndarray, place: np.ndarray, limit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return those of the pairs that are near, with their squared distances.

        A pair is ``row[of_row]`` and the sorted row `place`.
        """
        own = row[of_row]
        squared = (self._sorted_y[place] - self._y[own]) ** 2
        squared += (self._sorted_x[place] - self._x[own]) ** 2
        near = np.flatnonzero(squared <= limit[of_row])
        return own[near], self._order[place[near]], squared[near]


def _sorting(key: np.ndarray, n_keys: int) -> np.ndarray:
    """Return the stable order of the whole numbers `key` (n,), 0 to ``n_keys - 1``.

    It is faster than `argsort` where key and row together fit 63 bits.
    """
    # key * n + row sorts by key and then by row; the row is the remainder
    n = len(key)
    if n_keys * n >= 2**62:
        return np.argsort(key, kind="stable")
    return np.asarray(np.sort(key * n + np.arange(n)) % max(n, 1))


def _bounded(*columns: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the runs (row, start, length, ...) in portions of bounded size.

    A portion has at most about `BATCH_CANDIDATES` pairs.
    """
    total = np.cumsum(columns[2])
    n_pairs = int(columns[2].sum())
    n_parts = max(1, -(-n_pairs // BATCH_CANDIDATES))
    edges = [0, *np.searchsorted(total, np.arange(1, n_parts) * BATCH_CANDIDATES), len(total)]
    for first, last in itertools.pairwise(edges):
        yield [column[first:last] for column in columns]
