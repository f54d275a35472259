"""How far particles go in how long: squared displacements per unit, and lines and powers through
their means.

Rows come ordered by *segment* (a stretch of track within which displacements count) and then by
frame. Sums are taken
per *unit*, usually one track: units are independent, so the spread between them is the error of any
pooled number. With D the diffusion coefficient, t the frame time and s the localisation error per
axis, ``<|d|²> = 4 D n t + 4 s²`` over n frames in two dimensions.

>>> y, x = np.array([0.0, 1, 1, 3]), np.array([0.0, 0, 1, 1])
>>> unit = np.zeros(4, dtype=int)
>>> squared_displacements(unit, np.arange(4), y, x, unit, n_units=1, max_lag=2)[1][0].tolist()
[6.0, 7.0]
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from stemkin.kernels.motion.borders import Weights, all_alike


def squared_displacements(
    segment: np.ndarray,
    frame: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    unit: np.ndarray,
    *,
    n_units: int,
    max_lag: int,
    weights: Weights = all_alike,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up the squared displacements over 1 to `max_lag` frames. A missing frame leaves its pairs
    out.

    Parameters
    ----------
    segment, frame, y, x
        (n,) rows ordered by segment and frame; positions [length].
    unit
        (n,) unit of each row, 0 to ``n_units - 1``.
    n_units
        Number of units.
    max_lag
        Largest lag [frames].
    weights
        What each displacement stands for (`stemkin.kernels.motion.borders`).

    Returns
    -------
    n
        (n_units, max_lag) number of displacements, weighted.
    squared
        (n_units, max_lag) their sum of squares [length²].
    independent
        (n_units, max_lag) how many begin at a frame that the lag divides: these do not overlap.
    """
    sums = np.zeros((3, max_lag, n_units))
    for offset in range(1, min(max_lag, len(frame) - 1) + 1):
        gap = frame[offset:] - frame[:-offset]
        pair = np.flatnonzero((segment[offset:] == segment[:-offset]) & (gap <= max_lag))
        if len(pair) == 0:
            break
        squared = (y[pair + offset] - y[pair]) ** 2 + (x[pair + offset] - x[pair]) ** 2
        lag, owner = gap[pair], unit[pair]
        weight = None if weights is all_alike else weights(pair, np.sqrt(squared))
        squared = squared if weight is None else squared * weight
        alone = frame[pair] % lag == 0
        for value in np.unique(lag) if (lag != offset).any() else (offset,):
            at = (
                slice(None) if value == offset == lag[0] and (lag == offset).all() else lag == value
            )
            sums[0, value - 1] += np.bincount(
                owner[at], weights=None if weight is None else weight[at], minlength=n_units
            )
            sums[1, value - 1] += np.bincount(owner[at], weights=squared[at], minlength=n_units)
            sums[2, value - 1] += np.bincount(owner[at], weights=alone[at], minlength=n_units)
    n, squared_sum, independent = sums.transpose(0, 2, 1)
    return n, squared_sum, independent


def optimal_lags(x: float, n: float) -> int:
    """Return how many points of an MSD curve give the best D by unweighted least squares.

    Parameters
    ----------
    x
        Reduced localisation error s²/(D t).
    n
        Length of the tracks [frames].

    Source: Michalet & Berglund, Phys. Rev. E 85, 061916 (2012), eqs. 13 and 14.

    >>> optimal_lags(0.1, 100), optimal_lags(10.0, 100)
    (2, 7)
    """
    longest = 0.8 + 0.564 * n
    if not np.isfinite(x) or x > 1e6:
        return max(2, int(longest))
    x = max(x, 0.0)
    wanted = 2 + 1.35 * x**0.6
    return max(2, round(float(wanted * longest / (wanted**3 + longest**3) ** (1 / 3))))


def line_through(msd: np.ndarray, n_lags: int) -> tuple[float, float]:
    """Return slope and intercept of the straight line through the first `n_lags` points (lags 1, 2,
    ...)."""
    slope, intercept = np.polyfit(np.arange(1, n_lags + 1), msd[:n_lags], 1)
    return float(slope), float(intercept)


def power_law(msd: np.ndarray, weight: np.ndarray) -> tuple[float, float, float]:
    """Fit ``msd = A n^alpha + C`` with A, C >= 0 to an MSD curve by weighted least squares.

    Parameters
    ----------
    msd, weight
        (k,) points at lags n = 1 .. k and their weights; at least 4 of them.

    Returns
    -------
    alpha, A, C; alpha is 1 for diffusion, below where the particle is held back, above where it is
    driven.

    >>> n = np.arange(1, 9)
    >>> [round(v, 3) for v in power_law(2 * n**0.7 + 0.5, np.ones(8))]
    [0.7, 2.0, 0.5]
    """
    if len(msd) < 4 or not (np.isfinite(msd).all() and (msd > 0).all()):
        return np.nan, np.nan, np.nan
    n, root = np.arange(1, len(msd) + 1), np.sqrt(weight / weight.max())

    def fit(alpha: float) -> tuple[np.ndarray, float]:
        design = np.stack([n**alpha, np.ones(len(n))], axis=1) * root[:, None]
        found, rest = optimize.nnls(design, msd * root)
        return found, rest

    grid = np.linspace(0.02, 3, 150)
    best = int(np.argmin([fit(a)[1] for a in grid]))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    alpha = float(
        optimize.minimize_scalar(
            lambda a: fit(a)[1], bounds=ends, method="bounded", options={"xatol": 1e-8}
        ).x
    )
    (A, C), _ = fit(alpha)
    return alpha, float(A), float(C)
