"""Pictures for notebooks and papers: frames with what was found in them, drawn into your own axes.

Each function takes Matplotlib axes first (None for new ones), and returns them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd

COLOURS = ("#56aee8", "#ff8b4a", "#b4ee6c", "#7377f5", "#5ff0e4", "#e2558c", "#f7b3c8", "#cf9f78")
"""Of the classes 0, 1, ...; they stand out on micrographs, for colour-blind eyes too."""

UNNAMED = "#ffffff"
"""Colour of what has no class."""

THUMBNAIL_PX = 160
"""The longer edge of a picture in a notebook's table."""


def colour_of(class_id: int) -> str:
    """Return the colour of a class.

    >>> colour_of(0) == colour_of(8), colour_of(-1)
    (True, '#ffffff')
    """
    return UNNAMED if class_id < 0 else COLOURS[class_id % len(COLOURS)]


def draw_frame(
    axes: Any,
    image: np.ndarray,
    *,
    pixel_size_nm: float | None = None,
    detections: pd.DataFrame | None = None,
    tracks: pd.DataFrame | None = None,
    frame: int | None = None,
) -> Any:
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

    Returns
    -------
    The axes.
    """
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots()[1]
    scale, unit = pixel_size_nm or 1.0, "nm" if pixel_size_nm else "px"
    height, width = image.shape
    # pixel (0, 0) has its centre at (0, 0)
    extent = [-0.5 * scale, (width - 0.5) * scale, (height - 0.5) * scale, -0.5 * scale]
    low, high = _contrast(image)
    axes.imshow(image, cmap="gray", extent=extent, vmin=low, vmax=high, interpolation="nearest")
    if tracks is not None:
        _draw_tracks(axes, tracks, scale)
    if detections is not None:
        _draw_detections(axes, detections, scale)
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    axes.set_xlabel(f"x ({unit})")
    axes.set_ylabel(f"y ({unit})")
    if frame is not None:
        axes.set_title(f"frame {frame}")
    return axes


def _draw_detections(axes: Any, rows: pd.DataFrame, scale: float) -> None:
    """Draw a ring around each detection, in the colour of its class."""
    classes = rows["class_id"] if "class_id" in rows else pd.Series(-1, index=rows.index)
    for class_id in np.unique(classes):
        own = rows[classes.to_numpy() == class_id]
        axes.scatter(
            own["x"] * scale,
            own["y"] * scale,
            s=60,
            facecolors="none",
            edgecolors=colour_of(int(class_id)),
            linewidths=1.2,
        )


def _draw_tracks(axes: Any, rows: pd.DataFrame, scale: float) -> None:
    """Draw the way of each track, in the colour of the class that it has last."""
    for _, own in rows.sort_values("frame", kind="stable").groupby("particle"):
        class_id = int(own["class_id"].iloc[-1]) if "class_id" in own else -1
        axes.plot(own["x"] * scale, own["y"] * scale, color=colour_of(class_id), linewidth=1.0)


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
        shown = f'<img alt="a frame" src="{picture_uri(picture())}">'
    except (OSError, ValueError) as error:
        shown = f"<em>no frame can be shown: {escape(str(error))}</em>"
    return f"<div><strong>{escape(name)}</strong><br>{shown}<table>{cells}</table></div>"


def picture_uri(image: np.ndarray) -> str:
    """Return an image (y, x), made small, as an address that holds it: a PNG in grey."""
    from PIL import Image

    step = max(1, -(-max(image.shape) // THUMBNAIL_PX))
    small = np.nan_to_num(np.asarray(image[::step, ::step], dtype=float))
    low, high = _contrast(small)
    grey = np.clip(255 * (small - low) / (high - low), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _contrast(image: np.ndarray) -> tuple[float, float]:
    """Return what is black and what is white: all but the half per cent at each end."""
    finite = np.asarray(image, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    return low, max(high, low + 1e-12)
