"""Detections matched with true defects, frame by frame: who is who."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.common.matching import match_points
from stemkin.tables import NOT_NAMED, OK, check_columns

APART = 1e7
"""Frames lie this far apart [px] when all of them are matched at once."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Every true defect and every detection of the frames that count, and which belong together.

    Attributes
    ----------
    kind, class_id, dy_nm, dx_nm
        (m,) of each pair: true kind, found class, found minus true place.
    missed
        (k,) kinds of the true defects that were not found.
    false_class
        (j,) classes of the detections that belong to no defect.
    n_partners
        Detections on the vacancy of a complex that was found by itself as well, or not at all.
    true_rows, found_rows
        All true defects and all detections; tables with `movie`, `frame`, `particle`.
    true_of, found_of
        (m,) positions in `true_rows` and `found_rows` of each pair.
    n_frames
        How many frames count.
    """

    kind: np.ndarray
    class_id: np.ndarray
    dy_nm: np.ndarray
    dx_nm: np.ndarray
    missed: np.ndarray
    false_class: np.ndarray
    n_partners: int
    true_rows: pd.DataFrame
    found_rows: pd.DataFrame
    true_of: np.ndarray
    found_of: np.ndarray
    n_frames: int

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """Return the matches of several movies as one."""
        values: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            own = [getattr(part, name) for part in parts]
            if name in ("n_partners", "n_frames"):
                values[name] = sum(own)
            elif name in ("true_rows", "found_rows"):
                values[name] = pd.concat(own, ignore_index=True)
            else:
                values[name] = np.concatenate(own)
        # Positions count from each movie's own first row, which in the joined tables lies behind
        # the rows of the movies before it.
        for name, rows in (("true_of", "true_rows"), ("found_of", "found_rows")):
            lengths = [len(getattr(part, rows)) for part in parts]
            n_pairs = [len(getattr(part, name)) for part in parts]
            starts = np.cumsum([0, *lengths])[:-1]
            values[name] = values[name] + np.repeat(starts, n_pairs)
        return cls(**values)


def match_movie(
    found: pd.DataFrame,
    truth: Any,
    *,
    radius_nm: float,
    frames: tuple[int, int] | None,
    edge_nm: float,
) -> Matches:
    """Match the detections of one movie with its true defects, frame by frame.

    Parameters
    ----------
    found
        `frame`, `y`, `x` [px, raw frame] and, where known, `class_id`, `particle`.
    truth
        Of this movie.
    radius_nm, frames, edge_nm
        As in `score`.
    """
    check_columns(found, "detections", needed=("frame", "y", "x"))
    pixel = float(truth.pixel_size_nm)
    start, stop = frames or (0, truth.n_frames)
    state = truth.frames_between(start, stop)
    good, edge = state.loc[state["status"] == OK, "frame"].to_numpy(), edge_nm / pixel
    true, seen, partners = (
        _counting(rows, good, truth.shape, edge)
        for rows in (truth.defects_between(start, stop), found, _partners(truth, start, stop))
    )
    reach = radius_nm / pixel
    i, j = match_points(_points(true), _points(seen), max_distance=reach)
    missed, lonely = np.ones(len(true), bool), np.ones(len(seen), bool)
    missed[i] = lonely[j] = False
    # A second detection on the vacancy of a complex is neither right nor wrong.
    _, k = match_points(_points(partners), _points(seen[lonely]), max_distance=reach)
    lonely[np.flatnonzero(lonely)[k]] = False
    kind, named = true["kind"].to_numpy(dtype=object), _class_ids(seen)
    offset = (seen[["y", "x"]].to_numpy(float)[j] - true[["y", "x"]].to_numpy(float)[i]) * pixel
    keep = [c for c in ("movie", "frame", "particle") if c in seen.columns]
    return Matches(
        kind=kind[i],
        class_id=named[j],
        dy_nm=offset[:, 0],
        dx_nm=offset[:, 1],
        missed=kind[missed],
        false_class=named[lonely],
        n_partners=len(k),
        true_rows=true[["movie", "frame", "kind", "particle"]],
        found_rows=seen[keep].assign(movie=truth.movie),
        true_of=i,
        found_of=j,
        n_frames=len(good),
    )


def _partners(truth: Any, start: int, stop: int) -> pd.DataFrame:
    """Return where the vacancies of complexes are, no rows where the truth does not tell."""
    if hasattr(truth, "partners_between"):
        return pd.DataFrame(truth.partners_between(start, stop))
    return pd.DataFrame({"frame": [], "y": [], "x": []})


def _counting(
    rows: pd.DataFrame, good: np.ndarray, shape: tuple[int, int], edge: float
) -> pd.DataFrame:
    """Return the rows that count: of `good` frames, and not closer than `edge` [px] to the edge.

    The edge of a frame of `shape` lies half a pixel outside the centres of its outermost pixels.
    """
    height, width = shape
    y, x = rows["y"], rows["x"]
    in_y = (y >= edge - 0.5) & (y < height - 0.5 - edge)
    in_x = (x >= edge - 0.5) & (x < width - 0.5 - edge)
    return pd.DataFrame(rows[rows["frame"].isin(good) & in_y & in_x]).reset_index(drop=True)


def _class_ids(rows: pd.DataFrame) -> np.ndarray:
    """Return the (m,) classes of detections, not-named where they have no such column."""
    if "class_id" not in rows.columns:
        return np.full(len(rows), NOT_NAMED, np.int64)
    return rows["class_id"].to_numpy().astype(np.int64)


def _points(rows: pd.DataFrame) -> np.ndarray:
    """Return (m, 3) frame, y, x with frames so far apart that none is matched with another."""
    frame, y, x = (rows[column].to_numpy(float) for column in ("frame", "y", "x"))
    return np.stack([frame * APART, y, x], axis=1)
