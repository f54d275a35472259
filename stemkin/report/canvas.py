"""What all figures share: style, margins, axes of time, ticks, and the way from matplotlib to SVG.

Figures are drawn in stand-in colours that the page turns into those of its theme. They hold no
words from outside (names of movies or classes stand in the page around them), only axes with units;
the graph of states alone bears names of classes, in letters that its font has.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from stemkin.report.keeping import Drawing, keep
from stemkin.report.palette import ROLES, with_css_variables
from stemkin.report.words import power_of_ten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HALF = (5.2, 3.5)
WIDE = (10.4, 3.3)
"""Sizes of figures in inches; 72 units of the SVG's own length each."""

DASHED = (0, (4, 1.6))
DOTTED = (0, (1, 1.2))


@contextmanager
def style() -> Iterator[None]:
    """Draw what stands inside the ``with`` in the report's style."""
    import matplotlib as mpl

    ink, muted, rule = ROLES["ink"], ROLES["muted"], ROLES["rule"]
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
        "axes.facecolor": "none",
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
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "stemkin",
        "lines.linewidth": 1.6,
        "path.simplify": True,
    }
    with mpl.rc_context(settings):
        yield


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of `size` (width, height) [inches].

    All have the same margins, so that axes stand below each other.
    """
    from matplotlib.figure import Figure

    width, height = size
    left, right, bottom, top = 0.68, 0.12, 0.5, 0.1
    figure = Figure(figsize=size)
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, hspace=0.06
    )
    return figure


def without_axes(axes: Axes) -> None:
    """Leave nothing of an axes but what is drawn in it; ticks are never made, which saves time."""
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    axes.set_axis_off()


def as_markup(figure: Figure, name: str, says: str, numbers: pd.DataFrame | None = None) -> Markup:
    """Return a figure as inline SVG, with buttons that save it.

    Parameters
    ----------
    figure
        What was drawn.
    name
        Keeps its ids apart from other figures'.
    says
        What is read to the blind.
    numbers
        What is drawn, with units in the names of columns.
    """
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    keep(
        name,
        Drawing(re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg), figure, numbers),
    )
    # Several figures share a page: every id, and every reference to one, bears the figure's name.
    svg = re.sub(r"(\bid=\"|url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*|'DejaVu Sans'[^;\"]*", _inherited_font, svg)
    # Without width and height the figure takes the room that the page gives it.
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(says)}" ', 1)
    svg = re.sub(r"<[^>]*>", _with_short_numbers, svg)
    drawn = Markup(with_css_variables(svg))  # noqa: S704 - drawn here, of numbers and our own words
    return drawn + _buttons(name, says, has_numbers=numbers is not None)


def _buttons(name: str, says: str, *, has_numbers: bool) -> Markup:
    """Return the buttons that save a figure; the page's script makes the files."""
    kinds = ["svg", "png"]
    if has_numbers:
        kinds.append("csv")
    button = Markup(
        '<button type="button" data-save="{}" data-name="{}" aria-label="Save as {}: {}">{}</button>'
    )
    buttons = (button.format(kind, name, kind.upper(), says, kind.upper()) for kind in kinds)
    return Markup('<div class="saves">{}</div>').format(Markup().join(buttons))


def _with_short_numbers(tag: re.Match[str]) -> str:
    """Return a tag with two decimals in its coordinates; words between tags stay as they are."""
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0])


def _inherited_font(found: re.Match[str]) -> str:
    if found[0].startswith("font-family"):
        return "font-family: inherit"
    return "sans-serif"


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
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if np.log10(high / low) < 1.6:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(_short_tick))
    else:
        axis.set_major_locator(LogLocator(subs=(1,)))
        axis.set_major_formatter(FuncFormatter(_decade_tick))
    axis.set_minor_formatter(NullFormatter())


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
