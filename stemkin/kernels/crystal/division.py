"""A broken crystal divided into grains: which pixels belong to which, and which to none.

A pixel belongs to the model that leaves the least scatter around it: the crystal of a grain, or no
crystal at all (the local mean). Where a large area is left over although it has the contrast of a
crystal, another lattice is looked for there; so fragments that turned keep their own. What stays
without a grain is disordered where it has contrast beyond noise, vacuum where it has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal.amplitudes import mean_amplitudes
from stemkin.kernels.crystal.claims import (
    HOLE_CELLS,
    cells_px,
    claims,
    connected_pieces,
    half_way,
    without_rims,
)
from stemkin.kernels.crystal.drawing import draw_mean
from stemkin.kernels.crystal.grains import (
    Grain,
    draw_grain,
    fitted,
    row_jitter,
    steady_lattice,
    straightened,
)
from stemkin.kernels.crystal.lattice_search import MIN_EDGE_PX, Crystal, find_crystal
from stemkin.kernels.crystal.waves import waves_of
from stemkin.kernels.images.filters import gaussian, variance_of

BROKEN = 0.35
"""A frame whose reflections are weaker than this somewhere, relative to elsewhere, is searched for
grains."""

MIN_QUALITY = 8.0
"""A lattice that is hardly seen in the whole frame cannot be missed in a part of it."""

STIFF_SD = 4.0
"""Shortest window, over the lattice constant, where it is asked which pixels belong to a grain: a
softer crystal would bend into its neighbour."""

AROUND = 0.6
"""Standard deviation, over the lattice constant, of the neighbourhood that decides to which grain a
pixel belongs."""

MIN_CELLS = 30
"""Smaller areas are not searched for a lattice of their own."""

MAX_GRAINS = 4
"""At most so many lattices in one frame."""

CONTRAST = 0.4
"""Scatter over that of the crystal from which an area is searched for a lattice."""


@dataclass(frozen=True, eq=False)
class Division:
    """A frame as pieces of crystal.

    Attributes
    ----------
    grains
        The largest first.
    jitter
        (height, 2) displacement (y, x) of single rows [px].
    hidden
        (2,) what the slow distortion has taken of it [px]: see `jitter.row_displacements`.
    areas
        Shares of the frame that are ordered, disordered and vacuum.
    """

    grains: list[Grain]
    jitter: np.ndarray
    hidden: np.ndarray
    areas: tuple[float, float, float]


def is_broken(found: Crystal) -> bool:
    """Tell whether the crystal is so much weaker somewhere that it may be absent there.

    Parameters
    ----------
    found
        The lattice that most of the frame has.

    Returns
    -------
    Whether the frame is to be searched for grains.
    """
    return found.evenness < BROKEN and found.lattice.quality > MIN_QUALITY


def one_grain(frame: Array, found: Crystal) -> Division:
    """Take the whole frame as one grain.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    found
        Its lattice.

    Returns
    -------
    One grain without a mask, all of the frame ordered.
    """
    mean = mean_amplitudes(found.lines, found.waves)
    jitter, hidden = row_jitter(frame, Grain(found.lattice, found.waves, mean, None))
    waves = found.waves.shaken(jitter)
    grain = Grain(found.lattice, waves, mean_amplitudes(found.lines, waves), None)
    return Division([grain], jitter, hidden, (1.0, 0.0, 0.0))


def find_grains(frame: Array, found: Crystal) -> Division:
    """Divide a frame into grains.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    found
        The lattice that most of the frame has.

    Returns
    -------
    The grains, each with a mask, the largest first.
    """
    spacing = found.lattice.spacing_px
    flat = _scatter(frame, AROUND * spacing)
    mean = mean_amplitudes(found.lines, found.waves)
    main = Grain(found.lattice, found.waves, mean, None, found.cell)
    mask = claims([_misfit(frame, main, spacing)], flat, spacing)[0]
    main = straightened(frame, replace(main, mask=mask))
    slow = main.waves.rows
    jitter, hidden = row_jitter(frame, main)
    main = fitted(frame, replace(main, waves=main.waves.shaken(jitter)))
    claimed = _all_grains(frame, main, flat)
    masks = claimed.masks
    masks[0] = masks[0] + _strained(frame, main, masks, flat)
    grains = [
        fitted(frame, replace(grain, mask=mask))
        for grain, mask in zip(claimed.grains, masks, strict=True)
    ]
    grains = [replace(grain, lattice=steady_lattice(frame, grain, slow)) for grain in grains]
    order = np.argsort([-_total(mask) for mask in masks], kind="stable")
    areas = _areas(frame, grains, masks, flat)
    return Division([grains[i] for i in order], jitter, hidden, areas)


@dataclass(frozen=True, eq=False)
class _Claimed:
    """Grains with the scatter (y, x) that each leaves, and the pixels (y, x) that each claims."""

    grains: list[Grain]
    misfits: list[Array]
    masks: list[Array]


def _all_grains(frame: Array, main: Grain, flat: Array) -> _Claimed:
    """Add to the main grain those that are found one after another in what is left over."""
    spacing = main.lattice.spacing_px
    misfits = [_misfit(frame, main, spacing)]
    known = _Claimed([main], misfits, claims(misfits, flat, spacing))
    while len(known.grains) < MAX_GRAINS:
        more = _another(frame, known.grains, known.masks, flat)
        if more is None:
            break
        misfits = [*known.misfits, _misfit(frame, more, spacing)]
        masks = claims(misfits, flat, spacing)
        if _total(masks[-1]) < cells_px(MIN_CELLS, spacing):
            break
        known = _Claimed([*known.grains, more], misfits, masks)
    return known


def _total(mask: Array) -> float:
    return float(to_host(namespace(mask).sum(mask)))


def _scatter(values: Array, sd_px: float) -> Array:
    """Return the (y, x) variance of `values` in a Gaussian neighbourhood of every pixel."""
    xp = namespace(values)
    variance = gaussian(values**2, sd_px) - gaussian(values, sd_px) ** 2
    # a difference of two means may come out below 0; shares of it are taken, so it stays positive
    return xp.maximum(variance, 0 * variance + 1e-12 * xp.max(variance))


def _misfit(frame: Array, grain: Grain, spacing_px: float, *, least_sd: float = STIFF_SD) -> Array:
    """Return the scatter (y, x) that a grain leaves around every pixel."""
    return _scatter(frame - draw_grain(frame, grain, least_sd=least_sd), AROUND * spacing_px)


def _strained(frame: Array, main: Grain, masks: list[Array], flat: Array) -> Array:
    """Return where (y, x) the main crystal, were it soft, would fit what no grain has claimed.

    It is strained there, not gone. The rim of a hole could be fitted in that way, too; so only
    areas that are no rims count.
    """
    xp = namespace(frame)
    spacing = main.lattice.spacing_px
    free = to_host(sum(masks)) == 0
    if not free.any():
        return 0 * flat
    wider = replace(main, mask=masks[0] + xp.asarray(free, dtype=frame.dtype))
    share = to_host(_misfit(frame, wider, spacing, least_sd=0.0) / flat)
    labels, sizes = connected_pieces(without_rims(free & (share < half_way(share)), spacing))
    sizes[0] = 0
    return xp.asarray(sizes[labels] >= cells_px(HOLE_CELLS, spacing), dtype=frame.dtype)


def _another(frame: Array, grains: list[Grain], masks: list[Array], flat: Array) -> Grain | None:
    """Look for a lattice in the largest area that has contrast but no grain."""
    xp = namespace(frame)
    spacing = grains[0].lattice.spacing_px
    region = _largest_unclaimed(to_host(sum(masks)) > 0, to_host(flat), spacing)
    if region is None:
        return None
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    if min(part.stop - part.start for part in box) < MIN_EDGE_PX:
        return None
    mask = xp.asarray(region, dtype=frame.dtype)
    # the piece is cut out with soft edges around its own mean, lest its outline makes a spectrum
    window = gaussian(mask, 0.5 * spacing)
    level = xp.sum(frame * mask) / xp.sum(mask)
    cut = ((frame - level) * window)[box]
    found = find_crystal(cut - xp.mean(cut), is_piece=True)
    if found is None:
        return None
    main = grains[0].waves
    waves = waves_of(found.waves.basis, main.shape)
    waves = replace(waves, rows=main.rows, columns=main.columns)
    grain = Grain(found.lattice, waves, np.zeros(len(waves.indices), dtype=complex), mask)
    return fitted(frame, grain)


def _largest_unclaimed(
    taken: np.ndarray, scatter: np.ndarray, spacing_px: float
) -> np.ndarray | None:
    """Return the largest area (y, x) with a crystal's contrast that no grain has; None if small."""
    if not taken.any():
        return None
    free = ~taken & (scatter > CONTRAST * np.median(scatter[taken]))
    labels, sizes = connected_pieces(without_rims(free, spacing_px))
    if len(sizes) < 2:
        return None
    largest = int(np.argmax(sizes[1:])) + 1
    if sizes[largest] < cells_px(MIN_CELLS, spacing_px):
        return None
    return np.asarray(labels == largest)


def _areas(
    frame: Array, grains: list[Grain], masks: list[Array], flat: Array
) -> tuple[float, float, float]:
    """Return the shares of the frame that are ordered, disordered and vacuum."""
    xp = namespace(frame)
    inside = sum(masks)
    ordered = float(to_host(xp.mean(inside)))
    model = draw_mean(grains[0].mean, grains[0].waves, frame)
    noise = variance_of((frame - model) * masks[0], model)
    rough = xp.astype(flat > 2 * gaussian(noise, 8.0), frame.dtype)
    disordered = float(to_host(xp.mean((1 - inside) * rough)))
    return ordered, disordered, max(0.0, 1.0 - ordered - disordered)
