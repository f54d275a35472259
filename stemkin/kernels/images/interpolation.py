"""Cubic convolution: values and slopes of an image between its pixels.

The kernel is that of Keys, IEEE Trans. ASSP 29, 1153 (1981), with a = -1/2.

>>> image = np.arange(36.0).reshape(6, 6)
>>> interpolate(image, np.array([[2.5, 2.25]])).round(6).tolist()
[17.25]
>>> gradient(image, np.array([[2.5, 2.25]])).round(6).tolist()
[[6.0, 1.0]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host


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
    nearest = np.clip(np.rint(points).astype(np.int64), 0, np.array([height, width]) - 1)
    index = xp.asarray(nearest[:, 0] * width + nearest[:, 1], dtype=xp.int64)
    flat = xp.take(xp.reshape(image, (-1,)), index)
    return np.asarray(to_host(flat), dtype=float)


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
        return self._sum(*(_cubic_weights(self.shares[:, axis]) for axis in (0, 1)))

    @property
    def slopes(self) -> np.ndarray:
        """(m, 2) what `gradient` returns."""
        wy, wx = (_cubic_weights(self.shares[:, axis]) for axis in (0, 1))
        sy, sx = (_cubic_slopes(self.shares[:, axis]) for axis in (0, 1))
        return np.stack([self._sum(sy, wx), self._sum(wy, sx)], axis=1)

    def _sum(self, wy: np.ndarray, wx: np.ndarray) -> np.ndarray:
        """Return the (m,) sums of the pixels with the weights ``wy[:, i] * wx[:, j]``."""
        return np.asarray((np.einsum("mij,mj->mi", self.pixels, wx) * wy).sum(axis=1))


def _windows(image: Array, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels and shares of `Patches`."""
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


def _cubic_weights(share: np.ndarray) -> np.ndarray:
    """Return (m, 4) weights of the pixels at -1, 0, 1, 2 for a place `share` (m,) from 0 to 1."""
    t = share
    before = ((-0.5 * t + 1) * t - 0.5) * t
    first = (1.5 * t - 2.5) * t * t + 1
    second = ((-1.5 * t + 2) * t + 0.5) * t
    return np.stack([before, first, second, (0.5 * t - 0.5) * t * t], axis=1)


def _cubic_slopes(share: np.ndarray) -> np.ndarray:
    """Return the derivatives (m, 4) of `_cubic_weights`."""
    t = share
    before = (-1.5 * t + 2) * t - 0.5
    second = (-4.5 * t + 4) * t + 0.5
    return np.stack([before, (4.5 * t - 5) * t, second, (1.5 * t - 1) * t], axis=1)
