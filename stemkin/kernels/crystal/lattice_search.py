"""The lattice of a frame, found in its own spectrum and followed through its scan distortion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.common.medians import quantile
from stemkin.kernels.crystal import cell, distortion, fourier
from stemkin.kernels.crystal.amplitudes import (
    decoupled,
    line_sums,
    mean_amplitudes,
    windowed_sums,
)
from stemkin.kernels.crystal.cell import MeanCell
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.crystal.superlattice import finer, is_supported
from stemkin.kernels.crystal.waves import Waves, waves_of
from stemkin.kernels.images.coarse import square_means

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

BEYOND = 0.25
"""Over the range of nearly all pixels: what lies further beyond it is no part of the crystal."""

EVIDENCE = 6.0
"""Mean power of the reflections over noise from which a frame shows the movie's crystal."""

MAX_CHANGE_OF_KNOWN = 0.04
"""The lattice of a frame differs from that of its movie by no larger share."""

MAX_CHANGE = 0.2
"""A lattice that the distortion changes by a larger share than this was none."""


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
        (height, K) complex `amplitudes.line_sums` of the frame.
    evenness
        Strength of the first reflections in the poorest neighbourhood of the frame, over that in a
        good one.
    cell
        The cell that the movie's frames share; None where the frame was looked at alone.
    """

    lattice: Lattice
    waves: Waves
    lines: np.ndarray
    evenness: float = 1.0
    cell: MeanCell | None = None


def find_crystal(
    frame: Array, *, reference: Reference | None = None, is_piece: bool = False
) -> Crystal | None:
    """Find the lattice of one frame; None where there is none.

    A large frame is searched at half its resolution first, which is four times less work and shows
    any lattice whose planes are `COARSE_PX` or more apart as well.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    reference
        The crystal that the movie's frames share; without it the frame's own spectrum is searched.
    is_piece
        Whether this is cut out of a frame that is known to be a crystal: then fewer cells are
        enough.

    Returns
    -------
    The crystal, or None.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    if reference is not None:
        sought = look_for(frame, reference)
        return crystal_by_reference(frame, sought, reference) if sought.is_there else None
    least_px, least_cells = (MIN_EDGE_PX, 0) if is_piece else (SURE_EDGE_PX, SURE_CELLS)
    if min(shape) < least_px:
        return None
    followed = _followed_at_any_resolution(levelled(frame), shape)
    if followed is None:
        return None
    waves = followed.waves
    lines = line_sums(frame, waves)
    mean = decoupled(mean_amplitudes(lines, waves), waves)
    lattice = cell.lattice_of(mean, waves, quality=followed.quality)
    if min(shape) < least_cells * lattice.spacing_px:
        return None
    return Crystal(lattice, waves, lines, followed.evenness)


@dataclass(frozen=True, eq=False)
class Sought:
    """What a frame shows where the crystal of its movie is looked for.

    Attributes
    ----------
    straight
        The movie's strongest reflections, straightened, perhaps at half the resolution.
    waves
        All waves of the frame, straightened, at its own resolution.
    change
        By what share the lattice differs from the movie's.
    evenness
        As of `Crystal`.
    bounds
        As `bounds_of` gives them.
    """

    straight: distortion.Straightened
    waves: Waves
    change: float
    evenness: float
    bounds: tuple[float, float] | None

    @property
    def is_seen(self) -> bool:
        """Whether there is a crystal of about that kind."""
        return bool(self.straight.power.sum() >= EVIDENCE * len(self.straight.power))

    @property
    def is_there(self) -> bool:
        """Whether it is the movie's crystal."""
        return self.is_seen and self.change <= MAX_CHANGE_OF_KNOWN

    @property
    def pattern(self) -> np.ndarray:
        """(K,) amplitudes of the strongest reflections over the sum of them all."""
        amplitude = np.abs(self.straight.sums.mean(axis=(0, 1)))
        return np.asarray(amplitude / max(float(amplitude.sum()), 1e-30))


def look_for(frame: Array, reference: Reference) -> Sought:
    """Look for the crystal of a movie in one of its frames.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    reference
        The crystal that the movie's frames share.

    Returns
    -------
    What is there.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    strong = np.abs(reference.strong @ reference.basis).max()
    is_coarse = min(shape) >= LARGE_PX and strong * COARSE_PX / 2 < 1
    bounds, basis = bounds_of(frame), reference.basis
    image = within_bounds(frame, bounds)
    if is_coarse:
        image, basis = halved(image), basis * 2
    waves = waves_of(basis, (int(image.shape[0]), int(image.shape[1])))
    few = waves.numbered(reference.strong)
    sums = windowed_sums(image, few)
    straight = distortion.straighten(sums, few, max_change=MAX_CHANGE_OF_KNOWN)
    change = np.linalg.norm(straight.waves.basis - basis) / np.linalg.norm(basis)
    waves = waves.along(straight.waves)
    if is_coarse:
        waves = _doubled(waves, shape)
    return Sought(straight, waves, float(change), _evenness(sums, few), bounds)


def crystal_by_reference(frame: Array, sought: Sought, reference: Reference) -> Crystal:
    """Return the crystal of a frame that shows that of its movie.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    sought, reference
        What `look_for` found, and the movie's crystal.

    Returns
    -------
    The crystal, its columns where the frame shows them.
    """
    waves, straight = sought.waves, sought.straight
    lines = line_sums(frame, waves)
    # where the crystal is must not depend on a bright atom that moves on it
    level = lines
    if isinstance(frame, np.ndarray) and sought.bounds is not None:
        level = lines.copy()
        _take_excess(frame, sought.bounds, *waves.column_waves, level)
    elif sought.bounds is not None:
        level = line_sums(within_bounds(frame, sought.bounds), waves)
    mean = decoupled(mean_amplitudes(level, waves), waves)
    quality = float(straight.coherence * np.sqrt(np.median(straight.power)))
    if reference.cell is None:
        lattice = cell.lattice_of(mean, waves, quality=quality)
    else:
        lattice = cell.displaced_lattice(reference.cell, mean, waves, quality=quality)
    return Crystal(lattice, waves, lines, sought.evenness, reference.cell)


def levelled(frame: Array) -> Array:
    """Cut off what is far brighter or darker than the crystal: one adatom outshines its reflections.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.

    Returns
    -------
    (y, x) intensities within `BEYOND` of the range that nearly all pixels share.
    """
    return within_bounds(frame, bounds_of(frame))


def bounds_of(frame: Array) -> tuple[float, float] | None:
    """Return the darkest and brightest that the crystal of a frame may be.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.

    Returns
    -------
    Both, `BEYOND` the range that nearly all pixels share; None where that is nothing.
    """
    step_y, step_x = (max(1, int(n) // 64) for n in frame.shape)
    some = to_host(frame[::step_y, ::step_x]).astype(float).ravel()
    low, high = quantile(some, 0.02), quantile(some, 0.98)
    margin = BEYOND * (high - low)
    if not margin > 0:
        return None
    return float(low - margin), float(high + margin)


def within_bounds(frame: Array, bounds: tuple[float, float] | None) -> Array:
    """Cut off what is beyond `bounds_of` a frame.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    bounds
        The darkest and brightest that stay; None for all.

    Returns
    -------
    (y, x) intensities.
    """
    xp = namespace(frame)
    if bounds is None:
        return frame
    return xp.clip(frame, *(xp.asarray(end, dtype=frame.dtype) for end in bounds))


@compiled
def _take_excess(
    frame: np.ndarray,
    bounds: tuple[float, float],
    cos: np.ndarray,
    sin: np.ndarray,
    lines: np.ndarray,
) -> None:
    """Take from the `amplitudes.line_sums` of a frame what is beyond bounds: a few pixels."""
    kind = frame.dtype.type
    low, high = kind(bounds[0]), kind(bounds[1])
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            value = frame[y, x]
            if value < low or value > high:
                excess = float(value - min(max(value, low), high))
                for k in range(lines.shape[1]):
                    lines[y, k] -= excess * complex(cos[x, k], -sin[x, k])


def halved(frame: Array) -> Array:
    """Bin 2 x 2 pixels of a frame to their mean; an odd last row or column is left out.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.

    Returns
    -------
    (y // 2, x // 2) means.
    """
    return square_means(frame, 2)


@dataclass(frozen=True, eq=False)
class _Followed:
    """Waves that were followed through the scan, with the `quality` and `evenness` of a crystal."""

    waves: Waves
    quality: float
    evenness: float


def _followed_at_any_resolution(frame: Array, shape: tuple[int, int]) -> _Followed | None:
    """Follow a frame of `shape` at half its resolution where that is enough, else at its own."""
    if min(shape) >= LARGE_PX:
        coarse = _follow(halved(frame))
        # the basis is in cycles per coarse pixel, which is two pixels of the frame
        if coarse is not None and np.abs(coarse.waves.basis).max() * COARSE_PX < 2:
            return replace(coarse, waves=_doubled(coarse.waves, shape))
    return _follow(frame)


def _follow(frame: Array) -> _Followed | None:
    """Find the waves of a frame and follow them through the distortion of its scan."""
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    spectrum = fourier.spectrum_of([frame])
    frequencies, power = fourier.peaks_of(spectrum, shape, least=fourier.PEAK_POWER)
    over = spectrum.over
    found = fourier.explain_peaks(frequencies, power, tolerance=1.0 / min(shape))
    if found is None or found[1] < MIN_EXPLAINED or not is_supported(found[0], over, shape):
        return None
    basis = finer(found[0], over, shape)
    waves = waves_of(basis, shape)
    few = waves.shortest(N_PHASES)
    sums = windowed_sums(frame, few)
    straight = distortion.straighten(sums, few)
    change = np.linalg.norm(straight.waves.basis - basis)
    if straight.coherence < MIN_COHERENCE or change > MAX_CHANGE * np.linalg.norm(basis):
        return None
    weakest = min(_power_at(g, frequencies, power) for g in found[0])
    quality = float(straight.coherence * np.sqrt(weakest))
    return _Followed(waves.along(straight.waves), quality, _evenness(sums, few))


def _doubled(waves: Waves, shape: tuple[int, int]) -> Waves:
    """Return the waves of a frame of `shape` from those of the frame at half its resolution."""
    moved = []
    for n, known in zip(shape, (waves.rows, waves.columns), strict=True):
        # pixels 2 i and 2 i + 1 became pixel i, whose centre lies between theirs
        place = (np.arange(n) - 0.5) / 2
        both = [np.interp(place, np.arange(len(known)), u) for u in known.T]
        moved.append(2 * np.stack(both, axis=1))
    return replace(waves_of(waves.basis / 2, shape), rows=moved[0], columns=moved[1])


def _power_at(g: np.ndarray, frequencies: np.ndarray, power: np.ndarray) -> float:
    """Return the power of the peak closest to `g` or -g."""
    plus, minus = (np.linalg.norm(frequencies - end, axis=1) for end in (g, -g))
    return float(power[np.argmin(np.minimum(plus, minus))])


def _evenness(sums: np.ndarray, waves: Waves) -> float:
    """Return the smallest over a good strength of the reflections among the nodes in the frame."""
    area = np.outer(*(window.sum(axis=1) for window in waves.windows))
    strength = np.abs(sums).sum(axis=2)[area > 0.95 * area.max()]
    if not strength.size:
        return 1.0
    return float(strength.min() / max(quantile(strength, 0.8), 1e-30))
