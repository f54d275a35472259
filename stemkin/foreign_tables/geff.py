"""Tracks as a GEFF: the Graph Exchange File Format, a Zarr group of nodes and edges.

    nodes/ids (n,)     nodes/props/<name>/values (n,)     edges/ids (m, 2)     attributes: "geff"

Source: the specification of GEFF, version 1.1, https://liveimagetrackingtools.org/geff.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.arrays import refuse_twins_in
from stemkin.foreign_tables.columns import the_table
from stemkin.foreign_tables.trackpy import of_one_movie
from stemkin.rows.tracks import known_experiment
from stemkin.tables import Experiment

GEFF_VERSION = "1.1"

AXES = {"t": ("time", "frame"), "y": ("space", "pixel"), "x": ("space", "pixel")}
"""Axis → its type and unit."""

PROPERTY_UNITS = {"y_nm": "nanometer", "x_nm": "nanometer", "position_error": "pixel"}


@one_thread
def to_geff(
    tracks: Any,
    path: str | os.PathLike[str],
    *,
    experiment: Experiment | None = None,
    overwrite: bool = False,
) -> str:
    """Write the tracks of one movie as a GEFF. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask) with `y`, `x` [px], of one movie.
    path
        Of the Zarr group that is written.
    experiment
        Calibration; by default what the tracks remember. It becomes the ``scale`` of the axes.
    overwrite
        Whether what is there already is replaced.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If a column is missing, the rows belong to more than one movie, a particle is twice in one
        frame, or there is something at `path`.

    Notes
    -----
    A node is a row, an edge joins a row of a track with the next one. Numbers and booleans become
    properties of the nodes; the track's name is the property ``particle``, GEFF's tracklet.
    """
    import zarr

    table = of_one_movie(the_table(tracks, ("y", "x")))
    refuse_twins_in(table)
    target = os.fspath(path)
    if os.path.exists(target) and not overwrite:
        msg = f"there is something at {target} already; pass overwrite=True to replace it"
        raise ValueError(msg)
    columns = table.rename(columns={"frame": "t"}).select_dtypes(["number", "bool"])
    columns = columns.astype({"y": "float64", "x": "float64"})
    particle = table["particle"].to_numpy()
    earlier = np.flatnonzero(particle[1:] == particle[:-1]).astype(np.uint64)
    root = zarr.open_group(target, mode="w", zarr_format=3)
    nodes, edges = root.create_group("nodes"), root.create_group("edges")
    nodes.create_array("ids", data=np.arange(len(table), dtype=np.uint64))
    properties = nodes.create_group("props")
    for name in columns:
        properties.create_group(str(name)).create_array("values", data=columns[name].to_numpy())
    edges.create_array("ids", data=np.stack([earlier, earlier + np.uint64(1)], axis=1))
    edges.create_group("props")
    root.attrs["geff"] = _about(columns, table, known_experiment(tracks, experiment))
    return target


def _about(columns: pd.DataFrame, table: pd.DataFrame, known: Experiment | None) -> dict[str, Any]:
    """Return GEFF's metadata of the group."""
    properties = {}
    for name in map(str, columns):
        properties[name] = {"identifier": name, "dtype": str(columns[name].dtype)}
        if name in PROPERTY_UNITS:
            properties[name]["unit"] = PROPERTY_UNITS[name]
    scales = _scales(table, known)
    axes = []
    for name, (kind, unit) in AXES.items():
        axis: dict[str, Any] = {"name": name, "type": kind, "unit": unit}
        if len(columns):
            axis |= {"min": float(columns[name].min()), "max": float(columns[name].max())}
        axes.append(axis | scales.get(kind, {}))
    return {
        "geff_version": GEFF_VERSION,
        "directed": True,
        "axes": axes,
        "node_props_metadata": properties,
        "edge_props_metadata": {},
        "track_node_props": {"tracklet": "particle"},
        "extra": {"written_by": "stemkin"},
    }


def _scales(table: pd.DataFrame, known: Experiment | None) -> dict[str, dict[str, Any]]:
    """Return what one step along time and space measures, as far as it is known."""
    if known is None or table.empty:
        return {}
    own = known.movies[known.movies["movie"] == table["movie"].iloc[0]]
    found: dict[str, dict[str, Any]] = {}
    for kind, column, unit in (
        ("time", "frame_time_s", "second"),
        ("space", "pixel_size_nm", "nanometer"),
    ):
        if len(own) and column in own and own[column].iloc[0] > 0:
            found[kind] = {"scale": float(own[column].iloc[0]), "scaled_unit": unit}
    return found
