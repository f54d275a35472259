"""The perfect crystal behind a frame, in two ways: from its reflections alone, and from the mean of
its unit cells.

Both say what every column would look like if all were alike; the frame less either is what defects,
noise and contamination left. The detector draws its own, local version of the first (`crystal`,
`grains`).

>>> from stemkin.kernels.crystal.lattice import honeycomb, lattice_coordinates
>>> lattice = honeycomb(8.0, angle_deg=11.0)
>>> y, x = np.mgrid[:64, :64]
>>> u, v, _ = lattice_coordinates(lattice, np.stack([y.ravel(), x.ravel()], axis=1))
>>> frame = (5 + np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v)).reshape(64, 64)
>>> cell = unit_cell(frame, lattice, n=16)
>>> bool(abs(cell[0, 0] - 7) < 0.1), bool(abs(cell[8, 8] - 3) < 0.1)
(True, True)
>>> bool(np.abs(tiled(cell, lattice, (64, 64)) - frame).mean() < 0.1)
True
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace
from stemkin.kernels.crystal import waves
from stemkin.kernels.crystal.lattice import Lattice, unbent
from stemkin.kernels.crystal.lattice_search import Crystal


def bragg_filtered(frame: Array, found: Crystal) -> Array:
    """Return the crystal (y, x) of the reflections of a frame, the same everywhere, with the
    frame's mean.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    found
        Its crystal, as `finding.find_crystal` gives it; scan distortion is followed.
    """
    mean = namespace(frame).mean(frame)
    lines = waves.line_sums(frame - mean, found.waves)
    amplitudes = waves.mean_amplitudes(lines, found.waves)
    return mean + waves.draw_mean(amplitudes * ~found.waves.is_background, found.waves, frame)


def unit_cell(
    frame: np.ndarray, lattice: Lattice, *, n: int = 32, mask: np.ndarray | None = None
) -> np.ndarray:
    """Average all unit cells of a frame.

    Parameters
    ----------
    frame
        (y, x) intensities.
    lattice
        The crystal; its scan distortion is followed.
    n
        Samples along each vector.
    mask
        (y, x) True where pixels count; None for all.

    Returns
    -------
    (n, n) mean intensity around u = i / n, v = j / n, counted from a metal column; NaN where no
    pixel fell.
    """
    u, v = _coordinates(lattice, frame.shape)
    cell = (np.rint(u * n).astype(np.int64) % n) * n + np.rint(v * n).astype(np.int64) % n
    kept = slice(None) if mask is None else np.asarray(mask, bool).ravel()
    count = np.bincount(cell[kept], minlength=n * n)
    total = np.bincount(cell[kept], weights=np.asarray(frame, float).ravel()[kept], minlength=n * n)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(n, n))


def tiled(cell: np.ndarray, lattice: Lattice, shape: tuple[int, int]) -> np.ndarray:
    """Draw a crystal (y, x) of `shape` whose unit cell is `cell` (n, n), as `unit_cell` gives it;
    linear in between."""
    n = len(cell)
    u, v = (c * n for c in _coordinates(lattice, shape))
    i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    su, sv = u - i, v - j
    value = np.zeros(len(u))
    for di, wu in ((0, 1 - su), (1, su)):
        for dj, wv in ((0, 1 - sv), (1, sv)):
            value += wu * wv * cell[(i + di) % n, (j + dj) % n]
    return value.reshape(shape)


def _coordinates(lattice: Lattice, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lattice coordinates u, v (pixels,) of every pixel, counted from a metal column."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    points = unbent(lattice, np.stack([y.ravel(), x.ravel()], axis=1).astype(float))
    u, v = ((points - lattice.metal) @ lattice.reciprocal.T).T
    return u, v
