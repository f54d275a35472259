"""From a signal-to-noise map to a list of defects, at a stated rate of false positives.

On the lattice a defect is a site whose own signal is too large for noise; elsewhere it is an extremum of the map. The two
searches make different numbers of attempts, so they have different thresholds, and share the false positives that are
allowed.
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels import peaks
from stemkin.kernels import relaxation as relaxation_of
from stemkin.kernels.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.sites import site_signals

SHARES = {(METAL, -1): 0.1, (METAL, 1): 0.05, (CHALCOGEN, -1): 0.7, (CHALCOGEN, 1): 0.05}
"""How the false positives are shared among dark and bright sites; the rest is for what lies between them.

Most go where the signal is weakest: to the missing chalcogen atom. A metal atom more or less is never close to the threshold.
"""

REACH = 0.25
"""How far from its site, over the lattice constant, a defect on the lattice may appear."""

MERGE = 0.35
"""Two extrema closer than this, over the lattice constant, are one defect."""

STRONG, ENOUGH = 8.0, 5
"""So many defects of such a signal-to-noise tell how far defects lie from their sites in a frame."""

TAIL = 1.7
"""No threshold is raised by more: beyond, a tail is made of features and not of noise."""

MANY = 1000
"""Pixels from which the tails of the noise are known."""

BORDER_PX = 2
"""Nothing is looked for closer to the edge than this."""


def on_lattices(
    snr: Array,
    crystals: list[tuple[Lattice, np.ndarray | None]],
    *,
    false_positives: float,
    threshold: float | None = None,
    relaxation: float | None = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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

    Returns
    -------
    y, x
        (m,) positions [px], ordered by y, x.
    score
        (m,) signed signal-to-noise.
    site
        (m, 2) site (y, x) [px] of each defect on the lattice, NaN elsewhere.
    """
    height, width = int(snr.shape[0]), int(snr.shape[1])
    spacing = crystals[0][0].spacing_px
    read = [_signals(snr, lattice, mask, relaxation) for lattice, mask in crystals]
    points, sublattice, signal = (np.concatenate([part[i] for part in read]) for i in (0, 1, 2))
    if threshold is None:
        least = _site_thresholds(sublattice, np.sign(signal), false_positives)
        share = 1 - sum(SHARES.values())
        elsewhere = peaks.threshold_for(share * false_positives, (height, width), 0.15 * spacing)
    else:
        least, elsewhere = np.full(len(points), threshold), threshold
    strong = np.abs(signal) >= least
    y, x, score = _tall_extrema(snr, elsewhere)
    reach = REACH * spacing
    site_y, site_x = nearby_extrema(snr, points[strong], np.sign(signal[strong]), reach_px=reach)
    free = ~_close(np.stack([y, x], axis=1), points[strong], reach)
    y, x = np.concatenate([site_y, y[free]]), np.concatenate([site_x, x[free]])
    score = np.concatenate([signal[strong], score[free]])
    kept = peaks.merge(y, x, score, min_distance_px=MERGE * spacing)
    site = np.concatenate([points[strong], np.full((int(free.sum()), 2), np.nan)])
    inside = (y > -0.5) & (y < height - 0.5) & (x > -0.5) & (x < width - 0.5)
    kept = kept[inside[kept]]
    return y[kept], x[kept], score[kept], site[kept]


def towards_sites(
    y: np.ndarray, x: np.ndarray, score: np.ndarray, site: np.ndarray, *, filter_sd_px: float, spread_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Combine where a defect is seen with where its site is.

    A Gaussian feature of width s and signal-to-noise z is located to sqrt(2) s / z, often worse than the lattice is known; a
    defect on the lattice lies within `spread_px` or so of its site. Both are averaged with their inverse variances. The
    spread is widened to what the strong defects of the frame show, and a defect that lies three standard deviations or more
    from its site stays where it is seen.

    Parameters
    ----------
    y, x, score, site
        As `on_lattices` gives them, freed of jitter.
    filter_sd_px
        Width of the matched filter [px].
    spread_px
        Standard deviation of defects about their sites, along each axis [px].

    Returns
    -------
    y, x
        (m,) [px].
    error
        (m,) standard deviation of either [px].
    """
    away = np.stack([y, x], axis=1) - site
    variance = seen_error(score, filter_sd_px) ** 2
    strong = np.isfinite(away[:, 0]) & (np.abs(score) > STRONG)
    spread = spread_px**2
    if strong.sum() >= ENOUGH:
        seen = np.median(away[strong] ** 2) / 0.455 - np.median(variance[strong])
        spread = max(spread, float(seen))
    share = 1 / (1 + variance / spread)
    far = ~((away**2).max(axis=1) < 9 * (spread + variance))
    moved = np.where(far[:, None], np.stack([y, x], axis=1), site + share[:, None] * away)
    error = np.sqrt(np.where(far, variance, share * variance))
    return moved[:, 0], moved[:, 1], error


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
    snr: Array, lattice: Lattice, mask: np.ndarray | None
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray, int]:
    """Look for vacancies.

    Returns
    -------
    What `site_signals` returns; the numbers (k,) of the sites that may be vacancies; their breathing (k,); and how many
    sites were asked.
    """
    points, sublattice, signal = site_signals(snr, lattice, mask=mask, border_px=BORDER_PX)
    room = 1.2 * lattice.spacing_px + BORDER_PX
    high = np.array([int(n) for n in snr.shape]) - 1 - room
    asked = (sublattice == CHALCOGEN) & ((points > room) & (points < high)).all(axis=1) & lattice.is_honeycomb
    looked_at = np.flatnonzero(asked & (np.abs(signal) > relaxation_of.LIKELY))
    breath = relaxation_of.breathing(snr, lattice, points[looked_at], signal[looked_at])
    dark = signal[looked_at] < 0
    return (points, sublattice, signal), looked_at[dark], breath[dark], int(asked.sum())


def _signals(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, relaxation: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `site_signals` returns, vacancies with what their neighbours tell."""
    if relaxation == 0:
        return site_signals(snr, lattice, mask=mask, border_px=BORDER_PX)
    (points, sublattice, signal), dark, breath, n_asked = dark_sites(snr, lattice, mask)
    r = relaxation_of.ratio(signal[dark], breath, n_sites=n_asked) if relaxation is None else relaxation
    signal[dark] = relaxation_of.combined(signal[dark], breath, r)
    return points, sublattice, signal


def _tall_extrema(snr: Array, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, x, score (m,) of the extrema beyond `threshold`, raised on the side whose noise has a heavy tail.

    Compressed video and images of few counts are skewed: the 99th percentile of either sign tells by how much.
    """
    some = to_host(snr[::2, ::2])
    some = some[some != 0]
    if len(some) < MANY:
        return peaks.extrema(snr, threshold=threshold, border_px=BORDER_PX)
    dark, bright = np.clip(np.abs(np.quantile(some, [0.01, 0.99])) / 2.326, 1.0, TAIL) * threshold
    y, x, score = peaks.extrema(snr, threshold=min(dark, bright), border_px=BORDER_PX)
    tall = (score > bright) | (score < -dark)
    return y[tall], x[tall], score[tall]


def _close(points: np.ndarray, others: np.ndarray, reach_px: float) -> np.ndarray:
    """Tell which of the (m, 2) `points` have one of the (n, 2) `others` within `reach_px`."""
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    distance = np.hypot(*(points[:, None] - others).transpose(2, 0, 1))
    return np.asarray(distance.min(axis=1) < reach_px)
