"""Detections and tracks corrected by hand: what a person saw better than the run; no pixel is read.

They are kept as ``by_hand.json`` in the results folder, and done again whenever detections are named
and linked (`stemkin classes`, `link`, `kinetics`, `run`), in their order. A correction names its
detection by frame and place, which a later link does not change:

    {"version": 1, "edits": [
      {"movie": "film", "do": "delete", "frame": 3, "y": 10.2, "x": 33.1},
      {"movie": "film", "do": "add", "frame": 3, "y": 12.0, "x": 40.5, "class": "V_S"},
      {"movie": "film", "do": "rename", "frame": 4, "y": 50.0, "x": 8.0, "class": "Mo_W"},
      {"movie": "film", "do": "cut", "frame": 9, "y": 50.1, "x": 8.0},
      {"movie": "film", "do": "join", "frame": 9, "y": 50.1, "x": 8.0,
       "to_frame": 12, "to_y": 51.0, "to_x": 9.0}]}

``cut`` begins a new track at that detection; ``join`` makes the tracks of two detections one.
Places are pixels of the raw frame. A correction that finds no detection within `REACH_PX` is left
out, and the run says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.linking.block_names import ID_STRIDE
from stemkin.results.store import Store

BY_HAND_FILE = "by_hand.json"
VERSION = 1
REACH_PX = 3.0
"""So far a detection may lie from the place that a correction names."""
OF_DETECTIONS = ("delete", "add", "rename")
OF_TRACKS = ("cut", "join")
MAX_EDITS = 1_000_000
"""More corrections than a hand makes are refused."""


@dataclass(frozen=True)
class HandEdit:
    """One correction.

    Attributes
    ----------
    movie, frame, y, x
        The detection that is meant, places in pixels of the raw frame.
    do
        One of `OF_DETECTIONS` and `OF_TRACKS`.
    class_name
        Name of the class, of ``add`` and ``rename``; "" is not named.
    to_frame, to_y, to_x
        The other detection, of ``join``.
    """

    movie: str
    do: str
    frame: int
    y: float
    x: float
    class_name: str = ""
    to_frame: int = -1
    to_y: float = -1.0
    to_x: float = -1.0

    def as_dict(self) -> dict[str, Any]:
        """Return what stands in the file."""
        said: dict[str, Any] = {"movie": self.movie, "do": self.do}
        said |= {"frame": self.frame, "y": self.y, "x": self.x}
        if self.do in ("add", "rename"):
            said["class"] = self.class_name
        if self.do == "join":
            said |= {"to_frame": self.to_frame, "to_y": self.to_y, "to_x": self.to_x}
        return said


def hand_edits_of(store: Store) -> list[HandEdit]:
    """Return the corrections of a results folder, in their order; none without a file.

    Raises
    ------
    ValueError
        If the file is not what it should be.
    """
    if not store.exists(BY_HAND_FILE):
        return []
    try:
        content = json.loads(store.read_bytes(BY_HAND_FILE))
    except ValueError as error:
        msg = f"{store.path(BY_HAND_FILE)} is no JSON ({error}); mend it or remove it"
        raise ValueError(msg) from None
    return parsed(content, store.path(BY_HAND_FILE))


def parsed(content: Any, where: str) -> list[HandEdit]:
    """Return the corrections that the content of a file says.

    Parameters
    ----------
    content
        As the module's docstring shows it.
    where
        The file, for messages.

    Raises
    ------
    ValueError
        If it is of a later version, or a correction is not one.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("edits"), list):
        msg = f"{where} holds no list of edits; mend it or remove it"
        raise ValueError(msg)
    if content.get("version") != VERSION:
        msg = (
            f"{where} is of version {content.get('version')!r}, and this stemkin knows {VERSION}; "
            "update stemkin"
        )
        raise ValueError(msg)
    if len(content["edits"]) > MAX_EDITS:
        msg = f"{where} holds {len(content['edits']):,} edits, and at most {MAX_EDITS:,} are taken"
        raise ValueError(msg)
    return [_one(said, f"edit {i + 1} of {where}") for i, said in enumerate(content["edits"])]


def _one(said: Any, where: str) -> HandEdit:
    """Return one correction."""
    if not isinstance(said, Mapping):
        msg = f"{where} must be a table of its words, but it is {said!r}"
        raise ValueError(msg)
    do = said.get("do")
    if do not in (*OF_DETECTIONS, *OF_TRACKS):
        msg = f"{where} does {do!r}; use one of {', '.join((*OF_DETECTIONS, *OF_TRACKS))}"
        raise ValueError(msg)
    movie, name = said.get("movie"), said.get("class", "")
    if not isinstance(movie, str) or not isinstance(name, str):
        msg = f"{where}: movie and class are names, not {movie!r} and {name!r}"
        raise ValueError(msg)
    words = ["frame", "y", "x"]
    if do == "join":
        words += ["to_frame", "to_y", "to_x"]
    numbers: dict[str, Any] = {}
    for word in words:
        value: Any = said.get(word)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = not word.endswith("frame") or (
            is_number and float(value).is_integer() and value >= 0
        )
        if not is_number or not math.isfinite(value) or not whole:
            msg = f"{where}: {word} is {value!r}, and must be a number (a frame a whole one from 0)"
            raise ValueError(msg)
        numbers[word] = int(value) if word.endswith("frame") else float(value)
    return HandEdit(movie, do, class_name=name, **numbers)


def keep_hand_edits(store: Store, edits: Sequence[HandEdit]) -> None:
    """Write the corrections of a results folder; without any, their file is removed."""
    if not edits:
        store.remove(BY_HAND_FILE)
        return
    content = {"version": VERSION, "edits": [edit.as_dict() for edit in edits]}
    # people read and mend this file themselves, so it has no seal
    store.write_bytes(json.dumps(content, indent=2).encode() + b"\n", BY_HAND_FILE)


def check_fits(edits: Iterable[HandEdit], movies: Iterable[str], names: Iterable[str]) -> None:
    """Check that movies and classes of corrections are those of a run.

    Raises
    ------
    ValueError
        If one is not.
    """
    known, classes = set(movies), {"", *names}
    for edit in edits:
        if edit.movie not in known:
            msg = f"an edit by hand is of the movie {edit.movie!r}; there are {sorted(known)[:5]}"
            raise ValueError(msg)
        if edit.class_name not in classes:
            msg = (
                f"an edit by hand names the class {edit.class_name!r}; there are "
                f"{sorted(classes - {''})}"
            )
            raise ValueError(msg)


def within(edits: Iterable[HandEdit], movie: str, start: int, stop: int) -> list[HandEdit]:
    """Return the corrections of detections in frames `start` to `stop` (excluded) of a movie."""
    return [
        edit
        for edit in edits
        if edit.movie == movie and edit.do in OF_DETECTIONS and start <= edit.frame < stop
    ]


def detections_edited(
    rows: pd.DataFrame, beside: pd.DataFrame, edits: Iterable[HandEdit], numbers: Mapping[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return detections of a block as corrected, and how many corrections found none.

    Parameters
    ----------
    rows
        Table ``detections`` of the block.
    beside
        Their ``neighbours``, row by row.
    edits
        Of these frames, in order.
    numbers
        Name of a class → its number.

    Returns
    -------
    Both tables, sorted by frame, and the number of corrections that were left out. An added
    detection is as bright and as well placed as the others on the median; its surroundings are not
    known.
    """
    # a place in the table that stays with its row while others come and go
    rows = rows.reset_index(drop=True)
    beside = beside.reset_index(drop=True)
    missed = 0
    for edit in edits:
        number = numbers.get(edit.class_name, tables.NOT_NAMED)
        if edit.do == "add":
            rows, beside = _added(rows, beside, edit, number)
            continue
        which = nearest(rows, edit.frame, edit.y, edit.x)
        if which is None:
            missed += 1
        elif edit.do == "delete":
            rows, beside = rows.drop(index=which), beside.drop(index=which)
        else:
            rows.loc[which, ["class_id", "probability", "orientation"]] = [number, 1.0, -1]
    order = rows["frame"].to_numpy().argsort(kind="stable")
    parts = (part.iloc[order].reset_index(drop=True) for part in (rows, beside))
    edited, around = parts
    return edited, around, missed


def _added(
    rows: pd.DataFrame, beside: pd.DataFrame, edit: HandEdit, number: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with one row more, at their end."""
    row = dict.fromkeys(rows.columns, np.nan) | {
        "movie": edit.movie,
        "frame": edit.frame,
        "y": edit.y,
        "x": edit.x,
        "score": float(rows["score"].median()) if len(rows) else 1.0,
        "position_error": float(rows["position_error"].median()) if len(rows) else np.nan,
        "at_edge": False,
        "class_id": number,
        "probability": 1.0,
        "orientation": tables.NOT_NAMED,
    }
    around = dict.fromkeys(beside.columns, np.nan) | {
        "movie": edit.movie,
        "frame": edit.frame,
        "turn": tables.NOT_NAMED,
    }
    label = 1 + max(
        rows.index.max() if len(rows) else -1, beside.index.max() if len(beside) else -1
    )
    return _with_row(rows, row, label), _with_row(beside, around, label)


def _with_row(rows: pd.DataFrame, row: Mapping[str, Any], label: int) -> pd.DataFrame:
    """Return a table with one row more, in the types that it has."""
    one = pd.DataFrame([row], columns=rows.columns, index=[label]).astype(rows.dtypes.to_dict())
    return pd.concat([rows, one])


def nearest(rows: pd.DataFrame, frame: int, y: float, x: float) -> Any:
    """Return the label of the row nearest to a place in a frame, None beyond `REACH_PX`."""
    own = rows[rows["frame"] == frame]
    if own.empty:
        return None
    away = np.hypot(own["y"].to_numpy() - y, own["x"].to_numpy() - x)
    if away.min() > REACH_PX:
        return None
    return own.index[int(away.argmin())]


def tracks_edited(
    tracks: pd.DataFrame, edits: Iterable[HandEdit]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the tracks of one movie, cut and joined, and what could not be done.

    Parameters
    ----------
    tracks
        Table ``tracks`` of the movie.
    edits
        Its corrections, in order; those of detections are passed over.
    """
    tracks, said = tracks.reset_index(drop=True), []
    particle = tracks["particle"].to_numpy().copy()
    frame = tracks["frame"].to_numpy()
    for edit in edits:
        if edit.do not in OF_TRACKS:
            continue
        which = nearest(tracks, edit.frame, edit.y, edit.x)
        if which is None:
            said.append(f"nothing to {edit.do} at y {edit.y:.1f}, x {edit.x:.1f} of {edit.frame}")
            continue
        own = particle == particle[which]
        if edit.do == "cut":
            later = own & (frame >= edit.frame)
            if later.sum() < own.sum():
                particle[later] = new_name(particle, edit.frame)
            continue
        other = nearest(tracks, edit.to_frame, edit.to_y, edit.to_x)
        if other is None:
            said.append(f"no detection to join in frame {edit.to_frame}")
            continue
        both = own | (particle == particle[other])
        if len(np.unique(frame[both])) < both.sum():
            said.append(f"the tracks to join in frame {edit.frame} are both there in one frame")
            continue
        particle[both] = particle[both].min()
    return tracks.assign(particle=particle), said


def new_name(particle: np.ndarray, frame: int) -> int:
    """Return a name for a track that begins in a frame and that no other has.

    Names are first frame x `ID_STRIDE` + a rank, here one behind all ranks of that frame.
    """
    first = frame * ID_STRIDE
    same = particle[(particle >= first) & (particle < first + ID_STRIDE)]
    return int(same.max(initial=first - 1)) + 1
