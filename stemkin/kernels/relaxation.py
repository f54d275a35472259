"""What a vacancy does to its neighbours: they move, and that tells as much as the missing atom itself.

When a chalcogen atom is missing, the three metal columns around it relax by a few picometres. Each is so bright that even this
is seen: a column of amplitude A displaced by d along n leaves -d n . grad A, so the slope of the matched-filter signal along
n at its site is proportional to d. The sum over the three neighbours is the *breathing* of the site. It is independent of the
signal at the site itself, so with weights 1 and r (the ratio of the two signals of a vacancy) both add up to

    z = (signal + r breathing) / sqrt(1 + r^2).

r depends on the material, not on the site, so it is measured on the vacancies that are clear without it.
"""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.lattice import Lattice
from stemkin.kernels.sites import gradient

LIKELY = 1.0
"""Weaker signals are not looked at again."""

DOUBTFUL = 2.5
"""Bright sites with a weaker signal are noise: they tell what breathing is by chance."""

SURE = -4.3
"""Signal beyond which a dark site counts as a vacancy when r is measured on one frame."""

PROVEN = 4.0
"""By how many standard deviations r must differ from 0 to be used."""


def breathing(snr: Array, lattice: Lattice, points: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Return how much the metal neighbours of chalcogen sites move.

    Parameters
    ----------
    snr
        (y, x) signed signal-to-noise, any library.
    lattice
        The crystal, a honeycomb.
    points
        (m, 2) chalcogen sites (y, x) [px], at least two bonds from the edge.
    signal
        (m,) the sites' own signals. What they share with the breathing by chance (filters overlap) is taken out; how much that
        is, and the scatter, are learned from the moderately bright sites among them, where no vacancy is.

    Returns
    -------
    (m,) in units of their own scatter; negative where the neighbours move outwards, as the signal of a vacancy is.
    """
    if not len(points):
        return np.zeros(0)
    steps = np.stack([np.zeros(2), lattice.a1, lattice.a2]) - lattice.bond
    outwards = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    slopes = gradient(snr, (points[:, None] + steps).reshape(-1, 2)).reshape(-1, 3, 2)
    total = -(slopes * outwards).sum(axis=(1, 2))
    noise = (signal > 0) & (signal < DOUBTFUL)
    shared = float((total[noise] * signal[noise]).sum() / max((signal[noise] ** 2).sum(), 1e-12))
    total = total - shared * signal
    scatter = np.median(np.abs(total[noise])) / 0.6745 if noise.any() else 1.0
    return np.asarray(total / max(float(scatter), 1e-6))


def ratio(signal: np.ndarray, breath: np.ndarray, *, n_sites: int, sure: float = SURE) -> float:
    """Estimate r, the breathing of a vacancy over its signal.

    Parameters
    ----------
    signal, breath
        (m,) of dark sites.
    n_sites
        How many sites were looked at to find them: what noise alone puts beyond `sure` is allowed for.
    sure
        Signal beyond which a site is used. That the strongest were chosen is allowed for, too.

    Returns
    -------
    r, or 0 where it is not significant.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signal, breath = rng.normal(-6, 1, 40), rng.normal(-3, 1, 40)
    >>> abs(ratio(signal, breath, n_sites=2700) - 0.5) < 0.1
    True
    >>> ratio(signal, rng.normal(size=40), n_sites=2700)
    0.0
    """
    from scipy.special import ndtr

    used = signal < sure
    if breath[used].sum() > -PROVEN * np.sqrt(max(used.sum(), 1)):
        return 0.0
    by_chance = min(n_sites * float(ndtr(sure)), 0.8 * used.sum())
    mean_by_chance = -float(_density(np.array(sure))) / float(ndtr(sure))
    n = used.sum() - by_chance
    mean_signal = (signal[used].sum() - by_chance * mean_by_chance) / n
    return float(-breath[used].sum() / n / _before_selection(float(mean_signal), sure))


def _before_selection(mean_signal: float, sure: float) -> float:
    """Return d such that normal values around -d, of which only those below `sure` were kept, have the mean `mean_signal`."""
    from scipy.special import ndtr

    d = np.linspace(0.5, 40.0, 4000)
    kept = -d - _density(sure + d) / np.maximum(ndtr(sure + d), 1e-300)
    return float(d[np.argmin(np.abs(kept - mean_signal))])


def _density(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi))


def combined(signal: np.ndarray, breath: np.ndarray, r: float) -> np.ndarray:
    """Return the signal-to-noise (m,) of site and neighbours together."""
    return np.asarray((signal + r * breath) / np.sqrt(1 + r * r))
