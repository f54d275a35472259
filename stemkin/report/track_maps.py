"""Figures of tracks in space: the broom of (x, y, t), and how often each place is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report.canvas import HALF, WIDE, as_markup, new_figure, style, time_unit, without_axes
from stemkin.report.palette import ROLES, stand_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEPTH = (0.38, 0.26)
"""How far a step of one along y goes to the right and up: the frame lies on a table."""
MAX_TRACKS = 300
"""So many tracks stand in a broom, the longest."""
TALL = 0.9
"""Height of the whole time, in widths of the frame."""
MAX_TILES = 48
"""So many tiles lie along the longer edge of a map."""
N_SHADES = 6
FEWEST_ROWS = 20
"""A class with fewer detections has no map worth drawing."""


def broom_figure(
    tracks: pd.DataFrame,
    *,
    size: tuple[float, float],
    unit: str,
    duration_s: float,
    n_frames: int,
    name: str,
) -> Markup:
    """Draw the longest tracks of a movie as lines in x, y and time, in the colours of classes.

    Parameters
    ----------
    tracks
        `particle`, `frame`, `class_id`, `y`, `x`, without drift, sorted by particle and frame.
    size
        (height, width) of the frame, in `unit` as places are.
    unit
        Of lengths.
    duration_s
        Length of the movie [s]; NaN where it is not known, and then frames are counted.
    n_frames
        How many frames the movie has.
    name
        Of the figure, one for each movie.
    """
    height, width = size
    length = tracks.groupby("particle")["frame"].transform("size")
    longest = length.groupby(tracks["particle"]).first().sort_values(ascending=False, kind="stable")
    rows = tracks[tracks["particle"].isin(longest.index[:MAX_TRACKS])]
    depth = height - rows["y"].to_numpy()
    right = rows["x"].to_numpy() + DEPTH[0] * depth
    up = rows["frame"].to_numpy() / max(1, n_frames - 1) * TALL * width + DEPTH[1] * depth
    with style():
        figure = new_figure((HALF[0], 4.6))
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
        _draw_box(axes, height, width)
        # a line goes on into the row where the class has changed, in the new colour
        same = rows["particle"].to_numpy()[1:] == rows["particle"].to_numpy()[:-1]
        ids = rows["class_id"].to_numpy()
        for class_id in sorted(set(ids.tolist())):
            own = same & (ids[1:] == class_id)
            x, y = _pieces(right, own), _pieces(up, own)
            axes.plot(x, y, color=stand_in(class_id), linewidth=0.9, alpha=0.85)
        _label_box(axes, height, width, unit, duration_s, n_frames)
        says = "Tracks as lines in x, y and time, which goes up, in the colours of their classes"
        return as_markup(figure, name, says, rows)


def _pieces(values: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the steps `own` of a walk through `values` as one line with breaks between them."""
    steps = np.stack([values[:-1], values[1:], np.full(len(values) - 1, np.nan)], axis=1)
    # a step that follows the one before needs no break, nor its beginning a second time
    kept = np.ones((len(own), 3), bool)
    kept[:-1, 2] = ~own[1:]
    kept[1:, 0] = ~own[:-1]
    return np.asarray(steps[kept & own[:, None]])


def _draw_box(axes: Axes, height: float, width: float) -> None:
    """Draw the frame at the beginning and at the end, and the edges between them."""
    back, up = (DEPTH[0] * height, DEPTH[1] * height), TALL * width
    floor = np.array([(0, 0), (width, 0), (width + back[0], back[1]), back, (0, 0)])
    rule: Any = {"color": ROLES["muted"], "linewidth": 0.7}
    axes.plot(*floor.T, **rule)
    axes.plot(floor[:, 0], floor[:, 1] + up, alpha=0.5, **rule)
    for x, y in floor[:4]:
        axes.plot([x, x], [y, y + up], alpha=0.5, **rule)
    without_axes(axes)
    axes.set_aspect("equal")


def _label_box(
    axes: Axes, height: float, width: float, unit: str, duration_s: float, n_frames: int
) -> None:
    end, what = n_frames - 1.0, "frame"
    if np.isfinite(duration_s):
        divisor, what = time_unit(duration_s)
        end = duration_s / divisor
    up = TALL * width
    axes.set_xlim(-0.17 * width, width + DEPTH[0] * height + 0.03 * width)
    axes.set_ylim(-0.09 * width, up + DEPTH[1] * height + 0.03 * width)
    axes.text(width / 2, -0.03 * width, f"x, {width:.3g} {unit}", ha="center", va="top")
    middle = (width + DEPTH[0] * height / 2 + 0.03 * width, DEPTH[1] * height / 2)
    axes.text(*middle, f"y, {height:.3g} {unit}", ha="left", va="top")
    axes.text(-0.02 * width, 0, "0", ha="right", va="center")
    axes.text(-0.02 * width, up, f"{end:.3g} {what}", ha="right", va="center")


def occupancy_figure(
    tracks: pd.DataFrame,
    class_ids: Sequence[int],
    *,
    size: tuple[float, float],
    unit: str,
    n_frames: int,
    name: str,
) -> Markup:
    """Draw in which share of the frames each place is taken, a map for each class.

    Parameters
    ----------
    tracks
        `class_id`, `y`, `x` of detections, without drift.
    class_ids
        The classes to draw, at most four.
    size, unit
        As for `broom_figure`.
    n_frames
        How many frames were looked at.
    name
        Of the figure.
    """
    tile = max(size) / MAX_TILES
    with style():
        figure = new_figure((WIDE[0], 3.0))
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.9, wspace=0.05)
        panels = np.atleast_1d(figure.subplots(1, 4))
        counted = []
        for axes in panels[len(class_ids) :]:
            without_axes(axes)
        for axes, class_id in zip(panels, class_ids, strict=False):
            own = tracks[tracks["class_id"] == class_id]
            shares = _shares(own, tile, n_frames)
            _draw_shares(axes, shares, tile, size, stand_in(class_id))
            axes.set_title(f"fullest: {100 * shares['share'].max():.0f} % of frames", fontsize=9)
            counted.append(shares.assign(class_id=class_id))
        says = "Maps of how often each place of the frame is taken, one for each class"
        numbers = pd.concat(counted).rename(columns={"y": f"y_{unit}", "x": f"x_{unit}"})
        return as_markup(figure, name, says, numbers)


def _shares(rows: pd.DataFrame, tile: float, n_frames: int) -> pd.DataFrame:
    """Return corner and share of the frames of each tile that was ever taken."""
    y, x = (np.floor(rows[axis] / tile) * tile for axis in ("y", "x"))
    n = pd.DataFrame({"y": y, "x": x}).groupby(["y", "x"]).size()
    return (n / n_frames).clip(upper=1.0).rename("share").reset_index()


def _draw_shares(
    axes: Axes, shares: pd.DataFrame, tile: float, size: tuple[float, float], colour: str
) -> None:
    """Paint tiles in a few shades, all tiles of one shade as one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    height, width = size
    relative = np.sqrt(shares["share"] / shares["share"].max())
    shade = np.ceil(relative * N_SHADES).astype(int)
    for level in sorted(set(shade.tolist())):
        own = shares[shade == level]
        corners = [
            Path([(x, y), (x + tile, y), (x + tile, y + tile), (x, y + tile), (x, y)], closed=True)
            for y, x in own[["y", "x"]].to_numpy()
        ]
        paths = Path.make_compound_path(*corners)
        axes.add_patch(PathPatch(paths, facecolor=colour, alpha=level / N_SHADES, linewidth=0))
    frame = [(0, 0), (width, 0), (width, height), (0, height), (0, 0)]
    axes.plot(*np.array(frame).T, color=ROLES["muted"], linewidth=0.7)
    axes.set_xlim(-0.02 * width, 1.02 * width)
    axes.set_ylim(1.02 * height, -0.02 * height)
    axes.set_aspect("equal")
    without_axes(axes)
