"""Events that a reader wants to see: changes of class, meetings, long stays, gaps, doubtful names.

They are those of the movies that can be played; each is a button that takes the player there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot.numerals import plain
from stemkin.report.encounters import KIND, reaction
from stemkin.report.lookups import label_of
from stemkin.report.reels import MAX_ROWS
from stemkin.report.results import Reel, Results
from stemkin.report.words import number_of
from stemkin.tables import NOT_NAMED

MAX_LISTED = 12
"""So many events of a kind are listed."""
MAX_KINDS = 8
"""So many kinds of changes, and of meetings, the most frequent first."""
DOUBTFUL = 0.9
"""A name with a smaller probability is doubtful."""
PLACE = ["frame", "particle", "y", "x", "ry", "rx", "detail"]


def events_section(results: Results) -> dict[str, Any]:
    """Return the events in groups, each with its first ones, and what is left out, in words."""
    reels = [(m, reel) for m, reel in enumerate(results.reels) if reel.is_whole]
    tracks = [(m, reel, _with_previous(reel)) for m, reel in reels]
    groups = list(_changes(results, tracks))
    groups += _meetings(results, reels)
    groups.append(_group("Longest stays", _all(tracks, _stays)))
    groups.append(_group("Uncertain names", _all(tracks, _doubtful)))
    groups.append(_group("Repaired gaps", _all(tracks, _gaps)))
    groups.append(_group("First frames of new defects", _all(tracks, _new)))
    note = ""
    if len(reels) < len(results.reels):
        n = len(results.reels) - len(reels)
        note = (
            f"{number_of(n, 'movie')} with more than {MAX_ROWS:,} rows of tracks, or none, "
            "gave no events here."
        )
    return {"groups": [group for group in groups if group["n"]], "note": note}


def _with_previous(reel: Reel) -> pd.DataFrame:
    """Return the tracks of a movie beside the row before of the same track.

    `before` is its frame, `was` its class; both are -1 in the first row of a track. `detail` is what
    is said of a row.
    """
    rows = reel.tracks
    previous = rows.groupby("particle")[["frame", "class_id"]].shift(fill_value=-1)
    return rows.assign(before=previous["frame"], was=previous["class_id"], detail="")


Tracks = list[tuple[int, Reel, pd.DataFrame]]
"""Number of a movie, the movie, and its tracks as `_with_previous` gives them."""


def _all(tracks: Tracks, events_of: Any) -> pd.DataFrame:
    """Return the events of all movies in the order of `rank`, each with the number of its movie."""
    found = [events_of(reel, rows).assign(movie=m) for m, reel, rows in tracks]
    if not found:
        return pd.DataFrame(columns=[*PLACE, "movie", "rank"])
    events: pd.DataFrame = pd.concat(found, ignore_index=True).sort_values("rank", kind="stable")
    return events


def _group(title: Markup | str, events: pd.DataFrame) -> dict[str, Any]:
    """Return a kind of event with its first ones as the page lists them."""
    shown = [_entry(row) for _, row in events.head(MAX_LISTED).iterrows()]
    return {
        "title": title,
        "n": f"{len(events):,}" if len(events) else "",
        "events": shown,
        "hidden": max(0, len(events) - MAX_LISTED),
    }


def _entry(row: pd.Series) -> dict[str, Any]:
    place = {name: round(float(row[name]), 2) for name in ("ry", "rx")}
    numbers = {name: int(row[name]) for name in ("movie", "frame", "particle")}
    return {**place, **numbers, "detail": row["detail"]}


def _changes(results: Results, tracks: Tracks) -> Iterator[dict[str, Any]]:
    """Yield the changes of class from one frame to the next, a group for each pair of classes."""

    def changed(_: Reel, rows: pd.DataFrame) -> pd.DataFrame:
        named = (rows["was"] != NOT_NAMED) & (rows["class_id"] != NOT_NAMED)
        is_next = (rows["frame"] - rows["before"] == 1) & (rows["before"] >= 0)
        own = rows[named & is_next & (rows["was"] != rows["class_id"])]
        return own.assign(rank=-own["probability"])

    events = _all(tracks, changed)
    if events.empty:
        return
    counts = events.groupby(["was", "class_id"]).size().sort_values(ascending=False, kind="stable")
    for was, became in counts.index[:MAX_KINDS]:
        own = events[(events["was"] == was) & (events["class_id"] == became)]
        title = Markup("{} → {}").format(label_of(results, was), label_of(results, became))
        yield _group(title, own)


def _meetings(results: Results, reels: list[tuple[int, Reel]]) -> list[dict[str, Any]]:
    """Return merges and splits, a group for each kind."""
    movies = pd.DataFrame([(m, reel.movie) for m, reel in reels], columns=["number", "movie"])
    found = results.found["meetings"].merge(movies, on="movie")
    parts = []
    for m, reel in reels:
        # who merges is seen no more in the frame of the meeting; who is left stands there
        own = found[found["number"] == m].drop(columns=["movie"])
        seen = reel.tracks[["frame", "particle", "y", "x", "ry", "rx"]]
        own = own.drop(columns=["y", "x"], errors="ignore").merge(seen, on=["frame", "particle"])
        parts.append(own.assign(movie=m, detail="", rank=own["distance_nm"]))
    if not parts:
        return []
    events = pd.concat(parts, ignore_index=True).sort_values("rank", kind="stable")
    groups = []
    counts = events.groupby(KIND).size().sort_values(ascending=False, kind="stable")
    for kind in counts.index[:MAX_KINDS]:
        own = events[(events[KIND] == list(kind)).all(axis=1)]
        groups.append(_group(reaction(results, own.iloc[0]), own))
    return groups


def _stays(_: Reel, rows: pd.DataFrame) -> pd.DataFrame:
    """Return where each stay in a class begins, the longest first."""
    named = rows[rows["class_id"] != NOT_NAMED]
    begins = (named["class_id"] != named["was"]) | (named["before"] < 0)
    stay = begins.cumsum()
    first = named[begins].assign(last=named.groupby(stay)["frame"].max().to_numpy())
    length = first["last"] - first["frame"] + 1
    first = first.assign(rank=-length, length=length).sort_values("rank", kind="stable")
    first["detail"] = [f"{number_of(int(n), 'frame')}" for n in first["length"]]
    return first


def _doubtful(_: Reel, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the least certain name of each track that has a doubtful one."""
    own = rows[(rows["class_id"] != NOT_NAMED) & (rows["probability"] < DOUBTFUL)]
    own = own.sort_values("probability", kind="stable").drop_duplicates("particle")
    own = own.assign(rank=own["probability"])
    own["detail"] = [f"probability {100 * p:.0f} %" for p in own["probability"]]
    return own


def _gaps(_: Reel, rows: pd.DataFrame) -> pd.DataFrame:
    """Return where tracks go on after a gap, the longest first."""
    own = rows[(rows["before"] >= 0) & (rows["frame"] - rows["before"] > 1)]
    missed = own["frame"] - own["before"] - 1
    own = own.assign(rank=-missed)
    own["detail"] = [f"{number_of(int(n), 'frame')} missed" for n in missed]
    return own


def _new(reel: Reel, rows: pd.DataFrame) -> pd.DataFrame:
    """Return where tracks begin after the first frame and not at the edge, long tracks first."""
    length = rows.groupby("particle")["frame"].transform("size")
    first = int(reel.pictures["frame"].iloc[0])
    own = rows[(rows["before"] < 0) & (rows["frame"] > first) & ~rows["at_edge"].astype(bool)]
    own = own.assign(rank=-length.loc[own.index], length=length.loc[own.index])
    own["detail"] = [f"seen {plain(n)} times" for n in own["length"]]
    return own
