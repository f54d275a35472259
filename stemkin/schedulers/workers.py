"""The workers of a cluster: their versions, what they can load, how much memory they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from stemkin.blas import one_thread
from stemkin.schedulers.active import active_client, n_threads


@contextmanager
def workers_on_one_thread() -> Iterator[None]:
    """Give the linear algebra of the active client's workers one thread for a ``with`` block.

    For tasks that another library makes; those of stemkin bound themselves.
    """
    client = active_client()
    if client is None:
        yield
        return
    from distributed import WorkerPlugin

    class Bound(WorkerPlugin):
        """Enters and leaves `one_thread` in the worker's own thread."""

        name = f"stemkin-one-thread-{uuid4()}"

        def setup(self, worker: Any) -> None:  # noqa: ARG002 - distributed calls it so
            one_thread.__enter__()

        def teardown(self, worker: Any) -> None:  # noqa: ARG002
            one_thread.__exit__()

    client.register_plugin(Bound())
    try:
        yield
    finally:
        client.unregister_worker_plugin(Bound.name)


def check_workers(client: Any) -> None:
    """Check that the workers of `client` can run stemkin: same versions, before an hour is spent.

    Raises
    ------
    ConnectionError
        If a worker has no stemkin, or another version of it, of Python, or of Dask.
    """

    # Stands in here to travel by value, to workers without stemkin too.
    def versions() -> dict[str, str | None]:
        import importlib
        import platform

        found: dict[str, str | None] = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for package in ("stemkin", "dask", "distributed"):
            try:
                found[package] = importlib.import_module(package).__version__
            except ImportError:
                found[package] = None
        return found

    here = versions()
    for worker, there in answers_of(client, versions).items():
        for package, version in here.items():
            if there[package] != version:
                met = f"{package} {there[package]}"
                if there[package] is None:
                    met = f"no {package}"
                msg = (
                    f"the worker {worker} cannot run this: it has {met}, this client {version}; "
                    "install the same version there"
                )
                raise ConnectionError(msg)


def answers_of(client: Any, question: Callable[..., Any], *words: Any) -> dict[str, Any]:
    """Return what every worker answers, by its address; of one that leaves meanwhile nothing.

    Workers that come and go with the work may go at any moment.
    """
    found = client.run(question, *words, on_error="return")
    for answer in found.values():
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    return {who: one for who, one in found.items() if not isinstance(one, Exception)}


def check_modules(client: Any, needed: dict[str, str]) -> None:
    """Check that workers can load packages (`needed`: name, and the extra of stemkin with it).

    Raises
    ------
    ConnectionError
        If a worker cannot.
    """
    if not needed:
        return
    for worker, lacking in answers_of(client, _missing_here, list(needed)).items():
        if lacking:
            msg = (
                f"the worker {worker} lacks {lacking[0]}, which this run needs; install it there: "
                f'pip install "stemkin[{needed[lacking[0]]}]"'
            )
            raise ConnectionError(msg)


def _missing_here(modules: list[str]) -> list[str]:
    """Return those of `modules` that this process cannot load."""
    from importlib.util import find_spec

    return [name for name in modules if find_spec(name) is None]


def worker_memory_mib(client: Any) -> tuple[float, int]:
    """Return the smallest memory limit of a worker [MiB], and the largest number of threads of one.

    Without a client that is this machine's (or container's) memory and the threads of this process.
    """
    if client is None:
        from distributed.system import MEMORY_LIMIT

        return MEMORY_LIMIT / 2**20, n_threads()
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [w["memory_limit"] for w in workers if w.get("memory_limit")]  # 0: no limit
    n_most = max((w["nthreads"] for w in workers), default=1)
    return min(limits, default=float("inf")) / 2**20, n_most
