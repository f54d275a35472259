"""As many sites of noise pass for defects as were asked for, and each frame says how many did."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.false_positives import (
    SHARES,
    mirrored,
    shares_of,
    site_threshold,
    weak_dark_sites,
)
from stemkin.kernels.detection.normalisation import _Squares
from stemkin.kernels.detection.sites import comparable
from stemkin.model.files import _detector, _written_detector
from stemkin.simulation import simulate_movie, truth_of

SPACING_PX = 11.0


def sites(edge_px):
    """Return the places (m, 2) of a square lattice of sites in a frame of so many pixels."""
    line = np.arange(4.0, edge_px - 4.0, SPACING_PX)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("edge_px", [160, 256])
def test_sites_of_noise_pass_as_often_as_asked_in_small_frames_too(edge_px):
    points, draw = sites(edge_px), np.random.default_rng(edge_px)
    least, n_passed, n_frames = site_threshold(2.0, len(points)), 0, 200
    plain = np.ones(len(points), dtype=bool)
    for _ in range(n_frames):
        signal = comparable(
            points, draw.normal(size=len(points)), plain,
            skewness=None, spacing_px=SPACING_PX, shape=(edge_px, edge_px),
        )  # fmt: skip
        n_passed += int((signal < -least).sum())
    # four standard deviations of a count of 400
    assert 2.0 * n_frames - 80 < n_passed < 2.0 * n_frames + 80


def test_a_value_is_as_far_from_its_mean_whether_it_tells_that_mean_or_not():
    """Defects do not tell the mean around them; noise that is as large must not either."""
    points, draw = sites(200), np.random.default_rng(4)
    squares = _Squares.of(points, sd_px=20.0, shape=(200, 200))
    tells = np.arange(0, len(points), 2)
    freed = [squares.freed_of_mean(draw.normal(size=len(points)), tells) for _ in range(400)]
    telling = np.isin(np.arange(len(points)), tells)
    # of 65,000 values each, so their deviation is known to 0.3 %
    assert np.std(np.array(freed)[:, telling]) == pytest.approx(1.0, abs=0.012)
    assert np.std(np.array(freed)[:, ~telling]) == pytest.approx(1.0, abs=0.012)


def test_bright_sites_that_chance_makes_tell_how_many_dark_ones_it_makes():
    draw = np.random.default_rng(0)
    signal = draw.normal(size=200_000)
    signal[:2000] = -9.0
    sublattice = np.repeat(np.array([METAL, CHALCOGEN], dtype=np.int8), 100_000)
    least = np.full(len(signal), 3.0)
    nothing = np.zeros(len(signal), dtype=bool)
    expected = mirrored(sublattice, signal, least, nothing, SHARES)
    truly = (signal[sublattice == CHALCOGEN] < -3.0).sum() / SHARES[CHALCOGEN, -1]
    assert expected == pytest.approx(truly, rel=0.25)
    both = mirrored(sublattice, signal, least, nothing, None)
    assert both == pytest.approx((np.abs(signal[2000:]) > 3.0).sum(), rel=0.25)


def test_strong_bright_sites_and_their_neighbours_are_no_control():
    sublattice = np.full(1000, CHALCOGEN, dtype=np.int8)
    signal, beside = np.zeros(1000), np.zeros(1000, dtype=bool)
    signal[:3], beside[2] = [12.0, 4.0, 4.0], True
    assert mirrored(sublattice, signal, np.full(1000, 3.0), beside, SHARES) == 1 / 0.88
    metal = np.full(1000, METAL, dtype=np.int8)
    assert np.isnan(mirrored(metal, signal, np.full(1000, 3.0), beside, SHARES))


def test_every_frame_says_how_many_of_its_detections_noise_explains():
    movie = simulate_movie("paper", n_frames=6, shape=(192, 192), seed=3)
    frames = movie.frames.compute()
    few = FourierDetector().survey(frames).extra["expected_false"]
    many = FourierDetector(false_positives_per_frame=40.0).survey(frames).extra["expected_false"]
    assert np.isfinite(few).all()
    assert few.mean() < 4.0
    assert many.mean() == pytest.approx(40.0, rel=0.4)
    blank = FourierDetector().survey(np.zeros((1, 192, 192), np.float32))
    assert np.isnan(blank.extra["expected_false"]).all()


def test_where_selenium_outshines_the_metal_its_vacancies_have_the_false_positives(tmp_path):
    """The brighter columns of MoSe2, which are called the metal's, lose atoms."""
    words = {"n_frames": 6, "shape": (224, 224), "seed": 3, "dose_rate_e_per_nm2_s": 6e4}
    movie = simulate_movie("paper", material="MoSe2", **words)
    frames = movie.frames.compute()
    true = truth_of(movie).defects_between(0, 6).query("kind == 'V_Se'")

    def n_found(detector):
        found = detector(frames)
        return sum(
            len(
                match_points(
                    own[["y", "x"]].to_numpy(),
                    np.stack([found[c][found["frame"] == frame] for c in "yx"], axis=1),
                    max_distance=3.0,
                )[0]
            )
            for frame, own in true.groupby("frame")
        )

    told = FourierDetector(weak_dark=(True, False))
    assert n_found(told) > 1.15 * n_found(FourierDetector())
    there = shares_of(None, (True, False))
    assert there[METAL, -1] == shares_of(None)[CHALCOGEN, -1]
    assert there[CHALCOGEN, -1] == shares_of(None)[METAL, -1]
    said = json.dumps(_written_detector(told, tmp_path))
    assert _detector(json.loads(said), tmp_path) == told


def test_weak_defects_are_where_sites_are_dark_more_often_than_bright():
    noise = np.random.default_rng(0).normal(size=(2, 20_000))
    some = np.full(300, -4.0)
    first, second = (np.append(own, some) for own in noise)
    assert weak_dark_sites([noise[0], second]) == (False, True)
    assert weak_dark_sites([first, noise[1]]) == (True, False)
    assert weak_dark_sites([first, second]) == (True, True)
    assert weak_dark_sites(noise) == (False, True), "as usual, where nothing is sure"
    bright = np.append(noise[1], -some)
    assert weak_dark_sites([first, bright]) == (True, False), "dopants are bright"


def test_heavier_tails_that_were_learned_raise_thresholds_and_are_kept_in_the_model(tmp_path):
    frames = simulate_movie("paper", n_frames=3, shape=(192, 192), seed=3).frames.compute()
    plain = FourierDetector(false_positives_per_frame=30.0)
    heavy = replace(plain, tails=(1.2, 1.2))
    assert len(heavy(frames)) < 0.8 * len(plain(frames))
    said = json.dumps(_written_detector(heavy, tmp_path))
    assert _detector(json.loads(said), tmp_path) == heavy
