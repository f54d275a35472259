"""Where tracks went: the broom of the first movies, and maps of how often places are taken."""

from __future__ import annotations

from typing import Any

import pandas as pd

from stemkin.plot import summaries
from stemkin.plot.places import FEWEST_ROWS
from stemkin.report.figures import MAX_MAPS, broom_figure, occupancy_figure
from stemkin.report.lookups import legend
from stemkin.report.results import Reel, Results

MAX_BROOMS = 2


def wandering_section(results: Results) -> dict[str, Any] | None:
    """Return brooms of the first movies and maps of the very first, None without any tracks."""
    reels = [reel for reel in results.reels if reel.is_whole and len(reel.tracks)]
    if not reels:
        return None
    brooms = [_broom(results, reel, i) for i, reel in enumerate(reels[:MAX_BROOMS])]
    ids = summaries.ordered(pd.concat([reel.tracks["class_id"] for reel in reels[:MAX_BROOMS]]))
    return {"brooms": brooms, "legend": legend(results, ids), "maps": _maps(results, reels[0])}


def placed_tracks(results: Results, reel: Reel) -> tuple[pd.DataFrame, tuple[float, float], str]:
    """Return tracks without drift and the frame's size, both in nm, or px where that is unknown."""
    length, unit = results.calibration(reel.movie, "pixel_size_nm"), "nm"
    if not length > 0:
        length, unit = 1.0, "px"
    rows = reel.tracks[["particle", "frame", "class_id"]]
    # a pixel's centre stands at a whole number, and the frame begins half a pixel before the first
    placed = rows.assign(y=length * (reel.tracks["ry"] + 0.5), x=length * (reel.tracks["rx"] + 0.5))
    height, width = (
        length * float(reel.pictures[edge].iloc[0]) for edge in ("height_px", "width_px")
    )
    return placed, (height, width), unit


def _broom(results: Results, reel: Reel, number: int) -> dict[str, Any]:
    rows, size, unit = placed_tracks(results, reel)
    n_frames = int(rows["frame"].max()) + 1
    frame_time_s = results.calibration(reel.movie, "frame_time_s")
    figure = broom_figure(
        rows,
        size=size,
        unit=unit,
        frame_time_s=frame_time_s,
        n_frames=n_frames,
        name=f"broom{number}",
    )
    return {"movie": reel.movie, "figure": figure}


def _maps(results: Results, reel: Reel) -> dict[str, Any] | None:
    """Return the maps of the classes with enough detections, None without any."""
    rows, size, unit = placed_tracks(results, reel)
    n = rows["class_id"].value_counts()
    ids = summaries.ordered(rows["class_id"])
    shown = [i for i in ids if n[i] >= FEWEST_ROWS][:MAX_MAPS]
    if not shown:
        return None
    n_frames = int(rows["frame"].nunique())
    figure = occupancy_figure(
        rows, shown, size=size, unit=unit, n_frames=n_frames, name="occupancy"
    )
    return {"movie": reel.movie, "figure": figure, "legend": legend(results, shown)}
