"""What napari shows of a results folder, and corrections made in it; without a window."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

import stemkin as sk
from stemkin import viewer
from stemkin.extras import MissingExtraError
from stemkin.learning.by_hand import HandEdit, hand_edits_of
from stemkin.pipeline import resume
from stemkin.results.store import Store
from stemkin.viewer import plugin
from stemkin.viewer.corrections import cut_at, edits_of_points, joined_at
from stemkin.viewer.layers import placed, result_layers

FRAME_TIME_S = 2.25


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewed")
    movie = sk.simulate_movie("paper", n_frames=3, shape=(128, 128), seed=1)
    np.save(folder / "film.npy", movie.frames.compute())
    config = sk.RunConfig().with_values(
        calibration={"pixel_size_nm": movie.pixel_size_nm, "frame_time_s": FRAME_TIME_S},
        kinetics={"self_check_runs": 0, "null_controls": False},
    )
    sk.run(folder / "film.npy", folder / "out", config=config, until="kinetics")
    return folder / "out"


@pytest.fixture(scope="module")
def layers(out):
    return {words["name"]: (data, words, kind) for data, words, kind in result_layers(out)}


def test_a_results_folder_is_frames_order_tracks_and_detections_in_one_scale(out, layers):
    assert [(name, kind) for name, (_, _, kind) in layers.items()] == [
        ("film", "image"),
        ("order", "labels"),
        ("tracks", "tracks"),
        ("detections", "points"),
    ]
    results = sk.open_results(out)
    edge = float(results.movies["pixel_size_nm"].iloc[0])
    for name in ("film", "tracks", "detections"):
        assert layers[name][1]["scale"] == (FRAME_TIME_S, edge, edge)
        assert layers[name][1]["units"] == ("s", "nm", "nm")
    data, words, _ = layers["order"]
    tile = words["scale"][1] / edge
    assert data.shape[0] == 3
    assert abs(data.shape[1] * tile - 128) < tile, "the map covers the frame"
    assert words["translate"][1] == pytest.approx(edge * (tile - 1) / 2)
    assert set(np.unique(data)) <= {0, 1, 2, 3}
    frames, _, _ = layers["film"]
    assert frames.shape == (3, 128, 128)
    assert hasattr(frames, "dask"), "no frame is read"
    detections = results.detections.compute()
    points, words, _ = layers["detections"]
    np.testing.assert_allclose(points, detections[["frame", "y", "x"]])
    names = dict(zip(results.classes["class_id"], results.classes["name"], strict=True))
    assert words["features"]["class"].tolist() == [names.get(i, "") for i in detections["class_id"]]
    assert len(words["border_color"]) == len(points)
    tracks, words, _ = layers["tracks"]
    assert len(tracks) == len(detections)
    assert set(words["properties"]) >= {"class_id", "probability"}


def test_where_the_movie_is_gone_its_kept_pictures_stand_in(out):
    source = out.parent / "film.npy"
    source.rename(source.with_suffix(".away"))
    try:
        data, words, _ = result_layers(out)[0]
    finally:
        source.with_suffix(".away").rename(source)
    assert words["name"] == "film (kept pictures)"
    assert data.shape[0] == 3
    height = words["scale"][1] * data.shape[1]
    assert height == pytest.approx(128 * sk.open_results(out).movies["pixel_size_nm"].iloc[0])


def test_without_calibration_axes_are_frames_and_pixels():
    assert placed(None, None)["units"] == ("pixel",) * 3
    assert placed(float("0"), None)["scale"] == (1.0, 1.0, 1.0)


def test_a_movie_that_is_not_there_is_one_sentence(out):
    with pytest.raises(ValueError, match=r"has no movie 'other'; there are \['film'\]"):
        result_layers(out, "other")


def layer_of(layers):
    """The layer of detections as napari would hold it."""
    data, words, _ = layers["detections"]
    features = words["features"].copy()
    return SimpleNamespace(data=data.copy(), features=features, metadata=words["metadata"], selected_data=set())  # fmt: skip


def test_points_that_were_deleted_added_moved_and_renamed_become_corrections():
    found = pd.DataFrame({"frame": [0, 0, 1, 1], "y": [1.0, 2, 3, 4], "x": 5.0, "class_id": [0, 0, 1, -1]})  # fmt: skip
    names = {0: "V_S", 1: "Mo_W", -1: ""}
    points = np.array([[0, 2, 5], [1, 3, 5], [1, 4.5, 5], [1, 9, 9], [0, 7, 7]], float)
    features = pd.DataFrame({"row": [1, 2, 3, np.nan, 2], "class": ["V_S", "V_S", "", "Mo_W", "V_S"]})  # fmt: skip
    edits = edits_of_points("m", found, points, features, names)
    assert edits == [
        HandEdit("m", "delete", 0, 1.0, 5.0),
        HandEdit("m", "delete", 1, 4.0, 5.0),
        HandEdit("m", "rename", 1, 3.0, 5.0, "V_S"),
        HandEdit("m", "add", 1, 4.5, 5.0, ""),
        HandEdit("m", "add", 1, 9.0, 9.0, "Mo_W"),
        HandEdit("m", "add", 0, 7.0, 7.0, "V_S"),
    ]
    unchanged = pd.DataFrame({"row": range(4), "class": ["V_S", "V_S", "Mo_W", ""]})
    assert edits_of_points("m", found, found[["frame", "y", "x"]].to_numpy(), unchanged, names) == []  # fmt: skip


def test_cuts_want_one_detection_and_joins_two_of_two_frames():
    one, two = np.array([[3, 1.0, 2.0]]), np.array([[5, 1.0, 2.0], [3, 4.0, 5.0]])
    assert cut_at("m", one) == HandEdit("m", "cut", 3, 1.0, 2.0)
    assert joined_at("m", two) == HandEdit("m", "join", 3, 4.0, 5.0, "", 5, 1.0, 2.0)
    for call, points in ((cut_at, two), (cut_at, one[:0]), (joined_at, one), (joined_at, two[[0, 0]])):  # fmt: skip
        with pytest.raises(ValueError, match="are selected"):
            call("m", points)


def test_what_is_corrected_in_the_viewer_is_done_by_the_next_stage(out, layers):
    layer = layer_of(layers)
    panel = plugin.HandPanel(layer)
    layer.selected_data = {1}
    name = sk.open_results(out).classes["name"].iloc[0]
    panel.rename(str(name))
    with pytest.raises(ValueError, match="no class is called 'V_X'"):
        panel.rename("V_X")
    layer.data = layer.data[1:]
    layer.features = layer.features.iloc[1:].reset_index(drop=True)
    assert "corrections in" in panel.save()
    n = len(hand_edits_of(Store.at(out)))
    panel.save()
    assert len(hand_edits_of(Store.at(out))) == n, "saved twice, done once"
    resume(out, stages=("link",))
    rows = sk.open_results(out).detections.compute()
    assert len(rows) == len(layer.data)
    renamed = (np.abs(rows[["frame", "y", "x"]].to_numpy() - layer.data[0]).max(axis=1)) < 1e-3
    assert rows.loc[renamed, "class_id"].tolist() == [0]


def test_a_detector_is_tried_on_a_frame(out):
    frame = sk.open_movie(out.parent / "film.npy")[1]
    found = plugin.tried_points(frame, 1, 1.0, 0.0)
    fewer = plugin.tried_points(frame, 1, 1.0, 20.0)
    assert set(found[:, 0]) == {1.0}
    assert len(fewer) < len(found)


def test_readers_take_what_is_theirs(out):
    (data, words, kind) = plugin.movie_reader(str(out.parent / "film.npy"))(None)[0]
    assert (words["name"], kind, data.shape) == ("film", "image", (3, 128, 128))
    assert plugin.results_reader(str(out)) is not None
    for nothing in (str(out.parent), str(out.parent / "no.tif"), ["a", "b"]):
        assert plugin.results_reader(nothing) is None
    assert plugin.movie_reader(["a", "b"]) is None
    assert plugin.movie_reader(str(out.parent / "no.tif")) is None


def test_the_manifest_names_what_exists():
    manifest = yaml.safe_load((Path(viewer.__file__).parent / "napari.yaml").read_text())
    commands = manifest["contributions"]["commands"]
    for command in commands:
        module, _, name = command["python_name"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    ids = {command["id"] for command in commands}
    used = [*manifest["contributions"]["readers"], *manifest["contributions"]["widgets"]]
    assert {one["command"] for one in used} == ids
    pyproject = (Path(viewer.__file__).parents[2] / "pyproject.toml").read_text()
    assert 'stemkin = "stemkin.viewer:napari.yaml"' in pyproject


def test_without_napari_or_without_a_display_it_is_one_sentence(out, monkeypatch):
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(MissingExtraError, match=r'stemkin view needs napari.*"stemkin\[viewer\]"'):
        viewer.open_viewer(out)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ValueError, match="there is no display"):
        viewer.check_display()
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    viewer.check_display()


def test_napari_shows_all_layers(out, monkeypatch):
    pytest.importorskip("napari")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    opened = sk.open_results(out).to_napari()
    try:
        assert [layer.name for layer in opened.layers] == ["film", "order", "tracks", "detections"]
        plugin.HandPanel(opened.layers["detections"]).save()
    finally:
        opened.close()
