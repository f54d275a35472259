"""Mean squared displacement: its sums per unit, and the lines and powers through its points.

With D the diffusion coefficient, t the frame time and s the localisation error per axis, ``<|d|²> =
4 D n t + 4 s²`` over n frames in two dimensions. Segments and units are those of
`stemkin.kernels.motion.walks`.

>>> y, x = np.array([0.0, 1, 1, 3]), np.array([0.0, 0, 1, 1])
>>> walk = Walks.of(np.zeros(4, dtype=int), np.arange(4), y, x)
>>> squared_displacements(walk, max_lag=2)[1][0].tolist()
[6.0, 7.0]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import optimize

from stemkin.kernels.motion.borders import all_alike
from stemkin.kernels.motion.walks import Walks


def squared_displacements(
    walks: Walks, *, max_lag: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up the squared displacements over 1 to `max_lag` frames; missing frames leave pairs out.

    Parameters
    ----------
    walks
        Positions along segments [length].
    max_lag
        Largest lag [frames].

    Returns
    -------
    n
        (n_units, max_lag) number of displacements, weighted.
    squared
        (n_units, max_lag) their sum of squares [length²].
    independent
        (n_units, max_lag) how many begin at a frame that the lag divides: these do not overlap.
    """
    segment, frame, y, x = walks.segment, walks.frame, walks.y, walks.x
    bounded = walks.weights is not all_alike
    # Lowest and highest place (y, x) on the way from each row to the one `offset` rows behind it.
    places = np.stack([y, x])
    lowest, highest = places, places
    sums = np.zeros((3, max_lag, walks.n_units))
    for offset in range(1, min(max_lag, len(frame) - 1) + 1):
        # Rows `offset` apart in the table are at least so many frames apart, so that the lag of a
        # pair is its offset, or more where frames are missing; no pair, and none comes later.
        gap = frame[offset:] - frame[:-offset]
        if bounded:
            lowest = np.minimum(lowest[:, :-1], places[:, offset:])
            highest = np.maximum(highest[:, :-1], places[:, offset:])
        pair = np.flatnonzero((segment[offset:] == segment[:-offset]) & (gap <= max_lag))
        if len(pair) == 0:
            break
        squared = (y[pair + offset] - y[pair]) ** 2 + (x[pair + offset] - x[pair]) ** 2
        lag, owner = gap[pair], walks.unit[pair]
        values = [np.ones(len(pair)), squared, (frame[pair] % lag == 0).astype(np.float64)]
        if bounded:
            values[0] = walks.weights(pair, (highest - lowest)[:, pair])
            values[1] = squared * values[0]
        for own_lag, at in _by_lag(lag, offset):
            for i, value in enumerate(values):
                sums[i, own_lag - 1] += np.bincount(
                    owner[at], weights=value[at], minlength=walks.n_units
                )
    n, squared_sum, independent = sums.transpose(0, 2, 1)
    return n, squared_sum, independent


def _by_lag(lag: np.ndarray, offset: int) -> Iterator[tuple[int, slice | np.ndarray]]:
    """Yield each of the lags (k,) that occur, and the pairs that have it.

    Nothing is looked up where all have the lag `offset`, as without missing frames.
    """
    if (lag == offset).all():
        yield offset, slice(None)
        return
    for value in np.unique(lag).tolist():
        yield value, lag == value


def optimal_lags(x: float, n: float) -> int:
    """Return how many points of an MSD curve give the best D by unweighted least squares.

    Parameters
    ----------
    x
        Reduced localisation error s²/(D t).
    n
        Length of the tracks [frames].

    Returns
    -------
    Number of points, 2 or more.

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
    """Return slope and intercept of the straight line through the first points of an MSD curve.

    Parameters
    ----------
    msd
        (k,) mean squared displacements at the lags 1, 2, ... k [length²].
    n_lags
        Number of points that the line is laid through, at most k.

    Returns
    -------
    Slope [length² per lag] and intercept [length²].
    """
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
    found = optimize.minimize_scalar(
        lambda a: fit(a)[1], bounds=ends, method="bounded", options={"xatol": 1e-8}
    )
    alpha = float(found.x)
    (A, C), _ = fit(alpha)
    return alpha, float(A), float(C)
