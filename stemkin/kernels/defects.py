"""From a signal-to-noise map to a list of defects, at a stated rate of false positives.

On the lattice a defect is a site whose own signal is too large for noise; elsewhere it is an extremum of the map. The two
searches make different numbers of attempts, so they have different thresholds, and share the false positives that are
allowed: most of them go to the sites, because most defects sit there.
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array, namespace, to_host
from stemkin.kernels import peaks
from stemkin.kernels.lattice import Lattice
from stemkin.kernels.sites import site_signals

AT_SITES = 0.8
"""Share of the false positives that is given to the sites of the lattice."""

REACH = 0.25
"""How far from its site, over the lattice constant, a defect on the lattice may appear."""

MERGE = 0.35
"""Two extrema closer than this, over the lattice constant, are one defect."""

BORDER_PX = 2
"""Nothing is looked for closer to the edge than this."""


def on_lattice(
    snr: Array, lattice: Lattice, *, false_positives: float, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the defects of a frame with a lattice.

    Parameters
    ----------
    snr
        (y, x) signed matched-filter signal-to-noise, any library; its noise is Gaussian with standard deviation 1.
    lattice
        The crystal of the frame.
    false_positives
        How many defects a perfect frame gives on average.
    threshold
        Smallest |signal-to-noise|, on the lattice and off, in place of `false_positives`.

    Returns
    -------
    y, x
        (m,) positions [px], ordered by y, x.
    score
        (m,) signed signal-to-noise.
    """
    shape = int(snr.shape[0]), int(snr.shape[1])
    points, _, signal = site_signals(snr, lattice, border_px=BORDER_PX)
    at_sites, elsewhere = (
        (threshold, threshold) if threshold else _thresholds(false_positives, len(points), snr, lattice)
    )
    strong = np.abs(signal) >= at_sites
    y, x, score = peaks.extrema(snr, threshold=elsewhere, border_px=BORDER_PX)
    reach = REACH * lattice.spacing_px
    site_y, site_x = nearby_extrema(snr, points[strong], np.sign(signal[strong]), reach_px=reach)
    free = ~_close(np.stack([y, x], axis=1), points, reach)
    y, x = np.concatenate([site_y, y[free]]), np.concatenate([site_x, x[free]])
    score = np.concatenate([signal[strong], score[free]])
    kept = peaks.merge(y, x, score, min_distance_px=MERGE * lattice.spacing_px)
    kept = kept[np.lexsort((x[kept], y[kept]))]
    inside = (y[kept] > -0.5) & (y[kept] < shape[0] - 0.5) & (x[kept] > -0.5) & (x[kept] < shape[1] - 0.5)
    return y[kept][inside], x[kept][inside], score[kept][inside]


def anywhere(
    snr: Array, filter_sd_px: float, *, false_positives: float, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the defects of a frame without a lattice: extrema of the map; arguments and result as in `on_lattice`."""
    if threshold is None:
        threshold = peaks.threshold_for(false_positives, (int(snr.shape[0]), int(snr.shape[1])), filter_sd_px)
    y, x, score = peaks.extrema(snr, threshold=threshold, border_px=BORDER_PX)
    kept = peaks.merge(y, x, score, min_distance_px=4 * filter_sd_px)
    return y[kept], x[kept], score[kept]


def site_threshold(false_positives: float, n_sites: int) -> float:
    """Return the |z| that on average `false_positives` of `n_sites` normal values exceed.

    Examples
    --------
    >>> round(site_threshold(1.0, 5400), 2)
    3.74
    """
    from scipy.stats import norm

    return float(norm.isf(min(0.4, false_positives / (2 * max(n_sites, 1)))))


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


def _thresholds(false_positives: float, n_sites: int, snr: Array, lattice: Lattice) -> tuple[float, float]:
    """Return the thresholds at the sites and between them."""
    shape = int(snr.shape[0]), int(snr.shape[1])
    filter_sd_px = 0.15 * lattice.spacing_px
    elsewhere = peaks.threshold_for((1 - AT_SITES) * false_positives, shape, filter_sd_px)
    return site_threshold(AT_SITES * false_positives, n_sites), elsewhere


def _close(points: np.ndarray, others: np.ndarray, reach_px: float) -> np.ndarray:
    """Tell which of the (m, 2) `points` have one of the (n, 2) `others` within `reach_px`."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    distance, _ = cKDTree(others).query(points, distance_upper_bound=reach_px)
    return np.asarray(np.isfinite(distance))
