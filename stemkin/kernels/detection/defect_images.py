"""What the defects of a movie look like, taken from its frames to be put into others.

To know how many defects of a kind are missed one puts some, whose places are known, into recorded
frames and searches these again: their noise, haze and neighbours are the movie's own. (Artificial
stars do the same for photometry: Stetson, Publ. Astron. Soc. Pac. 99, 191 (1987).) The image of a
kind is the mean of what is left around its defects when the crystal is gone, over the height of a
column, at the points of the observer's grid: it holds for any rotation, pixel size and contrast.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, optimize, stats

from stemkin.kernels.crystal.lattice import METAL, Lattice, sites
from stemkin.kernels.crystal.patches import hollow_of
from stemkin.kernels.detection.patch_grid import GRID, REACH, STEPS
from stemkin.kernels.images.filters import noise_of
from stemkin.kernels.images.interpolation import pixels

HALF = int(np.abs(GRID).max())
"""Steps of the grid from its middle to its ends."""

FADING = 0.15
"""Over the lattice constant: the last part of an image, over which it goes to nothing."""

LEAST_VARIANCE = 0.05
"""No noise becomes less than this share of what it was where a defect takes intensity away."""


def column_height(crystal: np.ndarray, lattice: Lattice) -> float:
    """Return by how much the columns of the brighter kind stand out from the hollows of a frame.

    Parameters
    ----------
    crystal
        (y, x) frame without noise and defects.
    lattice
        Its lattice.

    Returns
    -------
    In units of the frame; NaN where no site is in it.
    """
    shape = (int(crystal.shape[0]), int(crystal.shape[1]))
    columns = sites(lattice, shape, METAL)
    if not len(columns):
        return float("nan")
    hollow = np.clip(columns + hollow_of(lattice) - lattice.metal, 0, np.array(shape) - 1)
    return float(np.median(pixels(crystal, columns)) - np.median(pixels(crystal, hollow)))


def images_around(rest: np.ndarray, points: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return what is left of a frame around some points, at the grid of its lattice.

    Cubic splines go through the pixels: straight lines between them would blur it.

    Parameters
    ----------
    rest
        (y, x) frame without its crystal.
    points
        (m, 2) places (y, x) [px].
    lattice
        The crystal.

    Returns
    -------
    (m, P) at the points of `patch_grid.GRID`; NaN beyond the frame.
    """
    offsets = GRID / STEPS @ np.stack([lattice.a1, lattice.a2])
    at = np.asarray(points, dtype=float).reshape(-1, 1, 2) + offsets
    values = ndimage.map_coordinates(
        rest.astype(np.float64), at.reshape(-1, 2).T, order=3, mode="constant", cval=np.nan
    )
    return np.asarray(values.reshape(at.shape[:2]))


def mean_image(images: np.ndarray) -> np.ndarray:
    """Average images, each value without the most deviating tenth at either end.

    Parameters
    ----------
    images
        (m, P) of m defects of a kind.

    Returns
    -------
    (P,) their mean, which fades out towards the ends of the grid.
    """
    mean = stats.trim_mean(images, 0.1, axis=0)
    h, k = GRID.T / STEPS
    far = np.sqrt(h * h + k * k + h * k)
    return np.asarray(mean * np.clip((REACH - far) / FADING, 0, 1))


def drawn_images(
    images: np.ndarray, points: np.ndarray, lattice: Lattice, shape: tuple[int, int]
) -> np.ndarray:
    """Draw images of defects into an empty frame.

    Parameters
    ----------
    images
        (m, P) at the points of `patch_grid.GRID`.
    points
        (m, 2) where their middles are (y, x) [px].
    lattice
        The crystal that they lie in.
    shape
        (height, width) of the frame [px].

    Returns
    -------
    (height, width) sum of the images.
    """
    drawn = np.zeros(shape)
    corners = GRID / STEPS @ np.stack([lattice.a1, lattice.a2])
    reach = int(np.ceil(np.abs(corners).max())) + 1
    step = np.arange(-reach, reach + 1)
    for image, point in zip(images, np.asarray(points, dtype=float), strict=True):
        # the grid is a square one in the vectors of the lattice; entry [HALF, HALF] is the middle
        square = np.zeros((2 * HALF + 1, 2 * HALF + 1))
        square[GRID[:, 0] + HALF, GRID[:, 1] + HALF] = image
        rows, columns = (step + round(float(middle)) for middle in point)
        rows = rows[(rows >= 0) & (rows < shape[0])]
        columns = columns[(columns >= 0) & (columns < shape[1])]
        seen = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1) - point
        steps = np.moveaxis(seen @ lattice.reciprocal.T * STEPS + HALF, -1, 0)
        drawn[np.ix_(rows, columns)] += ndimage.map_coordinates(square, steps, order=3)
    return drawn


def with_drawn(frame: np.ndarray, rest: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Add defects to a recorded frame; where they take intensity its noise becomes less with it.

    Parameters
    ----------
    frame
        (y, x) recorded pixels.
    rest
        (y, x) what is left of it without its crystal.
    drawn
        (y, x) what is to be added, in units of the frame.

    Returns
    -------
    (y, x) in the type of `frame`, within its range.
    """
    # the fit of the noise squares squares: single precision would not do
    rest = rest.astype(np.float64)
    model = frame - rest
    variance, gain = noise_of(rest, model - model.mean())
    share = np.maximum(1 + max(gain, 0.0) * drawn / variance, LEAST_VARIANCE)
    told = frame + drawn + rest * (np.sqrt(share) - 1)
    if np.issubdtype(frame.dtype, np.integer):
        limits = np.iinfo(frame.dtype)
        told = np.clip(np.rint(told), limits.min, limits.max)
    return np.asarray(told.astype(frame.dtype))


def depth_beyond(signals: np.ndarray, least: float) -> tuple[float, float]:
    """Return the mean of a normal distribution of standard deviation 1 of which the tail is seen.

    Signals of defects that were found are those beyond a threshold; their mean is larger than that
    of all of them (Cohen, Ann. Math. Stat. 21, 557 (1950)).

    Parameters
    ----------
    signals
        (m,) all of them beyond `least`.
    least
        The threshold.

    Returns
    -------
    The mean of the whole distribution, at least `least` - 3, of which nothing would be seen; and its
    standard error.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(4, 1, 4000)
    >>> mean, error = depth_beyond(z[z > 4.0], 4.0)
    >>> round(mean, 1), round(error, 2)
    (4.0, 0.04)
    """
    seen = float(np.mean(signals))

    def tail_mean(mean: float) -> float:
        hazard = stats.norm.logpdf(least - mean) - stats.norm.logsf(least - mean)
        return mean + float(np.exp(hazard))

    lowest = least - 3.0
    mean = lowest
    if tail_mean(lowest) < seen:
        mean = float(optimize.brentq(lambda mean: tail_mean(mean) - seen, lowest, seen))
    # the variance of the tail is what each of its values tells of the mean
    beyond = tail_mean(mean) - mean
    variance = 1 + beyond * (least - mean) - beyond**2
    return mean, float(1 / np.sqrt(max(variance, 1e-3) * len(signals)))
