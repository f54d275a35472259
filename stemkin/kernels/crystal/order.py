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

from dataclasses import dataclass

import numpy as np

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
    frame = np.asarray(frame, dtype=np.float32)
    above = frame - np.float32(_hollow_level(frame, lattice))
    sums, areas = _tile_sums(above, np.concatenate([np.zeros((1, 2)), directions]), edge)
    mean = _smoothed(np.ascontiguousarray(sums[..., 0].real), areas, MEAN_SD * spacing / edge)
    power = np.abs(_smoothed(sums[..., 1:], areas, WINDOW_SD * spacing / edge))
    # three directions 60 degrees apart are a third of the half turn from each other
    third = N_DIRECTIONS // 3
    triples = np.stack(
        [power[..., k] * power[..., k + third] * power[..., k + 2 * third] for k in range(third)],
        axis=-1,
    )
    order = np.cbrt(triples.max(axis=-1))
    good_mean, good_order = np.quantile(mean, 0.75), np.quantile(order, 0.75)
    if not (good_mean > 0 and good_order > 0):
        return None
    return OrderMap(order / good_order, mean / good_mean, _turn(triples, lattice), edge)


def _turn(triples: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return the turn (ny, nx) [degrees] of the largest of the responses (ny, nx, directions).

    It is refined by the vertex of a parabola through the logarithms of its neighbours.
    """
    n = triples.shape[-1]
    best = triples.argmax(axis=-1)
    logs = np.log(triples + np.float32(1e-30))
    before, at, after = (
        np.take_along_axis(logs, (best + k)[..., None] % n, axis=-1)[..., 0] for k in (-1, 0, 1)
    )
    bend = before - 2 * at + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1.0), 0.0)
    # directions are counted modulo 60 degrees, the turn from that of the frame's own lattice
    b1 = lattice.reciprocal[0]
    direction = (best + np.clip(shift, -0.5, 0.5)) * (180.0 / N_DIRECTIONS)
    away = direction - np.degrees(np.arctan2(b1[0], b1[1]))
    return np.asarray((away + 30) % 60 - 30)


def _hollow_level(frame: np.ndarray, lattice: Lattice) -> float:
    """Return the median intensity of the hollow sites, of some 400 of them."""
    metal = sites(lattice, (frame.shape[0], frame.shape[1]), METAL)
    points = metal + hollow_of(lattice) - lattice.metal
    points = points[((points > 0) & (points < np.array(frame.shape) - 1)).all(axis=1)]
    points = points[:: max(1, len(points) // 400)]
    return float(np.median(gaussian_means(frame, points, 0.1 * lattice.spacing_px)))


def _spacing_frequency(lattice: Lattice) -> float:
    """Return the mean length of the shortest reciprocal vectors [cycles per px]."""
    b1, b2 = lattice.reciprocal
    lengths = np.sort(np.linalg.norm([b1, b2, b1 + b2, b1 - b2], axis=1))
    n_alike = 3 if lattice.is_honeycomb else 2
    return float(lengths[:n_alike].mean())


def _tile_sums(frame: np.ndarray, waves: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums (ny, nx, K) of ``frame * exp(-2 pi i g . r)`` over tiles, and their pixels.

    The phase of a tile's own place comes last, so all tiles share one table of waves within a tile.
    """
    height, width = frame.shape
    ny, nx = -(-height // tile), -(-width // tile)
    padded = np.zeros((ny * tile, nx * tile), np.float32)
    padded[:height, :width] = frame
    # one row for each tile, its pixels side by side, times one table of waves within a tile
    tiles = padded.reshape(ny, tile, nx, tile).swapaxes(1, 2).reshape(ny * nx, tile**2)
    place = np.stack(np.divmod(np.arange(tile**2), tile))
    table = np.exp(-2j * np.pi * (waves @ place)).T.astype(np.complex64)
    both = tiles @ np.stack([table.real, table.imag], axis=2).reshape(tile**2, -1)
    local = both.view(np.complex64).reshape(ny, nx, -1)
    turn_y, turn_x = (
        np.exp(-2j * np.pi * np.outer(np.arange(n) * tile, waves[:, axis])).astype(np.complex64)
        for axis, n in enumerate((ny, nx))
    )
    local *= turn_y[:, None] * turn_x
    # pixels of the frame in each tile: fewer in the last row and column
    inside = [np.clip(n - np.arange(m) * tile, 0, tile) for n, m in ((height, ny), (width, nx))]
    return local, np.outer(*inside).astype(np.float32)


def _smoothed(sums: np.ndarray, areas: np.ndarray, sd_tiles: float) -> np.ndarray:
    """Return the Gaussian mean per pixel of tile sums (ny, nx, ...), within the frame only."""
    gy, gx = (
        np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) / sd_tiles) ** 2).astype(np.float32)
        for n in areas.shape
    )
    # complex numbers are taken as pairs of real ones, so that both products are real
    parts = np.ascontiguousarray(sums).view(np.float32).reshape(areas.shape[0], -1)
    down = (gy @ parts).reshape(*areas.shape, -1)
    both = gx @ down
    mean = both / (gy @ areas @ gx.T)[..., None]
    return np.asarray(mean.view(sums.dtype)).reshape(sums.shape)
