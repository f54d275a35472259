"""Files of tracks as partitions that hold whole tracks.

Files with one block of frames each are read so that a movie whose rows fit becomes one partition,
and a larger one several, each with every row of its own particles. Where a movie is giant, every
partition would read all its files; `run` therefore writes such movies once more, in files of whole
tracks (`stemkin.pipeline.whole_tracks`), each of which is a partition as it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stemkin.kernels.common.hashing import mixed
from stemkin.rows.parquet import columns_in, metadata_in
from stemkin.rows.table import with_experiment
from stemkin.tables import Experiment, empty

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows

ROWS_PER_PARTITION = 2_000_000
"""Rows that one partition of `tracks_in_files` holds at most, about: 0.5 GB with all their temporary
arrays."""


def tracks_in_files(
    files: Mapping[str, Sequence[str]],
    experiment: Experiment | None = None,
    *,
    columns: Sequence[str] = ("movie", "frame", "y", "x", "class_id", "particle", "y_nm", "x_nm"),
    rows_per_partition: int = ROWS_PER_PARTITION,
    whole: Collection[str] = (),
) -> Rows:
    """Read Parquet files of tracks, cut anywhere in time, as partitions of whole tracks. Lazy.

    Parameters
    ----------
    files
        Movie → its files (paths or URLs), each with some of its frames.
    experiment
        Travels with the rows.
    columns
        What to read; ``y``, ``x`` (by which D is corrected at the borders) only where the files
        have them.
    rows_per_partition
        A movie with more rows is split by particle; each of its n partitions reads the movie's
        files once.
    whole
        Movies each of whose files holds whole tracks, as `run` writes them of large movies: a file
        is a partition, and each row is read once.

    Returns
    -------
    One partition per movie, or several where it is large; they know that their tracks are whole.
    """
    import dask.dataframe as dd

    jobs: list[tuple[tuple[str, ...], int, int]] = []
    own: list[tuple[tuple[str, ...], int, int]]
    owners: list[str] = []
    for movie, paths in files.items():
        if movie in whole:
            own = [((path,), 0, 1) for path in paths]
        else:
            n_rows = sum(map(_n_rows, paths))
            n_parts = partitions_for(n_rows, rows_per_partition)
            own = [(tuple(paths), part, n_parts) for part in range(n_parts)]
        jobs += own
        owners += [movie] * len(own)
    if not jobs:
        nothing = dd.from_pandas(_no_rows(columns), npartitions=1)
        return with_experiment(nothing, experiment, whole_tracks=True)
    there = metadata_in(jobs[0][0][0]).schema.to_arrow_schema()
    columns = [c for c in columns if c in there.names or c not in ("y", "x")]
    meta = there.empty_table().select(columns).to_pandas()
    rows = dd.from_map(_read_part, jobs, columns=tuple(columns), meta=meta)
    return with_experiment(rows, experiment, movie_of_partition=owners, whole_tracks=True)


def _read_part(job: tuple[tuple[str, ...], int, int], *, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows in `paths` whose particle falls into `part` of `n_parts`."""
    paths, part, n_parts = job
    kept = [_read_file(path, part, n_parts, columns) for path in paths]
    if not kept:
        return _no_rows(columns)
    return pd.concat(kept, ignore_index=True)


def _read_file(path: str, part: int, n_parts: int, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows of one file whose particle falls into `part` of `n_parts`.

    Only these become a pandas table.
    """
    import pyarrow as pa

    rows = columns_in(path, columns)
    if n_parts == 1:
        return pd.DataFrame(rows.to_pandas())
    own = part_of(rows["particle"].to_numpy(), n_parts) == part
    return pd.DataFrame(rows.filter(pa.array(own)).to_pandas())


def part_of(particle: np.ndarray, n_parts: int) -> np.ndarray:
    """Share out particles evenly by their names alone.

    Parameters
    ----------
    particle
        (n,) names.
    n_parts
        Number of shares.

    Returns
    -------
    (n,) share of each, 0 to ``n_parts - 1``.

    Examples
    --------
    >>> part_of(np.array([7, 8, 7]), 3).tolist()
    [0, 1, 0]
    """
    return (mixed(particle) % np.uint64(n_parts)).astype(np.int64)


def partitions_for(n_rows: int, rows_per_partition: int | None = None) -> int:
    """Return into how many partitions of whole tracks a movie with `n_rows` rows is shared out."""
    most = rows_per_partition or ROWS_PER_PARTITION
    return max(1, -(-n_rows // most))


def _n_rows(path: str) -> int:
    return int(metadata_in(path).num_rows)


def _no_rows(columns: Sequence[str]) -> pd.DataFrame:
    return empty("tracks")[list(columns)]
