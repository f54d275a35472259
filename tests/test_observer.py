"""The observer that is learned from the movie: what it knows, where it looks, and when it does not."""

from dataclasses import replace

import numpy as np
import pytest

from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.crystal import residual
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, honeycomb
from stemkin.kernels.detection import defects, false_positives, observer_learning, patch_shapes
from stemkin.kernels.detection.observer import bonded, patches_at
from stemkin.kernels.detection.patch_grid import GRID, STEPS
from stemkin.kernels.detection.reading import PHASES, Filters
from stemkin.kernels.detection.vacancies import sites_with_neighbours
from stemkin.simulation import simulate_movie, truth_of

HAZY = {
    "haze": 0.04,
    "haze_length_nm": 0.6,
    "relaxation_nm": -0.008,
    "shape": (192, 192),
    "vacancy_fraction": 0.02,
}
"""A movie that the fixed filter does badly on: haze, and neighbours that move inwards."""


@pytest.fixture(scope="module")
def hazy():
    return simulate_movie("paper", n_frames=10, seed=4, **HAZY)


@pytest.fixture(scope="module")
def frames(hazy):
    return hazy.reader.read(0, 10)


@pytest.fixture(scope="module")
def learned(frames):
    return FourierDetector(device="cpu").learned_from(frames)


def depth_of(detector, frames, truth):
    """Mean signal of the lone vacancies, over the scatter of the sites without defects."""
    vacant, clean = [], []
    for number, frame in enumerate(frames):
        rest = detector.remainder(frame)
        places = sites_with_neighbours(
            rest.snr, rest.lattice, None, detector.relaxation, rest.skew,
            observer=detector.observer, noise_units=rest.noise_units,
        )  # fmt: skip
        defects_there = truth.defects_between(number, number + 1)
        true = defects_there[["y", "x"]].to_numpy()
        own = places.sublattice == CHALCOGEN
        apart = np.hypot(*(places.points[own][:, None] - true).transpose(2, 0, 1))
        near, alone = apart.min(axis=1), np.sort(apart, axis=1)[:, 1] > 14
        kind = defects_there["kind"].to_numpy()[apart.argmin(axis=1)]
        signal = places.signal[own]
        vacant.append(signal[(near < 2) & alone & (kind == "V_S")])
        clean.append(signal[near > 14])
    clean = np.concatenate(clean)
    return (np.median(clean) - np.concatenate(vacant).mean()) / clean.std()


def test_haze_and_neighbours_that_move_inwards_are_learned(hazy, frames, learned):
    truth = truth_of(hazy)
    plain = replace(learned, observer=None)
    before, after = (depth_of(each, frames[:4], truth) for each in (plain, learned))
    assert after > before + 1.5
    assert abs(learned.observer.depths[CHALCOGEN] - after) < 1.5


def test_what_is_learned_has_the_symmetry_of_a_site(learned):
    weights = learned.observer.weights[CHALCOGEN]
    for order in patch_shapes.operations():
        assert np.allclose(weights[order], weights)
    middle = (GRID == 0).all(axis=1)
    assert weights[middle] < 0
    assert (weights[middle] <= weights.min() * 0.8).all()


def test_nothing_is_learned_where_nothing_is():
    null = simulate_movie("null", n_frames=8, shape=(192, 192), seed=2).reader.read(0, 8)
    assert FourierDetector(device="cpu").learned_from(null).observer is None
    assert FourierDetector(device="cpu").learned_from(null[:0]).observer is None
    noise = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    assert FourierDetector(device="cpu").learned_from(noise).observer is None


def test_the_same_is_learned_every_time(frames, learned):
    again = FourierDetector(device="cpu").learned_from(frames)
    assert again.observer == learned.observer
    assert hash(again.observer) == hash(learned.observer)
    other = replace(learned.observer, tails=learned.observer.tails * 2)
    assert other != learned.observer


def test_what_is_learned_holds_for_a_turned_crystal_and_finer_pixels(learned):
    turned = {"rotation_deg": 33.0, "pixel_size_nm": 0.026}
    movie = simulate_movie("paper", n_frames=3, seed=9, **(HAZY | turned | {"shape": (256, 256)}))
    frames, truth = movie.reader.read(0, 3), truth_of(movie)
    before, after = (
        depth_of(each, frames, truth) for each in (replace(learned, observer=None), learned)
    )
    assert after > before + 1.0


def test_patches_are_read_where_the_grid_says():
    lattice = honeycomb(9.7, angle_deg=12.0, metal=(40.0, 40.0))
    y, x = np.mgrid[:80, :80].astype(np.float32)
    points = np.array([[40.2, 39.4], [3.0, 40.0]])
    for image, axis in ((y, 0), (x, 1)):
        patches, inside = patches_at(image, points, lattice, None)
        assert inside.tolist() == [0]  # the other one is cut by the edge
        wanted = points[0] + GRID / STEPS @ np.stack([lattice.a1, lattice.a2])
        assert np.allclose(patches[0], wanted[:, axis], atol=1e-4)
    hole = np.ones((80, 80), bool)
    hole[47:50, 39:42] = False
    assert len(patches_at(y, points, lattice, hole)[1]) == 0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_patches_have_the_same_bits_whether_gathered_in_one_pass_or_by_the_standard(kind):
    xp = pytest.importorskip("array_api_strict")
    rng, lattice = np.random.default_rng(6), honeycomb(10.3, angle_deg=8.0, metal=(32.0, 32.3))
    image, points = rng.normal(size=(120, 96)).astype(kind), rng.uniform(-5, 120, (200, 2))
    masks = (None, np.arange(120)[:, None] + np.zeros(96) < 70)
    for mask in masks:
        patches, inside = patches_at(image, points, lattice, mask)
        others, beside = patches_at(xp.asarray(image), points, lattice, mask)
        assert len(inside) > 10
        assert np.array_equal(inside, beside)
        assert np.array_equal(patches, others)


def test_a_filter_reads_at_a_site_what_the_weights_say_of_its_patch():
    rng = np.random.default_rng(3)
    image, lattice = rng.normal(size=(90, 84)).astype(np.float32), honeycomb(10.0, angle_deg=7.0)
    weights = rng.normal(size=len(GRID))
    filters = Filters.of(weights, lattice)
    points = np.array([[40.0, 40.0], [45.125, 33.875], [41.5, 37.25]])
    patches, _ = patches_at(image, points, lattice, None)
    assert np.allclose(filters.read(image, points)[0], patches @ weights, atol=1e-4)
    # what is between the places for which filters are drawn is read at the closest of them
    beside = points + rng.uniform(-0.49, 0.49, points.shape) / PHASES
    assert np.array_equal(filters.read(image, beside)[0], filters.read(image, points)[0])


def test_nothing_is_beyond_the_edge_of_what_a_filter_reads():
    rng, lattice = np.random.default_rng(4), honeycomb(10.0, angle_deg=7.0)
    image = rng.normal(size=(50, 60)).astype(np.float32)
    filters = Filters.of(rng.normal(size=len(GRID)), lattice)
    points = rng.uniform(0, 1, (40, 2)) * [49, 59]
    reach = filters.reach_px + 1
    wide = np.pad(image, reach)
    whole, which = filters.read(wide, points + reach)
    cut, same = filters.read(image, points)
    assert np.array_equal(which, same)
    assert np.allclose(cut, whole, atol=1e-4)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries_see_the_same(library, frames, learned):
    xp = pytest.importorskip(library)
    frame = frames[0].astype(np.float32) - np.float32(frames[0].mean())
    found = []
    for image in (frame, xp.asarray(frame)):
        rest = residual.remove_crystal(image)
        found.append(
            defects.on_lattices(
                rest.snr, [(rest.lattice, None)], false_positives=1.0, skew=rest.skew,
                filter_sd_px=rest.filter_sd_px, observer=learned.observer, noise_units=rest.noise_units,
            )
        )  # fmt: skip
    assert len(found[0].y) == len(found[1].y) > 3
    assert np.allclose(found[0].score, found[1].score, atol=0.05)
    filters = Filters.of(learned.observer.weights[CHALCOGEN], honeycomb(10.0))
    places = np.random.default_rng(2).uniform(2, min(frame.shape) - 3, (5000, 2))
    (seen, _), (told, _) = filters.read(frame, places), filters.read(xp.asarray(frame), places)
    assert np.allclose(seen, told, atol=1e-5 * np.abs(seen).max())


def test_a_weak_dopant_gets_its_share_of_the_false_positives(learned):
    assert (
        false_positives.shares_of(None)
        == false_positives.SHARES
        == false_positives.shares_of(learned.observer)
    )
    both = replace(learned.observer, depths=np.array([4.0, 4.0]))
    shares = false_positives.shares_of(both)
    assert shares[METAL, -1] == shares[CHALCOGEN, -1]
    assert sum(shares.values()) == pytest.approx(sum(false_positives.SHARES.values()))


def test_chance_in_the_tails_of_normal_noise_lets_as_many_false_positives_pass_as_are_asked():
    """On average over movies: who takes chance for heavy tails lets a tenth fewer pass."""
    from scipy.special import ndtr

    random, level = np.random.default_rng(5), 3.3
    told = [
        observer_learning.tails_of([random.normal(size=8000), np.zeros(0)], 1)[0]
        for _ in range(150)
    ]
    passed = ndtr(-level * np.array(told)) / ndtr(-level)
    assert abs(passed.mean() - 1) < 0.04
    assert min(told) < 1 < max(told)


def test_tails_of_normal_noise_are_one_and_heavier_ones_are_measured():
    z = np.random.default_rng(5).normal(size=(2, 60_000))
    assert np.allclose(observer_learning.tails_of([z[0], 1.1 * z[1]], 30), [1.0, 1.1], atol=0.03)
    assert observer_learning.tails_of([z[0, :50], z[1, :0]], 1).tolist() == [1.0, 1.0]


def test_an_observer_that_tells_less_than_the_filter_alone_is_not_used(
    frames, learned, monkeypatch
):
    right = learned.observer
    assert right is not None
    turned = np.roll(np.arange(len(GRID)), len(GRID) // 3)
    for weights, is_used in ((right.weights, True), (right.weights[:, turned], False)):
        given = replace(right, weights=weights)
        monkeypatch.setattr(observer_learning, "learned_observer", lambda *_, given=given: given)
        used = FourierDetector().learned_from(frames[:4]).observer
        assert (used is not None) == is_used


@pytest.mark.parametrize(("depth", "is_enough"), [(5.0, True), (4.5, True), (2.5, False)])
def test_bright_dopants_say_nothing_against_what_was_learned(depth, is_enough):
    """They stand on sites of which nothing was learned, and outweigh all vacancies."""
    noise, bright = np.random.default_rng(6).normal(size=(2, 4000))
    bright[:200] += 4.5
    vacant = np.arange(4000) < 60
    seen, unseen = (noise - vacant * deep for deep in (depth, 4.5))
    for others in (noise, bright):
        told = observer_learning.tells_enough(
            [others, seen], [others, unseen], np.array([False, True])
        )
        assert told == is_enough


def test_what_was_learned_can_be_looked_at(learned):
    seen = learned.observer.signatures[CHALCOGEN]
    steps = np.rint(np.hypot(GRID[:, 0] + GRID[:, 1] / 2, np.sqrt(0.75) * GRID[:, 1]))
    middle, inside, outside = seen[steps == 0][0], seen[steps == 3], seen[steps == 5]
    # an atom less; its neighbours, four steps away, have moved inwards
    assert middle < -0.5
    assert inside.max() > 0.5
    assert outside.min() < -0.5
    assert np.abs(seen[steps > STEPS]).max() < 0.3 * np.abs(seen).max()
    alike = learned.observer.alike[CHALCOGEN]
    assert alike[0] == pytest.approx(1.0)
    assert (np.abs(alike[STEPS:]) < 0.2).all()


def test_correlation_by_distance_is_that_of_the_noise_it_was_made_of():
    places = GRID @ np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]])
    apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
    found = observer_learning.correlation_by_distance(4.0 * np.exp(-apart / 3))
    assert found[0] == pytest.approx(1.0)
    wanted = np.exp(-np.arange(1, len(found)) / 3)
    np.testing.assert_allclose(found[1:], wanted, rtol=0.1)


def test_beside_another_column_all_but_that_column_is_seen(learned):
    observer = learned.observer
    for which in np.flatnonzero(np.isfinite(observer.depths)):
        usual = observer.weights[which] @ observer.signatures[which]
        shares = observer.knowing[which] @ observer.signatures[which] / usual
        blind = observer.blind[which] @ observer.signatures[which] / usual
        assert blind < shares.min() - 0.05, "less is seen where all around may be anything"
        assert shares == pytest.approx(shares[0], rel=1e-6), "the three are alike"
        # that is what is told where nothing was learned at dopants
        lone = replace(observer, bound_told=np.array([0.0, 1.0, np.nan]))
        depth = lone.depths[which] / lone.tails[which]
        assert lone.beside[which] == pytest.approx(depth * shares[0])
        sd = 0.15
        for i, uv in enumerate(bonded(which)):
            away = patch_shapes.lattice_places(GRID / STEPS) - patch_shapes.lattice_places(uv[None])
            column = np.exp(-0.5 * (away**2).sum(axis=1) / sd**2)
            told = np.abs(observer.knowing[which] @ column) / np.abs(
                observer.weights[which] @ column
            )
            assert told[i] < 0.1, "of the column that is known to be another nothing is seen"
            assert told[np.arange(3) != i].min() > 0.3, "of the others much is"
