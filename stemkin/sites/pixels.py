"""From frames to traces: the signal of every site of a movie, under one number for the whole movie.

>>> from stemkin.detection.detectors import FourierDetector
>>> from stemkin.simulation import simulate_movie
>>> movie = simulate_movie("paper", n_frames=2, shape=(128, 128), seed=1)
>>> traces = site_traces(movie, FourierDetector())
>>> traces.values.shape == (2, traces.n_sites)
True

Where a step of the drift is not known, another *stretch* begins, in which sites have numbers of
their own (`numbering`).
Values are those by which `detect` judges sites: of the observer that was learned, else of the
matched filter and the neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection import detect
from stemkin.detection.detectors import seen_sites
from stemkin.kernels.crystal.lattice import CHALCOGEN
from stemkin.kernels.detection.sites import SeenSites
from stemkin.kernels.images.missing import without_missing
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import Movie
from stemkin.references import reference_crystal
from stemkin.sites.numbering import Numbering
from stemkin.traces import SiteTraces
from stemkin.vocabulary import check_frames


@one_thread
def site_traces(
    movie: Movie,
    model: Any,
    *,
    frames: pd.DataFrame | None = None,
    frames_per_block: int | None = None,
    largest_grain: bool = False,
) -> SiteTraces:
    """Follow the signal of every site of a movie. Lazy, once it is known where the movie drifts to.

    Parameters
    ----------
    movie
        The movie.
    model
        A `Model`, or a detector such as `FourierDetector`.
    frames
        Table ``frames`` of the movie, of `detect` or of a run; without it the movie is searched
        once for its drift.
    frames_per_block
        Frames per task; about 64 MiB of pixels unless given.
    largest_grain
        Whether to follow the largest crystal of a movie that shows a grain boundary, which is
        refused otherwise.

    Returns
    -------
    Traces of metal and chalcogen sites; NaN where a site is out of sight or in no crystal, and in
    frames that are not good.

    Raises
    ------
    ValueError
        If the model judges no sites, no frame shows a honeycomb or the first that does shows a
        grain boundary, or `frames` is of another movie.
    """
    check_frames(frames_per_block, name="frames_per_block", least=1)
    detector = site_judge(model)
    detector = replace(detector, reference=reference_crystal(movie))
    if frames is None:
        frames = detect(movie, detector).experiment.frames.compute()
    frames = _of_movie(frames, movie)
    anchors = _first_crystals(movie, detector, frames)
    first, seen = anchors[0]
    if not largest_grain and (said := said_of_grains(movie.name, first, seen.other_share)):
        msg = f"{said}; crop the movie to one grain, or follow the first with largest_grain=True"
        raise ValueError(msg)
    crystals = [(frame, one.lattice) for frame, one in anchors]
    numbering = Numbering.of(crystals, frames, (movie.shape[1], movie.shape[2]))
    lazy = _lazy(movie, detector, numbering, frames_per_block)
    assert movie.pixel_size_nm is not None, "checked before the movie was searched"
    lattice_nm = numbering.lattice.spacing_px * movie.pixel_size_nm
    traces = SiteTraces.of(
        lazy,
        numbering.sites(movie.pixel_size_nm),
        movie=movie.name,
        frame_time_s=movie.frame_time_s,
        lattice_nm=lattice_nm,
        depth=depth_seen_by(detector),
    )
    begins = frames.index[frames["stretch"].diff().fillna(1) != 0]
    return replace(traces, stretches=tuple(int(frame) for frame in begins))


def site_judge(model: Any) -> Any:
    """Return the detector of a model.

    Raises
    ------
    ValueError
        If it judges no sites of a lattice.
    """
    detector = getattr(model, "detector", model)
    if not hasattr(detector, "judged_sites"):
        msg = (
            f"site traces need a detector that judges the sites of a lattice, but this is a "
            f"{type(detector).__name__}; use FourierDetector() or what learn(detector='fourier') gives"
        )
        raise ValueError(msg)
    return detector


def depth_seen_by(detector: Any) -> float | None:
    """Return by how much the signal falls where a vacancy is, as learned; None where it is not known."""
    observer = detector.observer
    if observer is None or not observer.knows(CHALCOGEN):
        return None
    return float(observer.depths[CHALCOGEN])


def _of_movie(frames: pd.DataFrame, movie: Movie) -> pd.DataFrame:
    """Return the rows of `frames` of a movie, by frame number."""
    own = frames[frames["movie"] == movie.name].set_index("frame").sort_index()
    if len(own) != movie.n_frames:
        msg = (
            f"the table frames has {len(own)} rows of movie {movie.name!r}, which has "
            f"{movie.n_frames} frames; pass the one that detect gave for it, or none"
        )
        raise ValueError(msg)
    return own


OTHER_GRAIN = 0.25
"""A second crystal of so many pixels, over those of the first, makes a grain boundary."""


def _first_crystals(
    movie: Movie, detector: Any, frames: pd.DataFrame
) -> list[tuple[int, SeenSites]]:
    """Return the first good frame of each stretch that shows a honeycomb, and what it shows."""
    found = []
    for _, rows in frames.groupby("stretch", sort=True):
        for frame in rows.index[rows["status"] == tables.OK].tolist():
            pixels, _ = without_missing(movie.reader.read(frame, frame + 1))
            rest = detector.remainder(pixels[0])
            seen = seen_sites(rest, detector.judged_sites(rest))
            if seen is not None:
                found.append((frame, seen))
                break
    if found:
        return found
    msg = (
        f"no frame of movie {movie.name!r} shows the lattice of a honeycomb, so that there are "
        "no sites to follow; look at the status of its frames"
    )
    raise ValueError(msg)


def said_of_grains(movie: str, frame: int, other_share: float) -> str:
    """Say that a frame shows a grain boundary; empty where it shows none.

    Parameters
    ----------
    movie, frame
        Which frame it is.
    other_share
        As of `SeenSites`.
    """
    if other_share < OTHER_GRAIN:
        return ""
    return (
        f"frame {frame} of movie {movie!r} shows a grain boundary: a second crystal has "
        f"{100 * other_share:.0f} % of the area of the first, and sites are numbered on one lattice"
    )


def _lazy(movie: Movie, detector: Any, numbering: Numbering, frames_per_block: int | None) -> Any:
    """Return the lazy (t, site) float32 array."""
    pixels = movie.to_dask(frames_per_block=frames_per_block)

    @one_thread
    def signals(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        start = block_info[0]["array-location"][0][0]
        return _signals(block, start, detector, numbering)

    return pixels.map_blocks(
        signals,
        dtype=np.float32,
        drop_axis=(1, 2),
        new_axis=1,
        chunks=(pixels.chunks[0], (numbering.n_sites,)),
        meta=np.empty((0, 0), np.float32),
    )


def _signals(block: np.ndarray, start: int, detector: Any, numbering: Numbering) -> np.ndarray:
    """Return the (n, site) signals of the frames of a block."""
    values = np.full((len(block), numbering.n_sites), np.nan, dtype=np.float32)
    block, _ = without_missing(block)
    status = np.array(frame_status(block), dtype=object)
    for row in np.flatnonzero(status == tables.OK).tolist():
        rest = detector.remainder(block[row])
        if rest.status != tables.OK:
            continue
        # the largest piece of crystal is the movie's; fragments have no place in its numbering
        seen = seen_sites(rest, detector.judged_sites(rest))
        values[row] = numbering.laid(seen, start + row)
    return values
