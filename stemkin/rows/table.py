"""A Dask DataFrame that remembers the experiment behind its rows.

``detect`` and ``link`` return `Rows`: an ordinary `dask.dataframe.DataFrame`, plus ``.experiment``
(calibration, frames, class names). Any pandas-like operation gives a plain Dask DataFrame again,
without it; hand it on by name then: ``link(strong, experiment=detections.experiment)``.

`Rows` are lazy: two questions to ``tracks`` would read the pixels twice. ``detections.persist()``
keeps the rows, and the frames behind them, where they were computed.

Where the movie of each partition is known before computing, `Rows` say so in
``.movie_of_partition``; and where each partition is known to hold whole tracks, in
``.whole_tracks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd

from stemkin.rows.tracks import known_experiment
from stemkin.tables import Experiment


class Rows(dd.DataFrame):
    """A Dask DataFrame with ``.experiment``; see the module's docstring."""

    def __init__(
        self,
        expr: Any,
        experiment: Experiment | None = None,
        movie_of_partition: Sequence[str] | None = None,
        whole_tracks: bool = False,
    ) -> None:
        """Wrap the expression `expr` of a Dask DataFrame."""
        super().__init__(expr)
        object.__setattr__(self, "experiment", experiment)
        object.__setattr__(self, "movie_of_partition", movie_of_partition)
        object.__setattr__(self, "whole_tracks", whole_tracks)

    def persist(self, **kwargs: Any) -> Rows:
        """Keep the rows, and the table of frames behind them, in memory. Computes once.

        Each frame of a movie is read once.

        Parameters
        ----------
        kwargs
            As for `dask.persist`.

        Returns
        -------
        The same `Rows`, held by the workers (or by this process, without a cluster).
        """
        experiment = self.experiment
        frames = getattr(experiment, "frames", None)
        if not dask.is_dask_collection(frames):
            (rows,) = dask.persist(self, **kwargs)
            return Rows(rows.expr, experiment, self.movie_of_partition, self.whole_tracks)
        rows, frames = dask.persist(self, frames, **kwargs)
        experiment = replace(experiment, frames=frames)
        return Rows(rows.expr, experiment, self.movie_of_partition, self.whole_tracks)


def with_experiment(
    rows: Any,
    experiment: Experiment | None,
    *,
    movie_of_partition: Sequence[str] | None = None,
    whole_tracks: bool = False,
) -> Rows:
    """Return the Dask DataFrame `rows` as `Rows` that know their `experiment`. Lazy.

    Parameters
    ----------
    rows
        Any Dask DataFrame.
    experiment
        What is known of the movies, None where that is nothing.
    movie_of_partition
        The movie of each partition, where every partition holds rows of one movie only and that is
        known already.
    whole_tracks
        Whether each partition is known to hold all rows of each of its tracks.
    """
    return Rows(rows.expr, experiment, movie_of_partition, whole_tracks)


def experiment_of(rows: Any, experiment: Experiment | None = None) -> Experiment:
    """Return `experiment`, or the one that `rows` remember.

    Raises
    ------
    ValueError
        If neither is known.
    """
    known = known_experiment(rows, experiment)
    if not isinstance(known, Experiment):
        msg = (
            "the calibration behind these rows is not known; pass experiment=... (for instance "
            "experiment=detections.experiment)"
        )
        raise ValueError(msg)
    return known


def as_dask(rows: Any) -> dd.DataFrame:
    """Return `rows` as a Dask DataFrame; a pandas table becomes one partition. Lazy."""
    if isinstance(rows, pd.DataFrame):
        return dd.from_pandas(rows, npartitions=1, sort=False)
    return rows
