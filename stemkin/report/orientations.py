"""Where beside its dopant a vacancy sits: the chain of {alone, @0, @1, @2}, and its rates."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot import summaries
from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.report.faint import matrices_of_states
from stemkin.report.figures import states_figure
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.results import Results
from stemkin.report.words import Quantity

RATES = ("attachment", "detachment", "rotation")
"""What is drawn of the table ``orientation_rates``."""


def orientations_panel(results: Results) -> dict[str, Any] | None:
    """Return the chains of orientations of all movies pooled, None where no complex was followed."""
    rows, rates = results.found["orientation_transitions"], results.found["orientation_rates"]
    if rows.empty or rates.empty:
        return None
    rows, movie = summaries.pooled(rows)
    rates = rates[rates["movie"] == movie]
    complexes = []
    for number, name in enumerate(dict.fromkeys(rows["complex"])):
        own = rows[rows["complex"] == name]
        if own["count"].sum():
            complexes.append(_of_complex(own, rates[rates["complex"] == name], str(name), number))
    if not complexes:
        return None
    return {"complexes": complexes}


def _of_complex(rows: pd.DataFrame, rates: pd.DataFrame, name: str, number: int) -> dict[str, Any]:
    """Return figure, matrix, rates and symmetry of one complex."""
    symmetric = rows["symmetric"].astype(bool)
    counted = rows[~symmetric]
    (matrix,) = matrices_of_states(counted)
    return {
        "name": name,
        "matrix": matrix,
        "figure": _figure(rows[symmetric], number),
        "rates": _rates_table(rates),
        "p_value": _symmetry(rates),
    }


def _figure(rows: pd.DataFrame, number: int) -> Markup | None:
    """Return the graph of the four states with the rates of the symmetric chain, None without any."""
    states = list(dict.fromkeys(rows["from_state"]))
    number_of = {state: i for i, state in enumerate(states)}
    edges = rows.assign(
        from_id=rows["from_state"].map(number_of), to_id=rows["to_state"].map(number_of)
    )
    edges = edges[(edges["from_id"] != edges["to_id"]) & (edges["rate_per_s"] > 0)]
    if edges.empty:
        return None
    return states_figure(edges, dict(enumerate(states)), name=f"orientations{number}")


def _rates_table(rates: pd.DataFrame) -> IntervalTable | None:
    rows = []
    for place, what in enumerate(RATES):
        for _, row in rates[rates["quantity"] == what].iterrows():
            quantity = Quantity(
                float(row["rate_per_s"]), float(row["low"]), float(row["high"]), "per s"
            )
            cells = (f"{int(row['n_events']):,}",)
            label = Markup("{}").format(what)
            rows.append(Row(label, role_of(place), marker_of(place), quantity, None, cells))
    return interval_table("rate", "per s", rows, ("events",))


def _symmetry(rates: pd.DataFrame) -> str | None:
    """Return the p-value that both senses of rotation are alike, None where it was not tested."""
    known = rates["p_value"].dropna()
    if known.empty:
        return None
    return plain(float(known.iloc[0]), 2)
