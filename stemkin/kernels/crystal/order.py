"""Is the lattice still there? Ordered (in any orientation), disordered, or gone: for every small
window of a frame.

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
from scipy import ndimage

from stemkin.kernels.crystal.lattice import METAL, Lattice, sites
from stemkin.kernels.crystal.patches import gaussian_means, hollow_of

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
    """Measure order and intensity of a frame; None without a lattice, or for a frame smaller than
    four windows.

    Parameters
    ----------
    frame
        (y, x) intensities.
    lattice
        Of the frame: its spacing, and where its hollow sites are.
    tile
        Distance between windows [px]; half a lattice constant unless given.
    """
    if lattice is None:
        return None
    spacing = lattice.spacing_px
    edge = max(2, round(TILE * spacing)) if tile is None else tile
    if min(frame.shape) < 4 * edge:
        return None
    frame = np.asarray(frame, dtype=np.float32)
    level = _hollow_level(frame, lattice)
    g = _spacing_frequency(lattice)
    angles = np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS
    waves = g * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    sums, areas = _tile_sums(
        frame - np.float32(level), np.concatenate([np.zeros((1, 2)), waves]), edge
    )
    mean = _smoothed(np.ascontiguousarray(sums[..., 0].real), areas, MEAN_SD * spacing / edge)
    power = np.abs(_smoothed(sums[..., 1:], areas, WINDOW_SD * spacing / edge))
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
    """Return where between the (ny, nx, directions) responses the largest lies: the vertex of a
    parabola through their logarithms."""
    n = triples.shape[-1]
    best = triples.argmax(axis=-1)
    logs = np.log(triples + np.float32(1e-30))
    before, at, after = (
        np.take_along_axis(logs, (best + k)[..., None] % n, axis=-1)[..., 0] for k in (-1, 0, 1)
    )
    bend = before - 2 * at + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1.0), 0.0)
    b1 = lattice.reciprocal[0]
    away = (best + np.clip(shift, -0.5, 0.5)) * (180.0 / N_DIRECTIONS) - np.degrees(
        np.arctan2(b1[0], b1[1])
    )
    return np.asarray((away + 30) % 60 - 30)


def tile_of(pixel_size_nm: float | None) -> int:
    """Return the pixels per sample of the maps that are kept: 0.15 nm, about half a lattice
    constant, or 5 px without calibration."""
    return 5 if pixel_size_nm is None else max(2, round(0.15 / pixel_size_nm))


def at_tiles(maps: list[OrderMap | None], shape: tuple[int, ...], tile: int) -> np.ndarray:
    """Return the (n, ny, nx) int8 phases of frames of this `shape` [px] at the centres of tiles of
    `tile` px; UNKNOWN without a map."""
    grid = [-(-n // tile) for n in shape]
    phases = np.full((len(maps), *grid), UNKNOWN, np.int8)
    centres = [np.arange(n) * tile + tile // 2 for n in grid]
    for i, found in enumerate(maps):
        if found is not None:
            places = zip(centres, found.order.shape, strict=True)
            phases[i] = found.phase[
                np.ix_(*(np.minimum(at // found.tile, n - 1) for at, n in places))
            ]
    return phases


def regions(found: OrderMap, *, min_tiles: int = 8, min_turn_deg: float = 4.0) -> list[Region]:
    """List the holes, disordered areas and turned fragments of a frame, largest first.

    Parameters
    ----------
    found
        As `order_map` gives it.
    min_tiles
        Smaller regions are left out.
    min_turn_deg
        An ordered region whose lattice is turned by less belongs to the crystal around it.
    """
    phase = found.phase
    turned = np.abs(found.turn_deg) >= min_turn_deg
    masks = [
        ("hole", phase == VACUUM),
        ("disordered", phase == DISORDERED),
        ("fragment", (phase == ORDERED) & turned),
    ]
    listed = []
    for kind, mask in masks:
        labels, n = ndimage.label(mask)
        for i in range(1, n + 1):
            y, x = np.nonzero(labels == i)
            if len(y) >= min_tiles:
                centre = (np.array([y.mean(), x.mean()]) + 0.5) * found.tile - 0.5
                turn = float(np.median(found.turn_deg[y, x])) if kind == "fragment" else np.nan
                listed.append(
                    Region(kind, float(centre[0]), float(centre[1]), len(y) * found.tile**2, turn)
                )
    return sorted(listed, key=lambda region: (-region.area_px, region.y, region.x))


@dataclass(frozen=True)
class Region:
    """A connected part of a frame that is not the crystal around it.

    Attributes
    ----------
    kind
        ``"hole"``, ``"disordered"`` or ``"fragment"`` (ordered, but turned).
    y, x
        Its centre [px].
    area_px
        Its area [px2].
    turn_deg
        Of a fragment: how far its lattice is turned [degrees]; NaN for the others.
    """

    kind: str
    y: float
    x: float
    area_px: float
    turn_deg: float


def _hollow_level(frame: np.ndarray, lattice: Lattice) -> float:
    points = (
        sites(lattice, (frame.shape[0], frame.shape[1]), METAL) + hollow_of(lattice) - lattice.metal
    )
    points = points[((points > 0) & (points < np.array(frame.shape) - 1)).all(axis=1)]
    points = points[:: max(1, len(points) // 400)]
    return float(np.median(gaussian_means(frame, points, 0.1 * lattice.spacing_px)))


def _spacing_frequency(lattice: Lattice) -> float:
    """Return the mean length of the shortest reciprocal vectors [cycles per px]."""
    b1, b2 = lattice.reciprocal
    lengths = np.linalg.norm([b1, b2, b1 + b2, b1 - b2], axis=1)
    return (
        float(np.sort(lengths)[:3].mean())
        if lattice.is_honeycomb
        else float(np.sort(lengths)[:2].mean())
    )


def _tile_sums(frame: np.ndarray, waves: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum ``frame * exp(-2 pi i g . r)`` over tiles: (ny, nx, K) complex; and the (ny, nx) pixels
    of each tile."""
    height, width = frame.shape
    ny, nx = -(-height // tile), -(-width // tile)
    padded = np.zeros((ny * tile, nx * tile), np.float32)
    padded[:height, :width] = frame
    within = np.arange(tile)
    across = np.exp(-2j * np.pi * np.outer(within, waves[:, 1])).astype(np.complex64)
    table = np.concatenate([across.real, across.imag], axis=1)
    rows = (padded.reshape(-1, tile) @ table).reshape(ny, tile, nx, -1)
    k = len(waves)
    down = np.exp(-2j * np.pi * np.outer(within, waves[:, 0])).astype(np.complex64)[:, None]
    local = np.zeros((ny, nx, k), np.complex64)
    for t in range(tile):
        local += (rows[:, t, :, :k] + 1j * rows[:, t, :, k:]) * down[t]
    y, x = np.arange(ny) * tile, np.arange(nx) * tile
    turn = np.exp(-2j * np.pi * np.outer(y, waves[:, 0]))[:, None] * np.exp(
        -2j * np.pi * np.outer(x, waves[:, 1])
    )
    inside = [np.clip(n - np.arange(m) * tile, 0, tile) for n, m in ((height, ny), (width, nx))]
    return (local * turn).astype(np.complex64), np.outer(*inside).astype(np.float32)


def _smoothed(sums: np.ndarray, areas: np.ndarray, sd_tiles: float) -> np.ndarray:
    """Return the Gaussian mean of tile sums (ny, nx, ...) per pixel; what lies beyond the frame
    does not count."""
    gy, gx = (
        np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)) / sd_tiles) ** 2).astype(np.float32)
        for n in areas.shape
    )
    parts = np.ascontiguousarray(sums).view(np.float32).reshape(areas.shape[0], -1)
    down = (gy @ parts).reshape(*areas.shape, -1)
    both = gx @ down  # one product per row of tiles
    mean = both / (gy @ areas @ gx.T)[..., None]
    return np.asarray(mean.view(sums.dtype)).reshape(sums.shape)
