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
    lobes = tuple((share, dy / pixel, dx / pixel) for share, dy, dx in optics.lobes)
    return Probe(
        optics.column_sd_nm / pixel, optics.tail_fraction, optics.tail_sd_nm / pixel, lobes
    )


def column_weights(settings: Settings) -> tuple[float, float]:
    """Return the volumes [counts px2] of the images of a metal and of a whole chalcogen column."""
    metal, chalcogen, _, _ = _volumes(settings)
    return metal, chalcogen


def _volumes(settings: Settings) -> tuple[float, float, float, float]:
    """Return the volumes [counts px2] of a metal and a chalcogen column, one atom less, a dopant.

    Atoms of a column add up, unless the settings know better (two atoms above one another scatter
    together: `worlds`).
    """
    m, given = settings.material, settings.optics.cross_sections_nm2
    if given:
        metal, chalcogen, lacking, dopant = (settings.dose_e_per_nm2 * each for each in given)
        return metal, chalcogen, lacking, dopant
    one = settings.counts_px2(m.Z_chalcogen)
    whole = m.atoms_per_chalcogen_column * one
    return settings.counts_px2(m.Z_metal), whole, whole - one, settings.counts_px2(m.Z_dopant)


def changed_columns(settings: Settings, seen: np.ndarray) -> list[tuple[Probe, Columns]]:
    """Return the columns to add to the image of the perfect crystal, with their probes.

    Parameters
    ----------
    settings
        The movie.
    seen
        (m,) records `scene.SIGHTING` of one frame.
    """
    metal, whole, lacking, dopant = _volumes(settings)
    one = whole - lacking
    # How the volume of a column changes, by the kind of defect that takes its place.
    change = np.zeros(6)
    change[[VACANCY, DOUBLE_VACANCY, METAL_VACANCY, ADATOM]] = -one, -whole, -metal, metal
    change[[DOPANT, COMPLEX]] = dopant - metal
    if settings.material.atoms_per_chalcogen_column == 1:
        change[DOUBLE_VACANCY] = -2 * one
    off = np.stack([seen["off_y"], seen["off_x"]], axis=1)
    at = np.stack([seen["sample_y"], seen["sample_x"]], axis=1) - off
    bound, away = seen["kind"] == COMPLEX, (off != 0).any(axis=1)
    places = at[bound] + turned(
        settings, BOUND[seen["orientation"][bound]] + BOND, seen["turn"][bound]
    )
    # a dopant off its site is drawn there, and the metal column is taken from the site
    points = np.concatenate([at, places, at[away] + off[away]])
    own = np.where(away, -metal, change[seen["kind"]])
    weights = np.concatenate([own, np.full(len(places), -one), np.full(int(away.sum()), dopant)])
    drawn = [(probe_of(settings), (points[:, 0], points[:, 1], weights))]
    steps_nm = _relaxations_nm(settings)
    if steps_nm.any():
        single = np.isin(seen["kind"], (VACANCY, DOUBLE_VACANCY))
        turn = np.concatenate([seen["turn"][single], seen["turn"][bound]])
        kinds = np.concatenate([seen["kind"][single], seen["kind"][bound]])
        vacancies = np.concatenate([at[single], places])
        drawn.append(_relaxed(settings, vacancies, turn, metal, steps_nm[kinds]))
    return drawn


def _relaxations_nm(settings: Settings) -> np.ndarray:
    """Return how far [nm] the metal neighbours of a vacancy move, by kind of defect (6,)."""
    optics, steps_nm = settings.optics, np.zeros(6)
    kinds = [VACANCY, DOUBLE_VACANCY, COMPLEX]
    steps_nm[kinds] = optics.relaxations_nm or optics.relaxation_nm
    return steps_nm


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
    settings: Settings,
    vacancies: np.ndarray,
    turn: np.ndarray,
    metal: float,
    steps_nm: np.ndarray,
) -> tuple[Probe, Columns]:
    """Move the metal neighbours of `vacancies` (m, 2) away from them, by (m,) `steps_nm`.

    Only the probe's core is drawn anew: its broad tail stays where it was.
    """
    steps = turned(settings, np.tile(_METALS_AROUND, (len(vacancies), 1)), np.repeat(turn, 3))
    longer = 1 + np.repeat(steps_nm, 3)[:, None] / (settings.material.a_nm / np.sqrt(3))
    around = np.repeat(vacancies, 3, axis=0)
    y, x = np.concatenate([around + steps, around + steps * longer]).T
    weights = np.repeat([-metal, metal], len(around)) * (1 - settings.optics.tail_fraction)
    return probe_of(settings).core, (y, x, weights)
