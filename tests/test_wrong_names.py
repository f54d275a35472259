"""Names that are wrong for a while: what they do to rates, and how that is found and taken out."""

import itertools

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.kernels.chains.hidden_markov import UNITS, expected_counts
from stemkin.kernels.chains.wrong_names import likeliest_kept, said_confusion
from stemkin.kinetics import hidden_states, hidden_transitions, name_errors
from stemkin.kinetics.baum_welch import BaumWelch, WrongNames
from stemkin.kinetics.held_names import names_along_tracks
from stemkin.kinetics.name_tests import said_of_names
from stemkin.report import report_page
from stemkin.report.result_files import read_results
from stemkin.results.store import Store
from stemkin.rows.groups import Grouping
from stemkin.tables import POOLED, Experiment

OFF = ~np.eye(2, dtype=bool)
P = np.array([[0.98, 0.02], [0.03, 0.97]])
CONFUSION = np.array([[0.95, 0.05], [0.04, 0.96]])


def a_chain(rng, *, n_tracks=120, n_frames=50, lasts=1.0, confusion=CONFUSION):
    """Two classes that switch by `P`; a name is drawn anew at each change, and else in one of
    `lasts` frames."""
    state = np.zeros((n_tracks, n_frames), int)
    state[:, 0] = rng.random(n_tracks) < 0.4
    name = np.zeros_like(state)
    for t in range(n_frames):
        if t:
            state[:, t] = rng.random(n_tracks) < P[state[:, t - 1], 1]
        drawn = (rng.random(n_tracks) < confusion[state[:, t], 1]).astype(int)
        kept = np.zeros(n_tracks, bool)
        if t:
            kept = (state[:, t] == state[:, t - 1]) & (rng.random(n_tracks) >= 1 / lasts)
        name[:, t] = np.where(kept, name[:, t - 1], drawn)
    return pd.DataFrame(
        {
            "movie": "m",
            "particle": np.repeat(np.arange(n_tracks), n_frames),
            "frame": np.tile(np.arange(n_frames), n_tracks),
            "class_id": name.ravel(),
        }
    )


def test_sums_over_names_that_last_are_those_of_every_history_written_out():
    P, C, kept = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([[0.9, 0.1], [0.2, 0.8]]), 0.6
    start, names = np.array([0.6, 0.4]), np.array([0, 1, 1, 0, 0])
    total, counts, held, drawn = 0.0, np.zeros((2, 2)), np.zeros(2), np.zeros((2, 2))
    for states in itertools.product(range(2), repeat=5):
        for anew in itertools.product((False, True), repeat=4):
            weight = start[states[0]] * C[states[0], names[0]]
            for t, drawn_anew in enumerate(anew, start=1):
                weight *= P[states[t - 1], states[t]]
                if states[t] != states[t - 1]:
                    weight *= drawn_anew * C[states[t], names[t]]
                elif drawn_anew:
                    weight *= (1 - kept) * C[states[t], names[t]]
                else:
                    weight *= kept * (names[t] == names[t - 1])
            total += weight
            drawn[states[0], names[0]] += weight
            for t, drawn_anew in enumerate(anew, start=1):
                counts[states[t - 1], states[t]] += weight
                held[int(drawn_anew)] += weight * (states[t] == states[t - 1])
                drawn[states[t], names[t]] += weight * drawn_anew
    found = expected_counts(
        np.array([0, 5]),
        np.zeros(5, int),
        C[:, names].T,
        P[None],
        start,
        name=names,
        kept=np.array([kept]),
    )
    np.testing.assert_allclose(found.log_likelihood[0] / UNITS, np.log(total))
    np.testing.assert_allclose(found.counts[0] / UNITS, counts / total, atol=1e-8)
    np.testing.assert_allclose(found.held[0] / UNITS, held / total, atol=1e-8)
    np.testing.assert_allclose(found.drawn / UNITS, drawn / total, atol=1e-8)


def test_how_long_names_are_kept_follows_from_gaps_of_any_length():
    assert likeliest_kept({1: np.array([0.0, 9.0])}) == 0
    assert likeliest_kept({1: np.array([9.0, 0.0])}) > 0.999
    true = 0.7
    held = {gap: 1000 * np.array([true**gap, 1 - true**gap]) for gap in (1, 2, 5)}
    assert likeliest_kept(held) == pytest.approx(true, abs=1e-6)


def test_the_confusion_that_names_speak_of_has_the_ratios_of_their_sureness():
    matrix = said_confusion(np.array([0.9, 0.8, 0.95]), np.array([0.2, 0.3, 0.5]))
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(matrix[1, 0] / matrix[0, 0], 0.1 / 0.9 * 0.2 / 0.8)
    np.testing.assert_allclose(matrix[0, 2] / matrix[2, 2], 0.05 / 0.95)


def test_wrong_names_that_last_are_found_and_their_rates_corrected():
    Q = np.array([[0, 0.02052], [0.03078, 0]])  # of P: its logarithm
    totals, inside, kept = {"independent": [], "lasting": []}, [], []
    for seed in range(6):
        found = name_errors(
            a_chain(np.random.default_rng(seed), lasts=5), confusion=CONFUSION, frame_time_s=1.0
        )
        row = found.table.iloc[0]
        assert row["recommended"] == "lasting"
        assert row["p_value"] < 1e-4
        kept.append(row["kept_low"] <= 0.8 <= row["kept_high"])
        for way, own in found.hidden.groupby("errors"):
            rates, low, high = (
                own[c].to_numpy().reshape(2, 2)[OFF]
                for c in ("rate_per_s", "rate_low", "rate_high")
            )
            totals[way].append(rates.sum() / Q.sum())
            if way == "lasting":
                inside.append((low <= Q[OFF]) & (Q[OFF] <= high))
    assert np.mean(totals["independent"]) > 1.15  # taken for noise, they look like visits
    assert np.mean(totals["lasting"]) == pytest.approx(1, abs=0.08)
    assert np.mean(inside) > 0.8
    assert np.mean(kept) > 0.6


def test_mixed_steps_end_where_no_plain_step_leads_farther():
    rows = a_chain(np.random.default_rng(3), n_tracks=60, n_frames=40, lasts=3.0)
    names = names_along_tracks(rows, grouping=Grouping(), states=(0, 1), with_probability=False)
    known = WrongNames(CONFUSION, np.full(2, 50.0))
    fit = BaumWelch([names], (POOLED,), (0, 1), {("m", 1): 1.0}, known, lasting=True)
    at, looked = fit.at, fit.looked
    for _ in range(50):
        at = fit._next(at, looked)
        looked = fit.look(at)
    assert looked.log_likelihood - fit.looked.log_likelihood < 1e-4
    assert at.x == pytest.approx(fit.at.x, rel=1e-2)
    assert at.kept == pytest.approx(fit.at.kept, abs=1e-3)


def test_wrong_names_that_blink_are_not_taken_for_ones_that_last():
    found = name_errors(a_chain(np.random.default_rng(1)), confusion=CONFUSION, frame_time_s=1.0)
    row = found.table.iloc[0]
    assert row["recommended"] == "independent"
    assert row["kept_low"] == 0
    assert row["kept_high"] < 0.3
    used = hidden_transitions(
        a_chain(np.random.default_rng(1)), confusion=CONFUSION, frame_time_s=1.0
    )
    assert set(used.table["errors"]) == {"independent"}
    pd.testing.assert_frame_equal(
        used.table, found.hidden[found.hidden["recommended"]].reset_index(drop=True)
    )


@pytest.mark.parametrize("seed", range(4))
def test_of_a_few_wrong_names_the_interval_of_their_lasting_holds_what_is_told(seed):
    seldom = np.array([[0.998, 0.002], [0.002, 0.998]])
    rows = a_chain(np.random.default_rng(seed), n_tracks=30, confusion=seldom)
    row = name_errors(rows, confusion=seldom, n_measured=30, frame_time_s=1.0).table.iloc[0]
    assert np.isnan(row["kept"]) or row["kept_low"] <= row["kept"] <= row["kept_high"]


def test_names_that_are_never_wrong_are_taken_as_they_are():
    rows = a_chain(np.random.default_rng(2), confusion=np.eye(2))
    found = name_errors(rows, confusion=np.eye(2), frame_time_s=1.0)
    assert found.table["recommended"].tolist() == ["none"]
    assert np.isnan(found.table["kept"]).all()
    counted = sk.transitions(rows, frame_time_s=1.0).table
    for _, own in found.hidden.groupby("errors"):
        np.testing.assert_allclose(own["rate_per_s"], counted["rate_per_s"], rtol=1e-3, atol=1e-6)


def test_how_well_the_confusion_is_known_enters_the_intervals():
    rows = a_chain(np.random.default_rng(3), n_tracks=60, lasts=5)
    widths = []
    for n_measured in (np.inf, 10_000, 300, 20):
        found = hidden_transitions(
            rows, confusion=CONFUSION, n_measured=n_measured, errors="lasting", frame_time_s=1.0
        )
        widths.append((found.matrix("rate_high") - found.matrix("rate_low")).to_numpy()[OFF].sum())
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[0] < widths[2] < widths[3]


def test_names_come_to_the_same_wherever_they_lie(monkeypatch):
    rows = a_chain(np.random.default_rng(4), n_tracks=30, n_frames=20, lasts=3)
    rows = rows.assign(probability=np.random.default_rng(5).uniform(0.6, 1.0, len(rows)))
    whole = name_errors(rows, frame_time_s=1.0)
    parts = [own for _, own in rows.groupby(rows["particle"] % 3)]
    import dask.dataframe as dd

    cut = dd.from_map(lambda i: parts[i], range(3), meta=rows.iloc[:0])
    monkeypatch.setattr(hidden_states, "FEW_NAMES", 0)
    spread = name_errors(cut, frame_time_s=1.0)
    pd.testing.assert_frame_equal(spread.table, whole.table, check_exact=True)
    pd.testing.assert_frame_equal(spread.hidden, whole.hidden, check_exact=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"errors": "sticky"}, "errors must be 'tested', 'independent' or 'lasting'"),
        ({"n_measured": 0}, "n_measured must be positive numbers of defects"),
        ({"n_measured": [5, 5, 5]}, "n_measured must be positive numbers of defects"),
        ({"n_measured": "many"}, "n_measured must be positive numbers of defects"),
    ],
)
def test_what_is_told_of_wrong_names_must_make_sense(words, message):
    rows = a_chain(np.random.default_rng(0), n_tracks=3, n_frames=5)
    with pytest.raises(ValueError, match=message):
        hidden_transitions(rows, confusion=CONFUSION, frame_time_s=1.0, **words)


# --- defects that the edge of the frame cuts


CUT = {
    "transitions": lambda rows: sk.transitions(rows, frame_time_s=1.0).table,
    "beam_cross_sections": lambda rows: sk.beam_cross_sections(rows, experiment=KNOWN),
    "dwell_times": lambda rows: sk.dwell_times(rows, frame_time_s=1.0),
    "survival": lambda rows: sk.survival(rows, frame_time_s=1.0, begun="any"),
    "hidden_transitions": lambda rows: (
        hidden_transitions(rows, confusion=CONFUSION, frame_time_s=1.0).table
    ),
    "name_errors": lambda rows: name_errors(rows, confusion=CONFUSION, frame_time_s=1.0).table,
    "meetings": lambda rows: sk.meetings(rows, reach_nm=0.4),
    "creation": lambda rows: sk.creation(rows, experiment=KNOWN, sites_per_nm2=22.0, reach_nm=0.5),
}
KNOWN = Experiment(
    pd.DataFrame(
        {
            "movie": ["m"],
            "n_frames": [40],
            "frame_time_s": [1.0],
            "height_px": [200],
            "width_px": [200],
            "pixel_size_nm": [0.03],
            "dose_rate_e_per_nm2_s": [1e6],
        }
    ),
    None,
    pd.DataFrame(
        {"class_id": [0, 1], "name": ["V_S", "V_S2"], "n_detections": 1, "mean_patch": None}
    ),
)


def at_the_edge(*, seed):
    """Tracks of 40 frames; in some of them the edge cuts the defect, whose name is then anything."""
    rng = np.random.default_rng(seed)
    rows = a_chain(np.random.default_rng(0), n_tracks=12, n_frames=40, lasts=5)
    cut = np.random.default_rng(1).random(len(rows)) < 0.2
    names = np.where(cut, rng.integers(2, size=len(rows)), rows["class_id"])
    x = 20.0 + 13 * rows["particle"]
    # every second defect is lost and found again every 4 frames: ends and starts for meetings
    lost = rows["particle"] + 100 * (rows["particle"] % 2) * (rows["frame"] // 4)
    rows = rows.assign(class_id=names, at_edge=cut, particle=lost)
    return rows.assign(y=100.0, x=x, y_nm=3.0, x_nm=x * 0.03)


@pytest.mark.parametrize("verb", CUT)
def test_the_name_of_a_defect_that_the_edge_cuts_counts_for_nothing(verb):
    one, other = (at_the_edge(seed=seed) for seed in (2, 3))
    assert not one.equals(other)
    pd.testing.assert_frame_equal(CUT[verb](one), CUT[verb](other))
    believed = [CUT[verb](rows.assign(at_edge=False)) for rows in (one, other)]
    assert not believed[0].equals(believed[1])


def test_a_defect_at_the_edge_is_counted_as_one_that_is_there():
    rows = at_the_edge(seed=2)
    numbers = sk.populations(rows, experiment=KNOWN)
    assert numbers["n"].sum() == len(rows)
    assert sk.abundances(rows, experiment=KNOWN)["n_detections"].sum() == len(rows)


# --- what a run says of it


def test_a_run_says_on_top_that_its_names_blink(tmp_path):
    rows = a_chain(np.random.default_rng(0), n_tracks=60, lasts=5)
    found = name_errors(rows, confusion=CONFUSION, frame_time_s=1.0)
    (said,) = said_of_names(found.table)
    assert "names blink: " in said
    assert " frames on average, which makes " in said
    calm = name_errors(
        a_chain(np.random.default_rng(0), n_tracks=60, confusion=np.eye(2)),
        confusion=np.eye(2),
        frame_time_s=1.0,
    )
    assert said_of_names(calm.table) == []
    store = Store(str(tmp_path))
    store.write_table(sk.transitions(rows, frame_time_s=1.0).table, "x", "transitions.parquet")
    store.write_table(found.hidden, "x", "hidden_transitions.parquet")
    store.write_table(found.table, "x", "name_errors.parquet")
    page = report_page(read_results(store))
    top, rest = page.split('id="seen"')
    assert "Names blink: " in top
    assert "corrected, wrong names last" in rest
    assert "names corrected (rejected)" in rest


def test_where_no_name_changed_nothing_is_said_to_blink(tmp_path):
    rows = a_chain(np.random.default_rng(0), n_tracks=20, n_frames=20)
    rows["class_id"] = rows["particle"] % 2  # whatever the classifier may confuse
    found = name_errors(rows, confusion=CONFUSION, frame_time_s=1.0)
    row = found.table.iloc[0]
    assert row["wrong_share"] > 0.01
    assert np.isnan(row["false_changes"])
    assert row["recommended"] == "none"
    assert said_of_names(found.table) == []
    store = Store(str(tmp_path))
    store.write_table(sk.transitions(rows, frame_time_s=1.0).table, "x", "transitions.parquet")
    store.write_table(found.table, "x", "name_errors.parquet")
    page = report_page(read_results(store))
    assert "No change of class was counted" in page
    assert "Names blink" not in page
