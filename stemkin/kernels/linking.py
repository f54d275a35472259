r"""From frame to frame: which detection continues which, for a whole block of frames at once.

Candidates are found on a grid: with cells at least twice the reach, what lies near a point is in 2 x 2 cells, and those
are two runs of the points sorted by cell. So no tree is built and no frame is visited by itself; the pairs of all frames
go through `stemkin.kernels.matching` together, which takes the clear ones in a few array operations.

Frames are given as *ordinals*: the number of a frame among the good ones, so that a bad frame is no absence. A pair of
frames that lie `g` frame times apart (bad ones between them) may be sqrt(g) as far apart as neighbours: the spread of a
random walk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.matching import SLACK, best_matching, tie_break
from stemkin.kernels.seams import ranks
from stemkin.kernels.steps import StepModel

BATCH_ROWS = 30_000
"""Rows whose candidates are looked for together: they fit into a processor's cache."""

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


@dataclass(frozen=True, eq=False)
class Looks:
    """How detections look, as far as it counts.

    Attributes
    ----------
    class_id
        (n,) their classes.
    brightness_nm
        (n,) logarithm of their scores, times the distance that a factor e counts as [nm].
    class_penalty_nm
        What a difference of class counts as [nm].
    """

    class_id: np.ndarray
    brightness_nm: np.ndarray
    class_penalty_nm: float = 0.0

    def squared_nm2(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return what the looks of the pairs `i`, `j` add to their squared distances [nm2]."""
        other = self.class_penalty_nm**2 * (self.class_id[i] != self.class_id[j])
        return np.asarray(other + (self.brightness_nm[i] - self.brightness_nm[j]) ** 2)

    def take(self, rows: np.ndarray) -> Looks:
        """Return the looks of `rows`."""
        return Looks(self.class_id[rows], self.brightness_nm[rows], self.class_penalty_nm)


def links(
    ordinal: np.ndarray,
    points_nm: np.ndarray,
    *,
    reach_nm: np.ndarray,
    looks: Looks | None = None,
    model: StepModel | None = None,
) -> np.ndarray:
    """Say which row of the frame before each row continues.

    Parameters
    ----------
    ordinal
        (n,) frame of each row, counted among the good frames; ascending.
    points_nm
        (n, 2) drift-corrected positions (y, x) [nm].
    reach_nm
        (n,) largest distance from the frame before to this row [nm]; 0 where nothing may be continued.
    looks
        Of the rows; what differs adds to a pair's squared distance. None: only distance counts.
    model
        Odds of steps; then the links that are most likely together are chosen. None: those whose squared distances, with
        the squared reach for each row of the earlier frame that is not continued, add up to the least.

    Returns
    -------
    (n,) row in the frame before, -1 where a track begins.

    Examples
    --------
    >>> points = np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.1], [0.0, 0.2]])
    >>> links(np.array([0, 0, 1, 2]), points, reach_nm=np.full(4, 0.4)).tolist()
    [-1, -1, 0, 2]
    """
    before = np.full(len(ordinal), -1, np.int64)
    rank = ranks(ordinal)
    for start, stop in batches(ordinal):
        pairs = near_pairs(ordinal[start:stop], points_nm[start:stop], reach_nm[start:stop])
        i, j = pairs.earlier + start, pairs.later + start
        squared, limit = pairs.squared, reach_nm[j] ** 2
        if looks is not None:
            squared = squared + looks.squared_nm2(i, j)
        unique = tie_break(rank[i], rank[j])
        if model is None:
            saving = limit * (1 + 2 * SLACK + unique) - squared
        else:
            saving = model.log_odds(squared, limit / model.reach_nm**2) + unique
        taken = best_matching(pairs.earlier, pairs.later, saving, n_left=stop - start, n_right=stop - start)
        before[j[taken]] = i[taken]
    return before


def batches(ordinal: np.ndarray, rows: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of whole frames, about `BATCH_ROWS` rows each; neighbours share one frame."""
    rows = BATCH_ROWS if rows is None else rows
    n = len(ordinal)
    start = 0
    while start < n:
        wanted = int(np.searchsorted(ordinal, ordinal[min(start + rows, n) - 1], side="right"))
        two_frames = int(np.searchsorted(ordinal, ordinal[start] + 1, side="right"))
        stop = max(wanted, two_frames)
        yield start, stop
        if stop == n:
            return
        start = int(np.searchsorted(ordinal, ordinal[stop - 1], side="left"))


def near_pairs(ordinal: np.ndarray, points_nm: np.ndarray, reach_nm: np.ndarray, *, n_apart: int = 1) -> Pairs:
    """Return every pair of rows, `n_apart` good frames apart, within the reach of the later one.

    Parameters
    ----------
    ordinal, points_nm, reach_nm
        As in `links`; a row whose reach is 0 has no pairs.
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
