"""What becomes of defects that meet: merges and splits, beside what naming errors would make."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.report.lookups import label_of
from stemkin.report.results import Results

KIND = ["event", "from_id", "to_id", "other_id"]
MOST_KINDS = 12
"""So many kinds are listed, the most frequent first."""


def meetings_section(results: Results) -> dict[str, Any] | None:
    """Return the kinds of events of all movies together, counted, None where there are none."""
    found = results.found["meetings"]
    if found.empty:
        return None
    null = results.nulls.get("meetings")
    # Where the control ran, with the same static defects, it may have shown no event at all.
    is_known = null is not None or "static_transitions" in results.nulls
    if null is None:
        null = found.iloc[:0]
    counts = found.groupby(KIND).size().rename("n").to_frame()
    counts["alone"] = null.groupby(KIND).size().reindex(counts.index, fill_value=0)
    most_first = [False, True, True, True, True]
    counts = counts.reset_index().sort_values(["n", *KIND], ascending=most_first)
    kinds = []
    for _, row in counts.head(MOST_KINDS).iterrows():
        alone = "–"
        if is_known:
            alone = f"{int(row['alone']):,}"
        kinds.append((reaction(results, row), f"{int(row['n']):,}", alone))
    return {
        "kinds": kinds,
        "n_others": max(0, len(counts) - MOST_KINDS),
        "n_events": f"{len(found):,}",
    }


def reaction(results: Results, row: pd.Series) -> Markup:
    """Return an event as a reaction: what came together and what came of it."""
    one, other, after = (
        label_of(results, int(row[column])) for column in ("from_id", "other_id", "to_id")
    )
    if row["event"] == "merge":
        return Markup("{} + {} → {}").format(one, other, after)
    return Markup("{} → {} + {}").format(one, after, other)
