"""The gallery: a few frames with their detections, as numbers alone have misled this field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from stemkin.errors import DamagedFileError, StoppedError
from stemkin.movie import Movie
from stemkin.names import folder_name
from stemkin.results.journal import Journal
from stemkin.results.quarantine import GONE, set_aside
from stemkin.results.store import Block, Store
from stemkin.seals import check_npz, sealed_npz
from stemkin.tables import OK

FOLDER = "gallery"
MAX_MOVIES = 4
MAX_EDGE_PX = 1024
"""Larger frames are shown as their central part."""


def write_gallery(store: Store, movies: Sequence[Movie], journal: Journal) -> None:
    """Keep a good frame from the middle of each of the first movies, with what was found in it.

    All are written again; of what an earlier run wrote, and is not whole any more, it is said so.
    The journal gets the names of the pictures, ``gallery``.
    """
    kept = []
    for movie in movies[:MAX_MOVIES]:
        for name, why in damaged_pictures(store, [folder_name(movie.name)]):
            if why != GONE:
                set_aside(store, why, FOLDER, name)
        try:
            pictured = picture(store, movie)
        except StoppedError:
            raise
        except (OSError, ValueError) as error:
            journal.warn(f"no frame of {movie.name} could be kept for the report: {error}")
            continue
        if pictured is not None:
            store.write_bytes(pictured, FOLDER, f"{folder_name(movie.name)}.npz")
            kept.append(folder_name(movie.name))
    journal.content["gallery"] = kept


def damaged_pictures(store: Store, stems: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each picture that is not what was written, and how that is known.

    Parameters
    ----------
    store
        The results folder.
    stems
        Names of the pictures without ``.npz``.
    """
    for stem in stems:
        name = f"{stem}.npz"
        try:
            check_npz(store.read_bytes(FOLDER, name), f"{FOLDER}/{name}")
        except FileNotFoundError:
            yield name, GONE
        except DamagedFileError as error:
            yield name, error.why


def picture(store: Store, movie: Movie) -> bytes | None:
    """Return one frame of `movie` and its detections as a compressed .npz; None if none is good."""
    frames = store.read_movie("steps", movie.name)
    good = frames.loc[frames["status"] == OK, "frame"].to_numpy()
    if good.size == 0:
        return None
    number = int(good[good.size // 2])
    rows = store.read_block("detections", _block_of(store, movie, number))
    rows = rows[rows["frame"] == number]
    frame = movie.reader.read(number, number + 1)[0].astype(np.float32)
    # the middle of a frame that is larger than a picture; places move with its corner
    top, left = ((max(0, edge - MAX_EDGE_PX)) // 2 for edge in frame.shape)
    pictured = {
        "frame": frame[top : top + MAX_EDGE_PX, left : left + MAX_EDGE_PX],
        "frame_number": number,
        "pixel_size_nm": np.float64(movie.pixel_size_nm or np.nan),
        "y": rows["y"].to_numpy() - top,
        "x": rows["x"].to_numpy() - left,
        "class_id": rows["class_id"].to_numpy(),
        "score": rows["score"].to_numpy(),
    }
    return sealed_npz(pictured)


def _block_of(store: Store, movie: Movie, number: int) -> Block:
    """Return the block of detections that holds frame `number`."""
    blocks = store.blocks("detections", movie.name)
    return next(block for block in blocks if block.start <= number < block.stop)
