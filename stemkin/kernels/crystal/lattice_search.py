"""The lattice of a frame, found in the frame's own spectrum and followed through its scan
distortion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.crystal import cell, distortion, fourier
from stemkin.kernels.crystal import waves as crystal_waves
from stemkin.kernels.crystal.lattice import Lattice

MIN_COHERENCE = 0.6
"""Share of the first reflections' amplitude that must add up over the frame; chance peaks reach
about 0.3."""

MIN_EDGE_PX = 32
"""Smaller frames, or pieces of them, hold too few cells to tell a lattice."""

SURE_EDGE_PX = 64
"""In frames smaller than this noise looks like some lattice about as often as not."""

SURE_CELLS = 6
"""So many lattice constants must fit into a frame, for the same reason."""

MIN_EXPLAINED = 0.45
"""Share of the spectral peaks' amplitude that one lattice must explain."""

LARGE_PX = 256
"""Frames of this edge or more are searched at half their resolution."""

COARSE_PX = 6.0
"""Planes at least so far apart are well seen at half the resolution."""

N_PHASES = 6
"""How many of the shortest reflections tell the distortion of the scan."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """The crystal of a frame as far as the whole frame tells it.

    Attributes
    ----------
    lattice
        Vectors and origins.
    waves
        Its plane waves, with what the scan did to them.
    lines
        (height, K) complex `crystal.line_sums` of the frame.
    evenness
        Strength of the first reflections in the poorest neighbourhood of the frame, over that in a
        good one.
    """

    lattice: Lattice
    waves: crystal_waves.Waves
    lines: np.ndarray
    evenness: float = 1.0


def find_crystal(frame: Array, *, is_piece: bool = False) -> Crystal | None:
    """Find the lattice of one frame in its own spectrum; None where there is none.

    A large frame is searched at half its resolution first, which is four times less work and shows
    any lattice whose planes are `COARSE_PX` or more apart as well.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    is_piece
        Whether this is cut out of a frame that is known to be a crystal: then fewer cells are
        enough.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    if min(shape) < (MIN_EDGE_PX if is_piece else SURE_EDGE_PX):
        return None
    followed = _follow(halved(frame)) if min(shape) >= LARGE_PX else None
    if followed is not None and np.abs(followed.waves.basis).max() * COARSE_PX < 2:
        waves = _doubled(followed.waves, shape)
    else:
        followed = _follow(frame)
        if followed is None:
            return None
        waves = followed.waves
    lines = crystal_waves.line_sums(frame, waves)
    mean = crystal_waves.decoupled(crystal_waves.mean_amplitudes(lines, waves), waves)
    lattice = cell.lattice_of(mean, waves, quality=followed.quality)
    if not is_piece and min(shape) < SURE_CELLS * lattice.spacing_px:
        return None
    return Crystal(lattice, waves, lines, followed.evenness)


def halved(frame: Array) -> Array:
    """Return `frame` (y, x) at half its resolution: means of 2 x 2 pixels, an odd last row or
    column left out."""
    height, width = (2 * (int(n) // 2) for n in frame.shape)
    rows = frame[0:height:2, :width] + frame[1:height:2, :width]
    return (rows[:, 0::2] + rows[:, 1::2]) * 0.25


@dataclass(frozen=True, eq=False)
class _Followed:
    waves: crystal_waves.Waves
    quality: float
    evenness: float


def _follow(frame: Array) -> _Followed | None:
    """Find the waves of a frame and follow them through the distortion of its scan; None without a
    lattice."""
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    frequencies, power = fourier.spectral_peaks(frame)
    found = fourier.explain_peaks(frequencies, power, tolerance=1.0 / min(shape))
    if found is None or found[1] < MIN_EXPLAINED:
        return None
    waves = crystal_waves.waves_of(found[0], shape)
    few = waves.only(np.flatnonzero(~waves.is_background)[:N_PHASES])
    sums = crystal_waves.node_sums(crystal_waves.row_sums(frame, few), few)
    straight, coherence = distortion.straighten(sums, few)
    if coherence < MIN_COHERENCE or np.linalg.norm(
        straight.basis - found[0]
    ) > 0.2 * np.linalg.norm(found[0]):
        return None
    quality = coherence * np.sqrt(min(_power_at(g, frequencies, power) for g in found[0]))
    waves = replace(waves, basis=straight.basis, rows=straight.rows, columns=straight.columns)
    return _Followed(waves, float(quality), _evenness(sums, few))


def _doubled(waves: crystal_waves.Waves, shape: tuple[int, int]) -> crystal_waves.Waves:
    """Return the waves of a frame of `shape` from those of the frame at half its resolution."""
    moved = []
    for n, known in zip(shape, (waves.rows, waves.columns), strict=True):
        place = (np.arange(n) - 0.5) / 2  # pixels 2 i and 2 i + 1 became pixel i
        moved.append(
            2 * np.stack([np.interp(place, np.arange(len(known)), u) for u in known.T], axis=1)
        )
    return replace(crystal_waves.waves_of(waves.basis / 2, shape), rows=moved[0], columns=moved[1])


def _power_at(g: np.ndarray, frequencies: np.ndarray, power: np.ndarray) -> float:
    """Return the power of the peak closest to `g` or -g."""
    distance = np.minimum(
        np.linalg.norm(frequencies - g, axis=1), np.linalg.norm(frequencies + g, axis=1)
    )
    return float(power[np.argmin(distance)])


def _evenness(sums: np.ndarray, waves: crystal_waves.Waves) -> float:
    """Return the smallest over a good strength of the reflections among the nodes that lie within
    the frame."""
    area = np.outer(*(window.sum(axis=1) for window in waves.windows))
    strength = np.abs(sums).sum(axis=2)[area > 0.95 * area.max()]
    return float(strength.min() / max(np.percentile(strength, 80), 1e-30)) if strength.size else 1.0
