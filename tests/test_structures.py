"""Local crystallography: where the atoms around defects stand, found from simulated movies that
relax and from frames drawn by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin import tables
from stemkin.detection import detect
from stemkin.kernels.classes import structure as kernel
from stemkin.kernels.classes.looks import (
    look_at,
)
from stemkin.kernels.classes.neighbours import (
    GRID,
    atoms_of,
    places_around,
    smooth_variance,
    steepness,
)
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb
from stemkin.kernels.crystal.patches import axes_of, turn_of
from stemkin.learning import learn
from stemkin.rows.passes import added
from stemkin.simulation import simulate_movie
from stemkin.structures import crystallography, described, neighbourhood_sums
from tests.strategies import assert_same_rows, time_chunkings
from tests.test_descriptors import S2, draw


def drawn(moves, *, angle=0.0, spacing=10.0, third=0):
    """Return the (10, 3) atoms around a metal site, where columns {place: canonical (y, x) step}
    were moved."""
    lattice = honeycomb(spacing, angle_deg=angle, metal=(40.3, 39.6))
    axes, columns = axes_of(lattice), []
    for place, step in moves.items():
        at = turn_of(third) @ places_around(METAL)[place]
        height = 1.0 if place in (0, *range(7, 13)) else S2
        here = lattice.metal + axes @ at
        columns += [(here, -height), (here + axes @ turn_of(third) @ np.array(step), height)]
    frame, rest = draw(lattice, (80, 80), columns)
    mark = lattice.metal + axes @ turn_of(third) @ places_around(METAL)[1]
    _, rest_of_mark = draw(
        lattice, (80, 80), [(mark, -S2 / 2)]
    )  # tells which way the neighbourhood is turned
    look = look_at(frame, rest + rest_of_mark, lattice, lattice.metal[None], neighbours=True)
    assert look.orientation[0] == third
    return look.atoms[0]


@settings(deadline=None, max_examples=12)
@given(angle=st.floats(-29, 29), spacing=st.floats(8.0, 14.0), third=st.integers(0, 2))
def test_a_column_is_found_where_it_was_moved_to_however_the_crystal_lies(angle, spacing, third):
    moves = {0: (0.02, -0.01), 8: (-0.015, 0.02), 2: (0.02, 0.02)}
    atoms = drawn(moves, angle=angle, spacing=spacing, third=third)
    u = atoms[:, :2] / (1 + atoms[:, 2:])
    expected = np.zeros((10, 2))
    for place, step in moves.items():
        expected[list(atoms_of(METAL)).index(place)] = step
    bright = [0, 4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(u[bright], expected[bright], atol=1.5e-3)
    np.testing.assert_allclose(u[[1, 2, 3]], expected[[1, 2, 3]], atol=6e-3)
    assert (np.abs(atoms / GRID - np.round(atoms / GRID)) == 0).all()


def test_the_width_of_columns_is_read_off_their_steepness():
    for variance in (0.03, 0.04, 0.05):
        measured = steepness(variance, chalcogen=0.15)
        assert smooth_variance(measured, chalcogen=0.15) == pytest.approx(variance, rel=1e-3)


def test_mean_modes_and_strain_by_hand():
    """Rows of 200 neighbourhoods, stretched along x by a share that varies from one to the next."""
    rng = np.random.default_rng(0)
    stretch = np.round(rng.normal(0.01, 0.004, 200) / GRID) * GRID
    atoms = np.zeros((200, 10, 3))
    places = places_around(METAL)[atoms_of(METAL)]
    atoms[:, :, 1] = np.round(stretch[:, None] * places[:, 1] / GRID) * GRID
    found = kernel.structure_of(kernel.structure_sums(atoms, np.zeros(200, int), 1)[0], site=METAL)
    assert found.n == 200
    np.testing.assert_allclose(found.displacements[:, 1], stretch.mean() * places[:, 1], atol=GRID)
    np.testing.assert_allclose(found.strain, [0, stretch.mean(), 0, 0], atol=2e-4)
    assert found.strain_errors[1] == pytest.approx(0.004 / np.sqrt(200), rel=0.2)
    along = (
        found.modes[0] * np.stack([0 * places[:, 0], places[:, 1]], axis=1)
    ).sum() / np.linalg.norm(places[:, 1])
    assert abs(along) > 0.99
    assert found.over_noise[0] > 100 * kernel.noise_edge(200)
    assert found.over_noise[1] < 1e-3 * found.over_noise[0]


def test_a_common_motion_of_bright_columns_is_found_beneath_the_noise_of_faint_ones():
    """Six metal columns breathe together by 0.005; each is measured to 0.008, each faint column to
    0.06."""
    rng, places = np.random.default_rng(0), places_around(METAL)[atoms_of(METAL)]
    noise = np.where(np.isin(np.arange(10), (1, 2, 3)), 0.06, 0.008)
    for breathing in (0.005, 0.0):
        atoms = np.zeros((2000, 10, 3))
        atoms[:, :, :2] = rng.normal(size=(2000, 10, 2)) * noise[:, None]
        atoms[:, 4:, :2] += breathing * rng.normal(size=(2000, 1, 1)) * places[4:]
        found = kernel.structure_of(
            kernel.structure_sums(np.round(atoms / GRID) * GRID, np.zeros(2000, int), 1)[0],
            site=METAL,
        )
        assert (found.over_noise[0] > 1.3 * kernel.noise_edge(2000)) == (breathing > 0)
        if breathing:
            assert abs((found.modes[0, 4:] * places[4:]).sum()) > 0.9 * np.sqrt(6)


def test_a_missing_column_has_no_position_and_the_others_keep_theirs():
    atoms = np.zeros((50, 10, 3))
    atoms[:, 0, 2] = -1.0
    found = kernel.structure_of(
        kernel.structure_sums(atoms, np.zeros(50, int), 1)[0], site=CHALCOGEN
    )
    assert np.isnan(found.displacements[0]).all()
    assert (found.displacements[1:] == 0).all()
    assert np.isfinite(found.strain).all()


def test_one_detection_has_no_error_and_none_gives_empty_tables():
    found = kernel.structure_of(
        kernel.structure_sums(np.zeros((1, 10, 3)), np.zeros(1, int), 1)[0], site=METAL
    )
    assert np.isnan(found.covariances).all()
    assert np.isnan(found.strain).all()
    rows = pd.concat([tables.empty("detections", n_descriptors=1), tables.empty("neighbours")[[*tables.ATOM_COLUMNS]]], axis=1)  # fmt: skip
    assert all(table.empty for table in vars(crystallography(rows)).values())
    with pytest.raises(ValueError, match="a0y"):
        crystallography(tables.empty("detections", n_descriptors=1))


@given(order=st.permutations(range(6)), cut=st.integers(1, 5))
def test_sums_are_the_same_to_the_bit_in_any_order(order, cut):
    rng = np.random.default_rng(1)
    parts = []
    for n in (5, 1, 40, 3, 0, 17):
        atoms = np.round(rng.normal(0, 0.1, (n, 30)) / GRID) * GRID
        rows = pd.DataFrame(atoms, columns=list(tables.ATOM_COLUMNS)).assign(
            class_id=rng.integers(-1, 2, n), d00=rng.integers(0, 2, n).astype(float)
        )
        parts.append(rows)
    whole = neighbourhood_sums(pd.concat(parts))
    some = added([neighbourhood_sums(parts[i]) for i in order[:cut]])
    total = added([added([neighbourhood_sums(parts[i]) for i in order[cut:]]), some])
    assert whole.keys() == total.keys()
    for pair, sums in whole.items():
        np.testing.assert_array_equal(total[pair], sums)


@pytest.fixture(scope="module")
def movie():
    return simulate_movie(
        "paper", n_frames=10, shape=(256, 256), seed=5, vacancy_fraction=0.03, relaxation_nm=0.006
    )


@pytest.fixture(scope="module")
def model(movie):
    return learn(movie, n_frames=6, seed=1)


@pytest.fixture(scope="module")
def whole(movie, model):
    """What is said of the detections of all frames in one block."""
    rows = detect(movie, model, neighbours=True, frames_per_block=10).compute()
    return described(neighbourhood_sums(rows))


def test_the_relaxation_of_the_simulation_is_found(model, whole):
    found = whole
    vacancy = model.classes.set_index("name")["class_id"]["V_S"]
    row = found.strain[found.strain["class_id"] == vacancy].iloc[0]
    assert row["site"] == "chalcogen"
    true = 0.006 / 0.3153
    assert row["breathing_a"] == pytest.approx(true, abs=3 * row["breathing_error_a"] + 0.1 * true)
    assert row["breathing_error_a"] < 0.05 * true
    atoms = found.structure[found.structure["class_id"] == vacancy].set_index("atom")
    assert atoms.loc[0, "height"] == pytest.approx(0.5, abs=0.05)
    ring = atoms.loc[4:]
    z = ring[["dy_a", "dx_a"]].to_numpy() / ring[["error_y_a", "error_x_a"]].to_numpy()
    assert np.sqrt((z**2).mean()) < 2.5  # the six sulphur columns around stay where they were
    modes = found.modes[found.modes["class_id"] == vacancy]
    assert modes.groupby("mode")["share"].first().is_monotonic_decreasing


@settings(max_examples=2, deadline=None)
@given(chunks=time_chunkings(n_frames=10))
def test_crystallography_does_not_depend_on_the_chunking(movie, model, whole, chunks):
    found = crystallography(detect(movie, model, neighbours=True, frames_per_block=max(chunks)))
    for name, table in vars(whole).items():
        assert_same_rows(getattr(found, name), table)
