"""Extrema of a signal-to-noise map, and the list of defects made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.lattice import METAL, honeycomb
from stemkin.kernels.detection import (
    defects,
    normalisation,
    placing,
    relaxation,
    site_scatter,
    sites,
    vacancies,
)
from stemkin.kernels.images import filters, interpolation


def spot(shape, y, x, height, sd=1.5):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sd**2))).astype(
        np.float32
    )


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
        snr = filters.matched_snr(
            rng.normal(size=(128, 128)).astype(np.float32), np.ones((128, 128), np.float32), 1.5
        )
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
            ).y
        )
        for _ in range(40)
    ]
    assert np.mean(found) == pytest.approx(3.0, rel=0.5)


def test_a_weak_signal_is_seen_at_a_site_and_not_between_sites():
    lattice = honeycomb(10.0, metal=(30.0, 30.0))
    at_site = spot((64, 64), *lattice.chalcogen, -3.4)
    between = spot((64, 64), *(lattice.metal - lattice.bond), -3.4)  # the hollow of the honeycomb
    assert len(defects.on_lattices(at_site, [(lattice, None)], false_positives=1.0).y) == 1
    assert len(defects.on_lattices(between, [(lattice, None)], false_positives=1.0).y) == 0


def test_a_bright_adatom_in_the_hollow_is_found():
    lattice = honeycomb(10.0, metal=(30.0, 30.0))
    hollow = lattice.metal - lattice.bond
    found = defects.on_lattices(spot((64, 64), *hollow, 12), [(lattice, None)], false_positives=1.0)
    assert (found.y[0], found.x[0]) == pytest.approx(tuple(hollow), abs=0.1)
    assert found.score[0] > 11
    assert np.isnan(found.site).all(), "it has no site"


def test_cubic_interpolation_agrees_with_scipy():
    from scipy.ndimage import map_coordinates

    rows, columns = np.mgrid[:40, :40]
    image = np.sin(rows / 5) * np.cos(columns / 6)
    points = np.random.default_rng(0).uniform(4, 35, (100, 2))
    assert np.allclose(
        interpolation.interpolate(image, points),
        map_coordinates(image, points.T, order=3),
        atol=2e-3,
    )


def test_a_matched_filter_has_unit_noise_and_the_signal_of_theory():
    rng = np.random.default_rng(0)
    noise = filters.matched_snr(
        rng.normal(0, 3, (200, 200)).astype(np.float32), np.full((200, 200), 1 / 9, np.float32), 1.5
    )
    assert np.std(noise) == pytest.approx(1, abs=0.05)
    signal = filters.matched_snr(
        spot((41, 41), 20, 20, 6), np.full((41, 41), 1 / 9, np.float32), 1.5
    )
    assert signal[20, 20] == pytest.approx(6 / 3 * np.sqrt(np.pi) * 1.5, rel=0.01)


def test_a_gaussian_agrees_with_scipy():
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).normal(size=(70, 51))
    inner = (slice(20, -20), slice(20, -20))
    assert np.allclose(
        filters.gaussian(image, 3.0)[inner], gaussian_filter(image, 3.0)[inner], atol=1e-4
    )
    assert np.allclose(filters.gaussian(np.ones((9, 40)), 6.0), 1), "edges are normalised"


def test_a_large_bright_blob_beside_a_site_is_found():
    lattice = honeycomb(16.0, metal=(64.0, 64.0))
    found = defects.on_lattices(
        spot((128, 128), 66.5, 61.5, 20, sd=5.0), [(lattice, None)], false_positives=1.0
    )
    best = np.argmax(found.score)
    assert (found.y[best], found.x[best]) == pytest.approx((66.5, 61.5), abs=0.6)


def test_a_heavy_tail_on_one_side_raises_the_threshold_of_that_side():
    rng = np.random.default_rng(0)
    snr = filters.gaussian(rng.exponential(size=(200, 200)) ** 2, 1.5)
    snr = (snr - snr.mean()) / snr.std()
    found = len(defects.anywhere(snr, 1.5, false_positives=1.0)[0])
    plain = len(peaks.extrema(snr, threshold=peaks.threshold_for(1.0, (200, 200), 1.5))[0])
    assert found < plain / 2


def found_at(site, y, x, score, lean=None):
    lean = np.zeros_like(site) if lean is None else lean
    score, site = np.asarray(score), np.asarray(site)
    group = site_scatter.groups_of(np.where(np.isfinite(site[:, 0]), METAL, -1), score)
    error = placing.seen_error(score, 1.5)
    return placing.PlacedDefects(
        np.asarray(y), np.asarray(x), score, score, site, lean, error, group
    )


def test_a_weak_defect_is_placed_near_its_site_and_a_strong_one_where_it_is_seen():
    site = np.array([[10.0, 10.0], [30.0, 30.0], [np.nan, np.nan], [50.0, 50.0]])
    y, x, score = (
        np.array([10.4, 30.1, 20.3, 53.0]),
        np.array([10, 30, 20, 50.0]),
        np.array([-4.0, -100, 9, -6]),
    )
    found = found_at(site, y, x, score)
    y, _, error = placing.towards_sites(found, y, x, spacing_px=10.0, off_site=0.02)
    assert 10.0 < y[0] < 10.1, "noise of 0.5 px against a lattice known to 0.2 px"
    assert y[1] == pytest.approx(30.1, abs=0.01)
    assert y[2] == pytest.approx(20.3), "no site"
    assert y[3] == pytest.approx(53.0), "too far from its site to belong there"
    seen = np.sqrt(2) * 1.5 / np.abs(score)
    assert error[2:] == pytest.approx(seen[2:]), "what is not moved is known as well as it was seen"
    assert error[0] < 0.2 < seen[0]
    assert error[1] == pytest.approx(seen[1], rel=0.05)


@pytest.mark.parametrize("spread_px", [0.02, 0.15])
def test_stated_errors_are_those_that_are_made(spread_px):
    """Forty defects off their sites by a known spread, seen with known noise; the frame tells the
    spread by itself."""
    rng, pulls, far_off = np.random.default_rng(0), [], []
    for _ in range(50):
        site = rng.uniform(20, 400, (40, 2))
        true = site + rng.normal(0, spread_px, site.shape)
        score = -rng.uniform(6, 30, 40)
        seen = true + rng.normal(size=site.shape) * (np.sqrt(2) * 1.5 / -score)[:, None]
        y, _, error = placing.towards_sites(
            found_at(site, *seen.T, score),
            *seen.T,
            spacing_px=10.0,
            off_site=0.02,
            site_error_px=0.02,
        )
        pulls.append((y - true[:, 0]) / error)
        far_off.append((seen[:, 0] - true[:, 0]) / error)
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    assert np.std(far_off) > 1.1, "as seen they would be worse than stated"


def test_the_pull_of_a_vacancy_on_the_dopant_beside_it_is_taken_out():
    rng = np.random.default_rng(1)
    site, lean = rng.uniform(20, 400, (30, 2)), np.zeros((30, 2))
    angles = rng.uniform(0, 2 * np.pi, 15)
    lean[:15] = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    seen = site + 0.25 * lean + rng.normal(0, 0.05, site.shape)
    found = found_at(site, *seen.T, np.full(30, -40.0), lean)
    y, x, _ = placing.towards_sites(
        found, *seen.T, spacing_px=10.0, off_site=0.02, site_error_px=0.01
    )
    assert np.hypot(y - site[:, 0], x - site[:, 1]).max() < 0.15


def test_without_a_bound_on_the_spread_positions_stay_where_they_are_seen():
    site, seen = np.array([[10.0, 10.0]]), np.array([[10.7, 9.8]])
    y, x, error = placing.towards_sites(
        found_at(site, *seen.T, np.array([-4.0])), *seen.T, spacing_px=10.0, off_site=np.inf
    )
    assert (y[0], x[0], error[0]) == pytest.approx((10.7, 9.8, np.sqrt(2) * 1.5 / 4))


def test_counting_noise_is_as_likely_bright_as_dark_once_its_skewness_is_out():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (60, 200, 200)).astype(np.float32)
    thirds = {False: 0.0, True: 0.0}
    for frame in counts:
        rest = frame - 3.0
        weight = np.full_like(rest, 1 / 3)
        z = filters.matched_snr(rest, weight, 1.5)[8:-8:6, 8:-8:6].ravel().astype(float)
        skew = filters.Skewness(weight, 1.0, 1.5).at(np.full((len(z), 2), 100.0))
        thirds[False] += (z**3).mean() / 60
        thirds[True] += (normalisation.unskewed(z, skew) ** 3).mean() / 60
    assert thirds[False] == pytest.approx(float(skew[0]), rel=0.25)
    assert abs(thirds[True]) < 0.3 * thirds[False]


def test_vacancies_tell_how_their_neighbours_move_and_noise_does_not():
    """By hand: three metal columns pushed outwards by 0.2 px, as dipoles around a missing
    chalcogen."""
    rng, lattice = np.random.default_rng(3), honeycomb(10.0, angle_deg=7.0, metal=(100.0, 100.0))
    ones = np.ones((220, 220), np.float32)
    image = rng.normal(size=ones.shape).astype(np.float32)
    noise = vacancies.vacancy_signals(filters.matched_snr(image, ones, 1.5), lattice, None)
    assert relaxation.ratio(*noise) == 0
    cells = [(u, v) for u in range(-8, 9, 3) for v in range(-8, 9, 3)]
    for u, v in cells:
        place = lattice.chalcogen + u * lattice.a1 + v * lattice.a2
        image += spot(image.shape, *place, -2.0)
        for du, dv in sites.BONDED:
            out = du * lattice.a1 + dv * lattice.a2 - lattice.bond
            metal, step = place + out, 0.2 * out / np.linalg.norm(out)
            image += spot(image.shape, *(metal + step), 8.0) - spot(image.shape, *metal, 8.0)
    r = relaxation.ratio(
        *vacancies.vacancy_signals(filters.matched_snr(image, ones, 1.5), lattice, None)
    )
    # three dipoles, each of 0.2 px / (s sqrt 2) of the matched signal of 8, over the vacancy's own
    # of 2
    assert r == pytest.approx(np.sqrt(3) * 8 * 0.2 / (1.5 * np.sqrt(2)) / 2, rel=0.25)
