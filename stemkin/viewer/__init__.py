"""Results and movies in napari: to look at, and to correct by hand.

    stemkin view results/                     # in a terminal
    sk.open_results("results/").to_napari()   # in Python

Its plug-in opens results folders and movies that are dropped onto napari's window, and has two
widgets: one tries a detector's settings on the frame in view, one saves corrections. What is
corrected stands in ``by_hand.json`` of the results folder (`stemkin.learning.by_hand`), and
`stemkin link` or `stemkin kinetics` do it again without a look at any pixel.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from stemkin.extras import needed

ALIKE_OFFSCREEN = ("offscreen", "minimal", "vnc")
"""Platforms of Qt that need no display."""


def check_display() -> None:
    """Check that there is a screen to draw on.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not sys.platform.startswith("linux"):
        return
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    if os.environ.get("QT_QPA_PLATFORM", "").split(":")[0] in ALIKE_OFFSCREEN:
        return
    msg = (
        "there is no display to draw on (DISPLAY and WAYLAND_DISPLAY are not set); log in with "
        "`ssh -X`, or look at report.html, which has a player"
    )
    raise ValueError(msg)


def open_viewer(results: Any, movie: str | None = None) -> Any:
    """Open napari with a movie of a results folder, its detections, tracks and order.

    Parameters
    ----------
    results
        Path or URL of the results folder, or what `open_results` gave.
    movie
        Name of the movie, by default the first.

    Returns
    -------
    The viewer of napari, whose window stays open while `napari.run()` runs.

    Raises
    ------
    ValueError
        If it is no results folder, has no such movie, or there is no display.
    MissingExtraError
        If napari is not installed. An ImportError.
    """
    from stemkin.viewer.layers import result_layers

    layers = result_layers(results, movie)
    napari: Any = needed("napari", extra="viewer", wanted_for="stemkin view")
    check_display()
    viewer = napari.Viewer(title=f"stemkin: {layers[0][1]['name']}")
    for data, words, kind in layers:
        getattr(viewer, f"add_{kind}")(data, **words)
    return viewer
