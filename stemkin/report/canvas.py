"""From Matplotlib to the SVG of the page.

Figures are drawn in stand-in colours that the page turns into those of its theme. They hold no
words from outside (names of movies or classes stand in the page around them), only axes with units;
the graph of states alone bears names of classes, in letters that its font has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from stemkin.plot import images
from stemkin.plot.canvas import style
from stemkin.plot.palette import wearing
from stemkin.report.keeping import Drawing, keep
from stemkin.report.palette import ROLES, with_css_variables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@contextmanager
def stand_ins() -> Iterator[None]:
    """Draw what stands inside the ``with`` as the report's figures are drawn."""
    with wearing(ROLES), style():
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
    from stemkin.report.rendering import drawn

    svg, pixels = drawn(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    file = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    keep(name, Drawing(file, images.png(pixels, effort=images.QUICKLY), numbers))
    # Several figures share a page: every id, and every reference to one, bears the figure's name.
    svg = re.sub(r"(\bid=\"|url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*|'DejaVu Sans'[^;\"]*", _inherited_font, svg)
    # Without width and height the figure takes the room that the page gives it.
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(says)}" ', 1)
    svg = re.sub(r"<[^>]*>", _with_short_numbers, svg)
    markup = Markup(with_css_variables(svg))  # noqa: S704 - drawn here, of numbers and our own words
    return markup + _buttons(name, says, has_numbers=numbers is not None)


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
