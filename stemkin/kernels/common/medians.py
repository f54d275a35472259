"""Medians of short lists, without what asking NumPy costs: a frame's search takes hundreds of them.

>>> median(np.array([3.0, 1.0, 2.0])), row_medians(np.array([[1.0, np.nan, 4.0]])).tolist()
(2.0, [2.5])
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.common.compiling import compiled


def median(values: np.ndarray) -> float:
    """Return the median.

    Parameters
    ----------
    values
        (n,) finite values.

    Returns
    -------
    The median; NaN of none.
    """
    return float(middle_of(np.array(values, dtype=np.float64)))


def quantile(values: np.ndarray, share: float) -> float:
    """Return the value below which a share of all lies, linear between them.

    Parameters
    ----------
    values
        (n,) finite values.
    share
        0 to 1.

    Returns
    -------
    The quantile, as NumPy's; NaN of none.
    """
    if not len(values):
        return np.nan
    place = share * (len(values) - 1)
    rank = min(int(place), len(values) - 1)
    low, high = _neighbours(np.array(values, dtype=np.float64), rank)
    part = place - rank
    # from either end, so that both are met exactly
    if part < 0.5:
        return float(low + (high - low) * part)
    return float(high - (high - low) * (1 - part))


@compiled
def middle_of(values: np.ndarray) -> float:
    """Return the median of values, which are left in another order.

    Parameters
    ----------
    values
        (n,) finite float64 values, without gaps.

    Returns
    -------
    The median; NaN of none.
    """
    n = len(values)
    if n == 0:
        return np.nan
    low, high = _neighbours(values, (n - 1) // 2)
    if n % 2 == 1:
        return low
    return (low + high) / 2


@compiled
def _neighbours(values: np.ndarray, rank: int) -> tuple[float, float]:
    """Return the value that so many are below, and the next one; puts values in another order.

    Hoare's selection (Commun. ACM 4, 321 (1961)), each time around the middle one of three.
    """
    first, last = 0, len(values) - 1
    while first < last:
        a, b, c = values[first], values[(first + last) // 2], values[last]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            last = j
        elif rank >= i:
            first = i
        else:
            break
    low, high = values[rank], values[rank]
    if rank + 1 < len(values):
        high = values[rank + 1 :].min()
    return low, high


@compiled
def row_medians(values: np.ndarray) -> np.ndarray:
    """Return the median of each row, of what is known of it.

    Parameters
    ----------
    values
        (m, k) values; NaN for what is not known.

    Returns
    -------
    (m,) medians; NaN of rows of which nothing is known.
    """
    medians = np.full(len(values), np.nan)
    ordered = np.empty(values.shape[1])
    for i in range(len(values)):
        n = 0
        for value in values[i]:
            if np.isnan(value):
                continue
            # the known ones are kept in order: each goes before those that are larger
            place = n
            while place > 0 and ordered[place - 1] > value:
                ordered[place] = ordered[place - 1]
                place -= 1
            ordered[place] = value
            n += 1
        if n > 0:
            medians[i] = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return medians
