"""A run's tables for other programs: CSV, a workbook, TrackMate, GEFF.

Whatever a results folder holds is Parquet, which Python, R, Julia and MATLAB read. This is for
those who open it elsewhere. One movie at a time is in memory; text from outside (names of movies
and classes) stays text, in spreadsheets too.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stemkin.blas import one_thread
from stemkin.extras import needed
from stemkin.foreign_tables import to_geff, to_trackmate
from stemkin.names import folder_name, not_a_formula
from stemkin.results.reading import (
    READ_BY,
    ResultsFolder,
    read_detections,
    read_frames,
    read_table,
    read_tracks,
    results_folder,
)

FORMATS = ("csv", "xlsx", "trackmate", "geff")
"""What results can be written as."""

MOST_ROWS = 1_048_575
"""Rows of a sheet, without its heading."""


@one_thread
def export(
    results: str | os.PathLike[str] | ResultsFolder,
    out: str | os.PathLike[str],
    *,
    format: str = "csv",
    movies: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write the tables of a run for other programs. Computes once, one movie at a time.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    out
        The folder to write into; of ``"xlsx"`` the workbook.
    format
        ``"csv"``: a file for each small table, and for tracks, detections and frames one for each
        movie. ``"xlsx"``: the small tables as the sheets of one workbook (needs openpyxl).
        ``"trackmate"``: XML with the tracks of each movie. ``"geff"``: the same as a graph.
    movies
        Names of the movies whose rows are wanted; by default all. Small tables come whole.
    overwrite
        Whether what is there already is replaced.

    Returns
    -------
    Paths of what was written.

    Raises
    ------
    ValueError
        If it is no results folder, has no such movie, has nothing to write, `format` is none of
        these, a table is longer than a sheet can be, or there is something at `out`.
    MissingExtraError
        If a package is not installed.
    """
    if format not in FORMATS:
        msg = f"format must be one of {', '.join(FORMATS)}, but is {format!r}"
        raise ValueError(msg)
    folder, target = results_folder(results), Path(os.fspath(out))
    if target.exists() and not overwrite and (target.is_file() or any(target.iterdir())):
        msg = f"there is something at {target} already; choose another place, or --overwrite"
        raise ValueError(msg)
    if format == "xlsx":
        return [_workbook(folder, target)]
    target.mkdir(parents=True, exist_ok=True)
    if format == "csv":
        return [*_small_tables(folder, target), *_rows(folder, target, movies)]
    write, suffix = {"trackmate": (to_trackmate, ".xml"), "geff": (to_geff, ".geff")}[format]
    return list(_tracks(folder, target, movies, write, suffix))


def _names(folder: ResultsFolder) -> list[str]:
    """Return the names of the tables that are small."""
    listed = folder.tables()
    return [str(name) for name in listed["table"][listed["read_by"] == "read_table"]]


def _small_tables(folder: ResultsFolder, target: Path) -> Iterator[str]:
    """Write every small table as CSV."""
    for name in _names(folder):
        yield _csv(read_table(folder, name), target / f"{name}.csv")


def _rows(folder: ResultsFolder, target: Path, movies: Sequence[str] | None) -> Iterator[str]:
    """Write detections, tracks and frames as CSV, a file for each movie."""
    readers: dict[str, Callable[..., Any]] = {
        "detections": read_detections,
        "tracks": read_tracks,
        "frames": read_frames,
    }
    there = set(folder.tables()["table"]) & set(READ_BY)
    for name in sorted(there):
        for movie in _chosen(folder, movies):
            place = target / name / f"{folder_name(movie)}.csv"
            place.parent.mkdir(exist_ok=True)
            rows = readers[name](folder, movies=[movie])
            # partitions come in order, and one of them is held at a time
            place.unlink(missing_ok=True)
            for number in range(rows.npartitions):
                part = rows.get_partition(number).compute()
                _csv(part, place, first=number == 0)
            yield str(place)


def _tracks(
    folder: ResultsFolder,
    target: Path,
    movies: Sequence[str] | None,
    write: Callable[..., str],
    suffix: str,
) -> Iterator[str]:
    """Write the tracks of each movie by a verb of `foreign_tables`."""
    for movie in _chosen(folder, movies):
        tracks = read_tracks(folder, movies=[movie])
        yield write(tracks, target / f"{folder_name(movie)}{suffix}", overwrite=True)


def _chosen(folder: ResultsFolder, movies: Sequence[str] | None) -> list[str]:
    """Return the names of the movies that are wanted; unknown ones are refused when read."""
    if movies is not None:
        return list(movies)
    return sorted(str(name) for name in folder.movies["movie"])


def _csv(rows: pd.DataFrame, place: Path, *, first: bool = True) -> str:
    """Write rows as CSV: numbers to their last digit, text between quotes; appends but the first."""
    plain = _without_pictures(rows).map(_no_formula)
    plain.to_csv(
        place,
        index=False,
        header=first,
        mode="w" if first else "a",
        quoting=csv.QUOTE_NONNUMERIC,
        encoding="utf-8",
    )
    return str(place)


def _without_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table without columns that hold arrays."""
    arrays = [c for c in rows.columns if rows[c].map(lambda v: hasattr(v, "__len__") and not isinstance(v, str)).any()]  # fmt: skip
    return rows.drop(columns=arrays)


def _no_formula(value: Any) -> Any:
    """Return a text so that no spreadsheet takes it for a formula, or refuses its characters.

    It gets an apostrophe before it; characters that are no text become question marks.

    >>> _no_formula("=1+1"), _no_formula("V_S\\x07"), _no_formula(-2.0)
    ("'=1+1", 'V_S?', -2.0)
    """
    if not isinstance(value, str):
        return value
    return not_a_formula("".join(c if c in "\t\n" or ord(c) >= 32 else "?" for c in value))


def _workbook(folder: ResultsFolder, target: Path) -> str:
    """Write the small tables as sheets of a workbook."""
    needed("openpyxl", extra="excel", wanted_for='format="xlsx"')
    names = _names(folder)
    if not names:
        msg = f"{folder.store.root} has no table yet; let the run go on to its numbers"
        raise ValueError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part.xlsx")
    with pd.ExcelWriter(part, engine="openpyxl") as book:
        for name in names:
            rows = _without_pictures(read_table(folder, name)).map(_no_formula)
            if len(rows) > MOST_ROWS:
                msg = (
                    f"{name} has {len(rows):,} rows, and a sheet holds {MOST_ROWS:,}; write "
                    "format='csv'"
                )
                raise ValueError(msg)
            # a sheet's name has 31 characters at most
            rows.to_excel(book, sheet_name=name[:31], index=False)
    part.replace(target)
    return str(target)
