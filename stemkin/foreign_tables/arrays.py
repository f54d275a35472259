"""Tracks as arrays of other programs: napari, deeptime, xarray."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.extras import needed
from stemkin.foreign_tables.columns import the_table
from stemkin.foreign_tables.trackpy import of_one_movie
from stemkin.tables import NOT_NAMED
from stemkin.vocabulary import whole_numbers

UNITS = {"y": "px", "x": "px", "y_nm": "nm", "x_nm": "nm", "position_error": "px"}
"""What stands in the attribute ``units`` of a variable."""


class TracksLayer(NamedTuple):
    """What makes a Tracks layer of napari: ``viewer.add_tracks(data, **words)``.

    Attributes
    ----------
    data
        (n, 4) float64: track (0, 1, ... in the order of their names), frame, y, x [px, raw frame].
    words
        ``properties``: column → (n,) numbers of each row, by which tracks may be coloured.
    """

    data: np.ndarray
    words: dict[str, Any]


class DiscreteTrajectories(NamedTuple):
    """Tracks as sequences of classes, as deeptime takes them.

    Attributes
    ----------
    dtrajs
        One int32 array for each piece of a track that was seen, and named, in every frame.
    class_ids
        (k,) class of the states 0 to k - 1.
    """

    dtrajs: list[np.ndarray]
    class_ids: np.ndarray


@one_thread
def to_napari(tracks: Any) -> TracksLayer:
    """Return the tracks of one movie as napari's Tracks layer takes them. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask), of one movie.

    Returns
    -------
    `TracksLayer`, sorted by track and frame.

    Raises
    ------
    ValueError
        If a column is missing, or the rows belong to more than one movie.

    Examples
    --------
    >>> rows = pd.DataFrame({"frame": [0, 1], "y": [3.0, 4.0], "x": [5.0, 6.0], "class_id": 2})
    >>> layer = to_napari(rows.assign(movie="m", particle=2**24))
    >>> layer.data.tolist(), layer.words["properties"]["class_id"].tolist()
    ([[0.0, 0.0, 3.0, 5.0], [0.0, 1.0, 4.0, 6.0]], [2, 2])
    """
    table = of_one_movie(the_table(tracks, ("y", "x")))
    number = np.unique(table["particle"].to_numpy(), return_inverse=True)[1]
    data = np.column_stack([number, table[["frame", "y", "x"]].to_numpy(np.float64)])
    others = table.drop(columns=["frame", "y", "x"]).select_dtypes(["number", "bool"])
    return TracksLayer(data, {"properties": {c: others[c].to_numpy() for c in others}})


@one_thread
def to_deeptime(tracks: Any) -> DiscreteTrajectories:
    """Return tracks as the discrete trajectories of deeptime, split at gaps. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` with classes (pandas or Dask), of any number of movies.

    Returns
    -------
    `DiscreteTrajectories`: a trajectory ends where a frame was not seen or the row has no class,
    so that every step in it takes one frame; single rows are trajectories of length 1.

    Raises
    ------
    ValueError
        If a column is missing, or a particle is twice in one frame.

    Examples
    --------
    >>> rows = pd.DataFrame({"particle": 1, "frame": [0, 1, 3, 4], "class_id": [7, 9, 9, 7]})
    >>> [piece.tolist() for piece in to_deeptime(rows).dtrajs], to_deeptime(rows).class_ids.tolist()
    ([[0, 1], [1, 0]], [7, 9])
    """
    table = the_table(tracks, ("class_id",))
    refuse_twins_in(table)
    named = table[whole_numbers(table, "class_id") != NOT_NAMED]
    if named.empty:
        return DiscreteTrajectories([], np.zeros(0, np.int64))
    track = named.groupby(["movie", "particle"], sort=False).ngroup().to_numpy()
    frame = named["frame"].to_numpy(np.int64)
    goes_on = (np.diff(track) == 0) & (np.diff(frame) == 1)
    class_ids, state = np.unique(whole_numbers(named, "class_id"), return_inverse=True)
    pieces = np.split(state.astype(np.int32), np.flatnonzero(~goes_on) + 1)
    return DiscreteTrajectories(pieces, class_ids.astype(np.int64))


@one_thread
def to_xarray(tracks: Any) -> Any:
    """Return tracks as an `xarray.Dataset`, rows of one track behind each other. Computes once.

    The layout is the contiguous ragged array of the CF conventions (1.11, section 9.3.3), which
    holds tracks of any length without padding.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).

    Returns
    -------
    Dataset with the dimensions ``track`` (variables ``movie``, ``particle`` and ``row_size``) and
    ``row`` (``frame``, places, classes, ...);
    ``np.split(ds.y.values, np.cumsum(ds.row_size.values)[:-1])`` gives the tracks.

    Raises
    ------
    MissingExtraError
        If xarray is not installed. An ImportError.
    ValueError
        If a column is missing.
    """
    xarray: Any = needed("xarray", extra="xarray", wanted_for="to_xarray")
    table = the_table(tracks, ())
    each = table.groupby(["movie", "particle"], sort=True).size()
    rows = {
        c: ("row", table[c].to_numpy(), {"units": UNITS[c]} if c in UNITS else {})
        for c in table.columns
        if c not in ("movie", "particle")
    }
    keys = each.index.to_frame(index=False)
    of_tracks = {
        "movie": ("track", keys["movie"].to_numpy(dtype=object).astype(str)),
        "particle": ("track", keys["particle"].to_numpy()),
        "row_size": ("track", each.to_numpy(np.int64), {"sample_dimension": "row"}),
    }
    about = {"featureType": "trajectory", "Conventions": "CF-1.11"}
    return xarray.Dataset({**of_tracks, **rows}, attrs=about)


def refuse_twins_in(table: pd.DataFrame) -> None:
    """Refuse a table, sorted by movie, particle and frame, in which a particle is twice in a frame.

    Raises
    ------
    ValueError
        If there is one.
    """
    twin = np.flatnonzero(table.duplicated(["movie", "particle", "frame"]).to_numpy())
    if len(twin):
        from stemkin.rows.tracks import twins

        met = table.iloc[twin[0]]
        raise twins(int(met["particle"]), int(met["frame"]), len(twin))
