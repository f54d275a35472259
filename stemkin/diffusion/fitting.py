"""The diffusion coefficient, by several methods, with its interval."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from stemkin.diffusion.stays import ClassOf, chosen_classes, stays_of
from stemkin.kernels.displacement import covariance_estimate, covariance_sums, variance_interval
from stemkin.kernels.exact import group_sums, total
from stemkin.tables import POOLED, Experiment, conform, empty
from stemkin.trajectories import Sums, frame_times, sum_over

Method = Literal["cve"]
METHODS: tuple[Method, ...] = ("cve",)


def fit_diffusion(
    tracks: Any,
    *,
    class_name: str | None = None,
    class_id: int | None = None,
    method: Method = "cve",
    class_of: ClassOf = "rows",
    by: Literal["pooled", "movie"] = "movie",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the diffusion coefficient of each class, with its interval. Computes once: one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas, or Dask whose partitions hold whole tracks).
    class_name, class_id
        One class only; by default all.
    method
        ``"cve"``: the covariance estimator (unbiased, in closed form).
    class_of
        As for `msd`.
    by
        ``"movie"`` for each movie and all together ("*"); ``"pooled"`` for "*" only.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    confidence
        Of the interval.

    Returns
    -------
    Table ``diffusion``. Movies with different frame times are pooled as a mean weighted by the inverse variance.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or a frame time is not known.
    """
    if method not in METHODS:
        msg = f"method must be one of {METHODS}, but it is {method!r}"
        raise ValueError(msg)
    time_of = frame_times(tracks, experiment, frame_time_s)
    classes = chosen_classes(tracks, experiment, class_name, class_id)
    sums = sum_over(tracks, partial(add_covariances, class_of=class_of, class_ids=classes))
    rows = []
    pooled: dict[int, dict[float, np.ndarray]] = {}
    for (movie, number), vector in sorted(sums.items()):
        seconds = time_of(movie)
        if by == "movie":
            rows.append(_row(movie, number, {seconds: vector}, confidence))
        own = pooled.setdefault(number, {})
        own[seconds] = own[seconds] + vector if seconds in own else vector
    rows += [_row(POOLED, number, parts, confidence) for number, parts in sorted(pooled.items())]
    return conform(pd.DataFrame(rows), "diffusion") if rows else empty("diffusion")


def add_covariances(rows: pd.DataFrame, *, class_of: ClassOf, class_ids: tuple[int, ...] | None) -> Sums:
    """Return movie, class → (6, 4) exact sums of `covariance_sums` and the number of units that moved. Computes once."""
    stays = stays_of(rows, class_of=class_of, class_ids=class_ids)
    each = covariance_sums(stays.segment, stays.frame, stays.y_nm, stays.x_nm, stays.unit, n_units=stays.n_units)
    keys, group = stays.groups()
    sums = group_sums(np.column_stack([each, each[:, 0] > 0]), group, len(keys))
    return {key: sums[i] for i, key in enumerate(keys)}


def _row(movie: str, class_id: int, parts: dict[float, np.ndarray], confidence: float) -> dict[str, Any]:
    """Return one row of the table from the sums of each frame time."""
    each = np.array([covariance_estimate(total(sums)[:5], seconds) for seconds, sums in parts.items()])
    n, n_units = (sum(float(total(sums)[i]) for sums in parts.values()) for i in (0, 5))
    each = each[np.isfinite(each[:, 0])]
    D = error = s2 = np.nan
    if len(each):
        weight = 1 / np.maximum(each[:, 1], 1e-300) ** 2
        D, s2 = (float(weight @ each[:, i] / weight.sum()) for i in (0, 2))
        error = float(1 / np.sqrt(weight.sum()))
    low, high = variance_interval(D, error, confidence=confidence)
    return {
        "movie": movie, "class_id": class_id, "method": "cve", "D_nm2_per_s": D, "low": low, "high": high,
        "sigma_nm": float(np.sqrt(max(s2, 0.0))) if np.isfinite(s2) else np.nan, "alpha": np.nan,
        "n_tracks": round(n_units), "n_displacements": round(n),
    }  # fmt: skip
