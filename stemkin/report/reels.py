"""Movies that the report can play: pictures of some frames, and the tracks of all, read in bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.names import folder_name
from stemkin.report.results import Reel, listed_movies
from stemkin.results.store import THUMBNAILS, Block, Store

MAX_REELS = 6
"""So many movies have a player."""
MAX_BYTES = 6_000_000
"""So many bytes of pictures go into a page; a movie with more than its share is shown in fewer
frames."""
MAX_ROWS = 1_000_000
"""Of a movie with more rows of tracks only those of the frames that are shown are looked at."""
MAX_MARKS = 500
"""So many marks of a frame are drawn, the clearest."""

COLUMNS = ["frame", "y", "x", "score", "at_edge", "class_id", "probability", "particle"]
DAMAGED = (ValueError, OSError, KeyError, TypeError, ArithmeticError)
"""What reading a damaged table may raise."""


def read_reels(store: Store, absent: dict[str, str], run: Mapping[str, object]) -> list[Reel]:
    """Return what is shown of the first movies; `absent` gets the reason where it is none."""
    names = [str(movie["movie"]) for movie in listed_movies(run) if movie.get("movie")]
    kept = set(store.names(THUMBNAILS))
    shown = [name for name in names if folder_name(name) in kept][:MAX_REELS]
    if not shown:
        absent[THUMBNAILS] = "no pictures of frames were kept in the results folder"
    reels = []
    for name in shown:
        try:
            reel = _read_reel(store, name, MAX_BYTES // len(shown))
        except DAMAGED as error:
            absent[THUMBNAILS] = f"the frames or tracks of {name} cannot be read ({error})"
            continue
        if len(reel.pictures):
            reels.append(reel)
    return reels


def _read_reel(store: Store, movie: str, max_bytes: int) -> Reel:
    pictures = _fitting(_pictures(store, movie), max_bytes)
    numbers = pictures["frame"].to_numpy()
    frames = tables.conform(store.read_movie("frames", movie), "frames").set_index("frame")
    shifts = frames[["shift_y", "shift_x"]].reindex(numbers).fillna(0.0).to_numpy()
    tracks, n_rows = _tracks(store, movie, numbers)
    drift = frames[["shift_y", "shift_x"]].reindex(tracks["frame"]).fillna(0.0).to_numpy()
    tracks = tracks.assign(ry=tracks["y"] - drift[:, 0], rx=tracks["x"] - drift[:, 1])
    seen = tracks[tracks["frame"].isin(numbers)]
    clearest = seen.sort_values("score", ascending=False, kind="stable")
    marks = clearest.groupby("frame", sort=False).head(MAX_MARKS).sort_index()
    return Reel(movie, pictures, tracks, marks, shifts, n_rows, len(seen) - len(marks))


def _pictures(store: Store, movie: str) -> pd.DataFrame:
    """Return the pictures of a movie that belong to its blocks as they were searched last."""
    parts = [tables.empty(THUMBNAILS)]
    for block in store.blocks(THUMBNAILS, movie):
        made_of = store.block_made_of("steps", block)
        if made_of in (None, store.block_made_of(THUMBNAILS, block)):
            parts.append(tables.conform(store.read_block(THUMBNAILS, block), THUMBNAILS))
    found = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    is_jpeg = found["jpeg"].map(lambda content: bytes(content[:2]) == b"\xff\xd8")
    if not is_jpeg.all():
        msg = f"{int((~is_jpeg).sum())} of its {len(found)} pictures are no JPEG files"
        raise ValueError(msg)
    return found.sort_values("frame", ignore_index=True)


def _fitting(pictures: pd.DataFrame, max_bytes: int) -> pd.DataFrame:
    """Return every, every second, every third, ... picture, so that they fit into `max_bytes`."""
    sizes = pictures["jpeg"].map(len)
    every = max(1, int(np.ceil(sizes.sum() / max_bytes)))
    return pictures.iloc[::every].reset_index(drop=True)


def _tracks(store: Store, movie: str, numbers: np.ndarray) -> tuple[pd.DataFrame, int]:
    """Return the tracks of a movie, or its detections, and how many rows there are.

    Of too many rows, only those of the frames `numbers` are returned; one block is held at a time.
    """
    table = "tracks"
    if not store.blocks(table, movie):
        table = "detections"
    blocks = store.blocks(table, movie)
    n_rows = sum(int(store.block_note(table, block).get("n_rows", 0)) for block in blocks)
    parts = [_block_rows(store, table, block, numbers, n_rows) for block in blocks]
    parts = [part for part in parts if len(part)]
    if not parts:
        return tables.empty("tracks")[COLUMNS], n_rows
    rows = pd.concat(parts, ignore_index=True)
    return rows.sort_values(["particle", "frame"], kind="stable", ignore_index=True), n_rows


def _block_rows(
    store: Store, table: str, block: Block, numbers: np.ndarray, n_rows: int
) -> pd.DataFrame:
    if n_rows > MAX_ROWS and not ((numbers >= block.start) & (numbers < block.stop)).any():
        return tables.empty("tracks")[COLUMNS]
    rows = store.read_block(table, block)
    if "particle" not in rows.columns:
        rows = rows.assign(particle=-1)
    rows = rows[COLUMNS]
    if n_rows > MAX_ROWS:
        rows = rows[rows["frame"].isin(numbers)]
    return rows
