"""Columns that a model adds to detections, or that say "not named" where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stemkin import tables
from stemkin.detection.survey import Survey
from stemkin.kernels.detection.observer import Observer
from stemkin.movie import Movie


def named_columns(
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
    """Return the columns that come after `score`, as the model says; ``keep`` may be among them.

    Parameters
    ----------
    model
        A `Model`, or a detector, which names nothing.
    frames
        (n, y, x) pixels.
    good
        (k,) which of them were searched.
    records
        (m,) records of `tables.LOCATED`, numbered as the movie is.
    survey
        Of the good frames.
    first
        Movie frame number of ``frames[0]``.
    movie
        For its calibration.
    neighbours
        Whether to measure the atoms around each detection.
    """
    if not hasattr(model, "describe"):
        return _unnamed(len(records), neighbours=neighbours)
    # per frame of the block: its lattice, or the pieces of crystal where the detector tells them,
    # and its remainder; None for frames that were not searched
    lattices: list[Any] = [None] * len(frames)
    residuals: Any = [None] * len(frames)
    noise_units: Any = [None] * len(frames)
    rests, crystals = (survey.extra.get(name, [None] * len(good)) for name in ("rest", "crystals"))
    for i, lattice, rest, pieces in zip(good, survey.lattices, rests, crystals, strict=True):
        lattices[i], residuals[i] = pieces or lattice, rest
    for i, units in zip(good, survey.residuals, strict=True):
        noise_units[i] = units
    asked: dict[str, Any] = {"neighbours": True} if neighbours else {}
    # a model of the user's own need not know what an observer looks at
    if isinstance(getattr(getattr(model, "detector", None), "observer", None), Observer):
        asked["noise_units"] = noise_units
    named: Mapping[str, np.ndarray] = model.describe(
        frames,
        records,
        first_frame=first,
        pixel_size_nm=movie.pixel_size_nm,
        lattices=lattices,
        residuals=residuals,
        **asked,
    )
    return dict(named)


def _unnamed(n: int, *, neighbours: bool) -> dict[str, np.ndarray]:
    """Return the columns after `score` of `n` detections that no model names."""
    columns: dict[str, np.ndarray] = {}
    if neighbours:
        columns = {name: np.full(n, np.nan, np.float32) for name in tables.ATOM_COLUMNS}
    return columns | {
        "turn": np.full(n, tables.NOT_NAMED, np.int8),
        "noise": np.ones(n, np.float32),
        "class_id": np.full(n, tables.NOT_NAMED, np.int16),
        "probability": np.full(n, np.nan, np.float32),
        "orientation": np.full(n, tables.NOT_NAMED, np.int8),
    }
