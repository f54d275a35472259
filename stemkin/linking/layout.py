"""How `link` lies over Dask: blocks in parallel, a halo of a few frames, names joined, whole movies
at the end.

    detections   prepare ── count ── link ─── name ─┐
                    └─ frames ─┤      └── names     ├─ one partition per movie
    detections   prepare ── count ── link ─── name ─┘

Only the frames around a seam, the counted steps and the names go from block to block: a few frames'
worth of rows, two histograms, and (where gaps are closed) the ends and starts of tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.kernels.linking.block_names import settle
from stemkin.kernels.linking.steps import StepCounts, StepModel
from stemkin.linking.blocks import BlockLinks, count_block, fit_steps, link_block
from stemkin.linking.clock import Clock, Settings
from stemkin.linking.joining import Names, Summary, block_tracks, join_links
from stemkin.linking.preparing import first_frames, last_frames, prepare
from stemkin.rows.table import Rows, with_experiment

Pieces = dict[str, pd.DataFrame]
"""Movie → its prepared rows in a partition."""
Models = dict[str, StepModel]
"""Movie → its odds of steps."""
Known = tuple[str, np.ndarray] | None
"""A movie, and the names of the tracks in its last occupied frame so far."""


@dataclass(frozen=True, eq=False)
class Halo:
    """Rows of the occupied frames next to a seam, their movie, and the movies that lie beyond
    it."""

    movie: str
    rows: pd.DataFrame
    beyond: frozenset[str]


def lay_out(
    detections: Any,
    experiment: tables.Experiment,
    settings: Settings,
    *,
    owners: Sequence[str] | None = None,
) -> Rows:
    """Return the table ``tracks``. Lazy.

    Parameters
    ----------
    detections
        Dask table; partitions hold whole frames, in the order of time.
    experiment, settings
        As in `link`.
    owners
        The movie of each partition, where that is known before computing: then each movie is linked
        by itself and becomes one partition. Otherwise a movie's tracks come out in the partition
        where the next movie begins.
    """
    import dask.dataframe as dd

    empty = tables.conform(detections._meta.assign(particle=0, y_nm=0.0, x_nm=0.0), "tracks")
    parts = detections.to_delayed()
    if owners is None:
        tracks = _link_group(parts, _frames_of(experiment, None), experiment, settings, None, empty)
    else:
        tracks = []
        for movie, numbers in groupby(range(len(parts)), key=lambda k: owners[k]):
            group = [parts[k] for k in numbers]
            tracks += _link_group(
                group, _frames_of(experiment, movie), experiment, settings, movie, empty
            )
    return with_experiment(dd.from_delayed(tracks, meta=empty, verify_meta=False), experiment)


def _frames_of(experiment: tables.Experiment, movie: str | None) -> Any:
    """Return the table `frames` of one movie (None: of all) as pandas, delayed or not; None where
    there is none."""
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
    parts: Sequence[Any],
    frames: Any,
    experiment: tables.Experiment,
    settings: Settings,
    movie: str | None,
    empty: pd.DataFrame,
) -> list[Any]:
    """Return the delayed tracks of partitions that belong together, in the order of time."""
    from dask import delayed

    known = (
        experiment.movies
        if movie is None
        else experiment.movies[experiment.movies["movie"] == movie]
    )
    clocks = delayed(_clocks)(
        frames, known[[c for c in ("movie", "pixel_size_nm", "lattice_nm") if c in known]]
    )
    pieces: list[Any] = [delayed(_prepare)(part, clocks) for part in parts]
    blocks = list(
        zip(pieces, _halos(pieces), reversed(_halos(pieces[::-1], backwards=True)), strict=True)
    )
    models = delayed(_fit)(
        [delayed(_count)(*block, clocks, settings) for block in blocks], clocks, settings
    )
    by_odds = models if settings.cost == "likelihood" else None
    links = [delayed(_link)(*block, clocks, settings, by_odds) for block in blocks]
    names = _names(links, settings, models)
    tracks = [
        delayed(_name)(p, own, n, empty) for p, own, n in zip(pieces, links, names, strict=True)
    ]
    if movie is not None or len(tracks) == 1:
        return [delayed(_gather)(tracks, empty)]
    whole, unfinished = [], None
    for number, block in enumerate(tracks):
        both = delayed(_set_apart, nout=2)(unfinished, block, number == len(tracks) - 1)
        whole.append(both[0])
        unfinished = both[1]
    return whole


def _halos(pieces: Sequence[Any], *, backwards: bool = False) -> list[Any]:
    """Return, delayed, what each partition must see of those before it (or after it: `pieces` in
    reverse)."""
    from dask import delayed

    halos: list[Any] = [None]
    for piece in pieces[:-1]:
        halos.append(delayed(_next_halo)(piece, halos[-1], backwards))
    return halos[: len(pieces)]


def _names(links: list[Any], settings: Settings, models: Any) -> list[Any]:
    """Return, delayed, how the tracks of every partition are called.

    Without gaps each partition waits only for those before it; with gaps for all of them.
    """
    from dask import delayed

    if settings.max_gap_frames:
        summaries = [delayed(_summaries)(own) for own in links]
        joined = delayed(_join)(summaries, models, settings)
        return [joined[number] for number in range(len(links))]
    names, known = [], None
    for own in links:
        names.append(delayed(_names_of)(own, known))
        known = delayed(_next_known)(own, known)
    return names


@one_thread
def _clocks(frames: pd.DataFrame | None, movies: pd.DataFrame) -> dict[str, Clock]:
    """Return the clock of every movie."""
    lattices = movies["lattice_nm"] if "lattice_nm" in movies else pd.Series(np.nan, movies.index)
    clocks = {}
    for movie, pixel_size_nm, lattice_nm in zip(
        movies["movie"], movies["pixel_size_nm"], lattices, strict=True
    ):
        own = None if frames is None else frames[(frames["movie"] == movie).to_numpy()]
        known = float(lattice_nm) if lattice_nm > 0 else None
        clocks[movie] = Clock.of(movie, pixel_size_nm=pixel_size_nm, frames=own, lattice_nm=known)
    return clocks


@one_thread
def _prepare(part: pd.DataFrame, clocks: dict[str, Clock]) -> Pieces:
    """Split a partition into movies and prepare each."""
    unknown = sorted(set(part["movie"].unique()) - set(clocks))
    if unknown:
        msg = f"no calibration is known for movie {unknown[0]!r}; known are {list(clocks)[:5]}"
        raise ValueError(msg)
    movies = part["movie"].drop_duplicates().tolist()
    return {
        movie: prepare(part[(part["movie"] == movie).to_numpy()], clocks[movie]) for movie in movies
    }


@one_thread
def _link(
    pieces: Pieces,
    before: Halo | None,
    after: Halo | None,
    clocks: dict[str, Clock],
    settings: Settings,
    models: Models | None,
) -> dict[str, BlockLinks]:
    """Link each movie of a partition."""
    return {
        movie: link_block(
            *block, clocks[movie], settings, None if models is None else models[movie]
        )
        for movie, block in _with_halos(pieces, before, after).items()
    }


@one_thread
def _count(
    pieces: Pieces,
    before: Halo | None,
    after: Halo | None,
    clocks: dict[str, Clock],
    settings: Settings,
) -> dict[str, StepCounts]:
    """Count the steps of each movie of a partition."""
    blocks = _with_halos(pieces, before, after)
    return {movie: count_block(*block, clocks[movie], settings) for movie, block in blocks.items()}


def _with_halos(
    pieces: Pieces, before: Halo | None, after: Halo | None
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Return each movie's block with the rows before and after it; a halo belongs to at most one
    movie."""
    back = sorted(set(pieces) & before.beyond) if before else []
    if back:
        msg = (
            f"movie {back[0]!r} comes back after other movies; its partitions must follow each "
            "other: sort the rows by movie, frame"
        )
        raise ValueError(msg)

    def of(halo: Halo | None, movie: str, block: pd.DataFrame) -> pd.DataFrame:
        return halo.rows if halo and halo.movie == movie else block.iloc[:0]

    return {
        movie: (block, of(before, movie, block), of(after, movie, block))
        for movie, block in pieces.items()
    }


@one_thread
def _fit(
    counted: list[dict[str, StepCounts]], clocks: dict[str, Clock], settings: Settings
) -> Models:
    """Return each movie's odds of steps."""
    return {
        movie: fit_steps(
            [part[movie] for part in counted if movie in part], clocks[movie], settings
        )
        for movie in dict.fromkeys(movie for part in counted for movie in part)
    }


@one_thread
def _summaries(links: dict[str, BlockLinks]) -> dict[str, Summary]:
    return {movie: own.summary for movie, own in links.items()}


@one_thread
def _join(
    summaries: list[dict[str, Summary]], models: Models, settings: Settings
) -> list[dict[str, Names]]:
    """Close the gaps of every movie; return the names for every partition."""
    names: list[dict[str, Names]] = [{} for _ in summaries]
    for movie in dict.fromkeys(movie for part in summaries for movie in part):
        where = [k for k, part in enumerate(summaries) if movie in part]
        joined = join_links([summaries[k][movie] for k in where], models[movie], settings)
        for k, of_block in zip(where, joined, strict=True):
            names[k][movie] = of_block
    return names


@one_thread
def _next_halo(pieces: Pieces, halo: Halo | None, backwards: bool) -> Halo | None:
    """Return what the partition after this one (before it, if `backwards`) must see."""
    occupied = [movie for movie, block in pieces.items() if len(block)]
    if not occupied:
        return halo
    movie = occupied[0 if backwards else -1]
    rows = [pieces[movie]]
    if halo and halo.movie == movie:
        rows = [*rows, halo.rows] if backwards else [halo.rows, *rows]
    together = rows[0] if len(rows) == 1 else pd.concat(rows, ignore_index=True)
    seen = set(occupied) | (halo.beyond | {halo.movie} if halo else set())
    return Halo(
        movie,
        first_frames(together) if backwards else last_frames(together),
        frozenset(seen - {movie}),
    )


@one_thread
def _names_of(links: dict[str, BlockLinks], known: Known) -> dict[str, Names]:
    """Return how the tracks of a partition are called, where the last frame before it is known."""
    none = np.empty(0, np.int64)
    return {
        movie: Names(known[1] if known is not None and known[0] == movie else none, none, none)
        for movie in links
    }


@one_thread
def _next_known(links: dict[str, BlockLinks], known: Known) -> Known:
    """Return the names of the tracks in the last occupied frame after this partition."""
    occupied = [movie for movie, own in links.items() if len(own.names)]
    if not occupied:
        return known
    movie = occupied[-1]
    return movie, settle(links[movie].summary.seam.last, _names_of(links, known)[movie].incoming)


@one_thread
def _name(
    pieces: Pieces, links: dict[str, BlockLinks], names: dict[str, Names], empty: pd.DataFrame
) -> pd.DataFrame:
    """Return the tracks of a partition."""
    return _gather(
        [block_tracks(block, links[movie].names, names[movie]) for movie, block in pieces.items()],
        empty,
    )


@one_thread
def _gather(tracks: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all blocks as one table; `empty` where there are none."""
    filled = [rows for rows in tracks if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else empty


@one_thread
def _set_apart(
    unfinished: list[pd.DataFrame] | None, block: pd.DataFrame, is_last: bool
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the movies that ended, and the rows so far (by block) of the one that may go on."""
    before = unfinished or []
    if is_last:
        return _gather([*before, block], block.iloc[:0]), []
    if not len(block):
        return block, before
    last_movie = block["movie"].iloc[-1]
    if before and before[0]["movie"].iloc[0] == last_movie:
        return block.iloc[:0], [*before, block]
    going_on = (block["movie"] == last_movie).to_numpy()
    return _gather([*before, block[~going_on]], block.iloc[:0]), [block[going_on]]
