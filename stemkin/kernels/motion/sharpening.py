"""Signals of sites turned into how likely each of them alone makes a walker.

Noise of two frames is independent, so correlations of any function f of the signals of single sites
hold the walkers and what stays, as those of the signals themselves do: where a walker is, the mean
of f is higher, by the contrast. With walkers few, the best f is the chance that there is one (the
locally best test; Cox & Hinkley, Theoretical Statistics, 1974): it leaves nearly all noise out,
where the signal itself, squared, is mostly noise of empty sites. Only precision hangs on the depth
and the share that f is made with, not rightness.

>>> look = Sharpened.of(2.0)
>>> round(look.contrast, 1), bool(look.excess > 10)
(4.8, True)
>>> look.of_signals(np.array([[0.5, np.nan, -4.0]])).round(1).tolist()
[[0.3, nan, -19.0]]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

SHARPEST = 3.0
"""A deeper walker is told by this depth as well as need be, and what else darkens a site matters less."""

TAKEN = 0.02
"""Share of sites with a walker, as far as f is concerned."""

N_NODES, LIMIT = 4001, 9.0
"""Means over noise are sums over so many values, up to so many standard deviations."""


@dataclass(frozen=True)
class Sharpened:
    """The function f, in units of its own noise at sites without a walker, dark sites negative.

    Attributes
    ----------
    depth
        By how much a walker lowers the signal, over its noise.
    middle, sd
        Of the chance at sites without a walker.
    contrast
        By how much a walker lowers f.
    excess
        By how much the variance of f is larger where a walker is.
    """

    depth: float
    middle: float
    sd: float
    contrast: float
    excess: float

    @classmethod
    def of(cls, depth: float) -> Sharpened:
        """Return the function for walkers of a `depth`; means are over normal noise."""
        return _sharpened(float(depth))

    def of_signals(self, values: np.ndarray) -> np.ndarray:
        """Return f of signals (t, m) of noise 1, as float64; NaN stays."""
        return np.asarray((self.middle - _chance(values, self.depth)) / self.sd)


def _chance(values: np.ndarray, depth: float) -> np.ndarray:
    """Return how likely each signal alone makes a walker."""
    depth = min(depth, SHARPEST)
    told = -depth * np.asarray(values, dtype=np.float64) - depth**2 / 2
    return np.asarray(special.expit(told + special.logit(TAKEN)))


@lru_cache(maxsize=64)
def _sharpened(depth: float) -> Sharpened:
    """Return the function for a depth; see `Sharpened.of`."""
    noise = np.linspace(-LIMIT, LIMIT, N_NODES)
    weight = np.exp(-(noise**2) / 2)
    weight = weight / weight.sum()
    moments = []
    for signal in (noise, noise - depth):
        chance = _chance(signal, depth)
        mean = float(weight @ chance)
        moments.append((mean, float(weight @ (chance - mean) ** 2)))
    (empty, variance), (taken, of_taken) = moments
    sd = float(np.sqrt(variance))
    return Sharpened(depth, empty, sd, (taken - empty) / sd, of_taken / variance - 1)
