"""The graph of states: classes as nodes, changes of class as arrows with their rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot.canvas import WIDE, ClassNames, class_names_of, drawn_name, in_style, without_axes
from stemkin.plot.numerals import plain
from stemkin.plot.palette import MATPLOTLIB_MARKS, class_colour, colour, marker_of
from stemkin.plot.summaries import in_class_order
from stemkin.tables import NOT_NAMED

BEND = 0.16
"""How far an arrow bends to its left, in its own length."""


@in_style((WIDE[0], 4.6))
def draw_states(axes: Any, rates: pd.DataFrame, *, classes: ClassNames | None = None) -> None:
    """Draw classes on an ellipse, and an arrow for each change, thicker the faster. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    rates
        `from_id`, `to_id`, `rate_per_s`, `rate_low`, `rate_high`, one row for each change: rows of
        the table ``transitions``, or what `summaries.rates_of_changes` made of it.
    classes
        Class number → name, or the table ``classes``, for the nodes.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If no class changes.
    """
    edges = rates[(rates["from_id"] != rates["to_id"]) & rates["rate_per_s"].notna()]
    if edges.empty:
        msg = "no class changes into another one, so there is no graph to draw"
        raise ValueError(msg)
    ids = in_class_order([*edges["from_id"], *edges["to_id"]])
    names = {NOT_NAMED: "not named"} | class_names_of({} if classes is None else classes)
    angles = np.pi * (1 - 2 * np.arange(len(ids)) / len(ids))
    places = {i: (2.1 * np.cos(a), np.sin(a)) for i, a in zip(ids, angles, strict=True)}
    slowest, fastest = edges["rate_per_s"].min(), edges["rate_per_s"].max()
    for _, edge in edges.iterrows():
        start, end = places[int(edge["from_id"])], places[int(edge["to_id"])]
        rate, part = edge["rate_per_s"], 1.0
        if fastest > slowest > 0 and rate > 0:
            part = math.log(rate / slowest) / math.log(fastest / slowest)
        _draw_arrow(axes, start, end, 0.9 + 2.2 * part, class_colour(int(edge["from_id"])))
        _label_arrow(axes, start, end, edge)
    for i, (x, y) in places.items():
        mark = MATPLOTLIB_MARKS[marker_of(i)]
        axes.plot(x, y, mark, color=class_colour(i), markersize=13, zorder=5)
        _name_node(axes, x, y, drawn_name(names.get(i, f"class {i}")))
    axes.set_xlim(-3.2, 3.2)
    axes.set_ylim(-1.42, 1.42)
    without_axes(axes)


def _name_node(axes: Any, x: float, y: float, name: str) -> None:
    """Write a name on the side of its node that looks away from all others."""
    if abs(y) < 0.3:
        side = "right"
        if x > 0:
            side = "left"
        axes.text(x + math.copysign(0.17, x), y, name, ha=side, va="center", fontsize=11, zorder=6)
        return
    side = "top"
    if y > 0:
        side = "bottom"
    axes.text(x, y + math.copysign(0.14, y), name, ha="center", va=side, fontsize=11, zorder=6)


def _draw_arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], width: float, ink: str
) -> None:
    from matplotlib.patches import FancyArrowPatch

    bent = FancyArrowPatch(
        start,
        end,
        connectionstyle=f"arc3,rad={-BEND}",
        arrowstyle="-|>,head_length=0.5,head_width=0.28",
        mutation_scale=13,
        shrinkA=13,
        shrinkB=13,
        linewidth=width,
        color=ink,
    )
    axes.add_patch(bent)


def _label_arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], rate: pd.Series
) -> None:
    """Write a rate beside the middle of its arrow, beyond its bend."""
    (x0, y0), (x1, y1) = start, end
    along, across = np.array([x1 - x0, y1 - y0]), np.array([-(y1 - y0), x1 - x0])
    away = 0.2 / float(np.linalg.norm(across))
    # a parabola that bends by BEND has its middle half as far off the straight line
    x, y = np.array(start) + 0.42 * along + (BEND / 2 + away) * across
    text = f"{plain(rate['rate_per_s'], 2)}/s"
    if math.isfinite(rate["rate_low"]) and math.isfinite(rate["rate_high"]):
        text += f"\n{plain(rate['rate_low'], 2)} – {plain(rate['rate_high'], 2)}"
    background = {"facecolor": colour("paper"), "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, linespacing=1.25, bbox=background)
