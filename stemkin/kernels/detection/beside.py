"""What stands beside a defect, judged by all that a missing atom does and not by one amplitude.

A vacancy beside a dopant is weak, and moves its bright neighbours: where the amplitude of its column
tells one standard deviation, what was learned of vacancies may tell four (`observer`). So the three
columns bonded to a defect are judged by the observer that sees nothing of the defect itself, and all
else that a missing atom does; its signals are counted in the noise of clean sites of the same frame.
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.common.medians import median
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, numbered_sites
from stemkin.kernels.detection.normalisation import scatter_of
from stemkin.kernels.detection.observer import Observer, bonded, partial_patches, patches_at

CLEAN_SITES = 60
"""So many sites tell median and scatter of the signals of clean ones: to a sixth and a tenth."""

LEAST_SITES = 30
"""Fewer do not."""

LEAST_SHARE = 0.3
"""With less of its weights inside the frame a column is judged by its amplitude."""


def signals_beside(
    noise_units: Array,
    lattice: Lattice,
    mask: np.ndarray | None,
    observer: Observer,
    places: np.ndarray,
    kinds: np.ndarray,
) -> np.ndarray:
    """Judge the three columns bonded to each of some sites.

    Parameters
    ----------
    noise_units
        (y, x) what is left of the frame without its crystal, over its noise, any library.
    lattice, mask
        The crystal, and the (y, x) pixels that belong to it; None for all.
    observer
        What was learned of the movie.
    places
        (m, 3, 2) the bonded columns of each site (y, x) [px].
    kinds
        (m,) METAL, CHALCOGEN or another number: the kind of each site.

    Returns
    -------
    (m, 3) signals over the noise, dark ones negative; NaN where nothing was learned of such columns
    or too little of them is seen.
    """
    told = np.full(places.shape[:2], np.nan)
    for site, which in ((METAL, CHALCOGEN), (CHALCOGEN, METAL)):
        own = np.flatnonzero(kinds == site)
        if not (observer.knows(which) and observer.judges[which] and len(own)):
            continue
        if site == METAL and observer.knows_bound:
            told[own] = bound_signals(noise_units, lattice, mask, observer, places[own])
            continue
        some = _some_sites(noise_units, lattice, which)
        first = np.zeros(len(some), dtype=np.int64)
        usual = _signals(noise_units, some, first, lattice, mask, observer.knowing[which])
        usual = usual[np.isfinite(usual)]
        if len(usual) < LEAST_SITES:
            continue
        columns = places[own]
        towards = _bonded_column(columns, lattice, which).ravel()
        seen = _signals(
            noise_units, columns.reshape(-1, 2), towards, lattice, mask, observer.knowing[which]
        )
        scatter = max(scatter_of(usual), 1e-12) * observer.tails[which]
        told[own] = ((seen - median(usual)) / scatter).reshape(-1, 3)
    return told


def bound_signals(
    noise_units: Array,
    lattice: Lattice,
    mask: np.ndarray | None,
    observer: Observer,
    columns: np.ndarray,
) -> np.ndarray:
    """Look for vacancies on the columns bonded to dopants, by what was learned at dopants.

    Parameters
    ----------
    noise_units
        (y, x) what is left of the frame without its crystal, over its noise, any library.
    lattice, mask
        The crystal, and the (y, x) pixels that belong to it; None for all.
    observer
        What was learned of the movie; it `knows_bound` vacancies.
    columns
        (m, 3, 2) the bonded columns of each of some METAL sites (y, x) [px].

    Returns
    -------
    (m, 3) signals over the noise, dark ones negative; NaN where too little is seen.
    """
    clean, _ = patches_at(noise_units, _some_sites(noise_units, lattice, METAL), lattice, mask)
    if len(clean) < LEAST_SITES:
        return np.full(columns.shape[:2], np.nan)
    usual = _products(clean, observer.bound)
    level, scatter, _ = observer.bound_told
    patches, seen = partial_patches(noise_units, columns.mean(axis=1), lattice, mask)
    deviations = (_products(patches, observer.bound) - median(usual.ravel())) / scatter_of(
        usual.ravel()
    )
    # of the noise of a patch that is cut by an edge there is as much less as of the weights' squares
    share = _products(seen, observer.bound**2) / (observer.bound**2).sum(axis=1)
    enough = share > LEAST_SHARE
    told = -(deviations - level) / scatter / np.sqrt(np.where(enough, share, 1.0))
    told[~enough] = np.nan
    # the weights are counted as the bonds of METAL sites are, the columns as they are given
    steps = columns - columns.mean(axis=1, keepdims=True)
    bonds = bonded(METAL) @ np.stack([lattice.a1, lattice.a2])
    return np.take_along_axis(told, (steps @ bonds.T).argmax(axis=2), axis=1)


def _products(patches: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (n, k) sums of patches (n, P) with weights (k, P), with the same bits for any n."""
    return np.asarray(np.einsum("np,kp->nk", patches, weights, optimize=False))


def _some_sites(noise_units: Array, lattice: Lattice, which: int) -> np.ndarray:
    """Return the places of `CLEAN_SITES` sites of a kind, evenly through a frame."""
    shape = (int(noise_units.shape[0]), int(noise_units.shape[1]))
    _, points = numbered_sites(lattice, shape, which)
    # a step that has no factor in common with the number of sites in a row, mostly
    return points[:: max(1, len(points) // CLEAN_SITES)]


def _bonded_column(columns: np.ndarray, lattice: Lattice, which: int) -> np.ndarray:
    """Tell on which of its bonded columns each of three columns (m, 3, 2) has their common site.

    Returns (m, 3) numbers, counted as `Observer.knowing` counts.
    """
    steps = columns.mean(axis=1, keepdims=True) - columns
    bonds = bonded(which) @ np.stack([lattice.a1, lattice.a2])
    return np.asarray((steps @ bonds.T).argmax(axis=2))


def _signals(
    noise_units: Array,
    points: np.ndarray,
    towards: np.ndarray,
    lattice: Lattice,
    mask: np.ndarray | None,
    knowing: np.ndarray,
) -> np.ndarray:
    """Return what is seen at points (n, 2) beside a defect on the bonded column `towards` (n,).

    `knowing` are the (3, P) weights; NaN where too little is seen.
    """
    seen = np.full(len(points), np.nan)
    patches, inside = patches_at(noise_units, points, lattice, mask)
    # not a matrix product: the bits of one must not depend on how many there are
    seen[inside] = -np.einsum("np,np->n", patches, knowing[towards[inside]], optimize=False)
    return seen
