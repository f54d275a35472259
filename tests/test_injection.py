"""Known defects are put into recorded frames, and the share that is found is that of the others."""

import json

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin import tables
from stemkin.detection.detectors import FourierDetector
from stemkin.injection import frames
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal.lattice import honeycomb
from stemkin.kernels.detection.defect_images import (
    column_height,
    depth_beyond,
    drawn_images,
    images_around,
    mean_image,
    with_drawn,
)
from stemkin.kernels.detection.patch_grid import GRID, STEPS
from stemkin.learning.sampled import frame_pixels
from stemkin.pipeline import Inputs, resume
from stemkin.readers.errors import DamagedDataError
from stemkin.simulation import simulate_movie, truth_of
from tests.strategies import FEW_NUMBERS

SEEN = {"n_frames": 6, "shape": (160, 160), "seed": 5, "vacancy_fraction": 0.04}
"""A movie in which single frames miss some of the vacancies."""


@pytest.fixture(scope="module")
def movie():
    return simulate_movie("paper", dose_rate_e_per_nm2_s=4.5e5, **SEEN)


@pytest.fixture(scope="module")
def model(movie):
    return sk.learn(movie, n_frames=6)


@pytest.fixture(scope="module")
def injected(movie, model):
    return sk.inject(movie, model, n_frames=6, seed=3)


@pytest.mark.parametrize("angle_deg", [0.0, 17.0])
def test_an_image_that_is_drawn_is_seen_as_it_was(angle_deg):
    lattice = honeycomb(10.3, angle_deg=angle_deg, metal=(40.2, 39.7))
    h, k = GRID.T / STEPS
    image = -np.exp(-0.5 * (h * h + k * k + h * k) / 0.2**2)
    point = np.array([[40.2, 39.7]])
    drawn = drawn_images(image[None], point, lattice, (80, 81))
    assert images_around(drawn, point, lattice)[0] == pytest.approx(image, abs=0.01)
    assert drawn.min() == pytest.approx(-1, abs=0.02)
    y, x = np.indices(drawn.shape)
    far = np.hypot(y - point[0, 0], x - point[0, 1]) > 20
    assert abs(drawn[far]).max() < 1e-6


def test_what_is_drawn_beyond_the_edge_is_left_out():
    lattice = honeycomb(10.0, metal=(0.0, 0.0))
    image = np.ones(len(GRID))
    drawn = drawn_images(image[None], np.array([[1.0, 62.5]]), lattice, (64, 64))
    assert drawn[1, 62] == pytest.approx(1, abs=0.02)
    assert np.isnan(images_around(drawn, np.array([[1.0, 62.5]]), lattice)).any()


def test_a_mean_image_forgets_one_that_is_odd_and_fades_out():
    images = np.full((20, len(GRID)), -2.0)
    images[7] = 900.0
    mean = mean_image(images)
    middle = (GRID == 0).all(axis=1)
    assert mean[middle] == pytest.approx(-2)
    assert abs(mean).min() < 0.3


def test_columns_are_as_high_as_they_are_drawn():
    lattice = honeycomb(11.0, metal=(30.0, 31.0))
    drawn = drawn_images(
        np.tile(np.exp(-0.5 * (GRID**2).sum(axis=1) / 2.0**2), (1, 1)) * 5.0,
        np.array([[30.0, 31.0]]),
        lattice,
        (30 + 16, 31 + 16),
    )
    # one column only in a frame of ten: the median column has no height
    assert column_height(drawn, lattice) == pytest.approx(0, abs=0.1)
    empty = honeycomb(500.0, metal=(250.0, 250.0))
    assert np.isnan(column_height(np.zeros((8, 8)), empty))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_changed_frame_is_of_its_type_and_within_its_range(dtype):
    rng = np.random.default_rng(1)
    frame = rng.poisson(100, (64, 64)).astype(dtype)
    drawn = np.zeros((64, 64))
    drawn[:8], drawn[-8:] = 1e6, -1e6
    changed = with_drawn(frame, frame - 100.0, drawn)
    assert changed.dtype == frame.dtype
    assert np.array_equal(changed[8:-8], frame[8:-8])
    if dtype != "float32":
        assert changed[:8].min() == np.iinfo(dtype).max
        assert not changed[-8:].any()


def test_noise_goes_with_what_is_taken_away():
    """Of counts of 400 in stripes of 100 a fall of 300 leaves those of 100 with their noise."""
    rng = np.random.default_rng(2)
    model = np.full((200, 200), 100.0)
    model[:, ::2] = 400.0
    frame = rng.poisson(model).astype(float)
    drawn = np.where(model == 400, -300.0, 0.0)
    changed = with_drawn(frame, frame - model, drawn)
    assert changed[:, ::2].std() == pytest.approx(10, rel=0.1)
    assert changed[:, ::2].mean() == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("mean", [3.0, 4.0, 6.0])
def test_the_depth_of_all_follows_from_those_beyond_a_threshold(mean):
    rng = np.random.default_rng(4)
    pulls = []
    for _ in range(40):
        signals = rng.normal(mean, 1, 400)
        told, error = depth_beyond(signals[signals > 4], 4.0)
        pulls.append((told - mean) / error)
    assert abs(np.mean(pulls)) < 0.6
    assert 0.6 < np.std(pulls) < 1.4


def test_nothing_is_told_of_what_is_just_beyond_a_threshold():
    told, error = depth_beyond(np.full(9, 4.01), 4.0)
    assert told == pytest.approx(1.0)
    assert error > 0.5


def test_the_share_that_is_found_is_that_of_the_true_ones(movie, model, injected):
    truth, rows = truth_of(movie), sk.detect(movie, model).compute()
    (vacancy,) = model.classes.loc[model.classes["name"] == "V_S", "class_id"]
    shares = sk.efficiencies(injected).set_index("class_id")
    n = hits = 0
    for frame in range(6):
        true = truth.defects_between(frame, frame + 1)
        places = true.loc[true["kind"] == "V_S", ["y", "x"]].to_numpy()
        inside = (np.minimum(places, 159 - places) > 2).all(axis=1)
        found = rows.loc[rows["frame"] == frame, ["y", "x"]].to_numpy(float)
        n, hits = (
            n + inside.sum(),
            hits + len(match_points(places[inside], found, max_distance=3.0)[0]),
        )
    own = shares.loc[vacancy]
    assert 0.3 < hits / n < 0.98, "a test of a share needs one"
    error = np.sqrt(hits / n * (1 - hits / n) / n)
    assert own["low"] - 2 * error < hits / n < own["high"] + 2 * error


def test_rows_say_where_and_as_what(movie, injected):
    assert list(injected.columns) == list(tables.COLUMNS["injected"])
    found = injected[injected["found"]]
    assert (np.hypot(found["found_y"] - found["y"], found["found_x"] - found["x"]) < 3).all()
    assert injected.loc[~injected["found"], "found_y"].isna().all()
    # none lies beside what was found before, nor beside another one
    a_nm = 0.3153
    assert (injected["neighbour_nm"] > 0.75 * a_nm).all()
    for _, own in injected.groupby("frame"):
        places = own[["y", "x"]].to_numpy() * movie.pixel_size_nm
        far = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(len(own))
        assert far.min() > 3.5 * a_nm


def test_shares_by_place_are_of_all_rows(injected):
    whole = sk.efficiencies(injected)
    for by in ("edge_nm", "neighbour_nm", "surplus"):
        parts = sk.efficiencies(injected, by=by, n_bins=2)
        assert parts["n_injected"].sum() == whole["n_injected"].sum()
        assert parts["n_found"].sum() == whole["n_found"].sum()
        assert (parts["from"] <= parts["to"]).all()


@pytest.mark.equality
def test_the_same_defects_are_put_in_whatever_the_scheduler(movie, model, injected):
    import dask

    with dask.config.set(scheduler="synchronous"):
        again = sk.inject(movie, model, n_frames=6, seed=3)
    pd.testing.assert_frame_equal(again, injected, check_exact=True)


def test_a_depth_that_is_not_known_widens_the_interval(injected):
    sure = sk.efficiencies(injected.assign(depth_error=0.0))
    unsure = sk.efficiencies(injected.assign(depth_error=1.0))
    assert (unsure["high"] - unsure["low"] >= sure["high"] - sure["low"]).all()
    assert (unsure["high"] - unsure["low"] > sure["high"] - sure["low"]).any()


def test_numbers_are_corrected_with_the_table(injected):
    tracks = pd.DataFrame(
        {"movie": "m", "frame": range(20), "particle": 0, "class_id": 0, "y_nm": 0.0, "x_nm": 0.0}
    )
    rows = tables.empty("efficiencies")
    rows.loc[0] = [0, "", np.nan, np.nan, 100, 50, 0.5, 0.4, 0.6, 1.0, 0.9, 1.0, 4.0]
    told = sk.abundances(tracks, efficiency=rows, false_per_frame=0.0).iloc[0]
    plain = sk.abundances(tracks, efficiency=0.5, false_per_frame=0.0).iloc[0]
    assert told["efficiency_low"] == 0.4
    assert told["corrected_number"] == plain["corrected_number"] == 2.0
    assert told["corrected_high"] > plain["corrected_high"]
    # a kind that the table does not tell of is measured by its gaps, as without one
    other = sk.abundances(tracks.assign(class_id=1), efficiency=rows).iloc[0]
    assert np.isnan(other["efficiency"])


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda movie, model: sk.inject([], model), "there is no movie"),
        (lambda movie, model: sk.inject(movie, FourierDetector()), "names no kinds"),
        (lambda movie, model: sk.inject(movie, model, class_ids=[99]), "no kind has 8 lone"),
        (lambda movie, model: sk.inject(movie, model, n_frames=0), "n_frames.*0"),
        (lambda movie, model: sk.efficiencies(pd.DataFrame()), "injected"),
        (
            lambda movie, model: sk.efficiencies(tables.empty("injected"), by="y"),
            "told apart by.*not by 'y'",
        ),
        (
            lambda movie, model: sk.efficiencies(tables.empty("injected"), n_bins=0),
            "1 part or more, not in 0",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(movie, model, ask, said):
    with pytest.raises(ValueError, match=said):
        ask(movie, model)


def test_a_frame_that_cannot_be_read_costs_itself(movie, model, injected, monkeypatch):
    def read(movie, frame):
        if frame == 2:
            raise DamagedDataError("the file ends here")
        return frame_pixels(movie, frame)

    monkeypatch.setattr(frames, "frame_pixels", read)
    found = sk.inject(movie, model, n_frames=6, seed=3)
    assert set(found["frame"]) == set(injected["frame"]) - {2}


def test_of_no_rows_no_shares_are_told():
    assert sk.efficiencies(tables.empty("injected")).empty


def test_a_run_puts_known_defects_in_and_keeps_what_it_told(movie, model, tmp_path):
    model.save(tmp_path / "model")
    found = Inputs(["one"], [movie], [])
    words = ["detect.injected_frames=6", "detect.frames_per_block=3"]
    config = sk.RunConfig().with_values(kinetics=FEW_NUMBERS).with_words(words)
    asked = {"model": tmp_path / "model", "until": "kinetics"}
    out = tmp_path / "out"
    sk.run(found, out, config=config, **asked)
    shares = pd.read_parquet(out / "efficiencies.parquet")
    assert pd.read_parquet(out / "injected.parquet")["frame"].nunique() == 6
    numbers = pd.read_parquet(out / "abundances.parquet").set_index("class_id")
    for row in shares.to_dict("records"):
        assert (numbers.loc[[row["class_id"]], "efficiency"] == row["efficiency"]).all()
    # they are kept while nothing changes that they rest on
    sk.run(found, out, config=config, **asked)
    stages = json.loads((out / "run.json").read_text())["stages"]
    assert stages["inject"]["reused"]
    assert stages["kinetics"]["reused"]
    # classes that are edited are other kinds, of which the shares say nothing
    first = model.classes.set_index("class_id").loc[shares["class_id"].iloc[0], "name"]
    resume(out, stages=("kinetics",), classes={"rename": {first: "other"}})
    numbers = pd.read_parquet(out / "abundances.parquet").set_index("class_id")
    assert (numbers["efficiency"] != shares["efficiency"].iloc[0]).all()
    # and they are gone where nobody wants them any more
    sk.run(found, out, config=config.with_words(["detect.injected_frames=0"]), **asked)
    assert not (out / "injected.parquet").exists()
    assert not (out / "efficiencies.parquet").exists()


def test_a_run_of_which_no_kind_is_known_says_so_and_goes_on(movie, model, tmp_path):
    model.save(tmp_path / "model")
    config = sk.RunConfig().with_values(kinetics=FEW_NUMBERS)
    config = config.with_words(["detect.injected_frames=1"])
    few = Inputs(["one"], [movie[:1]], [])
    sk.run(few, tmp_path / "out", config=config, model=tmp_path / "model", until="detect")
    said = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]
    assert any("no known defects were put into frames: no kind has 8" in one for one in said)
