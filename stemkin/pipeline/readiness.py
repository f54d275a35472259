"""Checks before a run starts, so that it does not fail after an hour: workers and their memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from stemkin.config import DetectSection, RunConfig
from stemkin.description import stored
from stemkin.movie import Movie
from stemkin.pipeline.blocks import edges_of
from stemkin.pipeline.memory import peak_memory_mib
from stemkin.pipeline.pixels import gpu_resource
from stemkin.pipeline.planning import WORKER_BASE_MIB, largest_task_mib, task_mib
from stemkin.results.store import Store
from stemkin.schedulers.active import check_resources
from stemkin.schedulers.workers import check_modules, check_workers, worker_memory_mib

log = logging.getLogger(__name__)

USABLE_SHARE = 0.8
"""Dask gives a worker no new task beyond this share of its memory limit."""
SCHEMES = {
    "s3": ("s3fs", "cloud"),
    "gs": ("gcsfs", "cloud"),
    "http": ("aiohttp", "cloud"),
    "https": ("aiohttp", "cloud"),
}
"""Kind of URL, the package that reads it, and the extra that brings it."""
READ_WITH = {"RosettaReader": ("rsciio", "formats"), "VideoReader": ("av", "video")}
"""Likewise of readers."""


def check_ready(
    movies: Sequence[Movie], store: Store, config: RunConfig, mib: float, client: Any
) -> float:
    """Check that the scheduler can do a run, and return the projected peak of a worker [MiB].

    Raises
    ------
    ValueError
        If a block cannot fit a worker's memory, or no worker offers the resource that tasks ask
        for.
    ConnectionError
        If a worker runs other versions than this process, or lacks a package that these movies
        need.
    """
    if client is not None:
        _await_workers(client)
        check_resources(client, gpu_resource(config.run))
        check_workers(client)
        check_modules(client, modules_needed(movies, store, config))
    limit_mib, n_threads = worker_memory_mib(client)
    check_memory(movies, config.detect, mib, limit_mib=limit_mib, n_threads=n_threads)
    base = WORKER_BASE_MIB
    if client is None:
        # The tasks run in this process, which may hold more by now.
        base = max(base, peak_memory_mib())
    return base + n_threads * largest_task_mib(movies, config.detect, mib)


def check_memory(
    movies: Sequence[Movie],
    detect: DetectSection,
    mib: float,
    *,
    limit_mib: float,
    n_threads: int = 1,
) -> None:
    """Check that the largest block fits into a worker's memory.

    The worker has `limit_mib` and does `n_threads` blocks at once.

    Raises
    ------
    ValueError
        If it does not; the sentence names the setting that would fit.
    """
    room = (USABLE_SHARE * limit_mib - WORKER_BASE_MIB) / n_threads
    for movie in movies:
        longest = max(stop - start for start, stop in edges_of(movie, detect, mib))
        needed = task_mib(movie, longest)
        if needed > room:
            msg = (
                f"blocks of {longest} frames of {movie.name} need about "
                f"{WORKER_BASE_MIB + n_threads * needed:.0f} MiB"
                f" in a worker of {n_threads} threads, whose limit is {limit_mib:.0f} MiB; "
                f"{_cure(movie, room)}"
            )
            raise ValueError(msg)


def _cure(movie: Movie, room: float) -> str:
    """Return the setting with which a task fits into `room` [MiB]."""
    alone = task_mib(movie, 1)
    each = task_mib(movie, 2) - alone
    fitting = 1 + int((room - alone) // each)
    chunk = max(1, movie.reader.frames_per_chunk)
    if fitting < 1:
        return "not even a single frame fits: start workers with more memory or fewer threads"
    whole = fitting // chunk * chunk or fitting
    return (
        f"set frames_per_block = {whole} in [detect], or start workers with more memory or fewer "
        "threads"
    )


def modules_needed(movies: Sequence[Movie], store: Store, config: RunConfig) -> dict[str, str]:
    """Return the optional packages that a worker of this run needs, with the extra of each."""
    needed = {}
    for place in (*(movie.source for movie in movies), store.root):
        scheme, is_url, _ = place.partition("://")
        if is_url and scheme in SCHEMES:
            package, extra = SCHEMES[scheme]
            needed[package] = extra
    for reader in {type(stored(movie)).__name__ for movie in movies} & set(READ_WITH):
        package, extra = READ_WITH[reader]
        needed[package] = extra
    if config.detect.device == "cuda":
        needed["cupy"] = "gpu"
    if config.detect.device == "torch" or config.learn.detector != "fourier":
        needed["torch"] = "network"
    return needed


def _await_workers(client: Any) -> None:
    """Wait for the first worker: a queue is slow, an adaptive cluster starts none unasked."""
    if not client.nthreads():
        log.warning("no worker is there yet; waiting for the first one")
        client.submit(int, pure=False).result()
