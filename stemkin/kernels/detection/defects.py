"""From a signal-to-noise map to a list of defects, at a stated rate of false positives.

On the lattice a defect is a site whose own signal is too large for noise; elsewhere it is an
extremum of the map. The two searches make different numbers of attempts, so they have different
thresholds, and share the false positives that are allowed.

>>> snr = np.zeros((32, 32), np.float32); snr[9, 20] = -8.0
>>> y, x, score = anywhere(snr, 2.0, false_positives=1.0)
>>> y.tolist(), x.tolist(), score.tolist()
([9.0], [20.0], [-8.0])
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stemkin.devices import Array, to_host
from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.crystal.residual import rows_moved
from stemkin.kernels.detection import atoms, tails
from stemkin.kernels.detection.false_positives import SHARES, Allowance, mirrored, shares_of
from stemkin.kernels.detection.observer import Observer
from stemkin.kernels.detection.placing import (
    STRONG,
    PlacedDefects,
    leans_of,
    places_of,
    seen_error,
)
from stemkin.kernels.detection.site_scatter import FAR, groups_of
from stemkin.kernels.detection.sites import BORDER_PX, Sites
from stemkin.kernels.detection.vacancies import sites_with_neighbours
from stemkin.kernels.images.filters import Skewness
from stemkin.kernels.images.interpolation import interpolate

REACH = 0.25
"""How far from its site, over the lattice constant, a defect on the lattice may appear."""

OWN = 0.1
"""A column that surely stands further from its site, over the lattice constant, is not of it."""

ODD = 0.3
"""Share of a tall extremum beside a site that a column at the site need not explain."""

MERGE = 0.35
"""Two extrema closer than this, over the lattice constant, are one defect."""

TAIL = 1.7
"""No threshold is raised by more: beyond, a tail is made of features and not of noise."""

TAIL_PIXELS = 20_000
"""About so many pixels are looked at to see the tails of the noise."""

MANY = 1000
"""Pixels from which the tails of the noise are known."""


def on_lattices(
    snr: Array,
    crystals: list[tuple[Lattice, np.ndarray | None]],
    *,
    false_positives: float,
    threshold: float | None = None,
    relaxation: float | None = 0.0,
    skew: Skewness | None = None,
    filter_sd_px: float | None = None,
    observer: Observer | None = None,
    noise_units: Array | None = None,
    heights: tuple[float, float] | None = None,
    jitter: np.ndarray | None = None,
    read: list[Sites] | None = None,
    heavier: tuple[float, float] = (1.0, 1.0),
    weak_dark: tuple[bool, bool] = (False, True),
) -> PlacedDefects:
    """List the defects of a frame with one lattice or several.

    Parameters
    ----------
    snr
        (y, x) signed matched-filter signal-to-noise, any library; its noise is Gaussian with
        standard deviation 1.
    crystals
        Each lattice, with the mask (y, x) of the pixels that belong to it; None for all.
    false_positives
        How many defects a perfect frame gives on average.
    threshold
        Smallest |signal-to-noise|, on the lattice and off, in place of `false_positives`.
    relaxation
        How much the neighbours of a vacancy tell over what its own site does, see
        `kernels.relaxation`; None to measure it on this frame.
    skew
        Skewness of the noise of `snr`; None for none.
    filter_sd_px
        Width of the matched filter [px]; 0.15 lattice constants unless given.
    observer, noise_units
        What was learned of the movie, and the (y, x) remainder over its noise that it looks at; in
        place of `relaxation`.
    heights
        Signal-to-noise of a whole column of each kind, with which the atoms that are there are
        located (`atoms`); None to locate what is seen.
    jitter
        (height, 2) displacement (y, x) of each row [px]; None for none.
    read
        The sites of each of the `crystals`, where they were judged before (`vacancies`).
    heavier
        By how much larger seldom signals of clean METAL and CHALCOGEN sites are in this movie than
        those of normal noise.
    weak_dark
        Whether these were seen to hold weak dark defects (`false_positives.weak_dark_sites`).

    Returns
    -------
    The defects, those at sites first.
    """
    shape = (int(snr.shape[0]), int(snr.shape[1]))
    spacing = crystals[0][0].spacing_px
    filter_sd_px = filter_sd_px or 0.15 * spacing
    if read is None:
        read = [
            sites_with_neighbours(
                snr, lattice, mask, relaxation, skew, observer=observer, noise_units=noise_units
            )
            for lattice, mask in crystals
        ]
    sublattice = np.concatenate([places.sublattice for places in read])
    signal = np.concatenate([places.signal for places in read])
    shares = shares_of(observer, weak_dark)
    asked = Allowance(false_positives, threshold, shares, np.array(heavier))
    least = asked.of_sites(sublattice, signal)
    elsewhere = asked.elsewhere(shape, filter_sd_px)
    if threshold is None:
        level = tails.level_of_heavy_tail(snr, asked.between, border_px=BORDER_PX)
        if level is not None:
            elsewhere = max(elsewhere, level)
            allowed = {which: SHARES[which, 1] * false_positives for which in (METAL, CHALCOGEN)}
            least = tails.above_heavy_tails(least, sublattice, signal, allowed)
    strong = np.abs(signal) >= least
    beside_strong = np.concatenate([places.beside_strong for places in read])
    if_dark = asked.of_sites(sublattice, -np.abs(signal))
    expected = mirrored(sublattice, signal, if_dark, beside_strong, asked.shares)
    leans = np.concatenate(
        [
            leans_of(places, *crystal, observer, noise_units)
            for places, crystal in zip(read, crystals, strict=True)
        ]
    )
    on_sites = _at_sites(
        snr, read, leans, strong, heights, jitter, filter_sd_px=filter_sd_px, spacing_px=spacing
    )
    off_sites = _between_sites(
        snr, elsewhere, on_sites.site, REACH * spacing, filter_sd_px=filter_sd_px
    )
    # what is between sites may be the ringing of what is at one, and the other way round
    both = on_sites.and_then(off_sites)
    kept = peaks.merge(both.y, both.x, both.score, min_distance_px=MERGE * spacing)
    inside = (both.y > -0.5) & (both.y < shape[0] - 0.5)
    inside &= (both.x > -0.5) & (both.x < shape[1] - 0.5)
    return replace(both.only(kept[inside[kept]]), expected_false=expected)


def _at_sites(
    snr: Array,
    read: list[Sites],
    leans: np.ndarray,
    strong: np.ndarray,
    heights: tuple[float, float] | None,
    jitter: np.ndarray | None,
    *,
    filter_sd_px: float,
    spacing_px: float,
) -> PlacedDefects:
    """Return the defects at the sites that are `strong`, counted through all crystals."""
    points, signal, alone, which = (
        np.concatenate([getattr(places, name) for places in read])[strong]
        for name in ("points", "signal", "alone", "sublattice")
    )
    reach_px = REACH * spacing_px
    y, x = places_of(snr, points, alone, filter_sd_px=filter_sd_px, reach_px=reach_px)
    error = seen_error(alone, filter_sd_px)
    if heights is not None and len(points):
        at = points
        if jitter is not None:
            at = points + rows_moved(points[:, 0], jitter, sd_px=filter_sd_px)
        whole = np.array(heights)[which]
        offset, standing = atoms.standing_at(snr, at, whole, filter_sd_px)
        own = _standing_errors(read, heights, strong, standing, filter_sd_px) / standing
        here = _is_near(offset, own, spacing_px)
        # what is tall elsewhere, and does not follow from a column here, stands elsewhere
        tall = np.flatnonzero(np.abs(alone) > STRONG)
        seen = np.stack([y[tall], x[tall]], axis=1)
        follows = atoms.standing_there(
            seen - at[tall], offset[tall], standing[tall], whole[tall], filter_sd_px
        )
        surplus = np.abs(interpolate(snr, seen) - follows)
        here[tall] &= surplus < np.maximum(FAR, ODD * np.abs(follows))
        # a vacancy beside it moves the image of a column, which stands there all the same
        bound = (leans[strong] != 0).any(axis=1)
        here |= bound & (np.hypot(*offset.T) < REACH * spacing_px)
        y, x = np.where(here, (at + offset).T, [y, x])
        error = np.where(here, own, error)
    group = groups_of(which, signal)
    return PlacedDefects(y, x, signal, alone, points, leans[strong], error, group)


def _is_near(offset: np.ndarray, error: np.ndarray, spacing_px: float) -> np.ndarray:
    """Tell which columns are those of their sites, by (m, 2) `offset` and its (m,) `error` [px]."""
    length = np.hypot(*offset.T)
    surely = np.maximum(OWN * spacing_px, 3 * error)
    return np.asarray((length < surely) & (length < REACH * spacing_px))


def _standing_errors(
    read: list[Sites],
    heights: tuple[float, float],
    strong: np.ndarray,
    standing: np.ndarray,
    filter_sd_px: float,
) -> np.ndarray:
    """Return how well the moments of the `strong` sites, counted through all crystals, are known."""
    there = np.zeros(len(strong))
    there[strong] = standing
    ends = np.cumsum([len(places.points) for places in read])[:-1]
    errors = [
        atoms.moment_errors(places, heights, own, filter_sd_px=filter_sd_px)
        for places, own in zip(read, np.split(there, ends), strict=True)
    ]
    return np.asarray(np.concatenate(errors)[strong])


def _between_sites(
    snr: Array, threshold: float, taken: np.ndarray, reach_px: float, *, filter_sd_px: float
) -> PlacedDefects:
    """Return the extrema of the map further than `reach_px` from the sites `taken` (n, 2)."""
    y, x, score = _tall_extrema(snr, threshold)
    free = ~_close(np.stack([y, x], axis=1), taken, reach_px)
    y, x, score = y[free], x[free], score[free]
    nowhere, upright = np.full((len(y), 2), np.nan), np.zeros((len(y), 2))
    error, group = seen_error(score, filter_sd_px), np.full(len(y), -1)
    return PlacedDefects(y, x, score, score, nowhere, upright, error, group)


def anywhere(
    snr: Array, filter_sd_px: float, *, false_positives: float, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the defects of a frame without a lattice: extrema of the map.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library; its noise has standard deviation 1.
    filter_sd_px
        Standard deviation of the filter behind it [px].
    false_positives
        How many extrema a frame of noise gives on average.
    threshold
        Smallest |signal-to-noise| in place of `false_positives`.

    Returns
    -------
    y, x (m,) [px] and the signed signal-to-noise (m,).
    """
    if threshold is None:
        shape = (int(snr.shape[0]), int(snr.shape[1]))
        threshold = peaks.threshold_for(false_positives, shape, filter_sd_px)
    y, x, score = _tall_extrema(snr, threshold)
    kept = peaks.merge(y, x, score, min_distance_px=4 * filter_sd_px)
    return y[kept], x[kept], score[kept]


def _tall_extrema(snr: Array, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, x, score (m,) of the extrema beyond `threshold`, raised where tails are heavy.

    Compressed video and images of few counts are skewed: the 99th percentile of either sign tells
    by how much.
    """
    step = max(1, round(np.sqrt(int(snr.shape[0]) * int(snr.shape[1]) / TAIL_PIXELS)))
    some = to_host(snr[::step, ::step])
    some = some[some != 0]
    if len(some) < MANY:
        return peaks.extrema(snr, threshold=threshold, border_px=BORDER_PX)
    # 2.326 is the 99th percentile of a normal z
    ranks = [len(some) // 100, len(some) - 1 - len(some) // 100]
    heavier = np.clip(np.abs(np.partition(some, ranks)[ranks]) / 2.326, 1.0, TAIL)
    dark, bright = (threshold * float(tail) for tail in heavier)
    y, x, score = peaks.extrema(snr, threshold=min(dark, bright), border_px=BORDER_PX)
    tall = (score > bright) | (score < -dark)
    return y[tall], x[tall], score[tall]


def _close(points: np.ndarray, others: np.ndarray, reach_px: float) -> np.ndarray:
    """Tell which of the (m, 2) `points` have one of the (n, 2) `others` within `reach_px`."""
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    distance = np.hypot(*(points[:, None] - others).transpose(2, 0, 1))
    return np.asarray(distance.min(axis=1) < reach_px)
