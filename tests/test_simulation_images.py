"""What a simulated frame looks like: columns, reflections, counts, scan, bad frames. Tolerances
follow from statistics."""

import math
import pickle
import time
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb, sites
from stemkin.kernels.crystal.rendering import (
    ROW_BITS,
    Probe,
    Scan,
    add_columns,
    column_factors,
    crystal_waves,
    on_grid,
    row_factors,
)
from stemkin.kernels.images.ideal import best_recall, cramer_rao_sd, detectability
from stemkin.kernels.images.shotnoise import (
    N_LEVELS,
    STEP,
    WIDTH,
    _integer_probabilities,
    alias_tables,
    poisson_counts,
)
from stemkin.schedulers.clients import connect
from stemkin.simulation import PRESETS, expected_image, simulate_movie, truth_of
from stemkin.simulation.crystal import crystal_of
from stemkin.simulation.scanning import scan_of
from tests.strategies import computes, time_chunkings

QUIET = {
    "jitter_x_nm": 0.0, "jitter_y_nm": 0.0, "frame_flicker": 0.0, "line_flicker": 0.0, "drift_y_nm_per_frame": 0.0,
    "drift_x_nm_per_frame": 0.0, "wander_nm": 0.0, "contamination": 0.0,
}  # fmt: skip
"""Nothing moves and nothing flickers."""


# -- kernels


def factors(frequencies, amplitudes, y, *, width):
    """The two factors whose matrix product is the sum of plane waves on rows at `y` that start at
    0."""
    rows = row_factors(frequencies, amplitudes, y, np.zeros(len(y)))
    return on_grid(rows, ROW_BITS), column_factors(frequencies, width)


def test_a_perfect_crystal_is_the_sum_of_its_columns():
    lattice = honeycomb(10.3, angle_deg=13.0, metal=(20.2, 19.7))
    probe = Probe(1.6, tail_fraction=0.2, tail_sd_px=3.0)
    y, x = np.mgrid[:40, :40].astype(float)
    direct = np.zeros((40, 40))
    for sublattice, weight in ((METAL, 100.0), (CHALCOGEN, 15.0)):
        wide = honeycomb(10.3, angle_deg=13.0, metal=(20.2 + 100, 19.7 + 100))
        for py, px in sites(wide, (240, 240), sublattice) - 100:
            direct += weight * probe.profile(y - py, x - px)
    frequencies, amplitudes = crystal_waves(lattice, (100.0, 15.0), probe)
    rows, columns = factors(frequencies, amplitudes, np.arange(40.0), width=40)
    np.testing.assert_allclose(rows @ columns, direct, rtol=1e-4)


def test_a_frame_is_the_same_to_the_last_bit_in_whatever_order_its_terms_are_added():
    frequencies, amplitudes = crystal_waves(
        honeycomb(10.3, angle_deg=13.0), (100.0, 15.0), Probe(1.6)
    )
    rows, columns = factors(frequencies, amplitudes, np.arange(16.0) + 0.123, width=16)
    product = rows @ columns
    order = np.random.default_rng(0).permutation(rows.shape[1])
    assert (
        np.ascontiguousarray(rows[:, order]) @ np.ascontiguousarray(columns[order]) == product
    ).all()
    exact = [[math.fsum((rows[i] * columns[:, j]).tolist()) for j in range(16)] for i in range(16)]
    assert (np.array(exact) == product).all()


def test_a_column_is_drawn_where_its_row_was_scanned():
    probe, image = Probe(1.5, 0.2, 3.0), np.zeros((31, 31))
    rng = np.random.default_rng(1)
    row_y, row_x0 = np.arange(31) + rng.normal(0, 0.1, 31), rng.normal(0, 0.1, 31)
    add_columns(
        image,
        np.array([15.3]),
        np.array([14.6]),
        np.array([50.0]),
        probe,
        scan=Scan(row_y, row_x0, np.ones(31)),
    )
    wanted = 50.0 * probe.profile(row_y[:, None] - 15.3, np.arange(31) + row_x0[:, None] - 14.6)
    np.testing.assert_allclose(image, wanted, atol=2e-4 * wanted.max())


def test_columns_at_the_edge_and_outside_cost_nothing_and_add_only_what_is_seen():
    probe, image = Probe(1.5), np.zeros((8, 8))
    y, x = np.array([0.0, -50.0]), np.array([7.4, 3.0])
    add_columns(image, y, x, np.ones(2), probe, scan=Scan(np.arange(8.0), np.zeros(8), np.ones(8)))
    wanted = probe.profile(np.arange(8.0)[:, None], np.arange(8.0) - 7.4)
    np.testing.assert_allclose(image, wanted, atol=2e-4 * wanted.max())


def test_alias_tables_hold_exactly_the_poisson_probabilities():
    packed, first = alias_tables()
    weights = _integer_probabilities(STEP * np.arange(N_LEVELS), first)
    threshold, alias = (
        (packed >> 8).astype(np.int64).reshape(-1, WIDTH),
        (packed & 255).astype(np.int64).reshape(-1, WIDTH),
    )
    back = threshold.copy()
    for level in range(N_LEVELS):
        np.add.at(back[level], alias[level], (1 << 24) - threshold[level])
    assert (back == weights).all()
    assert (weights.sum(axis=1) == 1 << 32).all()


@pytest.mark.parametrize("mean", [0.0, 0.1, 3.1, 20.6, 127.9, 128.1, 255.99, 700.0])
def test_counts_are_poisson(mean):
    from scipy.stats import chi2, poisson

    n = 200_000
    counts = poisson_counts(np.full(n, mean), np.random.Generator(np.random.SFC64(int(mean * 10))))
    values = np.arange(counts.max() + 2)
    expected = n * poisson.pmf(values, mean)
    seen = np.bincount(counts, minlength=len(values))
    common = expected > 10
    statistic = ((seen - expected)[common] ** 2 / expected[common]).sum()
    assert statistic <= chi2.isf(1e-5, common.sum())
    assert (~common @ seen) <= poisson.isf(1e-6, n - expected[common].sum())


def test_counts_follow_a_mixed_frame_of_means_and_the_seed():
    means = np.random.default_rng(2).gamma(0.5, 200.0, (300, 70))
    draws = [poisson_counts(means, np.random.Generator(np.random.SFC64(s))) for s in range(50)]
    z = (np.mean(draws, axis=0) - means) / np.sqrt(np.maximum(means, 1e-9) / 50)
    assert abs(z[means > 1].mean()) < 4 / np.sqrt((means > 1).sum())
    assert (poisson_counts(means, np.random.Generator(np.random.SFC64(3))) == draws[3]).all()
    assert (
        poisson_counts(np.full((3, 5), -1e-9), np.random.Generator(np.random.SFC64(0))) == 0
    ).all()


# -- counts and contrast


def test_counts_have_the_expected_mean_and_a_poisson_variance():
    movie = simulate_movie(
        "frozen", n_frames=400, shape=(32, 32), gain=1.0, offset=0.0, read_noise=0.0, **QUIET
    )
    frames = movie.reader.read(0, 400).astype(float)
    means = expected_image(movie.reader.settings, 0)
    z = (frames.mean(axis=0) - means) / np.sqrt(means / 400)
    n = z.size
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / n)
    fano = (
        frames.var(axis=0, ddof=1) / means
    )  # sd of a sample variance of m Poisson counts, relative: sqrt(2/(m-1) + 1/(m mu))
    sd = np.sqrt(2 / 399 + 1 / (400 * means))
    assert abs(((fano - 1) / sd).mean()) < 4 / np.sqrt(n)


def test_gain_offset_and_read_noise_do_what_they_say():
    movie = simulate_movie(
        "null", n_frames=60, shape=(64, 64), gain=20.0, offset=300.0, read_noise=30.0, **QUIET
    )
    frames, means = (
        movie.reader.read(0, 60).astype(float),
        expected_image(movie.reader.settings, 0),
    )
    variance = 400 * means + 900 + 1 / 12  # counts, read noise, rounding
    z = (frames - (20 * means + 300)) / np.sqrt(variance)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2.2 / z.size)


def test_a_missing_atom_takes_away_exactly_its_electrons():
    base = PRESETS["null"].with_values(shape=(256, 256), relaxation_nm=0.0, **QUIET)
    counts = {Z: base.counts_px2(Z) for Z in (16, 42, 74)}
    assert counts[16] / counts[74] == pytest.approx((16 / 74) ** 1.7)
    base = base.with_values(n_frames=1, seed=4)
    perfect = expected_image(base, 0)
    for changes, per_defect in (
        ({"vacancy_fraction": 0.03}, -counts[16]),
        ({"dopant_fraction": 0.03}, counts[42] - counts[74]),
    ):
        some = base.with_values(**changes)
        truth = truth_of(simulate_movie(some)).defects
        edge = 14
        inner = truth[
            truth[["y", "x"]].min(axis=1).gt(edge) & truth[["y", "x"]].max(axis=1).lt(255 - edge)
        ]
        outer = len(truth) - len(inner)
        assert len(inner) >= 10
        total = (expected_image(some, 0) - perfect).sum() / per_defect
        assert (
            len(inner) * (1 - 2e-3) <= total <= len(inner) * (1 + 2e-3) + outer + 2
        )  # 2: those just outside the frame


def test_the_mean_of_a_crystal_is_its_cells_electrons():
    base = PRESETS["null"].with_values(shape=(256, 256), background_fraction=0.0, **QUIET)
    cell = math.sqrt(3) / 2 * base.material.a_nm**2 / base.instrument.pixel_size_nm**2
    wanted = (base.counts_px2(74) + 2 * base.counts_px2(16)) / cell
    assert expected_image(base, 0).mean() == pytest.approx(
        wanted, rel=0.01
    )  # the frame cuts cells: < 1 in 100 at its edge


@settings(max_examples=12)
@given(angle=st.floats(-180, 180), material=st.sampled_from(["WS2", "MoS2", "WSe2", "graphene"]))
def test_the_spectrum_peaks_at_the_reciprocal_lattice_for_any_rotation(angle, material):
    movie = simulate_movie(
        "null", n_frames=1, shape=(256, 256), rotation_deg=angle, material=material, **QUIET
    )
    image = expected_image(movie.reader.settings, 0)
    window = np.hanning(256)[:, None] * np.hanning(256)
    y, x = np.mgrid[:256, :256]
    lattice = crystal_of(movie.reader.settings).lattice

    def strength(g):
        return abs(
            (window * (image - image.mean()) * np.exp(-2j * np.pi * (g[0] * y + g[1] * x))).sum()
        )

    spacing_nm = movie.reader.settings.material.a_nm
    turned = np.radians(
        angle + np.array([90.0, 30.0])
    )  # reciprocal vectors stand 30 degrees off the lattice's
    for direction in turned:
        length = 2 / (math.sqrt(3) * spacing_nm) * 0.03
        g = length * np.array([np.sin(direction), np.cos(direction)])
        peak = strength(g)
        around = [strength(g + d) for d in 0.004 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])]
        assert peak > 1.3 * max(around)
        assert (
            np.abs(lattice.reciprocal @ np.array([lattice.a1, lattice.a2]).T - np.eye(2)).max()
            < 1e-9
        )


# -- the scan


def test_a_drift_of_whole_pixels_moves_the_image_by_whole_pixels():
    still = simulate_movie("frozen", n_frames=3, shape=(96, 96), **QUIET).reader.settings
    moving = still.with_values(drift_y_nm_per_frame=2 * 0.03, drift_x_nm_per_frame=-0.03)
    first, third = expected_image(still, 0), expected_image(moving, 2)
    np.testing.assert_allclose(
        third[20:-20, 20:-20], np.roll(first, (4, -2), (0, 1))[20:-20, 20:-20], atol=2e-2
    )


def test_each_line_is_displaced_by_its_own_jitter():
    jittery = PRESETS["null"].with_values(shape=(64, 64), **{**QUIET, "jitter_x_nm": 0.02})
    still = PRESETS["null"].with_values(shape=(64, 64), **QUIET)
    shifts = scan_of(jittery, 0).row_x0
    assert 0.3 < shifts.std() / (0.02 / 0.03) < 1.7
    image, moved = expected_image(still, 0), expected_image(jittery, 0)
    frequency = np.fft.rfftfreq(64)
    for row in (10, 30, 50):
        window = np.hanning(64)
        spectrum, own = np.fft.rfft(window * image[row]), np.fft.rfft(window * moved[row])
        k = 4 + np.abs(spectrum[4:]).argmax()  # the crystal's own period, not the window's
        angle = np.angle(own[k] / spectrum[k]) / (2 * np.pi * frequency[k])
        assert angle == pytest.approx(shifts[row], abs=0.1)


def test_flicker_and_contamination_change_the_intensity():
    base = PRESETS["null"].with_values(n_frames=40, shape=(64, 64), **QUIET)
    flicker = base.with_values(frame_flicker=0.1)
    means = [expected_image(flicker, k).mean() for k in range(30)]
    assert 0.04 < np.std(means) / np.mean(means) < 0.2
    dirty = base.with_values(contamination=0.3)
    extra = expected_image(dirty, 39) - expected_image(base, 39)
    grown = 1 - math.exp(-39 * 2.25 / dirty.instrument.contamination_time_s)
    assert (extra > -1e-3).all()
    assert extra.max() <= 0.3 * expected_image(base, 39).mean() * grown * 1.02
    assert expected_image(dirty, 0) == pytest.approx(expected_image(base, 0), abs=1e-4)


def test_bad_frames_are_where_they_were_asked_for_and_look_bad():
    movie = simulate_movie(
        "paper",
        n_frames=10,
        shape=(64, 64),
        blank_frames=(2,),
        saturated_frames=(5,),
        truncated_frames=(-1,),
    )
    status = truth_of(movie).frames["status"].tolist()
    assert [status[k] for k in (2, 5, 9)] == ["blank", "saturated", "truncated"]
    assert status.count("ok") == 7
    frames = movie.reader.read(0, 10)
    assert frames[2].std() < 1.5 * 10 < frames[0].std()
    assert (frames[5] == 65535).all()
    assert (frames[9, 32:] == 0).all()
    assert frames[9, :32].min() > 0


def test_frames_go_bad_by_chance_as_often_as_said():
    movie = simulate_movie("paper", n_frames=400, shape=(64, 64), bad_frame_probability=0.2)
    from stemkin.simulation.bad_frames import statuses

    n_bad = 400 - statuses(movie.reader.settings, 0, 400).count("ok")
    assert abs(n_bad - 80) < 4 * math.sqrt(400 * 0.2 * 0.8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_frames_have_the_type_that_was_asked_for(dtype):
    frames = simulate_movie(
        "paper", n_frames=2, shape=(64, 64), dtype=dtype, gain=1.0, offset=10.0, read_noise=1.0
    ).reader.read(0, 2)
    assert frames.dtype == dtype
    assert frames.std() > 1


# -- any chunking, any length


@given(chunks=time_chunkings(n_frames=12))
def test_bits_do_not_depend_on_chunking(paper_movie, paper_frames, chunks):
    edges = np.cumsum([0, *chunks])
    parts = [paper_movie.reader.read(a, b) for a, b in pairwise(edges.tolist())]
    assert (np.concatenate(parts) == paper_frames).all()


def test_making_a_movie_and_its_dask_array_computes_nothing(paper_movie):
    with computes(at_most=0):
        movie = simulate_movie("long", n_frames=10**6)
        assert movie.to_dask(frames_per_block=1000).shape == (10**6, 512, 512)
    assert len(pickle.dumps(movie)) < 5000


@pytest.mark.equality
@pytest.mark.cluster
def test_every_scheduler_gives_the_same_bits(paper_movie, paper_frames, two_processes):
    for place in ("synchronous", "threads", two_processes):
        with connect(place):
            found = paper_movie.to_dask(frames_per_block=5).compute()
        assert (found == paper_frames).all(), place


def test_a_longer_movie_begins_with_the_same_frames(paper_movie, paper_frames):
    longer = simulate_movie("paper", n_frames=40, shape=(160, 160), seed=1)
    assert (longer.reader.read(0, 12) == paper_frames).all()
    other = simulate_movie("paper", n_frames=12, shape=(160, 160), seed=8)
    assert (other.reader.read(0, 12) != paper_frames).any()
    assert paper_movie.reader.identity != other.reader.identity


def test_a_copy_sent_to_another_process_reads_the_same(paper_movie, paper_frames):
    copy = pickle.loads(pickle.dumps(paper_movie.reader))
    assert (copy.read(3, 5) == paper_frames[3:5]).all()
    assert copy.identity == paper_movie.reader.identity


def test_a_movie_of_a_terabyte_opens_at_once_and_any_frame_is_near():
    start = time.process_time()
    movie = simulate_movie("paper", n_frames=2_000_000)
    assert np.prod(movie.shape) * movie.reader.dtype.itemsize > 1e12
    opened_s = time.process_time() - start
    start = time.process_time()
    assert movie.reader.read(1_999_990, 1_999_991).std() > 0
    assert (opened_s, time.process_time() - start) < (1.0, 20.0)


def test_a_frame_reads_alike_from_either_side_of_an_areas_border():
    movie = simulate_movie("paper", n_frames=30, shape=(64, 64), area_frames=10)
    whole = movie.reader.read(0, 30)
    assert (np.concatenate([movie.reader.read(a, a + 6) for a in range(0, 30, 6)]) == whole).all()
    particles = (
        truth_of(movie).defects.groupby(truth_of(movie).defects["frame"] // 10)["particle"].agg(set)
    )
    assert not (particles[0] & particles[1])


def test_an_empty_range_of_frames_reads_as_no_frames(paper_movie):
    assert paper_movie.reader.read(4, 4).shape == (0, 160, 160)


def test_the_movie_is_a_dask_array_of_whole_frames(paper_movie):
    assert isinstance(paper_movie.frames, da.Array)
    assert paper_movie.frames.chunks[1:] == ((160,), (160,))


# -- what an ideal observer reaches


def test_detectability_by_hand():
    flat, spot = np.full((3, 3), 4.0), np.full((3, 3), 4.0)
    spot[1, 1] = 10.0
    assert detectability(flat, spot) == pytest.approx(3.0)
    assert detectability(flat, spot, read_variance=5.0) == pytest.approx(2.0)


def test_the_bound_of_a_gaussian_spots_place_is_its_width_over_the_root_of_its_counts():
    y, x = np.mgrid[-20:21, -20:21].astype(float)
    mean = 400 * Probe(2.0).profile(y, x)
    gradients = np.stack([mean * y / 4, mean * x / 4])
    np.testing.assert_allclose(cramer_rao_sd(gradients, mean), 2.0 / np.sqrt(400), rtol=1e-3)


def test_one_false_positive_per_frame_needs_the_detectability_of_the_literature():
    assert best_recall(5.0, n_sites=2700) == pytest.approx(0.95, abs=0.005)
    assert best_recall(5.7, n_sites=2700) == pytest.approx(0.99, abs=0.003)


def test_a_vacancy_on_a_lone_column_is_seen_as_well_as_its_counts_allow():
    sharp = PRESETS["paper"].with_values(
        probe_sd_nm=0.03, source_sd_nm=0.0, tail_fraction=0.0, background_fraction=0.0, relaxation_nm=0.0, read_noise=0.0,
        pixel_size_nm=0.012, shape=(256, 256),
    )  # fmt: skip
    limits = (
        truth_of(simulate_movie(sharp))
        .limits.set_index(["kind", "against"])
        .loc[("V_S", "crystal")]
    )
    n = 2 * sharp.counts_px2(
        16
    )  # half of the column goes: d'^2 = n / 4, and half of the counts are left to place it by
    assert limits["d_prime"] == pytest.approx(np.sqrt(n / 4), rel=0.03)
    assert limits["sd_y_nm"] == pytest.approx(0.03 / np.sqrt(n / 2), rel=0.05)


def test_the_paper_preset_is_as_hard_as_the_paper():
    limits = truth_of(simulate_movie("paper")).limits
    vacancy = limits[(limits["kind"] == "V_S") & (limits["against"] == "crystal")].iloc[0]
    assert 7.5 < vacancy["d_prime"] < 8.5
    assert vacancy["sd_y_nm"] == pytest.approx(0.007, abs=0.001)
