"""Ordered, disordered, vacuum: areas and borders against the truth, fragments however turned, the
same for every chunking."""

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.detection import detect
from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb, sites
from stemkin.kernels.crystal.order import DISORDERED, ORDERED, VACUUM, order_map
from stemkin.kernels.crystal.regions import regions_of
from stemkin.movie import Movie
from stemkin.order import follow, histories, order_maps, phases, regions, save_order_maps
from stemkin.simulation import simulate_movie, truth_of
from tests.strategies import assert_same_rows, computes, time_chunkings


def crystal(
    shape,
    *,
    spacing=10.0,
    angle=0.0,
    keep=lambda points: np.ones(len(points), bool),
    move=lambda points: points,
):
    """Return a honeycomb's frame and lattice; `keep` removes columns, `move` displaces them."""
    lattice = honeycomb(spacing, angle_deg=angle, metal=(shape[0] / 2, shape[1] / 2))
    y, x, sd = np.arange(shape[0]), np.arange(shape[1]), 0.14 * spacing
    frame = np.full(shape, 0.05)
    for kind, height in ((METAL, 1.0), (CHALCOGEN, 0.15)):
        points = sites(lattice, shape, kind)
        points = move(points[keep(points)])
        gy = np.exp(-0.5 * ((y[:, None] - points[:, 0]) / sd) ** 2)
        gx = np.exp(-0.5 * ((x[:, None] - points[:, 1]) / sd) ** 2)
        frame += height * gy @ gx.T
    return frame, lattice


@pytest.fixture(scope="module")
def late_movie():
    return simulate_movie(
        "late-stage", n_frames=6, shape=(256, 256), seed=3, frame_time_s=40.0, name="late"
    )


@pytest.fixture(scope="module")
def whole(late_movie):
    return (
        phases(late_movie).compute(),
        regions(late_movie).compute(),
        order_maps(late_movie).compute(),
    )


def test_a_whole_crystal_is_ordered():
    assert order_map(*crystal((160, 160), angle=11.0)).fractions == (1.0, 0.0, 0.0)


@settings(max_examples=8)
@given(angle=st.floats(-29, 29), spacing=st.floats(7.0, 14.0), share=st.floats(0.1, 0.6))
def test_a_missing_strip_is_vacuum_of_its_own_width(angle, spacing, share):
    shape = (160, 200)
    edge = share * 200
    frame, lattice = crystal(
        shape, spacing=spacing, angle=angle, keep=lambda points: points[:, 1] > edge
    )
    ordered, disordered, vacuum = order_map(frame, lattice).fractions
    assert vacuum == pytest.approx(share, abs=0.4 * spacing / 200 + 0.01)
    assert disordered < 0.3 * spacing / 200 + 0.01
    assert ordered + disordered + vacuum == pytest.approx(1.0)


def test_scattered_atoms_are_disordered():
    rng = np.random.default_rng(0)

    def scatter(points):
        moved = points + rng.normal(scale=4.0, size=points.shape)
        return np.where((points[:, 0] < 80)[:, None], moved, points)

    found = order_map(*crystal((200, 200), move=scatter))
    upper = found.phase[: int(60 / found.tile)]
    assert (upper == DISORDERED).mean() > 0.6
    assert (upper == VACUUM).mean() < 0.15
    assert (found.phase[int(110 / found.tile) :] == ORDERED).all()


@pytest.mark.parametrize("turn", [-25.0, -8.0, 12.0, 29.0])
def test_a_turned_half_is_ordered_and_its_turn_is_measured(turn):
    left, lattice = crystal((160, 240), angle=5.0)
    right, _ = crystal((160, 240), angle=5.0 + turn)
    found = order_map(np.where(np.arange(240) < 160, left, right), lattice)
    fragment = next(region for region in regions_of(found) if region.kind == "fragment")
    assert fragment.turn_deg == pytest.approx(turn, abs=0.7)
    assert fragment.area_px == pytest.approx(160 * 80, rel=0.15)
    assert found.fractions[0] > 0.9


def test_gain_and_offset_do_not_matter():
    frame, lattice = crystal((120, 160), keep=lambda points: points[:, 1] > 60)
    np.testing.assert_allclose(
        order_map(frame, lattice).fractions,
        order_map(700 * frame + 3000, lattice).fractions,
        atol=0.005,
    )


def test_without_a_lattice_nothing_is_known():
    assert order_map(np.ones((64, 64)), None) is None
    assert order_map(np.ones((12, 12)), honeycomb(10.0)) is None


def test_areas_are_those_of_the_simulation():
    movie = simulate_movie("late-stage", n_frames=5, seed=2, frame_time_s=45.0)
    found, truth = phases(movie).compute(), truth_of(movie).frames
    assert truth["vacuum"].max() > 0.05
    np.testing.assert_allclose(found["vacuum"], truth["vacuum"], atol=0.007)
    np.testing.assert_allclose(found["ordered"], 1 - truth["vacuum"], atol=0.01)


def test_the_pixel_pass_says_the_same(late_movie):
    frames = detect(late_movie, FourierDetector()).experiment.frames.compute()
    wanted = phases(late_movie).compute()
    for name in ("ordered", "disordered", "vacuum"):
        np.testing.assert_allclose(frames[name], wanted[name], atol=0.01)


@settings(max_examples=3)
@given(chunks=time_chunkings(n_frames=6))
def test_tables_and_maps_do_not_depend_on_the_chunking(late_movie, whole, chunks):
    size = max(chunks)
    with computes(at_most=0):
        lazy = phases(late_movie, frames_per_block=size), regions(late_movie, frames_per_block=size)
        maps = order_maps(late_movie, frames_per_block=size)
    for found, wanted in zip(lazy, whole[:2], strict=True):
        assert_same_rows(found, wanted)
    np.testing.assert_array_equal(maps.compute(), whole[2])


def test_bad_frames_and_empty_frames_are_unknown_not_zero(late_movie):
    frames = late_movie.reader.read(0, 3).astype("float32")
    frames[0], frames[1, :128], frames[2, 4, 4] = 7.0, np.nan, np.nan
    movie = Movie.from_array(frames, name="bad")
    assert phases(movie).compute()["ordered"].isna().tolist() == [True, True, False]
    assert (order_maps(movie).compute()[:2] == -1).all()
    assert set(regions(movie).compute()["frame"]) <= {2}
    assert regions(movie).compute()["area_nm2"].isna().all()


def test_no_movie_is_refused_with_a_cure():
    with pytest.raises(ValueError, match="no movie to look at"):
        phases([])


def test_maps_are_written_whole(late_movie, tmp_path):
    save_order_maps(late_movie, tmp_path / "order.zarr")
    stored = zarr.open_array(str(tmp_path / "order.zarr"), mode="r")
    np.testing.assert_array_equal(stored[:], order_maps(late_movie).compute())
    assert stored.attrs["axes"] == ["t", "y", "x"]
    assert stored.attrs["pixel_size_nm"] == pytest.approx(0.15)


def test_a_region_keeps_its_number_and_a_new_one_gets_its_own():
    found = pd.DataFrame(
        {
            "movie": "m", "kind": "hole", "frame": [0, 1, 1, 2, 2, 4],
            "y": [10.0, 12.0, 80.0, 13.0, 81.0, 13.0], "x": [10.0, 10.0, 80.0, 12.0, 80.0, 12.0],
        }
    )  # fmt: skip
    assert follow(found)["region"].tolist() == [0, 0, 1, 0, 1, 0]
    assert follow(found, max_gap_frames=0)["region"].tolist() == [0, 0, 1, 0, 1, 2]
    assert follow(found.iloc[:0])["region"].empty


def test_holes_of_the_simulation_are_followed_and_grow(late_movie):
    rows = follow(regions(late_movie).compute())
    holes = rows[rows["kind"] == "hole"]
    longest = holes["region"].value_counts().index[0]
    areas = holes[holes["region"] == longest]["area_nm2"].to_numpy()
    assert len(areas) >= 3
    assert areas[-1] > areas[0]


def test_holes_and_the_fragment_keep_one_number_from_when_they_open():
    """Two holes and a fragment that turns; the truth tells when each begins, and the area of all
    holes together."""
    movie = simulate_movie("late-stage", n_frames=16, seed=2, frame_time_s=14.0, contamination=0.0)
    rows = follow(regions(movie).compute(), max_gap_frames=2)
    largest = histories(rows)
    holes, pieces = (
        largest[largest["kind"] == kind].iloc[:n] for kind, n in (("hole", 2), ("fragment", 1))
    )
    truth = truth_of(movie)
    open_at = truth.settings.damage.hole_start_s * np.array([1.0, 1.5])
    assert (holes["last_frame"] == 15).all()
    for first in holes["first_time_s"]:  # a hole of three columns or so is the smallest that counts
        assert 0 <= (first - open_at).min(initial=np.inf, where=first >= open_at) < 60
    for region in holes["region"]:
        own = rows[rows["region"] == region]
        assert own["frame"].is_unique
        assert (
            len(own) >= own["frame"].iloc[-1] - own["frame"].iloc[0]
        )  # at most one frame is missing
    assert pieces["first_time_s"].iloc[0] >= truth.settings.damage.fragment_start_s
    assert abs(pieces["last_turn_deg"].iloc[0]) > 4
    found = (
        rows[rows["kind"] == "hole"]
        .groupby("frame")["area_px"]
        .sum()
        .reindex(range(16), fill_value=0.0)
    )
    np.testing.assert_allclose(found / np.prod(movie.shape[1:]), truth.frames["vacuum"], atol=0.01)
