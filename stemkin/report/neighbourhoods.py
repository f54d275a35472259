"""What surrounds the defects: mean structures, modes of deformation, how alike classes are; and
regions that are followed in time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report import images, structure_figures, summaries
from stemkin.report.lookups import label_of, legend, sentence
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results, number
from stemkin.report.words import counted, plain

MAX_STRUCTURES = 6
MIN_DETECTIONS = 20
"""Fewer detections than this make no mean structure worth a figure."""
MAX_REGIONS = 8


def structures(results: Results) -> dict[str, Any]:
    """Return a figure of mean structure and first modes for each class, on the kind of site where
    it is seen most."""
    rows = results.found["strain"]
    if rows.empty:
        why = results.why("structure", "no class was seen often enough on a lattice")
        return {"nothing": sentence(why), "cards": [], "hidden": 0}
    rows = (
        rows[rows["n"] >= MIN_DETECTIONS]
        .drop_duplicates("class_id")
        .sort_values("n", ascending=False, kind="stable")
    )
    pm = 1000 * _lattice_nm(results)
    cards = [_structure(results, row, pm) for _, row in rows.head(MAX_STRUCTURES).iterrows()]
    nothing = (
        None if cards else f"No class was seen {MIN_DETECTIONS} times with all of its neighbours."
    )
    return {"nothing": nothing, "cards": cards, "hidden": max(0, len(rows) - MAX_STRUCTURES)}


def _structure(results: Results, row: pd.Series, pm: float) -> dict[str, Any]:
    class_id = int(row["class_id"])
    own = {
        name: _of_class(results.found[name], class_id, str(row["site"]))
        for name in ("structure", "modes")
    }
    figure = structure_figures.structure(
        own["structure"], own["modes"], name=f"structure{class_id}"
    )
    unit, length = ("pm", pm) if math.isfinite(pm) else ("% of a", 100.0)
    breathing, error = row["breathing_a"] * length, row["breathing_error_a"] * length
    modes = [
        mode for _, mode in own["modes"].groupby("mode") if structure_figures.is_significant(mode)
    ][:2]
    return {
        "role": role_of(class_id), "mark": mark_of(class_id), "label": label_of(results, class_id), "figure": figure,
        "n": counted(int(row["n"]), "detection"), "site": str(row["site"]),
        "breathing": f"{breathing:+.1f} ± {1.96 * error:.1f} {unit}" if math.isfinite(breathing) else "",
        "strain": ", ".join(f"{words} {100 * row[c]:+.2f} ± {196 * row[c + '_error']:.2f} %" for c, words in
                            (("e_yy", "ε(yy)"), ("e_xx", "ε(xx)"), ("e_xy", "ε(xy)")) if math.isfinite(row[c])),
        "modes": "; ".join(f"mode {mode['mode'].iloc[0] + 1} varies "
                           f"{plain(mode['over_noise'].iloc[0], 2)} times as much as noise "
                           f"({length * math.sqrt(mode['variance_a2'].iloc[0]):.1f} {unit})" for mode in modes),
    }  # fmt: skip


def _of_class(rows: pd.DataFrame, class_id: int, site: str) -> pd.DataFrame:
    return rows[(rows["class_id"] == class_id) & (rows["site"] == site)]


def _lattice_nm(results: Results) -> float:
    """Return the lattice constant [nm] that the run found, NaN where it is not known."""
    found = results.run.get("lattice_nm")
    known = [number(v) for v in found.values()] if isinstance(found, dict) else []
    known = [v for v in known if math.isfinite(v)]
    return float(np.median(known)) if known else math.nan


def likeness(results: Results) -> dict[str, Any] | None:
    """Return Ward's tree of the classes' mean images, None with fewer than three."""
    from stemkin.learning.clustering import ward

    rows = results.found["classes"]
    rows = rows[rows["n_detections"] > 0]
    found = [
        (int(i), images.as_patch(p))
        for i, p in zip(rows["class_id"], rows["mean_patch"], strict=True)
    ]
    means = [(i, p) for i, p in found if p is not None and np.isfinite(p).all()]
    if len(means) < 3 or len({p.shape for _, p in means}) != 1:
        return None
    ids = [i for i, _ in means]
    tree = ward(np.stack([p.ravel() for _, p in means]))
    return {"figure": structure_figures.tree(tree, ids), "legend": legend(results, ids)}


def regions(results: Results) -> dict[str, Any] | None:
    """Return how the largest holes, disordered areas and fragments grew, None where there were
    none."""
    rows = results.regions
    if rows.empty:
        return None
    movie = str(rows["movie"].iloc[0])
    known = bool(np.isfinite(rows["area_nm2"]).all())
    column, unit = ("area_nm2", "nm²") if known else ("area_px", "px²")
    largest = (
        rows.groupby("region")[column]
        .max()
        .sort_values(ascending=False, kind="stable")
        .head(MAX_REGIONS)
    )
    in_frames = not summaries.has_times(rows)
    shown = rows[rows["region"].isin(largest.index)]
    kinds = [kind for kind in ("hole", "disordered", "fragment") if (shown["kind"] == kind).any()]
    return {
        "movie": movie,
        "figure": structure_figures.regions(shown, column=column, unit=unit, in_frames=in_frames),
        "kinds": [
            (kind, structure_figures.REGION_ROLES[kind], structure_figures.is_dashed(kind))
            for kind in kinds
        ],
        "n": counted(int(rows["region"].nunique()), "region"),
        "hidden": int(rows["region"].nunique()) - len(largest),
        "rows": [
            _region(shown[shown["region"] == i], column, unit, in_frames=in_frames)
            for i in largest.index
        ],
    }


def _region(rows: pd.DataFrame, column: str, unit: str, *, in_frames: bool) -> dict[str, Any]:
    first, last = rows.iloc[0], rows.iloc[-1]
    when = "frame" if in_frames else "time_s"
    turn = f", turned {last['turn_deg']:+.1f}°" if math.isfinite(last["turn_deg"]) else ""
    return {
        "region": int(first["region"]), "kind": str(first["kind"]),
        "says": Markup("{} → {} {}, {} {} to {}{}{}").format(
            plain(first[column], 2), plain(last[column], 2), unit, "frames" if in_frames else "from",
            plain(first[when], 3), plain(last[when], 3), "" if in_frames else " s", turn),
    }  # fmt: skip
