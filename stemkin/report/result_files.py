"""Reading a results folder without trust.

Whatever is missing, empty or damaged becomes a clause in `Results.absent`, not an error.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.detection.patch_grid import GRID
from stemkin.names import folder_name
from stemkin.report.reels import read_reels
from stemkin.report.results import Picture, Results, listed_movies, number
from stemkin.report.seldom import seldom_seen, without_classes
from stemkin.results.store import RUN_FILE, Store
from stemkin.seals import unsealed_npz

TABLES = ("classes", "populations", "transitions", "msd", "diffusion", "dwell_times")
NEIGHBOURHOODS = ("structure", "modes", "strain", "phases")
"""Tables that results of earlier versions lack."""
KINETICS = (
    "hidden_transitions",
    "name_errors",
    "survival",
    "abundances",
    "efficiencies",
    "creation",
    "meetings",
    "self_check",
    "hopping",
    "both_answers",
    "dopant_rates",
    "dopant_transitions",
    "orientation_rates",
    "orientation_transitions",
)
"""Likewise."""
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
    "mobilities": (
        *("movie", "class_id", "population", "share", "share_low", "share_high"),
        *("D_nm2_per_s", "low", "high"),
    ),
    "gaussianity": ("movie", "class_id", "n", "excess", "p_value", "gaussian"),
    "chain": ("class_id", "set", "seen_share", "stationary_share"),
    "timescales": ("lag_frames", "set", "rank", "timescale_s", "low", "high"),
    "chapman_kolmogorov": ("lag_frames", "from_id", "to_id", "predicted", "measured", "agrees"),
    "reversibility": ("statistic", "degrees_of_freedom", "p_value", "reversible"),
    "beam_transitions": ("movie", "from_id", "to_id", "count", "cross_section_barn", "low", "high"),
}
"""Tables that a run may write besides those of the contract, and the columns that are looked at."""
SAME_COLUMNS = {"static_transitions": "transitions"}
"""Tables that have the columns of another one."""
OBSERVER = "observer_"
"""How the arrays of a model begin that its observer consists of."""
MAX_MOVIES_READ = 200
"""The frames of more movies than this are not read: the report says how many it looked at."""
MAX_PICTURES = 4
DAMAGED_PICTURE = (ValueError, OSError, KeyError, EOFError, TypeError, io.UnsupportedOperation)
"""What reading a damaged picture may raise."""


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
    found, nulls = {}, {}
    for name in (*TABLES, *NEIGHBOURHOODS, *KINETICS, *FURTHER):
        found[name] = _read_table(store, absent, name, name, present)
    for name in NULL_TABLES:
        rows = _read_table(store, absent, f"null_{name}", name, present)
        if len(rows):
            nulls[name] = rows
    frames, unread = _read_frames(store, absent)
    seldom = seldom_seen(found["classes"])
    found, nulls = without_classes(found, seldom), without_classes(nulls, seldom)
    return Results(
        run=run,
        model=_read_json(store, absent, "model", "model.json"),
        frames=frames,
        found=found,
        nulls=nulls,
        pictures=_read_pictures(store, absent, run),
        absent=absent,
        n_movies_unread=unread,
        regions=_read_regions(store, absent, found["phases"]),
        learned=_read_learned(store, absent),
        reels=read_reels(store, absent, run),
        seldom=seldom,
    )


def _read_json(store: Store, absent: dict[str, str], *path: str) -> Mapping[str, Any]:
    name = "/".join(path)
    if not store.exists(*path):
        absent[name] = f"there is no {name}"
        return {}
    try:
        if path == (RUN_FILE,):
            return store.read_json(*path) or {}
        content = json.loads(store.read_bytes(*path))
    except (ValueError, OSError) as error:
        absent[name] = f"{name} cannot be read ({error})"
        return {}
    if not isinstance(content, dict):
        return {}
    return content


def _read_table(
    store: Store, absent: dict[str, str], stem: str, name: str, present: list[str]
) -> pd.DataFrame:
    """Return a table, empty where it is missing or not what it should be.

    Parameters
    ----------
    store, present
        The folder, and the names in it.
    absent
        Gets the reason why there is none.
    stem
        Name of the file, without its ending.
    name
        Of the table, which decides its columns.
    """
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
    if name in FURTHER:
        return pd.DataFrame(columns=FURTHER[name])
    return tables.empty(SAME_COLUMNS.get(name, name))


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
    """Return the frames of the first movies, and of how many movies they were not read."""
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
    frames = pd.concat(parts, ignore_index=True)
    frames = frames.sort_values(["movie", "frame"], kind="stable", ignore_index=True)
    return frames, max(0, len(folders) - MAX_MOVIES_READ)


def _read_regions(store: Store, absent: dict[str, str], phases: pd.DataFrame) -> pd.DataFrame:
    """Return the regions of the movie in which holes (or else other regions) grow largest."""
    if phases.empty:
        return tables.empty("regions")
    rows = phases[phases["kind"] == "hole"]
    if rows.empty:
        rows = phases
    movie = str(rows["movie"].iloc[int(rows["largest_px"].argmax())])
    try:
        return tables.conform(store.read_movie("regions", movie), "regions")
    except (ValueError, OSError) as error:
        absent["regions"] = f"regions/{folder_name(movie)} cannot be read ({error})"
        return tables.empty("regions")


def _read_pictures(store: Store, absent: dict[str, str], run: Mapping[str, Any]) -> list[Picture]:
    listed, pictures = _calibrated_movies(run), []
    files = [name for name in store.names("gallery") if name.endswith(".npz")]
    for file in files[:MAX_PICTURES]:
        stem = file.removesuffix(".npz")
        movie, pixel_size_nm = listed.get(stem, (unquote(stem), math.nan))
        try:
            stored = unsealed_npz(store.read_bytes("gallery", file), f"gallery/{file}")
            pictures.append(_picture(stored, movie, pixel_size_nm))
        except DAMAGED_PICTURE as error:
            absent["gallery"] = f"gallery/{file} cannot be read ({error})"
    if not files:
        absent["gallery"] = "no frame was kept in the results folder"
    return pictures


def _read_learned(store: Store, absent: dict[str, str]) -> dict[str, np.ndarray]:
    """Return what the observer of the model learned, by the names of its parts; empty for none."""
    if not store.exists("model", "arrays.npz"):
        return {}
    try:
        content = io.BytesIO(store.read_bytes("model", "arrays.npz"))
        with np.load(content, allow_pickle=False) as stored:
            names = [name for name in stored.files if name.startswith(OBSERVER)]
            parts = {name.removeprefix(OBSERVER): stored[name] for name in names}
    except (*DAMAGED_PICTURE, zipfile.BadZipFile) as error:
        absent["observer"] = f"model/arrays.npz cannot be read ({error})"
        return {}
    n_points = len(GRID)
    if parts and parts.get("signatures", np.zeros(0)).shape != (2, n_points):
        absent["observer"] = f"model/arrays.npz holds no signatures of {n_points} points"
        return {}
    return parts


def _calibrated_movies(run: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Return folder name → name and pixel size [nm] of the movies that ``run.json`` lists."""
    movies = {}
    for movie in listed_movies(run):
        if movie.get("movie"):
            name = str(movie["movie"])
            movies[folder_name(name)] = (name, number(movie.get("pixel_size_nm")))
    return movies


def _picture(stored: Mapping[str, np.ndarray], movie: str, pixel_size_nm: float) -> Picture:
    """Return the picture that a file holds, with the detections that lie in its frame."""
    frame = np.asarray(stored["frame"], dtype=np.float32)
    if frame.ndim != 2 or not frame.size:
        msg = f"its frame has the shape {frame.shape}, not (y, x)"
        raise ValueError(msg)
    y, x, score = (np.asarray(stored[k], dtype=np.float64).ravel() for k in ("y", "x", "score"))
    class_id = np.asarray(stored["class_id"], dtype=np.int64).ravel()
    if not len(y) == len(x) == len(score) == len(class_id):
        lengths = [len(y), len(x), len(score), len(class_id)]
        msg = f"y, x, score and class_id must have one length, but have {lengths}"
        raise ValueError(msg)
    inside = (y > -0.5) & (y < frame.shape[0] - 0.5) & (x > -0.5) & (x < frame.shape[1] - 0.5)
    y, x, class_id, score = (a[inside] for a in (y, x, class_id, score))
    own = number(stored.get("pixel_size_nm"))
    if math.isfinite(own):
        pixel_size_nm = own
    return Picture(movie, frame, int(stored["frame_number"]), y, x, class_id, score, pixel_size_nm)
