"""The bottom of a valley in a few numbers, by Newton's steps on a function that is asked for values.

Slopes and curvature come of the differences between the nine points around a place (of two
numbers), so a function that keeps what depends on one number alone is asked for little.

>>> where, bend = bottom(lambda x: (x[0] - 1) ** 2 + 3 * (x[1] - 2) ** 2, np.array([3.0, 2.0]), [(-5, 5)] * 2)
>>> where.round(6).tolist(), bend.round(3).tolist()
([1.0, 2.0], [[2.0, 0.0], [0.0, 6.0]])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Function = Callable[[np.ndarray], float]

H = 2e-4
"""Between the points whose differences are slopes."""
MOST_STEPS, MOST_HALVINGS = 60, 12
LONGEST = 1.0
"""Of a step in each number, since curvature tells little of what is farther away."""
ENOUGH = 1e-7
"""The search ends with the step that promises less."""
FLATTEST = 1e-6
"""Curvature along a step is at least this part of the largest."""


def curvature(f: Function, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the value, the (n,) slopes and the (n, n) curvature of a function.

    Parameters
    ----------
    f
        Smooth.
    x
        (n,) where.
    """
    n = len(x)
    steps = np.eye(n) * H
    middle, slope, bend = f(x), np.empty(n), np.empty((n, n))
    for i in range(n):
        ahead, behind = f(x + steps[i]), f(x - steps[i])
        slope[i] = (ahead - behind) / (2 * H)
        bend[i, i] = (ahead - 2 * middle + behind) / H**2
        for j in range(i):
            alike = f(x + steps[i] + steps[j]) + f(x - steps[i] - steps[j])
            opposed = f(x + steps[i] - steps[j]) + f(x - steps[i] + steps[j])
            bend[i, j] = bend[j, i] = (alike - opposed) / (4 * H**2)
    return middle, slope, bend


def bottom(
    f: Function, start: np.ndarray, ends: Sequence[tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a function is lowest, downhill from a start, and its curvature before the last step.

    Parameters
    ----------
    f
        Smooth; it is asked for places up to twice `H` beyond the ends too.
    start
        (n,) where the search begins.
    ends
        Lowest and highest of each number.

    Notes
    -----
    Newton's steps with the curvature's own directions, each taken downhill, halved until the
    function falls (Nocedal & Wright, Numerical Optimization (2006), ch. 3.4); a number that is at
    its end and would go beyond it stays there (Bertsekas, SIAM J. Control Optim. 20, 221 (1982)).
    """
    low, high = np.array(ends, dtype=np.float64).T
    x = np.clip(np.asarray(start, dtype=np.float64), low, high)
    for _ in range(MOST_STEPS):
        value, slope, bend = curvature(f, x)
        free = ~(((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0)))
        step = np.zeros(len(x))
        if free.any():
            step[free] = _downhill(slope[free], bend[np.ix_(free, free)])
        step /= max(float(np.abs(step).max()) / LONGEST, 1.0)
        promised = -float(slope @ step) / 2
        for _ in range(MOST_HALVINGS):
            there = np.clip(x + step, low, high)
            if promised < ENOUGH or f(there) < value:
                break
            step = step / 2
        else:
            return x, bend
        x = there
        if promised < ENOUGH:
            break
    return x, bend


def _downhill(slope: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Return Newton's step, turned downhill along every direction that bends the other way."""
    bends, along = np.linalg.eigh(bend)
    bends = np.abs(bends)
    bends = np.maximum(bends, max(float(bends.max()) * FLATTEST, 1e-12))
    return -np.asarray(along @ ((along.T @ slope) / bends))
