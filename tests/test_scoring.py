"""Scores: by hand first, then against what was done to a known truth."""

import math

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from stemkin.kinetics import transitions
from stemkin.rows.table import with_experiment
from stemkin.scoring import Labels, Score, score
from stemkin.simulation import simulate_archive, simulate_movie, truth_of
from stemkin.tables import Experiment, conform, empty


def rows(*points, **columns):
    frame, y, x = zip(*points, strict=True)
    return pd.DataFrame(
        {"frame": frame, "y": np.array(y, float), "x": np.array(x, float), **columns}
    )


THREE = rows((0, 5, 5), (0, 20, 20), (1, 5, 6), particle=[1, 2, 1], kind=["a", "b", "a"])
KNOWN = Labels(THREE, shape=(32, 32), n_frames=2)


@pytest.fixture(scope="module")
def truth():
    return truth_of(simulate_movie("paper", n_frames=30, shape=(256, 256), seed=2))


@pytest.fixture
def perfect(truth):
    """What a perfect observer would hand in: every defect, named 3, 1, 4, 0 and tracked."""
    codes = {"V_S": 3, "V_S2": 1, "Mo_W": 4, "Mo_W+V_S": 0}
    return truth.defects.assign(class_id=truth.defects["kind"].map(codes))


# -- by hand


def test_two_found_one_missed_one_false_by_hand():
    found = rows((0, 5.5, 5), (1, 5, 6), (1, 25, 25), particle=[7, 7, 8])
    one = score(found, KNOWN, radius_nm=2.0).detection.loc["all"]
    assert (one["n_true"], one["n_matched"], one["n_found"]) == (3, 2, 3)
    assert (one["recall"], one["precision"], one["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert one["rmse_nm"] == pytest.approx(
        math.sqrt(0.25 / 4)
    )  # one coordinate of four is off by a half
    assert one["bias_y_nm"] == pytest.approx(0.25)
    assert one["false_per_frame"] == 0.5


def test_a_detection_belongs_to_one_defect_and_to_the_nearest():
    crowd = Labels(rows((0, 5, 5), (0, 5, 7)), shape=(16, 16), n_frames=1)
    one = score(rows((0, 5, 6.9)), crowd, radius_nm=3.0).detection.loc["all"]
    assert one["n_matched"] == 1
    assert one["bias_x_nm"] == pytest.approx(-0.1)
    assert (
        score(rows((0, 5, 6.9), (0, 5, 5.5)), crowd, radius_nm=3.0).detection.loc[
            "all", "n_matched"
        ]
        == 2
    )


def test_nothing_is_matched_across_frames_or_beyond_the_radius():
    found = rows((1, 20, 20), (0, 5, 8))
    assert score(found, KNOWN, radius_nm=2.0).detection.loc["all", "n_matched"] == 0


def test_tracks_by_hand():
    line = rows(*[(k, 10, 10 + k) for k in range(6)], particle=0, kind="a")
    known = Labels(line, shape=(32, 32), n_frames=6)
    found = line.assign(particle=[1, 1, 1, 2, 2, 2])
    one = score(found, known, radius_nm=1.0).association.loc["all"]
    assert one["switches"] == 1
    assert one["n_links"] == 5
    assert one["links_found"] == pytest.approx(4 / 5)
    assert one["ass_a"] == pytest.approx(0.5)  # each half track shares 3 of 6
    assert one["hota"] == pytest.approx(math.sqrt(0.5))
    assert one["links_wrong"] == 0


def test_a_link_between_two_defects_is_wrong():
    two = pd.concat(
        [
            rows((0, 5, 5), (1, 5, 5), particle=0, kind="a"),
            rows((0, 9, 9), (1, 9, 9), particle=1, kind="a"),
        ]
    )
    crossed = rows((0, 5, 5), (1, 9, 9), (0, 9, 9), (1, 5, 5), particle=[0, 0, 1, 1])
    one = score(crossed, Labels(two, shape=(16, 16), n_frames=2), radius_nm=1.0).association.loc[
        "all"
    ]
    assert one["links_wrong"] == 1.0
    assert one["links_found"] == 0.0
    assert one["switches"] == 2


def test_names_are_mapped_so_that_most_agree():
    found = THREE.assign(class_id=[4, 9, 4])
    result = score(found, KNOWN, radius_nm=1.0)
    assert result.mapping == {4: "a", 9: "b"}
    assert result.ari == 1.0
    assert result.confusion.loc["a", "4: a"] == 2
    assert result.confusion.loc["false"].sum() == 0
    wrong = score(THREE.assign(class_id=[4, 4, 4]), KNOWN, radius_nm=1.0)
    assert wrong.detection.loc["a", "precision"] == pytest.approx(2 / 3)
    assert wrong.detection.loc["b", "recall"] == 1.0
    assert wrong.ari == 0.0


def test_the_rand_index_agrees_with_scikit_learn(truth, perfect):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    mixed = perfect.assign(
        class_id=np.where(
            rng.random(len(perfect)) < 0.3, rng.integers(0, 5, len(perfect)), perfect["class_id"]
        )
    )
    assert score(mixed, truth).ari == pytest.approx(
        metrics.adjusted_rand_score(truth.defects["kind"], mixed["class_id"])
    )


# -- edges


def test_no_detections_and_no_defects():
    none = score(empty("tracks"), KNOWN, radius_nm=1.0)
    assert none.detection.loc["all", "recall"] == 0
    assert math.isnan(none.detection.loc["all", "precision"])
    clean = Labels(THREE[:0], shape=(32, 32), n_frames=2)
    alone = score(THREE, clean, radius_nm=1.0)
    assert alone.detection.loc["all", "precision"] == 0
    assert math.isnan(alone.detection.loc["all", "recall"])
    both = score(empty("detections"), clean, radius_nm=1.0)
    assert both.detection.loc["all", "n_true"] == 0


def test_what_is_no_table_is_refused_in_the_words_of_every_verb(truth, perfect):
    rows = perfect.compute() if hasattr(perfect, "compute") else perfect
    twice = pd.concat([rows, rows[["class_id"]]], axis=1)
    dates = rows.assign(frame=pd.to_datetime(rows["frame"], unit="s"))
    for bad, said in (
        (rows.to_dict("list"), "rows must be a pandas or Dask DataFrame, but these are a dict"),
        (twice, "each column must be there once, but 'class_id' is there twice"),
        (dates, "the column 'frame' must hold whole numbers, but it holds datetime64"),
    ):
        with pytest.raises(ValueError, match=said):
            score(bad, truth)


def test_a_table_that_cannot_be_scored_and_a_movie_without_truth_are_refused(truth, perfect):
    with pytest.raises(ValueError, match="cannot be scored; give detections, tracks or one of"):
        score(pd.DataFrame({"colour": [1]}), truth)
    with pytest.raises(ValueError, match="have no truth here"):
        score(perfect.assign(movie="other"), truth)
    with pytest.raises(ValueError, match="needs the columns"):
        Labels(pd.DataFrame({"frame": [0]}), shape=(8, 8), n_frames=1)


def test_only_the_frames_and_the_part_of_the_field_that_were_asked_for_count(truth, perfect):
    half = score(perfect[perfect["frame"] < 15], truth, frames=(0, 15)).detection.loc["all"]
    assert (half["recall"], half["precision"]) == (1.0, 1.0)
    inner = score(perfect, truth, edge_nm=1.0).detection.loc["all"]
    assert (
        inner["n_true"]
        == (
            truth.defects[["y", "x"]].min(axis=1).ge(1 / 0.03 - 0.5)
            & truth.defects[["y", "x"]].max(axis=1).lt(255.5 - 1 / 0.03)
        ).sum()
    )


def test_bad_frames_do_not_count():
    known = truth_of(simulate_movie("paper", n_frames=6, shape=(128, 128), blank_frames=(2, 3)))
    seen = known.defects[~known.defects["frame"].isin((2, 3))]
    assert score(seen, known).detection.loc["all", "recall"] == 1.0


def test_the_vacancy_of_a_complex_is_neither_right_nor_wrong(truth, perfect):
    partners = truth.partners_between(0, 30)
    inside = partners[
        partners[["y", "x"]].min(axis=1).ge(0) & partners[["y", "x"]].max(axis=1).lt(255)
    ]
    twice = pd.concat([perfect, inside.assign(class_id=3)])
    one = score(twice, truth).detection.loc["all"]
    assert len(inside) > 30
    assert one["precision"] == 1.0


# -- against the truth


def test_the_truth_itself_scores_perfectly(truth, perfect):
    result = score(perfect, truth)
    assert (result.detection.loc["all", ["recall", "precision", "f1"]] == 1).all()
    assert result.ari == 1.0
    assert (result.association["hota"] == 1).all()
    assert result.association["switches"].sum() == 0
    assert (result.detection["f1"] == 1).all()
    assert "recall" in str(result)


def test_missed_false_and_displaced_detections_are_counted_as_made(truth, perfect):
    rng = np.random.default_rng(1)
    kept = perfect[rng.random(len(perfect)) < 0.8]
    noisy = kept.assign(
        y=kept["y"] + rng.normal(0, 0.5, len(kept)), x=kept["x"] + rng.normal(0, 0.5, len(kept))
    )
    one = score(noisy, truth, radius_nm=0.15).detection.loc["all"]
    assert one["recall"] == pytest.approx(len(kept) / len(perfect), abs=0.01)
    assert one["rmse_nm"] == pytest.approx(0.5 * 0.03, rel=4 / math.sqrt(4 * len(kept)) + 0.02)
    assert one["recall_low"] < 0.8 < one["recall_high"]


def test_the_limit_stands_beside_what_was_found(truth, perfect):
    table = score(perfect, truth).detection
    assert table.loc["V_S", "best_recall"] > 0.99
    assert table.loc["V_S", "bound_nm"] == pytest.approx(0.0074, abs=0.001)


def test_several_movies_are_pooled():
    truths = [
        truth_of(movie) for movie in simulate_archive(n_movies=2, n_frames=4, shape=(128, 128))
    ]
    everything = pd.concat([one.defects for one in truths])
    result = score(everything, truths).detection.loc["all"]
    assert result["n_true"] == len(everything)
    assert (
        score(everything[everything["movie"] == truths[0].movie], truths).detection.loc[
            "all", "recall"
        ]
        < 1
    )


def test_dask_and_pandas_and_named_rows_score_alike(truth, perfect):
    plain = score(perfect, truth)
    classes = pd.DataFrame(
        {
            "class_id": [3, 1, 4, 0],
            "name": ["V_S", "V_S2", "Mo_W", "Mo_W+V_S"],
            "n_detections": 1,
            "mean_patch": None,
        }
    )
    experiment = Experiment(empty("movies"), None, conform(classes, "classes"))
    lazy = with_experiment(dd.from_pandas(perfect, npartitions=3, sort=False), experiment)
    named = score(lazy, truth)
    pd.testing.assert_frame_equal(named.detection, plain.detection)
    assert named.mapping == {3: "V_S", 1: "V_S2", 4: "Mo_W", 0: "Mo_W+V_S"}


def test_swapped_names_are_not_mended_where_the_names_are_known(truth, perfect):
    swapped = score(perfect, truth, classes={3: "Mo_W", 4: "V_S", 0: "Mo_W+V_S", 1: "V_S2"})
    assert swapped.detection.loc["V_S", "precision"] == 0


# -- estimates


def test_diffusion_is_put_beside_its_true_value(truth):
    table = pd.DataFrame(
        {
            "movie": ["*", "*", "*"], "class_id": [3, 4, 7], "method": "mle", "D_nm2_per_s": [3.3e-3, 1e-5, 1.0], "low": [2.5e-3, 0.0, 0.9],
            "high": [4e-3, 2e-5, 1.1], "sigma_nm": 0.0, "alpha": 1.0, "n_tracks": 5, "n_displacements": 50,
        }
    )  # fmt: skip
    found = score(table, truth, classes={3: "V_S", 4: "Mo_W"}).estimates
    assert found["true"].tolist() == pytest.approx([truth.D_nm2_per_s, 0.0])
    assert found["relative_error"].iloc[0] == pytest.approx(3.3e-3 / truth.D_nm2_per_s - 1)
    hops = truth.sojourns[truth.sojourns["kind"] == "V_S"]
    counted = (
        (hops["fate"] == "hop").sum() / (hops["end_s"] - hops["start_s"]).sum() * 0.3153**2 / 4
    )
    assert found["counted"].tolist() == pytest.approx([counted, 0.0])
    assert found["inside"].tolist() == [True, True]


def test_transitions_are_put_beside_what_a_perfect_observer_counts(truth):
    counts = truth.transition_counts()
    P = counts.loc["Mo_W", "Mo_W"] / counts.loc["Mo_W"].sum()
    table = conform(
        pd.DataFrame({"movie": truth.movie, "lag_frames": 1, "from_id": [4], "to_id": [4], "count": 3, "probability": P, "low": P + 0.1, "high": 1.0,
                      "rate_per_s": 0.0, "rate_low": 0.0, "rate_high": 0.0}), "transitions",
    )  # fmt: skip
    found = score(table, truth, classes={4: "Mo_W", 0: "Mo_W+V_S"}).estimates.iloc[0]
    assert found["true"] == pytest.approx(P) == found["found"]
    assert not found["inside"]
    others = {4: "Mo_W", 0: "Nb_W"}  # a class that is no kind of this truth has no true numbers
    assert len(score(table, truth, classes=others).estimates) == 1
    assert score(table.assign(to_id=0), truth, classes=others).estimates.empty


def test_rates_of_change_are_put_beside_those_that_happened(truth):
    rows = truth.sojourns[truth.sojourns["kind"] == "Mo_W"]
    everywhere = (
        rows["fate"].isin(("attach", "create")).sum() / (rows["end_s"] - rows["start_s"]).sum()
    )
    assert everywhere > 0
    codes = {"Mo_W": 4, "Mo_W+V_S": 0}
    seen = truth.defects.assign(class_id=truth.defects["kind"].map(codes)).dropna(subset="class_id")
    watched = transitions(
        seen.astype({"class_id": int}), frame_time_s=2.25
    ).table  # by a perfect observer
    found = score(watched, truth, classes={i: kind for kind, i in codes.items()}).estimates
    own = found[found["quantity"] == "rate_per_s"].set_index("what")
    assert own.loc["Mo_W+V_S → Mo_W", "relative_error"] == pytest.approx(0, abs=0.01)
    assert own["inside"].all()
    assert own.loc["Mo_W → Mo_W+V_S", "counted"] == pytest.approx(everywhere)


def test_drift_status_and_numbers_are_compared(truth):
    frames = truth.frames.assign(
        shift_y=truth.frames["shift_y"] + 3.0,
        shift_x=lambda t: t["shift_x"] + 0.1 * (t["frame"] % 2),
    )
    frames = conform(
        frames.assign(shift_quality=1.0, n_detections=0, ordered=1.0, disordered=0.0), "frames"
    )
    errors = score(frames, truth).estimates.set_index("quantity")["found"]
    assert errors["shift_y_rms_error"] == pytest.approx(
        0, abs=1e-9
    )  # a constant offset is no drift
    assert errors["shift_x_rms_error"] == pytest.approx(0.1 / math.sqrt(2))
    assert errors["status_right"] == 1.0
    numbers = truth.defects.groupby(["movie", "frame", "kind"]).size().rename("n").reset_index()
    numbers = numbers[numbers["kind"] == "V_S"].assign(class_id=3, time_s=0.0)
    one = score(conform(numbers, "populations"), truth, classes={3: "V_S"}).estimates.iloc[0]
    assert one["found"] == pytest.approx(one["true"])


def test_rates_of_leaving_are_compared(truth):
    counts = truth.transition_counts(1).loc["Mo_W+V_S"]
    true = (counts.sum() - counts["Mo_W+V_S"]) / counts.sum() / 2.25
    assert true > 0
    table = pd.DataFrame({**{c: [0.0] for c in ("low", "high", "mean_dwell_s", "time_at_risk_s")}, "n_exits": 1, "n_censored": 0, "n_left_censored": 0, "movie": "*", "class_id": 3,
                          "exit_rate_per_s": 2 * true})  # fmt: skip
    found = score(conform(table, "dwell_times"), truth, classes={3: "Mo_W+V_S"}).estimates.iloc[0]
    assert found["relative_error"] == pytest.approx(
        1.0, abs=0.2
    )  # in a frame, one may leave and come back
    assert found["counted"] == pytest.approx(truth.kind_rates.loc["Mo_W+V_S"].sum())
    assert found["limit"] == pytest.approx(found["true"])  # of a single change in sight


def test_an_empty_score_says_nothing():
    assert str(Score()) == ""
