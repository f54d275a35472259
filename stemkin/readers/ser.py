"""SER, the series files of FEI's TIA, and the EMI file beside them.

A SER file holds one element per frame, each with its own small header; pixels are in metres per
definition. Its time tags count whole seconds, too coarse for a frame time. Rows are taken as they
are stored (RosettaSciIO does so too, ncempy turns frames upside down). An ``.emi`` leads to the
``.ser`` of the same name.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemkin.readers.axes import frames_in
from stemkin.readers.axis import Axis
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.errors import DamagedDataError, MovieError
from stemkin.readers.place import Place, place_of
from stemkin.readers.raw import cut_short

MAGIC = b"\x49\x49\x97\x01"
IMAGES = 0x4122
ELEMENT = struct.Struct("<ddiddihii")
"""Header of an image: for x and for y its offset [m], pixel size [m] and reference pixel; then
type, width and height."""
TYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
MAX_ELEMENTS = 2**24
MAX_DIMENSIONS = 16
MAX_HEADER_BYTES = 2**16
LARGEST_PIXEL_M = 1e3
"""What lies above is no length: TIA writes reciprocal metres into the same field."""


def open_emi(place: Place, options: Options) -> FileReader:
    """Open the SER file beside an EMI file; `options.dataset` chooses among several. Lazy.

    Raises
    ------
    MovieError
        If no SER file lies beside it, or several do and none is chosen.
    """
    stem = os.path.splitext(place.source)[0]
    possible = [place_of(f"{stem}_{n}.ser") for n in range(1, 10)]
    beside = [one for one in possible if one.exists()]
    alone = place_of(f"{stem}.ser")
    if not beside and alone.exists():
        beside = [alone]
    if not beside:
        msg = f"{place} holds no frames itself, and no {stem}_1.ser lies beside it"
        raise MovieError(msg)
    if options.channel is not None and options.dataset is None:
        options = replace(options, dataset=str(options.channel))
    series = [Candidate(str(i), (1,), one.name, one) for i, one in enumerate(beside)]
    if options.dataset is None and len(series) > 1:
        listed = ", ".join(f"{one.name!r} ({one.title})" for one in series)
        msg = f"{place} has {len(series)} series; choose one with dataset=: {listed}"
        raise MovieError(msg)
    return open_ser(chosen(series, place, options).candidate.what, replace(options, dataset=None))


def open_ser(place: Place, options: Options) -> FileReader:
    """Open a SER file. Lazy: only its header, its offsets and the first element's header are read.

    Raises
    ------
    MovieError
        If it is no whole series of images in time.
    """
    offsets, promised, dimensions = _offsets(place)
    if not len(offsets):
        msg = f"{place} is cut short: its list of frames points nowhere"
        raise MovieError(msg)
    first = ELEMENT.unpack(place.read(int(offsets[0]), int(offsets[0]) + ELEMENT.size))
    _, dx, _, _, dy, _, kind, width, height = first
    if kind not in TYPES or width <= 0 or height <= 0:
        msg = (
            f"{place} holds elements of type {kind} with {width} x {height} pixels, which are no "
            "images of real numbers"
        )
        raise MovieError(msg)
    stored = np.dtype(TYPES[kind])
    # an element is its header and its pixels at once behind it; the first one that the file does
    # not hold to its end, and all that follow, are left out
    whole = offsets + ELEMENT.size + width * height * stored.itemsize <= place.size()
    held = len(offsets)
    if not whole.all():
        held = int(np.argmin(whole))
    if held == 0:
        msg = (
            f"{place} is cut short: not even its first frame of {height} x {width} pixels is whole"
        )
        raise MovieError(msg)
    notes: tuple[str, ...] = ()
    if held < promised:
        notes = (cut_short(promised, held),)
    axes = _axes(dimensions, dy, dx)
    plan = frames_in(_lengths(dimensions, held, (height, width)), axes, stored, place, options)
    notes = (*filter(None, [plan.note]), *notes)
    return SerReader(
        place=place,
        shape=(held, height, width),
        dtype=stored.newbyteorder("="),
        stored_dtype=stored,
        offsets=offsets[:held],
        header=first[6:],
        format="SER",
        notes=notes,
        **calibration_along(plan.named(axes)),
    )


@dataclass(frozen=True)
class SerDimension:
    """Along what the elements of a series follow each other: so many, and what changes."""

    length: int
    axis: Axis


def _axes(dimensions: list[SerDimension], dy: float, dx: float) -> list[Axis]:
    """Return the axes of the whole series, the images' own last.

    The header has no unit for these: metres, and 1/m where it holds patterns of diffraction.
    """
    edges = [
        Axis(letter, _unit_of(size), size, "SER header") for letter, size in (("y", dy), ("x", dx))
    ]
    return [*(dimension.axis for dimension in dimensions), *edges]


def _unit_of(size: float) -> str:
    if abs(size) > LARGEST_PIXEL_M:
        return "1/m"
    return "m"


def _lengths(dimensions: list[SerDimension], held: int, image: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of the series, as far as it is held by the file."""
    if len(dimensions) == 1:
        return (held, *image)
    return (*(dimension.length for dimension in dimensions), *image)


def _offsets(place: Place) -> tuple[np.ndarray, int, list[SerDimension]]:
    """Return where the elements begin (m,) [bytes], how many are promised, and along what."""
    head = place.read(0, 64)
    if not head.startswith(MAGIC):
        msg = "it does not begin as SER files do"
        raise ValueError(msg)
    version, kind, _, total, valid = struct.unpack_from("<hiiii", head, 4)
    if kind != IMAGES:
        msg = f"{place} holds spectra, not images"
        raise MovieError(msg)
    # from version 0x220 on, places in the file have 8 bytes: that of the table of places at byte
    # 22, and those in the table
    table_format, place_format = "<i", "<u4"
    if version >= 0x220:
        table_format, place_format = "<q", "<i8"
    (table,) = struct.unpack_from(table_format, head, 22)
    if not 0 < valid <= total <= MAX_ELEMENTS or table < 0:
        msg = f"{place} holds no frames: its header says {valid} of {total} elements"
        raise MovieError(msg)
    item = np.dtype(place_format).itemsize
    raw = place.read(table, table + valid * item)
    n_whole = len(raw) // item
    offsets = np.frombuffer(raw[: n_whole * item], place_format).astype(np.int64)
    beyond = (offsets <= 0) | (offsets >= place.size())
    if beyond.any():
        offsets = offsets[: int(np.argmax(beyond))]
    first_dimension = 22 + struct.calcsize(table_format) + 4
    return offsets, valid, _dimensions(place, first_dimension, min(table, MAX_HEADER_BYTES), valid)


def _dimensions(place: Place, start: int, stop: int, valid: int) -> list[SerDimension]:
    """Return along what the elements follow each other; one number where that is not said."""
    # the number of dimensions stands before the first one; each has its length, three numbers of
    # its calibration, and two texts, each behind its length
    head = place.read(start - 4, max(stop, start))
    found = []
    try:
        (n,), at = struct.unpack_from("<i", head), 4
        for _ in range(min(max(0, n), MAX_DIMENSIONS)):
            length, _, step, _ = struct.unpack_from("<iddi", head, at)
            at += 24
            texts = []
            for _ in range(2):
                (size,) = struct.unpack_from("<i", head, at)
                texts.append(head[at + 4 : at + 4 + max(0, size)].decode("latin1"))
                at += 4 + max(0, size)
            name, unit = texts
            found.append(SerDimension(length, Axis(name, unit, step, f"SER dimension {name!r}")))
    except struct.error:
        found = []
    long = [dimension for dimension in found if dimension.length > 1]
    if len(long) > 1:
        return long
    return long or [SerDimension(valid, Axis("Number"))]


@dataclass(frozen=True, eq=False, kw_only=True)
class SerReader(FileReader):
    """Frames at `offsets`, each behind a header that must say what the first one said.

    Attributes
    ----------
    stored_dtype
        With the file's byte order.
    offsets
        (n_frames,) byte at which the header of each frame begins.
    header
        (type, width, height) of the first frame.
    """

    stored_dtype: np.dtype
    offsets: np.ndarray
    header: tuple[int, int, int]

    def _frames(self, start: int, stop: int) -> Any:
        frames = np.empty((stop - start, *self.shape[1:]), self.stored_dtype)
        for i, at in enumerate(self.offsets[start:stop].tolist()):
            head = self.place.read(at, at + ELEMENT.size)
            if len(head) < ELEMENT.size or ELEMENT.unpack(head)[6:] != self.header:
                msg = (
                    f"frame {start + i} of {self.place} is of another shape or type than the first"
                )
                raise DamagedDataError(msg)
            self.place.read_into(at + ELEMENT.size, frames[i])
        return frames
