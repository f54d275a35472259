"""Sites in a run: traces in the one pass, the same bits for every cut, worker and restart."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin import pipeline
from stemkin.config import RunConfig
from stemkin.detection.detectors import FourierDetector
from stemkin.detection.site_rows import BYTES_PER_SITE, seen_in, site_rows
from stemkin.kernels.crystal.lattice import honeycomb
from stemkin.kernels.detection.sites import FINEST, SeenSites
from stemkin.pipeline import block_search, pooled_dopants
from stemkin.pipeline.both_answers import both_answers
from stemkin.pipeline.planning import BYTES_PER_TRACE
from stemkin.pipeline.pooled_dopants import PoolTask, pooled_chains, pooled_rates
from stemkin.pipeline.site_kinetics import empty_traces
from stemkin.results.store import MOVIE_TABLES, Store
from stemkin.rows.parquet import sealed_bytes
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from stemkin.tables import conform
from tests.strategies import FEW_NUMBERS

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 3},
    detect={"frames_per_block": 4},
    kinetics=FEW_NUMBERS,
)
N = 10


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    """One short movie that drifts, with a blank frame."""
    folder = tmp_path_factory.mktemp("movies")
    movie = simulate_movie(
        "paper", n_frames=N, shape=(112, 112), seed=1, drift_x_nm_per_frame=0.04,
        drift_y_nm_per_frame=0.0, wander_nm=0.0, blank_frames=(5,),
    )  # fmt: skip
    np.save(folder / "movie.npy", movie.reader.read(0, N))
    return folder


@pytest.fixture(scope="module")
def calm(movies, tmp_path_factory):
    """The results of an undisturbed run on threads."""
    out = tmp_path_factory.mktemp("calm") / "results"
    with connect("threads", workers=2):
        assert sk.run(movies, out, config=CONFIG, sites=True, until="kinetics").exit_code == 0
    return out


def values_of(results):
    return sk.open_results(results).site_traces().values.compute()


def tables_of(results):
    """The bytes of every table that follows from sites."""
    names = [f"{name}/movie/{name}.parquet" for name in MOVIE_TABLES]
    names += [f"{name}.parquet" for name in ("hopping", "dopant_rates", "both_answers")]
    return {name: pd.read_parquet(results / name) for name in names}


def assert_same_answers(one, other):
    np.testing.assert_array_equal(values_of(one), values_of(other))
    found = tables_of(other)
    for name, rows in tables_of(one).items():
        pd.testing.assert_frame_equal(rows, found[name], check_exact=True)


def test_a_run_keeps_the_traces_that_the_verb_gives(movies, calm):
    results = sk.open_results(calm)
    traces = results.site_traces("movie")
    movie = sk.open_movie(movies / "movie.npy", pixel_size_nm=0.03, frame_time_s=2.25)
    model = sk.Model.load(calm / "model")
    same = sk.site_traces(movie, model, frames=results.frames.compute())
    np.testing.assert_array_equal(traces.values.compute(), same.values.compute())
    assert (traces.depth, traces.lattice_nm) == (same.depth, same.lattice_nm)
    own = ["u", "v", "sublattice", "y_nm", "x_nm"]
    pd.testing.assert_frame_equal(traces.sites[own], same.sites[own], check_dtype=False)
    assert {"sites", "dopants", "hopping", "both_answers"} <= set(results.tables()["table"])


def test_sites_know_their_neighbours_and_how_long_they_were_seen(calm):
    results = sk.open_results(calm)
    sites, values = results.site_traces().sites, values_of(calm)
    assert (sites["n_seen"] == np.isfinite(values).sum(axis=0)).all()
    assert np.isnan(values[5]).all(), "the blank frame"
    cells = set(
        map(tuple, sites.loc[sites["sublattice"] == "metal", ["u", "v"]].to_numpy().tolist())
    )
    around = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)]
    for row in sites[sites["sublattice"] == "metal"][::7].itertuples():
        assert row.n_neighbours == sum((row.u + du, row.v + dv) in cells for du, dv in around)
    assert sites["n_in_view"].max() == N - 1
    assert not sites["in_hole"].any()


def test_other_cuts_and_schedulers_give_the_same_bits(movies, calm, tmp_path):
    other = CONFIG.with_values(detect={"frames_per_block": 7})
    with connect("synchronous"):
        sk.run(
            movies, tmp_path / "r", config=other, sites=True, model=calm / "model", until="kinetics"
        )
    assert_same_answers(calm, tmp_path / "r")


def test_a_run_that_is_asked_for_sites_later_searches_again_and_keeps_its_rows(
    movies, calm, tmp_path, monkeypatch
):
    out = shutil.copytree(calm, tmp_path / "r")
    with connect("synchronous"):
        sk.run(movies, out, config=CONFIG, until="kinetics")
        assert not (out / "site_traces").exists(), "nobody asked for them"
        shutil.rmtree(out / "signals")
        read = []
        before = block_search.read_block
        monkeypatch.setattr(
            block_search, "read_block", lambda *given: read.append(given[1]) or before(*given)
        )
        sk.run(movies, out, config=CONFIG, sites=True, until="kinetics")
    assert len(read) == 3
    assert_same_answers(calm, out)
    detections = "detections/movie/000000000-000000004.parquet"
    assert (out / detections).read_bytes() == (calm / detections).read_bytes()


def test_a_lost_block_or_a_half_written_array_is_made_again(movies, calm, tmp_path):
    out = shutil.copytree(calm, tmp_path / "r")
    (out / "signals/movie/000000004-000000008.parquet").unlink()
    shutil.rmtree(out / "site_traces")
    (out / "sites/movie/sites.parquet").unlink()
    with connect("synchronous"):
        sk.run(movies, out, config=CONFIG, sites=True, until="kinetics")
    assert json.loads((out / "run.json").read_text())["blocks"]["reused"] == 2
    assert_same_answers(calm, out)


def test_a_second_run_computes_no_traces(calm, tmp_path):
    out = shutil.copytree(calm, tmp_path / "r")
    with connect("synchronous"):
        pipeline.resume(out, stages=("kinetics",))
    stage = json.loads((out / "run.json").read_text())["stages"]["sites"]
    assert (stage["reused"], stage["status"]) == (1, "done")
    assert_same_answers(calm, out)


def test_a_plan_says_what_traces_cost(movies):
    config = CONFIG.with_values(sites={"traces": True})
    with connect("synchronous"):
        planned = pipeline.plan_run(movies, config=config, look=True)
    assert "traces of sites: about" in planned.describe()
    assert planned.site_bytes == pytest.approx(N * planned.sample.sites_per_frame * 3)
    plain = pipeline.plan_run(movies, config=CONFIG, look=False)
    assert "traces" not in plain.describe()


def test_traces_cost_what_a_plan_says(tmp_path):
    """Signals and traces of two hundred frames, as they are written; a frame of 512 px has 5,400."""
    rng, cells = np.random.default_rng(0), np.stack(np.divmod(np.arange(1800), 45), axis=1)
    lattice = honeycomb(10.0, metal=(32.0, 32.0))
    frames = []
    for noise in rng.normal(size=(200, 2, 1800)):
        judged = (np.rint(noise / FINEST) * FINEST).astype(np.float32)
        frames.append(SeenSites(lattice, (cells, cells), (judged[0], judged[1]), 0.0))
    rows = sealed_bytes(site_rows("m", 0, frames), place="signals/m/0.parquet", note={})
    n = 200 * 3600
    assert 0.7 * BYTES_PER_SITE < len(rows) / n < 1.1 * BYTES_PER_SITE
    values = np.array([np.concatenate(one.signals) for one in frames])
    array = empty_traces(str(tmp_path / "m.zarr"), values.shape, 64, {})
    array[:] = values
    assert 0.7 * BYTES_PER_TRACE < array.nbytes_stored() / n < 1.1 * BYTES_PER_TRACE
    np.testing.assert_array_equal(array[:], values)


def test_signals_are_rounded_by_less_than_a_hundredth_of_the_noise(calm):
    values = values_of(calm)
    steps = values[np.isfinite(values)] / FINEST
    assert FINEST < 0.01
    np.testing.assert_array_equal(steps, np.rint(steps))
    assert len(np.unique(steps)) > 100


def test_a_run_counts_vacancies_by_chances_where_asked(movies, calm, tmp_path):
    out = shutil.copytree(calm, tmp_path / "r")
    config = CONFIG.with_values(sites={"traces": True, "occupancy": True})
    with connect("synchronous"):
        sk.run(movies, out, config=config, until="kinetics")
    results = sk.open_results(out)
    assert "expected_populations" in results.tables()["table"].tolist()
    rows = sk.read_table(out, "expected_populations")
    traces, _ = sk.dopants_of(results.site_traces())
    expected = sk.occupancy(traces).populations()
    pd.testing.assert_frame_equal(rows, expected, check_dtype=False)
    assert rows["frame"].tolist() == list(range(N))
    assert not len(sk.read_table(calm, "expected_populations"))


def test_dopants_of_all_movies_stand_together(tmp_path, monkeypatch):
    """Two movies of different doses, kept as a run keeps them."""
    store, rates = Store.at(tmp_path), {"dopant_fraction": 0.05, "detach_rate_per_s": 0.02}
    kept = []
    for name, depth in (("a", 4.0), ("b", 2.0)):
        world = sk.simulate_traces(n_frames=40, shape=(12, 12), depth=depth, seed=1, **rates)
        about = {"frame_time_s": 1.0, "lattice_nm": 0.3153, "depth": depth, "stretches": [0]}
        values = world.traces.values.compute()
        path = store.path("site_traces", f"{name}.zarr")
        empty_traces(path, values.shape, 40, about)[:] = values
        sites = world.traces.sites.assign(
            movie=name, site=range(144), y_nm=0.0, x_nm=0.0, n_neighbours=6, in_hole=False,
            n_in_view=40, n_seen=40,
        )  # fmt: skip
        dopants = world.dopants.assign(movie=name)
        for table, rows in (("sites", sites), ("dopants", dopants)):
            store.write_table(conform(rows, table), "", table, name, f"{table}.parquet")
        kept.append((replace(world.traces, movie=name), dopants))
    found, said = pooled_chains(PoolTask(("a", "b"), store, 0.95))
    expected = sk.dopant_chains([traces for traces, _ in kept], [rows for _, rows in kept])
    assert not said
    pd.testing.assert_frame_equal(found["dopant_rates"], expected.rates)
    assert found["dopant_transitions"]["movie"].unique().tolist() == ["*"]
    assert pooled_rates(store, CONFIG, {"a": 30}) == ({}, []), "one is not all"
    monkeypatch.setattr(pooled_dopants, "MOST_POOLED", 50)
    found, said = pooled_rates(store, CONFIG, {"a": 30, "b": 40})
    assert found == {}
    assert "2 movies have 70 signals, more than the 50 that one task holds" in said[0]


def test_what_a_frame_shows_comes_back_from_its_row():
    frame = simulate_movie("paper", n_frames=1, shape=(96, 96), seed=2).reader.read(0, 1)
    survey = FourierDetector().survey(frame, with_sites=True)
    rows = site_rows("m", 7, [survey.extra["sites"][0], None]).to_dict("records")
    seen, first = seen_in(rows[0]), survey.extra["sites"][0]
    assert rows[0]["frame"] == 7
    assert seen_in(rows[1]) is None
    for which in (0, 1):
        np.testing.assert_array_equal(seen.cells[which], first.cells[which])
        np.testing.assert_array_equal(seen.signals[which], first.signals[which])
    np.testing.assert_array_equal(seen.lattice.a1, first.lattice.a1)


def test_sites_are_refused_where_the_detector_judges_none(movies, tmp_path):
    config = CONFIG.with_values(learn={"detector": "network"})
    with pytest.raises(
        ValueError, match=r"traces of sites need a detector .* but detector is 'network'"
    ):
        sk.run(movies, tmp_path / "r", config=config, sites=True)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("depth", "correlated", "leads", "verdict"),
    [
        (8.0, (1.1e-3, 0.9e-3, 1.3e-3), "tracked", "agree"),
        (8.0, (2.0e-3, 1.5e-3, 2.6e-3), "tracked", "disagree"),
        (1.5, (2.0e-3, 1.5e-3, 2.6e-3), "correlated", "disagree"),
        (8.0, (np.nan, 0.0, np.inf), "tracked", "one is not known"),
    ],
)
def test_the_answer_leads_that_can_be_trusted_at_the_dose(depth, correlated, leads, verdict):
    diffusion = pd.DataFrame(
        {"movie": "m", "class_id": [0, 1], "D_nm2_per_s": [5.0, 1e-3], "low": [4.0, 0.9e-3],
         "high": [6.0, 1.1e-3], "recommended": True}
    )  # fmt: skip
    names = ["D_nm2_per_s", "low", "high"]
    hops = pd.DataFrame(
        [{"movie": "m", "depth": depth} | dict(zip(names, correlated, strict=True))]
    )
    classes = pd.DataFrame({"class_id": [0, 1], "name": ["Mo_W", "V_S"]})
    row = both_answers(diffusion, hops, classes, "WS2").iloc[0]
    assert (row["tracked"], row["leads"], row["verdict"]) == (1e-3, leads, verdict)


def test_a_starved_movie_is_made_at_any_share_of_its_dose(tmp_path):
    from typer.testing import CliRunner

    from stemkin.cli import app

    asked = ["simulate", "starved", "-o", str(tmp_path), "--frames", "1", "--size", "64", "--dose"]
    made = CliRunner().invoke(app, [*asked, "0.25"])
    assert made.exit_code == 0, made.output
    movie = sk.open_movie(tmp_path / "starved-0.zarr")
    usual = simulate_movie("paper").dose_rate_e_per_nm2_s
    assert movie.dose_rate_e_per_nm2_s == pytest.approx(usual / 64)
    refused = CliRunner().invoke(app, [*asked, "0.25", "--world", "3"])
    assert refused.exit_code == 2
    assert "a world draws its own" in refused.output
