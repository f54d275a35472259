"""Maps of the phases at reduced resolution: one Zarr array per movie, written by the pixel pass.

A chunk is a block of frames and has one writer. Where no block was searched, the map says -1, "not
known".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin.errors import reaching
from stemkin.kernels.crystal.order import UNKNOWN
from stemkin.kernels.crystal.regions import tile_of
from stemkin.movie import Movie
from stemkin.names import folder_name
from stemkin.order.maps import about_map
from stemkin.results.store import Block, Store

FOLDER = "maps"


def stands(movie: Movie, store: Store, edges: list[tuple[int, int]]) -> bool:
    """Tell whether the array of `movie` is there, for blocks of these `edges`."""
    import zarr

    shape, chunk = _layout(movie, edges)
    try:
        with reaching(store.root):
            kept = zarr.open_array(store.path(*_path(movie.name)), mode="r")
    except (FileNotFoundError, ValueError, KeyError):
        return False  # there is none, or it is not whole
    return (
        kept.shape == shape
        and kept.chunks == chunk
        and dict(kept.attrs) == about_map(movie, tile_of(movie.pixel_size_nm))
    )


def make(movie: Movie, store: Store, edges: list[tuple[int, int]]) -> None:
    """Make the array of `movie` anew, nothing known in it. Computes once."""
    import zarr

    shape, chunk = _layout(movie, edges)
    path = _path(movie.name)
    store.remove(*path)
    with store.writing(*path):
        zarr.create_array(
            store.path(*path),
            shape=shape,
            chunks=chunk,
            dtype="int8",
            fill_value=UNKNOWN,
            attributes=about_map(movie, tile_of(movie.pixel_size_nm)),
        )


def write_maps(store: Store, block: Block, maps: np.ndarray) -> None:
    """Write the maps of a block into the array of its movie. Computes once.

    Parameters
    ----------
    store, block
        Where results stand, and which frames of which movie.
    maps
        (n, ny, nx) int8 phases.
    """
    import zarr

    path = _path(block.movie)
    with store.writing(*path):
        array: Any = zarr.open_array(store.path(*path), mode="r+")
        array[block.start : block.stop] = maps


def _path(movie: str) -> tuple[str, str]:
    return FOLDER, f"{folder_name(movie)}.zarr"


def _layout(movie: Movie, edges: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tile = tile_of(movie.pixel_size_nm)
    # The last tile of a row or column may reach beyond the frame. A chunk is as long as a block
    # (all but the last are alike), so no two tasks write to the same file.
    grid = tuple(-(-n // tile) for n in movie.shape[1:])
    longest = max((stop - start for start, stop in edges), default=1)
    return (movie.shape[0], *grid), (longest, *grid)
