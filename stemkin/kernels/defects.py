"""From a signal-to-noise map to a list of defects, at a stated rate of false positives.

On the lattice a defect is a site whose own signal is too large for noise; elsewhere it is an extremum of the map. The two
searches make different numbers of attempts, so they have different thresholds, and share the false positives that are
allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels import peaks
from stemkin.kernels import relaxation as relaxation_of
from stemkin.kernels.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.sites import BONDED, Grid, Patches, Sites, shifted, site_signals
from stemkin.kernels.sites import STRONG as STRONG_SITE

SHARES = {(METAL, -1): 0.04, (METAL, 1): 0.02, (CHALCOGEN, -1): 0.88, (CHALCOGEN, 1): 0.02}
"""How the false positives are shared among dark and bright sites; the rest is for what lies between them.

Nearly all go where the signal is weakest: to the missing chalcogen atom. A metal atom more or less is never close to the threshold.
"""

REACH = 0.25
"""How far from its site, over the lattice constant, a defect on the lattice may appear."""

MERGE = 0.35
"""Two extrema closer than this, over the lattice constant, are one defect."""

STRONG = 8.0
"""The extremum of such a signal-to-noise is not displaced by noise beside it."""

VACANT = -3.0
"""Signal of a site beside a dark metal column that is taken for a vacancy."""

FAR = 4.0
"""From so many standard deviations on a defect does not belong to its site."""

TAIL = 1.7
"""No threshold is raised by more: beyond, a tail is made of features and not of noise."""

TAIL_PIXELS = 20_000
"""About so many pixels are looked at to see the tails of the noise."""

MANY = 1000
"""Pixels from which the tails of the noise are known."""

BORDER_PX = 2
"""Nothing is looked for closer to the edge than this."""


@dataclass(frozen=True, eq=False)
class Found:
    """The defects of a frame.

    Attributes
    ----------
    y, x
        (m,) where they are seen [px], ordered by y, x.
    score
        (m,) signed signal-to-noise.
    alone
        (m,) signal-to-noise of what is seen at the place itself, without what its neighbours tell.
    site
        (m, 2) site (y, x) [px] of each defect on the lattice, NaN elsewhere.
    lean
        (m, 2) unit vector (y, x) from a dark metal column towards the vacancy beside it, zeros where there is none.
    """

    y: np.ndarray
    x: np.ndarray
    score: np.ndarray
    alone: np.ndarray
    site: np.ndarray
    lean: np.ndarray


def on_lattices(
    snr: Array,
    crystals: list[tuple[Lattice, np.ndarray | None]],
    *,
    false_positives: float,
    threshold: float | None = None,
    relaxation: float | None = 0.0,
    skew: Array | None = None,
    filter_sd_px: float | None = None,
) -> Found:
    """List the defects of a frame with one lattice or several.

    Parameters
    ----------
    snr
        (y, x) signed matched-filter signal-to-noise, any library; its noise is Gaussian with standard deviation 1.
    crystals
        Each lattice, with the mask (y, x) of the pixels that belong to it; None for all.
    false_positives
        How many defects a perfect frame gives on average.
    threshold
        Smallest |signal-to-noise|, on the lattice and off, in place of `false_positives`.
    relaxation
        How much the neighbours of a vacancy tell over what its own site does, see `kernels.relaxation`; None to measure
        it on this frame.
    skew
        (y, x) skewness of the noise of `snr`; None for none.
    filter_sd_px
        Width of the matched filter [px]; 0.15 lattice constants unless given.
    """
    height, width = int(snr.shape[0]), int(snr.shape[1])
    spacing = crystals[0][0].spacing_px
    filter_sd_px = filter_sd_px or 0.15 * spacing
    read = [_signals(snr, lattice, mask, relaxation, skew) for lattice, mask in crystals]
    points, sublattice, signal, alone = (
        np.concatenate([getattr(places, n) for places in read]) for n in ("points", "sublattice", "signal", "alone")
    )
    leans = np.concatenate([_leans(places, lattice) for places, (lattice, _) in zip(read, crystals, strict=True)])
    if threshold is None:
        least = _site_thresholds(sublattice, np.sign(signal), false_positives)
        share = 1 - sum(SHARES.values())
        elsewhere = peaks.threshold_for(share * false_positives, (height, width), filter_sd_px)
    else:
        least, elsewhere = np.full(len(points), threshold), threshold
    strong = np.abs(signal) >= least
    y, x, score = _tall_extrema(snr, elsewhere)
    reach = REACH * spacing
    site_y, site_x = _places(snr, points[strong], alone[strong], filter_sd_px=filter_sd_px, reach_px=reach)
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


def towards_sites(
    found: Found, y: np.ndarray, x: np.ndarray, *, filter_sd_px: float, spread_px: float, site_error_px: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Combine where a defect is seen with where its site is.

    A Gaussian feature of width s and signal-to-noise z is located to sqrt(2) s / z, often worse than the lattice is known; a
    defect on the lattice lies close to its site. Both are averaged with their inverse variances. How close is asked of the
    frame: the squares of all distances, less what noise explains, each with the weight that it deserves and `spread_px`
    as one more. A vacancy pulls the image of the metal column beside it; that pull is the same everywhere, and measured
    in the same way. A defect that lies `FAR` standard deviations or more from its site stays where it is seen.

    Parameters
    ----------
    found
        As `on_lattices` gives it.
    y, x
        (m,) where they are seen [px], freed of jitter.
    filter_sd_px
        Width of the matched filter [px].
    spread_px
        Standard deviation of defects about their sites, along each axis [px], before the frame is asked.
    site_error_px
        How well the sites themselves are known, along each axis [px].

    Returns
    -------
    y, x
        (m,) [px].
    error
        (m,) standard deviation of either [px].
    """
    variance = seen_error(found.alone, filter_sd_px) ** 2
    seen = np.stack([y, x], axis=1)
    away = seen - found.site
    on_site = np.isfinite(away[:, 0])
    leaning = on_site & (found.lean != 0).any(axis=1)
    pull = 0.0
    if leaning.any() and np.isfinite(spread_px):
        weight = 1 / variance[leaning]
        along = (away[leaning] * found.lean[leaning]).sum(axis=1)
        pull = float((weight @ along) / (weight.sum() + 1 / spread_px**2))
    away = away - pull * found.lean
    spread = _spread(away[on_site], variance[on_site], prior_px=spread_px, least_px=site_error_px)
    share = 1 / (1 + variance / spread)
    far = ~((away**2).max(axis=1) < FAR**2 * (spread + variance))
    moved = np.where(far[:, None], seen, found.site + share[:, None] * away)
    return moved[:, 0], moved[:, 1], np.sqrt(np.where(far, variance, share * variance))


def _spread(away: np.ndarray, variance: np.ndarray, *, prior_px: float, least_px: float) -> float:
    """Return the variance [px2] of defects about their sites: how far (m, 2) `away` is beyond its noise (m,) `variance`."""
    spread, least = prior_px**2, min(least_px, prior_px) ** 2
    if not np.isfinite(prior_px):
        return spread
    prior = 1 / (2 * spread**2)
    for _ in range(4):
        near = (away**2).max(axis=1, initial=0.0) < FAR**2 * (spread + variance)
        weight = near / (spread + variance) ** 2  # of two squares, each with the variance 2 (spread + variance)^2
        total = float(weight.sum()) + prior
        seen = (float(weight @ ((away**2).mean(axis=1) - variance)) + prior * prior_px**2) / total
        spread = max(seen - 1 / np.sqrt(total), least)  # what is not significant is noise
    return max(spread, 1e-12)


def seen_error(score: np.ndarray, filter_sd_px: float) -> np.ndarray:
    """Return the standard deviation (m,) [px], along each axis, of the place of Gaussian features of signal-to-noise `score`.

    It is the Cramer-Rao bound sqrt(2) s / z of a feature of standard deviation s in white noise.
    """
    return np.asarray(np.sqrt(2) * filter_sd_px / np.maximum(np.abs(score), 1.0))


def anywhere(
    snr: Array, filter_sd_px: float, *, false_positives: float, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the defects of a frame without a lattice: extrema of the map; arguments and result as in `on_lattices`."""
    if threshold is None:
        threshold = peaks.threshold_for(false_positives, (int(snr.shape[0]), int(snr.shape[1])), filter_sd_px)
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


def _site_thresholds(sublattice: np.ndarray, sign: np.ndarray, false_positives: float) -> np.ndarray:
    """Return the |z| (m,) from which each site is a defect."""
    least = np.full(len(sublattice), np.inf)
    for (which, side), share in SHARES.items():
        own = sublattice == which
        least[own & (sign == side)] = site_threshold(share * false_positives, int(own.sum()))
    return least


def nearby_extrema(
    snr: Array, points: np.ndarray, signs: np.ndarray, *, reach_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return y, x (m,) of the extremum of the given sign within `reach_px` of each of the (m, 2) `points`, below one pixel."""
    xp = namespace(snr)
    height, width = (int(n) for n in snr.shape)
    if not len(points):
        return np.zeros(0), np.zeros(0)
    reach = max(1, int(np.floor(reach_px)))
    steps = np.arange(-reach - 1, reach + 2)
    centre = np.round(points).astype(np.int64)
    rows = np.clip(centre[:, 0, None] + steps, 0, height - 1)
    columns = np.clip(centre[:, 1, None] + steps, 0, width - 1)
    index = (rows[:, :, None] * width + columns[:, None, :]).reshape(-1)
    window = to_host(xp.take(xp.reshape(snr, (-1,)), xp.asarray(index, dtype=xp.int64)))
    window = np.asarray(window, dtype=float).reshape(len(points), len(steps), len(steps)) * signs[:, None, None]
    dy, dx = np.meshgrid(steps, steps, indexing="ij")
    near = np.hypot(dy, dx) <= reach
    best = np.where(near, window, -np.inf).reshape(len(points), -1).argmax(axis=1)
    i, j = np.divmod(best, len(steps))
    which = np.arange(len(points))
    y = rows[which, i] + peaks.vertex(np.stack([window[which, i + s, j] for s in (-1, 0, 1)], axis=1))
    x = columns[which, j] + peaks.vertex(np.stack([window[which, i, j + s] for s in (-1, 0, 1)], axis=1))
    return y, x


def dark_sites(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, skew: Array | None = None
) -> tuple[Sites, np.ndarray, np.ndarray]:
    """Look at all sites of a lattice and, in a honeycomb, at how the neighbours of its chalcogen sites move.

    Returns
    -------
    The sites; rows (k,) of those that may be vacancies; how they breathe (k,).
    """
    places = site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
    if not lattice.is_honeycomb or not len(places.points):
        return places, np.zeros(0, np.int64), np.zeros(0)
    return places, *relaxation_of.breathing(lattice, places)


def vacancy_signals(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, skew: Array | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the signal and the breathing (k,) of the sites that tell how vacancies breathe: see `relaxation.ratio`."""
    return _told(*dark_sites(snr, lattice, mask, skew))


def _told(places: Sites, numbers: np.ndarray, breath: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the sites that see a strong defect beside them."""
    lonely = ~places.beside_strong[numbers] | (places.signal[numbers] < -STRONG_SITE)
    return places.signal[numbers[lonely]], breath[lonely]


def _signals(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, relaxation: float | None, skew: Array | None
) -> Sites:
    """Return the sites, vacancies with what their neighbours tell."""
    if relaxation == 0:
        return site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
    places, numbers, breath = dark_sites(snr, lattice, mask, skew)
    r = relaxation_of.ratio(*_told(places, numbers, breath)) if relaxation is None else relaxation
    return relaxation_of.combined(places, numbers, breath, r) if r > 0 else places


def _leans(places: Sites, lattice: Lattice) -> np.ndarray:
    """Return for all sites the unit vector (m, 2) from a dark metal column to the clearest vacancy beside it, or zeros."""
    lean = np.zeros_like(places.points)
    if not len(lean):
        return lean
    grid, chalcogen = Grid.of(places.cells), places.sublattice == CHALCOGEN
    vacant = chalcogen & (places.signal < VACANT)
    signal = grid.laid(places.cells[vacant], places.signal[vacant], 0.0)
    dark = np.flatnonzero((places.sublattice == METAL) & (places.signal < -STRONG_SITE))
    at = grid.at(places.cells[dark])
    beside = np.stack([shifted(signal, -du, -dv)[at] for du, dv in BONDED])
    deepest, leaning = beside.argmin(axis=0), (beside < 0).any(axis=0)
    steps = lattice.bond - np.array(BONDED) @ np.stack([lattice.a1, lattice.a2])
    lean[dark[leaning]] = (steps / np.linalg.norm(steps, axis=1, keepdims=True))[deepest[leaning]]
    return lean


def _places(
    snr: Array, points: np.ndarray, signal: np.ndarray, *, filter_sd_px: float, reach_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where defects at the sites `points` (m, 2) are seen: y, x (m,) [px].

    Strong ones at the extremum close by. A weak extremum may belong to the noise beside the site; there the slope at the site
    tells the offset, 2 s^2 grad z / z for a Gaussian seen through its own filter.
    """
    y, x = nearby_extrema(snr, points, np.sign(signal), reach_px=reach_px)
    weak = np.flatnonzero(np.abs(signal) < STRONG)
    if len(weak):
        patches = Patches.of(snr, points[weak])
        offset = 2 * filter_sd_px**2 * patches.slopes / patches.values[:, None]
        small = (np.abs(offset) < reach_px / 2).all(axis=1)
        weak, moved = weak[small], points[weak[small]] + offset[small]
        y[weak], x[weak] = moved[:, 0], moved[:, 1]
    return y, x


def _tall_extrema(snr: Array, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, x, score (m,) of the extrema beyond `threshold`, raised on the side whose noise has a heavy tail.

    Compressed video and images of few counts are skewed: the 99th percentile of either sign tells by how much.
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
