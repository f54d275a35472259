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


def on_lattices(
    snr: Array,
    crystals: list[tuple[Lattice, np.ndarray | None]],
    *,
    false_positives: float,
    threshold: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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

    Returns
    -------
    y, x
        (m,) positions [px], ordered by y, x.
    score
        (m,) signed signal-to-noise.
    """
    height, width = int(snr.shape[0]), int(snr.shape[1])
    spacing = crystals[0][0].spacing_px
    read = [site_signals(snr, lattice, mask=mask, border_px=BORDER_PX) for lattice, mask in crystals]
    points, signal = (np.concatenate([part[i] for part in read]) for i in (0, 2))
    at_sites, elsewhere = threshold, threshold
    if at_sites is None or elsewhere is None:
        filter_sd_px = 0.15 * spacing
        at_sites = site_threshold(AT_SITES * false_positives, len(points))
        elsewhere = peaks.threshold_for((1 - AT_SITES) * false_positives, (height, width), filter_sd_px)
    strong = np.abs(signal) >= at_sites
    y, x, score = peaks.extrema(snr, threshold=elsewhere, border_px=BORDER_PX)
    reach = REACH * spacing
    site_y, site_x = nearby_extrema(snr, points[strong], np.sign(signal[strong]), reach_px=reach)
    free = ~_close(np.stack([y, x], axis=1), points, reach)
    y, x = np.concatenate([site_y, y[free]]), np.concatenate([site_x, x[free]])
    score = np.concatenate([signal[strong], score[free]])
    kept = peaks.merge(y, x, score, min_distance_px=MERGE * spacing)
    kept = kept[np.lexsort((x[kept], y[kept]))]
    y, x, score = y[kept], x[kept], score[kept]
    inside = (y > -0.5) & (y < height - 0.5) & (x > -0.5) & (x < width - 0.5)
    return y[inside], x[inside], score[inside]


def anywhere(
    snr: Array, filter_sd_px: float, *, false_positives: float, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the defects of a frame without a lattice: extrema of the map; arguments and result as in `on_lattices`."""
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


def _close(points: np.ndarray, others: np.ndarray, reach_px: float) -> np.ndarray:
    """Tell which of the (m, 2) `points` have one of the (n, 2) `others` within `reach_px`."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    distance, _ = cKDTree(others).query(points, distance_upper_bound=reach_px)
    return np.asarray(np.isfinite(distance))
