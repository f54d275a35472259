"""Movies finish one by one: tracks, and numbers so far, while others are searched; in the end the
same bytes."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

import stemkin as sk
from stemkin import pipeline
from stemkin.config import RunConfig
from stemkin.pipeline import completion
from stemkin.progress import Unwatched
from stemkin.results.journal import Journal
from stemkin.results.quarantine import QUARANTINE
from stemkin.results.store import Store
from stemkin.schedulers.clients import connect
from stemkin.schedulers.crews import Outcome
from stemkin.simulation import simulate_movie
from stemkin.tables import empty
from tests.strategies import FEW_NUMBERS

NAMES = ("movie 1", "movie 2", "movie 3")
CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 4},
    detect={"frames_per_block": 3},
    kinetics=FEW_NUMBERS,  # the bytes of the others are compared in test_pipeline
)


class Looker(Unwatched):
    """Calls a function after every block of the pixel pass."""

    def __init__(self, look):
        self.look, self.stage_name = look, ""

    def stage(self, name, total):
        self.stage_name = name

    def advance(self, steps=1, note=""):
        if self.stage_name == "detect":
            self.look()


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("movies")
    for seed, name in enumerate(NAMES):
        movie = simulate_movie("paper", n_frames=9, shape=(96, 96), seed=seed)
        np.save(folder / f"{name}.npy", movie.reader.read(0, 9))
    return folder


@pytest.fixture(scope="module")
def one_after_another(movies, tmp_path_factory):
    """Results of a run in which every stage waits for the one before it, and the model that all
    runs use."""
    out = tmp_path_factory.mktemp("calm") / "results"
    with connect("threads", workers=2):
        assert sk.run(movies, out, config=CONFIG, until="detect").exit_code == 0
        assert not (out / "tracks").exists()
        assert pipeline.resume(out, stages=("link", "kinetics")).exit_code == 0
    return out


def tables_of(results):
    """Return the bytes of every table but those that were damaged and set aside."""
    places = {p.relative_to(results).as_posix(): p for p in results.rglob("*.parquet")}
    return {
        place: p.read_bytes() for place, p in places.items() if not place.startswith(QUARANTINE)
    }


def row_tables_of(results):
    """Return the bytes of every table of rows, tracks among them, from which all numbers follow.

    Sums of movies are kept by the numbers, and a run that ends before has none.
    """
    tables = tables_of(results)
    return {k: found for k, found in tables.items() if "/" in k and not k.startswith("sums/")}


def run(movies, out, calm, watch=None, order=None, until="kinetics"):
    found = pipeline.open_inputs(movies, CONFIG)
    if order is not None:
        found.movies.sort(key=lambda movie: order.index(movie.name))
    return sk.run(found, out, config=CONFIG, model=calm / "model", watch=watch, until=until)


def link_record(results):
    return json.loads((results / "run.json").read_text())["stages"]["link"]


@pytest.mark.equality
def test_movies_in_any_order_give_the_bytes_of_stages_one_after_another(
    movies, one_after_another, tmp_path
):
    order = random.Random(1).sample(NAMES, len(NAMES))
    with connect("threads", workers=2):
        assert run(movies, tmp_path / "out", one_after_another, order=order).exit_code == 0
    assert link_record(tmp_path / "out")["meanwhile"] == len(NAMES)
    assert link_record(tmp_path / "out")["tracks"] == link_record(one_after_another)["tracks"]
    assert tables_of(tmp_path / "out") == tables_of(one_after_another)


def test_the_first_movie_has_its_tracks_before_the_last_one_is_searched(
    movies, one_after_another, tmp_path
):
    out, seen = tmp_path / "out", []

    def look():
        seen.append(
            [
                len(list((out / table).rglob("*.parquet")))
                for table in ("steps", "tracks", "regions")
            ]
        )

    with connect("threads", workers=1):
        run(movies, out, one_after_another, Looker(look), until="link")
    assert any(
        n_steps < 9 and n_tracks == n_regions == 3 for n_steps, n_tracks, n_regions in seen
    ), seen


def test_a_run_that_stops_between_movies_goes_on_to_the_same_bytes(
    movies, one_after_another, tmp_path
):
    out = tmp_path / "out"

    def stop():
        if len(list((out / "tracks").rglob("*.parquet"))) >= 3:
            raise KeyboardInterrupt

    with connect("threads", workers=1):
        with pytest.raises(KeyboardInterrupt):
            run(movies, out, one_after_another, Looker(stop))
        assert len(list((out / "steps").rglob("*.parquet"))) < 9
        assert run(movies, out, one_after_another, until="link").exit_code == 0
    assert link_record(out)["reused"] >= 1
    assert row_tables_of(out) == row_tables_of(one_after_another)


@pytest.mark.equality
def test_numbers_so_far_stand_beside_the_run_and_are_gone_at_its_end(
    movies, one_after_another, two_processes, tmp_path, monkeypatch
):
    out, seen, write_report = tmp_path / "out", [], completion.write_report

    def write_and_look(folder):
        path = Path(write_report(folder))
        seen.append(
            (
                path.relative_to(out).as_posix(),
                path.read_text(),
                {p.stem for p in path.parent.glob("*.parquet")},
            )
        )

    monkeypatch.setattr(completion, "SO_FAR_EVERY_S", 0.0)
    monkeypatch.setattr(completion, "write_report", write_and_look)
    with connect(two_processes):
        run(movies, out, one_after_another, order=random.Random(2).sample(NAMES, len(NAMES)))
    n_movies = []
    for name, page, tables in seen:
        assert name == "so_far/report.html"
        n_movies.append(int(re.search(r"Numbers so far: (\d) of 3 movies", page)[1]))
        assert {"transitions", "populations", "diffusion", "dwell_times"} <= tables
    assert n_movies in ([1], [2], [1, 2])  # of two tasks at once the later one may be faster
    assert not (out / "so_far").exists()
    assert tables_of(out) == tables_of(one_after_another)


def test_a_movie_that_cannot_be_linked_meanwhile_is_left_to_the_stage(
    movies, one_after_another, tmp_path, monkeypatch
):
    def not_now(task):
        msg = "not now"
        raise MemoryError(msg)

    monkeypatch.setattr(completion, "link_to_store", not_now)
    with connect("threads", workers=2):
        assert run(movies, tmp_path / "out", one_after_another, until="link").exit_code == 0
    assert link_record(tmp_path / "out")["meanwhile"] == 0
    assert row_tables_of(tmp_path / "out") == row_tables_of(one_after_another)


def test_numbers_of_fewer_movies_that_come_late_are_not_shown(tmp_path):
    movies = [{"movie": name, "status": "ok"} for name in NAMES]
    store = Store(str(tmp_path))
    journal = Journal(store, {"movies": movies, "warnings": []})
    completions = completion.Completions(store, journal, CONFIG)
    for n in (2, 1):
        task = completion.NumbersTask(store, movies[:n], CONFIG, None)
        assert completions.take(Outcome(task, {"msd": empty("msd")})) == []
    assert len(store.read_json("so_far", "run.json")["movies"]) == 2
