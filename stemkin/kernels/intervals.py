"""Intervals of the few kinds of number that kinetics knows: shares, counts, rates, and what is spread like a variance.

Each is the middle part of a posterior with Jeffreys' prior, which covers the truth about as often as it says also where
counts are few (Brown, Cai & DasGupta, Stat. Sci. 16, 101 (2001)); where nothing was counted it begins at 0.
"""

from __future__ import annotations

import numpy as np
from scipy import special


def share_interval(part: np.ndarray, whole: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the probability behind `part` successes in `whole` trials (Jeffreys' prior).

    >>> share_interval(np.array(0), np.array(10))[1].round(3)
    np.float64(0.217)
    """
    tail = (1 - confidence) / 2
    low = special.betaincinv(part + 0.5, whole - part + 0.5, tail)
    high = special.betaincinv(part + 0.5, whole - part + 0.5, 1 - tail)
    return np.where(part == 0, 0.0, low), np.where(part == whole, 1.0, high)


def count_interval(count: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the mean of a Poisson number that came out as `count` (Jeffreys' prior).

    >>> [v.round(2).tolist() for v in count_interval(np.array([0, 10]))]
    [[0.0, 5.14], [2.51, 17.74]]
    """
    tail = (1 - confidence) / 2
    count = np.asarray(count, dtype=np.float64)
    low = special.gammaincinv(count + 0.5, tail)
    return np.where(count == 0, 0.0, low), np.asarray(special.gammaincinv(count + 0.5, 1 - tail))


def rate_interval(
    rate: np.ndarray, variance: np.ndarray, at_risk: np.ndarray, slope: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the interval of a rate that was fitted, not counted, and whether a count explains its variance.

    Where its variance is that of events over a time at risk, it is the interval of a count. Where it is more (some events
    are only apparent: wrong names, or two steps in one frame) and the rate small, it is that of a normal number cut at 0.

    Parameters
    ----------
    rate, variance
        (n,) most likely rates, and their variances at the maximum (for a rate of 0: as if it were free).
    at_risk
        (n,) time at risk of each.
    slope
        (n,) by how much the log-likelihood falls per unit of rate, for rates of 0.
    confidence
        Of the interval.
    """
    tail = (1 - confidence) / 2
    found = rate > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        events = np.where(found, rate**2 / variance, 0.0)
        low, high = (v / np.where(found, rate / variance, slope) for v in count_interval(events, confidence=confidence))
        poisson = np.where(found, variance <= 1.3 * rate / at_risk, slope >= 0.5 * at_risk)
        error = np.sqrt(variance)
        centre = np.where(found, rate, -variance * slope)
        reach = -special.ndtri(tail)
        cut_high = centre - error * special.ndtri(2 * tail * special.ndtr(centre / error))
        far = found & (rate > reach * error)
        low_cut, high_cut = np.where(far, rate - reach * error, 0.0), np.where(far, rate + reach * error, cut_high)
    like_a_count = poisson | (events >= 9)
    return np.where(like_a_count, low, low_cut), np.where(like_a_count, high, high_cut), poisson | (events >= 25)


def variance_interval(
    value: float, std_error: float, *, confidence: float = 0.95, freedom: float = np.inf
) -> tuple[float, float]:
    """Return the interval of a `value` that is spread like a variance: a scaled chi² with the same error.

    Where the error is more than half the value the interval is symmetric, and may hold negative numbers.

    Parameters
    ----------
    value, std_error
        The estimate and its standard error.
    confidence
        Of the interval.
    freedom
        Degrees of freedom from which `std_error` itself is known; fewer widen the interval as Student's t does.

    >>> tuple(round(v, 2) for v in variance_interval(1.0, 0.1))
    (0.83, 1.23)
    """
    if not (np.isfinite(value) and np.isfinite(std_error)):
        return np.nan, np.nan
    if std_error == 0:
        return value, value
    tail = (1 - confidence) / 2
    normal = -special.ndtri(tail)
    student = normal if np.isinf(freedom) else -special.stdtrit(max(freedom, 1.0), tail)
    std_error = std_error * float(student / normal)
    if value > 2 * std_error:
        shape = (value / std_error) ** 2
        low, high = (value * shape / special.gammaincinv(shape, t) for t in (1 - tail, tail))
        return float(low), float(high)
    return float(value - normal * std_error), float(value + normal * std_error)
