"""Figures of tracks in space: the broom of (x, y, t), and how often each place is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot.canvas import (
    HALF,
    ClassNames,
    add_legend,
    in_style,
    time_unit,
    without_axes,
)
from stemkin.plot.palette import class_colour, colour
from stemkin.plot.summaries import in_class_order

DEPTH = (0.38, 0.26)
"""How far a step of one along y goes to the right and up: the frame lies on a table."""
MAX_TRACKS = 300
"""So many tracks stand in a broom, the longest."""
TALL = 0.9
"""Height of the whole time, in widths of the frame."""
MAX_TILES = 48
"""So many tiles lie along the longer edge of a map."""
N_SHADES = 6
SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
"""Corners (x, y) of a tile of edge one."""
FEWEST_ROWS = 20
"""A class with fewer detections has no map worth drawing."""


@in_style((HALF[0], 4.6))
def draw_broom(
    axes: Any,
    tracks: pd.DataFrame,
    *,
    size: tuple[float, float],
    unit: str = "px",
    n_frames: int | None = None,
    frame_time_s: float | None = None,
    classes: ClassNames | None = None,
) -> None:
    """Draw the longest tracks of a movie as lines in x, y and time. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    tracks
        `particle`, `frame`, `class_id`, `y`, `x` in `unit`, without drift; of one movie.
    size
        (height, width) of the frame, in `unit`.
    unit
        Of lengths.
    n_frames
        How many frames the movie has; by default up to the last one with a track.
    frame_time_s
        Time from frame to frame [s]; without it frames are counted.
    classes
        Class number → name, or the table ``classes``, for a legend.

    Returns
    -------
    The axes.
    """
    height, width = size
    if n_frames is None:
        n_frames = int(tracks["frame"].max()) + 1
    rows = longest_tracks(tracks)
    depth = height - rows["y"].to_numpy()
    right = rows["x"].to_numpy() + DEPTH[0] * depth
    up = rows["frame"].to_numpy() / max(1, n_frames - 1) * TALL * width + DEPTH[1] * depth
    _draw_box(axes, height, width)
    # a line goes on into the row where the class has changed, in the new colour
    same = rows["particle"].to_numpy()[1:] == rows["particle"].to_numpy()[:-1]
    ids = rows["class_id"].to_numpy()
    for class_id in sorted(set(ids.tolist())):
        own = same & (ids[1:] == class_id)
        x, y = _pieces(right, own), _pieces(up, own)
        axes.plot(x, y, color=class_colour(class_id), linewidth=0.9, alpha=0.85)
    end, what = n_frames - 1.0, "frame"
    if frame_time_s is not None and frame_time_s > 0:
        divisor, what = time_unit(end * frame_time_s)
        end *= frame_time_s / divisor
    _label_box(axes, height, width, unit, f"{end:.3g} {what}")
    add_legend(axes, in_class_order(ids), classes)


def longest_tracks(tracks: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the `MAX_TRACKS` longest tracks, track by track in time."""
    length = tracks.groupby("particle")["frame"].transform("size")
    longest = length.groupby(tracks["particle"]).first().sort_values(ascending=False, kind="stable")
    rows = tracks[tracks["particle"].isin(longest.index[:MAX_TRACKS])]
    return rows.sort_values(["particle", "frame"], kind="stable")


def _pieces(values: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the steps `own` of a walk through `values` as one line with breaks between them."""
    steps = np.stack([values[:-1], values[1:], np.full(len(values) - 1, np.nan)], axis=1)
    # a step that follows the one before needs no break, nor its beginning a second time
    kept = np.ones((len(own), 3), bool)
    kept[:-1, 2] = ~own[1:]
    kept[1:, 0] = ~own[:-1]
    return np.asarray(steps[kept & own[:, None]])


def _draw_box(axes: Any, height: float, width: float) -> None:
    """Draw the frame at the beginning and at the end, and the edges between them."""
    back, up = (DEPTH[0] * height, DEPTH[1] * height), TALL * width
    floor = np.array([(0, 0), (width, 0), (width + back[0], back[1]), back, (0, 0)])
    rule: Any = {"color": colour("muted"), "linewidth": 0.7}
    axes.plot(*floor.T, **rule)
    axes.plot(floor[:, 0], floor[:, 1] + up, alpha=0.5, **rule)
    for x, y in floor[:4]:
        axes.plot([x, x], [y, y + up], alpha=0.5, **rule)
    without_axes(axes)
    axes.set_aspect("equal")


def _label_box(axes: Any, height: float, width: float, unit: str, end: str) -> None:
    up = TALL * width
    axes.set_xlim(-0.17 * width, width + DEPTH[0] * height + 0.03 * width)
    axes.set_ylim(-0.09 * width, up + DEPTH[1] * height + 0.03 * width)
    axes.text(width / 2, -0.03 * width, f"x, {width:.3g} {unit}", ha="center", va="top")
    middle = (width + DEPTH[0] * height / 2 + 0.03 * width, DEPTH[1] * height / 2)
    axes.text(*middle, f"y, {height:.3g} {unit}", ha="left", va="top")
    axes.text(-0.02 * width, 0, "0", ha="right", va="center")
    axes.text(-0.02 * width, up, end, ha="right", va="center")


@in_style((HALF[0], HALF[0]))
def draw_occupancy(
    axes: Any,
    tracks: pd.DataFrame,
    class_id: int,
    *,
    size: tuple[float, float],
    n_frames: int | None = None,
    unit: str | None = "px",
) -> None:
    """Draw in which share of the frames each place is taken by a class. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    tracks
        `frame`, `class_id`, `y`, `x` of detections, without drift; of one movie.
    class_id
        The class to draw.
    size
        (height, width) of the frame, in the unit of places.
    n_frames
        How many frames were looked at; by default those with a row.
    unit
        Of lengths, on the labels of the axes; None for a map without axes.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the class is nowhere.
    """
    shares = occupied_shares(tracks, class_id, size=size, n_frames=n_frames)
    if shares.empty:
        msg = f"class {class_id} has no row, so no place is taken"
        raise ValueError(msg)
    _draw_shares(axes, shares, _tile(size), size, class_colour(class_id))
    axes.set_title(f"fullest: {100 * shares['share'].max():.0f} % of frames", fontsize=9)
    if unit is None:
        without_axes(axes)
        return
    axes.set_xlabel(f"x ({unit})")
    axes.set_ylabel(f"y ({unit})")
    axes.grid(visible=False)


def occupied_shares(
    tracks: pd.DataFrame, class_id: int, *, size: tuple[float, float], n_frames: int | None = None
) -> pd.DataFrame:
    """Return corner (`y`, `x`) and `share` of the frames of each tile that a class ever took.

    Parameters
    ----------
    tracks, class_id, size, n_frames
        As in `draw_occupancy`.
    """
    if n_frames is None:
        n_frames = int(tracks["frame"].nunique())
    return _shares(tracks[tracks["class_id"] == class_id], _tile(size), n_frames)


def _tile(size: tuple[float, float]) -> float:
    return max(size) / MAX_TILES


def _shares(rows: pd.DataFrame, tile: float, n_frames: int) -> pd.DataFrame:
    """Return corner and share of the frames of each tile that was ever taken."""
    y, x = (np.floor(rows[axis] / tile) * tile for axis in ("y", "x"))
    n = pd.DataFrame({"y": y, "x": x}).groupby(["y", "x"]).size()
    return (n / n_frames).clip(upper=1.0).rename("share").reset_index()


def _draw_shares(
    axes: Any, shares: pd.DataFrame, tile: float, size: tuple[float, float], ink: str
) -> None:
    """Paint tiles in a few shades, all tiles of one shade as one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    height, width = size
    relative = np.sqrt(shares["share"] / shares["share"].max())
    shade = np.ceil(relative * N_SHADES).astype(int)
    for level in sorted(set(shade.tolist())):
        own = shares[shade == level]
        corners = own[["x", "y"]].to_numpy()[:, None] + tile * SQUARE
        paths = Path.make_compound_path_from_polys(corners)
        axes.add_patch(PathPatch(paths, facecolor=ink, alpha=level / N_SHADES, linewidth=0))
    frame = [(0, 0), (width, 0), (width, height), (0, height), (0, 0)]
    axes.plot(*np.array(frame).T, color=colour("muted"), linewidth=0.7)
    axes.set_xlim(-0.02 * width, 1.02 * width)
    axes.set_ylim(1.02 * height, -0.02 * height)
    axes.set_aspect("equal")
