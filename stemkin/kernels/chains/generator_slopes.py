"""Powers of exp(Q) of a generator Q, and their slopes in its rates, by uniformisation.

With q at least the fastest rate of leaving, Q = R - q 1 where R has no negative entry, so that
exp(Q) = e^-q sum R^n / n! adds up positive terms only: small probabilities are as exact as large
ones. Rates are first halved s times until q is small, and the sum is squared s times.

Source: Jensen, Scand. Actuar. J. 36, 87 (1953); Moler & Van Loan, SIAM Rev. 45, 3 (2003), method 3.

>>> Q = np.array([[-0.2, 0.2], [0.3, -0.3]])
>>> P, slopes = exponential_and_slopes(Q, np.array([0]), np.array([1]))
>>> bool(np.allclose(P, linalg.expm(Q))), slopes.shape
(True, (1, 2, 2))
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import linalg, special

SLOW = 0.25
"""The series of a slower rate of leaving than this has converged after `N_TERMS` terms."""
N_TERMS = 13
_OVER_FACTORIAL = 1 / special.factorial(np.arange(N_TERMS + 1))
_SLOPE_SERIES = linalg.hankel(_OVER_FACTORIAL[1:])
"""At (a, b) 1 / (a + b + 1)!, and 0 beyond the last term."""


def exponential_and_slopes(
    Q: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return exp(Q), and its derivatives in some of the rates.

    Parameters
    ----------
    Q
        (k, k) generator: rates per unit of time, rows that add up to 0.
    rows, columns
        (n_free,) from where to where the rates lead in which derivatives are wanted; each takes
        from the diagonal what it adds.

    Returns
    -------
    (k, k) probabilities, and (n_free, k, k) slopes.
    """
    k = len(Q)
    fastest = float(-np.diagonal(Q).min(initial=0.0))
    halvings = max(0, int(np.ceil(np.log2(max(fastest, SLOW) / SLOW))))
    q = fastest / 2.0**halvings
    powers = _powers(Q / 2.0**halvings + q * np.eye(k))
    shrink = np.exp(-q)
    P = shrink * (_OVER_FACTORIAL @ powers.reshape(N_TERMS + 1, -1)).reshape(k, k)
    slopes = np.zeros((len(rows), k, k))
    if len(rows):
        # The slope of R^n is the sum of R^a E R^b, a + b + 1 = n, whose direction E of a rate from
        # i to j is +1 at (i, j) and -1 at (i, i): column i of R^a times row j less row i of R^b.
        # `after` has the sums over b, each with its 1 / n!.
        before = powers[:N_TERMS].transpose(2, 1, 0)[rows]
        after = (_SLOPE_SERIES @ powers[:N_TERMS].reshape(N_TERMS, -1)).reshape(N_TERMS, k, k)
        after = after.transpose(1, 0, 2)
        slopes = (shrink / 2.0**halvings) * (before @ (after[columns] - after[rows]))
    for _ in range(halvings):
        P, slopes = P @ P, _times(slopes, P) + P @ slopes
    return P, slopes


def _powers(R: np.ndarray) -> np.ndarray:
    """Return the (N_TERMS + 1, k, k) powers of R, from 0; each product doubles what there is."""
    powers = np.empty((N_TERMS + 1, *R.shape))
    powers[0], powers[1] = np.eye(len(R)), R
    reached = 1
    while reached < N_TERMS:
        further = min(reached, N_TERMS - reached)
        powers[reached + 1 : reached + further + 1] = powers[1 : further + 1] @ powers[reached]
        reached += further
    return powers


def powers_and_slopes(
    P: np.ndarray, slopes: np.ndarray, exponents: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield P to the power of each of the `exponents`, and its slopes.

    Parameters
    ----------
    P, slopes
        Of `exponential_and_slopes`.
    exponents
        Whole numbers above 0, in ascending order.
    """
    power, own, reached = P, slopes, 1
    for exponent in exponents:
        while reached < exponent:
            own = _times(own, P) + power @ slopes
            power, reached = power @ P, reached + 1
        yield power, own


def _times(many: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return each of (n, k, k) matrices times one (k, k) matrix, as a single product."""
    if len(many) == 0:
        return many
    product: np.ndarray = many.reshape(-1, len(matrix)) @ matrix
    return product.reshape(many.shape)
