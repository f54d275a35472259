"""What the detector learned of the movies: the look of a missing atom, and the noise beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

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
    return {"shown": shown}


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
