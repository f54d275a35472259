"""Extended headers of MRC files: what changes from section to section.

SerialEM (``SERI``) keeps the tilt of each section first among its numbers, FEI and Thermo Fisher
(``FEI1``, ``FEI2``) keep time, tilt and pixel size at fixed places (as the library mrcfile lists
them). A series of tilts is no movie.
"""

from __future__ import annotations

import struct

import numpy as np

from stemkin.readers.axis import Axis
from stemkin.readers.coordinates import axis_with
from stemkin.readers.place import Place

MAX_BYTES = 2**26
"""Longer extended headers are not read."""
HEADER_BYTES = 1024
FEI_TIME, FEI_TILT, FEI_PIXEL_Y, FEI_PIXEL_X = 12, 100, 164, 156
"""Bytes within a section's entry: time [days], tilt [degree], height and width of a pixel [m]."""
SMALLEST_FEI_ENTRY = 172
TILTS = 1
"""Bit of SerialEM's flags: the first number of a section is its tilt in hundredths of a degree."""
STEADY_DEGREES = 0.05
"""Stages that stand still tremble by so much."""
SECONDS_PER_DAY = 86_400.0


def sections_of(place: Place, head: bytes, endian: str, n: int) -> dict[str, Axis]:
    """Return what the extended header says, by letter; nothing where it says nothing.

    ``"t"`` is the axis of the sections: a time, or the tilt that makes it none.

    Parameters
    ----------
    place
        The file.
    head
        Its first 1024 bytes.
    endian
        ``"<"`` or ``">"``.
    n
        Sections.
    """
    (n_bytes,) = struct.unpack_from(endian + "i", head, 92)
    if not 0 < n_bytes <= MAX_BYTES:
        return {}
    kind = head[104:108]
    if kind in (b"FEI1", b"FEI2"):
        return _fei(place.read(HEADER_BYTES, HEADER_BYTES + n_bytes), endian, n)
    if kind == b"SERI":
        per_section, flags = struct.unpack_from(endian + "2h", head, 128)
        if flags & TILTS and per_section >= 2 and per_section * n <= n_bytes:
            raw = place.read(HEADER_BYTES, HEADER_BYTES + per_section * n)
            if len(raw) == per_section * n:
                return _tilted(_numbers(raw, endian + "i2", per_section, 0) / 100)
    return {}


def _fei(raw: bytes, endian: str, n: int) -> dict[str, Axis]:
    if len(raw) < 4:
        return {}
    (size,) = struct.unpack_from(endian + "i", raw)
    if size < SMALLEST_FEI_ENTRY or size * n > len(raw):
        return {}
    raw = raw[: size * n]
    height, width, tilts, days = (
        _numbers(raw, endian + "f8", size, at)
        for at in (FEI_PIXEL_Y, FEI_PIXEL_X, FEI_TILT, FEI_TIME)
    )
    origin = "FEI extended header"
    edges = {
        "y": Axis("y", "m", float(height[0]), origin),
        "x": Axis("x", "m", float(width[0]), origin),
    }
    moved = _tilted(tilts)
    if moved or n < 2 or not np.isfinite(days).all() or days[0] == days[-1]:
        return {**edges, **moved}
    times = (days - days[0]) * SECONDS_PER_DAY
    return {**edges, "t": axis_with(times, "time", "s", origin)}


def _tilted(degrees: np.ndarray) -> dict[str, Axis]:
    """Return the axis of tilts (n,), where they change."""
    if not np.isfinite(degrees).all() or np.ptp(degrees) <= STEADY_DEGREES:
        return {}
    return {"t": Axis("tilt", "degree", None, "MRC extended header")}


def _numbers(raw: bytes, dtype: str, stride: int, at: int) -> np.ndarray:
    """Return the number at byte `at` of every entry of `stride` bytes."""
    n = len(raw) // stride
    entries = np.frombuffer(raw, np.uint8).reshape(n, stride)
    size = np.dtype(dtype).itemsize
    return entries[:, at : at + size].copy().view(dtype)[:, 0].astype(np.float64)
