"""Errors that stop a run though nothing in its movies or settings is wrong, and the exit codes.

A store that does not answer, a disk that is full, a scheduler that is gone blame no block and no
movie. They all are a `StoppedError`, which the command line ends with `STOPPED`; the same command
goes on from there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

DONE = 0
"""Exit code: all is done."""
FAULT = 1
"""Exit code: stemkin itself failed."""
BAD_USAGE = 2
"""Exit code: what was asked cannot be done."""
INCOMPLETE = 3
"""Exit code: done, but movies or blocks failed."""
STOPPED = 4
"""Exit code: stopped through no fault of the movies (disk full, store or scheduler away)."""
INTERRUPTED = 130
"""Exit code: interrupted, by Ctrl-C or by the system's request to end (SIGTERM)."""

interrupted = threading.Event()
"""Set by whoever handles Ctrl-C: Python drops a KeyboardInterrupt that meets a callback of its
garbage collector."""

NETWORK = frozenset(
    [
        "aiohttp",
        "aiobotocore",
        "botocore",
        "google",
        "gcsfs",
        "httpcore",
        "httpx",
        "requests",
        "urllib3",
    ]
)
"""Packages that speak with stores and web servers, whose errors are of the moment."""


class StoppedError(OSError):
    """Why a run cannot go on now; what is done is kept, and the same command goes on later."""


class DamagedFileError(ValueError):
    """A file of a results folder that is not what was written there; it can be made again.

    Attributes
    ----------
    place
        The file: a path, a URL, or a path within the results folder.
    why
        How that is known.
    """

    def __init__(self, place: str, why: str) -> None:
        """Keep which file it is and how that is known; both travel between processes."""
        super().__init__(place, why)
        self.place, self.why = place, why

    def __str__(self) -> str:
        """Say it in one sentence, with the cure."""
        return (
            f"{self.place} is damaged ({self.why}); `stemkin check RESULTS --mend` sets it aside "
            "and makes it again, and so does the command of the run"
        )


class UnwritableError(StoppedError):
    """A file of the results folder that cannot be written; no fault of what was to be written."""


class UnreachableError(StoppedError):
    """A store or a server that does not answer, or not with what was asked for."""


class LostSchedulerError(StoppedError, ConnectionError):
    """The scheduler is gone, and with it all that was in flight."""


def is_of_the_network(error: BaseException) -> bool:
    """Tell whether an error came up on the way to a store or server, and not from what is there.

    That something is not there is an answer, too. What a package of fsspec makes of an error of the
    network counts by its cause.

    >>> is_of_the_network(OSError(22, "Bad Request")), is_of_the_network(FileNotFoundError("gone"))
    (False, False)
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (FileNotFoundError, FileExistsError)):
            return False
        if (
            type(seen).__module__.split(".")[0] in NETWORK
            or type(seen).__name__ == "FSTimeoutError"
        ):
            return True
        seen = seen.__cause__
    return False


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Turn trouble on the way to a URL into `UnreachableError`; anything else passes through.

    Raises
    ------
    UnreachableError
        If the store or server did not answer.
    """
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        if "://" not in place or not is_of_the_network(error):
            raise
        msg = (
            f"{place} is out of reach ({reason(error)}); what is done is kept: the same command "
            "goes on when it answers again"
        )
        raise UnreachableError(msg) from error


def reason(error: BaseException) -> str:
    """Return why something failed, in the system's own words where it has some.

    >>> reason(OSError(28, "No space left on device")), reason(RuntimeError("no answer"))
    ('No space left on device', 'RuntimeError: no answer')
    """
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
