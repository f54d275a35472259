"""The exact likelihood of Brownian tracks: its sums over units, at 32 nodes of the error.

A particle diffuses with D per axis and is seen with a localisation error s. Its displacements d_1
.. d_m, over g_i frames of time t each, are Gaussian with the tridiagonal covariance

    <d_i d_i> = 2 D t g_i + 2 s²,        <d_i d_(i+1)> = -s²,

so gaps (g > 1) cost nothing but their own information. Frames that are exposed for a while, with a
blur coefficient R (`stemkin.kernels.motion.walks.blur_coefficient`), have s² - 2 R D t in place of
s². With r = s²/(D t) this is D t times a matrix of r alone, and

    ln L = -m ln(D t) - l(r) - Q(r) / (2 D t)                (two axes, up to a constant),

where l is the sum of ln b_i and Q that of (e_y² + e_x²)/b_i over the innovations e_i = d_i + (q /
b_(i-1)) e_(i-1) with b_i = 2 g_i + 2 q - q²/b_(i-1), q = r - 2 R. Both are sums over tracks and
smooth in ln r:
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
from stemkin.kernels.motion.walks import Walks, sums_per_unit

N_NODES = 32
LOWEST, HIGHEST = np.log(1e-3), np.log(3e3)
"""Range of ln r; r below it stands for no localisation error, r above it for no diffusion."""

_X = chebyshev.chebpts1(N_NODES)
LOG_R = (LOWEST + HIGHEST) / 2 + (HIGHEST - LOWEST) / 2 * _X
"""(32,) nodes ln r."""
TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_X, N_NODES - 1))
"""(32, 32) from the values at the nodes to the coefficients of Chebyshev polynomials."""

_SLOPE = np.stack([chebyshev.chebval(_X, chebyshev.chebder(c)) for c in TO_COEFFICIENTS.T], axis=1)
_SLOPE *= 2 / (HIGHEST - LOWEST)
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
    walks: Walks,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what each segment adds to the likelihood, at the 32 nodes.

    A displacement stands for as many as the two steps of which it is the later one.

    Parameters
    ----------
    walks
        Positions along segments [length]; a displacement counts as often as its weight says.

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
    # `step` lists the rows at which displacements begin: displacement j leads from row step[j] to
    # the next. `starts` counts displacements, not rows: segment i holds those from starts[i] on.
    step = np.flatnonzero(walks.linked)
    gap, dy, dx = (np.diff(v)[step].astype(np.float64) for v in (walks.frame, walks.y, walks.x))
    weight = walks.following_weights(step)
    begins = np.append(True, walks.segment[step][1:] != walks.segment[step][:-1])[: len(step)]
    starts = np.flatnonzero(begins)
    n = np.diff(np.append(starts, len(step)))
    m = np.zeros(len(starts))
    if len(starts):
        m = np.add.reduceat(weight, starts)
    order = np.argsort(-n, kind="stable")
    sums, blur = np.zeros((3, len(n), N_NODES)), walks.blur_at(step[starts])
    for strip in np.array_split(order, max(1, len(order) // _STRIP)):
        sums[:, strip] = _strip_sums(starts[strip], n[strip], gap, dy, dx, weight, blur[strip])
    return step[starts], n, m, *sums


def _strip_sums(
    starts: np.ndarray,
    n: np.ndarray,
    gap: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    weight: np.ndarray,
    blur: np.ndarray,
) -> np.ndarray:
    """Run along segments side by side; return their (3, k, N_NODES) l, Q and fourth-order sums.

    Parameters
    ----------
    starts, n
        (k,) first displacement of each segment and their number, the longest segment first.
    gap, dy, dx, weight
        (m,) of all displacements: frames, components [length], and what they stand for.
    blur
        (k,) blur coefficient of each segment.
    """
    q = np.exp(LOG_R) - 2 * blur[:, None]
    if (blur == blur[:1]).all():  # one row for all segments
        q = q[:1]
    sums = np.zeros((3, len(n), N_NODES))
    even, weighted = bool((gap == 1).all()), bool((weight != 1).any())
    b, ey, ex = np.full((1, N_NODES), np.inf), np.zeros((1, N_NODES)), np.zeros((1, N_NODES))
    product = np.ones((len(n), N_NODES))
    for i in range(int(n.max(initial=0))):
        # The longest segments stand first, so that those with a displacement number i are the first
        # k. Before its first displacement a segment's b is infinite: nothing is carried over.
        # Without gaps all segments share one row of b.
        k = int(np.searchsorted(-n, -i))
        at = starts[:k] + i
        own = q[:k]
        diagonal = 2 * (1 + own)
        if not even:
            diagonal = 2 * (gap[at, None] + own)
        share = own / b[:k]
        b = diagonal - own * share
        ey, ex = dy[at, None] + share * ey[:k], dx[at, None] + share * ex[:k]
        u = (ey**2 + ex**2) / b
        if weighted:  # l, Q and the rest count w times, once of which comes below
            w = weight[at, None] - 1
            sums[0, :k] += w * np.log(b)
            sums[2, :k] += w * u**2
            sums[1, :k] += w * u
        sums[1, :k] += u
        sums[2, :k] += u * u
        product[:k] *= b
        if i % 16 == 15:  # one logarithm of 16 factors, before their product overflows
            sums[0] += np.log(product)
            product[:] = 1
    sums[0] += np.log(product)
    return sums


def likelihood_numbers(walks: Walks) -> np.ndarray:
    """Return what each unit adds to the pooled likelihood and to its robust error.

    Parameters
    ----------
    walks
        Positions along segments [length].

    Returns
    -------
    (n_units, N_NUMBERS): m, m², whether there is any displacement, and how many; then, at each
    node, l, Q, the fourth-order sum, and the products over units m Q, m l', m Q', Q², Q l', Q Q',
    l'², l' Q', Q'² (a prime is the slope in ln r).
    """
    first, n_segment, m_segment, *sums = innovation_sums(walks)
    owner = walks.unit[first]
    n, m = (sums_per_unit(v[:, None], owner, walks.n_units) for v in (n_segment, m_segment))
    if len(owner) != walks.n_units or (np.diff(owner) != 1).any():
        sums = [sums_per_unit(v, owner, walks.n_units) for v in sums]
    log_b, Q, fourth = sums
    dl, dQ = _slopes(log_b), _slopes(Q)
    products = [m * Q, m * dl, m * dQ, Q**2, Q * dl, Q * dQ, dl**2, dl * dQ, dQ**2]
    return np.concatenate([m, m**2, m > 0, n, log_b, Q, fourth, *products], axis=1)


def _slopes(values: np.ndarray) -> np.ndarray:
    """Return d/d ln r of functions (k, N_NODES) that are given at the nodes."""
    slopes = np.zeros_like(values)
    # A plain sum: a product of matrices may round by its size, and so by how rows were cut.
    for i in range(N_NODES):
        slopes += values[:, i, None] * _SLOPE[:, i]
    return slopes
