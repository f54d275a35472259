"""The crystal of a movie in the results folder: found once, kept to the bit, a part of each block."""

import json

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.detection.detectors import FourierDetector
from stemkin.movie import Movie
from stemkin.pipeline import Inputs, crystals
from stemkin.pipeline.tracks import without_steps_over
from stemkin.references import reference_crystal, sample_numbers
from stemkin.results.crystals import FOLDER, read_crystal, write_crystal
from stemkin.results.store import Block, Store
from stemkin.simulation import simulate_movie

CONFIG = RunConfig().with_values(detect={"frames_per_block": 4})


@pytest.fixture(scope="module")
def movie():
    return simulate_movie("paper", n_frames=20, shape=(96, 96), seed=5, name="movie")


@pytest.fixture(scope="module")
def model(movie, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    sk.learn(movie, n_frames=1, detector=FourierDetector()).save(folder)
    return folder


def inputs(*movies):
    return Inputs(["some"], list(movies), [])


def numbers_of(part):
    """Every number of a crystal, in order."""
    if hasattr(part, "__dataclass_fields__"):
        return [numbers_of(getattr(part, name)) for name in part.__dataclass_fields__]
    return part.tolist() if isinstance(part, np.ndarray) else part


def test_a_crystal_comes_back_to_the_bit(movie, tmp_path):
    store, crystal = Store.at(tmp_path), reference_crystal(movie)
    content = write_crystal(store, "a", crystal, made_of="x")
    back = read_crystal(store, "a", content)
    assert numbers_of(back) == numbers_of(crystal)
    assert back.cell.amplitudes.dtype == complex
    assert back.cell.is_honeycomb is bool(crystal.cell.is_honeycomb)
    assert write_crystal(store, "b", back, made_of="y", left_out=[3]) == content
    nothing = write_crystal(store, "c", None, made_of="x")
    assert read_crystal(store, "c", nothing) is None
    with pytest.raises(ValueError, match="is not the crystal that this run found"):
        read_crystal(store, "a", nothing)


def test_a_run_finds_each_crystal_once_and_a_damaged_file_again(
    movie, model, tmp_path, monkeypatch
):
    found = []

    def counted(movie, **words):
        found.append(movie.name)
        return reference_crystal(movie, **words)

    def search(*movies):
        sk.run(inputs(*movies), tmp_path / "out", config=CONFIG, model=model, until="detect")

    monkeypatch.setattr(crystals, "reference_crystal", counted)
    other = Movie(movie.reader, "other", movie.calibration)
    for _ in range(2):
        search(movie, other)
    assert sorted(found) == ["movie", "other"]
    file = tmp_path / "out" / FOLDER / "other.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    search(movie, other)
    assert found[2:] == ["other"]
    assert file.read_bytes() == whole
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert said["blocks"]["reused"] == said["blocks"]["total"] == 10
    assert said["stages"]["crystals"]["reused"] == 1


class Unreadable:
    """A reader of which one frame raises what is no damage."""

    def __init__(self, inner, frame):
        self.inner, self.frame = inner, frame

    def __getattr__(self, name):
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def read(self, start, stop):
        if start <= self.frame < stop:
            raise OSError(5, "Input/output error")
        return self.inner.read(start, stop)


def test_a_frame_that_cannot_be_read_is_left_out_of_the_sample_and_named(movie, model, tmp_path):
    frame = 8
    assert frame in sample_numbers(20, 96 * 96)
    broken = Movie(Unreadable(movie.reader, frame), "movie", movie.calibration)
    for name, one in (("broken", broken), ("calm", movie)):
        sk.run(inputs(one), tmp_path / name, config=CONFIG, model=model, until="detect")
    said = json.loads((tmp_path / "broken" / "run.json").read_text())
    assert [b["start"] for b in said["blocks"]["failed"]] == [8], "not 12, which reads 11 only"
    assert said["stages"]["crystals"]["left_out"] == {"movie": [8]}
    assert any("could not be read told nothing" in one for one in said["warnings"])
    sk.run(inputs(movie), tmp_path / "broken", config=CONFIG, model=model, until="detect")
    for table in ("steps", "detections"):
        mended, calm = (pd.read_parquet(tmp_path / name / table) for name in ("broken", "calm"))
        pd.testing.assert_frame_equal(mended, calm, check_exact=True)


def test_no_step_leads_out_of_a_block_that_is_not_there():
    steps = pd.DataFrame({"frame": range(12), "step_y": 1.0, "step_x": 2.0})
    steps.loc[[0, 4, 5, 6, 7, 8], ["step_y", "step_x"]] = np.nan
    left = without_steps_over(steps.sample(frac=1, random_state=0), [Block("m", 4, 8)])
    assert left["frame"].tolist() == list(range(12))
    assert left.index[left["step_y"].isna()].tolist() == [0, 4, 5, 6, 7, 8, 9]
