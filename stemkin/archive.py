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

A **manifest** is a CSV table, or a TOML file with one ``[[movie]]`` per movie; each has a ``path``
(relative to the manifest, or a URL) and may have a ``name``, ``pixel_size_nm``, ``frame_time_s``,
``dose_rate_e_per_nm2_s``, ``exposure_fraction``, ``dataset``, ``channel`` and ``time_axis``. An argument counts more than the manifest,
and the manifest more than the file.

**Names** are stable and unique: the path below the archive's folder without suffix
(``day1/stack4``), with its suffix where two files differ in nothing else. A source that does not
open is listed in `Archive.problems` with its reason, and skipped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import overload

import pandas as pd

from stemkin.errors import StoppedError, reaching
from stemkin.movie import Movie, argument_calibration, movie_of, movies_table
from stemkin.names import readable
from stemkin.readers import Calibration, MovieError, Options
from stemkin.readers.corrected import Corrections
from stemkin.readers.errors import said_by
from stemkin.readers.folders import Problem
from stemkin.readers.headers import Headers
from stemkin.readers.listing import Listed, expand, is_manifest, named, why_nothing
from stemkin.readers.manifest import read_manifest
from stemkin.readers.place import Place, place_of

log = logging.getLogger(__name__)

N_THREADS = 16
"""Headers are read by so many threads: they wait for the disk or the network, not for the
processor."""

MANY_SINGLE_IMAGES = 3
"""So many single images of one shape in a folder may be the frames of a movie."""

SHOWN = 10
"""So many movies, and so many that did not open, stand in what a notebook shows."""

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Archive(Sequence[Movie]):
    """A sequence of movies, and the sources that did not open.

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
        ValueError
            If no movie has that name.
        """
        if isinstance(which, slice):
            return Archive(self.movies[which])
        if isinstance(which, int):
            return self.movies[which]
        for movie in self.movies:
            if movie.name == which:
                return movie
        msg = (
            f"no movie is called {which!r}; there are {len(self)}, such as "
            f"{[m.name for m in self.movies[:5]]}"
        )
        raise ValueError(msg)

    def __repr__(self) -> str:
        """Say how many there are."""
        n_frames = sum(movie.n_frames for movie in self.movies)
        return (
            f"Archive of {len(self)} movies, {n_frames:,} frames; {len(self.problems)} sources that "
            "are none"
        )

    def _repr_html_(self) -> str:
        """Return the same for notebooks, with the first movies and what did not open."""
        from stemkin.plot.frame import html_of_table

        shown = movies_table(self.movies[:SHOWN]).drop(columns="source")
        html = html_of_table(repr(self), shown, n_rows=len(self))
        if self.problems:
            reasons = pd.DataFrame(self.problems[:SHOWN], columns=["source", "reason"])
            html += html_of_table("not opened", reasons, n_rows=len(self.problems))
        return html


def open_archive(
    source: StrPath | Sequence[StrPath],
    *,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    dose_rate_e_per_nm2_s: float | None = None,
    exposure_fraction: float | None = None,
    dataset: str | None = None,
    channel: int | None = None,
    time_axis: str | None = None,
    allow_external: bool = False,
    corrections: Corrections | None = None,
    cache: StrPath | Headers | None = None,
) -> Archive:
    """Open all movies of a folder, glob, URL prefix, manifest or list of such. Lazy.

    Parameters
    ----------
    source
        Folder (searched with its subfolders), glob (``"movies/**/*.tif"``), ``.csv`` or ``.toml``
        manifest, URL, one movie, or a list.
    pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction
        As in `open_movie`, for every movie; they count more than manifest and file.
    dataset, channel, time_axis, corrections
        As in `open_movie`, for every movie; they count more than manifest and file.
    allow_external
        As in `open_movie`; a manifest may then name URLs of other stores and servers than its own,
        too.
    cache
        File (JSON) that remembers what the headers said, so that thousands of movies open fast the
        next time; a movie that changed is looked at again. Its folder must exist. `Headers` that
        were loaded already are used and added to, not saved.

    Raises
    ------
    FileNotFoundError
        If there is no such source.
    ValueError
        If there is nothing that could be a movie, or the manifest is wrong.
    """
    given = argument_calibration(
        "argument", pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction
    )
    options = Options(dataset, channel, time_axis, allow_external)
    problems: list[tuple[str, str]] = []
    if isinstance(source, (str, os.PathLike)):
        listed, problems = _listed_in(place_of(source))
    else:
        listed, problems = _listed_in_all([place_of(one) for one in source])
    # names are given before anything is opened, so that they depend on the paths alone and not on
    # which of the sources open today
    listed = named([_overridden(one, given, options) for one in listed])
    if isinstance(cache, Headers):
        known = cache
    elif cache is None:
        known = Headers()
    else:
        known = Headers.load(os.fspath(cache))
    with ThreadPoolExecutor(N_THREADS) as pool:
        opened = list(pool.map(lambda one: _open(one, corrections, known), listed))
    if cache is not None and not isinstance(cache, Headers):
        known.save(os.fspath(cache))
    movies = [movie for movie in opened if isinstance(movie, Movie)]
    problems += [problem for problem in opened if not isinstance(problem, Movie)]
    for where, reason in problems:
        log.warning("skipped %s", named_problem(where, reason))
    for hint in _single_images(movies):
        log.warning("%s", hint)
    return Archive(tuple(movies), tuple(problems))


def _single_images(movies: Sequence[Movie]) -> list[str]:
    """Return a hint for each folder of images that may be the frames of one movie."""
    by_folder: dict[tuple[str, tuple[int, int, int]], list[str]] = {}
    for movie in movies:
        if movie.n_frames == 1:
            folder = movie.source.replace("\\", "/").rpartition("/")[0]
            by_folder.setdefault((folder, movie.shape), []).append(movie.name)
    return [
        f"{folder} gave {len(names)} movies of one frame each, such as {names[0]!r}; frames of one "
        "movie are joined where their files have a folder of their own, which is opened as such, "
        "and differ in their number alone (frame_0001.tif, frame_0002.tif, ...)"
        for (folder, _), names in by_folder.items()
        if len(names) >= MANY_SINGLE_IMAGES
    ]


def named_problem(where: str, reason: str) -> str:
    """Return the reason why a source is no movie, the source named in it."""
    if where in reason:
        return reason
    return f"{where}: {reason}"


def _listed_in(place: Place) -> tuple[list[Listed], list[Problem]]:
    """Return the movies that `place` stands for, and what in it is none, with the reason."""
    with reaching(str(place)):
        if is_manifest(place):
            if not place.exists():
                raise place.missing()
            return read_manifest(place), []
        found, problems = expand(place)
        if not found:
            why = why_nothing(place)
            if problems:
                why = problems[0][1]
            msg = f"no movies were found: {why}"
            raise ValueError(msg)
        return found, problems


def _listed_in_all(places: list[Place]) -> tuple[list[Listed], list[Problem]]:
    """Return the movies that the members of a list stand for, and those that stand for nothing."""
    found: list[Listed] = []
    problems: list[Problem] = []
    for place in places:
        try:
            listed, strange = _listed_in(place)
            found += listed
            problems += strange
        except StoppedError:
            raise
        except (OSError, ValueError) as error:
            problems.append((str(place), str(error)))
    if not places:
        msg = "no movies were given: the list of sources is empty; give paths, URLs or movies"
        raise ValueError(msg)
    # a movie that two members of the list stand for counts once, where it came first
    unique = {(one.place, one.name, one.options): one for one in found}
    return list(unique.values()), problems


def _overridden(listed: Listed, given: Calibration, options: Options) -> Listed:
    """Return what is to be opened, with what the user says put before what the manifest says."""
    channel = options.channel
    if channel is None:
        channel = listed.options.channel
    chosen = Options(
        options.dataset or listed.options.dataset,
        channel,
        options.time_axis or listed.options.time_axis,
        options.allow_external,
    )
    return replace(listed, calibration=listed.calibration.overridden_by(given), options=chosen)


def _open(
    listed: Listed, corrections: Corrections | None, known: Headers
) -> Movie | tuple[str, str]:
    """Return the movie, or (source, why there is none).

    A store that does not answer says nothing of its movies, so that is an error.
    """
    if listed.is_elsewhere and not listed.options.allow_external:
        return str(listed.place), (
            f"{listed.place} is a URL that a manifest names, of another store than its own; if you "
            "trust the manifest: allow_external=True, --allow-external"
        )
    try:
        with reaching(str(listed.place)):
            reader = known.opened(listed.place, listed.options)
        return movie_of(reader, listed.calibration, name=listed.name, corrections=corrections)
    except StoppedError:
        raise
    except (MovieError, OSError, ValueError, ImportError) as error:
        return str(listed.place), readable(str(error)) or type(error).__name__
    # a library of others may fail in any way over one file: that costs this file, not the archive
    except Exception as error:
        log.debug("%s does not open", listed.place, exc_info=True)
        reason = f"{listed.place} does not open: {type(error).__name__}: {said_by(error)}"
        return str(listed.place), readable(reason)
