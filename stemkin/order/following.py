"""Holes, disordered areas and fragments followed from frame to frame, and their histories."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.common.matching import match_points


def follow(
    found: pd.DataFrame, *, max_step_px: float = 30.0, max_gap_frames: int = 2
) -> pd.DataFrame:
    """Give the same region the same number from frame to frame. Computes once.

    Parameters
    ----------
    found
        As `regions(...).compute()` gives it.
    max_step_px
        How far a centre may move from one frame to the next.
    max_gap_frames
        For how many frames a region may be out of sight, for instance while it is too small to
        count.

    Returns
    -------
    The rows with `region`, a number that is unique within a movie; of the same kind, the closest
    centres are joined.
    """
    parts = [
        _follow_one(rows, max_step_px, max_gap_frames)
        for _, rows in found.groupby(["movie", "kind"], sort=True)
    ]
    if not parts:
        return found.assign(region=pd.Series([], dtype="int64"))
    by = ["movie", "frame", "kind", "region"]
    rows = pd.concat(parts).sort_values(by, kind="stable", ignore_index=True)
    # So far each kind counts for itself. Regions get the place of (movie, first frame, kind, own
    # number) among all that there are, counted from 0 in each movie: so numbers do not depend on
    # the order of rows.
    first = rows.groupby(["movie", "kind", "region"], sort=False)["frame"].transform("min")
    keys = pd.MultiIndex.from_arrays([rows["movie"], first, rows["kind"], rows["region"]])
    place = pd.Series(np.arange(len(keys.unique())), index=keys.unique().sort_values())
    numbers = pd.Series(place.reindex(keys).to_numpy(), index=rows.index)
    start = numbers.groupby(rows["movie"]).transform("min")
    return rows.assign(region=(numbers - start).astype("int64"))


def _follow_one(rows: pd.DataFrame, max_step_px: float, max_gap_frames: int) -> pd.DataFrame:
    """Number the regions of one kind in one movie."""
    rows = rows.sort_values(["frame", "y", "x"], kind="stable")
    numbers = np.full(len(rows), -1, np.int64)
    frame, places = rows["frame"].to_numpy(), rows[["y", "x"]].to_numpy(float)
    # number of a region → the row where it was seen last; who is out of sight too long leaves
    last_seen: dict[int, int] = {}
    for now in np.unique(frame):
        here = np.flatnonzero(frame == now)
        last_seen = {
            number: row
            for number, row in last_seen.items()
            if now - frame[row] <= 1 + max_gap_frames
        }
        known, before = np.array([*last_seen], np.int64), np.array([*last_seen.values()], np.int64)
        i, j = match_points(places[before], places[here], max_distance=max_step_px)
        numbers[here[j]] = known[i]
        new = here[numbers[here] < 0]
        numbers[new] = numbers.max() + 1 + np.arange(len(new))
        last_seen |= dict(zip(numbers[here].tolist(), here.tolist(), strict=True))
    return rows.assign(region=numbers)


def histories(followed: pd.DataFrame) -> pd.DataFrame:
    """Sum up each followed region: when it was there, and how large. Computes once.

    Parameters
    ----------
    followed
        As `follow` gives it.

    Returns
    -------
    The table ``phases``: one row per movie and region, the largest of each movie first.
    """
    if followed.empty:
        return tables.empty("phases")
    groups = followed.sort_values("frame", kind="stable").groupby(["movie", "region"], sort=True)
    rows = groups.agg(
        kind=("kind", "first"),
        n_frames=("frame", "size"),
        first_frame=("frame", "first"),
        last_frame=("frame", "last"),
        first_time_s=("time_s", "first"),
        last_time_s=("time_s", "last"),
        largest_px=("area_px", "max"),
        largest_nm2=("area_nm2", "max"),
        last_px=("area_px", "last"),
        last_nm2=("area_nm2", "last"),
        last_turn_deg=("turn_deg", "last"),
    ).reset_index()
    by = ["movie", "largest_px", "region"]
    rows = rows.sort_values(by, ascending=[True, False, True], kind="stable")
    return tables.conform(rows, "phases")
