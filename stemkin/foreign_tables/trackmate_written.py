"""Tracks written as TrackMate's XML, for those who look at them, or mend them, in Fiji.

Places are those of the raw frames, so that the tracks lie on the movie when Fiji opens it beside
the file; those without drift are features of the spots. Source of the format: Tinevez et al.,
Methods 115, 80 (2017).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.foreign_tables.arrays import refuse_twins_in
from stemkin.foreign_tables.columns import the_table
from stemkin.foreign_tables.trackpy import of_one_movie
from stemkin.rows.tracks import known_experiment
from stemkin.tables import Experiment

VERSION = "7.11.1"
"""The version of TrackMate whose files these are like."""

RADIUS_PX = 3.0
"""How large a spot is drawn."""

SPOT_FEATURES = (
    ("QUALITY", "Quality", "QUALITY", False),
    ("POSITION_X", "X", "POSITION", False),
    ("POSITION_Y", "Y", "POSITION", False),
    ("POSITION_Z", "Z", "POSITION", False),
    ("POSITION_T", "T", "TIME", False),
    ("FRAME", "Frame", "NONE", True),
    ("RADIUS", "Radius", "LENGTH", False),
    ("VISIBILITY", "Visibility", "NONE", True),
    ("CLASS_ID", "Class", "NONE", True),
    ("CLASS_PROBABILITY", "Probability of the class", "NONE", False),
    ("X_NM", "X without drift (nm)", "NONE", False),
    ("Y_NM", "Y without drift (nm)", "NONE", False),
)
"""Features of a spot: name, words, dimension, whether it is a whole number."""

OWN = {"CLASS_ID": "class_id", "CLASS_PROBABILITY": "probability", "X_NM": "x_nm", "Y_NM": "y_nm"}
"""Features that are columns of ours, written where they are there and known."""


@one_thread
def to_trackmate(
    tracks: Any,
    path: str | os.PathLike[str],
    *,
    experiment: Experiment | None = None,
    overwrite: bool = False,
) -> str:
    """Write the tracks of one movie as XML that TrackMate opens. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask) with `y`, `x` [px], of one movie.
    path
        Of the file that is written.
    experiment
        Calibration; by default what the tracks remember. Without a pixel size places are pixels,
        without a frame time times are frames.
    overwrite
        Whether a file that is there already is replaced.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If a column is missing, the rows belong to more than one movie, a particle is twice in one
        frame, a place is not finite, or there is something at `path`.

    Notes
    -----
    Edges join the rows of a track in the order of time; TrackMate's number of a track counts from
    0, and its name says ours. `from_trackmate` reads the file back.
    """
    table = of_one_movie(the_table(tracks, ("y", "x")))
    refuse_twins_in(table)
    if not np.isfinite(table[["y", "x"]].to_numpy(float)).all():
        msg = "TrackMate needs a place for every spot, but a y or x of these tracks is not finite"
        raise ValueError(msg)
    target = os.fspath(path)
    if os.path.exists(target) and not overwrite:
        msg = f"there is something at {target} already; pass overwrite=True to replace it"
        raise ValueError(msg)
    about = _about(table, known_experiment(tracks, experiment))
    with open(f"{target}.part", "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _document(table, about))
    os.replace(f"{target}.part", target)
    return target


def _about(table: pd.DataFrame, known: Experiment | None) -> dict[str, Any]:
    """Return what is known of the movie: name, size, edge of a pixel, time from frame to frame."""
    name = "movie"
    if "movie" in table.columns and len(table):
        name = str(table["movie"].iloc[0])
    about: dict[str, Any] = {"movie": name}
    if known is not None:
        own = known.movies[known.movies["movie"].astype(str) == name]
        if len(own):
            about |= {str(key): value for key, value in own.iloc[0].items()}
    about["scale"], about["length"] = 1.0, "pixel"
    size = about.get("pixel_size_nm")
    if size is not None and np.isfinite(size):
        about["scale"], about["length"] = float(size), "nm"
    about["step"], about["time"] = 1.0, "frame"
    step = about.get("frame_time_s")
    if step is not None and np.isfinite(step):
        about["step"], about["time"] = float(step), "sec"
    return about


def _document(table: pd.DataFrame, about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the file."""
    units = {"spatialunits": about["length"], "timeunits": about["time"]}
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield _element("TrackMate", {"version": VERSION})
    yield _element("Model", units)
    yield from _features()
    yield from _spots(table, about)
    yield from _tracks(table)
    yield "</Model>"
    yield "<Settings>"
    image = {"filename": os.path.basename(str(about.get("source") or about["movie"])), "folder": ""}
    for key, column in (("width", "width_px"), ("height", "height_px"), ("nframes", "n_frames")):
        image[key] = str(int(about.get(column) or 0))
    image |= {
        "nslices": "1",
        "pixelwidth": repr(about["scale"]),
        "pixelheight": repr(about["scale"]),
    }
    image |= {"voxeldepth": "1.0", "timeinterval": repr(about["step"])}
    yield _element("ImageData", image, empty=True)
    yield "</Settings>"
    yield "</TrackMate>"


def _features() -> Iterator[str]:
    yield "<FeatureDeclarations>"
    yield "<SpotFeatures>"
    for name, words, dimension, whole in SPOT_FEATURES:
        said = {"feature": name, "name": words, "shortname": words, "dimension": dimension}
        yield _element("Feature", said | {"isint": str(whole).lower()}, empty=True)
    yield "</SpotFeatures>"
    yield "<EdgeFeatures>"
    for name, words in (("SPOT_SOURCE_ID", "Source spot"), ("SPOT_TARGET_ID", "Target spot")):
        said = {"feature": name, "name": words, "shortname": words, "dimension": "NONE"}
        yield _element("Feature", said | {"isint": "true"}, empty=True)
    yield "</EdgeFeatures>"
    yield "<TrackFeatures>"
    said = {"feature": "TRACK_ID", "name": "Track", "shortname": "Track", "dimension": "NONE"}
    yield _element("Feature", said | {"isint": "true"}, empty=True)
    yield "</TrackFeatures>"
    yield "</FeatureDeclarations>"


def _spots(table: pd.DataFrame, about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the spots frame by frame; the number of each is that of its row."""
    yield _element("AllSpots", {"nspots": str(len(table))})
    numbered = table.assign(number=np.arange(len(table)))
    for frame, rows in numbered.groupby("frame", sort=True):
        yield _element("SpotsInFrame", {"frame": str(frame)})
        for row in rows.to_dict("records"):
            yield _element("Spot", _spot(row, about), empty=True)
        yield "</SpotsInFrame>"
    yield "</AllSpots>"


def _spot(row: Mapping[Any, Any], about: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of one spot."""
    scale, frame = about["scale"], int(row["frame"])
    found = {
        "ID": str(row["number"]),
        "name": f"ID{row['number']}",
        "POSITION_X": repr(float(row["x"]) * scale),
        "POSITION_Y": repr(float(row["y"]) * scale),
        "POSITION_Z": "0.0",
        "POSITION_T": repr(frame * about["step"]),
        "FRAME": str(frame),
        "RADIUS": repr(RADIUS_PX * scale),
        "VISIBILITY": "1",
    }
    quality = row.get("score", np.nan)
    found["QUALITY"] = repr(float(quality)) if np.isfinite(quality) else "NaN"
    for feature, column in OWN.items():
        value = row.get(column, np.nan)
        if np.isfinite(value):
            found[feature] = repr(value.item() if isinstance(value, np.generic) else value)
    return found


def _tracks(table: pd.DataFrame) -> Iterator[str]:
    """Yield the tracks, each with the edges between its rows, and that all are shown."""
    yield "<AllTracks>"
    particle = table["particle"].to_numpy()
    # rows of a track stand one below the other, in the order of time
    begins = np.flatnonzero(np.r_[len(table) > 0, particle[1:] != particle[:-1]])
    ends = np.r_[begins[1:], len(table)][: len(begins)]
    for number, (start, stop) in enumerate(zip(begins, ends, strict=True)):
        said = {"name": f"particle {particle[start]}", "TRACK_ID": str(number)}
        yield _element("Track", said)
        for spot in range(int(start), int(stop) - 1):
            edge = {
                "SPOT_SOURCE_ID": str(spot),
                "SPOT_TARGET_ID": str(spot + 1),
                "LINK_COST": "-1.0",
            }
            yield _element("Edge", edge, empty=True)
        yield "</Track>"
    yield "</AllTracks>"
    yield "<FilteredTracks>"
    for number in range(len(begins)):
        yield _element("TrackID", {"TRACK_ID": str(number)}, empty=True)
    yield "</FilteredTracks>"


def _element(name: str, words: Mapping[str, str], *, empty: bool = False) -> str:
    """Return the beginning of an element, or all of an empty one; attributes are escaped."""
    said = "".join(f" {key}={quoteattr(_printable(value))}" for key, value in words.items())
    return f"<{name}{said}{' /' if empty else ''}>"


def _printable(text: str) -> str:
    """Return a text without the characters that XML cannot hold.

    >>> _printable("a\\x00b")
    'a?b'
    """
    return "".join(c if c in "\t\n\r" or ord(c) >= 32 else "?" for c in text)
