"""Complexes of several tracked atoms: the shapes that they take, and how these change."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot import summaries
from stemkin.plot.palette import marker_of, role_of
from stemkin.report.faint import matrices_of_states
from stemkin.report.figures import shapes_figure
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.results import Results
from stemkin.report.words import Quantity


def groups_panel(results: Results) -> dict[str, Any] | None:
    """Return shapes, matrix and rates of all movies pooled; None where no complexes were asked for."""
    shapes, changes = results.found["complex_shapes"], results.found["complex_transitions"]
    if "complex_transitions" in results.absent:
        return None
    if shapes.empty or changes.empty:
        return {
            "nothing": "No atoms stay within reach of each other, in groups of the size asked for."
        }
    rows, _ = summaries.pooled(changes)
    names = {f"{end}_state": "shape " + rows[f"{end}_id"].astype(str) for end in ("from", "to")}
    rows = rows.assign(**names)
    (matrix,) = matrices_of_states(rows)
    return {
        "nothing": None,
        "figure": shapes_figure(shapes),
        "matrix": matrix,
        "rates": _rates_table(rows),
    }


def _rates_table(rows: pd.DataFrame) -> IntervalTable | None:
    """Return the rates of the changes that were counted."""
    told: list[Row] = []
    seen = rows[(rows["from_id"] != rows["to_id"]) & (rows["count"] > 0)].dropna(
        subset="rate_per_s"
    )
    for _, row in seen.iterrows():
        ends = (float(row[c]) for c in ("rate_per_s", "rate_low", "rate_high"))
        label = Markup("{} → {}").format(row["from_state"], row["to_state"])
        source = int(row["from_id"])
        cells = (f"{int(row['count']):,}",)
        quantity = Quantity(*ends, "per s")
        told.append(Row(label, role_of(source), marker_of(source), quantity, None, cells))
    return interval_table("rate", "per s", told, ("counted",))
