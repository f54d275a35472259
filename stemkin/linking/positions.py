"""Detections as a linker wants them: good frames only, in order, in drift-corrected nanometres."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from stemkin.linking.clock import Clock
from stemkin.vocabulary import refuse_negative_frames, whole_numbers

logger = logging.getLogger(__name__)


def drift_corrected(rows: pd.DataFrame, clock: Clock) -> pd.DataFrame:
    """Place the detections of one movie's good frames in drift-corrected nanometres.

    Parameters
    ----------
    rows
        Rows of the table ``detections``, all of the clock's movie.
    clock
        The movie's good frames and shifts.

    Returns
    -------
    The rows of good frames, sorted by frame, y, x, with `y_nm`, `x_nm` and the `ordinal` of their
    frame.

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
    frame = whole_numbers(rows, "frame")
    refuse_negative_frames(clock.movie, int(frame.min(initial=0)))
    if "class_id" in rows.columns:
        whole_numbers(rows, "class_id")
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
    if not np.array_equal(kept, np.arange(len(rows))):
        rows = rows.iloc[kept]
    rows = rows.reset_index(drop=True)
    return rows.assign(y_nm=position[:, 0], x_nm=position[:, 1], ordinal=ordinal)


def _order(rows: pd.DataFrame, frame: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the order frame, y, x; at the same place the other columns decide."""
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
