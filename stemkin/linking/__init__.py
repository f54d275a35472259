r"""Detections become tracks: which detection of one frame is which of the next.

>>> from stemkin import tables
>>> rows = pd.DataFrame({"frame": [0, 0, 1, 1, 2], "y": [9.0, 40, 9, 41, 10]})
>>> rows = rows.assign(movie="m", x=[5.0, 8, 6, 8, 6], score=9.0)
>>> rows = tables.conform(rows.assign(class_id=0, probability=1.0, orientation=-1), "detections")
>>> movies = pd.DataFrame({"movie": ["m"], "pixel_size_nm": [0.03]})
>>> tracks = link(rows, experiment=tables.Experiment(movies), max_step_nm=0.4).compute()
>>> tracks[["frame", "particle", "y_nm"]].round(2).values.tolist()
[[0.0, 0.0, 0.27], [0.0, 1.0, 1.2], [1.0, 0.0, 0.27], [1.0, 1.0, 1.23], [2.0, 0.0, 0.3]]

Between two frames the detections are matched one to one, as well as possible all together and
exactly, however crowded it is. What is best is said by `cost`: the likelihood of all links, from
how far defects step, how often they are lost and how often new ones begin, all counted in the movie
itself (`stemkin.kernels.linking.steps`); or the sum of squared distances, with ``max_step_nm``
squared for each detection that is not continued, as trackpy does. Distances are measured in
nanometres after the drift is taken out. Frames whose status is not ``ok`` are stepped over: they
are no absence, and across g frame times a step may be sqrt(g) times as long. With `max_gap_frames`,
ends and starts of tracks are then matched likewise.

How to read the answer: a row of ``tracks`` is a detection with its track's name, ``particle``. The
name is ``first_frame * 2**24 + rank`` of the track's first detection, so it is the same however the
movie was cut into blocks; it is unique within a movie, and ``(movie, particle)`` within an archive.

Traps: with `max_step_nm` near half the distance between defects, no linker can tell them apart; a
class that counts in the cost (`class_penalty_nm`) makes changes of class look rarer than they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd  # noqa: F401 - for the example above

from stemkin import tables
from stemkin.linking.clock import Clock
from stemkin.linking.events import MEETING_LATTICES, meetings
from stemkin.linking.partitions import lay_out
from stemkin.linking.settings import MAX_GAP_FRAMES, MAX_STEP_LATTICES, Cost, LinkSettings
from stemkin.rows.table import as_dask, experiment_of
from stemkin.vocabulary import checked

if TYPE_CHECKING:
    from stemkin.rows.collection import Rows

__all__ = ["MAX_STEP_LATTICES", "MEETING_LATTICES", "LinkSettings", "link", "meetings"]


@checked
def link(
    detections: Any,
    *,
    experiment: tables.Experiment | None = None,
    max_step_nm: float | None = None,
    max_gap_frames: int = MAX_GAP_FRAMES,
    max_blind_frames: int = 5,
    cost: Cost = "likelihood",
    class_penalty_nm: float = 0.0,
    brightness_penalty_nm: float = 0.0,
    lattice: bool = False,
) -> Rows:
    """Link detections to tracks. Lazy: partitions hold whole tracks, of one movie each.

    Parameters
    ----------
    detections
        Table ``detections`` (Dask or pandas). Partitions hold whole frames in the order of time, as
        `detect` returns them.
    experiment
        Calibration and frames of the movies; by default what `detections` remember. Without a table
        of frames no drift is corrected and every frame counts as good.
    max_step_nm
        Largest step between neighbouring frames [nm]. By default 2.2 lattice constants, where the
        lattice is known: room for two hops within a frame time. With room for one alone, D comes
        out 16 % too low at 0.3 hops per frame.
    max_gap_frames
        How many good frames in a row a defect may be missed without its track ending. By default
        one, as in a run; 0 closes no gap.
    max_blind_frames
        A track ends where more frames than this in a row are bad.
    cost
        ``"likelihood"``: the links that are most likely all together, given the steps, losses and
        births counted in the movie. ``"distance"``: those whose squared distances add up to the
        least; needs no counting and no waiting for it (but for gaps).
    class_penalty_nm
        A pair of different classes counts as this much farther apart, in quadrature [nm]. It biases
        the rates of change between classes; leave it 0 where those are measured.
    brightness_penalty_nm
        Likewise for each factor e between the scores.
    lattice
        Link site to site: a step between frames whose length is no lattice vector's (within 0.3
        lattice constants) is no step, for instance one from a chalcogen to a metal site. For
        defects that sit on sites of one triangular lattice.

    Returns
    -------
    Rows of the table ``tracks`` that know their experiment. A movie is one partition, sorted by
    frame, y, x; a large one several, each with all rows of its share of the particles, as `run`
    shares them out. Large is a movie of more than 2 million detections, where the frames are
    computed already; where they are not, one of more than 32 partitions.

    Raises
    ------
    ValueError
        If a column, the calibration or the step is missing. While computing: if a coordinate is not
        finite, a partition cuts a frame in two, or a detection's movie is not known.

    Notes
    -----
    Blocks are linked in parallel, each with a few frames of its neighbours, and joined by names
    afterwards (`stemkin.linking.order`). A task holds one block (about 200 bytes a row), or one
    partition of tracks; all rows wait in the workers until the blocks are joined. `run` carries the
    same order out through files. Where `detections` do not say whose each partition is
    (``movie_of_partition``) and there are several movies, each movie is one partition.
    """
    experiment = experiment_of(detections, experiment)
    tables.check_columns(detections, "detections")
    settings = LinkSettings(
        max_step_nm,
        max_gap_frames,
        max_blind_frames,
        cost,
        class_penalty_nm,
        brightness_penalty_nm,
        lattice,
    )
    if max_step_nm is None and not _lattice_may_be_known(experiment):
        Clock("*", 1.0).step_limit_nm()
    return lay_out(as_dask(detections), experiment, settings)


def _lattice_may_be_known(experiment: tables.Experiment) -> bool:
    """Tell whether the movies, or frames that may still be computed, can say a lattice constant."""
    return "lattice_nm" in experiment.movies or "lattice_px" in getattr(
        experiment.frames, "columns", ()
    )
