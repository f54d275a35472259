"""Micrographs in levels of grey, as PNG, and the length of their scale bar."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import Any

import numpy as np

MAX_EDGE_PX = 1024
GREY, COLOUR = 0, 2
"""What a PNG calls pixels of one level, and of three."""
QUICKLY, THOROUGHLY = 1, 9
"""How hard zlib tries to make a file small."""


def grey_levels(
    image: np.ndarray, *, low: float | None = None, high: float | None = None
) -> np.ndarray:
    """Return an image in levels of grey.

    Parameters
    ----------
    image
        (y, x); NaN is black.
    low, high
        What is black and white: the 0.5 and 99.5 percentiles unless both are said.

    Returns
    -------
    (y, x) uint8.

    >>> grey_levels(np.array([[0.0, 1.0, np.nan]]), low=0, high=1).tolist()
    [[0, 255, 0]]
    """
    image = np.asarray(image, dtype=np.float64)
    if low is None or high is None:
        low, high = grey_range(image)
    span = 1.0
    if high > low:
        span = high - low
    levels = np.clip((np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / span, 0, 1)
    return np.asarray(np.round(255 * levels), dtype=np.uint8)


def grey_range(image: np.ndarray) -> tuple[float, float]:
    """Return what is black and what is white: all but the half per cent at each end.

    Without any finite pixel these are 0 and 1.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    return low, high


def png(levels: np.ndarray, *, effort: int = THOROUGHLY) -> bytes:
    """Return 8-bit `levels`, of grey (y, x) or of colours (y, x, 3), as a PNG file (ISO/IEC 15948).

    `effort` is how hard it is made small: `QUICKLY` or `THOROUGHLY`.
    """
    height, width = levels.shape[:2]
    samples = levels.reshape(height, -1)
    kind = GREY
    if levels.ndim == 3:
        kind = COLOUR
    # each row begins with its filter: 0, none
    rows = np.zeros((height, 1 + samples.shape[1]), np.uint8)
    rows[:, 1:] = samples
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(rows.tobytes(), effort))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG: length, kind, content, and a checksum of the last two."""
    length, checksum = (
        struct.pack(">I", len(content)),
        struct.pack(">I", zlib.crc32(kind + content)),
    )
    return length + kind + content + checksum


def data_uri(levels: np.ndarray) -> str:
    """Return grey `levels` as an address that holds the whole image."""
    return "data:image/png;base64," + base64.b64encode(png(levels)).decode()


def shrunk(image: np.ndarray, max_edge_px: int = MAX_EDGE_PX) -> tuple[np.ndarray, int]:
    """Return an image averaged over squares until no edge is longer than `max_edge_px`.

    Returns
    -------
    The smaller (y, x) image, and the edge of the squares [px].
    """
    n = math.ceil(max(image.shape) / max_edge_px)
    if n == 1:
        return image, 1
    # a strip narrower than a square is averaged over its whole width
    across = [min(n, edge) for edge in image.shape]
    n_rows, n_columns = (edge // part for edge, part in zip(image.shape, across, strict=True))
    whole = image[: n_rows * across[0], : n_columns * across[1]]
    squares = whole.reshape(n_rows, across[0], n_columns, across[1])
    return squares.mean(axis=(1, 3)), n


def as_patch(value: Any) -> np.ndarray | None:
    """Return a class's mean patch as (y, x), None where there is nothing to see on it.

    Files may hold it nested or flat.

    >>> as_patch([[0, 1], [2, 3]]).shape, as_patch(range(9)).shape
    ((2, 2), (3, 3))
    >>> as_patch([[0, 0], [0, 0]]), as_patch("no")
    (None, None)
    """
    try:
        patch = np.array([np.asarray(row, dtype=np.float64) for row in value], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if patch.ndim == 1 and math.isqrt(patch.size) ** 2 == patch.size:
        patch = patch.reshape(math.isqrt(patch.size), -1)
    seen = patch[np.isfinite(patch)]
    if patch.ndim != 2 or not seen.size or seen.min() == seen.max():
        return None
    return patch


def scale_bar_nm(width_nm: float) -> float:
    """Return a length of 1, 2 or 5 times a power of ten, up to a quarter of `width_nm`.

    >>> scale_bar_nm(15.36), scale_bar_nm(4.0), scale_bar_nm(0.9)
    (2.0, 1.0, 0.2)
    """
    limit = width_nm / 4
    power = 10.0 ** math.floor(math.log10(limit))
    return float(max(step * power for step in (1, 2, 5) if step * power <= limit * (1 + 1e-9)))
