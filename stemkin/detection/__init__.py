"""Movies become tables: every frame is searched once, and pixels are not looked at again.

>>> from stemkin.movie import Movie
>>> from stemkin.detection.detectors import FourierDetector
>>> frames = np.random.default_rng(1).poisson(9.0, (2, 48, 48)).astype("uint16")
>>> frames[1, 20:23, 30:33] += 60
>>> movie = Movie.from_array(frames, name="one blob", pixel_size_nm=0.03, frame_time_s=2.0)
>>> found = detect(movie, FourierDetector(snr=7.0))
>>> found.compute()[["movie", "frame", "y", "x"]].round(0).values.tolist()
[['one blob', 1, 21.0, 31.0]]
>>> found.experiment.frames.compute()["n_detections"].tolist()
[0, 1]

One function, `detect_block`, does the whole work on a block of frames; `detect` lays it over a Dask
collection. Each number depends on one frame and the one before it, never on how the movie was cut
into blocks.

Positions stay in pixels of the raw frame. Where the specimen drifted is said in ``frames``:
``shift_y``, ``shift_x`` is the cumulative displacement of the specimen's image since frame 0, so a
corrected position is raw minus shift.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import on_one_thread, one_thread
from stemkin.detection.block import HALO, BlockResult, detect_block
from stemkin.kernels.crystal.reference import Reference
from stemkin.movie import Movie, Movies, each_movie, movies_table
from stemkin.references import reference_crystal
from stemkin.rows.table import with_experiment

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows

__all__ = ["HALO", "BlockResult", "assemble_frames", "detect", "detect_block", "task_bytes"]

BLOCK_COPIES, FRAME_COPIES = 2.5, 18
"""Copies as float32 of its block, and of the frame in work, that a task holds while it searches
(measured)."""


def detect(
    movies: Movies, model: Any, *, neighbours: bool = False, frames_per_block: int | None = None
) -> Rows:
    """Find the defects in every frame of `movies`. Lazy: one partition per block of frames.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    model
        A `Model`, which also describes and names what it finds, or a detector: any callable as in
        `stemkin.detection.detectors`.
    neighbours
        Whether to measure where the atoms around each detection stand, too: columns of the table
        ``neighbours``, for `crystallography`.
    frames_per_block
        Frames per block; about 64 MiB of pixels unless given. `task_bytes` says what a task needs
        in memory.

    Returns
    -------
    Rows of the table ``detections``, sorted by movie, frame, y, x. ``.experiment.frames`` is the
    table ``frames``, lazy, one partition per movie; computing both at once (``dask.compute(rows,
    rows.experiment.frames)``) reads each frame once.

    Raises
    ------
    ValueError
        If there are no movies, two have the same name, or one has no frames or pixels that are no
        intensities.
    """
    import dask.dataframe as dd
    from dask import delayed

    # whatever is wrong with any movie is said before the first task is laid out
    listed = list(each_movie(movies))
    _check_names([movie.name for movie in listed])
    for movie in listed:
        _check_pixels(movie)
    empty = tables.empty("detections", n_descriptors=_n_descriptors(model))
    if neighbours:
        empty = _beside(empty, tables.empty("neighbours"))
    parts, owners, frame_tables = [], [], []
    for movie in listed:
        blocks = _lay_out(movie, model, frames_per_block, neighbours=neighbours)
        parts += [delayed(_detections_of)(block) for block in blocks]
        owners += [movie.name] * len(blocks)
        frame_tables.append(delayed(_frames_of)(blocks))
    frames = dd.from_delayed(frame_tables, meta=tables.empty("frames"), verify_meta=False)
    known = movies_table(listed)
    lattice_nm = getattr(model, "report", {}).get("lattice_nm")
    if lattice_nm is not None:  # of the movies that taught the model
        known = known.assign(learned_lattice_nm=float(lattice_nm))
    experiment = tables.Experiment(known, frames, getattr(model, "classes", None))
    rows = dd.from_delayed(parts, meta=empty, verify_meta=False)
    return with_experiment(rows, experiment, movie_of_partition=owners)


def task_bytes(n_frames: int, shape: tuple[int, int]) -> int:
    """Return how much memory the search of a block needs at most [bytes].

    That is besides the block as it was read and the libraries. Two and a half copies of the block
    as float32 (its remainder in two units, and the good frames gathered), and eighteen of the frame
    in work; measured, and held within 20 % by a test.

    Parameters
    ----------
    n_frames
        Of the block.
    shape
        (height, width) of a frame [px].

    Examples
    --------
    >>> round(task_bytes(128, (512, 512)) / 2**20)
    338
    """
    return round((BLOCK_COPIES * n_frames + FRAME_COPIES) * 4 * shape[0] * shape[1])


def assemble_frames(steps: Sequence[pd.DataFrame] | pd.DataFrame) -> pd.DataFrame:
    """Make the table ``frames`` of movies from the frame rows of their blocks. Computes once.

    Parameters
    ----------
    steps
        `BlockResult.frames` of every block, in any order.

    Returns
    -------
    The table ``frames``: steps summed to the displacement since frame 0 of each movie. A step that
    is not known counts as 0; where both frames show the crystal, another ``stretch`` begins there:
    places of different stretches cannot be compared.
    """
    rows = steps
    if not isinstance(rows, pd.DataFrame):
        rows = pd.concat(list(rows), ignore_index=True)
    rows = rows.sort_values(["movie", "frame"], kind="stable", ignore_index=True)
    for axis in ("y", "x"):
        rows[f"shift_{axis}"] = (
            rows[f"step_{axis}"].fillna(0.0).groupby(rows["movie"], sort=False).cumsum()
        )
    shows = (rows["status"] == tables.OK) & rows["lattice_px"].notna()
    is_later = shows.groupby(rows["movie"], sort=False).cumsum() > 1
    is_cut = shows & is_later & rows["step_y"].isna()
    rows["stretch"] = is_cut.groupby(rows["movie"], sort=False).cumsum()
    return tables.conform(rows, "frames")


def _lay_out(
    movie: Movie, model: Any, frames_per_block: int | None, *, neighbours: bool
) -> list[Any]:
    """Return one delayed `BlockResult` per block; each block also sees the frames before it.

    The crystal of the movie is a task of its own, done once for all blocks.
    """
    from dask import delayed

    frames = movie.to_dask(frames_per_block=frames_per_block)
    starts = np.cumsum([0, *frames.chunks[0]])
    crystal = delayed(on_one_thread)(reference_crystal, movie)
    blocks = []
    for start, stop in itertools.pairwise(starts.tolist()):
        before = None
        if start:
            before = _piece(frames, max(0, start - HALO), start)
        own = _piece(frames, start, stop)
        searched = delayed(_search)(
            own, before, start, movie, model, crystal, neighbours=neighbours
        )
        blocks.append(searched)
    return blocks


def _piece(frames: Any, start: int, stop: int) -> Any:
    """Return frames `start` to `stop` (excluded) of a Dask array as one delayed array."""
    return frames[start:stop].rechunk(-1).to_delayed(optimize_graph=False).ravel()[0]


@one_thread
def _search(
    block: np.ndarray,
    before: np.ndarray | None,
    first_frame: int,
    movie: Movie,
    model: Any,
    crystal: Reference | None,
    *,
    neighbours: bool,
) -> BlockResult:
    """Search one block, given the frames before it and the crystal of the movie."""
    if before is None:
        before = block[:0]
    return detect_block(
        block,
        before,
        first_frame=first_frame,
        movie=movie,
        model=model,
        reference=crystal,
        neighbours=neighbours,
    )


def _detections_of(found: BlockResult) -> pd.DataFrame:
    if found.neighbours is None:
        return found.detections
    return _beside(found.detections, found.neighbours)


def _beside(detections: pd.DataFrame, neighbours: pd.DataFrame) -> pd.DataFrame:
    """Return `detections` with the columns of their `neighbours`."""
    return pd.concat([detections, neighbours.drop(columns=["movie", "frame"])], axis=1)


def _frames_of(blocks: list[BlockResult]) -> pd.DataFrame:
    return assemble_frames([block.frames for block in blocks])


def _n_descriptors(model: Any) -> int:
    return int(getattr(model, "n_descriptors", 0))


def _check_pixels(movie: Movie) -> None:
    kind = np.dtype(movie.reader.dtype).kind
    if movie.n_frames == 0:
        msg = f"movie {movie.name!r} has no frames; leave it out, or check how it was written"
        raise ValueError(msg)
    if kind not in "uif":
        msg = (
            f"the pixels of movie {movie.name!r} are {movie.reader.dtype}, not intensities; "
            "convert them to float32 first"
        )
        raise ValueError(msg)


def _check_names(names: list[str]) -> None:
    if not names:
        msg = "there is no movie to search; check the folder or pattern that was opened"
        raise ValueError(msg)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = (
            f"two movies are called {twice[0]!r}; give each its own name, for instance "
            "open_movie(path, name=...)"
        )
        raise ValueError(msg)
