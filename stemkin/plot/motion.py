"""Figures of what tracks show: how long stays last, and how far defects move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot.canvas import (
    HALF,
    WIDE,
    ClassNames,
    add_legend,
    in_style,
    plain_logarithms,
    time_unit,
)
from stemkin.plot.palette import MATPLOTLIB_MARKS, class_colour, colour, marker_of
from stemkin.plot.summaries import in_class_order, mean_stays, moving, often_left, pooled

FEWEST_AT_RISK = 3
"""A curve ends where fewer stays go on: one more would be a large step."""


@in_style((WIDE[0], 3.6))
def draw_survival(
    axes: Any,
    survival: pd.DataFrame,
    *,
    dwell_times: pd.DataFrame | None = None,
    class_ids: Iterable[int] | None = None,
    classes: ClassNames | None = None,
) -> None:
    """Draw Kaplan-Meier curves of the stays of each class, with 95 % bands. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    survival
        Table ``survival``; rows that pool every movie are drawn where there are any.
    dwell_times
        Table ``dwell_times``: the exponential law of each mean time is drawn dashed.
    class_ids
        The classes to draw; by default those that were left often enough.
    classes
        Class number → name, or the table ``classes``, for a legend.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If no class was left often enough.
    """
    curves, movie = pooled(survival)
    ids = often_left(curves)
    if class_ids is not None:
        ids = in_class_order(class_ids)
    if not ids:
        msg = "no class was left often enough for a survival curve; name some by class_ids"
        raise ValueError(msg)
    mean_s: dict[int, float] = {}
    if dwell_times is not None:
        mean_s = mean_stays(dwell_times, movie)
    seen, last = seen_stays(curves, ids), 0.0
    for class_id in ids:
        rows = seen[seen["class_id"] == class_id]
        if len(rows):
            last = max(last, float(rows["time_s"].iloc[-1]))
            _one_survival(axes, class_id, rows, mean_s.get(class_id, 0.0))
    divisor, unit = time_unit(last)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / divisor:g}")
    axes.set_yscale("log")
    axes.set_ylim(max(0.005, axes.get_ylim()[0]), 1.08)
    plain_logarithms(axes)
    axes.margins(x=0.01)
    axes.set_xlabel(f"time in the class ({unit})")
    axes.set_ylabel("share still there")
    add_legend(axes, ids, classes)


def seen_stays(curves: pd.DataFrame, class_ids: Iterable[int]) -> pd.DataFrame:
    """Return the rows of the table ``survival`` that are drawn: some stays still go on."""
    enough = (curves["survival"] > 0) & (curves["n_at_risk"] >= FEWEST_AT_RISK)
    return curves[enough & curves["class_id"].isin(list(class_ids))]


def _one_survival(axes: Any, class_id: int, rows: pd.DataFrame, mean_s: float) -> None:
    """Draw the curve of one class as steps that begin at 1, and its law where the mean is known."""
    time = np.concatenate([[0.0], rows["time_s"]])
    share, low, high = (np.concatenate([[1.0], rows[c]]) for c in ("survival", "low", "high"))
    ink = class_colour(class_id)
    axes.fill_between(time, low, high, step="post", color=ink, alpha=0.13, linewidth=0)
    axes.step(time, share, where="post", color=ink)
    if mean_s > 0:
        smooth = np.linspace(0, time[-1], 60)
        law = np.exp(-smooth / mean_s)
        axes.plot(smooth, law, color=ink, linestyle=(0, (3, 2)), linewidth=1.1)


@in_style((HALF[0], 4.0))
def draw_msd(
    axes: Any,
    msd: pd.DataFrame,
    *,
    lines: Mapping[int, tuple[float, float]] | None = None,
    classes: ClassNames | None = None,
) -> None:
    """Draw the mean squared displacement of each class on logarithmic axes. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    msd
        Table ``msd``; rows that pool every movie are drawn where there are any.
    lines
        D [nm²/s] and the offset 4 sigma² [nm²] of a class, drawn as 4 D t + offset;
        `summaries.lines_of_diffusion` takes them from the table ``diffusion``.
    classes
        Class number → name, or the table ``classes``, for a legend.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If nothing moved measurably.
    """
    curves = moving(msd)
    if curves.empty:
        msg = "no mean squared displacement is above 0 nm², so there is nothing to draw"
        raise ValueError(msg)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for class_id, rows in curves.groupby("class_id"):
        _one_msd(axes, int(str(class_id)), rows, lines or {})
    axes.grid(visible=True, axis="both", color=colour("rule"), linewidth=0.7)
    plain_logarithms(axes)
    axes.set_xlabel("lag time (s)")
    axes.set_ylabel("mean squared displacement (nm²)")
    add_legend(axes, in_class_order(curves["class_id"]), classes)


def _one_msd(
    axes: Any, class_id: int, rows: pd.DataFrame, fits: Mapping[int, tuple[float, float]]
) -> None:
    lag, msd = rows["lag_s"].to_numpy(), rows["msd_nm2"].to_numpy()
    error = np.nan_to_num(1.96 * rows["std_error"].to_numpy())
    # A bar that reaches zero has no lower end on a logarithmic axis.
    below = np.where(error >= msd, 0, np.minimum(error, 0.999 * msd))
    ink = class_colour(class_id)
    axes.errorbar(
        lag,
        msd,
        yerr=[below, error],
        fmt=MATPLOTLIB_MARKS[marker_of(class_id)],
        color=ink,
        markersize=4.5,
        elinewidth=1.1,
        capsize=0,
        zorder=3,
    )
    if class_id in fits:
        D_nm2_per_s, offset_nm2 = fits[class_id]
        line = np.geomspace(lag.min(), lag.max(), 60)
        model = 4 * D_nm2_per_s * line + offset_nm2
        axes.plot(line[model > 0], model[model > 0], color=ink, linewidth=1.2, alpha=0.75)
