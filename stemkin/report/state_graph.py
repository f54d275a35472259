"""The graph of states: classes as nodes, changes of class as arrows with their rates."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report import quantities, summaries
from stemkin.report.canvas import WIDE, as_markup, new_figure, style, without_axes
from stemkin.report.lookups import corrected_rate, shortest_lag
from stemkin.report.palette import MATPLOTLIB_MARKS, ROLES, marker_of, stand_in
from stemkin.report.results import Results
from stemkin.report.words import Quantity, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ARROWS = 10
"""So many changes are drawn, the most counted."""
LONGEST_NAME = 24
NOT_DRAWN = re.compile(r"[^\x20-\x7e\u00c0-\u024f\u0391-\u03c9]")
"""Letters that the figures' font may lack."""


def graph_section(results: Results) -> dict[str, Any] | None:
    """Return the graph of the most counted changes, None where no class changed."""
    rows, _ = summaries.pooled(shortest_lag(results.found["transitions"]))
    changes = summaries.key_transitions(rows, MAX_ARROWS)
    if changes.empty:
        return None
    edges, corrected = [], 0
    for _, row in changes.iterrows():
        better = corrected_rate(results, row)
        corrected += better is not None
        rate = better or quantities.rate_quantity(row)
        numbers = {"rate_per_s": rate.value, "low": rate.low, "high": rate.high}
        edges.append({"from_id": int(row["from_id"]), "to_id": int(row["to_id"]), **numbers})
    names = {i: drawn_name(results.name_of(i)) for i in _states(edges)}
    return {
        "figure": state_graph(pd.DataFrame(edges), names),
        "corrected": corrected == len(edges),
    }


def drawn_name(name: str) -> str:
    """Return a class's name as a figure can hold it.

    >>> drawn_name("Mo_W+V_S"), drawn_name("空")
    ('Mo_W+V_S', '?')
    """
    return NOT_DRAWN.sub("?", name)[:LONGEST_NAME]


def _states(edges: list[dict[str, Any]]) -> list[int]:
    return summaries.in_class_order(e[end] for e in edges for end in ("from_id", "to_id"))


def state_graph(edges: pd.DataFrame, names: dict[int, str]) -> Markup:
    """Draw classes on an ellipse, and an arrow for each change, thicker the faster.

    Parameters
    ----------
    edges
        `from_id`, `to_id`, `rate_per_s`, `low`, `high`.
    names
        Class number → what stands at its node, in the order around.
    """
    angles = np.pi * (1 - 2 * np.arange(len(names)) / len(names))
    places = {i: (2.1 * np.cos(a), np.sin(a)) for i, a in zip(names, angles, strict=True)}
    with style():
        figure = new_figure((WIDE[0], 4.6))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        slowest, fastest = edges["rate_per_s"].min(), edges["rate_per_s"].max()
        for _, edge in edges.iterrows():
            start, end = places[int(edge["from_id"])], places[int(edge["to_id"])]
            rate = Quantity(edge["rate_per_s"], edge["low"], edge["high"])
            part = 1.0
            if fastest > slowest > 0 and rate.value > 0:
                part = math.log(rate.value / slowest) / math.log(fastest / slowest)
            _draw_arrow(axes, start, end, 0.9 + 2.2 * part, stand_in(int(edge["from_id"])))
            _label_arrow(axes, start, end, rate)
        for i, (x, y) in places.items():
            mark = MATPLOTLIB_MARKS[marker_of(i)]
            axes.plot(x, y, mark, color=stand_in(i), markersize=13, zorder=5)
            _name_node(axes, x, y, names[i])
        axes.set_xlim(-3.2, 3.2)
        axes.set_ylim(-1.42, 1.42)
        without_axes(axes)
        says = "Graph of the classes with an arrow and a rate for each of the most counted changes"
        return as_markup(figure, "states", says, edges)


def _name_node(axes: Axes, x: float, y: float, name: str) -> None:
    """Write a name on the side of its node that looks away from all others."""
    if abs(y) < 0.3:
        side = "left" if x > 0 else "right"
        axes.text(x + math.copysign(0.17, x), y, name, ha=side, va="center", fontsize=11, zorder=6)
        return
    side = "bottom" if y > 0 else "top"
    axes.text(x, y + math.copysign(0.14, y), name, ha="center", va=side, fontsize=11, zorder=6)


BEND = 0.16
"""How far an arrow bends to its left, in its own length."""


def _draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], width: float, colour: str
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
        color=colour,
    )
    axes.add_patch(bent)


def _label_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], rate: Quantity
) -> None:
    """Write a rate beside the middle of its arrow, beyond its bend."""
    (x0, y0), (x1, y1) = start, end
    along, across = np.array([x1 - x0, y1 - y0]), np.array([-(y1 - y0), x1 - x0])
    away = 0.2 / float(np.linalg.norm(across))
    # a parabola that bends by BEND has its middle half as far off the straight line
    x, y = np.array(start) + 0.42 * along + (BEND / 2 + away) * across
    text = f"{plain(rate.value, 2)}/s"
    if rate.has_interval:
        text += f"\n{plain(rate.low, 2)} – {plain(rate.high, 2)}"
    background = {"facecolor": ROLES["paper"], "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, linespacing=1.25, bbox=background)
