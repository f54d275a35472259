"""Heavy tails of noise, measured on the frame itself: how bright noise is that is as rare as asked.

The noise of a map of signal-to-noise is normal where many electrons were counted. In a compressed
video, or where a few counts make a bright spot each, bright noise is far more frequent than normal
noise would be, and a threshold for normal noise lets all of it pass. The heights of bright extrema
then fall off as an exponential (the domain of attraction of all such noise: Pickands, Ann. Statist.
3, 119 (1975)); its slope is read between their 80th and 95th percentile, which defects hardly reach,
and the level for a number of false ones follows.

>>> heights = np.random.default_rng(0).exponential(2.0, 100_000)
>>> slope, level = slope_and_level(heights, allowed=1.0)
>>> round(slope, 1), round(level)
(2.0, 23)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stemkin.devices import Array, to_host
from stemkin.kernels.common.medians import quantile
from stemkin.kernels.crystal import peaks

LOW, HIGH = 0.80, 0.95
"""Quantiles between which the slope of a tail is read; what lies beyond may be defects."""

PIXEL_SLOPE = 0.75
"""Over the logarithm of their frequency, by so much pixels grow from their 90th to their 98th
percentile where tails may be heavy: by 0.48 in normal noise, by more beside large defects."""

EXTREMA_SLOPE = 0.8
"""The same of the heights of bright extrema, from `LOW` to `HIGH`, where tails are heavy: half as
much again as in normal noise (0.52)."""

LEAST_EXTREMA = 200
"""Fewer extrema do not tell the slope of their tail."""

LEAST_SITES = 100
"""Fewer sites do not tell the slope of theirs."""

SITE_SLOPE = 0.58
"""Slope of the tail of normal sites, from `LOW` to `HIGH`: no slope of sites is taken for less."""

SAMPLED_PIXELS = 20_000
"""About so many pixels are looked at first."""

FAINTEST = 0.5
"""Extrema below this signal-to-noise do not count."""


def slope_and_level(
    heights: np.ndarray, *, allowed: float, least_slope: float = 0.0
) -> tuple[float, float]:
    """Measure the tail of some heights, and where so many of them would be above it.

    Parameters
    ----------
    heights
        (m,) values, few of which are defects.
    allowed
        How many of m values of noise may exceed the level.
    least_slope
        A slope is not taken for less.

    Returns
    -------
    The slope (growth of the height for a frequency lower by a factor e), and the level.
    """
    low, high = np.quantile(heights, [LOW, HIGH])
    slope = max(float(high - low) / np.log((1 - LOW) / (1 - HIGH)), least_slope)
    rarer = max((1 - HIGH) * len(heights) / allowed, 1.0)
    return float(slope), float(high + slope * np.log(rarer))


def level_of_heavy_tail(snr: Array, allowed: float, *, border_px: float) -> float | None:
    """Find the height that so many bright extrema of noise exceed, where its tail is heavy.

    Parameters
    ----------
    snr
        (y, x) signal-to-noise, any library.
    allowed
        Extrema of noise that may exceed the level.
    border_px
        Extrema closer than this to the edge are left out.

    Returns
    -------
    The level; None where the tail is that of normal noise, or not known.
    """
    step = max(1, round(np.sqrt(int(snr.shape[0]) * int(snr.shape[1]) / SAMPLED_PIXELS)))
    some = to_host(snr[::step, ::step])
    some = some[some != 0]
    if len(some) < LEAST_EXTREMA:
        return None
    low, high = quantile(some, 0.90), quantile(some, 0.98)
    if (high - low) / np.log(5.0) < PIXEL_SLOPE:
        return None
    _, _, score = peaks.extrema(snr, threshold=FAINTEST, border_px=round(border_px))
    heights = score[score > 0]
    if len(heights) < LEAST_EXTREMA:
        return None
    slope, level = slope_and_level(heights, allowed=allowed)
    if slope < EXTREMA_SLOPE:
        return None
    return level


def above_heavy_tails(
    least: np.ndarray, sublattice: np.ndarray, signal: np.ndarray, allowed: Mapping[int, float]
) -> np.ndarray:
    """Raise the thresholds of bright sites to where their own heavy tail is as rare as asked.

    Parameters
    ----------
    least
        (m,) |z| from which each site is a defect.
    sublattice, signal
        (m,) kind and signal of each site.
    allowed
        Bright sites without a defect that may exceed the threshold, by sublattice.

    Returns
    -------
    (m,) thresholds.
    """
    raised = least.copy()
    for which, n_allowed in allowed.items():
        own = np.flatnonzero((sublattice == which) & np.isfinite(signal))
        if len(own) < LEAST_SITES:
            continue
        _, level = slope_and_level(signal[own], allowed=n_allowed, least_slope=SITE_SLOPE)
        bright = own[signal[own] > 0]
        raised[bright] = np.maximum(raised[bright], level)
    return raised
