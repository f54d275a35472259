"""Movies become tables: every frame is searched once, and pixels are not looked at again.

>>> from stemkin.movie import Movie
>>> from stemkin.detectors import FourierDetector
>>> frames = np.random.default_rng(1).poisson(9.0, (2, 48, 48)).astype("uint16")
>>> frames[1, 20:23, 30:33] += 60
>>> movie = Movie.from_array(frames, name="one blob", pixel_size_nm=0.03, frame_time_s=2.0)
>>> found = detect(movie, FourierDetector(snr=7.0))
>>> found.compute()[["movie", "frame", "y", "x"]].round(0).values.tolist()
[['one blob', 1, 21.0, 31.0]]
>>> found.experiment.frames.compute()["n_detections"].tolist()
[0, 1]

One function, `detect_block`, does the whole work on a block of frames; `detect` lays it over a Dask collection. Each
number depends on one frame and the one before it, never on how the movie was cut into blocks.

Positions stay in pixels of the raw frame. Where the specimen drifted is said in ``frames``: ``shift_y``, ``shift_x`` is the
cumulative displacement of the specimen's image since frame 0, so a corrected position is raw minus shift.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.detectors import EDGE, FourierDetector, Survey
from stemkin.kernels import order, shifts
from stemkin.kernels.quality import frame_status
from stemkin.movie import Movie, Movies, each_movie, movies_table
from stemkin.rows import Rows, with_experiment

logger = logging.getLogger(__name__)

BLOCK_COPIES, FRAME_COPIES = 2.5, 18
"""Copies as float32 of its block, and of the frame in work, that a task holds while it searches (measured)."""

AREAS = ("ordered", "disordered", "vacuum")


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What one block of frames gave.

    Attributes
    ----------
    detections
        Rows of the table ``detections``.
    frames
        One row per frame as in the table ``frames``, but with `step_y`, `step_x` [px] (since the frame before; NaN
        where unknown) in place of the cumulative shift, which `assemble_frames` sums, and with `lattice_px`, the lattice
        constant that was found in the frame.
    regions
        Rows of the table ``regions``: holes, disordered areas and turned fragments.
    maps
        (n, ny, nx) int8 phase at reduced resolution (`kernels.order.tile_of`), -1 where it is not known.
    neighbours
        Rows of the table ``neighbours``, one for each of `detections`; None unless asked for.
    """

    detections: pd.DataFrame
    frames: pd.DataFrame
    regions: pd.DataFrame
    maps: np.ndarray
    neighbours: pd.DataFrame | None = None


def detect(movies: Movies, model: Any, *, neighbours: bool = False, frames_per_block: int | None = None) -> Rows:
    """Find the defects in every frame of `movies`. Lazy: one partition per block of frames.

    Parameters
    ----------
    movies
        A movie, an archive or any iterable of movies.
    model
        A `Model`, which also describes and names what it finds, or a detector: any callable as in `stemkin.detectors`.
    neighbours
        Whether to measure where the atoms around each detection stand, too: columns of the table ``neighbours``, for
        `crystallography`.
    frames_per_block
        Frames per block; about 64 MiB of pixels unless given. `task_bytes` says what a task needs in memory.

    Returns
    -------
    Rows of the table ``detections``, sorted by movie, frame, y, x. ``.experiment.frames`` is the table ``frames``, lazy, one
    partition per movie; computing both at once (``dask.compute(rows, rows.experiment.frames)``) reads each frame once.

    Raises
    ------
    ValueError
        If there are no movies, two have the same name, or one has no frames or pixels that are no intensities.
    """
    import dask.dataframe as dd
    from dask import delayed

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
    experiment = tables.Experiment(movies_table(listed), frames, getattr(model, "classes", None))
    rows = dd.from_delayed(parts, meta=empty, verify_meta=False)
    return with_experiment(rows, experiment, movie_of_partition=owners)


def task_bytes(n_frames: int, shape: tuple[int, int]) -> int:
    """Return how much memory the search of a block needs at most, besides the block as it was read and the libraries.

    Two and a half copies of the block as float32 (its remainder in two units, and the good frames gathered), and eighteen of
    the frame in work; measured, and held within 20 % by a test.

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


def detect_block(
    frames: np.ndarray,
    previous: np.ndarray,
    *,
    first_frame: int,
    movie: Movie,
    model: Any,
    neighbours: bool = False,
) -> BlockResult:
    """Search one block of frames: status, defects, classes and steps. Computes once.

    Parameters
    ----------
    frames
        (n, y, x) pixels.
    previous
        (1, y, x): the frame before the block; (0, y, x) at the start of a movie.
    first_frame
        Movie frame number of ``frames[0]``.
    movie
        The movie's name and calibration; its pixels are not touched.
    model
        A `Model` or a detector.
    neighbours
        Whether to measure the atoms around each detection.
    """
    both = np.concatenate([previous, frames]) if len(previous) else frames
    n_before = len(both) - len(frames)
    status = np.array(frame_status(both), dtype=object)
    good = np.flatnonzero(status == tables.OK)
    detector = getattr(model, "detector", model)
    survey = _survey(detector, both[good])
    spacing = _spacings(survey, good, len(both))
    records = _located(survey, spacing[good], frames.shape[1:])
    records["frame"] = good[records["frame"]] + first_frame - n_before
    own = records["frame"] >= first_frame
    records = records[own]
    named = _describe(model, both, good, records, survey, first_frame - n_before, movie, neighbours=neighbours)
    keep = named.pop("keep", np.ones(len(records), bool))
    records, named = records[keep], {name: values[keep] for name, values in named.items()}
    about = {"movie": np.full(len(records), movie.name), **{c: records[c] for c in tables.LOCATED.names or ()}, **named}
    counts = np.bincount(records["frame"] - first_frame, minlength=len(frames))
    maps = _order(survey, both, good, n_before)
    areas = np.array([(np.nan,) * 3 if found is None else found.fractions for found in maps], np.float32).reshape(-1, 3)
    known = {"status": status[n_before:], "lattice_px": spacing[n_before:], **dict(zip(AREAS, areas.T, strict=True))}
    steps = _steps(survey, good, len(both))[n_before:]
    rows = _frame_rows(movie, first_frame, counts, known)
    rows["step_y"] = [step.y for step in steps]
    rows["step_x"] = [step.x for step in steps]
    rows["shift_quality"] = np.array([step.quality for step in steps], dtype=np.float32)
    return BlockResult(
        tables.conform(about, "detections"),
        rows,
        _regions(maps, movie, first_frame),
        order.at_tiles(maps, frames.shape[1:], order.tile_of(movie.pixel_size_nm)),
        tables.conform(about, "neighbours") if neighbours else None,
    )


def _frame_rows(movie: Movie, first_frame: int, counts: np.ndarray, known: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return one row per frame (n,): number, time and what is known of it, without the steps."""
    numbers = np.arange(first_frame, first_frame + len(counts))
    frame_time_s = float("nan") if movie.frame_time_s is None else movie.frame_time_s
    rows = {
        "movie": movie.name,
        "frame": numbers.astype(np.int32),
        "time_s": numbers * frame_time_s,
        "n_detections": counts.astype(np.int32),
        **known,
        "status": pd.Series(known["status"], dtype="str"),
    }
    return pd.DataFrame(rows)


def assemble_frames(steps: Sequence[pd.DataFrame] | pd.DataFrame) -> pd.DataFrame:
    """Make the table ``frames`` of one or more movies from the frame rows of their blocks. Computes once.

    Parameters
    ----------
    steps
        `BlockResult.frames` of every block, in any order.

    Returns
    -------
    The table ``frames``: steps summed to the displacement since frame 0 of each movie. A step that is not known counts as 0
    and leaves ``shift_quality`` 0 at that frame.
    """
    rows = steps if isinstance(steps, pd.DataFrame) else pd.concat(list(steps), ignore_index=True)
    rows = rows.sort_values(["movie", "frame"], kind="stable", ignore_index=True)
    for axis in ("y", "x"):
        rows[f"shift_{axis}"] = rows[f"step_{axis}"].fillna(0.0).groupby(rows["movie"], sort=False).cumsum()
    return tables.conform(rows, "frames")


def _lay_out(movie: Movie, model: Any, frames_per_block: int | None, *, neighbours: bool) -> list[Any]:
    """Return one delayed `BlockResult` per block of `movie`; each block also sees the last frame before it."""
    import dask.array as da

    frames = movie.to_dask(frames_per_block=frames_per_block)
    starts = np.cumsum([0, *frames.chunks[0]])
    with_halo = da.overlap.overlap(frames, depth={0: (1, 0), 1: 0, 2: 0}, boundary="none")

    def search(block: np.ndarray, block_id: tuple[int, ...] | None = None) -> np.ndarray:
        n_before = 0 if block_id is None or block_id[0] == 0 else 1
        first = 0 if block_id is None else int(starts[block_id[0]])
        result = np.empty(1, dtype=object)
        result[0] = detect_block(
            block[n_before:], block[:n_before], first_frame=first, movie=movie, model=model, neighbours=neighbours
        )
        return result

    blocks = with_halo.map_blocks(
        search,
        dtype=object,
        drop_axis=(1, 2),
        chunks=((1,) * frames.numblocks[0],),
        meta=np.empty(0, dtype=object),
        name=None,
    )
    return list(blocks.to_delayed().ravel())


def _detections_of(block: np.ndarray) -> pd.DataFrame:
    found: BlockResult = block[0]
    return found.detections if found.neighbours is None else _beside(found.detections, found.neighbours)


def _beside(detections: pd.DataFrame, neighbours: pd.DataFrame) -> pd.DataFrame:
    """Return `detections` with the columns of their `neighbours`."""
    return pd.concat([detections, neighbours.drop(columns=["movie", "frame"])], axis=1)


def _frames_of(blocks: list[np.ndarray]) -> pd.DataFrame:
    return assemble_frames([block[0].frames for block in blocks])


def _survey(detector: Any, frames: np.ndarray) -> Survey:
    """Search good frames, numbered from 0; a plain callable is completed with the lattice and the remainder."""
    if hasattr(detector, "survey"):
        survey: Survey = detector.survey(frames, first_frame=0)
        return survey
    records = np.asarray(detector(frames, first_frame=0))
    behind = FourierDetector().survey(frames, first_frame=0)
    return Survey(records, behind.lattices, behind.residuals, behind.extra)


def _located(survey: Survey, spacing_px: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the records of a survey with what their detector may have left out; `spacing_px` (n,) is NaN without a lattice."""
    n = len(spacing_px)
    records = tables.located(survey.records, shape)
    strange = records["frame"][(records["frame"] < 0) | (records["frame"] >= n)]
    if len(strange):
        msg = f"the detector returned frame {strange[0]} of a block of {n} frames; its frame numbers must count from first_frame"
        raise ValueError(msg)
    if "at_edge" not in (survey.records.dtype.names or ()):
        own = spacing_px[records["frame"]]
        edge_px = np.where(np.isnan(own), tables.EDGE_PX, EDGE * own)
        records["at_edge"] = tables.is_at_edge(records["y"], records["x"], shape, edge_px)
    return np.sort(records, order=["frame", "y", "x"])


def _describe(
    model: Any,
    frames: np.ndarray,
    good: np.ndarray,
    records: np.ndarray,
    survey: Survey,
    first: int,
    movie: Movie,
    *,
    neighbours: bool,
) -> dict[str, np.ndarray]:
    """Return the columns that come after `score`: those of the model, or those that say "not named"; ``keep`` may be among them."""
    if not hasattr(model, "describe"):
        n = len(records)
        unknown = {name: np.full(n, np.nan, np.float32) for name in tables.ATOM_COLUMNS} if neighbours else {}
        return {
            **unknown,
            "turn": np.full(n, tables.NOT_NAMED, np.int8),
            "noise": np.ones(n, np.float32),
            "class_id": np.full(n, tables.NOT_NAMED, np.int16),
            "probability": np.full(n, np.nan, np.float32),
            "orientation": np.full(n, tables.NOT_NAMED, np.int8),
        }
    lattices: list[Any] = [None] * len(frames)
    residuals: Any = [None] * len(frames)
    rests, crystals = (survey.extra.get(name, [None] * len(good)) for name in ("rest", "crystals"))
    for i, lattice, rest, pieces in zip(good, survey.lattices, rests, crystals, strict=True):
        lattices[i], residuals[i] = pieces or lattice, rest
    named: Mapping[str, np.ndarray] = model.describe(
        frames, records, first_frame=first, pixel_size_nm=movie.pixel_size_nm, lattices=lattices, residuals=residuals,
        **({"neighbours": True} if neighbours else {}),
    )  # fmt: skip
    return dict(named)


def _order(survey: Survey, frames: np.ndarray, good: np.ndarray, n_before: int) -> list[order.OrderMap | None]:
    """Return the order of each frame after the halo, None where it is not known."""
    maps: list[order.OrderMap | None] = [None] * (len(frames) - n_before)
    for i, lattice in zip(good, survey.lattices, strict=True):
        if i >= n_before:
            maps[i - n_before] = order.order_map(frames[i], lattice)
    return maps


def _regions(maps: list[order.OrderMap | None], movie: Movie, first_frame: int) -> pd.DataFrame:
    """Return the rows of ``regions`` that the order of the frames from `first_frame` on says."""
    found = [(i, r) for i, one in enumerate(maps, first_frame) if one is not None for r in order.regions(one)]
    return tables.region_rows(found, movie.name, movie.pixel_size_nm, movie.frame_time_s)


def _spacings(survey: Survey, good: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the lattice constant [px] of each frame, NaN where no lattice was found."""
    spacing = np.full(n_frames, np.nan)
    spacing[good] = [np.nan if lattice is None else lattice.spacing_px for lattice in survey.lattices]
    return spacing


def _steps(survey: Survey, good: np.ndarray, n_frames: int) -> list[shifts.Step]:
    """Return the step into each frame; unknown where it or the frame before it is not good."""
    steps = [shifts.UNKNOWN] * n_frames
    for i in range(1, len(good)):
        if good[i] == good[i - 1] + 1:
            pair = survey.residuals[i - 1], survey.residuals[i]
            steps[good[i]] = shifts.frame_step(*pair, lattices=(survey.lattices[i - 1], survey.lattices[i]))
    return steps


def _n_descriptors(model: Any) -> int:
    return int(getattr(model, "n_descriptors", 0))


def _check_pixels(movie: Movie) -> None:
    kind = np.dtype(movie.reader.dtype).kind
    if movie.n_frames == 0:
        msg = f"movie {movie.name!r} has no frames; leave it out, or check how it was written"
        raise ValueError(msg)
    if kind not in "uif":
        msg = f"the pixels of movie {movie.name!r} are {movie.reader.dtype}, not intensities; convert them to float32 first"
        raise ValueError(msg)


def _check_names(names: list[str]) -> None:
    if not names:
        msg = "there is no movie to search; check the folder or pattern that was opened"
        raise ValueError(msg)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two movies are called {twice[0]!r}; give each its own name, for instance open_movie(path, name=...)"
        raise ValueError(msg)
