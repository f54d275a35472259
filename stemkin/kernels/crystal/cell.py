"""The mean unit cell of a frame, and from it the canonical lattice: which columns are the brighter,
which the dimmer."""

from __future__ import annotations

import numpy as np

from stemkin.kernels.crystal.fourier import reduce_basis
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.waves import Waves


def lattice_of(amplitudes: np.ndarray, waves: Waves, *, quality: float) -> Lattice:
    """Return the real-space lattice: canonical vectors (see `Lattice`), and where the unit cell is
    brightest.

    Parameters
    ----------
    amplitudes
        (K,) as `crystal.mean_amplitudes` gives them.
    waves
        The plane waves of the lattice.
    quality
        Handed on to the `Lattice`.
    """
    coefficients = amplitudes * ~waves.is_background
    a1, a2 = reduce_basis(np.linalg.inv(waves.basis).T)
    a2 = a2 if a1 @ a2 >= 0 else -a2
    a1, a2 = (a1, a2) if a1[1] * a2[0] > a1[0] * a2[1] else (a2, a1)
    vectors = np.stack([a1, a2])
    steps = (
        np.stack(np.meshgrid(np.arange(16), np.arange(16), indexing="ij"), axis=-1).reshape(-1, 2)
        / 16
    )
    cell = steps @ vectors
    metal = climb(coefficients, waves, cell[np.argmax(cell_value(coefficients, waves, cell))])
    middle = (np.array(waves.shape) - 1) / 2
    metal = metal + np.round((middle - metal) @ np.linalg.inv(vectors)) @ vectors
    scan = waves.rows, waves.columns
    if looks_hexagonal(a1, a2):
        plus, minus = cell_value(coefficients, waves, metal + np.outer([1, -1], (a1 + a2) / 3))
        a1, a2 = (a1, a2) if plus >= minus else (-a1, -a2)
        a1, a2 = max([(a1, a2), (a2 - a1, -a1), (-a2, a1 - a2)], key=lambda pair: float(pair[0][1]))
        return Lattice(a1, a2, metal, metal + (a1 + a2) / 3, quality, scan=scan)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    far = np.linalg.norm(steps[:, None] - corners, axis=2).min(axis=1) > 0.3
    second = metal + cell[far][np.argmax(cell_value(coefficients, waves, metal + cell[far]))]
    return Lattice(a1, a2, metal, second, quality, is_honeycomb=False, scan=scan)


def looks_hexagonal(a1: np.ndarray, a2: np.ndarray) -> bool:
    """Tell whether two vectors have about equal lengths and enclose about 60 degrees (scans distort
    by several percent)."""
    lengths = np.linalg.norm(a1), np.linalg.norm(a2)
    return bool(
        abs(np.log(lengths[0] / lengths[1])) < 0.2
        and 0.3 < a1 @ a2 / (lengths[0] * lengths[1]) < 0.7
    )


def cell_value(coefficients: np.ndarray, waves: Waves, points: np.ndarray) -> np.ndarray:
    """Return the mean unit cell at the (m, 2) `points` (y, x) [px], up to a factor and a
    constant."""
    return np.asarray(
        (coefficients * np.exp(2j * np.pi * points @ waves.frequencies.T)).sum(axis=1).real
    )


def climb(coefficients: np.ndarray, waves: Waves, point: np.ndarray) -> np.ndarray:
    """Return the maximum (2,) of the mean unit cell close to `point` (2,), by Newton's method."""
    g = waves.frequencies
    for _ in range(6):
        wave = coefficients * np.exp(2j * np.pi * (g @ point))
        gradient = -2 * np.pi * (wave.imag[:, None] * g).sum(axis=0)
        hessian = -4 * np.pi**2 * np.einsum("k,ka,kb->ab", wave.real, g, g)
        if np.linalg.eigvalsh(hessian).max() >= -1e-12 * np.abs(hessian).max() - 1e-300:
            return point
        point = point - np.linalg.solve(hessian, gradient)
    return point


def probe_sd(amplitudes: np.ndarray, waves: Waves, *, is_honeycomb: bool) -> float | None:
    """Estimate the width of a column's image from how fast the reflections fade.

    A Gaussian of standard deviation s multiplies the reflection g by exp(-2 pi^2 s^2 g^2). In a
    honeycomb of columns with intensities 1 and r every third reflection (h - k = 3 n for vectors 60
    degrees apart) has the structure factor 1 + r, the others sqrt(1 - r + r^2).

    Parameters
    ----------
    amplitudes
        (K,) complex amplitudes of the mean crystal.
    waves
        The plane waves.
    is_honeycomb
        False takes all structure factors as equal.

    Returns
    -------
    Standard deviation [px]; None where fewer than three reflections are seen.
    """
    strength = np.abs(amplitudes) * ~waves.is_background
    seen = strength > 0.01 * strength.max(initial=0.0)
    if seen.sum() < 3:
        return None
    g2 = (waves.frequencies[seen] ** 2).sum(axis=1)
    sign = -1 if waves.basis[0] @ waves.basis[1] > 0 else 1
    both = (waves.indices[seen] @ [1, sign]) % 3 == 0
    ratio = np.linspace(0.0, 1.0, 21)[:, None] if is_honeycomb else np.zeros((1, 1))
    factor = (
        np.where(both, 1 + ratio, np.sqrt(1 - ratio + ratio**2))
        if is_honeycomb
        else np.ones((1, 1))
    )
    logs = np.log(strength[seen]) - np.log(factor)  # one row per ratio
    weight = strength[seen] ** 2 / (strength[seen] ** 2).sum()
    g2 = g2 - weight @ g2
    logs = logs - (logs @ weight)[:, None]
    slope = (logs * g2) @ weight / (weight @ g2**2)
    miss = (logs - slope[:, None] * g2) ** 2 @ weight
    return float(np.sqrt(max(-slope[np.argmin(miss)], 0.0) / (2 * np.pi**2)))
