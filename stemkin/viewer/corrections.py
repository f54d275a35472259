"""What was changed in the layer of detections, as corrections by hand; without Qt.

The points that a run found bear the number of their row. One that is not there any more was
deleted, one without a number was added (or, moved, is both), one of another class was renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stemkin.learning.by_hand import HandEdit, keep_hand_edits
from stemkin.results.store import Store

MOVED_PX = 0.01
"""A point that lies so far from where it was, was moved."""


def edits_of_points(
    movie: str,
    found: pd.DataFrame,
    points: np.ndarray,
    features: pd.DataFrame,
    names: dict[int, str],
) -> list[HandEdit]:
    """Return the corrections that turn detections into the points of a layer.

    Parameters
    ----------
    movie
        Its name.
    found
        Detections as they were shown: `frame`, `y`, `x`, `class_id`.
    points
        (n, 3) frame, y, x of the points of the layer.
    features
        `row` (number in `found`; NaN, or one that another point has, for a new point) and `class`
        (name) of each point.
    names
        Class number → name.
    """
    numbers = features["row"].to_numpy(float)
    # a copied point has the number of the one that it was copied from: the first keeps it
    is_new = np.isnan(numbers) | pd.Series(numbers).duplicated().to_numpy()
    kept = {int(n): i for i, n in enumerate(numbers) if not is_new[i]}
    deleted, added, renamed = [], [], []
    classes = features["class"].fillna("").astype(str).tolist()
    for row, (frame, y, x, class_id) in enumerate(
        found[["frame", "y", "x", "class_id"]].itertuples(index=False)
    ):
        place = kept.get(row)
        before = names.get(int(class_id), "")
        if place is None or _is_elsewhere(points[place], (frame, y, x)):
            deleted.append(HandEdit(movie, "delete", int(frame), float(y), float(x)))
            if place is not None:
                added.append(_added(movie, points[place], classes[place]))
        elif classes[place] != before:
            edit = HandEdit(movie, "rename", int(frame), float(y), float(x), classes[place])
            renamed.append(edit)
    added += [_added(movie, points[i], classes[i]) for i in np.flatnonzero(is_new)]
    return [*deleted, *renamed, *added]


def _is_elsewhere(point: np.ndarray, place: Sequence[float]) -> bool:
    return bool(np.abs(np.asarray(point) - np.asarray(place, float)).max() > MOVED_PX)


def _added(movie: str, point: np.ndarray, class_name: str) -> HandEdit:
    frame, y, x = (float(value) for value in point)
    return HandEdit(movie, "add", max(0, round(frame)), y, x, class_name)


def cut_at(movie: str, points: np.ndarray) -> HandEdit:
    """Return the correction that begins a new track at a point.

    Parameters
    ----------
    movie
        Its name.
    points
        (n, 3) frame, y, x of the selected points.

    Raises
    ------
    ValueError
        If not exactly one is selected.
    """
    if len(points) != 1:
        msg = f"a track is cut at one detection, but {len(points)} are selected; select one"
        raise ValueError(msg)
    ((frame, y, x),) = points.tolist()
    return HandEdit(movie, "cut", round(frame), y, x)


def joined_at(movie: str, points: np.ndarray) -> HandEdit:
    """Return the correction that makes the tracks of two points one; see `cut_at`.

    Parameters
    ----------
    movie, points
        As in `cut_at`.

    Raises
    ------
    ValueError
        If not exactly two are selected, or both lie in one frame.
    """
    if len(points) != 2 or round(points[0][0]) == round(points[1][0]):
        msg = (
            f"tracks are joined at two detections of two frames, but {len(points)} are selected; "
            "select the last one of a track and the first one of the other"
        )
        raise ValueError(msg)
    (frame, y, x), (to_frame, to_y, to_x) = sorted(points.tolist())
    return HandEdit(movie, "join", round(frame), y, x, "", round(to_frame), to_y, to_x)


def keep_corrections(store: Store, before: Sequence[HandEdit], edits: Sequence[HandEdit]) -> str:
    """Write corrections behind those that there were; return what is to be done next.

    Parameters
    ----------
    store
        The results folder.
    before
        The corrections of earlier sessions.
    edits
        All of this one: what it wrote before is written again with what came since.
    """
    keep_hand_edits(store, [*before, *edits])
    n = len(before) + len(edits)
    return f"{n} corrections in {store.root}; `stemkin kinetics {store.root}` applies them"


def selected_points(layer: Any) -> np.ndarray:
    """Return (n, 3) frame, y, x of the points that are selected in a layer."""
    chosen = sorted(layer.selected_data)
    return np.asarray(layer.data, dtype=float)[chosen].reshape(-1, 3)
