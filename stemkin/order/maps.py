"""Maps of the phases at reduced resolution: lazy, and kept as a Zarr array."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import numpy as np

from stemkin.blas import on_one_thread, one_thread
from stemkin.kernels.crystal.lattice_search import find_crystal
from stemkin.kernels.crystal.order import UNKNOWN, OrderMap, order_map
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.crystal.regions import tile_of
from stemkin.movie import Movie
from stemkin.references import reference_crystal

VALUES = {"-1": "not known", "0": "ordered", "1": "disordered", "2": "vacuum"}
"""What the numbers of a map mean."""


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
    from dask import delayed

    tile = tile_px or tile_of(movie.pixel_size_nm)
    frames = movie.to_dask(frames_per_block=frames_per_block)
    grid = tuple(-(-n // tile) for n in movie.shape[1:])

    @one_thread
    def draw(block: np.ndarray, *, crystal: Reference | None) -> np.ndarray:
        maps = np.full((len(block), *grid), UNKNOWN, np.int8)
        for i, frame in enumerate(block):
            found = order_of(frame, tile, reference=crystal)
            if found is not None:
                maps[i] = found.phase
        return maps

    chunks = (frames.chunks[0], (grid[0],), (grid[1],))
    return frames.map_blocks(
        draw,
        crystal=delayed(on_one_thread)(reference_crystal, movie),
        dtype=np.int8,
        chunks=chunks,
        meta=np.empty((0, 0, 0), np.int8),
    )


def save_order_maps(movie: Movie, path: str | PathLike[str], *, tile_px: int | None = None) -> None:
    """Write the maps of `order_maps` to a Zarr array. Computes once.

    Parameters
    ----------
    movie
        The movie.
    path
        Folder of the array; what is there is replaced. One chunk per block of frames.
    tile_px
        As for `order_maps`.
    """
    import dask.array as da
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    tile = tile_px or tile_of(movie.pixel_size_nm)
    maps = order_maps(movie, tile_px=tile)
    store = zarr.create_array(
        fspath(path),
        shape=maps.shape,
        chunks=(max(maps.chunks[0]), *maps.shape[1:]),
        dtype="int8",
        compressors=(ZstdCodec(), Crc32cCodec()),
        fill_value=UNKNOWN,
        overwrite=True,
        attributes=about_map(movie, tile),
    )
    # blocks and chunks coincide, so no two tasks write to one chunk
    da.store(maps, store, lock=False)


def about_map(movie: Movie, tile_px: int) -> dict[str, Any]:
    """Describe a map: what stands beside its numbers, as attributes of the array.

    Parameters
    ----------
    movie
        The movie.
    tile_px
        Pixels per sample of the map.
    """
    size_nm = None
    if movie.pixel_size_nm is not None:
        size_nm = movie.pixel_size_nm * tile_px
    return {
        "axes": ["t", "y", "x"],
        "values": VALUES,
        "movie": movie.name,
        "tile_px": tile_px,
        "pixel_size_nm": size_nm,
        "frame_time_s": movie.frame_time_s,
    }


def order_of(
    frame: np.ndarray, tile_px: int | None = None, *, reference: Reference | None = None
) -> OrderMap | None:
    """Measure the order of one frame; None for a frame that is not fit to be looked at.

    Parameters
    ----------
    frame
        (y, x) intensities.
    tile_px
        Pixels per sample; half a lattice constant unless given.
    reference
        The crystal that the frames of the movie share; without it the frame is looked at alone.
    """
    if not np.isfinite(frame).all() or frame.min() == frame.max():
        return None
    pixels = np.asarray(frame, dtype=np.float32)
    crystal = find_crystal(pixels - pixels.mean(), reference=reference)
    if crystal is None:
        return None
    return order_map(pixels, crystal.lattice, tile=tile_px)
