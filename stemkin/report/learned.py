"""What the detector learned of the movies: the look of a missing atom, and the noise beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.observer import GRID, STEPS
from stemkin.report.canvas import HALF, as_markup, new_figure, style
from stemkin.report.palette import ROLES
from stemkin.report.results import Results, mapping_in, number
from stemkin.report.words import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = {METAL: "brighter", CHALCOGEN: "dimmer"}

SMALLEST = 0.02
"""Points of a signature below this share of its largest are not drawn."""


def learned_section(results: Results) -> dict[str, Any] | None:
    """Return what the observer knows of each kind of column; None where it knows nothing."""
    learned = results.learned
    if not {"signatures", "alike", "depths"} <= set(learned):
        return None
    numbers = _numbers_by_columns(results.run)
    shown = []
    for which, columns in COLUMNS.items():
        depth = number(learned["depths"][which])
        if math.isfinite(depth):
            figure = learned_figure(
                learned["signatures"][which], learned["alike"][which], name=f"learned{which}"
            )
            shown.append({"columns": columns, "figure": figure} | numbers.get(columns, {}))
    if not shown:
        return None
    return {"shown": shown}


def _numbers_by_columns(run: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return depth, ideal depth and missed share of each kind of column, in words."""
    seen = mapping_in(mapping_in(run, "stages"), "learn").get("seen")
    found = {}
    for row in seen if isinstance(seen, list) else []:
        if isinstance(row, Mapping):
            found[str(row.get("columns"))] = {
                "depth": plain(number(row.get("depth")), 2),
                "ideal": plain(number(row.get("ideal")), 2),
                "missed": plain(100 * number(row.get("missed")), 2),
            }
    return found


def learned_figure(signature: np.ndarray, alike: np.ndarray, *, name: str) -> Markup:
    """Draw a signature as discs around its site, and how alike noise is with distance.

    Parameters
    ----------
    signature
        (P,) at the points of `observer.GRID`.
    alike
        (R,) correlation of the noise at 0, 1, ... steps of the grid.
    name
        Of the figure.
    """
    with style():
        figure = new_figure(HALF)
        looks, noise = figure.subplots(1, 2, width_ratios=(1.0, 1.0))
        figure.subplots_adjust(left=0.01, wspace=0.28, top=0.9)
        _draw_signature(looks, signature)
        distance = np.arange(len(alike)) / STEPS
        noise.axhline(0, color=ROLES["muted"], linewidth=0.8)
        noise.plot(distance, alike, "o-", color=ROLES["accent"], markersize=3)
        noise.set_xlabel("distance (lattice constants)")
        noise.set_title("correlation of the noise", fontsize=9)
        says = "Look of a missing atom as learned from the movies, and correlation of the noise"
        return as_markup(figure, name, says)


def _draw_signature(axes: Axes, signature: np.ndarray) -> None:
    """Draw what is darker than the crystal as full discs, what is brighter as rings."""
    y, x = (GRID / STEPS @ np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]])).T
    largest = max(float(np.abs(signature).max()), 1e-12)
    share = signature / largest
    for sign, face in ((-1, ROLES["accent"]), (1, "none")):
        own = sign * share > SMALLEST
        axes.scatter(
            x[own],
            y[own],
            s=46 * np.abs(share[own]),
            facecolors=face,
            edgecolors=ROLES["accent"] if sign < 0 else ROLES["ink"],
            linewidths=0.8,
        )
    axes.plot(0, 0, "+", color=ROLES["ink"], markersize=7)
    axes.set_xlim(-1.45, 1.45)
    axes.set_ylim(1.45, -1.45)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title("missing atom: darker ●, brighter ○", fontsize=9)
