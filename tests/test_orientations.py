"""Where a dopant holds its vacancy: the chain of {alone, @0, @1, @2} and its three rates."""

from types import SimpleNamespace

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy import linalg

import stemkin as sk
from stemkin.report.orientations import orientations_panel
from stemkin.tables import COLUMNS, Experiment

CLASSES = pd.DataFrame(
    {
        "class_id": [2, 5, 7],
        "name": ["Mo_W", "Mo_W+V_S", "V_S"],
        "n_detections": [9, 9, 9],
        "mean_patch": None,
    }
)


def experiment(movies=("m",), frame_time_s=1.0):
    known = pd.DataFrame({"movie": list(movies), "n_frames": 100, "frame_time_s": frame_time_s})
    return Experiment(known, None, CLASSES)


def dopants(states, movie="m"):
    """Rows of (n_tracks, n_frames) states: 0 alone, 1 to 3 with a vacancy on one of the columns."""
    n, length = states.shape
    state = states.ravel()
    return pd.DataFrame(
        {
            "movie": movie,
            "particle": np.repeat(np.arange(n), length),
            "frame": np.tile(np.arange(length), n),
            "class_id": np.where(state > 0, 5, 2),
            "orientation": state - 1,
        }
    )


def chains(rng, attach, detach, forward, backward, *, n_tracks=40, n_frames=80):
    Q = np.zeros((4, 4))
    Q[0, 1:], Q[1:, 0] = attach / 3, detach
    for j in range(3):
        Q[1 + j, 1 + (j + 1) % 3], Q[1 + j, 1 + (j - 1) % 3] = forward, backward
    bounds = linalg.expm(Q - np.diag(Q.sum(axis=1))).cumsum(axis=1)
    states = rng.integers(4, size=(n_tracks, n_frames))
    for t in range(1, n_frames):
        states[:, t] = (rng.random(n_tracks)[:, None] > bounds[states[:, t - 1]]).sum(axis=1)
    return states


def test_a_few_steps_are_counted_as_written_out():
    found = sk.orientations(
        dopants(np.array([[0, 0, 1, 1, 2, 0, 3], [3, 3, 1, 0, 0, 0, 0]])), experiment=experiment()
    )
    assert found.matrix("count").to_numpy().tolist() == [
        [4, 1, 0, 1],
        [1, 1, 1, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 1],
    ]
    # attached twice, let go twice, turned twice, and stayed twice where it was
    pooled = found.matrix("count", symmetric=True).to_numpy()
    assert pooled[0].tolist() == [4, 2, 2, 2]
    assert pooled[1:, 0].tolist() == [2, 2, 2]
    assert pooled[1, 1:].tolist() == [2, 2, 2]
    P = found.matrix(symmetric=True)
    assert P.loc["alone", "@1"] == pytest.approx(2 / 6 / 3)
    assert P.loc["@0", "@2"] == pytest.approx(2 / 6 / 2)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    rates = found.rates.set_index("quantity")
    assert rates.loc["rotation forward", "n_events"] == 2  # @0 to @1, and @2 to @0
    assert rates.loc["rotation backward", "n_events"] == 0
    assert rates.loc["attachment", "time_at_risk_s"] == 6
    assert set(found.rates["complex"]) == {"Mo_W+V_S"}


def test_rates_by_symmetry_hold_the_truth_as_often_as_they_say():
    true = {"attachment": 0.03, "detachment": 0.05, "rotation": 0.04, "rotation forward": 0.04}
    rng, inside, p_values = np.random.default_rng(0), [], []
    parts = []
    for i in range(10):
        rows = dopants(chains(rng, 0.03, 0.05, 0.04, 0.04), movie=f"m{i}")
        parts.append(rows[rng.random(len(rows)) > 0.1])  # and a tenth of the sightings is missing
    movies = [f"m{i}" for i in range(10)]
    rates = sk.orientations(
        pd.concat(parts, ignore_index=True), by="movie", experiment=experiment(movies)
    ).rates
    own = rates[(rates["movie"] != "*") & rates["quantity"].isin(true)]
    truth = own["quantity"].map(true)
    inside = (own["low"] <= truth) & (truth <= own["high"])
    assert 0.88 < inside.mean() <= 1
    p_values = rates.loc[rates["quantity"] == "rotation forward", "p_value"]
    assert (p_values < 0.05).mean() < 0.25
    pooled = rates[rates["movie"] == "*"].set_index("quantity")["rate_per_s"]
    for name, value in true.items():
        assert pooled[name] == pytest.approx(value, rel=0.15)


def test_a_vacancy_that_turns_one_way_round_is_told_from_one_that_turns_both_ways():
    rows = dopants(chains(np.random.default_rng(1), 0.05, 0.02, 0.06, 0.01))
    rates = sk.orientations(rows, experiment=experiment()).rates.set_index("quantity")
    assert rates.loc["rotation forward", "p_value"] < 1e-6
    assert rates.loc["rotation forward", "low"] > rates.loc["rotation backward", "high"]


def test_however_the_tracks_are_spread_the_chain_is_the_same():
    rows = dopants(chains(np.random.default_rng(2), 0.03, 0.05, 0.04, 0.04, n_tracks=12))
    whole = sk.orientations(rows, experiment=experiment())
    parts = [own for _, own in rows.groupby(rows["particle"] % 3)]
    cut = dd.from_map(lambda i: parts[i], range(3), meta=rows.iloc[:0])
    spread = sk.orientations(cut, experiment=experiment())
    pd.testing.assert_frame_equal(spread.transitions, whole.transitions, check_exact=True)
    pd.testing.assert_frame_equal(spread.rates, whole.rates, check_exact=True)


def test_what_is_not_known_is_no_state():
    states = chains(np.random.default_rng(3), 0.05, 0.05, 0.05, 0.05, n_tracks=6, n_frames=20)
    rows = dopants(states)
    rng = np.random.default_rng(4)
    odd = rows.assign(
        orientation=np.where(rng.random(len(rows)) < 0.1, 9, rows["orientation"]).astype("int8"),
        class_id=np.where(rng.random(len(rows)) < 0.1, 7, rows["class_id"]),
        at_edge=rng.random(len(rows)) < 0.1,
    )
    known = (odd["class_id"] == 2) | ((odd["class_id"] == 5) & odd["orientation"].between(0, 2))
    left = odd[known & ~odd["at_edge"]]
    pd.testing.assert_frame_equal(
        sk.orientations(odd, experiment=experiment()).rates,
        sk.orientations(left, experiment=experiment()).rates,
    )


def test_without_a_complex_or_without_one_of_its_states_nothing_is_made_up():
    rows = dopants(np.zeros((3, 5), int))
    alone = sk.orientations(rows, experiment=experiment()).rates.set_index("quantity")
    assert alone.loc["attachment", "rate_per_s"] == 0
    assert alone.loc["attachment", "high"] < 0.5
    assert (
        alone.loc[["detachment", "rotation"], ["rate_per_s", "low", "high"]].isna().all(axis=None)
    )
    none = Experiment(experiment().movies, None, CLASSES.iloc[[0, 2]])
    nothing = sk.orientations(rows, experiment=none)
    assert nothing.rates["rate_per_s"].isna().all()
    for table, name in (
        (nothing.transitions, "orientation_transitions"),
        (nothing.rates, "orientation_rates"),
    ):
        assert list(table.columns) == list(COLUMNS[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"bound": "Mo_W"}, "a complex and its dopant are told by both their names"),
        ({"alone": "Mo_W"}, "a complex and its dopant are told by both their names"),
        ({"bound": "Mo_W+V_Se"}, r"no class is called 'Mo_W\+V_Se'"),
    ],
)
def test_a_complex_that_is_not_there_is_said_so(words, message):
    with pytest.raises(ValueError, match=message):
        sk.orientations(dopants(np.zeros((1, 5), int)), experiment=experiment(), **words)


def test_a_run_that_named_nothing_has_no_orientations_and_no_fault():
    from stemkin.kinetics.orientations import _classes_meant
    from stemkin.tables import Experiment, empty

    known = Experiment(pd.DataFrame({"movie": ["m"]}), None, empty("classes"))
    assert _classes_meant(known, None, None) == (None, "")


def test_the_report_shows_the_chain_of_orientations_and_its_rates():
    states = chains(np.random.default_rng(2), 0.05, 0.05, 0.1, 0.1)
    found = sk.orientations(dopants(states), experiment=experiment())
    tables = {
        "orientation_transitions": found.transitions,
        "orientation_rates": found.rates,
    }
    (panel,) = orientations_panel(SimpleNamespace(found=tables))["complexes"]
    assert panel["name"] == "Mo_W+V_S"
    assert panel["matrix"]["labels"] == ["alone", "@0", "@1", "@2"]
    of_table = found.matrix("count").to_numpy().sum()
    assert sum(panel["matrix"]["totals"].values()) == of_table
    assert [str(row.label) for row in panel["rates"].rows] == [
        "attachment",
        "detachment",
        "rotation",
    ]
    assert "<svg" in panel["figure"]
    assert 0 < float(panel["p_value"]) < 1
    nothing = {name: rows.iloc[:0] for name, rows in tables.items()}
    assert orientations_panel(SimpleNamespace(found=nothing)) is None
