"""The widest level at which measurements differ: tracks, or the movies that they are of.

Tracks of a movie share its drift, its strain, its dose; movies differ by more than their tracks
tell. So the error of a mean over movies has a part that no number of tracks takes away,

    D_k = D + b_k + e_k,        b_k ~ N(0, tau²), e_k ~ N(0, V / n_k),

with tau² from the scatter of the movies' own D (DerSimonian & Laird, Control. Clin. Trials 7, 177
(1986)) and Student's t for as many movies. D_k is that of the covariance estimator, in closed form:
thousands of movies cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from stemkin.diffusion.methods import Estimate
from stemkin.kernels.common.exact import total
from stemkin.kernels.motion.assumptions import FEWEST_UNITS, Covariances

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


def _estimate(one: Covariances, t: float) -> tuple[float, float, float]:
    """Return D, the number of displacements, and the variance of D times that number."""
    n, squared, n_pairs, product = one.numbers[:4]
    slope = np.array([-squared / n**2 / 4, 1 / n / 4, -product / n_pairs**2 / 2, 1 / n_pairs / 2])
    return float(one.c0 / 2 + one.c1) / t, float(n), float(n * one.variance_of(slope)) / t**2
