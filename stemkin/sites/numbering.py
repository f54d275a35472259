"""One number for every site of a movie, whatever the drift.

A frame finds its own lattice; which of its cells is which follows from where the specimen has
drifted to (table ``frames``), rounded to whole lattice vectors. So the drift need only be known
within a third of a lattice constant, and a frame whose drift does not fit is not numbered.

>>> from stemkin.kernels.crystal.lattice import honeycomb
>>> frames = pd.DataFrame({"status": "ok", "shift_y": 0.0, "shift_x": [0.0, 9.8], "stretch": 0})
>>> first = honeycomb(10.0, metal=(32.0, 32.0))
>>> numbering = Numbering.of([(0, first)], frames, (64, 64))
>>> cells = np.array([[0, 0]])
>>> before = numbering.columns(METAL, cells, first, 0)
>>> moved = replace(first, metal=first.metal + [0, 9.9], chalcogen=first.chalcogen + [0, 9.9])
>>> bool(before == numbering.columns(METAL, cells, moved, 1))
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, numbered_sites
from stemkin.kernels.detection.sites import AROUND, BORDER_PX, SeenSites
from stemkin.traces import CHALCOGEN_SITES, METAL_SITES

NAMES = {METAL: METAL_SITES, CHALCOGEN: CHALCOGEN_SITES}

FITS = 0.34
"""A frame's lattice lies so close to the drifted one, in lattice vectors, or is not numbered."""

TURNED = 0.1
"""Vectors of a frame that differ by more from the movie's, over their length, are of another grain."""

SAME_SHIFT = 0.25
"""Shifts closer than this, over the lattice constant, show the same sites."""


@dataclass(frozen=True, eq=False)
class Numbering:
    """The crystal of a movie, by whose cells sites are numbered.

    Attributes
    ----------
    lattice
        As the first good frame shows it.
    shift
        (t, 2) displacement (y, x) of the specimen since that frame [px].
    place
        For METAL and CHALCOGEN: the number of each cell, laid out from `low` on; -1 for none.
    low
        (2,) lowest u, v.
    cells
        (site, 2) u, v of the sites, metal columns first.
    n_metal
        How many of them are metal columns.
    n_in_view
        (site,) in how many good frames each site lies within the frame.
    """

    lattice: Lattice
    shift: np.ndarray
    place: tuple[np.ndarray, np.ndarray]
    low: np.ndarray
    cells: np.ndarray
    n_metal: int
    n_in_view: np.ndarray

    @property
    def n_sites(self) -> int:
        """Sites of both sublattices together."""
        return len(self.cells)

    @classmethod
    def of(
        cls,
        anchors: Sequence[tuple[int, Lattice]],
        frames: pd.DataFrame,
        shape: tuple[int, int],
    ) -> Numbering:
        """Number the cells that any frame shows.

        Parameters
        ----------
        anchors
            A frame of each stretch and its crystal, one or more; that of the first is the movie's.
        frames
            Table ``frames`` of the movie, in order: status, shifts and stretches of its frames.
        shape
            (height, width) of a frame [px].
        """
        lattice = anchors[0][1]
        shift = _settled_shift(anchors, frames)
        grid = SAME_SHIFT * lattice.spacing_px
        good = (frames["status"] == tables.OK).to_numpy() & np.isfinite(shift).all(axis=1)
        steps, n_frames = np.unique(np.rint(shift[good] / grid), axis=0, return_counts=True)
        straight = replace(lattice, scan=None)
        shown = [
            _cells_in_view(straight, which, steps * grid, n_frames, shape)
            for which in (METAL, CHALCOGEN)
        ]
        cells = np.concatenate([own for own, _ in shown])
        low = cells.min(axis=0)
        laid, n = [], 0
        for own, _ in shown:
            place = np.full(cells.max(axis=0) - low + 1, -1)
            place[tuple((own - low).T)] = n + np.arange(len(own))
            laid.append(place)
            n += len(own)
        in_view = np.concatenate([seen for _, seen in shown])
        return cls(lattice, shift, (laid[0], laid[1]), low, cells, len(shown[0][0]), in_view)

    def columns(self, which: int, cells: np.ndarray, lattice: Lattice, frame: int) -> np.ndarray:
        """Return the number (m,) of each of the `cells` (m, 2) of a frame's own lattice, or -1."""
        own, ours = ((one.metal, one.chalcogen)[which] for one in (lattice, self.lattice))
        vectors = self.lattice.reciprocal @ np.stack([lattice.a1, lattice.a2], axis=1)
        turn = np.rint(vectors).astype(np.int64)
        away = self.lattice.reciprocal @ (own - self.shift[frame] - ours)
        if not np.isfinite(away).all() or np.abs(vectors - turn).max() > TURNED:
            return np.full(len(cells), -1)
        offset = np.rint(away).astype(np.int64)
        if np.abs(away - offset).max() > FITS or abs(round(np.linalg.det(turn))) != 1:
            return np.full(len(cells), -1)
        index = cells @ turn.T + offset - self.low
        laid = self.place[which]
        inside = ((index >= 0) & (index < laid.shape)).all(axis=1)
        found = np.full(len(cells), -1)
        found[inside] = laid[tuple(index[inside].T)]
        return found

    def laid(self, seen: SeenSites | None, frame: int) -> np.ndarray:
        """Return the (site,) float32 signals of a frame; NaN where a site is not judged."""
        row = np.full(self.n_sites, np.nan, dtype=np.float32)
        if seen is None:
            return row
        for which in (METAL, CHALCOGEN):
            at = self.columns(which, seen.cells[which].astype(np.int64), seen.lattice, frame)
            row[at[at >= 0]] = seen.signals[which][at >= 0]
        return row

    def sites(self, pixel_size_nm: float) -> pd.DataFrame:
        """Return the sites: cell, sublattice, place in the first good frame, neighbours of its kind."""
        kinds = np.arange(self.n_sites) < self.n_metal
        vectors = np.stack([self.lattice.a1, self.lattice.a2])
        origin = np.where(kinds[:, None], self.lattice.metal, self.lattice.chalcogen)
        places = (origin + self.cells @ vectors) * pixel_size_nm
        beside = np.zeros(self.n_sites, dtype=np.int8)
        for which, own in ((METAL, kinds), (CHALCOGEN, ~kinds)):
            there = np.pad(self.place[which] >= 0, 1)
            u, v = (self.cells[own] - self.low + 1).T
            beside[own] = sum(there[u + du, v + dv].astype(np.int8) for du, dv in AROUND[1:])
        names = np.where(kinds, NAMES[METAL], NAMES[CHALCOGEN])
        return pd.DataFrame(
            {
                "u": self.cells[:, 0],
                "v": self.cells[:, 1],
                "sublattice": names,
                "y_nm": places[:, 0],
                "x_nm": places[:, 1],
                "n_neighbours": beside,
                "n_in_view": self.n_in_view,
            }
        )


def _settled_shift(anchors: Sequence[tuple[int, Lattice]], frames: pd.DataFrame) -> np.ndarray:
    """Return the (t, 2) displacement of the specimen since the first anchor [px].

    From stretch to stretch it is not known; what is taken for it brings the lattice of a stretch
    onto that of the movie, so that its sites have numbers of their own.
    """
    first, lattice = anchors[0]
    shift = frames[["shift_y", "shift_x"]].to_numpy(np.float64)
    shift = shift - shift[first]
    stretch = frames["stretch"].to_numpy()
    for frame, own in anchors[1:]:
        away = lattice.reciprocal @ (own.metal - shift[frame] - lattice.metal)
        rest = np.stack([lattice.a1, lattice.a2], axis=1) @ (away - np.rint(away))
        shift[stretch == stretch[frame]] += rest
    return np.asarray(shift)


def _cells_in_view(
    lattice: Lattice,
    which: int,
    shifts: np.ndarray,
    n_frames: np.ndarray,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (m, 2) cells that frames at `shifts` show, and in how many frames (m,)."""
    cells, counts = [], []
    # a site that is nearer to the edge may be judged or not; it is expected of none
    margin = BORDER_PX + SAME_SHIFT * lattice.spacing_px
    for at, n in zip(shifts, n_frames.tolist(), strict=True):
        moved = replace(lattice, metal=lattice.metal + at, chalcogen=lattice.chalcogen + at)
        own, places = numbered_sites(moved, shape, which)
        inside = (places >= margin) & (places <= np.array(shape) - 1 - margin)
        cells.append(own)
        counts.append(n * inside.all(axis=1))
    every, which_cell = np.unique(np.concatenate(cells), axis=0, return_inverse=True)
    found = np.bincount(which_cell.ravel(), np.concatenate(counts), minlength=len(every))
    return every, found.astype(np.int64)
