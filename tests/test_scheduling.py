"""`connect` makes a scheduler active, or says in one sentence why not."""

import gc
import json
import os
import signal
import sys
import threading
import time
import weakref
from contextlib import contextmanager

import dask
import pytest
from chaos.cluster import kill_group
from distributed import Client

from stemkin.schedulers import clients, clusters, crews, workers
from stemkin.schedulers.absent_workers import NOBODY, AbsentWorkers
from stemkin.schedulers.active import active_client
from stemkin.schedulers.clients import connect
from stemkin.schedulers.streams import stream
from tests.forks import DASK, anew, started

square = lambda n: n * n  # noqa: E731 - a lambda travels by value, to workers that cannot import this file


@contextmanager
def real_cluster(folder, n_workers=2, start=started):
    """A `dask scheduler` and `dask worker` processes on loopback, found through their scheduler
    file."""
    file = folder / "scheduler.json"
    known = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    worker = ["worker", *known, "--nthreads", "1", "--no-nanny", "--resources", "GPU=1"]
    processes = [started(DASK, "scheduler", *known, "--port", "0", folder=folder)]
    processes += [start(DASK, *worker, folder=folder) for _ in range(n_workers)]
    try:
        wait_for(file.exists)
        yield file
    finally:
        for process in processes:
            kill_group(process)


@pytest.mark.cluster
def test_a_scheduler_that_runs_already_is_reached_by_file_and_by_address(tmp_path):
    with real_cluster(tmp_path) as file:
        with connect(str(file)) as client:
            client.wait_for_workers(2, timeout=20)
            assert sorted(o.result for o in stream(square, range(5), resources={"GPU": 1})) == [
                0,
                1,
                4,
                9,
                16,
            ]
        with connect(json.loads(file.read_text())["address"]) as client:
            assert active_client() is client
            assert client.submit(square, 3).result() == 9


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch):
    monkeypatch.setattr(clients, "START_TIMEOUT_S", 0.5)
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
    ("text", "sentence"),
    [("kind = 'abacus'", "kind = 'abacus'"), ("kind = ", "no valid TOML"), ("", "kind = None")],
)
def test_a_bad_cluster_file_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(ValueError, match=sentence), connect(str(tmp_path / "cluster.toml")):
        pass


@pytest.mark.parametrize("where", ["processes", "tcp://127.0.0.1:1"])
def test_a_timeout_with_which_dask_opens_no_connection_is_one_sentence(where):
    with (
        dask.config.set({"distributed.comm.timeouts.tcp": "2s"}),
        pytest.raises(ValueError, match=r"distributed.comm.timeouts.tcp is '2s'.*less than 11 s"),
        connect(where),
    ):
        pass


def test_the_least_timeout_is_the_one_that_dask_asserts():
    import inspect

    from distributed.comm.tcp import set_tcp_timeout

    assert "assert timeout >= nprobes + 1" in inspect.getsource(set_tcp_timeout)
    assert "nprobes = 10" in inspect.getsource(set_tcp_timeout)
    assert clients.LEAST_TCP_TIMEOUT_S == 11


def settings_there():
    profiled = dask.config.get("distributed.worker.profile.enabled")
    return (
        os.environ["MALLOC_MMAP_THRESHOLD_"],
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        profiled,
    )


def where_pages_are_served(dask_scheduler):
    """The addresses at which the dashboard, and whatever else speaks HTTP, listens."""
    sockets = dask_scheduler.http_server._sockets.values()
    return sorted({one.getsockname()[0] for one in sockets})


def messages_kept(dask_scheduler):
    """How many messages of each connection the scheduler remembers at most."""
    streams = [*dask_scheduler.stream_comms.values(), *dask_scheduler.client_comms.values()]
    return max(one.recent_message_log.maxlen for one in streams)


@pytest.mark.cluster
@pytest.mark.parametrize("where", ["processes", "gpu"])
def test_every_cluster_that_we_start_has_our_settings_its_later_workers_too(monkeypatch, where):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with connect(where, workers=1) as client:
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 0
        assert client.run_on_scheduler(where_pages_are_served) == ["127.0.0.1"]
        assert client.run_on_scheduler(messages_kept) <= 20
        [(first, settings)] = client.run(settings_there).items()
        assert settings == (str(64 * 2**20), True, False)
        client.run(os._exit, 1, on_error="ignore")
        # One question a look: the first worker can go between two, and leave none at all.
        wait_for(lambda: set(client.nthreads()) - {first})
        assert list(client.run(settings_there).values()) == [(str(64 * 2**20), True, False)]
        assert all(
            "127.0.0.1" in address for address in (client.scheduler.address, *client.nthreads())
        )


def test_a_worker_that_was_closed_is_let_go():
    """Dask remembers the handlers of every server that was ever called, and so the server."""
    from distributed import LocalCluster

    quiet = {"host": "127.0.0.1", "dashboard_address": None, "protocol": "tcp"}
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **quiet)
    with cluster, Client(cluster) as client:
        assert client.submit(square, 3).result() == 9
        worker = weakref.ref(cluster.workers[0])
        cluster.scale(0)
        wait_for(lambda: not cluster.workers)
        wait_for(lambda: clusters.forget_closed_servers() or gc.collect() < 0 or worker() is None)


def test_a_run_that_waits_for_workers_says_so_once_and_goes_on_when_one_comes(monkeypatch, caplog):
    from functools import partial

    from distributed import LocalCluster

    monkeypatch.setattr(crews, "AbsentWorkers", partial(AbsentWorkers, every_s=0.02))
    alone = {"threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=0, **alone) as cluster, Client(cluster):

        def come():
            try:
                wait_for(lambda: NOBODY in caplog.messages)
                time.sleep(0.2)  # it looks ten times more
            finally:
                cluster.scale(1)

        helper = threading.Thread(target=come)
        helper.start()
        with monkeypatch.context() as patch:
            patch.setattr(crews, "_width", lambda: 2)
            assert sorted(one.result for one in stream(abs, [-1, 2, -3])) == [1, 2, 3]
        helper.join()
    assert caplog.messages.count(NOBODY) == 1


def test_the_jobs_of_a_queue_keep_their_pages_and_the_dashboard_stays_on_loopback(
    monkeypatch, tmp_path
):
    import types

    class SLURMCluster:
        def __init__(self, **options):
            self.options, self.asked = options, {}

        def adapt(self, **numbers):
            self.asked = numbers

    monkeypatch.setitem(
        sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=SLURMCluster)
    )
    file = tmp_path / "cluster.toml"
    file.write_text(
        "kind = 'slurm'\njobs = 0\nmaximum_jobs = 8\njob_script_prologue = ['source mine']\n"
    )
    cluster = clusters.queue_cluster(str(file), None)
    assert cluster.asked == {"minimum_jobs": 0, "maximum_jobs": 8}
    assert cluster.options["scheduler_options"] == {"dashboard_address": "127.0.0.1:0"}
    assert cluster.options["job_script_prologue"][-1] == "source mine"
    assert "export MALLOC_MMAP_THRESHOLD_=67108864" in cluster.options["job_script_prologue"]
    assert (
        "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False"
        in cluster.options["job_script_prologue"]
    )
    file.write_text(
        "kind = 'slurm'\nmaximum_jobs = 8\n[scheduler_options]\ndashboard_address = ':8787'\n"
    )
    assert clusters.queue_cluster(str(file), None).options["scheduler_options"] == {
        "dashboard_address": ":8787"
    }


def wait_for(condition, limit_s=20):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def test_workers_must_be_positive():
    with (
        pytest.raises(ValueError, match="workers must be at least 1, but is 0"),
        connect("threads", workers=0),
    ):
        pass


@pytest.mark.parametrize(
    ("package", "version", "met"),
    [
        ("stemkin", "0.0.1", "stemkin 0.0.1"),
        ("stemkin", None, "no stemkin"),
        ("dask", "1.0", "dask 1.0"),
    ],
)
def test_a_worker_of_another_version_is_named(package, version, met):
    class Cluster:
        def run(self, function, on_error):
            return {"tcp://a": function(), "tcp://b": {**function(), package: version}}

    with pytest.raises(ConnectionError, match=f"the worker tcp://b cannot run this: it has {met}"):
        workers.check_workers(Cluster())


def test_a_worker_that_leaves_while_it_is_asked_is_left_out_and_one_that_fails_is_not():
    from distributed.comm.core import CommClosedError

    class Cluster:
        trouble = CommClosedError("in <TCP (closed) Scheduler Broadcast>: Stream is closed")

        def run(self, function, *arguments, on_error):
            assert on_error == "return"
            return {"tcp://a": function(*arguments), "tcp://b": self.trouble}

    cluster = Cluster()
    workers.check_workers(cluster)
    workers.check_modules(cluster, {"json": "cloud"})
    cluster.trouble = RuntimeError("no")
    with pytest.raises(RuntimeError, match="no"):
        workers.check_workers(cluster)


def test_a_worker_without_a_needed_package_is_named_with_the_extra_that_brings_it():
    class Cluster:
        def run(self, function, *arguments, on_error):
            return {"tcp://a": [], "tcp://b": function(*arguments)}

    with pytest.raises(
        ConnectionError, match=r'tcp://b lacks no_such_package.*pip install "stemkin\[cloud\]"'
    ):
        workers.check_modules(Cluster(), {"json": "cloud", "no_such_package": "cloud"})


@pytest.mark.cluster
def test_a_real_worker_without_stemkin_is_named_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "stemkin.py").write_text("raise ImportError")
    one = {"n_workers": 1, "start": anew}
    with real_cluster(tmp_path, **one) as file, Client(scheduler_file=str(file)) as client:
        client.wait_for_workers(1, timeout=20)
        with pytest.raises(ConnectionError, match=r"no stemkin"):
            workers.check_workers(client)


@pytest.mark.parametrize(
    ("address", "warned"),
    [("tcp://cluster:8786", True), ("tcp://127.0.0.1:8786", False), ("tls://cluster:8786", False)],
)
def test_an_unencrypted_scheduler_elsewhere_draws_a_warning(caplog, address, warned):
    clients.warn_if_open(address)
    assert ("not encrypted" in caplog.text) == warned


def test_a_folder_of_certificates_is_all_that_tls_takes(tmp_path):
    for name in clients.CERTIFICATES[:2]:
        (tmp_path / name).write_text("")
    with (
        pytest.raises(FileNotFoundError, match=r"key.pem; a folder for TLS holds ca.pem, cert.pem"),
        connect("tls://127.0.0.1:1", security=tmp_path),
    ):
        pass
    (tmp_path / "key.pem").write_text("")
    made = clients._security(str(tmp_path))
    assert made.require_encryption
    assert made.tls_ca_file == str(tmp_path / "ca.pem")
    assert clients._security(made) is made


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("threads", "with 'threads' nothing is sent"),
        ("synchronous", "with 'synchronous' nothing is sent"),
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1 is not encrypted.*use tls://127.0.0.1:1"),
    ],
)
def test_certificates_where_nothing_would_be_encrypted_are_one_sentence(where, said):
    from distributed import Security

    with pytest.raises(ValueError, match=said), connect(where, security=Security.temporary()):
        pass


def test_certificates_reach_the_jobs_of_a_queue(monkeypatch, tmp_path):
    import types

    class SLURMCluster:
        def __init__(self, **options):
            self.options = options

        def scale(self, jobs):
            self.jobs = jobs

    queues = types.SimpleNamespace(SLURMCluster=SLURMCluster)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", queues)
    (tmp_path / "cluster.toml").write_text("kind = 'slurm'\n")
    security = object()
    cluster = clusters.queue_cluster(str(tmp_path / "cluster.toml"), 2, security)
    assert cluster.options["security"] is security
    assert cluster.options["protocol"] == "tls://"
    plain = clusters.queue_cluster(str(tmp_path / "cluster.toml"), 2)
    assert not {"security", "protocol"} & set(plain.options)


def test_every_command_that_goes_to_a_scheduler_takes_certificates():
    from typer.main import get_command

    from stemkin.cli.commands import app

    options = {
        name: {option for one in command.params for option in one.opts}
        for name, command in get_command(app).commands.items()
    }
    somewhere = {name for name, known in options.items() if "--cluster" in known}
    assert {"run", "check", "link"} <= somewhere
    assert all("--tls" in options[name] for name in somewhere)
