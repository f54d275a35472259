"""The room's door: a file, folder or URL, opened as frames."""

from __future__ import annotations

from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import MovieError
from stemkin.readers.files import exists, is_folder, is_url, missing
from stemkin.readers.registry import ZARR, open_file
from stemkin.readers.tiff_folder import is_sequence, open_tiff_folder
from stemkin.readers.zarr_store import is_zarr_folder


def open_reader(source: str, options: Options = Options()) -> FileReader:  # noqa: B008 - frozen
    """Open a file, folder or URL as frames. Lazy: only what says what it holds is read.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    MovieError
        If it is empty, of no known format, or broken.
    """
    # a store over plain HTTP is no folder that could be asked for
    if is_url(source) and source.rstrip("/").lower().endswith(".zarr"):
        return ZARR.open(source, options)
    if not exists(source):
        raise missing(source)
    if not is_folder(source):
        return open_file(source, options)
    if is_zarr_folder(source):
        return ZARR.open(source, options)
    if is_sequence(source):
        return open_tiff_folder(source, options)
    msg = (
        f"{source} is a folder, but neither a Zarr store nor the numbered TIFF files of one movie; "
        "open_archive opens a folder of movies"
    )
    raise MovieError(msg)
