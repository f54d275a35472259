"""Colours and marks of the classes: the same in every figure, told apart by colour-blind eyes.

They differ by shape too. What is drawn names roles ("ink", "class2") and wears what the moment says:
the colours of paper, those of dark ground where Matplotlib's own style is dark, or the stand-ins that
the report turns into the colours of its theme.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from stemkin.tables import NOT_NAMED

LIGHT = ("#0067a8", "#d1560a", "#284f00", "#4a1fa8", "#1f9685", "#931f66", "#e9548d", "#7a4b2a")
DARK = ("#56aee8", "#ff8b4a", "#b4ee6c", "#7377f5", "#5ff0e4", "#e2558c", "#f7b3c8", "#cf9f78")
"""Colour of the classes 0, 1, ... on paper, and on dark ground (also on micrographs). Neighbours in
the list differ by more than 10 in Oklab (x100) for normal, deuteranopic and protanopic eyes
(Machado et al., IEEE TVCG 15, 1291 (2009))."""
UNNAMED = "#ffffff"
"""Colour of what has no class, on micrographs."""
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
DARK_ROLES = {
    "ink": "#e8eaec",
    "muted": "#9aa3ad",
    "rule": "#2c3137",
    "paper": "#15181c",
    "accent": "#56aee8",
    "unnamed": "#9aa3ad",
    "ordered": "#3f7299",
    "disordered": "#d39355",
    "vacuum": "#353b41",
    "ok": "#2f4d3d",
    "blank": "#d7dadd",
    "saturated": "#e8b529",
    "truncated": "#a884de",
    "corrupt": "#ee5a5f",
}
"""Colour of each role but the classes' on paper, and on dark ground."""

_worn: ContextVar[Mapping[str, str] | None] = ContextVar("worn", default=None)


def light_colours() -> dict[str, str]:
    """Return the colour of every role on paper."""
    return LIGHT_ROLES | {f"class{i}": colour for i, colour in enumerate(LIGHT)}


def dark_colours() -> dict[str, str]:
    """Return the colour of every role on dark ground."""
    return DARK_ROLES | {f"class{i}": colour for i, colour in enumerate(DARK)}


@contextmanager
def wearing(colours: Mapping[str, str]) -> Iterator[None]:
    """Draw what stands inside the ``with`` in these colours, one for every role."""
    token = _worn.set(colours)
    try:
        yield
    finally:
        _worn.reset(token)


def are_given() -> bool:
    """Tell whether colours are given by `wearing`, rather than by Matplotlib's style."""
    return _worn.get() is not None


def colour(role: str) -> str:
    """Return the colour that a role wears at this moment."""
    worn = _worn.get()
    if worn is not None:
        return worn[role]
    if _ground_is_dark():
        return dark_colours()[role]
    return light_colours()[role]


def _ground_is_dark() -> bool:
    """Tell whether Matplotlib's style draws on dark ground."""
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    ground = mpl.rcParams["axes.facecolor"]
    if ground in ("none", "None"):
        ground = mpl.rcParams["figure.facecolor"]
    if ground in ("none", "None"):
        return False
    # the weights of ITU-R BT.709 for how bright red, green and blue look
    red, green, blue = to_rgb(ground)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5


def class_colour(class_id: int) -> str:
    """Return the colour that a class wears at this moment."""
    return colour(role_of(class_id))


def on_micrographs(class_id: int) -> str:
    """Return the colour of a class on a micrograph, whatever the ground around it.

    >>> on_micrographs(0) == on_micrographs(8), on_micrographs(-1)
    (True, '#ffffff')
    """
    if class_id < 0:
        return UNNAMED
    return DARK[class_id % len(DARK)]


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
