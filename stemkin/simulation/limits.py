"""What an ideal observer could reach on a simulated movie: d' of each kind of defect, and the best
localisation.

The observer knows the crystal, the probe and the scan, and asks of each place whether a defect is
there: d' says how well the answer is known, `recall_at_one_false_positive` what it means per frame.
Telling two kinds apart has a d' of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin.kernels.crystal.rendering import Scan
from stemkin.kernels.images.ideal import best_recall, cramer_rao_sd, detectability
from stemkin.simulation.crystal import BOND, crystal
from stemkin.simulation.material import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.reader import render
from stemkin.simulation.scene import SIGHTING
from stemkin.simulation.settings import Settings

_PAIRS = (
    (VACANCY, -1, None, -1), (DOUBLE_VACANCY, -1, None, -1), (DOPANT, -1, None, -1), (COMPLEX, 0, None, -1),
    (METAL_VACANCY, -1, None, -1), (ADATOM, -1, None, -1),
    (DOUBLE_VACANCY, -1, VACANCY, -1), (COMPLEX, 0, DOPANT, -1), (COMPLEX, 0, COMPLEX, 1),
)  # fmt: skip
"""(kind, orientation, the other kind or None for the perfect crystal, its orientation)."""

SMALL = 128
"""Edge of the piece of crystal that is drawn [px]."""

N_PLACES = 4
"""Places in the field over which d'^2 is averaged: they differ by where the column lies between the
pixels."""


def limits_table(settings: Settings) -> pd.DataFrame:
    """Return what an ideal observer reaches. Computes once.

    Returns
    -------
    Table `kind`, `against` ("crystal", or the kind it is told apart from), `d_prime`,
    `recall_at_one_false_positive` (per frame), `sd_y_nm`, `sd_x_nm` (Cramer-Rao bound of the place,
    with the depth of the contrast unknown too).
    """
    height, width = (min(n, SMALL) for n in settings.shape)
    plain = settings.with_values(n_holes=0, fragment_radius_nm=0.0, shape=(height, width))
    kinds = settings.material.kinds
    scan = Scan(np.arange(height, dtype=float), np.zeros(height), np.ones(height))
    noise = (settings.instrument.read_noise / settings.instrument.gain) ** 2
    cells = _middle_cells(plain)
    n_sites = max(1, round(np.prod(settings.shape) / abs(np.linalg.det(crystal(settings).vectors))))
    rows = []
    for kind, orientation, other, other_orientation in _PAIRS:
        d2, bounds = [], []
        for cell in cells:
            here = _defect(plain, kind, orientation, cell)
            there = here[:0] if other is None else _defect(plain, other, other_orientation, cell)
            with_defect, without = (render(plain, 0, scan, d) for d in (here, there))
            d2.append(detectability(without, with_defect, read_variance=noise) ** 2)
            if other is None:
                bounds.append(_localisation_px(plain, scan, here, with_defect, without, noise))
        d = float(np.sqrt(np.mean(d2)))
        sd = (
            np.mean(bounds, axis=0) * settings.instrument.pixel_size_nm
            if bounds
            else (np.nan, np.nan)
        )
        against = (
            "crystal" if other is None else kinds[other] + ("" if other != kind else ", turned")
        )
        rows.append(
            (
                kinds[kind],
                against,
                d,
                best_recall(d, n_sites=n_sites) if other is None else np.nan,
                sd[0],
                sd[1],
            )
        )
    columns = ["kind", "against", "d_prime", "recall_at_one_false_positive", "sd_y_nm", "sd_x_nm"]
    return pd.DataFrame(rows, columns=columns)


def _middle_cells(settings: Settings) -> np.ndarray:
    """Return the (N_PLACES, 2) cells closest to the middle of the frame."""
    c = crystal(settings)
    around = np.rint(c.coordinates(np.asarray(c.shape) / 2)).astype(int)
    return np.asarray(around + np.array([[0, 0], [1, 0], [0, 1], [1, -1]])[:N_PLACES])


def _defect(settings: Settings, kind: int, orientation: int, cell: np.ndarray) -> np.ndarray:
    """Return one record `SIGHTING` of a defect in a cell."""
    one = np.zeros(1, SIGHTING)
    uv = cell + BOND * (kind in (VACANCY, DOUBLE_VACANCY))
    one["kind"], one["orientation"] = kind, orientation
    one["sample_y"], one["sample_x"] = crystal(settings).position(uv[None]).T
    return one


def _localisation_px(
    settings: Settings,
    scan: Scan,
    defect: np.ndarray,
    with_defect: np.ndarray,
    without: np.ndarray,
    noise: float,
) -> np.ndarray:
    """Return the (2,) smallest standard deviations (y, x) [px] of the defect's place, if it could
    be anywhere."""
    gradients = [with_defect - without]
    for axis in ("sample_y", "sample_x"):
        ahead, behind = defect.copy(), defect.copy()
        ahead[axis] += 0.02
        behind[axis] -= 0.02
        gradients.append(
            (render(settings, 0, scan, ahead) - render(settings, 0, scan, behind)) / 0.04
        )
    return cramer_rao_sd(np.stack(gradients), with_defect, read_variance=noise)[1:]
