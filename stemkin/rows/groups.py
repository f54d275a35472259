"""Groups that numbers are counted for: movies, bins of time or dose, or the values of any column.

>>> rows = pd.DataFrame({"particle": 1, "frame": range(6), "class_id": [0, 0, 1, 1, 0, 1], "side": list("llrrrl")})
>>> grouping = Grouping.of(Bins(4.0, "s"), rows, Calibrations(frame_time_s=2.0))
>>> keys, code = grouping.codes(["m"], np.zeros(6, int), np.arange(6), rows)
>>> keys, code.tolist()
([('m', 0.0), ('m', 4.0), ('m', 8.0)], [0, 0, 1, 1, 2, 2])
>>> Grouping.of(["movie", "side"], rows).codes(["m"], np.zeros(6, int), np.arange(6), rows)[0]
[('m', 'l'), ('m', 'r')]

A change belongs to the group of its earlier row. Each group is a key of the sums that partitions
add, so the answer does not depend on how the rows were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from stemkin.rows.calibrations import Calibrations
from stemkin.tables import COLUMNS, POOLED, conform, empty

Unit = Literal["s", "e_per_nm2", "frames"]
Key = tuple[Any, ...]
"""A movie, and the values of the columns and bins."""

OF_ANSWERS = frozenset(
    column
    for table in (
        "transitions",
        "dwell_times",
        "survival",
        "abundances",
        "creation",
        "msd",
        "diffusion",
    )
    for column in COLUMNS[table]
) | {"hop_rate_per_s", "n_hops", "excess", "p_value", "gaussian"}
"""Columns of what the verbs answer: a group must not be called like one of them."""

_COLUMNS: Mapping[str, str] = {"s": "from_s", "e_per_nm2": "from_e_per_nm2", "frames": "from_frame"}


@dataclass(frozen=True)
class Bins:
    """Equal bins of time or dose since the movie's start, each called by its lower end.

    Attributes
    ----------
    width
        Of a bin, in its unit.
    unit
        ``"s"``, ``"e_per_nm2"`` (electrons per nm² that each place has seen) or ``"frames"``.
    """

    width: float
    unit: Unit

    def __post_init__(self) -> None:
        """Check the width and the unit.

        Raises
        ------
        ValueError
            If the width is not positive, or the unit is none of these.
        """
        if self.unit not in _COLUMNS or not (np.isfinite(self.width) and self.width > 0):
            msg = (
                f"bins need a positive width and one of the units {sorted(_COLUMNS)}, but these "
                f"are {self.width} {self.unit!r}"
            )
            raise ValueError(msg)

    @property
    def column(self) -> str:
        """The column that holds the lower end of each bin."""
        return _COLUMNS[self.unit]


By = str | Bins | Sequence[str | Bins]
"""``"pooled"``; ``"movie"``; the name of a column of the rows or of the movies; `Bins`; or several
of these."""


@dataclass(frozen=True)
class Grouping:
    """How rows are told apart; small and picklable, so that it travels with every task.

    Attributes
    ----------
    parts
        Columns and bins, in the order asked for, without ``"movie"``.
    each_movie
        Whether each movie is a group of its own beside all of them together.
    per_frame
        (bins, movie) → what a frame adds to time or dose.
    of_movie
        (column, movie) → value, for columns that the movies have and the rows have not.
    """

    parts: tuple[str | Bins, ...] = ()
    each_movie: bool = False
    per_frame: Mapping[tuple[Bins, str], float] = field(default_factory=dict)
    of_movie: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        by: By,
        rows: Any,
        calibrations: Calibrations | None = None,
    ) -> Grouping:
        """Return the grouping that `by` means for the table `rows` of movies so calibrated.

        Raises
        ------
        ValueError
            If a column is neither among those of the rows nor of the movies, or bins need a
            calibration that is not known.
        """
        known = calibrations or Calibrations.of(rows)
        movies = known.movies
        asked = _asked(by, [*rows.columns, *(c for c in movies.columns if c not in rows.columns)])
        parts = tuple(dict.fromkeys(part for part in asked if part not in ("movie", "pooled")))
        of_movie: dict[tuple[str, str], Any] = {}
        per_frame: dict[tuple[Bins, str], float] = {}
        for part in parts:
            if isinstance(part, Bins):
                per_frame |= {
                    (part, str(m["movie"])): _adds(part, m, known.frame_time_s)
                    for m in movies.to_dict("records")
                }
                per_frame[part, ""] = _adds(part, {}, known.frame_time_s)
            elif part not in rows.columns:
                of_movie |= {
                    (part, str(m)): v for m, v in zip(movies["movie"], movies[part], strict=True)
                }
        return cls(parts, "movie" in asked, per_frame, of_movie)

    def of_rows(self) -> Grouping:
        """Return what partitions need to tell rows apart, however they are pooled later."""
        return replace(self, each_movie=False)

    @property
    def columns(self) -> list[str]:
        """Columns that tell groups apart, besides ``movie``."""
        return [part.column if isinstance(part, Bins) else part for part in self.parts]

    def codes(
        self, movies: Sequence[str], movie: np.ndarray, frame: np.ndarray, rows: pd.DataFrame
    ) -> tuple[list[Key], np.ndarray]:
        """Return the keys that occur, in order, and which of them each row has.

        Parameters
        ----------
        movies, movie
            Names of the movies, and the (n,) index of each row's.
        frame
            (n,) frames.
        rows
            The n rows, for their columns.
        """
        # Part by part, (group so far, own value) is packed into one number; of these only the ones
        # that occur, in increasing order, are groups, so keys stay sorted and few.
        code, keys = movie.astype(np.int64), [(m,) for m in movies]
        for part in self.parts:
            own, values = pd.factorize(self._values(part, movies, movie, frame, rows), sort=True)
            if (own < 0).any():
                msg = (
                    f"{int((own < 0).sum())} rows have no value of {part!r} to be grouped by; fill "
                    "it, or drop these rows"
                )
                raise ValueError(msg)
            code, joint = pd.factorize(code * max(len(values), 1) + own, sort=True)
            first, second = np.divmod(joint, max(len(values), 1))
            plain = np.asarray(values).tolist()
            keys = [(*keys[a], plain[b]) for a, b in zip(first, second, strict=True)]
        return keys, code

    def _values(
        self,
        part: str | Bins,
        movies: Sequence[str],
        movie: np.ndarray,
        frame: np.ndarray,
        rows: pd.DataFrame,
    ) -> Any:
        if isinstance(part, Bins):
            step = np.array([self._per_frame(part, m) for m in movies])
            # the small number keeps a frame that falls on an edge in the bin that begins there
            return np.floor(frame * step[movie] / part.width + 1e-9) * part.width
        if part in rows.columns:
            return rows[part].to_numpy()
        return np.array([self.of_movie.get((part, m), np.nan) for m in movies], dtype=object)[movie]

    def _per_frame(self, part: Bins, movie: str) -> float:
        adds = self.per_frame.get((part, movie), self.per_frame[part, ""])
        if not adds > 0:
            what = {"s": "frame time", "e_per_nm2": "frame time or dose rate"}[part.unit]
            msg = (
                f"movie {movie!r} cannot be cut into bins of {part.width} {part.unit}: its {what} "
                "is not known; give it in the manifest"
            )
            raise ValueError(msg)
        return adds

    def groups(self, keys: Iterable[Key]) -> list[tuple[Key, list[Key]]]:
        """Return each group with the keys that it pools.

        Movies one by one where that was asked for, then all of them together ("*").
        """
        ordered = sorted(set(keys))
        pooled: dict[Key, list[Key]] = {}
        for key in ordered:
            pooled.setdefault((POOLED, *key[1:]), []).append(key)
        together = list(pooled.items())
        if not self.each_movie:
            return together
        return [(key, [key]) for key in ordered] + together

    def table(
        self, rows: Sequence[tuple[Key, pd.DataFrame | Mapping[str, Any]]], name: str
    ) -> pd.DataFrame:
        """Return the table `name` of the parts of each group, with its columns behind ``movie``."""
        if not rows:
            table = empty(name)
            return _with_columns(
                table, {column: pd.Series([], dtype=object) for column in self.columns}
            )
        parts = [_as_columns(part) for _, part in rows]
        sizes = [len(next(iter(part.values()))) for part in parts]
        columns = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
        groups = [key for (key, _), size in zip(rows, sizes, strict=True) for _ in range(size)]
        return self.beside(conform({**columns, "movie": [key[0] for key in groups]}, name), groups)

    def beside(self, table: pd.DataFrame, groups: Sequence[Key]) -> pd.DataFrame:
        """Return `table` with the columns of the `groups` of its rows behind ``movie``."""
        values = {column: [key[1 + i] for key in groups] for i, column in enumerate(self.columns)}
        return _with_columns(table, values)


def _asked(by: Any, there: Sequence[str]) -> list[str | Bins]:
    """Return the words, columns and bins that `by` says.

    Raises
    ------
    ValueError
        If one of them is none of the columns that are `there`, or is a column of the answers.
    """
    asked = [by]
    if isinstance(by, Sequence) and not isinstance(by, str):
        asked = list(by)
    for part in asked:
        if isinstance(part, Bins) or part in ("movie", "pooled"):
            continue
        if not isinstance(part, str) or part not in there:
            msg = (
                "by must be 'pooled', 'movie', Bins or a column, but there is no column "
                f"{part!r}; there are {list(there)}"
            )
            raise ValueError(msg)
        if part in OF_ANSWERS:
            msg = (
                f"by must not be a column of the answers, but it is {part!r}; rename that column "
                "of the rows"
            )
            raise ValueError(msg)
    return asked


def _as_columns(part: pd.DataFrame | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the columns of one group's rows; a single row may be numbers, not arrays."""
    return {str(column): np.atleast_1d(np.asarray(own)) for column, own in part.items()}


def _with_columns(table: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    for place, (column, own) in enumerate(values.items()):
        table.insert(1 + place, column, own)
    return table


def _adds(bins: Bins, movie: Mapping[Any, Any], frame_time_s: float | None) -> float:
    """Return what one frame of `movie` adds to time or dose; NaN where it is not known."""
    if bins.unit == "frames":
        return 1.0
    seconds = frame_time_s
    if seconds is None:
        seconds = float(movie.get("frame_time_s") or np.nan)
    if bins.unit == "s":
        return seconds
    return seconds * float(movie.get("dose_rate_e_per_nm2_s") or np.nan)
