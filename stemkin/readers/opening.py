"""Opening of a file, folder or URL as frames: the room's door."""

from __future__ import annotations

import os
from dataclasses import replace

from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place, place_of
from stemkin.readers.registry import ZARR, open_file
from stemkin.readers.sequence import is_sequence, open_sequence
from stemkin.readers.zarr_store import is_zarr_folder


def open_reader(
    source: str | os.PathLike[str] | Place,
    options: Options = Options(),  # noqa: B008 - frozen
) -> FileReader:
    """Open a file, folder or URL as frames. Lazy: only what says what it holds is read.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    MovieError
        If it is empty, of no known format, or broken.
    """
    place = place_of(source)
    # what was chosen in a file is part of what a movie is: another choice is another movie
    return replace(_opened(place, options), choice=options.described())


def check_reference(place: Place, options: Options) -> None:
    """Refuse a store of references, which names any file or URL as its pixels, unless allowed.

    Raises
    ------
    MovieError
        If it is one, and `options` do not allow it.
    """
    kinds = place.source.partition("://")[0].split("::")
    if place.is_remote and "reference" in kinds and not options.allow_external:
        msg = (
            f"{place} is a store of references to other files; if you trust it: "
            "allow_external=True, --allow-external"
        )
        raise MovieError(msg)


def _opened(place: Place, options: Options) -> FileReader:
    check_reference(place, options)
    # a store over plain HTTP is no folder that could be asked for
    if place.is_remote and place.ends_with(".zarr"):
        return ZARR.open(place, options)
    if not place.exists():
        raise place.missing()
    if not place.is_folder():
        return open_file(place, options)
    if is_zarr_folder(place):
        return ZARR.open(place, options)
    if is_sequence(place):
        return open_sequence(place, options)
    msg = (
        f"{place} is a folder, but neither a Zarr store nor a movie with one numbered file per "
        "frame; open_archive opens a folder of movies"
    )
    raise MovieError(msg)
