"""How well defects will be seen: detectability, names and places, from dose and pixel size alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from stemkin.kernels.images.ideal import best_recall
from stemkin.simulation.limits import limits_table
from stemkin.simulation.settings import Settings

OBSERVER_SHARE = 0.88
"""d' of stemkin's detector over that of the ideal observer, who knows crystal, probe and scan: 7.0
of 8.0 at a usual dose, 3.6 of 4.0 at a quarter (`benchmarks/bench_worlds.py`)."""


@dataclass(frozen=True)
class Sight:
    """How well defects are seen in a frame.

    Attributes
    ----------
    table
        One row per class: `name`, `d_prime` (of the ideal observer), `recall` (share found at one
        false positive per frame), `error_pm` (of the place, per axis), `taken_for` and
        `misnamed` (the class that is most like it among those asked for, and how often it is
        named so).
    confusion
        (k, k) chance that class (row) is named as another.
    sigma_nm
        Error of place [nm] of the first class.
    """

    table: pd.DataFrame
    confusion: np.ndarray
    sigma_nm: float


def sight_of(settings: Settings, names: Sequence[str]) -> Sight:
    """Return how well an observer like stemkin's sees the kinds `names`. Computes once.

    Parameters
    ----------
    settings
        Material, optics, dose and pixel size; its shape is that of the field.
    names
        Kinds of defects of the material.

    Notes
    -----
    Names of two kinds that an observer tells apart by d' are wrong with probability Φ(-d'/2) each
    way (Green & Swets, Signal Detection Theory (1966), ch. 3).
    """
    limits = limits_table(settings)
    alone = limits[limits["against"] == "crystal"].set_index("kind")
    spacing_px = settings.material.a_nm / settings.instrument.pixel_size_nm
    n_sites = max(1, round(np.prod(settings.shape) / (np.sqrt(3) / 2 * spacing_px**2)))
    confusion = np.eye(len(names))
    for kind, rival, d in zip(limits["kind"], limits["against"], limits["d_prime"], strict=True):
        if kind in names and rival in names:
            i, j = names.index(kind), names.index(rival)
            confusion[i, j] = confusion[j, i] = ndtr(-OBSERVER_SHARE * d / 2)
    np.fill_diagonal(confusion, 0.0)
    rivals = confusion.argmax(axis=1)
    rows = []
    for i, name in enumerate(names):
        d = float(alone["d_prime"][name])
        bound_nm = float(np.hypot(*alone.loc[name, ["sd_y_nm", "sd_x_nm"]]) / np.sqrt(2))
        wrong = float(confusion[i, rivals[i]])
        jitter_nm = float(
            np.hypot(settings.instrument.jitter_x_nm, settings.instrument.jitter_y_nm)
        )
        rows.append(
            {
                "name": name,
                "d_prime": d,
                "recall": best_recall(OBSERVER_SHARE * d, n_sites=n_sites),
                "error_pm": 1000 * float(np.hypot(bound_nm / OBSERVER_SHARE, jitter_nm)),
                "taken_for": names[rivals[i]] if wrong > 0 else "",
                "misnamed": wrong,
            }
        )
    table = pd.DataFrame(rows)
    np.fill_diagonal(confusion, 1 - confusion.sum(axis=1))
    return Sight(table, confusion, float(table["error_pm"].iloc[0]) / 1000)
