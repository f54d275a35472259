"""Figures against time: numbers of defects, drift, order, regions that grow, and training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot.canvas import (
    DASHED,
    DOTTED,
    HALF,
    WIDE,
    ClassNames,
    add_legend,
    in_style,
    plain_logarithms,
    time_axis,
)
from stemkin.plot.palette import LIGHT_ROLES, MATPLOTLIB_MARKS, class_colour, colour, marker_of
from stemkin.plot.summaries import has_times, in_class_order, mean_fractions, mean_populations
from stemkin.tables import empty

FEW_POINTS = 40
"""Curves of at most so many points show each of them."""

AREAS = ("ordered", "disordered", "vacuum")
"""Columns with shares of the area."""

REGION_ROLES = {"hole": "ink", "disordered": "disordered", "fragment": "accent"}
"""Kind of region → the role whose colour it wears."""


@in_style(WIDE)
def draw_populations(
    axes: Any,
    populations: pd.DataFrame,
    *,
    frames: pd.DataFrame | None = None,
    class_ids: Iterable[int] | None = None,
    classes: ClassNames | None = None,
) -> None:
    """Draw mean numbers of defects per frame against time, with 95 % bands. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    populations
        Table ``populations``, or what `mean_populations` made of it.
    frames
        Table ``frames``: which frames were looked at though nothing was found in them. By default
        those that have a defect.
    class_ids
        The classes to draw, by default all.
    classes
        Class number → name, or the table ``classes``, for a legend.

    Returns
    -------
    The axes.
    """
    means = populations
    if "mean" not in means.columns:
        looked = empty("frames")
        if frames is not None:
            looked = frames
        means = mean_populations(populations, looked)
    if class_ids is None:
        class_ids = means["class_id"]
    ids, in_frames = in_class_order(class_ids), not means["in_seconds"].all()
    divisor, label = time_axis(float(means["time"].max()), in_frames=in_frames)
    opacity = 0.11
    if len(ids) < 4:
        opacity = 0.16
    for class_id in ids:
        rows = means[means["class_id"] == class_id]
        time, own = rows["time"].to_numpy() / divisor, class_colour(class_id)
        low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
        axes.fill_between(time, low, high, color=own, alpha=opacity, linewidth=0)
        mark = None
        if len(time) <= FEW_POINTS:
            mark = MATPLOTLIB_MARKS[marker_of(class_id)]
        axes.plot(time, rows["mean"].to_numpy(), color=own, marker=mark, markersize=3.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel("defects per frame")
    axes.margins(x=0.01)
    add_legend(axes, ids, classes)


@in_style(HALF)
def draw_drift(axes: Any, frames: pd.DataFrame, *, pixel_size_nm: float | None = None) -> None:
    """Draw the cumulative shift of a movie against time: x solid, y dashed. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    frames
        Rows of the table ``frames`` of one movie, in order.
    pixel_size_nm
        Edge of a pixel [nm]; without it shifts are in pixels.

    Returns
    -------
    The axes.
    """
    length, unit = 1.0, "px"
    if pixel_size_nm is not None and np.isfinite(pixel_size_nm):
        length, unit = pixel_size_nm, "nm"
    x, label, _ = _times_of(frames)
    ways = (("shift_x", colour("accent"), "solid", 1.6), ("shift_y", colour("ink"), DASHED, 1.3))
    for column, ink, line, width in ways:
        shift = frames[column].to_numpy() * length
        label_of_way = column.removeprefix("shift_")
        axes.plot(x, shift, color=ink, linestyle=line, linewidth=width, label=label_of_way)
    axes.set_xlabel(label)
    axes.set_ylabel(f"shift ({unit})")


@in_style((HALF[0], 0.8))
def draw_statuses(axes: Any, frames: pd.DataFrame) -> None:
    """Draw a strip against time that shows what became of each frame. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    frames
        Rows of the table ``frames`` of one movie, in order.

    Returns
    -------
    The axes.
    """
    x, label, step = _times_of(frames)
    told: set[str] = set()
    for start, stop, status in runs_of(frames["status"].tolist()):
        role = status
        if status not in LIGHT_ROLES:
            role = "corrupt"
        left, right = x[start] - step / 2, x[stop - 1] + step / 2
        # what begins with an underscore stands in no legend: each status is there once
        says = status
        if status in told:
            says = f"_{status}"
        told.add(status)
        axes.axvspan(left, right, color=colour(role), linewidth=0, label=says)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(x.min() - step / 2, x.max() + step / 2)
    axes.set_xlabel(label)


def _times_of(frames: pd.DataFrame) -> tuple[np.ndarray, str, float]:
    """Return the time of each frame, what its axis is called, and the time between two."""
    in_frames = not has_times(frames)
    column = "time_s"
    if in_frames:
        column = "frame"
    x = frames[column].to_numpy(dtype=float)
    divisor, label = time_axis(float(x.max()), in_frames=in_frames)
    x = x / divisor
    step = 1.0
    if len(x) > 1:
        step = float(np.median(np.diff(x)))
    return x, label, step


def runs_of(values: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """Return (start, stop, value) of each run of equal neighbours.

    >>> runs_of(["ok", "ok", "blank"])
    [(0, 2, 'ok'), (2, 3, 'blank')]
    """
    edges = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values)]
    return [(a, b, values[a]) for a, b in pairwise(edges) if b > a]


@in_style((WIDE[0], 2.5))
def draw_order(axes: Any, frames: pd.DataFrame) -> None:
    """Draw which share of the area is ordered, disordered and vacuum, stacked. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    frames
        Table ``frames``, or what `mean_fractions` made of it.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the order of no frame was measured.
    """
    fractions = frames
    if "status" in frames.columns:
        fractions = mean_fractions(frames)
    if fractions.empty:
        msg = "the order of the lattice was measured in no frame, so there are no shares to draw"
        raise ValueError(msg)
    in_frames = not fractions["in_seconds"].all()
    divisor, label = time_axis(float(fractions["time"].max()), in_frames=in_frames)
    parts = [100 * fractions[name].to_numpy() for name in AREAS]
    time = fractions["time"].to_numpy() / divisor
    axes.stackplot(time, *parts, colors=[colour(name) for name in AREAS], linewidth=0)
    axes.set_ylim(0, 100)
    axes.margins(x=0)
    axes.set_xlabel(label)
    axes.set_ylabel("share of the area (%)")


@in_style((HALF[0], 2.8))
def draw_training(
    axes: Any, curves: Mapping[str, Sequence[float]], x_name: str, x: Sequence[float]
) -> None:
    """Draw loss curves; the first is solid, others are dashed. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    curves
        Name → losses, as long as `x`.
    x_name, x
        What they are drawn against: steps, or epochs.

    Returns
    -------
    The axes.
    """
    from matplotlib.ticker import MaxNLocator

    styles = ((colour("accent"), "solid"), (colour("ink"), DASHED), (colour("muted"), DOTTED))
    for (ink, line), (name, values) in zip(styles, curves.items(), strict=False):
        axes.plot(np.asarray(x), np.asarray(values), color=ink, linestyle=line, label=name)
    if all(min(values) > 0 for values in curves.values()):
        axes.set_yscale("log")
        plain_logarithms(axes)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(x_name)
    axes.set_ylabel("loss")


def is_dashed(kind: str) -> bool:
    """Tell whether the curves of this kind of region are dashed."""
    return kind == "fragment"


@in_style((WIDE[0], 2.8))
def draw_regions(axes: Any, regions: pd.DataFrame) -> None:
    """Draw the area of each region against time; each curve bears its number. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    regions
        Rows of the table ``regions`` of one movie; areas are in nm² where all of them are known.

    Returns
    -------
    The axes.
    """
    column, unit = area_column(regions)
    in_frames, x_name = not has_times(regions), "time_s"
    if in_frames:
        x_name = "frame"
    divisor, label = time_axis(float(regions[x_name].max()), in_frames=in_frames)
    for number, own in regions.groupby("region"):
        x, y = own[x_name].to_numpy() / divisor, own[column].to_numpy()
        _draw_region(axes, str(number), str(own["kind"].iloc[0]), x, y)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.03)
    axes.set_xlabel(label)
    axes.set_ylabel(f"area ({unit})")


def area_column(regions: pd.DataFrame) -> tuple[str, str]:
    """Return the column of the table ``regions`` that holds areas, and its unit."""
    if np.isfinite(regions["area_nm2"]).all():
        return "area_nm2", "nm²"
    return "area_px", "px²"


def _draw_region(axes: Any, number: str, kind: str, x: np.ndarray, y: np.ndarray) -> None:
    line: Any = "solid"
    if is_dashed(kind):
        line = DASHED
    mark = None
    if len(x) < 3:
        mark = "o"
    ink = colour(REGION_ROLES[kind])
    axes.plot(x, y, color=ink, linestyle=line, marker=mark, markersize=3)
    end = (x[-1], y[-1])
    axes.annotate(number, end, xytext=(3, 0), textcoords="offset points", fontsize=8, va="center")
