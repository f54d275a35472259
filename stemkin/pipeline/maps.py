"""Maps of the phases at reduced resolution: one Zarr array per movie, written by the pixel pass.

A chunk is a block of frames and has one writer. Where no block was searched, the map says -1, "not
known".
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from stemkin.errors import StoppedError, reaching
from stemkin.kernels.crystal.order import UNKNOWN
from stemkin.kernels.crystal.regions import tile_of
from stemkin.movie import Movie
from stemkin.names import folder_name
from stemkin.order.maps import about_map
from stemkin.results.quarantine import set_aside
from stemkin.results.store import Block, Store

FOLDER = "maps"
NOT_ITS_MAP = "it is not the map that its block made"
ZARR_FILE = "zarr.json"
"""What describes an array of Zarr (format 3)."""


def prepare_maps(movie: Movie, store: Store, edges: list[tuple[int, int]]) -> None:
    """Make the array of `movie`, nothing known in it, unless it is there for blocks of these edges.

    Computes once. An array that was cut otherwise is removed, one of a movie that has grown is made
    longer. Of one whose description is damaged
    or gone the chunks are kept: whether each is whole, its block tells (`standing_checksum`).
    """
    path, wanted = _path(movie.name), _description(movie, edges)
    if store.exists(*path, ZARR_FILE):
        found = store.read_bytes(*path, ZARR_FILE)
        if found == wanted:
            return
        if not _is_array(found):
            set_aside(store, "it describes no array", *path, ZARR_FILE)
        elif not _is_longer(wanted, found):
            store.remove(*path)
    store.write_bytes(wanted, *path, ZARR_FILE)


def write_maps(store: Store, block: Block, maps: np.ndarray) -> str:
    """Write the maps of a block into the array of its movie; return their checksum. Computes once.

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
        # a chunk of which nothing is known is written too: else one that is lost would look like it
        how = {"write_empty_chunks": True}
        array: Any = zarr.open_array(store.path(*path), mode="r+", config=how)
        array[block.start : block.stop] = maps
    return _checksum(maps)


def standing_checksum(store: Store, block: Block) -> str:
    """Return the checksum of a block's maps as they are on disk; "" where they cannot be read."""
    import zarr

    try:
        with reaching(store.root):
            array: Any = zarr.open_array(store.path(*_path(block.movie)), mode="r")
            return _checksum(array[block.start : block.stop])
    except StoppedError:
        raise
    except Exception:  # noqa: BLE001 - codecs raise what they like of bytes that rotted
        return ""


def set_maps_aside(store: Store, block: Block) -> None:
    """Set aside the chunk of a block's maps, which is not what was written."""
    set_aside(store, NOT_ITS_MAP, *chunk_of(store, block))


def chunk_of(store: Store, block: Block) -> tuple[str, ...]:
    """Return the file in which the maps of a block lie."""
    try:
        longest = _chunk_length(store, block.movie)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return (*_path(block.movie), ZARR_FILE)
    return (*_path(block.movie), "c", str(block.start // longest), "0", "0")


def _chunk_length(store: Store, movie: str) -> int:
    """Return how many frames lie in a chunk of a movie's array."""
    said = json.loads(store.read_bytes(*_path(movie), ZARR_FILE))
    return int(said["chunk_grid"]["configuration"]["chunk_shape"][0])


def _checksum(maps: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(maps, np.int8).tobytes()).hexdigest()


def _description(movie: Movie, edges: list[tuple[int, int]]) -> bytes:
    """Return what the file that describes the array of `movie` says, byte for byte."""
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    shape, chunk = _layout(movie, edges)
    memory: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(memory),
        shape=shape,
        chunks=chunk,
        dtype="int8",
        compressors=(ZstdCodec(), Crc32cCodec()),
        fill_value=UNKNOWN,
        attributes=about_map(movie, tile_of(movie.pixel_size_nm)),
    )
    return bytes(memory[ZARR_FILE].to_bytes())


def _is_array(description: bytes) -> bool:
    """Tell whether a file describes an array, of whatever cut."""
    try:
        return bool(json.loads(description)["node_type"] == "array")
    except (ValueError, KeyError, TypeError):
        return False


def _is_longer(wanted: bytes, found: bytes) -> bool:
    """Tell whether of two descriptions the one wanted has more frames, and nothing else differs."""
    longer, shorter = json.loads(wanted), json.loads(found)
    n_frames, n_before = longer["shape"][0], shorter["shape"][0]
    longer["shape"][0] = n_before
    return bool(longer == shorter and n_frames > n_before)


def _path(movie: str) -> tuple[str, str]:
    return FOLDER, f"{folder_name(movie)}.zarr"


def _layout(movie: Movie, edges: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tile = tile_of(movie.pixel_size_nm)
    # The last tile of a row or column may reach beyond the frame. A chunk is as long as a block
    # (all but the last are alike), so no two tasks write to the same file.
    grid = tuple(-(-n // tile) for n in movie.shape[1:])
    longest = max((stop - start for start, stop in edges), default=1)
    return (movie.shape[0], *grid), (longest, *grid)
