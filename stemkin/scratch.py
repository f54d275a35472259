"""Folders for files that nobody needs afterwards, on machines with and without a place for them.

>>> with scratch_folder() as folder:
...     folder.is_dir()
True
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemkin.errors import StoppedError

SCRATCH, ENDING = ".scratch-", ".part"
"""How the names of such folders begin and end: what a killed writer leaves of those beside results
is swept with its other files."""

NEARLY_NOTHING = 2**16
"""Bytes left on a disk that is full: the last block of a file need not fit."""

FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EROFS])
"""Of errors that another folder has not."""


@contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Hold a folder for the length of a ``with`` block; it is removed with all that is in it.

    Parameters
    ----------
    beside
        A folder that can be written, which serves where the system has none for temporary files;
        None: there is none.

    Raises
    ------
    StoppedError
        If there is no place for temporary files, or it is full.
    """
    place = None
    if beside is not None and not _system_has_one():
        place = beside
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=SCRATCH, suffix=ENDING) as folder:
            yield Path(folder)
    except OSError as error:
        if place is None and not _system_has_one():
            raise StoppedError(nowhere()) from error
        if _is_of(error, str(place or _system())):
            msg = (
                f"the folder for temporary files, {place or _system()}, cannot be written "
                f"({error.strerror}); free some space there, or set TMPDIR to another folder"
            )
            raise StoppedError(msg) from error
        raise


def check_scratch() -> None:
    """Refuse to go on where the system has no folder for temporary files.

    Raises
    ------
    StoppedError
        If there is none.
    """
    if not _system_has_one():
        raise StoppedError(nowhere())


def nowhere() -> str:
    """Return the sentence that says that there is no folder for temporary files."""
    tried = "TMPDIR, TEMP, TMP, /tmp, /var/tmp, /usr/tmp and the working directory"
    return (
        f"there is no folder for temporary files that can be written (tried {tried}); set TMPDIR "
        "to one, on a disk with some space"
    )


def _is_of(error: OSError, place: str) -> bool:
    """Tell whether an error says that a folder, and not another one, is full."""
    if error.errno not in FULL:
        return False
    if error.filename is None:  # of a file that is open already
        return shutil.disk_usage(place).free < NEARLY_NOTHING
    return str(error.filename).startswith(place)


def _system() -> str:
    return tempfile.gettempdir()


def _system_has_one() -> bool:
    """Tell whether the system has a folder for temporary files."""
    try:
        _system()
    except FileNotFoundError:
        return False
    return True
