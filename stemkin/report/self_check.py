"""How right the run's own numbers can be: bias and coverage of the same experiment, done again."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.plot.summaries import method_name
from stemkin.report.intervals import AxisScale, IntervalTable, Row
from stemkin.report.lookups import first_row, label_of, sentence
from stemkin.report.provenance import confidence_of
from stemkin.report.results import Results, mapping_in
from stemkin.report.words import Quantity, percent
from stemkin.selfcheck.verdicts import is_biased, is_undercovered, verdict_words

QUANTITIES = {
    "diffusion": "D of {}",
    "probability": "P of {}",
    "rate": "rate of {}",
    "corrected_rate": "rate of {}, names corrected",
    "number": "number of {}",
}
"""Quantities in the order of the tables, and what each is called; {} is a class or a change."""
LEAST_RUNS = 10
"""With fewer answers nothing is said beside a number."""
WIDEST_BIAS = 60.0
"""The scale of biases ends here [%], whatever is beyond."""
LEAST_COVERAGE = 50.0
"""The scale of coverage begins here [%]."""


def self_check_section(results: Results) -> dict[str, Any]:
    """Return bias and coverage of every number that was judged, as two tables on scales."""
    rows = judged_rows(results)
    if rows.empty:
        why = "the run did not judge its own numbers (kinetics.self_check_runs)"
        kinetics = mapping_in(mapping_in(results.run, "config"), "kinetics")
        if kinetics.get("self_check_runs") != 0:
            why = results.why("self_check", why)
        return {"nothing": sentence(why)}
    biases = [_bias_row(results, row) for _, row in rows[rows["bias"].notna()].iterrows()]
    covers = [_coverage_row(results, row) for _, row in rows.iterrows()]
    largest = max((abs(row.quantity.value) for row in biases), default=1.0)
    edge = min(WIDEST_BIAS, max(5.0, 1.2 * largest))
    return {
        "nothing": None,
        "n_runs": f"{int(rows['n_asked'].max()):,}",
        "share": None if rows["share"].min() > 0.999 else percent(float(rows["share"].min())),
        "bias": IntervalTable(
            "bias", "%", biases, ("put in", "mean found"), AxisScale(-edge, edge), 0
        ),
        "coverage": IntervalTable(
            "coverage", "%", covers, ("answers",), AxisScale(LEAST_COVERAGE, 100.5), 0
        ),
        "claim": f"{100 * confidence_of(results):g}",
    }


def judged_rows(results: Results) -> pd.DataFrame:
    """Return the rows of ``self_check`` with an answer, in the order of `QUANTITIES`."""
    rows = results.found["self_check"]
    rows = rows[(rows["n_runs"] > 0) & rows["quantity"].isin(list(QUANTITIES))]
    order = rows["quantity"].map({name: i for i, name in enumerate(QUANTITIES)})
    ordered: pd.DataFrame = rows.assign(_order=order).sort_values(
        ["_order", "class_id", "to_id", "method"], kind="stable"
    )
    return ordered.drop(columns="_order")


def said_beside(results: Results, **which: Any) -> str:
    """Return what the self-check says of a number, as the end of a sentence; empty without one.

    Parameters
    ----------
    results
        The run.
    which
        Columns of ``self_check`` that tell the number: `quantity`, `class_id`, `to_id`, `method`.
    """
    row = first_row(results.found["self_check"], **which)
    if row is None or row["n_runs"] < LEAST_RUNS:
        return ""
    return f"; in {int(row['n_runs']):,} {_experiments(row)} {verdict_words(row)}"


def misleading_numbers(results: Results) -> list[Markup]:
    """Return a sentence for every number that is biased or undercovered in such an experiment."""
    found, confidence = [], confidence_of(results)
    for _, row in judged_rows(results).iterrows():
        if row["n_runs"] < LEAST_RUNS:
            continue
        if is_biased(row) or is_undercovered(row, confidence=confidence):
            what, method = what_is(results, row), _method(str(row["method"]))
            says = Markup("{} ({}): in {} {}.")
            found.append(says.format(what, method, _experiments(row), verdict_words(row)))
    return found


def _experiments(row: pd.Series) -> str:
    """Return what was simulated; of an experiment too large for it, a part."""
    if row["share"] > 0.999:
        return "simulated experiments like this one"
    return f"simulated experiments with {percent(float(row['share']))} of its rows"


def what_is(results: Results, row: pd.Series) -> Markup:
    """Return what a row of ``self_check`` is about, as HTML."""
    label = label_of(results, int(row["class_id"]))
    if row["to_id"] >= 0:
        label = Markup("{} → {}").format(label, label_of(results, int(row["to_id"])))
    return Markup(QUANTITIES[str(row["quantity"])]).format(label)  # noqa: S704 - our own words


def _method(method: str) -> str:
    words = {"counted": "as counted", "hidden": "hidden Markov model", "tracks": "from tracks"}
    return words.get(method, method_name(method))


def _bias_row(results: Results, row: pd.Series) -> Row:
    """Return the bias [%] with twice its standard error."""
    bias, error = 100 * float(row["bias"]), 200 * float(row["bias_error"])
    quantity = Quantity(bias, bias - error, bias + error, "%", given_exponent=0)
    cells = (plain(row["truth"], 3), plain(row["mean_estimate"], 3))
    return _row(results, row, quantity, cells)


def _coverage_row(results: Results, row: pd.Series) -> Row:
    """Return the coverage [%] with the interval of the share of replicas that it is."""
    share, low, high = (100 * float(row[f"coverage{end}"]) for end in ("", "_low", "_high"))
    quantity = Quantity(share, low, high, "%", given_exponent=0)
    return _row(results, row, quantity, (f"{int(row['n_runs']):,} of {int(row['n_asked']):,}",))


def _row(results: Results, row: pd.Series, quantity: Quantity, cells: tuple[str, ...]) -> Row:
    class_id, below = int(row["class_id"]), _method(str(row["method"]))
    role, mark = role_of(class_id), marker_of(class_id)
    return Row(what_is(results, row), role, mark, quantity, None, cells, below)
