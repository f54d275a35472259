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
