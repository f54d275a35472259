"""Tables of LapTrack: what `LapTrack.predict_dataframe` returns.

Source: Fukai & Kawaguchi, Bioinformatics 39, btac799 (2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.columns import from_table
from stemkin.foreign_tables.dataframes import as_dataframe
from stemkin.foreign_tables.trackpy import in_the_plane
from stemkin.rows.tracks import ONLY_MOVIE

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows


@one_thread
def from_laptrack(
    tracks: Any,
    *,
    y: str = "y",
    x: str = "x",
    frame: str = "frame",
    length_unit: str = "px",
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    movie: str = ONLY_MOVIE,
) -> Rows:
    """Return the first table that LapTrack made as a table of stemkin's. Lazy.

    Parameters
    ----------
    tracks
        First of the three tables of ``predict_dataframe``: ``track_id`` becomes ``particle``;
        ``tree_id``, which joins what split and merged, stays.
    y, x
        The columns that were its ``coordinate_cols``.
    frame
        The column, or level of the index, that was its ``frame_col``.
    length_unit
        Of ``y``, ``x``, as in `from_table`.
    pixel_size_nm
        Edge of a pixel [nm].
    frame_time_s
        Time between frames [s].
    movie
        Name of the movie, where no column says.

    Returns
    -------
    Table ``tracks``; a branch is a track of its own, as in LapTrack.

    Raises
    ------
    ValueError
        If a column is missing, or a frame is no whole number.
    """
    table = as_dataframe(tracks)
    if isinstance(table, pd.DataFrame) and frame in table.index.names:
        level = table.index.get_level_values(frame)
        # where LapTrack kept all columns, the frame stands there once more under a name of its own
        again = [c for c in (f"{frame}_y", frame) if c in table.columns]
        table = table.drop(columns=again).assign(**{frame: level}).reset_index(drop=True)
    if "track_id" not in table.columns:
        msg = (
            f"a table of LapTrack has the column 'track_id', but this one has "
            f"{list(table.columns)}; pass the first table that predict_dataframe returns"
        )
        raise ValueError(msg)
    return from_table(
        in_the_plane(table),
        columns={"particle": "track_id", "frame": frame, "y": y, "x": x},
        length_unit=length_unit,
        pixel_size_nm=pixel_size_nm,
        frame_time_s=frame_time_s,
        movie=movie,
    )
