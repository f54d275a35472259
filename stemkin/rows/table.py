"""A Dask DataFrame that remembers the experiment behind its rows.

``detect`` and ``link`` return `Rows`: an ordinary `dask.dataframe.DataFrame`, plus ``.experiment``
(calibration, frames, class names). Any pandas-like operation gives a plain Dask DataFrame again,
without it; hand it on by name then: ``link(strong, experiment=detections.experiment)``.

`Rows` are lazy: two questions to ``tracks`` would read the pixels twice. ``detections.persist()``
keeps the rows, and the frames behind them, where they were computed.

Where the movie of each partition is known before computing, `Rows` say so in
``.movie_of_partition``; and where each partition is known to hold whole tracks, in
``.whole_tracks``.

Dask tables take two seconds to load. Whoever only computes on rows, as a worker does that looks at
pixels or links, never loads them: `Rows` itself lies in `stemkin.rows.collection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from stemkin.rows.tracks import known_experiment
from stemkin.tables import Experiment

if TYPE_CHECKING:
    import dask.dataframe as dd

    from stemkin.rows.collection import Rows


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
    from stemkin.rows.collection import Rows

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
        import dask.dataframe as dd

        return dd.from_pandas(rows, npartitions=1, sort=False)
    return rows
