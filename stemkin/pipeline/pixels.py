"""The pixel pass: each block is read once, by the worker that searches it, and leaves as rows in the results folder."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from stemkin.config import RunConfig
from stemkin.detection import detect_block
from stemkin.journal import Journal
from stemkin.movie import Movie
from stemkin.pipeline import maps
from stemkin.pipeline.modelling import load_model
from stemkin.progress import Watch
from stemkin.store import BLOCK_TABLES, PIXEL_TABLES, Block, Store, fingerprint, folder_name
from stemkin.streaming import stream

STAGE_VERSION = 3
"""Raised when the same pixels and model would give other rows than before."""


@dataclass(frozen=True)
class PixelTask:
    """All that a worker needs for one block: small, picklable, nothing in it is data."""

    movie: Movie
    block: Block
    store: Store
    model_print: str
    made_of: str


@dataclass(frozen=True)
class PixelSummary:
    """What comes back to the client from one block."""

    block: Block
    n_frames: int
    n_detections: int
    n_bytes: int
    reused: bool
    seconds: float
    peak_memory_mib: float


def run_pixel_pass(
    movies: list[Movie],
    store: Store,
    config: RunConfig,
    model_print: str,
    journal: Journal,
    record: dict[str, Any],
    watch: Watch,
) -> None:
    """Search every block of every movie through the active scheduler. Computes once; blocks done before are kept."""
    edges = {movie.name: movie.block_edges(frames_per_block=config.detect.frames_per_block) for movie in movies}
    blocks = journal.content["blocks"]
    blocks["total"] = sum(map(len, edges.values()))
    for name, pairs in edges.items():
        for table in BLOCK_TABLES:
            store.keep_only(table, name, [Block(name, *pair) for pair in pairs])
    for movie in movies:
        if maps.prepare(movie, store, edges[movie.name]):
            store.keep_only("steps", movie.name, [])  # a block counts as done only if its map is there
    watch.stage("detect", sum(movie.n_frames for movie in movies))
    tasks = pixel_tasks(movies, store, model_print=model_print, edges=edges)
    resources = None if config.run.gpu_per_task is None else {"GPU": config.run.gpu_per_task}
    seen = PassTotals()
    for outcome in stream(detect_to_store, tasks, retries=config.run.retries, resources=resources):
        block = outcome.item.block
        if outcome.result is None:
            forget(store, block)
            error = f"{type(outcome.error).__name__}: {outcome.error}"
            trace = "".join(traceback.format_exception(outcome.error))
            blocks["failed"].append(
                {"movie": block.movie, "start": block.start, "stop": block.stop, "error": error, "traceback": trace}
            )
            journal.save()
        else:
            seen.add(outcome.result)
        watch.advance(block.stop - block.start, seen.note())
    blocks["done"], blocks["reused"] = seen.n_blocks, seen.n_reused
    record.update(seen.summary())


def forget(store: Store, block: Block) -> None:
    """Remove what an earlier run may have left of a block that now fails."""
    for table in PIXEL_TABLES:
        store.remove(table, folder_name(block.movie), block.file_name)


@dataclass
class PassTotals:
    """Sums over the blocks that came back."""

    n_blocks: int = 0
    n_reused: int = 0
    n_frames: int = 0
    n_detections: int = 0
    n_bytes: int = 0
    peak_memory_mib: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def add(self, summary: PixelSummary) -> None:
        """Count one block."""
        self.n_blocks += 1
        self.n_reused += summary.reused
        self.n_frames += 0 if summary.reused else summary.n_frames
        self.n_detections += summary.n_detections
        self.n_bytes += summary.n_bytes
        self.peak_memory_mib = max(self.peak_memory_mib, summary.peak_memory_mib)

    def summary(self) -> dict[str, Any]:
        """Return what ``run.json`` keeps."""
        seconds = time.perf_counter() - self.began
        return {
            "frames_read": self.n_frames,
            "detections_found": self.n_detections,
            "bytes_read": self.n_bytes,
            "frames_per_s": round(self.n_frames / seconds, 2),
            "worker_peak_memory_mib": round(self.peak_memory_mib, 1),
        }

    def note(self) -> str:
        """Return the speed so far."""
        return f"{self.n_frames / (time.perf_counter() - self.began):.1f} frames/s"


def pixel_tasks(
    movies: Iterable[Movie],
    store: Store,
    *,
    model_print: str,
    edges: dict[str, list[tuple[int, int]]],
) -> Iterator[PixelTask]:
    """Yield one task per block of every movie, in order."""
    for movie in movies:
        for start, stop in edges[movie.name]:
            made_of = fingerprint(
                "detect", STAGE_VERSION, movie.name, movie.reader.identity, movie.calibration, start, stop, model_print
            )
            yield PixelTask(movie, Block(movie.name, start, stop), store, model_print, made_of)


def detect_to_store(task: PixelTask) -> PixelSummary:
    """Search one block and write its rows; a block that was done already is left as it is. Computes once."""
    began = time.perf_counter()
    block, store = task.block, task.store
    if all(store.block_made_of(table, block) == task.made_of for table in PIXEL_TABLES):
        return PixelSummary(block, block.stop - block.start, 0, 0, True, time.perf_counter() - began, peak_memory_mib())
    frames, previous = read_with_halo(task.movie, block)
    found = detect_block(
        frames,
        previous,
        first_frame=block.start,
        movie=task.movie,
        model=_model(task.store, task.model_print),
        neighbours=True,
    )
    maps.write(store, block, found.maps)
    assert found.neighbours is not None
    rows = dict(zip(PIXEL_TABLES, (found.detections, found.neighbours, found.regions, found.frames), strict=True))
    for table in PIXEL_TABLES:  # steps last: they say that the block is done
        store.write_block(table, block, rows[table], task.made_of)
    seconds = time.perf_counter() - began
    return PixelSummary(block, len(frames), len(found.detections), frames.nbytes, False, seconds, peak_memory_mib())


def read_with_halo(movie: Movie, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of `block` and the one frame before them (none before the first)."""
    first = max(0, block.start - 1)
    pixels = movie.reader.read(first, block.stop)
    return pixels[block.start - first :], pixels[: block.start - first]


@lru_cache(maxsize=2)
def _model(store: Store, version: str) -> Any:  # noqa: ARG001 - another version is another model
    """Return the model of the results folder, loaded once per worker."""
    return load_model(store, as_learned=True)


def peak_memory_mib() -> float:
    """Return the most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
