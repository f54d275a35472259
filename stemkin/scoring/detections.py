"""Tables of detections against true defects: recall and precision per kind, names, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from stemkin.kernels.common.intervals import share_interval
from stemkin.scoring.matches import Matches
from stemkin.tables import NOT_NAMED


def mapping_of(matches: Matches, kinds: Sequence[str]) -> dict[int, str]:
    """Return class → kind, one to one, so that most matched detections agree.

    Solved as an assignment problem; classes left over take their commonest kind.

    Parameters
    ----------
    matches
        Detections and true defects.
    kinds
        Names of the kinds.
    """
    from scipy.optimize import linear_sum_assignment

    ids = np.unique(matches.class_id[matches.class_id != NOT_NAMED]).tolist()
    if not ids:
        return {}
    table = np.zeros((len(ids), len(kinds)), np.int64)
    for row, class_id in enumerate(ids):
        own = matches.kind[matches.class_id == class_id]
        table[row] = [int(np.sum(own == kind)) for kind in kinds]
    mapping = {}
    best_rows, best_columns = linear_sum_assignment(table, maximize=True)
    for row, column in zip(best_rows.tolist(), best_columns.tolist(), strict=True):
        if table[row, column] > 0:
            mapping[ids[row]] = kinds[column]
    commonest = {ids[row]: kinds[int(n.argmax())] for row, n in enumerate(table) if n.any()}
    return {class_id: mapping.get(class_id, kind) for class_id, kind in commonest.items()}


def detection_table(
    matches: Matches, kinds: Sequence[str], mapping: Mapping[int, str], limits: pd.DataFrame | None
) -> pd.DataFrame:
    """Return one row per kind that occurs, and ``all``; columns as in `Score.detection`.

    Parameters
    ----------
    matches
        Detections and true defects.
    kinds
        Names of the kinds.
    mapping
        Class → kind.
    limits
        What an ideal observer reaches, as `limits_table` of the simulation gives it.
    """
    named = _kinds_of(matches.class_id, mapping)
    false = _kinds_of(matches.false_class, mapping)
    rows = {}
    for kind in kinds:
        own = matches.kind == kind
        n_true = int(own.sum()) + int((matches.missed == kind).sum())
        n_found = int((named == kind).sum() + (false == kind).sum())
        if n_true + n_found:
            n_right = int((own & (named == kind)).sum())
            row = _detection_row(matches, own, n_true, n_right, n_found, limits, kind)
            if not mapping:
                row["f1"] = np.nan
            rows[kind] = row
    everything, n_found = np.ones(len(matches.kind), bool), len(named) + len(false)
    n_right, n_true = len(named), len(named) + len(matches.missed)
    row = _detection_row(matches, everything, n_true, n_right, n_found, limits, "all")
    row["false_per_frame"] = len(false) / max(matches.n_frames, 1)
    rows["all"] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("kind")


def _kinds_of(class_ids: np.ndarray, mapping: Mapping[int, str]) -> np.ndarray:
    """Return the kind that each class (m,) stands for, empty where none."""
    return np.array([mapping.get(int(class_id), "") for class_id in class_ids], dtype=object)


def _detection_row(
    matches: Matches,
    own: np.ndarray,
    n_true: int,
    n_right: int,
    n_found: int,
    limits: pd.DataFrame | None,
    kind: str,
) -> dict[str, float]:
    """Return one row; `own` (m,) marks the matched pairs that belong to it."""
    n_matched, recall_low, recall_high = int(own.sum()), np.nan, np.nan
    if n_true:
        ends = share_interval(np.array(n_matched), np.array(n_true))
        recall_low, recall_high = (float(end) for end in ends)
    rmse, bias_y, bias_x = _offsets(matches.dy_nm[own], matches.dx_nm[own])
    best, bound = _limits_of(limits, kind)
    return {
        "n_true": n_true,
        "n_matched": n_matched,
        "recall": _ratio(n_matched, n_true),
        "recall_low": recall_low,
        "recall_high": recall_high,
        "best_recall": best,
        "n_found": n_found,
        "precision": _ratio(n_right, n_found),
        "f1": _ratio(2 * n_right, n_true + n_found),
        "rmse_nm": rmse,
        "bias_y_nm": bias_y,
        "bias_x_nm": bias_x,
        "bound_nm": bound,
        "false_per_frame": np.nan,
    }


def _offsets(dy: np.ndarray, dx: np.ndarray) -> tuple[float, float, float]:
    """Return the rms error per axis and the mean errors along y and x of (m,) offsets."""
    if len(dy) == 0:
        return np.nan, np.nan, np.nan
    return float(np.sqrt(np.mean((dy**2 + dx**2) / 2))), float(dy.mean()), float(dx.mean())


def _ratio(part: float, whole: float) -> float:
    if not whole:
        return np.nan
    return part / whole


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
    """Return counts of true kinds by found classes.

    Rows are the kinds, and ``false``; columns the classes, named by kind where mapped, and
    ``missed``.

    Parameters
    ----------
    matches
        Detections and true defects.
    kinds
        Names of the kinds.
    mapping
        Class → kind.
    """
    ids = np.union1d(matches.class_id, matches.false_class).tolist()
    rows = {}
    for kind in kinds:
        found = matches.class_id[matches.kind == kind]
        counts = [int((found == class_id).sum()) for class_id in ids]
        rows[kind] = [*counts, int((matches.missed == kind).sum())]
    rows["false"] = [*(int((matches.false_class == class_id).sum()) for class_id in ids), 0]
    header = [_heading(class_id, mapping) for class_id in ids]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*header, "missed"])
    table = table.rename_axis("kind")
    return table[(table.sum(axis=1) > 0) | (table.index == "false")]


def _heading(class_id: int, mapping: Mapping[int, str]) -> str:
    if class_id == NOT_NAMED:
        return f"{class_id}: {mapping.get(class_id, 'not named')}"
    return f"{class_id}: {mapping.get(class_id, '?')}"
