"""What is left of a frame when the perfect crystal is gone, in units of its own noise.

Shot noise grows with intensity, so the variance of a pixel is v = alpha + beta M, fitted to the frame itself. The
remainder over sqrt(v) has unit variance wherever the crystal is perfect, and a defect of known narrow shape is best seen by
the matched filter z = sum(t rest / v) / sqrt(sum(t^2 / v)), which again has unit variance (North 1943).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace
from stemkin.kernels import cell, crystal, distortion, fourier
from stemkin.kernels.lattice import Lattice

MIN_QUALITY = 5.0
"""Signal-to-noise of the weakest defining reflection below which a frame is said to have no lattice."""

CLIPPED_SQUARE = 0.99
"""Mean of min(z^2, 9) of a normal z."""

MIN_EDGE_PX = 32
"""Smaller frames hold too few cells to tell a lattice."""

MIN_EXPLAINED = 0.45
"""Share of the spectral peaks' amplitude that one lattice must explain."""

CRYSTAL_SD, BACKGROUND_SD = 3.0, 1.5
"""Standard deviations, over the lattice constant, of the windows in which the crystal and the background are averaged."""

N_PHASES = 6
"""How many of the shortest reflections tell the distortion of the scan."""

N_LOCAL = 10
"""How many waves, the background among them, may differ from place to place; further ones are too weak to matter."""

JITTER = 0.15
"""Largest displacement of a single row over the lattice constant."""

FILTER_SD = 0.15
"""Standard deviation of the matched filter over the lattice constant where the lattice does not tell that of the probe."""

FILTER_RANGE = (0.08, 0.2)
"""Smallest and largest standard deviation of the filter over the lattice constant: wider ones see the neighbours."""


@dataclass(frozen=True, eq=False)
class Remainder:
    """A frame without its crystal.

    Attributes
    ----------
    rest
        (y, x) remainder in the frame's own units.
    noise_units
        (y, x) remainder over its standard deviation.
    snr
        (y, x) matched-filter signal-to-noise, signed: dark defects are negative.
    filter_sd_px
        Width of the matched filter [px].
    lattice
        The crystal that was removed, or None where none was found and only a smooth background was.
    jitter
        (height, 2) displacement (y, x) of single rows [px]; zeros without a lattice.
    """

    rest: Array
    noise_units: Array
    snr: Array
    filter_sd_px: float
    lattice: Lattice | None
    jitter: np.ndarray


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
    """

    lattice: Lattice
    waves: crystal.Waves
    lines: np.ndarray


def find_crystal(frame: Array) -> Crystal | None:
    """Find the lattice of one frame in its own spectrum; None where there is none.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities of mean 0, any library.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    if min(shape) < MIN_EDGE_PX:
        return None
    frequencies, power = fourier.spectral_peaks(frame)
    found = fourier.explain_peaks(frequencies, power, tolerance=1.0 / min(shape))
    if found is None or found[1] < MIN_EXPLAINED:
        return None
    waves = crystal.waves_of(found[0], shape)
    few = waves.only(np.flatnonzero(~waves.is_background)[:N_PHASES])
    straight, coherence = distortion.straighten(crystal.node_sums(crystal.row_sums(frame, few), few), few)
    quality = float(np.sqrt(power[:3].min())) * coherence
    if quality < MIN_QUALITY or np.linalg.norm(straight.basis - found[0]) > 0.2 * np.linalg.norm(found[0]):
        return None
    waves = replace(waves, basis=straight.basis, rows=straight.rows, columns=straight.columns)
    lines = crystal.line_sums(frame, waves)
    return Crystal(cell.lattice_of(crystal.mean_amplitudes(lines, waves), waves, quality=quality), waves, lines)


def remove_crystal(frame: Array) -> Remainder | None:
    """Remove the perfect crystal, scan distortion and jitter included; None where the frame has no lattice.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    """
    xp = namespace(frame)
    frame = frame - xp.mean(frame)
    found = find_crystal(frame)
    if found is None:
        return None
    spacing = found.lattice.spacing_px
    jitter, waves = _row_jitter(frame, found)
    mean = crystal.mean_amplitudes(found.lines, waves)
    model, *slopes = crystal.draw_mean(mean, waves, frame)
    rest = frame - model
    local = waves.only(np.arange(min(N_LOCAL, len(waves.indices))))
    sums = crystal.node_sums(crystal.row_sums(rest, local), local)
    sd_px = np.where(local.is_background, BACKGROUND_SD, CRYSTAL_SD) * spacing
    change = crystal.draw_local(crystal.smooth_amplitudes(sums, local, sd_px=sd_px), local, frame)
    rest, model = rest - change, model + change
    more = distortion.row_displacements(clipped(rest), slopes, 1 / variance_of(rest, model), limit_px=JITTER * spacing)
    rest = rest + sum(xp.asarray(more[:, axis, None], dtype=frame.dtype) * slopes[axis] for axis in (0, 1))
    weight = 1 / variance_of(rest, model)
    sd = cell.probe_sd(mean, waves, is_honeycomb=found.lattice.is_honeycomb) or FILTER_SD * spacing
    sd = float(np.clip(sd, *np.array(FILTER_RANGE) * spacing))
    return Remainder(rest, rest * xp.sqrt(weight), matched_snr(rest, weight, sd), sd, found.lattice, jitter + more)


def _row_jitter(frame: Array, found: Crystal) -> tuple[np.ndarray, crystal.Waves]:
    """Return the displacement (height, 2) of single rows from the mean crystal, and the waves that know of it."""
    model, *slopes = crystal.draw_mean(crystal.mean_amplitudes(found.lines, found.waves), found.waves, frame)
    rest = frame - model
    weight = 1 / variance_of(rest, model)
    limit = JITTER * found.lattice.spacing_px
    jitter = distortion.row_displacements(clipped(rest), slopes, weight, limit_px=limit)
    return jitter, replace(found.waves, rows=found.waves.rows + jitter)


def remove_background(frame: Array, *, filter_sd_px: float) -> Remainder:
    """Remove a smooth background where there is no lattice; the noise is the local scatter.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    filter_sd_px
        Standard deviation of the features to be found [px].
    """
    xp = namespace(frame)
    frame = frame - xp.mean(frame)
    smooth = gaussian(frame, filter_sd_px)
    wide = min(8.0 * filter_sd_px, min(int(n) for n in frame.shape) / 6)
    band = smooth - gaussian(frame, wide)
    power = gaussian(xp.minimum(band**2, 9 * xp.mean(band**2)), 2 * wide)
    snr = band / xp.sqrt(power + 1e-6 * xp.mean(power) + 1e-30)
    rest = frame - gaussian(frame, wide)
    sd = xp.sqrt(gaussian(xp.minimum(rest**2, 9 * xp.mean(rest**2)), 2 * wide) + 1e-30)
    return Remainder(rest, rest / sd, snr, filter_sd_px, None, np.zeros((int(frame.shape[0]), 2)))


def without_jitter(y: np.ndarray, x: np.ndarray, jitter: np.ndarray, *, sd_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positions y, x (m,) [px] freed of the displacement (height, 2) of the rows that each was seen in.

    A feature of standard deviation `sd_px` is located by the rows around it, each with the weight of its intensity there.
    """
    rows = np.arange(len(jitter))
    weight = np.exp(-0.5 * ((y[:, None] - rows) / sd_px) ** 2)
    moved = (weight @ jitter) / np.maximum(weight.sum(axis=1, keepdims=True), 1e-30)
    return y - moved[:, 0], x - moved[:, 1]


def variance_of(rest: Array, model: Array) -> Array:
    """Return the (y, x) variance alpha + beta `model` that fits the squares of `rest`, defects clipped.

    The two numbers are fitted to every other pixel of every other row, which is plenty: three rounds of least squares with the
    weights 1 / variance^2 that the squares of Gaussian noise ask for.
    """
    xp = namespace(rest)
    some, squares = model[::2, ::2], rest[::2, ::2] ** 2
    middle = xp.mean(some)
    centred = some - middle
    variance = xp.mean(squares) + 0 * centred
    alpha, beta = xp.mean(squares), 0 * middle
    for _ in range(3):
        shares = xp.minimum(squares, 9 * variance) / variance / CLIPPED_SQUARE
        weight, slope = 1 / variance, centred / variance
        w1, wx, wxx = xp.sum(weight**2), xp.sum(weight * slope), xp.sum(slope**2)
        y1, yx = xp.sum(weight * shares), xp.sum(slope * shares)
        bottom = w1 * wxx - wx * wx + 1e-30
        alpha, beta = (y1 * wxx - yx * wx) / bottom, (w1 * yx - wx * y1) / bottom
        variance = xp.maximum(alpha + beta * centred, 0.05 * alpha + 1e-30)
    return xp.maximum(alpha - beta * middle + beta * model, 0.05 * alpha + 1e-30)


def clipped(rest: Array, *, n_sd: float = 3.0) -> Array:
    """Return `rest` with everything beyond `n_sd` standard deviations cut off, so that defects weigh little."""
    xp = namespace(rest)
    sd = xp.sqrt(xp.mean(rest[::2, ::2] ** 2))
    return xp.minimum(xp.maximum(rest, -n_sd * sd), n_sd * sd)


def matched_snr(rest: Array, weight: Array, sd_px: float) -> Array:
    """Return the signal-to-noise (y, x) of a Gaussian of `sd_px` at every pixel; `weight` is the inverse variance."""
    xp = namespace(rest)
    top = gaussian(rest * weight, sd_px, normalised=False)
    bottom = gaussian(weight, sd_px / np.sqrt(2), normalised=False)
    return top / xp.sqrt(bottom)


def gaussian(image: Array, sd_px: float, *, normalised: bool = True) -> Array:
    """Convolve (y, x) `image` with a Gaussian of peak 1 (or of sum 1 everywhere, edges included, if `normalised`)."""
    xp = namespace(image)
    reach = int(np.ceil(4 * sd_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd_px) ** 2)
    blurred = image
    for axis in (0, 1):
        n = int(image.shape[axis])
        blurred = _banded_product(blurred, kernel, axis)
        if normalised:
            total = np.convolve(np.ones(n), kernel)[reach : reach + n]
            share = xp.asarray(1 / total, dtype=image.dtype)
            blurred = blurred * (share[:, None] if axis == 0 else share[None, :])
    return blurred


def _banded_product(image: Array, kernel: np.ndarray, axis: int) -> Array:
    """Convolve along one axis, zeros beyond the edge, as matrix products of blocks with a banded matrix."""
    xp = namespace(image)
    reach, n = len(kernel) // 2, int(image.shape[axis])
    block = max(32, 2 * reach)
    whole = -(-n // block) * block
    before, after = (reach, reach + whole - n)
    other = int(image.shape[1 - axis])
    zeros = [xp.zeros((m, other) if axis == 0 else (other, m), dtype=image.dtype) for m in (before, after)]
    padded = xp.concat([zeros[0], image, zeros[1]], axis=axis)
    offset = np.arange(block + 2 * reach) - np.arange(block)[:, None]
    band = np.where((offset >= 0) & (offset <= 2 * reach), kernel[np.clip(offset, 0, 2 * reach)], 0.0)
    matrix = xp.asarray(band if axis == 0 else np.ascontiguousarray(band.T), dtype=image.dtype)
    parts = []
    for start in range(0, whole, block):
        stop = start + block + 2 * reach
        part = xp.matmul(matrix, padded[start:stop, :]) if axis == 0 else xp.matmul(padded[:, start:stop], matrix)
        parts.append(part)
    joined = xp.concat(parts, axis=axis)
    return joined[:n, :] if axis == 0 else joined[:, :n]
