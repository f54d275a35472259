"""The spectrum of a frame: where it has sharp peaks, and which two vectors explain them all.

A crystal of any orientation and sampling shows as a net of sharp spectral peaks. The frame is
windowed, its power is divided by the noise floor around each frequency, peaks far above what noise
gives are listed, and the pair of peaks is taken whose whole-numbered combinations explain most of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels.crystal.peaks import vertex
from stemkin.kernels.images.transforms import spectrum_of_image

MIN_CELLS = 4
"""A frame narrower than this many lattice planes has no spectrum to speak of."""

MIN_PERIOD_PX = 3.0
"""Planes closer than this are beyond what a probe shows; video codecs leave sharp peaks there."""

PEAK_POWER = 20.0
"""Power over the noise floor that makes a spectral peak: noise alone exceeds it in 1 of 5e8
frequencies."""

GROWTH = 0.25
"""By this share of a bin peaks may lie further from a net for each order."""

SIDE_LOBE = 1e-4
"""Peaks this much weaker than the strongest may be side lobes of the window."""


def spectral_peaks(frame: Array, *, n_max: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Find the sharp peaks in the spectrum of a frame.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    n_max
        At most this many peaks, the strongest first.

    Returns
    -------
    frequencies
        (m, 2) peaks (y, x) [cycles per px], one of each pair +g and -g.
    power
        (m,) power over the local noise floor, decreasing.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    return peaks_of(spectrum_of([frame]), shape, least=PEAK_POWER, n_max=n_max)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The mean power spectrum of frames of one shape.

    Attributes
    ----------
    over
        (y, x // 2 + 1) power over the noise floor around each frequency: noise has the mean 1 and,
        in one frame, an exponential distribution.
    power
        (y, x // 2 + 1) power over that of the noise of the whole frame. It has no steps where one
        floor ends and the next begins, so peaks keep their places.
    """

    over: np.ndarray
    power: np.ndarray


def spectrum_of(frames: Sequence[Array]) -> Spectrum:
    """Measure the mean spectrum of frames, each over its own noise.

    Parameters
    ----------
    frames
        (y, x) floating-point intensities of one shape, any library; at least one.

    Returns
    -------
    The spectrum, on the host.
    """
    over, power = _over_floor(frames[0])
    for frame in frames[1:]:
        more_over, more_power = _over_floor(frame)
        over, power = over + more_over, power + more_power
    return Spectrum(over / len(frames), power / len(frames))


def _over_floor(frame: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return what `Spectrum` holds, of one frame."""
    xp = namespace(frame)
    height, width = (int(n) for n in frame.shape)
    window_y, window_x = (xp.asarray(_hanning(n), dtype=frame.dtype) for n in (height, width))
    windowed = (frame - xp.mean(frame)) * window_y[:, None] * window_x[None, :]
    spectrum = spectrum_of_image(windowed)
    power = to_host(xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2)
    # the mean logarithm of exponentially distributed power is that of its mean less Euler's gamma,
    # and peaks hardly raise it
    rings = _rings(height, width)
    logs = np.log(power.ravel()[rings.sample] + 1e-30)
    floor = np.bincount(rings.of_sample, weights=logs, minlength=len(rings.counts)) / rings.counts
    scale = np.exp(-floor - np.euler_gamma).astype(power.dtype)
    return power * scale[rings.of_all].reshape(power.shape), power * np.median(scale)


def peaks_of(
    spectrum: Spectrum, shape: tuple[int, int], *, least: float, n_max: int = 24
) -> tuple[np.ndarray, np.ndarray]:
    """List the sharp peaks of a power spectrum.

    Parameters
    ----------
    spectrum
        Of one frame, or the mean of many.
    shape
        (height, width) of the frames [px].
    least
        Power over the floor that makes a peak.
    n_max
        At most this many peaks, the strongest first.

    Returns
    -------
    As of `spectral_peaks`.
    """
    height, width = shape
    over, inside = spectrum.over, _rings(height, width).inside
    values = over.ravel()[inside]
    high = np.flatnonzero(values > max(least, SIDE_LOBE * float(values.max(initial=0.0))))
    values, at = values[high], inside[high]
    order = np.argsort(-values, kind="stable")[:600]
    values = values[order]
    rows, columns = np.divmod(at[order], over.shape[1])
    kept = _suppress(rows, columns, height, n_max)
    rows, columns = rows[kept], columns[kept]
    found = _refined(spectrum.power, rows, columns) / (height, width)
    # rows above height / 2 are negative frequencies
    return found - np.round(found), values[kept]


def explain_peaks(
    frequencies: np.ndarray, power: np.ndarray, *, tolerance: float
) -> tuple[np.ndarray, float] | None:
    """Find the two vectors whose whole-numbered combinations explain most of the peaks.

    Parameters
    ----------
    frequencies, power
        (m, 2) [cycles per px] and (m,) over the noise floor, as `spectral_peaks` gives them.
    tolerance
        How far a peak may lie from a combination [cycles per px].

    Returns
    -------
    The reduced (2, 2) basis (rows are reciprocal vectors, y, x) and the share of the peaks'
    amplitude that it explains; None where there are no two peaks in different directions.
    """
    strong = frequencies[:14]
    first, second = np.triu_indices(len(strong), k=1)
    bases = np.stack([strong[first], strong[second]], axis=1)
    bases = bases[np.abs(np.linalg.det(bases)) > 0.4 * np.linalg.norm(bases, axis=2).prod(axis=1)]
    if not len(bases):
        return None
    weights = np.sqrt(power) / np.sqrt(power).sum()
    indices = frequencies @ np.linalg.inv(bases)
    nearest = np.round(indices)
    miss = np.linalg.norm((indices - nearest) @ bases, axis=2)
    order = np.abs(nearest).max(axis=2)
    # an error of the two grows with the order, but strong peaks are known to a fraction of a bin
    reach = tolerance * (1 + GROWTH * np.maximum(order - 1, 0))
    explained = ((miss < reach) & (order <= 5)) @ weights
    # a net of half the size explains the same peaks: of those about as good the largest cell is it
    area = np.abs(np.linalg.det(bases))
    good = np.flatnonzero(explained >= 0.93 * explained.max())
    best = good[np.argmax(area[good])]
    return reduce_basis(bases[best]), float(explained[best])


def reduce_basis(basis: np.ndarray) -> np.ndarray:
    """Reduce a basis to the two shortest vectors that span the same net (Lagrange and Gauss).

    Parameters
    ----------
    basis
        (2, 2) vectors as rows, in any unit.

    Returns
    -------
    (2, 2) vectors as rows, the shorter first.
    """
    short, long = sorted(np.asarray(basis, dtype=float), key=lambda g: float(g @ g))
    while True:
        long = long - np.round((long @ short) / (short @ short)) * short
        if long @ long >= short @ short * (1 - 1e-9):
            return np.stack([short, long])
        short, long = long, short


@lru_cache(maxsize=16)
def _hanning(n: int) -> np.ndarray:
    return np.hanning(n + 2)[1:-1]


@dataclass(frozen=True, eq=False)
class _Rings:
    """Rings of frequencies of equal length, which depend on the shape of a spectrum alone.

    Attributes
    ----------
    inside
        Flat indices of the frequencies that may hold a lattice.
    of_all
        The ring number of every frequency.
    sample, of_sample
        Every third frequency, enough to tell the noise floor, and the ring number of each.
    counts
        How many of the sample each ring has.
    """

    inside: np.ndarray
    of_all: np.ndarray
    sample: np.ndarray
    of_sample: np.ndarray
    counts: np.ndarray


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> _Rings:
    gy, gx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    radius = np.hypot(gy, gx)
    # gx = 0 holds each frequency twice, as +gy and -gy: one of them is left out
    inside = (radius >= MIN_CELLS / min(height, width)) & (radius <= 1 / MIN_PERIOD_PX)
    inside &= ~((gx == 0) & (gy < 0))
    ring = np.minimum((radius * 96).astype(np.int64), 64).ravel()
    sample, flat = np.arange(0, ring.size, 3), np.flatnonzero(inside)
    counts = np.maximum(np.bincount(ring[sample], minlength=65), 1)
    return _Rings(flat, ring, sample, ring[sample], counts)


def _suppress(rows: np.ndarray, columns: np.ndarray, height: int, n_max: int) -> np.ndarray:
    """Return the indices of the entries (strongest first) 4 bins or more from all stronger ones."""
    kept: list[int] = []
    left = np.arange(len(rows))
    while len(left) and len(kept) < n_max:
        first = left[0]
        kept.append(int(first))
        # rows go round at `height`; near column 0 an entry is also close to the mirrored one, whose
        # row is `height` less its own
        dy, sum_y = np.abs(rows[left] - rows[first]), rows[left] + rows[first]
        clash = (np.minimum(dy, height - dy) < 4) & (np.abs(columns[left] - columns[first]) < 4)
        mirrored = (np.abs(sum_y - height) < 4) | (sum_y < 4)
        clash |= mirrored & (columns[left] + columns[first] < 4)
        left = left[~clash]
    return np.array(kept, dtype=np.int64)


def _refined(power: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the (m, 2) vertices, in bins, of the parabolas through the logarithm of each peak."""
    height, width = power.shape
    steps = np.arange(-1, 2)
    down = power[(rows[:, None] + steps) % height, columns[:, None]]
    across = power[rows[:, None], np.minimum(np.abs(columns[:, None] + steps), width - 1)]
    moves = [vertex(np.log(values + 1e-30)) for values in (down, across)]
    return np.asarray(np.stack([rows, columns], axis=1) + np.stack(moves, axis=1))
