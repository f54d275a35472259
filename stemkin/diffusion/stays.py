"""Which displacements count, and for which class: tracks cut into stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from stemkin.kernels.counting import run_starts
from stemkin.tables import NOT_NAMED, Experiment
from stemkin.trajectories import Trajectories

ClassOf = Literal["rows", "track", "all"]
CLASS_OF: tuple[ClassOf, ...] = ("rows", "track", "all")


@dataclass(frozen=True, eq=False)
class Stays:
    """Rows that may be compared with each other.

    Attributes
    ----------
    movies
        Names of the movies.
    segment, frame, y_nm, x_nm
        (n,) rows ordered by segment and frame.
    unit
        (n,) unit of each row: a track, as far as it belongs to one class.
    movie, class_id, particle, track
        (n_units,) what each unit belongs to; the number of the track never decreases.
    """

    movies: list[str]
    segment: np.ndarray
    frame: np.ndarray
    y_nm: np.ndarray
    x_nm: np.ndarray
    unit: np.ndarray
    movie: np.ndarray
    class_id: np.ndarray
    particle: np.ndarray
    track: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.movie)

    def strips(self, n_rows: int) -> Iterator[Stays]:
        """Yield the stays in pieces of about `n_rows` rows; each track is whole in one piece, and units keep their order."""
        own_track = self.track[self.unit]
        if len(own_track) == 0:
            return
        begins = np.flatnonzero(np.append(True, own_track[1:] != own_track[:-1]))
        edges = np.unique(begins[np.searchsorted(begins, np.arange(0, len(own_track), n_rows), side="right") - 1])
        for start, stop in zip(edges, [*edges[1:], len(own_track)], strict=True):
            rows = slice(start, stop)
            units = slice(*np.searchsorted(self.track, [own_track[start], own_track[stop - 1] + 1]))
            yield Stays(
                self.movies, self.segment[rows], self.frame[rows], self.y_nm[rows], self.x_nm[rows],
                self.unit[rows] - units.start, self.movie[units], self.class_id[units], self.particle[units], self.track[units],
            )  # fmt: skip

    def groups(self) -> tuple[list[tuple[str, int]], np.ndarray]:
        """Return (movie, class) of each group, and the (n_units,) group of each unit."""
        both = np.stack([self.movie, self.class_id], axis=1)
        pairs, group = np.unique(both, axis=0, return_inverse=True)
        return [(self.movies[m], int(c)) for m, c in pairs], group.ravel()


def stays_of(rows: pd.DataFrame, *, class_of: ClassOf, class_ids: tuple[int, ...] | None) -> Stays:
    """Return the stays in the `rows` of whole tracks; rows without a finite position are left out. Computes once."""
    tracks = Trajectories.of(rows, need=("y_nm", "x_nm"))
    finite = np.isfinite(tracks.y_nm) & np.isfinite(tracks.x_nm)
    tracks = tracks if finite.all() else tracks.keep(finite)
    class_id = _classes(tracks, class_of)
    segment = np.cumsum(run_starts(tracks.track, class_id)) - 1
    lowest = int(class_id.min(initial=0))
    n_classes = int(class_id.max(initial=0)) - lowest + 1
    owner = tracks.track * n_classes + (class_id - lowest)
    if class_ids is not None:
        wanted = np.isin(class_id, class_ids)
        tracks, segment, owner = tracks.keep(wanted), segment[wanted], owner[wanted]
    there = np.bincount(owner, minlength=1) > 0
    units = np.flatnonzero(there)
    unit = (np.cumsum(there) - 1)[owner]
    track, own_class = np.divmod(units, n_classes)
    return Stays(
        tracks.movies, segment, tracks.frame, tracks.y_nm, tracks.x_nm, unit,
        tracks.movie[track], own_class + lowest, tracks.particle[track], track,
    )  # fmt: skip


def _classes(tracks: Trajectories, class_of: ClassOf) -> np.ndarray:
    """Return the (n,) class for which each row counts."""
    if class_of not in CLASS_OF:
        msg = f"class_of must be one of {CLASS_OF}, but it is {class_of!r}"
        raise ValueError(msg)
    if class_of == "rows" or len(tracks.track) == 0:
        return tracks.class_id
    if class_of == "all":
        return np.full(len(tracks.track), NOT_NAMED)
    lowest = int(tracks.class_id.min())
    n_classes = int(tracks.class_id.max()) - lowest + 1
    where = tracks.track * n_classes + (tracks.class_id - lowest)
    votes = np.bincount(where, minlength=tracks.n_tracks * n_classes).reshape(tracks.n_tracks, n_classes)
    return np.asarray(votes.argmax(axis=1)[tracks.track] + lowest)


def chosen_classes(
    tracks: Any, experiment: Experiment | None, class_name: str | None, class_id: int | None
) -> tuple[int, ...] | None:
    """Return the classes that a verb is asked for, None for all.

    Raises
    ------
    ValueError
        If both a name and a number are given, or no class has that name.
    """
    if class_name is not None and class_id is not None:
        msg = f"give class_name or class_id, not both (met {class_name!r} and {class_id})"
        raise ValueError(msg)
    if class_id is not None:
        return (int(class_id),)
    if class_name is None:
        return None
    known = experiment if experiment is not None else getattr(tracks, "experiment", None)
    if known is None:
        msg = f"the class {class_name!r} cannot be looked up without experiment=...; give its number as class_id=..."
        raise ValueError(msg)
    return (known.class_id(class_name),)
