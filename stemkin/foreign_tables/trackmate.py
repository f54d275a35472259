"""Tracks of TrackMate: its XML file, its export of tracks, or the tables that it writes as CSV.

    <Model spatialunits="micron" timeunits="sec">      <AllSpots>  <SpotsInFrame>  <Spot .../>
    <AllTracks>  <Track TRACK_ID>  <Edge SPOT_SOURCE_ID SPOT_TARGET_ID/>
    <FilteredTracks>  <TrackID TRACK_ID/>              which tracks are shown
    <Settings>  <ImageData pixelwidth pixelheight timeinterval filename/>

Only tracks that TrackMate shows come in, and spots that belong to none stay out. Its tracks may
branch: what splits or merges ends there, and its branches are tracks of their own
(``track_id`` says of which of TrackMate's). Units and calibration are the file's own.

Source: Tinevez et al., Methods 115, 80 (2017); Ershov et al., Nature Methods 19, 829 (2022).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.branches import lines_of
from stemkin.foreign_tables.columns import NANOMETRES, from_table
from stemkin.foreign_tables.frames import SECONDS
from stemkin.foreign_tables.trackmate_csv import read_csv
from stemkin.foreign_tables.trackmate_xml import Document, read_xml
from stemkin.foreign_tables.trackpy import in_the_plane
from stemkin.tables import Experiment

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows

LENGTHS: Mapping[str, str] = {
    **dict.fromkeys(("pixel", "pixels", "px"), "px"),
    **dict.fromkeys(("micron", "microns", "um", "µm", "μm", "micrometer", "micrometre"), "um"),
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers"), "nm"),
    **dict.fromkeys(("a", "å", "angstrom", "ångström"), "A"),
    **dict.fromkeys(("pm", "picometer", "picometre"), "pm"),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("m", "meter", "metre"), "m"),
}
"""Words of TrackMate for units of length, in lower case."""

TIMES: Mapping[str, str] = {
    **dict.fromkeys(("sec", "s", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("us", "µs", "usec"), "us"),
    **dict.fromkeys(("min", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hour", "hours", "hr"), "h"),
}
"""Words for units of time; ``frame`` says that it is not known."""


@one_thread
def from_trackmate(
    path: str | os.PathLike[str],
    *,
    edges: str | os.PathLike[str] | None = None,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    movie: str | None = None,
) -> Rows:
    """Return the tracks of TrackMate as a table of stemkin's. Lazy; the file is read at once.

    Parameters
    ----------
    path
        XML that TrackMate saved, XML of "export tracks", or CSV of its table of spots.
    edges
        CSV of its table of edges: without it tracks in a CSV must not branch.
    pixel_size_nm
        Edge of a pixel [nm]; by default what the file says.
    frame_time_s
        Time between frames [s]; by default what the file says.
    movie
        Name of the movie; by default that of the file.

    Returns
    -------
    Table ``tracks`` with ``track_id``, TrackMate's own number, and ``quality``.

    Raises
    ------
    ValueError
        If it is no such file, is damaged, holds no tracks, has places in three dimensions, or a
        track branches and nobody says how.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        msg = f"there is no file {name}; give the XML that TrackMate saves, or its table of spots"
        raise ValueError(msg)
    if _is_xml(name):
        document = read_xml(name)
    else:
        document = read_csv(name, None if edges is None else os.fspath(edges))
    from stemkin.rows.collection import Rows

    table = in_the_plane(_lines(document, name))
    unit = _length_unit(document, name)
    size = pixel_size_nm
    if size is None:
        size = _pixel_size(document, unit)
    seconds = frame_time_s
    if seconds is None:
        seconds = _frame_time(document)
    tracks = from_table(
        table,
        length_unit=unit,
        pixel_size_nm=size,
        frame_time_s=seconds,
        movie=movie or os.path.splitext(os.path.basename(name))[0],
    )
    return Rows(tracks.expr, _in_field(tracks.experiment, document), whole_tracks=True)


def _lines(document: Document, name: str) -> pd.DataFrame:
    """Return the spots of a document, each on its line."""
    spots = document.spots
    if document.edges is not None:
        of_spot = pd.Series(np.arange(len(spots)), index=spots["id"].to_numpy())
        edges = document.edges
        known = edges["source"].isin(of_spot.index) & edges["target"].isin(of_spot.index)
        if not known.all():
            lost = edges[~known].iloc[0]
            msg = (
                f"{name} is damaged: an edge joins the spots {int(lost['source'])} and "
                f"{int(lost['target'])}, which are not both there; save it again from TrackMate"
            )
            raise ValueError(msg)
        source = of_spot[edges["source"]].to_numpy()
        target = of_spot[edges["target"]].to_numpy()
        frame = spots["frame"].to_numpy(np.int64)
        line = lines_of(len(spots), source, target, frame)
        track = np.full(len(spots), -1, np.int64)
        track[source] = track[target] = edges["track_id"].to_numpy(np.int64)
        spots = spots.assign(particle=line, track_id=track)[track >= 0]
    else:
        spots = spots.assign(particle=spots["track_id"])
        twice = spots.duplicated(["track_id", "frame"])
        if twice.any():
            met = spots[twice].iloc[0]
            msg = (
                f"track {int(met['track_id'])} in {name} has two spots in frame "
                f"{int(met['frame'])}, so it splits or merges; pass edges=, the CSV of its edges, "
                "or the XML"
            )
            raise ValueError(msg)
    if spots.empty:
        msg = f"{name} holds no tracks; let TrackMate link the spots, and save it again"
        raise ValueError(msg)
    spots = spots.assign(particle=pd.factorize(spots["particle"], sort=True)[0])
    return spots.drop(columns="id").reset_index(drop=True)


def _length_unit(document: Document, name: str) -> str:
    word = document.length_unit.strip().lower()
    if word not in LENGTHS:
        msg = (
            f"{name} gives places in {document.length_unit!r}, which is no unit of length; set it "
            "in Image > Properties and save again, or read it with stemkin.from_table"
        )
        raise ValueError(msg)
    return LENGTHS[word]


def _pixel_size(document: Document, unit: str) -> float | None:
    """Return the pixel size [nm] that the file says; None where edges differ or it is in pixels."""
    width, height = document.pixel
    if unit == "px" or not width > 0 or abs(width - height) > 1e-3 * width:
        return None
    return width * NANOMETRES[unit]


def _frame_time(document: Document) -> float | None:
    """Return the frame time [s] that the file says; None where it counts in frames."""
    word = TIMES.get(document.time_unit.strip().lower())
    if word is None or not document.frame_interval > 0:
        return None
    return document.frame_interval * SECONDS[word]


def _in_field(known: Experiment | None, document: Document) -> Experiment | None:
    """Return the experiment with the size of the frames and their number, where the file says."""
    if known is None or not document.shape:
        return known
    n_frames, height, width = document.shape
    movies = known.movies.assign(height_px=height, width_px=width)
    movies["n_frames"] = np.maximum(movies["n_frames"], n_frames)
    return Experiment(movies, known.frames, known.classes)


def _is_xml(name: str) -> bool:
    with open(name, "rb") as file:
        return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
