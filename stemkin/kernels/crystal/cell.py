"""The mean unit cell of a frame, and the canonical lattice: which columns are bright, which dim.

>>> from stemkin.kernels.crystal.waves import waves_of
>>> waves = waves_of(np.array([[0.1, 0.0], [0.05, 0.0866]]), (64, 64))
>>> found = lattice_of(np.exp(-2j * np.pi * waves.frequencies @ [30.0, 31.0]), waves, quality=9.0)
>>> found.metal.round(2).tolist(), found.is_honeycomb
([30.0, 31.0], True)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.crystal.fourier import reduce_basis
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.waves import Waves

SAMPLES = 16
"""Samples of the unit cell along each vector, from which its maxima are climbed."""

APART = 0.3
"""The second maximum of a cell that is no honeycomb lies further than this from the first, in
lattice coordinates."""


@dataclass(frozen=True, eq=False)
class MeanCell:
    """The unit cell that the frames of a movie share, in fractions of its vectors.

    With it the columns of a frame are found by all that the frame shows, and they are called the
    same in every frame, even where both kinds are equal, as in graphene.

    Attributes
    ----------
    indices
        (K, 2) reflections h, k.
    amplitudes
        (K,) complex: the cell is ``sum Re[A exp(2 pi i h . s)]`` at the place s; 0 for the
        background.
    vectors
        (2, 2) whole numbers: the canonical a1 and a2 as rows, in the vectors whose reciprocal basis
        is that of the waves.
    metal, chalcogen
        (2,) places of the two kinds of columns.
    is_honeycomb
        As of `Lattice`.
    """

    indices: np.ndarray
    amplitudes: np.ndarray
    vectors: np.ndarray
    metal: np.ndarray
    chalcogen: np.ndarray
    is_honeycomb: bool

    def coefficients_of(self, amplitudes: np.ndarray, waves: Waves) -> np.ndarray:
        """Return the products (K,) of `amplitudes` with those of the cell.

        Their sum as waves is the correlation of a frame's cell with this one. `waves` may hold
        other reflections than the cell: those that only one has are left out.
        """
        known = {(int(h), int(k)): a for (h, k), a in zip(self.indices, self.amplitudes)}  # noqa: B905
        own = [known.get((int(h), int(k)), 0.0) for h, k in waves.indices]
        return np.asarray(amplitudes * np.conj(own) * ~waves.is_background)


def mean_cell(lattice: Lattice, amplitudes: np.ndarray, waves: Waves) -> MeanCell:
    """Describe the mean cell of a crystal in fractions of its vectors.

    Parameters
    ----------
    lattice
        The crystal, as `lattice_of` gives it.
    amplitudes, waves
        (K,) complex amplitudes and the waves that it was made of.

    Returns
    -------
    The cell.
    """
    coefficients = amplitudes * ~waves.is_background
    vectors = np.rint(np.stack([lattice.a1, lattice.a2]) @ waves.basis.T)
    metal, chalcogen = (place @ waves.basis.T for place in (lattice.metal, lattice.chalcogen))
    return MeanCell(waves.indices, coefficients, vectors, metal, chalcogen, lattice.is_honeycomb)


def displacement_in(cell: MeanCell, amplitudes: np.ndarray, waves: Waves) -> np.ndarray:
    """Measure by how much of a cell a frame's crystal is displaced.

    Parameters
    ----------
    cell
        The cell that the movie's frames share.
    amplitudes, waves
        (K,) complex amplitudes of the frame, and its K plane waves, numbered as those of the cell.

    Returns
    -------
    (2,) displacement along the vectors of the cell, up to whole numbers.
    """
    coefficients = cell.coefficients_of(amplitudes, waves)
    grid = _grid() @ np.linalg.inv(waves.basis).T
    best = grid[np.argmax(cell_value(coefficients, waves, grid))]
    return np.asarray(climb(coefficients, waves, best) @ waves.basis.T)


def displaced_lattice(
    cell: MeanCell, amplitudes: np.ndarray, waves: Waves, *, quality: float
) -> Lattice:
    """Find where a frame shows a known cell.

    Parameters
    ----------
    cell
        The cell that the movie's frames share.
    amplitudes
        (K,) complex amplitudes of the frame.
    waves
        Its K plane waves, numbered as those of the cell.
    quality
        Handed on to the `Lattice`.

    Returns
    -------
    The real-space lattice, as `Lattice` says.
    """
    own = np.linalg.inv(waves.basis).T
    moved = displacement_in(cell, amplitudes, waves) @ own
    a1, a2 = cell.vectors @ own
    metal = _near_middle(cell.metal @ own + moved, np.stack([a1, a2]), waves)
    chalcogen = metal + (cell.chalcogen - cell.metal) @ own
    if cell.is_honeycomb:
        chalcogen = metal + (a1 + a2) / 3
    scan = waves.rows, waves.columns
    return Lattice(a1, a2, metal, chalcogen, quality, cell.is_honeycomb, scan)


def lattice_of(amplitudes: np.ndarray, waves: Waves, *, quality: float) -> Lattice:
    """Find the canonical vectors of a lattice and the brightest places of its unit cell.

    Parameters
    ----------
    amplitudes
        (K,) complex, as `amplitudes.mean_amplitudes` gives them.
    waves
        The K plane waves of the lattice.
    quality
        Handed on to the `Lattice`.

    Returns
    -------
    The real-space lattice, as `Lattice` says.
    """
    coefficients = amplitudes * ~waves.is_background
    a1, a2 = _acute_vectors(waves.basis)
    vectors = np.stack([a1, a2])
    steps = _grid()
    cell = steps @ vectors
    metal = climb(coefficients, waves, cell[np.argmax(cell_value(coefficients, waves, cell))])
    metal = _near_middle(metal, vectors, waves)
    scan = waves.rows, waves.columns
    if looks_hexagonal(a1, a2):
        a1, a2 = _canonical(a1, a2, *_thirds(coefficients, waves, metal, a1, a2))
        return Lattice(a1, a2, metal, metal + (a1 + a2) / 3, quality, scan=scan)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    far = np.linalg.norm(steps[:, None] - corners, axis=2).min(axis=1) > APART
    second = metal + cell[far][np.argmax(cell_value(coefficients, waves, metal + cell[far]))]
    return Lattice(a1, a2, metal, second, quality, is_honeycomb=False, scan=scan)


def _grid() -> np.ndarray:
    """Return the (m, 2) samples of a unit cell, in fractions of its vectors."""
    index = np.arange(SAMPLES)
    grid = np.stack(np.meshgrid(index, index, indexing="ij"), axis=-1)
    return np.asarray(grid.reshape(-1, 2) / SAMPLES)


def _near_middle(metal: np.ndarray, vectors: np.ndarray, waves: Waves) -> np.ndarray:
    """Return of all places like `metal` the one close to the middle: there scans distort least."""
    middle = (np.array(waves.shape) - 1) / 2
    return np.asarray(metal + np.round((middle - metal) @ np.linalg.inv(vectors)) @ vectors)


def _acute_vectors(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shortest real-space vectors with an acute angle from a1 to a2, from +x to +y."""
    a1, a2 = reduce_basis(np.linalg.inv(basis).T)
    if a1 @ a2 < 0:
        a2 = -a2
    if a1[1] * a2[0] > a1[0] * a2[1]:
        return a1, a2
    return a2, a1


def _thirds(
    coefficients: np.ndarray, waves: Waves, metal: np.ndarray, a1: np.ndarray, a2: np.ndarray
) -> tuple[float, float]:
    """Return the mean cell a third of the long diagonal after the metal column, and before it."""
    places = metal + np.outer([1, -1], (a1 + a2) / 3)
    after, before = cell_value(coefficients, waves, places)
    return float(after), float(before)


def _canonical(
    a1: np.ndarray, a2: np.ndarray, after: float, before: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of a honeycomb, chosen among the six that `Lattice` allows.

    The chalcogen column, brighter than the hollow, is to lie at (a1 + a2) / 3, so both vectors turn
    round where it lies before the metal column; of the three turns that are left, the one whose a1
    points closest to +x is taken.
    """
    if after < before:
        a1, a2 = -a1, -a2
    turns = [(a1, a2), (a2 - a1, -a1), (-a2, a1 - a2)]
    return max(turns, key=lambda pair: float(pair[0][1]))


def looks_hexagonal(a1: np.ndarray, a2: np.ndarray) -> bool:
    """Tell whether two vectors have about equal lengths and enclose about 60 degrees.

    Scans distort by several percent, so both are allowed for.

    Parameters
    ----------
    a1, a2
        (2,) vectors (y, x), in any unit.

    Returns
    -------
    Whether they span a hexagonal net.
    """
    lengths = np.linalg.norm(a1), np.linalg.norm(a2)
    cosine = a1 @ a2 / (lengths[0] * lengths[1])
    return bool(abs(np.log(lengths[0] / lengths[1])) < 0.2 and 0.3 < cosine < 0.7)


def cell_value(coefficients: np.ndarray, waves: Waves, points: np.ndarray) -> np.ndarray:
    """Evaluate the mean unit cell at points, up to a factor and a constant.

    Parameters
    ----------
    coefficients
        (K,) complex amplitudes, that of the background 0.
    waves
        The K plane waves.
    points
        (m, 2) places (y, x) [px].

    Returns
    -------
    (m,) intensities.
    """
    phases = np.exp(2j * np.pi * points @ waves.frequencies.T)
    return np.asarray((coefficients * phases).sum(axis=1).real)


def climb(coefficients: np.ndarray, waves: Waves, point: np.ndarray) -> np.ndarray:
    """Climb to the maximum of the mean unit cell close to a point, by Newton's method.

    Parameters
    ----------
    coefficients
        (K,) complex amplitudes, that of the background 0.
    waves
        The K plane waves.
    point
        (2,) place (y, x) [px] where to begin.

    Returns
    -------
    (2,) place of the maximum [px]; where the cell is not curved downwards, as far as it went.
    """
    at = _climbed(coefficients.astype(complex), waves.frequencies, np.asarray(point, dtype=float))
    return np.asarray(at)


@compiled
def _climbed(coefficients: np.ndarray, g: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Do what `climb` says with frequencies (K, 2)."""
    point = start.copy()
    for _ in range(6):
        down, across, yy, yx, xx = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(len(g)):
            gy, gx = 2 * np.pi * g[k, 0], 2 * np.pi * g[k, 1]
            wave = coefficients[k] * np.exp(1j * (gy * point[0] + gx * point[1]))
            down -= wave.imag * gy
            across -= wave.imag * gx
            yy -= wave.real * gy * gy
            yx -= wave.real * gy * gx
            xx -= wave.real * gx * gx
        # beyond an inflexion, or on a ridge, Newton's step would lead away from the maximum
        largest = (yy + xx) / 2 + np.hypot((yy - xx) / 2, yx)
        if largest >= -1e-12 * max(abs(yy), abs(yx), abs(xx)) - 1e-300:
            break
        determinant = yy * xx - yx * yx
        point[0] -= (xx * down - yx * across) / determinant
        point[1] -= (yy * across - yx * down) / determinant
    return point


def probe_sd(amplitudes: np.ndarray, waves: Waves, *, is_honeycomb: bool) -> float | None:
    """Estimate the width of a column's image from how fast the reflections fade (Wilson's plot).

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
    factor = np.ones((1, 1))
    if is_honeycomb:
        factor = _honeycomb_factors(waves, seen)
    # one row per ratio r that is tried; the straightest line of log strength over g^2 is taken
    logs = np.log(strength[seen]) - np.log(factor)
    weight = strength[seen] ** 2 / (strength[seen] ** 2).sum()
    g2 = g2 - weight @ g2
    logs = logs - (logs @ weight)[:, None]
    slope = (logs * g2) @ weight / (weight @ g2**2)
    miss = (logs - slope[:, None] * g2) ** 2 @ weight
    return float(np.sqrt(max(-slope[np.argmin(miss)], 0.0) / (2 * np.pi**2)))


def _honeycomb_factors(waves: Waves, seen: np.ndarray) -> np.ndarray:
    """Return (ratios, reflections) |structure factors| of the waves that are `seen` (K,)."""
    # h - k where the reciprocal vectors enclose 60 degrees, h + k where they enclose 120
    obtuse = waves.basis[0] @ waves.basis[1] <= 0
    both = (waves.indices[seen] @ [1, 1 if obtuse else -1]) % 3 == 0
    ratio = np.linspace(0.0, 1.0, 21)[:, None]
    return np.where(both, 1 + ratio, np.sqrt(1 - ratio + ratio**2))
