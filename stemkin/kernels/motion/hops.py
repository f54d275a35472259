"""Hop rates on a triangular lattice, by maximum likelihood: jumps to one of six neighbours.

Between two frames a defect makes n hops, a Poisson number with mean Gamma t, in random directions;
it is then on one of the *shells* of the lattice (distance 0, a, sqrt(3) a, 2 a, ...), and it is
seen with a localisation error s. So the observed distance d has the density

    p(d) = sum over shells of P(shell | Gamma t) Rice(d; R_shell, s sqrt 2),

and Gamma and s follow from the histogram of d by maximum likelihood. Two hops in one frame are
counted as two, and noise is told from hops. For an isotropic walk D = a² Gamma / 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import optimize

from stemkin.kernels.common.intervals import count_interval
from stemkin.kernels.motion.hop_shells import (
    BINS_PER_HOP,
    distance_probabilities,
    shell_probabilities,
)
from stemkin.kernels.motion.walks import Walks

N_BINS = 6 * BINS_PER_HOP
MAX_GAP = 4
"""Distances are counted in bins of a/40 up to 6 a, for displacements over 1 to 4 frames."""

SURE = 2.33
"""Standard errors (1 %) by which units must differ before they are taken for unequal."""

N_COUNTS = MAX_GAP * N_BINS
N_NUMBERS = 2 * N_COUNTS + 7
"""Length of what a group adds: see `hop_numbers`."""


def hop_numbers(walks: Walks, group: np.ndarray, *, n_groups: int, hop_length: float) -> np.ndarray:
    """Count distances between rows that follow each other in a segment.

    Parameters
    ----------
    walks
        Positions along segments [length]; weights in multiples of 1/64.
    group
        (n_units,) group of each unit, 0 to ``n_groups - 1``.
    n_groups
        Number of groups.
    hop_length
        The lattice constant a [length].

    Returns
    -------
    (n_groups, N_NUMBERS) multiples of 1/4096: the histogram of each gap, weighted, and another
    weighted by the squares of the weights; then over units the number with a displacement, the sums
    of hops h (steps of more than a/2), of frames at risk f, of h², h f and f², and the number of
    displacements as they are.
    """
    numbers = np.zeros((n_groups, N_NUMBERS))
    if len(walks.frame) < 2:
        return numbers
    gap = np.diff(walks.frame)
    pair = np.flatnonzero(walks.linked & (gap <= MAX_GAP))
    dy, dx = (v[pair + 1] - v[pair] for v in (walks.y, walks.x))
    distance = np.hypot(dy, dx) / hop_length
    # One number for group, gap and bin, the bin running fastest: (group, MAX_GAP, N_BINS). The last
    # bin also holds everything farther away.
    position = np.minimum((distance * BINS_PER_HOP).astype(np.int64), N_BINS - 1)
    owner = walks.unit[pair]
    where = (group[owner] * MAX_GAP + gap[pair] - 1) * N_BINS + position
    stands_for = walks.weights(pair, distance * hop_length)
    for i, weight in enumerate((stands_for, stands_for**2)):
        histogram = np.bincount(where, weights=weight, minlength=n_groups * N_COUNTS)
        numbers[:, i * N_COUNTS : (i + 1) * N_COUNTS] = histogram.reshape(n_groups, -1)
    per_unit = partial(np.bincount, owner, minlength=walks.n_units)
    hops = per_unit(weights=np.minimum(np.rint(distance), 6))
    frames, n = per_unit(weights=gap[pair]), per_unit()
    for i, value in enumerate((frames > 0, hops, frames, hops**2, hops * frames, frames**2, n)):
        numbers[:, 2 * N_COUNTS + i] = np.bincount(group, weights=value, minlength=n_groups)
    return numbers


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
        Of the interval, between 0 and 1.

    Returns
    -------
    NaN without a displacement; 0 with an upper bound where no hop is told from noise.
    """
    histogram, squares = numbers[: 2 * N_COUNTS].reshape(2, MAX_GAP, N_BINS)
    n, n_units = int(numbers[-1]), int(numbers[-7])
    if n == 0:
        return HopRate(np.nan, np.nan, np.nan, 0.0, np.nan, 0, n_units)
    gaps = np.arange(1, MAX_GAP + 1)
    exposure = float(histogram.sum(axis=1) @ gaps)
    far, s = _first_guess(histogram)
    bins = np.flatnonzero(histogram.any(axis=0))  # all others are left out of every sum
    histogram, squares = histogram[:, bins], squares[:, bins]

    def log_chance(x: np.ndarray) -> np.ndarray:
        on_shell = shell_probabilities(np.exp(x[0]) * gaps)
        chance = on_shell @ distance_probabilities(float(np.exp(x[1])), bins)
        return np.asarray(np.log(chance))

    def loss(x: np.ndarray) -> float:
        return -float((histogram * log_chance(x)).sum())

    start = np.array([np.log((far + 0.5) / exposure), np.log(s)])
    rates, errors = (1e-3 / exposure, 6.0), (0.1 / BINS_PER_HOP, 0.5)
    bounds = [(float(np.log(low)), float(np.log(high))) for low, high in (rates, errors)]

    def scaled(x: np.ndarray) -> float:
        return loss(x) / n

    best = optimize.minimize(
        scaled, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}
    ).x
    n_hops = _effective_count(loss, best) / _overdispersion(numbers[-7:-1])
    n_hops /= _stretch(log_chance, best, histogram, squares)
    if n_hops < 0.5:
        none = float(count_interval(np.array(0.0), confidence=confidence)[1])
        return HopRate(0.0, 0.0, none / exposure, 0.0, s, n, n_units)
    rate = float(np.exp(best[0]))
    ends = count_interval(np.array(n_hops), confidence=confidence)
    low, high = (float(v) / n_hops * rate for v in ends)
    return HopRate(rate, low, high, n_hops, float(np.exp(best[1])), n, n_units)


def _first_guess(histogram: np.ndarray) -> tuple[float, float]:
    """Return the number of steps of more than a/2, and the localisation error [a] of the others.

    Parameters
    ----------
    histogram
        (MAX_GAP, N_BINS) weighted numbers of distances.
    """
    half = BINS_PER_HOP // 2
    far = histogram[:, half:].sum()
    at_home = histogram[:, :half].sum(axis=0)
    middle = (np.arange(half) + 0.5) / BINS_PER_HOP
    s = float(np.sqrt((at_home @ middle**2) / max(at_home.sum(), 1) / 4))
    return far, max(s, 0.1 / BINS_PER_HOP)


def _effective_count(f: Callable[[np.ndarray], float], x: np.ndarray) -> float:
    """Return one over the variance of ln rate, from the curvature of `f` in (ln rate, ln s)."""
    h = 1e-3
    e = np.eye(2) * h
    bend = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            alike = f(x + e[i] + e[j]), f(x - e[i] - e[j])
            opposed = f(x + e[i] - e[j]), f(x - e[i] + e[j])
            bend[i, j] = (alike[0] - opposed[0] - opposed[1] + alike[1]) / (4 * h * h)
    count = float(bend[0, 0])
    if bend[1, 1] > 0:
        count = float(bend[0, 0] - bend[0, 1] ** 2 / bend[1, 1])
    return max(count, 0.0)


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
    if expected <= 0:
        return 1.0
    return float((bread @ as_weighted @ bread)[0, 0]) / expected


def _overdispersion(sums: np.ndarray) -> float:
    """Return how many times more the hops per unit vary than a Poisson number; 1 by chance."""
    units, hops, frames, hops2, both, frames2 = (float(v) for v in sums)
    if units < 3 or hops == 0:
        return 1.0
    r = hops / frames
    spread = hops2 - 2 * r * both + r**2 * frames2
    z = (spread - hops) / np.sqrt(2 * r**2 * frames2)
    if z <= SURE:
        return 1.0
    return spread / hops * units / (units - 1)
