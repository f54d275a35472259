"""The stand-in colours that the report's figures are drawn in, and what the page makes of them.

The page decides what a role looks like, in light and in dark. A stand-in is the role's colour on
paper but for its last bits, which tell roles of one colour apart: what is drawn once serves as a
picture on paper too.
"""

from __future__ import annotations

from collections.abc import Mapping

from stemkin.plot.palette import light_colours


def _told_apart(colours: Mapping[str, str]) -> dict[str, str]:
    """Return role → a colour next to its own, which no other role has and no role has on paper."""
    taken, found = set(colours.values()), {}
    for role, colour in colours.items():
        number, step = int(colour[1:], 16), 1
        if number & 0xFF > 0x7F:
            step = -1  # blue has 255 values: never carry into green
        while f"#{number:06x}" in taken:
            number += step
        found[role] = f"#{number:06x}"
        taken.add(found[role])
    return found


ROLES = _told_apart(light_colours())
"""Role → the stand-in colour that figures are drawn with, replaced by a CSS variable on the
page."""


def with_css_variables(svg: str) -> str:
    """Return `svg` with each stand-in colour replaced by the CSS variable of its role."""
    for role, colour in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg


def css_variables(colours: Mapping[str, str]) -> str:
    """Return CSS that gives each role its colour."""
    return " ".join(f"--{role}: {colour};" for role, colour in colours.items())
