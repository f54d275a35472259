"""Cubic convolution: values and slopes of an image between its pixels.

The kernel is that of Keys, IEEE Trans. ASSP 29, 1153 (1981), with a = -1/2.

>>> image = np.arange(36.0).reshape(6, 6)
>>> interpolate(image, np.array([[2.5, 2.25]])).round(6).tolist()
[17.25]
>>> gradient(image, np.array([[2.5, 2.25]])).round(6).tolist()
[[6.0, 1.0]]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled


def interpolate(image: Array, points: np.ndarray) -> np.ndarray:
    """Interpolate an image at points, by cubic convolution.

    Parameters
    ----------
    image
        (y, x) array, any library.
    points
        (m, 2) places (y, x) [px], at least one pixel inside the frame.

    Returns
    -------
    (m,) values, on the host.
    """
    return Patches.of(image, points).values


def pixels(image: Array, points: np.ndarray) -> np.ndarray:
    """Read the pixels in which points lie.

    Parameters
    ----------
    image
        (y, x) array, any library.
    points
        (m, 2) places (y, x) [px]; beyond the frame its edge is read.

    Returns
    -------
    (m,) values, on the host.
    """
    xp = namespace(image)
    height, width = (int(n) for n in image.shape)
    if not len(points):
        return np.zeros(0)
    if isinstance(image, np.ndarray):
        return np.asarray(_nearest(image, np.ascontiguousarray(points, dtype=np.float64)))
    nearest = np.clip(np.rint(points).astype(np.int64), 0, np.array([height, width]) - 1)
    index = xp.asarray(nearest[:, 0] * width + nearest[:, 1], dtype=xp.int64)
    flat = xp.take(xp.reshape(image, (-1,)), index)
    return np.asarray(to_host(flat), dtype=float)


@compiled
def _nearest(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return what `pixels` does of an image of NumPy, in one loop."""
    height, width = image.shape
    values = np.empty(len(points))
    for i in range(len(points)):
        y = min(max(int(np.rint(points[i, 0])), 0), height - 1)
        x = min(max(int(np.rint(points[i, 1])), 0), width - 1)
        values[i] = image[y, x]
    return values


def gradient(image: Array, points: np.ndarray) -> np.ndarray:
    """Differentiate what `interpolate` returns.

    Parameters
    ----------
    image
        (y, x) array, any library.
    points
        (m, 2) places (y, x) [px], at least one pixel inside the frame.

    Returns
    -------
    (m, 2) slopes along y and x [per px], on the host.
    """
    return Patches.of(image, points).slopes


@dataclass(frozen=True, eq=False)
class Patches:
    """The pixels around points, from which values and slopes are computed.

    Attributes
    ----------
    pixels
        (m, 4, 4) pixels.
    shares
        (m, 2) where in the middle square each point lies, 0 to 1.
    """

    pixels: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, image: Array, points: np.ndarray) -> Patches:
        """Take the pixels of (y, x) `image` around the (m, 2) `points`."""
        return cls(*_windows(image, points))

    def only(self, kept: np.ndarray) -> Patches:
        """Return those of the points `kept`."""
        return Patches(self.pixels[kept], self.shares[kept])

    @property
    def values(self) -> np.ndarray:
        """(m,) what `interpolate` returns."""
        return np.asarray(_values(self.pixels, self.shares))

    @property
    def slopes(self) -> np.ndarray:
        """(m, 2) what `gradient` returns."""
        return np.asarray(_slopes(self.pixels, self.shares))


def _windows(image: Array, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels and shares of `Patches`."""
    if isinstance(image, np.ndarray):
        pixels, shares = _gathered(image, np.ascontiguousarray(points, dtype=np.float64))
        return np.asarray(pixels), np.asarray(shares)
    xp = namespace(image)
    height, width = (int(n) for n in image.shape)
    # the pixel before each point, such that the one before that and two after it are in the frame
    base = np.clip(np.floor(points).astype(np.int64), 1, np.array([height, width]) - 3)
    steps = np.arange(-1, 3)
    index = (base[:, 0, None, None] + steps[:, None]) * width + base[:, 1, None, None] + steps
    if not len(points):
        return np.zeros((0, 4, 4)), np.zeros((0, 2))
    flat = xp.take(xp.reshape(image, (-1,)), xp.asarray(index.reshape(-1), dtype=xp.int64))
    return np.asarray(to_host(flat), dtype=float).reshape(-1, 4, 4), points - base


@compiled
def _gathered(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_windows` does of an image of NumPy, in one loop."""
    height, width = image.shape
    pixels, shares = np.empty((len(points), 4, 4)), np.empty((len(points), 2))
    for i in range(len(points)):
        y = min(max(math.floor(points[i, 0]), 1), height - 3)
        x = min(max(math.floor(points[i, 1]), 1), width - 3)
        for j in range(4):
            for k in range(4):
                pixels[i, j, k] = image[y - 1 + j, x - 1 + k]
        shares[i, 0], shares[i, 1] = points[i, 0] - y, points[i, 1] - x
    return pixels, shares


@compiled
def _values(pixels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the sums (m,) of (m, 4, 4) pixels with their weights along both axes."""
    values = np.empty(len(pixels))
    down, across = np.empty(4), np.empty(4)
    for i in range(len(pixels)):
        _cubic_weights(shares[i, 0], down)
        _cubic_weights(shares[i, 1], across)
        values[i] = _summed(pixels[i], down, across)
    return values


@compiled
def _slopes(pixels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the slopes (m, 2) of what `_values` returns."""
    slopes = np.empty((len(pixels), 2))
    weights, sloped = np.empty((2, 4)), np.empty((2, 4))
    for i in range(len(pixels)):
        for axis in range(2):
            _cubic_weights(shares[i, axis], weights[axis])
            _cubic_slopes(shares[i, axis], sloped[axis])
        slopes[i, 0] = _summed(pixels[i], sloped[0], weights[1])
        slopes[i, 1] = _summed(pixels[i], weights[0], sloped[1])
    return slopes


@compiled
def _summed(pixels: np.ndarray, down: np.ndarray, across: np.ndarray) -> float:
    """Return the sum of (4, 4) pixels with weights of rows and of columns."""
    total = 0.0
    for j in range(4):
        row = 0.0
        for k in range(4):
            row += pixels[j, k] * across[k]
        total += row * down[j]
    return total


@compiled
def _cubic_weights(t: float, into: np.ndarray) -> None:
    """Write the weights of the pixels at -1, 0, 1, 2 for a place `t` from 0 to 1."""
    into[0] = ((-0.5 * t + 1) * t - 0.5) * t
    into[1] = (1.5 * t - 2.5) * t * t + 1
    into[2] = ((-1.5 * t + 2) * t + 0.5) * t
    into[3] = (0.5 * t - 0.5) * t * t


@compiled
def _cubic_slopes(t: float, into: np.ndarray) -> None:
    """Write the derivatives of `_cubic_weights`."""
    into[0] = (-1.5 * t + 2) * t - 0.5
    into[1] = (4.5 * t - 5) * t
    into[2] = (-4.5 * t + 4) * t + 0.5
    into[3] = (1.5 * t - 1) * t
