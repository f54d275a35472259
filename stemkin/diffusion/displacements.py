"""The mean squared displacement against lag."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.diffusion.pooling import Pooling, added_by
from stemkin.diffusion.segments import Segments, unit_sums
from stemkin.kernels.common.exact import total
from stemkin.kernels.motion.displacement import squared_displacements
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment

FEW_UNITS = 10
"""With fewer tracks than this the spread between them says little, and Gaussian motion is assumed
for the error."""

LONGEST_LAG = 10_000
"""[frames]; sums of every lag are kept for every track of a strip."""


@verb
def msd(
    tracks: Any,
    *,
    max_lag_frames: int = 10,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    class_of: ClassOf = "rows",
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
) -> Question[pd.DataFrame]:
    """Return the mean squared displacement (MSD) per class and lag. Computes once: one pass.

    Parameters
    ----------
    tracks, class_name, class_names, class_ids, class_of, by, experiment, frame_time_s
        As for `stemkin.fit_diffusion`.
    max_lag_frames
        Largest lag, at most 10,000.

    Returns
    -------
    Table ``msd``. `n` displacements overlap; `n_independent` of them do not (those beginning at a
    frame that the lag divides). `std_error` is taken from the spread between tracks (with fewer
    than 10 tracks: as for Gaussian motion, MSD over the root of `n_independent`). Lags are pooled
    over movies with the same frame time only: those of other movies have rows "*" of their own,
    told apart by `lag_s`. Particles that leave the field take their long steps with
    them: a curve from a small field lies low and bends down. `fit_diffusion` corrects for that.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or a frame time is not known.
    """
    if max_lag_frames > LONGEST_LAG:
        msg = (
            f"max_lag_frames must be a number of frames, {LONGEST_LAG} or less, but it is "
            f"{max_lag_frames}"
        )
        raise ValueError(msg)
    known = Calibrations.of(tracks, experiment, frame_time_s)
    pooling = Pooling.of(by, tracks, known)
    choice = Choice.of(
        tracks,
        known,
        class_name=class_name,
        class_names=class_names,
        class_ids=class_ids,
        class_of=class_of,
        grouping=pooling.grouping,
    )

    def table(sums: Sums) -> pd.DataFrame:
        curves = [
            (group, _curve(number, seconds, vector))
            for group, number, seconds, vector in pooling.totals(sums)
        ]
        return pooling.grouping.table(curves, "msd")

    adder = partial(add_squared_displacements, max_lag=int(max_lag_frames))
    return Question(added_by(adder, choice), table)


def add_squared_displacements(
    segments: Segments, group: np.ndarray, n_groups: int, *, max_lag: int
) -> np.ndarray:
    """Return the (n_groups, max_lag, 7, 4) exact sums over units of each group.

    The seven are n, squares, independent, squares², n squares, n² and the number of units with a
    displacement.

    Parameters
    ----------
    segments
        Rows that may be compared with each other.
    group
        (n_units,) group of each unit.
    n_groups
        Number of groups.
    max_lag
        Largest lag [frames].
    """

    def each(part: Segments) -> np.ndarray:
        n, squared, independent = squared_displacements(part.walks, max_lag=max_lag)
        numbers = np.stack([n, squared, independent, squared**2, n * squared, n**2, n > 0], axis=2)
        return numbers.reshape(part.n_units, max_lag * 7)

    sums = unit_sums(segments, group, n_groups, each, n_numbers=max_lag * 7)
    return sums.reshape(n_groups, max_lag, 7, 4)


def _curve(class_id: int, frame_time_s: float, sums: np.ndarray) -> pd.DataFrame:
    """Return the rows of one curve; lags without a displacement are left out."""
    n, squared, independent, squares2, n_squared, n2, units = total(sums).T
    lag = np.arange(1, len(n) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = squared / n
        between = (
            np.sqrt(
                np.maximum(squares2 - 2 * mean * n_squared + mean**2 * n2, 0) * units / (units - 1)
            )
            / n
        )
        gaussian = mean / np.sqrt(np.maximum(independent, 1))
    table = pd.DataFrame(
        {
            "class_id": class_id,
            "lag_frames": lag,
            "lag_s": lag * frame_time_s,
            "msd_nm2": mean,
            "n": n,
            "n_independent": independent,
            "std_error": np.where(units >= FEW_UNITS, between, gaussian),
        }
    )
    return pd.DataFrame(table[n > 0])
