"""What a detector did is undone as frames are read, by hand and through a movie."""

import numpy as np
import pytest
import tifffile

from stemkin.kernels.images.corrections import Correction, correct, fill_dead
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import open_movie
from stemkin.readers import MovieError
from stemkin.readers.corrected import Corrections
from tests import movie_files as files


@pytest.fixture
def raw(tmp_path):
    frames = files.pixels(n=6, height=32, width=40)
    np.save(tmp_path / "a.npy", frames)
    return tmp_path / "a.npy", frames


def test_dark_and_gain_give_back_the_true_signal(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.uniform(50, 100, (4, 32, 40))
    dark, gain = rng.uniform(5, 10, (32, 40)), rng.uniform(0.5, 1.5, (32, 40))
    np.save(tmp_path / "a.npy", truth * gain / gain.mean() + dark)
    np.save(tmp_path / "dark.npy", dark)
    tifffile.imwrite(tmp_path / "gain.tif", np.stack([gain, gain]), photometric="minisblack")
    movie = open_movie(
        tmp_path / "a.npy",
        corrections=Corrections(dark=tmp_path / "dark.npy", gain=str(tmp_path / "gain.tif")),
    )
    np.testing.assert_allclose(movie.reader.read(0, 4), truth, rtol=1e-10)
    np.testing.assert_allclose(movie.frames.compute(), truth, rtol=1e-10)


def test_dark_may_be_a_number_and_integers_become_float32(raw):
    path, frames = raw
    movie = open_movie(path, corrections=Corrections(dark=3))
    assert movie.reader.dtype == np.float32
    np.testing.assert_array_equal(movie.reader.read(0, 6), frames.astype("f4") - 3)


def test_dead_pixels_take_the_mean_of_their_living_neighbours():
    frames = np.arange(25.0).reshape(1, 5, 5)
    frames[0, 2, 2] = -1000
    dead = np.zeros((5, 5), bool)
    dead[2, 2] = True
    assert fill_dead(frames, dead)[0, 2, 2] == 12
    assert frames[0, 2, 2] == -1000  # the input is not changed
    dead[1:4, 1:4] = True  # no living neighbour: the next ring
    assert fill_dead(frames, dead)[0, 2, 2] == 12


def test_pixels_without_gain_are_dead():
    gain = np.ones((3, 3))
    gain[1, 1] = 0
    frames = np.full((1, 3, 3), 8.0) + np.arange(3)
    frames[0, 1, 1] = 500
    assert correct(frames, Correction(gain=gain))[0, 1, 1] == 9


@pytest.mark.parametrize("given", [[(3, 4), (0, 0)], np.array([[3, 4], [0, 0]]), "mask"])
def test_dead_pixels_are_given_as_points_or_as_an_image(raw, given):
    path, frames = raw
    if isinstance(given, str):
        given = np.zeros((32, 40), bool)
        given[3, 4] = given[0, 0] = True
    read = open_movie(path, corrections=Corrections(dead_pixels=given)).reader.read(0, 6)
    changed = np.argwhere((read != frames).any(axis=0))
    assert set(map(tuple, changed)) <= {(3, 4), (0, 0)}
    assert read.dtype == frames.dtype


def test_flyback_columns_are_cut_off(raw):
    path, frames = raw
    for given, columns in [(8, slice(8, None)), ((2, 3), slice(2, -3))]:
        movie = open_movie(path, corrections=Corrections(flyback_columns=given))
        assert movie.shape == frames[:, :, columns].shape
        np.testing.assert_array_equal(movie.reader.read(1, 3), frames[1:3, :, columns])


def test_counts_that_wrapped_are_unwrapped(tmp_path):
    true = np.linspace(0, 65535, 6 * 32 * 32).reshape(6, 32, 32).astype("u2")
    np.save(tmp_path / "a.npy", true.view("i2"))
    movie = open_movie(tmp_path / "a.npy", corrections=Corrections(wrap_16bit="unsigned"))
    np.testing.assert_array_equal(movie.reader.read(0, 6), true)
    with pytest.raises(MovieError, match="needs unsigned integers, but the pixels are int16"):
        open_movie(tmp_path / "a.npy", corrections=Corrections(wrap_16bit="signed"))


@pytest.mark.parametrize(
    ("dtype", "turned"),
    [("u2", lambda a: 65535 - a), ("i2", lambda a: -1 - a), ("f4", lambda a: -a)],
)
def test_contrast_is_turned(tmp_path, dtype, turned):
    frames = files.pixels(n=3, height=32, dtype=dtype)
    np.save(tmp_path / "a.npy", frames)
    read = open_movie(tmp_path / "a.npy", corrections=Corrections(invert=True)).reader.read(0, 3)
    np.testing.assert_array_equal(read, turned(frames))
    assert (np.diff(read.astype(float).ravel()) == -np.diff(frames.astype(float).ravel())).all()


def test_bad_frames_keep_their_status_through_every_correction(tmp_path):
    frames = files.pixels(n=5, height=64, width=64)
    frames[1], frames[2, 30:], frames[3, ::3] = 5, 0, 65535
    np.save(tmp_path / "a.npy", frames)
    gain = np.random.default_rng(0).uniform(0.5, 1.5, (64, 64))
    corrections = Corrections(
        dark=gain, gain=gain, dead_pixels=[(1, 1)], flyback_columns=3, invert=True
    )
    read = open_movie(tmp_path / "a.npy", corrections=corrections).reader.read(0, 5)
    assert frame_status(read).tolist() == ["ok", "blank", "truncated", "saturated", "ok"]


def test_corrections_change_the_identity(raw, tmp_path):
    path, _ = raw
    np.save(tmp_path / "dark.npy", np.zeros((32, 40)))
    several = [
        None,
        Corrections(dark=1),
        Corrections(dark=2),
        Corrections(dark=tmp_path / "dark.npy"),
        Corrections(invert=True),
    ]
    assert len({open_movie(path, corrections=one).reader.identity for one in several}) == 5


@pytest.mark.parametrize(
    ("corrections", "sentence"),
    [
        (
            Corrections(dark=np.zeros((4, 4))),
            r"the dark image has \(4, 4\) pixels, but frames have \(32, 40\)",
        ),
        (Corrections(flyback_columns=40), "leaves nothing of frames that are 40 pixels wide"),
        (Corrections(dead_pixels=[(99, 0)]), "inside frames"),
        (Corrections(dark="nowhere.npy"), "nowhere.npy"),
    ],
)
def test_corrections_that_do_not_fit_are_refused_on_opening(raw, corrections, sentence):
    with pytest.raises((MovieError, FileNotFoundError), match=sentence):
        open_movie(raw[0], corrections=corrections)
