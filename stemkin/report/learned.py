"""What the detector learned of the movies: the look of a missing atom, and the noise beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.plot.numerals import plain
from stemkin.report.figures import learned_figure
from stemkin.report.results import Results, mapping_in, number

COLUMNS = {METAL: "brighter", CHALCOGEN: "dimmer"}


def learned_section(results: Results) -> dict[str, Any] | None:
    """Return what the observer knows of each kind of column; None where it knows nothing."""
    learned = results.learned
    if not {"signatures", "alike", "depths"} <= set(learned):
        return None
    numbers = _numbers_by_columns(results.run)
    shown = []
    for which, columns in COLUMNS.items():
        depth = number(learned["depths"][which])
        if math.isfinite(depth):
            figure = learned_figure(
                learned["signatures"][which], learned["alike"][which], name=f"learned{which}"
            )
            shown.append({"columns": columns, "figure": figure} | numbers.get(columns, {}))
    if not shown:
        return None
    return {"shown": shown, "control": said_of_false_ones(results)}


def expected_false(results: Results) -> pd.Series:
    """Return how many detections of each frame noise alone explains, of frames that tell.

    Parameters
    ----------
    results
        Of the run.
    """
    said = results.frames.get("expected_false", pd.Series(dtype=float))
    return pd.to_numeric(said, errors="coerce").dropna()


def said_of_false_ones(results: Results) -> str:
    """Say how many detections noise alone explains, beside what was asked; nothing if not known.

    Parameters
    ----------
    results
        Of the run; `expected_false` of its good frames is averaged.
    """
    expected = expected_false(results)
    if expected.empty:
        return ""
    detect = mapping_in(mapping_in(results.run, "config"), "detect")
    asked = number(detect.get("false_positives_per_frame"))
    error = float(expected.std(ddof=0)) / math.sqrt(len(expected))
    said = f"Noise alone explains {plain(float(expected.mean()), 2)} detections a frame"
    said += f" (\N{PLUS-MINUS SIGN} {plain(error, 1)})"
    if math.isfinite(asked):
        said += f" where {plain(asked)} was asked for"
    return f"{said}: so many columns are as bright by chance as a missing atom is dark."


def _numbers_by_columns(run: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return depth, ideal depth and missed share of each kind of column, in words."""
    seen = mapping_in(mapping_in(run, "stages"), "learn").get("seen")
    found = {}
    for row in seen if isinstance(seen, list) else []:
        if isinstance(row, Mapping):
            found[str(row.get("columns"))] = {
                "depth": plain(number(row.get("depth")), 2),
                "ideal": plain(number(row.get("ideal")), 2),
                "missed": plain(100 * number(row.get("missed")), 2),
            }
    return found
