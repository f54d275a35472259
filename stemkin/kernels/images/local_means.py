"""Means and slopes of an image around points, with the weights of a Gaussian centred exactly there.

A few thousand points of a frame are asked; so each is answered by one loop over the pixels around
it, and no temporary array is made.

>>> image = np.arange(100.0).reshape(10, 10)
>>> gaussian_slopes(image, np.array([4.0, 5.0]), 1.0).round(6).tolist()
[45.0, 10.0, 1.0]
"""

from __future__ import annotations

import math

import numpy as np

from stemkin.kernels.common.compiling import compiled

REACH = 2.7
"""Pixels further than so many standard deviations from that next to a point do not count."""


def gaussian_means(
    image: np.ndarray, points: np.ndarray, sd_px: float, *, min_share: float = 0.0
) -> np.ndarray:
    """Average an image around points with the weights of a Gaussian centred exactly there.

    Pixels beyond the frame carry no weight.

    Parameters
    ----------
    image
        (y, x) intensities.
    points
        (..., 2) places (y, x) [px].
    sd_px
        Standard deviation of the Gaussian [px].
    min_share
        A point with no more than this share of its weight inside the frame gives NaN.

    Returns
    -------
    (...) means.
    """
    points = np.asarray(points, dtype=np.float64)
    flat = np.ascontiguousarray(points).reshape(-1, 2)
    means = _measured(np.ascontiguousarray(image), flat, float(sd_px), float(min_share), 1)
    return np.asarray(means[0].reshape(points.shape[:-1]))


def gaussian_slopes(
    image: np.ndarray, points: np.ndarray, sd_px: float, *, min_share: float = 0.0
) -> np.ndarray:
    """Measure what `gaussian_means` does, and how that changes along y and along x.

    The slopes are those of the plane that fits best, by weighted least squares.

    Parameters
    ----------
    image
        (y, x) intensities.
    points
        (..., 2) places (y, x) [px].
    sd_px
        Standard deviation of the Gaussian [px].
    min_share
        A point with no more than this share of its weight inside the frame gives NaN.

    Returns
    -------
    (3, ...) mean, slope along y and slope along x [per px].
    """
    points = np.asarray(points, dtype=np.float64)
    flat = np.ascontiguousarray(points).reshape(-1, 2)
    found = _measured(np.ascontiguousarray(image), flat, float(sd_px), float(min_share), 3)
    return np.asarray(found.reshape(3, *points.shape[:-1]))


@compiled
def _measured(
    image: np.ndarray, points: np.ndarray, sd_px: float, min_share: float, n_asked: int
) -> np.ndarray:
    """Return (n_asked, m): means around points (m, 2), and if 3 are asked slopes along y and x."""
    found = np.full((n_asked, len(points)), np.nan)
    height, width = image.shape
    reach = math.ceil(REACH * sd_px)
    down, across = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    lanes, sloped = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    for i in range(len(points)):
        row = int(np.rint(points[i, 0])) - reach
        column = int(np.rint(points[i, 1])) - reach
        share = _weigh(down, row - points[i, 0], row, height, sd_px)
        share *= _weigh(across, column - points[i, 1], column, width, sd_px)
        if not share > min_share:
            continue
        # weighted least squares of a plane: its slope has the weights w (s - mean) / sum w (s -
        # mean)^2. Columns are added up side by side, as processors do.
        mean_y, spread_y = _moments(down, row - points[i, 0])
        mean_x, spread_x = _moments(across, column - points[i, 1])
        first, last = max(column, 0), min(column + 2 * reach + 1, width)
        for k in range(2 * reach + 1):
            lanes[k], sloped[k] = 0.0, 0.0
        for y in range(max(row, 0), min(row + 2 * reach + 1, height)):
            weight = down[y - row]
            step = weight * (y - points[i, 0] - mean_y)
            for x in range(first, last):
                lanes[x - column] += image[y, x] * weight
            if n_asked > 1:
                for x in range(first, last):
                    sloped[x - column] += image[y, x] * step
        mean, slope_y, slope_x = 0.0, 0.0, 0.0
        for k in range(2 * reach + 1):
            mean += lanes[k] * across[k]
            slope_y += sloped[k] * across[k]
            slope_x += lanes[k] * across[k] * (column + k - points[i, 1] - mean_x)
        found[0, i] = mean
        if n_asked > 1:
            found[1, i] = slope_y / spread_y if spread_y > 0 else 0.0
            found[2, i] = slope_x / spread_x if spread_x > 0 else 0.0
    return found


@compiled
def _weigh(weights: np.ndarray, step: float, first: int, length: int, sd_px: float) -> float:
    """Fill in Gaussian `weights` (n,) of pixels from the number `first` on, `step` from a point.

    Those beyond an axis of so many pixels are 0, the others add up to 1. Returns their share in the
    sum of all.
    """
    # the ratio of a Gaussian's neighbouring values falls by the same factor from step to step
    weight = math.exp(-0.5 * (step / sd_px) ** 2)
    ratio = math.exp(-(step + 0.5) / sd_px**2)
    factor = math.exp(-1.0 / sd_px**2)
    whole, seen = 0.0, 0.0
    for k in range(len(weights)):
        whole += weight
        inside = first + k >= 0 and first + k < length
        weights[k] = weight if inside else 0.0
        seen += weights[k]
        weight *= ratio
        ratio *= factor
    if seen > 0:
        for k in range(len(weights)):
            weights[k] /= seen
    return seen / whole


@compiled
def _moments(weights: np.ndarray, step: float) -> tuple[float, float]:
    """Return mean and variance of the steps of pixels, the first of which is `step` from a point."""
    mean, spread = 0.0, 0.0
    for k in range(len(weights)):
        mean += weights[k] * (step + k)
    for k in range(len(weights)):
        spread += weights[k] * (step + k - mean) ** 2
    return mean, spread
