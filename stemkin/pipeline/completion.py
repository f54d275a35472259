"""Completion of movies whose blocks are all searched, while others still are; numbers so far.

    last block of a movie ──▶ one task: names, areas, tracks
    after 1, 2, 4, 8, ... such movies ──▶ one task: numbers so far

These tasks go through the window of the pixel pass (`stemkin.schedulers.streams`, `further`), and
fill no more than a quarter of it, so the pixels never wait long for them. Every file follows from
its own movie alone, so it is the same whenever it was made; the stages that come after the pass
find it done. A movie that fails here is left to them.

The numbers so far stand in a folder of their own, ``so_far/``, with a report, and are gone when the
run ends. They are not sums that the end goes on with: the tables of the run are added up from the
tracks of all movies, once, when the last one is linked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from stemkin.config import RunConfig
from stemkin.errors import StoppedError
from stemkin.movie import Movie
from stemkin.pipeline.memory import given_back, peak_memory_mib, restart_peak
from stemkin.pipeline.naming import NamingTask, edits_version, name_block
from stemkin.pipeline.numbers import hop_length_of, small_tables
from stemkin.pipeline.phases import Followed, FollowTask, follow_task, follow_to_store
from stemkin.pipeline.tracks import LinkSummary, LinkTask, link_task, link_to_store, linked
from stemkin.report import write_report
from stemkin.results.journal import Journal
from stemkin.results.store import RUN_FILE, Block, Store
from stemkin.schedulers.active import here_alone
from stemkin.schedulers.crews import Call, Outcome

SO_FAR = "so_far"
"""Folder of the numbers of the movies that are done, while others are searched."""
SO_FAR_EVERY_S = 600.0
"""The pass is at least so old, and the last numbers too, before there are others."""
SO_FAR_ROWS = 4_000_000
"""With more detections than these they would keep a worker too long, and are exact enough as they
are."""

SO_FAR_MOVIES = 32
"""Likewise with more movies: each costs about a second, of however few rows."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MovieTask:
    """All that a worker needs for a movie that is searched.

    `edits` as of `NamingTask`, None where nobody edited classes.
    """

    edits: str | None
    follow: FollowTask
    link: LinkTask


@dataclass(frozen=True)
class MovieSummary:
    """What comes back from one movie."""

    followed: Followed
    linked: LinkSummary
    peak_memory_mib: float


@dataclass(frozen=True)
class NumbersTask:
    """All that a worker needs for the numbers of some movies."""

    store: Store
    movies: list[dict[str, Any]]
    config: RunConfig
    hop_length_nm: float | None


@dataclass
class Completions:
    """What the pixel pass tells of its blocks, and what comes of it.

    Attributes
    ----------
    followed, linked
        What came of the movies that are done, by name.
    peak_memory_mib
        The most that a worker held for one of them.
    """

    store: Store
    journal: Journal
    config: RunConfig
    followed: dict[str, Followed] = field(default_factory=dict)
    linked: dict[str, LinkSummary] = field(default_factory=dict)
    peak_memory_mib: float = 0.0
    _frames_left: dict[str, int] = field(default_factory=dict)
    _movies: dict[str, dict[str, Any]] = field(default_factory=dict)
    _next_at: int = 1
    _rows: int = 0
    _n_shown: int = 0
    _last: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Look up what ``run.json`` says of each movie."""
        self._movies = {
            m["movie"]: m for m in self.journal.content["movies"] if m["status"] == "ok"
        }

    def searched(self, movie: Movie, block: Block) -> list[Call]:
        """Take note of a block that is done, well or not; return what follows the movie's last."""
        # A movie of which no block is done yet has all its frames left, and one that is done is not
        # listed. Blocks come in any order, so it is the count that tells the last one.
        left = self._frames_left.pop(movie.name, movie.n_frames) - (block.stop - block.start)
        if left > 0:
            self._frames_left[movie.name] = left
            return []
        listed = self._movies[movie.name]
        if listed["status"] != "ok":
            return []
        link = link_task(listed, self.store, self.journal, self.config)
        return [
            Call(
                finish_movie,
                MovieTask(
                    edits_version(self.store), follow_task(listed, self.store, self.journal), link
                ),
            )
        ]

    def take(self, outcome: Outcome[Any, Any]) -> list[Call]:
        """Keep what came of a call; return what it leads to.

        What fails is put off: the stages after the pass try again.

        Raises
        ------
        StoppedError
            If the results folder cannot be written, or the scheduler is gone.
        """
        try:
            return self._taken(outcome)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - what can wait ends no search of days
            so_far = isinstance(outcome.item, NumbersTask)
            log.warning(
                "%s had to be put off: %s",
                "numbers so far" if so_far else outcome.item.link.movie["movie"],
                error,
            )
            return []

    def _taken(self, outcome: Outcome[Any, Any]) -> list[Call]:
        if outcome.error is not None:
            raise outcome.error
        if isinstance(outcome.item, NumbersTask):
            self._show(outcome.item, cast("dict[str, pd.DataFrame]", outcome.result))
            return []
        summary = cast("MovieSummary", outcome.result)
        name = summary.linked.movie
        self.peak_memory_mib = max(self.peak_memory_mib, summary.peak_memory_mib)
        self.linked[name] = linked(summary.linked, self.config.run.retries)
        self.followed[name] = summary.followed
        self._rows += summary.linked.n_detections
        return self._numbers_so_far()

    def _numbers_so_far(self) -> list[Call]:
        """Return the call for them, if so many movies are done, and it is time."""
        # Numbers come after 1, then at least 2, 4, 8, ... movies, and never after all: then the
        # run's own tables follow. Doubling keeps their total work below twice that of the last.
        done, late = len(self.linked), time.monotonic() - self._last > SO_FAR_EVERY_S
        is_time = late and self._next_at <= done < len(self._movies)
        if not is_time or self._rows > SO_FAR_ROWS or done > SO_FAR_MOVIES:
            return []
        self._next_at, self._last = 2 * done, time.monotonic()
        movies = [m for name, m in self._movies.items() if name in self.linked]
        hop_length_nm = hop_length_of(summary.lattice_nm for summary in self.linked.values())
        return [Call(numbers_so_far, NumbersTask(self.store, movies, self.config, hop_length_nm))]

    def _show(self, task: NumbersTask, found: Mapping[str, pd.DataFrame]) -> None:
        """Write the numbers so far, with a report that says so, unless later ones were faster."""
        n, total = len(task.movies), len(self._movies)
        if n < self._n_shown:
            return
        self._n_shown = n
        said = f"Numbers so far: {n:,} of {total:,} movies; the others are still being searched."
        for name, rows in found.items():
            self.store.write_table(rows, "so far", SO_FAR, f"{name}.parquet")
        content = {**self.journal.content, "movies": task.movies}
        content["warnings"] = [said, *content["warnings"]]
        self.store.write_json(content, SO_FAR, RUN_FILE)
        log.info("%s See %s", said, write_report(self.store.path(SO_FAR)))


def finish_movie(task: MovieTask) -> MovieSummary:
    """Name a movie's detections again if asked for, follow its areas and link it. Computes once."""
    restart_peak()
    if task.edits is not None:
        for block in task.link.blocks:
            name_block(NamingTask(block, task.link.store, task.edits))
    summary = MovieSummary(
        follow_to_store(task.follow), link_to_store(task.link), peak_memory_mib()
    )
    given_back()
    return summary


def numbers_so_far(task: NumbersTask) -> dict[str, pd.DataFrame]:
    """Return the small tables of some movies. Computes once, in this thread if it is a worker's."""
    with here_alone():
        return small_tables(task.store, task.movies, task.config, task.hop_length_nm)
