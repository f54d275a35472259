"""Opening of HDF5 files beside others that this process has open.

A notebook that holds a file open for writing has parts of it in its own memory: what lies on the
disk is not the file, and is not read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stemkin.readers.errors import MovieError, NotOpenedError, opening
from stemkin.readers.place import Place


def check_not_being_written(place: Place) -> None:
    """Refuse a file that this process itself holds open for writing, through h5py.

    Raises
    ------
    MovieError
        If it does.
    """
    if _is_being_written(place):
        msg = f"{place} {BEING_WRITTEN}"
        raise MovieError(msg)


BEING_WRITTEN = (
    "is open for writing in this process, so that what lies on the disk is not whole; close it "
    "first (file.close(), or the end of its with block)"
)


def _is_being_written(place: Place) -> bool:
    h5py = sys.modules.get("h5py")
    if h5py is None or place.is_remote:
        return False
    for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        name = os.fsdecode(file.name)
        can_write = file.get_intent() != h5py.h5f.ACC_RDONLY
        if can_write and os.path.exists(name) and os.path.samefile(name, place.path):
            return True
    return False


@contextmanager
def opened_hdf5(place: Place) -> Iterator[Any]:
    """Open a file for reading, whoever else reads it.

    Raises
    ------
    NotOpenedError
        If it does not open.
    """

    if place.is_remote:
        with place.opened() as remote, _opened(place, remote) as file:
            yield file
        return
    if _is_being_written(place):
        msg = f"{place} {BEING_WRITTEN}"
        raise NotOpenedError(msg)
    with _opened(place, place.path) as file:
        yield file


def _opened(place: Place, source: Any) -> Any:
    import h5py

    # no lock, which some disks do not know; but a file that this process has open with one already
    # opens only with the same
    with opening(place):
        for locking in (False, None):
            with suppress(OSError):
                return h5py.File(source, "r", locking=locking)
        return h5py.File(source, "r", locking=True)
