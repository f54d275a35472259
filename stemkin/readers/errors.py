"""Errors of sources of frames: damage in a file, and trouble of the moment that may pass."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stemkin.errors import is_of_the_network

MAX_REASON = 300
"""Characters of a library's complaint that are repeated."""
MAX_EXPANSION = 10_000
"""Frames that fill more than so many times their stored bytes do not come from a codec (deflate
reaches 1,032) but from a broken header."""
ALWAYS_PLAUSIBLE_BYTES = 2**26
"""So much may be promised by a file that stores nothing: blank frames cost no bytes."""


class MovieError(ValueError):
    """A source that does not open as a movie; it says what it is, what was met, and the cure."""


class DamagedDataError(ValueError):
    """Frames that the file cannot give back: cut off, failing their checksum, not decodable.

    The other frames can be read.
    """


class ChangedMovieError(DamagedDataError):
    """A movie whose files are not those that were planned; its movie fails, and no other."""


class NotOpenedError(OSError):
    """A file that does not open, now: no frame of it is damaged by that, nor is any known."""


class NoSuchFrameError(IndexError):
    """Frames that a movie does not have were asked for."""


PASSING = (
    FileNotFoundError,
    PermissionError,
    ConnectionError,
    TimeoutError,
    MemoryError,
    ImportError,
    NoSuchFrameError,
)
"""Trouble of the moment, or of the machine: the same file may be read another time."""

NONSENSE = (None, errno.EINVAL, errno.EOVERFLOW)
"""Numbers of an OSError for a place in the file that cannot be; libraries raise it without one."""


def is_damage(error: Exception) -> bool:
    """Tell whether an error comes from what a file holds, not from the moment it was read in.

    Trouble of the moment may pass when it is tried again: a file that is gone, no memory, no
    connection, a failing disk.

    >>> is_damage(ValueError("bad header")), is_damage(FileNotFoundError("gone"))
    (True, False)
    >>> is_damage(OSError(5, "I/O error"))
    False
    """
    if isinstance(error, MovieError | DamagedDataError):
        return True
    if isinstance(error, NotOpenedError):
        return False
    # FFmpeg borrows the system's numbers for streams that do not decode
    if type(error).__module__.split(".")[0] == "av":
        return not isinstance(error, FileNotFoundError)
    if isinstance(error, PASSING) or is_of_the_network(error):
        return False
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return error.errno in NONSENSE
    return True


@contextmanager
def opening(source: object) -> Iterator[None]:
    """Tell what does not open from what does not decode.

    Raises
    ------
    NotOpenedError
        In place of what a library raises over a file that is none, or no more.
    """
    try:
        yield
    except Exception as error:
        if not is_damage(error) or isinstance(error, MovieError | DamagedDataError):
            raise
        msg = f"{source} does not open: {said_by(error)}"
        raise NotOpenedError(msg) from error


def said_by(error: BaseException) -> str:
    """Return what a library complains of, in one line of at most `MAX_REASON` characters."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said[:MAX_REASON]


def check_promise(promised: float, stored: float, source: object) -> None:
    """Refuse a header that promises `promised` bytes of pixels where only `stored` bytes lie.

    Raises
    ------
    MovieError
        If no codec could make the one of the other.
    """
    if promised > ALWAYS_PLAUSIBLE_BYTES + MAX_EXPANSION * stored:
        msg = (
            f"{source} promises {promised:.3g} bytes of pixels, but stores {stored:.3g}; its "
            "header is broken"
        )
        raise MovieError(msg)
