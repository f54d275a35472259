"""What is smooth in an image, by way of the means of squares of its pixels.

A Gaussian as wide as a square or wider does not tell the means of squares from the pixels, so what
is smooth costs as much less as there are pixels in a square.

>>> image = np.arange(16.0).reshape(4, 4)
>>> square_means(image, 2).tolist()
[[2.5, 4.5], [10.5, 12.5]]
>>> smooth_from_bins(np.full((8, 8), 3.0), 4, (33, 32), 6.0).round(6)[[0, 20], [0, 31]].tolist()
[3.0, 3.0]
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stemkin.devices import Array, namespace
from stemkin.kernels.common.compiling import compiled


def square_means(image: Array, n: int) -> Array:
    """Return the means of squares of pixels; what is left over at the far edges is left out.

    Parameters
    ----------
    image
        (y, x) floating-point array, any library.
    n
        Edge of a square [px].

    Returns
    -------
    (y // n, x // n) means.
    """
    if n == 1:
        return image
    if isinstance(image, np.ndarray):
        return _square_means(np.ascontiguousarray(image), n)
    height, width = (n * (int(edge) // n) for edge in image.shape)
    rows = sum(image[i:height:n, :width] for i in range(n))
    return sum(rows[:, i::n] for i in range(n)) * (1 / n**2)


@compiled
def _square_means(image: np.ndarray, n: int) -> np.ndarray:
    """Return what `square_means` does, in one pass over the rows."""
    height, width = image.shape[0] // n, image.shape[1] // n
    means = np.empty((height, width), image.dtype)
    line = np.empty(width * n, image.dtype)
    share = image.dtype.type(1 / n**2)
    for y in range(height):
        for x in range(width * n):
            line[x] = image[y * n, x]
        for i in range(1, n):
            row = image[y * n + i]
            for x in range(width * n):
                line[x] += row[x]
        for x in range(width):
            total = line[x * n]
            for i in range(1, n):
                total += line[x * n + i]
            means[y, x] = total * share
    return means


def smooth_from_bins(bins: Array, n: int, shape: tuple[int, int], sd_px: float) -> Array:
    """Smooth an image with a Gaussian wider than its bins, and return it pixel by pixel.

    Parameters
    ----------
    bins
        (ny, nx) means of squares of pixels, as `square_means` gives them, any library.
    n
        Edge of a square [px].
    shape
        (height, width) of the image [px].
    sd_px
        Standard deviation of the Gaussian [px], at least about n.

    Returns
    -------
    (height, width) means; the weights add up to 1 everywhere, edges included.
    """
    xp = namespace(bins)
    down, across = (
        xp.asarray(_bin_weights(int(m), n, edge, sd_px), dtype=bins.dtype)
        for m, edge in zip(bins.shape, shape, strict=True)
    )
    return xp.matmul(xp.matmul(down, bins), across.T)


@lru_cache(maxsize=16)
def _bin_weights(n_bins: int, n: int, length: int, sd_px: float) -> np.ndarray:
    """Return the (length, bins) weights with which bins of `n` pixels tell what is smooth."""
    # a bin is a mean over n pixels, which is wider than one pixel by this variance
    variance = max(sd_px**2 - (n**2 - 1) / 12, 1e-6)
    centre = np.arange(n_bins) * n + (n - 1) / 2
    weights = np.exp(-0.5 * (np.arange(length)[:, None] - centre) ** 2 / variance)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    weights.setflags(write=False)
    return np.asarray(weights)
