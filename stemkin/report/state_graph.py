"""The graph of states: classes as nodes, changes of class as arrows with their rates."""

from __future__ import annotations

from typing import Any

from stemkin.plot.summaries import in_class_order, rates_of_changes
from stemkin.report.figures import states_figure
from stemkin.report.results import Results


def graph_section(results: Results) -> dict[str, Any] | None:
    """Return the graph of the most counted changes, None where no class changed."""
    edges = rates_of_changes(results.found["transitions"], results.found["hidden_transitions"])
    if edges.empty:
        return None
    ids = in_class_order([*edges["from_id"], *edges["to_id"]])
    return {
        "figure": states_figure(edges, {i: results.name_of(i) for i in ids}),
        "corrected": bool(edges["corrected"].all()),
    }
