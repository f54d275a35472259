"""From the rows of blocks to tracks: drift summed, detections linked, no pixel read.

A movie is one task; of a large one each block is (`stemkin.pipeline.block_files`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.config import LinkSection, RunConfig
from stemkin.detection import assemble_frames
from stemkin.errors import DamagedFileError
from stemkin.learning.by_hand import OF_TRACKS, HandEdit, hand_edits_of, tracks_edited
from stemkin.linking.clock import Clock, shown_lattice_nm
from stemkin.linking.order import link_here
from stemkin.linking.settings import MAX_STEP_LATTICES, LinkSettings
from stemkin.names import folder_name
from stemkin.pipeline.block_files import LargeMovie, link_large
from stemkin.progress import Watch
from stemkin.results.journal import Journal
from stemkin.results.quarantine import GONE, file_of, standing, standing_prints
from stemkin.results.store import Block, Store, fingerprint
from stemkin.results.track_files import WHOLE, whole_track_files
from stemkin.schedulers.streams import results

log = logging.getLogger(__name__)

STAGE_VERSION = 3
"""Raised when the same detections would give other tracks than before."""

STEP_WITHOUT_LATTICE_NM = 0.69
"""Where a movie shows no lattice, a step of 2.2 lattice constants of WS2; the run says so in a
warning."""


@dataclass(frozen=True)
class LinkTask:
    """All that a worker needs to link one movie; `was_done` as of `PixelTask`."""

    movie: dict[str, Any]
    blocks: tuple[Block, ...]
    failed: tuple[Block, ...]
    store: Store
    settings: LinkSection
    was_done: bool = False


@dataclass(frozen=True)
class LinkSummary:
    """What comes back from one movie."""

    movie: str
    n_tracks: int
    n_rows: int
    reused: bool
    lattice_nm: float | None
    n_detections: int = 0
    warning: str = ""
    large: LargeMovie | None = None
    lost: str = ""


FEW_FRAMES, FEW_SHARE = 3, 0.05
"""So many lost frames of a movie, or this part of it, are not worth a warning."""
ROWS_AT_ONCE = 4_000_000
"""A movie with more detections is linked block by block; one with fewer in one task (about 200
bytes a row)."""


def link_movies(
    store: Store,
    journal: Journal,
    config: RunConfig,
    record: dict[str, Any],
    watch: Watch,
    done: Mapping[str, LinkSummary],
) -> None:
    """Link every movie through the active scheduler. Computes once.

    Movies whose detections did not change are kept. What came of movies that are `done` is only
    written down (see `stemkin.pipeline.completion`).
    """
    movies = analysed_movies(journal)
    watch.stage("link", len(movies))
    tasks = (link_task(m, store, journal, config) for m in movies if m["movie"] not in done)
    record.update(
        {"movies": len(movies), "meanwhile": len(done), "reused": 0, "tracks": 0, "rows": 0}
    )
    journal.content["lattice_nm"] = {}
    for summary in done.values():
        _note(summary, journal, record, watch)
    for _, summary in results(link_to_store, tasks, retries=config.run.retries):
        _note(linked(summary, config.run.retries), journal, record, watch)


def link_task(movie: dict[str, Any], store: Store, journal: Journal, config: RunConfig) -> LinkTask:
    """Return the task of a movie whose blocks are all searched."""
    name = movie["movie"]
    failed = (
        Block(name, b["start"], b["stop"])
        for b in journal.content["blocks"]["failed"]
        if b["movie"] == name
    )
    blocks = tuple(store.blocks("steps", name))
    return LinkTask(movie, blocks, tuple(failed), store, config.link, journal.was_finished)


def linked(summary: LinkSummary, retries: int) -> LinkSummary:
    """Return what came of a movie once all of it is linked.

    A large one is linked now, through the active scheduler.
    """
    if summary.large is None:
        return summary
    n_tracks, n_rows = link_large(summary.large, retries=retries)
    return replace(summary, n_tracks=n_tracks, n_rows=n_rows, large=None)


def _note(summary: LinkSummary, journal: Journal, record: dict[str, Any], watch: Watch) -> None:
    """Write down what came of a movie."""
    watch.advance()
    record["reused"] += summary.reused
    record["tracks"] += summary.n_tracks
    record["rows"] += summary.n_rows
    journal.content["lattice_nm"][summary.movie] = summary.lattice_nm
    if summary.lost:  # it stands first, as no other number counts where frames are lost
        log.warning(summary.lost)
        journal.content["warnings"].insert(0, summary.lost)
    if summary.warning:
        journal.warn(summary.warning)


def analysed_movies(journal: Journal) -> list[dict[str, Any]]:
    """Return what ``run.json`` says of the movies that could be used.

    Raises
    ------
    ValueError
        If none of them was searched yet.
    """
    movies = [m for m in journal.content["movies"] if m["status"] == "ok"]
    if not movies or not journal.content["stages"].get("detect"):
        msg = (
            f"{journal.store.root} holds no detections yet; run `stemkin run INPUT -o "
            f"{journal.store.root}` first"
        )
        raise ValueError(msg)
    return movies


def link_to_store(task: LinkTask) -> LinkSummary:
    """Sum the drift of one movie, link it, and write frames and tracks. Computes once.

    A large movie is not linked here: what is known of it comes back (`LinkSummary.large`).
    """
    store, name = task.store, task.movie["movie"]
    notes = [store.block_note("detections", block) for block in task.blocks]
    parts: list[Any] = [(note.get("fingerprint"), note.get("named", "")) for note in notes]
    by_hand = [e for e in hand_edits_of(store) if e.movie == name and e.do in OF_TRACKS]
    if by_hand:
        parts.append([edit.as_dict() for edit in by_hand])
    made_of = fingerprint(
        "link", STAGE_VERSION, parts, task.failed, task.settings.model_dump(), task.movie
    )
    every = sorted((*task.blocks, *task.failed), key=lambda block: block.start)
    _check_contiguous(every, name, int(task.movie["n_frames"]))
    failed = [unread(b, task.movie) for b in task.failed]
    steps = pd.concat([*(store.read_block("steps", b) for b in task.blocks), *failed])
    steps = without_steps_over(steps, task.failed)
    for block, note in zip(task.blocks, notes, strict=True):
        if note.get("by_hand"):
            steps = _counted_again(steps, block, store)
    lattice_nm = shown_lattice_nm(steps, float(task.movie["pixel_size_nm"]))
    n_detections = int(steps["n_detections"].sum())
    is_large = n_detections > ROWS_AT_ONCE
    settings, warning = _settings_of(task, lattice_nm)
    lost = lost_frames(steps)
    files = [file_of(table, block) for block in every for table in ("frames", "tracks")]
    kept = standing_prints(store, files, made_of, was_done=task.was_done)
    done = bool(every) and all(one == made_of for one in kept.values())
    if done and not by_hand and (not is_large or _parts_stand(store, name, made_of)):
        return LinkSummary(name, 0, 0, True, lattice_nm, n_detections, warning, lost=lost)
    frames = assemble_frames(steps)
    if is_large:
        if by_hand:
            warning = ". ".join(filter(None, [warning, _too_large(name, by_hand)]))
        large = LargeMovie(
            store, task.movie, task.blocks, tuple(every), frames, lattice_nm, settings, made_of
        )
        return LinkSummary(name, 0, 0, False, lattice_nm, n_detections, warning, large, lost=lost)
    store.remove(WHOLE, folder_name(name))
    tracks, left_out = tracks_edited(_tracks_of(task, frames, lattice_nm, settings), by_hand)
    if left_out:
        said = f"{name}: {len(left_out)} edits by hand were left out: {'; '.join(left_out[:3])}"
        warning = ". ".join(filter(None, [warning, said]))
    for table, rows in (("frames", frames), ("tracks", tracks)):
        for block in every:
            store.write_block(
                table, block, rows[rows["frame"].between(block.start, block.stop - 1)], made_of
            )
    n_tracks = tracks["particle"].nunique()
    return LinkSummary(
        name, n_tracks, len(tracks), False, lattice_nm, n_detections, warning, lost=lost
    )


def lost_frames(steps: pd.DataFrame) -> str:
    """Return a sentence where more than a few frames of a movie could not be searched, else "".

    Parameters
    ----------
    steps
        Its rows of ``frames`` or ``steps``.
    """
    bad = steps.loc[steps["status"] != tables.OK, "status"]
    if len(bad) <= max(FEW_FRAMES, FEW_SHARE * len(steps)):
        return ""
    kinds = ", ".join(f"{n:,} {status}" for status, n in bad.value_counts().items())
    return (
        f"{len(bad):,} of {len(steps):,} frames of {steps['movie'].iloc[0]} were lost ({kinds}): "
        "nothing was searched in them, and no number below rests on them"
    )


def _counted_again(steps: pd.DataFrame, block: Block, store: Store) -> pd.DataFrame:
    """Return frame rows with the numbers of detections of a block that was corrected by hand."""
    n = store.read_block("detections", block).groupby("frame").size()
    own = steps["frame"].between(block.start, block.stop - 1)
    counted = steps.loc[own, "frame"].map(n).fillna(0).astype(steps["n_detections"].dtype)
    steps.loc[own, "n_detections"] = counted
    return steps


def _too_large(movie: str, by_hand: list[HandEdit]) -> str:
    """Say that tracks of a movie that is linked block by block are not cut and joined."""
    return (
        f"{movie}: {len(by_hand)} cuts and joins by hand were left out, as its more than "
        f"{ROWS_AT_ONCE:,} detections are linked block by block"
    )


def _check_contiguous(blocks: list[Block], movie: str, n_frames: int) -> None:
    """Check that no block of a movie is lost.

    Raises
    ------
    DamagedFileError
        If frames are missing between two blocks, or at an end.
    """
    edges = [0, *(edge for block in blocks for edge in (block.start, block.stop)), n_frames]
    for stop, start in zip(edges[::2], edges[1::2], strict=True):
        if start != stop:
            lost = Block(movie, stop, start)
            raise DamagedFileError("/".join(file_of("steps", lost)), GONE)


def _parts_stand(store: Store, movie: str, made_of: str) -> bool:
    """Tell whether every file of whole tracks of a large movie is there and whole."""
    files = whole_track_files(store, movie, made_of)
    names = [path.rsplit("/", 1)[-1] for path in files]
    return bool(names) and all(standing(store, WHOLE, folder_name(movie), name) for name in names)


def unread(block: Block, movie: dict[str, Any]) -> pd.DataFrame:
    """Return frame rows for a block that could not be searched: its frames are gaps in time."""
    numbers = np.arange(block.start, block.stop, dtype=np.int32)
    rows = pd.DataFrame(
        {
            "movie": block.movie,
            "frame": numbers,
            "time_s": numbers * (movie["frame_time_s"] or np.nan),
        }
    )
    return rows.assign(
        status=tables.CORRUPT, step_y=np.nan, step_x=np.nan, shift_quality=0.0, n_detections=0,
        ordered=np.nan, disordered=np.nan, vacuum=np.nan, lattice_px=np.nan,
        expected_false=np.nan,
    )  # fmt: skip


def without_steps_over(steps: pd.DataFrame, failed: Iterable[Block]) -> pd.DataFrame:
    """Return the frame rows of a movie, in order; no step leads out of a block that is not there.

    The first step after it was measured from one of its frames, of which nobody knows where it was.
    """
    steps = steps.sort_values("frame", kind="stable", ignore_index=True)
    for block in failed:
        later = steps.index[(steps["frame"] >= block.stop) & steps["step_y"].notna()]
        steps.loc[later[:1], ["step_y", "step_x"]] = np.nan
    return steps


def _tracks_of(
    task: LinkTask, frames: pd.DataFrame, lattice_nm: float | None, settings: LinkSettings
) -> pd.DataFrame:
    """Return the tracks of one movie; the linker sees it block by block."""
    name, size = task.movie["movie"], float(task.movie["pixel_size_nm"])
    clock = Clock.of(name, pixel_size_nm=size, frames=frames, lattice_nm=lattice_nm)
    detections = (task.store.read_block("detections", block) for block in task.blocks)
    return link_here(detections, {name: clock}, settings)


def _settings_of(task: LinkTask, lattice_nm: float | None) -> tuple[LinkSettings, str]:
    """Return how a movie is linked, and a warning where it lacks the lattice that this needs."""
    settings = LinkSettings(**task.settings.model_dump())
    if lattice_nm is not None:
        step_nm = settings.max_step_nm or MAX_STEP_LATTICES * lattice_nm
        return replace(settings, max_step_nm=step_nm), ""
    lacks = []
    if settings.max_step_nm is None:
        settings = replace(settings, max_step_nm=STEP_WITHOUT_LATTICE_NM)
        lacks.append(
            "that could tell how far a defect may step between frames; "
            f"{STEP_WITHOUT_LATTICE_NM} nm was used; set max_step_nm in [link] if that is wrong"
        )
    if settings.lattice:
        settings = replace(settings, lattice=False)
        lacks.append(
            "whose sites could be linked, so steps of any length count; lattice = true in [link] "
            "needs one"
        )
    warnings = [f"{task.movie['movie']} shows no lattice {what}" for what in lacks]
    return settings, ". ".join(warnings)
