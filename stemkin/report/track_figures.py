"""Figures of what tracks show: how long stays last, and how far defects move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from stemkin.report.canvas import (
    HALF,
    WIDE,
    as_markup,
    new_figure,
    plain_logarithms,
    style,
    time_unit,
)
from stemkin.report.palette import MATPLOTLIB_MARKS, marker_of, stand_in

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def survival_figure(
    curves: pd.DataFrame, class_ids: Sequence[int], mean_s: Mapping[int, float]
) -> Markup:
    """Draw Kaplan-Meier curves of the stays of each class, with bands and exponential laws.

    Parameters
    ----------
    curves
        `class_id`, `time_s`, `survival`, `low`, `high`, `n_at_risk`.
    class_ids
        The classes to draw.
    mean_s
        Mean time of the exponential law of each class [s], drawn dashed.
    """
    with style():
        figure = new_figure((WIDE[0], 3.6))
        axes = figure.add_subplot()
        last = 0.0
        seen = curves[(curves["survival"] > 0) & (curves["n_at_risk"] >= 3)]
        for class_id in class_ids:
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
        says = "Share of stays that last longer than a time, for each class, with 95 % bands"
        return as_markup(figure, "survival", says, seen[seen["class_id"].isin(class_ids)])


def _one_survival(axes: Axes, class_id: int, rows: pd.DataFrame, mean_s: float) -> None:
    """Draw the curve of one class as steps that begin at 1, and its law where the mean is known."""
    time = np.concatenate([[0.0], rows["time_s"]])
    share, low, high = (np.concatenate([[1.0], rows[c]]) for c in ("survival", "low", "high"))
    colour = stand_in(class_id)
    axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    axes.step(time, share, where="post", color=colour)
    if mean_s > 0:
        smooth = np.linspace(0, time[-1], 60)
        law = np.exp(-smooth / mean_s)
        axes.plot(smooth, law, color=colour, linestyle=(0, (3, 2)), linewidth=1.1)


def msd_figure(curves: pd.DataFrame, fits: Mapping[int, tuple[float, float]]) -> Markup:
    """Draw the mean squared displacement of each class on logarithmic axes.

    Parameters
    ----------
    curves
        `class_id`, `lag_s`, `msd_nm2`, `std_error` [nm²].
    fits
        D [nm²/s] and the offset 4 sigma² [nm²] of a class; its line is 4 D t + offset.
    """
    with style():
        figure = new_figure((HALF[0], 4.0))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for class_id, rows in curves.groupby("class_id"):
            _one_msd(axes, int(str(class_id)), rows, fits)
        axes.grid(visible=True, axis="both")
        plain_logarithms(axes)
        axes.set_xlabel("lag time (s)")
        axes.set_ylabel("mean squared displacement (nm²)")
        says = (
            "Mean squared displacement against lag time, with 95 % error bars and the fitted line"
        )
        return as_markup(figure, "msd", says, curves)


def _one_msd(
    axes: Axes, class_id: int, rows: pd.DataFrame, fits: Mapping[int, tuple[float, float]]
) -> None:
    lag, msd = rows["lag_s"].to_numpy(), rows["msd_nm2"].to_numpy()
    error = np.nan_to_num(1.96 * rows["std_error"].to_numpy())
    # A bar that reaches zero has no lower end on a logarithmic axis.
    below = np.where(error >= msd, 0, np.minimum(error, 0.999 * msd))
    colour = stand_in(class_id)
    axes.errorbar(
        lag,
        msd,
        yerr=[below, error],
        fmt=MATPLOTLIB_MARKS[marker_of(class_id)],
        color=colour,
        markersize=4.5,
        elinewidth=1.1,
        capsize=0,
        zorder=3,
    )
    if class_id in fits:
        D_nm2_per_s, offset_nm2 = fits[class_id]
        line = np.geomspace(lag.min(), lag.max(), 60)
        model = 4 * D_nm2_per_s * line + offset_nm2
        axes.plot(line[model > 0], model[model > 0], color=colour, linewidth=1.2, alpha=0.75)
