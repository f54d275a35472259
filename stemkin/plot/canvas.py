"""What all figures share: style, new axes, axes of time, ticks, legends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import pandas as pd

from stemkin.plot.numerals import power_of_ten
from stemkin.plot.palette import MATPLOTLIB_MARKS, are_given, class_colour, colour, marker_of
from stemkin.tables import NOT_NAMED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALF = (5.2, 3.5)
WIDE = (10.4, 3.3)
"""Sizes of figures in inches; 72 units of an SVG's own length each."""

DASHED = (0, (4, 1.6))
DOTTED = (0, (1, 1.2))

LONGEST_NAME = 24
"""So many letters of a name stand in a figure."""

ClassNames = Mapping[int, str] | pd.DataFrame
"""Class number → name, or the table ``classes``."""

Given = ParamSpec("Given")

_is_set: ContextVar[bool] = ContextVar("_is_set", default=False)
"""Whether the style is that of colours that are given: to set it costs as much as a small figure."""


@contextmanager
def style() -> Iterator[None]:
    """Draw what stands inside the ``with`` in the report's style; within given colours, set once."""
    import matplotlib as mpl

    if are_given() and _is_set.get():
        yield
        return
    ink, muted, rule = colour("ink"), colour("muted"), colour("rule")
    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.parse_math": False,
        "text.color": ink,
        "axes.edgecolor": muted,
        "axes.labelcolor": ink,
        "axes.linewidth": 0.8,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": rule,
        "grid.linewidth": 0.7,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "svg.fonttype": "none",
        "svg.hashsalt": "stemkin",
        "lines.linewidth": 1.6,
        "path.simplify": True,
    }
    if are_given():
        # the page has a ground of its own
        ground = ("axes.facecolor", "figure.facecolor", "savefig.facecolor")
        settings |= dict.fromkeys(ground, "none")
    token = _is_set.set(are_given())
    try:
        with mpl.rc_context(settings):
            yield
    finally:
        _is_set.reset(token)


def in_style(
    size: tuple[float, float],
) -> Callable[[Callable[Given, Any]], Callable[Given, Any]]:
    """Make a function that draws into its first argument, axes, draw in the report's style.

    Without axes it gets new ones, in a figure of `size` (width, height) [inches]. The function
    returns the axes.
    """

    def decorate(draw: Callable[Given, Any]) -> Callable[Given, Any]:
        @wraps(draw)
        def drawn(*args: Given.args, **words: Given.kwargs) -> Any:
            axes, *others = args
            with style():
                if axes is None:
                    from matplotlib import pyplot

                    axes = pyplot.subplots(figsize=size, layout="constrained")[1]
                draw(axes, *others, **words)  # type: ignore[arg-type]
            return axes

        return drawn

    return decorate


def without_axes(axes: Axes) -> None:
    """Leave nothing of an axes but what is drawn in it; ticks are never made, which saves time."""
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    axes.set_axis_off()


def drawn_name(name: str) -> str:
    """Return a name as a figure can hold it: short, and in letters that its font has.

    >>> drawn_name("Mo_W+V_S"), drawn_name("空")
    ('Mo_W+V_S', '?')
    """
    letters = [letter if _is_drawn(letter) else "?" for letter in name[:LONGEST_NAME]]
    return "".join(letters)


def _is_drawn(letter: str) -> bool:
    """Tell whether the figures' font has a letter: Latin and Greek ones, digits and signs."""
    return " " <= letter <= "~" or "\u00c0" <= letter <= "\u024f" or "\u0391" <= letter <= "\u03c9"


def class_names_of(classes: ClassNames) -> dict[int, str]:
    """Return class number → name."""
    if isinstance(classes, pd.DataFrame):
        pairs: Iterable[Any] = zip(classes["class_id"], classes["name"], strict=True)
    else:
        pairs = classes.items()
    return {int(number): str(name) for number, name in pairs}


def add_legend(axes: Axes, class_ids: Iterable[int], classes: ClassNames | None) -> None:
    """Add a legend with mark, colour and name of each class; none where names are not given."""
    from matplotlib.lines import Line2D

    if classes is None:
        return
    names = {NOT_NAMED: "not named"} | class_names_of(classes)
    handles = []
    for class_id in class_ids:
        name = drawn_name(names.get(class_id, f"class {class_id}"))
        mark = MATPLOTLIB_MARKS[marker_of(class_id)]
        handles.append(Line2D([], [], color=class_colour(class_id), marker=mark, label=name))
    if handles:
        axes.legend(handles=handles, frameon=False, fontsize=8)


def time_unit(longest_s: float) -> tuple[float, str]:
    """Return what to divide seconds by, and the unit, for an axis that ends at `longest_s`.

    >>> time_unit(225.0), time_unit(7200.0)
    ((1.0, 's'), (60.0, 'min'))
    """
    if longest_s <= 600:
        return 1.0, "s"
    if longest_s <= 3 * 3600:
        return 60.0, "min"
    return 3600.0, "h"


def time_axis(longest: float, *, in_frames: bool) -> tuple[float, str]:
    """Return what to divide times by and how to label their axis, which ends at `longest`.

    >>> time_axis(7200.0, in_frames=False), time_axis(7200.0, in_frames=True)
    ((60.0, 'time (min)'), (1.0, 'frame'))
    """
    if in_frames:
        return 1.0, "frame"
    divisor, unit = time_unit(longest)
    return divisor, f"time ({unit})"


def plain_logarithms(axes: Axes) -> None:
    """Label logarithmic axes with few, round numbers."""
    for axis, limits, scale in (
        (axes.xaxis, axes.get_xlim(), axes.get_xscale()),
        (axes.yaxis, axes.get_ylim(), axes.get_yscale()),
    ):
        if scale == "log":
            _label_decades(axis, *limits)


def _label_decades(axis: Any, low: float, high: float) -> None:
    """Label powers of ten, and 2 and 5 times them where the axis is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if np.log10(high / low) < 1.6:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(_short_tick))
    else:
        axis.set_major_locator(LogLocator(subs=(1,)))
        axis.set_major_formatter(FuncFormatter(_decade_tick))
    axis.set_minor_locator(NullLocator())  # they have no length, but would be made


def _short_tick(value: float, _position: int) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:.4g}"
    decade = 10.0 ** np.floor(np.log10(value))
    digit = round(value / decade)
    if digit == 1:
        return power_of_ten(decade)
    return f"{digit}×{power_of_ten(decade)}"


def _decade_tick(value: float, _position: int) -> str:
    return power_of_ten(value)
