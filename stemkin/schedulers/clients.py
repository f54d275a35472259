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
``"tcp://host:8786"``  a scheduler that runs already (``tls://`` with certificates: `security`)
``"scheduler.json"``   the same, through its scheduler file
``"cluster.toml"``     jobs of a queue: ``kind = "slurm"`` and the options of `dask_jobqueue.SLURMCluster`
=====================  =======================================================================================

A script that starts processes needs ``if __name__ == "__main__":`` around its ``with`` block.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from stemkin.schedulers.active import available_cores
from stemkin.schedulers.clusters import (
    PATIENT,
    SHORT_MEMORY,
    forget_closed_servers,
    gpu_cluster,
    local_cluster,
    queue_cluster,
    started_by_us,
)
from stemkin.schedulers.scripts import check_guarded
from stemkin.schedulers.workers import check_workers

log = logging.getLogger(__name__)

LOCAL = ("processes", "threads", "synchronous")
START_TIMEOUT_S = 20.0
CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
"""What a folder for TLS holds: the authority's certificate, one's own, and its key."""
LEAST_TCP_TIMEOUT_S = 11
"""`distributed` asserts so much in each connection (``set_tcp_timeout``), which then fails without
a word."""


@contextmanager
def connect(
    where: str | None = None, *, workers: int | None = None, security: Any = None
) -> Iterator[Any]:
    """Make a Dask scheduler active for the length of a ``with`` block, and yield its client.

    With threads of this process there is no client, and None is yielded.

    Parameters
    ----------
    where
        See the table in the module's docstring; None means ``"processes"``.
    workers
        Number of threads, processes or jobs to start; by default one per core (per GPU, per the
        cluster file). Not for schedulers that run already: their workers are theirs.
    security
        Encrypts what passes between client, scheduler and workers, those that are started here
        too: a folder with ``ca.pem``, ``cert.pem`` and ``key.pem``, or a `distributed.Security`.
        Peers without a certificate of that authority are refused.

    Raises
    ------
    ValueError
        If `where` is none of these, `workers` is not positive, `security` is given where nothing is
        sent or the address says ``tcp://``, or processes are started by a line of a script that
        each of them would run again.
    ConnectionError
        If no scheduler answers there.
    """
    where = where or "processes"
    if workers is not None and workers < 1:
        msg = f"workers must be at least 1, but is {workers}"
        raise ValueError(msg)
    security = _security(security)
    if security is not None:
        _check_encryptable(where)
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
    import dask

    check_tcp_timeout()
    stack.enter_context(dask.config.set(SHORT_MEMORY))
    stack.callback(forget_closed_servers)
    if where in ("processes", "gpu"):
        check_guarded()
        stack.enter_context(dask.config.set(PATIENT))
    if where == "processes":
        with started_by_us():
            started = local_cluster(workers or available_cores(), security)
            return _client_of(stack.enter_context(started), security)
    if where == "gpu":
        with started_by_us():
            return _client_of(stack.enter_context(gpu_cluster(workers, security)), security)
    if "://" in where:
        return _reach(where, security=security, address=where)
    path = Path(where)
    if path.suffix == ".json":
        return _reach(where, security=security, scheduler_file=_existing(path))
    if path.suffix == ".toml":
        with started_by_us():
            started = queue_cluster(_existing(path), workers, security)
            return _client_of(stack.enter_context(started), security)
    msg = (
        f"no scheduler is known as {where!r}; use one of {', '.join(LOCAL)}, gpu, an address such "
        "as tcp://host:8786, "
        "a scheduler file (.json) or a cluster file (.toml)"
    )
    raise ValueError(msg)


def _client_of(cluster: Any, security: Any) -> Any:
    """Return a client of a cluster that was started here."""
    from distributed import Client

    return Client(cluster, security=security)


def _check_encryptable(where: str) -> None:
    """Check that there is something to encrypt at `where`, and that it is not to be plain.

    Raises
    ------
    ValueError
        If not.
    """
    if where in ("threads", "synchronous"):
        msg = (
            f"with {where!r} nothing is sent, so there is nothing to encrypt; leave the "
            "certificates out, or give another --cluster"
        )
        raise ValueError(msg)
    if where.startswith("tcp://"):
        msg = (
            f"{where} is not encrypted, and certificates were given; use "
            f"{where.replace('tcp://', 'tls://', 1)}, and start the scheduler with --protocol tls"
        )
        raise ValueError(msg)


def _security(given: Any) -> Any:
    """Return what encrypts connections, read from a folder of certificates if it is one.

    Raises
    ------
    FileNotFoundError
        If the folder lacks one of `CERTIFICATES`.
    """
    if not isinstance(given, (str, PathLike)):
        return given
    from distributed import Security

    files = [Path(given) / name for name in CERTIFICATES]
    for file in files:
        if not file.is_file():
            msg = f"there is no file {file}; a folder for TLS holds {', '.join(CERTIFICATES)}"
            raise FileNotFoundError(msg)
    authority, certificate, key = map(str, files)
    return Security(
        require_encryption=True,
        tls_ca_file=authority,
        tls_client_cert=certificate,
        tls_client_key=key,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
    )


def check_tcp_timeout() -> None:
    """Check that Dask can connect with the timeout it is told; with less it would try for ever.

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
    """Return a path to a file, if it is there."""
    if not path.is_file():
        msg = (
            f"there is no file {path}; give the scheduler file that `dask scheduler "
            "--scheduler-file` writes, or a cluster file"
        )
        raise FileNotFoundError(msg)
    return str(path)
