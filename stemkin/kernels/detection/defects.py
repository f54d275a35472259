"""From a signal-to-noise map to a list of defects, at a stated rate of false positives.

On the lattice a defect is a site whose own signal is too large for noise; elsewhere it is an
extremum of the map. The two searches make different numbers of attempts, so they have different
thresholds, and share the false positives that are allowed.
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, to_host
from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.detection import relaxation as relaxation_of
from stemkin.kernels.detection.placing import Found, leans_of, places_of
from stemkin.kernels.detection.sites import STRONG as STRONG_SITE
from stemkin.kernels.detection.sites import Sites, site_signals
from stemkin.kernels.images.filters import Skewness

SHARES = {(METAL, -1): 0.04, (METAL, 1): 0.02, (CHALCOGEN, -1): 0.88, (CHALCOGEN, 1): 0.02}
"""How the false positives are shared among dark and bright sites; the rest is for what lies between
them.

Nearly all go where the signal is weakest: to the missing chalcogen atom. A metal atom more or less
is never close to the threshold.
"""

REACH = 0.25
"""How far from its site, over the lattice constant, a defect on the lattice may appear."""

MERGE = 0.35
"""Two extrema closer than this, over the lattice constant, are one defect."""

TAIL = 1.7
"""No threshold is raised by more: beyond, a tail is made of features and not of noise."""

TAIL_PIXELS = 20_000
"""About so many pixels are looked at to see the tails of the noise."""

MANY = 1000
"""Pixels from which the tails of the noise are known."""

BORDER_PX = 2
"""Nothing is looked for closer to the edge of a frame than this; diffusion assumes the same of a
track's last sight."""


def on_lattices(
    snr: Array,
    crystals: list[tuple[Lattice, np.ndarray | None]],
    *,
    false_positives: float,
    threshold: float | None = None,
    relaxation: float | None = 0.0,
    skew: Skewness | None = None,
    filter_sd_px: float | None = None,
) -> Found:
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
    """
    height, width = int(snr.shape[0]), int(snr.shape[1])
    spacing = crystals[0][0].spacing_px
    filter_sd_px = filter_sd_px or 0.15 * spacing
    read = [_signals(snr, lattice, mask, relaxation, skew) for lattice, mask in crystals]
    points, sublattice, signal, alone = (
        np.concatenate([getattr(places, n) for places in read])
        for n in ("points", "sublattice", "signal", "alone")
    )
    leans = np.concatenate(
        [leans_of(places, lattice) for places, (lattice, _) in zip(read, crystals, strict=True)]
    )
    if threshold is None:
        least = _site_thresholds(sublattice, np.sign(signal), false_positives)
        share = 1 - sum(SHARES.values())
        elsewhere = peaks.threshold_for(share * false_positives, (height, width), filter_sd_px)
    else:
        least, elsewhere = np.full(len(points), threshold), threshold
    strong = np.abs(signal) >= least
    y, x, score = _tall_extrema(snr, elsewhere)
    reach = REACH * spacing
    site_y, site_x = places_of(
        snr, points[strong], alone[strong], filter_sd_px=filter_sd_px, reach_px=reach
    )
    free = ~_close(np.stack([y, x], axis=1), points[strong], reach)
    y, x = np.concatenate([site_y, y[free]]), np.concatenate([site_x, x[free]])
    alone = np.concatenate([alone[strong], score[free]])
    score = np.concatenate([signal[strong], score[free]])
    kept = peaks.merge(y, x, score, min_distance_px=MERGE * spacing)
    site = np.concatenate([points[strong], np.full((int(free.sum()), 2), np.nan)])
    lean = np.concatenate([leans[strong], np.zeros((int(free.sum()), 2))])
    inside = (y > -0.5) & (y < height - 0.5) & (x > -0.5) & (x < width - 0.5)
    kept = kept[inside[kept]]
    return Found(y[kept], x[kept], score[kept], alone[kept], site[kept], lean[kept])


def anywhere(
    snr: Array, filter_sd_px: float, *, false_positives: float, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the defects of a frame without a lattice: extrema of the map; arguments and result as in
    `on_lattices`."""
    if threshold is None:
        threshold = peaks.threshold_for(
            false_positives, (int(snr.shape[0]), int(snr.shape[1])), filter_sd_px
        )
    y, x, score = _tall_extrema(snr, threshold)
    kept = peaks.merge(y, x, score, min_distance_px=4 * filter_sd_px)
    return y[kept], x[kept], score[kept]


def site_threshold(false_positives: float, n_sites: int) -> float:
    """Return the z that on average `false_positives` of `n_sites` normal values exceed on one side.

    Examples
    --------
    >>> round(site_threshold(1.0, 2700), 2)
    3.37
    """
    from scipy.special import ndtri

    return float(-ndtri(min(0.4, false_positives / max(n_sites, 1))))


def _site_thresholds(
    sublattice: np.ndarray, sign: np.ndarray, false_positives: float
) -> np.ndarray:
    """Return the |z| (m,) from which each site is a defect."""
    least = np.full(len(sublattice), np.inf)
    for (which, side), share in SHARES.items():
        own = sublattice == which
        least[own & (sign == side)] = site_threshold(share * false_positives, int(own.sum()))
    return least


def dark_sites(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, skew: Skewness | None = None
) -> tuple[Sites, np.ndarray, np.ndarray]:
    """Look at all sites of a lattice and, in a honeycomb, at how the neighbours of its chalcogen
    sites move.

    Returns
    -------
    The sites; rows (k,) of those that may be vacancies; how they breathe (k,).
    """
    places = site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
    if not lattice.is_honeycomb or not len(places.points):
        return places, np.zeros(0, np.int64), np.zeros(0)
    return places, *relaxation_of.breathing(lattice, places)


def vacancy_signals(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, skew: Skewness | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the signal and the breathing (k,) of the sites that tell how vacancies breathe: see
    `relaxation.ratio`."""
    return _told(*dark_sites(snr, lattice, mask, skew))


def _told(places: Sites, numbers: np.ndarray, breath: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the sites that see a strong defect beside them."""
    lonely = ~places.beside_strong[numbers] | (places.signal[numbers] < -STRONG_SITE)
    return places.signal[numbers[lonely]], breath[lonely]


def _signals(
    snr: Array,
    lattice: Lattice,
    mask: np.ndarray | None,
    relaxation: float | None,
    skew: Skewness | None,
) -> Sites:
    """Return the sites, vacancies with what their neighbours tell."""
    if relaxation == 0:
        return site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
    places, numbers, breath = dark_sites(snr, lattice, mask, skew)
    r = relaxation_of.ratio(*_told(places, numbers, breath)) if relaxation is None else relaxation
    return relaxation_of.combined(places, numbers, breath, r) if r > 0 else places


def _tall_extrema(snr: Array, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, x, score (m,) of the extrema beyond `threshold`, raised on the side whose noise has
    a heavy tail.

    Compressed video and images of few counts are skewed: the 99th percentile of either sign tells
    by how much.
    """
    step = max(1, round(np.sqrt(int(snr.shape[0]) * int(snr.shape[1]) / TAIL_PIXELS)))
    some = to_host(snr[::step, ::step])
    some = some[some != 0]
    if len(some) < MANY:
        return peaks.extrema(snr, threshold=threshold, border_px=BORDER_PX)
    ranks = [len(some) // 100, len(some) - 1 - len(some) // 100]
    tails = np.clip(np.abs(np.partition(some, ranks)[ranks]) / 2.326, 1.0, TAIL)
    dark, bright = (threshold * float(tail) for tail in tails)
    y, x, score = peaks.extrema(snr, threshold=min(dark, bright), border_px=BORDER_PX)
    tall = (score > bright) | (score < -dark)
    return y[tall], x[tall], score[tall]


def _close(points: np.ndarray, others: np.ndarray, reach_px: float) -> np.ndarray:
    """Tell which of the (m, 2) `points` have one of the (n, 2) `others` within `reach_px`."""
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    distance = np.hypot(*(points[:, None] - others).transpose(2, 0, 1))
    return np.asarray(distance.min(axis=1) < reach_px)
