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
    rate: np.ndarray, variance: np.ndarray, exposure: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of `rate` as if it were a number of events over an exposure."""
    with np.errstate(divide="ignore", invalid="ignore"):
        events = np.where(rate > 0, rate**2 / variance, 0.0)
        exposure = np.where(rate > 0, rate / variance, exposure)
        low, high = count_interval(events, confidence=confidence)
        return low / exposure, high / exposure


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
