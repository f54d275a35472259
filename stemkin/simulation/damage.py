"""Damage of the crystal: holes that grow, and a fragment that shifts and turns.

A hole of radius r(t) takes every column nearer to its centre than r (times a number close to 1 that
belongs to the column, for a ragged edge). The fragment is a disc that turns about its centre and
shifts, as a rigid body, and comes to rest; what stands in its way is gone. All of it follows from
the time since the area's start, so any frame can be asked for, and a defect goes where its column
goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stemkin.simulation.crystal import BOND, SimulatedCrystal, crystal_of
from stemkin.simulation.settings import Settings

RAGGED = 0.12
"""How much the radius at which a column leaves differs between columns."""


@dataclass(frozen=True, eq=False)
class DamagePlan:
    """What will happen in one area.

    Attributes
    ----------
    hole_centres, hole_starts_s
        (n, 2) on the sample [px], (n,).
    ragged
        (2 * n_cells,) factor of each column, by `site`.
    fragment_centre, fragment_direction
        (2,) on the sample [px]; (2,) unit vector.
    """

    hole_centres: np.ndarray
    hole_starts_s: np.ndarray
    ragged: np.ndarray
    fragment_centre: np.ndarray
    fragment_direction: np.ndarray


@dataclass(frozen=True, eq=False)
class Fate:
    """What has become of some columns.

    Attributes
    ----------
    gone
        (m,) bool.
    moved
        (m,) bool: part of the fragment, and the fragment has begun to move.
    points
        (m, 2) where they are now, on the sample [px].
    turn
        (m,) by how much their surroundings have turned, from +x to +y [rad].
    """

    gone: np.ndarray
    moved: np.ndarray
    points: np.ndarray
    turn: np.ndarray


def has_damage(settings: Settings) -> bool:
    """Tell whether the crystal of this movie ever breaks."""
    return settings.damage.n_holes > 0 or settings.damage.fragment_radius_nm > 0


@lru_cache(maxsize=4)
def damage_plan(settings: Settings, area: int) -> DamagePlan:
    """Return what will happen in one area; holes and fragment keep away from each other."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(8, area)))
    d, shape = settings.damage, np.asarray(settings.shape)
    count = d.n_holes + 1
    # The most spread out of 64 draws; 9 on the diagonal keeps each place out of its own distances.
    tries = rng.random((64, count, 2)) * 0.7 + 0.15
    steps = tries[:, :, None] - tries[:, None] + 9 * np.eye(count)[:, :, None]
    apart = np.linalg.norm(steps, axis=-1)
    centres = tries[np.argmax(apart.min(axis=(1, 2)))] * shape
    angle = rng.random() * 2 * np.pi
    return DamagePlan(
        hole_centres=centres[1:],
        hole_starts_s=d.hole_start_s * (1 + 0.5 * np.arange(d.n_holes)),
        ragged=1 + RAGGED * (2 * rng.random(2 * crystal_of(settings).patch.n_cells) - 1),
        fragment_centre=centres[0],
        fragment_direction=np.array([np.sin(angle), np.cos(angle)]),
    )


def fate_of(
    settings: Settings, area: int, points: np.ndarray, sites: np.ndarray, time_s: np.ndarray
) -> Fate:
    """Return what has become of columns.

    Parameters
    ----------
    settings, area
        The movie, and which of its areas.
    points
        (m, 2) where the columns stood at first, on the sample [px].
    sites
        (m,) their numbers, as in the truth.
    time_s
        (m,) since the area's start [s].
    """
    d, plan, c = settings.damage, damage_plan(settings, area), crystal_of(settings)
    pixel = settings.instrument.pixel_size_nm
    gone, moved = np.zeros(len(points), bool), np.zeros(len(points), bool)
    now, turn = points.copy(), np.zeros(len(points))
    for centre, start_s in zip(plan.hole_centres, plan.hole_starts_s, strict=True):
        radius = np.clip((time_s - start_s) * d.hole_speed_nm_per_s, 0, d.hole_largest_nm) / pixel
        gone |= np.linalg.norm(_offsets(c, points, centre), axis=1) < radius * plan.ragged[sites]
    if d.fragment_radius_nm > 0:
        since = np.maximum(time_s - d.fragment_start_s, 0)
        angle = np.radians(
            np.minimum(since * d.fragment_turn_deg_per_s, d.fragment_largest_turn_deg)
        )
        way = np.minimum(since * d.fragment_shift_nm_per_s, d.fragment_largest_shift_nm) / pixel
        offset = _offsets(c, points, plan.fragment_centre)
        shift = way[:, None] * plan.fragment_direction
        inside = np.linalg.norm(offset, axis=1) < d.fragment_radius_nm / pixel
        moved = inside & (since > 0)
        cos, sin = np.cos(angle), np.sin(angle)
        y, x = offset.T
        turned = np.stack([cos * y + sin * x, cos * x - sin * y], axis=1)
        now[moved] += (turned - offset + shift)[moved]
        turn[moved] = angle[moved]
        # What was never part of the fragment is gone where the fragment lies now.
        reach = (d.fragment_radius_nm + 0.5 * settings.material.a_nm) / pixel
        gone |= ~inside & (since > 0) & (np.linalg.norm(offset - shift, axis=1) < reach)
    return Fate(gone, moved, now, turn)


def columns_in_sight(
    settings: Settings, shift_px: np.ndarray, *, margin_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return all columns of the unbroken crystal that are in sight.

    Parameters
    ----------
    settings
        The movie.
    shift_px
        (2,) drift (y, x) of the frame [px].
    margin_px
        How far beyond the frame's edges to look.

    Returns
    -------
    (m, 2) places on the sample [px], and (m,) sites: 2 * cell for a metal column, 2 * cell + 1 for
    the chalcogen column of the same cell.
    """
    c = crystal_of(settings)
    centre = c.coordinates(np.asarray(c.shape) / 2 - shift_px)
    sites = np.arange(2 * c.patch.n_cells)
    _, uv = c.patch.nearest_image(c.patch.cells[sites // 2] + (sites % 2)[:, None] * BOND, centre)
    points = c.position(uv)
    raw = points + shift_px
    seen = ((raw >= -0.5 - margin_px) & (raw < np.asarray(c.shape) + margin_px - 0.5)).all(axis=1)
    return points[seen], sites[seen]


def area_fractions(
    settings: Settings, area: int, time_s: float, shift_px: np.ndarray
) -> tuple[float, float]:
    """Return which fractions of a frame are vacuum, and covered by the moved fragment.

    They are shares of the metal columns in sight.

    Parameters
    ----------
    settings, area
        The movie, and which of its areas.
    time_s
        Since the area's start [s].
    shift_px
        (2,) drift (y, x) of the frame [px].
    """
    points, sites = columns_in_sight(settings, shift_px, margin_px=0.0)
    metal = sites % 2 == 0
    fate = fate_of(settings, area, points[metal], sites[metal], np.full(int(metal.sum()), time_s))
    return float(fate.gone.mean()), float((fate.moved & ~fate.gone).mean())


def _offsets(c: SimulatedCrystal, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the (m, 2) steps [px] to `points` from the nearest periodic image of `centre`."""
    uv = (points - centre) @ c.lattice.reciprocal.T
    _, uv = c.patch.nearest_image(uv, np.zeros(2))
    return np.asarray(uv @ c.vectors.T)
