"""The plan of a run: movies, blocks, bytes, memory and, after a look at a few frames, time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from stemkin.blas import one_thread
from stemkin.config import DetectSection, RunConfig
from stemkin.detection import BlockResult, detect_block, task_bytes
from stemkin.detection.detectors import FourierDetector
from stemkin.detection.site_rows import BYTES_PER_SITE, HELD_PER_SITE
from stemkin.kernels.crystal.reference import Reference
from stemkin.learning.strata import frames_to_learn_from
from stemkin.movie import Movie
from stemkin.pipeline.blocks import block_mib, edges_of, frame_mib
from stemkin.pipeline.opening import Inputs, open_inputs
from stemkin.progress import in_words
from stemkin.references import reference_crystal

WORKER_BASE_MIB = 490.0
"""What a worker holds before its first block: Python and the libraries (measured)."""
BYTES_PER_DETECTION = 380.0
"""What one detection costs in all tables of the results folder (measured on ``stemkin demo``,
compressed)."""
NAMING_SHARE = 1.45
"""Time of a frame in a run over that of its search alone: describing, naming, maps and writing
(measured: 37 ms over 25.6 ms)."""
BYTES_PER_TRACE, SITE_COPIES = 1.6, 4
"""Of a site and frame in the traces; copies of its signals that a task holds while it writes them."""
SAMPLED_SPOTS, SAMPLED_PIXELS = 3, 2**21
"""The sample is taken at so many places of the archive, of about so many pixels in each."""


@dataclass(frozen=True)
class TimedSample:
    """What a few frames cost on this machine and one thread."""

    read_s_per_frame: float
    search_s_per_frame: float
    detections_per_frame: float
    n_frames: int
    sites_per_frame: float = 0.0


@dataclass(frozen=True)
class RunPlan:
    """The size of a run; `peak_memory_mib` is what a worker with one thread should hold at most."""

    n_movies: int
    n_frames: int
    n_blocks: int
    n_bytes: int
    largest_block_mib: float
    peak_memory_mib: float
    problems: list[str]
    sample: TimedSample | None = None
    workers: int = 1
    longest_block: int = 0
    n_learned: int = 0

    @property
    def n_tasks(self) -> int:
        """Tasks of a run: one per block, one per movie for linking; a window of them at a time."""
        return self.n_blocks + self.n_movies

    @property
    def bytes_to_write(self) -> float | None:
        """Bytes of all tables, as the sample lets expect; None without one."""
        if self.sample is None:
            return None
        return self.n_frames * self.sample.detections_per_frame * BYTES_PER_DETECTION

    @property
    def site_bytes(self) -> float:
        """Bytes of the signals of sites and of their traces, as the sample lets expect."""
        if self.sample is None:
            return 0.0
        return self.n_frames * self.sample.sites_per_frame * (BYTES_PER_SITE + BYTES_PER_TRACE)

    @property
    def site_memory_mib(self) -> float:
        """What a task holds more for the signals of the sites of its block [MiB]."""
        if self.sample is None:
            return 0.0
        each = self.sample.sites_per_frame * SITE_COPIES * HELD_PER_SITE
        return self.longest_block * each / 2**20

    @property
    def seconds(self) -> float | None:
        """Seconds that the pass over the pixels should take, as the sample lets expect, or None."""
        if self.sample is None:
            return None
        each = self.sample.read_s_per_frame + NAMING_SHARE * self.sample.search_s_per_frame
        return self.n_frames * each / min(self.workers, max(1, self.n_blocks))

    def describe(self) -> str:
        """Return the plan as the lines that ``--dry-run`` prints."""
        lines = [
            f"movies: {self.n_movies:,}",
            f"frames: {self.n_frames:,}",
            f"blocks: {self.n_blocks:,} (largest {self.largest_block_mib:.1f} MiB)",
            f"tasks: {self.n_tasks:,} (one per block, one per movie; two per thread in the "
            "scheduler at a time)",
            f"to read: {_bytes(self.n_bytes)}, each frame once",
        ]
        if self.sample is not None and self.bytes_to_write is not None and self.seconds is not None:
            sample = self.sample
            lines += [
                f"to write: about {_bytes(self.bytes_to_write)} ({sample.detections_per_frame:.0f} "
                "detections per frame)",
                f"time: about {in_words(self.seconds)} on {self.workers} workers of this "
                "machine's kind"
                f" ({1e3 * sample.read_s_per_frame:.1f} ms to read and "
                f"{1e3 * sample.search_s_per_frame:.1f} ms to search a frame,"
                f" from {sample.n_frames} frames)",
            ]
        if self.site_bytes > 0 and self.sample is not None:
            lines.append(
                f"traces of sites: about {_bytes(self.site_bytes)} more to write "
                f"({self.sample.sites_per_frame:,.0f} sites per frame, "
                f"{100 * self.site_bytes / self.n_bytes:.1f} % of the pixels), "
                f"{self.site_memory_mib:.0f} MiB more memory per task"
            )
        memory_mib = self.peak_memory_mib + self.site_memory_mib
        lines.append(f"memory: about {memory_mib:.0f} MiB per worker")
        return "\n".join([*lines, *(f"skipped: {problem}" for problem in self.problems)])


@one_thread
def plan_run(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]] | Inputs,
    *,
    config: RunConfig | None = None,
    workers: int = 1,
    look: bool = False,
) -> RunPlan:
    """Plan a run of `inputs`. Reads no frame, unless `look`: then a few, to tell the time.

    Parameters
    ----------
    inputs
        As for `run`.
    config
        Settings; by default those of `RunConfig`.
    workers
        How many will share the work.
    look
        Whether to search a few frames for the sake of an estimate of time and of bytes to write.

    Raises
    ------
    ValueError
        If not one of the movies can be used.
    """
    config = config or RunConfig()
    found = inputs if isinstance(inputs, Inputs) else open_inputs(inputs, config)
    mib = block_mib(found.movies)
    n_blocks, n_bytes, largest, longest = 0, 0, 0.0, 0
    for movie in found.movies:
        edges = edges_of(movie, config.detect, mib)
        n_blocks += len(edges)
        n_bytes += movie.n_frames * int(frame_mib(movie) * 2**20)
        longest = max(longest, _longest(edges))
        largest = max(largest, _longest(edges) * frame_mib(movie))
    return RunPlan(
        len(found.movies),
        sum(movie.n_frames for movie in found.movies),
        n_blocks,
        n_bytes,
        largest,
        WORKER_BASE_MIB + largest_task_mib(found.movies, config.detect, mib),
        [f"{source}: {reason}" for source, reason in found.problems],
        timed_sample(found.movies, config.detect, sites=config.sites.traces) if look else None,
        workers,
        longest,
        len(frames_to_learn_from(found.movies, config.learn.n_frames, seed=config.learn.seed)),
    )


def task_mib(movie: Movie, n_frames: int) -> float:
    """Return what a task holds for a block of `n_frames` [MiB]: its frames and their search."""
    return n_frames * frame_mib(movie) + task_bytes(n_frames, movie.shape[1:]) / 2**20


def largest_task_mib(movies: Iterable[Movie], detect: DetectSection, mib: float) -> float:
    """Return what the largest task of a run should hold beside the worker's own memory [MiB]."""
    return max((task_mib(m, _longest(edges_of(m, detect, mib))) for m in movies), default=0.0)


def timed_sample(
    movies: Sequence[Movie], detect: DetectSection, *, sites: bool = False
) -> TimedSample:
    """Read and search a few frames here and now, in the middle of some movies. Computes once.

    The signals of `sites` are kept, too, where that is asked for.
    """
    detector = FourierDetector(
        false_positives_per_frame=detect.false_positives_per_frame, device=detect.device
    )
    spots = np.linspace(0, len(movies) - 1, SAMPLED_SPOTS).round().astype(int)
    chosen = [movies[i] for i in np.unique(spots)]
    read_s, search_s, n_found, n_sites, n_frames = 0.0, 0.0, 0, 0, 0
    for i, movie in enumerate(chosen):
        crystal = reference_crystal(movie)
        if i == 0:
            _search(
                movie, 0, 1, detector, crystal, sites=sites
            )  # what is made once per worker is made now
        length = max(1, min(movie.n_frames, SAMPLED_PIXELS // (movie.shape[1] * movie.shape[2])))
        start = (movie.n_frames - length) // 2
        seconds, found = _search(movie, start, start + length, detector, crystal, sites=sites)
        read_s, search_s = read_s + seconds[0], search_s + seconds[1]
        n_found, n_frames = n_found + len(found.detections), n_frames + length
        if found.signals is not None:
            n_sites += sum(
                found.signals["metal_u"].map(len) + found.signals["chalcogen_u"].map(len)
            )
    return TimedSample(
        read_s / n_frames, search_s / n_frames, n_found / n_frames, n_frames, n_sites / n_frames
    )


def _search(
    movie: Movie,
    start: int,
    stop: int,
    detector: FourierDetector,
    crystal: Reference | None,
    *,
    sites: bool,
) -> tuple[tuple[float, float], BlockResult]:
    """Return the seconds to read and to search frames, and what came of it."""
    began = time.perf_counter()
    frames = movie.reader.read(start, stop)
    read = time.perf_counter()
    found = detect_block(
        frames,
        frames[:0],
        first_frame=start,
        movie=movie,
        model=detector,
        reference=crystal,
        sites=sites,
    )
    return (read - began, time.perf_counter() - read), found


def _longest(edges: Sequence[tuple[int, int]]) -> int:
    return max((stop - start for start, stop in edges), default=0)


def _bytes(n: float) -> str:
    """Return a number of bytes as people write it.

    >>> _bytes(3 * 2**40), _bytes(5e6)
    ('3.00 TiB', '4.77 MiB')
    """
    for unit, name in ((2**40, "TiB"), (2**30, "GiB")):
        if n >= unit:
            return f"{n / unit:.2f} {name}"
    return f"{n / 2**20:.2f} MiB"
