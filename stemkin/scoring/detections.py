"""Detections against true defects: who is who, recall and precision per kind, names, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.common.intervals import share_interval
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
        true_start = np.cumsum([0, *(len(p.true_rows) for p in parts)])
        found_start = np.cumsum([0, *(len(p.found_rows) for p in parts)])
        values: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            own = [getattr(p, name) for p in parts]
            if name in ("true_of", "found_of"):
                starts = true_start if name == "true_of" else found_start
                own = [one + start for one, start in zip(own, starts, strict=False)]
            if name in ("n_partners", "n_frames"):
                values[name] = sum(own)
            elif name in ("true_rows", "found_rows"):
                values[name] = pd.concat(own, ignore_index=True)
            else:
                values[name] = np.concatenate(own)
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
    height, width = truth.shape
    start, stop = (0, truth.n_frames) if frames is None else frames
    state = truth.frames_between(start, stop)
    good = state.loc[state["status"] == OK, "frame"].to_numpy()
    edge = edge_nm / pixel

    def counting(rows: pd.DataFrame) -> pd.DataFrame:
        y, x = rows["y"], rows["x"]
        inside = (
            (y >= edge - 0.5)
            & (y < height - 0.5 - edge)
            & (x >= edge - 0.5)
            & (x < width - 0.5 - edge)
        )
        return pd.DataFrame(rows[rows["frame"].isin(good) & inside]).reset_index(drop=True)

    true, seen = counting(truth.defects_between(start, stop)), counting(found)
    i, j = match_points(_points(true), _points(seen), max_distance=radius_nm / pixel)
    lonely = np.ones(len(seen), bool)
    lonely[j] = False
    partners = (
        counting(truth.partners_between(start, stop))
        if hasattr(truth, "partners_between")
        else true[:0]
    )
    _, k = match_points(_points(partners), _points(seen[lonely]), max_distance=radius_nm / pixel)
    lonely[np.flatnonzero(lonely)[k]] = False
    named = (
        seen["class_id"].to_numpy() if "class_id" in seen.columns else np.full(len(seen), NOT_NAMED)
    )
    missed = np.ones(len(true), bool)
    missed[i] = False
    offset = (seen[["y", "x"]].to_numpy(float)[j] - true[["y", "x"]].to_numpy(float)[i]) * pixel
    keep = [c for c in ("movie", "frame", "particle") if c in seen.columns]
    return Matches(
        kind=true["kind"].to_numpy(dtype=object)[i],
        class_id=named[j].astype(np.int64),
        dy_nm=offset[:, 0],
        dx_nm=offset[:, 1],
        missed=true["kind"].to_numpy(dtype=object)[missed],
        false_class=named[lonely].astype(np.int64),
        n_partners=len(k),
        true_rows=true[["movie", "frame", "kind", "particle"]],
        found_rows=seen[keep].assign(movie=truth.movie),
        true_of=i,
        found_of=j,
        n_frames=len(good),
    )


def _points(rows: pd.DataFrame) -> np.ndarray:
    """Return (m, 3) frame, y, x with frames so far apart that none is matched with another."""
    return np.stack(
        [
            rows["frame"].to_numpy(float) * APART,
            rows["y"].to_numpy(float),
            rows["x"].to_numpy(float),
        ],
        axis=1,
    )


def mapping_of(matches: Matches, kinds: Sequence[str]) -> dict[int, str]:
    """Return class → kind, one to one, so that most matched detections agree; classes left over
    take their commonest kind."""
    from scipy.optimize import linear_sum_assignment

    ids = np.unique(matches.class_id[matches.class_id != NOT_NAMED])
    if len(ids) == 0:
        return {}
    table = np.array(
        [[np.sum((matches.class_id == c) & (matches.kind == kind)) for kind in kinds] for c in ids]
    )
    rows, columns = linear_sum_assignment(table, maximize=True)
    best = {
        int(ids[r]): kinds[int(c)] for r, c in zip(rows, columns, strict=True) if table[r, c] > 0
    }
    return {
        int(c): best.get(int(c), kinds[int(n.argmax())])
        for c, n in zip(ids, table, strict=True)
        if n.any()
    }


def detection_table(
    matches: Matches, kinds: Sequence[str], mapping: Mapping[int, str], limits: pd.DataFrame | None
) -> pd.DataFrame:
    """Return one row per kind that occurs, and ``all``; columns as in `Score.detection`."""
    names = np.array([mapping.get(int(c), "") for c in matches.class_id], dtype=object)
    false = np.array([mapping.get(int(c), "") for c in matches.false_class], dtype=object)
    rows = {}
    for kind in (*kinds, "all"):
        own = np.ones(len(matches.kind), bool) if kind == "all" else matches.kind == kind
        n_matched = int(own.sum())
        n_true = n_matched + (
            len(matches.missed) if kind == "all" else int((matches.missed == kind).sum())
        )
        n_right = n_matched if kind == "all" else int((own & (names == kind)).sum())
        n_found = (
            len(names) + len(false)
            if kind == "all"
            else int((names == kind).sum() + (false == kind).sum())
        )
        if n_true + n_found == 0 and kind != "all":
            continue
        low, high = share_interval(np.array(n_matched), np.array(n_true))
        best, bound = _limits_of(limits, kind)
        dy, dx = matches.dy_nm[own], matches.dx_nm[own]
        rows[kind] = {
            "n_true": n_true,
            "n_matched": n_matched,
            "recall": _ratio(n_matched, n_true),
            "recall_low": float(low) if n_true else np.nan,
            "recall_high": float(high) if n_true else np.nan,
            "best_recall": best,
            "n_found": n_found,
            "precision": _ratio(n_right, n_found),
            "f1": _ratio(2 * n_right, n_true + n_found) if kind == "all" or mapping else np.nan,
            "rmse_nm": float(np.sqrt(np.mean((dy**2 + dx**2) / 2))) if n_matched else np.nan,
            "bias_y_nm": float(dy.mean()) if n_matched else np.nan,
            "bias_x_nm": float(dx.mean()) if n_matched else np.nan,
            "bound_nm": bound,
            "false_per_frame": len(false) / max(matches.n_frames, 1) if kind == "all" else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("kind")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _limits_of(limits: pd.DataFrame | None, kind: str) -> tuple[float, float]:
    """Return the ideal observer's recall and the localisation bound [nm per axis] of a kind."""
    if limits is None:
        return np.nan, np.nan
    rows = limits[(limits["kind"] == kind) & (limits["against"] == "crystal")]
    if rows.empty:
        return np.nan, np.nan
    bound = np.sqrt((rows["sd_y_nm"] ** 2 + rows["sd_x_nm"] ** 2).mean() / 2)
    return float(rows["recall_at_one_false_positive"].mean()), float(bound)


def confusion_table(
    matches: Matches, kinds: Sequence[str], mapping: Mapping[int, str]
) -> pd.DataFrame:
    """Return counts of true kinds (rows, and ``false``) by found classes (columns, named by kind
    where mapped, and ``missed``)."""
    ids = sorted(
        set(np.unique(matches.class_id).tolist()) | set(np.unique(matches.false_class).tolist())
    )
    header = [f"{c}: {mapping.get(c, 'not named' if c == NOT_NAMED else '?')}" for c in ids]
    rows = {
        kind: [int(((matches.kind == kind) & (matches.class_id == c)).sum()) for c in ids]
        + [int((matches.missed == kind).sum())]
        for kind in kinds
    }
    rows["false"] = [int((matches.false_class == c).sum()) for c in ids] + [0]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*header, "missed"]).rename_axis(
        "kind"
    )
    return table[(table.sum(axis=1) > 0) | (table.index == "false")]
