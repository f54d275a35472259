"""Powers of exp(Q) of a generator Q, and their slopes in its rates, by uniformisation.

With q at least the fastest rate of leaving, Q = R - q 1 where R has no negative entry, so that
exp(Q) = e^-q sum R^n / n! adds up positive terms only: small probabilities are as exact as large
ones. Rates are first halved s times until q is small, and the sum is squared s times.

Plain loops, since matrices are small and there are many of them.

Source: Jensen, Scand. Actuar. J. 36, 87 (1953); Moler & Van Loan, SIAM Rev. 45, 3 (2003), method 3.

>>> Q = np.array([[-0.2, 0.2], [0.3, -0.3]])
>>> P, slopes = exponential_and_slopes(Q, 1.0, np.array([0]), np.array([1]))
>>> bool(np.allclose(P, linalg.expm(Q))), slopes.shape
(True, (1, 2, 2))
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, special

from stemkin.kernels.common.compiling import compiled

SLOW = 0.25
"""The series of a slower rate of leaving than this has converged after `N_TERMS` terms."""
N_TERMS = 13
MOST_HALVINGS = 1100
"""So often any number can be halved before nothing is left of it."""
_OVER_FACTORIAL = 1 / special.factorial(np.arange(N_TERMS + 1))
_SLOPE_SERIES = linalg.hankel(_OVER_FACTORIAL[1:])
"""At (a, b) 1 / (a + b + 1)!, and 0 beyond the last term."""


@compiled
def exponential_and_slopes(
    Q: np.ndarray, time: float, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return exp(Q t), and its derivatives in some of the rates times t.

    Parameters
    ----------
    Q
        (k, k) generator: rates per unit of time, rows that add up to 0.
    time
        t, in those units.
    rows, columns
        (n_free,) from where to where the rates lead in which derivatives are wanted; each takes
        from the diagonal what it adds.

    Returns
    -------
    (k, k) probabilities, and (n_free, k, k) slopes.
    """
    k, n_free = len(Q), len(rows)
    q = 0.0
    for i in range(k):
        q = max(q, -Q[i, i] * time)
    halvings, part = 0, 1.0
    while q > SLOW and halvings < MOST_HALVINGS:
        q, part, halvings = q / 2, part / 2, halvings + 1
    powers, room = np.zeros((N_TERMS + 1, k, k)), np.zeros((k, k))
    P, slopes = np.zeros((k, k)), np.zeros((n_free, k, k))
    for i in range(k):
        for j in range(k):
            powers[1, i, j] = Q[i, j] * time * part
        powers[0, i, i], powers[1, i, i] = 1.0, powers[1, i, i] + q
    for n in range(2, N_TERMS + 1):
        add_product(powers[n - 1], powers[1], powers[n])
    shrink = np.exp(-q)
    for n in range(N_TERMS + 1):
        for i in range(k):
            for j in range(k):
                P[i, j] += shrink * _OVER_FACTORIAL[n] * powers[n, i, j]
    if n_free > 0:
        _add_slopes(powers, rows, columns, shrink * part, slopes)
    for _ in range(halvings):
        for f in range(n_free):
            multiply_slope(slopes[f], P, slopes[f], P, room)
        multiply(P, P, room)
    return P, slopes


@compiled
def _add_slopes(
    powers: np.ndarray, rows: np.ndarray, columns: np.ndarray, scale: float, slopes: np.ndarray
) -> None:
    """Add `scale` times the slopes of the sum of R^n / n! to `slopes` (n_free, k, k).

    The slope of R^n is the sum of R^a E R^b, a + b + 1 = n, whose direction E of a rate from i to j
    is +1 at (i, j) and -1 at (i, i): column i of R^a times row j less row i of R^b. `after` has the
    sums over b, each with its 1 / n!.
    """
    k = powers.shape[1]
    after = np.zeros((k, k))
    for a in range(N_TERMS):
        for i in range(k):
            for j in range(k):
                after[i, j] = 0.0
        for b in range(N_TERMS - a):
            for i in range(k):
                for j in range(k):
                    after[i, j] += _SLOPE_SERIES[a, b] * powers[b, i, j]
        for f in range(len(rows)):
            start, end = rows[f], columns[f]
            for i in range(k):
                before = scale * powers[a, i, start]
                for j in range(k):
                    slopes[f, i, j] += before * (after[end, j] - after[start, j])


@compiled
def add_product(left: np.ndarray, right: np.ndarray, total: np.ndarray) -> None:
    """Add the product of two matrices to a third.

    Parameters
    ----------
    left, right, total
        (k, k) each.
    """
    k = len(left)
    for i in range(k):
        for through in range(k):
            for j in range(k):
                total[i, j] += left[i, through] * right[through, j]


@compiled
def multiply(power: np.ndarray, P: np.ndarray, room: np.ndarray) -> None:
    """Multiply a power of P by P, in its place.

    Parameters
    ----------
    power, P
        (k, k) each.
    room
        As large, for what is in between.
    """
    k = len(P)
    for i in range(k):
        for j in range(k):
            room[i, j] = 0.0
    add_product(power, P, room)
    for i in range(k):
        for j in range(k):
            power[i, j] = room[i, j]


@compiled
def multiply_slope(
    own: np.ndarray, power: np.ndarray, slope: np.ndarray, P: np.ndarray, room: np.ndarray
) -> None:
    """Turn the slope of a power of P into that of the next power, in its place.

    Parameters
    ----------
    own, power
        (k, k) slope of the power of P, and that power.
    slope, P
        (k, k) slope of P, and P.
    room
        As large, for what is in between.
    """
    k = len(P)
    for i in range(k):
        for j in range(k):
            room[i, j] = 0.0
    add_product(own, P, room)
    add_product(power, slope, room)
    for i in range(k):
        for j in range(k):
            own[i, j] = room[i, j]
