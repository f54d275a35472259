"""Order of the lattice in every small window of a frame: whole in any orientation, broken, gone.

Around each point the frame is compared with plane waves of the lattice's own spacing in 18
directions, under a Gaussian of about one lattice constant. A hexagonal crystal, however turned,
answers in three directions 60 degrees apart; the geometric mean of these three is the *order*.
Where it falls below half of what the frame's good crystal gives, the window is disordered; where
the mean intensity falls half-way from that of the crystal to that of its hollow sites, it is
vacuum. Half-way thresholds put the border of a hole where it is, whatever the width of the window.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> y, x = np.mgrid[:96, :96]
>>> phase = 2 * np.pi * np.stack([y, x], axis=-1) @ honeycomb(10.0).reciprocal.T
>>> frame = 4 + np.cos(phase).sum(axis=-1) + np.cos(phase.sum(axis=-1))
>>> order_map(frame, honeycomb(10.0)).fractions
(1.0, 0.0, 0.0)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.common.medians import median, quantile
from stemkin.kernels.crystal.lattice import METAL, Lattice, sites
from stemkin.kernels.crystal.patches import hollow_of
from stemkin.kernels.images.local_means import gaussian_means

ORDERED, DISORDERED, VACUUM = 0, 1, 2
"""What a window may be."""

UNKNOWN = -1
"""The phase where a frame has no lattice to compare with."""

N_DIRECTIONS = 18
"""Directions over half a turn: 10 degrees apart, which is the width of a reflection under the
window."""

WINDOW_SD = 0.9
"""Standard deviation of the window for the order, over the lattice constant."""

MEAN_SD = 0.5
"""The same for the mean intensity: wide enough that the columns do not show."""

CUT_SD = 4.0
"""Tiles further than so many standard deviations do not count."""

LEAST = 1e-30
"""No response is less, so that each has a logarithm."""

TILE = 0.5
"""Edge of the tiles in which waves are summed, over the lattice constant."""


@dataclass(frozen=True, eq=False)
class OrderMap:
    """Order and intensity of a frame at reduced resolution.

    Attributes
    ----------
    order
        (ny, nx) order, 1 in the frame's good crystal.
    intensity
        (ny, nx) mean intensity, 0 at the level of hollow sites and 1 in the frame's good crystal.
    turn_deg
        (ny, nx) direction of the local lattice relative to the frame's, turning from +x to +y, -30
        to 30 [degrees].
    tile
        Distance between the windows [px]; window (0, 0) is centred at ((tile - 1) / 2, (tile - 1) /
        2).
    """

    order: np.ndarray
    intensity: np.ndarray
    turn_deg: np.ndarray
    tile: int

    @property
    def phase(self) -> np.ndarray:
        """(ny, nx) int8: ORDERED, DISORDERED or VACUUM."""
        crystalline = np.where(self.order >= 0.5, ORDERED, DISORDERED)
        return np.where(self.intensity < 0.5, VACUUM, crystalline).astype(np.int8)

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Area fractions of ordered, disordered and vacuum; they add up to 1."""
        counts = np.bincount(self.phase.ravel(), minlength=3) / self.phase.size
        return float(counts[ORDERED]), float(counts[DISORDERED]), float(counts[VACUUM])


def order_map(
    frame: np.ndarray, lattice: Lattice | None, *, tile: int | None = None
) -> OrderMap | None:
    """Measure order and intensity of a frame.

    Parameters
    ----------
    frame
        (y, x) intensities.
    lattice
        Of the frame: its spacing, and where its hollow sites are.
    tile
        Distance between windows [px]; half a lattice constant unless given.

    Returns
    -------
    The map; None without a lattice, for a frame smaller than four windows, and where nothing is
    brighter than the hollow sites.
    """
    if lattice is None:
        return None
    spacing = lattice.spacing_px
    edge = tile or max(2, round(TILE * spacing))
    if min(frame.shape) < 4 * edge:
        return None
    # wave 0 is the mean; waves 1 to N_DIRECTIONS point in steps of 10 degrees
    angles = np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS
    directions = _spacing_frequency(lattice) * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    frame = np.ascontiguousarray(frame, dtype=np.float32)
    level = _hollow_level(frame, lattice)
    sums, inside = _tile_sums(frame, level, np.concatenate([np.zeros((1, 2)), directions]), edge)
    mean = _mean_around(sums[..., 0], inside, MEAN_SD * spacing / edge)
    sd_tiles = WINDOW_SD * spacing / edge
    half = _gaussian(np.arange(math.ceil(CUT_SD * sd_tiles) + 1), sd_tiles)
    window = np.concatenate([half[:0:-1], half])
    seen = [np.convolve(one, window)[len(half) - 1 : 1 - len(half)] for one in inside]
    order, best = _responses(sums, half, seen[0], seen[1])
    good_mean, good_order = (quantile(one.ravel(), 0.75) for one in (mean, order))
    if not (good_mean > 0 and good_order > 0):
        return None
    # directions are counted modulo 60 degrees, the turn from that of the frame's own lattice
    b1 = lattice.reciprocal[0]
    away = best * (180.0 / N_DIRECTIONS) - np.degrees(np.arctan2(b1[0], b1[1]))
    return OrderMap(order / good_order, mean / good_mean, (away + 30) % 60 - 30, edge)


def _hollow_level(frame: np.ndarray, lattice: Lattice) -> float:
    """Return the median intensity of the hollow sites, of some 400 of them."""
    metal = sites(lattice, (frame.shape[0], frame.shape[1]), METAL)
    points = metal + hollow_of(lattice) - lattice.metal
    points = points[((points > 0) & (points < np.array(frame.shape) - 1)).all(axis=1)]
    points = points[:: max(1, len(points) // 400)]
    return float(median(gaussian_means(frame, points, 0.1 * lattice.spacing_px)))


def _spacing_frequency(lattice: Lattice) -> float:
    """Return the mean length of the shortest reciprocal vectors [cycles per px]."""
    b1, b2 = lattice.reciprocal
    lengths = np.sort(np.linalg.norm([b1, b2, b1 + b2, b1 - b2], axis=1))
    n_alike = 3 if lattice.is_honeycomb else 2
    return float(lengths[:n_alike].mean())


def _tile_sums(
    frame: np.ndarray, level: float, waves: np.ndarray, tile: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the sums (ny, nx, 2K) of ``(frame - level) * exp(-2 pi i g . r)`` over tiles.

    Real and imaginary parts take turns. Also the pixels of the frame that each row (ny,) and column
    (nx,) of tiles has along its own axis: fewer in the last one.
    """
    height, width = frame.shape
    ny, nx = -(-height // tile), -(-width // tile)
    # one row for each tile, its pixels side by side, times one table of waves within a tile
    tiles = _cut(frame, level, tile, ny, nx)
    place = np.stack(np.divmod(np.arange(tile**2), tile))
    phases = -2 * np.pi * (waves @ place).T
    table = np.stack([np.cos(phases), np.sin(phases)], axis=2).reshape(tile**2, -1)
    sums = (tiles @ table.astype(np.float32)).reshape(ny, nx, -1)
    # the phase of a tile's own place comes last, so all tiles share the table
    turns = [
        np.exp(-2j * np.pi * np.outer(np.arange(n) * tile, waves[:, axis])).astype(np.complex64)
        for axis, n in enumerate((ny, nx))
    ]
    _turn(sums, *turns)
    inside = [np.clip(n - np.arange(m) * tile, 0, tile) for n, m in ((height, ny), (width, nx))]
    return sums, (inside[0].astype(np.float32), inside[1].astype(np.float32))


@compiled
def _cut(frame: np.ndarray, level: float, tile: int, ny: int, nx: int) -> np.ndarray:
    """Return the tiles (ny nx, tile^2) of a frame, over a level; 0 beyond its edge."""
    height, width = frame.shape
    low = frame.dtype.type(level)
    tiles = np.zeros((ny * nx, tile * tile), np.float32)
    for y in range(height):
        first, row = (y // tile) * nx, (y % tile) * tile
        for j in range(nx):
            into = tiles[first + j]
            for i in range(min(tile, width - j * tile)):
                into[row + i] = frame[y, j * tile + i] - low
    return tiles


@compiled
def _turn(sums: np.ndarray, turn_y: np.ndarray, turn_x: np.ndarray) -> None:
    """Multiply complex sums (ny, nx, 2K) with the waves (ny, K) and (nx, K), in place."""
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            one = sums[i, j]
            for k in range(turn_y.shape[1]):
                turn = turn_y[i, k] * turn_x[j, k]
                real, imag = one[2 * k], one[2 * k + 1]
                one[2 * k] = real * turn.real - imag * turn.imag
                one[2 * k + 1] = real * turn.imag + imag * turn.real


def _mean_around(
    sums: np.ndarray, inside: tuple[np.ndarray, np.ndarray], sd_tiles: float
) -> np.ndarray:
    """Return the Gaussian mean per pixel of tile sums (ny, nx), within the frame only."""
    gy, gx = (_gaussian(np.arange(len(n))[:, None] - np.arange(len(n)), sd_tiles) for n in inside)
    return np.asarray((gy @ sums @ gx.T) / np.outer(gy @ inside[0], gx @ inside[1]))


def _gaussian(steps: np.ndarray, sd_tiles: float) -> np.ndarray:
    """Return Gaussian weights of some steps [tiles]."""
    return np.asarray(np.exp(-0.5 * (steps / sd_tiles) ** 2), dtype=np.float32)


@compiled
def _responses(
    sums: np.ndarray, half: np.ndarray, seen_y: np.ndarray, seen_x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order (ny, nx) around tiles, and the direction that answers best.

    Sums (ny, nx, 2 + 2 N_DIRECTIONS), of which the first two are left out, are averaged with Gaussian
    weights, of which `half` (r + 1,) are those from the middle outwards; `seen_y` (ny,) and `seen_x`
    (nx,) are the pixels that count along either axis. The best direction is refined by the vertex
    of a parabola through the logarithms of its neighbours.
    """
    ny, nx, n = sums.shape
    reach, third = len(half) - 1, N_DIRECTIONS // 3
    order, best = np.empty((ny, nx)), np.empty((ny, nx))
    rows = sums.reshape(ny, nx * n)
    # what is summed down: a line of tiles behind each other, a margin of empty ones on both sides
    line = np.zeros((nx + 2 * reach) * n, sums.dtype)
    middle, both = line[reach * n : (reach + nx) * n], np.empty(nx * n, sums.dtype)
    powers = np.empty(third)
    for i in range(ny):
        middle[:] = 0
        for k in range(max(-reach, -i), min(reach, ny - 1 - i) + 1):
            _add_weighted(rows[i + k], half[abs(k)], middle)
        both[:] = 0
        for k in range(-reach, reach + 1):
            _add_weighted(line[(reach + k) * n :], half[abs(k)], both)
        for j in range(nx):
            # three directions 60 degrees apart are a third of the half turn from each other
            powers[:] = 1.0
            for k in range(N_DIRECTIONS):
                real, imag = float(both[j * n + 2 + 2 * k]), float(both[j * n + 3 + 2 * k])
                powers[k % third] *= real * real + imag * imag
            top = np.argmax(powers)
            at = math.log(powers[top] + LEAST)
            before = math.log(powers[(top - 1) % third] + LEAST) - at
            after = math.log(powers[(top + 1) % third] + LEAST) - at
            # the geometric mean of three roots
            order[i, j] = math.exp(at / 6) / (seen_y[i] * seen_x[j])
            bend = before + after
            shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
            best[i, j] = top + min(max(shift, -0.5), 0.5)
    return order, best


@compiled
def _add_weighted(values: np.ndarray, weight: float, into: np.ndarray) -> None:
    """Add weighted values."""
    for i in range(len(into)):
        into[i] += values[i] * weight
