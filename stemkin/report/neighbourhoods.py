"""What surrounds the defects, how alike classes are, and regions that are followed in time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot import images, summaries
from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.plot.structure import is_significant
from stemkin.plot.times import REGION_ROLES, area_column, is_dashed
from stemkin.report.figures import regions_figure, structure_figure, ward_figure
from stemkin.report.lookups import label_of, legend, sentence
from stemkin.report.results import Results, number
from stemkin.report.words import number_of

MAX_STRUCTURES = 6
MIN_DETECTIONS = 20
"""Fewer detections than this make no mean structure worth a figure."""
MAX_MODES = 2
MAX_REGIONS = 8


def structures_section(results: Results) -> dict[str, Any]:
    """Return mean structure and first modes of each class, on the site where it is seen most."""
    rows = results.found["strain"]
    if rows.empty:
        why = results.why("structure", "no class was seen often enough on a lattice")
        return {"nothing": sentence(why), "cards": [], "hidden": 0}
    rows = rows[rows["n"] >= MIN_DETECTIONS].drop_duplicates("class_id")
    rows = rows.sort_values("n", ascending=False, kind="stable")
    pm = 1000 * _lattice_nm(results)
    cards = [_structure_card(results, row, pm) for _, row in rows.head(MAX_STRUCTURES).iterrows()]
    nothing = None
    if not cards:
        nothing = f"No class was seen {MIN_DETECTIONS} times with all of its neighbours."
    return {"nothing": nothing, "cards": cards, "hidden": max(0, len(rows) - MAX_STRUCTURES)}


def _structure_card(results: Results, row: pd.Series, pm: float) -> dict[str, Any]:
    """Return the card of a row of ``strain``; `pm` is the lattice constant [pm], or NaN."""
    class_id, site = int(row["class_id"]), str(row["site"])
    atoms = rows_of_class(results.found["structure"], class_id, site)
    modes = rows_of_class(results.found["modes"], class_id, site)
    unit, length = "% of a", 100.0
    if math.isfinite(pm):
        unit, length = "pm", pm
    return {
        "role": role_of(class_id),
        "mark": marker_of(class_id),
        "label": label_of(results, class_id),
        "figure": structure_figure(atoms, modes, name=f"structure{class_id}"),
        "n": number_of(int(row["n"]), "detection"),
        "site": site,
        "breathing": _breathing(row, length, unit),
        "strain": _strain(row),
        "modes": _modes(modes, length, unit),
    }


def _breathing(row: pd.Series, length: float, unit: str) -> str:
    """Return how far the nearest atoms stand outwards, with 95 % error; empty where not known."""
    breathing, error = row["breathing_a"] * length, row["breathing_error_a"] * length
    if not math.isfinite(breathing):
        return ""
    return f"{breathing:+.1f} ± {1.96 * error:.1f} {unit}"


def _strain(row: pd.Series) -> str:
    parts = []
    for column, name in (("e_yy", "ε(yy)"), ("e_xx", "ε(xx)"), ("e_xy", "ε(xy)")):
        if math.isfinite(row[column]):
            error = 196 * row[f"{column}_error"]
            parts.append(f"{name} {100 * row[column]:+.2f} ± {error:.2f} %")
    return ", ".join(parts)


def _modes(modes: pd.DataFrame, length: float, unit: str) -> str:
    """Return the first modes that are more than noise, in words."""
    every = [mode for _, mode in modes.groupby("mode")]
    clear = [mode.iloc[0] for mode in every if is_significant(mode)]
    parts = []
    for mode in clear[:MAX_MODES]:
        times = plain(mode["over_noise"], 2)
        size = f"{length * math.sqrt(mode['variance_a2']):.1f} {unit}"
        parts.append(f"mode {mode['mode'] + 1} varies {times} times as much as noise ({size})")
    return "; ".join(parts)


def rows_of_class(rows: pd.DataFrame, class_id: int, site: str) -> pd.DataFrame:
    """Return the rows of a class on one kind of site."""
    return rows[(rows["class_id"] == class_id) & (rows["site"] == site)]


def _lattice_nm(results: Results) -> float:
    """Return the lattice constant [nm] that the run found, NaN where it is not known."""
    found = results.run.get("lattice_nm")
    if not isinstance(found, dict):
        return math.nan
    known = [value for value in map(number, found.values()) if math.isfinite(value)]
    if not known:
        return math.nan
    return float(np.median(known))


def likeness_section(results: Results) -> dict[str, Any] | None:
    """Return Ward's tree of the classes' mean images, None with fewer than three."""
    classes = results.found["classes"]
    found = likeness_tree(classes[~classes["class_id"].isin(results.seldom)])
    if found is None:
        return None
    tree, ids = found
    return {"figure": ward_figure(tree, ids), "legend": legend(results, ids)}


def likeness_tree(classes: pd.DataFrame) -> tuple[np.ndarray, list[int]] | None:
    """Return Ward's tree of the mean images of a table ``classes``, and the class of each leaf.

    None with fewer than three images of one shape.
    """
    from scipy.cluster.hierarchy import linkage

    rows = classes[classes["n_detections"] > 0]
    ids, patches = [], []
    for class_id, value in zip(rows["class_id"], rows["mean_patch"], strict=True):
        patch = images.as_patch(value)
        if patch is not None and np.isfinite(patch).all():
            ids.append(int(class_id))
            patches.append(patch)
    if len(patches) < 3 or len({patch.shape for patch in patches}) != 1:
        return None
    tree = linkage(np.stack([patch.ravel() for patch in patches]), "ward")
    return np.asarray(tree), ids


def regions_section(results: Results) -> dict[str, Any] | None:
    """Return how the largest holes, disordered areas and fragments grew, None without any."""
    rows = results.regions
    if rows.empty:
        return None
    column, unit = area_column(rows)
    largest = rows.groupby("region")[column].max()
    largest = largest.sort_values(ascending=False, kind="stable").head(MAX_REGIONS)
    shown = rows[rows["region"].isin(largest.index)]
    in_frames, n_regions = not summaries.has_times(rows), int(rows["region"].nunique())
    figure = regions_figure(shown)
    histories = [
        _history(shown[shown["region"] == i], column, unit, in_frames=in_frames)
        for i in largest.index
    ]
    return {
        "movie": str(rows["movie"].iloc[0]),
        "figure": figure,
        "kinds": _kinds_drawn(shown),
        "n": number_of(n_regions, "region"),
        "hidden": n_regions - len(largest),
        "rows": histories,
    }


def _kinds_drawn(rows: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """Return kind, colour and whether its line is dashed, of each kind of region that is there."""
    drawn = []
    for kind, role in REGION_ROLES.items():
        if (rows["kind"] == kind).any():
            drawn.append((kind, role, is_dashed(kind)))
    return drawn


def _history(rows: pd.DataFrame, column: str, unit: str, *, in_frames: bool) -> dict[str, Any]:
    """Return in words how one region grew and turned, and from when to when."""
    first, last = rows.iloc[0], rows.iloc[-1]
    grown = f"{plain(first[column], 2)} → {plain(last[column], 2)} {unit}"
    if in_frames:
        when = f"frames {plain(first['frame'], 3)} to {plain(last['frame'], 3)}"
    else:
        when = f"from {plain(first['time_s'], 3)} to {plain(last['time_s'], 3)} s"
    turn = ""
    if math.isfinite(last["turn_deg"]):
        turn = f", turned {last['turn_deg']:+.1f}°"
    return {
        "region": int(first["region"]),
        "kind": str(first["kind"]),
        "says": f"{grown}, {when}{turn}",
    }
