"""Regions of a frame that are not the crystal around them, and maps of what a frame shows where.

>>> import numpy as np
>>> from stemkin.kernels.crystal.order import OrderMap
>>> intensity = np.ones((8, 8)); intensity[:, :4] = 0
>>> found = regions_of(OrderMap(np.ones((8, 8)), intensity, np.zeros((8, 8)), tile=5))
>>> [(region.kind, region.y, region.x, region.area_px) for region in found]
[('hole', 19.5, 9.5, 800)]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from stemkin.kernels.crystal.order import DISORDERED, ORDERED, UNKNOWN, VACUUM, OrderMap

TILE_NM, TILE_PX = 0.15, 5
"""Edge of the samples of the maps that are kept: about half a lattice constant; the second where
there is no calibration."""


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


def regions_of(found: OrderMap, *, min_tiles: int = 8, min_turn_deg: float = 4.0) -> list[Region]:
    """List the holes, disordered areas and turned fragments of a frame, largest first.

    Parameters
    ----------
    found
        As `order.order_map` gives it.
    min_tiles
        Smaller regions are left out.
    min_turn_deg
        An ordered region whose lattice is turned by less belongs to the crystal around it.

    Returns
    -------
    The regions; those of one size in the order of their centres.
    """
    phase = found.phase
    turned = np.abs(found.turn_deg) >= min_turn_deg
    masks = {
        "hole": phase == VACUUM,
        "disordered": phase == DISORDERED,
        "fragment": (phase == ORDERED) & turned,
    }
    listed = []
    for kind, mask in masks.items():
        labels, n = ndimage.label(mask)
        for i in range(1, n + 1):
            y, x = np.nonzero(labels == i)
            if len(y) >= min_tiles:
                listed.append(_region(kind, y, x, found))
    return sorted(listed, key=lambda region: (-region.area_px, region.y, region.x))


def _region(kind: str, y: np.ndarray, x: np.ndarray, found: OrderMap) -> Region:
    """Return the region of the tiles `y`, `x` (m,)."""
    # tile i covers the pixels i tile to (i + 1) tile - 1
    centre = (np.array([y.mean(), x.mean()]) + 0.5) * found.tile - 0.5
    turn = np.nan
    if kind == "fragment":
        turn = float(np.median(found.turn_deg[y, x]))
    return Region(kind, float(centre[0]), float(centre[1]), len(y) * found.tile**2, turn)


def tile_of(pixel_size_nm: float | None) -> int:
    """Choose the pixels per sample of the maps that are kept: about half a lattice constant.

    Parameters
    ----------
    pixel_size_nm
        Of the movie [nm], or None without a calibration.

    Returns
    -------
    Edge of a sample [px].
    """
    if pixel_size_nm is None:
        return TILE_PX
    return max(2, round(TILE_NM / pixel_size_nm))


def at_tiles(maps: list[OrderMap | None], shape: tuple[int, ...], tile: int) -> np.ndarray:
    """Sample the phases of frames at the centres of tiles.

    Parameters
    ----------
    maps
        Of n frames, their own tiles of any size; None where nothing is known.
    shape
        (height, width) of the frames [px].
    tile
        Edge of the tiles [px].

    Returns
    -------
    (n, ny, nx) int8 phases; UNKNOWN without a map.
    """
    grid = [-(-n // tile) for n in shape]
    phases = np.full((len(maps), *grid), UNKNOWN, np.int8)
    centres = [np.arange(n) * tile + tile // 2 for n in grid]
    for i, found in enumerate(maps):
        if found is not None:
            # the last tile may reach beyond the last window of the map, which then stands for it
            nearest = (
                np.minimum(at // found.tile, n - 1)
                for at, n in zip(centres, found.order.shape, strict=True)
            )
            phases[i] = found.phase[np.ix_(*nearest)]
    return phases
