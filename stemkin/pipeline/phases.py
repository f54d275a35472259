"""Holes, disordered areas and fragments, followed in time: one movie per task, no pixel read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.journal import Journal
from stemkin.phases import follow, histories
from stemkin.pipeline.tracks import analysed_movies
from stemkin.progress import Watch
from stemkin.store import Block, Store, fingerprint
from stemkin.streaming import stream

STAGE_VERSION = 1
"""Raised when the same areas would be followed in another way than before."""

STEP_NM, STEP_PX = 0.9, 30.0
"""How far the centre of an area may move from frame to frame; the second where there is no calibration."""


@dataclass(frozen=True)
class FollowTask:
    """All that a worker needs to follow the areas of one movie."""

    movie: dict[str, Any]
    blocks: tuple[Block, ...]
    store: Store


def follow_phases(store: Store, journal: Journal, retries: int, record: dict[str, Any], watch: Watch) -> None:
    """Follow the areas of every movie through the active scheduler. Computes once; movies that did not change are kept."""
    movies = analysed_movies(journal)
    watch.stage("phases", len(movies))
    tasks = (FollowTask(m, tuple(store.blocks("breaks", m["movie"])), store) for m in movies)
    record.update({"movies": len(movies), "reused": 0})
    summaries: dict[str, pd.DataFrame] = {}
    prints: dict[str, str] = {}
    for outcome in stream(follow_to_store, tasks, retries=retries):
        watch.advance()
        if outcome.result is None:
            raise outcome.error or RuntimeError(outcome.item.movie["movie"])
        name = outcome.item.movie["movie"]
        prints[name], reused, summaries[name] = outcome.result
        record["reused"] += reused
    ordered = [summaries[name] for name in sorted(summaries) if len(summaries[name])]
    rows = pd.concat(ordered, ignore_index=True) if ordered else tables.empty("phases")
    store.write_table(rows, fingerprint("phases", sorted(prints.items())), "phases.parquet")


def follow_to_store(task: FollowTask) -> tuple[str, bool, pd.DataFrame]:
    """Follow one movie's areas and write them block by block; return the fingerprint, whether it was done before, and a row per area."""
    store = task.store
    parts = [store.block_made_of("breaks", block) for block in task.blocks]
    made_of = fingerprint("phases", STAGE_VERSION, parts, task.movie)
    if task.blocks and all(store.block_made_of("regions", block) == made_of for block in task.blocks):
        return made_of, True, histories(pd.concat([store.read_block("regions", b) for b in task.blocks]))
    found = [rows for rows in (store.read_block("breaks", block) for block in task.blocks) if len(rows)]
    pixel_nm = task.movie["pixel_size_nm"]
    rows = tables.empty("regions")
    if found:
        joined = pd.concat(found, ignore_index=True)
        rows = tables.conform(
            follow(joined, max_step_px=STEP_PX if pixel_nm is None else STEP_NM / pixel_nm), "regions"
        )
    for block in task.blocks:
        store.write_block("regions", block, rows[rows["frame"].between(block.start, block.stop - 1)], made_of)
    return made_of, False, histories(rows)
