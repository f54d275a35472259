"""The pooled likelihood of Brownian tracks as a function, and the diffusion coefficient it tells.

The sums over tracks come from `stemkin.kernels.motion.likelihood`, at 32 nodes of the reduced
localisation error r = s²/(D t); between them they are interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from stemkin.kernels.motion.likelihood import HIGHEST, LOWEST, N_NODES, TO_COEFFICIENTS


@dataclass(frozen=True, eq=False)
class Evidence:
    """The pooled likelihood of all tracks that share a frame time.

    Attributes
    ----------
    totals
        (N_NUMBERS,) totals of `likelihood_numbers`, of lengths in [length].
    frame_time
        Time between frames [time].
    """

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
        """Return the (32,) values of the i-th function of ln r, as in `likelihood_numbers`."""
        return np.asarray(self.totals[4 + i * N_NODES : 4 + (i + 1) * N_NODES])

    def at(self, i: int, log_r: np.ndarray | float) -> np.ndarray:
        """Return the i-th function at `log_r`."""
        middle, scale = (LOWEST + HIGHEST) / 2, 2 / (HIGHEST - LOWEST)
        where = (np.clip(log_r, LOWEST, HIGHEST) - middle) * scale
        return np.asarray(chebyshev.chebval(where, TO_COEFFICIENTS @ self.at_nodes(i)))

    def squared_scores(self, log_r: float, Dt: float) -> np.ndarray:
        """Return the (2, 2) sums over units of the products of their slopes in (ln D, ln r).

        Parameters
        ----------
        log_r, Dt
            Where the slopes are taken: ln r, and D t [length²].
        """
        h, n = 1 / (2 * Dt), self.n_units
        mQ, ml, mq, QQ, Ql, Qq, ll, lq, qq = (float(self.at(i, log_r)) for i in range(3, 12))
        in_D = float(self.totals[1]) - 2 * h * mQ + h**2 * QQ
        both = ml + h * mq - h * Ql - h**2 * Qq
        in_r = ll + 2 * h * lq + h**2 * qq
        return np.array([[in_D, both], [both, in_r]]) * n / (n - 2)

    def curvature(self, log_r: float, Dt: float) -> np.ndarray:
        """Return minus the (2, 2) second derivatives of ln L in (ln D, ln r).

        At the ends of the range, and where the likelihood does not bend down, r is held.

        Parameters
        ----------
        log_r, Dt
            Where the derivatives are taken: ln r, and D t [length²].
        """
        m, scale = self.m, 2 / (HIGHEST - LOWEST)
        where = (log_r - (LOWEST + HIGHEST) / 2) * scale
        of_log_b, of_Q = (TO_COEFFICIENTS @ self.at_nodes(i) for i in (0, 1))
        slope = chebyshev.chebval(where, chebyshev.chebder(of_Q)) * scale
        log_b_bend, Q_bend = (
            chebyshev.chebval(where, chebyshev.chebder(c, 2)) * scale**2 for c in (of_log_b, of_Q)
        )
        across = log_b_bend + Q_bend / (2 * Dt)
        if not LOWEST < log_r < HIGHEST or across <= 0:
            return np.array([[m, 0.0], [0.0, 0.0]])
        return np.array([[m, -slope / (2 * Dt)], [-slope / (2 * Dt), across]])


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
"""Of tracks that say nothing."""

SURE = 2.33
"""Standard errors (1 %) by which steps must differ from Gaussian ones before their error is taken
for larger."""

MANY_UNITS = 20
"""From this many tracks on the error is taken from the spread between tracks; below, from that
between steps."""
