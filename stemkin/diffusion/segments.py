"""Which displacements count, for which class, and for how much: tracks cut into segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stemkin.diffusion.choice import Choice, ClassOf, Fields
from stemkin.kernels.chains.counting import run_starts, small_codes
from stemkin.kernels.common.exact import N_SLICES, group_sums
from stemkin.kernels.motion.borders import Room, all_alike
from stemkin.kernels.motion.walks import Walks
from stemkin.rows.groups import Grouping, Key
from stemkin.rows.tracks import Trajectories
from stemkin.tables import NOT_NAMED


@dataclass(frozen=True, eq=False)
class Segments:
    """Rows that may be compared with each other.

    Attributes
    ----------
    keys
        Movies, or movies and the values of what rows are grouped by.
    segment, frame, y_nm, x_nm
        (n,) rows ordered by segment and frame.
    unit
        (n,) unit of each row: a track, as far as it belongs to one class.
    key, class_id, particle, track
        (n_units,) what each unit belongs to: one of the `keys`, a class, a particle and its track,
        whose number never decreases.
    room
        Where the rows are in the field; None where that is not known or does not count.
    variance
        (n,) squared error of each place along each axis [nm²], NaN where it is not stated; None
        where it was not asked for.
    blur
        (n,) motion-blur coefficient of each row's movie, or one number for all.
    """

    keys: list[Key]
    segment: np.ndarray
    frame: np.ndarray
    y_nm: np.ndarray
    x_nm: np.ndarray
    unit: np.ndarray
    key: np.ndarray
    class_id: np.ndarray
    particle: np.ndarray
    track: np.ndarray
    room: Room | None = None
    variance: np.ndarray | None = None
    blur: np.ndarray | float = 0.0

    @property
    def walks(self) -> Walks:
        """The rows as kernels take them; displacements stand for those that left the field too."""
        weights = all_alike
        if self.room is not None:
            weights = self.room.weights
        return Walks(
            self.segment,
            self.frame,
            self.y_nm,
            self.x_nm,
            self.unit,
            self.n_units,
            weights,
            self.blur,
        )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.key)

    def strips(self, n_rows: int) -> Iterator[Segments]:
        """Yield the segments in pieces of about `n_rows` rows: whole tracks, in order."""
        own_track = self.track[self.unit]
        if len(own_track) == 0:
            return
        # Every n_rows rows a cut, moved back to where the track begins that it falls into; a track
        # longer than that takes several cuts, which come to one.
        begins = np.flatnonzero(np.append(True, own_track[1:] != own_track[:-1]))
        cuts = np.arange(0, len(own_track), n_rows)
        edges = np.unique(begins[np.searchsorted(begins, cuts, side="right") - 1])
        for start, stop in zip(edges, [*edges[1:], len(own_track)], strict=True):
            rows = slice(start, stop)
            # units stand in the order of their tracks, so those of a piece are neighbours too
            units = slice(*np.searchsorted(self.track, [own_track[start], own_track[stop - 1] + 1]))
            yield self._piece(rows, units)

    def _piece(self, rows: slice, units: slice) -> Segments:
        """Return some of the rows, and their units, which count from 0 again."""
        room, variance, blur = self.room, self.variance, self.blur
        if room is not None:
            room = room.take(rows)
        if variance is not None:
            variance = variance[rows]
        if isinstance(blur, np.ndarray):
            blur = blur[rows]
        return Segments(
            keys=self.keys,
            segment=self.segment[rows],
            frame=self.frame[rows],
            y_nm=self.y_nm[rows],
            x_nm=self.x_nm[rows],
            unit=self.unit[rows] - units.start,
            key=self.key[units],
            class_id=self.class_id[units],
            particle=self.particle[units],
            track=self.track[units],
            room=room,
            variance=variance,
            blur=blur,
        )

    def groups(self) -> tuple[list[tuple[Key, int]], np.ndarray]:
        """Return (key, class) of each group, and the (n_units,) group of each unit."""
        both = np.stack([self.key, self.class_id], axis=1)
        pairs, group = np.unique(both, axis=0, return_inverse=True)
        return [(self.keys[m], int(c)) for m, c in pairs], group.ravel()


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
    """Return the segments in the `rows` of whole tracks. Computes once.

    Rows without a finite position are left out.

    Raises
    ------
    ValueError
        As `Trajectories.of`, or if a position is no number, or farther away than a centimetre.
    """
    check_positions(rows)
    tracks = Trajectories.of(rows, need=("y_nm", "x_nm"))
    finite = np.isfinite(tracks.y_nm) & np.isfinite(tracks.x_nm)
    if not finite.all():
        tracks = tracks.keep(finite)
    class_id = _classes(tracks, choice.class_of)
    keys, label, key = _labels(tracks, class_id, rows, choice.grouping)
    # A segment is a run of rows of one track and one label: displacements never leave it, so rows
    # of other classes (taken out below) still divide those before from those behind them.
    begins, room = run_starts(tracks.track, label), None
    if choice.fields is not None:
        begins, room = _without_returns(begins, rows, tracks, choice.fields)
    segment = np.cumsum(begins) - 1
    if choice.class_ids is not None:
        wanted = np.isin(class_id, choice.class_ids)
        if room is not None:
            room = room.take(wanted)
        tracks, segment = tracks.keep(wanted), segment[wanted]
        class_id, label, key = class_id[wanted], label[wanted], key[wanted]
    unit, first = _units(tracks.track, label)
    track = tracks.track[first]
    variance = None
    if choice.pixel_nm is not None:
        variance = _variances(rows, tracks, choice.pixel_nm)
    return Segments(
        keys=keys,
        segment=segment,
        frame=tracks.frame,
        y_nm=tracks.y_nm,
        x_nm=tracks.x_nm,
        unit=unit,
        key=key[first],
        class_id=class_id[first],
        particle=tracks.particle[track],
        track=track,
        room=room,
        variance=variance,
        blur=_blur(tracks, choice.blur),
    )


def _without_returns(
    begins: np.ndarray, rows: pd.DataFrame, tracks: Trajectories, fields: Fields
) -> tuple[np.ndarray, Room]:
    """Cut segments at gaps near the border, and return the field that each row stands for.

    A defect that was not seen for a frame was missed, or had left the field and come back. Those
    that come back went less far than others, so displacements over gaps count only where both ends
    lie deep in the field: of those as many are not seen as leave the field's inner part.

    Parameters
    ----------
    begins
        (n,) whether a row begins a segment.
    rows, tracks
        In which the places in the frames stand.
    fields
        Of the movies.
    """
    room = fields.room(tracks)
    gap = np.append(False, np.diff(tracks.frame) > 1) & ~begins
    if not gap.any():
        return begins, room
    near, width_nm = fields.maybe_away(rows, tracks)
    may_return = gap & (near | np.append(False, near[:-1]))
    inner = np.flatnonzero(gap & ~may_return) - 1
    if {"y", "x"} <= set(rows.columns) and len(inner):
        size = np.broadcast_to(room.size, (2, len(gap))).copy()
        size[:, inner] -= 2 * width_nm[tracks.movie[tracks.track[inner]]]
        room = Room(size)
    return begins | may_return, room


def _blur(tracks: Trajectories, of_movie: Mapping[str, float]) -> np.ndarray | float:
    """Return the blur coefficient of each row, or one number where all movies share it."""
    each = np.array([of_movie.get(movie, of_movie.get("", 0.0)) for movie in tracks.movies])
    if len(each) == 0 or (each == each[0]).all():
        return float(each.max(initial=0.0))
    return np.asarray(each[tracks.movie[tracks.track]])


def _labels(
    tracks: Trajectories, class_id: np.ndarray, rows: pd.DataFrame, grouping: Grouping
) -> tuple[list[Key], np.ndarray, np.ndarray]:
    """Return the keys, and for each row the (n,) number of class and group, and its (n,) key."""
    movie = tracks.movie[tracks.track]
    _, place = small_codes(class_id)
    if not grouping.parts:
        return [(name,) for name in tracks.movies], place, movie
    keys, key = grouping.codes(tracks.movies, movie, tracks.frame, rows.iloc[tracks.row])
    return keys, place * len(keys) + key, key


def _units(track: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit of each row, which is its track with its label, and the first row of each.

    Parameters
    ----------
    track, label
        (n,) of each row; tracks never decrease.

    Returns
    -------
    unit
        (n,) in the order of track, then label.
    first
        (n_units,) rows.
    """
    n, n_labels = len(track), int(label.max(initial=0)) + 1
    owner = track * n_labels + label  # packed, so that units are in the order of track, then label
    if n and (int(track[-1]) + 1) * n_labels > 8 * n:  # a list of all pairs would be mostly empty
        _, unit = np.unique(owner, return_inverse=True)
    else:
        there = np.bincount(owner, minlength=1) > 0
        unit = (np.cumsum(there) - 1)[owner]
    first = np.zeros(int(unit.max(initial=-1)) + 1, dtype=np.int64)
    first[unit[::-1]] = np.arange(n)[::-1]  # of several rows the last one written, the first, stays
    return unit, first


def check_positions(rows: pd.DataFrame) -> None:
    """Refuse positions that are no numbers, or farther away than a centimetre.

    Parameters
    ----------
    rows
        With the columns ``y_nm`` and ``x_nm``, as far as they are there.

    Raises
    ------
    ValueError
        Naming the column and what it holds.
    """
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
    """Return the squared error [nm²] of each row of the `tracks`, NaN where none is stated."""
    pixel = np.array([pixel_nm.get(movie, np.nan) for movie in tracks.movies])
    error_px = rows["position_error"].to_numpy(np.float64)[tracks.row]
    own = error_px * pixel[tracks.movie[tracks.track]]
    return np.where(own > 0, own, np.nan) ** 2


def _classes(tracks: Trajectories, class_of: ClassOf) -> np.ndarray:
    """Return the (n,) class for which each row counts."""
    if class_of == "rows" or len(tracks.track) == 0:
        return tracks.class_id
    if class_of == "all":
        return np.full(len(tracks.track), NOT_NAMED)
    found, place = small_codes(tracks.class_id)
    where = tracks.track * len(found) + place
    votes = np.bincount(where, minlength=tracks.n_tracks * len(found))
    most = votes.reshape(tracks.n_tracks, len(found)).argmax(axis=1)
    return np.asarray(found[most][tracks.track])
