"""Places of movies: a path or a URL, told apart once, and then asked for its bytes.

A source becomes a `Place` at the door (`place_of`) and stays one: readers hold it, tasks carry it.
It is a name, not an open file, so it is small, picklable, and the same on every machine.

>>> folder = place_of("s3://bucket/movies/")
>>> folder / "a.zarr", (folder / "a.zarr").name, folder.is_remote
(RemotePlace('s3://bucket/movies/a.zarr'), 'a.zarr', True)
>>> place_of("file:///data/a.npy").path
'/data/a.npy'
"""

from __future__ import annotations

import io
import os
import socket
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self, cast

import numpy as np

from stemkin.names import readable
from stemkin.readers.errors import DamagedDataError, MovieError, said_by
from stemkin.readers.notation import remembered

ANNOUNCED_BYTES = 2**20
"""The system looks no further ahead than about this at a time."""
HEAD_BYTES = 4096
"""Enough of a file's beginning to tell its format."""
MOST_AT_ONCE = 2**30
"""Bytes that are asked of the system in one call; more than 2 GiB are never given."""
IDENTIFYING = (
    "size", "ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created",
)  # fmt: skip
"""What object stores say of a file that changes when its content does."""


@dataclass(frozen=True)
class State:
    """What a file is at a moment: told apart from what is put in its place, even unseen.

    Attributes
    ----------
    host
        Who looked: numbers of files (`inode`) and the times of their change (`ctime_ns`) are those
        of one machine's view.
    size, mtime_ns, inode, ctime_ns
        As the file system says; 0 for an object of a store.
    mark
        What an object store says that changes with the content (ETag, size, time).
    """

    host: str
    size: int
    mtime_ns: int = 0
    inode: int = 0
    ctime_ns: int = 0
    mark: str = ""

    def is_kept_by(self, later: State) -> bool:
        """Tell whether a later look shows the same file, or one that only grew."""
        return not self.difference(later)

    def only_grew(self, later: State) -> bool:
        """Tell whether something was added to the same file."""
        same_file = self.host != later.host or self.inode == later.inode
        return not self.mark and same_file and later.size > self.size

    def difference(self, later: State) -> str:
        """Return in words what is different, empty where the first frames must be the same."""
        if self.mark != later.mark:
            return "the store says that it was written again"
        if self.only_grew(later):
            return ""
        if self.size != later.size:
            return f"it has {later.size:,} bytes in place of {self.size:,}"
        if self.mtime_ns != later.mtime_ns:
            return "it was written to"
        if self.host == later.host and self.inode != later.inode:
            return "another file was put in its place"
        if self.host == later.host and self.ctime_ns != later.ctime_ns:
            return "it was changed, and the time of its last writing set back"
        return ""


Pieces = Callable[[int, int], np.ndarray]
"""A function of (offset, length) that returns the bytes (m,), fewer where the file ends before."""


@dataclass(frozen=True, repr=False)
class Place(ABC):
    """A file or folder, there or not.

    Attributes
    ----------
    source
        As the user wrote it.
    """

    source: str

    is_remote: ClassVar[bool]

    def __str__(self) -> str:
        """Return what the user wrote, as text that can be written anywhere."""
        return readable(self.source)

    def __repr__(self) -> str:
        """Say the kind of place, and what the user wrote."""
        return f"{type(self).__name__}({self.source!r})"

    def __truediv__(self, name: str) -> Self:
        """Return a place in this folder; the folder itself where `name` is empty."""
        return type(self)(f"{self.source.rstrip('/')}/{name}".rstrip("/"))

    @property
    @abstractmethod
    def path(self) -> str:
        """What other libraries take: the path without ``file://``, or the URL."""

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]

    def ends_with(self, *suffixes: str) -> bool:
        """Tell whether the name has one of `suffixes` (in small letters)."""
        return self.source.rstrip("/").lower().endswith(suffixes)

    def missing(self) -> FileNotFoundError:
        """Return the error for what is not there."""
        return FileNotFoundError(f"there is no file or folder {self}")

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether there is such a file or folder."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Tell whether it is a folder (or a prefix of an object store)."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names in a folder."""

    @abstractmethod
    def size(self) -> int:
        """Return the number of bytes of a file."""

    @abstractmethod
    def identity(self) -> str:
        """Return what changes when a file does: where it is, its size, when it was written."""

    @abstractmethod
    def state(self) -> State:
        """Return what the file is now, as closely as can be told without reading it."""

    @abstractmethod
    def opened(self) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading; it is closed at the end of the ``with``."""

    @abstractmethod
    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`; fewer where the file ends before."""

    def head(self, n_bytes: int = HEAD_BYTES) -> bytes:
        """Return the first bytes of a file."""
        return self.read(0, n_bytes)

    @abstractmethod
    def pieces(self, wanted: Sequence[tuple[int, int]]) -> AbstractContextManager[Pieces]:
        """Give access to pieces of a file that will be asked for one after another.

        Parameters
        ----------
        wanted
            (offset, length) of the pieces [bytes].

        Yields
        ------
        `Pieces`: what they return holds until the next call.
        """

    def read_into(self, offset: int, array: np.ndarray) -> None:
        """Fill `array` (contiguous) with the bytes from `offset` on.

        Raises
        ------
        DamagedDataError
            If the file ends before.
        """
        view = bytes_view(array)
        done = self._fill(offset, view)
        if done < len(view):
            msg = f"{self} ends {len(view) - done} bytes too early"
            raise DamagedDataError(msg)

    @abstractmethod
    def _fill(self, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset` on; return how many bytes there were."""


@remembered
@dataclass(frozen=True, repr=False)
class LocalPlace(Place):
    """A path of this machine's file system; ``file://`` counts as one."""

    is_remote: ClassVar[bool] = False

    @property
    def path(self) -> str:
        """The path without ``file://``."""
        return self.source.removeprefix("file://")

    def __fspath__(self) -> str:
        """Return the path."""
        return self.path

    def exists(self) -> bool:
        """Tell whether there is such a file or folder."""
        return os.path.exists(self.path)

    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        return os.path.isdir(self.path)

    def names(self) -> list[str]:
        """Return the names in a folder."""
        return os.listdir(self.path)

    def size(self) -> int:
        """Return the number of bytes of a file."""
        return os.stat(self.path).st_size

    def identity(self) -> str:
        """Return where the file is, its size, and when it was written."""
        status = os.stat(self.path)
        return f"{Path(self.path).absolute()} {status.st_size} {status.st_mtime_ns}"

    def state(self) -> State:
        """Return size, times and number of the file."""
        found = os.stat(self.path)
        numbers = (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
        return State(socket.gethostname(), *numbers)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open a file; reads never ask for more than is there."""
        with _Capped(_file(self.path)) as file:
            yield cast(BinaryIO, file)

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`; fewer where the file ends before."""
        with _file(self.path) as file:
            file.seek(start)
            return file.read(max(0, min(stop, self.size()) - start))

    @contextmanager
    def pieces(self, wanted: Sequence[tuple[int, int]]) -> Iterator[Pieces]:
        """Tell the system of all pieces at once: the disk fetches one while another is decoded."""
        with _file(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            # telling costs half as much as waiting for the disk, so it is not waited for either
            ahead = threading.Thread(target=_announce, args=(file.fileno(), wanted), daemon=True)
            ahead.start()
            # one buffer serves all pieces, a little larger than the largest so far, so that what
            # `fetch` returned is overwritten by its next call
            buffer = np.empty(0, np.uint8)

            def fetch(offset: int, length: int) -> np.ndarray:
                nonlocal buffer
                length = max(0, min(length, size - offset))
                if len(buffer) < length:
                    buffer = np.empty(length + length // 8, np.uint8)
                return buffer[: _read_until_full(file, offset, bytes_view(buffer)[:length])]

            try:
                yield fetch
            finally:
                ahead.join()

    def _fill(self, offset: int, view: memoryview) -> int:
        with _file(self.path) as file:
            return _read_until_full(file, offset, view)


@remembered
@dataclass(frozen=True, repr=False)
class RemotePlace(Place):
    """A URL that fsspec opens."""

    is_remote: ClassVar[bool] = True

    @property
    def path(self) -> str:
        """The URL."""
        return self.source

    @property
    def filesystem(self) -> Any:
        """Fsspec's file system, one per process."""
        import fsspec

        return _filesystem(fsspec.utils.get_protocol(self.source), os.getpid())

    def exists(self) -> bool:
        """Tell whether there is such an object or prefix."""
        return bool(self.filesystem.exists(self.source))

    def is_folder(self) -> bool:
        """Tell whether it is a prefix of other objects."""
        return bool(self.filesystem.isdir(self.source))

    def names(self) -> list[str]:
        """Return the names below a prefix."""
        paths = self.filesystem.ls(self.source, detail=False)
        return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]

    def size(self) -> int:
        """Return the number of bytes of an object."""
        return int(self.filesystem.size(self.source) or 0)

    def identity(self) -> str:
        """Return the URL, and what the store says of size, time and checksum."""
        info = self.filesystem.info(self.source)
        marks = [str(info[key]) for key in IDENTIFYING if info.get(key) is not None]
        return " ".join([self.source, *marks])

    def state(self) -> State:
        """Return what the store says of the object now, not what it said before."""
        forget_listings(self)
        return State("", 0, mark=self.identity())

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open an object."""
        with self.filesystem.open(self.source, "rb") as file:
            yield file

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`; fewer where the object ends before."""
        stop = min(stop, self.size())
        if stop <= start:
            return b""
        content = bytes(self.filesystem.cat_file(self.source, start=start, end=stop))
        if len(content) > stop - start:  # a web server that sends whole files only
            return content[start:stop]
        return content

    @contextmanager
    def pieces(self, wanted: Sequence[tuple[int, int]]) -> Iterator[Pieces]:
        """Fetch all pieces in one request, or in one each where they lie scattered."""
        # chunks of a shard mostly lie side by side: one request from the first byte wanted to the
        # last, unless far more would come between them than is wanted
        low = min((offset for offset, _ in wanted), default=0)
        high = max((offset + length for offset, length in wanted), default=0)
        if high - low > 4 * sum(length for _, length in wanted) + 2**20:
            yield lambda at, length: np.frombuffer(self.read(at, at + length), np.uint8)
        else:
            content = np.frombuffer(self.read(low, high), np.uint8)
            yield lambda at, length: content[at - low : at - low + length]

    def _fill(self, offset: int, view: memoryview) -> int:
        content = self.read(offset, offset + len(view))
        view[: len(content)] = content
        return len(content)


def place_of(source: str | os.PathLike[str] | Place) -> Place:
    """Return the place that a path or URL names; ``file://`` counts as a path."""
    if isinstance(source, Place):
        return source
    source = os.fspath(source)
    if "://" in source and not source.startswith("file://"):
        return RemotePlace(source)
    return LocalPlace(source)


def forget_listings(place: Place) -> None:
    """Drop the cached listings of a remote store, so that what is new in it is seen."""
    if isinstance(place, RemotePlace):
        place.filesystem.invalidate_cache()


def bytes_view(array: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array, to be written into."""
    return memoryview(cast(Any, array.reshape(-1).view(np.uint8)))


# `process` is part of the cache's key: connections do not survive a fork
@lru_cache(maxsize=64)
def _filesystem(protocol: str, process: int) -> Any:  # noqa: ARG001
    import fsspec

    try:
        return fsspec.filesystem(protocol)
    except ImportError as error:
        msg = (
            f"{protocol}:// needs a package that is not installed ({error}); pip install "
            '"stemkin[cloud]"'
        )
        raise MovieError(msg) from error
    except ValueError as error:
        msg = f"{protocol}:// is not a kind of storage that is known: {error}"
        raise MovieError(msg) from error
    except TypeError as error:
        msg = f"{protocol}:// opens by more than a URL: {said_by(error)}"
        raise MovieError(msg) from error
    except OSError:
        raise
    # a driver of others that fails in its own way costs what was to be read with it
    except Exception as error:
        msg = f"{protocol}:// cannot be used here: {type(error).__name__}: {said_by(error)}"
        raise MovieError(msg) from error


STRANGE = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What may lie in a folder and is neither a file nor a folder."""


def strange_kind(path: str) -> str:
    """Return what lies at a path where it is neither file nor folder, empty where it is one.

    Raises
    ------
    OSError
        If there is nothing, or nobody may look.
    """
    return STRANGE.get(stat.S_IFMT(os.stat(path).st_mode), "")


def _file(path: str) -> io.FileIO:
    """Open a file for reading.

    Raises
    ------
    MovieError
        If it is a pipe, a socket or a device, which would never end or never begin.
    """
    kind = strange_kind(path)
    if kind:
        msg = f"{readable(path)} is {kind} and no file"
        raise MovieError(msg)
    return io.FileIO(path)


class _Capped(io.BufferedReader):
    """A file whose `read` allocates no more than is left of it, whatever number a header holds."""

    def read(self, n: int | None = -1, /) -> bytes:
        """Return up to `n` bytes."""
        if n is None or n < 0 or n <= io.DEFAULT_BUFFER_SIZE:
            return super().read(n)
        # a buffered reader allocates what is asked for before it reads: a broken header may ask for
        # all memory there is
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(max(0, min(n, left)))


def _announce(file: int, wanted: Sequence[tuple[int, int]]) -> None:
    """Have the system fetch pieces of an open file into its cache."""
    if not hasattr(os, "posix_fadvise"):
        return
    # pieces are announced in the order in which they will be asked for, cut into parts that the
    # system is willing to fetch ahead
    for offset, length in wanted:
        end = offset + length
        for start in range(offset, end, ANNOUNCED_BYTES):
            n_bytes = min(ANNOUNCED_BYTES, end - start)
            os.posix_fadvise(file, start, n_bytes, os.POSIX_FADV_WILLNEED)


def _read_until_full(file: Any, offset: int, view: memoryview) -> int:
    """Fill `view` from `offset` of a file on; return how many bytes there were."""
    # the system may give fewer bytes than were asked for; none at all means the end of the file
    file.seek(offset)
    done = 0
    while done < len(view):
        n = file.readinto(view[done : done + MOST_AT_ONCE])
        if not n:
            break
        done += n
    return done
