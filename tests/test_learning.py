"""A model learned from a few frames names the rest, and is the same whoever computes it; it
survives the disk and nothing else does."""

import json
import logging
from dataclasses import replace
from itertools import pairwise

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import stemkin as sk
from stemkin import tables
from stemkin.config import RunConfig
from stemkin.detection import detect
from stemkin.detection.detectors import FourierDetector
from stemkin.learning import Model, learn, sampled, with_confusion
from stemkin.learning.draws import sample_frames
from stemkin.learning.edits import edited
from stemkin.learning.strata import frames_to_learn_from
from stemkin.materials import Material
from stemkin.model import scaled
from stemkin.model.files import arrays_of
from stemkin.movie import Movie
from stemkin.pipeline.model import learn_model
from stemkin.readers.base import ArrayReader, Calibration
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie, truth_of
from tests.strategies import assert_same_rows, computes, time_chunkings


@pytest.fixture(scope="module")
def paper_movie():
    """Like the shared one, with more dopants and complexes than fit into so few frames
    otherwise."""
    return simulate_movie(
        "paper",
        n_frames=12,
        shape=(160, 160),
        seed=7,
        name="paper",
        dopant_fraction=0.03,
        complex_fraction=0.5,
    )


@pytest.fixture(scope="module")
def paper_truth(paper_movie):
    return truth_of(paper_movie)


@pytest.fixture(scope="module")
def paper_frames(paper_movie):
    return paper_movie.reader.read(0, paper_movie.n_frames)


@pytest.fixture(scope="module")
def model(paper_movie):
    return learn(paper_movie, n_frames=8, seed=1)


def assert_same_model(a, b):
    pd.testing.assert_frame_equal(
        a.classes.drop(columns="mean_patch"), b.classes.drop(columns="mean_patch")
    )
    for one, other in zip(a.classes["mean_patch"], b.classes["mean_patch"], strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in arrays_of(vars(a)).items():
        np.testing.assert_array_equal(values, arrays_of(vars(b))[name])


def noise_movie(n=2, shape=(64, 64)):
    frames = np.random.default_rng(0).poisson(20.0, (n, *shape)).astype("uint16")
    return Movie.from_array(frames, name="noise", pixel_size_nm=0.03, frame_time_s=1.0)


def test_frames_are_drawn_evenly_over_all_movies():
    drawn = sample_frames([100, 300], 8, seed=3)
    assert [movie for movie, _ in drawn] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert drawn == sorted(set(drawn))
    assert drawn != sample_frames([100, 300], 8, seed=4)
    assert sample_frames([1, 1], 1, seed=0) in ([(0, 0)], [(1, 0)])


def test_the_classes_are_those_of_the_simulation(model, paper_movie, paper_truth):
    rows = detect(paper_movie, model).compute()
    names = dict(zip(model.classes["class_id"], model.classes["name"], strict=True))
    right = total = turned = pairs = 0
    for frame, found in rows.groupby("frame"):
        truth = paper_truth.defects[paper_truth.defects["frame"] == frame]
        apart = np.hypot(
            *(found[["y", "x"]].to_numpy()[:, None] - truth[["y", "x"]].to_numpy()).transpose(
                2, 0, 1
            )
        )
        for i, j in zip(*np.nonzero(apart < 3), strict=True):
            kind, true_turn = truth["kind"].iloc[j], truth["orientation"].iloc[j]
            total += 1
            right += names.get(found["class_id"].iloc[i]) == kind
            if kind == names.get(found["class_id"].iloc[i]) == "Mo_W+V_S":
                pairs += 1
                turned += found["orientation"].iloc[i] == true_turn
    assert total > 50
    assert right / total >= 0.95
    assert pairs > 5
    assert turned / pairs >= 0.95


def test_only_classes_that_point_somewhere_have_an_orientation(model, paper_movie):
    rows = detect(paper_movie, model).compute()
    oriented = dict(zip(model.classes["class_id"], model.oriented, strict=True)) | {-1: False}
    assert (rows["orientation"].ge(0) == rows["class_id"].map(oriented)).all()


@pytest.fixture(scope="module")
def survey(model, paper_frames):
    return model.detector.survey(paper_frames, first_frame=0)


@pytest.fixture(scope="module")
def whole(model, paper_frames, survey):
    """What is said of the defects of all frames in one block."""
    return model.describe(paper_frames, survey.records, first_frame=0)


@settings(max_examples=3)
@given(chunks=time_chunkings(n_frames=12))
def test_names_do_not_depend_on_the_chunking(model, paper_frames, survey, whole, chunks):
    starts = np.cumsum([0, *chunks])
    for start, stop in pairwise(starts):
        rows = (survey.records["frame"] >= start) & (survey.records["frame"] < stop)
        part = model.describe(
            paper_frames[start:stop], survey.records[rows], first_frame=int(start),
            lattices=survey.lattices[start:stop], residuals=survey.extra["rest"][start:stop],
        )  # fmt: skip
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][rows])


def test_detecting_with_a_model_is_lazy_and_keeps_the_contract(model, paper_movie):
    with computes(at_most=0):
        lazy = detect(paper_movie, model, frames_per_block=5)
    rows = lazy.compute()
    assert rows.dtypes.astype(str).to_dict() == {
        k: {"str": "str"}.get(v, v)
        for k, v in tables.dtypes("detections", n_descriptors=model.n_descriptors).items()
    }
    assert model.n_descriptors <= 20
    assert_same_rows(detect(paper_movie, model), rows)


@pytest.mark.equality
@pytest.mark.cluster
def test_every_scheduler_learns_the_same_model(paper_movie, two_processes):
    models = []
    for place in ("synchronous", "threads", two_processes):
        with connect(place):
            models.append(learn(paper_movie, n_frames=4, seed=1))
    assert len(models[0].classes) > 1
    assert_same_model(models[1], models[0])
    assert_same_model(models[2], models[0])


def test_a_model_survives_the_disk(model, paper_movie, tmp_path):
    model.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["arrays.npz", "model.json"]
    again = Model.load(tmp_path / "model")
    assert_same_model(again, model)
    assert again.detector == model.detector
    assert again.report["n_detections"] == model.report["n_detections"]
    assert_same_rows(detect(paper_movie, again), detect(paper_movie, model))


def test_saving_twice_gives_the_same_bytes(model, tmp_path):
    for name in ("a", "b"):
        model.save(tmp_path / name)
    for file in ("model.json", "arrays.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_damaged_or_foreign_model_is_refused_with_a_cure(model, tmp_path):
    with pytest.raises(ValueError, match=r"no model\.json.*learn"):
        Model.load(tmp_path)
    folder = tmp_path / "model"
    model.save(folder)
    about, arrays = (folder / "model.json").read_text(), (folder / "arrays.npz").read_bytes()
    (folder / "arrays.npz").write_bytes(arrays[:-100])
    with pytest.raises(ValueError, match=r"missing or damaged.*learn it again"):
        Model.load(folder)
    (folder / "arrays.npz").unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        Model.load(folder)
    (folder / "arrays.npz").write_bytes(arrays)
    (folder / "model.json").write_text(about[: len(about) // 2])
    with pytest.raises(ValueError, match="damaged"):
        Model.load(folder)
    (folder / "model.json").write_text(json.dumps(json.loads(about) | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        Model.load(folder)


def test_a_detector_of_your_own_is_asked_for_again(tmp_path, paper_movie):
    def mine(frames, *, first_frame=0):
        return FourierDetector()(frames, first_frame=first_frame)

    model = learn(paper_movie, n_frames=4, detector=mine)
    assert len(model.classes) > 0
    model.save(tmp_path)
    with pytest.raises(ValueError, match=r"detector=\.\.\."):
        Model.load(tmp_path)
    assert Model.load(tmp_path, detector=mine).detector is mine


def test_classes_are_renamed_merged_and_dissolved_without_pixels(model, paper_movie, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"Mo_W": "Mo", "Mo_W+V_S": "Mo", "V_S": "-"}))
    renamed = model.rename(tmp_path / "names.json")
    assert "Mo" in set(renamed.classes["name"])
    assert renamed.classes["class_id"].tolist() == list(range(len(renamed.classes)))
    sizes = model.classes.set_index("name")["n_detections"]
    assert (
        renamed.classes.set_index("name")["n_detections"]["Mo"] == sizes["Mo_W"] + sizes["Mo_W+V_S"]
    )
    before, after = detect(paper_movie, model).compute(), detect(paper_movie, renamed).compute()
    old, new = (
        dict(zip(m.classes["class_id"], m.classes["name"], strict=True)) | {-1: "-"}
        for m in (model, renamed)
    )
    wanted = before["class_id"].map(old).replace({"Mo_W": "Mo", "Mo_W+V_S": "Mo", "V_S": "-"})
    assert (after["class_id"].map(new) == wanted).mean() > 0.99
    with pytest.raises(ValueError, match="no class is called 'gold'"):
        model.rename({"gold": "Au"})


def test_a_movie_without_detections_gives_a_model_that_names_nothing(caplog):
    quiet = FourierDetector(snr=50.0)
    with caplog.at_level(logging.WARNING):
        model = learn(noise_movie(), detector=quiet)
    assert "too few to learn classes from" in caplog.text
    assert model.classes.empty
    assert detect(noise_movie(), model).compute().empty
    found = detect(
        noise_movie(), model.__class__(FourierDetector(snr=3.0), *list(vars(model).values())[1:])
    ).compute()
    assert len(found) > 0
    assert set(found["class_id"]) == {-1}


def test_no_class_is_made_for_noise():
    """A crystal without defects, searched so eagerly that noise is found: some of it may pass for
    the faintest defect."""
    movie = simulate_movie("null", n_frames=12, shape=(192, 192), seed=4)
    model = learn(
        movie, n_frames=12, detector=FourierDetector(false_positives_per_frame=6.0), seed=1
    )
    assert model.report["n_detections"] > 30
    assert not [name for name in model.classes["name"] if name.startswith("class")]
    rows = detect(movie, model).compute()
    assert (rows["class_id"] >= 0).mean() < 0.2
    faintest = model.classes.loc[model.classes["name"] == "V_S", "class_id"]
    assert set(rows["class_id"]) <= {-1, *faintest}


def test_the_sample_that_is_kept_is_bounded_and_survives_the_disk(model, tmp_path, monkeypatch):
    from stemkin.learning import classification

    monkeypatch.setattr(classification, "MAX_PATCHES", 12)
    monkeypatch.setattr(classification, "MAX_PICTURES", 5)
    small = learn(simulate_movie("paper", n_frames=4, shape=(160, 160), seed=7), n_frames=4, seed=1)
    assert small.sample.rows.shape == (12, small.n_descriptors)
    assert small.sample.pictures.shape == (5, 21, 21)
    small.save(tmp_path)
    np.testing.assert_array_equal(Model.load(tmp_path).sample.rows, small.sample.rows)


def test_a_class_is_split_by_its_descriptors(model):
    """What was merged before is told apart again."""
    joined = model.rename({"Mo_W": "Mo", "Mo_W+V_S": "Mo"})
    parts = edited(joined, {"split": {"Mo": 2}, "rename": {"Mo (1)": "larger"}})
    assert {"larger", "Mo (2)"} <= set(parts.classes["name"])
    rows = scaled(model.sample.rows, model.scale)
    wanted, found = model.taxonomy.assign(rows)[0], parts.taxonomy.assign(rows)[0]
    names = model.classes.set_index("name")["class_id"]
    two = np.isin(wanted, [names["Mo_W"], names["Mo_W+V_S"]])
    agree = pd.crosstab(wanted[two], found[two]).to_numpy()
    assert agree.max(axis=1).sum() / agree.sum() > 0.95
    assert len(set(found[two])) >= 2
    assert parts.classes["n_detections"].sum() == pytest.approx(
        joined.classes["n_detections"].sum(), abs=1
    )


@pytest.mark.parametrize("sizes", [(30, 90, 60), (60, 30, 90), (90, 60, 30), (30, 60, 90)])
def test_the_parts_of_a_split_class_are_numbered_from_the_largest(model, sizes):
    """Three heaps of rows within one class, whichever of them comes first."""
    class_id = model.classes.set_index("name").loc["V_S", "class_id"]
    rows = scaled(model.sample.rows, model.scale)
    own = model.sample.rows[model.taxonomy.assign(rows)[0] == class_id]
    middle = own.mean(axis=0)
    heaps = np.repeat(middle[None], sum(sizes), axis=0)
    heaps[:, 0] = own[0, 0]
    heap = np.repeat([0, 1, 2], sizes)
    step = model.scale[int(own[0, 0]), 5]
    heaps[:, 5] += np.array([-2.0, 0.0, 2.0])[heap] * step
    heaps[:, 5] += 0.05 * step * np.random.default_rng(0).normal(size=len(heaps))
    sample = replace(model.sample, rows=heaps.astype(np.float32))
    parts = edited(replace(model, sample=sample), {"split": {"V_S": 3}})
    names = [f"V_S ({i})" for i in (1, 2, 3)]
    numbers = parts.classes.set_index("name")["n_detections"][names].to_numpy()
    whole = model.classes.set_index("name").loc["V_S", "n_detections"]
    np.testing.assert_allclose(numbers, whole * np.array([90, 60, 30]) / 180, atol=1)
    ids = parts.classes.set_index("name")["class_id"][names].to_numpy()
    weights = [parts.taxonomy.mixture.weights[parts.taxonomy.class_ids == i].sum() for i in ids]
    assert weights == sorted(weights, reverse=True)
    named = parts.taxonomy.assign(scaled(heaps, model.scale))[0]
    largest = heap == int(np.argmax(sizes))
    assert (named[largest] == ids[0]).mean() > 0.9


def test_a_renamed_confusion_speaks_of_the_new_classes(model, paper_movie, paper_truth):
    truth = paper_truth.defects[paper_truth.defects["frame"] < 3]
    measured = with_confusion(model, paper_movie, truth, max_distance_px=3.0)
    after = measured.rename({"Mo_W": "Mo", "Mo_W+V_S": "Mo", "V_S": "-"}).report["confusion"]
    before = measured.report["confusion"]
    assert after["found"] == [
        "Mo",
        *[n for n in model.classes["name"] if n not in ("Mo_W", "Mo_W+V_S", "V_S")],
        "-",
        "missed",
    ]

    def of(said, name):
        return np.array(said["counts"])[:, said["found"].index(name)]

    np.testing.assert_array_equal(of(after, "Mo"), of(before, "Mo_W") + of(before, "Mo_W+V_S"))
    np.testing.assert_array_equal(of(after, "-"), of(before, "-") + of(before, "V_S"))


def test_a_movie_without_a_lattice_is_described_by_raw_crops_and_says_so(caplog, paper_movie):
    with caplog.at_level(logging.WARNING):
        model = learn(noise_movie(), detector=FourierDetector(snr=2.5))
    assert "without a lattice" in caplog.text
    assert not model.describer.uses_lattice
    assert all(name.startswith("class ") for name in model.classes["name"])
    crystal = detect(paper_movie, model).compute()  # a model that does not fit the movie
    assert set(crystal["class_id"]) == {-1}
    assert crystal["d00"].isna().all()


def test_bad_frames_are_not_learned_from(paper_frames):
    frames = paper_frames[:6].astype("float32")
    frames[1] = np.nan
    frames[3] = 7.0
    model = learn(Movie.from_array(frames, name="holes", pixel_size_nm=0.03), n_frames=6)
    assert model.report["n_frames"] == 4
    assert len(model.classes) > 0


SEARCHED = []


class Counting(FourierDetector):
    """Notes each frame that it searches."""

    def survey(self, frames, *, first_frame=0, with_sites=False):
        SEARCHED.append(first_frame)
        return super().survey(frames, first_frame=first_frame, with_sites=with_sites)


@pytest.mark.parametrize(("most", "times"), [(2**24, 1), (0, 2)])
def test_a_sampled_frame_is_searched_once_however_often_it_is_looked_at(
    paper_movie, monkeypatch, most, times
):
    monkeypatch.setattr(sampled, "KEPT_PIXELS", most)
    SEARCHED.clear()
    with dask.config.set(scheduler="synchronous"):
        found = sampled.searched_frames([paper_movie], [(0, 2), (0, 5)], Counting())
        looks = [sampled.looked_at(found, [0.03, 0.03], Counting()) for _ in range(2)]
    assert sorted(SEARCHED) == sorted([2, 5] * times)
    assert np.array_equal(looks[0].joined("physical"), looks[1].joined("physical"))
    assert len(looks[0].joined("physical")) > 5


def test_the_number_of_classes_can_be_asked_for(paper_movie):
    assert len(learn(paper_movie, n_frames=4, n_classes=3).classes) == 3


def test_fewer_detections_than_classes_give_fewer_classes(caplog):
    movie = simulate_movie("paper", n_frames=1, shape=(64, 64), seed=2)
    with caplog.at_level(logging.WARNING):
        model = learn(movie, n_classes=40)
    assert len(model.classes) < 40


def test_the_confusion_is_measured_and_kept(model, paper_movie, paper_truth, tmp_path):
    truth = paper_truth.defects[paper_truth.defects["frame"] < 4]
    measured = with_confusion(model, paper_movie, truth, max_distance_px=3.0)
    measured.save(tmp_path)
    report = Model.load(tmp_path).report
    counts = pd.DataFrame(
        report["confusion"]["counts"], report["confusion"]["true"], report["confusion"]["found"]
    )
    assert counts.to_numpy().sum() == len(truth)
    assert counts.loc["Mo_W", "Mo_W"] / counts.loc["Mo_W"].sum() > 0.9
    assert report["calibration_error"] <= 0.03
    shifted = truth.assign(y=truth["y"] + 25.0, x=truth["x"] + 7.0)
    lost = with_confusion(model, paper_movie, shifted, max_distance_px=1.0).report["confusion"]
    assert np.array(lost["counts"])[:, lost["found"].index("missed")].sum() > 0.8 * len(truth)


def test_no_movie_and_an_unknown_material_are_refused_with_a_cure(paper_movie):
    with pytest.raises(ValueError, match="no movie to learn from"):
        learn([])
    with pytest.raises(ValueError, match=r"'kryptonite'.*WS2"):
        learn(paper_movie, material="kryptonite")


def test_a_lattice_that_is_not_the_materials_gives_numbers_for_names(
    paper_movie, paper_frames, caplog
):
    with caplog.at_level(logging.WARNING):
        model = learn(paper_movie, n_frames=3, material="graphene")
    assert "not that of the material" in caplog.text
    assert len(model.classes) > 0
    assert all(name.startswith("class ") for name in model.classes["name"])
    wrong_scale = Movie.from_array(paper_frames, name="wrong", pixel_size_nm=0.02)
    assert all(name.startswith("class ") for name in learn(wrong_scale, n_frames=3).classes["name"])
    no_scale = Movie.from_array(paper_frames, name="none")
    assert "Mo_W" in set(learn(no_scale, n_frames=3).classes["name"])


def test_names_follow_the_material(paper_movie):
    model = learn(
        paper_movie, n_frames=4, material=Material("TaTe2", 0.3153, "Ta", "Te", "Nb", 74, 16, 42)
    )
    assert {"V_Te", "Nb_Ta"} < set(model.classes["name"])


def calibrated(n_frames, size_nm=0.03, dose=None):
    """A movie of which only the calibration counts."""
    calibration = Calibration(size_nm, 1.0, dose)
    return Movie(ArrayReader(np.zeros((n_frames, 2, 2), np.uint8)), "movie", calibration)


def test_each_kind_of_movie_teaches_as_much_as_any_other():
    """Nine movies of one kind and one of another: half of the sample is of the rare one."""
    movies = [calibrated(100, dose=1e4) for _ in range(9)] + [calibrated(100, dose=1e3)]
    drawn = frames_to_learn_from(movies, seed=0)
    assert len(drawn) == len(set(drawn)) == 32
    assert sum(movie == 9 for movie, _ in drawn) == 16
    assert {movie for movie, _ in drawn} == set(range(10))


def test_what_one_kind_of_movie_teaches_is_spread_as_before():
    movies = [calibrated(100), calibrated(300)]
    assert frames_to_learn_from(movies, seed=3) == sample_frames([100, 300], 16, seed=3)
    assert frames_to_learn_from(movies, 8, seed=3) == sample_frames([100, 300], 8, seed=3)


def test_a_sample_is_bounded_and_no_movie_gives_more_than_it_has():
    many = [calibrated(5, dose=10.0 ** (i % 40)) for i in range(400)]
    assert len(frames_to_learn_from(many, seed=0)) == 200
    assert len(frames_to_learn_from([calibrated(3, 0.03), calibrated(200, 0.1)], seed=0)) == 32
    assert len(frames_to_learn_from([calibrated(3)], seed=0)) == 3


def test_a_run_learns_what_the_function_learns(tmp_path, paper_movie):
    frames = paper_movie.reader.read(0, 6)[:, :192, :192]
    np.save(tmp_path / "movie.npy", frames)
    size = {"pixel_size_nm": paper_movie.pixel_size_nm, "frame_time_s": paper_movie.frame_time_s}
    words = [f"calibration.{name}={value}" for name, value in size.items()] + ["learn.n_frames=3"]
    config = RunConfig().with_words(words)
    of_a_run = learn_model(tmp_path / "movie.npy", tmp_path / "model", config=config)
    movie = sk.open_movie(tmp_path / "movie.npy", **size)
    assert of_a_run.detector == sk.learn(movie, n_frames=3, material="WS2").detector
