"""Convolution with a symmetric kernel along both axes, in one pass over the rows of an image.

Each row is summed down and then across while it lies in the core's own cache, and sums are in the
order in which they are written, whatever the machine.

>>> image = np.zeros((5, 5)); image[2, 2] = 1.0
>>> convolved(image, np.array([0.5, 0.25]))[2].tolist()
[0.0, 0.125, 0.25, 0.125, 0.0]
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.common.compiling import compiled


def convolved(
    image: np.ndarray,
    half: np.ndarray,
    *,
    shares: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Convolve an image along both axes; zeros beyond the edge.

    Parameters
    ----------
    image
        (y, x) floating-point array of NumPy.
    half
        (r + 1,) the kernel from its middle outwards.
    shares
        (height,) and (width,) factors of the rows and columns of the result; None for ones.

    Returns
    -------
    (y, x) array of the same type.
    """
    if shares is None:
        shares = np.ones(image.shape[0]), np.ones(image.shape[1])
    down, across = (share.astype(image.dtype) for share in shares)
    return np.asarray(
        _convolved(np.ascontiguousarray(image), half.astype(image.dtype), down, across)
    )


@compiled
def _convolved(
    image: np.ndarray, half: np.ndarray, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """Convolve `image` with the kernel whose `half` is of the same type, as are the shares."""
    height, width = image.shape
    reach = len(half) - 1
    done = np.empty_like(image)
    # what is summed down, with a margin of zeros on both sides
    line = np.zeros(width + 2 * reach, image.dtype)
    middle = line[reach : reach + width]
    for y in range(height):
        _weighted(image[y], half[0], middle)
        for k in range(1, reach + 1):
            above, below = y - k, y + k
            if above >= 0 and below < height:
                _add_both(image[above], image[below], half[k], middle)
            elif above >= 0:
                _add_one(image[above], half[k], middle)
            elif below < height:
                _add_one(image[below], half[k], middle)
        _weighted(middle, down[y], middle)
        row = done[y]
        _weighted(middle, half[0], row)
        for k in range(1, reach + 1):
            _add_both(line[reach - k :], line[reach + k :], half[k], row)
        for x in range(width):
            row[x] *= across[x]
    return done


@compiled
def _weighted(values: np.ndarray, weight: float, into: np.ndarray) -> None:
    """Write weighted values."""
    for i in range(len(into)):
        into[i] = values[i] * weight


@compiled
def _add_both(first: np.ndarray, second: np.ndarray, weight: float, into: np.ndarray) -> None:
    """Add the weighted sums of two lines."""
    for i in range(len(into)):
        into[i] += (first[i] + second[i]) * weight


@compiled
def _add_one(values: np.ndarray, weight: float, into: np.ndarray) -> None:
    """Add weighted values."""
    for i in range(len(into)):
        into[i] += values[i] * weight
