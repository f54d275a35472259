"""Intervals of shares, counts, rates, and of what is spread like a variance.

Each is the middle part of a posterior with Jeffreys' prior, which covers the truth about as often
as it says also where counts are few (Brown, Cai & DasGupta, Stat. Sci. 16, 101 (2001)); where
nothing was counted it begins at 0.
"""

from __future__ import annotations

import numpy as np
from scipy import special


def share_interval(
    part: np.ndarray, whole: np.ndarray, *, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Jeffreys interval of the probability behind successes in trials.

    Parameters
    ----------
    part, whole
        (...) successes, and trials.
    confidence
        Of the interval.

    Returns
    -------
    (...) lower and (...) upper bounds.

    Examples
    --------
    >>> share_interval(np.array(0), np.array(10))[1].round(3)
    np.float64(0.217)
    """
    tail = (1 - confidence) / 2
    low = special.betaincinv(part + 0.5, whole - part + 0.5, tail)
    high = special.betaincinv(part + 0.5, whole - part + 0.5, 1 - tail)
    return np.where(part == 0, 0.0, low), np.where(part == whole, 1.0, high)


def count_interval(count: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the Jeffreys interval of the mean of a Poisson number.

    Parameters
    ----------
    count
        (...) the numbers that came out.
    confidence
        Of the interval.

    Returns
    -------
    (...) lower and (...) upper bounds.

    Examples
    --------
    >>> [v.round(2).tolist() for v in count_interval(np.array([0, 10]))]
    [[0.0, 5.14], [2.51, 17.74]]
    """
    tail = (1 - confidence) / 2
    count = np.asarray(count, dtype=np.float64)
    low = special.gammaincinv(count + 0.5, tail)
    return np.where(count == 0, 0.0, low), np.asarray(special.gammaincinv(count + 0.5, 1 - tail))


def rate_interval(
    rate: np.ndarray,
    variance: np.ndarray,
    at_risk: np.ndarray,
    slope: np.ndarray,
    confidence: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the interval of a rate that was fitted, and whether a count explains its variance.

    Near its maximum the likelihood of a rate x is taken for that of a count above a known
    background b (changes that are only apparent: wrong names, or two steps in one frame),
    log L = n log(x + b) - T (x + b) in the time T at risk. Its curvature 1 / variance and its slope
    at the maximum say how large n and b are; without a background the interval is that of the count
    n, where the background is large that of a normal number cut at 0.

    Parameters
    ----------
    rate, variance
        (n,) most likely rates, and their variances at the maximum (for a rate of 0: as if it were
        free).
    at_risk
        (n,) time at risk of each.
    slope
        (n,) by how much the log-likelihood falls per unit of rate, for rates of 0.
    confidence
        Of the interval.

    Returns
    -------
    (n,) lower and (n,) upper bounds, and (n,) whether the variance is that of a count.

    Examples
    --------
    >>> rates, variances = np.array([0.1, 0.1, 0.0]), np.array([0.001, 0.004, 0.001])
    >>> at_risk, effective = np.full(3, 100.0), np.full(3, 50.0)
    >>> low, high, explained = rate_interval(rates, variances, at_risk, effective, 0.95)
    >>> low.round(3).tolist(), high.round(3).tolist(), explained.tolist()
    ([0.051, 0.0, 0.0], [0.177, 0.24, 0.049], [True, False, True])
    >>> none = np.zeros(1)  # no time at risk says nothing
    >>> rate_interval(none, none, none, np.full(1, np.inf), 0.95)[:2]
    (array([0.]), array([inf]))
    """
    tail, found = (1 - confidence) / 2, rate > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(found, np.maximum(at_risk, rate / variance), at_risk)
        rises = np.where(found, time, np.maximum(time - slope, 0.0))  # n / (x + b) at the maximum
        background = np.maximum(variance * rises - rate, 0.0)
        events = (rate + background) * rises + 0.5
        explained = np.where(found, variance <= 1.3 * rate / at_risk, slope >= 0.5 * at_risk)
        explained = explained | (found & (rate**2 >= 25 * variance))
        low = special.gammaincinv(events, tail) / time - background
        # of the posterior of x + b only what lies above b
        above = special.gammaincc(events, background * time)
        high = special.gammainccinv(events, tail * above) / time - background
    return np.where(found, np.maximum(low, 0.0), 0.0), high, explained


def variance_interval(
    value: float, std_error: float, *, confidence: float = 0.95, freedom: float = np.inf
) -> tuple[float, float]:
    """Return the interval of a value that is spread like a variance: a scaled chi² of same error.

    Where the error is more than half the value the interval is symmetric, and may hold negative
    numbers.

    Parameters
    ----------
    value, std_error
        The estimate and its standard error.
    confidence
        Of the interval.
    freedom
        Degrees of freedom from which `std_error` itself is known; fewer widen the interval as
        Student's t does.

    Returns
    -------
    Lower and upper bound.

    Examples
    --------
    >>> tuple(round(v, 2) for v in variance_interval(1.0, 0.1))
    (0.83, 1.23)
    """
    if not (np.isfinite(value) and np.isfinite(std_error)):
        return np.nan, np.nan
    if std_error == 0:
        return value, value
    tail = (1 - confidence) / 2
    normal = student = float(-special.ndtri(tail))
    if not np.isinf(freedom):
        student = float(-special.stdtrit(max(freedom, 1.0), tail))
    std_error = std_error * (student / normal)
    if value > 2 * std_error:
        shape = (value / std_error) ** 2
        low, high = (value * shape / special.gammaincinv(shape, t) for t in (1 - tail, tail))
        return float(low), float(high)
    return float(value - normal * std_error), float(value + normal * std_error)
