"""The class of Dask tables that remember the experiment behind their rows (`stemkin.rows.table`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask
import dask.dataframe as dd

from stemkin.tables import Experiment


class Rows(dd.DataFrame):
    """A Dask DataFrame with ``.experiment``; see `stemkin.rows.table`."""

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
