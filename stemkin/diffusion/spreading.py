"""The mean squared displacement against lag."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.diffusion.choice import By, Choice, ClassOf, check_words
from stemkin.diffusion.stays import Stays, stays_of, sums_of
from stemkin.kernels.common.exact import total
from stemkin.kernels.motion.displacement import squared_displacements
from stemkin.rows.tracks import Sums, frame_times, sum_over
from stemkin.tables import POOLED, Experiment, conform, empty

FEW_UNITS = 10
"""With fewer tracks than this the spread between them says little, and Gaussian motion is assumed
for the error."""

LONGEST_LAG = 10_000
"""[frames]; sums of every lag are kept for every track of a strip."""


@one_thread
def msd(
    tracks: Any,
    *,
    max_lag_frames: int = 10,
    class_name: str | None = None,
    class_id: int | None = None,
    class_of: ClassOf = "rows",
    by: By = "movie",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
) -> pd.DataFrame:
    """Return the mean squared displacement per class and lag. Computes once: one pass over the
    tracks.

    Parameters
    ----------
    tracks, class_name, class_id, class_of, by, experiment, frame_time_s
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
    check_words(by=by)
    if max_lag_frames != int(max_lag_frames) or not 1 <= max_lag_frames <= LONGEST_LAG:
        msg = (
            f"max_lag_frames must be a whole number from 1 to {LONGEST_LAG}, but it is "
            f"{max_lag_frames}"
        )
        raise ValueError(msg)
    time_of = frame_times(tracks, experiment, frame_time_s)
    choice = Choice.of(
        tracks, experiment, class_name=class_name, class_id=class_id, class_of=class_of
    )
    sums = sum_over(tracks, partial(add_squares, max_lag=max_lag_frames, choice=choice))
    rows: list[pd.DataFrame] = []
    pooled: dict[tuple[int, float], np.ndarray] = {}
    for (movie, number), vector in sorted(sums.items()):
        seconds = time_of(movie)
        if by == "movie":
            rows.append(_curve(movie, number, seconds, vector))
        key = (number, seconds)
        pooled[key] = pooled[key] + vector if key in pooled else vector
    rows += [
        _curve(POOLED, number, seconds, vector)
        for (number, seconds), vector in sorted(pooled.items())
    ]
    return conform(pd.concat(rows), "msd") if rows else empty("msd")


def add_squares(rows: pd.DataFrame, *, max_lag: int, choice: Choice) -> Sums:
    """Return movie, class → (max_lag, 7, 4) exact sums over units. Computes once.

    The seven are n, squares, independent, squares², n squares, n² and the number of units with a
    displacement.
    """
    stays = stays_of(rows, choice)
    keys, group = stays.groups()

    def each(part: Stays) -> np.ndarray:
        n, squared, independent = squared_displacements(part.walks, max_lag=max_lag)
        numbers = np.stack([n, squared, independent, squared**2, n * squared, n**2, n > 0], axis=2)
        return numbers.reshape(part.n_units, max_lag * 7)

    sums = sums_of(stays, group, len(keys), each, n_numbers=max_lag * 7)
    return {key: sums[i].reshape(max_lag, 7, 4) for i, key in enumerate(keys)}


def _curve(movie: str, class_id: int, frame_time_s: float, sums: np.ndarray) -> pd.DataFrame:
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
            "movie": movie, "class_id": class_id, "lag_frames": lag, "lag_s": lag * frame_time_s, "msd_nm2": mean,
            "n": n, "n_independent": independent, "std_error": np.where(units >= FEW_UNITS, between, gaussian),
        }
    )  # fmt: skip
    return pd.DataFrame(table[n > 0])
