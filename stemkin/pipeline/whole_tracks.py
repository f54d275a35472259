"""Whole tracks of a large movie, in files of their own: its rows once more, gathered by track.

    tracks of a block ── scatter ──▶ records by part ── gather_part ──▶ one file per part

What sums over tracks then reads each row once.

A *part* is a share of the particles, told by their names alone, so it is the same however the movie
was cut into blocks. Each row is written twice and read once; a task holds one block, or one part.
Descriptors stay behind, in ``tracks``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.errors import DamagedFileError
from stemkin.names import folder_name
from stemkin.results.store import Store
from stemkin.results.track_files import WHOLE, part_file
from stemkin.rows.files import part_of

RECORD = np.dtype(
    [(column, kind) for column, kind in tables.COLUMNS["tracks"].items() if column != "movie"]
)
"""A row of ``tracks`` on its way: 52 bytes."""


@dataclass(frozen=True, eq=False)
class Part:
    """All that a worker needs to write one part.

    Attributes
    ----------
    number, n_parts
        Which of how many.
    files
        Where the records of all blocks are, in the order of time.
    start, stop
        (n_blocks,) first record of this part in each file, and the one after its last.
    sums
        (n_blocks,) CRC-32 of these records.
    made_of
        Fingerprint of what is written.
    """

    store: Store
    movie: str
    number: int
    n_parts: int
    files: tuple[tuple[str, ...], ...]
    start: np.ndarray
    stop: np.ndarray
    sums: np.ndarray
    made_of: str


def scatter(rows: pd.DataFrame, n_parts: int, store: Store, *file: str) -> np.ndarray:
    """Write rows of ``tracks`` as records, part by part.

    The records of a part lie together, in the order of time.

    Parameters
    ----------
    rows
        Of one block, in the order of time.
    n_parts
        Number of parts.
    store, file
        Where to.

    Returns
    -------
    (2, n_parts) how many records each part has, and their CRC-32.
    """
    # a stable sort by part keeps the order of time within each
    part = part_of(rows["particle"].to_numpy(), n_parts)
    order = np.argsort(part, kind="stable")
    records = np.empty(len(rows), RECORD)
    for column in RECORD.names or ():
        records[column] = rows[column].to_numpy()[order]
    store.write_bytes(records.tobytes(), *file)
    counts = np.bincount(part, minlength=n_parts)
    pieces = np.split(records, np.cumsum(counts)[:-1])
    return np.array([counts, [zlib.crc32(piece.tobytes()) for piece in pieces]], dtype=np.int64)


def parts_of(
    store: Store, movie: str, files: tuple[tuple[str, ...], ...], told: np.ndarray, made_of: str
) -> list[Part]:
    """Return what is to be gathered.

    Parameters
    ----------
    files
        Of every block, as `scatter` wrote them, in the order of time.
    told
        (n_blocks, 2, n_parts) what `scatter` returned for each.
    """
    counts, sums = told[:, 0], told[:, 1]
    # In each block's file part 0 comes first: part k is the records stop[k] - counts[k] to stop[k].
    stop = np.cumsum(counts, axis=1)
    n_parts = counts.shape[1]
    return [
        Part(
            store,
            movie,
            k,
            n_parts,
            files,
            stop[:, k] - counts[:, k],
            stop[:, k],
            sums[:, k],
            made_of,
        )
        for k in range(n_parts)
    ]


def gather_part(part: Part) -> int:
    """Write the whole tracks of one part, sorted by frame, y, x; return the number of rows.

    Raises
    ------
    DamagedFileError
        If records are not what was written.
    """
    # files without a record of this part are not opened; all others give one range of bytes
    there = np.flatnonzero(part.stop > part.start)
    files = [part.files[k] for k in there]
    first_bytes = (part.start[there] * RECORD.itemsize).tolist()
    last_bytes = (part.stop[there] * RECORD.itemsize).tolist()
    found = part.store.read_ranges(files, first_bytes, last_bytes)
    for file, content, wanted in zip(files, found, part.sums[there].tolist(), strict=True):
        if zlib.crc32(content) != wanted:
            raise DamagedFileError("/".join(file), "its content is not what was written")
    pieces = [np.empty(0, RECORD), *(np.frombuffer(content, RECORD) for content in found)]
    columns = {
        column: np.concatenate([piece[column] for piece in pieces]) for column in RECORD.names or ()
    }
    del pieces
    rows = tables.conform(pd.DataFrame({"movie": part.movie, **columns}), "tracks")
    n_parts = str(part.n_parts)
    part.store.write_table(
        rows, part.made_of, WHOLE, folder_name(part.movie), part_file(part.number), n_parts=n_parts
    )
    return len(rows)
