"""Claims of grains on pixels: who fits best, what is a gap and what a hole, which areas count.

>>> masks = claims([np.full((24, 24), 0.1), np.full((24, 24), 0.4)], np.ones((24, 24)), 6.0)
>>> [float(mask.mean()) for mask in masks]
[1.0, 0.0]
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace, to_host

CELL_AREA = 0.866
"""Area of a unit cell over the square of the lattice constant, in a hexagonal crystal."""

HOLE_CELLS = 6
"""Smaller gaps in a grain are defects."""

NEVER = 1e9
"""A misfit that no model has."""


def claims(misfits: list[Array], flat: Array, spacing_px: float) -> list[Array]:
    """Give each pixel to the grain that fits it best, or to none.

    A grain must leave less than half-way between what it leaves where it fits well and what no
    crystal at all leaves. A gap of a few cells is a defect, not a hole, and stays with the grain
    around it.

    Parameters
    ----------
    misfits
        (y, x) scatter that the crystal of each grain leaves around every pixel, any library.
    flat
        (y, x) scatter of the frame itself, which is what no crystal leaves.
    spacing_px
        Lattice constant [px].

    Returns
    -------
    Masks (y, x) of 0 and 1 that do not overlap, one per grain.
    """
    xp = namespace(flat)
    shares = [misfit / flat for misfit in misfits]
    best = shares[0]
    for share in shares[1:]:
        best = xp.minimum(best, share)
    best_here = to_host(best)
    allowed = half_way(best_here)
    small = _small_gaps(best_here >= allowed, cells_px(HOLE_CELLS, spacing_px))
    # in small gaps every misfit is allowed, so they go to whatever fits best there
    allowed = allowed + NEVER * xp.asarray(small, dtype=flat.dtype)
    masks, taken = [], xp.zeros_like(flat)
    for share in shares:
        # where two fit equally well the first takes the pixel: masks never overlap
        mask = xp.astype((share <= best) & (share < allowed), flat.dtype) * (1 - taken)
        masks.append(mask)
        taken = taken + mask
    return masks


def half_way(share: np.ndarray) -> float:
    """Choose a threshold half-way between a crystal that fits well and none.

    Parameters
    ----------
    share
        (y, x) scatter that a crystal leaves, over that of the frame.

    Returns
    -------
    The mean of 1 and of the 30th percentile, taken at every fourth pixel of every fourth row.
    """
    fits_well = float(np.percentile(share[::4, ::4], 30))
    return (1 + min(fits_well, 1.0)) / 2


def _small_gaps(gap: np.ndarray, least_px: float) -> np.ndarray:
    """Return where (y, x) `gap` is in one piece of fewer than `least_px` pixels."""
    labels, sizes = connected_pieces(gap)
    return np.asarray(gap & (sizes[labels] < least_px))


def connected_pieces(region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected pieces of a region.

    Parameters
    ----------
    region
        (y, x) truth values.

    Returns
    -------
    (y, x) number of the piece of each pixel, 0 outside, and the sizes [px] by number.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(region)
    return labels, np.bincount(labels.ravel())


def without_rims(region: np.ndarray, spacing_px: float) -> np.ndarray:
    """Free a region of rims and necks thinner than about half a lattice constant.

    Parameters
    ----------
    region
        (y, x) truth values.
    spacing_px
        Lattice constant [px].

    Returns
    -------
    (y, x) truth values, opened.
    """
    from scipy import ndimage

    rounds = max(1, round(0.3 * spacing_px))
    return np.asarray(ndimage.binary_opening(region, iterations=rounds))


def cells_px(n_cells: int, spacing_px: float) -> float:
    """Return the area of a number of unit cells.

    Parameters
    ----------
    n_cells
        How many.
    spacing_px
        Lattice constant [px].

    Returns
    -------
    Area [px2].
    """
    return n_cells * CELL_AREA * spacing_px**2
