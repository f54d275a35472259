"""A folder of single-frame TIFF files is one movie: ``frame_0001.tif``, ``frame_0002.tif``, ...

The frame number is the number in the file's name (less the smallest one), so that a file that is
missing or broken leaves a gap and shifts nothing. Where more numbers are missing than present,
files are simply counted in natural order.
"""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import DamagedDataError, MovieError
from stemkin.readers.place import Place
from stemkin.readers.registry import open_file

SUFFIXES = (".tif", ".tiff")
N_SAMPLED = 8
"""So many files are opened to see that they are alike; the others are compared when they are
read."""


def is_sequence(folder: Place) -> bool:
    """Tell whether a folder holds one movie: numbered TIFF files of one image each."""
    numbered = _numbered(_names(folder, _mark(folder)))
    if numbered is None:
        return False
    # the first of these three files that opens decides; a broken one says nothing
    for i in {min(numbered), sorted(numbered)[len(numbered) // 2], max(numbered)}:
        with suppress(MovieError, OSError):
            return open_file(folder / numbered[i], Options()).shape[0] == 1
    return False


def open_tiff_folder(place: Place, options: Options) -> FileReader:
    """Open a folder of single-frame TIFF files as one movie. Lazy: a few headers are read.

    Raises
    ------
    MovieError
        If the files differ in shape or type, or none opens.
    """
    numbered = _numbered(_names(place, _mark(place))) or {}
    # frame numbers begin at 0; a number without a file counts as a frame, and is missing when read
    n_frames = max(numbered, default=-1) + 1
    sampled = sorted(numbered)[:: max(1, len(numbered) // N_SAMPLED)]
    opened, reason = {}, ""
    for i in sampled:
        try:
            opened[numbered[i]] = open_file(place / numbered[i], options)
        except MovieError as error:
            reason = str(error)
    if not opened:
        msg = f"none of the TIFF files in {place} opens: {reason}"
        raise MovieError(msg)
    (name, first), *others = opened.items()
    for other, reader in others:
        if (reader.shape, reader.dtype) != (first.shape, first.dtype):
            what = " and ".join(
                f"{n} has {r.shape[1]} x {r.shape[2]} pixels of {r.dtype}"
                for n, r in ((name, first), (other, reader))
            )
            msg = (
                f"the files in {place} are not frames of one movie: {what}; put each movie into a "
                "folder of its own"
            )
            raise MovieError(msg)
    notes = [f"its {len(numbered)} TIFF files are read as the frames of one movie"]
    n_missing = n_frames - len(numbered)
    if n_missing:
        notes.append(f"{n_missing} numbers between the first file and the last are missing")
    return TiffFolderReader(
        place=place,
        shape=(n_frames, *first.shape[1:]),
        dtype=first.dtype,
        calibration=first.calibration,
        pixel_sizes_nm=first.pixel_sizes_nm,
        format=f"folder of {first.format}",
        notes=tuple(notes),
        options=options,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class TiffFolderReader(FileReader):
    """One file per frame; the files are listed by each process, so that the reader stays small."""

    options: Options

    def _content_identity(self) -> str:
        """Return the folder, and name, size and time of every file in it."""
        import hashlib

        names = _names(self.place, _mark(self.place))
        marks = "\n".join((self.place / name).identity() for name in names)
        return f"{self.place} {hashlib.sha256(marks.encode()).hexdigest()[:32]}"

    def _frames(self, start: int, stop: int) -> Any:
        numbered = _numbered(_names(self.place, _mark(self.place))) or {}
        frames = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for i in range(start, stop):
            if i not in numbered:
                msg = f"the file of frame {i} is missing in {self.place}"
                raise DamagedDataError(msg)
            one = open_file(self.place / numbered[i], self.options)
            if one.shape != (1, *self.shape[1:]) or one.dtype != self.dtype:
                msg = (
                    f"{one.place} has shape {one.shape[1:]} and type {one.dtype}, unlike the "
                    "other frames"
                )
                raise DamagedDataError(msg)
            frames[i - start] = one.read(0, 1)[0]
        return frames


def _mark(folder: Place) -> int:
    """Return what changes when files come or go; nothing does for object stores."""
    if folder.is_remote:
        return 0
    return os.stat(folder.path).st_mtime_ns


# `mark` is part of the cache's key: a changed folder is listed anew
@lru_cache(maxsize=64)
def _names(folder: Place, mark: int) -> tuple[str, ...]:  # noqa: ARG001
    visible = [name for name in folder.names() if not name.startswith(".")]
    return tuple(sorted(name for name in visible if name.lower().endswith(SUFFIXES)))


def _numbered(names: tuple[str, ...]) -> dict[int, str] | None:
    """Return frame number → file name; None if the names are not those of one movie's frames.

    >>> _numbered(("m2_f07.tif", "m2_f09.tif", "m2_f08.tif"))
    {0: 'm2_f07.tif', 1: 'm2_f08.tif', 2: 'm2_f09.tif'}
    >>> _numbered(("a.tif", "b.tif")) is None
    True
    """
    # text and digits alternate: text at even places, digits at odd ones. The names are those of one
    # movie if the text is the same in all, and the digits differ in one place only
    parts = [re.split(r"(\d+)", name) for name in names]
    if len(names) < 2 or len({tuple(p[::2]) for p in parts}) > 1:
        return None
    varying = [i for i in range(1, len(parts[0]), 2) if len({int(p[i]) for p in parts}) > 1]
    if len(varying) != 1:
        return None
    numbers = [int(p[varying[0]]) for p in parts]
    if len(set(numbers)) < len(numbers):
        return None
    # numbers that go up in steps of 10 are counted in these steps, from the lowest one on
    lowest = min(numbers)
    step = math.gcd(*(n - lowest for n in numbers))
    by_number = {(n - lowest) // step: name for n, name in sorted(zip(numbers, names, strict=True))}
    if max(by_number) < 2 * len(names):
        return by_number
    return dict(enumerate(by_number.values()))
