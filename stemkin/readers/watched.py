"""A reader that sees to it that its movie stays what it was when it was planned.

A movie may be overwritten, cut short or moved away while a run of days reads it. Then some of its
blocks would be of one movie and some of another, though the name is the same. `WatchedReader` keeps
the state of the files as they were planned and compares it after every reading; frames that were
read from anything else are never handed on. A file that only grew, as during a recording, still
holds the frames that were planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.errors import reaching
from stemkin.readers.base import FileReader, Reader
from stemkin.readers.errors import ChangedMovieError
from stemkin.readers.place import State
from stemkin.readers.wrappers import WrappingReader


@dataclass(frozen=True, eq=False)
class WatchedReader(WrappingReader):
    """The frames of `inner`, as long as its files are those that were planned.

    Attributes
    ----------
    planned
        Their state when the run was planned.
    planned_identity
        The reader's identity then: it stays the same while the run goes on.
    """

    planned: State
    planned_identity: str

    @property
    def identity(self) -> str:
        """That of the movie that was planned."""
        return self.planned_identity

    @property
    def has_grown(self) -> bool:
        """Whether more was written after what was planned."""
        try:
            found = _state(self.inner)
        except FileNotFoundError:
            return False
        return found is not None and self.planned.only_grew(found)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded).

        Raises
        ------
        ChangedMovieError
            If they were not read from what was planned. A DamagedDataError.
        """
        try:
            frames = self.inner.read(start, stop)
        except Exception as error:
            self._check(error)
            raise
        self._check(None)
        return frames

    def _check(self, error: Exception | None) -> None:
        """Compare the files with what was planned."""
        try:
            with reaching(self.source):
                found = _state(self.inner)
        except FileNotFoundError:
            msg = f"{self.source} was there when the run began, and is gone"
            raise ChangedMovieError(msg) from error
        if found is not None and not self.planned.is_kept_by(found):
            msg = (
                f"{self.source} is not the movie that it was when the run began "
                f"({self.planned.difference(found)}); run again, and it is searched anew"
            )
            raise ChangedMovieError(msg) from error


def watched(reader: Reader) -> Reader:
    """Return a reader that stays true to what its files are now; one without files as it is."""
    planned = _state(reader)
    if planned is None:
        return reader
    return WatchedReader(reader, planned, reader.identity)


def _state(reader: Any) -> State | None:
    """Return the state of the files of a reader, None where it has none."""
    while isinstance(reader, WrappingReader):
        reader = reader.inner
    if isinstance(reader, FileReader):
        return reader.state()
    return None
