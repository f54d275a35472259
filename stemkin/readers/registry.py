"""The registry of file formats: stemkin's own, and those that you add.

A format is told by its first bytes where it has a mark, and by its suffix. A new one takes a
reader, an opener and a `Format`, and no change to stemkin. This is all of it, for movies in PGM
files (one picture after the other, each behind the same header)::

    # pgm.py
    from dataclasses import dataclass

    import numpy as np

    from stemkin.readers import FileReader, Format, begins, register


    @dataclass(frozen=True, eq=False, kw_only=True)
    class PgmReader(FileReader):
        header_bytes: int

        def _frames(self, start, stop):
            frames = np.empty((stop - start, *self.shape[1:]), self.dtype)
            for i, frame in enumerate(frames, start):
                at = i * (self.header_bytes + frame.nbytes) + self.header_bytes
                self.place.read_into(at, frame)  # DamagedDataError where the file ends
            return frames


    def open_pgm(place, options):
        mark, width, height, white = place.head().split(maxsplit=4)[:4]
        header_bytes = len(b" ".join([mark, width, height, white])) + 1
        width, height = int(width), int(height)
        n_frames = place.size() // (header_bytes + width * height)  # headers may lie
        return PgmReader(
            place=place,
            shape=(n_frames, height, width),
            dtype=np.dtype("u1"),
            format="PGM",
            header_bytes=header_bytes,
        )


    register(Format("PGM", (".pgm",), "pgm:open_pgm", begins(b"P5")))

After ``import pgm`` every verb opens such files, and `run` remembers their headers. **On workers**
the format needs nothing more: a task brings its reader along, whose module is imported there. It
has to be importable there, as any function that Dask is given. A package makes its formats known to
every process that it is installed for, and to the command ``stemkin``, by an entry point that names
the `Format`::

    [project.entry-points."stemkin.formats"]
    pgm = "pgm:PGM"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

from stemkin.readers.base import FileReader, Options
from stemkin.readers.children import opened_by_a_child
from stemkin.readers.errors import MovieError
from stemkin.readers.hdf5_open import check_not_being_written
from stemkin.readers.openers import open_as
from stemkin.readers.place import Place

log = logging.getLogger(__name__)

ENTRY_POINTS = "stemkin.formats"
"""The group of entry points by which installed packages add formats."""


@dataclass(frozen=True)
class Format:
    """A file format: how its files are recognised and opened.

    Attributes
    ----------
    name
        For tables and messages.
    suffixes
        Of its files, in small letters.
    opener
        ``module:function`` of (place, options) that returns a `FileReader`.
    matches
        Tells the format by a file's first bytes, where it has a mark.
    guarded
        Whether the library behind it may hang on a damaged file: local ones are then opened by a
        process that can be stopped.
    check
        Refuses a file that this process, which alone can know it, should not read now.
    """

    name: str
    suffixes: tuple[str, ...]
    opener: str
    matches: Callable[[bytes], bool] | None = None
    guarded: bool = False
    check: Callable[[Place], None] | None = None

    def open(self, place: Place, options: Options) -> FileReader:
        """Open `place`; the format's module is imported now.

        Raises
        ------
        MovieError
            If it does not open, for whatever reason lies in the file.
        """
        if self.check is not None:
            self.check(place)
        if self.guarded and not place.is_remote:
            reader = opened_by_a_child(self.name, self.opener, place, options)
            if reader is not None:
                return reader
        return open_as(self.name, self.opener, place, options)


def begins(*marks: bytes, at: int = 0) -> Callable[[bytes], bool]:
    """Return a test for files by their first bytes.

    Parameters
    ----------
    *marks
        Bytes of which one has to be there.
    at
        Byte of the file at which they stand.

    Returns
    -------
    A function of a file's beginning, for `Format`.
    """
    return lambda head: any(head[at : at + len(mark)] == mark for mark in marks)


def _is_video(head: bytes) -> bool:
    return (
        head[4:8] == b"ftyp"
        or head[:4] == b"\x1a\x45\xdf\xa3"
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    )


def _is_picture(head: bytes) -> bool:
    return (
        head[:6] in (b"GIF87a", b"GIF89a")
        or head[:8] == b"\x89PNG\r\n\x1a\n"
        or head[:3] == b"\xff\xd8\xff"
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )


ZARR = Format("Zarr", (".zarr", ".zarr.zip", ".zspy"), "stemkin.readers.zarr_store:open_zarr")

FORMATS: tuple[Format, ...] = (
    ZARR,
    Format(
        "TIFF",
        (".tif", ".tiff", ".btf", ".tf8"),
        "stemkin.readers.tiff:open_tiff",
        begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ),
    Format(
        "HDF5",
        (".h5", ".hdf5", ".hdf", ".nxs", ".hspy", ".emd", ".nc"),
        "stemkin.readers.hdf5:open_hdf5",
        begins(b"\x89HDF\r\n\x1a\n"),
        guarded=True,
        check=check_not_being_written,
    ),
    Format("NPY", (".npy",), "stemkin.readers.npy:open_npy", begins(b"\x93NUMPY")),
    Format("NPZ", (".npz",), "stemkin.readers.npy:open_npz", begins(b"PK\x03\x04")),
    Format(
        "MRC",
        (".mrc", ".mrcs", ".st", ".ali", ".rec"),
        "stemkin.readers.mrc:open_mrc",
        begins(b"MAP ", at=208),
    ),
    Format("DM", (".dm3", ".dm4"), "stemkin.readers.dm:open_dm", begins(b"\0\0\0\3", b"\0\0\0\4")),
    Format("SER", (".ser",), "stemkin.readers.ser:open_ser", begins(b"II\x97\x01")),
    Format("EMI", (".emi",), "stemkin.readers.ser:open_emi"),
    Format(
        "video",
        (".avi", ".mp4", ".mov", ".mkv", ".m4v", ".webm"),
        "stemkin.readers.video:open_video",
        _is_video,
    ),
    Format(
        "picture",
        (".gif", ".png", ".apng", ".webp", ".jpg", ".jpeg"),
        "stemkin.readers.pictures:open_picture",
        _is_picture,
    ),
    Format(
        "RosettaSciIO",
        (".mib", ".blo", ".tvips", ".prz", ".dens", ".unf", ".rpl", ".de5", ".mrcz"),
        "stemkin.readers.rosetta:open_rosetta",
    ),
)
"""Stemkin's own formats."""

_ADDED: dict[str, Format] = {}


def register(added: Format) -> None:
    """Register a format, so that every verb opens its files; one of the same name is replaced.

    Raises
    ------
    ValueError
        If a suffix is not written as ``.abc``, or the opener not as ``module:function``.
    """
    wrong = [one for one in added.suffixes if not one.startswith(".") or one != one.lower()]
    if wrong:
        msg = f"the suffix {wrong[0]!r} of {added.name} must be a point and small letters"
        raise ValueError(msg)
    module, colon, function = added.opener.partition(":")
    if not (module and colon and function):
        msg = f"the opener of {added.name} must be 'module:function', but is {added.opener!r}"
        raise ValueError(msg)
    _ADDED[added.name] = added


@lru_cache(maxsize=1)
def _installed() -> tuple[Format, ...]:
    """Return the formats of installed packages."""
    found = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            found.append(point.load())
        # a package of others that is broken costs its formats, not every run
        except Exception as error:  # noqa: BLE001
            log.warning("the format %s of %s is left out: %s", point.name, point.value, error)
    return tuple(found)


def formats() -> tuple[Format, ...]:
    """Return every format, those that were added first: the first that fits a file is taken."""
    added = {one.name: one for one in _installed()} | _ADDED
    own = [one for one in FORMATS if one.name not in added]
    return (*added.values(), *own)


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of every format's files."""
    return tuple(suffix for one in formats() for suffix in one.suffixes)


def import_formats() -> None:
    """Import every format's module, so that its readers can be built from what is remembered."""
    for one in formats():
        try:
            import_module(one.opener.partition(":")[0])
        except ImportError as error:  # a file of this format says so when it is opened
            log.warning("the format %s cannot be used: %s", one.name, error)


def open_file(place: Place, options: Options) -> FileReader:
    """Open a file that is there. Lazy: only what says what it holds is read.

    Raises
    ------
    MovieError
        If it is empty, of no known format, or broken.
    """
    head = place.head()
    if not head:
        msg = f"{place} is empty (0 bytes)"
        raise MovieError(msg)
    return format_of(place, head).open(place, options)


def format_of(place: Place, head: bytes) -> Format:
    """Return the format of a file that begins with `head`.

    Raises
    ------
    MovieError
        If none fits.
    """
    name = place.source.lower()
    by_suffix = [f for f in formats() if name.endswith(f.suffixes)]
    by_mark = [f for f in formats() if f.matches is not None and f.matches(head)]
    for found in by_suffix:
        if found in by_mark or found.matches is None or not by_mark:
            return found
    if by_mark:
        return by_mark[0]
    msg = f"{place} is of no format that stemkin reads; it reads {' '.join(suffixes())}"
    raise MovieError(msg)


def stem_of(source: str) -> str:
    """Return a file's name without its suffixes.

    >>> stem_of("/data/a b/stack4.ome.tif"), stem_of("s3://bucket/x.zarr/"), stem_of("frames")
    ('stack4', 'x', 'frames')
    """
    name = source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    longest_first = sorted(suffixes(), key=len, reverse=True)
    for suffix in (*(f".ome{one}" for one in longest_first), *longest_first):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
