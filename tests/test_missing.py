"""Missing pixels: filled from the frame, left out of what is counted, and no frame is lost to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stemkin as sk
from stemkin import tables
from stemkin.detection.block import detect_block
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.images.missing import MOST_MISSING, unseen, without_missing
from stemkin.kernels.images.quality import frame_status
from stemkin.pipeline.tracks import lost_frames
from stemkin.simulation import simulate_movie, truth_of

SIZE = 144


@pytest.fixture(scope="module")
def film():
    """A movie of the paper's kind, its pixels as float32, and where its defects are."""
    movie = simulate_movie("paper", n_frames=3, shape=(SIZE, SIZE), seed=1)
    return movie, movie.reader.read(0, 3).astype("f4"), truth_of(movie).defects


@pytest.fixture(scope="module")
def model(film):
    movie, pixels, _ = film
    return sk.learn(sk.Movie.from_array(pixels, **movie.calibration.known()), n_frames=3)


def dead(share):
    def spoil(pixels):
        pixels[:, np.random.default_rng(0).random(pixels.shape[1:]) < share] = np.nan

    return spoil


def hot_and_dead(pixels):
    mask = np.random.default_rng(0).random(pixels.shape)
    pixels[mask < 0.01] = np.inf
    pixels[mask > 0.99] = -np.inf


def beam_stop(pixels):
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels[:, (y - 72) ** 2 + (x - 50) ** 2 < 100] = np.nan


def cut_corners(pixels):
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels[:, (y + x < 30) | (y + x > 2 * SIZE - 30)] = np.nan


def dead_lines(pixels):
    pixels[:, :, 50:52] = 0
    pixels[:, 80] = 7


def dead_quadrant(pixels):
    pixels[:, : SIZE // 2, SIZE // 2 :] = 0


FAULTS = [dead(0.01), dead(0.05), hot_and_dead, beam_stop, cut_corners, dead_lines, dead_quadrant]


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda one: one.__qualname__)
def test_what_is_seen_of_a_spoiled_movie_is_found_as_in_the_whole_one(film, model, spoil):
    movie, pixels, truth = film
    spoiled = pixels.copy()
    spoil(spoiled)
    found = sk.detect(sk.Movie.from_array(spoiled, **movie.calibration.known()), model).compute()
    whole = sk.detect(sk.Movie.from_array(pixels, **movie.calibration.known()), model).compute()
    _, missing = without_missing(spoiled)
    hits, false, hits_before, false_before, hidden = 0, 0, 0, 0, 0
    for frame in range(3):
        places = truth.loc[truth["frame"] == frame, ["y", "x"]].to_numpy(float)
        away = unseen(missing[frame], *places.T, beside_px=9.0)
        hidden += int(away.sum())
        for rows, before in ((found, False), (whole, True)):
            own = rows.loc[rows["frame"] == frame, ["y", "x"]].to_numpy(float)
            _, matched = match_points(own, places, max_distance=4.0)
            n_hits = int((~away[matched]).sum())
            if before:
                hits_before, false_before = (
                    hits_before + n_hits,
                    false_before + len(own) - len(matched),
                )
            else:
                hits, false = hits + n_hits, false + len(own) - len(matched)
    assert hits >= 0.9 * hits_before
    assert false <= false_before + 3
    assert hidden < len(truth) / 2


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_frames_without_missing_pixels_keep_their_bits(dtype):
    frames = np.random.default_rng(0).poisson(20, (4, 48, 40)).astype(dtype)
    frames[1, :, :5] = 0  # vacuum at the edge
    frames[2, 30:] = 0  # a scan that ended early
    frames[3] = 7
    kept = frames.copy()
    filled, missing = without_missing(frames)
    assert filled is frames
    assert missing is None
    assert np.array_equal(frames, kept)


def test_a_detection_does_not_change_where_nothing_is_missing(film, model):
    movie, pixels, _ = film
    spoiled = pixels.copy()
    spoiled[1, 10, 10] = np.nan
    args = {"first_frame": 0, "movie": movie, "model": model, "reference": None}
    whole = detect_block(pixels[:1], pixels[:0], **args).detections
    part = detect_block(spoiled, pixels[:0], **args).detections
    assert whole.equals(part[part["frame"] == 0])


@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_a_frame_is_corrupt_only_beyond_the_stated_share(share, seed):
    rng = np.random.default_rng(seed)
    frame = rng.poisson(50, (1, 40, 40)).astype("f4")
    gone = rng.random(frame.shape) < share
    frame[gone] = np.nan
    filled, missing = without_missing(frame)
    (status,) = frame_status(filled)
    if gone.mean() > MOST_MISSING:
        assert status == "corrupt"
        assert missing is None
    else:
        assert status == "ok"
        assert missing is None or np.array_equal(missing, gone)
        assert np.array_equal(filled[~gone], frame[~gone])


def test_a_crystal_goes_on_across_a_gap():
    y, x = np.mgrid[:64, :64]
    crystal = (100 + 40 * np.cos(2 * np.pi * x / 8) * np.cos(2 * np.pi * y / 8)).astype("f4")
    frames = crystal[None].copy()
    frames[0, 20:34, 20:34] = np.nan
    filled, _ = without_missing(frames)
    gap = filled[0, 20:34, 20:34] - crystal[20:34, 20:34]
    assert np.abs(gap).max() < 8  # the mean of the surroundings alone would be up to 40 off


def test_the_same_frame_is_filled_alike_in_every_block():
    frames = np.random.default_rng(0).poisson(20, (5, 32, 32)).astype("f4")
    frames[np.random.default_rng(1).random(frames.shape) < 0.03] = np.nan
    whole, _ = without_missing(frames)
    parts = np.concatenate([without_missing(frames[i : i + 2])[0] for i in range(0, 5, 2)])
    assert np.array_equal(whole, parts)


def test_integers_stay_integers():
    frames = np.random.default_rng(0).poisson(20, (1, 32, 32)).astype("u2")
    frames[0, :, 9] = 65_535
    filled, missing = without_missing(frames)
    assert filled.dtype == np.uint16
    assert missing[0, :, 9].all()
    assert missing.sum() == 32
    assert filled.max() < 100


def test_more_than_a_few_lost_frames_are_a_sentence():
    steps = tables.empty("frames").reindex(range(20)).assign(movie="film", status="ok")
    steps.loc[:2, "status"] = "corrupt"
    assert lost_frames(steps) == ""
    steps.loc[:3, "status"] = "blank"
    assert lost_frames(steps).startswith("4 of 20 frames of film were lost (4 blank)")
