"""The gallery: a few frames with their detections, as numbers alone have misled this field."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from stemkin.errors import StoppedError
from stemkin.movie import Movie
from stemkin.names import folder_name
from stemkin.results.journal import Journal
from stemkin.results.store import Block, Store
from stemkin.tables import OK

MAX_MOVIES = 4
MAX_EDGE_PX = 1024
"""Larger frames are shown as their central part."""


def write_gallery(store: Store, movies: Sequence[Movie], journal: Journal) -> None:
    """Keep a good frame from the middle of each of the first movies, with what was found in it."""
    for movie in movies[:MAX_MOVIES]:
        try:
            pictured = picture(store, movie)
        except StoppedError:
            raise
        except (OSError, ValueError) as error:
            journal.warn(f"no frame of {movie.name} could be kept for the report: {error}")
            continue
        if pictured is not None:
            store.write_bytes(pictured, "gallery", f"{folder_name(movie.name)}.npz")


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
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        frame=frame[top : top + MAX_EDGE_PX, left : left + MAX_EDGE_PX],
        frame_number=number,
        pixel_size_nm=np.float64(np.nan if movie.pixel_size_nm is None else movie.pixel_size_nm),
        y=rows["y"].to_numpy() - top,
        x=rows["x"].to_numpy() - left,
        class_id=rows["class_id"].to_numpy(),
        score=rows["score"].to_numpy(),
    )
    return buffer.getvalue()


def _block_of(store: Store, movie: Movie, number: int) -> Block:
    """Return the block of detections that holds frame `number`."""
    blocks = store.blocks("detections", movie.name)
    return next(block for block in blocks if block.start <= number < block.stop)
