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
from stemkin.simulation.columns import broken_columns, changed_columns, column_weights, probe
from stemkin.simulation.crystal import crystal
from stemkin.simulation.damage import is_damaged
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.motifs import add_motifs, digest, drawn_by_motif
from stemkin.simulation.scene import area_and_time, sightings
from stemkin.simulation.settings import Settings
from stemkin.tables import BLANK, OK, SATURATED, TRUNCATED


@dataclass(frozen=True)
class SimulatedReader:
    """A movie that is computed where it is read; picklable, a few hundred bytes whatever the
    movie's length.

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
        motifs = self.settings.optics.motifs
        text = json.dumps(self.settings.as_dict(), sort_keys=True) + (
            digest(motifs) if motifs else ""
        )
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
def expected_counts(settings: Settings, frame: int) -> np.ndarray:
    """Return the (y, x) mean number of electrons per pixel of one frame, float64: the image before
    chance comes in."""
    ((_, means),) = _mean_frames(settings, frame, frame + 1)
    return np.asarray(means)


def statuses(settings: Settings, start: int, stop: int) -> list[str]:
    """Return what frames `start` to `stop` (excluded) are: ``ok``, ``blank``, ``saturated`` or
    ``truncated``."""
    i, n = settings.instrument, settings.n_frames
    named = (
        (BLANK, i.blank_frames),
        (SATURATED, i.saturated_frames),
        (TRUNCATED, i.truncated_frames),
    )
    bad = {frame % n: status for status, frames in named for frame in frames}
    return [bad.get(frame, _chance_status(settings, frame)) for frame in range(start, stop)]


def _chance_status(settings: Settings, frame: int) -> str:
    probability = settings.instrument.bad_frame_probability
    if probability == 0:
        return OK
    rng = _generator(settings, 5, frame)
    return str(rng.choice([BLANK, SATURATED, TRUNCATED])) if rng.random() < probability else OK


def _generator(settings: Settings, stream: int, frame: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.SFC64(np.random.SeedSequence(settings.seed, spawn_key=(stream, frame)))
    )


@lru_cache(maxsize=4)
def _waves(settings: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return frequencies, amplitudes of the crystal and of full contamination, and column
    factors."""
    frequencies, amplitudes = crystal_waves(
        crystal(settings).lattice, column_weights(settings), probe(settings)
    )
    amplitudes = amplitudes.copy()
    amplitudes[0] += (
        settings.dose_e_per_nm2
        * settings.instrument.pixel_size_nm**2
        * settings.optics.background_fraction
    )
    slow, strength = _contamination(settings, float(amplitudes[0].real))
    frequencies = np.concatenate([frequencies, slow])
    dirt = np.concatenate([np.zeros(len(amplitudes)), strength])
    amplitudes = np.concatenate([amplitudes, np.zeros(len(strength))])
    return frequencies, amplitudes, dirt, column_factors(frequencies, settings.shape[1])


def _contamination(settings: Settings, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (5, 2) frequencies and (5,) amplitudes of a background between zero and the strongest
    contamination."""
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
        yield frame, render(settings, frame, scan_of(settings, frame), defects)


@one_thread
def render(settings: Settings, frame: int, scan: Scan, defects: np.ndarray) -> np.ndarray:
    """Return the (y, x) expected counts of a frame scanned in this way with these `defects`
    (`scene.SIGHTING`)."""
    frequencies, amplitudes, dirt, columns = _waves(settings)
    area, time_s = area_and_time(settings, frame)
    grown = -np.expm1(-time_s / settings.instrument.contamination_time_s)
    rows = (
        row_factors(frequencies, amplitudes + grown * dirt, scan.row_y, scan.row_x0)
        * scan.beam[:, None]
    )
    means = np.asarray(on_grid(rows, ROW_BITS) @ columns)
    as_motif = drawn_by_motif(settings, defects)
    add_motifs(means, settings, defects[as_motif], scan)
    drawn = changed_columns(settings, defects[~as_motif])
    if is_damaged(settings):
        shift, margin = shifts_px(settings, np.array([frame]))[0], 5 * settings.optics.tail_sd_nm
        broken = broken_columns(
            settings, area, time_s, shift, margin_px=margin / settings.instrument.pixel_size_nm
        )
        drawn.append((probe(settings), broken))
    for part, (y, x, weights) in drawn:
        add_columns(means, y, x, weights, part, scan=scan)
    return np.asarray(np.maximum(means, 0.0, out=means))


def _record(settings: Settings, frame: int, means: np.ndarray) -> np.ndarray:
    """Return what the detector writes for the expected counts `means` (y, x)."""
    i = settings.instrument
    rng = _generator(settings, 7, frame)
    (status,) = statuses(settings, frame, frame + 1)
    top = np.finfo(np.float32).max if i.dtype == "float32" else np.float32(np.iinfo(i.dtype).max)
    written = np.empty(means.shape, i.dtype)
    band = max(
        1, AT_ONCE // means.shape[1]
    )  # rows worked on at once, so that they stay in a core's own cache
    for start in range(0, len(means), band):
        rows = slice(start, start + band)
        signal = poisson_counts(0 * means[rows] if status == BLANK else means[rows], rng).astype(
            np.float32
        )
        signal *= np.float32(i.gain)
        signal += np.float32(i.offset)
        if i.read_noise > 0:
            signal += np.float32(i.read_noise) * rng.standard_normal(signal.shape, dtype=np.float32)
        if i.dtype != "float32":
            np.rint(signal, out=signal)
            np.minimum(np.maximum(signal, 0, out=signal), top, out=signal)
        written[rows] = signal
    if status == SATURATED:
        written[:] = top if i.dtype != "float32" else written.max()
    if status == TRUNCATED:
        written[len(written) // 2 :] = 0
    return written
