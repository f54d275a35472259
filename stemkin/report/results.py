"""What a results folder holds, as the report takes it; `result_files` reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables

CALIBRATION = ("pixel_size_nm", "frame_time_s", "dose_rate_e_per_nm2_s")


@dataclass(frozen=True)
class Picture:
    """One frame with its detections.

    Attributes
    ----------
    movie, frame_number
        Which frame it is.
    frame
        (y, x) as recorded.
    y, x
        (m,) places of the detections [px].
    class_id, score
        (m,) class and signal-to-noise of each.
    pixel_size_nm
        NaN where it is not known.
    """

    movie: str
    frame: np.ndarray
    frame_number: int
    y: np.ndarray
    x: np.ndarray
    class_id: np.ndarray
    score: np.ndarray
    pixel_size_nm: float


@dataclass(frozen=True, eq=False)
class Reel:
    """What is shown of one movie.

    Attributes
    ----------
    movie
        Its name.
    pictures
        Rows of the table ``thumbnails``, in the order of frames.
    tracks
        Rows of the table ``tracks`` without descriptors, sorted by particle and frame; `particle` is -1
        where nothing was linked. `ry`, `rx` are the places without drift [px].
    marks
        Those of them in the frames that are shown, so many a frame as can be drawn.
    shifts
        (n, 2) shift of each picture's frame [px].
    n_rows
        How many rows of tracks the movie has; `tracks` holds fewer where they are too many.
    n_hidden
        How many marks of the frames that are shown are not drawn.
    """

    movie: str
    pictures: pd.DataFrame
    tracks: pd.DataFrame
    marks: pd.DataFrame
    shifts: np.ndarray
    n_rows: int
    n_hidden: int

    @property
    def is_whole(self) -> bool:
        """Tell whether `tracks` holds all tracks, so that their events are known."""
        return bool(len(self.tracks) == self.n_rows and (self.tracks["particle"] >= 0).all())


@dataclass(frozen=True, eq=False)
class Results:
    """The small tables of a run.

    Attributes
    ----------
    run
        Content of ``run.json``; every key may be missing.
    model
        Content of ``model/model.json``, empty where there is none.
    frames
        Table ``frames`` of the first movies; `n_movies_unread` more were not read.
    found
        Table name → table, empty where there is no such file.
    nulls
        The same of the null controls; only those that have rows.
    pictures
        Example frames.
    absent
        Name of what is not there → why, as a clause.
    reels
        Movies that can be played.
    regions
        Table ``regions`` of the movie with the largest hole (or other region).
    learned
        What the detector's observer learned, by the names of its parts; empty for none.
    seldom
        How often each class was seen that was hardly seen; `found` and `nulls` have no rows of it.
    """

    run: Mapping[str, Any]
    model: Mapping[str, Any]
    frames: pd.DataFrame
    found: Mapping[str, pd.DataFrame]
    nulls: Mapping[str, pd.DataFrame]
    pictures: list[Picture]
    absent: Mapping[str, str]
    n_movies_unread: int = 0
    reels: list[Reel] = field(default_factory=list)
    regions: pd.DataFrame = field(default_factory=lambda: tables.empty("regions"))
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)
    seldom: Mapping[int, int] = field(default_factory=dict)

    def why(self, name: str, otherwise: str) -> str:
        """Return why the table `name` cannot be shown: the file's own trouble, or `otherwise`."""
        return self.absent.get(name, otherwise)

    @cached_property
    def movies(self) -> pd.DataFrame:
        """Rows of ``run.json``'s movies, NaN and "" where it does not say."""
        listed = listed_movies(self.run) or [
            {"movie": m} for m in dict.fromkeys(self.frames["movie"])
        ]
        columns: dict[str, Any] = {}
        for name in ("n_frames", "height_px", "width_px", *CALIBRATION):
            columns[name] = [number(movie.get(name)) for movie in listed]
        for name in ("movie", "source", "status", "reason"):
            columns[name] = [_text(movie.get(name)) for movie in listed]
        return pd.DataFrame(columns)

    def calibration(self, movie: str, column: str) -> float:
        """Return one calibration number of `movie`, NaN where it is not known."""
        values = self.movies.loc[self.movies["movie"] == movie, column]
        return float(next(iter(values), math.nan))

    @cached_property
    def class_names(self) -> dict[int, str]:
        """Class number → name, of every class that the run knows."""
        classes = self.found["classes"]
        return {int(i): str(n) for i, n in zip(classes["class_id"], classes["name"], strict=True)}

    def name_of(self, class_id: int) -> str:
        """Return the name of a class, or what stands for it where the run gave it none."""
        if class_id in self.class_names:
            return self.class_names[class_id]
        if class_id == tables.NOT_NAMED:
            return "not named"
        return f"class {class_id}"


def number(value: Any) -> float:
    """Return `value` as a finite float, NaN where it is none.

    >>> number("3"), number(None), number("x"), number(1e999)
    (3.0, nan, nan, nan)
    """
    try:
        known = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    if not math.isfinite(known):
        return math.nan
    return known


def listed_movies(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the movies that the content of ``run.json`` lists."""
    listed = run.get("movies")
    if not isinstance(listed, (list, tuple)):
        return []
    return [movie for movie in listed if isinstance(movie, Mapping)]


def mapping_in(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping that `content` holds at `key`, an empty one where there is none."""
    value = content.get(key)
    if not isinstance(value, Mapping):
        return {}
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value)
