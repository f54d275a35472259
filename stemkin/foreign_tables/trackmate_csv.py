"""Tables of spots and edges that TrackMate writes as CSV.

The first line holds the names of the columns; from version 7 on three more follow, with long
names, short names and units.
"""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd

from stemkin.foreign_tables.trackmate_xml import Document

SPOTS = {
    "ID": "id",
    "FRAME": "frame",
    "POSITION_Y": "y",
    "POSITION_X": "x",
    "POSITION_Z": "z",
    "POSITION_T": "time",
    "QUALITY": "quality",
    "TRACK_ID": "track_id",
}
EDGES = {"SPOT_SOURCE_ID": "source", "SPOT_TARGET_ID": "target", "TRACK_ID": "track_id"}


def read_csv(path: str, edges: str | None) -> Document:
    """Return what a table of spots says, and a table of edges beside it.

    Parameters
    ----------
    path
        CSV of the spots.
    edges
        CSV of the edges, where there is one.

    Raises
    ------
    ValueError
        If it is no such table.
    """
    spots, units = _read(path, SPOTS, needed=("ID", "FRAME", "POSITION_X", "POSITION_Y"))
    if "track_id" not in spots:
        spots["track_id"] = np.nan
    interval, time_unit = _interval(spots), units.get("time", "frame")
    joined = None
    if edges is not None:
        joined, _ = _read(edges, EDGES, needed=tuple(EDGES))
        spots = spots.drop(columns="track_id")
    else:
        spots = spots[spots["track_id"].notna()]  # spots that no track has
    return Document(
        spots.drop(columns="time", errors="ignore"),
        joined,
        units.get("x", "pixel"),
        time_unit,
        frame_interval=interval,
    )


def _read(
    path: str, names: dict[str, str], *, needed: tuple[str, ...]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the columns of a table by our names, and their units where the table says."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        try:
            head = [line for line, _ in zip(csv.reader(file), range(4), strict=False)]
        except csv.Error as error:
            msg = f"{path} is no CSV file: {error}; export it again from TrackMate"
            raise ValueError(msg) from error
    if not head or not set(needed) <= set(head[0]):
        found = head[0][:12] if head else []
        msg = (
            f"{path} is no table of TrackMate: it needs the columns {list(needed)}, but its first "
            f"line is {found}"
        )
        raise ValueError(msg)
    short = [number for number, line in enumerate(head, 1) if len(line) < len(head[0])]
    if short:
        msg = (
            f"{path} is damaged: line {short[0]} has {len(head[short[0] - 1])} columns, and the "
            f"first has {len(head[0])}; export it again from TrackMate"
        )
        raise ValueError(msg)
    skip, units = 0, {}
    if len(head) == 4 and not _is_number(head[1][head[0].index(needed[0])]):
        skip = 3
        units = {
            names[column]: unit.strip("() ")
            for column, unit in zip(head[0], head[3], strict=False)
            if column in names and unit.strip("() ")
        }
    kept = [column for column in names if column in head[0]]
    rows = pd.read_csv(
        path, usecols=kept, skiprows=range(1, 1 + skip), encoding="utf-8-sig", dtype=str
    )
    try:
        table = rows[kept].apply(pd.to_numeric).rename(columns=names)
    except ValueError as error:
        msg = f"{path} is damaged: {error}; export it again from TrackMate"
        raise ValueError(msg) from error
    return table, units


def _interval(spots: pd.DataFrame) -> float:
    """Return the time between frames by the times of the spots; 0 where they do not say one."""
    if "time" not in spots:
        return 0.0
    later = spots[spots["frame"] > 0]
    each = (later["time"] / later["frame"]).to_numpy(np.float64)
    if not len(each) or not np.allclose(each, each[0], rtol=1e-3):
        return 0.0
    return float(np.median(each))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
