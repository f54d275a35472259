"""The shapes that complexes of several atoms take, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot.canvas import WIDE, in_style, without_axes
from stemkin.plot.palette import class_colour
from stemkin.tables import check_columns

APART = 2.6
"""From one shape to the next, in radii of the largest."""


@in_style((WIDE[0], 2.6))
def draw_shapes(axes: Any, shapes: pd.DataFrame) -> None:
    """Draw each kind of shape: its atoms as circles of their spread, joined in turn. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    shapes
        `class_id`, `n`, `atom`, `y_nm`, `x_nm`, `spread_nm`: what `stemkin.complexes` returns as
        `shapes`; y grows downwards as in the frames.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there are no shapes, or a column is missing.
    """
    check_columns(shapes, "shapes", needed=("class_id", "n", "atom", "y_nm", "x_nm", "spread_nm"))
    if shapes.empty:
        msg = "no atoms stay within reach of each other, so there are no shapes to draw"
        raise ValueError(msg)
    reach = float(np.hypot(shapes["y_nm"], shapes["x_nm"]).max() + shapes["spread_nm"].max())
    reach = max(reach, 1e-9)
    kinds = sorted(int(i) for i in shapes["class_id"].unique())
    for place, class_id in enumerate(kinds):
        own = shapes[shapes["class_id"] == class_id]
        middle, ink = APART * reach * place, class_colour(class_id)
        x, y = middle + own["x_nm"].to_numpy(), -own["y_nm"].to_numpy()
        axes.plot([*x, x[0]], [*y, y[0]], color=ink, linewidth=1.2, alpha=0.6, zorder=2)
        for x_atom, y_atom, spread in zip(x, y, own["spread_nm"], strict=True):
            _draw_atom(axes, (x_atom, y_atom), max(float(spread), 0.03 * reach), ink)
        words = f"shape {class_id}\nseen {int(own['n'].iloc[0]):,} times"
        axes.text(middle, -1.15 * reach, words, ha="center", va="top", fontsize=9)
    right = APART * reach * (len(kinds) - 1) + 1.3 * reach
    axes.plot([right - 0.1, right], [reach, reach], color=class_colour(0), linewidth=2)
    axes.text(right - 0.05, 0.93 * reach, "0.1 nm", ha="center", va="top", fontsize=8)
    axes.set_xlim(-1.3 * reach, right + 0.05)
    axes.set_ylim(-1.75 * reach, 1.2 * reach)
    axes.set_aspect("equal")
    without_axes(axes)


def _draw_atom(axes: Any, place: tuple[float, float], radius: float, ink: str) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle(place, radius, facecolor=ink, edgecolor=ink, alpha=0.75, zorder=3))
