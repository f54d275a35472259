"""Sums of floating-point numbers that are the same bits in whatever order they are added.

Floating-point addition rounds, so a sum over a table depends on how the table was cut into
partitions. Here each number is first cut into four *slices*, whole multiples of 2^20, 2^0, 2^-20
and 2^-40. A slice has at most 20 binary digits (the first may have more), so that 2^32 of them add
up without any rounding: slices may be added in any order, by anyone. What lies below 2^-41 is
rounded off once per number; with lengths in nanometres that is (a millionth of a nanometre)².

>>> parts = [slices(np.array([0.1, 1e6])), slices(np.array([0.2, 1e-9]))]
>>> whole = slices(np.array([1e-9, 0.2, 1e6, 0.1])).sum(axis=0)
>>> bool((parts[0].sum(axis=0) + parts[1].sum(axis=0) == whole).all())
True

Source: the idea of pre-rounded summation, Demmel & Nguyen, IEEE Trans. Comput. 64, 2060 (2015),
with fixed grids.
"""

from __future__ import annotations

import numpy as np

GRIDS = (2.0**20, 1.0, 2.0**-20, 2.0**-40)
"""The multiples that the four slices of a number are made of."""

N_SLICES = len(GRIDS)

# Adding 1.5 * 2**52 grids leaves no bit for what is finer than a grid, and subtracting it gives the
# rounded number back, exactly; the half keeps negative numbers within the same power of two.
_TO_GRID = tuple(1.5 * 2.0**52 * grid for grid in GRIDS)


def slices(values: np.ndarray) -> np.ndarray:
    """Cut `values` into slices that add exactly.

    Parameters
    ----------
    values
        (...) finite numbers, less than 2^71 in size.

    Returns
    -------
    (..., 4) whole multiples of `GRIDS`, whose sum over the last axis is `values` rounded to 2^-40.
    """
    rest = np.array(values, dtype=np.float64)
    cut = np.empty((*rest.shape, N_SLICES))
    for i, to_grid in enumerate(_TO_GRID):
        cut[..., i] = (rest + to_grid) - to_grid
        rest -= cut[..., i]
    return cut


def total(sums: np.ndarray) -> np.ndarray:
    """Return the numbers that summed slices stand for.

    Parameters
    ----------
    sums
        (..., 4) sums of `slices`, from the coarsest grid to the finest.

    Returns
    -------
    (...) float64; added from the finest on, so that the result is the same everywhere.

    Examples
    --------
    >>> float(total(slices(np.array([0.5, 0.25])).sum(axis=0)))
    0.75
    """
    sums = np.asarray(sums)
    result = sums[..., -1].copy()
    for i in range(N_SLICES - 2, -1, -1):
        result = result + sums[..., i]
    return np.asarray(result)


def group_sums(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Add the rows of `values` per group, as slices.

    Parameters
    ----------
    values
        (n, p) finite numbers.
    group
        (n,) group of each row, 0 to ``n_groups - 1``.
    n_groups
        Number of groups.

    Returns
    -------
    (n_groups, p, 4) sums of slices, to be added to those of other rows; `total` makes numbers of
    them.
    """
    n, p = values.shape
    sums = np.zeros((n_groups, p, N_SLICES))
    if n == 0:
        return sums
    if n_groups == 1:
        sums[0] = slices(values).sum(axis=0)
        return sums
    for column in range(p):
        cut = slices(values[:, column])
        for i in range(N_SLICES):
            if cut[:, i].any():
                sums[:, column, i] = np.bincount(group, weights=cut[:, i], minlength=n_groups)
    return sums
