"""Chains of the states of dopants, from signals in which no frame shows them."""

import itertools
from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

import stemkin as sk
from stemkin.kernels.chains.signal_states import Emission, state_posteriors
from stemkin.simulation import simulate_traces
from stemkin.sites.dopants import DOPANT_STATES
from stemkin.traces import SiteTraces

RATES = {
    "dopant_fraction": 0.03,
    "rotation_rate_per_s": 0.1,
    "detach_rate_per_s": 0.02,
    "vacancy_fraction": 0.03,
    "hop_rate_per_s": 0.1,
}


@pytest.fixture(scope="module")
def world():
    """Dopants in 300 frames, whose vacancies are one and a half times the noise."""
    return simulate_traces(n_frames=300, shape=(20, 20), depth=1.5, seed=1, **RATES)


@pytest.fixture(scope="module")
def values(world):
    return world.traces.values.compute()


@pytest.fixture(scope="module")
def chain(world):
    return sk.dopant_chains(world.traces, world.dopants)


def again(world, values, **words):
    """The traces of `world` with other values."""
    calibration = {"movie": "m", "frame_time_s": 1.0, "lattice_nm": 0.3153, "depth": 1.5} | words
    return SiteTraces.of(values, world.traces.sites, **calibration)


def counted(states):
    """Attachments, detachments and rotations that perfect eyes see, over the frames at risk."""
    before, after = states[:-1], states[1:]
    free, bound = (before == 0).sum(), (before > 0).sum()
    return {
        "attachment": ((before == 0) & (after > 0)).sum() / free,
        "detachment": ((before > 0) & (after == 0)).sum() / bound,
        "rotation": ((before > 0) & (after > 0) & (after != before)).sum() / (2 * bound),
    }


def test_posteriors_are_those_of_all_histories():
    rng = np.random.default_rng(0)
    densities, start = rng.normal(size=(4, 1, 4)), np.array([0.4, 0.3, 0.2, 0.1])
    step = linalg.expm(np.array([[-3, 1, 1, 1], [1, -2, 1, 0], [0, 1, -1, 0], [1, 0, 1, -2]]) * 0.2)
    expected, whole = np.zeros((4, 4)), 0.0
    for history in np.ndindex(4, 4, 4, 4):
        chance = start[history[0]] * np.prod([step[a, b] for a, b in itertools.pairwise(history)])
        chance *= np.exp(sum(densities[t, 0, state] for t, state in enumerate(history)))
        whole += chance
        for t, state in enumerate(history):
            expected[t, state] += chance
    found, told = state_posteriors(densities, step, start)
    np.testing.assert_allclose(found[:, 0], expected / whole, atol=1e-12)
    assert told == pytest.approx(np.log(whole))


def test_a_frame_that_is_not_seen_says_nothing():
    look = Emission(np.zeros((1, 3)), 4.0, 0.0, 1.0)
    assert (look.log_densities(np.full((2, 1, 3), np.nan)) == 0).all()


def test_rates_are_found_where_single_frames_show_nothing(world, chain):
    rates = chain.rates.set_index("quantity")
    assert (chain.states == world.states).mean() > 0.93
    assert abs(rates["depth"].iloc[0] / 1.5 - 1) < 0.1
    for name, rate in counted(world.states).items():
        assert rates.loc[name, "low"] < rate < rates.loc[name, "high"], name
    assert rates.loc["detachment", "low"] < 0.02 < rates.loc["detachment", "high"]
    assert rates.loc["rotation", "low"] < 0.05 < rates.loc["rotation", "high"]


def test_the_matrix_is_the_exponential_of_the_generator(chain):
    step, rates = chain.matrix(), chain.matrix("rate_per_s")
    assert list(step.columns) == list(DOPANT_STATES)
    np.testing.assert_allclose(linalg.expm(rates.to_numpy()), step, atol=1e-12)
    np.testing.assert_allclose(step.sum(axis=1), 1)
    low, high = chain.matrix("low"), chain.matrix("high")
    assert ((low <= step + 1e-9) & (step <= high + 1e-9)).all(axis=None)


@settings(max_examples=1)
@given(data=st.data())
def test_the_chain_is_the_same_bits_for_every_chunking(world, values, chain, data):
    cuts = data.draw(st.lists(st.integers(1, 299), max_size=4, unique=True).map(sorted))
    frames = tuple(np.diff([0, *cuts, 300]).tolist())
    cut = again(world, da.from_array(values, chunks=(frames, (100, 300))), movie="traces-1")
    found = sk.dopant_chains(cut, world.dopants)
    pd.testing.assert_frame_equal(found.rates, chain.rates, check_exact=True)
    assert (found.states == chain.states).all()


def test_gaps_are_bridged_in_time(world, values):
    spoilt = values.copy()
    spoilt[::3] = np.nan
    rates = sk.dopant_chains(again(world, spoilt), world.dopants).rates.set_index("quantity")
    for name, rate in counted(world.states).items():
        assert rates.loc[name, "low"] < rate < rates.loc[name, "high"], name


def test_movies_are_pooled_and_times_are_kept(world, values, chain):
    both = sk.dopant_chains(
        [world.traces, again(world, values, movie="slower", frame_time_s=1.0)],
        [world.dopants, world.dopants],
    )
    assert set(both.of) == {"traces-1", "slower"}
    assert both.rates["movie"].unique().tolist() == ["*"]
    np.testing.assert_allclose(both.rates["rate_per_s"], chain.rates["rate_per_s"], rtol=0.02)
    narrower = (both.rates["high"] - both.rates["low"]) / (chain.rates["high"] - chain.rates["low"])
    assert narrower.between(0.6, 0.8).all()


def test_rates_are_per_second(world, values, chain):
    slow = sk.dopant_chains(again(world, values, frame_time_s=2.5), world.dopants)
    np.testing.assert_allclose(slow.rates["rate_per_s"] * 2.5, chain.rates["rate_per_s"], rtol=0.01)


def test_bad_input_gets_one_sentence(world, values):
    def said(*given, **words):
        with pytest.raises(ValueError) as refused:
            sk.dopant_chains(*given, **words)
        return str(refused.value)

    traces, dopants = world.traces, world.dopants
    assert said(values, dopants).startswith("300 movies have 1 tables of dopants")
    assert said([values], [dopants]).startswith("traces must be those of sites")
    assert said(traces, dopants.iloc[:0]).startswith("there is no dopant in movie 'traces-1'")
    assert said(traces, dopants[["u", "v"]]).startswith("a table of dopants needs the columns")
    assert "are these the dopants of another movie?" in said(traces, dopants.assign(site_0=400))
    assert said([traces, traces], [dopants]).startswith("2 movies have 1 tables of dopants")
    assert "have no frame_time_s" in said(again(world, values, frame_time_s=None), dopants)
    nothing = again(world, np.full_like(values, np.nan))
    assert said(nothing, dopants).startswith("no site beside a dopant of movie 'm' is judged")
    assert said(traces, dopants, confidence=95).startswith("confidence must be between 0 and 1")


def test_dopants_of_other_traces_and_movies_of_other_lattices_are_refused(world, values):
    other = replace(world.traces, lattice_nm=0.36, movie="other")
    with pytest.raises(ValueError, match=r"have lattice constants of 0\.3153 and 0\.3600 nm"):
        sk.dopant_chains([world.traces, other], [world.dopants, world.dopants])
    turned = world.traces.sites[["v", "u"]].to_numpy() + 7
    foreign = replace(world.traces, sites=world.traces.sites.assign(u=turned[:, 0], v=turned[:, 1]))
    with pytest.raises(ValueError, match="is not beside its sites in movie"):
        sk.dopant_chains(foreign, world.dopants)
