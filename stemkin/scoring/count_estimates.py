"""Numbers of defects, cross-sections, drift and status of frames beside their true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stemkin.scoring.truths import Comparison, mean_of, simulated, truths_of


def population_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[Comparison]:
    """Return the mean numbers of ``populations`` beside the true ones of the same frames."""
    rows = []
    pairs: Any = found.groupby(["movie", "class_id"])
    for (movie, class_id), own in pairs:
        kind, frames = names.get(int(class_id)), own["frame"].unique()
        if kind is None:
            continue
        for one in truths_of(truths, str(movie)):
            true = one.defects[(one.defects["kind"] == kind) & one.defects["frame"].isin(frames)]
            mean_number = len(true) / len(frames)
            rows.append(Comparison("mean_number", movie, kind, mean_number, own["n"].mean()))
    return rows


def abundance_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], names: Mapping[int, str]
) -> list[Comparison]:
    """Return the mean numbers per frame, as seen and corrected, beside the true ones."""
    rows = []
    for row in found.to_dict("records"):
        kind, movie = names.get(int(row["class_id"])), row["movie"]
        some = [one.defects for one in truths_of(truths, movie)]
        if kind is None or not some:
            continue
        true = sum(int((own["kind"] == kind).sum()) for own in some) / row["n_frames"]
        seen = (row["mean_number"], row["low"], row["high"])
        corrected = (row["corrected_number"], row["corrected_low"], row["corrected_high"])
        rows.append(Comparison("mean_number", movie, kind, true, *seen))
        rows.append(Comparison("corrected_number", movie, kind, true, *corrected))
    return rows


def creation_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], _: Mapping[int, str]
) -> list[Comparison]:
    """Return the cross-sections per atom away from other defects, beside the simulator's own."""
    rows = []
    for row in found.to_dict("records"):
        some = simulated(truths_of(truths, row["movie"]))
        if some:
            true = mean_of([one.settings.kinetics.cross_section_barn for one in some])
            barn = (row["cross_section_barn"], row["low"], row["high"])
            rows.append(Comparison("cross_section_barn", row["movie"], "creation", true, *barn))
    return rows


def frame_estimates(
    found: pd.DataFrame, truths: Mapping[str, Any], _: Mapping[int, str]
) -> list[Comparison]:
    """Return rms errors of the drift [px] (true value 0), and the share of frames judged right."""
    rows: list[Comparison] = []
    for movie, own in found.groupby("movie"):
        for one in truths_of(truths, str(movie)):
            both = own.merge(one.frames, on="frame", suffixes=("", "_true"))
            for axis in ("shift_y", "shift_x"):
                error = (both[axis] - both[f"{axis}_true"]).to_numpy(float)
                rows.append(
                    Comparison(f"{axis}_rms_error", str(movie), "px", 0.0, _drift_rms(error))
                )
            right = float((both["status"] == both["status_true"]).mean())
            rows.append(Comparison("status_right", str(movie), "share of frames", 1.0, right))
            if one.frames["vacuum"].any() and both["vacuum"].notna().any():
                true, seen = both["vacuum_true"].mean(), both["vacuum"].mean()
                rows.append(Comparison("vacuum", str(movie), "mean", true, seen))
    return rows


def _drift_rms(error: np.ndarray) -> float:
    """Return the rms of (n,) errors of the drift, which counts from the first known frame on."""
    error = error[np.isfinite(error)]
    if len(error) == 0:
        return np.nan
    return float(np.sqrt(np.mean((error - error[0]) ** 2)))
