"""A movie and what was found in it as layers of napari: tuples of data, words and kind, without Qt.

Coordinates are frame, y and x in pixels; `scale` turns them into seconds and nanometres where these
are known, and all layers share it.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.foreign_tables import to_napari
from stemkin.kernels.crystal.order import UNKNOWN
from stemkin.movie import Movie, open_movie
from stemkin.names import folder_name
from stemkin.plot.palette import on_micrographs
from stemkin.results.journal import Journal
from stemkin.results.reading import (
    ResultsFolder,
    read_detections,
    read_tracks,
    results_folder,
)
from stemkin.results.store import THUMBNAILS

Layer = tuple[Any, dict[str, Any], str]
"""Data, words and kind (``"image"``, ``"points"``, ``"tracks"``, ``"labels"``) of a layer."""

DETECTIONS, TRACKS, ORDER = "detections", "tracks", "order"
"""Names of layers; that of the image is the movie's."""

MAX_ROWS = 2_000_000
"""Of a movie with more detections only the first so many are shown."""


def movie_layer(movie: Movie) -> Layer:
    """Return the frames of a movie as an image layer. Lazy."""
    words = {"name": movie.name, "metadata": {"source": movie.source}}
    known = placed(movie.pixel_size_nm, movie.frame_time_s)
    return movie.frames, {**words, **known, "colormap": "gray"}, "image"


def placed(pixel_size_nm: float | None, frame_time_s: float | None) -> dict[str, Any]:
    """Return scale, units and names of the axes of a layer: s and nm, or frames and pixels.

    >>> placed(0.03, None)["units"], placed(0.03, None)["scale"]
    (('pixel', 'nm', 'nm'), (1.0, 0.03, 0.03))
    """
    step, edge, time_unit, length_unit = 1.0, 1.0, "pixel", "pixel"
    if frame_time_s is not None and frame_time_s > 0:
        step, time_unit = float(frame_time_s), "s"
    if pixel_size_nm is not None and pixel_size_nm > 0:
        edge, length_unit = float(pixel_size_nm), "nm"
    return {
        "scale": (step, edge, edge),
        "units": (time_unit, length_unit, length_unit),
        "axis_labels": ("t", "y", "x"),
    }


def result_layers(results: Any, movie: str | None = None) -> list[Layer]:
    """Return what a results folder shows of a movie: frames, order, tracks and detections.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    movie
        Name of the movie, by default the first.

    Returns
    -------
    Layers from the lowest to the topmost. Where the movie is not there any more, its kept pictures
    stand in; what the run did not write is left out.

    Raises
    ------
    ValueError
        If it is no results folder, or has no such movie.
    """
    folder = results_folder(results)
    row = _listed(folder, movie)
    known = placed(_number(row["pixel_size_nm"]), _number(row["frame_time_s"]))
    layers = [_image(folder, row, known)]
    layers += _order(folder, str(row["movie"]), known)
    there = set(folder.tables()["table"])
    if "tracks" in there:
        layers.append(_tracks(folder, str(row["movie"]), known))
    if "detections" in there:
        name = str(row["movie"])
        layers.append(points_layer(detections_of(folder, name), name, folder, known))
    return layers


def _listed(folder: ResultsFolder, movie: str | None) -> pd.Series:
    """Return the row of ``movies`` of a movie, by default the first."""
    movies = folder.movies
    if movie is None and len(movies):
        return movies.iloc[0]
    own = movies[movies["movie"] == movie]
    if own.empty:
        there = movies["movie"].tolist()[:5]
        msg = f"{folder.store.root} has no movie {movie!r}; there are {there}"
        raise ValueError(msg)
    return own.iloc[0]


def _number(value: Any) -> float | None:
    if value is None or not np.isfinite(value):
        return None
    return float(value)


def _image(folder: ResultsFolder, row: pd.Series, known: dict[str, Any]) -> Layer:
    """Return the frames of a movie of a run, or its kept pictures where its file is gone."""
    words = {"name": str(row["movie"]), "colormap": "gray", **known}
    opened = reopened(folder, row)
    if opened is None:
        return _kept_pictures(folder, row, words)
    return opened.frames, words, "image"


def reopened(folder: ResultsFolder, row: pd.Series) -> Movie | None:
    """Return the movie of a row of ``movies``, None where it is not there as it was. Lazy."""
    asked = Journal.read(folder.store).content["config"].get("input") or {}
    asked = {word: asked.get(word) for word in ("dataset", "channel", "time_axis")}
    size, step = _number(row["pixel_size_nm"]), _number(row["frame_time_s"])
    try:
        opened = open_movie(str(row["source"]), pixel_size_nm=size, frame_time_s=step, **asked)
    except (OSError, ValueError):
        return None
    shape = tuple(int(row[word]) for word in ("n_frames", "height_px", "width_px"))
    if opened.shape != shape:
        return None
    return replace(opened, name=str(row["movie"]))


def _kept_pictures(folder: ResultsFolder, row: pd.Series, words: dict[str, Any]) -> Layer:
    """Return the pictures that the run kept, each until the next; black without any."""
    from PIL import Image

    name, n_frames = str(row["movie"]), int(row["n_frames"])
    shape = (int(row["height_px"]), int(row["width_px"]))
    if not folder.store.names(THUMBNAILS, folder_name(name)):
        return np.zeros((n_frames, 1, 1), np.uint8), _stretched(words, shape, (1, 1)), "image"
    kept = folder.store.read_movie(THUMBNAILS, name).sort_values("frame")
    pictures = [np.asarray(Image.open(io.BytesIO(b)).convert("L")) for b in kept["jpeg"]]
    which = np.searchsorted(kept["frame"].to_numpy(), np.arange(n_frames), side="right") - 1
    stack = np.stack(pictures)[np.maximum(which, 0)]
    words = {**words, "name": f"{name} (kept pictures)"}
    return stack, _stretched(words, shape, stack.shape[1:]), "image"


def _stretched(
    words: dict[str, Any], whole: tuple[int, ...], shown: tuple[int, ...]
) -> dict[str, Any]:
    """Return words of a layer whose pixels are larger than the movie's by whole / shown."""
    step, height, width = words["scale"]
    larger = [w / s for w, s in zip(whole, shown, strict=True)]
    scale = (step, height * larger[0], width * larger[1])
    # the centre of the first large pixel lies between those of the small ones that it covers
    shift = (0.0, height * (larger[0] - 1) / 2, width * (larger[1] - 1) / 2)
    return {**words, "scale": scale, "translate": shift}


def _order(folder: ResultsFolder, movie: str, known: dict[str, Any]) -> list[Layer]:
    """Return the map of ordered, disordered and empty places, none where there is no map."""
    import zarr

    path = folder.store.path("maps", f"{folder_name(movie)}.zarr")
    try:
        array: Any = zarr.open_array(path, mode="r")
    except (FileNotFoundError, ValueError, KeyError):
        return []
    tile = int(array.attrs["tile_px"])
    # a label of 0 is not drawn, so that what is not known (-1) shows nothing
    labels = np.asarray(array[:]).astype(np.int16) - UNKNOWN
    words = _stretched(known, (tile, tile), (1, 1))
    return [(labels, {"name": ORDER, "opacity": 0.3, "visible": False, **words}, "labels")]


def _tracks(folder: ResultsFolder, movie: str, known: dict[str, Any]) -> Layer:
    """Return the tracks of a movie."""
    wanted = ["frame", "particle", "y", "x", "class_id", "probability"]
    rows = read_tracks(folder, movies=[movie], columns=wanted).compute()
    layer = to_napari(rows.head(MAX_ROWS))
    return layer.data, {"name": TRACKS, "color_by": "class_id", **layer.words, **known}, "tracks"


def detections_of(folder: ResultsFolder, movie: str) -> pd.DataFrame:
    """Return the detections of a movie as they are shown, in the order of frames."""
    wanted = ["movie", "frame", "y", "x", "score", "class_id", "probability"]
    rows: pd.DataFrame = read_detections(folder, movies=[movie], columns=wanted).compute()
    return rows.head(MAX_ROWS).reset_index(drop=True)


def points_layer(
    rows: pd.DataFrame, movie: str, folder: ResultsFolder, known: dict[str, Any]
) -> Layer:
    """Return detections as points whose colours and features tell their classes.

    Parameters
    ----------
    rows
        As `detections_of` gives them.
    movie
        Its name.
    folder
        Where classes have their names.
    known
        As `placed` gives it.
    """
    names = class_names(folder)
    features = pd.DataFrame(
        {
            "row": rows.index.to_numpy(float),
            "class": rows["class_id"].map(lambda i: names.get(int(i), "")).astype(str),
            "probability": rows["probability"].to_numpy(),
            "score": rows["score"].to_numpy(),
        }
    )
    words = {
        "name": DETECTIONS,
        "features": features,
        "border_color": [on_micrographs(int(i)) for i in rows["class_id"]] or "white",
        "face_color": "transparent",
        "size": 10,
        # a point that is added was in no row
        "feature_defaults": {"row": np.nan, "class": "", "probability": 1.0, "score": np.nan},
        "metadata": {"movie": movie, "results": folder.store.root, "found": rows},
    }
    return rows[["frame", "y", "x"]].to_numpy(float), {**words, **known}, "points"


def class_names(folder: ResultsFolder) -> dict[int, str]:
    """Return class number → name; what is not named is called ""."""
    names = {tables.NOT_NAMED: ""}
    if not folder.store.exists("classes.parquet"):
        return names
    classes = folder.store.read_table("classes.parquet")
    return names | {
        int(i): str(n) for i, n in zip(classes["class_id"], classes["name"], strict=True)
    }
