"""One block of the pixel pass, as a worker does it: read, searched beside its movie's crystal, written."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from stemkin.detection import HALO, detect_block
from stemkin.kernels.crystal.reference import Reference
from stemkin.movie import Movie
from stemkin.pipeline import maps
from stemkin.pipeline.memory import peak_memory_mib
from stemkin.pipeline.model import load_model
from stemkin.pipeline.thumbnails import thumbnail_rows
from stemkin.references import is_good_frame
from stemkin.results.crystals import read_crystal
from stemkin.results.quarantine import file_of, standing_prints
from stemkin.results.store import PIXEL_TABLES, SIGNALS, THUMBNAILS, Block, Store, fingerprint
from stemkin.tables import OK

MAP_SUM = "map_sha256"
"""Under this name the file of ``steps`` keeps the checksum of its block's maps."""


@dataclass(frozen=True)
class PixelTask:
    """All that a worker needs for one block: small, picklable, nothing in it is data.

    `keeps_pictures` tells whether the report shows frames of its movie, `keeps_sites` whether the
    signals of all sites are kept, `was_done`
    whether an earlier run came to its end.
    """

    movie: Movie
    block: Block
    store: Store
    model_print: str
    crystal_print: str
    made_of: str
    looks_back: bool = True
    keeps_pictures: bool = False
    keeps_sites: bool = False
    was_done: bool = False

    def without_looking_back(self) -> PixelTask:
        """Return the task that reads no frame but those of its block.

        Its rows are stale for the next run, which tries to look back again.
        """
        return replace(self, looks_back=False, made_of=fingerprint(self.made_of, "alone"))


@dataclass(frozen=True)
class PixelSummary:
    """What comes back to the client from one block.

    `looked_back` is False where the frames before the block could not be read; `n_usable` of its
    frames are fit to be searched; `n_unnamed` of its detections no class explains, and `noise` is the
    sum over them all of how much noisier than the sample they are taken to be.
    """

    block: Block
    n_frames: int
    n_detections: int
    n_bytes: int
    reused: bool
    seconds: float
    peak_memory_mib: float
    stale: bool = False
    looked_back: bool = True
    n_usable: int = 0
    n_unnamed: int = 0
    noise: float = 0.0


def detect_to_store(task: PixelTask) -> PixelSummary:
    """Search one block and write its rows, unless that was done already. Computes once."""
    began = time.perf_counter()
    block, store = task.block, task.store
    before = _standing(task)
    if all(made_of == task.made_of for made_of in before.values()):
        seconds = time.perf_counter() - began
        n_usable = _n_usable(store.read_block("steps", block))
        return PixelSummary(
            block,
            block.stop - block.start,
            0,
            0,
            True,
            seconds,
            peak_memory_mib(),
            looked_back=task.looks_back,
            n_usable=n_usable,
        )
    stale = any(made_of not in (None, task.made_of) for made_of in before.values())
    frames = read_block(task.movie, block)
    crystal = read_crystal(store, block.movie, task.crystal_print)
    previous = frames[:0]
    if task.looks_back:
        previous = look_back(task.movie, block, crystal)
    found = detect_block(
        frames,
        previous,
        first_frame=block.start,
        movie=task.movie,
        model=_model(task.store, task.model_print),
        reference=crystal,
        neighbours=True,
        sites=task.keeps_sites,
    )
    map_sum = maps.write_maps(store, block, found.maps)
    if task.keeps_pictures:
        pictures = thumbnail_rows(
            frames, movie=block.movie, first_frame=block.start, n_frames=task.movie.n_frames
        )
        store.write_block(THUMBNAILS, block, pictures, task.made_of)
    if found.signals is not None:
        store.write_block(SIGNALS, block, found.signals, task.made_of)
    assert found.neighbours is not None
    rows = (found.detections, found.neighbours, found.regions, found.frames)
    # In the order of PIXEL_TABLES, `steps` last: they say that the block is done.
    notes = {"steps": {MAP_SUM: map_sum, "movie": block.movie, "model": task.model_print}}
    for table, own in zip(PIXEL_TABLES, rows, strict=True):
        store.write_block(table, block, own, task.made_of, **notes.get(table, {}))
    seconds = time.perf_counter() - began
    n_found, n_bytes = len(found.detections), frames.nbytes
    return PixelSummary(
        block,
        len(frames),
        n_found,
        n_bytes,
        False,
        seconds,
        peak_memory_mib(),
        stale,
        looked_back=task.looks_back,
        n_usable=_n_usable(found.frames),
        n_unnamed=int((found.detections["class_id"] < 0).sum()),
        noise=float(found.neighbours["noise"].sum()),
    )


def _standing(task: PixelTask) -> dict[str, str | None]:
    """Return the fingerprint of each file of a block, None where there is no whole one.

    A block is done when all its files are there and whole: its tables, its pictures and its maps.
    What is damaged is set aside.
    """
    store, block = task.store, task.block
    wanted = [*PIXEL_TABLES]
    wanted += [THUMBNAILS] * task.keeps_pictures + [SIGNALS] * task.keeps_sites
    files = [file_of(table, block) for table in wanted]
    prints = standing_prints(store, files, task.made_of, was_done=task.was_done)
    found = {table: prints[file_of(table, block)] for table in wanted}
    if found["steps"] == task.made_of:
        found["maps"] = task.made_of
        if maps.standing_checksum(store, block) != store.block_note("steps", block).get(MAP_SUM):
            maps.set_maps_aside(store, block)
            found["maps"] = None
    return found


def _n_usable(frames: pd.DataFrame) -> int:
    """Return how many frames of a block can be used."""
    return int((frames["status"] == OK).sum())


def read_block(movie: Movie, block: Block) -> np.ndarray:
    """Return the (n, y, x) frames of `block`, in the movie's own type."""
    return movie.reader.read(block.start, block.stop)


def look_back(movie: Movie, block: Block, crystal: Reference | None) -> np.ndarray:
    """Return the frames from the last good one before `block` on, at most `HALO` of them.

    Drift is measured against that one. They are read from the last one back, one at a time, so no
    frame is read that is not needed.

    Returns
    -------
    (k, y, x) frames in the movie's own type; none before the first block.
    """
    before: list[np.ndarray] = []
    for number in range(block.start - 1, max(0, block.start - HALO) - 1, -1):
        before.insert(0, movie.reader.read(number, number + 1))
        if is_good_frame(before[0][0], crystal):
            break
    if not before:
        return np.empty((0, *movie.shape[1:]), movie.reader.dtype)
    return np.concatenate(before)


@lru_cache(maxsize=2)
def _model(store: Store, version: str) -> Any:
    """Return the model of the results folder, loaded once per worker, if it is still that one."""
    return load_model(store, as_learned=True, version=version)
