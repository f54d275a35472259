"""Where tracks meet and part: two vacancies become a double one, a vacancy is caught by a dopant, and back.

A linker gives each detection one predecessor, so a defect that is taken up by another just ends, and one that is let go
begins. Here such an end (or start) is joined to the track that, in the same step and within reach, became another class: that
is an *event*. Each end, start and change belongs to at most one event; the nearest go together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.candidates import near_pairs
from stemkin.kernels.matching import best_matching, tie_break
from stemkin.trajectories import Trajectories

COLUMNS = {
    "movie": "str", "frame": "int32", "event": "str", "particle": "int64", "from_id": "int16", "to_id": "int16",
    "other": "int64", "other_id": "int16", "y_nm": "float64", "x_nm": "float64", "distance_nm": "float64",
}  # fmt: skip
"""Columns of the table that `meetings` returns."""


def meetings(tracks: Any, *, reach_nm: float) -> pd.DataFrame:
    """Return where tracks merge and split. Computes once: one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks``, as `link` returns it (pandas, or Dask whose partitions hold whole movies), with classes.
    reach_nm
        How far a defect may step between two frames to merge, or after a split [nm]; 1.3 lattice constants for one hop.

    Returns
    -------
    One row per event, sorted by movie, frame, particle: `event` ("merge" or "split"), `frame` (the first after it),
    `particle` that goes on and was `from_id` and is `to_id`, `other` that ended or began and its class `other_id`, place
    [nm] and distance of the two [nm].

    An event that nobody saw (the other was missed, or the class misnamed) is not here; a change of class beside a defect
    that just then appeared or vanished for another reason is.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or the reach is no positive number.

    Examples
    --------
    >>> rows = pd.DataFrame({"frame": [0, 0, 1, 2, 2], "particle": [1, 2, 1, 1, 3], "class_id": [0, 0, 1, 0, 0]})
    >>> rows = rows.assign(y_nm=[0.0, 0.3, 0.0, 0.0, 0.3], x_nm=0.0)
    >>> meetings(rows, reach_nm=0.4)[["frame", "event", "particle", "from_id", "to_id", "other"]].values.tolist()
    [[1, 'merge', 1, 0, 1, 2], [2, 'split', 1, 1, 0, 3]]
    """
    if not (np.isfinite(reach_nm) and reach_nm > 0):
        msg = f"reach_nm must be a positive number of nanometres, but is {reach_nm}; one hop is 1.3 lattice constants (0.41 nm for WS2)"
        raise ValueError(msg)
    tables.check_columns(tracks, "tracks", needed=("frame", "particle", "class_id", "y_nm", "x_nm"))
    if isinstance(tracks, pd.DataFrame):
        found = _meetings(tracks, reach_nm)
    else:
        found = tracks.map_partitions(_meetings, reach_nm, meta=_table([])).compute()
    return found.sort_values(["movie", "frame", "particle"], ignore_index=True)


def _meetings(rows: pd.DataFrame, reach_nm: float) -> pd.DataFrame:
    """Return the events in the `rows` of whole movies."""
    of = Trajectories.of(rows, need=("class_id", "y_nm", "x_nm"))
    same = of.track[1:] == of.track[:-1]
    before = np.flatnonzero(same & (of.frame[1:] == of.frame[:-1] + 1) & (of.class_id[1:] != of.class_id[:-1]))
    first, last = np.append(True, ~same)[: len(of.track)], np.append(~same, True)[: len(of.track)]
    merged = _joined(of, np.flatnonzero(last), before + 1, reach_nm, 1)
    split = _joined(of, np.flatnonzero(first), before, reach_nm, -1)
    parts = [
        _rows(of, "merge", other=merged[0], after=merged[1], before=merged[1] - 1),
        _rows(of, "split", other=split[0], after=split[1] + 1, before=split[1]),
    ]
    return _table(parts)


def _joined(
    of: Trajectories, tips: np.ndarray, changed: np.ndarray, reach_nm: float, direction: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `tips` and of `changed` that belong together: the change one frame after the tip (before: -1)."""
    rows = np.concatenate([tips, changed])
    movie = of.movie[of.track[rows]]
    n_frames = int(of.frame.max(initial=0) - of.frame.min(initial=0)) + 3
    time = (
        movie * n_frames + direction * (of.frame[rows] - of.frame.min(initial=0)) + (n_frames if direction < 0 else 0)
    )
    points = np.stack([of.y_nm[rows], of.x_nm[rows]], axis=1)
    is_tip = np.arange(len(rows)) < len(tips)
    order = np.lexsort((points[:, 1], points[:, 0], time))
    order = order[np.isfinite(points[order]).all(axis=1)]
    pairs = near_pairs(time[order], points[order], np.where(is_tip[order], 0.0, reach_nm))
    tip, change = order[pairs.earlier], order[pairs.later]
    kept = np.flatnonzero(is_tip[tip] & (of.track[rows[tip]] != of.track[rows[change]]))
    tip, change, squared = tip[kept], change[kept], pairs.squared[kept]
    saving = reach_nm**2 * (1 + 1e-6 + tie_break(tip, change)) - squared
    taken = best_matching(tip, change, saving, n_left=len(rows), n_right=len(rows))
    return rows[tip[taken]], rows[change[taken]]


def _rows(of: Trajectories, event: str, *, other: np.ndarray, after: np.ndarray, before: np.ndarray) -> pd.DataFrame:
    near = after if event == "merge" else before  # where the one was when the other came, or went
    return pd.DataFrame(
        {
            "movie": [of.movies[m] for m in of.movie[of.track[after]]], "frame": of.frame[after], "event": event,
            "particle": of.particle[of.track[after]], "from_id": of.class_id[before], "to_id": of.class_id[after],
            "other": of.particle[of.track[other]], "other_id": of.class_id[other],
            "y_nm": of.y_nm[after], "x_nm": of.x_nm[after],
            "distance_nm": np.hypot(of.y_nm[other] - of.y_nm[near], of.x_nm[other] - of.x_nm[near]),
        }
    )  # fmt: skip


def _table(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({c: [] for c in COLUMNS})
    return rows[list(COLUMNS)].astype(COLUMNS)
