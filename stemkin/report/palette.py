"""The stand-in colours that the report's figures are drawn in, and what the page makes of them.

The page decides what a role looks like, in light and in dark.
"""

from __future__ import annotations

from collections.abc import Mapping

from stemkin.plot.palette import LIGHT

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


def with_css_variables(svg: str) -> str:
    """Return `svg` with each stand-in colour replaced by the CSS variable of its role."""
    for role, colour in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg


def css_variables(colours: Mapping[str, str]) -> str:
    """Return CSS that gives each role its colour."""
    return " ".join(f"--{role}: {colour};" for role, colour in colours.items())
