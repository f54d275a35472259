"""Where the atom that is there stands: the column at a site, whole or not, is fitted and not its lack.

A column of height h that lost a part and moved by u leaves (h + a) G(r - u) - h G(r) of a frame
without its crystal. The extremum of that is not where the atom is: a dopant that is dimmer than what
it replaces and stands 5 pm off its site makes a dip that moves the other way, by more. So what was
taken away is put back, and the column h + a is looked at: seen through its own filter it is a
Gaussian of variance 2 s^2, whose logarithm has the slope (u - r) / (2 s^2) everywhere. How well it
is known follows from the slopes of clean sites, which hold all that there is of noise: counting,
jitter that was not followed, haze, and what neighbours leave.
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.common.medians import median
from stemkin.kernels.common.robust import robust_sd
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.sites import STRONG_SITE, Sites, beside_others
from stemkin.kernels.images.interpolation import Patches

CLEAN = 2.5
"""Sites beyond so many standard deviations may hold defects, and do not tell the noise."""

LEAST_SITES = 40
"""Fewer sites do not tell the scatter of their slopes."""

LEAST_HEIGHT = 1.0
"""No column is taken for fainter than its own noise."""


def standing_at(
    snr: Array, points: np.ndarray, heights: np.ndarray, filter_sd_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Locate the columns that stand at sites.

    It is done in one step from the site, which is exact for a Gaussian: climbing on to the maximum
    would follow the noise of a faint one.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise of a frame without its crystal, any library.
    points
        (m, 2) where the crystal that was taken away had its columns (y, x) [px].
    heights
        (m,) their signal-to-noise.
    filter_sd_px
        Width s of the matched filter [px].

    Returns
    -------
    offset
        (m, 2) from the points to where the columns are seen [px].
    height
        (m,) signal-to-noise of what is there at the points, at least `LEAST_HEIGHT`.
    """
    patches = Patches.of(snr, points)
    height = np.maximum(patches.values + heights, LEAST_HEIGHT)
    return 2 * filter_sd_px**2 * patches.slopes / height[:, None], height


def standing_there(
    places: np.ndarray,
    offset: np.ndarray,
    standing: np.ndarray,
    heights: np.ndarray,
    filter_sd_px: float,
) -> np.ndarray:
    """Compute the signal-to-noise that columns off their sites would give around these.

    Parameters
    ----------
    places
        (m, 2) from each site to where it is asked [px].
    offset, standing
        (m, 2) and (m,) as `standing_at` gives them.
    heights
        (m,) signal-to-noise of the columns that were taken away.
    filter_sd_px
        Width s of the matched filter [px].

    Returns
    -------
    (m,) signal-to-noise: what stands there, less what was taken away at the site.
    """
    width = 4 * filter_sd_px**2
    there = standing * np.exp(-((places - offset) ** 2).sum(axis=1) / width)
    return np.asarray(there - heights * np.exp(-(places**2).sum(axis=1) / width))


def moment_errors(
    places: Sites, heights: tuple[float, float], standing: np.ndarray, *, filter_sd_px: float
) -> np.ndarray:
    """Tell how well the moments, height times offset, of the columns at sites are known.

    Parameters
    ----------
    places
        The sites of a crystal.
    heights
        Signal-to-noise of a whole METAL and CHALCOGEN column.
    standing
        (m,) signal-to-noise of what stands at each site.
    filter_sd_px
        Width s of the matched filter [px].

    Returns
    -------
    (m,) standard deviation along each axis [px]: sqrt(2) s for noise of counting alone at a whole
    column. What bright columns have beyond that is jitter, and grows with the column that is there.
    """
    moments = 2 * filter_sd_px**2 * places.patches.slopes
    white = np.sqrt(2) * filter_sd_px
    strong = np.abs(places.alone) > STRONG_SITE
    crowded = beside_others(places.cells, places.sublattice, strong)
    quiet = np.abs(places.alone) < CLEAN
    errors = np.full(len(moments), white)
    for which in (METAL, CHALCOGEN):
        own = places.sublattice == which
        plain = _scatter(moments[own & quiet & ~places.beside_strong], least=white)
        more = _scatter(moments[own & quiet & crowded], least=plain)
        excess = np.where(crowded, more, plain)[own] ** 2 - white**2
        share = standing[own] / max(heights[which], LEAST_HEIGHT)
        # about half of the electrons come from the column itself, and a brighter one adds to them
        counted = white**2 * np.maximum((1 + share) / 2, 1.0)
        if which == METAL:
            excess = excess * np.minimum(share, 1.0) ** 2
        errors[own] = np.sqrt(counted + excess)
    return errors


def _scatter(moments: np.ndarray, *, least: float) -> float:
    """Return the standard deviation along each axis of moments (m, 2), few of which are strange.

    At least `least`, which is also the answer where there are too few of them.
    """
    if len(moments) < LEAST_SITES:
        return least
    squares = 0.0
    for along in moments.T:
        squares += float(robust_sd(along)) ** 2 + median(along) ** 2
    return max(float(np.sqrt(squares / 2)), least)
