"""Noise and filters: what a Gaussian-shaped feature's signal-to-noise is, at every pixel.

Shot noise grows with intensity, so the variance of a pixel is v = alpha + beta M, fitted to the
frame itself. A defect of known narrow shape t is best seen by the matched filter z = sum(t rest /
v) / sqrt(sum(t^2 / v)), which has unit variance where there is only noise (North 1943).
Convolutions are products of blocks with banded matrices: exact at the edges, and fast on any array
library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.images.interpolation import pixels

CLIP = 4.0
"""Squares beyond this many variances count as if they were there: they may be defects."""

MOST_SKEWED = 0.3
"""No more skewness is allowed for: noise of so few counts is no longer nearly normal."""

CLIPPED_SQUARE = 0.9205
"""Mean of min(z^2, CLIP) of a normal z."""


def variance_of(rest: Array, model: Array) -> Array:
    """Return the (y, x) variance of `rest`; see `noise_of`."""
    return noise_of(rest, model)[0]


def noise_of(rest: Array, model: Array) -> tuple[Array, float]:
    """Return the (y, x) variance alpha + beta `model` that fits the squares of `rest`, defects
    clipped, and beta.

    The two numbers are fitted to every fifth pixel of every other row, which is plenty: three
    rounds of least squares with the weights 1 / variance^2 that the squares of Gaussian noise ask
    for.
    """
    xp = namespace(rest)
    some, squares = model[::2, ::5], rest[::2, ::5] ** 2
    middle = xp.mean(some)
    centred = some - middle
    variance = xp.mean(squares) + 0 * centred
    alpha, beta = xp.mean(squares), 0 * middle
    for _ in range(3):
        shares = xp.minimum(squares, CLIP * variance) / variance / CLIPPED_SQUARE
        weight, slope = 1 / variance, centred / variance
        w1, wx, wxx = xp.sum(weight**2), xp.sum(weight * slope), xp.sum(slope**2)
        y1, yx = xp.sum(weight * shares), xp.sum(slope * shares)
        bottom = w1 * wxx - wx * wx + 1e-30
        alpha, beta = (y1 * wxx - yx * wx) / bottom, (w1 * yx - wx * y1) / bottom
        variance = xp.maximum(alpha + beta * centred, 0.05 * alpha + 1e-30)
    return xp.maximum(alpha - beta * middle + beta * model, 0.05 * alpha + 1e-30), float(
        to_host(beta)
    )


@dataclass(frozen=True, eq=False)
class Skewness:
    """The skewness of the noise that `matched_snr` leaves of Poisson counts.

    Counts of mean and variance n / gain^2 have a third moment of gain n, so a sum of them with
    weights t / v, where t is a Gaussian of standard deviation s, has the skewness gain sum(t^3 /
    v^2) / sum(t^2 / v)^(3/2), which is (2 / 3) gain / (s sqrt(pi v)) where v does not change much.

    Attributes
    ----------
    weight
        (y, x) inverse variance 1 / v.
    gain
        Variance of a pixel per intensity; 0 or less for noise that is no counting noise.
    sd_px
        Width s of the filter [px].
    """

    weight: Array
    gain: float
    sd_px: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the skewness (m,) in the pixels of the (m, 2) `points`, no more than
        `MOST_SKEWED`."""
        factor = max(self.gain, 0.0) * 2 / (3 * self.sd_px * np.sqrt(np.pi))
        return np.asarray(np.minimum(factor * np.sqrt(pixels(self.weight, points)), MOST_SKEWED))


def clipped(rest: Array, *, n_sd: float = 3.0) -> Array:
    """Return `rest` with everything beyond `n_sd` standard deviations cut off, so that defects
    weigh little."""
    xp = namespace(rest)
    sd = xp.sqrt(xp.mean(rest[::2, ::5] ** 2))
    return xp.minimum(xp.maximum(rest, -n_sd * sd), n_sd * sd)


def matched_snr(rest: Array, weight: Array, sd_px: float) -> Array:
    """Return the signal-to-noise (y, x) of a Gaussian of `sd_px` at every pixel; `weight` is the
    inverse variance."""
    xp = namespace(rest)
    top = gaussian(rest * weight, sd_px, normalised=False)
    bottom = gaussian(weight, sd_px / np.sqrt(2), normalised=False)
    return top / xp.sqrt(bottom)


def gaussian(image: Array, sd_px: float, *, normalised: bool = True) -> Array:
    """Convolve (y, x) `image` with a Gaussian of peak 1 (or of sum 1 everywhere, edges included, if
    `normalised`)."""
    xp = namespace(image)
    reach = int(np.ceil(4 * sd_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd_px) ** 2)
    blurred = image
    for axis in (0, 1):
        n = int(image.shape[axis])
        blurred = _banded_product(blurred, kernel, axis)
        if normalised:
            total = np.convolve(np.ones(n), kernel)[reach : reach + n]
            share = xp.asarray(1 / total, dtype=image.dtype)
            blurred = blurred * (share[:, None] if axis == 0 else share[None, :])
    return blurred


def _banded_product(image: Array, kernel: np.ndarray, axis: int) -> Array:
    """Convolve along one axis, zeros beyond the edge, as matrix products of blocks with a banded
    matrix."""
    xp = namespace(image)
    reach, n = len(kernel) // 2, int(image.shape[axis])
    block = max(32, 2 * reach)
    n_blocks, other = -(-n // block), int(image.shape[1 - axis])
    margin = n_blocks * block - n
    zeros = [
        xp.zeros((m, other) if axis == 0 else (other, m), dtype=image.dtype)
        for m in (reach, reach + margin)
    ]
    padded = xp.concat([zeros[0], image, zeros[1]], axis=axis)
    offset = np.arange(block + 2 * reach) - np.arange(block)[:, None]
    band = np.where(
        (offset >= 0) & (offset <= 2 * reach), kernel[np.clip(offset, 0, 2 * reach)], 0.0
    )
    matrix = xp.asarray(band if axis == 0 else np.ascontiguousarray(band.T), dtype=image.dtype)
    starts = range(0, n_blocks * block, block)
    if axis == 0:
        parts = xp.stack([padded[start : start + block + 2 * reach, :] for start in starts])
        return xp.reshape(xp.matmul(matrix, parts), (n_blocks * block, other))[:n, :]
    parts = [xp.matmul(padded[:, start : start + block + 2 * reach], matrix) for start in starts]
    return xp.concat(parts, axis=1)[:, :n]
