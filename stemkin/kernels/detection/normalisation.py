"""Site signals made comparable: freed of their local mean, divided by their scatter, unskewed.

What the crystal model leaves over locally (contamination, strain, the edge of a hole) shows in many
sites at once: each site's value is freed of the mean of the sites around it and divided by their
scatter where that is larger than noise alone explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stemkin.kernels.common.compiling import compiled
from stemkin.kernels.common.medians import middle_of

CLIP = 2.5
"""Sites beyond this many standard deviations do not count: they may be defects."""

MIN_SITES = 100
"""With fewer sites their scatter is not known, and taken as that of the map: 1."""

CLIPPED_VARIANCE = 0.9113
"""Mean of z^2 of those normal z that lie within `CLIP`."""

WITHIN_TWO_SD = 0.8796
"""Standard deviation of those normal z that lie within two standard deviations."""

TOLERATED = 1.25
"""Scatter of a neighbourhood that noise alone may show: two standard errors of the variance of its
about 130 sites."""

SCALE_KNOWN = 0.4
"""Degrees of freedom, a site, with which the sites of a frame tell the scale of their noise."""

SKEWED = 4.0
"""Beyond so many standard deviations a signal is not noise, and its skewness does not matter."""


def normalised(
    points: np.ndarray,
    values: np.ndarray,
    plain: np.ndarray,
    *,
    sd_px: float,
    shape: tuple[int, int],
) -> np.ndarray:
    """Free values of their local mean and divide them by their scatter, the local one where larger.

    The scatter of all is a little below 1 even in a perfect frame, because a fitted crystal takes
    some of the noise with it.

    Parameters
    ----------
    points
        (m, 2) places (y, x) [px].
    values
        (m,) signal-to-noise.
    plain
        (m,) True where a site tells the scatter of all: those beside strong defects see these.
    sd_px
        Standard deviation of the Gaussian neighbourhood [px].
    shape
        (height, width) of the frame [px].

    Returns
    -------
    (m,) values; as they were where fewer than `MIN_SITES` are given.
    """
    if len(values) < MIN_SITES:
        return values
    told = values
    if plain.sum() >= MIN_SITES:
        told = values[plain]
    values = values / max(scatter_of(told), 0.5)
    # defects are left out twice: of the local mean, and of what is then far from it
    ordinary = np.flatnonzero(plain & (np.abs(values) < CLIP))
    grid = _Squares.of(points, sd_px=sd_px, shape=shape)
    values = grid.freed_of_mean(values, ordinary)
    ordinary = ordinary[np.abs(values[ordinary]) < CLIP]
    scatter = grid.mean(values**2, ordinary) / CLIPPED_VARIANCE
    return np.asarray(values / np.sqrt(np.maximum(scatter / TOLERATED, 1.0)))


def scatter_of(values: np.ndarray, *, bright: bool = False) -> float:
    """Measure the standard deviation of normal values few of which are defects.

    It is that of the middle 95 %, corrected for what lies outside: defects of moderate strength
    raise a median deviation more.

    Parameters
    ----------
    values
        (m,) signal-to-noise.
    bright
        Whether to look at the values above the middle only: nearly all weak defects are dark.

    Returns
    -------
    Standard deviation.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=4000); values[:80] -= 3
    >>> abs(scatter_of(values) - 1) < 0.04
    True
    """
    return float(_scatter_of(np.ascontiguousarray(values, dtype=np.float64), bright))


@compiled
def _scatter_of(values: np.ndarray, bright: bool) -> float:
    """Do what `scatter_of` says."""
    middle = middle_of(values.copy())
    spread = middle_of(np.abs(values - middle)) / 0.6745
    for _ in range(4):
        n, total, squares = 0, 0.0, 0.0
        for value in values:
            if abs(value - middle) < 2 * spread:
                # counted from the middle of the round before: small numbers have exact squares
                n += 1
                total += value - middle
                squares += (value - middle) ** 2
        if n == 0:
            break
        moved = total / n
        middle += moved
        spread = np.sqrt(max(squares / n - moved * moved, 0.0)) / WITHIN_TWO_SD
    if not bright:
        return spread
    n, squares = 0, 0.0
    for value in values:
        if value > middle and value < middle + 2 * spread:
            n += 1
            squares += (value - middle) ** 2
    if n == 0:
        return spread
    return float(np.sqrt(squares / n)) / WITHIN_TWO_SD


def seldom_noise(portion: float, n_sites: int) -> float:
    """Return the signal that a portion of sites of noise exceeds, which told its own scale.

    Such signals are Student's t of as many degrees of freedom as the measurement of their scale has
    (Student, Biometrika 6, 1 (1908)).

    Parameters
    ----------
    portion
        Share of the sites above it.
    n_sites
        How many sites told the scale.

    Returns
    -------
    The signal, in standard deviations.

    Examples
    --------
    >>> round(seldom_noise(1 / 2700, 2700), 2), round(seldom_noise(1 / 2700, 200), 2)
    (3.38, 3.51)
    """
    from scipy.special import stdtrit

    return float(-stdtrit(max(SCALE_KNOWN * n_sites, 1.0), portion))


def unskewed(signal: np.ndarray, skew: np.ndarray) -> np.ndarray:
    """Turn signal-to-noise in skewed noise into that of normal noise which is as unlikely.

    The first term of Cornish & Fisher (1938); a signal beyond `SKEWED` standard deviations is not
    noise, and moves no more than one of that size.

    Parameters
    ----------
    signal
        (m,) signal-to-noise.
    skew
        (m,) skewness of its noise.

    Returns
    -------
    (m,) signal-to-noise.

    Examples
    --------
    >>> unskewed(np.array([-3.0, 3.0]), np.array([0.15, 0.15])).round(2).tolist()
    [-3.2, 2.8]
    """
    return np.asarray(signal - skew / 6 * (np.minimum(signal**2, SKEWED**2) - 1))


@dataclass(frozen=True)
class _Squares:
    """Squares half an sd wide, by way of which Gaussian means around points are taken.

    `number` (m,) is the square of each point, counted row by row over a grid of `shape`.
    """

    number: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, points: np.ndarray, *, sd_px: float, shape: tuple[int, int]) -> _Squares:
        edge = sd_px / 2
        grid = (int(shape[0] / edge) + 1, int(shape[1] / edge) + 1)
        where = np.floor((points + 0.5) / edge).astype(np.int64)
        return cls(where[:, 0] * grid[1] + where[:, 1], grid)

    def mean(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the Gaussian mean of ``values[rows]`` around every point."""
        total = self._summed(values[rows], rows)
        weight = self._summed(np.ones(len(rows)), rows)
        return np.asarray(total / np.maximum(weight, 1e-12))

    def freed_of_mean(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return values (m,) less the mean of the others of `rows` around, each of equal variance.

        A value that tells its own mean would lie closer to it than one that does not, and defects
        do not: so nothing tells its own. What the mean of the others adds to the variance is taken
        out (the studentised deleted residual, Cook & Weisberg, Residuals and Influence (1982)).
        """
        ones = np.ones(len(rows))
        total, weight = self._summed(values[rows], rows), self._summed(ones, rows)
        squares = self._summed(ones, rows, power=2)
        # a point lies in its own square, where the weight is 1
        total[rows] -= values[rows]
        weight[rows] -= 1.0
        squares[rows] -= 1.0
        known = weight > 1e-9
        weight = np.where(known, weight, 1.0)
        apart = values - np.where(known, total / weight, 0.0)
        added = np.where(known, squares / weight**2, 0.0)
        return np.asarray(apart / np.sqrt(1.0 + added))

    def _summed(self, values: np.ndarray, rows: np.ndarray, *, power: int = 1) -> np.ndarray:
        """Return the sums of `values` of `rows` around every point, their weights to a power."""
        n = self.shape[0] * self.shape[1]
        laid = np.bincount(self.number[rows], weights=values, minlength=n).reshape(self.shape)
        # two squares are one standard deviation
        gy, gx = (_window(n, power) for n in self.shape)
        return np.asarray((gy @ laid @ gx).ravel()[self.number])


@lru_cache(maxsize=32)
def _window(n: int, power: int) -> np.ndarray:
    """Return the weights (n, n), to a power, of squares around squares along one axis."""
    away = (np.arange(n)[:, None] - np.arange(n)) * 0.5
    return np.asarray(np.exp(-0.5 * power * away**2))
