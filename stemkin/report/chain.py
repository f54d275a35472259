"""Whether a Markov chain is a fair model of the changes of class, and what it implies."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot.numerals import plain
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.lookups import label_of
from stemkin.report.results import Results
from stemkin.report.words import Quantity, percent


def chain_panel(results: Results) -> dict[str, Any] | None:
    """Return the tests of the chain and its timescales, None where it was not tested."""
    states, tested = results.found["chain"], results.found["chapman_kolmogorov"]
    states = states[states["set"] >= 0]
    if states.empty:
        return None
    names = _set_names(results, states)
    return {
        "sets": list(names.values()),
        "states": [_state(results, row) for _, row in states.iterrows()],
        "timescales": _timescales_table(results, names),
        "n_agree": int(tested["agrees"].astype(bool).sum()),
        "n_tested": len(tested),
        "lags": ", ".join(str(int(lag)) for lag in tested["lag_frames"].unique()),
        "reversible": _reversibility(results.found["reversibility"]),
    }


def _set_names(results: Results, states: pd.DataFrame) -> dict[Any, Markup]:
    """Return the classes of each set of states that turn into each other and back."""
    names = {}
    for number, own in states.groupby("set"):
        labels = [label_of(results, int(class_id)) for class_id in own["class_id"]]
        names[number] = Markup(", ").join(labels)
    return names


def _state(results: Results, row: pd.Series) -> tuple[Markup, str, str]:
    label = label_of(results, int(row["class_id"]))
    return label, f"{100 * row['seen_share']:.1f} %", percent(row["stationary_share"])


def _timescales_table(results: Results, names: dict[Any, Markup]) -> IntervalTable | None:
    times = results.found["timescales"]
    times = times[(times["lag_frames"] == times["lag_frames"].min()) & times["timescale_s"].notna()]
    rows = []
    for _, row in times.iterrows():
        label = names.get(row["set"], Markup(""))
        quantity = Quantity(float(row["timescale_s"]), float(row["low"]), float(row["high"]), "s")
        rows.append(Row(label, "accent", "dot", quantity, None, (f"{int(row['rank'])}",)))
    return interval_table("timescale", "s", rows, ("rank",))


def _reversibility(found: pd.DataFrame) -> str | None:
    """Return the p-value of detailed balance, None where no cycle was seen that could break it."""
    if found.empty or not found["degrees_of_freedom"].iloc[0]:
        return None
    return plain(found["p_value"].iloc[0], 2)
