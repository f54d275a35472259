"""Medians of short lists, without what asking NumPy costs: a frame's search takes hundreds of them.

>>> median(np.array([3.0, 1.0, 2.0])), row_medians(np.array([[1.0, np.nan, 4.0]])).tolist()
(2.0, [2.5])
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.common.compiling import compiled


@compiled
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
    n = len(values)
    if n == 0:
        return np.nan
    ordered = np.partition(values, n // 2)
    middle = float(ordered[n // 2])
    if n % 2 == 1:
        return middle
    return (float(ordered[: n // 2].max()) + middle) / 2


@compiled
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
    n = len(values)
    if n == 0:
        return np.nan
    place = share * (n - 1)
    rank = min(int(place), n - 1)
    ordered = np.partition(values, rank)
    low = float(ordered[rank])
    if rank == n - 1:
        return low
    high = float(ordered[rank + 1 :].min())
    part = place - rank
    # from either end, so that both are met exactly
    if part < 0.5:
        return low + (high - low) * part
    return high - (high - low) * (1 - part)


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
