"""Neighbourhoods in the lattice's own frame: turned, scaled and sheared by the measured vectors,
centred on a lattice site.

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

_CANONICAL = np.array(
    [[0.0, np.sin(np.pi / 3)], [1.0, np.cos(np.pi / 3)]]
)  # columns: a1, a2 as (y, x)


def axes_of(lattice: Lattice) -> np.ndarray:
    """Return the (2, 2) matrix that takes canonical (y, x) [lattice constants] to (y, x) [px].

    For a crystal that is no honeycomb it only turns and scales, so that its cell keeps its shape.
    """
    if lattice.is_honeycomb:
        return np.asarray(np.stack([lattice.a1, lattice.a2], axis=1) @ np.linalg.inv(_CANONICAL))
    angle, scale = np.radians(lattice.angle_deg), lattice.spacing_px
    return scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def turn_of(thirds: int | np.ndarray) -> np.ndarray:
    """Return the (..., 2, 2) matrices that turn (y, x) by `thirds` x 120 degrees from +x to +y."""
    angle = np.asarray(thirds) * (2 * np.pi / 3)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=-2)


def hollow_of(lattice: Lattice) -> np.ndarray:
    """Return (y, x) [px] of the hollow site beside ``lattice.metal``, opposite to its bond."""
    return np.asarray(lattice.metal - lattice.bond)


def centre_sites(lattice: Lattice, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (m, 2) site [px] closest to each of the (m, 2) `points` [px], and its (m,) int8
    kind.

    Kinds are METAL, CHALCOGEN and, in a honeycomb, HOLLOW.
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
    """Sample `image` (y, x) around `centres` in canonical axes.

    Parameters
    ----------
    image
        (y, x).
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
    points = centres[:, :, None] + axes @ turns @ grid  # (m, 2, PATCH**2)
    values = ndimage.map_coordinates(
        image, points.transpose(1, 0, 2), order=1, mode="constant", cval=0.0
    )
    return np.asarray(values, dtype=np.float32).reshape(-1, PATCH, PATCH)


def crops(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return raw (m, CROP, CROP) float32 crops of `image` (y, x) around the pixels closest to
    `points` (m, 2); 0 beyond the frame."""
    padded = np.pad(np.asarray(image, dtype=np.float32), CROP)
    corner = np.round(points).astype(int).reshape(-1, 2) + CROP - CROP // 2
    windows = np.lib.stride_tricks.sliding_window_view(padded, (CROP, CROP))
    return np.asarray(windows[corner[:, 0], corner[:, 1]])


def gaussian_means(
    image: np.ndarray, points: np.ndarray, sd_px: float, *, min_share: float = 0.0
) -> np.ndarray:
    """Return the mean of `image` (y, x) around each of `points` (..., 2), weighted by a Gaussian of
    `sd_px` centred there exactly.

    Pixels beyond the frame carry no weight; a point with no more than `min_share` of its weight
    inside gives NaN. With a stack of images (k, y, x) the means are (k, ...).
    """
    stack = image if image.ndim == 3 else image[None]
    (down, across), _, windows, inside = _windows(stack, points, sd_px, min_share)
    means = np.where(inside, _contracted(windows, down, across), np.nan)
    shape = np.asarray(points).shape[:-1]
    return np.asarray(means).reshape(shape if image.ndim == 2 else (len(stack), *shape))


def gaussian_slopes(
    image: np.ndarray, points: np.ndarray, sd_px: float, *, min_share: float = 0.0
) -> np.ndarray:
    """Return (3, ...) what `gaussian_means` does, and how that changes along y and along x [per
    px].

    The slopes are exact where the image is a plane.
    """
    weights, steps, windows, inside = _windows(image[None], points, sd_px, min_share)
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
    """Return Gaussian weights (y and x: (n, w), adding up to one) and steps from each point, the
    (k, n, w, w) pixels, and whether enough is inside."""
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
        weights.append(
            np.divide(seen, total[:, None], out=np.zeros_like(seen), where=total[:, None] > 0)
        )
        steps.append(step)
        places.append(np.clip(at, 0, stack.shape[axis + 1] - 1))
    pixels = places[0][:, :, None] * stack.shape[2] + places[1][:, None, :]
    windows = np.stack([image.ravel().take(pixels) for image in stack])
    return weights, steps, windows, share > min_share


def _contracted(windows: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the (k, n) sums of `windows` (k, n, w, w) with the weights (n, w) of their rows and
    columns."""
    down, across = down.astype(windows.dtype, copy=False), across.astype(windows.dtype, copy=False)
    rows = np.matmul(down[:, None, :], windows)[..., 0, :]
    return np.asarray((rows * across).sum(axis=-1), dtype=np.float64)
