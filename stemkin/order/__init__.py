"""Order: where the crystal is whole, where it is disordered and where it is gone, frame by frame.

    table = phases(movie).compute()         # ordered, disordered, vacuum per frame
    found = regions(movie).compute()        # every hole, disordered area and turned fragment
    followed = follow(found)                # the same region keeps its number from frame to frame
    save_order_maps(movie, "order.zarr")    # maps at reduced resolution, to be looked at

Each window of about one lattice constant is ordered if it answers as a lattice in *any* direction,
so a fragment that has turned still counts as ordered (see `kernels.crystal.order`, where the
thresholds are explained). How to read the answer: areas are fractions of the frame; a border is
found to about 0.2 lattice constants. Traps: a frame in which no lattice is found at all has NaN,
not 0; where more than three quarters of the frame are broken, the reference for "whole" is itself
broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import on_one_thread, one_thread
from stemkin.kernels.crystal.order import OrderMap
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.crystal.regions import regions_of
from stemkin.kernels.images.missing import without_missing
from stemkin.movie import Movie, Movies, each_movie
from stemkin.order.following import follow, histories
from stemkin.order.maps import order_maps, order_of, save_order_maps
from stemkin.references import reference_crystal

__all__ = ["follow", "histories", "order_maps", "phases", "regions", "save_order_maps"]

PHASES = ("ordered", "disordered", "vacuum")
PHASE_COLUMNS = {
    "movie": "str",
    "frame": "int32",
    "time_s": "float64",
    **dict.fromkeys(PHASES, "float32"),
}

Looked = list[tuple[int, OrderMap | None]]
"""Frames by number, each with its order; None where nothing is known."""


def phases(movies: Movies, *, frames_per_block: int | None = None) -> Any:
    """Measure the area fractions of every frame. Lazy: one partition per block of frames.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    frames_per_block
        Frames per block; about 64 MiB of pixels unless given.

    Returns
    -------
    Dask DataFrame `movie`, `frame`, `time_s`, `ordered`, `disordered`, `vacuum`; NaN where a frame
    has no lattice.

    Raises
    ------
    ValueError
        If there are no movies.
    """
    return _rows(movies, _phase_rows, PHASE_COLUMNS, frames_per_block)


def regions(movies: Movies, *, frames_per_block: int | None = None) -> Any:
    """List the holes, disordered areas and turned fragments of every frame. Lazy.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    frames_per_block
        Frames per block; about 64 MiB of pixels unless given.

    Returns
    -------
    Dask DataFrame, the table ``regions``, one partition per block of frames: `kind` (hole,
    disordered, fragment), centre `y`, `x` [px], `area_px`, `area_nm2` (NaN without a calibration),
    `turn_deg` (of a fragment's lattice against the frame's), the largest first; `region` is -1 (see
    `follow`).

    Raises
    ------
    ValueError
        If there are no movies.
    """
    return _rows(movies, _region_rows, dict(tables.COLUMNS["regions"]), frames_per_block)


def _rows(
    movies: Movies,
    rows_of: Callable[[Looked, Movie], Any],
    columns: dict[str, str],
    frames_per_block: int | None,
) -> Any:
    """Lay `rows_of` over the blocks of all movies: one partition each."""
    import dask.dataframe as dd
    from dask import delayed

    parts = []
    for movie in each_movie(movies):
        crystal = delayed(on_one_thread)(reference_crystal, movie)
        parts += [
            delayed(_block)(movie, start, stop, crystal, rows_of, columns)
            for start, stop in movie.block_edges(frames_per_block=frames_per_block)
        ]
    if not parts:
        msg = "there is no movie to look at; check the folder or pattern that was opened"
        raise ValueError(msg)
    empty = pd.DataFrame(columns=list(columns)).astype(columns)
    return dd.from_delayed(parts, meta=empty, verify_meta=False)


@one_thread
def _block(
    movie: Movie,
    start: int,
    stop: int,
    crystal: Reference | None,
    rows_of: Callable[[Looked, Movie], Any],
    columns: dict[str, str],
) -> pd.DataFrame:
    """Return the rows of the frames from `start` up to `stop`."""
    frames, _ = without_missing(movie.reader.read(start, stop))
    found = [
        (number, order_of(frame, reference=crystal)) for number, frame in enumerate(frames, start)
    ]
    return pd.DataFrame(rows_of(found, movie)).reindex(columns=list(columns)).astype(columns)


def _phase_rows(found: Looked, movie: Movie) -> list[dict[str, Any]]:
    time_s = movie.frame_time_s or np.nan
    rows = []
    for number, one in found:
        fractions = (np.nan,) * 3
        if one is not None:
            fractions = one.fractions
        row = {"movie": movie.name, "frame": number, "time_s": number * time_s}
        rows.append(row | dict(zip(PHASES, fractions, strict=True)))
    return rows


def _region_rows(found: Looked, movie: Movie) -> pd.DataFrame:
    known = [(number, one) for number, one in found if one is not None]
    seen = [(number, region) for number, one in known for region in regions_of(one)]
    return tables.region_rows(seen, movie.name, movie.pixel_size_nm, movie.frame_time_s)
