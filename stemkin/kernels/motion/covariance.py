r"""The covariance-based estimator of D, in closed form, and what else one-frame displacements tell.

Per axis, with D the diffusion coefficient, t the frame time and s the localisation error,

    c0 = <d_i d_i> = 2 D t (1 - 2 R) + 2 s²,    c1 = <d_i d_(i+1)> = 2 R D t - s²,

so ``D t = c0 / 2 + c1`` whatever the blur R (Vestergaard, Blainey & Flyvbjerg, Phys. Rev. E 89,
022726 (2014), eq. 14): unbiased, and negative now and then where nothing moves. A few displacements leave c1 so
uncertain that an error computed from c0 and c1 themselves says little. So the interval holds every
D that the estimate does not contradict: under each D the estimate is a sum of independent
exponential numbers, whose first three moments are known exactly.

>>> d = np.random.default_rng(0).normal(size=(1000, 2)).cumsum(axis=0)
>>> walk = Walks.of(np.zeros(1000, dtype=int), np.arange(1000), d[:, 0], d[:, 1])
>>> sums = covariance_sums(walk)[0]
>>> low, high = covariance_interval(sums)
>>> bool(low < covariance_estimate(sums)[0] < high), bool(low < 0.5 < high)
(True, True)
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from stemkin.kernels.motion.walks import Walks

N_SUMS = 10
"""Length of what a unit adds: see `covariance_sums`."""

SURE = 2.33
"""Standard errors (1 %) by which displacements must differ from Gaussian ones before their error is
taken for larger."""


def covariance_sums(walks: Walks) -> np.ndarray:
    """Add up what the covariance estimator needs, from one-frame displacements d_i.

    Parameters
    ----------
    walks
        Positions along segments [length].

    Returns
    -------
    (n_units, N_SUMS): number of d_i, sum of |d_i|², number of neighbouring pairs (d_i, d_i+1), sum
    of d_i · d_i+1, number of neighbouring pairs of such pairs, sum of |d_i|⁴, all of them weighted
    by what they stand for; the number of d_i as they are; the first once more, each times its
    blur coefficient; the sum of d_i · d_i+2; and what the d_i stand for by themselves.

    A displacement stands for the mean of the pairs to which it belongs, times the number of pairs
    over that of displacements in its run of frames. So a run has the same share in the squares as
    in the products, however long it is, and where nothing moves they cancel run by run, in any
    order of time. (Without that share long tracks count for more in the products: in random order
    of time those that wander farther make D negative.) A displacement alone says nothing of D.
    """
    sums = np.zeros((N_SUMS, walks.n_units))
    if len(walks.frame) < 2:
        return sums.T
    # Displacement i leads from row i to row i + 1 and belongs to the unit of row i; where `step` is
    # false (a new segment, or a missing frame) it is none, and counts for 0 in every sum.
    step = walks.linked & (walks.frame[1:] == walks.frame[:-1] + 1)
    dy, dx = np.where(step, np.diff(walks.y), 0.0), np.where(step, np.diff(walks.x), 0.0)
    owner = walks.unit[:-1]
    squared = dy**2 + dx**2
    first = np.flatnonzero(step[:-1] & step[1:])
    twice = np.zeros(len(owner) - 1)
    twice[first] = walks.pair_weights(first)
    paired = (step[:-1] & step[1:]).astype(np.int64)
    n_pairs = np.append(paired, 0) + np.append(0, paired)
    alike = (np.append(twice, 0.0) + np.append(0.0, twice)) / np.maximum(n_pairs, 1)
    stands_for = alike * _share_of_pairs(step)
    product = dy[1:] * dy[:-1] + dx[1:] * dx[:-1]
    later = twice[1:] * step[:-2]
    values = (
        (owner, stands_for),
        (owner, stands_for * squared),
        (owner[:-1], twice),
        (owner[:-1], twice * product),
        (owner[:-2], later),
        (owner, stands_for * squared**2),
        (owner, step),
        (owner, stands_for * walks.blur_at(np.arange(len(owner)))),
        (owner[:-2], later * (dy[2:] * dy[:-2] + dx[2:] * dx[:-2])),
        (owner, alike),
    )
    for i, (of_unit, value) in enumerate(values):
        sums[i] = np.bincount(of_unit, weights=value, minlength=walks.n_units)
    return sums.T


def _share_of_pairs(step: np.ndarray) -> np.ndarray:
    """Return (n - 1) / n for each step of a run of n, 0 where there is no step."""
    begins = step & ~np.append(False, step[:-1])
    run = np.cumsum(begins)
    n = np.bincount(run[step], minlength=int(run[-1]) + 1)[run]
    return np.where(step, 1 - 1 / np.maximum(n, 1), 0.0)


def covariance_estimate(sums: np.ndarray) -> tuple[float, float]:
    """Return D t and the squared localisation error, by the covariance-based estimator.

    Vestergaard, Blainey & Flyvbjerg, Phys. Rev. E 89, 022726 (2014), eq. 14.

    Parameters
    ----------
    sums
        (N_SUMS,) of `covariance_sums`, pooled over units.

    Returns
    -------
    D t and s² [length²]; NaN where no two displacements follow each other.

    >>> covariance_estimate(np.array([3.0, 6.0, 3.0, 0.0, 2.0, 24.0, 4.0, 0.0, 0.0, 4.0]))[0]
    0.5
    """
    n, squared, n_pairs, product = (float(v) for v in sums[:4])
    if n == 0 or n_pairs == 0:
        return np.nan, np.nan
    c0, c1 = squared / n / 2, product / n_pairs / 2
    Dt = c0 / 2 + c1
    return Dt, 2 * float(sums[7]) / n * Dt - c1


def covariance_interval(
    sums: np.ndarray, *, between: float = 0.0, n_units: float = 1, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the smallest and the largest D t that do not contradict the estimate.

    For each D the localisation error is the one that leaves c0 as it was seen; the estimate's
    distribution is that gamma distribution, shifted, which shares its first three moments
    (Pearson's type III). Displacements that are not Gaussian (`excess_kurtosis`) add the variance
    and the third moment of a count of rare, long ones, as far as D would make them; where the
    estimate varies more than that from track to track (`between`: its variance by the spread of
    `n_units` tracks), as it does in shuffled tracks that wandered unequally far, localisation takes
    the rest. The interval may hold negative D.

    Parameters
    ----------
    sums
        (N_SUMS,) of `covariance_sums`, pooled over units.
    between
        Variance of the estimate by the spread between units [length⁴].
    n_units
        Number of units that tell it.
    confidence
        Of the interval, between 0 and 1.

    Returns
    -------
    The interval of D t [length²]; NaN or 0 twice where the estimate is.
    """
    estimate, _ = covariance_estimate(sums)
    if np.isnan(estimate) or sums[1] == 0:
        return estimate, estimate
    tail = (1 - confidence) / 2
    c0, blur = float(sums[1] / sums[0] / 2), float(sums[7] / sums[0])
    stretch = float(sums[9] / sums[6])
    excess, error = excess_kurtosis(sums)
    sure = excess > SURE * error
    extra = unequal = 0.0
    if sure and estimate > 0:
        extra = max(float(sums[5] / sums[0]) - 8 * c0**2, 0.0) / 16 / float(sums[9])
    if sure and n_units > 1:  # told by so many tracks, as Student's t has it
        unequal = between * float(special.stdtrit(n_units - 1, tail) / special.ndtri(tail)) ** 2

    def at_most(D: float) -> float:
        """Return the probability of an estimate no larger than this one."""
        inside = max(D, 0.0)  # below 0 the distribution is that of 0, moved
        c0_of = max(c0, 2 * inside * (1 - 2 * blur))
        mean, variance, third = _moments(sums, c0_of, min(inside - c0 / 2, 2 * blur * inside))
        many = rare = 0.0
        if extra > 0:
            many = extra * inside / estimate
            rare = many * extra / estimate
        variance, third = stretch * (variance + many), stretch**2 * (third + rare)
        rest = max(unequal - variance, 0.0) * max(1 - 2 * inside / c0, 0.0) ** 2
        return _skewed(estimate - D + inside - mean, variance + rest, third)

    reach = 10 * c0
    while at_most(estimate - reach) < 1 - tail:
        reach *= 2
    low = optimize.brentq(lambda D: at_most(D) - (1 - tail), estimate - reach, estimate + c0)
    n = float(sums[6])
    alone = n * c0 / float(special.gammaincinv(n, tail)) / 2  # what c0 by itself would allow
    high = max(alone, estimate + c0)
    if at_most(high) <= tail:
        high = optimize.brentq(lambda D: at_most(D) - tail, low, high)
    return float(low), float(high)


def _moments(sums: np.ndarray, c0: float, c1: float) -> tuple[float, float, float]:
    """Return the first three central moments of the estimate of ``c0 / 2 + c1``.

    It is estimated from Gaussian displacements on two axes.

    With x = 2 cos(angle) the eigenvalues of "is the next displacement of" on the tracks, the
    estimate is the sum over them of (1/2n + x/2n_pairs)(c0 + c1 x) times an exponential number. The
    sums over x², x⁴ and x⁶ count closed walks.
    """
    n, n_pairs, n_double = float(sums[9]), float(sums[2]), float(sums[4])
    n_triple = max(2 * n_double - n_pairs, 0.0)
    x2, x4, x6 = 2 * n_pairs, 2 * n_pairs + 4 * n_double, 2 * n_pairs + 12 * n_double + 6 * n_triple
    p, q = 1 / (2 * n), 1 / (2 * n_pairs)
    a, b, c = p * c0, p * c1 + q * c0, q * c1
    second = a**2 * n + (b**2 + 2 * a * c) * x2 + c**2 * x4
    third = a**3 * n + 3 * a * (a * c + b**2) * x2 + 3 * c * (a * c + b**2) * x4 + c**3 * x6
    return a * n + c * x2, second, 2 * third


def _skewed(deviation: float, variance: float, third: float) -> float:
    """Return the probability of no more than this deviation from the mean (Pearson's type III)."""
    z, skew = deviation / np.sqrt(variance), third / variance**1.5
    if abs(skew) < 1e-3:
        return float(special.ndtr(z))
    shape = 4 / skew**2
    place = max(shape + z * np.sqrt(shape) * np.sign(skew), 0.0)
    if skew > 0:
        return float(special.gammainc(shape, place))
    return float(special.gammaincc(shape, place))


def excess_kurtosis(sums: np.ndarray) -> tuple[float, float]:
    """Return the excess kurtosis of one-frame displacements, and its error if they are Gaussian.

    ``<|d|⁴> / (2 <|d|²>²) - 1`` is 0 for Gaussian displacements in two dimensions and positive
    where a few are much longer than most. Its error is that of Laguerre's second polynomial of
    |d|², neighbours correlated by c1/c0.

    Parameters
    ----------
    sums
        (N_SUMS,) of `covariance_sums`, pooled over units; the last ones are not used.

    Returns
    -------
    Excess and its standard error; NaN without displacements.

    >>> excess_kurtosis(np.array([100.0, 100.0, 99.0, 0.0, 98.0, 200.0]))
    (0.0, 0.1)
    """
    n, squared, n_pairs, product, _, fourth = (float(v) for v in sums[:6])
    if n == 0 or squared == 0:
        return np.nan, np.nan
    correlation = 0.0
    if n_pairs > 0:
        correlation = (product / n_pairs) / (squared / n)
    return fourth * n / (2 * squared**2) - 1, float(np.sqrt((1 + 2 * correlation**4) / n))
