"""Noise and filters: what a Gaussian-shaped feature's signal-to-noise is, at every pixel.

Shot noise grows with intensity, so the variance of a pixel is v = alpha + beta M, fitted to the
frame itself. A defect of known narrow shape t is best seen by the matched filter z = sum(t rest /
v) / sqrt(sum(t^2 / v)), which has unit variance where there is only noise (North 1943).
Convolutions are one compiled pass over the rows, and on other array libraries products of blocks
with banded matrices: exact at the edges, and fast on each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.images.convolution import convolved
from stemkin.kernels.images.interpolation import pixels

CLIP = 4.0
"""Squares beyond this many variances count as if they were there: they may be defects."""

MOST_SKEWED = 0.3
"""No more skewness is allowed for: noise of so few counts is no longer nearly normal."""

N_ROUNDS = 3
"""Rounds in which the variance is fitted."""

CLIPPED_SQUARE = 0.9205
"""Mean of min(z^2, CLIP) of a normal z."""


def variance_of(rest: Array, model: Array) -> Array:
    """Estimate the variance of every pixel of a remainder; see `noise_of`.

    Parameters
    ----------
    rest
        (y, x) frame minus model, any library.
    model
        (y, x) the model.

    Returns
    -------
    (y, x) variance.
    """
    return noise_of(rest, model)[0]


def noise_of(rest: Array, model: Array) -> tuple[Array, float]:
    """Fit the variance alpha + beta M of a remainder to its squares, defects clipped.

    The two numbers are fitted to every fifth pixel of every other row, which is plenty: three
    rounds of least squares with the weights 1 / variance^2 that the squares of Gaussian noise ask
    for.

    Parameters
    ----------
    rest
        (y, x) frame minus model, any library.
    model
        (y, x) the model M.

    Returns
    -------
    (y, x) variance, and beta: variance per intensity, the gain of counting noise.
    """
    xp = namespace(rest)
    some, squares = model[::2, ::5], rest[::2, ::5] ** 2
    if isinstance(rest, np.ndarray):
        alpha, beta, middle = fitted_noise(squares, some)
    else:
        alpha, beta, middle = _fitted_anywhere(squares, some)
    least = 0.05 * alpha + 1e-30
    everywhere = xp.maximum(alpha - beta * middle + beta * model, least + 0 * model)
    return everywhere, float(to_host(beta))


def _fitted_anywhere(squares: Array, some: Array) -> tuple[Array, Array, Array]:
    """Do what `fitted_noise` does with arrays of any library."""
    xp = namespace(squares)
    middle = xp.mean(some)
    centred = some - middle
    variance = xp.mean(squares) + 0 * centred
    alpha, beta = xp.mean(squares), 0 * middle
    # All is divided by the variance of the round before: shares are squares over it (1 on average),
    # weight and slope are the derivatives of the variance by alpha and beta, over it too.
    for _ in range(N_ROUNDS):
        shares = xp.minimum(squares, CLIP * variance) / variance / CLIPPED_SQUARE
        weight, slope = 1 / variance, centred / variance
        w1, wx, wxx = xp.sum(weight**2), xp.sum(weight * slope), xp.sum(slope**2)
        y1, yx = xp.sum(weight * shares), xp.sum(slope * shares)
        bottom = w1 * wxx - wx * wx + 1e-30
        alpha, beta = (y1 * wxx - yx * wx) / bottom, (w1 * yx - wx * y1) / bottom
        variance = xp.maximum(alpha + beta * centred, 0.05 * alpha + 1e-30)
    return alpha, beta, middle


@compiled
def fitted_noise(squares: np.ndarray, some: np.ndarray) -> tuple[float, float, float]:
    """Fit the variance alpha + beta (M - middle) to squares of what a model M leaves.

    Parameters
    ----------
    squares, some
        (n, m) squares of some pixels of a remainder, and the model there.

    Returns
    -------
    alpha, beta and the middle.
    """
    middle, alpha, beta = 0.0, 0.0, 0.0
    n = squares.size
    for model in some.flat:
        middle += model / n
    for square in squares.flat:
        alpha += square / n
    for _ in range(N_ROUNDS):
        w1, wx, wxx, y1, yx = 0.0, 0.0, 0.0, 0.0, 0.0
        least = 0.05 * alpha + 1e-30
        for i in range(squares.shape[0]):
            for j in range(squares.shape[1]):
                centred = some[i, j] - middle
                # both are over the variance of the round before, and so are the squares
                weight = 1 / max(alpha + beta * centred, least)
                slope = centred * weight
                share = min(squares[i, j] * weight, CLIP) / CLIPPED_SQUARE
                w1 += weight * weight
                wx += weight * slope
                wxx += slope * slope
                y1 += weight * share
                yx += slope * share
        bottom = w1 * wxx - wx * wx + 1e-30
        alpha, beta = (y1 * wxx - yx * wx) / bottom, (w1 * yx - wx * y1) / bottom
    return alpha, beta, middle


def weights_of(rest: Array, model: Array) -> tuple[Array, float]:
    """Return the inverse variance of every pixel of a remainder, and beta: see `noise_of`.

    Parameters
    ----------
    rest
        (y, x) frame minus model, any library.
    model
        (y, x) the model M.

    Returns
    -------
    (y, x) inverse variance, and beta.
    """
    if isinstance(rest, np.ndarray):
        alpha, beta, middle = fitted_noise(rest[::2, ::5] ** 2, model[::2, ::5])
        return _inverse(model, alpha, beta, middle), beta
    variance, beta = noise_of(rest, model)
    return 1 / variance, beta


@compiled
def _inverse(model: np.ndarray, alpha: float, beta: float, middle: float) -> np.ndarray:
    """Return the inverse (y, x) of the variance that `fitted_noise` tells."""
    weights = np.empty_like(model)
    kind = model.dtype.type
    base, slope, least = kind(alpha - beta * middle), kind(beta), kind(0.05 * alpha + 1e-30)
    for y in range(model.shape[0]):
        for x in range(model.shape[1]):
            weights[y, x] = kind(1) / max(base + slope * model[y, x], least)
    return weights


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
        """Return the skewness (m,) in the pixels of `points` (m, 2), at most `MOST_SKEWED`."""
        factor = max(self.gain, 0.0) * 2 / (3 * self.sd_px * np.sqrt(np.pi))
        return np.asarray(np.minimum(factor * np.sqrt(pixels(self.weight, points)), MOST_SKEWED))


def clipped(rest: Array, *, n_sd: float = 3.0) -> Array:
    """Cut off everything beyond a few standard deviations, so that defects weigh little.

    Parameters
    ----------
    rest
        (y, x) remainder, any library.
    n_sd
        Standard deviations that are kept.

    Returns
    -------
    (y, x) array.
    """
    xp = namespace(rest)
    sd = xp.sqrt(xp.mean(rest[::2, ::5] ** 2))
    return xp.minimum(xp.maximum(rest, -n_sd * sd), n_sd * sd)


def matched_snr(
    rest: Array, weight: Array, sd_px: float, *, precision: Array | None = None
) -> Array:
    """Compute the matched-filter signal-to-noise of a Gaussian feature at every pixel.

    It is z = sum(t rest / v) / sqrt(sum(t^2 / v)) for a Gaussian t around the pixel (North 1943).

    Parameters
    ----------
    rest
        (y, x) remainder, any library.
    weight
        (y, x) inverse variance 1 / v.
    sd_px
        Standard deviation of the feature [px].
    precision
        What `matched_precision` returns, where that is known already.

    Returns
    -------
    (y, x) signed signal-to-noise.
    """
    xp = namespace(rest)
    top = gaussian(rest * weight, sd_px, normalised=False)
    if precision is None:
        precision = matched_precision(weight, sd_px)
    if isinstance(top, np.ndarray):
        _divide_by_root(top, precision)
        return top
    return top / xp.sqrt(precision)


@compiled
def _divide_by_root(values: np.ndarray, squares: np.ndarray) -> None:
    """Divide values (y, x) by the roots of others, in place."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            values[y, x] /= np.sqrt(squares[y, x])


def matched_precision(weight: Array, sd_px: float) -> Array:
    """Compute the inverse variance with which a matched filter measures a Gaussian's height.

    Parameters
    ----------
    weight
        (y, x) inverse variance 1 / v, any library.
    sd_px
        Standard deviation of the feature [px].

    Returns
    -------
    (y, x) sum(t^2 / v) for a Gaussian t of height 1 around each pixel.
    """
    # the square of a Gaussian is a Gaussian narrower by sqrt(2)
    return gaussian(weight, sd_px / np.sqrt(2), normalised=False)


def gaussian(image: Array, sd_px: float, *, normalised: bool = True) -> Array:
    """Convolve an image with a Gaussian, cut off at four standard deviations.

    Parameters
    ----------
    image
        (y, x) array, any library.
    sd_px
        Standard deviation [px].
    normalised
        Whether the weights add up to 1 everywhere, edges included; else their peak is 1.

    Returns
    -------
    (y, x) array.
    """
    xp = namespace(image)
    reach = int(np.ceil(4 * sd_px))
    half = np.exp(-0.5 * (np.arange(reach + 1) / sd_px) ** 2)
    kernel = np.concatenate([half[:0:-1], half])
    shares = None
    if normalised:
        # one share per row, and then one per column
        ones = [np.ones(int(n)) for n in image.shape]
        seen = [np.convolve(one, kernel)[reach : reach + len(one)] for one in ones]
        shares = 1 / seen[0], 1 / seen[1]
    if isinstance(image, np.ndarray):
        return convolved(image, half, shares=shares)
    blurred = image
    for axis in (0, 1):
        blurred = _banded_product(blurred, kernel, axis)
        if shares is not None:
            share = xp.asarray(shares[axis], dtype=image.dtype)
            blurred = blurred * xp.reshape(share, ((-1, 1), (1, -1))[axis])
    return blurred


def _banded_product(image: Array, kernel: np.ndarray, axis: int) -> Array:
    """Convolve along one axis, zeros beyond the edge, as products with a banded matrix."""
    xp = namespace(image)
    reach, n = len(kernel) // 2, int(image.shape[axis])
    block = max(32, 2 * reach)
    n_blocks, other = -(-n // block), int(image.shape[1 - axis])
    margin = n_blocks * block - n
    # Output i of a block is the sum of the inputs i to i + 2 reach of the padded image, with the
    # weights of the kernel: row i of the band holds the kernel from column i on. The image gets a
    # margin of `reach` on both sides, and so much more that blocks come out even.
    offset = np.arange(block + 2 * reach) - np.arange(block)[:, None]
    within = (offset >= 0) & (offset <= 2 * reach)
    band = np.where(within, kernel[np.clip(offset, 0, 2 * reach)], 0.0)
    starts = range(0, n_blocks * block, block)
    if axis == 0:
        before, after = (xp.zeros((m, other), dtype=image.dtype) for m in (reach, reach + margin))
        padded = xp.concat([before, image, after], axis=0)
        length = block + 2 * reach
        parts = xp.stack([padded[start : start + length, :] for start in starts])
        product = xp.matmul(xp.asarray(band, dtype=image.dtype), parts)
        return xp.reshape(product, (n_blocks * block, other))[:n, :]
    before, after = (xp.zeros((other, m), dtype=image.dtype) for m in (reach, reach + margin))
    padded = xp.concat([before, image, after], axis=1)
    matrix = xp.asarray(np.ascontiguousarray(band.T), dtype=image.dtype)
    parts = [xp.matmul(padded[:, start : start + block + 2 * reach], matrix) for start in starts]
    return xp.concat(parts, axis=1)[:, :n]
