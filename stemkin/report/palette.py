"""Colours and marks of the classes: the same in every figure, told apart by colour-blind eyes.

They differ by shape too. Figures do not name colours but roles ("ink", "class 2"); the page decides
what a role looks like, in light and in dark.
"""

from __future__ import annotations

from collections.abc import Iterable

from stemkin.plot import COLOURS
from stemkin.tables import NOT_NAMED

LIGHT = ("#0067a8", "#d1560a", "#284f00", "#4a1fa8", "#1f9685", "#931f66", "#e9548d", "#7a4b2a")
DARK = COLOURS
"""Colour of the classes 0, 1, ... on paper, and on dark ground (also on micrographs). Neighbours in
the list differ by more than 10 in Oklab (x100) for normal, deuteranopic and protanopic eyes
(Machado et al., IEEE TVCG 15, 1291 (2009))."""
MARKS = ("circle", "square", "triangle", "diamond", "cross", "down", "hexagon", "plus")
MATPLOTLIB_MARKS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "cross": "X",
    "down": "v",
    "hexagon": "h",
    "plus": "P",
    "dot": ".",
}
ROLES = {
    "ink": "#010101",
    "muted": "#010102",
    "rule": "#010103",
    "paper": "#010104",
    "accent": "#010105",
    "unnamed": "#010106",
    "ordered": "#010107",
    "disordered": "#010108",
    "vacuum": "#010109",
    "ok": "#01010a",
    "blank": "#01010b",
    "saturated": "#01010c",
    "truncated": "#01010d",
    "corrupt": "#01010e",
    **{f"class{i}": f"#0102{i:02x}" for i in range(len(LIGHT))},
}
"""Role → the stand-in colour that figures are drawn with, replaced by a CSS variable on the
page."""


LIGHT_ROLES = {
    "ink": "#171b20",
    "muted": "#5c656f",
    "rule": "#dfe1e0",
    "paper": "#ffffff",
    "accent": "#0067a8",
    "unnamed": "#737b84",
    "ordered": "#8db8d6",
    "disordered": "#d98a3d",
    "vacuum": "#e4e6e6",
    "ok": "#b9d3c4",
    "blank": "#2b2f34",
    "saturated": "#e0a100",
    "truncated": "#8d62c9",
    "corrupt": "#c2262d",
}
"""Colour of each role but the classes' on paper."""


def light_colours() -> dict[str, str]:
    """Return the colour of every role on paper."""
    return LIGHT_ROLES | {f"class{i}": colour for i, colour in enumerate(LIGHT)}


def role_of(class_id: int) -> str:
    """Return the role of a class.

    >>> role_of(2), role_of(9), role_of(-1)
    ('class2', 'class1', 'unnamed')
    """
    if class_id == NOT_NAMED:
        return "unnamed"
    return f"class{class_id % len(LIGHT)}"


def marker_of(class_id: int) -> str:
    """Return the shape that marks a class; two classes of one colour differ in shape.

    >>> marker_of(0), marker_of(8), marker_of(-1)
    ('circle', 'square', 'dot')
    """
    if class_id == NOT_NAMED:
        return "dot"
    return MARKS[(class_id + class_id // len(LIGHT)) % len(MARKS)]


def stand_in(class_id: int) -> str:
    """Return the colour that a class has in a figure before the page gives it its own."""
    return ROLES[role_of(class_id)]


def with_css_variables(svg: str) -> str:
    """Return `svg` with each stand-in colour replaced by the CSS variable of its role."""
    for role, colour in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg


def css_variables(colours: Iterable[str]) -> str:
    """Return CSS that gives the classes their `colours`."""
    return " ".join(f"--class{i}: {colour};" for i, colour in enumerate(colours))
