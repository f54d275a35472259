"""Archives and results in an object store that fails for longer than anyone tries: the run ends,
blames no block, and goes on later."""

import io
import json
import signal
import sys

import numpy as np
import pandas as pd
import pytest
from chaos.cluster import wait_for

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.errors import LostSchedulerError, StoppedError, UnreachableError
from stemkin.movie import open_movie
from stemkin.schedulers.clients import connect
from stemkin.simulation import simulate_movie
from tests.forks import STEMKIN, started
from tests.object_stores import s3_at
from tests.test_faults import Striking

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
from chaos.object_store import s3_server  # noqa: E402 - needs moto

pytestmark = pytest.mark.cluster

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    learn={"n_frames": 4},
    detect={"frames_per_block": 3},
)
N_FRAMES = 12
ARCHIVE = "s3://faulty/movies"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An S3 server behind a proxy that can fail, and a movie in it; nobody tries for longer than
    half a second."""
    movie = io.BytesIO()
    np.save(
        movie,
        simulate_movie("paper", n_frames=N_FRAMES, shape=(96, 96), seed=1).reader.read(0, N_FRAMES),
    )
    with s3_server() as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "retries", 2)
        with s3_at(proxy.url, AWS_MAX_ATTEMPTS="1") as fs:
            fs.mkdir("faulty")
            fs.pipe_file(f"{ARCHIVE}/movie.npy", movie.getvalue())
            yield proxy


@pytest.fixture(scope="module")
def calm(store, tmp_path_factory):
    """The model, and the tables of an undisturbed run."""
    model = tmp_path_factory.mktemp("model")
    with connect("threads", workers=2):
        sk.learn(
            open_movie(f"{ARCHIVE}/movie.npy", pixel_size_nm=0.03, frame_time_s=2.25), n_frames=4
        ).save(model)
        assert (
            sk.run(
                ARCHIVE, "s3://faulty/calm", config=CONFIG, model=model, until="detect"
            ).exit_code
            == 0
        )
    return model, tables_of("s3://faulty/calm")


def tables_of(out):
    fs = s3fs.S3FileSystem(use_listings_cache=False)
    root = out.removeprefix("s3://")
    return {
        path.removeprefix(root): fs.cat_file(path)
        for path in fs.find(root)
        if path.endswith(".parquet")
    }


def journal_of(out):
    return json.loads(s3fs.S3FileSystem(use_listings_cache=False).cat_file(f"{out}/run.json"))


@pytest.mark.parametrize("fault", ["503 to all", "dies in half an object"])
def test_a_store_that_fails_for_longer_than_anyone_tries_stops_the_run_which_goes_on_later(
    store, calm, fault, request
):
    model, tables = calm
    out = f"s3://faulty/{request.node.name}"
    try:
        with (
            pytest.raises(StoppedError, match="what is done is kept") as stopped,
            connect("threads", workers=1),
        ):
            sk.run(
                ARCHIVE,
                out,
                config=CONFIG,
                model=model,
                until="detect",
                watch=Striking(lambda: store.fail(fault), after=6),
            )
    finally:
        store.calm()
    assert not isinstance(stopped.value, LostSchedulerError)
    assert store.n_failed > 1
    before = journal_of(out)
    assert before["exit_code"] is None
    assert before["blocks"]["failed"] == []
    with connect("threads", workers=2):
        assert sk.run(ARCHIVE, out, config=CONFIG, model=model, until="detect").exit_code == 0
    assert tables_of(out) == tables
    after = journal_of(out)
    assert after["blocks"]["reused"] >= 2
    assert after["blocks"]["failed"] == []


def test_a_client_that_is_killed_while_it_writes_an_object_leaves_none_of_it_and_the_run_goes_on(
    store, calm, tmp_path
):
    model, tables = calm
    out = "s3://faulty/killed"
    (tmp_path / "settings.toml").write_text(CONFIG.to_toml())
    command = ["detect", ARCHIVE, "-o", out, "--config", str(tmp_path / "settings.toml")]
    command += ["--cluster", "threads", "--workers", "1", "--model", str(model)]
    store.n_blocks = 0
    client = started(STEMKIN, *command, folder=tmp_path)
    try:
        assert wait_for(lambda: store.n_blocks >= 2, 300)
        assert store.catch(), "nothing was being written"
        client.kill()
        assert client.wait(10) == -signal.SIGKILL
    finally:
        client.kill()
        store.released.set()
        store.calm()
    left = tables_of(out)
    assert left
    assert all(pd.read_parquet(io.BytesIO(content)) is not None for content in left.values()), (
        "every object is whole"
    )
    with connect("threads", workers=2):
        assert sk.run(ARCHIVE, out, config=CONFIG, model=model, until="detect").exit_code == 0
    assert tables_of(out) == tables
    assert journal_of(out)["blocks"]["reused"] >= 2


def test_frames_that_a_store_refuses_to_give_are_no_damaged_frames(store):
    movie = open_movie(f"{ARCHIVE}/movie.npy")
    try:
        for fault in ("503", "400: the token is no longer good", "half", "dies in half an object"):
            store.fail(fault)
            with pytest.raises(
                UnreachableError, match=r"s3://faulty/movies/movie.npy is out of reach"
            ):
                movie.reader.read(0, 2)
            with pytest.raises(UnreachableError, match="out of reach"):
                sk.open_archive(ARCHIVE)
    finally:
        store.calm()
    assert movie.reader.read(0, 2).any()


def test_a_store_that_does_not_answer_at_the_start_is_one_sentence_and_exit_code_4(
    store, monkeypatch, capsys
):
    from stemkin import cli

    monkeypatch.setattr(
        sys, "argv", ["stemkin", "run", ARCHIVE, "-o", "s3://faulty/never", "--cluster", "threads"]
    )
    store.fail("503 to all")
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        store.calm()
    assert stop.value.code == 4
    said = capsys.readouterr().err
    assert "is out of reach" in said
    assert len(said.splitlines()) == 1
