"""Neighbourhoods of lattice sites in the lattice's own frame: turned, scaled and sheared.

In canonical axes the lattice constant is 1, a1 points along +x and a2 is 60 degrees further towards
+y. So a vacancy looks the same in a rotated, differently sampled or slightly strained movie, and
one taxonomy serves an archive.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> lattice = honeycomb(10.0, angle_deg=20.0)
>>> (axes_of(lattice) @ np.array([0.0, 1.0])).round(6).tolist() == lattice.a1.round(6).tolist()
True
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, nearest_site

HOLLOW = 2
"""The third site of a honeycomb cell, where nothing stands; with METAL and CHALCOGEN the `kind` of
a site."""

PATCH = 21
"""Edge of a patch [samples]."""

STEP = 0.12
"""Distance between the samples of a patch, over the lattice constant: a patch reaches 1.2 lattice
constants each way."""

CROP = 32
"""Edge of a raw crop [px], where there is no lattice to give the scale."""

_CANONICAL = np.array([[0.0, np.sin(np.pi / 3)], [1.0, np.cos(np.pi / 3)]])
"""Canonical vectors: its columns are a1 and a2 as (y, x)."""


def axes_of(lattice: Lattice) -> np.ndarray:
    """Return the matrix that takes canonical (y, x) [lattice constants] to (y, x) [px].

    For a crystal that is no honeycomb it only turns and scales, so that its cell keeps its shape.

    Parameters
    ----------
    lattice
        The crystal.

    Returns
    -------
    (2, 2) matrix.
    """
    if lattice.is_honeycomb:
        return np.asarray(np.stack([lattice.a1, lattice.a2], axis=1) @ np.linalg.inv(_CANONICAL))
    angle, scale = np.radians(lattice.angle_deg), lattice.spacing_px
    return scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def turn_of(thirds: int | np.ndarray) -> np.ndarray:
    """Return the matrices that turn (y, x) by thirds of a full turn from +x to +y.

    Parameters
    ----------
    thirds
        (...) whole numbers of 120 degrees.

    Returns
    -------
    (..., 2, 2) rotations.
    """
    angle = np.asarray(thirds) * (2 * np.pi / 3)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=-2)


def hollow_of(lattice: Lattice) -> np.ndarray:
    """Return the hollow site beside ``lattice.metal``, opposite to its bond.

    Parameters
    ----------
    lattice
        The crystal.

    Returns
    -------
    (2,) place (y, x) [px].
    """
    return np.asarray(lattice.metal - lattice.bond)


def centre_sites(lattice: Lattice, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the site of any kind that is closest to each point.

    Parameters
    ----------
    lattice
        The crystal.
    points
        (m, 2) places (y, x) [px].

    Returns
    -------
    (m, 2) sites (y, x) [px] and (m,) int8 kinds: METAL, CHALCOGEN and, in a honeycomb, HOLLOW.
    """
    points = np.asarray(points, dtype=float).reshape(-1, 2)
    n = len(points)
    sites = [nearest_site(lattice, points, np.full(n, kind)) for kind in (METAL, CHALCOGEN)]
    if lattice.is_honeycomb:
        move = hollow_of(lattice) - lattice.metal
        sites.append(nearest_site(lattice, points - move, np.full(n, METAL)) + move)
    distances = np.stack([np.hypot(*(points - site).T) for site in sites])
    kind = distances.argmin(axis=0) if n else np.empty(0, int)
    return np.take_along_axis(np.stack(sites), kind[None, :, None], axis=0)[0], kind.astype(np.int8)


def patches(
    image: np.ndarray, centres: np.ndarray, axes: np.ndarray, thirds: np.ndarray | None = None
) -> np.ndarray:
    """Sample an image around places in canonical axes, linear between pixels.

    Parameters
    ----------
    image
        (y, x) intensities.
    centres
        (m, 2) [px].
    axes
        (2, 2) as `axes_of` gives it.
    thirds
        (m,) turns by 120 degrees, by which each neighbourhood is turned back; none unless given.

    Returns
    -------
    (m, PATCH, PATCH) float32; 0 beyond the frame.
    """
    reach = STEP * (np.arange(PATCH) - PATCH // 2)
    grid = np.stack(np.meshgrid(reach, reach, indexing="ij")).reshape(2, -1)
    turns = turn_of(np.zeros(len(centres), int) if thirds is None else thirds)
    # (m, 2, PATCH**2): first turned within the canonical axes, then taken to pixels
    points = centres[:, :, None] + axes @ turns @ grid
    values = ndimage.map_coordinates(
        image, points.transpose(1, 0, 2), order=1, mode="constant", cval=0.0
    )
    return np.asarray(values, dtype=np.float32).reshape(-1, PATCH, PATCH)


def crops(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Crop an image around the pixels closest to points.

    Parameters
    ----------
    image
        (y, x) intensities.
    points
        (m, 2) places (y, x) [px].

    Returns
    -------
    (m, CROP, CROP) float32; 0 beyond the frame.
    """
    padded = np.pad(np.asarray(image, dtype=np.float32), CROP)
    # the frame begins CROP pixels inside the padded one
    corner = np.round(points).astype(int).reshape(-1, 2) + CROP - CROP // 2
    windows = np.lib.stride_tricks.sliding_window_view(padded, (CROP, CROP))
    return np.asarray(windows[corner[:, 0], corner[:, 1]])


def gaussian_means(
    image: np.ndarray, points: np.ndarray, sd_px: float, *, min_share: float = 0.0
) -> np.ndarray:
    """Average an image around points with the weights of a Gaussian centred exactly there.

    Pixels beyond the frame carry no weight.

    Parameters
    ----------
    image
        (y, x) intensities, or a stack of images (k, y, x).
    points
        (..., 2) places (y, x) [px].
    sd_px
        Standard deviation of the Gaussian [px].
    min_share
        A point with no more than this share of its weight inside the frame gives NaN.

    Returns
    -------
    (...) means, of a stack (k, ...).
    """
    shape = np.asarray(points).shape[:-1]
    if image.ndim == 3:
        return _means(image, points, sd_px, min_share).reshape(len(image), *shape)
    return _means(image[None], points, sd_px, min_share).reshape(shape)


def _means(stack: np.ndarray, points: np.ndarray, sd_px: float, min_share: float) -> np.ndarray:
    """Return the (k, n) means of a stack (k, y, x) around n points; see `gaussian_means`."""
    (down, across), _, windows, inside = _windows(stack, points, sd_px, min_share)
    return np.asarray(np.where(inside, _contracted(windows, down, across), np.nan))


def gaussian_slopes(
    image: np.ndarray, points: np.ndarray, sd_px: float, *, min_share: float = 0.0
) -> np.ndarray:
    """Measure what `gaussian_means` does, and how that changes along y and along x.

    The slopes are exact where the image is a plane.

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
    weights, steps, windows, inside = _windows(image[None], points, sd_px, min_share)
    # weighted least squares of a line: its slope has the weights w (s - mean) / sum w (s - mean)^2
    sloped = []
    for weight, step in zip(weights, steps, strict=True):
        step = step - (weight * step).sum(axis=1, keepdims=True)
        spread = (weight * step**2).sum(axis=1, keepdims=True)
        sloped.append(np.divide(weight * step, spread, out=np.zeros_like(step), where=spread > 0))
    pairs = [(weights[0], weights[1]), (sloped[0], weights[1]), (weights[0], sloped[1])]
    found = [np.where(inside, _contracted(windows, *pair)[0], np.nan) for pair in pairs]
    return np.stack(found).reshape(3, *np.asarray(points).shape[:-1])


def _windows(
    stack: np.ndarray, points: np.ndarray, sd_px: float, min_share: float
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Return weights and steps, along y and along x, the pixels, and whether enough is inside.

    Weights are Gaussian (n, w) and add up to one within the frame; steps (n, w) are counted from
    each point [px]; pixels are (k, n, w, w).
    """
    flat = np.asarray(points, dtype=float).reshape(-1, 2)
    reach = np.arange(-int(np.ceil(2.7 * sd_px)), int(np.ceil(2.7 * sd_px)) + 1)
    centre = np.round(flat).astype(int)
    weights, steps, places, share = [], [], [], np.ones(len(flat))
    for axis in (0, 1):
        at = centre[:, axis, None] + reach
        step = at - flat[:, axis, None]
        weight = np.exp(-0.5 * (step / sd_px) ** 2)
        seen = weight * ((at >= 0) & (at < stack.shape[axis + 1]))
        total = seen.sum(axis=1)
        share *= total / weight.sum(axis=1)
        part = np.divide(seen, total[:, None], out=np.zeros_like(seen), where=total[:, None] > 0)
        weights.append(part)
        steps.append(step)
        places.append(np.clip(at, 0, stack.shape[axis + 1] - 1))
    # pixels beyond the frame are read at its edge, and weigh nothing
    pixels = places[0][:, :, None] * stack.shape[2] + places[1][:, None, :]
    windows = np.stack([image.ravel().take(pixels) for image in stack])
    return weights, steps, windows, share > min_share


def _contracted(windows: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the (k, n) sums of `windows` (k, n, w, w) weighted (n, w) by rows and columns."""
    down, across = down.astype(windows.dtype, copy=False), across.astype(windows.dtype, copy=False)
    rows = np.matmul(down[:, None, :], windows)[..., 0, :]
    return np.asarray((rows * across).sum(axis=-1), dtype=np.float64)
