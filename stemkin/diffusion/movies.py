"""The widest level at which measurements differ: tracks, or the movies that they are of.

Tracks of a movie share its drift, its strain, its dose; movies differ by more than their tracks
tell. So the error of a mean over movies has a part that no number of tracks takes away,

    D_k = D + b_k + e_k,        b_k ~ N(0, tau²), e_k ~ N(0, V / n_k),

with tau² from the scatter of the movies' own D (DerSimonian & Laird, Control. Clin. Trials 7, 177
(1986)) and Student's t for as many movies. D_k is that of the covariance estimator, in closed form:
thousands of movies cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import special

from stemkin.diffusion.methods import Estimate
from stemkin.kernels.common.exact import total
from stemkin.kernels.motion.assumptions import FEWEST_UNITS, Covariances
from stemkin.rows.groups import Key
from stemkin.rows.passes import Sums
from stemkin.tables import POOLED

DIFFER = 0.2
"""Movies are taken to differ where equal ones would scatter so much less often than this: a high
bar would leave intervals too narrow where the difference is just not seen."""
FEW_MOVIES = 3
FEW_DIFFER = 0.01
"""With fewer than `FEW_MOVIES` the bar is higher, since Student's t of so few leaves no number."""


@dataclass(frozen=True)
class BetweenMovies:
    """What movies add to the variance of their mean.

    Attributes
    ----------
    variance
        Of the mean of D, beyond what tracks tell [nm⁴/s²]; 0 where movies do not differ.
    freedom
        Degrees of freedom from which it is known.
    copies
        How many movies there are for each that is not a copy of another one: 1 where all differ.
    """

    variance: float = 0.0
    freedom: float = np.inf
    copies: float = 1.0

    def widened(self, estimate: Estimate, confidence: float) -> Estimate:
        """Return an estimate with the interval that movies ask for.

        Parameters
        ----------
        estimate
            Of all movies together.
        confidence
            Of its interval.
        """
        D, low, high = estimate.D, estimate.low, estimate.high
        if not (np.isfinite([D, low, high]).all() and high > low):
            return estimate
        z = -float(special.ndtri((1 - confidence) / 2))
        own = ((high - low) / 2 / z) ** 2
        quantile = z
        if self.variance > 0:
            quantile = float(special.stdtrit(self.freedom, (1 + confidence) / 2))
        times = float(np.sqrt(self.copies + self.variance / own)) * quantile / z
        if times == 1:
            return estimate
        if low > 0:
            low, high = D * (low / D) ** times, D * (high / D) ** times
        else:
            high = D + (high - D) * times
            if low < 0:
                low = D + (low - D) * times
        unit = estimate.unit
        if self.variance > 0:
            unit = "movie"
        return replace(estimate, low=low, high=high, unit=unit)


ALIKE = BetweenMovies()
"""Of a single movie, or of movies that do not differ."""


def between_movies(sums: Sequence[np.ndarray], times_s: Sequence[float]) -> BetweenMovies:
    """Return how much more movies differ than their tracks do.

    Parameters
    ----------
    sums
        (N_COVARIANCE, 4) of each movie, of `add_covariance`.
    times_s
        Their frame times [s].
    """
    numbers = [total(own) for own in sums]
    known = [(Covariances(n), t) for n, t in zip(numbers, times_s, strict=True)]
    known = [(one, t) for one, t in known if one.is_known and one.n_units >= FEWEST_UNITS]
    if len(known) < 2:
        return ALIKE
    distinct = np.unique([one.numbers[:4] for one, _ in known], axis=0)
    copies = len(known) / len(distinct)
    if copies > 1:
        return BetweenMovies(copies=copies)
    D, n, each = np.array([_estimate(one, t) for one, t in known]).T
    freedom, share = len(D) - 1, n / n.sum()
    within = float(share @ each)
    spread = float(n @ (D - share @ D) ** 2) / within
    bar = DIFFER
    if len(D) < FEW_MOVIES:
        bar = FEW_DIFFER
    if special.chdtrc(freedom, spread) > bar:
        return ALIKE
    tau2 = (spread - freedom) * within / (n.sum() - (n**2).sum() / n.sum())
    effective = 1 / float((share**2).sum())
    return BetweenMovies(max(tau2, 0.0) * float((share**2).sum()), max(effective - 1, 1.0))


Solve = Callable[[np.ndarray, float, float], Estimate]
"""From the sums of a method, the frame time [s] and the confidence to its estimate."""

MOST_GROUPS = 40
"""More movies than this are put together with those that are most alike, since each asks for a fit
of its own."""


@dataclass(frozen=True)
class Movies:
    """What each movie says by itself.

    Attributes
    ----------
    covariances, hops
        Key, class → sums of the covariance estimator, and of hops.
    time_of
        Tells the frame time of a movie [s].
    confidence
        Of the intervals.
    """

    covariances: Sums
    hops: Sums
    time_of: Callable[[str], float]
    confidence: float

    def between(self, group: Key, number: int) -> BetweenMovies:
        """Return how the movies of a group differ in one class; one movie differs from none."""
        if group[0] != POOLED:
            return ALIKE
        own = self._covariances.get((group[1:], number), {})
        return between_movies(list(own.values()), [self.time_of(movie) for movie in own])

    def mean(self, pooled: Estimate, solve: Solve, group: Key, number: int) -> Estimate:
        """Return an estimate of hops in movies that differ, with the mean over them as its D.

        What hops say of all movies together is that of a mixture, and their likelihood knows one
        rate only; the mean of what they say of each is not low. Movies with unequal frame times
        are left as they are.
        """
        sums = self._hops.get((group[1:], number), {})
        times = {self.time_of(movie) for movie in sums}
        if len(times) != 1:
            return pooled
        squares = {m: total(v) for m, v in self._covariances[group[1:], number].items()}
        step = {m: float(v[1] / max(v[0], 1.0)) for m, v in squares.items()}
        order = sorted(sums, key=lambda movie: (step.get(movie, 0.0), movie))
        groups = np.array_split(np.arange(len(order)), min(len(order), MOST_GROUPS))
        together = [np.sum([sums[order[i]] for i in own], axis=0) for own in groups]
        (seconds,) = times
        each = [solve(own, seconds, self.confidence) for own in together]
        each = [one for one in each if one.n_displacements > 0]
        D, n = np.array([(one.D, one.n_displacements) for one in each]).reshape(-1, 2).T
        if not (n.any() and np.isfinite(D).all() and pooled.D > 0 and np.isfinite(pooled.D)):
            return pooled
        mean = float(D @ n / n.sum())
        low, high = (end * mean / pooled.D for end in (pooled.low, pooled.high))
        return replace(pooled, D=mean, low=low, high=high)

    @cached_property
    def _covariances(self) -> dict[tuple[Key, int], dict[str, np.ndarray]]:
        return _movie_by_movie(self.covariances)

    @cached_property
    def _hops(self) -> dict[tuple[Key, int], dict[str, np.ndarray]]:
        return _movie_by_movie(self.hops)


def _movie_by_movie(sums: Sums) -> dict[tuple[Key, int], dict[str, np.ndarray]]:
    """Return rest of a key and class → movie → its sums."""
    found: dict[tuple[Key, int], dict[str, np.ndarray]] = {}
    for (key, number), vector in sorted(sums.items()):
        found.setdefault((key[1:], number), {})[key[0]] = vector
    return found


def _estimate(one: Covariances, t: float) -> tuple[float, float, float]:
    """Return D, the number of displacements, and the variance of D times that number."""
    n, squared, n_pairs, product = one.numbers[:4]
    slope = np.array([-squared / n**2 / 4, 1 / n / 4, -product / n_pairs**2 / 2, 1 / n_pairs / 2])
    return float(one.c0 / 2 + one.c1) / t, float(n), float(n * one.variance_of(slope)) / t**2
