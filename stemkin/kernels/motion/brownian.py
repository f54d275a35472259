"""What the likelihood of Brownian tracks says: the most likely D, its interval, and what steps that
are not Gaussian do to it.

The sums over tracks come from `stemkin.kernels.motion.likelihood`, at 32 nodes of the reduced
localisation error r = s²/(D t).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from scipy import special

from stemkin.kernels.motion.likelihood import (
    FINE,
    FINE_FROM_NODES,
    HIGHEST,
    LOWEST,
    N_NODES,
    TO_COEFFICIENTS,
)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The pooled likelihood of all tracks that share a frame time: totals of
    `likelihood_numbers`."""

    totals: np.ndarray
    frame_time: float

    @property
    def m(self) -> float:
        """What the displacements stand for: their number, without borders."""
        return float(self.totals[0])

    @property
    def n(self) -> float:
        """Number of displacements."""
        return float(self.totals[3])

    @property
    def n_units(self) -> float:
        """Number of units with a displacement."""
        return float(self.totals[2])

    def at_nodes(self, i: int) -> np.ndarray:
        """Return the (32,) values of the i-th function of ln r."""
        return np.asarray(self.totals[4 + i * N_NODES : 4 + (i + 1) * N_NODES])

    def at(self, i: int, log_r: np.ndarray | float) -> np.ndarray:
        """Return the i-th function at `log_r`."""
        where = (np.clip(log_r, LOWEST, HIGHEST) - (LOWEST + HIGHEST) / 2) * (
            2 / (HIGHEST - LOWEST)
        )
        return np.asarray(chebyshev.chebval(where, TO_COEFFICIENTS @ self.at_nodes(i)))


@dataclass(frozen=True)
class Diffusion:
    """What the likelihood says.

    Attributes
    ----------
    D, low, high
        Diffusion coefficient [length²/time] and its interval.
    s2
        Squared localisation error per axis [length²].
    inflation
        How much more the estimate varies than it would for Gaussian steps: 1 for Brownian motion.
    """

    D: float
    low: float
    high: float
    s2: float
    inflation: float = 1.0


UNKNOWN = Diffusion(np.nan, np.nan, np.nan, np.nan)
SURE = 2.33
"""Standard errors (1 %) by which steps must differ from Gaussian ones before their error is taken
for larger."""
MANY_UNITS = 20
"""From this many tracks on the error is taken from the spread between tracks; below, from that
between steps."""


def most_likely(
    evidence: Evidence, *, confidence: float = 0.95, s2: float | None = None
) -> Diffusion:
    """Return D at the maximum of the likelihood, with the interval that its profile gives.

    At the most likely r, D is taken from the most probable step length, sqrt(4 D t), under a prior
    that prefers no scale: Q / (2 m + 1) instead of Q / 2 m. For 900 displacements that is nothing;
    for a single track of 30 it brings the mean squared error at SNR 0.5 from 1/0.895 to 1/0.925 of
    the Cramer-Rao bound.

    The interval holds every D for which some r is not much less likely than the maximum. "Much" is
    scaled by the ratio of the variance that is seen (between tracks, or between steps if tracks are
    few) to the one that Gaussian steps would have, apart for D at given r and along the ridge where
    D and r make up for each other; so the interval stays honest for hops (a
    sandwich estimate: White, Econometrica 50, 1 (1982); the likelihood scaled by it: Chandler &
    Bate, Biometrika 94, 167 (2007)). Its quantile is that of an F distribution with three degrees
    of freedom per displacement: between the two that a sum of squares has and the many of large
    numbers, so that single tracks of 10 steps are covered as they should be.

    Parameters
    ----------
    evidence
        Of tracks that share a frame time.
    confidence
        Of the interval.
    s2
        Squared localisation error per axis [length²], where it is known; then only D is fitted.
    """
    m = evidence.m
    if m < 1 or not evidence.at_nodes(1).any():
        return UNKNOWN if m < 2 else Diffusion(0.0, 0.0, 0.0, 0.0)
    if s2 is not None and s2 > 0:
        return _with_known_error(evidence, s2, confidence)
    log_b, Q = (FINE_FROM_NODES @ evidence.at_nodes(i) for i in (0, 1))
    profile = -m * np.log(Q / (2 * m)) - log_b
    best = int(profile.argmax())
    log_r = _polished(evidence, best)
    Dt = float(evidence.at(1, log_r)) / (2 * m)
    spread = _spread(evidence, log_r, Dt)
    drop = float(special.fdtri(1, spread.freedom, confidence)) / 2
    spare = drop - (profile.max() - profile) / spread.across
    low, high = _bounds(Q / (2 * m), spread.alone * spare / m)
    at_end = spare[-1] >= 0
    t = evidence.frame_time
    s2 = Dt * np.exp(log_r) if best > 0 else 0.0
    Dt *= 2 * m / (2 * m + 1)
    return Diffusion(Dt / t, 0.0 if at_end else low / t, high / t, float(s2), spread.inflation)


def _polished(evidence: Evidence, best: int) -> float:
    """Return the maximum near the fine grid's best point: the top of a parabola through three
    points."""
    if best in (0, len(FINE) - 1):
        return float(FINE[best])
    near = FINE[best - 1 : best + 2]
    value = -evidence.m * np.log(evidence.at(1, near)) - evidence.at(0, near)
    bend = value[0] - 2 * value[1] + value[2]
    shift = 0.0 if bend >= 0 else 0.5 * (value[0] - value[2]) / bend
    return float(near[1] + np.clip(shift, -1, 1) * (near[1] - near[0]))


LEAST_SPARE, MOST_SPARE = 1e-12, 600.0
"""Where Lambert's function is a number: at less its argument is the branch point, at more its
argument is 0."""


def _bounds(Dt: np.ndarray, spare: np.ndarray) -> tuple[float, float]:
    """Return the smallest and largest D t, over all r, at which ln L per displacement has fallen by
    no more than `spare`.

    At given r, ln L falls by m (ln z + 1/z - 1) when D t is z times its best value; Lambert's
    function inverts that.
    """
    inside = spare >= 0
    argument = -np.exp(-1 - np.clip(spare[inside], LEAST_SPARE, MOST_SPARE))
    lowest = -1 / np.real(special.lambertw(argument, -1))
    highest = -1 / np.real(special.lambertw(argument, 0))
    return float((Dt[inside] * lowest).min()), float((Dt[inside] * highest).max())


@dataclass(frozen=True)
class _Spread:
    """How many times the variances at the maximum are those that Gaussian steps have.

    Attributes
    ----------
    inflation
        Of ln D, r being fitted.
    alone
        Of ln D where r is known.
    across
        Along the ridge, by which ln D and ln r make up for each other: what is left of `inflation`
        after `alone`.
    freedom
        Degrees of freedom from which they are known.
    """

    inflation: float
    alone: float
    across: float
    freedom: float


def _spread(evidence: Evidence, log_r: float, Dt: float) -> _Spread:
    m, fourth = evidence.m, float(evidence.at(2, log_r))
    bread = np.linalg.pinv(_curvature(evidence, log_r, Dt))
    if evidence.n_units < MANY_UNITS:
        b = 1 + np.exp(log_r) + np.sqrt(1 + 2 * np.exp(log_r))  # of a long track without gaps
        excess = (
            fourth / m / Dt**2 - 8
        )  # <u²> of two squared normal numbers is 8, its standard deviation sqrt(320)
        stretch = m / evidence.n
        gaussian = excess < SURE * np.sqrt(320 / m) or log_r >= HIGHEST
        more = (
            0.0 if gaussian else float(excess / 4 * b**2 / 4)
        )  # a few long steps say no less of r, but less of D
        return _Spread(stretch * (1 + more / m / bread[0, 0]), stretch * (1 + more), stretch, 3 * m)
    own = _squared_scores(evidence, log_r, Dt)
    ratio, alone = (
        _ratio(float((bread @ own @ bread)[0, 0] / bread[0, 0])),
        _ratio(float(own[0, 0]) / m),
    )
    ridge = float(bread[0, 0]) * m - 1
    across = _ratio((ratio * (ridge + 1) - alone) / ridge) if ridge > 0.01 else 1.0
    return _Spread(ratio, alone, across, min(3 * m, evidence.n_units - 1))


def _squared_scores(evidence: Evidence, log_r: float, Dt: float) -> np.ndarray:
    """Return the (2, 2) sums over units of the products of their slopes in (ln D, ln r)."""
    h, n = 1 / (2 * Dt), evidence.n_units
    mQ, ml, mq, QQ, Ql, Qq, ll, lq, qq = (float(evidence.at(i, log_r)) for i in range(3, 12))
    in_D = float(evidence.totals[1]) - 2 * h * mQ + h**2 * QQ
    both, in_r = ml + h * mq - h * Ql - h**2 * Qq, ll + 2 * h * lq + h**2 * qq
    return np.array([[in_D, both], [both, in_r]]) * n / (n - 2)


def _with_known_error(evidence: Evidence, s2: float, confidence: float) -> Diffusion:
    """Return D at the maximum along D t = s²/r, with the interval that the likelihood gives
    there."""
    m, Dt = evidence.m, s2 / np.exp(FINE)
    log_b, Q = (FINE_FROM_NODES @ evidence.at_nodes(i) for i in (0, 1))
    profile = -m * np.log(Dt) - log_b - Q / (2 * Dt)
    best = int(np.clip(profile.argmax(), 1, len(FINE) - 2))
    at_end = profile.argmax() == len(FINE) - 1
    width = FINE[1] - FINE[0]
    bend = float(2 * profile[best] - profile[best - 1] - profile[best + 1]) / width**2
    shift = (
        0.0
        if at_end or bend <= 0
        else float(profile[best + 1] - profile[best - 1]) / (2 * bend * width**2)
    )
    log_r = float(FINE[best] + np.clip(shift, -1, 1) * width)
    inflation, freedom = evidence.m / evidence.n, 3 * m
    if evidence.n_units >= MANY_UNITS and bend > 0 and not at_end:
        own = _squared_scores(
            evidence, log_r, s2 / np.exp(log_r)
        )  # along the line ln r falls as ln D rises
        inflation, freedom = (
            _ratio(float(own[0, 0] - 2 * own[0, 1] + own[1, 1]) / bend),
            min(freedom, evidence.n_units - 1),
        )
    inside = np.flatnonzero(
        profile >= profile.max() - inflation * special.fdtri(1, freedom, confidence) / 2
    )
    t, none = evidence.frame_time, inside[-1] == len(FINE) - 1
    D = 0.0 if at_end else s2 / np.exp(log_r) / t
    return Diffusion(
        float(D),
        0.0 if none else float(Dt[inside[-1]]) / t,
        float(Dt[inside[0]]) / t,
        s2,
        inflation,
    )


def _ratio(value: float) -> float:
    return float(np.clip(value, 0.05, 1e4))


def _curvature(evidence: Evidence, log_r: float, Dt: float) -> np.ndarray:
    """Return minus the second derivatives of ln L in (ln D, ln r); at the ends of the range r is
    held."""
    m, scale = evidence.m, 2 / (HIGHEST - LOWEST)
    where = (log_r - (LOWEST + HIGHEST) / 2) * scale
    coefficients = [TO_COEFFICIENTS @ evidence.at_nodes(i) for i in (0, 1)]
    slope = chebyshev.chebval(where, chebyshev.chebder(coefficients[1])) * scale
    bends = [chebyshev.chebval(where, chebyshev.chebder(c, 2)) * scale**2 for c in coefficients]
    across = bends[0] + bends[1] / (2 * Dt)
    if not LOWEST < log_r < HIGHEST or across <= 0:
        return np.array([[m, 0.0], [0.0, 0.0]])
    return np.array([[m, -slope / (2 * Dt)], [-slope / (2 * Dt), across]])
