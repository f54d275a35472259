"""The lattice of a frame: found in any orientation, refined, followed through a distorted scan."""

import numpy as np
import pytest

from stemkin.kernels.crystal import fourier, residual
from stemkin.kernels.crystal.amplitudes import decoupled, line_sums, mean_amplitudes
from stemkin.kernels.crystal.drawing import draw_mean
from stemkin.kernels.crystal.lattice import (
    CHALCOGEN,
    METAL,
    bent,
    honeycomb,
    lattice_coordinates,
    nearest_site,
    sites,
    unbent,
)
from stemkin.kernels.crystal.lattice_search import find_crystal
from stemkin.kernels.crystal.waves import waves_of
from stemkin.simulation import simulate_movie, truth_of
from stemkin.simulation.reader import expected_image


def draw(lattice, shape, *, amplitudes=(100.0, 20.0), sd_px=1.5):
    """Draw Gaussian columns on every site (those beyond the edge included)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    reach = 30
    big = (shape[0] + 2 * reach, shape[1] + 2 * reach)
    moved = honeycomb(
        lattice.spacing_px, angle_deg=lattice.angle_deg, metal=tuple(lattice.metal + reach)
    )
    for sublattice, amplitude in zip((METAL, CHALCOGEN), amplitudes, strict=True):
        for cy, cx in sites(moved, big, sublattice) - reach:
            rows = slice(max(0, int(cy) - 8), max(0, int(cy) + 9))
            cols = slice(max(0, int(cx) - 8), max(0, int(cx) + 9))
            r2 = (y[rows, cols] - cy) ** 2 + (x[rows, cols] - cx) ** 2
            image[rows, cols] += amplitude * np.exp(-r2 / (2 * sd_px**2))
    return image.astype(np.float32)


def test_coordinates_of_a_point_by_hand():
    lattice = honeycomb(10.0, metal=(5.0, 7.0))
    u, v, sublattice = lattice_coordinates(
        lattice, np.array([[5.0, 17.0], [5.0 + 10 / np.sqrt(12), 12.0]])
    )
    assert np.allclose(u, [1, 1 / 3])
    assert np.allclose(v, [0, 1 / 3])
    assert sublattice.tolist() == [METAL, CHALCOGEN]


def test_vectors_enclose_sixty_degrees_and_the_bond_is_a_third_of_their_sum():
    lattice = honeycomb(9.0, angle_deg=21.0)
    assert np.degrees(np.arccos(lattice.a1 @ lattice.a2 / 81.0)) == pytest.approx(60)
    assert np.allclose(lattice.bond, (lattice.a1 + lattice.a2) / 3)
    assert lattice.reciprocal @ lattice.a1 == pytest.approx([1, 0])


def test_sites_are_as_many_as_the_cells_of_the_frame():
    lattice = honeycomb(8.0, angle_deg=13.0)
    for sublattice in (METAL, CHALCOGEN):
        assert len(sites(lattice, (200, 240), sublattice)) == pytest.approx(
            200 * 240 / (64 * np.sqrt(0.75)), rel=0.02
        )


def test_nearest_site_is_a_site():
    lattice = honeycomb(8.0, angle_deg=13.0, metal=(3.0, 1.0))
    points = np.random.default_rng(0).uniform(0, 60, (50, 2))
    _, _, sublattice = lattice_coordinates(lattice, points)
    found = nearest_site(lattice, points, sublattice)
    assert np.linalg.norm(found - points, axis=1).max() <= 8.0 / np.sqrt(3)
    u, v, again = lattice_coordinates(lattice, found)
    assert (again == sublattice).all()
    assert np.allclose(3 * u, np.round(3 * u))
    assert np.allclose(3 * v, np.round(3 * v))


@pytest.mark.parametrize("spacing", [5.0, 10.51, 23.4])
@pytest.mark.parametrize("angle", [0.0, 7.3, 30.0, 59.0])
def test_a_lattice_of_any_rotation_and_pixel_size_is_found(spacing, angle):
    truth = honeycomb(spacing, angle_deg=angle, metal=(101.3, 97.6))
    frame = draw(truth, (200, 220), sd_px=0.15 * spacing)
    frame = np.random.default_rng(1).poisson(frame + 10).astype(np.float32)
    found = find_crystal(frame - frame.mean()).lattice
    assert found.is_honeycomb
    assert found.spacing_px == pytest.approx(spacing, rel=2e-3)
    for place, sublattice in ((found.metal, METAL), (found.chalcogen, CHALCOGEN)):
        miss = np.linalg.norm(nearest_site(truth, place, np.array([sublattice]))[0] - place)
        assert miss < 0.02 * spacing, f"{miss} px from a site"
    turn = (found.angle_deg - angle) % 120
    assert min(turn, 120 - turn) < 0.3, "the vectors point from metal to chalcogen"


def test_the_same_lattice_is_found_in_float32_and_float64():
    frame = draw(honeycomb(10.5, angle_deg=4.0), (128, 128))
    frame = np.random.default_rng(2).poisson(frame + 10).astype(np.float64)
    single = find_crystal((frame - frame.mean()).astype(np.float32)).lattice
    double = find_crystal(frame - frame.mean()).lattice
    assert np.allclose(single.a1, double.a1, atol=1e-3)
    assert np.allclose(single.metal, double.metal, atol=1e-2)


def test_noise_has_no_lattice():
    rng = np.random.default_rng(3)
    assert all(
        find_crystal(rng.normal(size=(128, 160)).astype(np.float32)) is None for _ in range(20)
    )


@pytest.mark.parametrize("edge", [48, 64, 96])
def test_small_frames_of_noise_have_no_lattice(edge):
    found = [
        find_crystal(np.random.default_rng(seed).normal(size=(edge, edge))) for seed in range(20)
    ]
    assert found == [None] * 20


@pytest.mark.parametrize("shape", [(8, 8), (15, 200), (16, 16)])
def test_a_frame_of_a_few_cells_has_no_lattice(shape):
    frame = draw(honeycomb(10.5), shape)
    assert find_crystal(frame - frame.mean()) is None


def test_a_constant_frame_has_no_lattice():
    assert find_crystal(np.zeros((64, 64), np.float32)) is None


def test_spectral_peaks_of_two_waves_by_hand():
    y, x = np.mgrid[:128, :128]
    frame = np.cos(2 * np.pi * (0.11 * y + 0.05 * x)) + 0.5 * np.cos(
        2 * np.pi * (0.20 * x - 0.07 * y)
    )
    frame = frame + 0.01 * np.random.default_rng(0).normal(size=frame.shape)
    found, power = fourier.spectral_peaks(frame)
    assert len(found) == 2
    assert power.min() > 100
    for wanted in [(0.11, 0.05), (-0.07, 0.20)]:
        assert (
            min(np.abs(found - wanted).max(axis=1).min(), np.abs(found + wanted).max(axis=1).min())
            < 2e-3
        )


def test_a_basis_is_reduced_to_the_shortest_vectors():
    assert fourier.reduce_basis(np.array([[1.0, 5.0], [0.0, 1.0]])).tolist() == [
        [0.0, 1.0],
        [1.0, 0.0],
    ]


def test_windows_around_the_nodes_add_up_to_one():
    waves = waves_of(np.array([[0.1, 0.0], [0.05, 0.0866]]), (101, 77))
    for window in waves.windows:
        assert np.allclose(window.sum(axis=0), 1)


def test_waves_whose_beats_do_not_fit_the_frame_are_told_apart():
    """By hand: three waves of known amplitude on a frame that holds 9.7 and 8.4 periods of them."""
    basis = np.array([[0.0, 9.7 / 101], [8.4 / 90, 4.6 / 101]])
    waves = waves_of(basis, (90, 101))
    true = np.zeros(len(waves.indices), complex)
    true[:4] = 7.0, 5 + 2j, -1 + 4j, 0.5 - 1j
    y, x = np.mgrid[:90, :101]
    phases = (
        2
        * np.pi
        * (y[..., None] * waves.frequencies[:, 0] + x[..., None] * waves.frequencies[:, 1])
    )
    frame = (true * np.exp(1j * phases)).sum(axis=2).real
    coupled = mean_amplitudes(line_sums(frame, waves), waves)
    found = decoupled(coupled, waves)
    assert np.abs(coupled - true).max() > 0.3
    assert np.abs(found - true).max() < 0.1 * np.abs(coupled - true).max()


def test_a_lattice_along_the_pixel_rows_is_not_displaced():
    """Rectangular windows leak most along their own axes: sites were off by 0.01 px in each, always
    in the same direction."""
    movie = simulate_movie(
        "paper",
        n_frames=2,
        shape=(256, 256),
        seed=1,
        rotation_deg=0.0,
        jitter_x_nm=0.0,
        jitter_y_nm=0.0,
    )
    defects = truth_of(movie).defects
    misses = []
    for number, frame in enumerate(movie.reader.read(0, 2).astype(np.float32)):
        true = defects.loc[
            (defects["frame"] == number) & (defects["kind"] == "Mo_W"), ["y", "x"]
        ].to_numpy()
        lattice = find_crystal(frame - frame.mean()).lattice
        misses.append(nearest_site(lattice, true, np.full(len(true), METAL)) - true)
    assert np.abs(np.concatenate(misses).mean(axis=0)).max() < 0.006


def test_a_perfect_crystal_leaves_only_noise():
    movie = simulate_movie(
        "null", n_frames=1, shape=(256, 256), seed=3, rotation_deg=9.0, contamination=0.0
    )
    rest = residual.remove_crystal(movie.reader.read(0, 1)[0].astype(np.float32))
    assert np.std(rest.noise_units) == pytest.approx(1, abs=0.02)
    assert np.std(rest.snr) == pytest.approx(0.97, abs=0.04), (
        "the fit takes a little of the noise with it"
    )
    assert np.abs(rest.snr).max() < 5.5


def test_the_jitter_of_scan_lines_is_measured():
    movie = simulate_movie(
        "null", n_frames=1, shape=(256, 256), seed=3, rotation_deg=9.0, jitter_x_nm=0.012
    )
    frame = movie.reader.read(0, 1)[0].astype(np.float32)
    found = residual.remove_crystal(frame).jitter[:, 1]
    steady = simulate_movie(
        "null", n_frames=1, shape=(256, 256), seed=3, rotation_deg=9.0, jitter_x_nm=0.0
    )
    assert np.std(found) == pytest.approx(0.4, rel=0.15)
    assert (
        np.std(residual.remove_crystal(steady.reader.read(0, 1)[0].astype(np.float32)).jitter[:, 1])
        < 0.05
    )


def test_a_distorted_scan_is_followed():
    """Columns and rows are displaced by several pixels, as by a flyback; sites are still where the
    atoms are."""
    truth = honeycomb(10.5, angle_deg=5.0, metal=(100.0, 100.0))
    straight = draw(truth, (256, 300))
    y, x = np.mgrid[:256, :256].astype(float)
    moved_x, moved_y = 5 * np.sin(x / 70), 3 * np.cos(y / 90)
    from scipy.ndimage import map_coordinates

    frame = map_coordinates(
        straight, [y - moved_y + 3, x - moved_x + 20], order=3, mode="nearest"
    ).astype(np.float32)
    frame = np.random.default_rng(0).poisson(np.maximum(frame, 0) + 5).astype(np.float32)
    found = find_crystal(frame - frame.mean()).lattice
    seen = sites(found, frame.shape, METAL)
    seen = seen[((seen > 20) & (seen < 235)).all(axis=1)]
    back = np.stack(
        [
            seen[:, 0] - 3 * np.cos(seen[:, 0] / 90) + 3,
            seen[:, 1] - 5 * np.sin(seen[:, 1] / 70) + 20,
        ],
        axis=1,
    )
    miss = back - nearest_site(truth, back, np.zeros(len(back), int))
    assert np.sqrt((miss**2).mean()) < 0.25


def test_bending_and_unbending_are_inverse():
    lattice = honeycomb(10.0)
    rows, columns = (
        np.stack([np.sin(np.arange(80) / 20 + i), np.cos(np.arange(80) / 25)], axis=1)
        for i in (0, 1)
    )
    lattice = type(lattice)(
        lattice.a1, lattice.a2, lattice.metal, lattice.chalcogen, 9.0, scan=(rows, columns)
    )
    points = np.random.default_rng(0).uniform(5, 70, (40, 2))
    assert np.abs(bent(lattice, unbent(lattice, points)) - points).max() < 0.06


def test_a_fragment_that_turned_keeps_its_own_lattice_and_a_hole_is_vacuum():
    lattice = honeycomb(10.5, angle_deg=3.0)
    straight = draw(lattice, (256, 256))
    turned = draw(honeycomb(10.5, angle_deg=18.0), (256, 256))
    y, x = np.mgrid[:256, :256]
    fragment, hole = np.hypot(y - 80, x - 90) < 45, np.hypot(y - 190, x - 190) < 35
    frame = np.where(hole, 0, np.where(fragment, turned, straight))
    frame = np.random.default_rng(0).poisson(frame + 5).astype(np.float32)
    rest = residual.remove_crystal(frame)
    assert len(rest.grains) == 2
    turns = [(grain.lattice.angle_deg + 60) % 120 - 60 for grain in rest.grains]
    assert turns == pytest.approx([3.0, 18.0], abs=0.5)
    assert rest.grains[0].mask[hole].mean() < 0.1
    assert rest.grains[1].mask[fragment].mean() > 0.8
    assert rest.areas[0] == pytest.approx(1 - hole.mean(), abs=0.06)
    assert not rest.snr[np.hypot(y - 190, x - 190) < 30].any(), "nothing is sought in a hole"


def mean_unit_cell(frame, lattice, *, n):
    """(n, n) mean intensity around u = i / n, v = j / n: all cells averaged where their pixels
    are."""
    u, v = coordinates(lattice, frame.shape)
    cell = (np.rint(u * n).astype(int) % n) * n + np.rint(v * n).astype(int) % n
    return (np.bincount(cell, weights=frame.ravel()) / np.bincount(cell)).reshape(n, n)


def tiled(cell, lattice, shape):
    """Draw the crystal whose unit cell is `cell` (n, n), bilinear in between."""
    n = len(cell)
    u, v = (c * n for c in coordinates(lattice, shape))
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    su, sv = u - i, v - j
    corners = (
        (0, 0, (1 - su) * (1 - sv)),
        (0, 1, (1 - su) * sv),
        (1, 0, su * (1 - sv)),
        (1, 1, su * sv),
    )
    return sum(w * cell[(i + di) % n, (j + dj) % n] for di, dj, w in corners).reshape(shape)


def coordinates(lattice, shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    u, v, _ = lattice_coordinates(lattice, np.stack([y.ravel(), x.ravel()], axis=1))
    return u, v


def test_the_crystal_drawn_from_its_reflections_is_that_of_its_averaged_unit_cells():
    """Each drawn from a noisy frame with a missing column; both are the crystal as it was without
    noise or defect."""
    movie = simulate_movie(
        "null",
        n_frames=1,
        shape=(256, 256),
        seed=3,
        rotation_deg=9.0,
        contamination=0.0,
        jitter_x_nm=0.0,
    )
    frame = movie.reader.read(0, 1)[0].astype(np.float32)
    whole = expected_image(movie.reader.settings, 0) * 20 + 200
    found = find_crystal(frame - frame.mean())
    gone = nearest_site(found.lattice, np.array([[128.0, 128.0]]), np.array([METAL]))[0]
    y, x = np.mgrid[:256, :256]
    frame -= (
        0.9 * (whole.max() - whole.min()) * np.exp(-((y - gone[0]) ** 2 + (x - gone[1]) ** 2) / 5)
    ).astype(np.float32)
    cell = mean_unit_cell(frame, found.lattice, n=24)
    mean = frame.mean()
    lines = line_sums(frame - mean, found.waves)
    amplitudes = mean_amplitudes(lines, found.waves) * ~found.waves.is_background
    reflections = mean + draw_mean(amplitudes, found.waves, frame)
    for drawn in (reflections, tiled(cell, found.lattice, frame.shape)):
        assert np.sqrt(np.mean((drawn - whole) ** 2)) < 0.06 * whole.std()
    assert cell[8, 8] > cell[16, 16], (
        "the chalcogen column is at (1/3, 1/3), the hollow at (2/3, 2/3)"
    )
    assert cell.argmax() == 0, "the metal column is at (0, 0)"
