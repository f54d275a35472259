"""Controls: what the same rows would say if nothing happened, or if other tracks had been seen.

A control changes the rows and leaves the code alone: the table goes through the same verbs, and
what comes out is what those verbs say of tracks without any motion or change.

    shuffled    each track's rows in random order of time: same places and names, no dynamics. D is
                consistent with 0; P is the chance level, the share of each name, which a real
                transition matrix must differ from.
    immobile    each particle stays where it is, seen with a localisation error and, if wanted,
                misnamed now and then. D is consistent with 0, and every change of class is a naming
                error.
    resampled   tracks (or movies) drawn anew with replacement: `bootstrap` does so many times for
                the interval of any number.

Chance comes from `seed`, movie, particle and frame alone, so controls too are the same for every
partitioning.

>>> rows = pd.DataFrame({"particle": 1, "frame": range(4), "class_id": [0, 0, 1, 1], "y_nm": [0.0, 1, 2, 3], "x_nm": 0.0})
>>> shuffled(rows, seed=1)["frame"].tolist(), sorted(shuffled(rows, seed=1)["y_nm"])
([0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0])
>>> len(immobile(rows, sigma_nm=0.01)["class_id"].unique())
1
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from stemkin.blas import on_one_thread, one_thread
from stemkin.kernels.common.hashing import mixed
from stemkin.rows.table import with_experiment
from stemkin.rows.tracks import ONLY_MOVIE
from stemkin.rows.whole import in_whole_tracks, refused_where_cut
from stemkin.tables import POOLED, check_columns
from stemkin.vocabulary import checked, whole_numbers

Unit = Literal["track", "movie"]

KEYS = ("movie", "class_id", "from_id", "to_id", "lag_frames", "method", "frame")
"""Columns that say what a number is about, in any table."""


@checked
def shuffled(tracks: Any, *, seed: int = 0, shuffle: bool | None = None) -> Any:
    """Return `tracks` with the rows of each track in random order of time. Lazy for a Dask table.

    Places, names and everything else move together from one frame of the track to another.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    seed
        Another seed gives another order.
    shuffle
        Whether a Dask table is shuffled first, so that partitions hold whole tracks
        (`stemkin.gather_tracks`). Otherwise one that cuts them is refused while it is computed.
    """
    return _mapped(tracks, partial(in_random_order, seed=seed), shuffle)


@checked
def immobile(
    tracks: Any,
    *,
    sigma_nm: float,
    confusion: Sequence[Sequence[float]] | np.ndarray | None = None,
    seed: int = 0,
    shuffle: bool | None = None,
) -> Any:
    """Return `tracks` as they would be if no particle ever moved or changed. Lazy for a Dask table.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    sigma_nm
        Localisation error per axis with which the mean place of a track is seen.
    confusion
        (k, k) probabilities that a defect of class i (row) is named j; by default names are right.
        A particle keeps the class that it has most often.
    seed
        Another seed gives other errors.
    shuffle
        Whether a Dask table is shuffled first, so that partitions hold whole tracks
        (`stemkin.gather_tracks`). Otherwise one that cuts them is refused while it is computed.

    Raises
    ------
    ValueError
        If `confusion` has rows that do not add up to 1, or too few for the classes that occur.
    """
    return _mapped(tracks, at_rest(sigma_nm=sigma_nm, confusion=confusion, seed=seed), shuffle)


def resampled(tracks: Any, *, unit: Unit = "track", seed: int = 0) -> Any:
    """Return `tracks` drawn anew: each track (or movie) is there 0, 1, 2, ... times. Lazy.

    How often is a Poisson number with mean 1; copies are particles of their own. Computes nothing
    for a Dask table.
    """
    if unit not in ("track", "movie"):
        msg = f"unit must be 'track' or 'movie', but it is {unit!r}"
        raise ValueError(msg)
    return _mapped(tracks, partial(_resample, unit=unit, seed=seed), None)


@one_thread
@checked
def bootstrap(
    verb: Callable[..., pd.DataFrame],
    tracks: Any,
    *,
    value: str,
    n_resamples: int = 200,
    unit: Unit = "track",
    confidence: float = 0.95,
    seed: int = 0,
    shuffle: bool | None = None,
    **words: Any,
) -> pd.DataFrame:
    """Return the table of `verb` with intervals from resampled tracks or movies.

    Computes `n_resamples` + 1 times.

    Parameters
    ----------
    verb
        For instance `fit_diffusion`; or ``lambda tracks, **words: transitions(tracks,
        **words).table``.
    tracks
        Table ``tracks`` (pandas or Dask).
    value
        The column whose interval is wanted, for instance ``"D_nm2_per_s"``.
    n_resamples
        How often tracks are drawn anew.
    unit
        ``"track"``: tracks are independent; ``"movie"``: only movies are (pooled rows only).
    confidence
        Of the interval, between quantiles of the resamples.
    seed
        Of the resampling.
    shuffle
        Whether a Dask table is shuffled, so that partitions hold whole tracks. None: where tracks
        are found to be cut, and there are fewer than 20 million rows.
    words
        All else goes to `verb`.

    Returns
    -------
    The verb's table with ``low`` and ``high`` replaced (or added).

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), with Poisson weights, which
    need no second pass.
    """
    tracks = in_whole_tracks(tracks, shuffle=shuffle)
    table = verb(tracks, **words)
    keys = [key for key in KEYS if key in table.columns]
    if unit == "movie":
        table = table[table["movie"] == POOLED].reset_index(drop=True)
    parts = [
        verb(resampled(tracks, unit=unit, seed=seed + 1 + i), **words)[[*keys, value]]
        for i in range(n_resamples)
    ]
    drawn = pd.concat(parts).groupby(keys, observed=True)[value]
    tail = (1 - confidence) / 2
    index = pd.MultiIndex.from_frame(table[keys])
    ends = {
        name: drawn.quantile(q).reindex(index).to_numpy()
        for name, q in (("low", tail), ("high", 1 - tail))
    }
    return table.assign(**ends)


def checked_confusion(confusion: Any) -> np.ndarray:
    """Return a matrix of naming probabilities, rows true and columns named, as an array.

    Raises
    ------
    ValueError
        If it is not square, has a negative entry, or a row that does not add up to 1.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        msg = (
            "a confusion matrix is square (rows: true class, columns: named), but this one has "
            f"the shape {matrix.shape}"
        )
        raise ValueError(msg)
    if (matrix < 0).any() or not np.allclose(matrix.sum(axis=1), 1, atol=1e-6):
        msg = (
            "each row of a confusion matrix holds probabilities that add up to 1, but the sums "
            f"are {matrix.sum(axis=1).tolist()}"
        )
        raise ValueError(msg)
    return matrix


def _mapped(
    tracks: Any, change: Callable[[pd.DataFrame], pd.DataFrame], shuffle: bool | None
) -> Any:
    """Return `change` of every partition of whole tracks; the experiment stays with the rows."""
    check_columns(tracks, "tracks", needed=("frame", "particle"))
    if isinstance(tracks, pd.DataFrame):
        return change(tracks)
    whole = refused_where_cut(tracks, shuffle=shuffle)
    rows = whole.map_partitions(partial(on_one_thread, change), meta=change(tracks._meta))
    known, owners = (getattr(whole, name, None) for name in ("experiment", "movie_of_partition"))
    return with_experiment(rows, known, movie_of_partition=owners, whole_tracks=True)


def _track_names(rows: pd.DataFrame) -> np.ndarray:
    """Return the (n,) 64-bit name of each row's track, from movie and particle alone."""
    return mixed(mixed(whole_numbers(rows, "particle").astype(np.int64)) ^ _movie_names(rows))


def _movie_names(rows: pd.DataFrame) -> np.ndarray:
    if "movie" not in rows.columns:
        return np.full(len(rows), zlib.crc32(ONLY_MOVIE.encode()), dtype=np.uint64)
    code, names = pd.factorize(rows["movie"])
    return np.array([zlib.crc32(str(name).encode()) for name in names], dtype=np.uint64)[code]


def _chance(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Return (n,) uniform numbers in (0, 1) that belong to each row's movie, particle and frame."""
    frame = whole_numbers(rows, "frame").astype(np.int64)
    number = mixed(_track_names(rows) ^ mixed(frame, seed), seed)
    return np.asarray(((number >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def in_random_order(rows: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return the `rows` of whole tracks, those of each track in random order of time.

    Parameters
    ----------
    rows
        pandas table ``tracks``.
    seed
        Another seed gives another order.
    """
    track = _track_names(rows)
    in_time = np.lexsort((whole_numbers(rows, "frame"), track))
    at_random = np.lexsort((_chance(rows, seed), track))
    source = np.empty(len(rows), dtype=np.int64)
    source[in_time] = at_random
    fixed = [c for c in ("movie", "particle", "frame") if c in rows.columns]
    moved = rows.iloc[source].set_axis(rows.index)
    return moved.assign(**{column: rows[column] for column in fixed})


def at_rest(
    *, sigma_nm: float, confusion: Any = None, seed: int = 0
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what makes of the rows of whole tracks those of particles that never move nor change.

    Parameters
    ----------
    sigma_nm, confusion, seed
        As for `immobile`.

    Raises
    ------
    ValueError
        As `immobile`.
    """
    matrix = None
    if confusion is not None:
        matrix = checked_confusion(confusion)
    return partial(_hold_still, sigma_nm=sigma_nm, confusion=matrix, seed=seed)


def _hold_still(
    rows: pd.DataFrame, *, sigma_nm: float, confusion: np.ndarray | None, seed: int
) -> pd.DataFrame:
    check_columns(rows, "tracks", needed=("y_nm", "x_nm"))
    track, first = pd.factorize(_track_names(rows))
    n = np.maximum(np.bincount(track, minlength=len(first)), 1)
    # sums of floats in an order of their own, whatever that of the rows is
    in_order = np.lexsort((whole_numbers(rows, "frame"), track))
    columns: dict[str, Any] = {}
    for i, column in enumerate(("y_nm", "x_nm")):
        values = rows[column].to_numpy(dtype=np.float64)
        mean = np.bincount(track[in_order], weights=values[in_order], minlength=len(first)) / n
        columns[column] = mean[track] + sigma_nm * special.ndtri(_chance(rows, seed + 1 + i))
    if "class_id" in rows.columns and len(rows):
        named = _renamed(rows, track, len(first), confusion, seed)
        columns["class_id"] = pd.Series(named, index=rows.index).astype(rows["class_id"].dtype)
    return rows.assign(**columns)


def _renamed(
    rows: pd.DataFrame, track: np.ndarray, n_tracks: int, confusion: np.ndarray | None, seed: int
) -> np.ndarray:
    """Return each row's given class: its track's most frequent one, misnamed by chance."""
    # Classes are counted by their places among those that occur, so that a large number costs
    # nothing; of two that are as frequent the smaller number wins.
    found, place = np.unique(whole_numbers(rows, "class_id"), return_inverse=True)
    n = len(found)
    votes = np.bincount(track * n + place, minlength=n_tracks * n).reshape(n_tracks, n)
    true = found.astype(np.int64)[votes.argmax(axis=1)][track]
    if confusion is None:
        return np.asarray(true)
    if true.max() >= len(confusion):
        msg = (
            f"the confusion matrix is for classes 0 to {len(confusion) - 1}, but class "
            f"{int(true.max())} occurs"
        )
        raise ValueError(msg)
    bounds = np.cumsum(confusion, axis=1)
    named = (_chance(rows, seed)[:, None] > bounds[np.maximum(true, 0)]).sum(axis=1)
    return np.asarray(np.where(true < 0, true, np.minimum(named, len(confusion) - 1)))


def _resample(rows: pd.DataFrame, *, unit: Unit, seed: int) -> pd.DataFrame:
    names = _movie_names(rows)
    if unit == "track":
        names = _track_names(rows)
    number = mixed(names, seed)
    uniform = (number >> np.uint64(11)).astype(np.float64) * 2.0**-53
    # a Poisson number with mean 1, by its distribution function: exp(-1) times the sum of 1 / k!
    below = np.cumsum([0.36787944117144233 / special.factorial(k) for k in range(12)])
    weight = np.searchsorted(below, uniform)
    copies = np.repeat(np.arange(len(rows)), weight)
    which = np.arange(len(copies)) - np.repeat(np.cumsum(weight) - weight, weight)
    drawn = rows.iloc[copies]
    particle = whole_numbers(drawn, "particle").astype(np.int64)
    own = mixed(mixed(particle) + which.astype(np.uint64)) >> np.uint64(1)
    return drawn.assign(particle=own.astype(np.int64)).reset_index(drop=True)
