"""Defects in sight in a frame, and where: what both the images and the tables are made from.

A movie visits one area after another, `DefectKinetics.area_frames` frames each (most movies have
only one). The sojourns of an area follow from the seed and the area's number; a worker simulates an
area when it first needs it and keeps the last few. So frame 10**9 costs no more than the first
frames do, and no worker ever needs what another one has computed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stemkin.materials import COMPLEX, DOPANT, DOUBLE_VACANCY, VACANCY
from stemkin.simulation.columns import probe_of
from stemkin.simulation.crystal import BOND, crystal_of
from stemkin.simulation.damage import fate_of, has_damage
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.kinetics import simulate_area
from stemkin.simulation.scanning import seen_at
from stemkin.simulation.settings import Settings

SIGHTING = np.dtype(
    [
        ("frame", "i8"), ("kind", "i1"), ("orientation", "i1"), ("site", "i8"), ("particle", "i8"),
        ("y", "f8"), ("x", "f8"), ("sample_y", "f8"), ("sample_x", "f8"), ("turn", "f8"),
        ("off_y", "f8"), ("off_x", "f8"),
    ]
)  # fmt: skip
"""One defect in one frame: `y`, `x` in the raw frame, `sample_y`, `sample_x` where frame 0 would
show it [px]; its surroundings have turned by `turn` [rad], and it stands `off_y`, `off_x` [px] off
its site."""


@lru_cache(maxsize=4)
def sojourns(settings: Settings, area: int) -> np.ndarray:
    """Return the sojourns of one area of a movie (`kinetics.SOJOURN`), kept for the next frame."""
    per_area = settings.kinetics.area_frames
    frames = min(per_area, settings.n_frames - area * per_area)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(4, area)))
    duration_s = frames * settings.instrument.frame_time_s
    return simulate_area(settings, crystal_of(settings).patch, duration_s=duration_s, rng=rng)


def area_and_time(settings: Settings, frame: int) -> tuple[int, float]:
    """Return which area a frame shows, and the time [s] since the area's start."""
    area, within = divmod(frame, settings.kinetics.area_frames)
    return area, within * settings.instrument.frame_time_s


def sightings(settings: Settings, start: int, stop: int, *, margin_px: float = 0.0) -> np.ndarray:
    """Return the defects in sight in frames `start` to `stop` (excluded).

    Parameters
    ----------
    settings
        The movie.
    start, stop
        Frame numbers.
    margin_px
        How far beyond the frame's edges (half a pixel outside the centres of its outermost pixels)
        to look.

    Returns
    -------
    (m,) records `SIGHTING`, ordered by frame, y, x.
    """
    per_area = settings.kinetics.area_frames
    parts = [np.empty(0, SIGHTING)]
    for area in range(start // per_area, -(-stop // per_area)):
        first = area * per_area
        own_start, own_stop = max(start, first), min(stop, first + per_area)
        parts.append(_of_area(settings, area, own_start, own_stop, margin_px))
    return np.concatenate(parts)


def _of_area(settings: Settings, area: int, start: int, stop: int, margin_px: float) -> np.ndarray:
    rows = sojourns(settings, area)
    first = area * settings.kinetics.area_frames
    tau = settings.instrument.frame_time_s
    # Frame k is a snapshot at (k - first) tau: a sojourn [start_s, end_s) is seen in the frames
    # `begin` to `end` (excluded), and so is repeated once for each of them.
    begin = np.maximum(np.ceil(rows["start_s"] / tau).astype(np.int64) + first, start)
    end = np.minimum(np.ceil(rows["end_s"] / tau).astype(np.int64) + first, stop)
    times = np.maximum(end - begin, 0)
    which = np.repeat(np.arange(len(rows)), times)
    # The position in the repeated list, less where its sojourn begins there, counts its frames.
    frames = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times) + begin[which]
    return _place(settings, area, rows[which], frames, margin_px)


def _place(
    settings: Settings, area: int, rows: np.ndarray, frames: np.ndarray, margin_px: float
) -> np.ndarray:
    """Put each row at its place in its frame, and keep those in sight."""
    c = crystal_of(settings)
    shift = shifts_px(settings, frames)
    cell = np.stack([rows["u"], rows["v"]], axis=1).astype(np.int64)
    on_chalcogen = (rows["kind"] == VACANCY) | (rows["kind"] == DOUBLE_VACANCY)
    uv = cell + on_chalcogen[:, None] * BOND
    centre = c.coordinates(np.asarray(c.shape) / 2 - shift)
    image, uv = c.patch.nearest_image(uv, centre)
    found = np.zeros(len(rows), SIGHTING)
    sample = c.position(uv)
    found["frame"], found["kind"], found["orientation"] = frames, rows["kind"], rows["orientation"]
    found["site"] = 2 * c.patch.index(cell) + on_chalcogen
    found["particle"] = particle_numbers(area, image, rows["particle"])
    gone = np.zeros(len(rows), bool)
    if has_damage(settings):
        time_s = (frames - area * settings.kinetics.area_frames) * settings.instrument.frame_time_s
        fate = fate_of(settings, area, sample, found["site"], time_s)
        gone, sample, found["turn"] = fate.gone, fate.points, fate.turn
    off = _off_site(settings, found)
    found["off_y"], found["off_x"] = off.T
    found["sample_y"], found["sample_x"] = (sample + off).T
    found["y"], found["x"] = (seen_at(settings, sample + off + shift) + image_offset(settings)).T
    height, width = c.shape
    low, high = -0.5 - margin_px, margin_px - 0.5
    in_y = (found["y"] >= low) & (found["y"] < height + high)
    in_x = (found["x"] >= low) & (found["x"] < width + high)
    found = found[in_y & in_x & ~gone]
    return found[np.lexsort((found["x"], found["y"], found["frame"]))]


def image_offset(settings: Settings) -> np.ndarray:
    """Return by how much (2,) [px] the images of all atoms lie beside them, which nobody can see.

    Aberrations to one side do that, and a detector that still glows from the pixels before: of a
    pixel the share g is read with the next one, g^2 with the one after it, which adds up to g / (1 -
    g) pixels along the line.
    """
    glow = settings.nuisances.afterglow
    return np.asarray(probe_of(settings).offset + np.array([0.0, glow / (1 - glow)]))


def _off_site(settings: Settings, found: np.ndarray) -> np.ndarray:
    """Return by how much (m, 2) [px] defects stand off their sites: dopants do, at a fixed angle.

    The angle follows from the site's number, by steps of the golden section.
    """
    away = np.zeros((len(found), 2))
    if settings.optics.dopant_off_site_nm > 0:
        own = np.isin(found["kind"], (DOPANT, COMPLEX))
        angle = 2 * np.pi * ((found["site"][own] * 0.6180339887498949) % 1.0)
        length = settings.optics.dopant_off_site_nm / settings.instrument.pixel_size_nm
        away[own] = length * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return away


def particle_numbers(area: int, image: np.ndarray, particle: np.ndarray) -> np.ndarray:
    """Return the (m,) int64 identity of defects over the whole movie.

    A defect that leaves the patch on one side and comes back on the other is another one to an
    observer, so the periodic image counts too.

    Parameters
    ----------
    area
        Number of the area.
    image
        (m, 2) periodic image of each defect.
    particle
        (m,) its number within the area.
    """
    # From the highest bits down: area, 8 bits each of the image's two numbers, 24 of the defect.
    code = (image % 256).astype(np.int64)
    return np.asarray((area << 40) | (code[:, 0] << 32) | (code[:, 1] << 24) | particle)
