"""Pictures: GIF, animated PNG and WebP, and single PNG and JPEG files, through Pillow.

A picture stores brightness for the eye. Colours become intensity by their luminance (as in videos);
how long a frame is shown is not how long the microscope took, so the frame time stays unknown until
it is given. Frames that do not follow each other evenly are told of: programs that write a GIF
leave out frames that are equal to the one before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axes import LUMINANCE
from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import DamagedDataError, MovieError, check_promise, opening
from stemkin.readers.place import Place

MAX_PIXELS = 2**28
COLOURED = 8
"""Red, green and blue further apart than this (of 255) somewhere make a frame coloured, beyond what
compression does."""
MODES = {
    "1": "u1", "L": "u1", "LA": "u1", "P": "u1", "PA": "u1", "RGB": "u1", "RGBA": "u1",
    "RGBX": "u1", "CMYK": "u1", "YCbCr": "u1", "I;16": "u2", "I;16B": "u2", "I;16L": "u2",
    "I": "i4", "F": "f4",
}  # fmt: skip
"""Type of the frames by Pillow's mode; colours of 8 bits have a luminance of 8 bits."""
GREY = ("1", "L", "I;16", "I;16B", "I;16L", "I", "F")
PNG_HEADER = b"\x89PNG\r\n\x1a\n"


# every format takes options
def open_picture(place: Place, options: Options) -> FileReader:  # noqa: ARG001
    """Open a picture or an animation. Lazy: its frames are counted, and the first one is decoded.

    Raises
    ------
    MovieError
        If Pillow does not read it, or its colours have more than 8 bits.
    """
    _check_depth(place)
    with _picture(place) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            msg = (
                f"{place} promises frames of {picture.width} x {picture.height} pixels; its header "
                "is broken"
            )
            raise MovieError(msg)
        frame_bytes = picture.width * picture.height * max(1, len(picture.getbands()))
        check_promise(frame_bytes, place.size(), place)
        if picture.mode not in MODES:
            msg = f"{place} holds pixels of Pillow's mode {picture.mode}, which are no intensities"
            raise MovieError(msg)
        n_frames, skipped = _count(picture)
        name = str(picture.format)
        shape = (n_frames - skipped, picture.height, picture.width)
        notes = _notes(picture, skipped, n_frames)
        dtype = np.dtype(MODES[picture.mode])
    return PictureReader(
        place=place, shape=shape, dtype=dtype, format=name, notes=notes, skipped=skipped
    )


def _check_depth(place: Place) -> None:
    """Refuse colours of 16 bits, which Pillow would cut to 8 without a word."""
    head = place.head(33)
    if not head.startswith(PNG_HEADER) or len(head) < 26:
        return
    depth, colour = struct.unpack_from("BB", head, 24)
    if depth == 16 and colour != 0:
        msg = (
            f"{place} holds colours or opacity of 16 bits; save it as grey PNG of 16 bits, or as "
            "TIFF"
        )
        raise MovieError(msg)


def _count(picture: Any) -> tuple[int, int]:
    """Return the number of frames, and how many of them are a preview that is no part of it."""
    n_frames = int(getattr(picture, "n_frames", 1))
    # an animated PNG may begin with a picture for programs that know no animation
    skipped = int(bool(n_frames > 1 and picture.info.get("default_image")))
    return n_frames, skipped


def _notes(picture: Any, skipped: int, n_frames: int) -> tuple[str, ...]:
    """Return what the user should know of the frames."""
    notes = []
    if _is_coloured(picture):
        notes.append("false colours are read as their luminance")
    if skipped:
        notes.append("its first picture is a preview, and no frame")
    durations = set()
    if n_frames - skipped > 2:
        # the last frame is often shown longer, before it all begins again
        for i in range(skipped, n_frames - 1):
            picture.seek(i)
            if picture.format == "WEBP":  # which says it of a frame that was decoded
                picture.load()
            durations.add(picture.info.get("duration", 0))
    if len(durations) > 1:
        shown = ", ".join(f"{one:g}" for one in sorted(durations)[:4])
        notes.append(
            f"its frames are shown for different times ({shown} ms), so that frames that were "
            "equal may have been left out when it was written"
        )
    return tuple(notes)


def _is_coloured(picture: Any) -> bool:
    if picture.mode in GREY:
        return False
    rgb = np.asarray(picture.convert("RGB")).astype(np.int16)
    return int(np.ptp(rgb, axis=-1).max()) > COLOURED


@contextmanager
def _picture(place: Place) -> Iterator[Any]:
    import warnings

    from PIL import Image

    with place.opened() as file, warnings.catch_warnings():
        # Pillow warns of large pictures, which are frames here; MAX_PIXELS is what is too large
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with opening(place):
            picture = Image.open(file, formats=("GIF", "PNG", "WEBP", "JPEG"))
        with picture:
            yield picture


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureReader(FileReader):
    """Frames of a picture, decoded from its beginning on.

    Attributes
    ----------
    skipped
        Pictures before the first frame.
    """

    skipped: int = 0

    def _frames(self, start: int, stop: int) -> Any:
        frames = np.empty((stop - start, *self.shape[1:]), self.dtype)
        with _picture(self.place) as picture:
            for i in range(start, stop):
                picture.seek(i + self.skipped)
                frames[i - start] = self._intensity(picture, i)
        return frames

    def _intensity(self, picture: Any, i: int) -> np.ndarray:
        """Return the frame that `picture` shows, frame `i`, as intensities (y, x)."""
        if picture.mode in GREY:
            found = np.asarray(picture)
            if picture.mode == "1":
                found = found.astype(np.uint8) * 255
        else:
            rgb = np.asarray(picture.convert("RGB"))
            weights = np.asarray(LUMINANCE, np.float64)
            found = np.rint(rgb @ weights).astype(np.uint8)
        if found.shape != self.shape[1:] or found.dtype.itemsize > self.dtype.itemsize:
            msg = (
                f"frame {i} of {self.place} has shape {found.shape} and type {found.dtype}, unlike "
                "the first"
            )
            raise DamagedDataError(msg)
        return found
