"""Tables of trackpy: what `trackpy.link` returns, and what its `msd` and `imsd` take.

Source: Allan et al., soft-matter/trackpy, doi:10.5281/zenodo.4682814.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.columns import from_table, the_table
from stemkin.foreign_tables.dataframes import as_dataframe
from stemkin.rows.tracks import ONLY_MOVIE

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows


@one_thread
def from_trackpy(
    tracks: Any,
    *,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    movie: str = ONLY_MOVIE,
) -> Rows:
    """Return what `trackpy.link` (or `locate`, `batch`) made as a table of stemkin's. Lazy.

    Parameters
    ----------
    tracks
        Table with ``frame``, ``y``, ``x`` [px] and, if it is linked, ``particle``; pandas, Dask,
        polars or Arrow. trackpy's position error ``ep`` becomes ``position_error``; all other
        columns stay.
    pixel_size_nm
        Edge of a pixel [nm], trackpy's ``mpp`` times 1,000.
    frame_time_s
        Time between frames [s], one over trackpy's ``fps``.
    movie
        Name of the movie, where no column says.

    Returns
    -------
    Table ``tracks``; of features without ``particle``, detections for `link`.

    Raises
    ------
    ValueError
        If a column is missing, a frame is no whole number, or places have a third dimension.
    """
    table = in_the_plane(as_dataframe(tracks))
    columns = {}
    if "ep" in table.columns:
        columns["position_error"] = "ep"
    return from_table(
        table,
        columns=columns,
        pixel_size_nm=pixel_size_nm,
        frame_time_s=frame_time_s,
        movie=movie,
    )


@one_thread
def to_trackpy(tracks: Any) -> pd.DataFrame:
    """Return the tracks of one movie as trackpy's functions take them. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask) with `y`, `x` [px].

    Returns
    -------
    pandas table with ``y``, ``x`` [px], ``frame``, ``particle`` (0, 1, ... in the order of their
    names), ``ep`` [px] where the position error is known, and all else that the table has; sorted
    by frame and particle. ``trackpy.emsd(table, mpp=pixel_size_nm / 1000, fps=1 / frame_time_s)``.

    Raises
    ------
    ValueError
        If a column is missing, or the rows belong to more than one movie.
    """
    table = of_one_movie(the_table(tracks, ("y", "x")))
    table = table.assign(particle=pd.factorize(table["particle"], sort=True)[0])
    # float64: trackpy's MSD goes through a Fourier transform, which loses digits in float32
    table = table.rename(columns={"position_error": "ep"}).astype({"y": float, "x": float})
    first = ["y", "x", "frame", "particle"]
    rest = [c for c in table.columns if c not in (*first, "movie")]
    return table.sort_values(["frame", "particle"], ignore_index=True)[[*first, *rest]]


def of_one_movie(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as they are, if they are of one movie.

    Raises
    ------
    ValueError
        If they belong to several.
    """
    movies = table["movie"].unique().tolist()
    if len(movies) > 1:
        msg = (
            f"this takes the tracks of one movie, but these are of {movies[:5]}; choose one: "
            "tracks[tracks['movie'] == name]"
        )
        raise ValueError(msg)
    return table


def in_the_plane(table: Any) -> Any:
    """Return a table without its column ``z``, in which all rows are alike.

    Raises
    ------
    ValueError
        If rows differ in it, or a Dask table has one.
    """
    if "z" not in table.columns:
        return table
    if not isinstance(table, pd.DataFrame) or (table["z"] != table["z"].iloc[:1].max()).any():
        msg = (
            "stemkin measures in the plane, but these tracks have a column 'z'; drop it where the "
            "third dimension does not matter: rows.drop(columns='z')"
        )
        raise ValueError(msg)
    return table.drop(columns="z")
