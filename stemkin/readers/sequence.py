"""A folder with one file per frame is one movie: ``frame_0001.tif``, ``frame_0002.tif``, ...

So write OneView and other in-situ cameras (folders of hours, minutes and seconds), and so are
movies exported as TIFF, PNG, MRC, SER or DM files. The frame number is that in the file's name
(`stemkin.readers.numbering`). Pictures (PNG, JPEG) are frames only where no other movie lies beside
them: there they are figures.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from stemkin.readers.base import FileReader, Options
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.errors import DamagedDataError, MovieError
from stemkin.readers.numbering import alike, frames_per_second, numbered
from stemkin.readers.place import Place
from stemkin.readers.registry import open_file, suffixes

KINDS = {
    ".tif": "TIFF", ".tiff": "TIFF", ".dm3": "DM", ".dm4": "DM", ".mrc": "MRC", ".ser": "SER",
    ".npy": "NPY", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG",
}  # fmt: skip
"""Kinds of files that may hold a frame each, by suffix."""
PICTURES = (".png", ".jpg", ".jpeg")
"""Files that are mostly figures, and no movies by themselves."""
TIMED_FOLDER = re.compile(r"(Hour|Minute|Second)_\d+$", re.IGNORECASE)
"""Folders of an in-situ camera, one in the other."""
N_SAMPLED = 8
"""So many files are opened to see that they are alike; the others are compared when they are
read."""
SAME_SIZE_WITHIN = 5e-3
"""Pixel sizes that differ by less than this part are taken for equal."""


def is_sequence(folder: Place) -> bool:
    """Tell whether a folder holds a movie as numbered files of one image each."""
    return bool(sequences(folder))


def sequences(folder: Place) -> dict[str, dict[int, str]]:
    """Return the movies that numbered files make: kind → frame number → file name."""
    return dict(_sequences(folder, _mark(folder)))


# `mark` is part of the cache's key: a changed folder is looked at anew
@lru_cache(maxsize=64)
def _sequences(folder: Place, mark: str) -> tuple[tuple[str, dict[int, str]], ...]:
    names = _names(folder, mark)
    movies = [name for name in names if not name.lower().endswith(PICTURES)]
    by_kind: dict[str, list[str]] = {}
    for name in movies or names:
        kind = KINDS.get(os.path.splitext(name.lower())[1])
        # SER files beside an EMI file are its detectors
        if kind is not None and not (kind == "SER" and _has_emi(names)):
            by_kind.setdefault(kind, []).append(name)
    found = []
    for kind, files in by_kind.items():
        by_number = _one_group(files)
        if by_number is not None and _holds_single_images(folder, by_number):
            found.append((kind, by_number))
    return tuple(found)


def _one_group(names: list[str]) -> dict[int, str] | None:
    """Return the numbered names, where all are, or all but some that are like no other."""
    groups = [group for group in alike(names) if len(group) > 1]
    n_alone = len(names) - sum(len(group) for group in groups)
    if len(groups) != 1 or (n_alone and len(groups[0]) < 3):
        return None
    return numbered(groups[0])


def _holds_single_images(folder: Place, by_number: dict[int, str]) -> bool:
    # the first of these three files that opens decides; a broken one says nothing
    for i in {min(by_number), sorted(by_number)[len(by_number) // 2], max(by_number)}:
        with suppress(MovieError, OSError):
            return open_file(folder / by_number[i], Options()).shape[0] == 1
    return False


def open_sequence(place: Place, options: Options) -> FileReader:
    """Open a folder with one file per frame as one movie. Lazy: a few headers are read.

    Raises
    ------
    MovieError
        If the files differ in shape, type or pixel size, or none opens; or if several kinds of
        files are movies, and `options.dataset` names none.
    """
    found = sequences(place)
    kind = next(iter(found))
    if len(found) > 1:
        kinds = [Candidate(kind, (len(files),), "files") for kind, files in found.items()]
        kind = chosen(kinds, place, options).candidate.name
        options = replace(options, dataset=None)
    by_number = found[kind]
    opened = _sampled(place, by_number, options, kind)
    (name, first), *others = opened.items()
    for other, reader in others:
        if not _is_alike(first, reader):
            msg = (
                f"the files in {place} are not frames of one movie: {_said(name, first)} and "
                f"{_said(other, reader)}; put each movie into a folder of its own, or open the "
                f"files one by one as {place}/*{os.path.splitext(name)[1]}"
            )
            raise MovieError(msg)
    # frame numbers begin at 0; a number without a file counts as a frame, and is missing when read
    n_frames = max(by_number) + 1
    return SequenceReader(
        place=place,
        shape=(n_frames, *first.shape[1:]),
        dtype=first.dtype,
        calibration=first.calibration,
        pixel_sizes_nm=first.pixel_sizes_nm,
        format=f"folder of {first.format}",
        notes=_notes(place, kind, by_number, first),
        options=options,
        file_kind=kind,
    )


def _sampled(
    place: Place, by_number: dict[int, str], options: Options, kind: str
) -> dict[str, FileReader]:
    """Return the readers of some of the files, by name."""
    opened, reason = {}, ""
    for i in sorted(by_number)[:: max(1, len(by_number) // N_SAMPLED)]:
        try:
            opened[by_number[i]] = open_file(place / by_number[i], options)
        except MovieError as error:
            reason = str(error)
    if not opened:
        msg = f"none of the {kind} files in {place} opens: {reason}"
        raise MovieError(msg)
    return opened


def _is_alike(first: FileReader, other: FileReader) -> bool:
    """Tell whether two files can be frames of one movie."""
    if (first.shape, first.dtype) != (other.shape, other.dtype):
        return False
    size, its_size = first.calibration.pixel_size_nm, other.calibration.pixel_size_nm
    if size is None or its_size is None:
        return size == its_size
    return bool(np.isclose(size, its_size, rtol=SAME_SIZE_WITHIN, atol=0))


def _said(name: str, reader: FileReader) -> str:
    text = f"{name} has {reader.shape[1]} x {reader.shape[2]} pixels of {reader.dtype}"
    if reader.calibration.pixel_size_nm is not None:
        text += f" and {reader.calibration.pixel_size_nm:g} nm"
    return text


def _notes(
    place: Place, kind: str, by_number: dict[int, str], first: FileReader
) -> tuple[str, ...]:
    """Return what the user should know of a sequence."""
    notes = [f"its {len(by_number)} {kind} files are read as the frames of one movie"]
    n_missing = max(by_number) + 1 - len(by_number)
    if n_missing:
        notes.append(f"{n_missing} numbers between the first file and the last are missing")
    per_second = frames_per_second(list(by_number.values()))
    if per_second and first.calibration.frame_time_s is None:
        notes.append(
            f"the names count {per_second} frames a second, but no file says how long a frame took"
        )
    n_beside = len(_names(place, _mark(place))) - len(by_number)
    if n_beside:
        notes.append(f"{n_beside} other files beside them are not part of it")
    return (*notes, *first.notes)


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceReader(FileReader):
    """One file per frame; the files are listed by each process, so that the reader stays small.

    Attributes
    ----------
    options
        Of every file.
    file_kind
        Of the files: a value of `KINDS`.
    """

    options: Options
    file_kind: str

    def _content_identity(self) -> str:
        """Return the folder, and name, size and time of every file in it."""
        import hashlib

        names = sequences(self.place).get(self.file_kind, {}).values()
        marks = "\n".join((self.place / name).identity() for name in names)
        digest = hashlib.sha256(marks.encode(errors="surrogateescape")).hexdigest()[:32]
        return f"{self.place} {digest}"

    def _telling_file(self) -> Place:
        """Return the first file of the sequence."""
        names = sequences(self.place).get(self.file_kind, {})
        if not names:
            return self.place
        return self.place / names[min(names)]

    def _frames(self, start: int, stop: int) -> Any:
        by_number = sequences(self.place).get(self.file_kind, {})
        frames = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for i in range(start, stop):
            if i not in by_number:
                msg = f"the file of frame {i} is missing in {self.place}"
                raise DamagedDataError(msg)
            one = open_file(self.place / by_number[i], self.options)
            self._check(one)
            frames[i - start] = one.read(0, 1)[0]
        return frames

    def _check(self, one: FileReader) -> None:
        """Refuse a file that is no frame of this movie."""
        if one.shape != (1, *self.shape[1:]) or one.dtype != self.dtype:
            msg = (
                f"{one.place} has shape {one.shape[1:]} and type {one.dtype}, unlike the "
                "other frames"
            )
            raise DamagedDataError(msg)
        size = self.calibration.pixel_size_nm
        if size is not None and not np.isclose(
            one.calibration.pixel_size_nm or size, size, rtol=SAME_SIZE_WITHIN, atol=0
        ):
            msg = (
                f"{one.place} has pixels of {one.calibration.pixel_size_nm:g} nm, unlike the "
                f"other frames with {size:g} nm"
            )
            raise DamagedDataError(msg)


def _mark(folder: Place) -> str:
    """Return what changes when files come or go; nothing does for object stores."""
    if folder.is_remote:
        return ""
    inside = [folder, *_timed_folders(folder)]
    return " ".join(str(os.stat(one.path).st_mtime_ns) for one in inside)


# `mark` is part of the cache's key: a changed folder is listed anew
@lru_cache(maxsize=64)
def _names(folder: Place, mark: str) -> tuple[str, ...]:  # noqa: ARG001
    """Return the files in a folder that can be movies or frames, sorted.

    In the folder of an in-situ camera they are those in its folders of hours, minutes and seconds.
    """
    readable = suffixes()
    found = []
    for inside in (folder, *_timed_folders(folder)):
        below = inside.source[len(folder.source.rstrip("/")) + 1 :]
        visible = [name for name in inside.names() if not name.startswith(".")]
        files = [name for name in visible if name.lower().endswith(readable)]
        found += [f"{below}/{name}".lstrip("/") for name in files]
    return tuple(sorted(found))


def _timed_folders(folder: Place, levels: int = 3) -> list[Place]:
    """Return the folders of hours, minutes and seconds in a folder, and those in them."""
    found: list[Place] = []
    if not levels:  # links may go round in circles
        return found
    for name in folder.names():
        if TIMED_FOLDER.match(name) and (folder / name).is_folder():
            found += [folder / name, *_timed_folders(folder / name, levels - 1)]
    return found


def _has_emi(names: tuple[str, ...]) -> bool:
    return any(name.lower().endswith(".emi") for name in names)
