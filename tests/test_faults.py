"""Things that break while a run goes on, for real: processes killed, disks full, links cut, stores
that fail. Nothing is lost."""

import contextlib
import json
import os
import random
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chaos.cluster import Cluster, kill_group, wait_for
from chaos.disk import mount
from chaos.verdict import compare

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.errors import LostSchedulerError
from stemkin.movie import Movie, open_movie
from stemkin.pipeline import Inputs
from stemkin.progress import Unwatched
from stemkin.references import sample_numbers
from stemkin.results.store import UnwritableError
from stemkin.schedulers.clients import connect
from stemkin.schedulers.clusters import started_by_us
from stemkin.schedulers.streams import stream
from stemkin.simulation import simulate_movie
from tests.forks import DASK, STEMKIN, started
from tests.strategies import FEW_NUMBERS

CONFIG = RunConfig().with_values(
    calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    detect={"frames_per_block": 1},
    kinetics=FEW_NUMBERS,
)
N_FRAMES = 12

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("forked_workers")]

square = lambda n: n * n  # noqa: E731 - a lambda travels by value, to workers that cannot import this file


class Striking(Unwatched):
    """A watch that calls `strike` once, when so many steps are done; learning is none of them."""

    def __init__(self, strike, after=4):
        self.strike, self.left, self.name = strike, after, ""

    def stage(self, name, total):
        self.name = name

    def advance(self, steps=1, note=""):
        self.left -= steps * (self.name != "learn")
        if self.left <= 0 and self.strike is not None:
            strike, self.strike = self.strike, None
            strike()


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("movies")
    np.save(
        folder / "movie.npy",
        simulate_movie("paper", n_frames=N_FRAMES, shape=(96, 96), seed=1).reader.read(0, N_FRAMES),
    )
    return folder


@pytest.fixture(scope="module")
def model(movies, tmp_path_factory):
    """The folder of a model that all runs use."""
    folder = tmp_path_factory.mktemp("model")
    movie = open_movie(movies / "movie.npy", pixel_size_nm=0.03, frame_time_s=2.25)
    sk.learn(movie, n_frames=4).save(folder)
    return folder


def run(movies, out, model, watch=None):
    """What breaks here breaks before there are numbers; these follow from the tracks."""
    return sk.run(movies, out, config=CONFIG, model=model, watch=watch, until="link")


@pytest.fixture(scope="module")
def quiet(movies, model, tmp_path_factory):
    """The tables of an undisturbed run up to its tracks."""
    out = tmp_path_factory.mktemp("quiet") / "results"
    with connect("threads", workers=2):
        assert run(movies, out, model).exit_code == 0
    return tables_of(out)


def tables_of(results):
    return {
        p.relative_to(results).as_posix(): p.read_bytes() for p in Path(results).rglob("*.parquet")
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Real scheduler and worker processes; `start` brings back what was killed."""
    with real_cluster(tmp_path_factory.mktemp("cluster")) as processes:
        yield processes


class ForkedCluster(Cluster):
    """Its processes are forked; nobody watches over a worker, and none takes a dead one's place."""

    def worker(self):
        return random.choice(self.nannies)

    def _launch(self, kind, *options):
        alone = ["--no-nanny"] if kind == "worker" else []
        words = [kind, "--host", "127.0.0.1", "--no-dashboard", *alone, *options]
        return started(DASK, *words, folder=self.folder, environment=self.environment)


@contextlib.contextmanager
def real_cluster(folder):
    processes = ForkedCluster(folder, dict(os.environ))
    try:
        processes.start()
        yield processes
    finally:
        processes.stop()


def test_a_worker_that_is_killed_costs_nothing(movies, model, quiet, cluster, tmp_path):
    cluster.start()
    out, kill = tmp_path / "results", Striking(lambda: cluster.worker().kill())
    with connect(str(cluster.file)):
        outcome = run(movies, out, model, kill)
    assert outcome.exit_code == 0, outcome.problems
    assert tables_of(out) == quiet


def test_workers_that_come_and_go_with_the_work_cost_nothing(movies, model, quiet, tmp_path):
    from distributed import Client, LocalCluster

    with (
        started_by_us(),
        LocalCluster(
            n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as adaptive,
        Client(adaptive) as client,
    ):
        # a worker goes after a second and a half without work, not between two tasks
        adaptive.adapt(minimum=0, maximum=2, interval="100ms", wait_count=15)
        assert not client.nthreads(), "no worker is there before there is work"
        there = []

        def come_and_go():
            there.append(len(client.nthreads()))
            adaptive.sync(
                adaptive.scheduler.retire_workers, n=1
            )  # one is sent home in the middle of its work

        outcome = run(movies, tmp_path / "results", model, Striking(come_and_go))
        assert outcome.exit_code == 0, outcome.problems
        assert there[0] >= 1
        assert wait_for(lambda: not client.nthreads(), 30), "the workers go when there is no work"
    assert tables_of(tmp_path / "results") == quiet


def test_a_scheduler_that_is_killed_stops_the_run_in_seconds_and_the_next_goes_on(
    movies, model, quiet, cluster, tmp_path
):
    cluster.start()
    out = tmp_path / "results"
    with (
        pytest.raises(LostSchedulerError, match="the same command goes on"),
        connect(str(cluster.file)),
    ):
        run(movies, out, model, Striking(lambda: kill_group(cluster.scheduler)))
    with connect("threads", workers=2):
        assert run(movies, out, model).exit_code == 0
    assert tables_of(out) == quiet
    assert json.loads((out / "run.json").read_text())["blocks"]["reused"] >= 3


def test_a_client_that_is_killed_leaves_a_folder_that_goes_on(movies, model, quiet, tmp_path):
    """One that is interrupted is asked for in test_cli."""
    out = tmp_path / "results"
    (tmp_path / "settings.toml").write_text(CONFIG.to_toml())
    command = ["run", str(movies), "-o", str(out), "--config", str(tmp_path / "settings.toml")]
    command += ["--cluster", "threads", "--workers", "1", "--model", str(model)]
    client = started(STEMKIN, *command, folder=tmp_path)
    try:
        assert wait_for(lambda: len(list(out.glob("steps/*/*.parquet"))) >= 3, 300)
    finally:
        client.kill()
        assert client.wait(20) == -signal.SIGKILL
    with connect("threads", workers=2):
        assert run(movies, out, model).exit_code == 0
    assert tables_of(out) == quiet
    assert not list(out.rglob("*.part"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, which `mount` may make small."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    ).returncode:
        pytest.skip("no right to mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_blames_no_block_and_the_run_goes_on_when_there_is_room(
    movies, model, quiet, small_disk
):
    out = small_disk / "results"

    def filled():
        """Whether the disk could be made as small as what is on it."""
        full = os.statvfs(small_disk)
        taken = (full.f_blocks - full.f_bfree) * full.f_frsize
        how = ["mount", "-o", f"remount,size={taken + 8192}", str(small_disk)]
        return subprocess.run(how, check=False, capture_output=True).returncode == 0

    def strike():
        # Another thread may write between the look and the mount, which is refused then.
        assert wait_for(filled, 10)

    with (
        pytest.raises(UnwritableError, match=r"No space left on device.*the same command goes on"),
        connect("threads", workers=2),
    ):
        run(movies, out, model, Striking(strike))
    mount("-o", "remount,size=100m", str(small_disk))
    assert json.loads((out / "run.json").read_text())["blocks"]["failed"] == []
    with connect("threads", workers=2):
        assert run(movies, out, model).exit_code == 0
    assert tables_of(out) == quiet


@dataclass(frozen=True)
class Deadly:
    """A reader of which one frame ends the process that reads it."""

    inner: Any
    frame: int
    deadly: bool = True

    def __getattr__(self, name):
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def read(self, start, stop):
        if self.deadly and start <= self.frame < stop:
            os._exit(1)
        return self.inner.read(start, stop)


def test_a_frame_that_kills_its_reader_costs_its_block_and_nothing_else(model, tmp_path):
    """One that only its block needs; and, in a movie of its own, one that the next block looks back
    at and that is in the sample which tells the crystal."""
    whole = simulate_movie("paper", n_frames=18, shape=(64, 64), seed=1, name="movie")
    deadly_frames = {"movie 0": 0, "movie 5": 5}
    assert [frame in sample_numbers(18, 64 * 64) for frame in (0, 5)] == [False, True]
    out = tmp_path / "results"

    def inputs(*, deadly):
        listed = [
            Movie(Deadly(whole.reader, frame, deadly), name, whole.calibration)
            for name, frame in deadly_frames.items()
        ]
        return Inputs(["some"], listed, [])

    words = {"config": CONFIG.with_values(detect={"frames_per_block": 6}), "model": model}
    with connect("processes", workers=2):
        assert sk.run(inputs(deadly=True), out, until="detect", **words).exit_code == 3
    said = json.loads((out / "run.json").read_text())
    failed = said["blocks"]["failed"]
    assert sorted(b["movie"] for b in failed) == ["movie 0", "movie 5"]
    assert {b["start"] for b in failed} == {0}
    assert "KilledWorker" in failed[0]["error"]
    assert "Traceback" in failed[0]["traceback"] or "KilledWorker" in failed[0]["traceback"]
    assert said["stages"]["crystals"]["left_out"] == {"movie 5": [5]}
    alone = said["stages"]["detect"]["did_not_look_back"]
    assert [(b["movie"], b["start"]) for b in alone] == [("movie 5", 6)]
    told = [one for one in said["warnings"] if "could not be read" in one]
    assert len(told) == 2, "what was left out, and who did not look back"
    with connect("threads", workers=2):
        assert sk.run(inputs(deadly=False), out, until="detect", **words).exit_code == 0
        sk.run(inputs(deadly=False), tmp_path / "calm", until="detect", **words)
    assert tables_of(out) == tables_of(tmp_path / "calm")


def certificate(folder, name):
    """A certificate of its own that signs itself."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
        cwd=folder, check=False, capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl here")
    return folder / f"{name}.pem", folder / f"{name}.key"


def test_a_cluster_over_tls_serves_who_has_its_certificate_and_nobody_else(tmp_path, monkeypatch):
    from distributed import Security

    from stemkin.schedulers import clients

    monkeypatch.setattr(clients, "START_TIMEOUT_S", 3.0)
    ours, key = certificate(tmp_path, "ours")
    others, other_key = certificate(tmp_path, "others")
    tls = ["--tls-ca-file", str(ours), "--tls-cert", str(ours), "--tls-key", str(key)]
    with real_cluster_over(tmp_path, tls) as address:
        assert address.startswith("tls://")
        folder = tmp_path / "certificates"
        folder.mkdir()
        for source, name in ((ours, "ca.pem"), (ours, "cert.pem"), (key, "key.pem")):
            (folder / name).write_bytes(source.read_bytes())
        with connect(address, security=folder) as client:
            client.wait_for_workers(1, timeout=20)
            assert sorted(o.result for o in stream(square, range(5))) == [0, 1, 4, 9, 16]
        bad = Security(
            tls_ca_file=str(others),
            tls_client_cert=str(others),
            tls_client_key=str(other_key),
            require_encryption=True,
        )
        for security, where in ((bad, address), (None, address.replace("tls://", "tcp://"))):
            with (
                pytest.raises(ConnectionError, match="no Dask scheduler answered"),
                connect(where, security=security),
            ):
                pass


def test_workers_that_are_started_here_speak_tls_on_loopback_where_certificates_are_given(tmp_path):
    ours, key = certificate(tmp_path, "ours")
    folder = tmp_path / "certificates"
    folder.mkdir()
    for source, name in ((ours, "ca.pem"), (ours, "cert.pem"), (key, "key.pem")):
        (folder / name).write_bytes(source.read_bytes())
    with connect("processes", workers=1, security=folder) as client:
        addresses = [client.scheduler.address, *client.scheduler_info()["workers"]]
        assert len(addresses) == 2
        assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
        assert [o.result for o in stream(square, [3])] == [9]


@contextlib.contextmanager
def real_cluster_over(folder, tls):
    file = folder / "scheduler.json"
    known = ["--no-dashboard", "--scheduler-file", str(file), *tls]
    there = ["--host", "127.0.0.1", "--port", "0", "--protocol", "tls"]
    processes = [started(DASK, "scheduler", *there, *known, folder=folder)]
    try:
        assert wait_for(file.exists, 30)
        address = json.loads(file.read_text())["address"]
        alone = ["--nthreads", "1", "--no-nanny", "--no-dashboard", *tls]
        processes.append(started(DASK, "worker", address, *alone, folder=folder))
        yield address
    finally:
        for process in processes:
            kill_group(process)


@pytest.fixture
def two_networks():
    """A network namespace with a cable to this one: the addresses of both ends, and who cuts it."""
    # a network of this process's own, so that what a killed run left behind is not in the way
    name, network = f"stk{os.getpid() % 10000}", f"10.231.{os.getpid() % 250}"
    here, there = f"{network}.1", f"{network}.2"

    def ip(*words):
        return subprocess.run(["ip", *words], check=False, capture_output=True).returncode == 0

    made = ip("netns", "add", name) and ip(
        "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b"
    )
    made = (
        made
        and ip("link", "set", f"{name}b", "netns", name)
        and ip("addr", "add", f"{here}/24", "dev", f"{name}a")
    )
    made = (
        made
        and ip("link", "set", f"{name}a", "up")
        and ip("-n", name, "addr", "add", f"{there}/24", "dev", f"{name}b")
    )
    made = (
        made
        and ip("-n", name, "link", "set", f"{name}b", "up")
        and ip("-n", name, "link", "set", "lo", "up")
    )
    try:
        if not made:
            pytest.skip("no right to make network namespaces here")
        yield name, here, there, lambda: ip("link", "set", f"{name}a", "down")
    finally:
        ip("link", "del", f"{name}a")
        ip("netns", "del", name)


def test_a_worker_whose_link_is_cut_costs_its_blocks_a_second_try(
    movies, model, quiet, two_networks, tmp_path
):
    name, here, there, cut = two_networks
    file, out = tmp_path / "scheduler.json", tmp_path / "results"
    soon = {
        **os.environ,
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
        # on a busy machine the other worker gives no sign for seconds, and nobody replaces it
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "12s",
    }
    known = ["--no-dashboard", "--scheduler-file", str(file)]
    worker = ["worker", "--nthreads", "1", "--no-nanny", *known]
    words = {"folder": tmp_path, "environment": soon}
    processes = [started(DASK, "scheduler", "--host", here, "--port", "0", *known, **words)]
    try:
        assert wait_for(file.exists, 30)
        processes.append(started(DASK, *worker, "--host", here, **words))
        processes.append(started(DASK, *worker, "--host", there, network=name, **words))
        with connect(str(file)) as client:
            client.wait_for_workers(2, timeout=90)
            assert {w.split("//")[1].split(":")[0] for w in client.nthreads()} == {here, there}
            outcome = run(movies, out, model, Striking(cut))
            assert [w.split("//")[1].split(":")[0] for w in client.nthreads()] == [here]
        assert outcome.exit_code == 0, outcome.problems
        assert tables_of(out) == quiet
    finally:
        for process in processes:
            kill_group(process)


def test_rows_that_are_lost_or_doubled_are_seen_by_the_benchmark_of_chaos():
    rows = pd.DataFrame({"frame": [0, 1], "y": [1.0, 2.0], "x": [3.0, 4.0]})
    calm_rows = {"/detections/a.parquet": rows}
    assert compare(calm_rows, calm_rows) == {"rows_lost": 0, "rows_doubled": 0, "equal": True}
    less, more = rows.iloc[:1], pd.concat([rows, rows.iloc[:1]])
    assert compare({"/detections/a.parquet": less}, calm_rows) == {
        "rows_lost": 1,
        "rows_doubled": 0,
        "equal": False,
    }
    assert compare({"/detections/a.parquet": more}, calm_rows) == {
        "rows_lost": 0,
        "rows_doubled": 1,
        "equal": False,
    }
