"""What a run would do, said before it starts: movies, blocks, bytes and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from stemkin.config import RunConfig
from stemkin.detection import task_bytes
from stemkin.pipeline.opening import open_inputs

WORKER_BASE_MIB = 440.0
"""What a worker holds before its first block: Python and the libraries (measured)."""


@dataclass(frozen=True)
class Plan:
    """The size of a run; `peak_memory_mib` is what a worker with one thread should hold at most."""

    n_movies: int
    n_frames: int
    n_blocks: int
    n_bytes: int
    largest_block_mib: float
    peak_memory_mib: float
    problems: list[str]

    def describe(self) -> str:
        """Return the plan as the lines that ``--dry-run`` prints."""
        lines = [
            f"movies: {self.n_movies}",
            f"frames: {self.n_frames:,}",
            f"blocks: {self.n_blocks:,} (one task each, largest {self.largest_block_mib:.1f} MiB)",
            f"to read: {self.n_bytes / 2**30:.2f} GiB, each frame once",
            f"memory: about {self.peak_memory_mib:.0f} MiB per worker",
        ]
        return "\n".join([*lines, *(f"skipped: {problem}" for problem in self.problems)])


def plan(inputs: str | PathLike[str] | Sequence[str | PathLike[str]], *, config: RunConfig | None = None) -> Plan:
    """Say what a run of `inputs` would do. Lazy: no frame is read.

    Raises
    ------
    ValueError
        If not one of the movies can be used.
    """
    config = config or RunConfig()
    found = open_inputs(inputs, config)
    n_blocks, n_bytes, largest, peak = 0, 0, 0, 0.0
    for movie in found.movies:
        n, height, width = movie.shape
        frame_bytes = height * width * movie.reader.dtype.itemsize
        edges = movie.block_edges(frames_per_block=config.detect.frames_per_block)
        n_blocks += len(edges)
        n_bytes += n * frame_bytes
        frames = max((stop - start for start, stop in edges), default=0)
        largest = max(largest, frames * frame_bytes)
        peak = max(peak, frames * frame_bytes + task_bytes(frames, (height, width)))
    problems = [f"{source}: {reason}" for source, reason in found.problems]
    n_frames = sum(movie.n_frames for movie in found.movies)
    return Plan(
        len(found.movies), n_frames, n_blocks, n_bytes, largest / 2**20, WORKER_BASE_MIB + peak / 2**20, problems
    )
