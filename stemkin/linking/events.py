"""Where tracks meet and part: vacancies pair up, a dopant catches one, and back.

A linker gives each detection one predecessor, so a defect that is taken up by another just ends,
and one that is let go begins. Here such an end (or start) is joined to the track that, in the same
step and within reach, became another class: that is an *event*. Each end, start and change belongs
to at most one event; the nearest go together.

    whole tracks of a partition ── moments ──▶ its ends, starts and changes of class ── events ──▶
    one movie's events
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.common.matching import best_matching, tie_break
from stemkin.kernels.linking.candidates import near_pairs
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import Trajectories, cut_by_edge
from stemkin.tables import NOT_NAMED

MEETING_LATTICES = 1.3
"""Reach of a run's meetings, in lattice constants: room for one hop."""

MOMENTS = {
    "movie": "str",
    "frame": "int64",
    "kind": "str",
    "particle": "int64",
    "class_id": "int64",
    "from_id": "int64",
    "y_nm": "float64",
    "x_nm": "float64",
    "before_y_nm": "float64",
    "before_x_nm": "float64",
}
"""A moment of a track: its `kind` is "end", "start" or "change". `frame` is the frame of the event
that it may be part of: the first without the one that ended, with the one that began, or after the
change. A change knows where and what it was before."""


@verb
def meetings(tracks: Any, *, reach_nm: float) -> Question[pd.DataFrame]:
    """Return where tracks merge and split. Computes once: one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` with classes, as `link` returns it (pandas or Dask).
    reach_nm
        How far a defect may step between two frames to merge, or after a split [nm]; 1.3 lattice
        constants for one hop.

    Returns
    -------
    Table ``meetings``: one row per event, sorted by movie, frame, particle: `event` ("merge" or
    "split"), `frame` (the first after it), `particle` that goes on and was `from_id` and is
    `to_id`, `other` that ended or began and its class `other_id`, place [nm] and distance of the
    two [nm].

    An event that nobody saw (the other was missed, or the class misnamed) is not here; a change of
    class beside a defect that just then appeared or vanished for another reason is. How many of
    these there are is told by the same verb on `immobile` tracks. What was not named does not
    change its class.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or the reach is no positive
        number.

    Examples
    --------
    >>> rows = pd.DataFrame({"frame": [0, 0, 1, 2, 2], "particle": [1, 2, 1, 1, 3]})
    >>> rows = rows.assign(class_id=[0, 0, 1, 0, 0], y_nm=[0.0, 0.3, 0.0, 0.0, 0.3], x_nm=0.0)
    >>> names = ["frame", "event", "particle", "from_id", "to_id", "other"]
    >>> meetings(rows, reach_nm=0.4)[names].values.tolist()
    [[1, 'merge', 1, 0, 1, 2], [2, 'split', 1, 1, 0, 3]]
    """
    if not (np.isfinite(reach_nm) and reach_nm > 0):
        msg = (
            f"reach_nm must be a positive number of nanometres, but is {reach_nm}; one hop is 1.3 "
            "lattice constants (0.41 nm for WS2)"
        )
        raise ValueError(msg)
    tables.check_columns(tracks, "tracks", needed=("frame", "particle", "class_id", "y_nm", "x_nm"))
    return Question(_moments_of, _together, settle=partial(_settled, reach_nm=reach_nm))


@dataclass(frozen=True, eq=False)
class _Stacked:
    """Rows whose sum is all of them."""

    rows: pd.DataFrame

    def __add__(self, other: _Stacked) -> _Stacked:
        return _Stacked(pd.concat([self.rows, other.rows], ignore_index=True))


def _moments_of(rows: pd.DataFrame) -> Sums:
    """Return "moments" → where the tracks in `rows` end, start and change their class."""
    return {"moments": _Stacked(_moments(rows))}


def _settled(sums: Sums, *, reach_nm: float) -> Sums:
    """Return "events" → the events in the moments of whole movies."""
    if not sums:
        return {}
    return {"events": _Stacked(_events(sums["moments"].rows, reach_nm))}


def _together(sums: Sums) -> pd.DataFrame:
    """Return the table of the events of all movies."""
    found = [tables.empty("meetings"), *(events.rows for events in sums.values())]
    return _in_order(tables.conform(pd.concat(found, ignore_index=True), "meetings"))


def _in_order(events: pd.DataFrame) -> pd.DataFrame:
    return events.sort_values(["movie", "frame", "particle", "event"], ignore_index=True)


def _moments(rows: pd.DataFrame) -> pd.DataFrame:
    """Return where the tracks in `rows` end, start and change their class."""
    of = Trajectories.of(rows, need=("class_id", "y_nm", "x_nm"))
    of = replace(of, class_id=np.where(cut_by_edge(rows)[of.row], NOT_NAMED, of.class_id))
    same = of.track[1:] == of.track[:-1]
    now, then = of.class_id[1:], of.class_id[:-1]
    named = (now != NOT_NAMED) & (then != NOT_NAMED)
    changed = np.flatnonzero(same & (of.frame[1:] == of.frame[:-1] + 1) & (now != then) & named) + 1
    first, last = np.append(True, ~same)[: len(of.track)], np.append(~same, True)[: len(of.track)]
    parts = []
    for kind, at, later in (
        ("end", np.flatnonzero(last), 1),
        ("start", np.flatnonzero(first), 0),
        ("change", changed, 0),
    ):
        before = at - (kind == "change")
        columns = {
            "movie": np.array(of.movies, dtype=object)[of.movie[of.track[at]]] if len(at) else [],
            "frame": of.frame[at] + later,
            "kind": kind,
            "particle": of.particle[of.track[at]],
            "class_id": of.class_id[at],
            "from_id": of.class_id[before],
            "y_nm": of.y_nm[at],
            "x_nm": of.x_nm[at],
            "before_y_nm": of.y_nm[before],
            "before_x_nm": of.x_nm[before],
        }
        parts.append(pd.DataFrame(columns).astype(MOMENTS))
    return pd.concat(parts, ignore_index=True)


def _events(moments: pd.DataFrame, reach_nm: float) -> pd.DataFrame:
    """Return the events in the moments of whole movies."""
    found = [tables.empty("meetings")]
    for _, of_movie in moments.groupby("movie", sort=False):
        change = of_movie[of_movie["kind"] == "change"]
        found.append(_joined(of_movie[of_movie["kind"] == "end"], change, "merge", reach_nm))
        found.append(_joined(of_movie[of_movie["kind"] == "start"], change, "split", reach_nm))
    return _in_order(tables.conform(pd.concat(found, ignore_index=True), "meetings"))


def _joined(
    endpoints: pd.DataFrame, changes: pd.DataFrame, event: str, reach_nm: float
) -> pd.DataFrame:
    """Return the events of one movie, as an assignment problem.

    What ended (or began) goes with what, in the same step and within reach, became another class.
    """
    # where the one was when the other came, or went
    near = {"merge": ["y_nm", "x_nm"], "split": ["before_y_nm", "before_x_nm"]}[event]
    points = np.concatenate([endpoints[["y_nm", "x_nm"]].to_numpy(), changes[near].to_numpy()])
    frame = np.concatenate([endpoints["frame"].to_numpy(), changes["frame"].to_numpy()])
    particle = np.concatenate([endpoints["particle"].to_numpy(), changes["particle"].to_numpy()])
    # Endpoints are rows 0 to len(endpoints) - 1 of both tables together, changes follow. Time is
    # twice the frame, plus one for a change (`~False` is True, which counts as 1): so the "frame
    # before" a change holds the endpoints of the same frame, and nothing else is a pair.
    is_endpoint = np.arange(len(frame)) < len(endpoints)
    time = 2 * frame + ~is_endpoint
    order = np.lexsort((particle, points[:, 1], points[:, 0], time))
    order = order[np.isfinite(points[order]).all(axis=1)]
    pairs = near_pairs(time[order], points[order], np.where(is_endpoint[order], 0.0, reach_nm))
    kept = np.flatnonzero(particle[order[pairs.earlier]] != particle[order[pairs.later]])
    endpoint, change, squared = pairs.earlier[kept], pairs.later[kept], pairs.squared[kept]
    saving = reach_nm**2 * (1 + 1e-6 + tie_break(endpoint, change)) - squared
    taken = best_matching(endpoint, change, saving, n_left=len(order), n_right=len(order))
    other, one = (
        endpoints.iloc[order[endpoint[taken]]],
        changes.iloc[order[change[taken]] - len(endpoints)],
    )
    return pd.DataFrame(
        {
            "movie": one["movie"].to_numpy(),
            "frame": one["frame"].to_numpy(),
            "event": event,
            "particle": one["particle"].to_numpy(),
            "from_id": one["from_id"].to_numpy(),
            "to_id": one["class_id"].to_numpy(),
            "other": other["particle"].to_numpy(),
            "other_id": other["class_id"].to_numpy(),
            "y_nm": one["y_nm"].to_numpy(),
            "x_nm": one["x_nm"].to_numpy(),
            "distance_nm": np.sqrt(squared[taken]),
        }
    )
