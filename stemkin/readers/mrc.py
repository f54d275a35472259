"""MRC (MRC2014 and its older kin): a 1024-byte header, then sections of one type, the frames.

The pixel size is the cell length over the grid's intervals, in angstrom. MRC itself knows no time;
extended headers may (`stemkin.readers.mrc_sections`). Rows are taken as they are stored.
"""

from __future__ import annotations

import math
import struct
from typing import Literal

import numpy as np

from stemkin.readers.axes import frames_in
from stemkin.readers.axis import Axis
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along
from stemkin.readers.errors import MovieError
from stemkin.readers.mrc_sections import sections_of
from stemkin.readers.place import Place
from stemkin.readers.raw import raw_reader

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
LONGEST_EDGE = 2**20


def open_mrc(place: Place, options: Options) -> FileReader:
    """Open an MRC file. Lazy: only its header is read.

    Raises
    ------
    MovieError
        If the header is not whole, or its numbers are none of an image stack.
    """
    head = place.read(0, HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        msg = f"{place} is not a whole MRC file: it has {len(head)} bytes, less than its header"
        raise MovieError(msg)
    endian = _byte_order(head)
    # numbers of four bytes: pixels (x, y, z) and mode at 0, grid at 28, cell at 40, length of the
    # extended header at 92, IMOD's stamp at 152, machine stamp at 212
    nx, ny, nz, mode = struct.unpack_from(endian + "4i", head)
    if mode not in MODES or not (0 < nx <= LONGEST_EDGE and 0 < ny <= LONGEST_EDGE and nz > 0):
        msg = (
            f"{place} is no MRC stack of images: its header says {nx} x {ny} x {nz} pixels of "
            f"mode {mode}"
        )
        raise MovieError(msg)
    extended = struct.unpack_from(endian + "i", head, 92)[0]
    if extended < 0:
        msg = f"{place} is not a whole MRC file: its extended header has {extended} bytes"
        raise MovieError(msg)
    axes = _axes(head, endian, sections_of(place, head, endian, nz))
    plan = frames_in((nz, ny, nx), axes, np.dtype(MODES[mode]), place, options)
    about = calibration_along(plan.named(axes))
    stored = np.dtype(MODES[mode]).newbyteorder(endian)
    if _is_unsigned(head, endian, mode):
        stored = np.dtype("u1")
    return raw_reader(place, plan, stored, offset=HEADER_BYTES + extended, format="MRC", **about)


def _byte_order(head: bytes) -> Literal["<", ">"]:
    """Return the byte order: by the machine stamp, in old files by which mode makes sense."""
    if head[212] == 0x11:
        return ">"
    # without a stamp: a mode is a small number, and in the wrong byte order a huge one
    little = struct.unpack_from("<i", head, 12)[0]
    if head[212] == 0x44 or 0 <= little <= 128:
        return "<"
    return ">"


def _is_unsigned(head: bytes, endian: str, mode: int) -> bool:
    """Tell whether bytes are unsigned, as IMOD says by its stamp and a cleared flag."""
    imod, flags = struct.unpack_from(endian + "2i", head, 152)
    return mode == 0 and imod == 1146047817 and not flags & 1


def _axes(head: bytes, endian: str, sections: dict[str, Axis]) -> list[Axis]:
    """Return the axes (sections, y, x) as the header has them.

    Space group 1 with as many sections as the cell has intervals is a volume; in a stack of images
    the sections are only counted, unless the extended header says more (`sections_of`).
    """
    # three numbers each, in the order x, y, z: pixels at 0, intervals of the grid at 28, and the
    # cell in angstrom at 40; the space group is at 88
    pixels, grid = (struct.unpack_from(endian + "3i", head, at) for at in (0, 28))
    cell = struct.unpack_from(endian + "3f", head, 40)
    (space_group,) = struct.unpack_from(endian + "i", head, 88)
    x, y, z = (
        Axis(letter, "angstrom", _interval(*sizes), "MRC header")
        for letter, sizes in zip("xyz", zip(cell, grid, pixels, strict=True), strict=True)
    )
    is_volume = space_group == 1 and grid[2] == pixels[2] > 1
    if not is_volume:
        z = sections.get("t", Axis("image number"))
    if y.step is None and x.step is None:
        y, x = sections.get("y", y), sections.get("x", x)
    return [z, y, x]


def _interval(length: float, n: int, n_pixels: int) -> float | None:
    """Return one of `n` intervals of a cell of `length` [angstrom]; None where nobody set it.

    A cell that is as many angstrom long as the image has pixels is what programs write by default.
    """
    is_default = length == n == n_pixels
    if n <= 0 or not math.isfinite(length) or length <= 0 or is_default:
        return None
    return length / n
