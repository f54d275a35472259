"""Tracks as arrays: whole tracks out of any table, checked and in order.

Every number about motion or change is a sum over *tracks*, so a partition must hold each of its
tracks whole. What `link` returns does; files with one block of frames each do not, and
`stemkin.rows.files` makes such partitions of them.

Your own tracks need the columns ``frame``, ``particle`` and, for what is asked, ``y_nm``, ``x_nm``
and ``class_id``; without a column ``movie`` all rows belong to one movie, called ``"movie"``.

>>> rows = pd.DataFrame({"particle": [7, 7, 3], "frame": [1, 0, 0], "class_id": [2, 1, 1]})
>>> tracks = Trajectories.of(rows, need=("class_id",))
>>> tracks.particle.tolist(), tracks.frame.tolist(), tracks.class_id.tolist()
([7, 3], [0, 1, 0], [1, 2, 1])
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.chains.counting import order_by_track
from stemkin.tables import NOT_NAMED, Experiment, check_columns
from stemkin.vocabulary import whole_numbers as whole_numbers

ONLY_MOVIE = "movie"
"""What the movie is called where the rows do not say."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Rows of whole tracks, ordered by track and then by frame.

    Attributes
    ----------
    movies
        Names of the movies met.
    movie
        (n_tracks,) index into `movies`.
    particle
        (n_tracks,) particle of each track.
    track
        (n,) track of each row, 0 to n_tracks - 1, never decreasing.
    frame
        (n,) frame of each row, increasing within a track.
    class_id
        (n,) class of each row, -1 where it has none.
    y_nm, x_nm
        (n,) drift-corrected position; empty where it was not asked for.
    row
        (n,) where each row stands in the table that it came from.
    """

    movies: list[str]
    movie: np.ndarray
    particle: np.ndarray
    track: np.ndarray
    frame: np.ndarray
    class_id: np.ndarray
    y_nm: np.ndarray
    x_nm: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, *, need: tuple[str, ...] = ()) -> Trajectories:
        """Return the tracks of a table.

        Parameters
        ----------
        rows
            Rows of whole tracks, in any order.
        need
            Columns to be had besides ``frame`` and ``particle``.

        Raises
        ------
        ValueError
            If a column is missing, `frame`, `particle` or `class_id` is no whole number, or a
            particle is twice in one frame.
        """
        check_columns(rows, "tracks", needed=("frame", "particle", *need))
        movies, movie = movie_codes(rows)
        frame = whole_numbers(rows, "frame").astype(np.int64, copy=False)
        code, particle = pd.factorize(whole_numbers(rows, "particle"))
        if len(movies) > 1:
            # Particles of two movies may have the same number: (movie, particle) is packed into one
            # key, and unpacked again for the tracks that occur.
            code, keys = pd.factorize(movie * len(particle) + code)
            movie_of, particle = np.divmod(keys, len(particle))[0], particle[keys % len(particle)]
        else:
            movie_of = np.zeros(len(particle), dtype=np.int64)
        order = order_by_track(code, frame, n_tracks=len(particle))
        frame, code = frame[order], code[order]
        _refuse_twins(code, frame, particle)
        named = np.full(len(frame), NOT_NAMED)
        if "class_id" in rows.columns:
            named = whole_numbers(rows, "class_id")[order]
        place = {"y_nm": np.zeros(0), "x_nm": np.zeros(0)}
        for column in place.keys() & set(need):
            place[column] = rows[column].to_numpy(np.float64)[order]
        named = named.astype(np.int64)
        y, x = place["y_nm"], place["x_nm"]
        return cls(movies, movie_of, particle, code, frame, named, y, x, order)

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return len(self.particle)

    def keep(self, rows: np.ndarray) -> Trajectories:
        """Return only the rows where the mask `rows` (n,) is true; tracks keep their numbers."""
        y, x = self.y_nm, self.x_nm
        if len(y):
            y = y[rows]
        if len(x):
            x = x[rows]
        return replace(
            self,
            track=self.track[rows],
            frame=self.frame[rows],
            class_id=self.class_id[rows],
            y_nm=y,
            x_nm=x,
            row=self.row[rows],
        )


def known_experiment(rows: Any, experiment: Experiment | None) -> Experiment | None:
    """Return `experiment`, or else the one that `rows` remember; None where neither is known."""
    if experiment is not None:
        return experiment
    remembered: Experiment | None = getattr(rows, "experiment", None)
    return remembered


def cut_by_edge(rows: pd.DataFrame) -> np.ndarray:
    """Return the (n,) mask of the `rows` that the edge of the frame cuts.

    Half a defect is easily taken for another one, so its name counts for nothing; where it is, and
    that it is there, counts as ever. Without a column ``at_edge`` none is cut.
    """
    if "at_edge" not in rows.columns:
        return np.zeros(len(rows), dtype=bool)
    cut = rows["at_edge"]
    if cut.dtype != bool:
        cut = cut.astype("boolean").fillna(False)
    return cut.to_numpy(dtype=bool)


def surely_named(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the `rows` whose names count: those that the edge of the frame does not cut."""
    cut = cut_by_edge(rows)
    if not cut.any():
        return rows
    return rows[~cut]


def movie_codes(rows: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return the movies' names and the (n,) index of each row's movie."""
    if "movie" not in rows.columns:
        return [ONLY_MOVIE], np.zeros(len(rows), dtype=np.int64)
    if len(rows) and (rows["movie"] == rows["movie"].iloc[0]).all():
        return [str(rows["movie"].iloc[0])], np.zeros(len(rows), dtype=np.int64)
    code, names = pd.factorize(rows["movie"])
    if (code < 0).any():
        msg = (
            f"{int((code < 0).sum())} rows have no movie; fill the column, or drop it if all are "
            "of one movie"
        )
        raise ValueError(msg)
    return [str(name) for name in names], code.astype(np.int64)


def rows_of_movies(rows: pd.DataFrame, *, movies: frozenset[str]) -> pd.DataFrame:
    """Return the `rows` of some of the `movies`."""
    return rows[rows["movie"].isin(movies)]


def _refuse_twins(track: np.ndarray, frame: np.ndarray, particle: np.ndarray) -> None:
    # In this order the two rows of a particle in one frame are neighbours.
    twin = np.flatnonzero((track[1:] == track[:-1]) & (frame[1:] == frame[:-1]))
    if len(twin):
        raise twins(int(particle[track[twin[0]]]), int(frame[twin[0]]), len(twin))


def twins(particle: int, frame: int, n_twins: int) -> ValueError:
    """Return the error that says how often a particle is twice in one frame."""
    return ValueError(
        f"particle {particle} is twice in frame {frame} ({n_twins} such rows); a particle is in "
        "one place at a time: "
        "drop the duplicates, or give each movie its own name in the column 'movie'"
    )
