"""The movies of a run: those that open and are calibrated; the others are listed with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from stemkin.archive import Archive, open_archive
from stemkin.config import RunConfig
from stemkin.movie import Movie
from stemkin.readers.headers import Headers
from stemkin.readers.watched import WatchedReader, watched
from stemkin.results.journal import Journal
from stemkin.results.quarantine import set_aside
from stemkin.results.store import Store

HEADERS_FILE = "headers.json"
"""What the movies' headers said, kept in a local results folder: the next run opens thousands of
movies without reading one."""


@dataclass(frozen=True)
class Inputs:
    """The movies of a run, and the sources that are none."""

    sources: list[str]
    movies: list[Movie]
    problems: list[tuple[str, str]]
    headers: Headers = field(default_factory=Headers)

    def remember(self, store: Store) -> None:
        """Keep what the headers said beside the results, if it is new; say if that was damaged."""
        if self.headers.damaged:
            set_aside(store, self.headers.damaged, HEADERS_FILE)
        if store.is_local and self.headers.changed:
            store.write_bytes(self.headers.content(), HEADERS_FILE)

    def watched(self) -> Inputs:
        """Return the same, each movie held to what its files are now."""
        movies = [replace(movie, reader=watched(movie.reader)) for movie in self.movies]
        return replace(self, movies=movies)

    def listing(self) -> list[dict[str, Any]]:
        """Return what ``run.json`` says of each movie."""
        good = [
            {**_none_for_nan(movie.table_row()), "status": "ok", "reason": ""}
            for movie in self.movies
        ]
        bad = [
            {"movie": Path(s).name, "source": s, "status": "failed", "reason": reason}
            for s, reason in self.problems
        ]
        return good + bad


def _check_places(inputs: Sequence[object]) -> None:
    """Raise where a run is given something else than paths or URLs, an open movie for instance."""
    if not isinstance(inputs, (list, tuple)) or not all(
        isinstance(source, (str, PathLike)) for source in inputs
    ):
        kind = type(inputs).__name__
        msg = (
            f"a run takes paths or URLs, which every worker opens anew, and was given a {kind}; "
            "give the path of its file, or write one: sk.convert(movie, 'movie.zarr')"
        )
        raise ValueError(msg)


def open_inputs(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
    config: RunConfig,
    *,
    results: str | PathLike[str] | None = None,
) -> Inputs:
    """Open what the user named. Lazy: no frame is read.

    Where the folder `results` of an earlier run remembers what the headers said, those of unchanged
    movies are not read again.

    Raises
    ------
    ValueError
        If not one of the movies can be used; the message gives the first reason. If something else
        than paths is given.
    """
    if isinstance(inputs, (str, PathLike)):
        inputs = [inputs]
    _check_places(inputs)
    sources = [_absolute(fspath(source)) for source in inputs]
    known = _headers_kept(results)
    # One folder, glob or manifest is an archive by itself; several are a list of movies.
    archive = open_archive(
        sources if len(sources) > 1 else sources[0],
        cache=known,
        **config.calibration.model_dump(),
        **config.input.model_dump(),
    )
    return replace(usable(archive, sources), headers=known)


def say_who_grew(movies: Sequence[Movie], journal: Journal) -> None:
    """Warn of movies that were written on while they were searched."""
    grown = [m for m in movies if isinstance(m.reader, WatchedReader) and m.reader.has_grown]
    for movie in grown:
        journal.warn(
            f"{movie.name} has grown since the run began; its first {movie.n_frames:,} frames are "
            "done, and another run searches all of it"
        )


def _headers_kept(results: str | PathLike[str] | None) -> Headers:
    """Return what the results folder remembers of headers; nothing in an object store."""
    if results is None or not Store.at(results).is_local:
        return Headers()
    return Headers.load(Store.at(results).path(HEADERS_FILE))


def usable(archive: Archive, sources: list[str]) -> Inputs:
    """Tell the movies that can be analysed from those that cannot."""
    movies, problems = [], list(archive.problems)
    for movie in archive:
        reason = uncalibrated(movie)
        if reason is None:
            movies.append(movie)
        else:
            problems.append((movie.source, reason))
    if not movies:
        raise ValueError(_why_none(sources, problems))
    return Inputs(sources, movies, problems)


def _why_none(sources: Sequence[str], problems: Sequence[tuple[str, str]]) -> str:
    """Return why not one of the `sources` is a movie that can be analysed."""
    if not problems:
        return f"{', '.join(sources)}: no movies were found there"
    source, reason = problems[0]
    if source in reason:
        return reason
    if len(problems) == 1:
        return f"{source}: {reason}"
    return f"{source}: {reason} (and {len(problems) - 1} more)"


def uncalibrated(movie: Movie) -> str | None:
    """Return what is missing before positions are lengths and frames are times, or None."""
    doubts = movie.calibration.doubts
    if movie.pixel_size_nm is None:
        return (
            f"the file does not say how large a pixel is{_because(doubts.get('pixel_size_nm'))}; "
            "give it with --pixel-size-nm or in a manifest"
        )
    if movie.frame_time_s is None and movie.n_frames > 1:
        return (
            f"the file does not say how long a frame takes{_because(doubts.get('frame_time_s'))}; "
            "give it with --frame-time-s or in a manifest"
        )
    return None


def _because(doubt: str | None) -> str:
    """Return why what the file states is not believed, in brackets."""
    if not doubt:
        return ""
    return f" ({doubt})"


def _absolute(source: str) -> str:
    """Return the same place, whichever folder it is read from."""
    if "://" in source:
        return source
    return str(Path(source).absolute())


def _none_for_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Return `row` with None where a value is NaN (which JSON does not know)."""
    not_a_number = {key for key, value in row.items() if value != value}
    return {**row, **dict.fromkeys(not_a_number)}
