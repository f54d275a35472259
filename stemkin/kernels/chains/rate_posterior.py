r"""Rates of rare changes as a posterior: Jeffreys' prior on the generator.

Where a change was seen once or never, its most likely rate is 0 or nearly so, and a mean over a
posterior says more. Jeffreys' prior is the root of the determinant of the expected information I.
Of one rate q, with all others at their most likely values q' given q (Laplace's approximation), the
posterior is

    p(q) ~ exp(log L(q, q')) |I(q, q')|^1/2 / |I_others(q, q')|^1/2

and the ratio of determinants is what is known of q when the others are not known. For n changes in
the time T at risk, which are all seen, this is exact: a gamma distribution with n + 1/2 and T.

Sources: Jeffreys, Proc. R. Soc. A 186, 453 (1946); Tierney & Kadane, J. Am. Stat. Assoc. 81, 82
(1986), eq. 3.1; Bladt & Sorensen, J. R. Stat. Soc. B 67, 395 (2005) (generators seen now and then).

>>> free = np.array([0]), np.array([1])  # two changes in 1,000 looks, and no way back
>>> problem = RateLikelihood(np.array([[[998.0, 2.0], [0.0, 0.0]]]), np.ones(1), *free)
>>> rate, low, high = posterior_of_rate(problem, problem.maximise(), 0, confidence=0.95)
>>> [round(1000 * v, 1) for v in (rate, low, high)]
[2.5, 0.4, 6.4]
>>> special.gammaincinv(2.5, [0.025, 0.975]).round(1).tolist()
[0.4, 6.4]
"""

from __future__ import annotations

import numpy as np
from scipy import special  # noqa: F401 - for the example

from stemkin.kernels.chains.rate_climb import FASTEST
from stemkin.kernels.chains.rate_likelihood import RateLikelihood

N_PLACES = 48
"""Places at which the posterior of a rate is looked at."""
FAR_DOWN = 12.0
"""Beyond the rates at which the log-likelihood is lower by so much, nothing is left."""
MOST_WORK = 60_000
"""Slopes that may be computed for the posteriors of one fit, some tenths of a second."""


def posterior_of_rate(
    problem: RateLikelihood, x: np.ndarray, i: int, *, confidence: float
) -> tuple[float, float, float] | None:
    """Return the mean of the posterior of a rate, and its middle part.

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
    Per shortest gap; None where the rate may as well be infinite, which leaves no mean.
    """
    start = np.maximum(x, problem.floor)
    top = problem.value(start)
    high = _end(problem, start, i, top)
    if high is None:
        return None
    low = 0.0
    if x[i] > 0:
        low = _lower_end(problem, start, i, top)
    # Roots of rates, in the middles of equal parts: of a count the posterior is smooth in them.
    edges = np.linspace(np.sqrt(low), np.sqrt(high), N_PLACES + 1)
    roots = (edges[1:] + edges[:-1]) / 2
    density, best = np.zeros(N_PLACES), int(np.searchsorted(roots, np.sqrt(start[i])))
    for way in (range(min(best, N_PLACES), N_PLACES), range(min(best, N_PLACES) - 1, -1, -1)):
        near = start
        for place in way:
            near, value = _held(problem, near, i, float(roots[place]) ** 2)
            known = _information_alone(problem, near, i)
            density[place] = np.exp(value - top) * np.sqrt(known) * 2 * roots[place]
    share = density / density.sum()
    tails = np.interp(
        [(1 - confidence) / 2, (1 + confidence) / 2], np.append(0, np.cumsum(share)), edges
    )
    return float(share @ roots**2), float(tails[0] ** 2), float(tails[1] ** 2)


def _held(
    problem: RateLikelihood, near: np.ndarray, i: int, rate: float
) -> tuple[np.ndarray, float]:
    """Return the rates that are best where rate i is held, and their log-likelihood."""
    begin = near.copy()
    begin[i] = max(rate, problem.floor)
    found = np.maximum(problem.maximise(start=begin, held=i), problem.floor)
    return found, problem.value(found)


def _end(problem: RateLikelihood, start: np.ndarray, i: int, top: float) -> float | None:
    """Return a rate beyond which nothing is left of the posterior; None where there is none."""
    at_risk = float(np.einsum("mij,m->i", problem.counts, problem.times)[problem.rows[i]])
    rate, near = max(2 * float(start[i]), 2 / max(at_risk, 1e-9)), start
    while rate < FASTEST:
        near, value = _held(problem, near, i, rate)
        if value < top - FAR_DOWN:
            return rate
        rate *= 1.5
    _, value = _held(problem, near, i, FASTEST)
    if value < top - FAR_DOWN:
        return FASTEST
    return None


def _lower_end(problem: RateLikelihood, start: np.ndarray, i: int, top: float) -> float:
    """Return a rate below which nothing is left of the posterior; 0 where there is none."""
    rate, near = float(start[i]) / 1.5, start
    for _ in range(8):
        near, value = _held(problem, near, i, rate)
        if value < top - FAR_DOWN:
            return rate
        rate /= 1.5
    return 0.0


def _information_alone(problem: RateLikelihood, x: np.ndarray, i: int) -> float:
    """Return what is expected to be known of rate i, per square of it, when no other is known."""
    information = problem.information(x)
    others = np.flatnonzero((x > 10 * problem.floor) & (np.arange(len(x)) != i))
    cross = information[i, others]
    own = float(information[i, i])
    if len(others):
        own -= float(
            cross @ np.linalg.pinv(information[np.ix_(others, others)], hermitian=True) @ cross
        )
    return max(own, 0.0)
