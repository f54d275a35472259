"""One frame, searched and named as a run does it, with the signals of all its sites."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection.block import survey_by
from stemkin.detection.naming import named_columns
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, bent
from stemkin.kernels.crystal.reference import Reference
from stemkin.kernels.detection.defect_images import column_height
from stemkin.kernels.detection.sites import SeenSites
from stemkin.learning.sampled import frame_pixels
from stemkin.movie import Movie
from stemkin.readers.errors import is_damage


@dataclass(frozen=True, eq=False)
class SiteSignals:
    """The signals of all sites of a frame, and their places, for METAL and CHALCOGEN."""

    trees: tuple[cKDTree, cKDTree]
    values: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, seen: SeenSites | None) -> SiteSignals | None:
        """Return the signals of sites; None where nobody judged them."""
        if seen is None:
            return None
        lattice, vectors = seen.lattice, np.stack([seen.lattice.a1, seen.lattice.a2])
        trees = []
        for origin, cells in zip((lattice.metal, lattice.chalcogen), seen.cells, strict=True):
            trees.append(cKDTree(bent(lattice, origin + cells @ vectors)))
        return cls((trees[0], trees[1]), seen.signals)

    def at(self, points: np.ndarray, sublattice: np.ndarray, reach_px: float) -> np.ndarray:
        """Return the (m,) signals at the sites next to points (m, 2); NaN where none is judged."""
        told = np.full(len(points), np.nan)
        for which in (METAL, CHALCOGEN):
            own = np.flatnonzero(sublattice == which)
            far, number = self.trees[which].query(points[own])
            near = far < reach_px
            told[own[near]] = self.values[which][np.asarray(number)[near]]
        return told


@dataclass(frozen=True, eq=False)
class SearchedFrame:
    """One frame (y, x) and what was found in it."""

    pixels: np.ndarray
    rest: np.ndarray
    lattice: Lattice
    rows: pd.DataFrame
    signals: SiteSignals | None

    @cached_property
    def height(self) -> float:
        """The height of a column, in units of the frame."""
        return column_height(self.pixels - self.rest, self.lattice)


@one_thread
def searched_frame(
    pixels: np.ndarray, movie: Movie, model: Any, crystal: Reference | None
) -> SearchedFrame | None:
    """Search and name one frame (1, y, x) as a run does; None where it is not fit or has no lattice."""
    if not np.isfinite(pixels).all() or pixels.min() == pixels.max():
        return None
    with_sites = hasattr(model.detector, "judged_sites")
    survey = survey_by(model.detector, pixels, crystal, with_sites=with_sites)
    lattice = survey.lattices[0]
    if survey.extra.get("status", [tables.OK])[0] != tables.OK or lattice is None:
        return None
    records = tables.located(survey.records, pixels.shape[1:])
    named = named_columns(model, pixels, np.array([0]), records, survey, 0, movie, neighbours=False)
    rows = pd.DataFrame({name: records[name] for name in tables.LOCATED.names or ()})
    rows = rows.assign(class_id=named["class_id"], orientation=named["orientation"])
    rows = rows[named.get("keep", np.ones(len(rows), bool))].reset_index(drop=True)
    seen = survey.extra.get("sites", [None])[0]
    return SearchedFrame(pixels[0], survey.extra["rest"][0], lattice, rows, SiteSignals.of(seen))


def recorded_frame(
    movie: Movie, frame: int, model: Any, crystal: Reference | None
) -> SearchedFrame | None:
    """Search one frame of a movie; None also where the file cannot give it back."""
    try:
        pixels = frame_pixels(movie, frame)
    except Exception as error:
        if not is_damage(error):
            raise
        return None
    return searched_frame(pixels, movie, model, crystal)
