"""The crystal of a movie: found from many frames in every structure, and what a frame is beside it.

Rotations, pixel sizes, doses and haze are drawn; the seeds here were not looked at when the finder
was made.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from stemkin import tables
from stemkin.detection import HALO, assemble_frames, detect, detect_block
from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.crystal import superlattice
from stemkin.kernels.crystal.lattice_search import find_crystal
from stemkin.kernels.crystal.pooling import reference_of
from stemkin.kernels.crystal.superlattice import highest_around
from stemkin.movie import Movie
from stemkin.references import reference_crystal, sample_numbers
from stemkin.simulation import simulate_movie, truth_of
from stemkin.simulation.worlds import draw_world
from tests.crystals import STRUCTURES, draw_movie, hexagonal, z
from tests.strategies import assert_same_rows


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_net_of_every_structure_is_found_and_each_frame_is_registered(name):
    drawn = draw_movie(STRUCTURES[name], 7301, n_frames=6, dose=2000.0)
    found = reference_of(list(drawn.frames), range(6))
    assert drawn.is_right(found.basis)
    spacing = np.sqrt(drawn.area_px2)
    assert found.step_px < 0.2 * spacing
    seen = [find_crystal(frame - frame.mean(), reference=found).lattice for frame in drawn.frames]
    for before, after, moved in zip(seen, seen[1:], np.diff(drawn.drift_px, axis=0), strict=False):
        away = (after.metal - before.metal - moved) @ after.reciprocal.T
        miss = (away - np.round(away)) @ np.stack([after.a1, after.a2])
        assert np.hypot(*miss) < 0.02 * spacing, "the phase follows the drift"


@pytest.mark.parametrize("name", ["graphene", "WS2", "SrTiO3 [100]"])
def test_many_frames_show_what_none_shows_alone(name):
    drawn = draw_movie(STRUCTURES[name], 7402, n_frames=8, dose=14.0)
    found = reference_of(list(drawn.frames))
    assert drawn.is_right(found.basis)
    alone = [find_crystal(frame - frame.mean()) for frame in drawn.frames]
    known = [find_crystal(frame - frame.mean(), reference=found) for frame in drawn.frames]
    assert sum(one is not None for one in known) >= sum(one is not None for one in alone)
    assert all(one is not None for one in known)


def test_one_of_two_twisted_layers_dominates():
    layer = STRUCTURES["WS2"]
    drawn = draw_movie(layer, 7503, n_frames=6, overlay=(layer, np.radians(7.0), 0.4))
    assert drawn.is_right(reference_of(list(drawn.frames)).basis)


def test_equal_atoms_of_a_honeycomb_do_not_hide_the_first_order():
    """|F11| = 2 |F10|: the strong reflections alone span a cell of a third of the area."""
    drawn = draw_movie(hexagonal(0.246, z(6), z(6)), 7604, n_frames=4)
    basis = np.linalg.inv(drawn.vectors_px).T
    shape = drawn.frames.shape[1:]
    from stemkin.kernels.crystal import fourier

    over = fourier.spectrum_of(list(drawn.frames)).over
    second = np.array([basis[0] + basis[1], 2 * basis[1] - basis[0]])
    for strong in (second, np.array([basis[0] * 2 - basis[1], basis[0] + basis[1]])):
        found = superlattice.finer(strong, over, shape)
        if abs(np.linalg.det(strong)) == pytest.approx(3 * abs(np.linalg.det(basis))):
            assert drawn.is_right(found)
    assert drawn.is_right(superlattice.finer(basis, over, shape)), "and no finer net is invented"


def test_noise_shows_no_crystal():
    rng = np.random.default_rng(0)
    for _ in range(4):
        assert reference_of(list(rng.normal(size=(8, 128, 128)).astype(np.float32))) is None


def test_streaks_of_lines_that_jitter_are_no_finer_net():
    movie = simulate_movie("paper", n_frames=16, shape=(256, 256), seed=5000)
    spacing = 1 / np.linalg.norm(reference_crystal(movie).basis[0])
    assert spacing == pytest.approx(0.3153 / 0.03 * np.sqrt(0.75), rel=0.01)


def test_the_sample_depends_on_the_movie_alone():
    assert sample_numbers(3, 100) == [0, 1, 2]
    many = sample_numbers(1000, 512 * 512)
    assert len(many) == 16
    assert (np.diff(many)[::2] == 1).all(), "pairs of neighbours tell how far steps are"
    assert len(sample_numbers(1000, 8192 * 8192)) == 4, "large frames, small sample"


BAD = {
    "blank_frames": (3,),
    "doubled_frames": (6,),
    "torn_frames": (9,),
    "zoomed_frames": (12,),
}


@lru_cache(maxsize=1)
def damaged_movie():
    """Frames bad in one way each, among good ones that drift."""
    return simulate_movie("paper", n_frames=16, shape=(256, 256), seed=7705, **BAD)


@lru_cache(maxsize=1)
def crystal_of_damaged():
    return reference_crystal(damaged_movie())


@lru_cache(maxsize=1)
def searched():
    movie = damaged_movie()
    frames = movie.reader.read(0, 16)
    return detect_block(
        frames,
        frames[:0],
        first_frame=0,
        movie=movie,
        model=FourierDetector(),
        reference=crystal_of_damaged(),
    )


def test_bad_frames_are_called_what_they_are_and_good_ones_good():
    status = searched().frames["status"]
    wrong = set(tables.STATUSES) - {tables.OK}
    assert status[3] == tables.BLANK, "although it carries read noise"
    assert status[6] in (tables.DOUBLED, tables.TORN)
    assert status[9] in (tables.DOUBLED, tables.TORN)
    assert status[12] == tables.ZOOMED
    assert set(np.flatnonzero(np.isin(status, list(wrong)))) == {3, 6, 9, 12}
    assert not set(searched().detections["frame"]) & {3, 6, 9, 12}


def test_the_drift_goes_on_over_bad_frames():
    table = assemble_frames(searched().frames)
    truth = truth_of(damaged_movie()).frames
    good = (table["status"] == tables.OK).to_numpy()
    for name in ("shift_y", "shift_x"):
        miss = (table[name] - truth[name])[good]
        assert np.abs(miss - miss.iloc[0]).max() < 0.15
    assert (table["stretch"] == 0).all(), "and the movie stays in one piece"


def test_frames_are_judged_the_same_however_the_movie_is_cut():
    """Cut before and behind frames that are bad in each way."""
    movie = damaged_movie()
    frames, parts = movie.reader.read(0, 16), []
    for start, stop in pairwise([0, 2, 4, 7, 10, 13, 16]):
        part = detect_block(
            frames[start:stop],
            frames[max(0, start - HALO) : start],
            first_frame=start,
            movie=movie,
            model=FourierDetector(),
            reference=crystal_of_damaged(),
        )
        parts.append(part.frames)
    assert_same_rows(assemble_frames(parts), assemble_frames(searched().frames))


def test_a_frame_out_of_focus_is_called_so():
    from scipy.ndimage import gaussian_filter

    movie = simulate_movie("paper", n_frames=8, shape=(192, 192), seed=7806)
    frames = movie.reader.read(0, 8).astype(np.float32)
    rng = np.random.default_rng(0)
    frames[5] = rng.poisson(gaussian_filter(frames[5], 2.0))
    rows = detect(Movie.from_array(frames, name="defocused"), FourierDetector())
    status = rows.experiment.frames.compute()["status"].tolist()
    assert status == [*[tables.OK] * 5, tables.DEFOCUSED, tables.OK, tables.OK]


@pytest.mark.parametrize("seed", [5101, 5102])
def test_frames_with_a_blanked_band_are_truncated_and_hide_no_crystal(seed):
    """Of 5102 such frames, two of eight, once hid the crystal of the whole movie."""
    movie = simulate_movie(
        "paper", n_frames=8, shape=(256, 256), seed=seed, part_blank_frames=(2, 4)
    )
    rows = detect(movie, FourierDetector())
    status = rows.experiment.frames.compute()["status"]
    assert status[status != tables.OK].to_dict() == dict.fromkeys((2, 4), tables.TRUNCATED)


def test_a_crystal_that_ends_at_a_rough_rim_is_not_truncated():
    frames = simulate_movie("paper", n_frames=6, shape=(192, 192), seed=5105).reader.read(0, 6)
    rng, y = np.random.default_rng(0), np.arange(192)[:, None]
    rim = 130 + 15 * np.sin(np.arange(192) / 20) + rng.normal(0, 3, 192)
    dark = rng.poisson(0.3 * frames.min(axis=(1, 2), keepdims=True), frames.shape)
    frames = np.where(y > rim, dark, frames)
    rows = detect(Movie.from_array(frames, name="rim"), FourierDetector())
    assert not (rows.experiment.frames.compute()["status"] == tables.TRUNCATED).any()


def test_a_step_that_nobody_can_vouch_for_cuts_the_movie():
    rows = pd.DataFrame(
        {
            "movie": "m",
            "frame": np.arange(6, dtype=np.int32),
            "time_s": np.arange(6.0),
            "status": ["ok", "ok", "blank", "ok", "ok", "ok"],
            "lattice_px": [10.0, 10.0, np.nan, 10.0, 10.0, 10.0],
            "step_y": [np.nan, 1.0, np.nan, 1.0, np.nan, 1.0],
            "step_x": [np.nan, 0.0, np.nan, 0.0, np.nan, 0.0],
            "shift_quality": 0.0,
            "n_detections": 0,
            **dict.fromkeys(("ordered", "disordered", "vacuum"), 1.0),
        }
    )
    table = assemble_frames(rows)
    assert table["stretch"].tolist() == [0, 0, 0, 0, 1, 1]
    assert table["shift_y"].tolist() == [0, 1, 1, 2, 2, 3]


@pytest.mark.real
def test_the_lattice_and_not_the_atom_tells_the_drift_of_graphene():
    import os
    from pathlib import Path

    place = Path(os.environ.get("STEMKIN_REAL_DATA", "../shared/data")) / "cases"
    if not (place / "c40_graphene_si.npy").exists():
        pytest.skip(f"{place} is not here")
    frames = np.load(place / "c40_graphene_si.npy")
    truth = pd.read_csv(place / "c40_graphene_si_places.csv")
    rows = detect(Movie.from_array(frames, name="c40"), FourierDetector())
    table = rows.experiment.frames.compute()
    assert (table["status"] == tables.OK).all()
    for name, wanted in (("shift_y", "drift_y_px"), ("shift_x", "drift_x_px")):
        assert np.abs(table[name] - (truth[wanted] - truth[wanted][0])).max() < 0.3


@pytest.mark.parametrize("seed", [3002, 4001, 4011])
def test_what_a_world_adds_to_the_spectrum_is_no_superlattice(seed):
    """World 3002 is a compressed video, whose blocks add faint reflections."""
    movie = simulate_movie(world=seed, n_frames=8, shape=(256, 256))
    found = np.linalg.norm(np.linalg.inv(reference_crystal(movie).basis), axis=0)
    wanted_px = draw_world(seed).material.a_nm / movie.pixel_size_nm
    np.testing.assert_allclose(found, wanted_px, rtol=0.05)


def test_the_highest_power_around_goes_round_in_rows_and_ends_with_columns():
    over = np.random.default_rng(2).exponential(size=(8, 5))
    padded = np.pad(np.concatenate([over[-1:], over, over[:1]]), ((0, 0), (1, 1)))
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
    assert np.array_equal(highest_around(over), around)
