"""Holes, disordered areas and fragments, followed in time: one movie per task, no pixel read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.order import follow, histories
from stemkin.pipeline.tracks import analysed_movies
from stemkin.progress import Watch
from stemkin.results.journal import Journal
from stemkin.results.quarantine import file_of, standing_prints
from stemkin.results.store import Block, Store, fingerprint
from stemkin.schedulers.streams import results

STAGE_VERSION = 1
"""Raised when the same areas would be followed in another way than before."""

STEP_NM, STEP_PX = 0.9, 30.0
"""How far the centre of an area may move from frame to frame; the second where there is no
calibration."""


@dataclass(frozen=True)
class FollowTask:
    """All that a worker needs to follow the areas of one movie; `was_done` as of `PixelTask`."""

    movie: dict[str, Any]
    blocks: tuple[Block, ...]
    store: Store
    was_done: bool = False


@dataclass(frozen=True, eq=False)
class Followed:
    """What comes back from one movie: fingerprint, whether done before, and a row per area."""

    made_of: str
    reused: bool
    histories: pd.DataFrame


def follow_phases(
    store: Store,
    journal: Journal,
    retries: int,
    record: dict[str, Any],
    watch: Watch,
    done: Mapping[str, Followed],
) -> None:
    """Follow the areas of every movie through the active scheduler. Computes once.

    Movies that did not change are kept. What came of movies that are `done` is only added up (see
    `stemkin.pipeline.completion`).
    """
    movies = analysed_movies(journal)
    watch.stage("phases", len(movies))
    watch.advance(len(done))
    tasks = (follow_task(m, store, journal) for m in movies if m["movie"] not in done)
    every = dict(done)
    for task, followed in results(follow_to_store, tasks, retries=retries):
        watch.advance()
        every[task.movie["movie"]] = followed
    record.update(
        {
            "movies": len(movies),
            "meanwhile": len(done),
            "reused": sum(one.reused for one in every.values()),
        }
    )
    ordered = [every[name].histories for name in sorted(every) if len(every[name].histories)]
    rows = tables.empty("phases")
    if ordered:
        rows = pd.concat(ordered, ignore_index=True)
    prints = sorted((name, one.made_of) for name, one in every.items())
    store.write_table(rows, fingerprint("phases", prints), "phases.parquet")


def follow_task(movie: dict[str, Any], store: Store, journal: Journal) -> FollowTask:
    """Return the task of a movie whose blocks are all searched."""
    return FollowTask(
        movie, tuple(store.blocks("steps", movie["movie"])), store, journal.was_finished
    )


def follow_to_store(task: FollowTask) -> Followed:
    """Follow one movie's areas and write them block by block. Computes once."""
    store, blocks = task.store, task.blocks
    parts = [store.block_made_of("breaks", block) for block in blocks]
    made_of = fingerprint("phases", STAGE_VERSION, parts, task.movie)
    files = [file_of("regions", block) for block in blocks]
    there = standing_prints(store, files, made_of, was_done=task.was_done)
    if blocks and all(one == made_of for one in there.values()):
        kept = pd.concat([store.read_block("regions", block) for block in blocks])
        return Followed(made_of, reused=True, histories=histories(kept))
    rows = _followed(task)
    for block in blocks:
        own = rows[rows["frame"].between(block.start, block.stop - 1)]
        store.write_block("regions", block, own, made_of)
    return Followed(made_of, reused=False, histories=histories(rows))


def _followed(task: FollowTask) -> pd.DataFrame:
    """Return the table ``regions`` of one movie, its areas followed."""
    found = [task.store.read_block("breaks", block) for block in task.blocks]
    found = [rows for rows in found if len(rows)]
    if not found:
        return tables.empty("regions")
    step_px, pixel_nm = STEP_PX, task.movie["pixel_size_nm"]
    if pixel_nm is not None:
        step_px = STEP_NM / pixel_nm
    rows = follow(pd.concat(found, ignore_index=True), max_step_px=step_px)
    return tables.conform(rows, "regions")
