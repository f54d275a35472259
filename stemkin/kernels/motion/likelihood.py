"""The exact likelihood of Brownian tracks: diffusion and localisation error told apart as well as
can be.

A particle diffuses with D per axis and is seen with a localisation error s. Its displacements d_1
.. d_m, over g_i frames of time t each, are Gaussian with the tridiagonal covariance

    <d_i d_i> = 2 D t g_i + 2 s²,        <d_i d_(i+1)> = -s²,

so gaps (g > 1) cost nothing but their own information. With r = s²/(D t) this is D t times a matrix
of r alone, and

    ln L = -m ln(D t) - l(r) - Q(r) / (2 D t)                (two axes, up to a constant),

where l is the sum of ln b_i and Q that of (e_y² + e_x²)/b_i over the innovations e_i = d_i + (r /
b_(i-1)) e_(i-1) with b_i = 2 g_i + 2 r - r²/b_(i-1). Both are sums over tracks and smooth in ln r:
they are taken at 32 Chebyshev nodes, once, and everything else (the maximum, the interval:
`stemkin.kernels.motion.brownian`) follows from these sums. Interpolation is good to one part in
10^5.

Source of the model: Berglund, Phys. Rev. E 82, 011917 (2010); Michalet & Berglund, Phys. Rev. E 85,
061916 (2012).
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

from stemkin.blas import one_thread
from stemkin.kernels.motion.borders import Weights, all_alike

N_NODES = 32
LOWEST, HIGHEST = np.log(1e-3), np.log(3e3)
"""Range of ln r; r below it stands for no localisation error, r above it for no diffusion."""

_X = chebyshev.chebpts1(N_NODES)
LOG_R = (LOWEST + HIGHEST) / 2 + (HIGHEST - LOWEST) / 2 * _X
"""(32,) nodes ln r."""
TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_X, N_NODES - 1))
_SLOPE = np.stack(
    [chebyshev.chebval(_X, chebyshev.chebder(c)) for c in TO_COEFFICIENTS.T], axis=1
) * (2 / (HIGHEST - LOWEST))  # fmt: skip
FINE = np.linspace(LOWEST, HIGHEST, 1501)
with one_thread:  # a product of this size has other last bits when threads share it
    FINE_FROM_NODES = (
        chebyshev.chebvander(np.linspace(-1, 1, len(FINE)), N_NODES - 1) @ TO_COEFFICIENTS
    )

N_NUMBERS = 4 + 12 * N_NODES
"""Length of what a unit adds: see `likelihood_numbers`."""

_STRIP = 1024
"""Segments worked on at a time, so that their 32 likelihoods stay in the processor's cache."""


def innovation_sums(
    segment: np.ndarray,
    frame: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    weights: Weights = all_alike,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what each segment adds to the likelihood, at the 32 nodes.

    A displacement that stands for several begins a segment anew: whoever is near the border is seen
    going back, which would read as an error of its place, so that nothing is inferred from the
    displacement before.

    Parameters
    ----------
    segment, frame, y, x
        (n,) rows ordered by segment and frame; positions [length].
    weights
        What each displacement stands for (`stemkin.kernels.motion.borders`): it counts so often.

    Returns
    -------
    first
        (k,) first row of each segment that has a displacement.
    n, m
        (k,) number of displacements, and what they stand for.
    log_b, quadratic, fourth
        (k, 32) l, Q [length²] and the sum of ((e_y² + e_x²)/b)² [length⁴], which tells Gaussian
        steps from others.
    """
    step = np.flatnonzero(segment[1:] == segment[:-1])
    gap, dy, dx = (np.diff(v)[step].astype(np.float64) for v in (frame, y, x))
    weight = weights(step, np.hypot(dy, dx))
    begins = (
        np.append(True, segment[step][1:] != segment[step][:-1]) | (weight != 1)
        if len(step)
        else step
    )
    starts = np.flatnonzero(begins)
    n = np.diff(np.append(starts, len(step)))
    m = np.add.reduceat(weight, starts) if len(starts) else n.astype(np.float64)
    order = np.argsort(-n, kind="stable")
    sums = np.zeros((3, len(n), N_NODES))
    for strip in np.array_split(order, max(1, len(order) // _STRIP)):
        sums[:, strip] = _strip_sums(starts[strip], n[strip], gap, dy, dx, weight)
    return step[starts], n, m, *sums


def _strip_sums(
    starts: np.ndarray,
    n: np.ndarray,
    gap: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Run along the segments (longest first, of `n` displacements) side by side."""
    r = np.exp(LOG_R)
    sums = np.zeros((3, len(n), N_NODES))
    even = bool((gap == 1).all())  # without gaps all segments share their b
    b = ey = ex = np.zeros((0, N_NODES))
    product = np.ones((len(n), N_NODES))
    for i in range(int(n.max(initial=0))):
        k = int(np.searchsorted(-n, -i))  # segments with a displacement number i
        at = starts[:k] + i
        diagonal = 2 * (1 + r)[None] if even else 2 * (gap[at, None] + r)
        if i == 0:
            b, ey, ex = diagonal, dy[at, None] + 0 * r, dx[at, None] + 0 * r
        else:
            share = r / (b if even else b[:k])
            b = diagonal - r * share
            ey, ex = dy[at, None] + share * ey[:k], dx[at, None] + share * ex[:k]
        u = (ey**2 + ex**2) / b
        more = np.flatnonzero(weight[at] != 1)
        if len(more):
            w = weight[at[more], None]
            sums[0, more] += (w - 1) * np.log(b if even else b[more])
            sums[2, more] += (w - 1) * u[more] ** 2
            sums[1, more] += (w - 1) * u[more]
        sums[1, :k] += u
        sums[2, :k] += u * u
        product[:k] *= b
        if i % 16 == 15:
            sums[0] += np.log(product)
            product[:] = 1
    sums[0] += np.log(product)
    return sums


def likelihood_numbers(
    segment: np.ndarray,
    frame: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    unit: np.ndarray,
    *,
    n_units: int,
    weights: Weights = all_alike,
) -> np.ndarray:
    """Return what each unit adds to the pooled likelihood and to its robust error.

    Returns
    -------
    (n_units, N_NUMBERS): m, m², whether there is any displacement, and how many; then, at each
    node, l, Q, the fourth-order sum, and the products over units m Q, m l', m Q', Q², Q l', Q Q',
    l'², l' Q', Q'² (a prime is the slope in ln r).
    """
    first, n_segment, m_segment, *sums = innovation_sums(segment, frame, y, x, weights)
    owner = unit[first] if len(first) else np.zeros(0, dtype=np.int64)
    n, m = (
        np.bincount(owner, weights=v, minlength=n_units).astype(float)[:, None]
        for v in (n_segment, m_segment)
    )
    if len(owner) == n_units and (np.diff(owner) == 1).all():
        log_b, quadratic, fourth = sums
    else:
        log_b, quadratic, fourth = (_per_unit(v, owner, n_units) for v in sums)
    dl, dq = _slopes(log_b), _slopes(quadratic)
    return np.concatenate(
        [
            m, m**2, m > 0, n, log_b, quadratic, fourth, m * quadratic, m * dl, m * dq, quadratic**2, quadratic * dl,
            quadratic * dq, dl**2, dl * dq, dq**2,
        ], axis=1,
    )  # fmt: skip


def _slopes(values: np.ndarray) -> np.ndarray:
    """Return d/d ln r of functions given at the nodes (a plain sum: a product of matrices may round
    by its size)."""
    slopes = np.zeros_like(values)
    for i in range(N_NODES):
        slopes += values[:, i, None] * _SLOPE[:, i]
    return slopes


def _per_unit(values: np.ndarray, owner: np.ndarray, n_units: int) -> np.ndarray:
    sums = np.zeros((n_units, values.shape[1]))
    for i in range(values.shape[1]):
        sums[:, i] = np.bincount(owner, weights=values[:, i], minlength=n_units)
    return sums
