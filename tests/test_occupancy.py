"""Who is where at middling dose: chances of vacancies at all sites, given all frames."""

import itertools
from dataclasses import replace

import dask
import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.kernels.motion.occupancy import SiteNet, WalkerLook, chances_of_sites
from stemkin.simulation import simulate_traces
from stemkin.sites import chances as room
from stemkin.traces import SiteTraces


@pytest.fixture(scope="module")
def world():
    """A quarter of the usual dose: single frames show three vacancies in four."""
    return simulate_traces(n_frames=50, shape=(18, 18), depth=4.0, seed=5)


@pytest.fixture(scope="module")
def found(world):
    lazy = sk.occupancy(world.traces)
    return replace(lazy, chances=lazy.chances.persist())


def recall(score, truth, n_false):
    """Share of the taken sites that score higher than all but `n_false` of the others."""
    false = np.sort(score[~truth])[::-1]
    return (score[truth] > false[n_false]).mean()


def test_vacancies_are_found_that_single_frames_miss(world, found):
    truth, chances = world.occupancy > 0, found.chances.compute()
    n_false = round(truth.size / 2704)  # one in a usual frame
    single = recall(-world.traces.values.compute(), truth, n_false)
    assert single < 0.85
    assert recall(chances, truth, n_false) > 0.95


def test_chances_are_as_often_right_as_they_say(world, found):
    truth, chances = world.occupancy > 0, found.chances.compute()
    assert chances.sum() == pytest.approx(truth.sum(), rel=0.03)
    spread = np.sqrt((chances * (1 - chances)).sum())
    assert abs((truth - chances).sum()) < 4 * spread
    assert truth[chances > 0.9].mean() > 0.95
    assert truth[chances < 0.1].mean() < 0.002


def test_rates_are_learned_with_the_chances(world, found):
    stays = (world.occupancy[:-1] & world.occupancy[1:]).sum() / world.occupancy[:-1].sum()
    net = SiteNet.of(world.traces.cells)
    assert net.chances(found.look.hops)[0] == pytest.approx(stays, abs=0.02)
    assert found.look.density == pytest.approx((world.occupancy > 0).mean(), rel=0.1)


def test_the_depth_is_learned_where_it_is_not_stated(world):
    short = replace(world.traces, values=world.traces.values[:24], depth=None)
    assert sk.occupancy(short).look.depth == pytest.approx(4.0, abs=0.3)


def test_expected_populations_hold_the_truth(world, found):
    table = found.populations()
    true = (world.occupancy > 0).sum(axis=1)
    held = (table["low"] - 0.5 <= true) & (true <= table["high"] + 0.5)
    assert held.mean() > 0.9
    assert list(table["frame"]) == list(range(50))


def test_a_walker_that_is_not_seen_for_a_while_is_somewhere(world):
    net, look = SiteNet.of(world.traces.cells), WalkerLook(4.0, 0.15, 0.001)
    z = np.zeros((7, 324))
    z[[0, 6], 170] = -8.0
    z[2:5] = np.nan
    chances = chances_of_sites(z, net, look).chances
    np.testing.assert_allclose(chances[2:5].sum(axis=1), 1.0, atol=0.35)
    assert (chances[2:5].argmax(axis=1) == 170).all()
    assert chances[3, 170] < chances[0, 170]


def test_chances_of_one_walker_are_those_of_all_its_histories():
    """Five sites in a row, four frames, one walker that is surely there at first: by enumeration."""
    cells = np.array([[i, 0] for i in range(5)])
    net, hops = SiteNet.of(cells), 0.4
    away = 5  # beyond the row, from where nobody comes back
    step = np.zeros((6, 6))
    for a in range(5):
        for e, b in enumerate(net.to[a].tolist()):
            step[a, b if b >= 0 else away] += net.chances(hops)[e]
    step[away, away] = 1.0
    z = np.random.default_rng(3).normal(size=(4, 5))
    z[0, 2] -= 14.0
    look = WalkerLook(2.0, hops, 1e-7)
    like = np.ones((4, 6))
    like[:, :5] = np.exp(-look.depth * z - look.depth**2 / 2)
    exact = np.zeros((4, 6))
    for rest in np.ndindex(6, 6, 6):
        path = (2, *rest)
        weight = np.prod([step[a, b] for a, b in itertools.pairwise(path)])
        weight *= np.prod([like[t, site] for t, site in enumerate(path)])
        exact[np.arange(4), path] += weight
    exact /= exact.sum(axis=1, keepdims=True)
    found = chances_of_sites(z, net, look).chances
    np.testing.assert_allclose(found, exact[:, :5], atol=0.02)


def test_chances_are_the_same_bits_for_every_chunking_and_scheduler(world, monkeypatch):
    monkeypatch.setattr(room, "BLOCK_FRAMES", 10)
    monkeypatch.setattr(room, "HALO_FRAMES", 5)
    monkeypatch.setattr(room, "LEARN_FRAMES", 8)
    short = replace(world.traces, values=world.traces.values[:26])
    with dask.config.set(scheduler="synchronous"):
        whole = sk.occupancy(short).chances.compute()
    cut = replace(short, values=short.values.rechunk((7, 100)))
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(sk.occupancy(cut).chances.compute(), whole)


def test_blocks_say_what_the_whole_says(world, found, monkeypatch):
    monkeypatch.setattr(room, "BLOCK_FRAMES", 25)
    monkeypatch.setattr(room, "ROUNDS", 0)
    monkeypatch.setattr(room, "FIRST_HOPS", found.look.hops)
    monkeypatch.setattr(room, "FIRST_DENSITY", found.look.density)
    cut = sk.occupancy(world.traces).chances.compute()
    assert abs(cut - found.chances.compute()).max() < 0.02


def test_likely_vacancies_are_rows_that_link(world, found):
    places = world.traces.cells @ np.array([[0.0, 0.3153], [0.273, 0.1577]])
    sites = world.traces.sites.assign(y_nm=places[:, 0], x_nm=places[:, 1])
    rows = replace(found, traces=replace(world.traces, sites=sites)).detections(0.03)
    assert list(rows.columns) == list(sk.tables.COLUMNS["detections"])
    per_frame = rows.groupby("frame").size()
    assert per_frame.mean() == pytest.approx((world.occupancy > 0).sum(axis=1).mean(), rel=0.05)
    assert (rows["probability"] >= 0.5).all()
    assert rows[["frame", "y", "x"]].equals(
        rows[["frame", "y", "x"]].sort_values(["frame", "y", "x"])
    )


def test_bad_input_gets_one_sentence(world, found):
    def said(call, *given, **words):
        with pytest.raises(ValueError) as refused:
            call(*given, **words)
        return str(refused.value)

    traces = world.traces
    assert said(sk.occupancy, 3).startswith("traces must be those of sites, but they are a int")
    one = replace(traces, values=traces.values[:1])
    assert "has 1 frame; correlations in time need two" in said(sk.occupancy, one)
    two = replace(traces, stretches=(0, 20))
    assert "keep their numbers in stretches that begin at" in said(sk.occupancy, two)
    assert "hops_per_frame must be above 0" in said(sk.occupancy, traces, hops_per_frame=2.0)
    nobody = np.zeros(traces.n_sites, dtype=bool)
    assert "are masked" in said(sk.occupancy, traces, use=nobody)
    dark = SiteTraces.of(traces.values * np.nan, traces.sites, movie="dark")
    assert said(sk.occupancy, dark).startswith("no site of movie 'dark' is judged in the frames")
    assert "least must be a chance" in said(
        replace(
            found, traces=replace(traces, sites=traces.sites.assign(y_nm=0.0, x_nm=0.0))
        ).detections,
        0.03,
        least=1.5,
    )
    assert "need the columns ['x_nm', 'y_nm']" in said(found.detections, 0.03)


def test_what_is_too_faint_is_not_counted(found):
    """At a depth of 1 tracks of likely vacancies have a quarter of the true D, in a narrow interval."""
    faint = replace(found, look=replace(found.look, depth=1.0))
    for count in (faint.populations, lambda: faint.detections(0.03)):
        with pytest.raises(ValueError, match=r"stand 1.0 times the noise .* read D and the number"):
            count()
    assert np.isnan(faint.hop_rate_per_s)
    clear = replace(found, look=replace(found.look, depth=2.0))
    assert len(clear.populations()) == 50
    assert clear.hop_rate_per_s > 0


def test_sites_that_are_not_followed_say_nothing():
    world = simulate_traces(
        n_frames=8, shape=(12, 12), depth=6.0, seed=2, dopant_fraction=0.03, vacancy_fraction=0.04
    )
    chances = sk.occupancy(world.traces, hops_per_frame=0.15).chances.compute()
    beside = world.traces.column("beside_dopant")
    assert beside.any()
    assert np.isnan(chances[:, beside]).all()
    assert np.isfinite(chances[:, ~beside]).all()
    assert isinstance(world.traces.sites, pd.DataFrame)
