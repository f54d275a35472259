"""The files of a Zarr store: its own alone, and no metadata without end.

What is asked of them before zarr-python opens them (`stemkin.readers.zarr_bounds`), or where it
never does.
"""

from __future__ import annotations

import math
import os
import zipfile
from typing import Any

import numpy as np

from stemkin.readers.errors import DamagedDataError, MovieError
from stemkin.readers.place import Place, strange_kind

MAX_METADATA_BYTES = 2**26
"""No metadata are larger."""
METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
SLACK_BYTES = 2**16
"""What is stored may be a little larger than what it holds: checksums, the index of a shard."""


def check_own_file(path: str, root: str) -> None:
    """Refuse a file of a store that is a link out of it, or no file.

    Raises
    ------
    DamagedDataError
        If it is.
    """
    if not os.path.lexists(path):
        return
    within = os.path.realpath(root)
    if os.path.commonpath([os.path.realpath(path), within]) != within:
        msg = (
            f"{path} is a link out of its store, to any file of yours; if you trust it: "
            "allow_external=True, --allow-external"
        )
        raise DamagedDataError(msg)
    if os.path.exists(path) and strange_kind(path):
        msg = f"{path} is {strange_kind(path)} and no file"
        raise DamagedDataError(msg)


def check_metadata_size(n_bytes: int, source: object) -> None:
    """Refuse metadata that no store has.

    Raises
    ------
    MovieError
        If they are larger than `MAX_METADATA_BYTES`.
    """
    if n_bytes > MAX_METADATA_BYTES:
        msg = f"the metadata {source} have {n_bytes:,} bytes, which no store has"
        raise MovieError(msg)


def check_zip(place: Place) -> None:
    """Refuse a zipped store whose metadata unpack to more than any store has.

    A ZIP file says of each member to how many bytes it unpacks, and no more are read.

    Raises
    ------
    MovieError
        If one does.
    """
    with place.opened() as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.filename.rsplit("/", 1)[-1] in METADATA:
                check_metadata_size(member.file_size, f"{member.filename} in {place}")


def check_zipped_chunks(place: Place, array: Any) -> None:
    """Refuse a zipped store with chunks that unpack to more than their shape.

    Raises
    ------
    MovieError
        If one does.
    """
    unit = array.shards or array.chunks
    most = 2 * math.prod(unit) * np.dtype(array.dtype).itemsize + SLACK_BYTES
    below = f"{array.path}/".lstrip("/")
    with place.opened() as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename
            if not name.startswith(below) or name.rsplit("/", 1)[-1] in METADATA:
                continue
            if member.file_size > most:
                msg = (
                    f"{name} in {place} unpacks to {member.file_size:,} bytes, but a chunk has at "
                    f"most {most:,}"
                )
                raise MovieError(msg)
