"""The sampled frames of which a model is made: each is searched once, and then looked at.

What an observer says of the columns beside a defect may be wanted in one way and then in another;
neither the crystal of a frame nor its defects depend on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection.survey import Survey
from stemkin.kernels.classes.looks import Look
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection.observer import Observer
from stemkin.kernels.images.missing import without_missing
from stemkin.learning.joined import JoinedLooks, joined_looks
from stemkin.model import look_at_detections
from stemkin.movie import Movie
from stemkin.references import reference_crystal

KEPT_PIXELS = 2**24
"""Sampled frames of no more pixels than this together are searched once and kept, 12 bytes a
pixel, while they are looked at; larger ones are searched as often as they are looked at."""


def searched_frames(
    movies: Sequence[Movie], frames: Sequence[tuple[int, int]], detector: Any
) -> list[Any]:
    """Search some frames (movie, frame), each in a task of its own. Lazy where they are large.

    What is kept of each frame, `_Found` or None, is three times the frame itself.
    """
    from dask import delayed, persist

    # dask would look for tasks inside of whatever it is handed openly
    crystals = {i: delayed(partial(_crystal, movies[i]))() for i, _ in frames}
    found = [
        delayed(partial(_search, movies[i], frame, detector))(crystals[i]) for i, frame in frames
    ]
    pixels = sum(movies[i].shape[1] * movies[i].shape[2] for i, _ in frames)
    if pixels > KEPT_PIXELS:
        return found
    return list(persist(*found))


def looked_at(
    searched: Sequence[Any], pixel_sizes_nm: Sequence[float | None], detector: Any
) -> JoinedLooks:
    """Look at what was found in some frames, each in a task of its own. Computes once."""
    from dask import compute, delayed

    look = partial(_look, getattr(detector, "observer", None))
    looks = compute(*[delayed(look)(found) for found in searched])
    seen = [pair for pair in zip(looks, pixel_sizes_nm, strict=True) if pair[0] is not None]
    return joined_looks(seen)


def frame_pixels(movie: Movie, frame: int) -> np.ndarray:
    """Return one frame (1, y, x), its missing pixels filled."""
    pixels, _ = without_missing(movie.reader.read(frame, frame + 1))
    return pixels


@one_thread
def _crystal(movie: Movie) -> Reference | None:
    """Find the crystal of one movie."""
    return reference_crystal(movie)


@dataclass(frozen=True, eq=False)
class _Found:
    """What was found in one frame (y, x), and what is known of it (`look_at_detections`)."""

    frame: np.ndarray
    records: np.ndarray
    known: dict[str, Any]


@one_thread
def _search(movie: Movie, frame: int, detector: Any, crystal: Reference | None) -> _Found | None:
    """Detect in one frame; None for a frame unfit to be searched."""
    pixels = frame_pixels(movie, frame)
    if not np.isfinite(pixels).all() or pixels.min() == pixels.max():
        return None
    if hasattr(detector, "survey"):
        if hasattr(detector, "reference"):
            detector = replace(detector, reference=crystal)
        survey: Survey = detector.survey(pixels, first_frame=frame)
        if survey.extra.get("status", [tables.OK])[0] != tables.OK:
            return None
        known = {
            # a detector of one's own may know the lattice, but neither pieces nor remainder
            "rest": survey.extra.get("rest", [None])[0],
            "lattice": survey.extra.get("crystals", survey.lattices)[0],
            "noise_units": survey.residuals[0],
        }
        return _Found(pixels[0], survey.records, known)
    records = tables.located(detector(pixels, first_frame=frame), pixels.shape[1:])
    return _Found(pixels[0], records, {})


@one_thread
def _look(observer: Observer | None, found: _Found | None) -> Look | None:
    """Look at what was found in one frame; None where it was not searched."""
    if found is None:
        return None
    words = dict(found.known)
    if words:
        words["observer"] = observer
    return look_at_detections(found.frame, found.records, pictures=True, **words)
