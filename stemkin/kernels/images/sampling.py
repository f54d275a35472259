"""An image between its pixels, linear from one to the next: read in one loop over the places.

>>> sampled(np.arange(6.0).reshape(2, 3), np.array([[0.5, 1.25], [0.0, 2.5]])).tolist()
[2.75, 0.0]
"""

from __future__ import annotations

import math

import numpy as np

from stemkin.kernels.common.compiling import compiled


@compiled
def sampled(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate an image bilinearly.

    Parameters
    ----------
    image
        (y, x) intensities.
    points
        (m, 2) places (y, x) [px].

    Returns
    -------
    (m,) float32 values, summed in double precision; 0 beyond the frame.
    """
    height, width = image.shape
    values = np.zeros(len(points), np.float32)
    for i in range(len(points)):
        y, x = points[i, 0], points[i, 1]
        if not (y >= 0 and x >= 0 and y <= height - 1 and x <= width - 1):
            continue
        # at the last pixel there is none after it, and it would not count
        row, column = min(math.floor(y), height - 2), min(math.floor(x), width - 2)
        low, right = y - row, x - column
        above = image[row, column] * (1 - right) + image[row, column + 1] * right
        below = image[row + 1, column] * (1 - right) + image[row + 1, column + 1] * right
        values[i] = above * (1 - low) + below * low
    return values
