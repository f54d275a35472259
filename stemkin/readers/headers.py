"""A cache of headers: thousands of movies open again without one of them being read.

Readers are kept as sealed JSON (`stemkin.readers.notation`) and trusted only while their file has
the size and time that it had then. Reading what was kept runs nothing but the constructors of readers and
their fields, whose modules belong to a known format; it never imports what the file names.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stemkin.errors import DamagedFileError
from stemkin.readers.base import FileReader, Options
from stemkin.readers.notation import UnknownKindError, from_json, to_json
from stemkin.readers.opening import open_reader
from stemkin.readers.place import Place
from stemkin.readers.registry import import_formats
from stemkin.seals import sealed_json, unsealed_json

VERSION = 5
"""Raised when a reader's fields or their meaning change."""

HEADER_FILES = ("zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray")
"""What in a folder says what its movie is."""

BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a file of remembered headers raises, if it is none or was changed by hand."""


@dataclass
class Headers:
    """A cache of readers by source and options, each with the state that its file was in.

    `damaged` says why the file of remembered headers is not what was written; all is read anew then.
    """

    known: dict[str, tuple[str, FileReader]] = field(default_factory=dict)
    changed: bool = False
    damaged: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, place: Place, options: Options) -> FileReader:
        """Return the reader of `place`: as remembered while its file is unchanged, else anew.

        Raises
        ------
        OSError, MovieError
            As `open_reader`.
        """
        # the state is taken before the header is read: if the file changes in between, the next
        # look finds another state and reads again
        key = json.dumps([place.source, to_json(options)], sort_keys=True)
        state = state_of(place)
        with self._lock:
            before = self.known.get(key)
        if before is not None and state is not None and before[0] == state:
            return before[1]
        reader = open_reader(place, options)
        if state is not None:
            with self._lock:
                self.known[key] = (state, reader)
                self.changed = True
        return reader

    @classmethod
    def load(cls, path: str) -> Headers:
        """Return what the file at `path` remembers: nothing, if it is not there or is broken."""
        try:
            with open(path, "rb") as file:
                said = unsealed_json(file.read(), path)
            if said["version"] != VERSION:
                return cls()
            import_formats()
            return cls(_built_again(said["readers"]))
        except DamagedFileError as error:
            return cls(damaged=error.why)
        except BROKEN:
            return cls()

    def content(self) -> bytes:
        """Return what is remembered, as `load` reads it."""
        readers = {}
        for key, (state, reader) in sorted(self.known.items()):
            # a reader with a field that cannot be written is opened anew the next time
            with suppress(UnknownKindError):
                readers[key] = (state, to_json(reader))
        return sealed_json({"version": VERSION, "readers": readers})

    def save(self, path: str) -> None:
        """Write what is remembered, whole or not at all, if it has changed."""
        if not self.changed:
            return
        # processes that write the same file have a part each, and the last one counts
        part = f"{path}.{os.getpid()}.part"
        try:
            with open(part, "wb") as file:
                file.write(self.content())
            os.replace(part, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise


def _built_again(said: dict[str, Any]) -> dict[str, tuple[str, FileReader]]:
    """Return the readers in a file of headers; those of a format that is gone are left out."""
    known = {}
    for key, (state, written) in said.items():
        with suppress(UnknownKindError):
            reader = from_json(written)
            if isinstance(reader, FileReader):
                known[key] = (state, reader)
    return known


def state_of(place: Place) -> str | None:
    """Return what changes when a movie's header may have; None if there is nothing.

    Cheap: one or two looks at the file system.
    """
    try:
        if place.is_remote and place.ends_with(".zarr"):
            return (place / "zarr.json").identity()
        if not place.is_remote and place.is_folder():
            inside = [place / name for name in HEADER_FILES]
            there = [file for file in inside if file.exists()]
            return "\n".join(one.identity() for one in (place, *there))
        return place.identity()
    except OSError:
        return None
