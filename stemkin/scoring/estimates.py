"""Estimated numbers against true ones: diffusion, transitions, rates of leaving, populations,
drift."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, reduce
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.chains.generator import fit_generator
from stemkin.tables import COLUMNS, POOLED

COLUMNS_OUT = [
    "quantity",
    "movie",
    "what",
    "true",
    "found",
    "low",
    "high",
    "counted",
    "limit",
    "relative_error",
    "inside",
]


def estimates_table(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> pd.DataFrame:
    """Return each estimate beside its true value; columns as in `Score.estimates`.

    Parameters
    ----------
    found
        One of the tables ``diffusion``, ``transitions``, ``dwell_times``, ``populations``,
        ``frames``.
    truths
        By movie; rows of the pooled movie are compared with the mean over these.
    names
        Class → kind.

    Raises
    ------
    ValueError
        If the table is none of these.
    """
    for table, compare in _COMPARISONS.items():
        if set(COLUMNS[table]) <= set(found.columns):
            return _with_errors(compare(found, truths, names))
    msg = (
        f"a table with the columns {list(found.columns)} cannot be scored; give detections, tracks "
        f"or one of {sorted(_COMPARISONS)}"
    )
    raise ValueError(msg)


def _with_errors(values: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Return the rows with the relative error and whether the interval holds the truth; `counted`
    and `limit` may be left out."""
    names = COLUMNS_OUT[:-2]
    rows = pd.DataFrame(
        [value + (np.nan,) * (len(names) - len(value)) for value in values], columns=names
    )
    true, found = rows["true"].astype(float), rows["found"].astype(float)
    known = np.isfinite(rows["low"].astype(float)) & np.isfinite(true)
    inside = (rows["low"] <= true) & (true <= rows["high"])
    rows["relative_error"] = np.where(true != 0, found / true.where(true != 0) - 1, np.nan)
    rows["inside"] = inside.where(known, None)
    return rows


def _of(truths: Mapping[str, Any], movie: str) -> list[Any]:
    return list(truths.values()) if movie == POOLED else [truths[movie]] if movie in truths else []


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan


def _diffusion(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    rows = []
    for row in found.to_dict("records"):
        kind = names.get(int(row["class_id"]))
        if kind is None:
            continue
        some = _of(truths, row["movie"])
        true, counted = (_mean([_D_of(one, kind, column) for one in some]) for column in _D_COLUMNS)
        n_hops = sum(_D_of(one, kind, "n_hops") for one in some)
        found_D = (row["D_nm2_per_s"], row["low"], row["high"])
        limit = true / np.sqrt(n_hops) if n_hops else np.nan
        rows.append(
            (
                "D_nm2_per_s",
                row["movie"],
                f"{kind} ({row['method']})",
                true,
                *found_D,
                counted,
                limit,
            )
        )
    return rows


_D_COLUMNS = ("D_nm2_per_s", "D_counted_nm2_per_s")


def _D_of(truth: Any, kind: str, column: str) -> float:  # noqa: N802 - physics writes D
    """Return the true diffusion coefficient of a kind; what does not hop has none."""
    own = truth.diffusion.loc[truth.diffusion["kind"] == kind, column]
    return float(own.iloc[0]) if len(own) else 0.0


def _transitions(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    counts_of, rates_of = (
        cache(lambda movie, lag: _counts(_of(truths, movie), lag)),
        cache(lambda movie: _rates_of(_of(truths, movie))),
    )
    for row in found.to_dict("records"):
        start, end = (names.get(int(row[name])) for name in ("from_id", "to_id"))
        if start is None or end is None:
            continue
        counts = counts_of(row["movie"], int(row["lag_frames"]))
        if counts is None or counts.loc[start].sum() == 0:
            continue
        own = counts.loc[start].to_numpy(dtype=float)
        n, true = float(own.sum()), float(own[counts.columns.get_loc(end)] / own.sum())
        what = f"{start} → {end} (lag {row['lag_frames']})"
        limit = np.sqrt(true * (1 - true) / n)
        rows.append(
            (
                "probability",
                row["movie"],
                what,
                true,
                row["probability"],
                row["low"],
                row["high"],
                np.nan,
                limit,
            )
        )
        kinds, seen, everywhere, _ = rates_of(row["movie"])
        if start != end and int(row["lag_frames"]) == 1 and kinds:
            found_rate = (row["rate_per_s"], row["rate_low"], row["rate_high"])
            at = kinds.index(start), kinds.index(end)
            rows.append(
                (
                    "rate_per_s",
                    row["movie"],
                    f"{start} → {end}",
                    seen[at],
                    *found_rate,
                    everywhere[at],
                )
            )
    return rows


def _rates_of(truths: list[Any]) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return the kinds, the (k, k) rates [1/s] that the frames show, those of all that was
    simulated, and the (k,) changes that the frames show.

    The former rates are the generator that makes the counts of a perfect observer of the same
    frames most likely. The latter are
    another truth: how fast a dopant takes up a vacancy depends on how many there are around it.
    """
    some = [one for one in truths if hasattr(one, "settings")]
    if not some:
        return [], np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0)
    kinds = list(some[0].kinds)
    counts = np.stack([one.transition_counts(1).to_numpy(float) for one in some])
    fit = fit_generator(counts, np.array([one.settings.instrument.frame_time_s for one in some]))
    everywhere = np.mean([one.kind_rates.to_numpy(float) for one in some], axis=0)
    return kinds, fit.rates, everywhere, counts.sum(axis=(0, 2)) - np.einsum("mii->i", counts)


def _counts(truths: list[Any], lag_frames: int) -> pd.DataFrame | None:
    """Return the transitions that a perfect observer counts in several movies together."""
    tables = [one.transition_counts(lag_frames) for one in truths]
    return reduce(lambda a, b: a.add(b, fill_value=0), tables) if tables else None


def _dwell_times(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    """Return the rates of leaving for another kind; what ends (heals, is taken up) leaves no track
    to count it in."""
    rows: list[tuple[Any, ...]] = []
    rates_of = cache(lambda movie: _rates_of(_of(truths, movie)))
    for row in found.to_dict("records"):
        kind, (kinds, seen, everywhere, changes) = (
            names.get(int(row["class_id"])),
            rates_of(row["movie"]),
        )
        i = kinds.index(kind) if kind in kinds else -1
        if i < 0 or np.isnan(seen[i, i]):
            continue
        true, found_rate = -seen[i, i], (row["exit_rate_per_s"], row["low"], row["high"])
        limit = true / np.sqrt(changes[i]) if changes[i] else np.nan
        rows.append(
            (
                "exit_rate_per_s",
                row["movie"],
                kind,
                true,
                *found_rate,
                np.nansum(everywhere[i]),
                limit,
            )
        )
    return rows


def _populations(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    rows = []
    pairs: Any = found.groupby(["movie", "class_id"])
    for (movie, class_id), own in pairs:
        kind = names.get(int(class_id))
        for one in _of(truths, str(movie)):
            if kind is None:
                continue
            frames = own["frame"].unique()
            true = one.defects[(one.defects["kind"] == kind) & one.defects["frame"].isin(frames)]
            rows.append(
                (
                    "mean_number",
                    movie,
                    kind,
                    len(true) / len(frames),
                    own["n"].mean(),
                    np.nan,
                    np.nan,
                )
            )
    return rows


def _abundances(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    """Return the mean numbers per frame, as seen and with the missed ones, beside the true ones of
    the same movies."""
    rows = []
    for row in found.to_dict("records"):
        kind = names.get(int(row["class_id"]))
        some = [one.defects for one in _of(truths, row["movie"])]
        if kind is None or not some:
            continue
        true = sum(int((own["kind"] == kind).sum()) for own in some) / row["n_frames"]
        rows.append(
            ("mean_number", row["movie"], kind, true, row["mean_number"], row["low"], row["high"])
        )
        corrected = (row["corrected_number"], row["corrected_low"], row["corrected_high"])
        rows.append(("corrected_number", row["movie"], kind, true, *corrected))
    return rows


def _creation(
    found: pd.DataFrame, truths: Mapping[str, Any], _: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    """Return the cross-sections per atom away from other defects, beside what the simulator was
    told."""
    rows = []
    for row in found.to_dict("records"):
        told = [
            one.settings.kinetics.cross_section_barn
            for one in _of(truths, row["movie"])
            if hasattr(one, "settings")
        ]
        if told:
            barn = (row["cross_section_barn"], row["low"], row["high"])
            rows.append(("cross_section_barn", row["movie"], "creation", _mean(told), *barn))
    return rows


def _frames(
    found: pd.DataFrame, truths: Mapping[str, Any], _: Mapping[int, str]
) -> list[tuple[Any, ...]]:
    """Return rms errors of the drift [px] (true value 0), and the share of frames judged
    rightly."""
    rows: list[tuple[Any, ...]] = []
    for movie, own in found.groupby("movie"):
        for one in _of(truths, str(movie)):
            both = own.merge(one.frames, on="frame", suffixes=("", "_true"))
            for axis in ("shift_y", "shift_x"):
                error = (both[axis] - both[f"{axis}_true"]).to_numpy(float)
                error = error[np.isfinite(error)]
                error = error - error[:1]
                rms = float(np.sqrt(np.mean(error**2))) if len(error) else np.nan
                rows.append((f"{axis}_rms_error", movie, "px", 0.0, rms, np.nan, np.nan))
            right = float((both["status"] == both["status_true"]).mean())
            rows.append(("status_right", movie, "share of frames", 1.0, right, np.nan, np.nan))
            if one.frames["vacuum"].any() and both["vacuum"].notna().any():
                rows.append(
                    (
                        "vacuum",
                        movie,
                        "mean",
                        both["vacuum_true"].mean(),
                        both["vacuum"].mean(),
                        np.nan,
                        np.nan,
                    )
                )
    return rows


_COMPARISONS = {
    "transitions": _transitions,
    "diffusion": _diffusion,
    "dwell_times": _dwell_times,
    "frames": _frames,
    "populations": _populations,
    "abundances": _abundances,
    "creation": _creation,
}
