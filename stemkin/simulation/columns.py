"""Which columns of atoms differ from the perfect crystal, and by how much."""

from __future__ import annotations

import numpy as np

from stemkin.kernels.crystal.rendering import Probe
from stemkin.materials import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.crystal import BOND, BOUND, crystal_of
from stemkin.simulation.damage import columns_in_sight, fate_of
from stemkin.simulation.settings import Settings

_METALS_AROUND = np.array([[0, 0], [1, 0], [0, 1]]) - BOND
"""(3, 2) steps (u, v) from a chalcogen column to the three metal columns around it."""

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places y, x on the sample [px] and volumes [counts px2], negative where something is missing;
(n,) each."""


def probe_of(settings: Settings) -> Probe:
    """Return the image of a point [px]."""
    optics, pixel = settings.optics, settings.instrument.pixel_size_nm
    return Probe(optics.column_sd_nm / pixel, optics.tail_fraction, optics.tail_sd_nm / pixel)


def column_weights(settings: Settings) -> tuple[float, float]:
    """Return the volumes [counts px2] of the images of a metal and of a whole chalcogen column."""
    material = settings.material
    metal = settings.counts_px2(material.Z_metal)
    atom = settings.counts_px2(material.Z_chalcogen)
    return metal, material.atoms_per_chalcogen_column * atom


def changed_columns(settings: Settings, seen: np.ndarray) -> list[tuple[Probe, Columns]]:
    """Return the columns to add to the image of the perfect crystal, with their probes.

    Parameters
    ----------
    settings
        The movie.
    seen
        (m,) records `scene.SIGHTING` of one frame.
    """
    m = settings.material
    one, metal = settings.counts_px2(m.Z_chalcogen), settings.counts_px2(m.Z_metal)
    # How the volume of a column changes, by the kind of defect that takes its place.
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
    drawn = [(probe_of(settings), (points[:, 0], points[:, 1], weights))]
    if settings.optics.relaxation_nm:
        single = np.isin(seen["kind"], (VACANCY, DOUBLE_VACANCY))
        turn = np.concatenate([seen["turn"][single], seen["turn"][bound]])
        drawn.append(_relaxed(settings, np.concatenate([at[single], places]), turn, metal))
    return drawn


def broken_columns(
    settings: Settings, area: int, time_s: float, shift_px: np.ndarray, *, margin_px: float
) -> Columns:
    """Return the columns that holes and fragment have changed.

    Those that left their places are negative; the fragment's stand again where they are now.

    Parameters
    ----------
    settings, area
        The movie, and which of its areas.
    time_s
        Since the area's start [s].
    shift_px
        (2,) drift (y, x) of the frame [px].
    margin_px
        How far beyond the frame's edges to look.
    """
    points, sites = columns_in_sight(settings, shift_px, margin_px=margin_px)
    fate = fate_of(settings, area, points, sites, np.full(len(points), time_s))
    weights = np.asarray(column_weights(settings))[sites % 2]
    away, here = fate.gone | fate.moved, fate.moved & ~fate.gone
    y, x = np.concatenate([points[away], fate.points[here]]).T
    return y, x, np.concatenate([-weights[away], weights[here]])


def turned(settings: Settings, uv: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the steps [px] of lattice steps, each turned.

    Parameters
    ----------
    settings
        The movie.
    uv
        (m, 2) steps in lattice vectors.
    turn
        (m,) by how much to turn each, from +x to +y [rad].

    Returns
    -------
    (m, 2) steps (y, x).
    """
    y, x = (uv @ crystal_of(settings).vectors.T).T
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([cos * y + sin * x, cos * x - sin * y], axis=1)


def _relaxed(
    settings: Settings, vacancies: np.ndarray, turn: np.ndarray, metal: float
) -> tuple[Probe, Columns]:
    """Move the metal neighbours of `vacancies` (m, 2) away from them.

    Only the probe's core is drawn anew: its broad tail stays where it was.
    """
    steps = turned(settings, np.tile(_METALS_AROUND, (len(vacancies), 1)), np.repeat(turn, 3))
    longer = 1 + settings.optics.relaxation_nm / (settings.material.a_nm / np.sqrt(3))
    around = np.repeat(vacancies, 3, axis=0)
    y, x = np.concatenate([around + steps, around + steps * longer]).T
    weights = np.repeat([-metal, metal], len(around)) * (1 - settings.optics.tail_fraction)
    return Probe(probe_of(settings).sd_px), (y, x, weights)
