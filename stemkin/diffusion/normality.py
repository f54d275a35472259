"""Whether displacements are Gaussian, as Brownian motion has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.diffusion.methods import add_covariance
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.kernels.common.exact import total
from stemkin.kernels.detection.sites import BORDER_PX
from stemkin.kernels.motion.covariance import excess_kurtosis
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment

NOT_GAUSSIAN = 0.01
"""Below this probability displacements are not taken for Gaussian."""

COLUMNS = {
    "movie": "str",
    "class_id": "int64",
    "n": "int64",
    "excess": "float64",
    "std_error": "float64",
    "p_value": "float64",
    "gaussian": "bool",
}
"""Columns of the table that `gaussianity` returns."""


@verb
def gaussianity(
    tracks: Any,
    *,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    border_px: float | None = BORDER_PX,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
) -> Question[pd.DataFrame]:
    """Test whether displacements of one frame are Gaussian. Computes once.

    Parameters
    ----------
    tracks, class_name, class_names, class_ids, class_of, by, border_px, experiment, frame_time_s
        As for `fit_diffusion`.

    Returns
    -------
    Columns `movie`, `class_id`, `n` displacements, `excess` (``<d⁴>/2<d²>² - 1``: 0 if Gaussian,
    about 1/(2 Gamma t) for hops), `std_error` (of a Gaussian's), `p_value` (one-sided) and
    `gaussian`. Tracks that move with different D also have an excess.

    Raises
    ------
    ValueError
        As `fit_diffusion`.
    """
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
        return shapes(sums, pooling)

    return Question(added_by(add_covariance, choice), table)


def shapes(sums: Sums, pooling: Pooling) -> pd.DataFrame:
    """Return the table of `gaussianity`.

    Parameters
    ----------
    sums
        Key, class → sums of `add_covariance`.
    pooling
        How they come together.
    """
    rows = [
        (group, _shape(number, total(np.sum(list(parts.values()), axis=0))))
        for group, number, parts in pooling.groups(sums)
    ]
    return pooling.table(rows, COLUMNS)


def _shape(class_id: int, numbers: np.ndarray) -> dict[str, Any]:
    excess, error = excess_kurtosis(numbers)
    p = np.nan
    if error > 0:
        p = float(special.ndtr(-excess / error))
    return {
        "class_id": class_id,
        "n": round(float(numbers[6])),
        "excess": excess,
        "std_error": error,
        "p_value": p,
        "gaussian": not p < NOT_GAUSSIAN,
    }
