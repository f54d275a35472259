"""Figures of counts, drift, order and training against time, as SVG text.

Every function takes small arrays; none opens a window or leaves a figure behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report.canvas import (
    DASHED,
    DOTTED,
    HALF,
    WIDE,
    as_markup,
    new_figure,
    plain_logarithms,
    style,
    time_axis,
)
from stemkin.report.palette import MATPLOTLIB_MARKS, ROLES, marker_of, stand_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW_POINTS = 40
"""Curves of at most so many points show each of them."""


def populations_figure(means: pd.DataFrame, class_ids: Sequence[int], *, in_frames: bool) -> Markup:
    """Draw mean counts per frame against time, with bands.

    Parameters
    ----------
    means
        `class_id`, `time` [s, or frames], `mean`, `low`, `high`.
    class_ids
        The classes to draw.
    in_frames
        Whether times are frames.
    """
    divisor, label = time_axis(float(means["time"].max()), in_frames=in_frames)
    opacity = 0.11
    if len(class_ids) < 4:
        opacity = 0.16
    with style():
        figure = new_figure(WIDE)
        axes = figure.add_subplot()
        for class_id in class_ids:
            rows = means[means["class_id"] == class_id]
            time, colour = rows["time"].to_numpy() / divisor, stand_in(class_id)
            low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
            axes.fill_between(time, low, high, color=colour, alpha=opacity, linewidth=0)
            mark = None
            if len(time) <= FEW_POINTS:
                mark = MATPLOTLIB_MARKS[marker_of(class_id)]
            axes.plot(time, rows["mean"].to_numpy(), color=colour, marker=mark, markersize=3.4)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
        axes.set_ylabel("defects per frame")
        axes.margins(x=0.01)
        says = "Number of defects of each class per frame against time, with 95 % bands"
        return as_markup(figure, "populations", says, means.drop(columns="bin", errors="ignore"))


def drift_figure(
    frames: pd.DataFrame, *, pixel_size_nm: float, in_frames: bool, name: str
) -> Markup:
    """Draw the cumulative shift of one movie, and under it what became of each frame.

    Parameters
    ----------
    frames
        Rows of the table ``frames`` of one movie, in order.
    pixel_size_nm
        NaN leaves shifts in pixels.
    in_frames
        Whether the axis of time counts frames.
    name
        Of the figure, one for each movie.
    """
    length, label = 1.0, "shift (px)"
    if np.isfinite(pixel_size_nm):
        length, label = pixel_size_nm, "shift (nm)"
    column = "time_s"
    if in_frames:
        column = "frame"
    x = frames[column].to_numpy(dtype=float)
    divisor, time_label = time_axis(float(x.max()), in_frames=in_frames)
    x = x / divisor
    step = 1.0
    if len(x) > 1:
        step = float(np.median(np.diff(x)))
    with style():
        figure = new_figure((HALF[0], 2.5))
        above, strip = figure.subplots(2, 1, sharex=True, height_ratios=(10, 1.1))
        shift_y, shift_x = (frames[axis].to_numpy() * length for axis in ("shift_y", "shift_x"))
        above.plot(x, shift_x, color=ROLES["accent"])
        above.plot(x, shift_y, color=ROLES["ink"], linestyle=DASHED, linewidth=1.3)
        above.set_ylabel(label)
        above.tick_params(axis="x", length=0)
        _draw_statuses(strip, x, frames["status"].tolist(), step)
        strip.set_xlabel(time_label)
        says = (
            "Cumulative drift in x and y against time; below it a strip that shows the status of "
            "each frame"
        )
        shown = ["frame", "time_s", "status", "shift_y", "shift_x"]
        return as_markup(figure, name, says, frames[shown])


def _draw_statuses(strip: Axes, x: np.ndarray, statuses: Sequence[str], step: float) -> None:
    """Paint each run of frames of one status, half a `step` beyond its first and last frame."""
    for start, stop, status in runs_of(statuses):
        colour = ROLES.get(status, ROLES["corrupt"])
        strip.axvspan(x[start] - step / 2, x[stop - 1] + step / 2, color=colour, linewidth=0)
    strip.set_yticks([])
    strip.grid(visible=False)
    strip.spines[:].set_visible(False)
    strip.set_xlim(x.min() - step / 2, x.max() + step / 2)


def runs_of(values: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """Return (start, stop, value) of each run of equal neighbours.

    >>> runs_of(["ok", "ok", "blank"])
    [(0, 2, 'ok'), (2, 3, 'blank')]
    """
    edges = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values)]
    return [(a, b, values[a]) for a, b in pairwise(edges) if b > a]


def phases_figure(fractions: pd.DataFrame, *, in_frames: bool) -> Markup:
    """Draw area fractions stacked to one.

    Parameters
    ----------
    fractions
        `time` [s, or frames], `ordered`, `disordered`, `vacuum`.
    in_frames
        Whether times are frames.
    """
    divisor, label = time_axis(float(fractions["time"].max()), in_frames=in_frames)
    names = ("ordered", "disordered", "vacuum")
    parts = [100 * fractions[name].to_numpy() for name in names]
    with style():
        figure = new_figure((WIDE[0], 2.5))
        axes = figure.add_subplot()
        time = fractions["time"].to_numpy() / divisor
        axes.stackplot(time, *parts, colors=[ROLES[name] for name in names], linewidth=0)
        axes.set_ylim(0, 100)
        axes.margins(x=0)
        axes.set_xlabel(label)
        axes.set_ylabel("share of the area (%)")
        says = (
            "Share of the area that is ordered lattice, disordered lattice and vacuum, against time"
        )
        return as_markup(figure, "phases", says, fractions)


def training_figure(
    curves: Mapping[str, Sequence[float]], x_name: str, x: Sequence[float]
) -> Markup:
    """Draw loss curves against `x`; the first is solid, others are dashed."""
    from matplotlib.ticker import MaxNLocator

    styles = ((ROLES["accent"], "solid"), (ROLES["ink"], DASHED), (ROLES["muted"], DOTTED))
    with style():
        figure = new_figure((HALF[0], 2.8))
        axes = figure.add_subplot()
        for (colour, line), values in zip(styles, curves.values(), strict=False):
            axes.plot(np.asarray(x), np.asarray(values), color=colour, linestyle=line)
        if all(min(values) > 0 for values in curves.values()):
            axes.set_yscale("log")
            plain_logarithms(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(x_name)
        axes.set_ylabel("loss")
        says = "Loss of the training and validation frames against training steps"
        return as_markup(figure, "training", says, pd.DataFrame({x_name: list(x), **curves}))
