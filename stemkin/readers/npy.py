"""NumPy's own files: ``.npy`` (one array) and ``.npz`` (several, perhaps compressed)."""

from __future__ import annotations

import ast
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from stemkin.readers.axes import frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import DamagedDataError, MovieError, check_promise, is_damage, opening
from stemkin.readers.place import Place, bytes_view
from stemkin.readers.raw import raw_reader

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 65_536
PIECE_BYTES = 2**22


def open_npy(place: Place, options: Options) -> FileReader:
    """Open an ``.npy`` file. Lazy: only its header is read.

    Raises
    ------
    MovieError
        If it is no array of numbers (t, y, x) or (y, x).
    """
    shape, dtype, order, offset = parse_header(place.read(0, 12 + MAX_HEADER_BYTES))
    plan = frames_in(shape, None, dtype, place, options)
    return raw_reader(place, plan, dtype, offset=offset, order=order, format="NPY")


def open_npz(place: Place, options: Options) -> FileReader:
    """Open the only movie of an ``.npz`` file, or the one that `options.dataset` names. Lazy.

    Raises
    ------
    MovieError
        If it is no ZIP file, or holds no array that can be a movie, or several.
    """
    with place.opened() as file, zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        found = {name: _member(place, archive, info, options) for name, info in members.items()}
    readers = {name: reader for name, reader in found.items() if reader is not None}
    if options.dataset is not None:
        if readers.get(options.dataset) is None:
            msg = f"{place} holds no movie called {options.dataset!r}; it holds {sorted(readers)}"
            raise MovieError(msg)
        return readers[options.dataset]
    stacks = {name: reader for name, reader in readers.items() if reader.shape[0] > 1} or readers
    if len(stacks) != 1:
        msg = (
            f"{place} holds {len(stacks)} arrays that can be movies, {sorted(stacks)}; choose one "
            "with dataset="
        )
        raise MovieError(msg)
    return next(iter(stacks.values()))


def parse_header(head: bytes) -> tuple[tuple[int, ...], np.dtype, str, int]:
    """Parse the beginning of an ``.npy`` file.

    Parameters
    ----------
    head
        The first bytes of it, more than its header has.

    Returns
    -------
    shape, dtype
        Of the array.
    order
        ``"C"`` or ``"F"``.
    offset
        Bytes before the data.

    Raises
    ------
    ValueError
        If this is no such beginning; also what reading a broken literal raises (SyntaxError,
        KeyError, struct.error, ...).
    """
    if not head.startswith(MAGIC):
        msg = "it does not begin as NPY files do"
        raise ValueError(msg)
    # the mark (6 bytes), the version (2), the length of the header (2 bytes in version 1, else 4),
    # the header, which is a Python literal, and the data
    size, length = 4, "<I"
    if head[6] == 1:
        size, length = 2, "<H"
    (n_header,) = struct.unpack_from(length, head, 8)
    offset = 8 + size + n_header
    if offset > len(head):
        msg = f"its header of {n_header} bytes is cut short or too long"
        raise ValueError(msg)
    try:
        header = ast.literal_eval(head[8 + size : offset].decode("latin1").strip())
    except (MemoryError, RecursionError) as error:  # of Python's parser, not of the machine
        msg = f"its header of {n_header} bytes is nested too deeply"
        raise ValueError(msg) from error
    shape = tuple(int(n) for n in header["shape"])
    if min(shape, default=1) < 0:
        msg = f"its shape is {shape}"
        raise ValueError(msg)
    order = "C"
    if header.get("fortran_order"):
        order = "F"
    return shape, np.dtype(str(header["descr"])), order, offset


def _member(
    place: Place, archive: zipfile.ZipFile, info: zipfile.ZipInfo, options: Options
) -> FileReader | None:
    """Return a reader of one member; None where it can be no movie."""
    try:
        with archive.open(info) as file:
            shape, dtype, order, offset = parse_header(file.read(12 + MAX_HEADER_BYTES))
        if len(shape) < 2:
            return None
        plan = frames_in(shape, None, dtype, place, options)
        if info.compress_type == zipfile.ZIP_STORED:
            at = _data_offset(place, info) + offset
            return raw_reader(place, plan, dtype, offset=at, order=order, format="NPZ")
        if plan.index not in (("t", "y", "x"), ("y", "x")) or order != "C":
            return None
        n, height, width = plan.shape
        frame_bytes = height * width * dtype.itemsize
        check_promise(frame_bytes, info.compress_size, place)
        held = min(n, max(0, info.file_size - offset) // max(1, frame_bytes))
        return NpzReader(
            place=place,
            shape=(held, height, width),
            dtype=plan.dtype(dtype),
            member=info.filename,
            stored_dtype=dtype,
            format="NPZ",
            offset=offset,
            notes=("compressed: each read starts from its beginning; convert it once",),
        )
    except Exception as error:
        if not is_damage(error):
            raise
        return None


def _data_offset(place: Place, info: zipfile.ZipInfo) -> int:
    """Return the byte at which a member's content begins, behind its local header."""
    # a local header has 30 bytes, then the name and an extra field, whose lengths stand at byte 26;
    # the extra field may differ from that of the ZIP file's directory
    local_header = place.read(info.header_offset, info.header_offset + 30)
    n_name, n_extra = struct.unpack_from("<HH", local_header, 26)
    return info.header_offset + 30 + int(n_name) + int(n_extra)


@dataclass(frozen=True, eq=False, kw_only=True)
class NpzReader(FileReader):
    """Frames of a compressed member, unpacked in small pieces from its beginning on.

    Attributes
    ----------
    member
        Name of the member in the ZIP file.
    stored_dtype
        With the byte order in the file.
    offset
        Bytes of the unpacked member before its data.
    """

    member: str
    stored_dtype: np.dtype
    offset: int

    def _frames(self, start: int, stop: int) -> Any:
        frames = np.empty((stop - start, *self.shape[1:]), self.stored_dtype)
        view = bytes_view(frames)
        with self._unpacked() as file:
            # a compressed member cannot be entered in the middle: what lies before is dropped
            to_skip = self.offset + start * frames[0].nbytes
            while to_skip:
                to_skip -= len(_some(file, min(to_skip, PIECE_BYTES), self.place))
            done = 0
            while done < len(view):
                piece = _some(file, min(len(view) - done, PIECE_BYTES), self.place)
                view[done : done + len(piece)] = piece
                done += len(piece)
        return frames

    @contextmanager
    def _unpacked(self) -> Iterator[BinaryIO]:
        with self.place.opened() as file:
            with opening(self.place):
                archive = zipfile.ZipFile(file)
            with archive, archive.open(self.member) as member:
                yield member  # type: ignore[misc]


def _some(file: BinaryIO, n_bytes: int, place: Place) -> bytes:
    piece = file.read(n_bytes)
    if not piece:
        msg = f"{place} is cut short"
        raise DamagedDataError(msg)
    return piece
