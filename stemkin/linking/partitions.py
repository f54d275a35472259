"""How `link` lies over a Dask table: which partitions are linked together, and into how many.

    detections   in_movies ── halos ── count ── link ─── name ─┐
                                 │        └── names            ├─ partitions with whole tracks
    detections   in_movies ── halos ── count ── link ─── name ─┘

Only the frames around a seam, the counted steps and the names go from block to block: a few frames'
worth of rows, two histograms, and (where gaps are closed) the ends and starts of tracks. The graph
has a bounded number of tasks per block, whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.linking.clock import Clock
from stemkin.linking.exchange import exchanged
from stemkin.linking.executors import Graph
from stemkin.linking.halos import held_blocks, in_movies
from stemkin.linking.names import no_tracks, together
from stemkin.linking.order import link_in_order
from stemkin.linking.settings import LinkSettings
from stemkin.rows.files import partitions_for
from stemkin.rows.table import with_experiment

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows

BLOCKS_PER_PARTITION = 32
"""Blocks of a movie whose tracks make one partition, where the number of rows is not known before
computing: about as many as `stemkin.rows.files.ROWS_PER_PARTITION` in a crowded movie."""


def lay_out(detections: Any, experiment: tables.Experiment, settings: LinkSettings) -> Rows:
    """Return the table ``tracks``. Lazy.

    Parameters
    ----------
    detections
        Dask table; partitions hold whole frames, in the order of time.
    experiment, settings
        As in `link`.

    Returns
    -------
    Where the movie of each partition is known before computing, each movie is linked by itself and
    becomes one partition, or several where it is large. Otherwise a movie's tracks come out whole,
    in the partition where the next movie begins.
    """
    token = dask.base.tokenize(detections, experiment.movies, experiment.frames, settings)
    graph = Graph("link", token)
    parts = graph.take_in(detections)
    empty = no_tracks(detections._meta)
    owners = _owners(detections, experiment, len(parts))
    if owners is None:
        clocks = graph.once(clocks_of, _all_frames(graph, experiment.frames), experiment.movies)
        blocks = _linked(graph, parts, clocks, settings)
        tracks = _movies_apart(graph, blocks, empty)
        return with_experiment(graph.to_dataframe(tracks, empty), experiment, whole_tracks=True)
    frames = _MovieFrames(graph, experiment)
    tracks, of_partition = [], []
    for movie, numbers in groupby(range(len(parts)), key=owners.__getitem__):
        group = [parts[number] for number in numbers]
        clocks = graph.once(clocks_of, frames.handle(movie), frames.listed(movie))
        blocks = _linked(graph, group, clocks, settings)
        n_parts = _n_partitions(frames.n_detections(movie), len(group))
        tracks += exchanged(graph, blocks, n_parts, empty)
        of_partition += [movie] * n_parts
    table = graph.to_dataframe(tracks, empty)
    return with_experiment(table, experiment, movie_of_partition=of_partition, whole_tracks=True)


def _owners(detections: Any, experiment: tables.Experiment, n_parts: int) -> Sequence[str] | None:
    """Return the movie of each partition, None where it is not known before computing."""
    told: Sequence[str] | None = getattr(detections, "movie_of_partition", None)
    if told is None and len(experiment.movies) == 1:
        return [str(experiment.movies["movie"].iloc[0])] * n_parts
    return told


def _n_partitions(n_detections: int | None, n_blocks: int) -> int:
    """Return into how many partitions the tracks of a movie come."""
    if n_detections is not None:
        return partitions_for(n_detections)
    return -(-n_blocks // BLOCKS_PER_PARTITION)


def _linked(graph: Graph, parts: Sequence[Any], clocks: Any, settings: LinkSettings) -> list[Any]:
    """Return, for each partition, the key of: movie → its tracks."""
    pieces = graph.each(in_movies, parts, same=(clocks,))
    return link_in_order(graph, held_blocks(graph, pieces, clocks), settings)


class _MovieFrames:
    """The table ``frames`` and the list of movies, taken apart movie by movie, once for all."""

    def __init__(self, graph: Graph, experiment: tables.Experiment) -> None:
        """Take them apart; what is not computed yet becomes a part of `graph`."""
        listed, frames = experiment.movies, experiment.frames
        self._row = {movie: row for row, movie in enumerate(listed["movie"].tolist())}
        self._listed = listed
        self._of_movie: dict[str, Any] = {}
        self._others: Any = None
        if isinstance(frames, pd.DataFrame):
            self._of_movie = {str(of): rows for of, rows in frames.groupby("movie", sort=False)}
            self._others = frames.iloc[:0]
        elif frames is not None:
            parts = graph.take_in(frames)
            if len(parts) == len(listed):
                self._of_movie = dict(zip(self._row, parts, strict=True))
            self._others = graph.once(_concatenated, parts)

    def handle(self, movie: str) -> Any:
        """Return the frames of `movie`, or the key of a task that will make them.

        None where no frame was looked at.
        """
        return self._of_movie.get(movie, self._others)

    def listed(self, movie: str) -> pd.DataFrame:
        """Return what the list says of `movie`, as a table of one row, or of none."""
        row = self._row.get(movie, len(self._listed))
        return self._listed.iloc[row : row + 1]

    def n_detections(self, movie: str) -> int | None:
        """Return how many detections its good frames have, None where that is not known yet."""
        frames = self.handle(movie)
        if not isinstance(frames, pd.DataFrame) or "n_detections" not in frames:
            return None
        return int(frames.loc[frames["status"] == tables.OK, "n_detections"].sum())


def _all_frames(graph: Graph, frames: Any) -> Any:
    """Return the table ``frames`` of all movies, or the key of a task that will make it."""
    if frames is None or isinstance(frames, pd.DataFrame):
        return frames
    return graph.once(_concatenated, graph.take_in(frames))


def _concatenated(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts)


def clocks_of(frames: pd.DataFrame | None, movies: pd.DataFrame) -> dict[str, Clock]:
    """Return the clock of every movie.

    Parameters
    ----------
    frames
        Table ``frames``, at least of these movies; None: every frame is good.
    movies
        Table ``movies``; a column ``lattice_nm`` tells lattice constants [nm].
    """
    lattices = pd.Series(np.nan, movies.index)
    if "lattice_nm" in movies:
        lattices = movies["lattice_nm"]
    clocks = {}
    for movie, pixel_size_nm, lattice_nm in zip(
        movies["movie"], movies["pixel_size_nm"], lattices, strict=True
    ):
        own = frames
        if frames is not None:
            own = frames[(frames["movie"] == movie).to_numpy()]
        known = float(lattice_nm) if lattice_nm > 0 else None
        clocks[movie] = Clock.of(movie, pixel_size_nm=pixel_size_nm, frames=own, lattice_nm=known)
    return clocks


def _movies_apart(graph: Graph, blocks: Sequence[Any], empty: pd.DataFrame) -> list[Any]:
    """Return as many partitions as `blocks`, each with the movies that ended in its block."""
    whole, unfinished = [], None
    for number, block in enumerate(blocks):
        step = partial(_set_apart, empty=empty, is_last=number == len(blocks) - 1)
        both = graph.once(step, unfinished, block)
        whole.append(graph.once(_ended, both))
        unfinished = graph.once(_going_on, both)
    return whole


def _set_apart(
    unfinished: dict[str, list[pd.DataFrame]] | None,
    block: dict[str, pd.DataFrame],
    *,
    empty: pd.DataFrame,
    is_last: bool,
) -> tuple[pd.DataFrame, dict[str, list[pd.DataFrame]]]:
    """Return the rows of the movies that ended, and those so far of the one that may go on."""
    so_far = dict(unfinished or {})
    for movie, rows in block.items():
        if len(rows):
            so_far[movie] = [*so_far.get(movie, []), rows]
    going_on = {}
    if so_far and not is_last:
        last_movie = list(so_far)[-1]
        going_on[last_movie] = so_far.pop(last_movie)
    return together([empty, *(rows for parts in so_far.values() for rows in parts)]), going_on


def _ended(both: tuple[pd.DataFrame, Any]) -> pd.DataFrame:
    return both[0]


def _going_on(both: tuple[Any, dict[str, list[pd.DataFrame]]]) -> dict[str, list[pd.DataFrame]]:
    return both[1]
