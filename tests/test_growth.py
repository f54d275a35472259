"""Archives that grow: movies that come, change or go cost themselves only, and who differs is named."""

import json
import shutil
import tempfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin import tables
from stemkin.config import RunConfig
from stemkin.pipeline import acquisition
from stemkin.pipeline.confusion import Confusion
from stemkin.pipeline.kept_sums import Pass, answers_of_movies
from stemkin.pipeline.newcomers import Seen
from stemkin.pipeline.numbers import READ
from stemkin.pipeline.questions import Asking
from stemkin.results.reading import movies_of
from stemkin.results.store import Block, FolderError, Store
from stemkin.rows.packing import unpacked_sums
from stemkin.rows.passes import answers
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests.strategies import FEW_NUMBERS

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 2},
    detect={"frames_per_block": 2},
    kinetics=FEW_NUMBERS,
)


def write_movie(folder, number, seed=None, n_frames=4):
    folder.mkdir(exist_ok=True)
    movie = simulate_movie("paper", n_frames=6, shape=(96, 96), seed=seed or number)
    np.save(folder / f"movie {number}.npy", movie.reader.read(0, n_frames))


def run(movies, out, **words):
    words = {"config": CONFIG, "until": "detect", **words}
    with connect("synchronous"):
        return sk.run(movies, out, **words)


def journal(results):
    return json.loads((results / "run.json").read_text())


def pixel_rows(results):
    """Return the bytes of every table of the pixel pass."""
    folders = [results / name for name in ("detections", "neighbours", "breaks", "steps")]
    files = [file for folder in folders for file in sorted(folder.rglob("*.parquet"))]
    return {file.relative_to(results).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two movies, the results of a run on them, and a copy of both."""
    place = tmp_path_factory.mktemp("two")
    for number in (1, 2):
        write_movie(place / "movies", number)
    run(place / "movies", place / "results")
    shutil.copytree(place, place.with_name("kept"))
    return place


@pytest.fixture
def mine(two):
    """Both as they were, in the same place and with the same times: nothing has changed."""
    shutil.rmtree(two)
    shutil.copytree(two.with_name("kept"), two)
    return two


def test_a_movie_that_joins_costs_itself_only(mine):
    before = pixel_rows(mine / "results")
    write_movie(mine / "movies", 3)
    outcome = run(mine / "movies", mine / "results")
    assert outcome.blocks["reused"] == 4
    assert outcome.blocks["stale"] == 0
    assert outcome.blocks["total"] == 6
    after = pixel_rows(mine / "results")
    assert {name: after[name] for name in before} == before


def test_growth_ends_in_the_rows_of_one_run_over_all(mine):
    """In any order: given the model, the rows of a movie do not know which movies came before."""
    write_movie(mine / "movies", 0)
    run(mine / "movies", mine / "results")
    once = mine / "once"
    run(mine / "movies", once, model=mine / "results" / "model")
    assert pixel_rows(once) == pixel_rows(mine / "results")


def test_a_movie_that_leaves_or_is_replaced_leaves_the_others_as_they_are(mine):
    (mine / "movies" / "movie 1.npy").unlink()
    assert run(mine / "movies", mine / "results").blocks["reused"] == 2
    write_movie(mine / "movies", 1, seed=9)
    blocks = run(mine / "movies", mine / "results").blocks
    assert (blocks["reused"], blocks["stale"]) == (2, 2)


def test_a_movie_that_was_written_on_is_searched_from_its_new_frames_on(mine):
    longer = simulate_movie("paper", n_frames=6, shape=(96, 96), seed=2).reader.read(0, 6)
    np.save(mine / "movies" / "movie 2.npy", longer)
    blocks = run(mine / "movies", mine / "results").blocks
    assert (blocks["reused"], blocks["stale"], blocks["total"]) == (4, 0, 5)
    assert run(mine / "movies", mine / "results").blocks["reused"] == 5
    longer[0] = longer[1]  # not the same movie any more, though it is longer still
    np.save(mine / "movies" / "movie 2.npy", np.concatenate([longer, longer[:2]]))
    assert run(mine / "movies", mine / "results").blocks["reused"] == 2


def test_relearning_is_asked_for(mine):
    write_movie(mine / "movies", 3)
    outcome = run(mine / "movies", mine / "results", relearn=True)
    assert outcome.blocks["reused"] == 0
    assert not journal(mine / "results")["stages"]["learn"]["reused"]
    again = run(mine / "movies", mine / "results", relearn=True)
    assert again.blocks["reused"] == 6  # learned from the same movies, it is the same model


def test_where_no_movie_is_left_the_model_goes_with_them(mine):
    for number in (1, 2):
        write_movie(mine / "movies", number, seed=20 + number)
    run(mine / "movies", mine / "results")
    assert not journal(mine / "results")["stages"]["learn"]["reused"]


def test_another_calibration_of_what_was_learned_from_learns_again(mine):
    movies, results = mine / "movies", mine / "results"
    other = CONFIG.with_values(calibration={"pixel_size_nm": 0.029})
    run(movies, results, config=other)
    assert not journal(results)["stages"]["learn"]["reused"]


def test_an_archive_grows_by_a_source_and_not_into_the_folder_of_another(mine):
    files = [str(mine / "movies" / f"movie {number}.npy") for number in (1, 2)]
    results = mine / "of files"
    run(files[:1], results)
    assert run(files, results).blocks["reused"] == 2
    write_movie(mine / "movies", 3)
    with pytest.raises(FolderError, match="belongs to another run"):
        run([str(mine / "movies" / "movie 3.npy")], results)


SAMPLE = {
    "n_detections": 200,
    "n_unexplained": 8,
    "dose_e_per_nm2": [1e4, 2e4],
    "lattice_nm": 0.3153,
}


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Seen(100, 5, 1.1, 1.5e4, 0.3155), []),
        (Seen(100, 5, 1.1, 4e4, 0.3155), ["4e+04 e/nm² per frame (1e+04 to 2e+04 in the sample)"]),
        (Seen(100, 5, 1.1, None, 0.246), ["a lattice of 0.2460 nm (0.3153 nm in the sample)"]),
        (Seen(100, 40, 1.1), ["40 % of its detections have no name (4 % in the sample)"]),
        (Seen(100, 5, 2.0), ["defects stand out 2.0 times less"]),
        (Seen(100, 5, 0.5), ["defects stand out 2.0 times more"]),
        (Seen(100, 5, 0.0), ["no noise in what was found"]),
        (Seen(3, 3, 3.0), []),
    ],
)
def test_what_a_newcomer_shows_is_compared_with_the_sample(seen, said):
    assert seen.unlike(SAMPLE) == said


def test_a_newcomer_of_another_dose_is_named_until_it_is_learned_from(mine):
    listed = mine / "movies.csv"
    rows = ["path,dose_rate_e_per_nm2_s", "movies/movie 1.npy,1000", "movies/movie 2.npy,1000"]
    listed.write_text("\n".join(rows))
    out = mine / "listed"
    run(listed, out)
    assert journal(out)["unlike"] == {}
    write_movie(mine / "movies", 3)
    listed.write_text("\n".join([*rows, "movies/movie 3.npy,8000"]))
    for _ in range(2):  # as long as it is there
        run(listed, out)
        assert list(journal(out)["unlike"]) == ["movies/movie 3"]
        (warning,) = [w for w in journal(out)["warnings"] if "--relearn" in w]
        assert "movie 3 (1.8e+04 e/nm² per frame (2.25e+03 in the sample))" in warning
    run(listed, out, relearn=True)
    assert journal(out)["unlike"] == {}


def test_a_model_of_another_material_is_named(mine):
    other = CONFIG.with_values(learn={"material": "MoS2"})
    run(mine / "movies", mine / "other", config=other, model=mine / "results" / "model")
    assert any(
        "the model was learned for WS2:Mo, and this run is of MoS2" in warning
        for warning in journal(mine / "other")["warnings"]
    )


def written(place, frames):
    """Write frames of unsigned 16-bit numbers to a file that may be read at any length (MRC)."""
    header = np.zeros(256, np.int32)
    header[:4] = (frames.shape[2], frames.shape[1], len(frames), 6)
    place.write_bytes(header.tobytes() + frames.astype("<u2").tobytes())


def test_an_acquisition_is_followed_block_by_block_and_its_tail_comes_last(
    mine, tmp_path, monkeypatch
):
    frames = simulate_movie("paper", n_frames=9, shape=(96, 96), seed=4).reader.read(0, 9)
    place = tmp_path / "recorded"
    place.mkdir()
    lengths, clock, seen = iter([3, 5, 9]), [0.0], []

    def time_passes(seconds):
        clock[0] += seconds
        for n in lengths:
            written(place / "movie.mrc", frames[:n])
            break

    monkeypatch.setattr(acquisition.time, "sleep", time_passes)
    monkeypatch.setattr(acquisition.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(acquisition.log, "warning", lambda *said: seen.append(said[2]))
    words = {"config": CONFIG, "until": "detect", "model": mine / "results" / "model"}
    out = tmp_path / "results"
    with connect("synchronous"):
        outcome = acquisition.follow_acquisition(
            place, out, until_idle_s=60.0, quiet_s=20.0, look_every_s=5.0, **words
        )
    assert seen == [4, 8, 9]
    assert (outcome.blocks["total"], outcome.blocks["reused"]) == (5, 4)
    at_once = tmp_path / "at once"
    run(place, at_once, model=mine / "results" / "model")
    kinds = {name: set(pixel_rows(results)) for name, results in (("a", out), ("b", at_once))}
    assert kinds["a"] == kinds["b"]


def test_a_folder_in_which_nothing_is_recorded_is_one_sentence(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(acquisition.time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    monkeypatch.setattr(acquisition.time, "monotonic", lambda: clock[0])
    with pytest.raises(ValueError, match="no movies were found"):
        acquisition.follow_acquisition(tmp_path, tmp_path / "results", until_idle_s=10.0)
    with pytest.raises(ValueError, match="until_idle_s must be a positive number of seconds"):
        acquisition.follow_acquisition(tmp_path, tmp_path / "results", until_idle_s=-1)


def rows_added(number):
    """Write the tracks of a movie as the stage of links does: a few particles that hop and blink."""
    rng = np.random.default_rng(number)
    frame = np.tile(np.arange(12, dtype=np.int32), 5)
    particle = np.repeat(np.arange(5), 12) + 100 * number
    steps = rng.normal(scale=0.05, size=(60, 2)).cumsum(axis=0)
    return tables.conform(
        pd.DataFrame({
            "movie": f"movie {number}", "frame": frame, "y": 50 + steps[:, 0], "x": 50 + steps[:, 1], "score": 5.0, "position_error": 0.1,
            "at_edge": False, "class_id": rng.integers(0, 2, 60), "probability": 0.9, "orientation": -1, "particle": particle,
            "y_nm": steps[:, 0], "x_nm": steps[:, 1],
        }),
        "tracks",
    )  # fmt: skip


def frames_of(number):
    columns = {"movie": f"movie {number}", "frame": np.arange(12), "time_s": np.arange(12.0)}
    areas = {"ordered": 1.0, "disordered": 0.0, "vacuum": 0.0}
    rows = pd.DataFrame(columns).assign(status=tables.OK, shift_y=0.0, shift_x=0.0, **areas)
    return tables.conform(rows.assign(shift_quality=1.0, n_detections=5), "frames")


CLASSES = pd.DataFrame({"class_id": [0, 1], "name": ["V_S", "Mo_W"]})


def asked(store, numbers):
    """Return what a run asks of some movies, all at once and movie by movie."""
    movies = [
        {
            "movie": f"movie {n}", "n_frames": 12, "height_px": 100, "width_px": 100, "pixel_size_nm": 0.03, "frame_time_s": 1.0,
            "dose_rate_e_per_nm2_s": None, "exposure_fraction": None, "source": "", "status": "ok",
        }
        for n in numbers
    ]  # fmt: skip
    frames = pd.concat([frames_of(n) for n in numbers], ignore_index=True)
    experiment = tables.Experiment(movies_of(movies), frames, CLASSES)
    nothing = tables.empty("tracks")[list(READ)]
    words = RunConfig().kinetics
    asking = Asking(nothing, experiment, words, 0.3153, "WS2")
    confusion = Confusion(None, 2)
    ask = Pass(store, "tracks", 1, READ, CLASSES, words, 0.3153, "WS2", confusion)
    return ask, asking, movies


@settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(order=st.lists(st.sampled_from(range(4)), min_size=3, max_size=4))
def test_numbers_add_and_take_movies_away_in_any_order_to_the_same_bit(order):
    """Each drawn movie joins, or leaves if it is there; sums are kept all the while."""
    with tempfile.TemporaryDirectory() as place:
        store, there = Store.at(place), set()
        for number in order:
            there ^= {number}
            block = Block(f"movie {number}", 0, 12)
            store.write_block("tracks", block, rows_added(number), f"tracks {number}")
            store.write_block("frames", block, frames_of(number), f"tracks {number}")
            if there:
                ask, asking, movies = asked(store, sorted(there))
                with connect("synchronous"):
                    found, n_kept = answers_of_movies(ask, asking, movies, None, retries=0)
                assert n_kept >= len(there) - 1
        if not there:
            return
        questions = ask.questions(asking)
        rows = pd.concat([rows_added(n) for n in sorted(there)], ignore_index=True)[list(READ)]
        at_once = dict(zip(questions, answers(rows, list(questions.values())), strict=True))
        for name, expected in at_once.items():
            assert_same_answer(found[name], expected)


def assert_same_answer(found, expected):
    """Compare tables to the bit, and what holds tables."""
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
    elif hasattr(expected, "__dict__"):
        for part, value in vars(expected).items():
            assert_same_answer(getattr(found, part), value)


def test_sums_of_strangers_run_no_code():
    with pytest.raises(ValueError, match="is no kind of sum"):
        unpacked_sums(stranger())


def stranger():
    """Return sums that ask for a class that is none of stemkin's."""
    said = json.dumps({"class": ["subprocess", "Popen"], "fields": ["ls"]}).encode()
    return len(said).to_bytes(8, "little") + said
