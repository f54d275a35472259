"""What became of the frames: drift, their status, and the order of the lattice."""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin.plot import summaries
from stemkin.report.figures import drift_figure, order_figure
from stemkin.report.lookups import sentence
from stemkin.report.results import Results
from stemkin.report.words import number_of
from stemkin.tables import OK, STATUSES

MAX_CURVES = 6
SAME_AREA = 0.005
"""Area fractions that change by less than this need no figure."""
FRACTIONS = ["ordered", "disordered", "vacuum"]


def phases_section(results: Results) -> dict[str, Any]:
    """Return the area fractions of order, disorder and vacuum against time."""
    fractions = summaries.mean_fractions(results.frames)
    if len(fractions) < 2:
        return {"nothing": "The order of the lattice was not measured in this run."}
    if float(np.ptp(fractions[FRACTIONS].to_numpy(), axis=0).max()) < SAME_AREA:
        ordered, disordered, vacuum = 100 * fractions[FRACTIONS].mean()
        return {
            "nothing": f"The lattice did not change: {ordered:.1f} % of the area ordered, "
            f"{disordered:.1f} % disordered and {vacuum:.1f} % vacuum, from the first frame to the "
            "last."
        }
    first, last = fractions.iloc[0], fractions.iloc[-1]
    return {
        "nothing": None,
        "figure": order_figure(fractions),
        "changes": [(n, 100 * float(first[n]), 100 * float(last[n])) for n in FRACTIONS],
    }


def drift_section(results: Results) -> dict[str, Any]:
    """Return drift and the status of frames, movie by movie."""
    frames = results.frames
    if frames.empty:
        return {"nothing": sentence(results.why("frames", "no frame was looked at"))}
    movies = list(dict.fromkeys(frames["movie"]))
    return {
        "nothing": None,
        "curves": [
            _drift_panel(results, movies[i], i) for i in range(min(len(movies), MAX_CURVES))
        ],
        "n_hidden": max(0, len(movies) - MAX_CURVES),
        "statuses": _status_counts(results),
    }


def _status_counts(results: Results) -> list[dict[str, str]]:
    counts = results.frames["status"].value_counts()
    return [{"role": s, "n": f"{int(counts[s]):,}"} for s in STATUSES if s in counts]


def _drift_panel(results: Results, movie: str, number: int) -> dict[str, Any]:
    rows = results.frames[results.frames["movie"] == movie]
    if len(rows) < 2:
        return {"movie": movie, "figure": None, "note": "one frame"}
    figure = drift_figure(
        rows,
        pixel_size_nm=results.calibration(movie, "pixel_size_nm"),
        name=f"drift{number}",
    )
    note, n_bad = number_of(len(rows), "frame"), int((rows["status"] != OK).sum())
    if n_bad:
        note += f", {n_bad:,} set aside"
    return {"movie": movie, "figure": figure, "note": note}
