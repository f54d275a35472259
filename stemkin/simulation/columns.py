"""Which columns of atoms differ from the perfect crystal, and by how much."""

from __future__ import annotations

import numpy as np

from stemkin.kernels.rendering import Probe
from stemkin.simulation.crystal import BOND, BOUND
from stemkin.simulation.material import ADATOM, COMPLEX, DOPANT, DOUBLE_VACANCY, METAL_VACANCY, VACANCY
from stemkin.simulation.scene import crystal
from stemkin.simulation.settings import Settings, probe_sd_nm

_METALS_AROUND = np.array([[0, 0], [1, 0], [0, 1]]) - BOND
"""(3, 2) steps (u, v) from a chalcogen column to the three metal columns around it."""


def probe(settings: Settings) -> Probe:
    """Return the image of a point [px]."""
    o, pixel = settings.optics, settings.instrument.pixel_size_nm
    return Probe(probe_sd_nm(o) / pixel, o.tail_fraction, o.tail_sd_nm / pixel)


Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places y, x on the sample [px] and volumes [counts px2], negative where something is missing; (n,) each."""


def changed_columns(settings: Settings, seen: np.ndarray) -> list[tuple[Probe, Columns]]:
    """Return the columns to add to the image of the perfect crystal, with the probe that draws them.

    Parameters
    ----------
    settings
        The movie.
    seen
        (m,) records `scene.SIGHTING` of one frame.
    """
    m, vectors = settings.material, crystal(settings).vectors
    one, metal = settings.counts_px2(m.Z_chalcogen), settings.counts_px2(m.Z_metal)
    change = np.zeros(6)
    change[[VACANCY, DOUBLE_VACANCY, METAL_VACANCY, ADATOM]] = -one, -2 * one, -metal, metal
    change[[DOPANT, COMPLEX]] = settings.counts_px2(m.Z_dopant) - metal
    at = np.stack([seen["sample_y"], seen["sample_x"]], axis=1)
    bound = seen["kind"] == COMPLEX
    places = at[bound] + (BOUND[seen["orientation"][bound]] + BOND) @ vectors.T
    points = np.concatenate([at, places])
    weights = np.concatenate([change[seen["kind"]], np.full(len(places), -one)])
    drawn = [(probe(settings), (points[:, 0], points[:, 1], weights))]
    if settings.optics.relaxation_nm:
        vacancies = np.concatenate([at[np.isin(seen["kind"], (VACANCY, DOUBLE_VACANCY))], places])
        drawn.append(_relaxed(settings, vacancies, metal))
    return drawn


def _relaxed(settings: Settings, vacancies: np.ndarray, metal: float) -> tuple[Probe, Columns]:
    """Move the metal neighbours of `vacancies` (m, 2) away from them; the probe's broad tail stays where it was."""
    steps = _METALS_AROUND @ crystal(settings).vectors.T
    away = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    away = away * settings.optics.relaxation_nm / settings.instrument.pixel_size_nm
    old = (vacancies[:, None] + steps).reshape(-1, 2)
    new = (vacancies[:, None] + steps + away).reshape(-1, 2)
    points = np.concatenate([old, new])
    weights = np.repeat([-metal, metal], len(old)) * (1 - settings.optics.tail_fraction)
    return Probe(probe(settings).sd_px), (points[:, 0], points[:, 1], weights)
