"""An archive: many movies from a folder, a glob, a URL prefix, a manifest or a list.

>>> import numpy as np, pathlib, tempfile
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> np.save(folder / "a.npy", np.zeros((3, 8, 8))); np.save(folder / "b.npy", np.zeros((2, 8, 8)))
>>> _ = (folder / "broken.tif").write_bytes(b"")
>>> archive = open_archive(folder, pixel_size_nm=0.03, frame_time_s=2.25)
>>> [movie.name for movie in archive], archive["b"].n_frames
(['a', 'b'], 2)
>>> [reason.rsplit("/", 1)[-1] for _, reason in archive.problems]
['broken.tif is empty (0 bytes)']

A **manifest** is a CSV table, or a TOML file with one ``[[movie]]`` per movie; each has a ``path`` (relative to the manifest, or a
URL) and may have a ``name``, ``pixel_size_nm``, ``frame_time_s``, ``dose_rate_e_per_nm2_s``, ``dataset`` and ``channel``. An argument counts
more than the manifest, and the manifest more than the file.

**Names** are stable and unique: the path below the archive's folder without suffix (``day1/stack4``), with its suffix where two
files differ in nothing else. A source that does not open is listed in `Archive.problems` with its reason, and skipped.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import overload

from stemkin.movie import Movie, argument_calibration, movie_of
from stemkin.readers import Calibration, MovieError, Options, open_reader, stem_of
from stemkin.readers.files import exists, is_folder, missing
from stemkin.readers.listing import Source, expand, is_manifest
from stemkin.readers.manifest import read_manifest

log = logging.getLogger(__name__)

N_THREADS = 16
"""Headers are read by so many threads: they wait for the disk or the network, not for the processor."""

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Archive(Sequence[Movie]):
    """Movies, and the sources that are none.

    Attributes
    ----------
    movies
        In the natural order of their names.
    problems
        (source, reason) of every source that did not open.
    """

    movies: tuple[Movie, ...]
    problems: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Return the number of movies."""
        return len(self.movies)

    def __iter__(self) -> Iterator[Movie]:
        """Yield the movies."""
        return iter(self.movies)

    @overload
    def __getitem__(self, which: int | str) -> Movie: ...
    @overload
    def __getitem__(self, which: slice) -> Archive: ...
    def __getitem__(self, which: int | str | slice) -> Movie | Archive:
        """Return a movie by number or name, or an archive of some of them by slice.

        Raises
        ------
        KeyError
            If no movie has that name.
        """
        if isinstance(which, slice):
            return Archive(self.movies[which])
        if isinstance(which, int):
            return self.movies[which]
        for movie in self.movies:
            if movie.name == which:
                return movie
        msg = f"no movie is called {which!r}; there are {len(self)}, such as {[m.name for m in self.movies[:5]]}"
        raise KeyError(msg)

    def __repr__(self) -> str:
        """Say how many there are."""
        return f"Archive of {len(self)} movies, {len(self.problems)} sources that are none"


def open_archive(
    source: StrPath | Sequence[StrPath],
    *,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    dose_rate_e_per_nm2_s: float | None = None,
    dataset: str | None = None,
    channel: int | None = None,
) -> Archive:
    """Open all movies of a folder, glob, URL prefix, manifest or list of such. Lazy: no frame is read.

    Parameters
    ----------
    source
        Folder (searched with its subfolders), glob (``"movies/**/*.tif"``), ``.csv`` or ``.toml`` manifest, URL, one movie, or a list.
    pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, dataset, channel
        As in `open_movie`, for every movie; they count more than manifest and file.

    Raises
    ------
    FileNotFoundError
        If there is no such source.
    ValueError
        If there is nothing that could be a movie, or the manifest is wrong.
    """
    given = argument_calibration("argument", pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s)
    options = Options(dataset, channel)
    problems: list[tuple[str, str]] = []
    if isinstance(source, (str, os.PathLike)):
        sources = _sources_in(os.fspath(source))
    else:
        sources, problems = _sources_of_list([os.fspath(one) for one in source])
    sources = _named([_overridden(one, given, options) for one in sources])
    with ThreadPoolExecutor(N_THREADS) as pool:
        opened = list(pool.map(_open, sources))
    movies = [movie for movie in opened if isinstance(movie, Movie)]
    problems += [problem for problem in opened if not isinstance(problem, Movie)]
    for where, reason in problems:
        log.warning("skipped %s: %s", where, reason)
    return Archive(tuple(movies), tuple(problems))


def _sources_in(source: str) -> list[Source]:
    """Return what `source` stands for."""
    if is_manifest(source):
        if not exists(source):
            raise missing(source)
        return read_manifest(source)
    found = expand(source)
    if not found:
        what = "folder" if exists(source) and is_folder(source) else "pattern"
        msg = f"no movies were found: the {what} {source} holds no file of a format that stemkin reads"
        raise ValueError(msg)
    return found


def _sources_of_list(sources: list[str]) -> tuple[list[Source], list[tuple[str, str]]]:
    """Return what the members of a list stand for, and those that stand for nothing."""
    found: list[Source] = []
    problems = []
    for source in sources:
        try:
            found += _sources_in(source)
        except (OSError, ValueError) as error:
            problems.append((source, str(error)))
    if not sources:
        msg = "no movies were given: the list of sources is empty"
        raise ValueError(msg)
    unique = {(one.path, one.name, one.options): one for one in found}
    return list(unique.values()), problems


def _overridden(source: Source, given: Calibration, options: Options) -> Source:
    chosen = Options(
        options.dataset or source.options.dataset,
        source.options.channel if options.channel is None else options.channel,
    )
    return replace(source, calibration=source.calibration.overridden_by(given), options=chosen)


def _named(sources: list[Source]) -> list[Source]:
    """Give every source a name of its own that depends on its path alone, where the paths allow it."""
    names = [source.name or _short_name(source.label) for source in sources]
    shared = {name for name, n in Counter(names).items() if n > 1}
    names = [
        source.label if name in shared and not source.name else name
        for source, name in zip(sources, names, strict=True)
    ]
    shared = {name for name, n in Counter(names).items() if n > 1}
    names = [
        source.path if name in shared and not source.name else name for source, name in zip(sources, names, strict=True)
    ]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        msg = f"{len(twice)} movie names are not unique, such as {twice[0]!r}; give each movie a name of its own in the manifest"
        raise ValueError(msg)
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def _short_name(label: str) -> str:
    folder, _, _ = label.rstrip("/").rpartition("/")
    return f"{folder}/{stem_of(label)}" if folder else stem_of(label)


def _open(source: Source) -> Movie | tuple[str, str]:
    """Return the movie, or why there is none."""
    try:
        return movie_of(open_reader(source.path, source.options), source.calibration, name=source.name)
    except (MovieError, OSError, ValueError, ImportError) as error:
        return source.path, str(error) or type(error).__name__
