"""From frames to traces: the signal of every site of a movie, under one number for the whole movie.

>>> from stemkin.detection.detectors import FourierDetector
>>> from stemkin.simulation import simulate_movie
>>> movie = simulate_movie("paper", n_frames=2, shape=(128, 128), seed=1)
>>> traces = site_traces(movie, FourierDetector())
>>> traces.values.shape == (2, traces.n_sites)
True

A frame finds its own lattice; which of its cells is which follows from where the specimen has
drifted to (table ``frames``), rounded to whole lattice vectors. So the drift need only be known
within a third of a lattice constant, and a frame whose drift does not fit is not judged. Where a
step of the drift is not known, another *stretch* begins, in which sites have numbers of their own.
Values are those by which `detect` judges sites: of the observer that was learned, else of the
matched filter and the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.detection import detect
from stemkin.detection.survey import crystals_of
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, numbered_sites
from stemkin.kernels.detection.vacancies import sites_with_neighbours
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import Movie
from stemkin.references import reference_crystal
from stemkin.traces import CHALCOGEN_SITES, METAL_SITES, SiteTraces
from stemkin.vocabulary import check_frames

NAMES = {METAL: METAL_SITES, CHALCOGEN: CHALCOGEN_SITES}

FITS = 0.34
"""A frame's lattice lies so close to the drifted one, in lattice vectors, or is not numbered."""

SAME_SHIFT = 0.25
"""Shifts closer than this, over the lattice constant, show the same sites."""

BESIDE = ((0, 0), (-1, 0), (0, -1))
"""Steps (u, v) from the cell of a metal column to those of the chalcogen columns around it."""

DARK, LEAST_DARK = 8.0, 1.0
"""The median signal of a dopant lies so many robust standard deviations below those of other metal
columns, and so far below 0."""


@dataclass(frozen=True, eq=False)
class _Numbering:
    """The crystal of a movie, by whose cells sites are numbered.

    Attributes
    ----------
    lattice
        As the first good frame shows it.
    shift
        (t, 2) displacement (y, x) of the specimen since that frame [px].
    place
        For METAL and CHALCOGEN: the column of each cell, laid out from `low` on; -1 for none.
    low
        (2,) lowest u, v.
    n_sites
        Of both sublattices together.
    """

    lattice: Lattice
    shift: np.ndarray
    place: tuple[np.ndarray, np.ndarray]
    low: np.ndarray
    n_sites: int

    def columns(self, which: int, cells: np.ndarray, lattice: Lattice, frame: int) -> np.ndarray:
        """Return the column (m,) of each of the `cells` (m, 2) of a frame's own lattice, or -1."""
        own, ours = ((one.metal, one.chalcogen)[which] for one in (lattice, self.lattice))
        vectors = np.stack([lattice.a1, lattice.a2], axis=1)
        turn = np.rint(self.lattice.reciprocal @ vectors).astype(np.int64)
        away = self.lattice.reciprocal @ (own - self.shift[frame] - ours)
        offset = np.rint(away).astype(np.int64)
        if np.abs(away - offset).max() > FITS or abs(round(np.linalg.det(turn))) != 1:
            return np.full(len(cells), -1)
        index = cells @ turn.T + offset - self.low
        laid = self.place[which]
        inside = ((index >= 0) & (index < laid.shape)).all(axis=1)
        found = np.full(len(cells), -1)
        found[inside] = laid[tuple(index[inside].T)]
        return found


@one_thread
def site_traces(
    movie: Movie,
    model: Any,
    *,
    frames: pd.DataFrame | None = None,
    frames_per_block: int | None = None,
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

    Returns
    -------
    Traces of metal and chalcogen sites; NaN where a site is out of sight or in no crystal, and in
    frames that are not good.

    Raises
    ------
    ValueError
        If the model judges no sites, no frame shows a honeycomb, or `frames` is of another movie.
    """
    check_frames(frames_per_block, name="frames_per_block", least=1)
    detector = getattr(model, "detector", model)
    if not hasattr(detector, "remainder"):
        msg = (
            f"site traces need a detector that judges the sites of a lattice, but this is a "
            f"{type(detector).__name__}; use FourierDetector() or what learn(detector='fourier') gives"
        )
        raise ValueError(msg)
    detector = replace(detector, reference=reference_crystal(movie))
    if frames is None:
        frames = detect(movie, detector).experiment.frames.compute()
    frames = _of_movie(frames, movie)
    numbering, sites = _numbering(movie, detector, frames)
    lazy = _lazy(movie, detector, numbering, frames_per_block)
    depth = None
    observer = detector.observer
    if observer is not None and observer.knows(CHALCOGEN):
        depth = float(observer.depths[CHALCOGEN])
    assert movie.pixel_size_nm is not None, "checked before the movie was searched"
    lattice_nm = numbering.lattice.spacing_px * movie.pixel_size_nm
    traces = SiteTraces.of(
        lazy,
        _with_places(sites, numbering.lattice, movie.pixel_size_nm),
        movie=movie.name,
        frame_time_s=movie.frame_time_s,
        lattice_nm=lattice_nm,
        depth=depth,
    )
    begins = frames.index[frames["stretch"].diff().fillna(1) != 0]
    return replace(traces, stretches=tuple(int(frame) for frame in begins))


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


@one_thread
def _numbering(
    movie: Movie, detector: Any, frames: pd.DataFrame
) -> tuple[_Numbering, pd.DataFrame]:
    """Return the cells that any frame shows, numbered, and the table of sites."""
    lattice, first = None, 0
    for first in np.flatnonzero((frames["status"] == tables.OK).to_numpy()).tolist():
        found = detector.remainder(movie.reader.read(first, first + 1)[0]).lattice
        if found is not None and found.is_honeycomb:
            lattice = found
            break
    if lattice is None:
        msg = (
            f"no frame of movie {movie.name!r} shows the lattice of a honeycomb, so that there are "
            "no sites to follow; look at the status of its frames"
        )
        raise ValueError(msg)
    shift = frames[["shift_y", "shift_x"]].to_numpy(np.float64)
    shift = shift - shift[first]
    grid = SAME_SHIFT * lattice.spacing_px
    places = np.unique(np.rint(shift / grid), axis=0) * grid
    straight = replace(lattice, scan=None)
    _, height, width = movie.shape
    shown = []
    for which in (METAL, CHALCOGEN):
        cells = [
            numbered_sites(
                replace(straight, metal=straight.metal + at, chalcogen=straight.chalcogen + at),
                (height, width),
                which,
            )[0]
            for at in places
        ]
        shown.append(np.unique(np.concatenate(cells), axis=0))
    both = np.concatenate(shown)
    low = both.min(axis=0)
    shape = both.max(axis=0) - low + 1
    laid, n = [], 0
    for placed in shown:
        own = np.full(shape, -1)
        own[tuple((placed - low).T)] = n + np.arange(len(placed))
        laid.append(own)
        n += len(placed)
    sites = pd.DataFrame(both, columns=["u", "v"])
    kinds = np.repeat([NAMES[METAL], NAMES[CHALCOGEN]], [len(cells) for cells in shown])
    sites["sublattice"] = kinds
    return _Numbering(lattice, shift, (laid[METAL], laid[CHALCOGEN]), low, n), sites


def _with_places(sites: pd.DataFrame, lattice: Lattice, pixel_size_nm: float) -> pd.DataFrame:
    """Return `sites` with `y_nm`, `x_nm`, where they are in the first good frame."""
    vectors = np.stack([lattice.a1, lattice.a2])
    metal = (sites["sublattice"] == METAL_SITES).to_numpy()[:, None]
    origin = np.where(metal, lattice.metal, lattice.chalcogen)
    places = (origin + sites[["u", "v"]].to_numpy() @ vectors) * pixel_size_nm
    return sites.assign(y_nm=places[:, 0], x_nm=places[:, 1])


def _lazy(movie: Movie, detector: Any, numbering: _Numbering, frames_per_block: int | None) -> Any:
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


def _signals(block: np.ndarray, start: int, detector: Any, numbering: _Numbering) -> np.ndarray:
    """Return the (n, site) signals of the frames of a block."""
    values = np.full((len(block), numbering.n_sites), np.nan, dtype=np.float32)
    status = np.array(frame_status(block), dtype=object)
    for row in np.flatnonzero(status == tables.OK).tolist():
        rest = detector.remainder(block[row])
        if rest.status != tables.OK:
            continue
        # the largest piece of crystal is the movie's; fragments have no place in its numbering
        for lattice, mask in crystals_of(rest)[:1]:
            judged = sites_with_neighbours(
                rest.snr,
                lattice,
                mask,
                detector.relaxation,
                rest.skew,
                observer=detector.observer,
                noise_units=rest.noise_units,
            )
            for which in (METAL, CHALCOGEN):
                own = judged.sublattice == which
                at = numbering.columns(which, judged.cells[own], lattice, start + row)
                values[row, at[at >= 0]] = judged.signal[own][at >= 0]
    return values


@one_thread
def dopants_of(traces: SiteTraces) -> tuple[SiteTraces, pd.DataFrame]:
    """Find the dopants of a movie by what their columns show all the time. Computes once.

    Parameters
    ----------
    traces
        What `site_traces` gave.

    Returns
    -------
    traces
        The same, with `beside_dopant` in the table of sites.
    dopants
        One row per dopant: `dopant`, its cell `u`, `v`, and the numbers `site_0`, `site_1`,
        `site_2` of the sites beside it, for `dopant_chains`.

    Raises
    ------
    ValueError
        If there are no metal sites among the traces.
    """
    is_metal = (traces.sites["sublattice"] == METAL_SITES).to_numpy()
    if not is_metal.any():
        msg = f"the traces of movie {traces.movie!r} hold no metal sites, which show the dopants"
        raise ValueError(msg)
    numbers = np.flatnonzero(is_metal)
    values = traces.values[:, numbers].compute()
    ever = np.isfinite(values).any(axis=0)
    middle = np.full(len(numbers), np.nan)
    middle[ever] = np.nanmedian(values[:, ever], axis=0)
    usual = np.nanmedian(middle)
    spread = 1.4826 * np.nanmedian(np.abs(middle - usual))
    dark = middle < min(usual - DARK * spread, -LEAST_DARK)
    site_of = {
        cell: number
        for number, cell in zip(
            np.flatnonzero(~is_metal).tolist(),
            map(tuple, traces.cells[~is_metal].tolist()),
            strict=True,
        )
    }
    rows: list[tuple[int, ...]] = []
    for u, v in traces.cells[numbers[dark]].tolist():
        beside = [site_of.get((u + du, v + dv), -1) for du, dv in BESIDE]
        if min(beside) >= 0:
            rows.append((len(rows), u, v, *beside))
    names = ["dopant", "u", "v", "site_0", "site_1", "site_2"]
    dopants = pd.DataFrame(np.array(rows, dtype=np.int64).reshape(-1, 6), columns=names)
    is_beside = np.zeros(traces.n_sites, dtype=bool)
    # also those of dopants at the rim, some of whose sites are out of sight
    for u, v in traces.cells[numbers[dark]].tolist():
        for du, dv in BESIDE:
            if (u + du, v + dv) in site_of:
                is_beside[site_of[u + du, v + dv]] = True
    marked = replace(traces, sites=traces.sites.assign(beside_dopant=is_beside))
    return marked, dopants
