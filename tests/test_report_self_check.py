"""The report says how right its numbers can be, and at its top which ones cannot be."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stemkin import tables
from stemkin.report import report_page
from stemkin.report.rates import _dwell_rows
from stemkin.report.result_files import read_results
from stemkin.report.results import Results
from stemkin.report.self_check import misleading_numbers, said_beside, self_check_section
from tests.test_report import make_results

ROWS = [
    ("diffusion", 2, -1, "mle", 0.001, 0.00099, -0.01, 0.004, 0.94, 0.90, 0.97, 200),
    ("rate", 0, 1, "counted", 0.01, 0.03, 2.0, 0.1, 0.1, 0.06, 0.15, 200),
    ("corrected_rate", 0, 1, "hidden", 0.01, 0.011, 0.1, 0.2, 0.5, 0.1, 0.9, 4),
    ("number", 3, -1, "tracks", 2.0, 2.0, float("nan"), float("nan"), float("nan"), 0, 1, 0),
]


def self_check_table(rows):
    columns = [
        c for c in tables.COLUMNS["self_check"] if c not in ("half_width", "n_asked", "share")
    ]
    found = tables.empty("self_check").drop(columns=["half_width", "n_asked", "share"])
    for i, row in enumerate(rows):
        found.loc[i, columns] = row
    return tables.conform(found.assign(half_width=0.1, n_asked=200, share=1.0), "self_check")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = make_results(tmp_path_factory.mktemp("results"))
    store.write_table(self_check_table(ROWS), "x", "self_check.parquet")
    return store


@pytest.fixture(scope="module")
def page(store):
    """The report's words."""
    return plain_text(report_page(read_results(store)))


def plain_text(page):
    return " ".join(re.sub(r"<[^>]*>", "", page).split())


def test_coverage_and_bias_stand_beside_the_numbers_and_in_a_part_of_their_own(page):
    assert "the same experiment, done 200 times as tables" in page
    assert "Coverage: how often the 95 % interval holds what was put in" in page
    assert "200 of 200" in page
    says = "in 200 simulated experiments like this one the interval holds the truth in 94 %"
    assert says in page
    assert "bias −1.0 ± 0.4 %" in page


def test_the_top_names_what_is_biased_or_undercovered_and_nothing_else(store, page):
    (says,) = misleading_numbers(read_results(store))
    assert says.startswith("rate of Mo<sub>W</sub> → Mo<sub>W</sub>+V<sub>S</sub> (as counted)")
    assert "holds the truth in 10 %, bias +200.0 ± 10.0 %" in says
    top = page[: page.index("Diffusion coefficients")]
    assert "Numbers that such an experiment does not give right" in top


def test_few_replicas_say_nothing_beside_a_number(store):
    results = read_results(store)
    assert said_beside(results, quantity="corrected_rate", class_id=0, to_id=1) == ""
    assert said_beside(results, quantity="rate", class_id=3, to_id=1) == ""


def test_a_run_without_a_self_check_says_so(store):
    found = read_results(store)
    without = replace(found, found=dict(found.found) | {"self_check": self_check_table([])})
    assert self_check_section(without)["nothing"].startswith("The run did not judge")
    assert misleading_numbers(without) == []


def test_a_part_of_a_large_experiment_is_said(store):
    found = read_results(store)
    part = self_check_table(ROWS).assign(share=0.02)
    small = replace(found, found=dict(found.found) | {"self_check": part})
    assert "2" in self_check_section(small)["share"]
    assert all("with 2.0 % of its rows" in said for said in misleading_numbers(small))
    assert misleading_numbers(small)
    assert self_check_section(found)["share"] is None


def test_a_self_check_that_was_not_asked_for_is_no_missing_file(store):
    found = read_results(store)
    run = {**found.run, "config": {"kinetics": {"self_check_runs": 0}}}
    none = {**found.found, "self_check": tables.empty("self_check")}
    gone = {**found.absent, "self_check": "there is no self_check.parquet"}
    said = self_check_section(replace(found, run=run, found=none, absent=gone))["nothing"]
    assert said == "The run did not judge its own numbers (kinetics.self_check_runs)."
    said = self_check_section(replace(found, found=none, absent=gone))["nothing"]
    assert said == "There is no self_check.parquet."


def test_a_mean_time_far_beyond_what_was_watched_is_none():
    known = {"movie": "*", "from_id": 0, "to_id": 0, "recommended": True, "rate_low": -1e-3}
    hidden = pd.DataFrame([{**known, "rate_per_s": -6e-9, "rate_high": -1e-12}])
    results = replace_found(hidden_transitions=hidden)
    row = pd.Series(
        {
            "n_exits": 0,
            "n_censored": 3,
            "time_at_risk_s": 250.0,
            "low": 0.0,
            "high": 0.01,
            "mean_dwell_s": np.inf,
        }
    )
    counted, corrected = _dwell_rows(results, row, "*", 0)
    assert counted.quantity.value == np.inf
    assert corrected.quantity.value == np.inf
    shown = results.found["hidden_transitions"].assign(rate_per_s=-0.01)
    _, corrected = _dwell_rows(replace_found(hidden_transitions=shown), row, "*", 0)
    assert corrected.quantity.value == pytest.approx(100)


def replace_found(**found):
    """Return results that have these tables; the others are empty."""
    kept = {name: tables.empty(name) for name in ("classes", *found)}
    return Results({}, {}, tables.empty("frames"), kept | found, {}, [], {})
