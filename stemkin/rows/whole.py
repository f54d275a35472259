"""Whole tracks: whether each partition of a table holds them is known, found out, or brought about.

A sum over tracks is right only where each track lies in one partition. `link` and `read_tracks`
give such tables and say so. Of any other Dask table it is found out in the very pass that sums its
rows: each partition also says which tracks it has met, and what it said is merged up the tree.

    rows of a partition ─ sums, names of its tracks ─▶ a tree of + ─▶ sums, tracks met twice
                                                            none: the sums are the answer
                                                            some: shuffled and asked again, or refused

A table that cuts tracks is shuffled by (movie, particle) where it has fewer rows than
`SHUFFLED_BELOW`, and refused otherwise, unless ``shuffle=`` says what is wanted. The shuffle is
Dask's: out of core, from worker to worker on a cluster (`distributed`'s p2p), through files of this
machine without one. Twins, a particle twice in one frame, then meet in one partition, where they
are refused like those of any table.

>>> rows = pd.DataFrame({"particle": [1, 2, 1, 2], "frame": [0, 0, 1, 1]})
>>> first, second = (TracksMet.of(own) for own in (rows[:2], rows[2:]))
>>> first.n_cut, (first + second).n_cut
(0, 2)
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pandas as pd

from stemkin.blas import on_one_thread
from stemkin.kernels.common.hashing import mixed
from stemkin.rows.files import part_of
from stemkin.rows.tracks import movie_codes
from stemkin.rows.trees import as_tree
from stemkin.tables import check_columns
from stemkin.vocabulary import checked, whole_numbers

if TYPE_CHECKING:
    import dask.dataframe as dd

    from stemkin.rows.collection import Rows

logger = logging.getLogger(__name__)

SHUFFLED_BELOW = 20_000_000
"""Rows below which a table that cuts tracks is shuffled unasked: some minutes on two cores, and as
many bytes on disk as the table has in memory (`benchmarks/bench_shuffle.py`)."""

MOST_NAMES = 2**21
"""Names of tracks that travel with a partial sum, 16 MB; of more tracks than these a share is
watched, chosen by name."""

_SHARE = "_share_of_tracks"
"""Column by which rows are shuffled; it does not leave this file."""


@dataclass(frozen=True, eq=False)
class TracksMet:
    """The tracks that some partitions have met, and how many of them were met twice.

    Two of these add up in any order.

    Attributes
    ----------
    names
        (n,) 64-bit names of the tracks, ascending; only those below ``2**(64 - n_halvings)``.
    n_halvings
        How often the tracks that are watched were halved, for want of room. 0: all are watched, and
        none that is cut goes unnoticed. In a table of more than `MOST_NAMES` tracks, at least half
        as many are watched: one cut track in a hundred thousand is then met all but certainly.
    n_cut
        How often a track was met that another partition had met before.
    n_rows
        Rows of these partitions.
    """

    names: np.ndarray
    n_halvings: int = 0
    n_cut: int = 0
    n_rows: int = 0

    @classmethod
    def of(cls, rows: pd.DataFrame) -> TracksMet:
        """Return the tracks that the `rows` of a partition are of."""
        names = np.sort(pd.unique(track_names(rows)))
        return cls(names, n_rows=len(rows))._with_room()

    def __add__(self, other: TracksMet) -> TracksMet:
        """Return what was met by both."""
        n_halvings = max(self.n_halvings, other.n_halvings)
        both = np.concatenate([self._watched(n_halvings), other._watched(n_halvings)])
        # each side has a name once, so what is there twice now was met by both
        names = np.unique(both)
        return TracksMet(
            names,
            n_halvings,
            self.n_cut + other.n_cut + len(both) - len(names),
            self.n_rows + other.n_rows,
        )._with_room()

    def _watched(self, n_halvings: int) -> np.ndarray:
        """Return the names that are watched after `n_halvings`: they stand at the beginning."""
        if n_halvings == 0:
            return self.names
        return self.names[: np.searchsorted(self.names, np.uint64(2 ** (64 - n_halvings)))]

    def _with_room(self) -> TracksMet:
        """Return the same with no more than `MOST_NAMES` names."""
        names, n_halvings = self.names, self.n_halvings
        while len(names) > MOST_NAMES:
            n_halvings += 1
            names = self._watched(n_halvings)
        return TracksMet(names, n_halvings, self.n_cut, self.n_rows)


def track_names(rows: pd.DataFrame) -> np.ndarray:
    """Return the 64-bit name of each row's track, which follows from movie and particle alone.

    Parameters
    ----------
    rows
        (n,) rows with ``particle``, and ``movie`` where there are several.

    Returns
    -------
    (n,) uint64, the same in every process and for every type of the columns.
    """
    movies, movie = movie_codes(rows)
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in movies]
    of_movie = np.frombuffer(b"".join(digests), np.uint64)
    particle = whole_numbers(rows, "particle").astype(np.int64)
    return mixed(mixed(particle) ^ of_movie[movie])


# --- what is known of a table


def holds_whole_tracks(tracks: Any) -> bool:
    """Tell whether each partition is known to hold whole tracks, without looking at rows.

    Parameters
    ----------
    tracks
        pandas table or Dask DataFrame; one without particles has no tracks to be cut.
    """
    if isinstance(tracks, pd.DataFrame) or "particle" not in tracks.columns:
        return True
    return tracks.npartitions <= 1 or getattr(tracks, "whole_tracks", False)


def met_by(parts: Sequence[Any]) -> Any:
    """Return the delayed sum of the delayed `TracksMet` of all partitions. Lazy."""
    return as_tree(list(parts), _sum_of)


def _sum_of(met: list[TracksMet]) -> TracksMet:
    return reduce(add, met)


def _met_in(tracks: dd.DataFrame) -> Any:
    """Return the delayed `TracksMet` of a table; of a file only two columns are read. Lazy."""
    import dask.dataframe as dd

    columns = [column for column in ("movie", "particle") if column in tracks.columns]
    parts = dd.DataFrame(tracks.expr)[columns].to_delayed()
    return met_by([dask.delayed(on_one_thread)(TracksMet.of, part) for part in parts])


# --- what is done about it


def whole_or_refused(tracks: Any, met: TracksMet, *, shuffle: bool | None) -> Any:
    """Return a table whose tracks are whole, once it is known what its partitions have met. Lazy.

    Parameters
    ----------
    tracks
        Dask DataFrame.
    met
        What its partitions have met.
    shuffle
        As in `gathered_first`.

    Returns
    -------
    The table itself, which is now known to hold whole tracks; or the same rows shuffled.

    Raises
    ------
    ValueError
        If tracks are cut, and the table is large or must not be shuffled.
    """
    if met.n_cut == 0:
        return _known_whole(tracks, of=tracks)
    if shuffle is None and met.n_rows < SHUFFLED_BELOW:
        logger.warning(
            "the %d partitions cut tracks, so the %d rows are shuffled by movie and particle; "
            "stemkin.gather_tracks(tracks) does it once for all verbs",
            tracks.npartitions,
            met.n_rows,
        )
        return gather_tracks(tracks)
    raise cut(met, tracks.npartitions)


def gathered_first(tracks: Any, *, shuffle: bool | None) -> Any:
    """Return `tracks`, shuffled at once where that is asked for. Lazy.

    Parameters
    ----------
    tracks
        pandas table or Dask DataFrame.
    shuffle
        True: a table not known to hold whole tracks is shuffled without a look at it. None: where
        tracks are found to be cut, and the table is small. False: never.
    """
    if shuffle is True and not holds_whole_tracks(tracks):
        return gather_tracks(tracks)
    return tracks


def in_whole_tracks(tracks: Any, *, shuffle: bool | None) -> Any:
    """Return `tracks` with whole tracks in each partition. Computes once, where that is not known.

    For verbs that pass over the rows many times.

    Parameters
    ----------
    tracks, shuffle
        As in `gathered_first`.

    Raises
    ------
    ValueError
        As `whole_or_refused`.
    """
    tracks = gathered_first(tracks, shuffle=shuffle)
    if holds_whole_tracks(tracks):
        return tracks
    (met,) = dask.compute(_met_in(tracks))
    return whole_or_refused(tracks, met, shuffle=shuffle)


def refused_where_cut(tracks: Any, *, shuffle: bool | None) -> Any:
    """Return `tracks` with whole tracks in each partition; one that cuts them ends in an error. Lazy.

    Parameters
    ----------
    tracks, shuffle
        As in `gathered_first`. Before anything is computed nobody knows how large a table is, so
        None refuses as False does.

    Notes
    -----
    No partition is handed on before all have said which tracks they met; rows that are not read
    from files wait meanwhile in the workers' memory.
    """
    import dask.dataframe as dd

    tracks = gathered_first(tracks, shuffle=shuffle)
    if holds_whole_tracks(tracks):
        return tracks
    checked_rows = dd.DataFrame(tracks.expr).map_partitions(
        partial(on_one_thread, _unless_cut),
        _met_in(tracks),
        n_partitions=tracks.npartitions,
        meta=tracks._meta,
    )
    return _known_whole(checked_rows, of=tracks)


def _unless_cut(rows: pd.DataFrame, met: TracksMet, *, n_partitions: int) -> pd.DataFrame:
    if met.n_cut:
        raise cut(met, n_partitions)
    return rows


def cut(met: TracksMet, n_partitions: int) -> ValueError:
    """Return the error that says that tracks are cut, and what to do.

    Parameters
    ----------
    met
        What the partitions have met.
    n_partitions
        How many partitions there are.
    """
    share = ""
    if met.n_halvings:
        share = f" of the 1 in {2**met.n_halvings} tracks that were watched"
    return ValueError(
        f"each partition must hold whole tracks, but the {n_partitions} partitions of these "
        f"{met.n_rows} rows cut them: {met.n_cut} times a track{share} goes on in another one; "
        "pass shuffle=True (or stemkin.gather_tracks(tracks)), which gathers them by movie and "
        "particle, or read a run's with stemkin.read_tracks(results)"
    )


@checked
def gather_tracks(tracks: Any, *, n_partitions: int | None = None) -> Rows:
    """Gather the rows of each track in one partition. Lazy: a shuffle by movie and particle.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask), cut anywhere.
    n_partitions
        Into how many partitions; by default as many as there are.

    Returns
    -------
    Rows that know that their tracks are whole; each partition is sorted by movie, frame and
    particle, and which tracks it has follows from their names alone. On a cluster the rows go from
    worker to worker (`distributed`'s p2p), else through files in Dask's temporary directory: a task
    holds one partition, before or after.

    Raises
    ------
    ValueError
        If the table has no column ``particle`` or ``frame``; while computing, if one of these or
        ``class_id`` holds no whole numbers.

    Examples
    --------
    >>> rows = pd.DataFrame({"particle": [7, 8, 7, 8], "frame": [0, 0, 1, 1], "class_id": 0})
    >>> import dask.dataframe as dd
    >>> cut_by_frames = dd.from_pandas(rows, npartitions=2)
    >>> gathered = gather_tracks(cut_by_frames)
    >>> [len(part) for part in (cut_by_frames.partitions[0].compute(), gathered.compute())]
    [2, 4]
    >>> gathered.map_partitions(lambda own: own["particle"].value_counts()).compute().tolist()
    [2, 2]
    """
    import dask.dataframe as dd

    from stemkin.rows.collection import Rows

    check_columns(tracks, "tracks", needed=("frame", "particle"))
    if isinstance(tracks, pd.DataFrame):
        tracks = dd.from_pandas(tracks, npartitions=1, sort=False)
    n_parts = n_partitions or tracks.npartitions
    plain = dd.DataFrame(tracks.expr)
    meta = tracks._meta.assign(**{_SHARE: np.zeros(0, np.int64)})
    shared = plain.map_partitions(partial(on_one_thread, _shared_out), n_parts=n_parts, meta=meta)
    moved = shared.shuffle(on=_SHARE, npartitions=n_parts)
    gathered = moved.map_partitions(partial(on_one_thread, _in_order), meta=tracks._meta)
    return Rows(gathered.expr, getattr(tracks, "experiment", None), whole_tracks=True)


def _shared_out(rows: pd.DataFrame, *, n_parts: int) -> pd.DataFrame:
    """Return `rows` with the share of the tracks that each belongs to, what numbers them checked."""
    for column in [c for c in ("frame", "class_id") if c in rows.columns]:
        whole_numbers(rows, column)
    return rows.assign(**{_SHARE: part_of(track_names(rows), n_parts)})


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a share, sorted; in which order they arrived depends on the workers."""
    by = [column for column in ("movie", "frame", "particle") if column in rows.columns]
    return rows.drop(columns=_SHARE).sort_values(by, kind="stable", ignore_index=True)


def _known_whole(rows: dd.DataFrame, *, of: Any) -> Rows:
    """Return Dask `rows` that hold whole tracks, with what the table `of` them remembers."""
    from stemkin.rows.collection import Rows

    known, owners = (getattr(of, name, None) for name in ("experiment", "movie_of_partition"))
    return Rows(rows.expr, known, owners, whole_tracks=True)
