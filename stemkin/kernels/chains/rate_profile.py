"""The interval of one rate by the profile of the likelihood: all other rates follow along.

The root of the deviance, sqrt(2 (log L of the maximum - log L of the best with the rate held)), is
nearly a straight line in the rate; its bounds are where it reaches the normal quantile. Each bound
is bracketed before it is closed in on, so that it depends on the data and not on where the search
began.

Source: Venzon & Moolgavkar, J. R. Stat. Soc. C 37, 87 (1988).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import special

from stemkin.kernels.chains.rate_climb import FASTEST
from stemkin.kernels.chains.rate_likelihood import RateLikelihood

EXACT = 2e-3
"""A bound is known to this part of the half width of its interval."""
MOST_TRIALS = 40


def profile_interval(
    problem: RateLikelihood, x: np.ndarray, i: int, *, confidence: float
) -> tuple[float, float]:
    """Return the profile likelihood interval of a rate.

    Parameters
    ----------
    problem
        The likelihood.
    x
        (n_free,) free rates at its maximum.
    i
        Which of them.
    confidence
        Of the interval.

    Returns
    -------
    Lower and upper bound per shortest gap; 0 and infinity where no rate is too slow or too fast.
    """
    start = problem.within_reach(x)
    value, gradient, information = problem.evaluate(start)
    reach = float(np.sqrt(special.chdtri(1, 1 - confidence)))
    best = float(start[i])
    curve = _Profile(problem, i, value, reach, {best: start})
    if x[i] > 0:
        spread = float(np.sqrt(np.linalg.pinv(information, hermitian=True)[i, i]))
    else:
        spread = reach / 2 / max(-float(gradient[i]), 1e-12)
    low, high = 0.0, np.inf
    if best > 2 * problem.floor and curve.spare(problem.floor) > 0:
        low = curve.crossing(best, max(best - reach * spread, best / 20), problem.floor)
    if x[i] < FASTEST:
        guess = best + reach * max(spread, best * 1e-3)
        top = guess
        while top < FASTEST and curve.spare(top) < 0:
            top = min(best + 2 * (top - best), FASTEST)
        if top < FASTEST or curve.spare(FASTEST) > 0:
            high = curve.crossing(best, min(guess, top), min(top, FASTEST))
    return low, high


@dataclass
class _Profile:
    """The profile of one rate; what was looked at is kept.

    Attributes
    ----------
    problem, i
        The likelihood, and which rate is held.
    value, reach
        The highest log-likelihood, and the root of the deviance that bounds the interval.
    best
        Rates on either side of which was looked so far, and the (n_free,) rates that were best
        there.
    seen
        Rate → root of the deviance, less `reach`.
    """

    problem: RateLikelihood
    i: int
    value: float
    reach: float
    best: dict[float, np.ndarray]
    seen: dict[float, float] = field(default_factory=dict)

    def spare(self, rate: float) -> float:
        """Return by how much the root of the deviance lies above the bound's."""
        if rate in self.seen:
            return self.seen[rate]
        # The profile may have two hills, that of few fast changes and that of many slow ones: the
        # search begins at its neighbours on both sides, and the better end counts.
        below = max((v for v in self.best if v <= rate), default=None)
        above = min((v for v in self.best if v > rate), default=None)
        value = -np.inf
        for neighbour in (below, above):
            if neighbour is None:
                continue
            start = self.best[neighbour].copy()
            start[self.i] = rate
            found = self.problem.maximise(start=start, held=self.i)
            found = np.maximum(found, self.problem.floor)
            reached = self.problem.value(found)
            if reached > value:
                value, self.best[rate] = reached, found
        self.seen[rate] = float(np.sqrt(max(2 * (self.value - value), 0.0))) - self.reach
        return self.seen[rate]

    def crossing(self, inside: float, guess: float, outside: float) -> float:
        """Return the rate between `inside` and `outside` at which the bound is reached.

        Parameters
        ----------
        inside, outside
            Rates on either side of the bound: the maximum, and one that is too unlikely.
        guess
            Where to look first, between the two.
        """
        # Regula falsi after Illinois: the end that stays counts half as much the next time.
        at = {inside: -self.reach, outside: self.spare(outside)}
        low, high = inside, outside
        rate, stayed = guess, 0
        for _ in range(MOST_TRIALS):
            found = self.spare(rate)
            if abs(found) < EXACT * self.reach:
                break
            if found < 0:
                low, at[rate] = rate, found
                if stayed == 1:
                    at[high] /= 2
                stayed = 1
            else:
                high, at[rate] = rate, found
                if stayed == -1:
                    at[low] /= 2
                stayed = -1
            rate = low + (high - low) * at[low] / (at[low] - at[high])
        return rate
