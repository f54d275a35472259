"""Tracks of btrack: its HDF5 files, its tracklets, or their dictionaries.

    objects/obj_type_1/coords     (i, 5)  t, x, y, z, type
    tracks/obj_type_1/tracks      (n,)    rows of coords; -1, -2, ... are rows 0, 1, ... of dummies
    tracks/obj_type_1/map         (k, 2)  first and last (excluded) of each track in `tracks`
    tracks/obj_type_1/LBEPR       (k, 5 or 6)  label, begin, end, parent, root, generation

Dummies stand where btrack supposed an object that nobody saw: they are gaps here.

Source: Ulicna et al., Frontiers in Computer Science 3, 734559 (2021); the layout is that of
``btrack.io.HDF5FileHandler``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.columns import from_table
from stemkin.foreign_tables.dataframes import as_dataframe
from stemkin.foreign_tables.trackpy import in_the_plane
from stemkin.rows.tracks import ONLY_MOVIE

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows


@one_thread
def from_btrack(
    tracks: Any,
    *,
    object_type: str = "obj_type_1",
    length_unit: str = "px",
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    movie: str = ONLY_MOVIE,
) -> Rows:
    """Return the tracks of btrack as a table of stemkin's. Lazy; a file is read at once.

    Parameters
    ----------
    tracks
        Path of an HDF5 file; a list of tracklets, or of the dictionaries that their ``to_dict``
        gives; one such dictionary; or a table with the columns ``ID``, ``t``, ``x``, ``y``.
    object_type
        Which objects of a file.
    length_unit
        Of ``y``, ``x``, as in `from_table`.
    pixel_size_nm
        Edge of a pixel [nm].
    frame_time_s
        Time between frames [s].
    movie
        Name of the movie.

    Returns
    -------
    Table ``tracks``: ``ID`` is ``particle``, a daughter is a track of its own (``parent`` and
    ``root`` say of whom), and what nobody saw is left out.

    Raises
    ------
    ValueError
        If it is no file of btrack, has no such objects, or places have a third dimension.
    """
    if isinstance(tracks, str | os.PathLike):
        table = _of_file(os.fspath(tracks), object_type)
    elif isinstance(tracks, Iterable) and not hasattr(tracks, "columns"):
        table = _of_tracklets(tracks)
    else:
        table = as_dataframe(tracks)
    if isinstance(table, pd.DataFrame) and "dummy" in table.columns:
        seen = ~table["dummy"].astype(bool)
        table = table[seen].drop(columns="dummy").reset_index(drop=True)
    return from_table(
        in_the_plane(table),
        columns={"particle": "ID", "frame": "t", "y": "y", "x": "x"},
        length_unit=length_unit,
        pixel_size_nm=pixel_size_nm,
        frame_time_s=frame_time_s,
        movie=movie,
    )


def _of_tracklets(tracks: Any) -> pd.DataFrame:
    """Return the rows of tracklets, or of their dictionaries."""
    several = [tracks] if isinstance(tracks, Mapping) else list(tracks)
    parts = []
    for one in several:
        columns = one
        if hasattr(one, "to_dict"):
            columns = one.to_dict()
        if not isinstance(columns, Mapping):
            msg = f"a track of btrack is a tracklet or a dictionary, but one is a {type(one).__name__}"
            raise ValueError(msg)
        parts.append(pd.DataFrame(dict(columns)))
    if not parts:
        return pd.DataFrame({c: pd.Series([], dtype="int64") for c in ("ID", "t", "y", "x")})
    return pd.concat(parts, ignore_index=True)


def _of_file(path: str, object_type: str) -> pd.DataFrame:
    """Return the rows of an HDF5 file."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} is no HDF5 file that can be opened ({error})"
        raise ValueError(msg) from error
    with file:
        there = sorted(file["tracks"]) if "tracks" in file else []
        if object_type not in there or f"objects/{object_type}/coords" not in file:
            msg = (
                f"{path} has no tracks of {object_type!r}; it has those of {there}; pass "
                "object_type=, or write them with btrack's HDF5FileHandler.write_tracks"
            )
            raise ValueError(msg)
        group = file["tracks"][object_type]
        if "f_expr" in group.attrs:
            msg = (
                f"the tracks in {path} refer to objects that were filtered by "
                f"{group.attrs['f_expr']!r}; load them with btrack and pass the tracklets"
            )
            raise ValueError(msg)
        coords = np.asarray(file["objects"][object_type]["coords"])
        refs = np.asarray(group["tracks"]).ravel().astype(np.int64)
        ends = np.asarray(group["map"]).astype(np.int64)
        lineage = np.asarray(group["LBEPR"])
    length = ends[:, 1] - ends[:, 0]
    # refs of track k are refs[ends[k, 0]:ends[k, 1]]; btrack writes them one behind the other
    row = np.arange(length.sum()) + np.repeat(
        ends[:, 0] - np.concatenate([[0], np.cumsum(length)[:-1]]), length
    )
    if len(row) and (row.max() >= len(refs) or refs.max() >= len(coords)):
        msg = (
            f"{path} is damaged: its tracks refer to objects that it does not hold; save it again "
            "from btrack"
        )
        raise ValueError(msg)
    seen = refs[row] >= 0
    place = coords[refs[row][seen]]
    of_track = np.repeat(np.arange(len(ends)), length)[seen]
    return pd.DataFrame(
        {
            "ID": lineage[of_track, 0],
            "t": place[:, 0],
            "y": place[:, 2].astype(np.float64),
            "x": place[:, 1].astype(np.float64),
            "z": place[:, 3],
            "parent": lineage[of_track, 3],
            "root": lineage[of_track, 4],
        }
    )
