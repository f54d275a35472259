"""What becomes of defects that meet: merges and splits, counted by kind, beside what naming errors
alone would make."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.report.lookups import label_of
from stemkin.report.results import Results

KIND = ["event", "from_id", "to_id", "other_id"]
MOST_KINDS = 12
"""So many kinds are listed, the most frequent first."""


def meetings(results: Results) -> dict[str, Any] | None:
    """Return the kinds of events of all movies together and how often each was seen, None where
    there are none."""
    found = results.found["meetings"]
    if found.empty:
        return None
    null = results.nulls.get("meetings")
    is_known = (
        null is not None or "static_transitions" in results.nulls
    )  # the same static defects, with no event
    by_chance = found.iloc[:0] if null is None else null
    counted = found.groupby(KIND).size().rename("n").to_frame()
    counted["alone"] = by_chance.groupby(KIND).size().reindex(counted.index, fill_value=0)
    counted = counted.reset_index().sort_values(
        ["n", *KIND], ascending=[False, True, True, True, True]
    )
    kinds = [
        (_sum_of(results, row), f"{int(row['n']):,}", f"{int(row['alone']):,}" if is_known else "–")
        for _, row in counted.head(MOST_KINDS).iterrows()
    ]
    return {
        "kinds": kinds,
        "n_others": max(0, len(counted) - MOST_KINDS),
        "n_events": f"{len(found):,}",
    }


def _sum_of(results: Results, row: pd.Series) -> Markup:
    """Return an event as a reaction: what came together and what came of it."""
    one, other, after = (
        label_of(results, int(row[column])) for column in ("from_id", "other_id", "to_id")
    )
    if row["event"] == "merge":
        return Markup("{} + {} → {}").format(one, other, after)
    return Markup("{} → {} + {}").format(one, after, other)
