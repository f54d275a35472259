"""Which displacements count, for which class, and for how much: tracks cut into segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stemkin.diffusion.choice import Choice, ClassOf
from stemkin.kernels.chains.counting import run_starts
from stemkin.kernels.common.exact import N_SLICES, group_sums
from stemkin.kernels.motion.borders import Room, all_alike
from stemkin.kernels.motion.walks import Walks
from stemkin.rows.tracks import Trajectories
from stemkin.tables import NOT_NAMED


@dataclass(frozen=True, eq=False)
class Segments:
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
    room
        Where the rows are in the field; None where that is not known or does not count.
    variance
        (n,) squared error of each place along each axis [nm²], NaN where it is not stated; None
        where it was not asked for.
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
    room: Room | None = None
    variance: np.ndarray | None = None

    @property
    def walks(self) -> Walks:
        """The rows as the kernels take them, with what displacements stand for, since others left
        the field."""
        weights = all_alike if self.room is None else self.room.weights
        return Walks(
            self.segment, self.frame, self.y_nm, self.x_nm, self.unit, self.n_units, weights
        )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.movie)

    def strips(self, n_rows: int) -> Iterator[Segments]:
        """Yield the segments in pieces of about `n_rows` rows; each track is whole in one piece, and
        units keep their order."""
        own_track = self.track[self.unit]
        if len(own_track) == 0:
            return
        begins = np.flatnonzero(np.append(True, own_track[1:] != own_track[:-1]))
        edges = np.unique(
            begins[np.searchsorted(begins, np.arange(0, len(own_track), n_rows), side="right") - 1]
        )
        for start, stop in zip(edges, [*edges[1:], len(own_track)], strict=True):
            rows = slice(start, stop)
            units = slice(*np.searchsorted(self.track, [own_track[start], own_track[stop - 1] + 1]))
            yield Segments(
                self.movies, self.segment[rows], self.frame[rows], self.y_nm[rows], self.x_nm[rows],
                self.unit[rows] - units.start, self.movie[units], self.class_id[units], self.particle[units],
                self.track[units], None if self.room is None else self.room.take(rows),
                None if self.variance is None else self.variance[rows],
            )  # fmt: skip

    def groups(self) -> tuple[list[tuple[str, int]], np.ndarray]:
        """Return (movie, class) of each group, and the (n_units,) group of each unit."""
        both = np.stack([self.movie, self.class_id], axis=1)
        pairs, group = np.unique(both, axis=0, return_inverse=True)
        return [(self.movies[m], int(c)) for m, c in pairs], group.ravel()


STRIP_ROWS = 100_000
"""Rows worked on at a time: their arrays fit into a processor's cache, and the numbers per track
into little memory."""


def unit_sums(
    segments: Segments,
    group: np.ndarray,
    n_groups: int,
    each: Callable[[Segments], np.ndarray],
    *,
    n_numbers: int,
) -> np.ndarray:
    """Return the exact sums (n_groups, n_numbers, 4) of what each unit adds, strip by strip.

    Parameters
    ----------
    segments
        All of them.
    group
        (n_units,) group of each unit.
    n_groups
        Number of groups.
    each
        From a strip of segments to the (n_units, n_numbers) of its units.
    n_numbers
        How many numbers a unit adds.
    """
    sums = np.zeros((n_groups, n_numbers, N_SLICES))
    done = 0
    for part in segments.strips(STRIP_ROWS):
        sums += group_sums(each(part), group[done : done + part.n_units], n_groups)
        done += part.n_units
    return sums


FARTHEST_NM = 1e7
"""A centimetre: no frame is so large, and exact sums of fourth powers have no room for much
more."""


def segments_of(rows: pd.DataFrame, choice: Choice) -> Segments:
    """Return the segments in the `rows` of whole tracks; rows without a finite position are left out.
    Computes once.

    Raises
    ------
    ValueError
        As `Trajectories.of`, or if a position is no number, or farther away than a centimetre.
    """
    _check_positions(rows)
    tracks = Trajectories.of(rows, need=("y_nm", "x_nm"))
    finite = np.isfinite(tracks.y_nm) & np.isfinite(tracks.x_nm)
    tracks = tracks if finite.all() else tracks.keep(finite)
    class_id = _classes(tracks, choice.class_of)
    segment = np.cumsum(run_starts(tracks.track, class_id)) - 1
    lowest = int(class_id.min(initial=0))
    n_classes = int(class_id.max(initial=0)) - lowest + 1
    owner = tracks.track * n_classes + (class_id - lowest)
    if choice.class_ids is not None:
        wanted = np.isin(class_id, choice.class_ids)
        tracks, segment, owner = tracks.keep(wanted), segment[wanted], owner[wanted]
    there = np.bincount(owner, minlength=1) > 0
    units = np.flatnonzero(there)
    unit = (np.cumsum(there) - 1)[owner]
    track, own_class = np.divmod(units, n_classes)
    return Segments(
        tracks.movies, segment, tracks.frame, tracks.y_nm, tracks.x_nm, unit,
        tracks.movie[track], own_class + lowest, tracks.particle[track], track,
        None if choice.fields is None else choice.fields.room(rows, tracks),
        None if choice.pixel_nm is None else _variances(rows, tracks, choice.pixel_nm),
    )  # fmt: skip


def _check_positions(rows: pd.DataFrame) -> None:
    for column in {"y_nm", "x_nm"} & set(rows.columns):
        values = rows[column].to_numpy()
        if values.dtype.kind not in "fiu":
            msg = (
                f"the column {column!r} must hold numbers of nanometres, but it holds "
                f"{values.dtype}; convert it with pandas.to_numeric"
            )
            raise ValueError(msg)
        far = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        if far > FARTHEST_NM:
            msg = (
                f"the column {column!r} holds a position {far:.3g} nm away, more than a "
                "centimetre; correct its unit, or drop that row"
            )
            raise ValueError(msg)


def _variances(
    rows: pd.DataFrame, tracks: Trajectories, pixel_nm: Mapping[str, float]
) -> np.ndarray:
    """Return the squared error [nm²] of each row of the `tracks` in `rows`, NaN where none is
    stated."""
    pixel = np.array([pixel_nm.get(movie, np.nan) for movie in tracks.movies])
    own = (
        rows["position_error"].to_numpy(np.float64)[tracks.row] * pixel[tracks.movie[tracks.track]]
    )
    return np.where(own > 0, own, np.nan) ** 2


def _classes(tracks: Trajectories, class_of: ClassOf) -> np.ndarray:
    """Return the (n,) class for which each row counts."""
    if class_of == "rows" or len(tracks.track) == 0:
        return tracks.class_id
    if class_of == "all":
        return np.full(len(tracks.track), NOT_NAMED)
    lowest = int(tracks.class_id.min())
    n_classes = int(tracks.class_id.max()) - lowest + 1
    where = tracks.track * n_classes + (tracks.class_id - lowest)
    votes = np.bincount(where, minlength=tracks.n_tracks * n_classes).reshape(
        tracks.n_tracks, n_classes
    )
    return np.asarray(votes.argmax(axis=1)[tracks.track] + lowest)
