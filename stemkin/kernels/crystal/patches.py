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

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, nearest_site
from stemkin.kernels.images.sampling import sampled

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
    places = np.ascontiguousarray(points.transpose(0, 2, 1)).reshape(-1, 2)
    return np.asarray(sampled(np.ascontiguousarray(image), places).reshape(-1, PATCH, PATCH))


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
