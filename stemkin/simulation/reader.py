"""Frames on demand: a reader whose file is a seed.

`SimulatedReader.read` renders the frames it is asked for from the movie's settings and the frames'
numbers alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from stemkin.blas import one_thread
from stemkin.kernels.crystal.rendering import (
    ROW_BITS,
    Scan,
    add_columns,
    column_factors,
    crystal_waves,
    on_grid,
    row_factors,
)
from stemkin.kernels.images.shotnoise import AT_ONCE, poisson_counts
from stemkin.readers import Calibration
from stemkin.simulation.columns import broken_columns, changed_columns, column_weights, probe_of
from stemkin.simulation.crystal import crystal_of
from stemkin.simulation.damage import has_damage
from stemkin.simulation.difference_images import (
    add_difference_images,
    file_digest,
    has_difference_image,
)
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.scene import area_and_time, sightings
from stemkin.simulation.sections import Instrument
from stemkin.simulation.settings import Settings
from stemkin.tables import BLANK, OK, SATURATED, TRUNCATED


@dataclass(frozen=True)
class SimulatedReader:
    """A movie that is computed where it is read; picklable, and small whatever its length.

    Attributes
    ----------
    settings
        Everything the frames follow from.
    label
        The preset's name, for `source`.
    """

    settings: Settings
    label: str = "simulated"
    frames_per_chunk: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        return (self.settings.n_frames, *self.settings.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of one pixel."""
        return np.dtype(self.settings.instrument.dtype)

    @property
    def calibration(self) -> Calibration:
        """Pixel size, frame time and dose rate of the settings."""
        i = self.settings.instrument
        return Calibration(i.pixel_size_nm, i.frame_time_s, i.dose_rate_e_per_nm2_s)

    @property
    def source(self) -> str:
        """Say which simulation this is."""
        return f"simulated://{self.label}?seed={self.settings.seed}"

    @cached_property
    def identity(self) -> str:
        """A digest of the settings: equal for movies of equal bits."""
        text = json.dumps(self.settings.as_dict(), sort_keys=True)
        if self.settings.optics.motifs:
            text += file_digest(self.settings.optics.motifs)
        return f"simulation {hashlib.sha256(text.encode()).hexdigest()[:32]}"

    @one_thread
    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded) as a (n, y, x) array. Computes once."""
        start, stop, _ = slice(start, stop).indices(self.settings.n_frames)
        block = np.empty((max(0, stop - start), *self.settings.shape), self.dtype)
        for n, (frame, means) in enumerate(_mean_frames(self.settings, start, stop)):
            block[n] = _record(self.settings, frame, means)
        return block


@one_thread
def expected_image(settings: Settings, frame: int) -> np.ndarray:
    """Return the mean number of electrons per pixel of one frame, before chance comes in.

    Parameters
    ----------
    settings
        The movie.
    frame
        Number of the frame.

    Returns
    -------
    (y, x) float64, without gain and offset.
    """
    ((_, means),) = _mean_frames(settings, frame, frame + 1)
    return np.asarray(means)


def statuses(settings: Settings, start: int, stop: int) -> list[str]:
    """Return the status of frames `start` to `stop` (excluded), as in the table ``frames``.

    Frames that the settings name come first; any other is bad by chance.
    """
    instrument, bad = settings.instrument, {}
    for status, named in (
        (BLANK, instrument.blank_frames),
        (SATURATED, instrument.saturated_frames),
        (TRUNCATED, instrument.truncated_frames),
    ):
        for frame in named:
            bad[frame % settings.n_frames] = status  # negative numbers count from the end
    return [bad.get(frame, _chance_status(settings, frame)) for frame in range(start, stop)]


def _chance_status(settings: Settings, frame: int) -> str:
    probability = settings.instrument.bad_frame_probability
    if probability == 0:
        return OK
    rng = _generator(settings, 5, frame)
    if rng.random() < probability:
        return str(rng.choice([BLANK, SATURATED, TRUNCATED]))
    return OK


def _generator(settings: Settings, stream: int, frame: int) -> np.random.Generator:
    """Return the source of chance of one purpose (`stream`) in one frame, whoever renders it."""
    return np.random.Generator(
        np.random.SFC64(np.random.SeedSequence(settings.seed, spawn_key=(stream, frame)))
    )


@lru_cache(maxsize=4)
def _waves(settings: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the waves of the background, kept for the next frame.

    Returns
    -------
    (n, 2) frequencies, (n,) amplitudes of the crystal, (n,) amplitudes of full contamination, and
    the waves' factors along x.
    """
    frequencies, amplitudes = crystal_waves(
        crystal_of(settings).lattice, column_weights(settings), probe_of(settings)
    )
    amplitudes = amplitudes.copy()
    # The first wave is the constant; slow waves of contamination are appended, and each list of
    # amplitudes is zero where the waves are the other's.
    dose_e = settings.dose_e_per_nm2 * settings.instrument.pixel_size_nm**2
    amplitudes[0] += dose_e * settings.optics.background_fraction
    slow, strength = _contamination(settings, float(amplitudes[0].real))
    frequencies = np.concatenate([frequencies, slow])
    dirt = np.concatenate([np.zeros(len(amplitudes)), strength])
    amplitudes = np.concatenate([amplitudes, np.zeros(len(strength))])
    return frequencies, amplitudes, dirt, column_factors(frequencies, settings.shape[1])


def _contamination(settings: Settings, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the waves of full contamination: a background that is nowhere below zero.

    Returns
    -------
    (5, 2) frequencies, the first of them zero, and (5,) amplitudes.
    """
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(9,)))
    field = np.linalg.norm(settings.shape)
    angle, length = rng.random(4) * 2 * np.pi, (0.5 + rng.random(4)) / field
    frequencies = np.concatenate(
        [np.zeros((1, 2)), (length * np.array([np.sin(angle), np.cos(angle)])).T]
    )
    waves = np.concatenate([[1.0], 0.25 * np.exp(2j * np.pi * rng.random(4))])
    return frequencies, 0.5 * settings.instrument.contamination * mean * waves


def scan_of(settings: Settings, frame: int) -> Scan:
    """Return how a frame was scanned: drift, scan-line jitter and flicker."""
    i, height = settings.instrument, settings.shape[0]
    rng = _generator(settings, 6, frame)
    jitter_y, jitter_x = rng.standard_normal((2, height)) / i.pixel_size_nm
    shift_y, shift_x = shifts_px(settings, np.array([frame]))[0]
    flicker = (1 + i.frame_flicker * rng.standard_normal()) * (
        1 + i.line_flicker * rng.standard_normal(height)
    )
    row_y = np.arange(height) + i.jitter_y_nm * jitter_y - shift_y
    return Scan(row_y, i.jitter_x_nm * jitter_x - shift_x, np.maximum(flicker, 0.0))


def _mean_frames(settings: Settings, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (frame number, (y, x) expected counts) of each frame."""
    margin = 5 * settings.optics.tail_sd_nm / settings.instrument.pixel_size_nm + 10
    seen = sightings(settings, start, stop, margin_px=margin)
    edges = np.searchsorted(seen["frame"], np.arange(start, stop + 1))
    for n, frame in enumerate(range(start, stop)):
        defects = seen[edges[n] : edges[n + 1]]
        yield frame, render_frame(settings, frame, scan_of(settings, frame), defects)


@one_thread
def render_frame(settings: Settings, frame: int, scan: Scan, defects: np.ndarray) -> np.ndarray:
    """Return the expected image of a frame.

    Parameters
    ----------
    settings, frame
        The movie, and the number of the frame: its age decides contamination and damage.
    scan
        Where the probe was in each line, and how bright.
    defects
        (m,) records `scene.SIGHTING`.

    Returns
    -------
    (y, x) mean number of electrons per pixel.
    """
    frequencies, amplitudes, dirt, columns = _waves(settings)
    area, time_s = area_and_time(settings, frame)
    grown = -np.expm1(-time_s / settings.instrument.contamination_time_s)
    rows = row_factors(frequencies, amplitudes + grown * dirt, scan.row_y, scan.row_x0)
    rows = rows * scan.beam[:, None]
    # On a coarse grid of numbers the sums of the product are exact, in whatever order BLAS adds.
    means = np.asarray(on_grid(rows, ROW_BITS) @ columns)
    as_motif = has_difference_image(settings, defects)
    add_difference_images(means, settings, defects[as_motif], scan)
    drawn = changed_columns(settings, defects[~as_motif])
    if has_damage(settings):
        shift = shifts_px(settings, np.array([frame]))[0]
        margin_px = 5 * settings.optics.tail_sd_nm / settings.instrument.pixel_size_nm
        broken = broken_columns(settings, area, time_s, shift, margin_px=margin_px)
        drawn.append((probe_of(settings), broken))
    for part, (y, x, weights) in drawn:
        add_columns(means, y, x, weights, part, scan=scan)
    return np.asarray(np.maximum(means, 0.0, out=means))


def _record(settings: Settings, frame: int, means: np.ndarray) -> np.ndarray:
    """Return what the detector writes for the expected counts `means` (y, x)."""
    instrument = settings.instrument
    rng = _generator(settings, 7, frame)
    (status,) = statuses(settings, frame, frame + 1)
    written = np.empty(means.shape, instrument.dtype)
    band = max(1, AT_ONCE // means.shape[1])  # so many rows at once stay in a core's own cache
    for start in range(0, len(means), band):
        rows = slice(start, start + band)
        electrons = means[rows]
        if status == BLANK:
            electrons = 0 * electrons
        written[rows] = _readout(instrument, poisson_counts(electrons, rng), rng)
    if status == SATURATED:
        written[:] = _saturation(written)
    if status == TRUNCATED:
        written[len(written) // 2 :] = 0
    return written


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
