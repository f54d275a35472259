"""Weights of a patch read at the sites of a frame: drawn as filters of pixels, and applied there only.

A site lies anywhere between pixels, so the filter is drawn for `PHASES` x `PHASES` places within a
pixel and each site is read with the one that is closest: to a sixteenth of a pixel.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> image = np.zeros((64, 64), np.float32); image[32, 32] = 1.0
>>> filters = Filters.of(np.ones(len(GRID)), honeycomb(10.0))
>>> middle = filters.kernels.shape[1] // 2
>>> seen, _ = filters.read(image, np.array([[32.0, 32.0]]))
>>> bool(np.isclose(seen[0], filters.kernels[0, middle, middle]))
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.detection.patch_grid import GRID, STEPS

PHASES = 8
"""Places within a pixel, along each axis, for which a filter is drawn."""

AT_ONCE = 4096
"""So many sites are read at once where their pixels are gathered first."""


@dataclass(frozen=True, eq=False)
class Filters:
    """Weights of the grid, drawn as filters for a lattice.

    Attributes
    ----------
    kernels
        (PHASES**2, 2 r + 1, 2 r + 1) float32, centred on a site that lies by so much beyond the
        middle of a pixel.
    squares
        (PHASES**2,) sums of their squares.
    """

    kernels: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, lattice: Lattice) -> Filters:
        """Draw (P,) weights of the points of `GRID`.

        Each point's weight is shared among the four pixels around it, as bilinear interpolation of
        the image does.
        """
        offsets = GRID / STEPS @ np.stack([lattice.a1, lattice.a2])
        reach = math.ceil(np.abs(offsets).max()) + 1
        kernels = _drawn(offsets, np.asarray(weights, dtype=np.float64), reach)
        return cls(kernels, (kernels**2).sum(axis=(1, 2), dtype=np.float64))

    @property
    def reach_px(self) -> int:
        """Half the edge of the filters, without the middle [px]."""
        return int(self.kernels.shape[1]) // 2

    def squared(self) -> Filters:
        """Return the filters of the squares of the weights of pixels."""
        kernels = self.kernels**2
        return Filters(kernels, (kernels**2).sum(axis=(1, 2), dtype=np.float64))

    def read(self, image: Array, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read an image at points.

        Parameters
        ----------
        image
            (y, x) floating-point array, any library; nothing is beyond its edge.
        points
            (m, 2) places (y, x) [px].

        Returns
        -------
        (m,) sums of the image around each with the weights of its filter, and which filter.
        """
        pixel, phase = np.divmod(np.floor(points * PHASES + 0.5).astype(np.int64), PHASES)
        which = phase[:, 0] * PHASES + phase[:, 1]
        if isinstance(image, np.ndarray):
            return _read(np.ascontiguousarray(image), pixel, which, self.kernels), which
        sums = [np.zeros(0)]
        for first in range(0, len(points), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            sums.append(self._gathered(image, pixel[part], which[part]))
        return np.concatenate(sums), which

    def _gathered(self, image: Array, pixel: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Read an image of any library in the (m, 2) `pixel`, each by the filter `which` (m,)."""
        xp, reach = namespace(image), self.reach_px
        height, width = (int(n) for n in image.shape)
        beside = xp.zeros((height, reach), dtype=image.dtype)
        wide = xp.concat([beside, image, beside], axis=1)
        above = xp.zeros((reach, width + 2 * reach), dtype=image.dtype)
        flat = xp.reshape(xp.concat([above, wide, above], axis=0), (-1,))
        steps = np.arange(2 * reach + 1)
        square = (steps[:, None] * (width + 2 * reach) + steps).ravel()
        # the margin is as wide as the filter reaches, so a window begins at the number of its pixel
        index = (pixel[:, 0] * (width + 2 * reach) + pixel[:, 1])[:, None] + square
        seen = xp.reshape(xp.take(flat, xp.asarray(index.ravel(), dtype=xp.int64)), index.shape)
        kernels = xp.asarray(self.kernels.reshape(len(self.kernels), -1), dtype=image.dtype)
        own = xp.take(kernels, xp.asarray(which, dtype=xp.int64), axis=0)
        return np.asarray(to_host(xp.sum(seen * own, axis=1)), dtype=float)


@compiled
def _drawn(offsets: np.ndarray, weights: np.ndarray, reach: int) -> np.ndarray:
    """Draw `weights` (P,) of places (P, 2) [px] as a filter for each place within a pixel."""
    size = 2 * reach + 1
    kernels = np.zeros((PHASES * PHASES, size, size), np.float32)
    for phase in range(PHASES * PHASES):
        kernel = kernels[phase]
        for i in range(len(weights)):
            y = offsets[i, 0] + (phase // PHASES) / PHASES + reach
            x = offsets[i, 1] + (phase % PHASES) / PHASES + reach
            row, column = math.floor(y), math.floor(x)
            low, right = y - row, x - column
            kernel[row, column] += weights[i] * (1 - low) * (1 - right)
            kernel[row, column + 1] += weights[i] * (1 - low) * right
            kernel[row + 1, column] += weights[i] * low * (1 - right)
            kernel[row + 1, column + 1] += weights[i] * low * right
    return kernels


@compiled
def _read(
    image: np.ndarray, pixel: np.ndarray, which: np.ndarray, kernels: np.ndarray
) -> np.ndarray:
    """Return the sums (m,) of an image around pixels (m, 2) with the kernel `which` (m,) of each."""
    height, width = image.shape
    size = kernels.shape[1]
    sums = np.empty(len(pixel))
    # columns are added up side by side, as processors do
    lanes = np.zeros(size, image.dtype)
    for i in range(len(pixel)):
        top, left = pixel[i, 0] - size // 2, pixel[i, 1] - size // 2
        first, last = max(0, -left), min(size, width - left)
        kernel = kernels[which[i]]
        lanes[:] = 0
        for k in range(max(0, -top), min(size, height - top)):
            _add_product(image[top + k, left + first : left + last], kernel[k, first:last], lanes)
        total = 0.0
        for j in range(size):
            total += lanes[j]
        sums[i] = total
    return sums


@compiled
def _add_product(line: np.ndarray, weights: np.ndarray, lanes: np.ndarray) -> None:
    """Add the products of pixels in a line with their weights."""
    for j in range(len(line)):
        lanes[j] += line[j] * weights[j]
