"""The pixel pass: each block is read once, by the worker that searches it, and becomes rows."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from stemkin.config import DetectSection, RunConfig, RunSection
from stemkin.errors import DamagedFileError, StoppedError
from stemkin.movie import Movie
from stemkin.names import folder_name
from stemkin.pipeline import maps
from stemkin.pipeline.block_search import PixelSummary, PixelTask, detect_to_store
from stemkin.pipeline.blocks import edges_of, settled_mib
from stemkin.pipeline.crystals import CrystalSummary
from stemkin.pipeline.outcome import fail_movie, is_analysed
from stemkin.pipeline.thumbnails import MAX_MOVIES
from stemkin.progress import Watch
from stemkin.readers.errors import ChangedMovieError
from stemkin.results.journal import Journal
from stemkin.results.store import (
    BLOCK_TABLES,
    PIXEL_TABLES,
    SIGNALS,
    THUMBNAILS,
    Block,
    Store,
    fingerprint,
)
from stemkin.schedulers.crews import Call, Outcome
from stemkin.schedulers.streams import results, stream

if TYPE_CHECKING:
    from stemkin.pipeline.completion import Completions

STAGE_VERSION = 8
"""Raised when the same pixels and model would give other rows than before."""

SAVE_EVERY_S = 10.0
"""How often ``run.json`` is written during the pass."""
FAILURES_SAVED_AT_ONCE = 100
"""The first failures stand in ``run.json`` at once; more of them with the next regular writing."""

log = logging.getLogger(__name__)


def run_pixel_pass(
    movies: list[Movie],
    store: Store,
    config: RunConfig,
    model_print: str,
    crystals: Mapping[str, CrystalSummary],
    journal: Journal,
    record: dict[str, Any],
    watch: Watch,
    completions: Completions | None = None,
) -> PassTotals:
    """Search every block of every movie through the active scheduler; those done before are kept.

    Computes once. `completions` is told of every block and says what follows from it at once:
    movies that are whole go on while others are searched.

    Parameters
    ----------
    model_print
        Fingerprint of the model: blocks searched with another one are searched again.
    crystals
        What came of each movie's crystal, as `find_crystals` returns it; likewise.
    journal, record
        ``run.json``, and the part of it that tells of this stage; both are updated.

    Returns
    -------
    What was counted.

    Raises
    ------
    StoppedError
        If the results folder cannot be written, or a store does not answer: no block is to blame,
        so the run stops and can go on later.
    """
    blocks = journal.content["blocks"]
    mib = settled_mib(movies, blocks)
    tidy(movies, store, config.detect, blocks, config.run.retries)
    watch.stage("detect", sum(movie.n_frames for movie in movies))
    tasks = pixel_tasks(
        movies,
        store,
        config.detect,
        model_print=model_print,
        crystals=crystals,
        block_mib=mib,
        keeps_sites=config.sites.traces,
        pictured=settled_pictures(movies, store, journal),
        was_done=journal.was_finished,
    )
    seen, saved, further = PassTotals(), time.monotonic(), deque[Call]()
    found: Generator[Outcome[Any, Any]] = stream(
        detect_to_store,
        tasks,
        retries=config.run.retries,
        resources=gpu_resource(config.run),
        further=further,
    )
    with closing(found) as outcomes:
        for outcome in outcomes:
            if completions is not None and not isinstance(outcome.item, PixelTask):
                further.extend(completions.take(outcome))
                continue
            if _is_worth_another_try(outcome):
                alone = outcome.item.without_looking_back()
                further.append(Call(detect_to_store, alone, asked=True))
                continue
            if isinstance(outcome.error, ChangedMovieError):
                fail_movie(journal, outcome.item.movie.name, str(outcome.error))
            # a block that failed counts as searched too: its movie goes on, with a gap in time
            block = outcome.item.block
            at_once = _is_one_of_first_failures(outcome, store, blocks["failed"], seen)
            if outcome.error is not None:
                watch.fail()
            if completions is not None:
                further.extend(completions.searched(outcome.item.movie, block))
            watch.advance(block.stop - block.start, seen.note())
            blocks |= seen.blocks()
            if at_once or time.monotonic() - saved > SAVE_EVERY_S:
                journal.save()
                saved = time.monotonic()
    blocks |= seen.blocks()
    record.update(seen.summary())
    _say_what_is_unusable(movies, seen.usable, journal)
    _say_who_did_not_look_back(seen.alone, journal, record)
    return seen


def _is_worth_another_try(outcome: Outcome[PixelTask, PixelSummary]) -> bool:
    """Tell whether the frames before a block may be to blame that it failed."""
    ours = StoppedError | DamagedFileError | ChangedMovieError
    if outcome.error is None or isinstance(outcome.error, ours):
        return False
    return outcome.item.looks_back and outcome.item.block.start > 0


def _say_what_is_unusable(
    movies: Iterable[Movie], usable: Mapping[str, int], journal: Journal
) -> None:
    """Write down which movies have blocks, but no frame that can be used."""
    journal.content["unusable"] = {}
    for movie in movies:
        if usable.get(movie.name) == 0 and is_analysed(journal, movie.name):
            found = _statuses(journal.store, movie.name)
            counts = ", ".join(f"{n} {status}" for status, n in found.items())
            journal.content["unusable"][movie.name] = (
                f"none of its {sum(found.values())} frames can be used ({counts}); look at the "
                "movie, and at how it was recorded and converted"
            )


def _statuses(store: Store, movie: str) -> dict[str, int]:
    """Return how many frames of a movie are of each status; one block is held at a time."""
    found: Counter[str] = Counter()
    for block in store.blocks("steps", movie):
        found.update(store.read_block("steps", block)["status"].astype(str).tolist())
    return dict(found.most_common())


def _say_who_did_not_look_back(
    alone: list[Block], journal: Journal, record: dict[str, Any]
) -> None:
    """Write down at which frames a movie is cut, since those before could not be read."""
    record["did_not_look_back"] = [asdict(block) for block in alone[:FAILURES_SAVED_AT_ONCE]]
    if alone:
        first = alone[0]
        journal.warn(
            f"{len(alone)} blocks were searched without the frames before them, which could not be "
            f"read (the first: {first.movie}, from frame {first.start} on): how far the specimen "
            "moved before is not known there, and no track crosses; the next run tries again"
        )


def _is_one_of_first_failures(
    outcome: Outcome[PixelTask, PixelSummary],
    store: Store,
    failed: list[dict[str, Any]],
    seen: PassTotals,
) -> bool:
    """Count a block that is done, or list one that failed; tell whether it is a first failure.

    Raises
    ------
    StoppedError
        If the block is not to blame.
    DamagedFileError
        If a file of the results folder is: the model, or a crystal.
    """
    if isinstance(outcome.error, StoppedError | DamagedFileError):
        raise outcome.error
    if isinstance(outcome.error, ChangedMovieError):
        return False  # its movie failed as a whole
    if outcome.result is not None:
        seen.add(outcome.result)
        return False
    forget(store, outcome.item.block)
    failed.append(_failure(outcome.item.block, outcome.error))
    return len(failed) <= FAILURES_SAVED_AT_ONCE


MOVIES_TIDIED_AT_ONCE = 16
"""A task tidies the folders of so many movies."""


@dataclass(frozen=True)
class TidyTask:
    """Movies, and the edges of their blocks."""

    store: Store
    movies: tuple[Movie, ...]
    edges: tuple[list[tuple[int, int]], ...]


def tidy(
    movies: Sequence[Movie],
    store: Store,
    detect: DetectSection,
    blocks: dict[str, Any],
    retries: int,
) -> None:
    """Remove files that no block of this cut owns, make the arrays of maps, and count blocks.

    Computes once, on the active scheduler: a store is asked a few dozen times for each movie.
    """
    edges = [edges_of(movie, detect, blocks["mib"]) for movie in movies]
    blocks["total"] = sum(map(len, edges))
    step = MOVIES_TIDIED_AT_ONCE
    tasks = [
        TidyTask(store, tuple(movies[first : first + step]), tuple(edges[first : first + step]))
        for first in range(0, len(movies), step)
    ]
    swept = sum(n_removed for _, n_removed in results(tidy_movies, tasks, retries=retries))
    if swept:
        log.warning(
            "%d blocks of another size were removed; their frames are searched again", swept
        )


def tidy_movies(task: TidyTask) -> int:
    """Tidy the folders of some movies, and return how many blocks were removed. Computes once."""
    swept = 0
    for movie, edges in zip(task.movies, task.edges, strict=True):
        kept = [Block(movie.name, *pair) for pair in edges]
        for table in BLOCK_TABLES:
            n_removed = task.store.keep_only(table, movie.name, kept)
            if table == "steps":
                swept += n_removed
        # a block counts as done only if its map is whole (`stemkin.pipeline.block_search`)
        maps.prepare_maps(movie, task.store, edges)
    return swept


def settled_pictures(movies: Sequence[Movie], store: Store, journal: Journal) -> list[str]:
    """Return the movies of which pictures are kept, and note them in ``run.json``.

    Whoever comes or goes later changes nothing of those that stay: a movie that was searched
    without pictures is not searched again for their sake.
    """
    shown = {*store.names(THUMBNAILS), *map(folder_name, journal.before.get("pictured") or ())}
    searched = set(store.names("steps"))
    kept = [movie.name for movie in movies if folder_name(movie.name) in shown]
    fresh = [movie.name for movie in movies if folder_name(movie.name) not in shown | searched]
    wanted = {*kept, *fresh[: max(0, MAX_MOVIES - len(kept))]}
    journal.content["pictured"] = [movie.name for movie in movies if movie.name in wanted]
    return list(journal.content["pictured"])


def gpu_resource(run: RunSection) -> dict[str, float] | None:
    """Return what a task asks of its worker: a share of its GPU, or nothing."""
    if run.gpu_per_task is None:
        return None
    return {"GPU": run.gpu_per_task}


def _failure(block: Block, error: BaseException | None) -> dict[str, Any]:
    """Return what ``run.json`` keeps of a block that failed every time it was tried."""
    said = f"{type(error).__name__}: {error}"
    log.error("a block is given up: %s", said, extra={"fields": asdict(block)})
    return {**asdict(block), "error": said, "traceback": "".join(traceback.format_exception(error))}


def forget(store: Store, block: Block) -> None:
    """Remove what an earlier run may have left of a block that now fails."""
    for table in (*PIXEL_TABLES, THUMBNAILS, SIGNALS):
        store.remove(table, folder_name(block.movie), block.file_name)


@dataclass
class PassTotals:
    """Sums over the blocks that came back."""

    n_blocks: int = 0
    n_reused: int = 0
    n_stale: int = 0
    n_frames: int = 0
    n_detections: int = 0
    n_bytes: int = 0
    peak_memory_mib: float = 0.0
    busy_s: float = 0.0
    alone: list[Block] = field(default_factory=list)
    usable: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[float]] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def add(self, summary: PixelSummary) -> None:
        """Count one block."""
        self.n_blocks += 1
        self.n_reused += summary.reused
        self.n_stale += summary.stale
        self.busy_s += summary.seconds
        self.usable[summary.block.movie] += summary.n_usable
        if not summary.looked_back:
            self.alone.append(summary.block)
        if not summary.reused:
            self.n_frames += summary.n_frames
            own = self.named.setdefault(summary.block.movie, [0, 0, 0.0])
            for i, more in enumerate((summary.n_detections, summary.n_unnamed, summary.noise)):
                own[i] += more
        self.n_detections += summary.n_detections
        self.n_bytes += summary.n_bytes
        self.peak_memory_mib = max(self.peak_memory_mib, summary.peak_memory_mib)

    def searched(self) -> dict[str, tuple[int, int, float]]:
        """Return of each movie that was searched: detections, those unnamed, and mean noise."""
        return {
            name: (int(n), int(unnamed), noise / max(n, 1))
            for name, (n, unnamed, noise) in self.named.items()
        }

    def blocks(self) -> dict[str, int]:
        """Return how many blocks are done, were done before, and had to be done again."""
        return {"done": self.n_blocks, "reused": self.n_reused, "stale": self.n_stale}

    def summary(self) -> dict[str, Any]:
        """Return what ``run.json`` keeps."""
        seconds = time.perf_counter() - self.began
        return {
            "frames_read": self.n_frames,
            "detections_found": self.n_detections,
            "bytes_read": self.n_bytes,
            "frames_per_s": round(self.n_frames / seconds, 2),
            "busy_s": round(self.busy_s, 2),
            "worker_peak_memory_mib": round(self.peak_memory_mib, 1),
        }

    def note(self) -> str:
        """Return the speed so far, and how many blocks were done before."""
        speed = f"{self.n_frames / (time.perf_counter() - self.began):.1f} frames/s"
        if not self.n_reused:
            return speed
        return f"{speed}, {self.n_reused} blocks kept"


def pixel_tasks(
    movies: Iterable[Movie],
    store: Store,
    detect: DetectSection,
    *,
    model_print: str,
    crystals: Mapping[str, CrystalSummary],
    block_mib: float,
    keeps_sites: bool = False,
    pictured: Collection[str] = (),
    was_done: bool = False,
) -> Iterator[PixelTask]:
    """Yield one task per block of every movie, in order; one movie's blocks at a time.

    Parameters
    ----------
    movies, store, detect
        What is searched, where rows are written, and the section of the settings.
    model_print
        Fingerprint of the model.
    crystals
        What came of each movie's crystal.
    block_mib
        Size of a block's frames [MiB].
    keeps_sites
        Whether the signals of all sites are kept.
    pictured
        Names of the movies of which pictures are kept.
    was_done
        Whether an earlier run of this folder came to its end.
    """
    for movie in movies:
        crystal = crystals[movie.name]
        for start, stop in edges_of(movie, detect, block_mib):
            made_of = fingerprint(
                "detect",
                STAGE_VERSION,
                movie.name,
                crystal.identity,
                movie.calibration,
                start,
                stop,
                model_print,
                crystal.content,
            )
            block = Block(movie.name, start, stop)
            yield PixelTask(
                movie,
                block,
                store,
                model_print,
                crystal.content,
                made_of,
                keeps_pictures=movie.name in pictured,
                keeps_sites=keeps_sites,
                was_done=was_done,
            )
