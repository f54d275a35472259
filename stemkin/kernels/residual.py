"""What is left of a frame when the perfect crystal is gone, in units of its own noise.

Shot noise grows with intensity, so the variance of a pixel is v = alpha + beta M, fitted to the frame itself. The
remainder over sqrt(v) has unit variance wherever the crystal is perfect, and a defect of known narrow shape is best seen by
the matched filter z = sum(t rest / v) / sqrt(sum(t^2 / v)), which again has unit variance (North 1943).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels import cell, crystal, distortion, fourier
from stemkin.kernels.lattice import Lattice

MIN_QUALITY = 5.0
"""Signal-to-noise of the weakest defining reflection below which a frame is said to have no lattice."""

MIN_EDGE_PX = 16
"""Smaller frames hold too few cells to tell a lattice."""

MIN_EXPLAINED = 0.45
"""Share of the spectral peaks' amplitude that one lattice must explain."""

CRYSTAL_SD, BACKGROUND_SD = 3.0, 1.5
"""Standard deviations, over the lattice constant, of the windows in which the crystal and the background are averaged."""

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


def find_lattice(frame: Array) -> tuple[Lattice, crystal.Waves, np.ndarray, Array] | None:
    """Find the lattice of one frame in its own spectrum.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library; its mean should be about 0.

    Returns
    -------
    The lattice, its plane waves, the nodes' amplitude sums and the row sums they were made of; None without a lattice.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    if min(shape) < MIN_EDGE_PX:
        return None
    frequencies, power = fourier.spectral_peaks(frame)
    found = fourier.explain_peaks(frequencies, power, tolerance=1.0 / min(shape))
    if found is None or found[1] < MIN_EXPLAINED:
        return None
    first = crystal.waves_of(found[0], shape)
    rows = crystal.row_sums(frame, first)
    sums, waves, coherence = distortion.straighten(crystal.node_sums(rows, first), first)
    quality = float(np.sqrt(power[:3].min())) * coherence
    if quality < MIN_QUALITY or np.linalg.norm(waves.basis - found[0]) > 0.2 * np.linalg.norm(found[0]):
        return None
    rows = crystal.row_sums(frame, waves)
    sums = crystal.node_sums(rows, waves)
    return cell.lattice_of(sums, waves, quality=quality), waves, sums, rows


def remove_crystal(frame: Array) -> Remainder | None:
    """Remove the perfect crystal, scan distortion and jitter included; None where the frame has no lattice.

    Parameters
    ----------
    frame
        (y, x) floating-point intensities, any library.
    """
    xp = namespace(frame)
    frame = frame - xp.mean(frame)
    found = find_lattice(frame)
    if found is None:
        return None
    lattice, waves, sums, rows = found
    limit = 0.15 * lattice.spacing_px
    model, *slopes = crystal.draw_mean(crystal.mean_amplitudes(sums, waves), waves, frame)
    rest = frame - model
    moved = distortion.row_displacements(clipped(rest), slopes, 1 / variance_of(rest, model), limit_px=limit)
    waves = replace(waves, rows=waves.rows + moved)
    mean = crystal.mean_amplitudes(crystal.node_sums(rows, waves), waves)
    model, *slopes = crystal.draw_mean(mean, waves, frame)
    rest = frame - model
    sums = crystal.node_sums(crystal.row_sums(rest, waves), waves)
    sd_px = np.where(waves.is_background, BACKGROUND_SD, CRYSTAL_SD) * lattice.spacing_px
    change = crystal.draw_local(crystal.smooth_amplitudes(sums, waves, sd_px=sd_px), waves, frame)
    rest, model = rest - change, model + change
    weight = 1 / variance_of(rest, model)
    more = distortion.row_displacements(clipped(rest), slopes, weight, limit_px=limit)
    rest = rest + sum(xp.asarray(more[:, axis, None], dtype=frame.dtype) * slopes[axis] for axis in (0, 1))
    weight = 1 / variance_of(rest, model)
    sd = cell.probe_sd(mean, waves, is_honeycomb=lattice.is_honeycomb) or FILTER_SD * lattice.spacing_px
    sd = float(np.clip(sd, *np.array(FILTER_RANGE) * lattice.spacing_px))
    return Remainder(rest, rest * xp.sqrt(weight), matched_snr(rest, weight, sd), sd, lattice, moved + more)


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
    """Return the (y, x) variance alpha + beta `model` that fits the squares of `rest`, defects clipped."""
    xp = namespace(rest)
    squares = rest**2
    mean = xp.mean(squares)
    for _ in range(2):
        squares = xp.minimum(squares, 9 * mean)
        mean = xp.mean(squares)
    centred = model - xp.mean(model)
    beta = xp.mean(centred * squares) / (xp.mean(centred**2) + 1e-30)
    return xp.maximum(mean + beta * centred, 0.1 * mean + 1e-30)


def clipped(rest: Array, *, n_sd: float = 3.0) -> Array:
    """Return `rest` with everything beyond `n_sd` standard deviations cut off, so that defects weigh little."""
    xp = namespace(rest)
    sd = xp.sqrt(xp.mean(rest**2))
    return xp.minimum(xp.maximum(rest, -n_sd * sd), n_sd * sd)


def matched_snr(rest: Array, weight: Array, sd_px: float) -> Array:
    """Return the signal-to-noise (y, x) of a Gaussian of `sd_px` at every pixel; `weight` is the inverse variance."""
    xp = namespace(rest)
    top = gaussian(rest * weight, sd_px, normalised=False)
    bottom = gaussian(weight, sd_px / np.sqrt(2), normalised=False)
    return top / xp.sqrt(bottom)


def gaussian(image: Array, sd_px: float, *, normalised: bool = True) -> Array:
    """Convolve (y, x) `image` with a Gaussian of peak 1 (or sum 1, edges included, if `normalised`)."""
    xp = namespace(image)
    matrices = []
    for n in image.shape:
        kernel = np.exp(-0.5 * ((np.arange(n)[:, None] - np.arange(n)[None, :]) / sd_px) ** 2)
        kernel[kernel < 1e-4] = 0
        matrices.append(
            xp.asarray(kernel / (kernel.sum(axis=1, keepdims=True) if normalised else 1), dtype=image.dtype)
        )
    return xp.matmul(xp.matmul(matrices[0], image), matrices[1].T)


def robust_sd(values: Array) -> float:
    """Return the standard deviation that the median of |values| implies for Gaussian noise."""
    return float(np.median(np.abs(to_host(values)))) / 0.6745
