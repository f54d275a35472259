"""Hop rates on a lattice, by maximum likelihood: jumps to neighbouring sites.

Between two frames a defect makes n hops, a Poisson number with mean Gamma t, in random directions;
it is then on one of the *shells* of the lattice (distance 0, a, sqrt(3) a, 2 a, ...), and it is
seen with a localisation error s. So the observed distance d has the density

    p(d) = sum over shells of P(shell | Gamma t) Rice(d; R_shell, s sqrt 2),

and Gamma and s follow from the histogram of d by maximum likelihood, which is looked for all over
their range: there may be several hills. Two hops in one frame are counted as two, and noise is told
from hops. For an isotropic walk D = a² Gamma / 4.

Where defects do not hop like that (every frame once, or some of them and others never), the shares
of the shells themselves are fitted (`stemkin.kernels.motion.hop_shares`), if the data say so:
a² Gamma is then the mean squared step on the lattice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

from stemkin.kernels.common.downhill import bottom, curvature
from stemkin.kernels.common.intervals import count_interval
from stemkin.kernels.motion.free_steps import free_log_likelihood
from stemkin.kernels.motion.hop_shares import fitted_shares, free_shares
from stemkin.kernels.motion.hop_shells import (
    BINS_PER_HOP,
    FASTEST,
    LATTICES,
    N_BINS,
    Lattice,
    bins_of,
    distance_probabilities,
    shell_probabilities,
    shells,
)
from stemkin.kernels.motion.walks import Walks

MAX_GAP = 4
"""Distances are counted for displacements over 1 to 4 frames."""

SURE = 2.33
"""Standard errors (1 %) by which units must differ before they are taken for unequal."""
FEWEST_UNITS = 3
"""Fewer do not tell how they differ."""

N_COUNTS = MAX_GAP * N_BINS
N_NUMBERS = 2 * N_COUNTS + 7
"""Length of what a group adds: see `hop_numbers`."""

LONGEST = 1e6
"""Longer steps count as this long [a] where the hops of a unit are added up."""


def hop_numbers(walks: Walks, group: np.ndarray, *, n_groups: int, hop_length: float) -> np.ndarray:
    """Count distances between rows that follow each other in a segment.

    Parameters
    ----------
    walks
        Positions along segments [length]; weights in multiples of 1/1024.
    group
        (n_units,) group of each unit, 0 to ``n_groups - 1``.
    n_groups
        Number of groups.
    hop_length
        The distance between neighbouring sites a [length].

    Returns
    -------
    (n_groups, N_NUMBERS) multiples of 2^-20: the histogram of each gap, weighted, and another
    weighted by the squares of the weights; then over units the number with a displacement, the sums
    of hops h (squared steps in a², rounded), of frames at risk f, of h², h f and f², and the number
    of displacements as they are.
    """
    numbers = np.zeros((n_groups, N_NUMBERS))
    if len(walks.frame) < 2:
        return numbers
    gap = np.diff(walks.frame)
    pair = np.flatnonzero(walks.linked & (gap <= MAX_GAP))
    dy, dx = (v[pair + 1] - v[pair] for v in (walks.y, walks.x))
    distance = np.hypot(dy, dx) / hop_length
    # One number for group, gap and bin, the bin running fastest: (group, MAX_GAP, N_BINS).
    position = bins_of(distance)
    owner = walks.unit[pair]
    where = (group[owner] * MAX_GAP + gap[pair] - 1) * N_BINS + position
    stands_for = walks.step_weights(pair)
    for i, weight in enumerate((stands_for, stands_for**2)):
        histogram = np.bincount(where, weights=weight, minlength=n_groups * N_COUNTS)
        numbers[:, i * N_COUNTS : (i + 1) * N_COUNTS] = histogram.reshape(n_groups, -1)
    per_unit = partial(np.bincount, owner, minlength=walks.n_units)
    hops = per_unit(weights=np.minimum(np.rint(distance**2), LONGEST))
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
        Hops per frame; infinite where they are more than can be counted.
    n_hops
        Effective number of hops behind the rate: its relative error is ``1/sqrt(n_hops)``.
    s
        Localisation error per axis [a].
    n
        Number of displacements.
    n_units
        Number of units with a displacement.
    lattice
        The one whose shells the distances fit best; the first of `LATTICES` where they do not tell.
    as_poisson
        Whether hops come like Poisson numbers; if not, the rate is the mean squared step in a².
    gain
        By how much the log-likelihood of the distances over one frame is higher on the lattice than
        of steps of any length (`stemkin.kernels.motion.free_steps`); infinite where not told.
    at_random
        How many times more the hops of tracks vary than by chance; 1 where that may be chance.
    """

    rate: float
    low: float
    high: float
    n_hops: float
    s: float
    n: int
    n_units: int
    lattice: Lattice = "triangular"
    as_poisson: bool = True
    gain: float = np.inf
    at_random: float = 1.0


def most_likely_rate(numbers: np.ndarray, *, confidence: float = 0.95) -> HopRate:
    """Return the hop rate that makes the histograms most likely.

    The interval is that of a count with the same relative error (Jeffreys' prior). As far as tracks
    differ more than chance has it (Dean & Lawless, J. Am. Stat. Assoc. 84, 467 (1989)) it is
    widened; and where some steps stand for several, by what
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
    numbers = np.ascontiguousarray(numbers, np.float64)
    return _likeliest_of(numbers.tobytes(), confidence)


@lru_cache(maxsize=128)
def _likeliest_of(packed: bytes, confidence: float) -> HopRate:
    """Return what `most_likely_rate` does: several tables ask the same of the same numbers."""
    numbers = np.frombuffer(packed)
    histogram, squares = numbers[: 2 * N_COUNTS].reshape(2, MAX_GAP, N_BINS)
    n, n_units = int(numbers[-1]), int(numbers[-7])
    if n == 0:
        return HopRate(np.nan, np.nan, np.nan, 0.0, np.nan, 0, n_units)
    exposure = float(histogram.sum(axis=1) @ GAPS)
    # What was never counted is left out of every sum, but for the gap of one frame.
    bins = np.flatnonzero(histogram.any(axis=0))
    gaps = np.union1d(0, np.flatnonzero(histogram.any(axis=1)))
    histogram, squares = (counts[np.ix_(gaps, bins)] for counts in (histogram, squares))
    best, x = _on_best_lattice(histogram, bins, gaps)
    rate, s, lattice = float(np.exp(x[0])), float(np.exp(x[1])), best.lattice
    more, is_sure = _overdispersion(numbers[-7:-1], n)
    at_random = 1.0
    if is_sure:
        at_random = more
    endless, shared = rate > 0.99 * FASTEST, None
    if not endless:
        shared = free_shares(
            best.histogram[0], best.seen_from(s), best.on_shells(rate)[0], best.radius
        )
    if shared is not None:
        rate, n_hops = shared
    else:
        n_hops = _effective_count(best.loss, x)
    n_hops /= more * _stretch(best.log_chance, x, histogram, squares)
    told: dict[str, Any] = {
        "s": s,
        "n": n,
        "n_units": n_units,
        "lattice": lattice,
        "as_poisson": shared is None,
        "gain": best.gain(x, poisson=shared is None),
        "at_random": at_random,
    }
    if n_hops < 0.5:
        none = float(count_interval(np.array(0.0), confidence=confidence)[1])
        return HopRate(0.0, 0.0, none / exposure, 0.0, **told)
    ends = count_interval(np.array(n_hops), confidence=confidence)
    low, high = (float(v) / n_hops * rate for v in ends)
    if endless:
        rate = high = np.inf
    return HopRate(rate, low, high, n_hops, **told)


GAPS = np.arange(1, MAX_GAP + 1)
RATES = np.geomspace(1e-6, FASTEST, 64)
"""Hops per frame at which every search begins."""
ERRORS = np.geomspace(0.1 / BINS_PER_HOP, 1.0, 14)
"""Localisation errors [a] likewise."""


TELLING = 3.0
"""By how much the log-likelihood of another lattice must be higher."""
FAR_WORSE = 20.0
"""A hill that begins this much lower, besides what lies between two knots, is not climbed."""


@cache
def _shares_at_rates(lattice: Lattice) -> np.ndarray:
    """Return the (n_rates, MAX_GAP, n_shells) chances to be on each shell, at each of `RATES`."""
    return shell_probabilities(RATES[:, None] * GAPS, lattice)


@cache
def _seen_with_error(lattice: Lattice, i: int) -> np.ndarray:
    """Return the (n_shells, N_BINS) chances to be seen in each bin, at one of `ERRORS`."""
    return distance_probabilities(float(ERRORS[i]), np.arange(N_BINS), shells(lattice).radius)


@dataclass(frozen=True, eq=False)
class Chances:
    """The likelihood of histograms as a function of x = (ln rate, ln s), on one lattice.

    Attributes
    ----------
    histogram
        (n_gaps, m) weighted numbers of distances in the `bins`.
    bins
        (m,) numbers of the bins in which anything was counted.
    gaps
        (n_gaps,) which of `GAPS` occur, the first always among them.
    lattice
        On which the hops lead.
    n_shells
        How many shells matter for these bins.
    """

    histogram: np.ndarray
    bins: np.ndarray
    gaps: np.ndarray
    lattice: Lattice
    n_shells: int

    @classmethod
    def of(
        cls, histogram: np.ndarray, bins: np.ndarray, gaps: np.ndarray, lattice: Lattice
    ) -> Chances:
        """Return the likelihood; shells that lie far beyond all distances are not looked at."""
        reach = shells(lattice).radius
        farthest = 2 + bins.max() / BINS_PER_HOP
        if bins.max() >= BINS_PER_HOP * 6:
            farthest = np.inf
        return cls(histogram, bins, gaps, lattice, int((reach <= max(farthest, 4)).sum()))

    @property
    def radius(self) -> np.ndarray:
        """(n_shells,) of the shells [a]."""
        return shells(self.lattice).radius[: self.n_shells]

    def on_shells(self, rate: float) -> np.ndarray:
        """Return the (n_gaps, n_shells) chances to be on each shell."""
        return _on_shells(self, rate)

    def seen_from(self, s: float) -> np.ndarray:
        """Return the (n_shells, m) chances to be seen in each bin."""
        return _seen_from(self, s)

    def log_chance(self, x: np.ndarray) -> np.ndarray:
        """Return the (n_gaps, m) logarithms of the chance of each bin."""
        chance = self.on_shells(float(np.exp(x[0]))) @ self.seen_from(float(np.exp(x[1])))
        return np.asarray(np.log(chance))

    def loss(self, x: np.ndarray) -> float:
        """Return minus the log-likelihood."""
        return -float((self.histogram * self.log_chance(x)).sum())

    def gain(self, x: np.ndarray, *, poisson: bool) -> float:
        """Return how much likelier than free steps the distances over one frame are.

        Parameters
        ----------
        x
            (ln rate, ln s).
        poisson
            Whether the shares of the shells are those of Poisson hops; else they are fitted.
        """
        own, (rate, s) = self.histogram[0], np.exp(x)
        if not own.any():
            return np.inf
        seen, shares = self.seen_from(float(s)), self.on_shells(float(rate))[0]
        spent = 0.0
        if not poisson:
            shares = fitted_shares(own, seen, shares)
            spent = float((shares * own.sum() > 0.5).sum()) * np.log(own.sum()) / 2
        lies = float(own @ np.log(np.maximum(shares @ seen, 1e-300)))
        return lies - spent - free_log_likelihood(own, self.bins)

    def net(self) -> np.ndarray:
        """Return the (n_errors, n_rates) loss at each of `ERRORS` and `RATES`."""
        rates = _shares_at_rates(self.lattice)[:, self.gaps, : self.n_shells]
        lost = np.empty((len(ERRORS), len(RATES)))
        for i in range(len(ERRORS)):
            seen_from = _seen_with_error(self.lattice, i)[: self.n_shells, self.bins]
            log_chance = np.log(rates @ np.ascontiguousarray(seen_from))
            lost[i] = -np.einsum("gb,rgb->r", self.histogram, log_chance)
        return lost

    def climb(self, lost: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the smallest loss, and where it is, downhill from the lowest knots of the net."""
        # A knot without a better neighbour is the foot of a hill; the best two are climbed.
        padded = np.pad(lost, 1, constant_values=np.inf)
        around = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
        feet = np.flatnonzero((lost <= np.min(around, axis=0)).ravel())
        feet = feet[np.argsort(lost.ravel()[feet], kind="stable")][:2]
        n = float(self.histogram.sum())
        ends = [(float(np.log(v[0])), float(np.log(v[-1]))) for v in (RATES, ERRORS)]
        found = []
        for foot in feet[lost.ravel()[feet] < lost.min() + FAR_WORSE + 0.05 * n].tolist():
            i, j = divmod(foot, len(RATES))
            end, _ = bottom(self.loss, np.log([RATES[j], ERRORS[i]]), ends)
            found.append((self.loss(end), end))
        return min(found, key=lambda one: one[0])


@lru_cache(maxsize=16)
def _on_shells(chances: Chances, rate: float) -> np.ndarray:
    """Return what `Chances.on_shells` does: slopes along s ask for the same rate again."""
    return shell_probabilities(rate * GAPS[chances.gaps], chances.lattice, chances.n_shells)


@lru_cache(maxsize=16)
def _seen_from(chances: Chances, s: float) -> np.ndarray:
    """Return what `Chances.seen_from` does: slopes along the rate ask for the same s again."""
    return distance_probabilities(s, chances.bins, chances.radius)


def _on_best_lattice(
    histogram: np.ndarray, bins: np.ndarray, gaps: np.ndarray
) -> tuple[Chances, np.ndarray]:
    """Return the likelihood on the lattice that fits best, and where it is highest.

    Another lattice than the first is taken only where the data speak for it (`TELLING`).
    """
    twice = histogram[:, bins > 1.3 * BINS_PER_HOP].sum()
    lattices = LATTICES if twice >= TELLING else LATTICES[:1]  # one hop is the same on all
    chances = [Chances.of(histogram, bins, gaps, lattice) for lattice in lattices]
    nets = [each.net() for each in chances]
    lowest = min(float(lost.min()) for lost in nets)
    within = FAR_WORSE + 0.02 * float(histogram.sum())
    best, x, least = chances[0], np.zeros(2), np.inf
    for each, lost in zip(chances, nets, strict=True):
        if float(lost.min()) > lowest + within:
            continue
        loss, there = each.climb(lost)
        if loss < least - TELLING:
            best, x, least = each, there, loss
    return best, x


def _effective_count(f: Callable[[np.ndarray], float], x: np.ndarray) -> float:
    """Return one over the variance of ln rate, from the curvature of `f` in (ln rate, ln s)."""
    bend = curvature(f, x)[2]
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


def _overdispersion(sums: np.ndarray, n: int) -> tuple[float, bool]:
    """Return how many times more the hops per unit vary than by chance, and whether that is sure.

    The squared step of a walk of Poisson hops varies by r + r² for r hops on average. Where few
    units tell, more may be by chance; at least 1 is returned.

    Parameters
    ----------
    sums
        (6,) over units: their number, hops, frames, and the squares and product of these two.
    n
        Number of displacements.
    """
    units, hops, frames, hops2, both, frames2 = (float(v) for v in sums)
    if units < FEWEST_UNITS or hops == 0:
        return 1.0, False
    r, gap = hops / frames, frames / n
    spread = hops2 - 2 * r * both + r**2 * frames2
    each = r * (1 + r * gap)
    z = (spread - each * frames) / np.sqrt(2 * each**2 * frames2)
    return max(spread / (each * frames) * units / (units - 1), 1.0), bool(z > SURE)
