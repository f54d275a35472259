"""The section of the report on sites: both answers, which of them leads, and where they disagree."""

import numpy as np
import pandas as pd
import pytest

from stemkin import tables
from stemkin.report import report_page
from stemkin.report.faint import faint_section
from stemkin.report.result_files import read_results
from stemkin.results.store import Store
from stemkin.sites.dopants import DOPANT_STATES

HOPS = {
    "hop_rate_per_s": 0.17, "hop_low": 0.15, "hop_high": 0.19, "n_mobile": 48.0, "n_low": 40.0,
    "n_high": 57.0, "static_share": 0.03, "loss_rate_per_s": 0.0, "chi2": 80.0, "freedom": 70,
    "n_frames": 2000, "n_sites": 2600, "max_lag_frames": 64, "basis": "correlation",
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three movies: one at a usual dose, a faint one whose answers disagree, one without hops."""
    store = Store.at(tmp_path_factory.mktemp("results"))
    names = ["usual", "faint<b>", "empty"]
    D, low, high = [4.2e-3, 4.6e-3, np.nan], [3.9e-3, 4.2e-3, 0.0], [4.6e-3, 5.1e-3, np.inf]
    depth = [8.0, 1.5, np.nan]
    hops = pd.DataFrame(
        {"movie": names, "D_nm2_per_s": D, "low": low, "high": high, "depth": depth}
    ).assign(**HOPS)
    hops.loc[2, ["hop_rate_per_s", "n_mobile", "static_share"]] = np.nan
    both = pd.DataFrame(
        {
            "movie": names, "tracked": [4.1e-3, 1.1e-3, np.nan], "tracked_low": [3.7e-3, 0.6e-3, np.nan],
            "tracked_high": [4.5e-3, 1.9e-3, np.nan], "correlated": D, "correlated_low": low,
            "correlated_high": high, "depth": depth, "leads": ["tracked", "correlated", "tracked"],
            "verdict": ["agree", "disagree", "one is not known"],
        }
    )  # fmt: skip
    rates = pd.DataFrame({"quantity": ["attachment", "detachment", "rotation"]}).assign(
        movie="faint<b>", n_events=30.0, time_at_risk_s=1e4, rate_per_s=0.003, low=0.002, high=0.005,
        depth=1.5,
    )  # fmt: skip
    states = pd.DataFrame(
        [
            {"from_state": a, "to_state": b, "probability": 0.25, "low": 0.2, "high": 0.3}
            for a in DOPANT_STATES
            for b in DOPANT_STATES
        ]
    ).assign(movie="faint<b>", count=10.0, rate_per_s=0.0)
    for name, rows in (
        ("hopping", hops), ("both_answers", both), ("dopant_rates", rates),
        ("dopant_transitions", states),
    ):  # fmt: skip
        store.write_table(tables.conform(rows, name), "made", f"{name}.parquet")
    store.write_json({"movies": [], "stages": {}}, "run.json")
    return read_results(store)


def test_the_tracked_answer_is_grey_where_frames_show_too_few_vacancies(results):
    rows = faint_section(results)["table"].rows
    said = [(str(row.label), row.below, row.role) for row in rows]
    assert said[:2] == [("usual", "tracked; leads", "class0"), ("usual", "correlated", "class0")]
    assert said[2] == ("faint&lt;b&gt;", "correlated; leads", "class1")
    assert said[3][1:] == ("tracked; frames show too few vacancies", "unnamed")
    assert said[4][1] == "tracked", "nothing leads where nothing is known"


def test_a_sentence_says_where_the_answers_disagree(results):
    agree, disagree, alone = map(str, faint_section(results)["says"])
    assert "agree within their intervals" in agree
    assert "disagree by more" in disagree
    assert "believe the correlated one" in disagree
    assert "the correlated one is not known" in alone


def test_the_page_shows_the_section_and_names_are_text(results):
    page = report_page(results)
    assert 'id="faint"' in page
    assert "faint&lt;b&gt;" in page
    assert "faint<b>" not in page
    assert "nothing hops" in page
    assert page.count("From frame to frame") == 1


def test_a_run_without_sites_has_no_such_section(tmp_path):
    store = Store.at(tmp_path)
    store.write_json({"movies": [], "stages": {}}, "run.json")
    assert faint_section(read_results(store)) is None
