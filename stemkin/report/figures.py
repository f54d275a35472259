"""Figures as SVG text, drawn by matplotlib in stand-in colours that the page turns into those of
its theme.

Figures hold no words from outside (names of movies or classes stand in the page around them), only
axes with units. Every function takes small arrays; none opens a window or leaves a figure behind.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from stemkin.report.palette import MATPLOTLIB_MARKS, ROLES, mark_of, stand_in, with_css_variables
from stemkin.report.words import power_of_ten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HALF = (5.2, 3.5)
WIDE = (10.4, 3.3)
"""Sizes of figures in inches; 72 units of the SVG's own length each."""


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    ink, muted, rule = ROLES["ink"], ROLES["muted"], ROLES["rule"]
    settings: Any = {
        "font.family": "DejaVu Sans", "font.size": 9, "text.parse_math": False, "text.color": ink,
        "axes.edgecolor": muted, "axes.labelcolor": ink, "axes.linewidth": 0.8, "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "axes.unicode_minus": True,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": rule, "grid.linewidth": 0.7,
        "xtick.color": muted, "ytick.color": muted, "xtick.labelcolor": ink, "ytick.labelcolor": ink,
        "xtick.major.size": 3, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
        "figure.facecolor": "none", "savefig.facecolor": "none", "svg.fonttype": "none", "svg.hashsalt": "stemkin",
        "lines.linewidth": 1.6, "path.simplify": True,
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def _new(size: tuple[float, float]) -> Figure:
    """Return an empty figure with the same margins [inches] as all others, so that axes stand below
    each other."""
    from matplotlib.figure import Figure

    width, height = size
    left, right, bottom, top = 0.68, 0.12, 0.5, 0.1
    figure = Figure(figsize=size)
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, hspace=0.06
    )
    return figure


def as_markup(figure: Figure, name: str, says: str) -> Markup:
    """Return `figure` as inline SVG; `name` keeps its ids apart from other figures', `says` is read
    to the blind."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(\bid=\"|url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*|'DejaVu Sans'[^;\"]*", _inherit, svg)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(says)}" ', 1)
    svg = re.sub(r"(\d+\.\d{2})\d+", r"\1", svg)
    return Markup(with_css_variables(svg))  # noqa: S704 - drawn here, of numbers and our own words


def _inherit(found: re.Match[str]) -> str:
    return "font-family: inherit" if found[0].startswith("font-family") else "sans-serif"


def time_axis(longest: float) -> tuple[float, str]:
    """Return what to divide seconds by, and the unit, for an axis that ends at `longest`.

    >>> time_axis(225.0), time_axis(7200.0)
    ((1.0, 's'), (60.0, 'min'))
    """
    if longest <= 600:
        return 1.0, "s"
    return (60.0, "min") if longest <= 3 * 3600 else (3600.0, "h")


def populations(means: pd.DataFrame, class_ids: Sequence[int], *, in_frames: bool) -> Markup:
    """Draw mean counts per frame against time with bands; `means` has `class_id`, `time`, `mean`,
    `low`, `high`."""
    scale, unit = (1.0, "") if in_frames else time_axis(float(means["time"].max()))
    with _style():
        figure = _new(WIDE)
        axes = figure.add_subplot()
        for class_id in class_ids:
            rows = means[means["class_id"] == class_id]
            time, colour = rows["time"].to_numpy() / scale, stand_in(class_id)
            axes.fill_between(
                time,
                rows["low"].to_numpy(),
                rows["high"].to_numpy(),
                color=colour,
                alpha=0.16 if len(class_ids) < 4 else 0.11,
                linewidth=0,
            )
            few = len(time) <= 40
            mark = MATPLOTLIB_MARKS[mark_of(class_id)] if few else None
            axes.plot(time, rows["mean"].to_numpy(), color=colour, marker=mark, markersize=3.4)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("frame" if in_frames else f"time ({unit})")
        axes.set_ylabel("defects per frame")
        axes.margins(x=0.01)
        return as_markup(
            figure,
            "populations",
            "Number of defects of each class per frame against time, with 95 % bands",
        )


def survival(curves: pd.DataFrame, class_ids: Sequence[int], mean_s: Mapping[int, float]) -> Markup:
    """Draw the share of stays that last longer than a time, with bands, on a logarithmic scale;
    dashed: exponential laws.

    Parameters
    ----------
    curves
        `class_id`, `time_s`, `survival`, `low`, `high`, `n_at_risk`.
    class_ids
        The classes to draw.
    mean_s
        Mean time of the law of each class [s].
    """
    with _style():
        figure = _new((WIDE[0], 3.6))
        axes = figure.add_subplot()
        last = 0.0
        for class_id in class_ids:
            rows = curves[
                (curves["class_id"] == class_id)
                & (curves["survival"] > 0)
                & (curves["n_at_risk"] >= 3)
            ]
            if rows.empty:
                continue
            time = np.concatenate([[0.0], rows["time_s"]])
            share, low, high = (
                np.concatenate([[1.0], rows[c]]) for c in ("survival", "low", "high")
            )
            colour, last = stand_in(class_id), max(last, float(time[-1]))
            axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
            axes.step(time, share, where="post", color=colour)
            if mean_s.get(class_id, 0.0) > 0:
                smooth = np.linspace(0, time[-1], 60)
                axes.plot(
                    smooth,
                    np.exp(-smooth / mean_s[class_id]),
                    color=colour,
                    linestyle=(0, (3, 2)),
                    linewidth=1.1,
                )
        scale, unit = time_axis(last)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / scale:g}")
        axes.set_yscale("log")
        axes.set_ylim(max(0.005, axes.get_ylim()[0]), 1.08)
        _plain_logarithms(axes)
        axes.margins(x=0.01)
        axes.set_xlabel(f"time in the class ({unit})")
        axes.set_ylabel("share still there")
        return as_markup(
            figure,
            "survival",
            "Share of stays that last longer than a time, for each class, with 95 % bands",
        )


def mean_squared_displacement(
    curves: pd.DataFrame, fits: Mapping[int, tuple[float, float]]
) -> Markup:
    """Draw the MSD of each class on logarithmic axes; `fits` gives D [nm²/s] and the offset 4
    sigma² [nm²] per class."""
    with _style():
        figure = _new((HALF[0], 4.0))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for class_id, rows in curves.groupby("class_id"):
            _one_msd(axes, int(str(class_id)), rows, fits)
        axes.grid(visible=True, axis="both")
        _plain_logarithms(axes)
        axes.set_xlabel("lag time (s)")
        axes.set_ylabel("mean squared displacement (nm²)")
        return as_markup(
            figure,
            "msd",
            "Mean squared displacement against lag time, with 95 % error bars and the fitted line",
        )


def _one_msd(
    axes: Axes, class_id: int, rows: pd.DataFrame, fits: Mapping[int, tuple[float, float]]
) -> None:
    lag, msd = rows["lag_s"].to_numpy(), rows["msd_nm2"].to_numpy()
    error = np.nan_to_num(1.96 * rows["std_error"].to_numpy())
    below = np.minimum(
        error, 0.999 * msd
    )  # a bar that reaches zero has no lower end on a logarithmic axis
    colour = stand_in(class_id)
    axes.errorbar(lag, msd, yerr=[np.where(error >= msd, 0, below), error], fmt=MATPLOTLIB_MARKS[mark_of(class_id)],
                  color=colour, markersize=4.5, elinewidth=1.1, capsize=0, zorder=3)  # fmt: skip
    if class_id in fits:
        D_nm2_per_s, offset_nm2 = fits[class_id]
        line = np.geomspace(lag.min(), lag.max(), 60)
        model = 4 * D_nm2_per_s * line + offset_nm2
        axes.plot(line[model > 0], model[model > 0], color=colour, linewidth=1.2, alpha=0.75)


def _plain_logarithms(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, (low, high), scale in (
        (axes.xaxis, axes.get_xlim(), axes.get_xscale()), (axes.yaxis, axes.get_ylim(), axes.get_yscale())
    ):  # fmt: skip
        if scale != "log":
            continue
        short = np.log10(high / low) < 1.6
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,)))
        axis.set_major_formatter(FuncFormatter(_short_tick if short else _decade_tick))
        axis.set_minor_formatter(NullFormatter())


def _short_tick(value: float, _position: int) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:.4g}"
    decade = 10.0 ** np.floor(np.log10(value))
    digit = round(value / decade)
    return power_of_ten(decade) if digit == 1 else f"{digit}×{power_of_ten(decade)}"


def _decade_tick(value: float, _position: int) -> str:
    return power_of_ten(value)


def drift(frames: pd.DataFrame, *, pixel_size_nm: float, in_frames: bool, name: str) -> Markup:
    """Draw the cumulative shift of one movie, and under it what became of each frame."""
    known = np.isfinite(pixel_size_nm)
    length, label = (pixel_size_nm, "shift (nm)") if known else (1.0, "shift (px)")
    x = frames["frame" if in_frames else "time_s"].to_numpy(dtype=float)
    scale, unit = (1.0, "") if in_frames else time_axis(float(x.max()))
    x = x / scale
    with _style():
        figure = _new((HALF[0], 2.5))
        above, strip = figure.subplots(2, 1, sharex=True, height_ratios=(10, 1.1))
        above.plot(x, frames["shift_x"].to_numpy() * length, color=ROLES["accent"])
        above.plot(
            x,
            frames["shift_y"].to_numpy() * length,
            color=ROLES["ink"],
            linestyle=(0, (4, 1.6)),
            linewidth=1.3,
        )
        above.set_ylabel(label)
        step = float(np.median(np.diff(x))) if len(x) > 1 else 1.0
        for start, stop, status in runs_of(frames["status"].tolist()):
            strip.axvspan(
                x[start] - step / 2,
                x[stop - 1] + step / 2,
                color=ROLES.get(status, ROLES["corrupt"]),
                linewidth=0,
            )
        strip.set_yticks([])
        strip.grid(visible=False)
        strip.spines[:].set_visible(False)
        strip.set_xlim(x.min() - step / 2, x.max() + step / 2)
        above.tick_params(axis="x", length=0)
        strip.set_xlabel("frame" if in_frames else f"time ({unit})")
        return as_markup(
            figure,
            name,
            "Cumulative drift in x and y against time; below it a strip that shows the status of "
            "each frame",
        )


def runs_of(values: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """Return (start, stop, value) of each run of equal neighbours.

    >>> runs_of(["ok", "ok", "blank"])
    [(0, 2, 'ok'), (2, 3, 'blank')]
    """
    edges = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values)]
    return [(a, b, values[a]) for a, b in pairwise(edges) if b > a]


def phase_fractions(fractions: pd.DataFrame, *, in_frames: bool) -> Markup:
    """Draw area fractions stacked to one; `fractions` has `time`, `ordered`, `disordered`,
    `vacuum`."""
    scale, unit = (1.0, "") if in_frames else time_axis(float(fractions["time"].max()))
    names = ("ordered", "disordered", "vacuum")
    with _style():
        figure = _new((WIDE[0], 2.5))
        axes = figure.add_subplot()
        parts = [100 * fractions[name].to_numpy() for name in names]
        time = fractions["time"].to_numpy() / scale
        axes.stackplot(time, *parts, colors=[ROLES[name] for name in names], linewidth=0)
        axes.set_ylim(0, 100)
        axes.margins(x=0)
        axes.set_xlabel("frame" if in_frames else f"time ({unit})")
        axes.set_ylabel("share of the area (%)")
        return as_markup(
            figure,
            "phases",
            "Share of the area that is ordered lattice, disordered lattice and vacuum, against time",
        )


def training(curves: Mapping[str, Sequence[float]], x_name: str, x: Sequence[float]) -> Markup:
    """Draw loss curves; the first is solid, others are dashed."""
    from matplotlib.ticker import MaxNLocator

    with _style():
        figure = _new((HALF[0], 2.8))
        axes = figure.add_subplot()
        styles = (
            (ROLES["accent"], "solid"),
            (ROLES["ink"], (0, (4, 1.6))),
            (ROLES["muted"], (0, (1, 1.2))),
        )
        for (colour, line), values in zip(styles, curves.values(), strict=False):
            axes.plot(np.asarray(x), np.asarray(values), color=colour, linestyle=line)
        if all(min(v) > 0 for v in curves.values()):
            axes.set_yscale("log")
            _plain_logarithms(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(x_name)
        axes.set_ylabel("loss")
        return as_markup(
            figure, "training", "Loss of the training and validation frames against training steps"
        )
