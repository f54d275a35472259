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

NOWHERE = (
    "there is no folder for temporary files that can be written (tried TMPDIR, TEMP, TMP, /tmp, "
    "/var/tmp, /usr/tmp and the working directory); set TMPDIR to one, on a disk with some space"
)


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
    place = _system() or beside
    if place is None:
        raise StoppedError(NOWHERE)
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=SCRATCH, suffix=ENDING) as folder:
            yield Path(folder)
    except OSError as error:
        if not _is_of(error, place):
            raise
        msg = (
            f"the folder for temporary files, {place}, cannot be written ({error.strerror}); free "
            "some space there, or set TMPDIR to another folder"
        )
        raise StoppedError(msg) from error


def check_scratch() -> None:
    """Refuse to go on where the system has no folder for temporary files.

    Raises
    ------
    StoppedError
        If there is none.
    """
    if _system() is None:
        raise StoppedError(NOWHERE)


def _is_of(error: OSError, place: Path) -> bool:
    """Tell whether an error says that a folder, and not another one, is full."""
    if error.errno not in FULL:
        return False
    if error.filename is None:  # of a file that is open already
        return shutil.disk_usage(place).free < NEARLY_NOTHING
    return str(error.filename).startswith(str(place))


def _system() -> Path | None:
    """Return the system's folder for temporary files; None where there is none to be written."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None
