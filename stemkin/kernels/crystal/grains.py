"""A broken crystal: which pixels belong to which grain, and which to none.

A pixel belongs to the model that leaves the least scatter around it: the crystal of a grain, or no
crystal at all (the local mean). Where a large area is left over although it has the contrast of a
crystal, another lattice is looked for there; so fragments that turned keep their own. What stays
without a grain is disordered where it has contrast beyond noise, vacuum where it has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal import cell, distortion
from stemkin.kernels.crystal import waves as crystal_waves
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.lattice_search import MIN_EDGE_PX, N_PHASES, Crystal, find_crystal
from stemkin.kernels.images.filters import clipped, gaussian, variance_of

BROKEN = 0.35
"""A frame whose reflections are weaker than this somewhere, relative to elsewhere, is searched for
grains."""

CRYSTAL_SD = (1.4, 2.0, 3.0, 4.5, 7.0)
"""Over the lattice constant: windows in which the crystal is averaged, the longest that it
allows."""

STIFF_SD = 4.0
"""The same where it is asked which pixels belong to a grain: a softer crystal would bend into its
neighbour."""

BACKGROUND_SD = (1.5, 2.5, 4.0)
"""The same for the background, which need not be even where the crystal is. A short window takes a
part of each defect with it."""

N_LOCAL = 7
"""How many waves, the background among them, may differ from place to place; further ones are too
weak to matter."""

N_ASKED = 6
"""How many of them are asked over which length they are even."""

MIN_QUALITY = 8.0
"""A lattice that is hardly seen in the whole frame cannot be missed in a part of it."""

AROUND = 0.6
"""Standard deviation, over the lattice constant, of the neighbourhood that decides to which grain a
pixel belongs."""

MIN_CELLS = 30
"""Smaller areas are not searched for a lattice of their own."""

HOLE_CELLS = 6
"""Smaller gaps in a grain are defects."""

MAX_GRAINS = 4
"""At most so many lattices in one frame."""

CONTRAST = 0.4
"""Scatter over that of the crystal from which an area is searched for a lattice."""


@dataclass(frozen=True, eq=False)
class Grain:
    """A piece of crystal.

    Attributes
    ----------
    lattice
        Its vectors and origins.
    waves
        Its plane waves, with the displacement of every row.
    mean
        (K,) complex mean amplitudes.
    mask
        (y, x) 1 where a pixel belongs to it, else 0; None for the whole frame.
    """

    lattice: Lattice
    waves: crystal_waves.Waves
    mean: np.ndarray
    mask: Array | None


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
        (2,) what the slow distortion has taken of it [px]: see `distortion.row_displacements`.
    areas
        Shares of the frame that are ordered, disordered and vacuum.
    """

    grains: list[Grain]
    jitter: np.ndarray
    hidden: np.ndarray
    areas: tuple[float, float, float]


def draw_grain(frame: Array, grain: Grain, *, least_sd: float = 0.0) -> Array:
    """Draw the crystal of a grain everywhere: its mean, and what differs locally within its mask.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    grain
        The grain.
    least_sd
        No window, over the lattice constant, is shorter than this.

    Returns
    -------
    The model (y, x).
    """
    spacing = grain.lattice.spacing_px
    model = crystal_waves.draw_mean(grain.mean, grain.waves, frame)
    rest = frame - model if grain.mask is None else (frame - model) * grain.mask
    local = grain.waves.only(np.arange(min(N_LOCAL, len(grain.waves.indices))))
    sums = crystal_waves.node_sums(crystal_waves.row_sums(rest, local), local)
    areas = crystal_waves.node_areas(grain.mask, local)
    crystalline = ~local.is_background
    lengths = tuple(max(sd, least_sd) * spacing for sd in CRYSTAL_SD)
    even = crystal_waves.even_scale(
        sums[:, :, np.flatnonzero(crystalline)[:N_ASKED]], areas, local, lengths
    )
    plain = crystal_waves.even_scale(
        sums[:, :, ~crystalline], areas, local, tuple(sd * spacing for sd in BACKGROUND_SD)
    )
    sd_px = np.where(crystalline, even, plain)
    change = crystal_waves.smooth_amplitudes(sums, local, sd_px=sd_px, areas=areas)
    return model + crystal_waves.draw_local(change, local, frame)


def is_broken(found: Crystal) -> bool:
    """Tell whether the crystal is so much weaker somewhere that it may be absent there."""
    return found.evenness < BROKEN and found.lattice.quality > MIN_QUALITY


def find_grains(frame: Array, found: Crystal) -> Division:
    """Divide a frame into grains.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    found
        The lattice that most of the frame has.
    """
    spacing = found.lattice.spacing_px
    around = AROUND * spacing
    flat = _scatter(frame, around)
    mean = crystal_waves.mean_amplitudes(found.lines, found.waves)
    main = Grain(found.lattice, found.waves, mean, None)
    main = _straightened(
        frame, replace(main, mask=_claim([_misfit(frame, main, around)], flat, spacing)[0])
    )
    slow = main.waves.rows
    jitter, hidden = _row_jitter(frame, main)
    main = _fitted(frame, replace(main, waves=main.waves.shaken(jitter)))
    grains = [main]
    misfits = [_misfit(frame, main, around)]
    masks = _claim(misfits, flat, spacing)
    while len(grains) < MAX_GRAINS:
        more = _another(frame, grains, masks, flat)
        if more is None:
            break
        misfit = _misfit(frame, more, around)
        claims = _claim([*misfits, misfit], flat, spacing)
        if float(to_host(namespace(frame).sum(claims[-1]))) < MIN_CELLS * 0.866 * spacing**2:
            break
        grains, misfits, masks = [*grains, more], [*misfits, misfit], claims
    masks[0] = masks[0] + _bent(frame, main, masks, flat)
    grains = [
        _fitted(frame, replace(grain, mask=mask)) for grain, mask in zip(grains, masks, strict=True)
    ]
    grains = [replace(g, lattice=_lattice_of(g, slow)) for g in grains]
    sizes = [float(to_host(namespace(frame).sum(mask))) for mask in masks]
    order = np.argsort(-np.array(sizes), kind="stable")
    return Division([grains[i] for i in order], jitter, hidden, _areas(frame, grains, masks, flat))


def _straightened(frame: Array, grain: Grain) -> Grain:
    """Follow the scan through the pixels of a grain alone, and fit its mean amplitudes."""
    few = grain.waves.only(np.flatnonzero(~grain.waves.is_background)[:N_PHASES])
    sums = crystal_waves.node_sums(crystal_waves.row_sums(frame * grain.mask, few), few)
    straight, _ = distortion.straighten(sums, few)
    waves = replace(grain.waves, basis=straight.basis, rows=straight.rows, columns=straight.columns)
    return _fitted(frame, replace(grain, waves=waves))


def _lattice_of(grain: Grain, rows: np.ndarray) -> Lattice:
    """Return the lattice of a grain, its scan the slow one of `rows` (height, 2): sites do not
    jitter."""
    steady = replace(grain.waves, rows=rows)
    return cell.lattice_of(grain.mean, steady, quality=grain.lattice.quality)


def _scatter(values: Array, sd_px: float) -> Array:
    """Return the (y, x) variance of `values` in a Gaussian neighbourhood of every pixel."""
    xp = namespace(values)
    variance = gaussian(values**2, sd_px) - gaussian(values, sd_px) ** 2
    return xp.maximum(variance, 0 * variance + 1e-12 * xp.max(variance))


def _misfit(frame: Array, grain: Grain, sd_px: float, *, least_sd: float = STIFF_SD) -> Array:
    return _scatter(frame - draw_grain(frame, grain, least_sd=least_sd), sd_px)


def _bent(frame: Array, main: Grain, masks: list[Array], flat: Array) -> Array:
    """Return where (y, x) the main crystal, were it soft, would fit what no grain has claimed: it
    is strained there, not gone.

    The rim of a hole could be fitted in that way, too; so only areas that are no rims count.
    """
    from scipy import ndimage

    xp = namespace(frame)
    spacing = main.lattice.spacing_px
    free = to_host(sum(masks)) == 0
    if not free.any():
        return 0 * flat
    wider = replace(main, mask=masks[0] + xp.asarray(free, dtype=frame.dtype))
    share = to_host(_misfit(frame, wider, AROUND * spacing, least_sd=0.0) / flat)
    fits_well = float(np.percentile(share[::4, ::4], 30))
    fits = ndimage.binary_opening(
        free & (share < (1 + min(fits_well, 1.0)) / 2), iterations=max(1, round(0.3 * spacing))
    )
    labels, _ = ndimage.label(fits)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return xp.asarray(sizes[labels] >= HOLE_CELLS * 0.866 * spacing**2, dtype=frame.dtype)


def _claim(misfits: list[Array], flat: Array, spacing_px: float) -> list[Array]:
    """Give each pixel to the grain that fits it best, or to none: masks (y, x) of 0 and 1, one per
    grain.

    A grain must leave less than half-way between what it leaves where it fits well and what no
    crystal at all leaves. A gap of a few cells is a defect, not a hole, and stays with the grain
    around it.
    """
    xp = namespace(flat)
    least_px = HOLE_CELLS * 0.866 * spacing_px**2
    shares = [misfit / flat for misfit in misfits]
    best = shares[0]
    for share in shares[1:]:
        best = xp.minimum(best, share)
    fits_well = float(np.percentile(to_host(best)[::4, ::4], 30))
    allowed = (1 + min(fits_well, 1.0)) / 2
    masks, taken = [], xp.zeros_like(flat)
    smallest = xp.asarray(_small_gaps(to_host(best) >= allowed, least_px), dtype=flat.dtype)
    allowed = allowed + 1e9 * smallest
    for share in shares:
        mask = xp.astype((share <= best) & (share < allowed), flat.dtype) * (1 - taken)
        masks.append(mask)
        taken = taken + mask
    return masks


def _small_gaps(gap: np.ndarray, least_px: float) -> np.ndarray:
    """Return where (y, x) `gap` is in one piece of fewer than `least_px` pixels."""
    from scipy import ndimage

    labels, _ = ndimage.label(gap)
    sizes = np.bincount(labels.ravel())
    return np.asarray(gap & (sizes[labels] < least_px))


def _fitted(frame: Array, grain: Grain, *, n_rounds: int = 3) -> Grain:
    """Fit the mean amplitudes of a grain to the pixels of its mask."""
    xp = namespace(frame)
    share = float(to_host(xp.mean(grain.mask)))
    if share == 0:
        return grain
    mean = grain.mean
    for _ in range(n_rounds):
        model = crystal_waves.draw_mean(mean, grain.waves, frame)
        lines = crystal_waves.line_sums((frame - model) * grain.mask, grain.waves)
        mean = mean + crystal_waves.mean_amplitudes(lines, grain.waves) / share
    return replace(grain, mean=mean)


def _row_jitter(frame: Array, grain: Grain) -> tuple[np.ndarray, np.ndarray]:
    model, *slopes = crystal_waves.draw_mean_and_slopes(grain.mean, grain.waves, frame)
    rest = (frame - model) * grain.mask
    weight = grain.mask / variance_of(rest, model)
    limit = distortion.JITTER * grain.lattice.spacing_px
    window = grain.waves.windows[0]
    return distortion.row_displacements(
        clipped(rest), slopes, weight, window=window, limit_px=limit
    )


def _another(frame: Array, grains: list[Grain], masks: list[Array], flat: Array) -> Grain | None:
    """Look for a lattice in the largest area that has contrast but no grain."""
    from scipy import ndimage

    xp = namespace(frame)
    spacing = grains[0].lattice.spacing_px
    taken = to_host(sum(masks)) > 0
    scatter = to_host(flat)
    free = (
        ~taken & (scatter > CONTRAST * np.median(scatter[taken]))
        if taken.any()
        else np.zeros(taken.shape, bool)
    )
    labels, n = ndimage.label(ndimage.binary_opening(free, iterations=max(1, round(0.3 * spacing))))
    if n == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    largest = int(np.argmax(sizes)) + 1
    if sizes[largest - 1] < MIN_CELLS * 0.866 * spacing**2:
        return None
    region = labels == largest
    rows, columns = ndimage.find_objects(region.astype(np.int8))[0]
    if min(rows.stop - rows.start, columns.stop - columns.start) < MIN_EDGE_PX:
        return None
    mask = xp.asarray(region, dtype=frame.dtype)
    window = gaussian(mask, 0.5 * spacing)
    level = xp.sum(frame * mask) / xp.sum(mask)
    cut = ((frame - level) * window)[rows, columns]
    found = find_crystal(cut - xp.mean(cut), is_piece=True)
    if found is None:
        return None
    main = grains[0].waves
    waves = crystal_waves.waves_of(found.waves.basis, main.shape)
    waves = replace(waves, rows=main.rows, columns=main.columns)
    grain = Grain(found.lattice, waves, np.zeros(len(waves.indices), dtype=complex), mask)
    return _fitted(frame, grain)


def _areas(
    frame: Array, grains: list[Grain], masks: list[Array], flat: Array
) -> tuple[float, float, float]:
    """Return the shares of the frame that are ordered, disordered and vacuum."""
    xp = namespace(frame)
    inside = sum(masks)
    ordered = float(to_host(xp.mean(inside)))
    model = crystal_waves.draw_mean(grains[0].mean, grains[0].waves, frame)
    noise = variance_of((frame - model) * masks[0], model)
    rough = float(
        to_host(xp.mean((1 - inside) * xp.astype(flat > 2 * gaussian(noise, 8.0), frame.dtype)))
    )
    return ordered, rough, max(0.0, 1.0 - ordered - rough)
