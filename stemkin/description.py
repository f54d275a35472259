"""Description of movies: a table of their shapes, types and calibration, from headers alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from stemkin.archive import Archive, StrPath, named_problem, open_archive
from stemkin.movie import Movie, doubts_of
from stemkin.readers import CALIBRATED, Reader

ORIGINS = ("pixel_size_from", "frame_time_from", "dose_rate_from", "exposure_from")
"""Where each value of `CALIBRATED` comes from."""

COLUMNS = (
    "movie",
    "format",
    "shape",
    "dtype",
    "chunks",
    "bytes",
    "pixel_size_nm",
    "pixel_size_from",
    "frame_time_s",
    "frame_time_from",
    "dose_rate_e_per_nm2_s",
    "dose_rate_from",
    "exposure_fraction",
    "exposure_from",
    "problems",
    "source",
)
"""What `describe` says of each movie."""


def describe(source: StrPath | Sequence[StrPath] | Archive, **opening: Any) -> pd.DataFrame:
    """Summarise movies in a table. Computes once: headers are read, no frame is.

    Parameters
    ----------
    source
        An archive, or whatever `open_archive` opens.
    **opening
        Further arguments of `open_archive`.

    Returns
    -------
    One row per movie, and one per source that did not open: its shape (frames, y, x), type, the
    shape of a stored chunk, bytes in memory, calibration and where each value comes from
    ("argument", "manifest", or what in the file), and problems. What is not known is empty.
    """
    if isinstance(source, Archive):
        archive = source
    else:
        archive = open_archive(_one_or_many(source), **opening)
    rows = [_description(movie) for movie in archive]
    rows += [{"problems": reason, "source": where} for where, reason in archive.problems]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = list(CALIBRATED)
    table[numbers] = table[numbers].astype(float)
    table["bytes"] = table["bytes"].astype("Int64")
    texts = [column for column in COLUMNS if column not in (*numbers, "bytes")]
    return table.astype(dict.fromkeys(texts, "str")).fillna(dict.fromkeys(texts, ""))


def listing(described: pd.DataFrame) -> str:
    """Return the table of `describe` as text: the movies, then a sentence for each problem."""
    movies = described[described["movie"] != ""].drop(columns=["problems", "source"])
    # a calibration that no movie has is left out, and with it the column that says where it is from
    movies = movies.loc[:, [c for c in movies if c not in CALIBRATED or movies[c].notna().any()]]
    for value, origin in zip(CALIBRATED, ORIGINS, strict=True):
        if value not in movies:
            movies = movies.drop(columns=origin)
    lines = ["no movies"]
    if len(movies):
        lines = [movies.to_string(index=False, na_rep="")]
    told = described[described["problems"] != ""]
    pairs = zip(told["source"].astype(str), told["problems"].astype(str), strict=True)
    return "\n".join([*lines, *_by_kind(list(pairs))])


def _by_kind(told: Sequence[tuple[str, str]]) -> list[str]:
    """Return a sentence for each (source, what is to be said of it).

    Files of a kind of which the same is to be said share one.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for where, said in told:
        # the same words but for the file's own name, said of files of the same kind
        kind = os.path.splitext(where.rstrip("/"))[1].lower()
        alike.setdefault((kind, said.replace(where, "")), []).append(where)
    words = dict(told)
    lines = []
    for (kind, _), sources in alike.items():
        first = named_problem(sources[0], words[sources[0]])
        if len(sources) > 1:
            first += f" (and {len(sources) - 1} more {kind or 'files'} like it)"
        lines.append(first)
    return lines


def _one_or_many(source: StrPath | Sequence[StrPath]) -> StrPath | Sequence[StrPath]:
    if isinstance(source, (list, tuple)) and len(source) == 1:
        return source[0]
    return source


def _description(movie: Movie) -> dict[str, Any]:
    reader = stored(movie)
    n, height, width = movie.shape
    chunks = getattr(reader, "chunks", None)
    row: dict[str, Any] = {
        "movie": movie.name,
        "format": getattr(reader, "format", type(reader).__name__),
        "shape": f"{n} x {height} x {width}",
        "dtype": str(movie.reader.dtype),
        "chunks": " x ".join(map(str, chunks or ())),
        "bytes": n * height * width * movie.reader.dtype.itemsize,
        "problems": "; ".join((*getattr(reader, "notes", ()), *doubts_of(movie.calibration))),
        "source": movie.source,
    }
    for name, origin in zip(CALIBRATED, ORIGINS, strict=True):
        row[name], row[origin] = getattr(movie, name), movie.calibration.origin.get(name, "")
    return row


def stored(movie: Movie) -> Reader:
    """Return the reader of a movie's file, below tolerance and corrections."""
    reader = movie.reader
    while hasattr(reader, "inner"):
        reader = reader.inner
    return reader
