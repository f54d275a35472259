"""Which files of a results folder hold the tracks of a movie, and whether each holds whole tracks."""

from __future__ import annotations

from stemkin.names import folder_name
from stemkin.results.store import Block, Store

WHOLE = "whole_tracks"
"""Folder of the files with whole tracks; movies that are linked at once have none."""


def part_file(number: int) -> str:
    """Return the name of the file with share `number` of a movie's whole tracks."""
    return f"part-{number:06d}.parquet"


def whole_track_files(store: Store, movie: str, made_of: str | None) -> list[str]:
    """Return the files of whole tracks that were made of `made_of`; none unless all are there."""
    folder = folder_name(movie)
    note = store.note(WHOLE, folder, part_file(0))
    names = [part_file(number) for number in range(int(note.get("n_parts", 0)))]
    if made_of is None or any(store.made_of(WHOLE, folder, name) != made_of for name in names):
        return []
    return [store.path(WHOLE, folder, name) for name in names]


def track_files(store: Store, movie: str) -> tuple[list[str], bool]:
    """Return the files with the tracks of `movie`, and whether each of them holds whole tracks."""
    blocks: list[Block] = store.blocks("tracks", movie)
    if blocks:
        whole = whole_track_files(store, movie, store.block_made_of("tracks", blocks[0]))
        if whole:
            return whole, True
    return store.block_paths("tracks", movie), False
