"""Frame numbers out of numbers, times and dates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin.vocabulary import whole_numbers

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}
"""Units of time, in seconds; ``"frames"`` is the other choice."""

MOST_OFF = 0.2
"""A time that lies farther than this many frames from the nearest frame belongs to none."""


def frame_numbers(
    values: pd.Series, *, time_unit: str, frame_time_s: float | None, movie: pd.Series | None = None
) -> np.ndarray:
    """Return the frame of each row as a whole number.

    Parameters
    ----------
    values
        (n,) frames; or times [`time_unit`], timedeltas or dates, which need `frame_time_s`.
    time_unit
        ``"frames"``, or a unit of time.
    frame_time_s
        Time between frames [s].
    movie
        (n,) movie of each row: dates are counted from the first row of each.

    Returns
    -------
    (n,) int64.

    Raises
    ------
    ValueError
        If a number has a fraction, a time lies between frames, or times come without a frame time.
    """
    seconds = _seconds(values, time_unit, movie)
    if seconds is None:
        return whole_numbers(pd.DataFrame({"frame": values}), "frame").astype(np.int64)
    if frame_time_s is None:
        msg = (
            f"the column 'frame' holds times ({values.dtype}, {time_unit}), which are turned into "
            "frames by the time between them; pass frame_time_s="
        )
        raise ValueError(msg)
    if not np.isfinite(seconds).all():
        msg = (
            f"the column 'frame' must hold times, but {int((~np.isfinite(seconds)).sum())} of "
            f"{len(seconds)} are missing; drop these rows"
        )
        raise ValueError(msg)
    frame = seconds / frame_time_s
    off = np.abs(frame - np.rint(frame))
    if len(off) and off.max() > MOST_OFF:
        worst = int(off.argmax())
        msg = (
            f"the time {seconds[worst]:g} s lies between frames of {frame_time_s:g} s (it would be "
            f"frame {frame[worst]:.2f}); correct frame_time_s"
        )
        raise ValueError(msg)
    return np.rint(frame).astype(np.int64)


def _seconds(values: pd.Series, time_unit: str, movie: pd.Series | None) -> np.ndarray | None:
    """Return times in seconds, None where `values` are frames already."""
    kind = getattr(values.dtype, "kind", "O")
    if kind == "m":
        return np.asarray(values.dt.total_seconds(), dtype=np.float64)
    if kind == "M":
        start: Any = values.min()
        if movie is not None:
            start = values.groupby(movie.to_numpy()).transform("min")
        return np.asarray((values - start).dt.total_seconds(), dtype=np.float64)
    if time_unit == "frames":
        return None
    try:
        return values.to_numpy(np.float64) * SECONDS[time_unit]
    except (TypeError, ValueError) as error:
        msg = f"the column 'frame' must hold times [{time_unit}], but it holds text"
        raise ValueError(msg) from error


def check_time_unit(time_unit: Any) -> None:
    """Refuse what is no unit of time.

    Raises
    ------
    ValueError
        If it is none.
    """
    if time_unit != "frames" and time_unit not in SECONDS:
        msg = f"time_unit must be 'frames' or one of {list(SECONDS)}, but it is {time_unit!r}"
        raise ValueError(msg)
