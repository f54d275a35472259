"""A frame with what was found in it; and what a notebook shows of a movie."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from stemkin.plot.canvas import HALF, ClassNames, class_names_of, drawn_name, in_style
from stemkin.plot.images import as_patch, data_uri, grey_levels, grey_range, shrunk
from stemkin.plot.palette import on_micrographs
from stemkin.plot.summaries import in_class_order
from stemkin.tables import NOT_NAMED

THUMBNAIL_PX = 160
"""The longer edge of a picture in a notebook's table."""


@in_style((HALF[0], HALF[0]))
def draw_frame(
    axes: Any,
    image: np.ndarray,
    *,
    pixel_size_nm: float | None = None,
    detections: pd.DataFrame | None = None,
    tracks: pd.DataFrame | None = None,
    frame: int | None = None,
    size_px: tuple[int, int] | None = None,
    classes: ClassNames | None = None,
) -> None:
    """Draw a frame with its detections and tracks. Computes once.

    Parameters
    ----------
    axes
        Matplotlib axes; None for new ones.
    image
        (y, x).
    pixel_size_nm
        Edge of a pixel [nm]; without it axes are in pixels.
    detections
        Rows with `y`, `x` [px] of this frame; `class_id` gives the colour.
    tracks
        Rows with `y`, `x` [px], `frame` and `particle` up to this frame.
    frame
        Its number, for the title.
    size_px
        (height, width) of the frame, where `image` is a smaller picture of it.
    classes
        Class number → name, or the table ``classes``, for a legend below the frame.

    Returns
    -------
    The axes.
    """
    scale, unit = 1.0, "px"
    if pixel_size_nm:
        scale, unit = pixel_size_nm, "nm"
    height, width = image.shape
    if size_px is not None:
        height, width = size_px
    # pixel (0, 0) has its centre at (0, 0)
    extent = [-0.5 * scale, (width - 0.5) * scale, (height - 0.5) * scale, -0.5 * scale]
    low, high = grey_range(np.asarray(image, dtype=float))
    axes.imshow(image, cmap="gray", extent=extent, vmin=low, vmax=high, interpolation="nearest")
    if tracks is not None:
        _draw_tracks(axes, tracks, scale)
    if detections is not None:
        _draw_detections(axes, detections, scale)
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    axes.set_xlabel(f"x ({unit})")
    axes.set_ylabel(f"y ({unit})")
    axes.grid(visible=False)
    if frame is not None:
        axes.set_title(f"frame {frame}")
    class_ids: list[int] = []
    for rows in (detections, tracks):
        if rows is not None and "class_id" in rows:
            class_ids += rows["class_id"].tolist()
    if classes is not None and class_ids:
        _add_legend_below(axes, in_class_order(class_ids), classes)


def _add_legend_below(axes: Any, class_ids: list[int], classes: ClassNames) -> None:
    """Add a legend of rings outside the frame, on ground as dark as a micrograph's."""
    from matplotlib.lines import Line2D

    names = {NOT_NAMED: "not named"} | class_names_of(classes)
    ring: Any = {"marker": "o", "linestyle": "none", "markerfacecolor": "none"}
    handles = [
        Line2D(
            [],
            [],
            markeredgecolor=on_micrographs(class_id),
            label=drawn_name(names.get(class_id, f"class {class_id}")),
            **ring,
        )
        for class_id in class_ids
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=min(len(handles), 4),
        fontsize=8,
        facecolor="#202428",
        labelcolor="#ffffff",
        edgecolor="none",
    )


def _draw_detections(axes: Any, rows: pd.DataFrame, scale: float) -> None:
    """Draw a ring around each detection, in the colour of its class."""
    classes = np.full(len(rows), NOT_NAMED)
    if "class_id" in rows:
        classes = rows["class_id"].to_numpy()
    for class_id in np.unique(classes):
        own = rows[classes == class_id]
        axes.scatter(
            own["x"] * scale,
            own["y"] * scale,
            s=60,
            facecolors="none",
            edgecolors=on_micrographs(int(class_id)),
            linewidths=1.2,
        )


def _draw_tracks(axes: Any, rows: pd.DataFrame, scale: float) -> None:
    """Draw the way of each track, in the colour of the class that it has last."""
    for _, own in rows.sort_values("frame", kind="stable").groupby("particle"):
        class_id = NOT_NAMED
        if "class_id" in own:
            class_id = int(own["class_id"].iloc[-1])
        axes.plot(own["x"] * scale, own["y"] * scale, color=on_micrographs(class_id), linewidth=1.0)


def html_of_movie(
    name: str, rows: Iterable[tuple[str, str]], picture: Callable[[], np.ndarray]
) -> str:
    """Return what a notebook shows of a movie: a table, and one frame where it can be read.

    Parameters
    ----------
    name
        Of the movie; any text.
    rows
        What is known of it: words and value.
    picture
        Reads the frame (y, x) to show.
    """
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    try:
        small, _ = shrunk(picture(), THUMBNAIL_PX)
        shown = f'<img alt="a frame" src="{data_uri(grey_levels(small))}">'
    except (OSError, ValueError) as error:
        shown = f"<em>no frame can be shown: {escape(str(error))}</em>"
    return f"<div><strong>{escape(name)}</strong><br>{shown}<table>{cells}</table></div>"


def html_of_table(says: str, rows: pd.DataFrame, *, n_rows: int) -> str:
    """Return a table for a notebook, under what it `says`, and how many of `n_rows` are not shown.

    Parameters
    ----------
    says
        Any text.
    rows
        What is shown.
    n_rows
        How many rows there are.
    """
    more = ""
    if n_rows > len(rows):
        more = f"<em>and {n_rows - len(rows):,} more</em>"
    shown = rows.to_html(index=False, escape=True, na_rep="unknown")
    return f"<div><strong>{escape(says)}</strong>{shown}{more}</div>"


def html_of_classes(says: str, classes: pd.DataFrame) -> str:
    """Return the table ``classes`` for a notebook, each class with its mean image.

    Parameters
    ----------
    says
        Stands above; any text.
    classes
        Table ``classes``.
    """
    cells = []
    for _, row in classes.iterrows():
        patch, picture = as_patch(row["mean_patch"]), ""
        if patch is not None:
            uri = data_uri(grey_levels(patch))
            # an image of few pixels is shown larger than it is
            picture = f'<img alt="mean image" width="64" src="{uri}">'
        known = (row["class_id"], row["name"], f"{int(row['n_detections']):,}")
        words = "".join(f"<td>{escape(str(value))}</td>" for value in known)
        cells.append(f"<tr>{words}<td>{picture}</td></tr>")
    heads = "<tr><th>class</th><th>name</th><th>detections</th><th>mean image</th></tr>"
    return f"<div><strong>{escape(says)}</strong><table>{heads}{''.join(cells)}</table></div>"
