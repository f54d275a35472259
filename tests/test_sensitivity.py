"""A run says how clearly its detector sees missing atoms, or, on top, that it learned nothing."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.observer import Observer
from stemkin.kernels.detection.observer_learning import RINGS
from stemkin.kernels.detection.patch_grid import GRID
from stemkin.learning import NOTHING_LEARNED
from stemkin.learning.joined import JoinedLooks
from stemkin.learning.judging import judging_where_it_tells_more
from stemkin.materials import material_named
from stemkin.pipeline import Inputs
from stemkin.pipeline.sensitivity import ideal_depth_of, missed_share
from stemkin.report import write_report
from stemkin.report.learned import said_of_false_ones
from stemkin.simulation import simulate_movie

CONFIG = RunConfig().with_values(detect={"frames_per_block": 2})


@pytest.fixture(scope="module")
def movie():
    return simulate_movie("paper", n_frames=2, shape=(96, 96), seed=3, name="movie")


@pytest.fixture(scope="module")
def model(movie):
    return sk.learn(movie, n_frames=1, detector=FourierDetector())


def said_of(movie, model, folder):
    model.save(folder / "model")
    sk.run(Inputs(["one"], [movie], []), folder / "out", config=CONFIG, model=folder / "model", until="detect")  # fmt: skip
    text = Path(write_report(str(folder / "out"))).read_text(encoding="utf-8")
    return json.loads((folder / "out" / "run.json").read_text()), text


def test_a_run_that_learned_nothing_says_first_what_that_costs(movie, model, tmp_path):
    run, report = said_of(movie, model, tmp_path)
    assert run["warnings"][0] == NOTHING_LEARNED
    assert "sensitivity" not in run["stages"]["learn"]
    assert "Nothing significant was learned" in report


def test_a_run_says_how_clearly_its_observer_sees(movie, model, tmp_path):
    weights = np.zeros((2, len(GRID)))
    weights[CHALCOGEN, len(GRID) // 2] = -1.0
    depths = np.full(2, np.nan)
    depths[CHALCOGEN] = 5.0
    observer = Observer(
        weights,
        weights,
        np.stack([weights] * 3, axis=1),
        depths,
        np.ones(2),
        weights,
        np.ones((2, len(RINGS))),
    )
    assert not observer.knows(METAL)
    seeing = replace(model, detector=replace(model.detector, observer=observer))
    run, report = said_of(movie, seeing, tmp_path)
    assert NOTHING_LEARNED not in run["warnings"]
    (said,) = run["stages"]["learn"]["sensitivity"]
    assert said.startswith("A dark defect on the dimmer columns stands 5.0 standard deviations")
    assert said in report
    assert "(8." in said, "beside the depth of an ideal observer at this dose"
    assert report.count('id="learned1-') > 0
    assert "What the detector learned" in report


def test_the_report_says_how_many_detections_noise_explains():
    frames = pd.DataFrame({"expected_false": [1.0, 3.0, np.nan, 0.0, 0.0]})
    run = {"config": {"detect": {"false_positives_per_frame": 1.0}}}
    said = said_of_false_ones(SimpleNamespace(frames=frames, run=run))
    assert said.startswith("Noise alone explains 1 detections a frame (\N{PLUS-MINUS SIGN} 0.6)")
    assert "where 1 was asked for" in said
    nothing = SimpleNamespace(frames=frames.assign(expected_false=np.nan), run=run)
    assert said_of_false_ones(nothing) == ""
    assert said_of_false_ones(SimpleNamespace(frames=frames[[]], run=run)) == ""


def test_a_damaged_model_costs_the_report_one_panel(movie, model, tmp_path):
    said_of(movie, model, tmp_path)
    (tmp_path / "out" / "model" / "arrays.npz").write_bytes(b"PK not a zip")
    text = Path(write_report(str(tmp_path / "out"))).read_text(encoding="utf-8")
    assert "What the detector learned" not in text


@pytest.mark.parametrize(
    "changed", [{"pixel_size_nm": 0.5}, {"pixel_size_nm": None}, {"frame_time_s": None}]
)
def test_no_ideal_depth_is_said_where_it_is_not_known(movie, changed):
    assert ideal_depth_of(movie, "WS2") == pytest.approx(8.1, abs=0.2)
    unknown = replace(movie, calibration=replace(movie.calibration, **changed))
    assert ideal_depth_of(unknown, "WS2") is None
    assert ideal_depth_of(movie, "unobtainium") is None


def test_the_share_that_is_missed_follows_from_depth_and_threshold():
    assert missed_share(3.3837, 1.0, 2700) == pytest.approx(0.5, abs=1e-3)
    assert missed_share(3.3837 + 1.6449, 1.0, 2700) == pytest.approx(0.05, abs=1e-3)
    assert missed_share(5.0, 1.0, 100) < missed_share(5.0, 1.0, 10_000)


@pytest.mark.parametrize(
    ("noise", "share", "judges"),
    [
        (0.010, 1.5, False),  # the amplitude itself shows 7 standard deviations
        (0.030, 1.5, True),  # it shows 2.5, and the observer half as much again
        (0.030, 0.8, False),  # the observer shows less
    ],
)
def test_an_observer_judges_beside_defects_only_where_the_amplitude_does_not(noise, share, judges):
    scale = SimpleNamespace(noise=np.full(3, noise), chalcogen=0.15)
    sample = JoinedLooks(True, [SimpleNamespace(scale=scale)], 1, 0.3153)
    weights = np.zeros((2, len(GRID)))
    weights[CHALCOGEN, len(GRID) // 2] = 1.0
    depth = share * 0.075 / noise
    observer = Observer(weights, weights, np.stack([weights] * 3, axis=1), np.array([np.nan, depth]), np.ones(2), weights, np.ones((2, len(RINGS))))  # fmt: skip
    detector = FourierDetector(observer=observer)
    settled = judging_where_it_tells_more(sample, detector, material_named("WS2"))
    assert bool(settled.observer.judges[CHALCOGEN]) is judges
    again = judging_where_it_tells_more(sample, settled, material_named("WS2"))
    assert again.observer == settled.observer
