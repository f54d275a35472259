"""What is known of the movies behind a table: frame times, doses and pixel sizes, as one object.

A verb makes it once, of what its table remembers and what its keywords say, and hands it to all
that need a calibration.

>>> movies = pd.DataFrame({"movie": ["a", "b"], "frame_time_s": [2.0, np.nan]})
>>> known = Calibrations.of(pd.DataFrame(), Experiment(movies))
>>> known.frame_times()("a")
2.0
>>> known.frame_times()("b")
Traceback (most recent call last):
ValueError: movie 'b' has no frame time; give it in the manifest, or pass frame_time_s=...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin.rows.tracks import known_experiment
from stemkin.tables import Experiment
from stemkin.vocabulary import check_frame_time

OfMovie = Callable[[str], float]
"""Tells a number of a movie."""


@dataclass(frozen=True, eq=False)
class Calibrations:
    """Calibrations of the movies of a table.

    Attributes
    ----------
    experiment
        What is known of the movies; None where nothing is.
    frame_time_s
        Frame time of all movies [s], instead of the experiment's.
    """

    experiment: Experiment | None = None
    frame_time_s: float | None = None

    @classmethod
    def of(
        cls, rows: Any, experiment: Experiment | None = None, frame_time_s: float | None = None
    ) -> Calibrations:
        """Return what the words of a verb say; `experiment` defaults to what `rows` remember.

        Raises
        ------
        ValueError
            If `frame_time_s` is no positive number.
        """
        check_frame_time(frame_time_s)
        return cls(known_experiment(rows, experiment), frame_time_s)

    @property
    def movies(self) -> pd.DataFrame:
        """Table ``movies``; without rows where nothing is known."""
        if self.experiment is None:
            return pd.DataFrame({"movie": []})
        return self.experiment.movies

    def stated(self, column: str) -> dict[str, float]:
        """Return movie → the number in a column of ``movies``; empty where there is none.

        Parameters
        ----------
        column
            ``frame_time_s``, ``pixel_size_nm``, ``dose_rate_e_per_nm2_s``, ...
        """
        if column not in self.movies.columns:
            return {}
        values = self.movies[column].astype(float)
        return dict(zip(self.movies["movie"].astype(str), values, strict=True))

    def of_movie(self, movie: str) -> pd.Series:
        """Return the row of ``movies`` that belongs to `movie`.

        Raises
        ------
        ValueError
            If there is no such movie.
        """
        return Experiment(self.movies).of_movie(movie)

    def frame_times(self) -> OfMovie:
        """Return what tells the frame time of a movie [s].

        Raises
        ------
        ValueError
            If no frame time is known, at once or when a movie without one is asked for.
        """
        if self.frame_time_s is not None:
            return _always(float(self.frame_time_s))
        if not isinstance(self.experiment, Experiment):
            msg = (
                "the time between frames is not known; pass frame_time_s=... (or "
                "experiment=detections.experiment)"
            )
            raise ValueError(msg)
        cure = "frame time; give it in the manifest, or pass frame_time_s=..."
        return _needed(self.stated("frame_time_s"), cure)

    def frame_times_if_known(self) -> OfMovie:
        """Return what tells the frame time of a movie [s]; NaN where nothing at all is known.

        Raises
        ------
        ValueError
            If other movies have a frame time, and one that is asked for has none.
        """
        if self.experiment is None and self.frame_time_s is None:
            return _always(np.nan)
        return self.frame_times()

    def doses(self) -> OfMovie:
        """Return what tells the dose that one frame of a movie adds [e/nm²].

        Raises
        ------
        ValueError
            If a frame time is not known, or a movie without a dose rate is asked for.
        """
        cure = "dose rate; give dose_rate_e_per_nm2_s in the manifest or the settings"
        seconds, rate = self.frame_times(), _needed(self.stated("dose_rate_e_per_nm2_s"), cure)
        return lambda movie: rate(movie) * seconds(movie)

    def pixel_sizes(self) -> OfMovie:
        """Return what tells the size of a pixel of a movie [nm].

        Raises
        ------
        ValueError
            When a movie without one is asked for.
        """
        cure = "pixel size; give pixel_size_nm in the manifest"
        return _needed(self.stated("pixel_size_nm"), cure)


def _always(value: float) -> OfMovie:
    return lambda _: value


def _needed(values: Mapping[str, float], what_and_cure: str) -> OfMovie:
    """Return what tells the value of a movie, and refuses a movie without one."""

    def of_movie(movie: str) -> float:
        value = values.get(movie, np.nan)
        if not value > 0:
            msg = f"movie {movie!r} has no {what_and_cure}"
            raise ValueError(msg)
        return value

    return of_movie
