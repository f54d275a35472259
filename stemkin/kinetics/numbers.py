"""How many defects of each class there are, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from stemkin.kinetics.changes import names_of
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import ONLY_MOVIE, whole_numbers
from stemkin.tables import OK, Experiment, check_columns, conform, empty
from stemkin.vocabulary import chosen_classes, of_classes, refuse_negative_frames

MOST_FRAMES = 50_000_000
"""No movie has more frames, as far as is known; a row beyond is a slip, and a number for each frame
up to it too much."""


@verb
def populations(
    detections: Any,
    *,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
) -> Question[pd.DataFrame]:
    """Return how many defects of each class there are in every frame. Computes once: one pass.

    Parameters
    ----------
    detections
        Table ``detections`` or ``tracks`` (pandas or Dask, cut anywhere).
    class_name, class_names, class_ids
        Classes that the table tells of: one, several, or their numbers; by default all.
    experiment
        Tells which frames were looked at: those with status "ok" of its table ``frames``; without
        that table all frames of the movie; without an experiment those from 0 to the last one with
        a row. A frame that was looked at and in which a class is not found has the number 0.
    frame_time_s
        One frame time for all movies, instead of the experiment's.

    Returns
    -------
    Table ``populations``, sorted by movie, frame and class.

    Raises
    ------
    ValueError
        If a column is missing, a frame or class is no whole number, a frame lies outside its movie,
        or a frame time is not known.
    """
    calibrations = Calibrations.of(detections, experiment, frame_time_s)
    known, time_of = calibrations.experiment, calibrations.frame_times()
    chosen = chosen_classes(
        known, class_name=class_name, class_names=class_names, class_ids=class_ids
    )

    def table(sums: Sums) -> pd.DataFrame:
        return of_classes(_table(sums, known, time_of), chosen)

    return Question(count_per_frame, table, of_tracks=False)


def _table(sums: Sums, known: Experiment | None, time_of: Callable[[str], float]) -> pd.DataFrame:
    """Return the table ``populations`` of the sums of `count_per_frame`."""
    listed = frames_listed(known)
    for (movie, _), numbers in sums.items():
        last = numbers.first + len(numbers.counts) - 1
        refuse_frames_outside(listed, movie, numbers.first, last)
    looked_at = frames_looked_at(known)
    movies = {movie for movie, _ in sums}
    if known is not None:
        movies |= set(known.movies["movie"].astype(str))
    classes = sorted({*names_of(known), *(class_id for _, class_id in sums)})
    if not movies or not classes:
        return empty("populations")
    parts = []
    for movie in sorted(movies):
        frames, times = _looked_at(listed, looked_at, movie, classes, sums)
        frame_time_s = 0.0  # a single frame needs none
        if listed.get(movie) != 1:
            frame_time_s = time_of(movie)
        parts.append(_of_movie(movie, classes, sums, frames, times, frame_time_s))
    return conform(pd.concat(parts), "populations")


def count_per_frame(rows: pd.DataFrame) -> Sums:
    """Return movie, class → (2, m) frames with a detection and how many. Computes once."""
    check_columns(rows, "detections", needed=("frame", "class_id"))
    movies: Any = rows.get("movie")
    if movies is None:
        movies = pd.Series(ONLY_MOVIE, index=rows.index)
    frame = pd.Series(whole_numbers(rows, "frame"), index=rows.index)
    named = pd.Series(whole_numbers(rows, "class_id"), index=rows.index)
    sums: Sums = {}
    for key, frames in frame.groupby([movies, named], observed=True):
        movie, class_id = cast("tuple[str, int]", key)
        first = int(frames.min())
        refuse_frames_outside({}, str(movie), first, int(frames.max()))
        counts = np.bincount(frames.to_numpy().astype(np.int64) - first)
        sums[str(movie), int(class_id)] = _Numbers(first, counts)
    return sums


class _Numbers:
    """Numbers of consecutive frames, from `first` on; adding aligns them."""

    def __init__(self, first: int, counts: np.ndarray) -> None:
        self.first, self.counts = first, counts

    def __add__(self, other: _Numbers) -> _Numbers:
        first = min(self.first, other.first)
        stop = max(self.first + len(self.counts), other.first + len(other.counts))
        return _Numbers(first, self.between(first, stop) + other.between(first, stop))

    def between(self, first: int, stop: int) -> np.ndarray:
        """Return the numbers of frames `first` to `stop` (excluded)."""
        counts = np.zeros(stop - first, dtype=np.int64)
        start, end = max(first, self.first), min(stop, self.first + len(self.counts))
        if end > start:
            counts[start - first : end - first] = self.counts[start - self.first : end - self.first]
        return counts


def frames_looked_at(known: Experiment | None) -> dict[str, pd.DataFrame]:
    """Return movie → its rows of the table ``frames``, without reading pixels. Computes once."""
    if known is None or known.frames is None:
        return {}
    wanted = ("movie", "frame", "status", "time_s", "vacuum")
    frames = known.frames[[column for column in wanted if column in known.frames.columns]]
    if not isinstance(frames, pd.DataFrame):
        frames = frames.compute()
    return {str(movie): own for movie, own in frames.groupby("movie", observed=True)}


def frames_listed(known: Experiment | None) -> dict[str, int]:
    """Return movie → its number of frames, of the movies whose length is known."""
    if known is None or "n_frames" not in known.movies.columns:
        return {}
    rows = zip(known.movies["movie"], known.movies["n_frames"], strict=True)
    return {str(movie): int(n) for movie, n in reversed(list(rows)) if pd.notna(n)}


def refuse_frames_outside(listed: Mapping[str, int], movie: str, first: int, last: int) -> None:
    """Refuse rows of frames that `movie` has not.

    Parameters
    ----------
    listed
        Of `frames_listed`: how many frames movies have.
    movie
        The movie that the rows say.
    first, last
        Its first and last frame, by the rows.

    Raises
    ------
    ValueError
        If `first` is negative, or `last` is beyond the movie's last frame; where its length is not
        known, beyond `MOST_FRAMES`.
    """
    refuse_negative_frames(movie, first)
    n = listed.get(movie, MOST_FRAMES)
    if last >= n:
        msg = (
            f"movie {movie!r} has the frames 0 to {n - 1}, but rows say frame {last}; give these "
            "rows another movie, or correct n_frames"
        )
        raise ValueError(msg)


def _looked_at(
    listed: Mapping[str, int],
    frames: dict[str, pd.DataFrame],
    movie: str,
    classes: list[int],
    sums: Any,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the frames of `movie` that were looked at, and their times where these are known."""
    if movie in frames:
        own = frames[movie]
        own = own[own["status"] == OK].sort_values("frame")
        return own["frame"].to_numpy(np.int64), own["time_s"].to_numpy(np.float64)
    n = listed.get(movie, 0)
    if n == 0:  # of a movie that nobody listed, up to its last row
        found = [sums[movie, i] for i in classes if (movie, i) in sums]
        n = max((numbers.first + len(numbers.counts) for numbers in found), default=0)
    return np.arange(n), None


def _of_movie(
    movie: str,
    classes: list[int],
    sums: Any,
    frames: np.ndarray,
    times: np.ndarray | None,
    frame_time_s: float,
) -> pd.DataFrame:
    seconds = frames * frame_time_s
    if times is not None:
        seconds = np.where(np.isfinite(times), times, seconds)
    stop = int(frames.max(initial=-1)) + 1
    nobody = _Numbers(0, np.zeros(0, dtype=np.int64))
    n = np.stack([sums.get((movie, i), nobody).between(0, stop)[frames] for i in classes], axis=1)
    return pd.DataFrame(
        {
            "movie": movie,
            "frame": np.repeat(frames, len(classes)),
            "time_s": np.repeat(seconds, len(classes)),
            "class_id": np.tile(np.array(classes), len(frames)),
            "n": n.ravel(),
        }
    )
