"""Extrema of a signal-to-noise map, and the list of defects made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels import defects, filters, peaks, sites
from stemkin.kernels.lattice import honeycomb


def spot(shape, y, x, height, sd=1.5):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sd**2))).astype(np.float32)


def test_one_dark_and_one_bright_extremum_by_hand():
    snr = np.zeros((7, 7), np.float32)
    snr[2, 3], snr[5, 1] = 9, -7
    y, x, score = peaks.extrema(snr, threshold=5)
    assert (y.tolist(), x.tolist(), score.tolist()) == ([2, 5], [3, 1], [9, -7])


def test_an_extremum_is_refined_below_one_pixel():
    y, x, _ = peaks.extrema(spot((21, 21), 10.3, 9.6, 8), threshold=5)
    assert (y[0], x[0]) == pytest.approx((10.3, 9.6), abs=0.03)


def test_two_equal_pixels_are_one_extremum():
    snr = np.zeros((6, 6), np.float32)
    snr[2, 2] = snr[2, 3] = 9
    assert len(peaks.extrema(snr, threshold=5)[0]) == 1


def test_the_edge_is_left_out():
    snr = np.zeros((6, 6), np.float32)
    snr[0, 3] = snr[5, 5] = 9
    assert len(peaks.extrema(snr, threshold=5)[0]) == 0


def test_no_extremum_gives_empty_arrays_and_not_nan():
    for values in peaks.extrema(np.zeros((5, 5), np.float32), threshold=1):
        assert values.shape == (0,)


def test_the_stronger_of_two_close_extrema_stays():
    y, x, score = np.array([5.0, 5.0, 20.0]), np.array([5.0, 7.0, 20.0]), np.array([-6.0, 9.0, 5.0])
    assert peaks.merge(y, x, score, min_distance_px=3).tolist() == [1, 2]


def test_ringing_around_a_strong_defect_is_not_a_defect():
    y, x = np.array([5.0, 9.0]), np.array([5.0, 5.0])
    assert peaks.merge(y, x, np.array([-30.0, 6.0]), min_distance_px=3).tolist() == [0]
    assert peaks.merge(y, x, np.array([-9.0, 6.0]), min_distance_px=3).tolist() == [0, 1]


@given(st.integers(0, 40), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_merging_does_not_depend_on_the_order_of_rows(n, random):
    rng = np.random.default_rng(random.randrange(2**32))
    y, x, score = rng.uniform(0, 30, n), rng.uniform(0, 30, n), rng.normal(0, 9, n)
    kept = peaks.merge(y, x, score, min_distance_px=3)
    order = rng.permutation(n)
    again = order[peaks.merge(y[order], x[order], score[order], min_distance_px=3)]
    assert sorted(again) == kept.tolist()


@pytest.mark.parametrize("asked", [0.3, 3.0])
def test_noise_gives_as_many_extrema_as_asked_for(asked):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        snr = filters.matched_snr(rng.normal(size=(128, 128)).astype(np.float32), np.ones((128, 128), np.float32), 1.5)
        found.append(len(defects.anywhere(snr, 1.5, false_positives=asked)[0]))
    assert np.mean(found) == pytest.approx(asked, rel=0.5)


def test_noise_gives_as_many_defects_at_sites_as_asked_for():
    rng, lattice = np.random.default_rng(1), honeycomb(10.0, angle_deg=11.0)
    ones = np.ones((200, 200), np.float32)
    found = [
        len(
            defects.on_lattices(
                filters.matched_snr(rng.normal(size=ones.shape).astype(np.float32), ones, 1.5),
                [(lattice, None)],
                false_positives=3.0,
            )[0]
        )
        for _ in range(40)
    ]
    assert np.mean(found) == pytest.approx(3.0, rel=0.5)


def test_a_weak_signal_is_seen_at_a_site_and_not_between_sites():
    lattice = honeycomb(10.0, metal=(30.0, 30.0))
    at_site = spot((64, 64), *lattice.chalcogen, -3.4)
    between = spot((64, 64), *(lattice.metal - lattice.bond), -3.4)  # the hollow of the honeycomb
    assert len(defects.on_lattices(at_site, [(lattice, None)], false_positives=1.0)[0]) == 1
    assert len(defects.on_lattices(between, [(lattice, None)], false_positives=1.0)[0]) == 0


def test_a_bright_adatom_in_the_hollow_is_found():
    lattice = honeycomb(10.0, metal=(30.0, 30.0))
    hollow = lattice.metal - lattice.bond
    y, x, score, site = defects.on_lattices(spot((64, 64), *hollow, 12), [(lattice, None)], false_positives=1.0)
    assert (y[0], x[0]) == pytest.approx(tuple(hollow), abs=0.1)
    assert score[0] > 11
    assert np.isnan(site).all(), "it has no site"


def test_cubic_interpolation_agrees_with_scipy():
    from scipy.ndimage import map_coordinates

    rows, columns = np.mgrid[:40, :40]
    image = np.sin(rows / 5) * np.cos(columns / 6)
    points = np.random.default_rng(0).uniform(4, 35, (100, 2))
    assert np.allclose(sites.interpolate(image, points), map_coordinates(image, points.T, order=3), atol=2e-3)


def test_a_matched_filter_has_unit_noise_and_the_signal_of_theory():
    rng = np.random.default_rng(0)
    noise = filters.matched_snr(
        rng.normal(0, 3, (200, 200)).astype(np.float32), np.full((200, 200), 1 / 9, np.float32), 1.5
    )
    assert np.std(noise) == pytest.approx(1, abs=0.05)
    signal = filters.matched_snr(spot((41, 41), 20, 20, 6), np.full((41, 41), 1 / 9, np.float32), 1.5)
    assert signal[20, 20] == pytest.approx(6 / 3 * np.sqrt(np.pi) * 1.5, rel=0.01)


def test_a_gaussian_agrees_with_scipy():
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).normal(size=(70, 51))
    inner = (slice(20, -20), slice(20, -20))
    assert np.allclose(filters.gaussian(image, 3.0)[inner], gaussian_filter(image, 3.0)[inner], atol=1e-4)
    assert np.allclose(filters.gaussian(np.ones((9, 40)), 6.0), 1), "edges are normalised"


def test_a_large_bright_blob_beside_a_site_is_found():
    lattice = honeycomb(16.0, metal=(64.0, 64.0))
    y, x, score, _ = defects.on_lattices(
        spot((128, 128), 66.5, 61.5, 20, sd=5.0), [(lattice, None)], false_positives=1.0
    )
    best = np.argmax(score)
    assert (y[best], x[best]) == pytest.approx((66.5, 61.5), abs=0.6)


def test_a_heavy_tail_on_one_side_raises_the_threshold_of_that_side():
    rng = np.random.default_rng(0)
    snr = filters.gaussian(rng.exponential(size=(200, 200)) ** 2, 1.5)
    snr = (snr - snr.mean()) / snr.std()
    found = len(defects.anywhere(snr, 1.5, false_positives=1.0)[0])
    plain = len(peaks.extrema(snr, threshold=peaks.threshold_for(1.0, (200, 200), 1.5))[0])
    assert found < plain / 2


def test_a_weak_defect_is_placed_near_its_site_and_a_strong_one_where_it_is_seen():
    site = np.array([[10.0, 10.0], [30.0, 30.0], [np.nan, np.nan], [50.0, 50.0]])
    y, x, score = np.array([10.4, 30.1, 20.3, 53.0]), np.array([10, 30, 20, 50.0]), np.array([-4.0, -100, 9, -6])
    y, _, _ = defects.towards_sites(y, x, score, site, filter_sd_px=1.5, spread_px=0.2)
    assert 10.0 < y[0] < 10.1, "noise of 0.5 px against a lattice known to 0.2 px"
    assert y[1] == pytest.approx(30.1, abs=0.01)
    assert y[2] == pytest.approx(20.3), "no site"
    assert y[3] == pytest.approx(53.0), "too far from its site to belong there"
