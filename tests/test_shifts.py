"""The step from frame to frame: sub-pixel, and right about the lattice vector or doubtful."""

import numpy as np
import pytest

from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.crystal import shifts
from stemkin.kernels.crystal.lattice import honeycomb
from stemkin.simulation import simulate_movie, truth_of


@pytest.mark.parametrize("moved", [(0, 0), (4, -7), (-11, 2)])
def test_a_rolled_frame_by_hand(moved):
    first = np.random.default_rng(0).normal(size=(96, 80)).astype(np.float32)
    step = shifts.frame_step(first, np.roll(first, moved, axis=(0, 1)))
    assert (step.y, step.x) == pytest.approx(moved, abs=0.05)
    assert step.quality > shifts.CLEAR


def test_candidates_are_the_phase_plus_lattice_vectors():
    before, after = honeycomb(10.0, metal=(20.0, 20.0)), honeycomb(10.0, metal=(31.0, 18.5))
    steps = shifts.candidates(before, after, 30.0)
    away = steps - np.array([11.0, -1.5])
    assert np.allclose(np.round(away @ before.reciprocal.T), away @ before.reciprocal.T, atol=1e-6)
    assert np.hypot(*steps[0]) <= 10 / np.sqrt(3) + 1e-9
    assert (np.diff(np.hypot(*steps.T)) >= 0).all()


def test_unlike_lattices_are_not_compared_by_phase():
    assert shifts.same_lattice(honeycomb(10.0), honeycomb(10.1))
    assert not shifts.same_lattice(honeycomb(10.0), honeycomb(10.0, angle_deg=5.0))


def test_uncorrelated_frames_are_doubtful():
    rng = np.random.default_rng(0)
    quality = [
        shifts.frame_step(*rng.normal(size=(2, 96, 96)).astype(np.float32)).quality
        for _ in range(5)
    ]
    assert max(quality) < shifts.CLEAR


@pytest.mark.parametrize("drift_px", [0.4, 7.0])
def test_simulated_drift_is_measured_to_a_tenth_of_a_pixel(drift_px):
    """7 px per frame is more than half a lattice vector: the phase alone would slip."""
    movie = simulate_movie(
        "paper", n_frames=5, shape=(192, 192), seed=5, rotation_deg=11.0,
        drift_y_nm_per_frame=0.03 * drift_px, drift_x_nm_per_frame=-0.02 * drift_px,
    )  # fmt: skip
    survey = FourierDetector().survey(movie.reader.read(0, 5))
    truth = truth_of(movie).frames[["shift_y", "shift_x"]].diff().to_numpy()[1:]
    steps = [
        shifts.frame_step(
            survey.residuals[i],
            survey.residuals[i + 1],
            lattices=(survey.lattices[i], survey.lattices[i + 1]),
        )
        for i in range(4)
    ]
    found = np.array([(step.y, step.x) for step in steps])
    assert np.abs(found - truth).max() < 0.1
    assert min(step.quality for step in steps) > shifts.CLEAR


def test_a_perfect_crystal_hides_its_steps_and_the_doubt_is_said():
    """Without a defect nothing tells lattice vectors apart: every step is flagged, and the shortest
    is nearly always taken."""
    movie = simulate_movie("null", n_frames=8, shape=(192, 192), seed=5, rotation_deg=11.0)
    survey = FourierDetector().survey(movie.reader.read(0, 8))
    steps = [
        shifts.frame_step(*survey.residuals[i : i + 2], lattices=tuple(survey.lattices[i : i + 2]))
        for i in range(7)
    ]
    assert max(step.quality for step in steps) < shifts.CLEAR
    truth = truth_of(movie).frames[["shift_y", "shift_x"]].diff().to_numpy()[1:]
    right = np.abs(np.array([(step.y, step.x) for step in steps]) - truth).max(axis=1) < 0.1
    assert right.mean() > 0.7


def test_a_sudden_jump_of_several_lattice_vectors_is_followed_or_flagged():
    movie = simulate_movie(
        "paper", n_frames=6, shape=(192, 192), seed=5, jump_probability=0.6, jump_nm=0.8
    )
    survey = FourierDetector().survey(movie.reader.read(0, 6))
    truth = truth_of(movie).frames[["shift_y", "shift_x"]].diff().to_numpy()[1:]
    followed = 0
    for i, wanted in enumerate(truth):
        step = shifts.frame_step(
            *survey.residuals[i : i + 2], lattices=tuple(survey.lattices[i : i + 2])
        )
        right = (step.y, step.x) == pytest.approx(tuple(wanted), abs=0.3)
        assert right or step.quality < shifts.CLEAR, "a slip is flagged"
        followed += right and np.hypot(*wanted) > 20
    assert followed >= 2, "jumps of more than two lattice constants"
