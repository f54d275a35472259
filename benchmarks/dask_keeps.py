"""What Dask keeps of tasks and workers that are long over, shown without a run of stemkin.

Three things grow in a process that holds a client and a scheduler: the last 1,000 messages of every
connection, one span and one group of tasks for each update of the graph, and every worker that came
and went (`distributed` remembers handlers that were called, which are methods of the worker).
stemkin bounds all three (`stemkin/schedulers/clusters.py`, `crews.py`); the second by what its own
streams send, so that spans and groups of tasks grow here with ``--bounded`` too.

    python benchmarks/dask_keeps.py
    python benchmarks/dask_keeps.py --bounded
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from typing import Any

import dask
import numpy as np
import psutil
from distributed import Client, LocalCluster

from stemkin.schedulers.clusters import SHORT_MEMORY, forget_closed_servers

QUIET = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": None}


def total(frame: np.ndarray) -> float:
    """Return a sum: a task that carries 32 kB and gives back a number."""
    return float(frame.sum())


def one_round(cluster: Any, client: Any) -> None:
    """Do 200 tasks in 50 updates of the graph, on workers that go and come again."""
    cluster.scale(0)
    while cluster.scheduler_info["workers"]:
        time.sleep(0.02)
    cluster.scale(2)
    client.wait_for_workers(2)
    rng = np.random.default_rng(0)
    for _ in range(50):
        frames = rng.random((4, 64, 64))
        client.gather(client.map(total, list(frames), pure=False))


def main() -> None:
    """Print what is kept after each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bounded", action="store_true", help="as stemkin's clusters are")
    asked = parser.parse_args()
    settings: dict[str, Any] = {"distributed.worker.profile.enabled": False}
    if asked.bounded:
        settings |= SHORT_MEMORY
    dask.config.set(settings)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, **QUIET) as cluster,
        Client(cluster) as client,
    ):
        for number in range(1, asked.rounds + 1):
            one_round(cluster, client)
            if asked.bounded:
                forget_closed_servers()
            gc.collect()
            met = Counter(type(one).__name__ for one in gc.get_objects())
            memory = psutil.Process().memory_info().rss / 2**20
            print(
                f"round {number}: {memory:6.1f} MiB, {met['Worker']} workers (2 at work), "
                f"{met['Span']} spans, {met['TaskGroup']} groups of tasks",
                flush=True,
            )


if __name__ == "__main__":
    main()
