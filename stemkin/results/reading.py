"""The tables of a finished run, as the verbs want them.

    results = sk.open_results("results/")
    results.tables()                          # which tables there are, and what reads each
    tracks = sk.read_tracks(results)          # whole tracks in each partition, with their experiment
    sk.transitions(tracks, by="movie")
    sk.read_table(results, "transitions")     # what the run itself found

A run writes detections and tracks in files of some frames each. Opened as plain files, tracks are
cut; `read_tracks` reads them so that each is whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from stemkin import tables
from stemkin.errors import reaching
from stemkin.names import folder_name
from stemkin.results.journal import Journal
from stemkin.results.store import BLOCK_TABLES, MOVIE_TABLES, SITE_TRACES, Block, Store
from stemkin.results.track_files import track_files
from stemkin.rows.files import tracks_in_files
from stemkin.rows.parquet import metadata_in
from stemkin.rows.table import with_experiment
from stemkin.traces import SiteTraces

if TYPE_CHECKING:
    import dask.dataframe as dd

    from stemkin.rows.collection import Rows

READ_BY = {"tracks": "read_tracks", "detections": "read_detections", "frames": "read_frames"}
"""Tables with several files, and the verb that reads each; of the others that is `read_table`."""

SHOWN_MOVIES = 10
"""So many movies stand in what a notebook shows."""

INNER = ("steps", "breaks", "whole_tracks", "thumbnails", "signals")
"""Folders of a run's own intermediate rows."""


@dataclass(frozen=True, repr=False)
class ResultsFolder:
    """The results folder of a run, of which `open_results` gives the form with figures.

    Attributes
    ----------
    store
        The folder.
    """

    store: Store

    @cached_property
    def movies(self) -> pd.DataFrame:
        """Table ``movies``: what ``run.json`` says of those that could be used, and their lattices."""
        content = Journal.read(self.store).content
        movies = movies_of(m for m in content["movies"] if m.get("status") == "ok")
        seen = content.get("lattice_nm") or {}
        return movies.assign(lattice_nm=movies["movie"].map(seen).astype("float64"))

    @cached_property
    def experiment(self) -> tables.Experiment:
        """Calibration, frames (lazy) and classes of the movies."""
        classes = tables.empty("classes")
        if self.store.exists("classes.parquet"):
            classes = self.store.read_table("classes.parquet")
        names = [str(name) for name in self.movies["movie"]]
        return tables.Experiment(self.movies, frame_rows(self.store, names), classes)

    @property
    def detections(self) -> Rows:
        """Table ``detections``; lazy, see `read_detections`."""
        return read_detections(self)

    @property
    def tracks(self) -> Rows:
        """Table ``tracks``; lazy, see `read_tracks`."""
        return read_tracks(self)

    @property
    def frames(self) -> dd.DataFrame:
        """Table ``frames``; lazy, see `read_frames`."""
        return read_frames(self)

    def site_traces(self, movie: str | None = None) -> SiteTraces:
        """Return the traces of the sites of a movie. Lazy; of a run with ``--sites``.

        Parameters
        ----------
        movie
            Its name; not needed where there is one movie only.

        Raises
        ------
        ValueError
            If there are several and none is named, or there are no traces of it.
        """
        names = _chosen(self, None if movie is None else [movie])
        if len(names) != 1:
            msg = f"{self.store.root} has {len(names)} movies; name one of {names[:5]}"
            raise ValueError(msg)
        sites = self.store.read_movie("sites", names[0])
        if not len(sites):
            msg = (
                f"{self.store.root} has no traces of sites of movie {names[0]!r}; run `stemkin run "
                f"INPUT -o {self.store.root} --sites`, which goes on where it was"
            )
            raise ValueError(msg)
        return site_traces_kept(self.store, names[0], sites)

    def __getattr__(self, name: str) -> pd.DataFrame:
        """Return a small table by its name, as in ``results.transitions``; see `read_table`.

        Raises
        ------
        AttributeError
            If there is no such table.
        """
        # while it is unpickled it has no store yet, and nothing may be looked up in it
        if name.startswith("_") or "store" not in vars(self):
            raise AttributeError(name)
        if name in self._small():
            return self.store.read_table(f"{name}.parquet")
        msg = f"the results in {self.store.root} have no {name!r}; tables() lists what there is"
        raise AttributeError(msg)

    def __dir__(self) -> list[str]:
        """Return what can be asked for, the small tables among it."""
        return [*super().__dir__(), *self._small()]

    def _small(self) -> list[str]:
        """Return the names of the tables that are one file each."""
        return [n.removesuffix(".parquet") for n in self.store.names() if n.endswith(".parquet")]

    def __repr__(self) -> str:
        """Say in a line what there is."""
        return (
            f"Results in {self.store.root}: {len(self.movies)} movies, {len(self.tables())} tables"
        )

    def _repr_html_(self) -> str:
        """Return the same for notebooks, with the tables that there are."""
        movies = self.movies[["movie", "n_frames", "pixel_size_nm", "frame_time_s"]]
        shown = movies.head(SHOWN_MOVIES).to_html(index=False, escape=True)
        listed = self.tables().to_html(index=False, escape=True)
        said = escape(repr(self))
        return f"<div><strong>{said}</strong>{shown}<details><summary>tables</summary>{listed}</details></div>"

    def tables(self) -> pd.DataFrame:
        """Return which tables there are: `table`, the verb it is `read_by`, `n_files`."""
        found = [
            {"table": name.removesuffix(".parquet"), "read_by": "read_table", "n_files": 1}
            for name in self.store.names()
            if name.endswith(".parquet")
        ]
        names = [str(name) for name in self.movies["movie"]]
        for table in (*BLOCK_TABLES, *MOVIE_TABLES):
            n_files = sum(len(self.store.names(table, folder_name(name))) for name in names)
            if n_files and table not in INNER:
                read_by = READ_BY.get(table, "read_table")
                found.append({"table": table, "read_by": read_by, "n_files": n_files})
        columns = ["table", "read_by", "n_files"]
        return pd.DataFrame(found, columns=columns).sort_values("table", ignore_index=True)


ResultsOrPath = str | os.PathLike[str] | ResultsFolder
"""A results folder: its path, a URL, or what `open_results` gave."""


def results_folder(path: Any) -> ResultsFolder:
    """Return the results folder of a run. Computes nothing: only what the run noted is read.

    Parameters
    ----------
    path
        Path of the folder, or a URL that fsspec knows.

    Returns
    -------
    What lists and reads its tables.

    Raises
    ------
    FolderError
        If it is no results folder (a `ValueError`).
    """
    if isinstance(path, ResultsFolder):
        return path
    if not isinstance(path, str | os.PathLike):
        msg = (
            f"results must be the path of a results folder, but it is a {type(path).__name__}; "
            "pass what `stemkin run` was given as -o"
        )
        raise ValueError(msg)
    folder = ResultsFolder(Store.at(path))
    Journal.read(folder.store)
    return folder


def read_tracks(
    results: ResultsOrPath,
    *,
    movies: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Rows:
    """Read the tracks of a run, whole tracks in each partition. Lazy.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    movies
        Names of the movies that are wanted; by default all.
    columns
        Columns that are wanted besides ``movie``, ``frame`` and ``particle``; by default those of
        the table ``tracks`` without descriptors.

    Returns
    -------
    Table ``tracks`` that knows its experiment and that its tracks are whole: one partition for each
    movie, or several where it is large.

    Raises
    ------
    ValueError
        If it is no results folder, has no tracks yet, or has no such movie or column.
    """
    folder = results_folder(results)
    names = _chosen(folder, movies)
    found = {name: track_files(folder.store, name) for name in names}
    files = {name: paths for name, (paths, _) in found.items() if paths}
    if not files:
        raise _nothing(folder, "tracks")
    wanted = list(tables.COLUMNS["tracks"])
    if columns is not None:
        wanted = list(dict.fromkeys(["movie", "frame", "particle", *columns]))
    _check_there(wanted, next(iter(files.values()))[0], folder)
    whole = [name for name, (_, is_whole) in found.items() if is_whole]
    return tracks_in_files(files, folder.experiment, columns=wanted, whole=whole)


def read_detections(
    results: ResultsOrPath,
    *,
    movies: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    neighbours: bool = False,
) -> Rows:
    """Read the detections of a run, some whole frames in each partition. Lazy.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    movies
        Names of the movies that are wanted; by default all.
    columns
        Columns that are wanted; by default all, descriptors among them.
    neighbours
        Whether the ten atoms around each detection come too, as `crystallography` wants them.

    Returns
    -------
    Table ``detections`` in the order of time, as `link` wants it; it knows its experiment.

    Raises
    ------
    ValueError
        If it is no results folder, has no detections yet, or has no such movie or column.
    """
    folder = results_folder(results)
    names = _chosen(folder, movies)
    paths = [path for name in names for path in folder.store.block_paths("detections", name)]
    if not paths:
        raise _nothing(folder, "detections")
    wanted = _columns_of(paths[0])
    if columns is not None:
        wanted = list(columns)
        _check_there(wanted, paths[0], folder)
    if neighbours:
        return neighbourhood_rows(folder.store, names, columns=wanted, of=folder.experiment)
    return detection_rows(folder.store, names, columns=wanted, of=folder.experiment)


def read_frames(results: ResultsOrPath, *, movies: Sequence[str] | None = None) -> dd.DataFrame:
    """Read the table of the frames of a run, one partition for each movie. Lazy.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    movies
        Names of the movies that are wanted; by default all.

    Returns
    -------
    Table ``frames``: status, time, drift and order of every frame.

    Raises
    ------
    ValueError
        If it is no results folder, or has no such movie.
    """
    folder = results_folder(results)
    return frame_rows(folder.store, _chosen(folder, movies))


def read_table(results: ResultsOrPath, name: str) -> pd.DataFrame:
    """Read a table that a run found. Computes once.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    name
        For instance ``"transitions"``; ``open_results(path).tables()`` lists them.

    Returns
    -------
    pandas table.

    Raises
    ------
    ValueError
        If it is no results folder, or there is no such table.
    """
    folder = results_folder(results)
    if name in READ_BY:
        msg = (
            f"{name} may be large and are read by stemkin.{READ_BY[name]}(results), not read_table"
        )
        raise ValueError(msg)
    listed = folder.tables()["table"].tolist()
    if name not in listed:
        msg = f"{folder.store.root} has no table {name!r}; there are {listed}"
        raise ValueError(msg)
    if folder.store.exists(f"{name}.parquet"):
        return folder.store.read_table(f"{name}.parquet")
    parts = [folder.store.read_movie(name, movie) for movie in _chosen(folder, None)]
    return pd.concat(parts, ignore_index=True)


def site_traces_kept(store: Store, movie: str, sites: pd.DataFrame) -> SiteTraces:
    """Return the traces that a run wrote of a movie. Lazy.

    Parameters
    ----------
    store
        The results folder.
    movie
        Name of the movie.
    sites
        Table ``sites`` of the movie.
    """
    import dask.array as da
    import zarr

    path = store.path(SITE_TRACES, f"{folder_name(movie)}.zarr")
    with reaching(store.root):
        array = zarr.open_array(path, mode="r")
    about = dict(array.attrs)
    traces = SiteTraces.of(
        # a chunk of the file is one of the lazy array
        da.from_zarr(path, chunks=array.chunks),
        sites,
        movie=movie,
        frame_time_s=about["frame_time_s"],
        lattice_nm=about["lattice_nm"],
        depth=about["depth"],
    )
    return replace(traces, stretches=tuple(about["stretches"]))


# --- rows in many files


def frame_rows(store: Store, movies: Sequence[str]) -> dd.DataFrame:
    """Return the frames of `movies`, one partition for each. Lazy."""
    import dask.dataframe as dd

    if not movies:
        return dd.from_pandas(tables.empty("frames"), npartitions=1)
    tables_of = ["frames"] * len(movies)
    return dd.from_map(store.read_movie, tables_of, list(movies), meta=tables.empty("frames"))


def detection_rows(
    store: Store,
    movies: Iterable[str],
    *,
    columns: Sequence[str],
    of: tables.Experiment | None = None,
) -> Rows:
    """Return `columns` of the detections of `movies`, each file one partition. Lazy.

    Parameters
    ----------
    store, movies, columns
        Which rows.
    of
        What is known of the movies.
    """
    return _in_blocks(store, "detections", movies, partial(_detections, store), columns, of)


def neighbourhood_rows(
    store: Store,
    movies: Iterable[str],
    *,
    columns: Sequence[str],
    of: tables.Experiment | None = None,
) -> Rows:
    """Return `columns` of the detections, and the atoms around each; see `detection_rows`. Lazy.

    Of a file that an earlier version wrote without neighbours nothing is returned.
    """
    wanted = [*columns, *tables.ATOM_COLUMNS]
    return _in_blocks(store, "neighbours", movies, partial(_neighbourhoods, store), wanted, of)


def _in_blocks(
    store: Store,
    table: str,
    movies: Iterable[str],
    read: Any,
    columns: Sequence[str],
    of: tables.Experiment | None,
) -> Rows:
    """Return the rows that `read` gives of each block of `table`, one partition each. Lazy."""
    import dask.dataframe as dd

    meta = _typed(columns)
    blocks = [block for movie in movies for block in _blocks_to_read(store, table, movie)]
    if not blocks:
        return with_experiment(dd.from_pandas(meta, npartitions=1), of)
    rows = dd.from_map(partial(read, columns=list(columns)), blocks, meta=meta)
    return with_experiment(rows, of, movie_of_partition=[block.movie for block in blocks])


def _blocks_to_read(store: Store, table: str, movie: str) -> list[Block]:
    """Return the blocks of a movie that were searched, also those whose file of `table` is lost.

    Reading such a one says so; nothing would, if only the files were counted that are there.
    """
    there = {*store.blocks(table, movie), *store.blocks("steps", movie)}
    return sorted(there, key=lambda block: block.start)


def _detections(store: Store, block: Block, *, columns: list[str]) -> pd.DataFrame:
    rows = store.read_block("detections", block)
    return rows.reindex(columns=columns)


def _neighbourhoods(store: Store, block: Block, *, columns: list[str]) -> pd.DataFrame:
    own = [column for column in columns if column not in tables.ATOM_COLUMNS]
    atoms = store.read_block("neighbours", block)[list(tables.ATOM_COLUMNS)]
    return pd.concat([_detections(store, block, columns=own), atoms], axis=1)


def _typed(columns: Sequence[str]) -> pd.DataFrame:
    """Return a table without rows that has these columns of detections, in their types."""
    known: Mapping[str, str] = {**tables.COLUMNS["neighbours"], **tables.COLUMNS["detections"]}
    return pd.DataFrame({c: pd.Series([], dtype=known.get(c, "float32")) for c in columns})


def movies_of(listed: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table ``movies`` of what ``run.json`` lists."""
    rows = pd.DataFrame(list(listed), columns=[*tables.COLUMNS["movies"]])
    numbers = [c for c, t in tables.COLUMNS["movies"].items() if t == "float64"]
    return tables.conform(rows.astype(dict.fromkeys(numbers, "float64")), "movies")


# --- what is refused


def _chosen(folder: ResultsFolder, movies: Sequence[str] | None) -> list[str]:
    """Return the names of the movies that are wanted, in the order of the run's."""
    there = sorted(str(name) for name in folder.movies["movie"])
    if movies is None:
        return there
    wanted = [movies] if isinstance(movies, str) else list(movies)
    unknown = [name for name in wanted if name not in there]
    if unknown:
        msg = f"{folder.store.root} has no movie {unknown[0]!r}; there are {there[:5]}"
        raise ValueError(msg)
    return wanted


def _columns_of(path: str) -> list[str]:
    return list(metadata_in(path).schema.to_arrow_schema().names)


def _check_there(wanted: Sequence[str], path: str, folder: ResultsFolder) -> None:
    there = _columns_of(path)
    missing = [column for column in wanted if column not in there]
    if missing:
        msg = f"the rows in {folder.store.root} have no columns {missing}; they have {there}"
        raise ValueError(msg)


def _nothing(folder: ResultsFolder, table: str) -> ValueError:
    return ValueError(
        f"{folder.store.root} has no {table} yet; run `stemkin run INPUT -o {folder.store.root}`, "
        "which goes on where it was"
    )
