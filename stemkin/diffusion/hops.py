"""How often defects hop from site to site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.diffusion.methods import estimator
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.kernels.motion.hops import most_likely_rate
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment

COLUMNS = {
    "movie": "str",
    "class_id": "int16",
    "hop_rate_per_s": "float64",
    "low": "float64",
    "high": "float64",
    "n_hops": "float64",
    "D_nm2_per_s": "float64",
    "sigma_nm": "float64",
    "n_tracks": "int64",
    "n_displacements": "int64",
}
"""Columns of the table that `hop_rates` returns."""


@verb
def hop_rates(
    tracks: Any,
    *,
    hop_length_nm: float,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return how often defects of each class hop to a neighbouring site. Computes once: one pass.

    Parameters
    ----------
    tracks, class_name, class_names, class_ids, class_of, by, border_px, experiment
        As for `fit_diffusion`.
    frame_time_s, confidence
        As for `fit_diffusion`.
    hop_length_nm
        Distance between neighbouring sites: 0.3153 for the sulphur sites of WS2 (triangular), 0.142
        for the bonds of graphene (honeycomb). Whether the lattice is triangular, honeycomb or
        square follows from steps of several hops.

    Returns
    -------
    Columns as in `COLUMNS`. `n_hops` is the number of hops that the interval is worth: the relative
    error of the rate is ``1/sqrt(n_hops)``. It is less than the number of hops made where several
    fall into one frame, since some of those lead back; and where tracks differ more than chance
    allows.

    Raises
    ------
    ValueError
        As `fit_diffusion`.
    """
    adder = estimator("hop", hop_length_nm).add
    known = Calibrations.of(tracks, experiment, frame_time_s)
    pooling = Pooling.of(by, tracks, known)
    choice = Choice.of(
        tracks,
        known,
        class_name=class_name,
        class_names=class_names,
        class_ids=class_ids,
        class_of=class_of,
        border_px=border_px,
        grouping=pooling.grouping,
    )

    def table(sums: Sums) -> pd.DataFrame:
        rows = [
            (group, _row(number, seconds, vector, hop_length_nm, confidence))
            for group, number, seconds, vector in pooling.totals(sums)
        ]
        return pooling.table(rows, COLUMNS)

    return Question(added_by(adder, choice), table)


def no_hop_rates() -> pd.DataFrame:
    """Return the table of `hop_rates` without a row."""
    return pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


def _row(
    class_id: int, seconds: float, sums: np.ndarray, a: float, confidence: float
) -> dict[str, Any]:
    fit = most_likely_rate(sums, confidence=confidence)
    return {
        "class_id": class_id,
        "hop_rate_per_s": fit.rate / seconds,
        "low": fit.low / seconds,
        "high": fit.high / seconds,
        "n_hops": fit.n_hops,
        "D_nm2_per_s": a**2 * fit.rate / 4 / seconds,
        "sigma_nm": fit.s * a,
        "n_tracks": fit.n_units,
        "n_displacements": fit.n,
    }
