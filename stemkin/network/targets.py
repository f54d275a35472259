"""What the local net is to say of a scene: maps at half resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.network.decoding import STRIDE

SPOT = 0.14
"""Standard deviation of the spot that marks a defect, over the lattice constant."""

OFFSET_REACH = 0.3
"""How far from a defect, over the lattice constant, cells tell its offset."""

RIM = 0.7
"""How far around places that are not judged nothing is learned, over the lattice constant."""


@dataclass(frozen=True, eq=False)
class Target:
    """What the maps of a net should be, float32, in cells of 2 x 2 pixels: (y / 2, x / 2).

    `marks` (2, ...) lie between 0 and 1, `offsets` (2, ...) are in pixels, `near` and `judged` are
    0 or 1.
    """

    marks: np.ndarray
    offsets: np.ndarray
    near: np.ndarray
    judged: np.ndarray


def target_of(
    points: np.ndarray,
    channel: np.ndarray,
    unjudged: np.ndarray,
    shape: tuple[int, int],
    spacing_px: float,
) -> Target:
    """Draw the maps of one scene.

    Parameters
    ----------
    points, channel
        (m, 2) places (y, x) [px] of the defects; (m,) 0 for dark, 1 for bright.
    unjudged
        (k, 2) places around which nothing is learned.
    shape
        (height, width) of the scene [px].
    spacing_px
        Lattice constant.
    """
    cells = tuple(n // STRIDE for n in shape)
    marks, offsets = np.zeros((2, *cells), np.float32), np.zeros((2, *cells), np.float32)
    # `closest`: squared distance [px2] from each cell to its nearest defect so far, of either
    # channel. Marks keep the higher of two spots, offsets point to the nearer of two defects.
    closest = np.full(cells, np.inf, np.float32)
    reach = int(np.ceil(3 * SPOT * spacing_px / STRIDE)) + 1
    for (y, x), which in zip(points, channel, strict=True):
        rows, columns, dy, dx = _window(y, x, reach, cells)
        r2 = dy[:, None] ** 2 + dx**2
        part = (slice(rows[0], rows[1]), slice(columns[0], columns[1]))
        spot = marks[which][part]  # a view, as are all parts below: written in place
        np.maximum(spot, np.exp(-r2 / (2 * (SPOT * spacing_px) ** 2)), out=spot)
        nearer = r2 < closest[part]
        closest[part][nearer] = r2[nearer]
        offsets[0][part][nearer] = np.broadcast_to(dy[:, None], r2.shape)[nearer]
        offsets[1][part][nearer] = np.broadcast_to(dx, r2.shape)[nearer]
    judged = np.ones(cells, np.float32)
    reach = int(np.ceil(RIM * spacing_px / STRIDE)) + 1
    for y, x in unjudged:
        rows, columns, dy, dx = _window(y, x, reach, cells)
        around = judged[rows[0] : rows[1], columns[0] : columns[1]]
        around[dy[:, None] ** 2 + dx**2 < (RIM * spacing_px) ** 2] = 0
    near = (closest < (OFFSET_REACH * spacing_px) ** 2).astype(np.float32) * judged
    return Target(marks, offsets, near, judged)


def _window(
    y: float, x: float, reach: int, cells: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int], np.ndarray, np.ndarray]:
    """Return the rows and columns of the cells around a point, and its distances from them.

    A distance (y, x) [px] is that of the point from the middle of a cell.
    """
    # The middle of cell i lies at STRIDE * i + middle [px]. The window is cut at the edge of the
    # map, and is empty where the point lies further outside than `reach` cells.
    middle = (STRIDE - 1) / 2
    spans, steps = [], []
    for place, n in ((y, cells[0]), (x, cells[1])):
        at = round((place - middle) / STRIDE)
        low, high = max(at - reach, 0), max(min(at + reach + 1, n), 0)
        low = min(low, high)
        spans.append((low, high))
        steps.append(place - (np.arange(low, high) * STRIDE + middle))
    return spans[0], spans[1], steps[0], steps[1]
