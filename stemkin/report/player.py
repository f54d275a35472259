"""The player: frames in motion, with detections and tracks drawn on them by the page's own script.

What the script draws is handed over as JSON, in whole numbers: places in tenths of a pixel,
probabilities in per cent. The script writes names as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from stemkin.plot import images
from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.plot.summaries import in_class_order
from stemkin.report.lookups import label_of, sentence
from stemkin.report.reels import MAX_MARKS
from stemkin.report.results import Reel, Results
from stemkin.report.words import number_of
from stemkin.results.store import THUMBNAILS
from stemkin.tables import NOT_NAMED

SHORT_NAME = 60
"""So many letters of a movie's name stand in the list of movies."""


@cache
def page_script() -> Markup:
    """Return the script of the page, which is the same in every report."""
    return Markup(files("stemkin.report").joinpath("templates/page.js").read_text())  # noqa: S704


@cache
def script_hash() -> str:
    """Return what the content-security policy calls the script: it allows no other."""
    digest = hashlib.sha256(str(page_script()).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def player_section(results: Results) -> dict[str, Any]:
    """Return the movies that can be played, and in words what is not shown of them."""
    reels = results.reels
    if not reels:
        why = results.why(THUMBNAILS, "no pictures of frames were kept")
        return {"nothing": sentence(why), "data": None}
    ids = in_class_order(np.concatenate([reel.marks["class_id"] for reel in reels]))
    return {
        "nothing": None,
        "data": {
            "movies": [_movie(results, reel) for reel in reels],
            "classes": _classes(results, ids),
        },
        "movies": [_short(reel.movie) for reel in reels],
        "legend": _legend(results, ids),
        "notes": _notes(results),
    }


def _short(name: str) -> str:
    """Return a name that fits into a list."""
    if len(name) <= SHORT_NAME:
        return name
    return name[: SHORT_NAME - 1] + "…"


def _classes(results: Results, ids: list[int]) -> list[dict[str, Any]]:
    """Return number, name, colour and mark of each class, as the script draws them."""
    named = [(i, results.name_of(i)) for i in ids]
    return [{"id": i, "name": n, "role": role_of(i), "mark": marker_of(i)} for i, n in named]


def _legend(results: Results, ids: list[int]) -> list[dict[str, Any]]:
    entries = []
    for i in ids:
        n = sum(int((reel.marks["class_id"] == i).sum()) for reel in results.reels)
        entry = {"role": role_of(i), "mark": marker_of(i), "label": label_of(results, i)}
        entries.append({**entry, "id": i, "n": f"{n:,}"})
    return entries


def _movie(results: Results, reel: Reel) -> dict[str, Any]:
    """Return what the script needs of one movie."""
    frame_time_s = results.calibration(reel.movie, "frame_time_s")
    pixel_size_nm = results.calibration(reel.movie, "pixel_size_nm")
    width = int(reel.pictures["width_px"].iloc[0])
    bar_nm = None
    if math.isfinite(pixel_size_nm) and pixel_size_nm > 0:
        bar_nm = images.scale_bar_nm(width * pixel_size_nm)
    particles, place = np.unique(reel.marks["particle"].to_numpy(), return_inverse=True)
    return {
        "name": reel.movie,
        "width": width,
        "height": int(reel.pictures["height_px"].iloc[0]),
        "bar": None if bar_nm is None else [f"{plain(bar_nm)} nm", bar_nm / pixel_size_nm],
        "frames": reel.pictures["frame"].tolist(),
        "times": _times(reel, frame_time_s),
        "shifts": np.round(10 * reel.shifts).astype(int).tolist(),
        "images": [base64.b64encode(content).decode() for content in reel.pictures["jpeg"]],
        "particles": particles.tolist(),
        "marks": _marks(reel, place),
    }


def _times(reel: Reel, frame_time_s: float) -> list[str]:
    """Return when each picture was taken, in words; empty where it is not known."""
    if not math.isfinite(frame_time_s):
        return ["" for _ in reel.pictures["frame"]]
    return [f"{plain(number * frame_time_s)} s" for number in reel.pictures["frame"]]


def _marks(reel: Reel, place: np.ndarray) -> list[list[int]]:
    """Return the marks of each picture: track, class, y, x [px/10], signal-to-noise, per cent.

    Six numbers a mark, one mark behind the other; `place` (m,) is the number of each mark's track.
    """
    rows = reel.marks
    percent = np.nan_to_num(100 * rows["probability"].to_numpy(), nan=-1)
    score = np.nan_to_num(10 * rows["score"].to_numpy(), nan=-1, posinf=-1)
    columns = (place, rows["class_id"], 10 * rows["y"], 10 * rows["x"], score, percent)
    numbers = np.stack([np.round(np.asarray(c, dtype=float)).astype(int) for c in columns], axis=1)
    frame = rows["frame"].to_numpy()
    return [numbers[frame == kept].ravel().tolist() for kept in reel.pictures["frame"]]


def _notes(results: Results) -> list[str]:
    """Return what is not shown, in sentences."""
    reels, notes = results.reels, []
    n_movies = int((results.movies["status"] != "failed").sum())
    if n_movies > len(reels):
        notes.append(
            f"Pictures of {number_of(len(reels), 'movie')} were kept; the other "
            f"{n_movies - len(reels):,} have no player."
        )
    longest = max(reels, key=lambda reel: int(reel.pictures["frame"].max()))
    numbers = longest.pictures["frame"].to_numpy()
    if len(numbers) > 1 and (np.diff(numbers) > 1).any():
        notes.append(
            f"Of long movies {len(numbers)} frames are shown, evenly spaced; numbers are those of "
            "all frames."
        )
    n_hidden = sum(reel.n_hidden for reel in reels)
    if n_hidden:
        notes.append(
            f"{number_of(n_hidden, 'mark')} of crowded frames are not drawn: the {MAX_MARKS} "
            "clearest of each frame are."
        )
    if any((reel.marks["particle"] == NOT_NAMED).any() for reel in reels):
        notes.append("Nothing was linked, so detections have no tracks.")
    return notes
