"""What a results folder holds, read without trust: whatever is missing, empty or damaged becomes a
sentence, not an error."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.results.store import RUN_FILE, Store, folder_name

TABLES = ("classes", "populations", "transitions", "msd", "diffusion", "dwell_times")
NEIGHBOURHOODS = ("structure", "modes", "strain", "phases")
"""Tables that results of earlier versions lack."""
KINETICS = ("hidden_transitions", "survival", "abundances", "creation", "meetings")
"""Likewise; `hidden_transitions` has the columns of ``transitions``."""
NULL_TABLES = (
    "transitions",
    "diffusion",
    "hop_rates",
    "dwell_times",
    "static_transitions",
    "meetings",
)
"""Null controls are the same tables, of the same code, in files called ``null_<table>.parquet``."""
FURTHER = {
    "hop_rates": ("movie", "class_id", "hop_rate_per_s", "low", "high", "n_hops"),
    "gaussianity": ("movie", "class_id", "n", "excess", "p_value", "gaussian"),
    "chain": ("class_id", "set", "seen_share", "stationary_share"),
    "timescales": ("lag_frames", "set", "rank", "timescale_s", "low", "high"),
    "chapman_kolmogorov": ("lag_frames", "from_id", "to_id", "predicted", "measured", "agrees"),
    "reversibility": ("statistic", "degrees_of_freedom", "p_value", "reversible"),
    "beam_transitions": ("movie", "from_id", "to_id", "count", "cross_section_barn", "low", "high"),
}
SAME_COLUMNS = {"hidden_transitions": "transitions", "static_transitions": "transitions"}
"""Tables that have the columns of another one."""
"""Tables that a run may write besides those of the contract, and the columns that are looked at."""
MAX_MOVIES_READ = 200
"""The frames of more movies than this are not read: the report says how many it looked at."""
MAX_PICTURES = 4


@dataclass(frozen=True)
class Picture:
    """One frame with its detections: `frame` (y, x), and `y`, `x` [px], `class_id`, `score` of each
    detection."""

    movie: str
    frame: np.ndarray
    frame_number: int
    y: np.ndarray
    x: np.ndarray
    class_id: np.ndarray
    score: np.ndarray
    pixel_size_nm: float


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
        Table ``frames`` of the first `MAX_MOVIES_READ` movies.
    found
        Table name → table, empty where there is no such file.
    nulls
        The same of the null controls; only those that have rows.
    regions
        Table ``regions`` of the movie with the largest hole (or other region).
    absent
        Name of what is not there → why, as a clause.
    """

    run: Mapping[str, Any]
    model: Mapping[str, Any]
    frames: pd.DataFrame
    found: Mapping[str, pd.DataFrame]
    nulls: Mapping[str, pd.DataFrame]
    pictures: list[Picture]
    absent: Mapping[str, str]
    n_movies_unread: int = 0
    regions: pd.DataFrame = field(default_factory=lambda: tables.empty("regions"))
    _cache: dict[str, Any] = field(default_factory=dict)

    def why(self, name: str, otherwise: str) -> str:
        """Return why the table `name` cannot be shown: the file's own trouble, or `otherwise`."""
        return self.absent.get(name, otherwise)

    @cached_property
    def movies(self) -> pd.DataFrame:
        """Rows of ``run.json``'s movies, NaN and "" where it does not say."""
        listed = [m for m in _list(self.run.get("movies")) if isinstance(m, Mapping)]
        if not listed:
            listed = [{"movie": m} for m in dict.fromkeys(self.frames["movie"])]
        numbers = (
            "n_frames",
            "height_px",
            "width_px",
            "pixel_size_nm",
            "frame_time_s",
            "dose_rate_e_per_nm2_s",
        )
        words = ("movie", "source", "status", "reason")
        columns: dict[str, Any] = {c: [number(m.get(c)) for m in listed] for c in numbers}
        columns |= {c: ["" if m.get(c) is None else str(m.get(c)) for m in listed] for c in words}
        return pd.DataFrame(columns)

    def calibration(self, movie: str, column: str) -> float:
        """Return one calibration number of `movie`, NaN where it is not known."""
        values = self.movies.loc[self.movies["movie"] == movie, column]
        return float(values.iloc[0]) if len(values) else math.nan

    @cached_property
    def class_names(self) -> dict[int, str]:
        """Class number → name, of every class that any table mentions."""
        classes = self.found["classes"]
        names = {int(i): str(n) for i, n in zip(classes["class_id"], classes["name"], strict=True)}
        used: set[int] = set()
        for table, column in (("populations", "class_id"), ("transitions", "from_id"), ("transitions", "to_id"),
                              ("msd", "class_id"), ("diffusion", "class_id"), ("dwell_times", "class_id")):  # fmt: skip
            used |= {int(i) for i in self.found[table][column].unique()}
        for i in sorted(used):
            names.setdefault(i, "not named" if i == tables.NOT_NAMED else f"class {i}")
        return names


def read_results(store: Store) -> Results:
    """Return what the results folder of `store` holds.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or nothing of stemkin's in it.
    """
    present = store.names()
    if not {RUN_FILE, "frames", *(f"{t}.parquet" for t in TABLES)} & set(present):
        msg = (
            f"{store.root} is no results folder: it has no {RUN_FILE} and no tables; make one with "
            f"`stemkin run INPUT -o {store.root}`"
        )
        raise FileNotFoundError(msg)
    absent: dict[str, str] = {}
    run = _read_json(store, absent, RUN_FILE)
    found = {
        name: _read_table(store, absent, name, name, present)
        for name in (*TABLES, *NEIGHBOURHOODS, *KINETICS, *FURTHER)
    }
    nulls = {
        name: _read_table(store, absent, f"null_{name}", name, present) for name in NULL_TABLES
    }
    frames, unread = _read_frames(store, absent)
    return Results(
        run=run,
        model=_read_json(store, absent, "model", "model.json"),
        frames=frames,
        found=found,
        nulls={name: rows for name, rows in nulls.items() if len(rows)},
        pictures=_read_pictures(store, absent, run),
        absent=absent,
        n_movies_unread=unread,
        regions=_read_regions(store, absent, found["phases"]),
    )


def number(value: Any) -> float:
    """Return `value` as a finite float, NaN where it is none.

    >>> number("3"), number(None), number("x"), number(1e999)
    (3.0, nan, nan, nan)
    """
    try:
        known = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return known if math.isfinite(known) else math.nan


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _movie_names(run: Mapping[str, Any]) -> dict[str, str]:
    """Return folder name → movie name of the movies that ``run.json`` lists."""
    listed = [m for m in _list(run.get("movies")) if isinstance(m, Mapping)]
    return {folder_name(str(m["movie"])): str(m["movie"]) for m in listed if m.get("movie")}


def _read_json(store: Store, absent: dict[str, str], *path: str) -> Mapping[str, Any]:
    name = "/".join(path)
    if not store.exists(*path):
        absent[name] = f"there is no {name}"
        return {}
    try:
        content = json.loads(store.read_bytes(*path))
    except (ValueError, OSError) as error:
        absent[name] = f"{name} cannot be read ({error})"
        return {}
    return content if isinstance(content, dict) else {}


def _read_table(
    store: Store, absent: dict[str, str], stem: str, name: str, present: list[str]
) -> pd.DataFrame:
    """Return the table `name` in the file called `stem`, empty where that is missing or not what it
    should be."""
    file = f"{stem}.parquet"
    if file not in present:
        absent[stem] = f"there is no {file}"
        return _empty(name)
    try:
        return _conformed(store.read_table(file), name)
    except (ValueError, OSError, TypeError) as error:
        absent[stem] = f"{file} cannot be read ({error})"
        return _empty(name)


def _empty(name: str) -> pd.DataFrame:
    return (
        pd.DataFrame(columns=FURTHER[name])
        if name in FURTHER
        else tables.empty(SAME_COLUMNS.get(name, name))
    )


def _conformed(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return `rows` as the table `name`; a mean patch keeps whatever shape its file gave it."""
    if name in FURTHER:
        missing = sorted(set(FURTHER[name]) - set(rows.columns))
        if missing:
            msg = f"it has no {', '.join(missing)}"
            raise ValueError(msg)
        return rows[list(FURTHER[name])]
    if name == "classes" and "mean_patch" not in rows.columns:
        rows = rows.assign(mean_patch=None)
    return tables.conform(rows, SAME_COLUMNS.get(name, name))


def _read_frames(store: Store, absent: dict[str, str]) -> tuple[pd.DataFrame, int]:
    folders = store.names("frames")
    parts = []
    for folder in folders[:MAX_MOVIES_READ]:
        for file in store.names("frames", folder):
            try:
                rows = tables.conform(store.read_table("frames", folder, file), "frames")
            except (ValueError, OSError) as error:
                absent["frames"] = f"frames/{folder}/{file} cannot be read ({error})"
                continue
            parts.append(rows)
    if not parts:
        absent.setdefault("frames", "there is no table of frames")
        return tables.empty("frames"), 0
    frames = pd.concat(parts, ignore_index=True).sort_values(
        ["movie", "frame"], kind="stable", ignore_index=True
    )
    return frames, max(0, len(folders) - MAX_MOVIES_READ)


def _read_regions(store: Store, absent: dict[str, str], phases: pd.DataFrame) -> pd.DataFrame:
    """Return the regions of the movie in which holes (or else other regions) grow largest."""
    if phases.empty:
        return tables.empty("regions")
    holes = phases[phases["kind"] == "hole"]
    rows = holes if len(holes) else phases
    movie = str(rows["movie"].iloc[int(rows["largest_px"].argmax())])
    try:
        return tables.conform(store.read_movie("regions", movie), "regions")
    except (ValueError, OSError) as error:
        absent["regions"] = f"regions/{folder_name(movie)} cannot be read ({error})"
        return tables.empty("regions")


def _read_pictures(store: Store, absent: dict[str, str], run: Mapping[str, Any]) -> list[Picture]:
    names, pictures = _movie_names(run), []
    sizes = {
        str(m.get("movie")): number(m.get("pixel_size_nm"))
        for m in _list(run.get("movies"))
        if isinstance(m, Mapping)
    }
    files = [name for name in store.names("gallery") if name.endswith(".npz")]
    for file in files[:MAX_PICTURES]:
        stem = file.removesuffix(".npz")
        movie = names.get(stem, unquote(stem))
        try:
            with np.load(
                io.BytesIO(store.read_bytes("gallery", file)), allow_pickle=False
            ) as stored:
                pictures.append(_picture(dict(stored), movie, sizes.get(movie, math.nan)))
        except (
            ValueError,
            OSError,
            KeyError,
            EOFError,
            TypeError,
            io.UnsupportedOperation,
        ) as error:
            absent["gallery"] = f"gallery/{file} cannot be read ({error})"
    if not files:
        absent["gallery"] = "no frame was kept in the results folder"
    return pictures


def _picture(stored: Mapping[str, np.ndarray], movie: str, pixel_size_nm: float) -> Picture:
    frame = np.asarray(stored["frame"], dtype=np.float32)
    if frame.ndim != 2 or not frame.size:
        msg = f"its frame has the shape {frame.shape}, not (y, x)"
        raise ValueError(msg)
    y, x, score = (np.asarray(stored[k], dtype=np.float64).ravel() for k in ("y", "x", "score"))
    class_id = np.asarray(stored["class_id"], dtype=np.int64).ravel()
    if not len(y) == len(x) == len(score) == len(class_id):
        msg = "y, x, class_id and score differ in length"
        raise ValueError(msg)
    inside = (y > -0.5) & (y < frame.shape[0] - 0.5) & (x > -0.5) & (x < frame.shape[1] - 0.5)
    own = number(stored["pixel_size_nm"]) if "pixel_size_nm" in stored else math.nan
    size = own if math.isfinite(own) else pixel_size_nm
    y, x, class_id, score = (a[inside] for a in (y, x, class_id, score))
    return Picture(movie, frame, int(stored["frame_number"]), y, x, class_id, score, size)
