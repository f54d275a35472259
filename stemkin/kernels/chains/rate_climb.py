"""The way to the most likely rates of a chain, as plain loops; `rate_likelihood` says what they are.

Times are multiples of a few *bases*: exp(Q t) of a base is computed once, and those of its
multiples are powers of it. Counts, times and places of the rates travel as one tuple of arrays
(`Problem`), which `problem_of` makes.
"""

from __future__ import annotations

import numpy as np

from stemkin.kernels.chains.generator_slopes import (
    exponential_and_slopes,
    multiply,
    multiply_slope,
)
from stemkin.kernels.common.compiling import compiled

FASTEST = 20.0
"""A rate of more than this per shortest gap cannot be told from an infinite one."""
SLOWEST = 1e-9
MOST_STEPS, MOST_HALVINGS = 200, 30

Problem = tuple[np.ndarray, ...]
"""Counts (m, k, k); bases (s,), edges (s + 1,), places (m,), exponents (m,): multiples `edges[i]` to
`edges[i + 1]` are those of base i, each with its place among the times, and how many times the base
it is; rows, columns, rate, share (n_entries,): where in the generator stands how much of which rate.
"""


def problem_of(
    counts: np.ndarray,
    times: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    rate: np.ndarray,
    share: np.ndarray,
) -> Problem:
    """Return what the loops below work on.

    Parameters
    ----------
    counts
        (m, k, k) pairs of each time.
    times
        (m,) in ascending order.
    rows, columns, rate, share
        (n_entries,) places in the generator, which of the rates stands there, how much of it.
    """
    series: list[tuple[float, list[int], list[int]]] = []
    for place, time in enumerate(times.tolist()):
        for base, places, exponents in series:
            ratio = time / base
            if abs(ratio - round(ratio)) < 1e-9 and round(ratio) > exponents[-1]:
                places.append(place)
                exponents.append(round(ratio))
                break
        else:
            series.append((time, [place], [1]))
    edges = np.cumsum([0, *(len(places) for _, places, _ in series)])
    bases = np.array([base for base, _, _ in series], np.float64)
    whole = (
        edges,
        [place for _, places, _ in series for place in places],
        [exponent for _, _, exponents in series for exponent in exponents],
        rows,
        columns,
        rate,
    )
    own_edges, *others = (np.ascontiguousarray(numbers, np.int64) for numbers in whole)
    floats = (np.ascontiguousarray(values, np.float64) for values in (counts, share))
    own_counts, own_share = floats
    return own_counts, bases, own_edges, *others, own_share


@compiled
def generator_of(x: np.ndarray, problem: Problem) -> np.ndarray:
    """Return the (k, k) generator whose rates are `x`.

    Parameters
    ----------
    x
        (n,) rates per shortest gap.
    problem
        What `problem_of` returns; counts and times are not used.
    """
    counts, _, _, _, _, rows, columns, rate, share = problem
    k = counts.shape[1]
    Q = np.zeros((k, k))
    for e in range(len(rows)):
        own = share[e] * x[rate[e]]
        Q[rows[e], columns[e]] += own
        Q[rows[e], rows[e]] -= own
    return Q


@compiled
def sums_at(
    x: np.ndarray, problem: Problem, gradient: np.ndarray, information: np.ndarray
) -> float:
    """Return the log-likelihood of rates, and put its slopes into the last two.

    Parameters
    ----------
    x
        (n,) rates per shortest gap.
    problem
        Counts, times and places.
    gradient, information
        (n,) slopes, and the (n, n) sum of n_i dP_ij dP_ij / P_ij; both empty where the value alone
        is wanted.
    """
    counts, bases, edges, places, exponents, rows, columns, rate, share = problem
    n, k, value = len(gradient), counts.shape[1], 0.0
    Q, room, power = generator_of(x, problem), np.zeros((k, k)), np.zeros((k, k))
    slopes, own = np.zeros((n, k, k)), np.zeros((n, k, k))
    n_entries = len(rows) * min(n, 1)
    for f in range(n):
        gradient[f] = 0.0
        for g in range(n):
            information[f, g] = 0.0
    for s in range(len(bases)):
        P, of_entries = exponential_and_slopes(Q, bases[s], rows[:n_entries], columns)
        for i in range(k):
            for j in range(k):
                power[i, j] = P[i, j]
                for f in range(n):
                    slopes[f, i, j] = 0.0
                for e in range(n_entries):
                    slopes[rate[e], i, j] += share[e] * bases[s] * of_entries[e, i, j]
                for f in range(n):
                    own[f, i, j] = slopes[f, i, j]
        reached = 1
        for m in range(edges[s], edges[s + 1]):
            while reached < exponents[m]:
                for f in range(n):
                    multiply_slope(own[f], power, slopes[f], P, room)
                multiply(power, P, room)
                reached += 1
            value += _add_time(counts[places[m]], power, own, gradient, information)
    return value


@compiled
def _add_time(
    counts: np.ndarray,
    P: np.ndarray,
    slopes: np.ndarray,
    gradient: np.ndarray,
    information: np.ndarray,
) -> float:
    """Add what the pairs of one time say to the last two; return their log-likelihood."""
    n, k, value = len(slopes), len(P), 0.0
    for i in range(k):
        at_risk = 0.0
        for j in range(k):
            at_risk += counts[i, j]
        for j in range(k):
            chance = max(P[i, j], 1e-300)
            value += counts[i, j] * np.log(chance)
            weight = at_risk / max(chance, 1e-12)
            for f in range(n):
                gradient[f] += slopes[f, i, j] * (counts[i, j] / chance)
                for g in range(n):
                    information[f, g] += slopes[f, i, j] * slopes[g, i, j] * weight
    return value


@compiled
def climb_rates(x: np.ndarray, movable: np.ndarray, enough: float, problem: Problem) -> int:
    """Go to the most likely rates by Fisher's scoring; return how often slopes were computed.

    Parameters
    ----------
    x
        (n,) where to begin; in the end the most likely rates.
    movable
        (n,) which rates may change.
    enough
        Where a step promises less than this gain of the log-likelihood, the climb ends.
    problem
        Counts, times and places.
    """
    n, value, promised, steps, shortened = len(x), -np.inf, 0.0, 0, 0
    gradient, information = np.zeros(n), np.zeros((n, n))
    slopes, known = np.zeros(n), np.zeros((n, n))
    after, step = x.copy(), np.zeros(n)
    for look in range(MOST_STEPS * MOST_HALVINGS):
        reached = sums_at(after, problem, slopes, known)
        step_is_long = look > 0 and reached < value + 1e-4 * promised
        if step_is_long and shortened < MOST_HALVINGS:
            shortened += 1
            for f in range(n):
                step[f] /= 2
        else:
            value, shortened = reached, 0
            for f in range(n):
                x[f], gradient[f] = after[f], slopes[f]
                for g in range(n):
                    information[f, g] = known[f, g]
            gain = _scoring_step(x, movable, gradient, information, step)
            steps += 1
            if gain < enough or steps > MOST_STEPS:
                break
        # Rates stop at their ends; what a step promises is counted along the way left.
        promised = 0.0
        for f in range(n):
            after[f] = x[f]
            if step[f] != 0.0:
                after[f] = min(max(x[f] + step[f], SLOWEST), FASTEST)
            promised += gradient[f] * (after[f] - x[f])
        if promised < enough:
            break
    return look + 1


@compiled
def _scoring_step(
    x: np.ndarray,
    movable: np.ndarray,
    gradient: np.ndarray,
    information: np.ndarray,
    step: np.ndarray,
) -> float:
    """Find the step of Fisher's scoring, information⁻¹ gradient; return what it promises.

    Rates that may not move, or only beyond their ends, stay. Some may say nothing: rates differ by
    orders of magnitude, and in units of their own errors the matrix has ones on its diagonal; a
    small number added to them keeps flat directions from running away.
    """
    n = len(x)
    matrix, scale = np.zeros((n, n)), np.zeros(n)
    for f in range(n):
        outwards = (x[f] <= SLOWEST and gradient[f] <= 0) or (x[f] >= FASTEST and gradient[f] >= 0)
        if movable[f] and not outwards:
            scale[f] = 1 / np.sqrt(max(information[f, f], 1e-12))
    for f in range(n):
        step[f] = scale[f] * gradient[f]
        for g in range(n):
            matrix[f, g] = information[f, g] * scale[f] * scale[g]
        matrix[f, f] += 1e-9
    # Elimination without exchange of rows: the matrix is that of a sum of squares.
    for f in range(n):
        for g in range(f + 1, n):
            part = matrix[g, f] / matrix[f, f]
            step[g] -= part * step[f]
            for h in range(f, n):
                matrix[g, h] -= part * matrix[f, h]
    promised = 0.0
    for f in range(n - 1, -1, -1):
        for g in range(f + 1, n):
            step[f] -= matrix[f, g] * step[g]
        step[f] /= matrix[f, f]
    for f in range(n):
        step[f] *= scale[f]
        promised += gradient[f] * step[f]
    return promised
