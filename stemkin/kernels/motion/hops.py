"""Hops on a triangular lattice: how often a defect jumps to one of its six neighbours.

Between two frames a defect makes n hops, a Poisson number with mean Gamma t, in random directions;
it is then on one of the *shells* of the lattice (distance 0, a, sqrt(3) a, 2 a, ...), and it is
seen with a localisation error s. So the observed distance d has the density

    p(d) = sum over shells of P(shell | Gamma t) Rice(d; R_shell, s sqrt 2),

and Gamma and s follow from the histogram of d by maximum likelihood. Two hops in one frame are
counted as two, and noise is told from hops. For an isotropic walk D = a² Gamma / 4.

>>> shells()[0][:4].round(3).tolist()
[0.0, 1.0, 1.732, 2.0]
>>> shell_probabilities(np.array([0.0]))[0, :2].tolist()
[1.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special

from stemkin.kernels.common.intervals import count_interval
from stemkin.kernels.motion.borders import Weights, all_alike

BINS_PER_HOP = 40
N_BINS = 6 * BINS_PER_HOP
MAX_GAP = 4
"""Distances are counted in bins of a/40 up to 6 a, for displacements over 1 to 4 frames."""

MOST_HOPS = 24
N_COUNTS = MAX_GAP * N_BINS
N_NUMBERS = 2 * N_COUNTS + 7
"""Length of what a group adds: see `hop_numbers`."""


def hop_numbers(
    segment: np.ndarray,
    frame: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    unit: np.ndarray,
    group: np.ndarray,
    *,
    n_units: int,
    n_groups: int,
    hop_length: float,
    weights: Weights = all_alike,
) -> np.ndarray:
    """Count distances between rows that follow each other in a segment.

    Parameters
    ----------
    segment, frame, y, x
        (n,) rows ordered by segment and frame; positions [length].
    unit, group
        (n,) unit of each row; (n_units,) group of each unit.
    hop_length
        The lattice constant a [length].
    weights
        What each displacement stands for (`stemkin.kernels.motion.borders`), in multiples of 1/64.

    Returns
    -------
    (n_groups, N_NUMBERS) multiples of 1/4096: the histogram of each gap, weighted, and another
    weighted by the squares of the weights; then over units the number with a displacement, the sums
    of hops h (steps of more than a/2), of frames at risk f, of h², h f and f², and the number of
    displacements as they are.
    """
    numbers = np.zeros((n_groups, N_NUMBERS))
    if len(frame) < 2:
        return numbers
    gap = np.diff(frame)
    pair = np.flatnonzero((segment[1:] == segment[:-1]) & (gap <= MAX_GAP))
    distance = np.hypot(y[pair + 1] - y[pair], x[pair + 1] - x[pair]) / hop_length
    position = np.minimum((distance * BINS_PER_HOP).astype(np.int64), N_BINS - 1)
    owner = unit[pair]
    where = (group[owner] * MAX_GAP + gap[pair] - 1) * N_BINS + position
    stands_for = weights(pair, distance * hop_length)
    for i, weight in enumerate((stands_for, stands_for**2)):
        histogram = np.bincount(where, weights=weight, minlength=n_groups * N_COUNTS)
        numbers[:, i * N_COUNTS : (i + 1) * N_COUNTS] = histogram.reshape(n_groups, -1)
    hops = np.bincount(owner, weights=np.minimum(np.rint(distance), 6), minlength=n_units)
    frames = np.bincount(owner, weights=gap[pair], minlength=n_units)
    n = np.bincount(owner, minlength=n_units)
    for i, value in enumerate((frames > 0, hops, frames, hops**2, hops * frames, frames**2, n)):
        numbers[:, 2 * N_COUNTS + i] = np.bincount(group, weights=value, minlength=n_groups)
    return numbers


@cache
def shells() -> tuple[np.ndarray, np.ndarray]:
    """Return the radii [a] of the lattice's shells within 8 a, and the (25, n_shells) chance to be
    on each after n hops."""
    size = 2 * MOST_HOPS + 1
    walk = np.zeros((size, size))
    walk[MOST_HOPS, MOST_HOPS] = 1
    u, v = np.meshgrid(np.arange(size) - MOST_HOPS, np.arange(size) - MOST_HOPS, indexing="ij")
    square, shell = np.unique(u**2 + u * v + v**2, return_inverse=True)
    chances = []
    for _ in range(MOST_HOPS + 1):
        chances.append(np.bincount(shell.ravel(), weights=walk.ravel(), minlength=len(square)))
        steps = ((0, 1), (1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1))
        walk = np.sum([np.roll(walk, step, axis=(0, 1)) for step in steps], axis=0) / 6
    near = square <= 64
    return np.sqrt(square[near]), np.stack(chances)[:, near]


def shell_probabilities(mean_hops: np.ndarray) -> np.ndarray:
    """Return the (..., n_shells) chance to be on each shell when the number of hops is Poisson with
    mean `mean_hops` (...)."""
    n = np.arange(MOST_HOPS + 1)
    mean = np.asarray(mean_hops, dtype=np.float64)[..., None]
    weight = np.exp(special.xlogy(n, mean) - mean - special.gammaln(n + 1))
    return np.asarray(weight @ shells()[1])


def distance_probabilities(s: float, bins: np.ndarray) -> np.ndarray:
    """Return the (n_shells, m) chance to see a distance in each of the `bins` (m,), for a
    localisation error `s` [a] per axis."""
    parts = 4
    d = (bins + (np.arange(parts)[:, None] + 0.5) / parts)[:, None] / BINS_PER_HOP
    radius = shells()[0][:, None]
    spread = 2 * s**2
    density = (
        d / spread * np.exp(-((d - radius) ** 2) / (2 * spread)) * special.i0e(d * radius / spread)
    )
    return np.asarray(np.maximum(density.mean(axis=0) / BINS_PER_HOP, 1e-12))


@dataclass(frozen=True)
class HopRate:
    """Hops per frame, their interval, and what else the histogram says.

    Attributes
    ----------
    rate, low, high
        Hops per frame.
    n_hops
        Effective number of hops behind the rate: its relative error is ``1/sqrt(n_hops)``.
    s
        Localisation error per axis [a].
    n
        Number of displacements.
    n_units
        Number of units with a displacement.
    """

    rate: float
    low: float
    high: float
    n_hops: float
    s: float
    n: int
    n_units: int


def most_likely_rate(numbers: np.ndarray, *, confidence: float = 0.95) -> HopRate:
    """Return the hop rate that makes the histograms most likely.

    The interval is that of a count with the same relative error (Jeffreys' prior). Where tracks
    differ more than chance allows (score test for overdispersion at 1 %; Dean & Lawless, J. Am.
    Stat. Assoc. 84, 467 (1989)) it is widened; and where some steps stand for several, by what
    these say less than as many steps.

    Parameters
    ----------
    numbers
        (N_NUMBERS,) totals of `hop_numbers`.
    confidence
        Of the interval.
    """
    histogram, squares = numbers[: 2 * N_COUNTS].reshape(2, MAX_GAP, N_BINS)
    n, n_units = int(numbers[-1]), int(numbers[-7])
    if n == 0:
        return HopRate(np.nan, np.nan, np.nan, 0.0, np.nan, 0, n_units)
    gaps = np.arange(1, MAX_GAP + 1)
    exposure = float(histogram.sum(axis=1) @ gaps)
    far = histogram[:, BINS_PER_HOP // 2 :].sum()
    at_home = histogram[:, : BINS_PER_HOP // 2].sum(axis=0)
    middle = (np.arange(BINS_PER_HOP // 2) + 0.5) / BINS_PER_HOP
    s = max(float(np.sqrt((at_home @ middle**2) / max(at_home.sum(), 1) / 4)), 0.1 / BINS_PER_HOP)

    bins = np.flatnonzero(histogram.any(axis=0))
    histogram, squares = histogram[:, bins], squares[:, bins]

    def log_chance(x: np.ndarray) -> np.ndarray:
        chance = shell_probabilities(np.exp(x[0]) * gaps) @ distance_probabilities(
            float(np.exp(x[1])), bins
        )
        return np.asarray(np.log(chance))

    def loss(x: np.ndarray) -> float:
        return -float((histogram * log_chance(x)).sum())

    start = np.array([np.log((far + 0.5) / exposure), np.log(s)])
    bounds = [
        (float(np.log(1e-3 / exposure)), float(np.log(6.0))),
        (float(np.log(0.1 / BINS_PER_HOP)), float(np.log(0.5))),
    ]

    def scaled(x: np.ndarray) -> float:
        return loss(x) / n

    best = optimize.minimize(
        scaled, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}
    ).x
    n_hops = _effective_count(loss, best) / _overdispersion(numbers[-7:-1])
    n_hops /= _stretch(log_chance, best, histogram, squares)
    rate = float(np.exp(best[0]))
    if n_hops < 0.5:
        return HopRate(
            0.0,
            0.0,
            float(count_interval(np.array(0.0), confidence=confidence)[1]) / exposure,
            0.0,
            s,
            n,
            n_units,
        )
    low, high = (
        float(v) / n_hops * rate for v in count_interval(np.array(n_hops), confidence=confidence)
    )
    return HopRate(rate, low, high, n_hops, float(np.exp(best[1])), n, n_units)


def _effective_count(f: Callable[[np.ndarray], float], x: np.ndarray) -> float:
    """Return one over the variance of ln rate, from the curvature of the loss `f` in (ln rate, ln
    s)."""
    h = 1e-3
    e = np.eye(2) * h
    bend = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            bend[i, j] = (
                f(x + e[i] + e[j]) - f(x + e[i] - e[j]) - f(x - e[i] + e[j]) + f(x - e[i] - e[j])
            ) / (4 * h * h)
    if bend[1, 1] <= 0:
        return max(float(bend[0, 0]), 0.0)
    return max(float(bend[0, 0] - bend[0, 1] ** 2 / bend[1, 1]), 0.0)


def _stretch(
    log_chance: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    histogram: np.ndarray,
    squares: np.ndarray,
) -> float:
    """Return how many times the variance of ln rate is what it would be if each step stood for one.

    A step that stands for w adds w times its score to the estimating equation and w² times its
    square to the variance; the hops, of which some lie beyond the border, carry other weights than
    the stays. So both are told apart bin by bin.
    """
    if np.array_equal(histogram, squares):
        return 1.0
    h = 1e-3
    score = np.stack([(log_chance(x + e) - log_chance(x - e)) / (2 * h) for e in np.eye(2) * h])
    alike, as_weighted = (
        np.einsum("igb,jgb,gb->ij", score, score, counts) for counts in (histogram, squares)
    )
    bread = np.linalg.pinv(alike)
    expected = float(bread[0, 0])
    return float((bread @ as_weighted @ bread)[0, 0]) / expected if expected > 0 else 1.0


def _overdispersion(sums: np.ndarray) -> float:
    """Return how many times the variance of the hops per unit is what a Poisson number would have;
    1 where chance explains it."""
    units, hops, frames, hops2, both, frames2 = (float(v) for v in sums)
    if units < 3 or hops == 0:
        return 1.0
    r = hops / frames
    spread = hops2 - 2 * r * both + r**2 * frames2
    z = (spread - hops) / np.sqrt(2 * r**2 * frames2)
    return spread / hops * units / (units - 1) if z > 2.33 else 1.0
