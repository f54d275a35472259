"""Small tables for the figures: binned counts, mean fractions, the matrix, the fit that belongs to
a curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stemkin.report.words import Quantity
from stemkin.tables import NOT_NAMED, OK, POOLED

MAX_BINS = 60
METHODS = ("mle", "hop", "cve", "ols")
"""Which estimate of D is quoted first, where there are several; others follow in the order of the
table. Displacements that are not Gaussian come from hops, whatever else is there."""
METHOD_NAMES = {
    "mle": "maximum likelihood",
    "hop": "hops on the lattice",
    "cve": "covariance estimator",
    "ols": "least squares of the MSD",
}


def poisson_interval(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the central 95 % interval of the mean of a Poisson count (Garwood, Biometrika 28, 437
    (1936)).

    >>> [round(float(v), 2) for v in np.ravel(poisson_interval(np.array([0, 10])))]
    [0.0, 4.8, 3.69, 18.39]
    """
    from scipy.special import gammaincinv

    n = np.asarray(counts, dtype=float)
    low = np.where(n > 0, gammaincinv(np.maximum(n, 1e-300), 0.025), 0.0)
    return low, gammaincinv(n + 1, 0.975)


def has_times(frames: pd.DataFrame) -> bool:
    """Tell whether every row knows its time, and time goes on."""
    times = frames["time_s"]
    return bool(len(times)) and bool(np.isfinite(times).all()) and bool(times.max() > 0)


def binned(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` (with `frame`, `time_s`) with a column `bin` of at most `MAX_BINS` bins, and
    `time`, each bin's middle."""
    position = rows["time_s"] if has_times(rows) else rows["frame"].astype(float)
    step = (
        float(position.max() - position.min())
        / max(1, int(rows["frame"].max() - rows["frame"].min()))
        or 1.0
    )
    n_steps = round(float(position.max() - position.min()) / step) + 1
    width = step * math.ceil(n_steps / MAX_BINS)
    bins = np.floor((position - position.min()) / width + 0.5 * step / width).astype(int)
    rows = rows.assign(bin=bins, position=position)
    return rows.assign(time=rows.groupby("bin")["position"].transform("mean"))


def mean_populations(populations: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """Return the mean number of defects per frame, with a 95 % band, for each class and time bin.

    Each movie counts alike. Frames in which a class has no row count as zero; where a movie has no
    good frame, its own neighbours in time stand in, so that a gap in one movie makes no step in the
    mean of all. The frames of one bin and
    movie show largely the same defects, so the band takes them as one look: it is the Poisson
    interval of the mean times the number of movies that were seen in the bin.

    Returns
    -------
    Columns `class_id`, `bin`, `time`, `mean`, `low`, `high`, `n_movies`.
    """
    looked = frames.loc[frames["status"] == OK, ["movie", "frame", "time_s"]]
    looks = pd.concat([looked, populations[["movie", "frame", "time_s"]]]).drop_duplicates(
        ["movie", "frame"]
    )
    looks = binned(looks)
    n_frames = looks.groupby(["movie", "bin"]).size()
    time = looks.groupby("bin")["time"].first()
    placed = populations.merge(looks[["movie", "frame", "bin"]], on=["movie", "frame"])
    parts = []
    for class_id in sorted(populations["class_id"].unique()):
        n = placed[placed["class_id"] == class_id].groupby(["movie", "bin"])["n"].sum()
        by_movie = (
            (n.reindex(n_frames.index, fill_value=0) / n_frames)  # noqa: PD010
            .unstack("movie")
            .reindex(time.index)
        )
        mean = by_movie.interpolate(method="index", limit_area="inside").mean(axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "class_id": class_id,
                    "time": time,
                    "mean": mean,
                    "n_movies": by_movie.notna().sum(axis=1),
                }
            )
        )
    means = pd.concat(parts).rename_axis("bin").reset_index()
    low, high = poisson_interval((means["mean"] * means["n_movies"]).to_numpy())
    return means.assign(low=low / means["n_movies"], high=high / means["n_movies"])


def mean_fractions(frames: pd.DataFrame) -> pd.DataFrame:
    """Return the mean area fractions per time bin: `time`, `ordered`, `disordered`, `vacuum`; no
    rows where none is known."""
    names = ["ordered", "disordered", "vacuum"]
    known = frames[(frames["status"] == OK) & frames[names].notna().all(axis=1)]
    if known.empty:
        return pd.DataFrame(columns=["time", *names])
    return binned(known).groupby("bin")[["time", *names]].mean().reset_index(drop=True)


def pooled(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows that pool every movie; without them, those of the movie with most rows. And
    which movie that is."""
    if rows.empty:
        return rows, POOLED
    chosen = (
        POOLED if (rows["movie"] == POOLED).any() else str(rows["movie"].value_counts().index[0])
    )
    return rows[rows["movie"] == chosen], chosen


def per_movie(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that belong to single movies."""
    return rows[rows["movie"] != POOLED]


def method_name(method: str) -> str:
    """Return what to call an estimator of D."""
    return METHOD_NAMES.get(method, method)


def preferred(rows: pd.DataFrame, *, gaussian: bool = True) -> pd.DataFrame:
    """Return `rows` of ``diffusion`` with the estimate that is quoted first on top, those without a
    value last."""
    methods = METHODS if gaussian else sorted(METHODS, key=lambda m: m != "hop")
    rank = rows["method"].map({m: i for i, m in enumerate(methods)}).fillna(len(methods))
    ranked = rows.assign(_unknown=~np.isfinite(rows["D_nm2_per_s"]), _rank=rank)
    return ranked.sort_values(["_unknown", "_rank"], kind="stable").drop(
        columns=["_unknown", "_rank"]
    )


def diffusion_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return D of a row of ``diffusion``."""
    return Quantity(float(row["D_nm2_per_s"]), float(row["low"]), float(row["high"]), "nm²/s")


def hop_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the rate of a row of ``hop_rates``."""
    return Quantity(float(row["hop_rate_per_s"]), float(row["low"]), float(row["high"]), "per s")


def rate_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the rate of a row of ``transitions``."""
    return Quantity(
        float(row["rate_per_s"]), float(row["rate_low"]), float(row["rate_high"]), "per s"
    )


def dwell_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the mean dwell time of a row of ``dwell_times``; its interval is the inverse of the
    exit rate's."""
    low, high = float(row["low"]), float(row["high"])
    return Quantity(
        float(row["mean_dwell_s"]),
        1 / high if high > 0 else math.nan,
        1 / low if low > 0 else math.inf * (low == 0),
        "s",
    )


def leaving_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the mean dwell time of a diagonal row of ``transitions``: the inverse of minus its
    rate."""
    leaving = (-float(row["rate_per_s"]), -float(row["rate_high"]), -float(row["rate_low"]))
    value, high, low = (1 / rate if rate > 0 else math.inf for rate in leaving)
    return Quantity(value, low, high, "s")


def number_quantities(row: Mapping[str, Any] | pd.Series) -> tuple[Quantity, Quantity]:
    """Return the mean number per frame of a row of ``abundances``, as seen and corrected."""
    seen = Quantity(float(row["mean_number"]), float(row["low"]), float(row["high"]), "per frame")
    ends = (float(row["corrected_low"]), float(row["corrected_high"]))
    return seen, Quantity(float(row["corrected_number"]), *ends, "per frame")


def barn_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the cross-section of a row of ``creation`` or ``beam_transitions``."""
    return Quantity(float(row["cross_section_barn"]), float(row["low"]), float(row["high"]), "barn")


def fit_of(rows: pd.DataFrame, *, gaussian: bool = True) -> tuple[float, float] | None:
    """Return D [nm²/s] and the offset 4 sigma² [nm²] of the first estimate with a positive D in
    `rows` of ``diffusion``."""
    for _, row in preferred(rows, gaussian=gaussian).iterrows():
        D_nm2_per_s, sigma_nm = float(row["D_nm2_per_s"]), float(row["sigma_nm"])
        if math.isfinite(D_nm2_per_s) and D_nm2_per_s > 0:
            return D_nm2_per_s, 4 * sigma_nm**2 if math.isfinite(sigma_nm) else 0.0
    return None


def matrix(rows: pd.DataFrame) -> tuple[list[int], dict[tuple[int, int], pd.Series]]:
    """Return the class numbers that were counted in a transition table (not-named last), and its
    rows by (from, to)."""
    counted = rows[rows["count"] > 0]
    rows = counted if counted.empty else rows
    ids = sorted(
        {int(i) for i in (*counted["from_id"], *counted["to_id"])},
        key=lambda i: (i == NOT_NAMED, i),
    )
    return ids, {(int(row["from_id"]), int(row["to_id"])): row for _, row in rows.iterrows()}


def key_transitions(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the `n` most counted changes of class that have a rate, most counted first."""
    changes = rows[
        (rows["from_id"] != rows["to_id"]) & np.isfinite(rows["rate_per_s"]) & (rows["count"] > 0)
    ]
    ordered: pd.DataFrame = changes.sort_values(
        ["count", "from_id", "to_id"], ascending=[False, True, True]
    )
    return ordered.head(n)
