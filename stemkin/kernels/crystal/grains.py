"""A grain: one piece of crystal in a frame, fitted to its own pixels and drawn.

Its mean amplitudes are those of the pixels of its mask; what differs from place to place (strain,
thickness, contamination) is averaged over the longest window that it allows. `division` says which
pixels belong to which grain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal import cell, distortion
from stemkin.kernels.crystal.amplitudes import (
    even_scale,
    line_sums,
    mean_amplitudes,
    node_areas,
    smooth_amplitudes,
    windowed_sums,
)
from stemkin.kernels.crystal.cell import MeanCell
from stemkin.kernels.crystal.drawing import draw_local, draw_mean, draw_mean_and_slopes
from stemkin.kernels.crystal.jitter import row_displacements, row_equations
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.lattice_search import N_PHASES, levelled
from stemkin.kernels.crystal.waves import Waves

CRYSTAL_SD = (1.4, 2.0, 3.0, 4.5, 7.0)
"""Over the lattice constant: windows in which the crystal is averaged, the longest that it
allows."""

BACKGROUND_SD = (1.5, 2.5, 4.0)
"""The same for the background, which need not be even where the crystal is. A short window takes a
part of each defect with it."""

N_LOCAL = 7
"""How many waves, the background among them, may differ from place to place; further ones are too
weak to matter."""

N_ASKED = 6
"""How many of them are asked over which length they are even."""

N_ROUNDS = 3
"""Rounds in which mean amplitudes are fitted to a mask."""


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
    cell
        The cell that the movie's frames share, if it is known and the grain's own.
    """

    lattice: Lattice
    waves: Waves
    mean: np.ndarray
    mask: Array | None
    cell: MeanCell | None = None

    def within(self, values: Array) -> Array:
        """Return `values` (y, x) in the pixels of the grain, 0 elsewhere."""
        return values if self.mask is None else values * self.mask


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
    The model (y, x), in the frame's units.
    """
    model = draw_mean(grain.mean, grain.waves, frame)
    rest = grain.within(frame - model)
    local = grain.waves.only(np.arange(min(N_LOCAL, len(grain.waves.indices))))
    sums, areas = windowed_sums(rest, local), node_areas(grain.mask, local)
    sd_px = _window_sds(sums, areas, local, grain.lattice.spacing_px, least_sd)
    change = smooth_amplitudes(sums, local, sd_px=sd_px, areas=areas)
    return model + draw_local(change, local, frame)


def _window_sds(
    sums: np.ndarray, areas: np.ndarray, waves: Waves, spacing_px: float, least_sd: float
) -> np.ndarray:
    """Return the (K,) standard deviations [px] of the windows in which waves are averaged."""
    crystalline = ~waves.is_background
    asked = np.flatnonzero(crystalline)[:N_ASKED]
    lengths = tuple(max(sd, least_sd) * spacing_px for sd in CRYSTAL_SD)
    even = even_scale(sums[:, :, asked], areas, waves, lengths)
    plain_lengths = tuple(sd * spacing_px for sd in BACKGROUND_SD)
    plain = even_scale(sums[:, :, ~crystalline], areas, waves, plain_lengths)
    return np.where(crystalline, even, plain)


def straightened(frame: Array, grain: Grain) -> Grain:
    """Follow the scan through the pixels of a grain alone, and fit its mean amplitudes.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    grain
        The grain, with a mask.

    Returns
    -------
    The grain with corrected waves and amplitudes.
    """
    few = grain.waves.shortest(N_PHASES)
    straight = distortion.straighten(windowed_sums(grain.within(frame), few), few)
    return fitted(frame, replace(grain, waves=grain.waves.along(straight.waves)))


def fitted(frame: Array, grain: Grain) -> Grain:
    """Fit the mean amplitudes of a grain to the pixels of its mask.

    Each round adds the amplitudes of what the model leaves, over the share of the frame that the
    mask covers (Landweber's iteration): waves that are orthogonal in the frame are not so in a part
    of it.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    grain
        The grain, with a mask.

    Returns
    -------
    The grain with these amplitudes; as it was where its mask is empty.
    """
    share = float(to_host(namespace(frame).mean(grain.mask)))
    if share == 0:
        return grain
    mean = grain.mean
    for _ in range(N_ROUNDS):
        rest = grain.within(frame - draw_mean(mean, grain.waves, frame))
        mean = mean + mean_amplitudes(line_sums(rest, grain.waves), grain.waves) / share
    return replace(grain, mean=mean)


def row_jitter(frame: Array, grain: Grain) -> tuple[np.ndarray, np.ndarray]:
    """Measure how far single rows are displaced beyond what the waves of a grain know.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    grain
        The grain.

    Returns
    -------
    (height, 2) displacements and (2,) what the slow distortion hides of them [px]: see
    `jitter.row_displacements`.
    """
    model, *slopes = draw_mean_and_slopes(grain.mean, grain.waves, frame)
    normal, right = row_equations(frame, model, slopes, grain.mask)
    return row_displacements(
        normal,
        right,
        window=grain.waves.windows[0],
        limit_px=distortion.JITTER * grain.lattice.spacing_px,
    )


def steady_lattice(frame: Array, grain: Grain, rows: np.ndarray) -> Lattice:
    """Return the lattice of a grain without the jitter of its rows: sites do not jitter.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    grain
        The grain.
    rows
        (height, 2) slow displacements (y, x) of the rows [px].

    Returns
    -------
    The lattice, its `scan` the slow one.
    """
    steady = replace(grain.waves, rows=rows)
    quality = grain.lattice.quality
    if grain.cell is None:
        return cell.lattice_of(grain.mean, steady, quality=quality)
    seen = mean_amplitudes(line_sums(grain.within(levelled(frame)), steady), steady)
    return cell.displaced_lattice(grain.cell, seen, steady, quality=quality)
