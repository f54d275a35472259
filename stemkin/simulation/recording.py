"""From the electrons that are expected to what the detector writes: chance, gain, and its faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stemkin.kernels.images.shotnoise import AT_ONCE, poisson_counts
from stemkin.simulation.bad_frames import PART_BLANK, ways_of
from stemkin.simulation.nuisances import Nuisances
from stemkin.simulation.sections import Instrument
from stemkin.simulation.settings import Settings, chance
from stemkin.tables import BLANK, SATURATED, TRUNCATED

GLOW_PX = 12
"""Afterglow is followed over so many pixels."""

BLOCK = 8
"""Edge of the blocks of a compressed video [px]."""

VIDEO_RANGE = (0.1, 99.8)
"""Percentiles of a frame that become black and white in a video."""


def recorded(settings: Settings, frame: int, means: np.ndarray) -> np.ndarray:
    """Return what the detector writes for the expected counts `means` (y, x)."""
    instrument, nuisances = settings.instrument, settings.nuisances
    rng = chance(settings, 7, frame)
    (way,) = ways_of(settings, frame, frame + 1)
    if way == BLANK:
        means = 0 * means
    if way == PART_BLANK:
        means = means * _lit(len(means), chance(settings, 16, frame))[:, None]
    written = np.empty(means.shape, instrument.dtype)
    faults = _faulty(nuisances)
    if faults:
        written[:] = _with_faults(settings, means, rng)
    else:
        band = max(1, AT_ONCE // means.shape[1])  # so many rows at once stay in a core's own cache
        for start in range(0, len(means), band):
            rows = slice(start, start + band)
            counts = poisson_counts(means[rows], rng).astype(np.float32)
            written[rows] = _readout(instrument, counts, rng)
    if way == SATURATED:
        written[:] = _saturation(written)
    if way == TRUNCATED:
        written[len(written) // 2 :] = 0
    return written


def _lit(height: int, rng: np.random.Generator) -> np.ndarray:
    """Return (height,) 1 for lines with a signal, 0 for a band of a fifth to half of the frame."""
    thick = int(height * rng.uniform(0.2, 0.5))
    start = int(rng.integers(0, height - thick + 1))
    lit = np.ones(height)
    lit[start : start + thick] = 0.0
    return lit


def _faulty(n: Nuisances) -> bool:
    """Tell whether the detector does more than count."""
    faults = (n.row_noise, n.afterglow, n.excess_noise, n.nonlinearity, n.video_step)
    return any(fault > 0 for fault in faults)


def _with_faults(settings: Settings, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the counts of a detector with faults, read out: float32, within the dtype's range."""
    n = settings.nuisances
    electrons = poisson_counts(means, rng).astype(np.float64)
    if n.excess_noise > 0:
        # every electron gives a random number of counts of mean 1 and variance `excess_noise`
        electrons = rng.gamma(np.maximum(electrons, 1e-12) / n.excess_noise) * n.excess_noise
    if n.row_noise > 0:
        offsets = rng.standard_normal((len(means), 1))
        electrons = electrons + n.row_noise * float(means.mean()) * offsets
    if n.afterglow > 0:
        electrons = _glowing(electrons, n.afterglow)
    if n.nonlinearity > 0:
        top = max(float(means.max()), 1e-12)
        electrons = electrons / (1 + n.nonlinearity * np.maximum(electrons, 0) / top)
    if n.video_step > 0:
        # a video is made of what the detector wrote in full depth
        deep = replace(settings.instrument, dtype="float32")
        return _video_frame(_readout(deep, electrons, rng), n.video_step)
    return _readout(settings.instrument, electrons, rng)


def _glowing(signal: np.ndarray, share: float) -> np.ndarray:
    """Return a (y, x) signal each pixel of which is read with what is left of those before it.

    The scan passes from the end of a line to the start of the next one.
    """
    flat = signal.ravel()
    weights = (1 - share) * share ** np.arange(GLOW_PX)
    return np.asarray(np.convolve(flat, weights)[: flat.size].reshape(signal.shape))


def _video_frame(signal: np.ndarray, step: float) -> np.ndarray:
    """Return a frame as a compressed video shows it: 8 bits, the cosine waves of blocks rounded.

    The rounding is coarser for finer waves, as in JPEG (Wallace, Commun. ACM 34, 30 (1991)).
    """
    from scipy import fft

    low, high = np.percentile(signal, VIDEO_RANGE)
    grey = np.clip((signal - low) / max(float(high - low), 1e-9), 0, 1) * 255
    height, width = signal.shape
    margins = [(0, -n % BLOCK) for n in (height, width)]
    grey = np.pad(grey.astype(np.float64), margins, mode="edge")
    blocks = grey.reshape(len(grey) // BLOCK, BLOCK, -1, BLOCK)
    waves = fft.dctn(blocks, axes=(1, 3), norm="ortho")
    index = np.arange(BLOCK)
    coarse = step * (1 + 0.25 * (index[:, None, None] + index))
    shown = fft.idctn(np.rint(waves / coarse) * coarse, axes=(1, 3), norm="ortho")
    return np.clip(np.rint(shown.reshape(grey.shape)[:height, :width]), 0, 255)


def _readout(instrument: Instrument, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return counts (y, x) with gain, offset and read noise, float32, within the dtype's range."""
    signal = counts.astype(np.float32)
    signal *= np.float32(instrument.gain)
    signal += np.float32(instrument.offset)
    if instrument.read_noise > 0:
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        signal += np.float32(instrument.read_noise) * noise
    if instrument.dtype != "float32":
        top = np.float32(np.iinfo(instrument.dtype).max)
        np.rint(signal, out=signal)
        np.minimum(np.maximum(signal, 0, out=signal), top, out=signal)
    return signal


def _saturation(written: np.ndarray) -> float:
    """Return what a saturated pixel reads: the dtype's largest number, or the frame's own."""
    if written.dtype == np.float32:
        return float(written.max())
    return float(np.iinfo(written.dtype).max)
