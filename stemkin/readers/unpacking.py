"""Unpacking of compressed bytes up to a limit: eight megabytes can hold eight gigabytes of zeros.

What a chunk may unpack to follows from its declared shape. Libraries unpack first and look at the
size then; here unpacking ends where the limit is passed.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

from stemkin.readers.errors import DamagedDataError

PIECE_BYTES = 2**16
"""Beyond its end a stream is looked at in pieces of this size."""


MOST_DICTIONARY_BYTES = 2**27
"""What a decoder of LZMA may take for itself: its highest preset takes half."""


def _inflater(window: int) -> Callable[[], Any]:
    return lambda: zlib.decompressobj(window)


STREAMS: dict[str, Callable[[], Any]] = {
    "zlib": _inflater(15),
    "gzip": _inflater(31),
    "bz2": bz2.BZ2Decompressor,
    "lzma": lambda: lzma.LZMADecompressor(memlimit=MOST_DICTIONARY_BYTES),
}
"""Codecs that are unpacked here, by their name in Zarr."""
HEADERS = {"blosc": ("<I", 4), "lz4": ("<i", 0)}
"""Codecs whose chunks say at a place how many bytes they unpack to."""


def unpacked(codec: str, packed: Any, limit: int, source: object) -> bytes:
    """Unpack a chunk of a codec in `STREAMS`.

    Parameters
    ----------
    codec
        Its name.
    packed
        Bytes of the chunk.
    limit
        Most bytes that it may unpack to.
    source
        For the message.

    Returns
    -------
    At most `limit` bytes.

    Raises
    ------
    DamagedDataError
        If there are more.
    """
    parts = []
    left = limit
    rest = bytes(packed)
    while rest:  # a gzip file may be several, one after the other
        stream = STREAMS[codec]()
        part = stream.decompress(rest, left + 1)
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise unpacks_too_far(source, limit)
        if not stream.eof:
            msg = f"a chunk of {source} is cut short"
            raise DamagedDataError(msg)
        rest = stream.unused_data
    return b"".join(parts)


def check_header(codec: str, packed: Any, limit: int, source: object) -> None:
    """Refuse a chunk whose own header says that it unpacks to more than `limit` bytes.

    Raises
    ------
    DamagedDataError
        If it says so.
    """
    if codec not in HEADERS:
        return
    form, at = HEADERS[codec]
    raw = bytes(packed[: at + 4])
    if len(raw) < at + 4:
        msg = f"a chunk of {source} is cut short"
        raise DamagedDataError(msg)
    (promised,) = struct.unpack_from(form, raw, at)
    if not 0 <= promised <= limit:
        raise unpacks_too_far(source, limit)


def unpacks_too_far(source: object, limit: int) -> DamagedDataError:
    """Return the error for a chunk that holds more than its place."""
    return DamagedDataError(
        f"a chunk of {source} unpacks to more than the {limit:,} bytes of its shape"
    )
