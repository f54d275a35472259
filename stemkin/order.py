"""Where is the crystal whole, where is it disordered, and where is it gone? Phases and their areas,
frame by frame.

    table = phases(movie).compute()                      # ordered, disordered, vacuum per frame
    found = regions(movie).compute()                     # every hole, disordered area and turned fragment
    followed = follow(found)                             # the same region keeps its number from frame to frame
    save_order_maps(movie, "order.zarr")                 # maps at reduced resolution, to be looked at

Each window of about one lattice constant is ordered if it answers as a lattice in *any* direction,
so a fragment that has turned still counts as ordered (see `kernels.order`, where the thresholds are
explained). How to read the answer: areas are fractions of the frame; a border is found to about 0.2
lattice constants. Traps: a frame in which no lattice is found at all has NaN, not 0; where more
than three quarters of the frame are broken, the reference for "whole" is itself broken.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal.lattice_search import find_crystal
from stemkin.kernels.crystal.order import UNKNOWN, OrderMap, order_map
from stemkin.kernels.crystal.regions import regions_of, tile_of
from stemkin.movie import Movie, Movies, each_movie

PHASES = ("ordered", "disordered", "vacuum")
PHASE_COLUMNS = {
    "movie": "str",
    "frame": "int32",
    "time_s": "float64",
    **dict.fromkeys(PHASES, "float32"),
}


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
    """
    return _rows(movies, _phase_rows, PHASE_COLUMNS, frames_per_block)


def regions(movies: Movies, *, frames_per_block: int | None = None) -> Any:
    """List every hole, disordered area and turned fragment of every frame. Lazy: one partition per
    block of frames.

    Returns
    -------
    Dask DataFrame, the table ``regions``: `kind` (hole, disordered, fragment), centre `y`, `x`
    [px], `area_px`, `area_nm2` (NaN without a calibration), `turn_deg` (of a fragment's lattice
    against the frame's), the largest first; `region` is -1 (see `follow`).
    """
    return _rows(movies, _region_rows, dict(tables.COLUMNS["regions"]), frames_per_block)


def follow(
    found: pd.DataFrame, *, max_step_px: float = 30.0, max_gap_frames: int = 2
) -> pd.DataFrame:
    """Give the same region the same number from frame to frame. Computes once.

    Parameters
    ----------
    found
        As `regions(...).compute()` gives it.
    max_step_px
        How far a centre may move from one frame to the next.
    max_gap_frames
        For how many frames a region may be out of sight, for instance while it is too small to
        count.

    Returns
    -------
    The rows with `region`, a number that is unique within a movie; of the same kind, the closest
    centres are joined.
    """
    parts = [
        _follow_one(rows, max_step_px, max_gap_frames)
        for _, rows in found.groupby(["movie", "kind"], sort=True)
    ]
    if not parts:
        return found.assign(region=pd.Series([], dtype="int64"))
    rows = pd.concat(parts).sort_values(
        ["movie", "frame", "kind", "region"], kind="stable", ignore_index=True
    )
    first = rows.groupby(["movie", "kind", "region"], sort=False)["frame"].transform("min")
    keys = pd.MultiIndex.from_arrays([rows["movie"], first, rows["kind"], rows["region"]])
    order_of = pd.Series(np.arange(len(keys.unique())), index=keys.unique().sort_values())
    numbers = pd.Series(order_of.reindex(keys).to_numpy(), index=rows.index)
    start = numbers.groupby(rows["movie"]).transform("min")
    return rows.assign(region=(numbers - start).astype("int64"))


def histories(followed: pd.DataFrame) -> pd.DataFrame:
    """Sum up each followed region: when it was there, and how large. Computes once.

    Returns
    -------
    The table ``phases``: one row per movie and region, the largest of each movie first.
    """
    if followed.empty:
        return tables.empty("phases")
    groups = followed.sort_values("frame", kind="stable").groupby(["movie", "region"], sort=True)
    rows = groups.agg(
        kind=("kind", "first"), n_frames=("frame", "size"), first_frame=("frame", "first"), last_frame=("frame", "last"),
        first_time_s=("time_s", "first"), last_time_s=("time_s", "last"), largest_px=("area_px", "max"), largest_nm2=("area_nm2", "max"),
        last_px=("area_px", "last"), last_nm2=("area_nm2", "last"), last_turn_deg=("turn_deg", "last"),
    ).reset_index()  # fmt: skip
    order_of = ["movie", "largest_px", "region"]
    return tables.conform(
        rows.sort_values(order_of, ascending=[True, False, True], kind="stable"), "phases"
    )


def order_maps(
    movie: Movie, *, tile_px: int | None = None, frames_per_block: int | None = None
) -> Any:
    """Map the phases of a movie at reduced resolution. Lazy.

    Parameters
    ----------
    movie
        The movie.
    tile_px
        Pixels per sample of the map, at most about half a lattice constant; 0.15 nm (or 5 px
        without calibration) unless given.
    frames_per_block
        Frames per block.

    Returns
    -------
    Dask array (t, ny, nx) int8: 0 ordered, 1 disordered, 2 vacuum, -1 not known.
    """
    tile = tile_of(movie.pixel_size_nm) if tile_px is None else tile_px
    frames = movie.to_dask(frames_per_block=frames_per_block)
    grid = tuple(-(-n // tile) for n in movie.shape[1:])

    @one_thread
    def draw(block: np.ndarray) -> np.ndarray:
        maps = np.full((len(block), *grid), UNKNOWN, np.int8)
        for i, frame in enumerate(block):
            found = _map_of(frame, tile)
            if found is not None:
                maps[i] = found.phase
        return maps

    chunks = (frames.chunks[0], (grid[0],), (grid[1],))
    return frames.map_blocks(draw, dtype=np.int8, chunks=chunks, meta=np.empty((0, 0, 0), np.int8))


def save_order_maps(movie: Movie, path: str | PathLike[str], *, tile_px: int | None = None) -> None:
    """Write the maps of `order_maps` to a Zarr array; one chunk per block of frames. Computes
    once."""
    import dask.array as da
    import zarr

    tile = tile_of(movie.pixel_size_nm) if tile_px is None else tile_px
    maps = order_maps(movie, tile_px=tile)
    chunk = (max(maps.chunks[0]), *maps.shape[1:])
    store = zarr.create_array(
        fspath(path),
        shape=maps.shape,
        chunks=chunk,
        dtype="int8",
        fill_value=UNKNOWN,
        overwrite=True,
    )
    store.attrs.update(
        {
            "axes": ["t", "y", "x"],
            "values": {"-1": "not known", "0": "ordered", "1": "disordered", "2": "vacuum"},
            "movie": movie.name,
            "tile_px": tile,
            "pixel_size_nm": None if movie.pixel_size_nm is None else movie.pixel_size_nm * tile,
            "frame_time_s": movie.frame_time_s,
        }
    )
    da.store(
        maps, store, lock=False
    )  # blocks and chunks coincide, so no two tasks write to one chunk


def _rows(
    movies: Movies, rows_of: Any, columns: dict[str, str], frames_per_block: int | None
) -> Any:
    """Lay `rows_of` over the blocks of all movies: one partition each."""
    import dask.dataframe as dd
    from dask import delayed

    parts = [
        delayed(_block)(movie, start, stop, rows_of, columns)
        for movie in each_movie(movies)
        for start, stop in movie.block_edges(frames_per_block=frames_per_block)
    ]
    if not parts:
        msg = "there is no movie to look at; check the folder or pattern that was opened"
        raise ValueError(msg)
    return dd.from_delayed(
        parts, meta=pd.DataFrame(columns=list(columns)).astype(columns), verify_meta=False
    )


@one_thread
def _block(
    movie: Movie, start: int, stop: int, rows_of: Any, columns: dict[str, str]
) -> pd.DataFrame:
    found = [
        (number, _map_of(frame))
        for number, frame in enumerate(movie.reader.read(start, stop), start)
    ]
    return pd.DataFrame(rows_of(found, movie)).reindex(columns=list(columns)).astype(columns)


def _phase_rows(found: list[tuple[int, OrderMap | None]], movie: Movie) -> list[dict[str, Any]]:
    time_s = movie.frame_time_s or np.nan
    return [
        {"movie": movie.name, "frame": number, "time_s": number * time_s,
         **dict(zip(PHASES, (np.nan,) * 3 if one is None else one.fractions, strict=True))}
        for number, one in found
    ]  # fmt: skip


def _region_rows(found: list[tuple[int, OrderMap | None]], movie: Movie) -> pd.DataFrame:
    seen = [
        (number, region) for number, one in found if one is not None for region in regions_of(one)
    ]
    return tables.region_rows(seen, movie.name, movie.pixel_size_nm, movie.frame_time_s)


def _map_of(frame: np.ndarray, tile: int | None = None) -> OrderMap | None:
    """Return the order of one frame; None for a frame that is not fit to be looked at."""
    if not np.isfinite(frame).all() or frame.min() == frame.max():
        return None
    pixels = np.asarray(frame, dtype=np.float32)
    crystal = find_crystal(pixels - pixels.mean())
    return None if crystal is None else order_map(pixels, crystal.lattice, tile=tile)


def _follow_one(rows: pd.DataFrame, max_step_px: float, max_gap_frames: int) -> pd.DataFrame:
    """Number the regions of one kind in one movie."""
    rows = rows.sort_values(["frame", "y", "x"], kind="stable")
    numbers = np.full(len(rows), -1, np.int64)
    frame, places = rows["frame"].to_numpy(), rows[["y", "x"]].to_numpy(float)
    last_seen: dict[int, int] = {}  # number → row
    for number in np.unique(frame):
        here = np.flatnonzero(frame == number)
        last_seen = {
            k: row for k, row in last_seen.items() if number - frame[row] <= 1 + max_gap_frames
        }
        known, before = np.array([*last_seen], np.int64), np.array([*last_seen.values()], np.int64)
        i, j = match_points(places[before], places[here], max_distance=max_step_px)
        numbers[here[j]] = known[i]
        new = here[numbers[here] < 0]
        numbers[new] = numbers.max() + 1 + np.arange(len(new))
        last_seen |= dict(zip(numbers[here].tolist(), here.tolist(), strict=True))
    return rows.assign(region=numbers)
