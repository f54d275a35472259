"""Where the work runs: threads, local processes, GPUs, a cluster's scheduler, a queue.

Every verb of stemkin uses whichever Dask scheduler is active, so the same script runs everywhere;
`connect` makes one active for the length of a ``with`` block:

>>> with connect("threads", workers=2) as client:   # no cluster, no processes: good for notebooks and small movies
...     client is None
True

=====================  =======================================================================================
``connect()``          one process per core of this machine
``connect("threads")`` threads of this process
``connect("gpu")``     one process per GPU of this machine
``"tcp://host:8786"``  a scheduler that runs already (``tls://`` with `security`)
``"scheduler.json"``   the same, through its scheduler file
``"cluster.toml"``     jobs of a queue: ``kind = "slurm"`` and the options of `dask_jobqueue.SLURMCluster`
=====================  =======================================================================================

A script that starts processes needs ``if __name__ == "__main__":`` around its ``with`` block.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stemkin.schedulers.streams import available_cores
from stemkin.schedulers.workers import check_workers

log = logging.getLogger(__name__)

LOCAL = ("processes", "threads", "synchronous")
START_TIMEOUT_S = 20.0
KEEPING_PAGES = {"MALLOC_TRIM_THRESHOLD_": 256 * 2**20, "MALLOC_MMAP_THRESHOLD_": 64 * 2**20}
"""Dask makes its workers give every freed megabyte back to the system at once, so that each array
of a frame's size is paged in anew; with these the pixel pass takes less than half the time. Set
them for your own workers too (see examples)."""
UNPROFILED = "import dask; dask.config.set({'distributed.worker.profile.enabled': False})"
"""Dask looks at the stack of every worker each 10 ms and keeps what it saw for an hour: 1 MiB for
every 3 s, and 5 % of the time. Said by every local worker itself, as the next one."""
UNPROFILED_JOB = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": False}
"""The same for the job of a queue."""
QUIET = {"DASK_LOGGING__DISTRIBUTED": "critical"}
"""What a task raises comes back with it; what else a local worker says is noise at its end."""
DEAF_TO_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What every local worker does first, one that takes the place of a dead one too: the terminal's
Ctrl-C is this process's alone."""
LEAST_TCP_TIMEOUT_S = 11
"""`distributed` asserts so much in each connection (``set_tcp_timeout``), which then fails without
a word."""

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
def connect(
    where: str | None = None, *, workers: int | None = None, security: Any = None
) -> Iterator[Any]:
    """Make a Dask scheduler active for the length of a ``with`` block and yield its client (None
    for threads).

    Parameters
    ----------
    where
        See the table in the module's docstring; None means ``"processes"``.
    workers
        Number of threads, processes or jobs to start; by default one per core (per GPU, per the
        cluster file). Not for schedulers that run already: their workers are theirs.
    security
        `distributed.Security` for ``tls://`` addresses.

    Raises
    ------
    ValueError
        If `where` is none of these, or `workers` is not positive.
    ConnectionError
        If no scheduler answers there.
    """
    where = where or "processes"
    if workers is not None and workers < 1:
        msg = f"workers must be at least 1, but is {workers}"
        raise ValueError(msg)
    with ExitStack() as stack:
        if where in ("threads", "synchronous"):
            import dask

            stack.enter_context(
                dask.config.set(scheduler=where, num_workers=workers or available_cores())
            )
            yield None
        else:
            yield stack.enter_context(_client(where, workers, security, stack))


def _client(where: str, workers: int | None, security: Any, stack: ExitStack) -> Any:
    """Return a client for `where`; whatever is started for it is closed by `stack`."""
    from distributed import Client

    check_tcp_timeout()
    if where == "processes":
        with started_by_us():
            return Client(stack.enter_context(_local_cluster(workers or available_cores())))
    if where == "gpu":
        with started_by_us():
            return Client(stack.enter_context(_gpu_cluster(workers)))
    if "://" in where:
        return _reach(where, security=security, address=where)
    path = Path(where)
    if path.suffix == ".json":
        return _reach(where, security=security, scheduler_file=_existing(path))
    if path.suffix == ".toml":
        with started_by_us():
            return Client(stack.enter_context(_queue_cluster(_existing(path), workers)))
    msg = (
        f"no scheduler is known as {where!r}; use one of {', '.join(LOCAL)}, gpu, an address such "
        "as tcp://host:8786, "
        "a scheduler file (.json) or a cluster file (.toml)"
    )
    raise ValueError(msg)


def check_tcp_timeout() -> None:
    """Check that Dask can open a connection with the timeout that it is told; with a smaller one it
    would try for ever.

    Raises
    ------
    ValueError
        If it cannot.
    """
    import dask
    import distributed  # noqa: F401 - brings its settings

    given = dask.config.get("distributed.comm.timeouts.tcp")
    if int(dask.utils.parse_timedelta(given, default="seconds")) < LEAST_TCP_TIMEOUT_S:
        msg = (
            f"distributed.comm.timeouts.tcp is {given!r}, and Dask opens no connection with less "
            f"than {LEAST_TCP_TIMEOUT_S} s; set it to 30 s"
        )
        raise ValueError(msg)


@contextmanager
def started_by_us() -> Iterator[None]:
    """Give every scheduler and worker that is started in the ``with`` block the settings that
    stemkin needs."""
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


def _local_cluster(n_workers: int) -> Any:
    """Start one single-threaded process per worker on this machine."""
    from distributed import LocalCluster

    return LocalCluster(n_workers=n_workers, silence_logs=logging.ERROR, **ON_LOOPBACK)


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


def _gpu_cluster(workers: int | None) -> Any:
    """Start one process per GPU, each seeing only its own."""
    gpus = visible_gpus()
    if not gpus:
        msg = 'connect("gpu") found no GPU on this machine; use connect() for its cores'
        raise ValueError(msg)
    gpus = gpus[:workers]
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        return _pinned_workers(gpus)
    return LocalCUDACluster(CUDA_VISIBLE_DEVICES=gpus, resources={"GPU": 1}, **ON_LOOPBACK)


def _pinned_workers(gpus: list[str]) -> Any:
    """Start a `distributed` cluster in which worker k sees GPU k alone; the way round where
    dask-cuda is missing."""
    from distributed import Nanny, Scheduler, SpecCluster

    def worker(gpu: str) -> dict[str, Any]:
        options = {
            "nthreads": 1,
            "resources": {"GPU": 1},
            "env": {"CUDA_VISIBLE_DEVICES": gpu},
            "host": "127.0.0.1",
        }
        return {"cls": Nanny, "options": options}

    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
    return SpecCluster(scheduler=scheduler, workers={f"gpu-{gpu}": worker(gpu) for gpu in gpus})


def visible_gpus() -> list[str]:
    """Return the numbers of this machine's GPUs, as CUDA_VISIBLE_DEVICES has them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip() and gpu.strip() != "-1"]
    return sorted(p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*"))


def _reach(where: str, **options: Any) -> Any:
    """Return a client of a scheduler that runs already."""
    from distributed import Client

    warn_if_open(where)
    try:
        client = Client(timeout=START_TIMEOUT_S, set_as_default=True, **options)
    except (OSError, TimeoutError) as error:
        msg = (
            f"no Dask scheduler answered at {where} within {START_TIMEOUT_S:.0f} s; start one with "
            "`dask scheduler` or check the address"
        )
        raise ConnectionError(msg) from error
    check_workers(client)
    return client


def warn_if_open(address: str) -> None:
    """Warn of an unencrypted scheduler that is not on this machine."""
    if address.startswith("tcp://") and not any(
        host in address for host in ("//127.", "//localhost", "//[::1]")
    ):
        log.warning(
            "%s is not encrypted: whoever reaches it can run code there; use tls:// outside a "
            "private network",
            address,
        )


def _existing(path: Path) -> str:
    if not path.is_file():
        msg = (
            f"there is no file {path}; give the scheduler file that `dask scheduler "
            "--scheduler-file` writes, or a cluster file"
        )
        raise FileNotFoundError(msg)
    return str(path)


def _queue_cluster(path: str, workers: int | None) -> Any:
    """Submit jobs to a queue as the cluster file at `path` says."""
    try:
        options = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        msg = f"the cluster file {path} is no valid TOML: {error}"
        raise ValueError(msg) from error
    kind = options.pop("kind", None)
    if kind not in QUEUES:
        msg = f"the cluster file {path} says kind = {kind!r}; it must be one of {', '.join(QUEUES)}"
        raise ValueError(msg)
    try:
        import dask_jobqueue
    except ImportError as error:
        msg = 'queues need dask-jobqueue; pip install "stemkin[slurm]"'
        raise ValueError(msg) from error
    jobs, maximum = options.pop("jobs", workers or 1), options.pop("maximum_jobs", None)
    options["scheduler_options"] = {
        "dashboard_address": "127.0.0.1:0",
        **options.get("scheduler_options", {}),
    }
    exports = [
        f"export {name}={value}" for name, value in {**KEEPING_PAGES, **UNPROFILED_JOB}.items()
    ]
    options["job_script_prologue"] = [*exports, *options.get("job_script_prologue", [])]
    cluster = getattr(dask_jobqueue, QUEUES[kind])(**options)
    if maximum is None:
        cluster.scale(jobs=workers or jobs)
    else:
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=maximum)
    return cluster
