"""Estimated numbers beside true ones, whichever table they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stemkin.scoring import count_estimates, kinetic_estimates
from stemkin.scoring.truths import Comparison
from stemkin.tables import COLUMNS, UNKNOWN

COMPARISONS = {
    "transitions": kinetic_estimates.transition_estimates,
    "diffusion": kinetic_estimates.diffusion_estimates,
    "dwell_times": kinetic_estimates.dwell_time_estimates,
    "frames": count_estimates.frame_estimates,
    "populations": count_estimates.population_estimates,
    "abundances": count_estimates.abundance_estimates,
    "creation": count_estimates.creation_estimates,
}
"""Table → what compares its rows with the truth."""


def estimates_table(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> pd.DataFrame:
    """Return each estimate beside its true value; columns as in `Score.estimates`.

    Parameters
    ----------
    found
        One of the tables that `COMPARISONS` names.
    truths
        By movie; rows of the pooled movie are compared with the mean over these.
    names
        Class → kind.

    Raises
    ------
    ValueError
        If the table is none of these.
    """
    for table, compare in COMPARISONS.items():
        if set(COLUMNS[table]) - set(UNKNOWN) <= set(found.columns):
            return _with_errors(compare(found, truths, names))
    msg = (
        f"a table with the columns {list(found.columns)} cannot be scored; give detections, tracks "
        f"or one of {sorted(COMPARISONS)}"
    )
    raise ValueError(msg)


def _with_errors(estimates: Sequence[Comparison]) -> pd.DataFrame:
    """Return the rows with the relative error and whether the interval holds the truth."""
    rows = pd.DataFrame(list(estimates), columns=list(Comparison._fields))
    true, found = rows["true"].astype(float), rows["found"].astype(float)
    known = np.isfinite(rows["low"].astype(float)) & np.isfinite(true)
    inside = (rows["low"] <= true) & (true <= rows["high"])
    rows["relative_error"] = np.where(true != 0, found / true.where(true != 0) - 1, np.nan)
    rows["inside"] = inside.where(known, None)
    return rows
