"""One bad thing costs itself: whatever lies in an archive, its good movies give their exact rows."""

import json
import re
import signal
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.archive import open_archive
from stemkin.config import RunConfig
from stemkin.readers import MovieError
from stemkin.report.keeping import FOLDER as KEPT
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests import strange_things
from tests.strange_things import THINGS
from tests.strategies import FEW_NUMBERS

CALIBRATION = {"pixel_size_nm": 0.03, "frame_time_s": 1.0}
CONFIG = RunConfig().with_values(
    calibration=CALIBRATION,
    learn={"n_frames": 2},
    kinetics=FEW_NUMBERS,
)
TABLES = ("detections", "frames", "tracks")


@contextmanager
def within(seconds):
    """Fail where what happens inside does not end."""

    def stop(*_):
        pytest.fail(f"it took over {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder of two good movies and the model that was learned from them."""
    folder = tmp_path_factory.mktemp("good")
    for name, seed in (("a", 1), ("b", 2)):
        movie = simulate_movie("paper", n_frames=3, shape=(96, 96), seed=seed)
        np.save(folder / f"{name}.npy", movie.reader.read(0, 3))
    sk.learn(sk.open_movie(folder / "a.npy", **CALIBRATION), n_frames=2).save(folder / "model")
    return folder


@pytest.fixture
def archive(good, tmp_path):
    """A folder with copies of the good movies, for strange things to be put in."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes((good / name).read_bytes())
    yield folder
    strange_things.remove(folder)


@pytest.mark.parametrize("name", THINGS)
def test_a_strange_thing_is_a_reason_and_the_good_movies_open(archive, name):
    make, reason = THINGS[name]
    make(archive, archive / "a.npy")
    with within(20):
        opened = open_archive(archive, **CALIBRATION)
    assert {"a", "b"} <= {movie.name for movie in opened}
    for _, said in opened.problems:
        assert said.encode()
        assert len(said.splitlines()) == 1
    if reason is None:
        assert not opened.problems
    else:
        assert any(re.search(reason, said) for _, said in opened.problems)


@settings(max_examples=10)
@given(names=st.lists(st.sampled_from(sorted(THINGS)), unique=True, max_size=6))
def test_strange_things_together_do_not_hide_good_movies(good, tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("several")
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes((good / name).read_bytes())
    for name in names:
        THINGS[name][0](folder, folder / "a.npy")
    with within(20):
        for source in (folder, f"{folder}/**/*.npy"):
            opened = open_archive(source, **CALIBRATION)
            assert {"a", "b"} <= {movie.name for movie in opened}
            assert len({movie.name for movie in opened}) == len(opened)
    strange_things.remove(folder)


def rows_of(results, table, movie):
    return (results / table / movie / "000000000-000000003.parquet").read_bytes()


@pytest.fixture(scope="module")
def disturbed(good, tmp_path_factory):
    """Results of the good movies alone, and with one of every strange thing beside them."""
    root = tmp_path_factory.mktemp("disturbed")
    folder = root / "archive"
    folder.mkdir()
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes((good / name).read_bytes())
    with connect("threads", workers=2), within(100):
        sk.run(folder, root / "calm", config=CONFIG, model=good / "model", until="link")
        for make, _ in THINGS.values():
            make(folder, folder / "a.npy")
        outcome = sk.run(folder, root / "results", config=CONFIG, model=good / "model")
    yield root, outcome
    strange_things.remove(folder)


def test_good_movies_among_every_strange_thing_give_their_exact_rows(disturbed):
    root, outcome = disturbed
    assert outcome.exit_code == 3
    for table in TABLES:
        for movie in "ab":
            assert rows_of(root / "results", table, movie) == rows_of(root / "calm", table, movie)


def test_names_that_are_no_text_survive_every_file_of_a_run(disturbed):
    root, _ = disturbed
    results = root / "results"
    movies = {one["movie"] for one in json.loads((results / "run.json").read_text())["movies"]}
    assert {"%E9tude.npy", "d%E9but/film"} <= movies or "d%E9but/film" in movies
    named = pd.read_parquet(results / "populations.parquet")["movie"].unique()
    assert "d%E9but/film" in set(named)
    for file in results.rglob("*"):
        if file.suffix in (".json", ".jsonl", ".html", ".csv", ".svg"):
            file.read_text(encoding="utf-8")
    assert "d%E9but/film" in (results / "report.html").read_text()
    kept = "\n".join(file.read_text() for file in (results / KEPT).rglob("*.csv"))
    assert "d%E9but/film" in kept


@pytest.mark.parametrize("kind", ["a_pipe", "a_socket", "a_device", "a_link_to_nothing"])
def test_what_is_no_file_is_refused_where_it_is_named(tmp_path, kind):
    make, _ = THINGS[kind]
    make(tmp_path, None)
    (path,) = tmp_path.iterdir()
    with within(5), pytest.raises((MovieError, FileNotFoundError)) as refused:
        sk.open_movie(path)
    assert len(str(refused.value).splitlines()) == 1
    with within(5):
        if kind == "a_link_to_nothing":
            with pytest.raises(FileNotFoundError):
                open_archive(path)
        else:
            assert open_archive(path).problems


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fsspec's FTP
@pytest.mark.parametrize(
    "entry",
    [
        "nosuch://bucket/a.npy",
        "ftp://",
        "reference://store",
        "simplecache://x",
        "github://owner/a.npy",
        "filecache::s3://x/y.npy",
        "zip://x.npy",
        "://x",
        "::",
        "sftp://h/x.npy",
        "%00",
        "..",
        "x" * 5000,
    ],
)
def test_a_manifest_entry_that_cannot_be_costs_itself(archive, entry):
    (archive / "m.csv").write_text(f'path\na.npy\n"{entry}"\nb.npy\n')
    with within(20):
        opened = open_archive(archive / "m.csv", **CALIBRATION)
    assert [movie.name for movie in opened] == ["a", "b"]
    ((_, said),) = opened.problems
    assert said
    assert len(said.splitlines()) == 1


def test_a_glob_meets_each_movie_once_although_links_go_round(archive):
    (archive / "self").symlink_to(".")
    (archive / "day").mkdir()
    (archive / "day" / "up").symlink_to("..")
    (archive / "day" / "c.npy").write_bytes((archive / "a.npy").read_bytes())
    opened = open_archive(f"{archive}/**/*.npy", **CALIBRATION)
    assert [movie.name for movie in opened] == ["a", "b", "day/c"]


def test_folders_that_links_alone_lead_to_are_searched(archive, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.npy").write_bytes((archive / "a.npy").read_bytes())
    (archive / "linked").symlink_to(elsewhere)
    assert [m.name for m in open_archive(archive, **CALIBRATION)] == ["a", "b", "linked/c"]


@pytest.mark.skipif("os.geteuid() == 0", reason="root may read everything")
def test_a_movie_that_may_not_be_read_costs_itself(archive):
    (archive / "a.npy").chmod(0)
    opened = open_archive(archive, **CALIBRATION)
    assert [movie.name for movie in opened] == ["b"]
    (archive / "a.npy").chmod(0o600)
