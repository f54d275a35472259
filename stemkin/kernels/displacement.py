"""What displacements along tracks say about diffusion: sums per unit, then numbers.

Rows come ordered by *segment* (a stretch of track within which displacements count) and then by frame. Sums are taken
per *unit*, usually one track: units are independent, so the spread between them is the error of any pooled number.
With D the diffusion coefficient, t the frame time and s the localisation error per axis, in two dimensions

    <|d|²> at n frames = 4 D n t + 4 s²,        <d_i · d_(i+1)> of one frame each = -2 s².

>>> y, x = np.array([0.0, 1, 1, 3]), np.array([0.0, 0, 1, 1])
>>> unit = np.zeros(4, dtype=int)
>>> squared_displacements(unit, np.arange(4), y, x, unit, n_units=1, max_lag=2)[1][0].tolist()
[6.0, 7.0]
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from stemkin.kernels.borders import Weights, all_alike


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
    """Add up the squared displacements over 1 to `max_lag` frames. A missing frame leaves its pairs out.

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
        What each displacement stands for (`stemkin.kernels.borders`).

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
            at = slice(None) if value == offset == lag[0] and (lag == offset).all() else lag == value
            sums[0, value - 1] += np.bincount(
                owner[at], weights=None if weight is None else weight[at], minlength=n_units
            )
            sums[1, value - 1] += np.bincount(owner[at], weights=squared[at], minlength=n_units)
            sums[2, value - 1] += np.bincount(owner[at], weights=alone[at], minlength=n_units)
    n, squared_sum, independent = sums.transpose(0, 2, 1)
    return n, squared_sum, independent


def covariance_sums(
    segment: np.ndarray,
    frame: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    unit: np.ndarray,
    *,
    n_units: int,
    weights: Weights = all_alike,
) -> np.ndarray:
    """Add up what the covariance estimator needs, from one-frame displacements d_i.

    Returns
    -------
    (n_units, 7): number of d_i, sum of |d_i|², number of neighbouring pairs (d_i, d_i+1), sum of d_i · d_i+1, number of
    neighbouring pairs of such pairs, sum of |d_i|⁴; all of them weighted by what d_i (of a pair: the later one) stands for;
    and the number of d_i as they are.
    """
    sums = np.zeros((7, n_units))
    if len(frame) < 2:
        return sums.T
    step = (segment[1:] == segment[:-1]) & (frame[1:] == frame[:-1] + 1)
    dy, dx = np.where(step, np.diff(y), 0.0), np.where(step, np.diff(x), 0.0)
    owner = unit[:-1]
    squared = dy**2 + dx**2
    stands_for = weights(np.arange(len(owner)), np.sqrt(squared)) * step
    twice = stands_for[1:] * step[:-1]
    product = dy[1:] * dy[:-1] + dx[1:] * dx[:-1]
    values = (
        (owner, stands_for), (owner, stands_for * squared), (owner[:-1], twice), (owner[:-1], twice * product),
        (owner[:-2], twice[1:] * step[:-2]), (owner, stands_for * squared**2), (owner, step),
    )  # fmt: skip
    for i, (of_unit, value) in enumerate(values):
        sums[i] = np.bincount(of_unit, weights=value, minlength=n_units)
    return sums.T


def covariance_estimate(sums: np.ndarray) -> tuple[float, float, float]:
    """Return D t, its standard error and the squared localisation error s².

    ``D = <dx²> / 2t + <dx_i dx_i+1> / t`` and ``s² = -<dx_i dx_i+1>`` per axis (Vestergaard, Blainey & Flyvbjerg, Phys.
    Rev. E 89, 022726 (2014), eq. 14, for an image taken in an instant). The error is the exact variance of the two means
    for Gaussian displacements, tracks of any lengths pooled, and what |d|⁴ adds to it where they are not.

    Parameters
    ----------
    sums
        (6,) of `covariance_sums`, pooled.

    >>> covariance_estimate(np.array([4.0, 8.0, 3.0, 0.0, 2.0, 32.0]))[0]
    0.5
    """
    n, squared, n_pairs, product, n_double, fourth = (float(v) for v in sums)
    if n == 0 or n_pairs == 0:
        return np.nan, np.nan, np.nan
    c0, c1 = squared / n / 2, product / n_pairs / 2  # per axis
    excess = max(fourth / n - 8 * c0**2, 0.0) / 16 / n
    variance = covariance_variance(n, n_pairs, n_double, c0, c1) + excess
    return c0 / 2 + c1, float(np.sqrt(variance)), -c1


def excess_kurtosis(sums: np.ndarray) -> tuple[float, float]:
    """Return how far one-frame displacements are from Gaussian, and the standard error of that if they are.

    ``<|d|⁴> / (2 <|d|²>²) - 1`` is 0 for Gaussian displacements in two dimensions and positive where a few are much longer
    than most. Its error is that of Laguerre's second polynomial of |d|², neighbours correlated by c1/c0.

    >>> excess_kurtosis(np.array([100.0, 100.0, 99.0, 0.0, 98.0, 200.0]))
    (0.0, 0.1)
    """
    n, squared, n_pairs, product, _, fourth = (float(v) for v in sums)
    if n == 0 or squared == 0:
        return np.nan, np.nan
    correlation = 0.0 if n_pairs == 0 else (product / n_pairs) / (squared / n)
    return fourth * n / (2 * squared**2) - 1, float(np.sqrt((1 + 2 * correlation**4) / n))


def covariance_variance(n: float, n_pairs: float, n_double: float, c0: float, c1: float) -> float:
    """Return the variance of ``c0 / 2 + c1`` when both are means over Gaussian displacements on two axes.

    From Isserlis' theorem for a covariance c0 on the diagonal, c1 next to it and nothing else.
    """
    of_c0 = (2 * n * c0**2 + 4 * n_pairs * c1**2) / (2 * n) ** 2 * 2
    of_c1 = (n_pairs * (c0**2 + c1**2) + 2 * n_double * c1**2) / (2 * n_pairs) ** 2 * 2
    both = 4 * n_pairs * c0 * c1 / (4 * n * n_pairs) * 2
    return float(of_c0 / 4 + of_c1 + both)


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
    """Return slope and intercept of the straight line through the first `n_lags` points (lags 1, 2, ...)."""
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
    alpha, A, C; alpha is 1 for diffusion, below where the particle is held back, above where it is driven.

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
        optimize.minimize_scalar(lambda a: fit(a)[1], bounds=ends, method="bounded", options={"xatol": 1e-8}).x
    )
    (A, C), _ = fit(alpha)
    return alpha, float(A), float(C)
