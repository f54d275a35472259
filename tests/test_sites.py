"""Every site a trace: correlations and hop rates without a single vacancy picked."""

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.kernels.motion import trace_correlation
from stemkin.kernels.motion.correlation_noise import LagBins, SeenField, correlation_covariance
from stemkin.kernels.motion.lattice_walks import LatticeWaves, StepShells, steps_within
from stemkin.kernels.motion.sharpening import Sharpened
from stemkin.simulation import TraceHaze, simulate_traces
from stemkin.sites import correlation as room
from stemkin.traces import SiteTraces


@pytest.fixture(scope="module")
def world():
    """Sixty frames of a small lattice, vacancies at four times the noise."""
    return simulate_traces(n_frames=60, shape=(24, 24), depth=4.0, seed=1)


@pytest.fixture(scope="module")
def values(world):
    return world.traces.values.compute()


def traces_of(values, chunks=None, **words):
    """Traces of a square patch of cells, seconds and nanometres stated."""
    side = round(values.shape[1] ** 0.5)
    u, v = np.divmod(np.arange(values.shape[1]), side)
    lazy = da.from_array(values, chunks=chunks or values.shape)
    calibration = {"movie": "m", "frame_time_s": 1.0, "lattice_nm": 0.3153} | words
    return SiteTraces.of(lazy, pd.DataFrame({"u": u, "v": v}), **calibration)


# --- by hand


def directly(z, cells, steps, max_lag):
    """Sums of products over all pairs, by four loops."""
    z, known = trace_correlation.centred(z)
    place = {tuple(cell): i for i, cell in enumerate(cells.tolist())}
    sums, counts = np.zeros((max_lag + 1, len(steps))), np.zeros((max_lag + 1, len(steps)), int)
    for lag in range(max_lag + 1):
        for k, step in enumerate(steps.tolist()):
            for i, cell in enumerate(cells.tolist()):
                j = place.get((cell[0] + step[0], cell[1] + step[1]))
                if j is not None:
                    both = known[: len(z) - lag, i] & known[lag:, j]
                    sums[lag, k] += (z[: len(z) - lag, i] * z[lag:, j])[both].sum()
                    counts[lag, k] += both.sum()
    return sums, counts


@pytest.mark.parametrize("hidden", ["nothing", "frames", "sites", "some"])
def test_sums_by_fourier_transforms_are_those_of_four_loops(hidden):
    rng = np.random.default_rng(3)
    z = rng.normal(size=(9, 20))
    if hidden == "frames":
        z[4] = np.nan
    if hidden == "sites":
        z[:, [2, 7]] = np.nan
    if hidden == "some":
        z[rng.random(z.shape) < 0.2] = np.nan
    cells = np.stack(np.divmod(np.arange(20), 5), axis=1) + np.array([-2, 7])
    steps = steps_within(2.0)
    sums, counts = trace_correlation.block_sums(z, cells, steps, n_own=9, max_lag=4)
    expected, pairs = directly(z, cells, steps, 4)
    assert (counts == pairs).all()
    np.testing.assert_allclose(sums, expected, atol=1e-10)


def test_a_walker_is_where_a_matrix_exponential_says():
    from scipy.linalg import expm

    side, hops = 12, 0.3
    u, v = np.divmod(np.arange(side**2), side)
    generator = np.zeros((side**2, side**2))
    for du, dv in steps_within(1.0)[1:]:
        there = (u + du) % side * side + (v + dv) % side
        generator[np.arange(side**2), there] += hops / 6
    generator -= np.diag(generator.sum(axis=1))
    shells = StepShells.within(3.0)
    chances = expm(2.0 * generator)[0]
    first = shells.steps[np.unique(shells.shell, return_index=True)[1]]
    expected = chances[first[:, 0] % side * side + first[:, 1] % side]
    found = LatticeWaves.of(shells, side).propagator(np.array([2.0]), hops)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bins_of_lags_hold_each_lag_once():
    bins = LagBins.up_to(40)
    assert bins.sizes.sum() == 40
    assert (bins.first[1:] == bins.last[:-1] + 1).all()


# --- the same bits however the traces are cut


@settings(max_examples=6)
@given(data=st.data())
def test_correlations_are_the_same_bits_for_every_chunking(values, data):
    whole = sk.lattice_correlation(traces_of(values), max_lag_frames=8)
    cuts = data.draw(st.lists(st.integers(1, 59), max_size=5, unique=True).map(sorted))
    frames = tuple(np.diff([0, *cuts, 60]).tolist())
    sites = data.draw(st.sampled_from([(576,), (100, 476), (288, 288)]))
    cut = sk.lattice_correlation(traces_of(values, (frames, sites)), max_lag_frames=8)
    for name in ("sums", "counts", "moments"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


def test_blocks_add_up_to_the_whole_in_any_order(monkeypatch, values):
    whole = sk.lattice_correlation(traces_of(values), max_lag_frames=8)
    monkeypatch.setattr(room, "BLOCK_FRAMES", 16)
    parts = sk.lattice_correlation(traces_of(values), max_lag_frames=8)
    assert np.array_equal(whole.counts, parts.counts)
    np.testing.assert_allclose(whole.sums, parts.sums, atol=1e-9)
    monkeypatch.setattr(room, "as_tree", lambda parts, added: dask.delayed(added)(parts[::-1]))
    turned = sk.lattice_correlation(traces_of(values), max_lag_frames=8)
    assert np.array_equal(parts.sums, turned.sums)


def test_each_scheduler_gives_the_same_bits(values):
    found = []
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            found.append(sk.lattice_correlation(traces_of(values, (7, -1)), max_lag_frames=8))
    assert np.array_equal(found[0].sums, found[1].sums)


def test_a_frame_that_shows_nothing_takes_no_part(values):
    spoilt = values.copy()
    spoilt[20] = np.nan
    found = sk.lattice_correlation(traces_of(spoilt), max_lag_frames=8)
    assert found.n_frames == 59
    assert found.counts[1, 0] == 576 * 57


# --- truth


@pytest.mark.parametrize(("depth", "within"), [(8.0, 0.25), (2.0, 0.5)])
def test_hops_are_found_whether_or_not_a_vacancy_can_be_seen(depth, within):
    world = simulate_traces(n_frames=150, shape=(36, 36), depth=depth, seed=2)
    found = sk.hopping(sk.lattice_correlation(world.traces, max_lag_frames=30)).iloc[0]
    assert found["low"] < world.D_nm2_per_s < found["high"]
    assert abs(found["D_nm2_per_s"] / world.D_nm2_per_s - 1) < within
    assert found["n_low"] < world.n_vacancies < found["n_high"]
    assert found["D_nm2_per_s"] == pytest.approx(found["hop_rate_per_s"] * 0.3153**2 / 4)
    assert found["static_share"] < 0.1


NULLS = {
    "vacancies that stay": {"hop_rate_per_s": 0.0},
    "no vacancies": {"vacancy_fraction": 0.0},
    "haze that drifts": {"vacancy_fraction": 0.0, "haze": TraceHaze(0.5, 2.0, 0.02)},
    "haze that flickers": {"vacancy_fraction": 0.0, "haze": TraceHaze(0.5, 2.0, 0.0, 10.0)},
}


@pytest.mark.parametrize("null", NULLS)
def test_what_does_not_hop_gives_no_hops(null):
    world = simulate_traces(n_frames=60, shape=(24, 24), depth=3.0, seed=4, **NULLS[null])
    found = sk.hopping(sk.lattice_correlation(world.traces, max_lag_frames=20)).iloc[0]
    assert found["basis"] == "nothing hops"
    assert found["low"] == 0
    assert np.isnan(found["D_nm2_per_s"])


def test_vacancies_that_stay_are_told_from_those_that_hop():
    moving = simulate_traces(n_frames=100, shape=(30, 30), depth=6.0, seed=5)
    still = np.random.default_rng(0).random(900) < 0.02
    values = moving.traces.values.compute() - 6.0 * still
    # of seventeen vacancies that hopped 8 % more often than they should: 99 %
    found = sk.hopping(
        sk.lattice_correlation(traces_of(values, depth=6.0), max_lag_frames=40), confidence=0.99
    ).iloc[0]
    assert found["low"] < moving.D_nm2_per_s < found["high"]
    share = still.sum() / (still.sum() + moving.n_vacancies)
    assert abs(found["static_share"] - share) < 0.15


def test_dopants_that_catch_and_vacancies_that_are_made_and_heal_do_not_pull_the_rate_down():
    rates = {
        "dopant_fraction": 0.03,
        "vacancy_fraction": 0.01,
        "hop_rate_per_s": 0.12,
        "frame_time_s": 2.25,
        "cross_section_barn": 0.3,
        "healing_rate_per_s": 0.0044,
        "complex_healing_rate_per_s": 0.0044,
    }
    world = simulate_traces(n_frames=100, shape=(52, 52), depth=8.0, seed=1, **rates)
    found = sk.hopping(sk.lattice_correlation(world.traces, max_lag_frames=32)).iloc[0]
    assert found["low"] < world.D_nm2_per_s < found["high"]
    assert abs(found["D_nm2_per_s"] / world.D_nm2_per_s - 1) < 0.12


def test_what_a_filter_shows_of_a_vacancy_on_its_neighbours_does_not_slow_it_down():
    """An observer that is blind to neighbours shows a vacancy there with the other sign."""
    world = simulate_traces(n_frames=150, shape=(36, 36), depth=6.0, seed=2)
    missing = world.occupancy.reshape(150, 36, 36).astype(float)
    beside = sum(np.roll(missing, step, axis=(1, 2)) for step in map(tuple, steps_within(1.0)[1:]))
    values = world.traces.values.compute() + 0.1 * 6.0 * beside.reshape(150, -1)
    found = sk.hopping(
        sk.lattice_correlation(traces_of(values, depth=6.0), max_lag_frames=30)
    ).iloc[0]
    assert found["low"] < world.D_nm2_per_s < found["high"]
    assert abs(found["D_nm2_per_s"] / world.D_nm2_per_s - 1) < 0.15


def test_the_depth_follows_from_the_signals_where_it_is_not_stated():
    world = simulate_traces(n_frames=150, shape=(36, 36), depth=6.0, seed=2)
    values = world.traces.values.compute()
    found = sk.hopping(sk.lattice_correlation(traces_of(values), max_lag_frames=30)).iloc[0]
    assert abs(found["depth"] / 6.0 - 1) < 0.1


def test_the_spread_of_correlations_is_what_is_stated():
    shells, bins = StepShells.within(1.0), LagBins.up_to(3)
    n_frames, depth, hops, taken = 40, 4.0, 0.15, 0.02
    seen = []
    for seed in range(60):
        world = simulate_traces(
            n_frames=n_frames, shape=(16, 16), depth=depth, seed=seed,
            vacancy_fraction=taken, hop_rate_per_s=hops,
        )  # fmt: skip
        z, cells = world.traces.values.compute(), world.traces.cells
        sums, counts = trace_correlation.block_sums(
            z, cells, shells.steps, n_own=n_frames, max_lag=3
        )
        means = shells.summed(sums) / shells.summed(counts)
        # the number of walkers is given: what is left is how they moved
        at_once = z.var() - 1
        seen.append(means[1:] / at_once * taken * depth**2)
    pairs = shells.summed(counts)[0] / n_frames
    field = SeenField(taken * depth**2, hops, depth**2, np.ones(1), n_frames)
    stated = np.sqrt(np.diag(correlation_covariance(shells, bins, field, pairs)))
    spread = np.std(seen, axis=0).ravel()
    # hops to neighbours, one frame later: counting statistics, and noise
    assert 0.7 < spread[1] / stated[1] < 1.3


# --- bad input


def refused(call, *given, **words):
    with pytest.raises(ValueError) as said:
        call(*given, **words)
    return str(said.value)


def test_bad_input_gets_one_sentence(values):
    one = SiteTraces.of(values[:1], pd.DataFrame({"u": range(576), "v": 0}), movie="m")
    assert refused(sk.lattice_correlation, values).startswith("traces must be those of sites, but")
    assert "has 1 frame; correlations in time need two" in refused(sk.lattice_correlation, one)
    said = refused(sk.lattice_correlation, traces_of(values), max_lag_frames=60)
    assert said.startswith("movie 'm' has 60 frames, too few for lags up to 60; ask for")
    said = refused(sk.lattice_correlation, traces_of(values), use=np.zeros(576, bool))
    assert said.startswith("all 576 sites of movie 'm' are masked")
    said = refused(sk.lattice_correlation, traces_of(values), use=np.ones(5, bool))
    assert said.startswith("use must be 576 truth values, one per site, but")
    said = refused(sk.lattice_correlation, traces_of(np.full_like(values, np.nan)))
    assert said.startswith("no site of movie 'm' is judged in any frame")
    twice = SiteTraces.of(values, pd.DataFrame({"u": np.arange(576) // 2, "v": 0}), movie="m")
    assert "share the cell (0, 0)" in refused(sk.lattice_correlation, twice)
    assert refused(SiteTraces.of, values[0], pd.DataFrame()).startswith("traces are an array")
    said = refused(SiteTraces.of, values, pd.DataFrame({"u": [0], "v": [0]}))
    assert said.startswith("a table of 1 sites with columns")
    assert refused(sk.lattice_correlation, traces_of(values), reach=1.0).startswith("reach must")
    for bad in (0, -1, 1.5, "2"):
        said = refused(sk.lattice_correlation, traces_of(values), max_lag_frames=bad)
        assert said.startswith("max_lag_frames must be a number of frames, whole and 1 or more")


def test_a_hop_rate_needs_a_clock_a_ruler_and_lags(values):
    assert refused(sk.hopping, values).startswith("hopping reads what lattice_correlation gives")
    for name in ("frame_time_s", "lattice_nm"):
        without = traces_of(values, **{name: None})
        said = refused(sk.hopping, sk.lattice_correlation(without, max_lag_frames=4))
        assert said.startswith(f"the traces of movie 'm' have no {name}; open the movie with")
    short = sk.lattice_correlation(traces_of(values), max_lag_frames=2)
    assert refused(sk.hopping, short).startswith("a hop rate needs lags of 4 frames or more")
    long = sk.lattice_correlation(traces_of(values), max_lag_frames=4)
    assert refused(sk.hopping, long, confidence=95).startswith("confidence must be between")


# --- sharpened signals


@pytest.mark.parametrize("depth", [1.0, 2.0, 8.0])
def test_what_is_sharpened_has_the_contrast_and_noise_that_are_stated(depth):
    look, noise = Sharpened.of(depth), np.random.default_rng(0).normal(size=400_000)
    empty, taken = look.of_signals(noise), look.of_signals(noise - depth)
    assert abs(empty.mean()) < 0.02
    assert empty.var() == pytest.approx(1, rel=0.15)
    assert empty.mean() - taken.mean() == pytest.approx(look.contrast, rel=0.02)
    assert taken.var() / empty.var() == pytest.approx(1 + look.excess, rel=0.2, abs=0.01)
    assert look.contrast > 1.2 * depth, "it tells more than the signal itself"


def test_where_the_depth_is_not_known_nothing_is_sharpened(values):
    assert sk.lattice_correlation(traces_of(values), max_lag_frames=4).sharp is None


def test_haze_that_modulates_what_is_seen_of_vacancies_does_not_slow_them_down():
    """Sharpening is no linear filter: haze that stays makes vacancies in it more or less clear."""
    haze = TraceHaze(0.3, 2.0)
    world = simulate_traces(n_frames=100, shape=(36, 36), depth=4.0, seed=3, haze=haze)
    found = sk.hopping(sk.lattice_correlation(world.traces, max_lag_frames=30)).iloc[0]
    assert found["low"] < world.D_nm2_per_s < found["high"]
    assert abs(found["D_nm2_per_s"] / world.D_nm2_per_s - 1) < 0.15
