"""`connect` makes a scheduler active, or says in one sentence why not."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from stemkin import scheduling
from stemkin.scheduling import connect
from stemkin.streaming import active_client, stream

square = lambda n: n * n  # noqa: E731 - a lambda travels by value, to workers that cannot import this file


@contextmanager
def real_cluster(folder, n_workers=2):
    """A `dask scheduler` and `dask worker` processes on loopback, found through their scheduler file."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    ]
    commands += [
        [
            *dask,
            "worker",
            "--scheduler-file",
            str(file),
            "--nthreads",
            "1",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--resources",
            "GPU=1",
        ]
    ] * n_workers
    processes = [
        subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) for c in commands
    ]
    try:
        deadline = time.monotonic() + 20
        while not file.exists():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.05)
        yield file
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


@pytest.mark.cluster
def test_a_scheduler_that_runs_already_is_reached_by_file_and_by_address(tmp_path):
    with real_cluster(tmp_path) as file:
        with connect(str(file)) as client:
            client.wait_for_workers(2, timeout=20)
            assert sorted(o.result for o in stream(square, range(5), resources={"GPU": 1})) == [0, 1, 4, 9, 16]
        with connect(json.loads(file.read_text())["address"]) as client:
            assert active_client() is client
            assert client.submit(square, 3).result() == 9


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch):
    monkeypatch.setattr(scheduling, "START_TIMEOUT_S", 0.5)
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answered at tcp://127.0.0.1:1 "),
        connect("tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("nonsense", "no scheduler is known as 'nonsense'"),
        ("missing.json", "there is no file missing.json"),
        ("missing.toml", "there is no file missing.toml"),
    ],
)
def test_what_is_no_scheduler_is_one_sentence(where, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence), connect(where):
        pass


def test_no_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match="found no GPU"), connect("gpu"):
        pass


@pytest.mark.parametrize(
    ("text", "sentence"), [("kind = 'abacus'", "kind = 'abacus'"), ("kind = ", "no valid TOML"), ("", "kind = None")]
)
def test_a_bad_cluster_file_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(ValueError, match=sentence), connect(str(tmp_path / "cluster.toml")):
        pass


def test_workers_must_be_positive():
    with pytest.raises(ValueError, match="workers must be at least 1, but is 0"), connect("threads", workers=0):
        pass


def test_workers_of_another_version_are_refused():
    class Cluster:
        def run(self, _):
            return {"tcp://a": "0.0.1", "tcp://b": None}

    with pytest.raises(ConnectionError, match=r"2 of the cluster's workers .* tcp://a has stemkin 0\.0\.1"):
        scheduling.check_workers(Cluster())


@pytest.mark.parametrize(
    ("address", "warned"),
    [("tcp://cluster:8786", True), ("tcp://127.0.0.1:8786", False), ("tls://cluster:8786", False)],
)
def test_an_unencrypted_scheduler_elsewhere_draws_a_warning(caplog, address, warned):
    scheduling.warn_if_open(address)
    assert ("not encrypted" in caplog.text) == warned
