"""Which columns of atoms differ from the perfect crystal, and by how much."""

from __future__ import annotations

import numpy as np

from stemkin.kernels.crystal.rendering import Probe
from stemkin.simulation.crystal import BOND, BOUND, crystal
from stemkin.simulation.damage import columns_in_sight, fate_of
from stemkin.simulation.material import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.settings import Settings, probe_sd_nm

_METALS_AROUND = np.array([[0, 0], [1, 0], [0, 1]]) - BOND
"""(3, 2) steps (u, v) from a chalcogen column to the three metal columns around it."""

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places y, x on the sample [px] and volumes [counts px2], negative where something is missing;
(n,) each."""


def probe(settings: Settings) -> Probe:
    """Return the image of a point [px]."""
    o, pixel = settings.optics, settings.instrument.pixel_size_nm
    return Probe(probe_sd_nm(o) / pixel, o.tail_fraction, o.tail_sd_nm / pixel)


def column_weights(settings: Settings) -> tuple[float, float]:
    """Return the volumes [counts px2] of the images of a metal and of a whole chalcogen column."""
    m = settings.material
    return settings.counts_px2(m.Z_metal), m.atoms_per_chalcogen_column * settings.counts_px2(
        m.Z_chalcogen
    )


def changed_columns(settings: Settings, seen: np.ndarray) -> list[tuple[Probe, Columns]]:
    """Return the columns to add to the image of the perfect crystal, with the probe that draws
    them.

    Parameters
    ----------
    settings
        The movie.
    seen
        (m,) records `scene.SIGHTING` of one frame.
    """
    m = settings.material
    one, metal = settings.counts_px2(m.Z_chalcogen), settings.counts_px2(m.Z_metal)
    change = np.zeros(6)
    change[[VACANCY, DOUBLE_VACANCY, METAL_VACANCY, ADATOM]] = -one, -2 * one, -metal, metal
    change[[DOPANT, COMPLEX]] = settings.counts_px2(m.Z_dopant) - metal
    at = np.stack([seen["sample_y"], seen["sample_x"]], axis=1)
    bound = seen["kind"] == COMPLEX
    places = at[bound] + turned(
        settings, BOUND[seen["orientation"][bound]] + BOND, seen["turn"][bound]
    )
    points = np.concatenate([at, places])
    weights = np.concatenate([change[seen["kind"]], np.full(len(places), -one)])
    drawn = [(probe(settings), (points[:, 0], points[:, 1], weights))]
    if settings.optics.relaxation_nm:
        single = np.isin(seen["kind"], (VACANCY, DOUBLE_VACANCY))
        turn = np.concatenate([seen["turn"][single], seen["turn"][bound]])
        drawn.append(_relaxed(settings, np.concatenate([at[single], places]), turn, metal))
    return drawn


def broken_columns(
    settings: Settings, area: int, time_s: float, shift_px: np.ndarray, *, margin_px: float
) -> Columns:
    """Return the columns that holes and fragment have taken away from their places, and where the
    fragment's are now."""
    points, sites = columns_in_sight(settings, shift_px, margin_px=margin_px)
    fate = fate_of(settings, area, points, sites, np.full(len(points), time_s))
    weights = np.asarray(column_weights(settings))[sites % 2]
    away, here = fate.gone | fate.moved, fate.moved & ~fate.gone
    y, x = np.concatenate([points[away], fate.points[here]]).T
    return y, x, np.concatenate([-weights[away], weights[here]])


def turned(settings: Settings, uv: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the (m, 2) steps [px] of lattice steps `uv` (m, 2), each turned by `turn` (m,) [rad]
    from +x to +y."""
    y, x = (uv @ crystal(settings).vectors.T).T
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([cos * y + sin * x, cos * x - sin * y], axis=1)


def _relaxed(
    settings: Settings, vacancies: np.ndarray, turn: np.ndarray, metal: float
) -> tuple[Probe, Columns]:
    """Move the metal neighbours of `vacancies` (m, 2) away from them; the probe's broad tail stays
    where it was."""
    steps = turned(settings, np.tile(_METALS_AROUND, (len(vacancies), 1)), np.repeat(turn, 3))
    longer = 1 + settings.optics.relaxation_nm / (settings.material.a_nm / np.sqrt(3))
    around = np.repeat(vacancies, 3, axis=0)
    y, x = np.concatenate([around + steps, around + steps * longer]).T
    weights = np.repeat([-metal, metal], len(around)) * (1 - settings.optics.tail_fraction)
    return Probe(probe(settings).sd_px), (y, x, weights)
