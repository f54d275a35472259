"""The pixels around many points, interpolated in one pass over them: no temporary array is made."""

from __future__ import annotations

import math

import numpy as np

from stemkin.kernels.common.compiling import compiled


@compiled
def gathered(image: np.ndarray, points: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Interpolate an image bilinearly at the same steps from each of many points.

    Parameters
    ----------
    image
        (y, x) array of NumPy.
    points
        (m, 2) float64 places (y, x) [px].
    offsets
        (P, 2) float64 steps (y, x) [px]; all places lie inside the frame, one pixel from its end.

    Returns
    -------
    (m, P) float32, each rounded as sums of four products in single precision are.
    """
    seen = np.empty((len(points), len(offsets)), np.float32)
    one = np.float32(1)
    for i in range(len(points)):
        for j in range(len(offsets)):
            y, x = points[i, 0] + offsets[j, 0], points[i, 1] + offsets[j, 1]
            row, column = math.floor(y), math.floor(x)
            low, right = np.float32(y - row), np.float32(x - column)
            first, second = np.float32(image[row, column]), np.float32(image[row, column + 1])
            third = np.float32(image[row + 1, column])
            fourth = np.float32(image[row + 1, column + 1])
            above = first * (one - right) + second * right
            below = third * (one - right) + fourth * right
            seen[i, j] = above * (one - low) + below * low
    return seen


@compiled
def gathered_partly(
    image: np.ndarray, points: np.ndarray, offsets: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate an image bilinearly at the same steps from each of many points, where it is seen.

    Parameters
    ----------
    image
        (y, x) array of NumPy.
    points
        (m, 2) float64 places (y, x) [px].
    offsets
        (P, 2) float64 steps (y, x) [px].
    mask
        (y, x) of the pixels in which something is seen; (0, 0) for all.

    Returns
    -------
    (m, P) values, 0 where nothing is seen, and (m, P) whether something is.
    """
    height, width = image.shape
    patches = np.zeros((len(points), len(offsets)))
    seen = np.zeros((len(points), len(offsets)), np.bool_)
    for i in range(len(points)):
        for j in range(len(offsets)):
            y, x = points[i, 0] + offsets[j, 0], points[i, 1] + offsets[j, 1]
            row, column = math.floor(y), math.floor(x)
            if row < 0 or column < 0 or row >= height - 1 or column >= width - 1:
                continue
            if mask.size > 0 and not mask[row, column]:
                continue
            low, right = y - row, x - column
            value = (1 - low) * (1 - right) * image[row, column]
            value += (1 - low) * right * image[row, column + 1]
            value += low * (1 - right) * image[row + 1, column]
            value += low * right * image[row + 1, column + 1]
            patches[i, j], seen[i, j] = value, True
    return patches, seen
