"""`plan` says before the experiment what it could measure, and refuses what cannot be asked."""

import json
import sys

import numpy as np
import pytest

import stemkin as sk
from stemkin.cli import main
from stemkin.selfcheck.planning import describe_scan, scan_plans
from stemkin.simulation import simulate_movie, truth_of

SMALL = {"n_frames": 30, "field_nm": 12.0, "n_runs": 12}
SWITCHING = {
    "defects_per_nm2": {"V_S": 0.1, "Mo_W": 0.1, "Mo_W+V_S": 0.1},
    "rates_per_s": {"Mo_W->Mo_W+V_S": 0.02, "Mo_W+V_S->Mo_W": 0.02},
}


@pytest.fixture(scope="module")
def planned():
    return sk.plan(**SMALL, **SWITCHING)


def number(found, name):
    """The row of a plan's numbers that begins with `name`."""
    return found.numbers[found.numbers["number"].str.startswith(name)].iloc[0]


def test_a_plan_says_how_well_d_and_rates_come_out(planned):
    D = number(planned, "D of V_S")
    assert D["value"] == pytest.approx(0.12 * 0.3153**2 / 4)
    assert 0.05 < D["half_width"] < 0.5
    assert abs(D["bias"]) < 4 * D["bias_error"] + 0.02
    assert D["coverage_high"] > 0.9
    assert number(planned, "rate Mo_W -> Mo_W+V_S")["value"] == 0.02
    assert set(planned.numbers["measured"]) <= {"well", "roughly", "a factor of two", "no"}


def test_what_is_seen_is_what_the_ideal_observer_of_the_simulator_sees(planned):
    shape = (400, 400)
    movie = simulate_movie("paper", shape=shape, contamination=0.0, dose_rate_e_per_nm2_s=1.6e6)
    limits = truth_of(movie).limits.set_index(["kind", "against"])["d_prime"]
    seen = planned.seen.set_index("name")
    for name in ("V_S", "Mo_W", "Mo_W+V_S"):
        assert seen.loc[name, "d_prime"] == pytest.approx(limits[name, "crystal"], rel=0.05)
    assert seen.loc["Mo_W", "taken_for"] == "Mo_W+V_S"


def test_the_cost_is_dose_time_and_electrons():
    found = sk.plan(n_frames=10, frame_time_s=3.0, dose_e_per_nm2=1e6, n_movies=2, n_runs=1)
    assert found.cost == {
        "total_frames": 20.0,
        "time_s": 60.0,
        "dose_e_per_nm2": 1e7,
        "electrons": 1e7 * 225 * 2,
    }


def test_less_dose_sees_less_and_more_frames_measure_better():
    words = {"field_nm": 12.0, "n_runs": 6}
    bright = sk.plan(n_frames=20, **words)
    dim = sk.plan(n_frames=20, dose_e_per_nm2=2e5, **words)
    long = sk.plan(n_frames=80, **words)
    assert dim.seen["d_prime"][0] == pytest.approx(bright.seen["d_prime"][0] / np.sqrt(18), rel=0.1)
    assert dim.seen["recall"][0] < 0.5 < bright.seen["recall"][0]
    assert dim.seen["error_pm"][0] > bright.seen["error_pm"][0]
    assert number(long, "D of")["half_width"] < 0.7 * number(bright, "D of")["half_width"]


def test_a_total_dose_is_shared_by_the_frames():
    one, two = (
        sk.plan(n_frames=n, total_dose_e_per_nm2=1e7, n_runs=1, field_nm=9.0) for n in (10, 20)
    )
    assert one.settings["dose_e_per_nm2"] == 2 * two.settings["dose_e_per_nm2"] == 1e6
    assert one.cost["dose_e_per_nm2"] == two.cost["dose_e_per_nm2"]


def test_hops_may_be_said_as_a_diffusion_coefficient():
    by_rate, by_D = (
        sk.plan(n_frames=10, field_nm=9.0, n_runs=2, **words)
        for words in ({"hop_rate_per_s": 0.2}, {"diffusion_nm2_per_s": 0.2 * 0.3153**2 / 4})
    )
    assert by_rate.describe() == by_D.describe()


def test_a_scan_has_the_numbers_of_each_value_with_its_cost():
    rows = scan_plans("frames", [10, 40], field_nm=12.0, n_runs=5)
    of_D = rows[rows["number"].str.startswith("D of")]
    assert of_D["frames"].tolist() == [10, 40]
    assert of_D["time_s"].tolist() == [22.5, 90.0]
    assert of_D["half_width"].is_monotonic_decreasing
    text = describe_scan(rows)
    assert len([line for line in text.splitlines() if line.split()[0] in ("10", "40")]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"n_frames": 1}, "n_frames must be at least 2"),
        ({"dose_e_per_nm2": 0.0}, "dose_e_per_nm2 must be a number above 0"),
        ({"dose_e_per_nm2": float("nan")}, "dose_e_per_nm2 must be a number above 0"),
        ({"field_nm": 0.3}, "holds less than two lattice cells of WS2"),
        ({"pixel_size_nm": 0.2}, "cannot show the lattice"),
        ({"material": "cheese"}, "cheese"),
        ({"defects_per_nm2": {"V_Q": 0.1}}, "has no defect called 'V_Q'; it has V_S"),
        ({"defects_per_nm2": -1.0}, "defects_per_nm2 of V_S must be a number from 0 on"),
        ({"rates_per_s": {"V_S": 0.1}}, "a rate is said like"),
        ({"rates_per_s": {"V_S->V_S": 0.1}}, "a rate is said like"),
        ({"rates_per_s": {"Mo_W->Mo_W+V_S": 0.1}}, "give the density of Mo_W too"),
        ({"hop_rate_per_s": 1.0, "diffusion_nm2_per_s": 1.0}, "not both"),
        ({"n_runs": 0}, "n_runs must be at least 1"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(words, says):
    with pytest.raises(ValueError, match=says):
        sk.plan(**words)


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["stemkin", "plan", *words])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


QUICK = ("--frames", "12", "--field-nm", "9", "--runs", "2")


def test_the_command_prints_a_table_or_json(monkeypatch, capsys):
    classes = ("--defects-per-nm2", "V_S=0.2", "--defects-per-nm2", "V_S2=0.2")
    rate = ("--rate", "V_S2->V_S=0.05")
    code, out, err = call(monkeypatch, capsys, *QUICK, *classes, *rate)
    assert (code, err) == (0, "")
    assert "D of V_S" in out
    code, out, _ = call(monkeypatch, capsys, *QUICK, *classes, *rate, "--json")
    found = json.loads(out)
    assert code == 0
    assert [row["name"] for row in found["seen"]] == ["V_S", "V_S2"]
    assert any(row["number"] == "rate V_S2 -> V_S (1/s)" for row in found["numbers"])
    code, out, _ = call(monkeypatch, capsys, *QUICK, "--scan", "dose=1e6,2e6", "--json")
    assert code == 0
    assert {row["dose"] for row in json.loads(out)} == {1e6, 2e6}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--scan", "frames"), "a scan is said like frames=50,100,200"),
        (("--scan", "colour=1,2"), "scan can be one of frames, dose"),
        (("--scan", "frames=10.5"), "frames are whole numbers"),
        (("--scan", "frames=ten"), "'ten' is no number"),
        (("--rate", "fast"), "a rate is said like"),
        (("--defects-per-nm2", "0.1", "--defects-per-nm2", "0.2"), "each needs its class"),
        (("--hop-rate-per-s", "often"), "--hop-rate-per-s: 'often' is no number"),
        (("--material", "cheese"), "cheese"),
    ],
)
def test_a_word_that_means_nothing_is_one_sentence_and_exit_2(monkeypatch, capsys, words, says):
    code, _, err = call(monkeypatch, capsys, *QUICK, *words)
    assert code == 2
    assert says in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
