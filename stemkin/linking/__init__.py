r"""Detections become tracks: which detection of one frame is which of the next.

>>> import pandas as pd
>>> from stemkin import tables
>>> rows = pd.DataFrame({"movie": "m", "frame": [0, 0, 1, 1, 2], "y": [9.0, 40, 9, 41, 10], "x": [5.0, 8, 6, 8, 6], "score": 9.0})
>>> rows = tables.conform(rows.assign(class_id=0, probability=1.0, orientation=-1), "detections")
>>> movies = pd.DataFrame({"movie": ["m"], "pixel_size_nm": [0.03]})
>>> tracks = link(rows, experiment=tables.Experiment(movies), max_step_nm=0.4).compute()
>>> tracks[["frame", "particle", "y_nm"]].round(2).values.tolist()
[[0.0, 0.0, 0.27], [0.0, 1.0, 1.2], [1.0, 0.0, 0.27], [1.0, 1.0, 1.23], [2.0, 0.0, 0.3]]

Between two frames the detections are matched one to one so that the squared distances, with ``max_step_nm`` squared for
every detection that is not continued, add up to the least possible (as trackpy does; exactly, however crowded it is).
Distances are measured in nanometres after the drift is taken out. Frames whose status is not ``ok`` are stepped over:
they are no absence, and across g frame times a step may be sqrt(g) times as long.

How to read the answer: a row of ``tracks`` is a detection with its track's name, ``particle``. The name is
``first_frame * 2**24 + rank`` of the track's first detection, so it is the same however the movie was cut into blocks; it
is unique within a movie, and ``(movie, particle)`` within an archive.

Traps: with `max_step_nm` near half the distance between defects, no linker can tell them apart; a class that counts in
the cost (`class_penalty_nm`) makes changes of class look rarer than they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin import tables
from stemkin.linking.blocks import (
    MAX_STEP_LATTICES,
    BlockLinks,
    Clock,
    Settings,
    block_tracks,
    join_links,
    last_frame,
    link_block,
    prepare,
)
from stemkin.linking.layout import lay_out
from stemkin.rows import Rows, as_dask, experiment_of

__all__ = [
    "MAX_STEP_LATTICES",
    "BlockLinks",
    "Clock",
    "Settings",
    "block_tracks",
    "join_links",
    "last_frame",
    "link",
    "link_block",
    "prepare",
    "step_limit_nm",
]


def link(
    detections: Any,
    *,
    experiment: tables.Experiment | None = None,
    max_step_nm: float | None = None,
    max_gap_frames: int = 0,
    max_blind_frames: int = 5,
    class_penalty_nm: float = 0.0,
    brightness_penalty_nm: float = 0.0,
) -> Rows:
    """Link detections to tracks. Lazy: one partition per movie, so that every partition holds whole tracks.

    Parameters
    ----------
    detections
        Table ``detections`` (Dask or pandas). Partitions hold whole frames in the order of time, as `detect` returns them.
    experiment
        Calibration and frames of the movies; by default what `detections` remember. Without a table of frames no drift
        is corrected and every frame counts as good.
    max_step_nm
        Largest step between neighbouring frames [nm]. By default 1.3 lattice constants, where the lattice is known: room
        for a hop to a neighbouring site and its localisation error, not for the next-nearest site.
    max_gap_frames
        How many good frames in a row a defect may be missed without its track ending.
    max_blind_frames
        A track ends where more frames than this in a row are bad.
    class_penalty_nm
        A pair of different classes counts as this much farther apart, in quadrature [nm]. It biases the rates of change
        between classes; leave it 0 where those are measured.
    brightness_penalty_nm
        Likewise for each factor e between the scores.

    Returns
    -------
    Rows of the table ``tracks``, sorted by movie, frame, y, x, that know their experiment.

    Raises
    ------
    ValueError
        If a column, the calibration or the step is missing. While computing: if a coordinate is not finite, a
        partition cuts a frame in two, or a detection's movie is not known.

    Notes
    -----
    Blocks are linked in parallel, each with one frame of the block before it, and joined by names afterwards. A task
    holds one block (about 250 bytes a row), the last one a movie's rows.
    """
    if max_gap_frames:
        msg = f"gaps are not closed yet, so max_gap_frames must be 0, but is {max_gap_frames}"
        raise NotImplementedError(msg)
    experiment = experiment_of(detections, experiment)
    tables.check_columns(detections, "detections", needed=("movie", "frame", "y", "x", "score", "class_id"))
    settings = Settings(
        step_limit_nm(experiment, max_step_nm), max_blind_frames, class_penalty_nm, brightness_penalty_nm
    )
    return lay_out(as_dask(detections), experiment, settings, owners=getattr(detections, "movie_of_partition", None))


def step_limit_nm(experiment: tables.Experiment, max_step_nm: float | None = None) -> float:
    """Return `max_step_nm`, or 1.3 lattice constants where the experiment knows its lattice.

    Raises
    ------
    ValueError
        If neither is known.
    """
    if max_step_nm is not None:
        return max_step_nm
    if "lattice_nm" in experiment.movies.columns:
        known = experiment.movies["lattice_nm"].dropna()
        if len(known):
            return MAX_STEP_LATTICES * float(np.median(known))
    msg = (
        "how far a defect may step between frames is not known, since these movies come without a lattice; pass max_step_nm=, "
        f"about {MAX_STEP_LATTICES} lattice constants (0.41 nm for WS2)"
    )
    raise ValueError(msg)
