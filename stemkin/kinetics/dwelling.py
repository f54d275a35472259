"""How long a class lasts: exits over time at risk."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.counting import run_starts
from stemkin.kernels.intervals import share_interval
from stemkin.kinetics.switching import By, class_names
from stemkin.tables import NOT_NAMED, POOLED, Experiment, conform, empty
from stemkin.trajectories import Sums, Trajectories, frame_times, sum_over


def dwell_times(
    tracks: Any,
    *,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return how fast each class is left for another one. Computes once: one pass over the tracks.

    A particle of class i that is seen in two frames running was *at risk* for one frame time, whether it left or not;
    so stays whose beginning or end was not seen count with the time for which they were seen (right and left
    censoring). With p exits per frame at risk the rate is ``-ln(1 - p) / frame time``; it is exact for a class that
    does not come back within one frame, and too low where it does (see `transitions` for rates that allow for it).

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas, or Dask whose partitions hold whole tracks).
    by
        ``"pooled"`` for all movies together ("*"); ``"movie"`` for each movie as well.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    confidence
        Of the interval of the rate (of the exits among the frames at risk, Jeffreys' prior).

    Returns
    -------
    Table ``dwell_times``. `n_censored` counts the stays whose end was not seen. Movies with different frame times are
    pooled as exits over time at risk, with the mean frame time in the logarithm.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or a frame time is not known.
    """
    known = experiment if experiment is not None else getattr(tracks, "experiment", None)
    time_of = frame_times(tracks, experiment, frame_time_s)
    sums = sum_over(tracks, partial(count_stays))
    seconds = {movie: time_of(movie) for movie, _ in sums}
    classes = sorted({*class_names(known), *(class_id for _, class_id in sums)})
    groups = [(movie, [movie]) for movie in sorted(seconds)] if by == "movie" else []
    rows = []
    for name, movies in [*groups, (POOLED, sorted(seconds))] if seconds else []:
        for class_id in classes:
            parts = np.array([[*sums.get((m, class_id), np.zeros(3, np.int64)), seconds[m]] for m in movies])
            rows.append(_row(name, class_id, parts, confidence))
    return conform(pd.DataFrame(rows), "dwell_times") if rows else empty("dwell_times")


def count_stays(rows: pd.DataFrame) -> Sums:
    """Return movie, class → (frames at risk, exits, stays whose end was not seen). Computes once."""
    tracks = Trajectories.of(rows, need=("class_id",))
    tracks = tracks.keep(tracks.class_id != NOT_NAMED)
    if len(tracks.frame) == 0:
        return {}
    neighbours = (tracks.track[1:] == tracks.track[:-1]) & (tracks.frame[1:] == tracks.frame[:-1] + 1)
    starts = run_starts(tracks.track, tracks.class_id)
    left = np.append(neighbours & starts[1:], False)
    seen_on = np.append(neighbours, False)
    n_classes = int(tracks.class_id.max()) + 1
    where = tracks.movie[tracks.track] * n_classes + tracks.class_id
    n = len(tracks.movies) * n_classes
    counts = [np.bincount(where[mask], minlength=n) for mask in (seen_on, left, ~seen_on)]
    table = np.stack(counts, axis=1).reshape(len(tracks.movies), n_classes, 3)
    return {(tracks.movies[m], int(i)): table[m, i] for m, i in zip(*np.nonzero(table.any(axis=2)), strict=True)}


def _row(movie: str, class_id: int, parts: np.ndarray, confidence: float) -> dict[str, Any]:
    """Return one row from (m, 4) frames at risk, exits, censored stays and frame time of each movie."""
    at_risk, exits, censored = (int(v) for v in parts[:, :3].sum(axis=0))
    time_at_risk = float(parts[:, 0] @ parts[:, 3])
    rate = low = high = mean = np.nan
    if at_risk:
        with np.errstate(divide="ignore"):
            share = np.array(
                [exits / at_risk, *share_interval(np.array(exits), np.array(at_risk), confidence=confidence)]
            )
            rate, low, high = -np.log1p(-share) * at_risk / time_at_risk
            mean = float(np.divide(1.0, rate))
    return {
        "movie": movie, "class_id": class_id, "n_exits": exits, "time_at_risk_s": time_at_risk, "exit_rate_per_s": rate,
        "low": low, "high": high, "mean_dwell_s": mean, "n_censored": censored,
    }  # fmt: skip
