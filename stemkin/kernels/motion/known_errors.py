"""The likelihood of Brownian tracks whose places have known errors: only D is left to be found.

A particle diffuses with D per axis and is seen at place i with a known error s_i. Its displacements
d_i, over g_i frames of time t, are Gaussian with

    <d_i d_i> = 2 D t g_i + s_i² + s_(i+1)²,        <d_(i-1) d_i> = -s_i²,

(in frames with a blur coefficient R, s_i² - 2 R D t stands for s_i²: as in
`stemkin.kernels.motion.likelihood`), so ``ln L = -sum (ln b_i + u_i / 2)`` with ``u_i = (e_y² +
e_x²)/b_i``, innovations ``e_i = d_i + (s_i²/b_(i-1)) e_(i-1)`` and ``b_i = 2 D t g_i + s_i² +
s_(i+1)² - s_i⁴/b_(i-1)``. Places that are seen well count for more, gaps cost only their own
information. ln L is taken at nodes ln D t that are the same for all tracks, and is smooth between
them.

Trap: the errors are taken at their word. If they are 10 % too small, D is 16 % too large at SNR =
sqrt(D t)/s of 0.5, 10 % at 1, 4 % at 2.

Source of the model: Berglund, Phys. Rev. E 82, 011917 (2010); Michalet & Berglund, Phys. Rev. E 85,
061916 (2012).
"""

from __future__ import annotations

import numpy as np
from scipy import interpolate, special

from stemkin.kernels.motion.evidence import MANY_UNITS, SURE, UNKNOWN, Diffusion
from stemkin.kernels.motion.walks import Walks, sums_per_unit

LOG_D = np.arange(np.log(1e-8), np.log(1e9), 0.35)
"""Nodes of ln D t [nm²]; slower is standing still, and faster is infinite."""

N_NODES = len(LOG_D)
N_NUMBERS = 6 + 3 * N_NODES
"""Length of what a unit adds: see `stated_numbers`."""

FINE = np.linspace(LOG_D[0], LOG_D[-1], 5601)
_SLOPE = interpolate.make_interp_spline(LOG_D, np.eye(N_NODES), k=5).derivative()(LOG_D)
_LARGEST = 1e9
"""Slopes and squares far from the maximum are cut here: they are not needed, and their squares must
fit into exact sums."""


def stated_numbers(walks: Walks, *, variance: np.ndarray) -> np.ndarray:
    """Return what each unit adds to the likelihood and to its robust error.

    Parameters
    ----------
    walks
        Positions along segments [nm].
    variance
        (n,) squared error of each place along each axis [nm²]; NaN where it is not known.

    Returns
    -------
    (n_units, N_NUMBERS): what the displacements stand for, whether there are any, their number, the
    number of places without an error, the sum of the squared errors of the others and their number;
    then at each node ln L, the square of its slope in ln D t, and the sum of u².
    """
    known = np.isfinite(variance)
    variance = np.where(known, variance, 0.0)
    begins = np.flatnonzero(walks.linked)
    weight = np.zeros(len(walks.frame))
    weight[begins] = walks.following_weights(begins)
    first, log_L, fourth = _node_sums(walks, variance, weight)
    log_L, fourth = walks.per_unit(first, log_L), walks.per_unit(first, fourth)
    slope = np.zeros_like(log_L)
    for i in range(N_NODES):  # a plain sum: a product of matrices may round by its size
        slope += log_L[:, i, None] * _SLOPE[:, i]
    moves = np.zeros(len(weight), bool)
    moves[begins] = True
    of_rows = np.stack([weight, moves, ~known, variance, known], axis=1)
    m, n, *places = sums_per_unit(of_rows, walks.unit, walks.n_units).T
    head = np.stack([m, n > 0, n, *places], axis=1)
    cut = np.clip(slope, -_LARGEST, _LARGEST) ** 2
    return np.concatenate([head, log_L, cut, np.minimum(fourth, _LARGEST**2)], axis=1)


def _node_sums(
    walks: Walks, variance: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run along all segments side by side.

    Parameters
    ----------
    walks
        Positions along segments [nm].
    variance, weight
        (n,) squared error of each place [nm²], and what the displacement from it to the next stands
        for.

    Returns
    -------
    The (k,) first rows of the segments, and their (k, N_NODES) ln L and sums of u².
    """
    double_D = 2 * np.exp(LOG_D)
    blurred = walks.blur_at(np.arange(len(walks.frame)))
    n = np.diff(np.append(walks.starts, len(walks.frame))) - 1
    order = np.argsort(-n, kind="stable")
    starts, n = walks.starts[order], n[order]
    found = np.zeros((2, len(starts), N_NODES))
    b, ey, ex = np.full((1, N_NODES), np.inf), np.zeros((1, N_NODES)), np.zeros((1, N_NODES))
    for i in range(int(n.max(initial=0))):
        # The longest segments stand first, so that those with a displacement number i are the first
        # k. Before its first displacement a segment's b is infinite: nothing is carried over.
        k = int(np.searchsorted(-n, -i))
        at = starts[:k] + i
        dy, dx, gap = ((v[at + 1] - v[at])[:, None] for v in (walks.y, walks.x, walks.frame))
        w, less = weight[at, None], blurred[at, None] * double_D
        own, following = variance[at, None] - less, variance[at + 1, None] - less
        share = own / b[:k]
        b = double_D * gap + own + following - own * share
        ey, ex = dy + share * ey[:k], dx + share * ex[:k]
        u = (ey**2 + ex**2) / b
        found[0, :k] -= w * (np.log(b) + u / 2)
        found[1, :k] += w * u**2
    in_order = np.argsort(starts)
    return starts[in_order], found[0, in_order], found[1, in_order]


def most_likely_stated(
    totals: np.ndarray, frame_time: float, *, confidence: float = 0.95
) -> Diffusion:
    """Return D at the maximum of the likelihood, with the interval that the likelihood gives.

    As in `stemkin.kernels.motion.brownian.most_likely` the interval is scaled by how much the
    estimate varies, seen between tracks or, with few of them, between steps, beyond what Gaussian
    steps would.

    Parameters
    ----------
    totals
        (N_NUMBERS,) of `stated_numbers`, of tracks that share a frame time [s].
    frame_time
        That time.
    confidence
        Of the interval.
    """
    m, n_units, n = (float(v) for v in totals[:3])
    if m < 1:
        return UNKNOWN
    log_L, squared_slope, fourth = totals[6:].reshape(3, N_NODES)
    curve = interpolate.make_interp_spline(LOG_D, log_L, k=5)
    profile = curve(FINE)
    best = int(profile.argmax())
    still = best == 0
    log_D = float(FINE[best])
    bend = -float(curve(log_D, 2))
    if not still and bend > 0:
        log_D += float(np.clip(curve(log_D, 1) / bend, -1, 1) * min(1.0, FINE[1] - FINE[0]))
    inflation, freedom = m / n, 3 * m
    if n_units >= MANY_UNITS and not still and bend > 0:
        inflation = float(np.interp(log_D, LOG_D, squared_slope)) / bend * n_units / (n_units - 1)
        inflation, freedom = max(inflation, 0.05), min(freedom, n_units - 1)
    elif not still:
        excess = float(np.interp(log_D, LOG_D, fourth)) / m - 8
        if excess > SURE * np.sqrt(320 / m):  # of Gaussian steps it is 0, with that error
            inflation *= 1 + excess / 4
    drop = inflation * float(special.fdtri(1, freedom, confidence)) / 2
    inside = FINE[profile >= profile.max() - drop]
    D, low, high = (float(np.exp(v)) / frame_time for v in (log_D, inside[0], inside[-1]))
    D = 0.0 if still else D
    D = np.inf if best == len(FINE) - 1 else D
    low = 0.0 if inside[0] == FINE[0] else low
    high = np.inf if inside[-1] == FINE[-1] else high
    s2 = float(totals[4] / totals[5]) if totals[5] > 0 else np.nan
    return Diffusion(D, low, high, s2, inflation)
