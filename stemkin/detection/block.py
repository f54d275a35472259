"""One block of frames, searched: status, defects, names, order and drift of each frame at once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection.detectors import EDGE, FourierDetector
from stemkin.detection.naming import named_columns
from stemkin.detection.site_rows import site_rows
from stemkin.detection.survey import AREAS, Survey
from stemkin.kernels.crystal import order, regions, shifts
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.images.missing import BESIDE_LATTICES, unseen, without_missing
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import Movie
from stemkin.references import is_good_frame

HALO = 4
"""The step into a frame is measured from the last good one of so many before it."""


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What one block of frames gave.

    Attributes
    ----------
    detections
        Rows of the table ``detections``.
    frames
        One row per frame as in the table ``frames``, but with `step_y`, `step_x` [px] (since the
        last good frame; NaN where unknown) in place of the cumulative shift, which `assemble_frames`
        sums, and with `lattice_px`, the lattice constant that was found in the frame.
    regions
        Rows of the table ``regions``: holes, disordered areas and turned fragments.
    maps
        (n, ny, nx) int8 phase at reduced resolution (`kernels.crystal.regions.tile_of`), -1 where
        it is not known.
    neighbours
        Rows of the table ``neighbours``, one for each of `detections`; None unless asked for.
    signals
        Rows of the table ``signals``, one for each frame; None unless asked for.
    """

    detections: pd.DataFrame
    frames: pd.DataFrame
    regions: pd.DataFrame
    maps: np.ndarray
    neighbours: pd.DataFrame | None = None
    signals: pd.DataFrame | None = None


@one_thread
def detect_block(
    frames: np.ndarray,
    previous: np.ndarray,
    *,
    first_frame: int,
    movie: Movie,
    model: Any,
    reference: Reference | None,
    neighbours: bool = False,
    sites: bool = False,
) -> BlockResult:
    """Search one block of frames: status, defects, classes and steps. Computes once.

    Parameters
    ----------
    frames
        (n, y, x) pixels.
    previous
        (k, y, x): the frames before the block, up to `HALO` of them; (0, y, x) at the start of a
        movie.
    first_frame
        Movie frame number of ``frames[0]``.
    movie
        The movie's name and calibration; its pixels are not touched.
    model
        A `Model` or a detector.
    reference
        The crystal of the movie (`references.reference_crystal`), with which each frame is
        compared; None where it has none.
    neighbours
        Whether to measure the atoms around each detection.
    sites
        Whether to keep the signal of every site of the lattice; of a detector that judges sites.

    Returns
    -------
    What the block gave; of the frames before it the last good one is searched, for the step only.
    """
    # missing pixels are filled before anything looks at them; what was not seen goes at the end
    frames, missing = without_missing(frames)
    previous, _ = without_missing(previous[-HALO:])
    # the last good frame before the block stands for all of `previous`, so many frames before
    before, n_apart = _last_good(previous, reference)
    both, n_before = frames, len(before)
    if n_before:
        both = np.concatenate([before, frames])
    status = np.array(frame_status(both), dtype=object)
    good = np.flatnonzero(status == tables.OK)
    survey = survey_by(getattr(model, "detector", model), both[good], reference, with_sites=sites)
    status[good] = survey.extra.get("status", tables.OK)
    when = np.arange(len(both))
    when[:n_before] = n_before - n_apart
    spacing = _spacings(survey, good, len(both))
    # a survey numbers the good frames from 0; from here on records count as the movie does
    records = _located(survey, spacing[good], frames.shape[1:])
    records["frame"] = good[records["frame"]] + first_frame - n_before
    records = records[records["frame"] >= first_frame]
    if missing is not None:
        records = _seen(records, missing, spacing[n_before:], first_frame)
    records, about = _about(
        model, both, good, records, survey, first_frame - n_before, movie, neighbours=neighbours
    )
    maps = _order(survey, both, good, n_before)
    rows = _frame_rows(
        movie,
        first_frame,
        np.bincount(records["frame"] - first_frame, minlength=len(frames)),
        status=status[n_before:],
        lattice_px=spacing[n_before:],
        expected_false=_expected_false(survey, good, len(both))[n_before:],
        maps=maps,
        steps=_steps(survey, good, status, when, reference)[n_before:],
    )
    around, signals = None, None
    if neighbours:
        around = tables.conform(about, "neighbours")
    if sites:
        seen = dict(zip(good.tolist(), survey.extra["sites"], strict=True))
        signals = site_rows(
            movie.name, first_frame, [seen.get(i) for i in range(n_before, len(both))]
        )
    return BlockResult(
        tables.conform(about, "detections"),
        rows,
        _regions(maps, movie, first_frame),
        regions.at_tiles(maps, frames.shape[1:], regions.tile_of(movie.pixel_size_nm)),
        around,
        signals,
    )


def _seen(
    records: np.ndarray, missing: np.ndarray, spacing_px: np.ndarray, first_frame: int
) -> np.ndarray:
    """Return the records without those in and beside what was missing in their frames."""
    kept = np.ones(len(records), bool)
    for i in np.flatnonzero(missing.any(axis=(1, 2))).tolist():
        beside_px = tables.EDGE_PX
        if np.isfinite(spacing_px[i]):
            beside_px = BESIDE_LATTICES * float(spacing_px[i])
        own = np.flatnonzero(records["frame"] == first_frame + i)
        places = records["y"][own], records["x"][own]
        kept[own] = ~unseen(missing[i], *places, beside_px=beside_px)
    return records[kept]


def _about(
    model: Any,
    frames: np.ndarray,
    good: np.ndarray,
    records: np.ndarray,
    survey: Survey,
    first: int,
    movie: Movie,
    *,
    neighbours: bool,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the records that the model keeps, and all columns of them; see `named_columns`."""
    named = named_columns(model, frames, good, records, survey, first, movie, neighbours=neighbours)
    keep = named.pop("keep", np.ones(len(records), bool))
    records = records[keep]
    columns = {"movie": np.full(len(records), movie.name)}
    columns |= {name: records[name] for name in tables.LOCATED.names or ()}
    return records, columns | {name: values[keep] for name, values in named.items()}


def _frame_rows(
    movie: Movie,
    first_frame: int,
    n_detections: np.ndarray,
    *,
    status: np.ndarray,
    lattice_px: np.ndarray,
    expected_false: np.ndarray,
    maps: list[order.OrderMap | None],
    steps: list[shifts.Step],
) -> pd.DataFrame:
    """Return one row per frame: number, time and what is known of it."""
    numbers = np.arange(first_frame, first_frame + len(n_detections))
    frame_time_s = movie.frame_time_s or float("nan")
    areas = np.full((len(maps), len(AREAS)), np.nan, np.float32)
    for i, found in enumerate(maps):
        if found is not None:
            areas[i] = found.fractions
    rows = {
        "movie": movie.name,
        "frame": numbers.astype(np.int32),
        "time_s": numbers * frame_time_s,
        "n_detections": n_detections.astype(np.int32),
        "status": pd.Series(status, dtype="str"),
        "lattice_px": lattice_px,
        "expected_false": expected_false,
        **dict(zip(AREAS, areas.T, strict=True)),
        "step_y": [step.y for step in steps],
        "step_x": [step.x for step in steps],
        "shift_quality": np.array([step.quality for step in steps], dtype=np.float32),
    }
    return pd.DataFrame(rows)


def survey_by(
    detector: Any, frames: np.ndarray, reference: Reference | None, *, with_sites: bool
) -> Survey:
    """Search good frames, numbered from 0; what a plain callable does not say is found for it.

    Parameters
    ----------
    detector
        Any, as in `stemkin.detection.detectors`.
    frames
        (n, y, x) pixels.
    reference
        The crystal of their movie; None where it has none.
    with_sites
        Whether to keep the signal of every site; of a detector that judges sites.
    """
    if hasattr(detector, "survey"):
        if hasattr(detector, "reference"):
            detector = replace(detector, reference=reference)
        words = {"with_sites": True} if with_sites else {}
        survey: Survey = detector.survey(frames, first_frame=0, **words)
        return survey
    records = np.asarray(detector(frames, first_frame=0))
    behind = FourierDetector(reference=reference).survey(frames, first_frame=0)
    # what another detector would have found is no control of this one
    extra = {name: value for name, value in behind.extra.items() if name != "expected_false"}
    return Survey(records, behind.lattices, behind.residuals, extra)


def _located(survey: Survey, spacing_px: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the records of a survey with what their detector may have left out.

    `spacing_px` (n,) is NaN without a lattice.
    """
    n = len(spacing_px)
    records = tables.located(survey.records, shape)
    strange = records["frame"][(records["frame"] < 0) | (records["frame"] >= n)]
    if len(strange):
        msg = (
            f"the detector returned frame {strange[0]} of a block of {n} frames; its frame numbers "
            "must count from first_frame"
        )
        raise ValueError(msg)
    if "at_edge" not in (survey.records.dtype.names or ()):
        own = spacing_px[records["frame"]]
        edge_px = np.where(np.isnan(own), tables.EDGE_PX, EDGE * own)
        records["at_edge"] = tables.is_at_edge(records["y"], records["x"], shape, edge_px)
    return np.sort(records, order=["frame", "y", "x"])


def _order(
    survey: Survey, frames: np.ndarray, good: np.ndarray, n_before: int
) -> list[order.OrderMap | None]:
    """Return the order of each frame after the halo, None where it is not known."""
    maps: list[order.OrderMap | None] = [None] * (len(frames) - n_before)
    for i, lattice in zip(good, survey.lattices, strict=True):
        if i >= n_before:
            maps[i - n_before] = order.order_map(frames[i], lattice)
    return maps


def _regions(maps: list[order.OrderMap | None], movie: Movie, first_frame: int) -> pd.DataFrame:
    """Return the rows of ``regions`` that the order of the frames from `first_frame` on says."""
    known = [(i, one) for i, one in enumerate(maps, first_frame) if one is not None]
    found = [(i, region) for i, one in known for region in regions.regions_of(one)]
    return tables.region_rows(found, movie.name, movie.pixel_size_nm, movie.frame_time_s)


def _spacings(survey: Survey, good: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the lattice constant [px] of each frame, NaN where no lattice was found."""
    spacing = np.full(n_frames, np.nan)
    for i, lattice in zip(good, survey.lattices, strict=True):
        if lattice is not None:
            spacing[i] = lattice.spacing_px
    return spacing


def _expected_false(survey: Survey, good: np.ndarray, n_frames: int) -> np.ndarray:
    """Return how many detections of each frame noise alone explains, NaN where nobody says."""
    expected = np.full(n_frames, np.nan, dtype=np.float32)
    expected[good] = survey.extra.get("expected_false", np.nan)
    return expected


def _last_good(previous: np.ndarray, reference: Reference | None) -> tuple[np.ndarray, int]:
    """Return the last good frame of `previous`, (1, y, x) or none, and how far from its end it is.

    At most `HALO` frames are looked at, however many there are.
    """
    for n_apart in range(1, min(len(previous), HALO) + 1):
        frame = previous[len(previous) - n_apart]
        if is_good_frame(frame, reference):
            return frame[None], n_apart
    return previous[:0], 1


def _steps(
    survey: Survey,
    good: np.ndarray,
    status: np.ndarray,
    when: np.ndarray,
    reference: Reference | None,
) -> list[shifts.Step]:
    """Return the step into each frame from the last good one, which lies up to `HALO` before it.

    `when` (n,) numbers the frames in time. A step is unknown where there is no such frame, and
    where nobody can vouch for it.
    """
    steps = [shifts.UNKNOWN] * len(status)
    usual_px = None if reference is None else reference.step_px
    # a survey holds the frames `good` only, and some of these turned out to be bad
    fine = np.flatnonzero(status[good] == tables.OK)
    for i, j in itertools.pairwise(fine):
        n_apart = when[good[j]] - when[good[i]]
        if n_apart > HALO:
            continue
        # drift goes on while frames are bad
        step = shifts.frame_step(
            survey.residuals[i],
            survey.residuals[j],
            lattices=(survey.lattices[i], survey.lattices[j]),
            usual_px=None if usual_px is None else usual_px * float(n_apart),
        )
        if not step.is_vouched:
            step = shifts.Step(np.nan, np.nan, step.quality)
        steps[good[j]] = step
    return steps
