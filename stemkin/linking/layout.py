"""How `link` lies over Dask: blocks in parallel, a halo of one frame, names handed on, whole movies at the end.

    detections   prepare ── link_block ─────────── block_tracks ─┐
                    └─ last_frame ─┐     └ seam ─┐      (names)  ├─ one partition per movie
    detections   prepare ── link_block ─────────── block_tracks ─┘

Only `last_frame` and the names go from block to block; both are a frame's worth of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.seams import settle
from stemkin.linking.blocks import BlockLinks, Clock, Settings, block_tracks, last_frame, link_block, prepare
from stemkin.rows import Rows, with_experiment

Pieces = dict[str, pd.DataFrame]
"""Movie → its prepared rows in a partition."""
Names = tuple[str, np.ndarray] | None
"""Names of the tracks in that frame, and its movie."""


@dataclass(frozen=True, eq=False)
class Halo:
    """The last occupied frame so far, its movie, and the movies that ended before."""

    movie: str
    rows: pd.DataFrame
    finished: frozenset[str]


def lay_out(
    detections: Any, experiment: tables.Experiment, settings: Settings, *, owners: Sequence[str] | None = None
) -> Rows:
    """Return the table ``tracks``. Lazy.

    Parameters
    ----------
    detections
        Dask table; partitions hold whole frames, in the order of time.
    experiment, settings
        As in `link`.
    owners
        The movie of each partition, where that is known before computing: then each movie is linked by itself and becomes
        one partition. Otherwise a movie's tracks come out in the partition where the next movie begins.
    """
    import dask.dataframe as dd

    parts = detections.to_delayed()
    if owners is None:
        tracks = _link_group(parts, _frames_of(experiment, None), experiment, settings, None)
    else:
        tracks = []
        for movie, numbers in groupby(range(len(parts)), key=lambda k: owners[k]):
            group = [parts[k] for k in numbers]
            tracks += _link_group(group, _frames_of(experiment, movie), experiment, settings, movie)
    names = [c for c in detections.columns if tables.is_descriptor(c)]
    meta = tables.empty("tracks").assign(**{c: pd.Series([], dtype="float32") for c in names})
    return with_experiment(dd.from_delayed(tracks, meta=meta, verify_meta=False), experiment)


def _frames_of(experiment: tables.Experiment, movie: str | None) -> Any:
    """Return the table `frames` of one movie (None: of all) as pandas, delayed or not; None where there is none."""
    frames = experiment.frames
    if frames is None or isinstance(frames, pd.DataFrame):
        return frames
    from dask import delayed

    parts = frames.to_delayed()
    movies = experiment.movies["movie"].tolist()
    if movie in movies and len(parts) == len(movies):
        return parts[movies.index(movie)]
    return delayed(pd.concat, name="frames")(list(parts))


def _link_group(
    parts: Sequence[Any], frames: Any, experiment: tables.Experiment, settings: Settings, movie: str | None
) -> list[Any]:
    """Return the delayed tracks of partitions that belong together, in the order of time."""
    from dask import delayed

    known = experiment.movies if movie is None else experiment.movies[experiment.movies["movie"] == movie]
    clocks = delayed(_clocks)(frames, known[["movie", "pixel_size_nm"]])
    halo: Any = None
    names: Any = None
    tracks, unfinished = [], None
    for part in parts:
        pieces = delayed(_prepare)(part, clocks)
        links = delayed(_link)(pieces, halo, clocks, settings)
        tracks.append(delayed(_name)(pieces, links, names))
        halo, names = delayed(_next_halo)(pieces, halo), delayed(_next_names)(links, names)
    if movie is not None or len(tracks) == 1:
        return [delayed(_gather)(tracks)]
    whole = []
    for number, block in enumerate(tracks):
        both = delayed(_set_apart, nout=2)(unfinished, block, number == len(tracks) - 1)
        whole.append(both[0])
        unfinished = both[1]
    return whole


def _clocks(frames: pd.DataFrame | None, movies: pd.DataFrame) -> dict[str, Clock]:
    """Return the clock of every movie."""
    clocks = {}
    for movie, pixel_size_nm in zip(movies["movie"], movies["pixel_size_nm"], strict=True):
        own = None if frames is None else frames[frames["movie"] == movie]
        clocks[movie] = Clock.of(movie, pixel_size_nm=pixel_size_nm, frames=own)
    return clocks


def _prepare(part: pd.DataFrame, clocks: dict[str, Clock]) -> Pieces:
    """Split a partition into movies and prepare each."""
    unknown = sorted(set(part["movie"].unique()) - set(clocks))
    if unknown:
        msg = f"no calibration is known for movie {unknown[0]!r}; known are {list(clocks)[:5]}"
        raise ValueError(msg)
    movies = part["movie"].drop_duplicates().tolist()
    return {movie: prepare(part[(part["movie"] == movie).to_numpy()], clocks[movie]) for movie in movies}


def _link(pieces: Pieces, halo: Halo | None, clocks: dict[str, Clock], settings: Settings) -> dict[str, BlockLinks]:
    """Link each movie of a partition; the halo belongs to at most one of them."""
    back = sorted(set(pieces) & halo.finished) if halo else []
    if back:
        msg = f"movie {back[0]!r} comes back after other movies; its partitions must follow each other: sort the rows by movie, frame"
        raise ValueError(msg)
    return {
        movie: link_block(
            block, halo.rows if halo and halo.movie == movie else block.iloc[:0], clock=clocks[movie], settings=settings
        )
        for movie, block in pieces.items()
    }


def _next_halo(pieces: Pieces, halo: Halo | None) -> Halo | None:
    """Return what the partition after this one must see."""
    occupied = [movie for movie, block in pieces.items() if len(block)]
    if not occupied:
        return halo
    seen = set(occupied) | (halo.finished | {halo.movie} if halo else set())
    return Halo(occupied[-1], last_frame(pieces[occupied[-1]]), frozenset(seen - {occupied[-1]}))


def _next_names(links: dict[str, BlockLinks], names: Names) -> Names:
    """Return the names of the tracks in the last occupied frame after this partition."""
    for movie, of_movie in reversed(links.items()):
        if len(of_movie.names):
            return movie, settle(of_movie.seam.last, _incoming(movie, names))
    return names


def _incoming(movie: str, names: Names) -> np.ndarray:
    return names[1] if names is not None and names[0] == movie else np.empty(0, np.int64)


def _name(pieces: Pieces, links: dict[str, BlockLinks], names: Names) -> pd.DataFrame:
    """Return the tracks of a partition."""
    return _gather([block_tracks(block, links[movie], _incoming(movie, names)) for movie, block in pieces.items()])


def _gather(tracks: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all blocks as one table."""
    filled = [rows for rows in tracks if len(rows)] or tracks[:1]
    return pd.concat(filled, ignore_index=True) if filled else tables.empty("tracks")


def _set_apart(
    unfinished: list[pd.DataFrame] | None, block: pd.DataFrame, is_last: bool
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the movies that ended, and the rows so far (by block) of the one that may go on."""
    before = unfinished or []
    if is_last:
        return _gather([*before, block]), []
    if not len(block):
        return block, before
    last_movie = block["movie"].iloc[-1]
    if before and before[0]["movie"].iloc[0] == last_movie:
        return block.iloc[:0], [*before, block]
    going_on = (block["movie"] == last_movie).to_numpy()
    return _gather([*before, block[~going_on]]), [block[going_on]]
