"""The states of dopants behind signals that no frame can read: a hidden chain of four states.

A dopant has three columns beside it; its state is 0 (no vacancy there) or 1 to 3 (on the first,
second or third). Signals x of the columns are normal about a baseline of each column, lower by
`depth` where the vacancy is and by `leak` on the two others. Frames that are not seen have no say.

>>> x = np.zeros((6, 1, 3)); x[3:, 0, 1] = -9.0
>>> look = Emission(np.zeros((1, 3)), 9.0, 0.0, 1.0)
>>> P = np.full((4, 4), 0.02) + 0.92 * np.eye(4)
>>> posterior, _ = state_posteriors(look.log_densities(x), P, np.full(4, 0.25))
>>> posterior[:, 0].argmax(axis=1).tolist()
[0, 0, 0, 2, 2, 2]

Source: forward-backward sums, Baum & Petrie, Ann. Math. Stat. 37, 1554 (1966); hidden Markov models
of image series: De Wael, De Backer & Van Aert, Ultramicroscopy 219, 113131 (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_STATES = 4

BASE_SD = 0.5
"""Baselines of columns differ by about so much of the noise, before the signals are asked."""


@dataclass(frozen=True, eq=False)
class Emission:
    """How signals look in each state.

    Attributes
    ----------
    base
        (dopant, 3) signals of the columns without a vacancy.
    depth, leak
        By how much a signal falls where the vacancy is, and where it is on another column.
    sd
        Of the noise.
    """

    base: np.ndarray
    depth: float
    leak: float
    sd: float

    def log_densities(self, signals: np.ndarray) -> np.ndarray:
        """Return the (t, dopant, 4) logarithms of the densities of `signals` (t, dopant, 3)."""
        known = np.isfinite(signals)
        away = np.where(known, signals - self.base, 0.0)
        found = np.empty((*signals.shape[:2], N_STATES))
        for state in range(N_STATES):
            off = away + np.where(known, self.fall(state), 0.0)
            found[..., state] = -0.5 * (off**2).sum(axis=-1) / self.sd**2
        return np.asarray(found - known.sum(axis=-1)[..., None] * np.log(self.sd))

    def fall(self, state: int) -> np.ndarray:
        """Return by how much (3,) the signals fall in a state."""
        if state == 0:
            return np.zeros(3)
        lower = np.full(3, self.leak)
        lower[state - 1] = self.depth
        return lower

    def refined(self, signals: np.ndarray, posterior: np.ndarray) -> Emission:
        """Return the emission that the posteriors (t, dopant, 4) of the states ask for.

        Baselines, falls and noise are updated in turn, each given the others.
        """
        known = np.isfinite(signals)
        x = np.where(known, signals, 0.0)
        here = posterior[..., 1:] * known
        bound = posterior[..., 1:].sum(axis=-1)[..., None]
        other = (bound - posterior[..., 1:]) * known
        # a column's baseline is drawn to that of all by what baselines usually differ
        middle = float(np.median(self.base))
        fallen = self.depth * here + self.leak * other
        pull = (self.sd / BASE_SD) ** 2
        base = ((x + fallen) * known).sum(axis=0) + pull * middle
        base = base / (known.sum(axis=0) + pull)
        below = (base - x) * known
        depth = float((below * here).sum() / max(here.sum(), 1e-9))
        leak = float((below * other).sum() / max(other.sum(), 1e-9))
        rest = below**2 * (known - here - other) + (below - depth) ** 2 * here
        rest = rest + (below - leak) ** 2 * other
        sd = float(np.sqrt(rest.sum() / max(known.sum(), 1)))
        return Emission(base, depth, leak, max(sd, 1e-6))


def state_posteriors(
    log_densities: np.ndarray, step: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return how likely each state is in each frame, given all frames.

    Parameters
    ----------
    log_densities
        (t, n, k) of what was seen, for n chains in k states.
    step
        (k, k) transition matrix of one frame.
    start
        (k,) probabilities in the first frame.

    Returns
    -------
    (t, n, k) probabilities, and the log-likelihood of all chains.
    """
    highest = log_densities.max(axis=-1, keepdims=True)
    emission = np.exp(log_densities - highest)
    forward = np.empty_like(emission)
    scale = np.empty(emission.shape[:2])
    ahead = np.broadcast_to(start, emission.shape[1:])
    for t in range(len(emission)):
        own = ahead * emission[t]
        scale[t] = own.sum(axis=-1)
        forward[t] = own / scale[t][:, None]
        ahead = forward[t] @ step
    posterior = forward.copy()
    behind = np.ones(emission.shape[1:])
    for t in range(len(emission) - 2, -1, -1):
        behind = (behind * emission[t + 1] / scale[t + 1][:, None]) @ step.T
        posterior[t] = forward[t] * behind
    return posterior, float(np.log(scale).sum() + highest.sum())
