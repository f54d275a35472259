"""Bytes of a path or URL: their number, a range of them, an open file. Local paths by the system,
URLs by fsspec."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from stemkin.readers.errors import DamagedDataError, MovieError

ANNOUNCED_BYTES = 2**20
"""The system looks no further ahead than about this at a time."""
HEAD_BYTES = 4096
"""Enough of a file's beginning to tell its format."""


def is_url(source: str) -> bool:
    """Tell whether `source` is a URL; ``file://`` counts as a local path.

    >>> is_url("s3://bucket/a.zarr"), is_url("/data/a.zarr"), is_url("file:///data/a.zarr")
    (True, False, False)
    """
    return "://" in source and not source.startswith("file://")


def local(source: str) -> str:
    """Return a local path without ``file://``."""
    return source.removeprefix("file://")


@lru_cache(maxsize=64)
def _filesystem(protocol: str, process: int) -> Any:  # noqa: ARG001 - one per process: connections do not survive a fork
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


def filesystem(url: str) -> Any:
    """Return fsspec's file system for `url`."""
    import fsspec

    return _filesystem(fsspec.utils.get_protocol(url), os.getpid())


def missing(source: str) -> FileNotFoundError:
    """Return the error for a source that is not there."""
    return FileNotFoundError(f"there is no file or folder {source}")


def is_folder(source: str) -> bool:
    """Tell whether `source` is a folder (or a prefix of an object store)."""
    return (
        bool(filesystem(source).isdir(source)) if is_url(source) else os.path.isdir(local(source))
    )


def exists(source: str) -> bool:
    """Tell whether there is such a file or folder."""
    return (
        bool(filesystem(source).exists(source)) if is_url(source) else os.path.exists(local(source))
    )


def names_in(folder: str) -> list[str]:
    """Return the names in a folder."""
    if not is_url(folder):
        return os.listdir(local(folder))
    return [
        str(path).rstrip("/").rsplit("/", 1)[-1]
        for path in filesystem(folder).ls(folder, detail=False)
    ]


def forget_listings(source: str) -> None:
    """Have the next look at a store see what came since the last one; file systems of URLs remember
    their listings."""
    if is_url(source):
        filesystem(source).invalidate_cache()


def size_of(source: str) -> int:
    """Return the number of bytes of a file."""
    return (
        int(filesystem(source).size(source) or 0)
        if is_url(source)
        else os.stat(local(source)).st_size
    )


def identity_of(source: str) -> str:
    """Return what changes when the file does: where it is, its size, when it was written (or its
    checksum, in a store)."""
    if not is_url(source):
        status = os.stat(local(source))
        return f"{Path(local(source)).absolute()} {status.st_size} {status.st_mtime_ns}"
    info = filesystem(source).info(source)
    marks = [
        info.get(key)
        for key in (
            "size",
            "ETag",
            "etag",
            "md5Hash",
            "LastModified",
            "last_modified",
            "mtime",
            "created",
        )
    ]
    return " ".join([source, *(str(mark) for mark in marks if mark is not None)])


@contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """Open a file for reading; closed again at the end of the ``with``. Local reads never ask for
    more than is there."""
    if is_url(source):
        with filesystem(source).open(source, "rb") as file:
            yield file
    else:
        with _Capped(io.FileIO(local(source))) as file:
            yield cast(BinaryIO, file)


class _Capped(io.BufferedReader):
    """A file whose `read` allocates no more than is left of it, however large a number some header
    holds."""

    def read(self, n: int | None = -1, /) -> bytes:
        """Return up to `n` bytes."""
        if n is None or n < 0 or n <= io.DEFAULT_BUFFER_SIZE:
            return super().read(n)
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(max(0, min(n, left)))


def head_of(source: str, n_bytes: int = HEAD_BYTES) -> bytes:
    """Return the first bytes of a file."""
    return bytes_of(source, 0, n_bytes)


def bytes_of(source: str, start: int, stop: int) -> bytes:
    """Return bytes `start` to `stop`; fewer where the file ends before."""
    if is_url(source):
        stop = min(stop, size_of(source))
        if stop <= start:
            return b""
        content = bytes(filesystem(source).cat_file(source, start=start, end=stop))
        return (
            content if len(content) <= stop - start else content[start:stop]
        )  # a web server that sends whole files only
    with open(local(source), "rb", buffering=0) as file:
        file.seek(start)
        return file.read(max(0, min(stop, size_of(source)) - start))


@contextmanager
def pieces_of(
    source: str, places: Sequence[tuple[int, int]]
) -> Iterator[Callable[[int, int], np.ndarray]]:
    """Give access to pieces of one file that will be asked for one after another.

    The system is told of all of them at once, so that the disk works on the next ones while the
    first is decoded; from a store they come in one request, or one each where they lie scattered.

    Parameters
    ----------
    source
        Path or URL.
    places
        (offset, length) of the pieces [bytes].

    Yields
    ------
    A function of (offset, length) that returns the bytes (m,), fewer where the file ends before;
    they hold until the next call.
    """
    if is_url(source):
        low = min((offset for offset, _ in places), default=0)
        high = max((offset + length for offset, length in places), default=0)
        together = high - low <= 4 * sum(length for _, length in places) + 2**20
        content = np.frombuffer(bytes_of(source, low, high), np.uint8) if together else None
        yield (
            lambda offset, length: (
                np.frombuffer(bytes_of(source, offset, offset + length), np.uint8)
                if content is None
                else content[offset - low : offset - low + length]
            )
        )
        return
    with open(local(source), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        ahead = threading.Thread(target=_announce, args=(file.fileno(), places), daemon=True)
        # telling the system costs half as much as waiting for the disk, so it is not waited for
        # either
        ahead.start()
        buffer = np.empty(0, np.uint8)

        def fetch(offset: int, length: int) -> np.ndarray:
            nonlocal buffer
            length = max(0, min(length, size - offset))
            if len(buffer) < length:
                buffer = np.empty(length + length // 8, np.uint8)
            return buffer[: _fill(file, offset, memoryview(cast(Any, buffer))[:length])]

        try:
            yield fetch
        finally:
            ahead.join()


def _announce(file: int, places: Sequence[tuple[int, int]]) -> None:
    """Have the system fetch pieces of an open file into its cache."""
    if not hasattr(os, "posix_fadvise"):
        return
    for offset, length in places:
        for start in range(offset, offset + length, ANNOUNCED_BYTES):
            os.posix_fadvise(
                file, start, min(ANNOUNCED_BYTES, offset + length - start), os.POSIX_FADV_WILLNEED
            )


def bytes_view(array: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array, to be written into."""
    return memoryview(cast(Any, array.reshape(-1).view(np.uint8)))


def read_into(source: str, offset: int, array: np.ndarray) -> None:
    """Fill `array` (contiguous) with the bytes from `offset` on.

    Raises
    ------
    DamagedDataError
        If the file ends before.
    """
    view = bytes_view(array)
    if is_url(source):
        content = bytes_of(source, offset, offset + len(view))
        done = len(content)
        view[:done] = content
    else:
        with open(local(source), "rb", buffering=0) as file:
            done = _fill(file, offset, view)
    if done < len(view):
        msg = f"{source} ends {len(view) - done} bytes too early"
        raise DamagedDataError(msg)


def _fill(file: Any, offset: int, view: memoryview) -> int:
    file.seek(offset)
    done = 0
    while done < len(view):
        n = file.readinto(view[done : done + 2**30])
        if not n:
            break
        done += n
    return done
