"""Which file opens which format: by its first bytes where the format has a mark, and by its
suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from stemkin.readers.base import FileReader, MovieError, Options, is_damage
from stemkin.readers.files import exists, head_of, is_folder, is_url, missing


@dataclass(frozen=True)
class Format:
    """A format: how its files are told and opened. A new one is a file with an opener, and a line
    in `FORMATS`.

    An opener returns a `FileReader` subclass, whose `_frames` gives frames `start` to `stop` and
    opens the file anew::

        # stemkin/readers/pgm.py
        def open_pgm(source: str, options: Options) -> FileReader:
            width, height = (int(n) for n in head_of(source).split()[1:3])
            n = size_of(source) // (width * height)
            return PgmReader(source=source, shape=(n, height, width), dtype=np.dtype("u1"), format="PGM")

        # stemkin/readers/registry.py
        Format("PGM", (".pgm",), "stemkin.readers.pgm:open_pgm", begins(b"P5")),

    Attributes
    ----------
    name
        For tables and messages.
    suffixes
        Of its files, in small letters.
    opener
        ``module:function`` of (source, options).
    matches
        Tells the format by a file's first bytes, where it has a mark.
    guarded
        Whether the library behind it may hang on a damaged file: local ones are then opened by a
        process that can be stopped.
    """

    name: str
    suffixes: tuple[str, ...]
    opener: str
    matches: Callable[[bytes], bool] | None = None
    guarded: bool = False

    def open(self, source: str, options: Options) -> FileReader:
        """Open `source`; the format's module is imported now.

        Raises
        ------
        MovieError
            If it does not open, for whatever reason lies in the file.
        """
        if self.guarded and not is_url(source):
            from stemkin.readers.guard import opened_by_a_child

            reader = opened_by_a_child(self.name, self.opener, source, options)
            if reader is not None:
                return reader
        return open_as(self.name, self.opener, source, options)


def open_as(name: str, opener: str, source: str, options: Options) -> FileReader:
    """Open `source` with `opener` (``module:function``) in this process; `name` is the format's.

    Raises
    ------
    MovieError
        If it does not open, for whatever reason lies in the file.
    """
    module, function = opener.split(":")
    try:
        return cast(FileReader, getattr(import_module(module), function)(source, options))
    except MovieError:
        raise
    except Exception as error:
        if not is_damage(error):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        msg = f"{source} could not be opened as {name}: {said[:300]}"
        raise MovieError(msg) from error


def begins(*marks: bytes, at: int = 0) -> Callable[[bytes], bool]:
    """Return a test for files with one of `marks` at byte `at`."""
    return lambda head: any(head[at : at + len(mark)] == mark for mark in marks)


def _is_video(head: bytes) -> bool:
    return (
        head[4:8] == b"ftyp"
        or head[:4] == b"\x1a\x45\xdf\xa3"
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    )


FORMATS: tuple[Format, ...] = (
    Format("Zarr", (".zarr", ".zarr.zip"), "stemkin.readers.zarr_store:open_zarr"),
    Format(
        "TIFF",
        (".tif", ".tiff", ".btf", ".tf8"),
        "stemkin.readers.tiff:open_tiff",
        begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ),
    Format(
        "HDF5",
        (".h5", ".hdf5", ".hdf", ".nxs", ".hspy", ".emd"),
        "stemkin.readers.hdf5:open_hdf5",
        begins(b"\x89HDF\r\n\x1a\n"),
        guarded=True,
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
        "RosettaSciIO",
        (".mib", ".blo", ".tvips", ".prz", ".dens", ".unf", ".rpl", ".de5", ".mrcz"),
        "stemkin.readers.rosetta:open_rosetta",
    ),
)
"""Every format; the first whose suffix or first bytes fit is taken."""


def open_reader(source: str, options: Options = Options()) -> FileReader:  # noqa: B008 - frozen
    """Open a file, folder or URL as frames. Lazy: only what says what it holds is read.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    MovieError
        If it is empty, of no known format, or broken.
    """
    name = source.rstrip("/").lower()
    if is_url(source) and name.endswith(".zarr"):
        return FORMATS[0].open(
            source, options
        )  # a store over plain HTTP is no folder that could be asked for
    if not exists(source):
        raise missing(source)
    if is_folder(source):
        return _open_folder(source, options)
    head = head_of(source)
    if not head:
        msg = f"{source} is empty (0 bytes)"
        raise MovieError(msg)
    return format_of(source, head).open(source, options)


def format_of(source: str, head: bytes) -> Format:
    """Return the format of a file that begins with `head`.

    Raises
    ------
    MovieError
        If none fits.
    """
    name = source.lower()
    by_suffix = [f for f in FORMATS if name.endswith(f.suffixes)]
    by_mark = [f for f in FORMATS if f.matches is not None and f.matches(head)]
    for found in by_suffix:
        if found in by_mark or found.matches is None or not by_mark:
            return found
    if by_mark:
        return by_mark[0]
    known = " ".join(suffix for f in FORMATS for suffix in f.suffixes)
    msg = f"{source} is of no format that stemkin reads; it reads {known}"
    raise MovieError(msg)


def _open_folder(source: str, options: Options) -> FileReader:
    from stemkin.readers.tiff_folder import is_sequence, open_tiff_folder
    from stemkin.readers.zarr_store import is_zarr_folder

    if is_zarr_folder(source):
        return FORMATS[0].open(source, options)
    if is_sequence(source):
        return open_tiff_folder(source, options)
    msg = (
        f"{source} is a folder, but neither a Zarr store nor the numbered TIFF files of one movie; "
        "open_archive opens a folder of movies"
    )
    raise MovieError(msg)


def stem_of(source: str) -> str:
    """Return a file's name without its suffixes.

    >>> stem_of("/data/a b/stack4.ome.tif"), stem_of("s3://bucket/x.zarr/"), stem_of("frames")
    ('stack4', 'x', 'frames')
    """
    name = source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    suffixes = sorted((s for f in FORMATS for s in f.suffixes), key=len, reverse=True)
    for suffix in (*(f".ome{s}" for s in suffixes), *suffixes):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
