"""Parquet files whose every byte is under a checksum: the one writer and the one reader of them.

Each page carries its CRC-32, so that who reads some columns checks what it reads. The footer carries
a *seal*: the CRC-32C of all bytes before it, its own SHA-256, and the place in the results folder
for which the file was written. CRC-32C finds every burst of up to 32 bits and all but one in 4e9 of
other damages, at the speed of memory: a file that is read whole is compared with it alone, and
takes no longer than one without seals; of columns read alone the pages are compared. A bit that
flipped, a part that is gone, and a file that was put in the place of another one are told
before a number is made of them (`DamagedFileError`). Equal rows for the same place give equal
bytes.

    content = sealed_bytes(rows, place="tracks/a/0-4.parquet", note={"fingerprint": "..."})
    rows = rows_of(content, place="tracks/a/0-4.parquet")

Files that stemkin never wrote have no seal; where one is wanted, they are refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import google_crc32c
import pandas as pd

from stemkin.errors import DamagedFileError

METADATA_KEY = b"stemkin"
"""Under this key the footer says what the file was made of."""
UNSEALED = {"body_crc32c": "0" * 8, "footer_sha256": "0" * 64}
"""What stands in the place of each checksum while it is computed."""
FOOTER_SEAL = re.compile(rb'"footer_sha256": "([0-9a-f]{64})"')
"""How the seal of a footer looks in it."""
END = b"PAR1"
"""How a Parquet file begins and ends; before the last one stands the footer's length, in 4 bytes."""
TAIL_BYTES = 2**16
"""So much of a file's end is read first: mostly the whole footer lies in it."""


def sealed_bytes(rows: pd.DataFrame, *, place: str, note: dict[str, Any]) -> bytes:
    """Return `rows` as a sealed Parquet file.

    Parameters
    ----------
    rows
        The table.
    place
        Where in its folder the file will stand, as ``tracks/a/0-4.parquet``.
    note
        What the file says of itself besides (JSON).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(rows, preserve_index=False)
    about = {**note, "place": place, **UNSEALED}
    metadata = dict(arrow.schema.metadata or {})
    metadata[METADATA_KEY] = json.dumps(about, sort_keys=True).encode()
    buffer = io.BytesIO()
    pq.write_table(
        arrow.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    content = buffer.getvalue()
    # The footer is the last thing in the file: the body's checksum is put into it first, so that
    # the footer's own one covers it. Both take the room that was kept for them.
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    body = content[:start]
    footer = _with("body_crc32c", _crc32c(body), content[start:])
    return body + _with("footer_sha256", _sha256(footer), footer)


def rows_of(content: bytes, *, place: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows of a sealed file, every byte of it checked.

    Parameters
    ----------
    content
        The whole file.
    place
        Where it stands in its folder.
    columns
        Which ones; by default all.

    Raises
    ------
    DamagedFileError
        If it is not what was written for this place.
    """
    rows: pd.DataFrame = _of_whole(content, place, columns).to_pandas()
    return rows


def note_of_whole(content: bytes, *, place: str) -> dict[str, str]:
    """Return what a sealed file says of itself, every byte of it checked.

    Raises
    ------
    DamagedFileError
        If it is not what was written for this place.
    """
    return _checked(content, place)[0]


def note_in(file: Any, *, place: str) -> dict[str, str]:
    """Return what a sealed file says of itself; only its end is read, and checked.

    Parameters
    ----------
    file
        Open for reading.
    place
        What to call it; where it was written for another place, that is refused.

    Raises
    ------
    DamagedFileError
        If its footer is not what was written for this place.
    """
    return _note(_footer_in(file, place), place)[0]


def metadata_in(path: str) -> Any:
    """Return pyarrow's metadata of a sealed file at `path` (or URL); its footer is checked.

    Raises
    ------
    DamagedFileError
        If the footer is not what was written.
    """
    import fsspec

    with fsspec.open(path, "rb") as file:
        return _note(_footer_in(file, path), path)[1]


def columns_in(path: str, columns: Sequence[str] | None = None) -> Any:
    """Return some columns of a sealed file as an Arrow table; whatever of it is read is checked.

    Parameters
    ----------
    path
        Path or URL.
    columns
        Which ones; by default all.

    Raises
    ------
    DamagedFileError
        If what was read is not what was written.
    """
    if "://" in path:
        import fsspec

        with fsspec.open(path, "rb") as file:
            return _of_open(file, path, columns, file.read)
    import pyarrow as pa

    # Arrow reads its own files itself: through a file of Python's, columns took a tenth longer
    with pa.OSFile(path) as own:
        return _of_open(own, path, columns, own.read_buffer)


def write_plain(pieces: Iterable[pd.DataFrame], path: str | os.PathLike[str]) -> None:
    """Write a table that comes in `pieces`, at least one, with the CRC of each page and no seal.

    For tables that stand outside results folders, such as the truth of a simulation.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for piece in pieces:
            arrow = pa.Table.from_pandas(piece, preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(path, arrow.schema, write_page_checksum=True)
            writer.write_table(arrow.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _of_open(
    file: Any, place: str, columns: Sequence[str] | None, read_all: Callable[[], Any]
) -> Any:
    """Return columns of an open file as an Arrow table, whatever of it is read checked."""
    if columns is None:
        return _of_whole(read_all(), place)
    metadata = _note(_footer_in(file, place), place)[1]
    return _read(file, place, columns, metadata, by_page=True)


def _of_whole(content: Any, place: str, columns: Sequence[str] | None = None) -> Any:
    """Return columns of a whole file (bytes or a buffer) as an Arrow table, every byte checked."""
    import pyarrow as pa

    metadata = _checked(content, place)[1]
    # what was compared with its seal as a whole need not be compared page by page
    return _read(pa.BufferReader(content), place, columns, metadata, by_page=False)


def _checked(content: Any, place: str) -> tuple[dict[str, str], Any]:
    """Return what a whole file says of itself, and its metadata, every byte of it checked."""
    import pyarrow as pa

    footer = _footer(content, len(content), place)
    note, metadata = _note(footer, place)
    # a slice of bytes would be a copy of them
    body = pa.py_buffer(content).slice(0, len(content) - len(footer))
    if note.get("body_crc32c") != _crc32c(body):
        raise DamagedFileError(place, "its content is not what was written")
    return note, metadata


def _read(
    file: Any, place: str, columns: Sequence[str] | None, metadata: Any, *, by_page: bool
) -> Any:
    """Return columns as an Arrow table, in their order, the CRC of each page checked where asked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = metadata.schema.to_arrow_schema().names
    wanted = names if columns is None else list(columns)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DamagedFileError(place, f"it has no column {missing[0]!r}, but {names}")
    try:
        there = pq.ParquetFile(
            file, metadata=metadata, pre_buffer=True, page_checksum_verification=by_page
        )
        return there.read(wanted).select(wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(place, _in_one_line(error)) from error


def _footer_in(file: Any, place: str) -> bytes:
    """Return the footer of an open file, with the eight bytes that end it."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read(TAIL_BYTES)
    wanted = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < wanted <= size:
        file.seek(size - wanted)
        tail = file.read(wanted)
    return _footer(tail, size, place)


def _footer(tail: Any, size: int, place: str) -> bytes:
    """Return the footer out of the end of a file of `size` bytes, if there can be one."""
    if size == 0:
        raise DamagedFileError(place, "it is empty")
    n_bytes = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < 12 or bytes(tail[-4:]) != END or n_bytes > len(tail):
        raise DamagedFileError(place, "it is no whole Parquet file")
    return bytes(tail[-n_bytes:])


def _note(footer: bytes, place: str) -> tuple[dict[str, str], Any]:
    """Return what a footer says of its file, and pyarrow's metadata, the footer itself checked.

    Nothing parses a footer before it was compared with its seal.
    """
    found = FOOTER_SEAL.search(footer)
    if found is None:
        raise DamagedFileError(place, "it has no seal of stemkin's")
    sealed = found[1].decode()
    if _sha256(_with("footer_sha256", UNSEALED["footer_sha256"], footer, sealed)) != sealed:
        raise DamagedFileError(place, "its footer is not what was written")
    metadata = _parsed(footer, place)
    said = json.loads(metadata.metadata[METADATA_KEY])
    note = {key: str(value) for key, value in said.items()}
    # a path or a URL ends in the place within the folder
    if f"/{place}".endswith(f"/{note['place']}"):
        return note, metadata
    raise DamagedFileError(place, f"it was written as {note['place']}")


def _parsed(footer: bytes, place: str) -> Any:
    """Return pyarrow's metadata of a footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(pa.BufferReader(END + footer))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(place, _in_one_line(error)) from error


def _with(key: str, checksum: str, footer: bytes, instead_of: str = "") -> bytes:
    """Return a footer with another checksum under `key`; as many bytes as before."""
    return footer.replace(_said(key, instead_of or UNSEALED[key]), _said(key, checksum), 1)


def _said(key: str, checksum: str) -> bytes:
    return f'"{key}": "{checksum}"'.encode()


def _crc32c(content: Any) -> str:
    """Return the checksum of bytes, or of a buffer of them that nobody can change."""
    return f"{google_crc32c.value(content):08x}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
