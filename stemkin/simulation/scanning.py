"""Where the probe is in each line of a frame: drift, jitter, shear, fly-back, and torn scans.

A scan displaces rows, and it displaces columns in the same way in all rows; so a plane wave stays
the product of a function of the row and one of the column (`kernels.crystal.rendering`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stemkin.kernels.crystal.rendering import Scan
from stemkin.simulation.bad_frames import DOUBLED, TORN, ZOOMED, ways_of
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.settings import Settings, chance

LARGEST_ZOOM = 0.12
"""A zoomed frame is magnified by up to so much more or less, and by a third of it at least."""

APART_NM = 0.15
"""How far apart the exposures of a doubled frame, and the halves of a torn one, typically are."""


def scans_of(settings: Settings, frame: int) -> list[Scan]:
    """Return how a frame was scanned: once, or twice if it is doubled.

    Parameters
    ----------
    settings, frame
        The movie, and the number of the frame.

    Returns
    -------
    The scans, each of which gives an equal share of the frame.
    """
    scan = scan_of(settings, frame)
    (way,) = ways_of(settings, frame, frame + 1)
    if way not in (DOUBLED, TORN, ZOOMED):
        return [scan]
    rng = chance(settings, 11, frame)
    pixel, height, width = settings.instrument.pixel_size_nm, *settings.shape
    angle = 2 * np.pi * rng.random()
    away = APART_NM / pixel * (1 + rng.random()) * np.array([np.sin(angle), np.cos(angle)])
    if way == DOUBLED:
        return [scan, replace(scan, row_y=scan.row_y + away[0], row_x0=scan.row_x0 + away[1])]
    if way == TORN:
        late = np.arange(height) >= height * (0.2 + 0.6 * rng.random())
        moved = late[:, None] * away
        return [replace(scan, row_y=scan.row_y + moved[:, 0], row_x0=scan.row_x0 + moved[:, 1])]
    zoom = LARGEST_ZOOM * rng.uniform(1 / 3, 1) * rng.choice([-1, 1])
    moved = np.zeros((width, 2)) if scan.moved is None else scan.moved.copy()
    moved[:, 1] += zoom * (np.arange(width) - width / 2)
    row_y = scan.row_y + zoom * (np.arange(height) - height / 2)
    return [replace(scan, row_y=row_y, moved=moved)]


def scan_of(settings: Settings, frame: int) -> Scan:
    """Return how a frame was scanned: drift, scan-line jitter, shear, fly-back and flicker."""
    i, height = settings.instrument, settings.shape[0]
    rng = chance(settings, 6, frame)
    jitter = rng.standard_normal((2, height)) / i.pixel_size_nm
    shift_y, shift_x = shifts_px(settings, np.array([frame]))[0]
    flicker = (1 + i.frame_flicker * rng.standard_normal()) * (
        1 + i.line_flicker * rng.standard_normal(height)
    )
    jitter_y, jitter_x = _coloured(jitter, settings.nuisances.jitter_slope)
    row_y = np.arange(height) + i.jitter_y_nm * jitter_y - shift_y
    row_x0 = i.jitter_x_nm * jitter_x - shift_x + _sheared(settings, np.arange(height))
    if settings.nuisances.hum_nm > 0:
        row_x0 = row_x0 + _hum(settings, rng)
    return Scan(row_y, row_x0, np.maximum(flicker, 0.0), columns_moved(settings))


def columns_moved(settings: Settings) -> np.ndarray | None:
    """Return by how much (width, 2) [px] the probe is elsewhere in each column; None for nowhere.

    Fly-back is worst at the left edge and fades exponentially.
    """
    n, width = settings.nuisances, settings.shape[1]
    if n.shear_y == 0 and n.flyback_nm == 0:
        return None
    column = np.arange(width, dtype=float)
    fading = n.flyback_nm / settings.instrument.pixel_size_nm * np.exp(-column / n.flyback_px)
    return np.stack([n.shear_y * (column - (width - 1) / 2), fading], axis=1)


def seen_at(settings: Settings, points: np.ndarray) -> np.ndarray:
    """Return where the scan shows places of the specimen, jitter left out.

    Parameters
    ----------
    settings
        The movie.
    points
        (m, 2) places (y, x) [px], drift included.

    Returns
    -------
    (m, 2) places (y, x) [px] in the raw frame.
    """
    moved = columns_moved(settings)
    if settings.nuisances.shear_x == 0 and moved is None:
        return points
    if moved is None:
        moved = np.zeros((settings.shape[1], 2))
    column, seen = np.arange(len(moved)), points
    # distortions change slowly from pixel to pixel: few rounds find where they add up to `points`
    for _ in range(8):
        y, x = seen.T
        away = [np.interp(x, column, moved[:, 0]), np.interp(x, column, moved[:, 1])]
        away[1] = away[1] + _sheared(settings, y)
        seen = points - np.stack(away, axis=1)
    return seen


def _sheared(settings: Settings, row: np.ndarray) -> np.ndarray:
    """Return by how much [px] rows lie to the right of where they should be."""
    return np.asarray(settings.nuisances.shear_x * (row - (settings.shape[0] - 1) / 2))


def _coloured(white: np.ndarray, slope: float) -> np.ndarray:
    """Return (2, height) noise whose power falls with frequency^slope; its variance is kept."""
    if slope == 0:
        return white
    spectrum = np.fft.rfft(white, axis=1)
    shape = np.arange(1, spectrum.shape[1] + 1, dtype=float) ** (-slope / 2)
    # of real noise all frequencies but the first and, for even lengths, the last count twice
    twice = np.full(len(shape), 2.0)
    twice[0] = 1.0
    if white.shape[1] % 2 == 0:
        twice[-1] = 1.0
    shape = shape / np.sqrt((twice * shape**2).sum() / twice.sum())
    return np.asarray(np.fft.irfft(spectrum * shape, n=white.shape[1], axis=1))


def _hum(settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Return the (height,) displacement [px] of the rows by mains hum, whose phase is random."""
    n = settings.nuisances
    phase = 2 * np.pi * (np.arange(settings.shape[0]) / n.hum_rows + rng.random())
    return np.asarray(n.hum_nm / settings.instrument.pixel_size_nm * np.sin(phase))
