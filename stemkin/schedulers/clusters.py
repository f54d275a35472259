"""Clusters that stemkin starts: processes of this machine, or the jobs of a queue.

Nobody else reaches them, and their workers keep freed pages, are not profiled, and leave the
terminal's Ctrl-C to this process.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stemkin.extras import needed
from stemkin.scratch import check_scratch

KEEPING_PAGES = {"MALLOC_TRIM_THRESHOLD_": 256 * 2**20, "MALLOC_MMAP_THRESHOLD_": 64 * 2**20}
"""Dask makes its workers give every freed megabyte back to the system at once, so that each array
of a frame's size is paged in anew; with these the pixel pass takes less than half the time. Set
them for your own workers too (see examples)."""
UNPROFILED = "import dask; dask.config.set({'distributed.worker.profile.enabled': False})"
"""Dask looks at the stack of every worker each 10 ms and keeps what it saw for an hour: 1 MiB for
every 3 s, and 5 % of the time. Said by every local worker itself, as the next one."""
SHORT_MEMORY = {
    "distributed.admin.low-level-log-length": 20,
    "distributed.admin.system-monitor.log-length": 600,
    "distributed.diagnostics.computations.max-history": 10,
    "distributed.diagnostics.erred-tasks.max-history": 10,
    "distributed.scheduler.events-cleanup-delay": "1 minute",
}
"""What Dask keeps for whoever looks for a fault in it, here less of it. The first one matters: the
last 1,000 messages of every connection, of up to 1 MB each, are kept otherwise, by client, scheduler
and workers. Asked for as long as a client lives."""
SETTINGS_OF_JOBS = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": False,
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": 20,
}
"""What matters of both for the jobs of a queue."""
QUIET = {"DASK_LOGGING__DISTRIBUTED": "critical"}
"""What a task raises comes back with it; what else a local worker says is noise at its end."""
DEAF_TO_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What every local worker does first, one that takes the place of a dead one too: the terminal's
Ctrl-C is this process's alone."""
PATIENT = {"distributed.deploy.lost-worker-timeout": "10 minutes"}
"""On a busy machine the process in the place of a dead worker takes long to start: after the usual
15 s it would be given up, and whoever was to start it closed. Asked for as long as a cluster lives.
"""
ON_LOOPBACK = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
"""How the clusters of this machine are started: nobody else reaches them, nor their dashboard."""
QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
"""The ``kind`` of a cluster file and the class of dask-jobqueue that serves it."""


@contextmanager
def started_by_us() -> Iterator[None]:
    """Give schedulers and workers started in the ``with`` block the settings that stemkin needs."""
    import dask

    settings = {
        "distributed.worker.profile.enabled": False,  # of the scheduler
        "distributed.nanny.pre-spawn-environ": {
            **dask.config.get("distributed.nanny.pre-spawn-environ"),
            **KEEPING_PAGES,
            **QUIET,
        },
        "distributed.worker.preload": [
            *dask.config.get("distributed.worker.preload"),
            UNPROFILED,
            DEAF_TO_CTRL_C,
        ],
        # `stream` tries what was on a dead worker again, alone
        "distributed.scheduler.allowed-failures": 0,
    }
    with dask.config.set(settings), _ctrl_c_is_ours():
        yield


def local_cluster(n_workers: int, security: Any = None) -> Any:
    """Start one single-threaded process per worker on this machine, encrypted by `security`."""
    from distributed import LocalCluster

    check_scratch()
    options = {**ON_LOOPBACK, **_encrypted(security)}
    return LocalCluster(n_workers=n_workers, silence_logs=logging.ERROR, **options)


def forget_closed_servers() -> None:
    """Let go of schedulers, nannies and workers of this process that were closed.

    `distributed` remembers for ever of each handler that was ever called, a method of such a
    server, whether it takes the connection, and with the method the server and all that it knows.
    """
    from distributed import core

    remembered: Any = getattr(core, "_expects_comm", None)
    if hasattr(remembered, "cache_clear"):
        remembered.cache_clear()


def _encrypted(security: Any) -> dict[str, Any]:
    """Return the options of a cluster whose connections `security` encrypts; none without it."""
    if security is None:
        return {}
    return {"security": security, "protocol": "tls://"}


@contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """Start processes that do not hear the terminal's Ctrl-C: this process ends them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def gpu_cluster(workers: int | None, security: Any = None) -> Any:
    """Start one process per GPU, each seeing only its own; connections encrypted by `security`."""
    gpus = visible_gpus()
    if not gpus:
        msg = 'connect("gpu") found no GPU on this machine; use connect() for its cores'
        raise ValueError(msg)
    gpus = gpus[:workers]
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        return _pinned_workers(gpus, security)
    options = {"resources": {"GPU": 1}, **ON_LOOPBACK, **_encrypted(security)}
    return LocalCUDACluster(CUDA_VISIBLE_DEVICES=gpus, **options)


def _pinned_workers(gpus: list[str], security: Any) -> Any:
    """Start a cluster in which worker k sees GPU k alone, where dask-cuda is missing."""
    from distributed import Nanny, Scheduler, SpecCluster

    encrypted = _encrypted(security)

    def worker(gpu: str) -> dict[str, Any]:
        options = {
            "nthreads": 1,
            "resources": {"GPU": 1},
            "env": {"CUDA_VISIBLE_DEVICES": gpu},
            "host": "127.0.0.1",
            **encrypted,
        }
        return {"cls": Nanny, "options": options}

    options = {"host": "127.0.0.1", "dashboard": False, **encrypted}
    workers = {f"gpu-{gpu}": worker(gpu) for gpu in gpus}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": options}, workers=workers, security=security
    )


def visible_gpus() -> list[str]:
    """Return the numbers of this machine's GPUs, as CUDA_VISIBLE_DEVICES has them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip() and gpu.strip() != "-1"]
    return sorted(p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*"))


def queue_cluster(path: str, workers: int | None, security: Any = None) -> Any:
    """Submit jobs to a queue as the cluster file at `path` says; encrypted by `security`."""
    try:
        options = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        msg = f"the cluster file {path} is no valid TOML ({error}); see examples/clusters"
        raise ValueError(msg) from error
    kind = options.pop("kind", None)
    if kind not in QUEUES:
        msg = f"the cluster file {path} says kind = {kind!r}; it must be one of {', '.join(QUEUES)}"
        raise ValueError(msg)
    dask_jobqueue: Any = needed("dask_jobqueue", extra="slurm", wanted_for=f"a queue ({path})")
    jobs, maximum = options.pop("jobs", workers or 1), options.pop("maximum_jobs", None)
    options["scheduler_options"] = {
        "dashboard_address": "127.0.0.1:0",
        **options.get("scheduler_options", {}),
    }
    exports = [
        f"export {name}={value}" for name, value in {**KEEPING_PAGES, **SETTINGS_OF_JOBS}.items()
    ]
    options["job_script_prologue"] = [*exports, *options.get("job_script_prologue", [])]
    options |= _encrypted(security)
    cluster = getattr(dask_jobqueue, QUEUES[kind])(**options)
    if maximum is None:
        cluster.scale(jobs=workers or jobs)
    else:
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=maximum)
    return cluster
