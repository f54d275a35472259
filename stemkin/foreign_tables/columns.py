"""Any table of tracks, told which column is which and in which units.

>>> rows = {"id": [4, 4], "t": [0.0, 0.5], "row": [3.0, 4.0], "col": [5.0, 5.0]}
>>> named = {"particle": "id", "frame": "t", "y": "row", "x": "col"}
>>> tracks = from_table(rows, columns=named, time_unit="s", frame_time_s=0.5, pixel_size_nm=0.03)
>>> tracks.compute()[["particle", "frame", "y_nm"]].round(3).values.tolist()
[[4.0, 0.0, 0.09], [4.0, 1.0, 0.12]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import dask
import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.dataframes import as_dataframe
from stemkin.foreign_tables.frames import check_time_unit, frame_numbers
from stemkin.foreign_tables.labels import class_numbers, labels_in_order, numbered_labels
from stemkin.rows.tracks import ONLY_MOVIE
from stemkin.tables import COLUMNS, Experiment, conform, empty
from stemkin.vocabulary import check_frame_time, check_length, whole_numbers

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows

NANOMETRES = {"nm": 1.0, "um": 1e3, "mm": 1e6, "m": 1e9, "A": 0.1, "pm": 1e-3}
"""Units of length, in nanometres; ``"px"`` is the other choice."""

OWN = ("movie", "frame", "particle", "y", "x", "y_nm", "x_nm", "class_id")
"""Columns that are made here; of a foreign table only those that `columns` names become them."""

UNLINKED: Mapping[str, Any] = {
    "score": np.nan,
    "class_id": -1,
    "probability": np.nan,
    "orientation": -1,
}
"""What stands in rows without a track where nobody says, so that `link` takes them."""


@dataclass(frozen=True)
class Reading:
    """What is said of a foreign table.

    Attributes
    ----------
    columns
        Our column → theirs, only those that are there.
    length_unit, pixel_size_nm, time_unit, frame_time_s, movie
        As in `from_table`.
    class_names
        Names of the classes 0, 1, ... as the table writes them; None where it holds numbers.
    """

    columns: Mapping[str, str]
    length_unit: str
    pixel_size_nm: float | None
    time_unit: str
    frame_time_s: float | None
    movie: str
    class_names: tuple[Any, ...] | None = None


@one_thread
def from_table(
    rows: Any,
    *,
    columns: Mapping[str, str] | None = None,
    length_unit: str = "px",
    pixel_size_nm: float | None = None,
    time_unit: str = "frames",
    frame_time_s: float | None = None,
    movie: str = ONLY_MOVIE,
    class_names: Sequence[Any] | None = None,
) -> Rows:
    """Return any table of tracks as a table of stemkin's. Lazy; a Dask table's frames are read once.

    Parameters
    ----------
    rows
        pandas, Dask or polars DataFrame, Arrow table, dictionary of columns, or NumPy records.
    columns
        Our column → theirs, for instance ``{"particle": "track_id", "frame": "t"}``. Ours are
        ``frame``, ``particle``, ``y``, ``x``, ``class_id``, ``movie`` and those of
        `stemkin.tables.COLUMNS`; what is not named is looked for under our name, and what is left
        over is kept as it is. Without particles the rows are detections, for `link`.
    length_unit
        Of ``y``, ``x``: ``"px"``, or ``"nm"``, ``"um"``, ``"mm"``, ``"m"``, ``"A"``, ``"pm"``.
    pixel_size_nm
        Edge of a pixel [nm]. Without it a table in pixels has no nanometres, and one in nanometres
        no pixels.
    time_unit
        Of ``frame``: ``"frames"``, or ``"s"``, ``"ms"``, ``"us"``, ``"min"``, ``"h"``. Dates are
        counted from the first row of each movie.
    frame_time_s
        Time between frames [s]; times and dates are turned into frames by it.
    movie
        Name of the movie, where no column says.
    class_names
        Classes as the table writes them, in the order of their numbers; by default numbers that
        tables hold stay as they are, and words or larger numbers are numbered in sorted order. Of
        a Dask table they must be given.

    Returns
    -------
    Table ``tracks`` (or ``detections``) with the columns that are known, and its experiment.

    Raises
    ------
    ValueError
        If a column is missing, a frame is no whole number of frames, a place is no number, or a
        unit is unknown.
    """
    import dask.dataframe as dd

    from stemkin.rows.collection import Rows

    table = as_dataframe(rows)
    _check_units(length_unit, pixel_size_nm)
    check_time_unit(time_unit)
    check_frame_time(frame_time_s)
    there = _columns_there(table, columns)
    names = None
    if class_names is not None:
        names = tuple(class_names)
    elif "class_id" in there:
        names = _names_in(table, there["class_id"])
    reading = Reading(there, length_unit, pixel_size_nm, time_unit, frame_time_s, str(movie), names)
    if isinstance(table, pd.DataFrame):
        own = _read(table, reading=reading, several=True)
        movies = own.groupby("movie", sort=True)["frame"].max()
        lazy = dd.from_pandas(own, npartitions=1, sort=False)
    else:
        _check_lazy(table, there)
        meta = _read(table._meta, reading=reading, several=False)
        parts = dd.DataFrame(table.expr)
        lazy = parts.map_partitions(_read, reading=reading, several=False, meta=meta)
        (movies,) = dask.compute(lazy.groupby("movie")["frame"].max())
    experiment = _experiment(movies.sort_index(), reading)
    return Rows(lazy.expr, experiment, whole_tracks=isinstance(table, pd.DataFrame))


@one_thread
def _read(rows: pd.DataFrame, *, reading: Reading, several: bool) -> pd.DataFrame:
    """Return the rows of a partition as the table ``tracks``.

    Parameters
    ----------
    rows
        A foreign table.
    reading
        What is said of it.
    several
        Whether these are all rows, so that words may be numbered.
    """
    there = reading.columns
    found: dict[str, Any] = {"movie": np.full(len(rows), reading.movie, dtype=object)}
    movie = None
    if "movie" in there:
        movie = rows[there["movie"]].astype(str)
        found["movie"] = movie.to_numpy(dtype=object)
    found["frame"] = frame_numbers(
        rows[there["frame"]],
        time_unit=reading.time_unit,
        frame_time_s=reading.frame_time_s,
        movie=movie,
    )
    if "particle" in there:
        named = rows[there["particle"]]
        if several:
            found["particle"] = numbered_labels(named)
        else:
            found["particle"] = whole_numbers(pd.DataFrame({"particle": named}), "particle")
    found |= _places(rows, reading)
    if "class_id" in there:
        found["class_id"] = class_numbers(rows[there["class_id"]], reading.class_names)
    taken = {*there.values(), *OWN}
    others = {ours: own for ours, own in there.items() if ours not in (*found, "y", "x")}
    found |= {ours: rows[own].to_numpy() for ours, own in others.items()}
    found |= {c: rows[c].array for c in rows.columns if c not in taken and c not in found}
    if "particle" not in there:
        found = {**{c: value for c, value in UNLINKED.items() if c not in found}, **found}
    table = pd.DataFrame(found, index=range(len(rows)))
    types = {c: t for c, t in COLUMNS["tracks"].items() if c in table.columns and c != "frame"}
    return _in_order(table.astype(types))


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with our columns first, in their order, and frames in the type they fit."""
    whole_numbers(table, "frame")
    first = [c for c in COLUMNS["tracks"] if c in table.columns]
    rest = [c for c in table.columns if c not in first]
    return table.astype({"frame": "int32"})[[*first, *rest]]


def _places(rows: pd.DataFrame, reading: Reading) -> dict[str, np.ndarray]:
    """Return the columns of places in pixels and nanometres, as far as they are known."""
    found: dict[str, np.ndarray] = {}
    for ours in ("y", "x"):
        if ours not in reading.columns:
            continue
        try:
            place = rows[reading.columns[ours]].to_numpy(np.float64)
        except (TypeError, ValueError) as error:
            msg = f"the column {reading.columns[ours]!r} must hold places, but holds text"
            raise ValueError(msg) from error
        size = reading.pixel_size_nm
        if reading.length_unit == "px":
            found[ours] = place
            if size is not None:
                found[f"{ours}_nm"] = place * size
        else:
            found[f"{ours}_nm"] = place * NANOMETRES[reading.length_unit]
            if size is not None:
                found[ours] = found[f"{ours}_nm"] / size
    return found


def _columns_there(table: Any, columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return our column → theirs, of all that the table has."""
    names = list(table.columns)
    asked = dict(columns or {})
    missing = [theirs for theirs in asked.values() if theirs not in names]
    if missing:
        msg = f"the table has no column {missing[0]!r}; it has {names}"
        raise ValueError(msg)
    ours = [c for c in (*COLUMNS["tracks"],) if c not in asked and c in names]
    found = asked | {c: c for c in ours if c not in asked.values()}
    if "frame" not in found:
        msg = (
            f"a table of tracks needs the column 'frame', but this one has {names}; say which it "
            "is: columns={'frame': ..., 'particle': ..., 'y': ..., 'x': ...}"
        )
        raise ValueError(msg)
    return found


def _names_in(table: Any, column: str) -> tuple[Any, ...] | None:
    """Return the classes of a foreign table in sorted order, None where its numbers may stay."""
    if isinstance(table, pd.DataFrame):
        return labels_in_order(table[column])
    if table.dtypes[column].kind in "iu":
        return None
    msg = (
        f"the column {column!r} of this Dask table holds {table.dtypes[column]}; pass "
        "class_names=[...], in the order of the numbers that they are to have"
    )
    raise ValueError(msg)


def _check_lazy(table: Any, there: Mapping[str, str]) -> None:
    """Refuse what only the whole table could tell, where a partition is read at a time."""
    if getattr(table.dtypes[there["frame"]], "kind", "O") == "M":
        msg = (
            f"the column {there['frame']!r} of this Dask table holds dates; subtract the first of "
            "each movie, so that it holds times"
        )
        raise ValueError(msg)


def _check_units(length_unit: Any, pixel_size_nm: float | None) -> None:
    if length_unit != "px" and length_unit not in NANOMETRES:
        msg = f"length_unit must be 'px' or one of {list(NANOMETRES)}, but it is {length_unit!r}"
        raise ValueError(msg)
    check_length(pixel_size_nm, name="pixel_size_nm")


def _experiment(last: pd.Series, reading: Reading) -> Experiment:
    """Return what is known of the movies; `last` is the last frame of each, by name."""
    movies = pd.DataFrame(
        {
            "movie": [str(name) for name in last.index],
            "n_frames": last.to_numpy(np.int64) + 1,
            "pixel_size_nm": reading.pixel_size_nm,
            "frame_time_s": reading.frame_time_s,
            "dose_rate_e_per_nm2_s": np.nan,
        }
    ).astype({"pixel_size_nm": "float64", "frame_time_s": "float64"})
    classes = empty("classes")
    if reading.class_names is not None:
        named = {
            "class_id": range(len(reading.class_names)),
            "name": [str(name) for name in reading.class_names],
            "n_detections": 0,
            "mean_patch": None,
        }
        classes = conform(pd.DataFrame(named), "classes")
    return Experiment(movies, None, classes)


def the_table(tracks: Any, need: tuple[str, ...]) -> pd.DataFrame:
    """Return tracks as one pandas table, in the order of movie, particle and frame. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    need
        Columns that must be there besides ``frame`` and ``particle``.

    Raises
    ------
    ValueError
        If one is missing.
    """
    table = as_dataframe(tracks)
    missing = [c for c in ("frame", "particle", *need) if c not in table.columns]
    if missing:
        msg = f"these tracks need the columns {missing}, but they have {list(table.columns)}"
        raise ValueError(msg)
    if not isinstance(table, pd.DataFrame):
        table = table.compute()
    if "movie" not in table.columns:
        table = table.assign(movie=ONLY_MOVIE)
    for column in ("frame", "particle"):
        table = table.assign(**{column: whole_numbers(table, column)})
    ordered = table.sort_values(["movie", "particle", "frame"], kind="stable", ignore_index=True)
    return cast(pd.DataFrame, ordered)
