"""The scheduler that is active here: its client, its threads, what its workers offer."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

IN_THIS_PROCESS = ("threads", "synchronous", "sync", "single-threaded")
"""How Dask's settings call the schedulers that need no client."""


def active_client() -> Any:
    """Return the `distributed` client that is active here, or None."""
    import dask

    if dask.config.get("scheduler", None) in IN_THIS_PROCESS:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def n_threads() -> int:
    """Return how many tasks the active scheduler runs at once."""
    client = active_client()
    if client is not None:
        return max(1, int(sum(client.nthreads().values())))
    import dask

    if dask.config.get("scheduler", None) in IN_THIS_PROCESS[1:]:
        return 1
    return int(dask.config.get("num_workers", None) or available_cores())


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_resources(client: Any, resources: dict[str, float] | None) -> None:
    """Check that some worker of `client` offers each of the `resources`."""
    if not resources:
        return
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    offered: set[str] = set()
    offered = offered.union(*(worker.get("resources", {}) for worker in workers))
    missing = sorted(set(resources) - offered)
    if missing:
        msg = (
            f"no worker offers the resource {missing[0]!r}; start workers with --resources "
            f"{missing[0]}=1, or do not ask for it"
        )
        raise ValueError(msg)


def here_alone() -> AbstractContextManager[Any]:
    """Return a context in which a worker computes for itself.

    Its scheduler waits for the answer of this very task.
    """
    import dask
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return nullcontext()
    alone: AbstractContextManager[Any] = dask.config.set(scheduler="synchronous")
    return alone
