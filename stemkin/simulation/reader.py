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
from stemkin.simulation.haze import (
    add_adsorbates,
    contamination_waves,
    haze_factors,
    haze_waves,
)
from stemkin.simulation.recording import recorded
from stemkin.simulation.scanning import columns_moved, scans_of
from stemkin.simulation.scene import area_and_time, sightings
from stemkin.simulation.settings import Settings


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
            block[n] = recorded(self.settings, frame, means)
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


@lru_cache(maxsize=4)
def _waves(settings: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the waves of crystal, contamination and haze, kept for the next frame.

    Returns
    -------
    (n, 2) frequencies, and (n,) amplitudes of the crystal and of full contamination; those of the
    haze, the last ones, change from frame to frame.
    """
    frequencies, amplitudes = crystal_waves(
        crystal_of(settings).lattice, column_weights(settings), probe_of(settings)
    )
    amplitudes = amplitudes.copy()
    # The first wave is the constant; slow waves of contamination are appended, and each list of
    # amplitudes is zero where the waves are the other's.
    dose_e = settings.dose_e_per_nm2 * settings.instrument.pixel_size_nm**2
    amplitudes[0] += dose_e * settings.optics.background_fraction
    slow, strength = contamination_waves(settings, float(amplitudes[0].real))
    hazy, _ = haze_waves(settings)
    dirt = np.concatenate([np.zeros(len(amplitudes)), strength, np.zeros(len(hazy))])
    frequencies = np.concatenate([frequencies, slow, hazy])
    amplitudes = np.concatenate([amplitudes, np.zeros(len(frequencies) - len(amplitudes))])
    return frequencies, amplitudes, dirt


@lru_cache(maxsize=4)
def _columns(settings: Settings) -> np.ndarray:
    """Return the factors along x of the waves of a frame that is scanned as usual."""
    return column_factors(_waves(settings)[0], settings.shape[1], columns_moved(settings))


def _amplitudes(settings: Settings, frame: int, time_s: float) -> np.ndarray:
    """Return the (n,) amplitudes of all waves in a frame."""
    _, amplitudes, dirt = _waves(settings)
    grown = -np.expm1(-time_s / settings.instrument.contamination_time_s)
    amplitudes = amplitudes + grown * dirt
    hazy = haze_waves(settings)[1] * haze_factors(settings, frame, time_s)
    if len(hazy):
        amplitudes[-len(hazy) :] = hazy
    return np.asarray(amplitudes)


def _mean_frames(settings: Settings, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (frame number, (y, x) expected counts) of each frame."""
    margin = 5 * settings.optics.tail_sd_nm / settings.instrument.pixel_size_nm + 10
    seen = sightings(settings, start, stop, margin_px=margin)
    edges = np.searchsorted(seen["frame"], np.arange(start, stop + 1))
    for n, frame in enumerate(range(start, stop)):
        defects = seen[edges[n] : edges[n + 1]]
        scans = scans_of(settings, frame)
        exposures = [render_frame(settings, frame, scan, defects) for scan in scans]
        yield frame, sum(exposures[1:], exposures[0]) / len(exposures)


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
    frequencies = _waves(settings)[0]
    area, time_s = area_and_time(settings, frame)
    amplitudes = _amplitudes(settings, frame, time_s)
    rows = row_factors(frequencies, amplitudes, scan.row_y, scan.row_x0)
    rows = rows * scan.beam[:, None]
    columns = _columns(settings)
    if scan.moved is not None:
        columns = column_factors(frequencies, settings.shape[1], scan.moved)
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
    add_adsorbates(means, settings, frame, scan)
    return np.asarray(np.maximum(means, 0.0, out=means))
