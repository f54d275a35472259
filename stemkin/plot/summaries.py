"""Small tables for the figures: binned counts, mean fractions, the matrix, fits of curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.common.intervals import count_interval
from stemkin.tables import NOT_NAMED, OK, POOLED

MAX_BINS = 60
MAX_CURVES = 6
LEAST_EXITS = 5
"""A class that was left less often has no survival curve worth drawing."""
MAX_ARROWS = 10
"""So many changes of class are drawn, the most counted."""
METHODS = ("mle", "hop", "cve", "ols")
"""In which order estimates of D stand below the one that is recommended, which is quoted; or in
which order they are quoted, in results that recommend none. Others follow in the order of the
table."""
METHOD_NAMES = {
    "mle": "maximum likelihood",
    "hop": "hops on the lattice",
    "cve": "covariance estimator",
    "ols": "least squares of the MSD",
}


def in_class_order(class_ids: Iterable[Any]) -> list[int]:
    """Return class numbers once each, not-named last.

    >>> in_class_order([2, -1, 0, 2])
    [0, 2, -1]
    """
    ids = sorted({int(i) for i in class_ids})
    return [i for i in ids if i != NOT_NAMED] + [i for i in ids if i == NOT_NAMED]


def has_times(frames: pd.DataFrame) -> bool:
    """Tell whether every row knows its time, and time goes on."""
    times = frames["time_s"]
    return bool(len(times)) and bool(np.isfinite(times).all()) and bool(times.max() > 0)


def binned(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` in at most `MAX_BINS` bins of time.

    Parameters
    ----------
    rows
        Table with `frame` and `time_s`; where times are not known, frames stand in.

    Returns
    -------
    `rows` with `bin`, the number of its bin, `time`, the bin's middle, and whether that is
    `in_seconds`.
    """
    position = rows["frame"].astype(float)
    if has_times(rows):
        position = rows["time_s"]
    length = float(position.max() - position.min())
    n_frames = max(1, int(rows["frame"].max() - rows["frame"].min()))
    step = length / n_frames or 1.0
    n_steps = round(length / step) + 1
    width = step * math.ceil(n_steps / MAX_BINS)
    # Half a step on, so that rounding does not put a frame on the wrong side of a bin's edge.
    bins = np.floor((position - position.min()) / width + 0.5 * step / width).astype(int)
    rows = rows.assign(bin=bins, position=position)
    time = rows.groupby("bin")["position"].transform("mean")
    return rows.assign(time=time, in_seconds=has_times(rows))


def mean_populations(populations: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """Return the mean number of defects per frame, with a 95 % band, by class and time bin.

    Each movie counts alike. Frames in which a class has no row count as zero; where a movie has no
    good frame, its own neighbours in time stand in, so that a gap in one movie makes no step in the
    mean of all. The frames of one bin and movie show largely the same defects, so the band takes
    them as one look: it is the interval of a count (`count_interval`, as in every table) of the
    mean times the number of movies that were seen in the bin.

    Parameters
    ----------
    populations, frames
        The tables of these names.

    Returns
    -------
    Columns `class_id`, `bin`, `time`, `in_seconds`, `mean`, `low`, `high`, `n_movies`.
    """
    looked = frames.loc[frames["status"] == OK, ["movie", "frame", "time_s"]]
    looks = pd.concat([looked, populations[["movie", "frame", "time_s"]]])
    looks = binned(looks.drop_duplicates(["movie", "frame"]))
    n_frames = looks.groupby(["movie", "bin"]).size()
    bins = looks.groupby("bin")
    time, in_seconds = bins["time"].first(), bool(looks["in_seconds"].all())
    placed = populations.merge(looks[["movie", "frame", "bin"]], on=["movie", "frame"])
    parts = []
    for class_id in sorted(populations["class_id"].unique()):
        n = placed[placed["class_id"] == class_id].groupby(["movie", "bin"])["n"].sum()
        per_frame = n.reindex(n_frames.index, fill_value=0) / n_frames
        one_a_movie = per_frame.unstack("movie")  # noqa: PD010 - one column each
        by_movie = one_a_movie.reindex(time.index)
        mean = by_movie.interpolate(method="index", limit_area="inside").mean(axis=1)
        n_movies = by_movie.notna().sum(axis=1)
        part = {"class_id": class_id, "time": time, "mean": mean, "n_movies": n_movies}
        parts.append(pd.DataFrame(part))
    means = pd.concat(parts).rename_axis("bin").reset_index()
    low, high = count_interval((means["mean"] * means["n_movies"]).to_numpy())
    low, high = low / means["n_movies"], high / means["n_movies"]
    return means.assign(low=low, high=high, in_seconds=in_seconds)


def mean_fractions(frames: pd.DataFrame) -> pd.DataFrame:
    """Return the mean area fractions per time bin, no rows where none is known.

    Columns: `time`, `in_seconds`, `ordered`, `disordered`, `vacuum`.
    """
    names = ["ordered", "disordered", "vacuum"]
    known = frames[(frames["status"] == OK) & frames[names].notna().all(axis=1)]
    if known.empty:
        return pd.DataFrame(columns=["time", "in_seconds", *names])
    parts = binned(known)
    means = parts.groupby("bin")[["time", *names]].mean().reset_index(drop=True)
    return means.assign(in_seconds=bool(parts["in_seconds"].all()))


def pooled(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows that pool every movie, and the name of what they are of.

    Without such rows, they are those of the movie with most rows.
    """
    movie = POOLED
    if len(rows) and not (rows["movie"] == POOLED).any():
        movie = str(rows["movie"].value_counts().index[0])
    return rows[rows["movie"] == movie], movie


def per_movie(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that belong to single movies."""
    return rows[rows["movie"] != POOLED]


def method_name(method: str) -> str:
    """Return what to call an estimator of D."""
    return METHOD_NAMES.get(method, method)


def preferred(rows: pd.DataFrame, *, gaussian: bool = True) -> pd.DataFrame:
    """Return rows of ``diffusion`` with the estimate that is quoted first on top.

    Those without a value come last.

    Parameters
    ----------
    rows
        Estimates of one class.
    gaussian
        Whether displacements may be taken for Gaussian; otherwise hops come first.
    """
    methods = list(METHODS)
    if not gaussian:
        methods = sorted(METHODS, key=lambda method: method != "hop")
    rank = rows["method"].map({m: i for i, m in enumerate(methods)}).fillna(len(methods))
    if "recommended" in rows:
        rank = rank - 100 * rows["recommended"].astype(bool)
    ranked = rows.assign(_unknown=~np.isfinite(rows["D_nm2_per_s"]), _rank=rank)
    return ranked.sort_values(["_unknown", "_rank"], kind="stable").drop(
        columns=["_unknown", "_rank"]
    )


def fit_of(rows: pd.DataFrame, *, gaussian: bool = True) -> tuple[float, float] | None:
    """Return the line of a mean squared displacement, None without a positive D.

    Parameters
    ----------
    rows
        Rows of ``diffusion`` of one class; the first positive estimate is taken.
    gaussian
        As in `preferred`.

    Returns
    -------
    D [nm²/s] and the offset 4 sigma² [nm²], 0 where sigma is not known.
    """
    for _, row in preferred(rows, gaussian=gaussian).iterrows():
        D_nm2_per_s, sigma_nm = float(row["D_nm2_per_s"]), float(row["sigma_nm"])
        if not math.isfinite(sigma_nm):
            sigma_nm = 0.0
        if math.isfinite(D_nm2_per_s) and D_nm2_per_s > 0:
            return D_nm2_per_s, 4 * sigma_nm**2
    return None


def matrix(rows: pd.DataFrame) -> tuple[list[int], dict[tuple[int, int], pd.Series]]:
    """Return the classes of a transition table that were counted, and its rows by (from, to)."""
    counted = rows[rows["count"] > 0]
    ids = in_class_order((*counted["from_id"], *counted["to_id"]))
    if not ids:
        return [], {}
    return ids, {(int(row["from_id"]), int(row["to_id"])): row for _, row in rows.iterrows()}


def key_transitions(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the `n` most counted changes of class that have a rate, most counted first."""
    is_change = (rows["from_id"] != rows["to_id"]) & (rows["count"] > 0)
    changes = rows[is_change & rows["rate_per_s"].notna()]
    most_first = [False, True, True]
    ordered: pd.DataFrame = changes.sort_values(["count", "from_id", "to_id"], ascending=most_first)
    return ordered.head(n)


def ordered(class_ids: Iterable[Any]) -> list[int]:
    """Return class numbers once each, not-named only where nothing else is there.

    >>> ordered([2, -1, 0]), ordered([-1])
    ([0, 2], [-1])
    """
    ids = in_class_order(class_ids)
    return [i for i in ids if i != NOT_NAMED] or ids


def often_left(curves: pd.DataFrame) -> list[int]:
    """Return the classes of a table ``survival`` that were left often enough to draw."""
    n_exits = curves[curves["survival"].notna()].groupby("class_id")["n_exits"].sum()
    left = n_exits.index[n_exits >= LEAST_EXITS]
    return ordered(left)[:MAX_CURVES]


def mean_stays(dwell_times: pd.DataFrame, movie: str) -> dict[int, float]:
    """Return class → mean dwell time [s] of one movie (or of `POOLED`)."""
    own = dwell_times[dwell_times["movie"] == movie].drop_duplicates("class_id")
    return dict(zip(own["class_id"].astype(int), own["mean_dwell_s"].astype(float), strict=True))


def moving(msd: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the table ``msd`` that logarithmic axes can hold, of the named classes."""
    curves, _ = pooled(msd)
    curves = curves[(curves["msd_nm2"] > 0) & (curves["lag_s"] > 0)]
    return curves[curves["class_id"].isin(ordered(curves["class_id"]))]


def is_gaussian(gaussianity: pd.DataFrame, movie: str, class_id: int) -> bool:
    """Tell whether displacements may be taken for Gaussian; where that was not tested, they are."""
    own = (gaussianity["movie"] == movie) & (gaussianity["class_id"] == class_id)
    tested = gaussianity[own]
    return tested.empty or bool(tested["gaussian"].iloc[0])


def lines_of_diffusion(
    diffusion: pd.DataFrame, gaussianity: pd.DataFrame
) -> dict[int, tuple[float, float]]:
    """Return the line of the mean squared displacement of each class that has a D; see `fit_of`.

    Parameters
    ----------
    diffusion, gaussianity
        The tables of these names.
    """
    rows, movie = pooled(diffusion)
    lines = {}
    for class_id in ordered(rows["class_id"]):
        own = rows[rows["class_id"] == class_id]
        line = fit_of(own, gaussian=is_gaussian(gaussianity, movie, class_id))
        if line is not None:
            lines[class_id] = line
    return lines


def shortest_lag(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``transitions`` at the shortest lag."""
    shortest: pd.DataFrame = rows[rows["lag_frames"] == rows["lag_frames"].min()]
    return shortest


def corrected_row(hidden: pd.DataFrame, row: pd.Series) -> pd.Series | None:
    """Return the row of ``hidden_transitions`` that is recommended for a row of ``transitions``.

    It has the rate with naming errors taken out. None where there is none.
    """
    same = hidden["recommended"].astype(bool)
    for column in ("movie", "from_id", "to_id"):
        same &= hidden[column] == row[column]
    own = hidden[same]
    if own.empty:
        return None
    return own.iloc[0]


def rates_of_changes(transitions: pd.DataFrame, hidden: pd.DataFrame) -> pd.DataFrame:
    """Return the rates of the most counted changes of class, naming errors taken out where known.

    Parameters
    ----------
    transitions, hidden
        Tables ``transitions`` and ``hidden_transitions``; the latter may be empty.

    Returns
    -------
    Columns `from_id`, `to_id`, `rate_per_s`, `rate_low`, `rate_high`, `corrected`.
    """
    rows, _ = pooled(shortest_lag(transitions))
    columns = ["from_id", "to_id", "rate_per_s", "rate_low", "rate_high"]
    found = []
    for _, row in key_transitions(rows, MAX_ARROWS).iterrows():
        better = corrected_row(hidden, row)
        known = better is not None and math.isfinite(better["rate_per_s"])
        chosen = row
        if better is not None and known:
            chosen = better
        found.append({**chosen[columns].to_dict(), "corrected": known})
    return pd.DataFrame(found, columns=[*columns, "corrected"])
