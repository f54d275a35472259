"""Hop rates at any rate and on any lattice, by Poisson hops or otherwise."""

import numpy as np
import pytest

from stemkin.kernels.motion.free_steps import free_log_likelihood
from stemkin.kernels.motion.hop_shells import (
    EDGES,
    LATTICES,
    N_BINS,
    bins_of,
    shell_probabilities,
    shells,
)
from stemkin.kernels.motion.hops import hop_numbers, most_likely_rate
from stemkin.kernels.motion.walks import Walks

NEIGHBOURS = {
    "triangular": (np.arange(6) * 60, 0),
    "square": (np.arange(4) * 90, 0),
    "honeycomb": (np.arange(3) * 120, 60),
}


def on_lattice(hops, lattice, rng, s=0.03):
    """Walks (n_tracks, n_frames, 2) that make the (n_tracks, n_frames) numbers of `hops`."""
    angles, turn = NEIGHBOURS[lattice]
    n_tracks, n_frames = hops.shape
    walk, parity = np.zeros((n_tracks, n_frames, 2)), np.zeros(n_tracks, int)
    for t in range(1, n_frames):
        walk[:, t] = walk[:, t - 1]
        for i in range(hops[:, t].max(initial=0)):
            moves = hops[:, t] > i
            angle = np.radians(rng.choice(angles, n_tracks) + turn * parity)
            walk[moves, t] += np.stack([np.sin(angle), np.cos(angle)], axis=1)[moves]
            parity = np.where(moves, 1 - parity, parity)
    return walk + s * rng.normal(size=walk.shape)


def fit(walk, **words):
    n_tracks, n_frames, _ = walk.shape
    track, frame = np.repeat(range(n_tracks), n_frames), np.tile(range(n_frames), n_tracks)
    walks = Walks.of(track, frame, walk[..., 0].ravel(), walk[..., 1].ravel())
    group = np.zeros(n_tracks, dtype=int)
    return most_likely_rate(hop_numbers(walks, group, n_groups=1, hop_length=1.0)[0], **words)


@pytest.mark.parametrize("lattice", LATTICES)
def test_shells_are_those_of_every_walk_written_out(lattice):
    angles, turn = NEIGHBOURS[lattice]
    places = [(0.0, 0.0)]
    for n in range(1, 4):
        places = [
            (y + np.sin(angle), x + np.cos(angle))
            for y, x in places
            for angle in np.radians(angles + turn * ((n - 1) % 2))
        ]
        far = np.hypot(*np.transpose(places))
        for radius, chance in zip(
            shells(lattice).radius[:8], shells(lattice).chance[n], strict=False
        ):
            assert chance == pytest.approx(np.isclose(far, radius).mean(), abs=1e-12)
    mean = shell_probabilities(np.array([0.3, 30.0]), lattice)
    assert (mean @ shells(lattice).radius ** 2).tolist() == pytest.approx([0.3, 30.0], rel=1e-6)


def test_bins_are_fine_near_by_and_the_last_holds_all_that_is_far():
    distance = np.array([0.0, 0.0251, 5.999, 6.0, 6.25, 16.0, 31.5, 32.0, 1e9])
    found = bins_of(distance)
    assert found.tolist() == [0, 1, 239, 240, 241, 280, 295, 296, N_BINS - 1]
    assert (EDGES[found] <= distance).all()
    assert (distance < EDGES[found + 1]).all()


@pytest.mark.parametrize("rate", [0.3, 2.0, 8.0, 20.0])
def test_the_rate_is_found_however_many_hops_there_are_in_a_frame(rate):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        found = fit(on_lattice(rng.poisson(rate, (30, 30)), "triangular", rng))
        assert found.low < rate * 1.02
        assert found.high > rate * 0.98
        assert found.rate == pytest.approx(rate, rel=0.2)
        assert found.as_poisson


def test_more_hops_than_can_be_counted_are_an_open_interval():
    rng = np.random.default_rng(0)
    found = fit(on_lattice(rng.poisson(150, (10, 10)), "triangular", rng))
    assert found.rate == found.high == np.inf
    assert 20 < found.low < 40


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n_tracks", [1, 20])
def test_a_walker_that_hops_in_every_frame_is_not_taken_for_noise(lattice, n_tracks):
    rng = np.random.default_rng(1)
    found = fit(on_lattice(np.ones((n_tracks, 48), int), lattice, rng))
    assert found.rate == pytest.approx(1, rel=0.03)
    assert found.low < 1 < found.high
    assert found.s == pytest.approx(0.03, rel=0.2)
    assert not found.as_poisson


@pytest.mark.parametrize("lattice", LATTICES)
def test_two_hops_in_a_frame_tell_the_lattice(lattice):
    rng = np.random.default_rng(2)
    found = fit(on_lattice(rng.poisson(1.0, (30, 40)), lattice, rng))
    assert found.lattice == lattice
    assert found.low < 1 < found.high
    assert found.as_poisson


def test_mobile_ones_among_immobile_ones_have_the_mean_of_both():
    """Two rates, 0 and 1.2, as one: Poisson hops do not explain the shells, their shares do."""
    inside, as_poisson = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        hops = rng.poisson(np.where(rng.random(60) < 0.5, 1.2, 0.0)[:, None], (60, 30))
        true = hops[:, 1:].mean()
        found = fit(on_lattice(hops, "triangular", rng))
        inside.append(found.low <= true <= found.high)
        as_poisson.append(found.as_poisson)
    assert np.mean(inside) > 0.9
    assert not any(as_poisson)


def test_a_mixture_of_free_steps_is_as_likely_as_its_formula_says():
    rng = np.random.default_rng(3)
    own = np.bincount(bins_of(rng.rayleigh(0.4, 4000)), minlength=N_BINS).astype(float)
    bins = np.flatnonzero(own)
    # of one Brownian motion: its own law, and no second one makes it much likelier
    ends = EDGES[bins], EDGES[np.minimum(bins + 1, N_BINS)]
    chance = -np.diff(np.exp(-(np.stack(ends) ** 2) / (2 * 0.4**2)), axis=0)[0]
    alone = float(own[bins] @ np.log(chance))
    assert 0 <= free_log_likelihood(own[bins], bins) - alone < 5
