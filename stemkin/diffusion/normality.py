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
from stemkin.rows.groups import By, Grouping
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import frame_times
from stemkin.tables import Experiment

NOT_GAUSSIAN = 0.01
"""Below this probability displacements are not taken for Gaussian."""

COLUMNS = ["movie", "class_id", "n", "excess", "std_error", "p_value", "gaussian"]


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
    grouping = Grouping.of(by, tracks, experiment=experiment, frame_time_s=frame_time_s)
    pooling = Pooling(frame_times(tracks, experiment, frame_time_s), grouping)
    choice = Choice.of(
        tracks,
        experiment,
        class_name=class_name,
        class_names=class_names,
        class_ids=class_ids,
        class_of=class_of,
        border_px=border_px,
        grouping=grouping,
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
    rows = []
    for group, number, parts in pooling.groups(sums):
        shape = _shape(group[0], number, total(np.sum(list(parts.values()), axis=0)))
        rows.append((group, shape))
    rows.sort(key=lambda pair: (pair[0], pair[1]["class_id"]))
    table = pd.DataFrame([shape for _, shape in rows], columns=COLUMNS)
    return pooling.grouping.beside(table, [group for group, _ in rows])


def _shape(movie: str, class_id: int, numbers: np.ndarray) -> dict[str, Any]:
    excess, error = excess_kurtosis(numbers)
    p = np.nan
    if error > 0:
        p = float(special.ndtr(-excess / error))
    return {
        "movie": movie,
        "class_id": class_id,
        "n": round(float(numbers[6])),
        "excess": excess,
        "std_error": error,
        "p_value": p,
        "gaussian": not p < NOT_GAUSSIAN,
    }
