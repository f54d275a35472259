"""Corrections by hand: said in a file, done again by every stage after the pixels, taken back."""

import json

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin import tables
from stemkin.learning.by_hand import (
    BY_HAND_FILE,
    HandEdit,
    detections_edited,
    hand_edits_of,
    keep_hand_edits,
    parsed,
    tracks_edited,
)
from stemkin.pipeline import resume
from stemkin.results.store import Store

V_S = {"V_S": 0, "Mo_W": 1}


@pytest.fixture
def rows():
    places = {"frame": [0, 0, 1, 1], "y": [5.0, 20, 5, 20], "x": [5.0, 5, 6, 6]}
    return tables.conform(
        pd.DataFrame(places).assign(
            movie="m",
            score=8.0,
            position_error=0.2,
            at_edge=False,
            class_id=0,
            probability=0.9,
            orientation=-1,
            d00=0.5,
        ),
        "detections",
    )


def beside_of(rows):
    atoms = dict.fromkeys(tables.ATOM_COLUMNS, 0.1)
    known = rows[["movie", "frame"]].assign(turn=np.arange(len(rows)), noise=1.0, **atoms)
    return tables.conform(known, "neighbours")


def test_detections_are_deleted_added_and_renamed_by_hand(rows):
    edits = [
        HandEdit("m", "delete", 0, 5.4, 5.0),
        HandEdit("m", "add", 0, 30.0, 9.0, "Mo_W"),
        HandEdit("m", "rename", 1, 20.0, 6.0, "Mo_W"),
        HandEdit("m", "rename", 1, 5.0, 6.0, ""),
        HandEdit("m", "delete", 1, 12.0, 6.0),
    ]
    after, beside, missed = detections_edited(rows, beside_of(rows), edits, V_S)
    assert missed == 1, "nothing lies at y = 12"
    assert after[["frame", "y", "class_id"]].to_numpy().tolist() == [
        [0, 20, 0],
        [0, 30, 1],
        [1, 5, -1],
        [1, 20, 1],
    ]
    assert beside["turn"].tolist() == [1, -1, 2, 3], "surroundings go with their rows"
    assert after.loc[1, ["score", "position_error", "probability"]].tolist() == pytest.approx([8, 0.2, 1])  # fmt: skip
    assert np.isnan(after.loc[1, "d00"])
    assert after.dtypes.equals(rows.dtypes)
    assert beside.dtypes.equals(beside_of(rows).dtypes)


def test_a_detection_is_added_where_there_was_none(rows):
    none = rows.iloc[:0]
    after, beside, missed = detections_edited(none, beside_of(none), [HandEdit("m", "add", 3, 1.0, 2.0, "V_S")], V_S)  # fmt: skip
    assert (len(after), len(beside), missed) == (1, 1, 0)
    assert after["score"].tolist() == [1.0]


def test_tracks_are_cut_and_joined_by_hand():
    rows = pd.DataFrame({"frame": [0, 1, 2, 4, 1], "y": [5.0, 5, 5, 5, 30], "x": 5.0, "particle": [0, 0, 0, 4 * 2**24, 2**24]})  # fmt: skip
    cut, said = tracks_edited(rows, [HandEdit("m", "cut", 2, 5.0, 5.0)])
    assert cut["particle"].tolist() == [0, 0, 2 * 2**24, 4 * 2**24, 2**24]
    assert not said
    join = HandEdit("m", "join", 2, 5.0, 5.0, to_frame=4, to_y=5.0, to_x=5.0)
    joined, said = tracks_edited(rows, [join])
    assert joined["particle"].tolist() == [0, 0, 0, 0, 2**24]
    both = HandEdit("m", "join", 0, 5.0, 5.0, to_frame=1, to_y=30.0, to_x=5.0)
    same, said = tracks_edited(rows, [both, HandEdit("m", "cut", 0, 90.0, 5.0)])
    assert same["particle"].tolist() == rows["particle"].tolist()
    assert said == ["the tracks to join in frame 0 are both there in one frame", "nothing to cut at y 90.0, x 5.0 of 0"]  # fmt: skip
    # a cut at the first detection of a track changes nothing
    first, _ = tracks_edited(rows, [HandEdit("m", "cut", 0, 5.0, 5.0)])
    assert first["particle"].tolist() == rows["particle"].tolist()


GOOD = {"movie": "m", "do": "delete", "frame": 0, "y": 1.0, "x": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "holds no list of edits"),
        ({"version": 2, "edits": []}, "is of version 2.*update stemkin"),
        ({"version": 1, "edits": [3]}, "edit 1 of f must be a table of its words, but it is 3"),
        ({"version": 1, "edits": [GOOD | {"do": "move"}]}, "does 'move'; use one of delete, add"),
        ({"version": 1, "edits": [GOOD | {"y": "1"}]}, "y is '1', and must be a number"),
        ({"version": 1, "edits": [GOOD | {"x": float("nan")}]}, "x is nan"),
        ({"version": 1, "edits": [GOOD | {"frame": 0.5}]}, "frame is 0.5"),
        ({"version": 1, "edits": [GOOD | {"frame": -1}]}, "frame is -1"),
        ({"version": 1, "edits": [GOOD | {"frame": True}]}, "frame is True"),
        ({"version": 1, "edits": [GOOD | {"do": "join"}]}, "to_frame is None"),
        ({"version": 1, "edits": [GOOD, GOOD | {"movie": 5}]}, "edit 2 of f: movie and class are names"),
    ],
)  # fmt: skip
def test_a_file_that_says_nonsense_is_one_sentence(content, said):
    with pytest.raises(ValueError, match=said):
        parsed(content, "f")
    assert parsed({"version": 1, "edits": [GOOD]}, "f") == [HandEdit("m", "delete", 0, 1.0, 2.0)]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Results of a short movie, linked."""
    folder = tmp_path_factory.mktemp("by_hand")
    movie = sk.simulate_movie("paper", n_frames=4, shape=(128, 128), seed=1)
    np.save(folder / "film.npy", movie.frames.compute())
    config = sk.RunConfig().with_values(
        calibration={"pixel_size_nm": movie.pixel_size_nm, "frame_time_s": 2.25},
        kinetics={"self_check_runs": 0, "null_controls": False},
    )
    sk.run(folder / "film.npy", folder / "out", config=config, until="link")
    return folder / "out"


def tables_of(out):
    results = sk.open_results(out)
    found = results.detections.compute(), results.tracks.compute()
    return [rows.sort_values(["frame", "y", "x"], ignore_index=True) for rows in found]


def test_corrections_are_done_by_the_stages_after_the_pixels_and_taken_back(out):
    store, (detections, tracks) = Store.at(out), tables_of(out)
    names = sk.open_results(out).detections.compute()["class_id"]
    first = detections.iloc[0]
    long = tracks[tracks["particle"].duplicated(keep=False)].sort_values(["particle", "frame"])
    second = long[long["particle"] == long["particle"].iloc[0]].iloc[1]
    places = [("delete", first), ("cut", second)]
    edits = [
        HandEdit("film", do, int(r["frame"]), float(r["y"]), float(r["x"])) for do, r in places
    ]
    edits.append(HandEdit("film", "add", 2, 3.0, 4.0))
    edits.append(HandEdit("film", "delete", 2, 5000.0, 4.0))
    keep_hand_edits(store, edits)
    assert hand_edits_of(store) == edits
    resume(out, stages=("link",))
    after, followed = tables_of(out)
    assert len(after) == len(detections)
    assert not ((after["frame"] == first["frame"]) & (after["y"] == first["y"])).any()
    assert ((after["frame"] == 2) & (after["y"] == 3.0)).sum() == 1
    assert len(followed) == len(after)
    there = followed[(followed["frame"] == second["frame"]) & (followed["y"] == second["y"])]
    begun = followed[followed["particle"] == int(there["particle"].iloc[0])]
    assert begun["frame"].min() == second["frame"], "the track begins where it was cut"
    frames = sk.open_results(out).frames.compute()
    counted = after.groupby("frame").size().reindex(frames["frame"], fill_value=0)
    assert frames["n_detections"].tolist() == counted.tolist()
    warnings = json.loads(store.read_bytes("run.json"))["warnings"]
    assert any("1 of 4 edits by hand found no detection" in said for said in warnings)
    # again: nothing changes, and nothing is done twice
    resume(out, stages=("link",))
    assert json.loads(store.read_bytes("run.json"))["stages"]["name"]["blocks"] == 0
    pd.testing.assert_frame_equal(tables_of(out)[0], after)
    # taken back: every bit is as it was
    keep_hand_edits(store, [])
    assert not store.exists(BY_HAND_FILE)
    resume(out, stages=("link",))
    for now, before in zip(tables_of(out), (detections, tracks), strict=True):
        pd.testing.assert_frame_equal(now, before)
    assert names.equals(sk.open_results(out).detections.compute()["class_id"])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (HandEdit("other", "delete", 0, 1.0, 1.0), "is of the movie 'other'; there are"),
        (HandEdit("film", "rename", 0, 1.0, 1.0, "V_X"), "names the class 'V_X'; there are"),
    ],
)
def test_what_does_not_fit_the_run_is_refused_before_anything_is_done(out, edit, said):
    before = tables_of(out)[0]
    keep_hand_edits(Store.at(out), [edit])
    with pytest.raises(ValueError, match=said):
        resume(out, stages=("link",))
    keep_hand_edits(Store.at(out), [])
    pd.testing.assert_frame_equal(tables_of(out)[0], before)
