"""Detections as a linker wants them: good frames only, in order, in drift-corrected nanometres; and
those beside a block."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from stemkin.kernels.linking.linking import CONTEXT
from stemkin.linking.clock import Clock

logger = logging.getLogger(__name__)

BEFORE, AFTER = CONTEXT
"""Occupied frames before and after a block that are looked at with it."""


def prepare(rows: pd.DataFrame, clock: Clock) -> pd.DataFrame:
    """Return the good frames' rows of one movie, sorted by frame, y, x, with `y_nm`, `x_nm` and
    `ordinal`. Computes once.

    Parameters
    ----------
    rows
        Rows of the table ``detections``, all of the clock's movie.
    clock
        The movie's good frames and shifts.

    Raises
    ------
    ValueError
        If a coordinate is not finite.
    """
    position = rows[["y", "x"]].to_numpy(np.float64)
    if not np.isfinite(position).all():
        bad = int((~np.isfinite(position)).any(axis=1).sum())
        msg = (
            f"movie {clock.movie!r}: {bad} detections have no finite y, x; drop them first: "
            "rows.dropna(subset=['y', 'x'])"
        )
        raise ValueError(msg)
    frame = rows["frame"].to_numpy()
    ordinal = clock.ordinal(frame)
    order = _order(rows, frame, position)
    kept = order[ordinal[order] >= 0]
    if len(kept) < len(rows):
        logger.warning(
            "movie %r: %d detections lie in bad frames and are left out",
            clock.movie,
            len(rows) - len(kept),
        )
    position, ordinal = position[kept], ordinal[kept]
    shift_px = clock.shift_at(ordinal)
    if shift_px is not None:
        position -= shift_px
    position *= clock.pixel_size_nm
    in_order = np.array_equal(kept, np.arange(len(rows)))
    rows = (rows if in_order else rows.iloc[kept]).reset_index(drop=True)
    return rows.assign(y_nm=position[:, 0], x_nm=position[:, 1], ordinal=ordinal)


def _order(rows: pd.DataFrame, frame: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the order frame, y, x; detections at the same place are told apart by their other
    columns."""
    y, x = position.T
    now, then = slice(None, -1), slice(1, None)
    same_y = (y[now] == y[then]) & (x[now] < x[then])
    in_order = (frame[now] < frame[then]) | (
        (frame[now] == frame[then]) & ((y[now] < y[then]) | same_y)
    )
    if in_order.all():
        return np.arange(len(rows))
    extra = [rows[c].to_numpy() for c in ("orientation", "class_id", "score") if c in rows.columns]
    return np.lexsort((*extra, x, y, frame))


def last_frames(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last occupied frames, as many as the block after them must see."""
    return prepared.iloc[_occupied_from_end(prepared["frame"].to_numpy(), BEFORE) :]


def first_frames(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first occupied frames, as many as the block before them must see."""
    return prepared.iloc[
        : len(prepared) - _occupied_from_end(-prepared["frame"].to_numpy()[::-1], AFTER)
    ]


def _occupied_from_end(frame: np.ndarray, n_frames: int) -> int:
    """Return the row where the last `n_frames` different values of the ascending `frame` begin."""
    row = len(frame)
    for _ in range(n_frames):
        row = int(np.searchsorted(frame, frame[row - 1])) if row else 0
    return row
