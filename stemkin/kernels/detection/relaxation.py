"""What a vacancy does to its neighbours: they move, which tells as much as the missing atom.

When a chalcogen atom is missing, the three metal columns around it relax by a few picometres. Each
is so bright that even this is seen: a column of amplitude A displaced by d along n leaves -d n .
grad A, so the slope of the matched-filter signal along n at its site is proportional to d. The sum
over the three neighbours is the *breathing* of the site. Freed of what it shares with the signal at
the site itself it is independent of it, so with weights 1 and r (the ratio of the two signals of a
vacancy) both add up to

    z = (signal + r breathing) / sqrt(1 + r^2),

which is the matched filter of the whole image of a vacancy. r depends on the material, not on the
site: it is the maximum likelihood estimate from all sites of a frame (or of several), of which some
unknown few are vacancies.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice
from stemkin.kernels.detection.sites import BONDED, SiteGrid, Sites, shifted

LIKELY = -1.5
"""Sites whose signal is above this are no vacancies."""

PROVEN = 4.0
"""By how many standard deviations the breathing of vacancies must differ from 0 to be used."""

N_ROUNDS = 60
"""At most so many rounds of expectation and maximisation."""


def breathing(lattice: Lattice, places: Sites) -> tuple[np.ndarray, np.ndarray]:
    """Measure how much the metal neighbours of chalcogen sites move.

    Parameters
    ----------
    lattice
        The crystal, a honeycomb.
    places
        Its sites, with their signals.

    Returns
    -------
    numbers
        (k,) rows of `places`: the chalcogen sites all of whose three neighbours are among the
        sites.
    breath
        (k,) in units of its own scatter; negative where the neighbours move outwards, as the signal
        of a vacancy is.
    """
    metal = np.flatnonzero(places.sublattice == METAL)
    numbers = np.flatnonzero(places.sublattice == CHALCOGEN)
    grid = SiteGrid.of(places.cells)
    slopes = grid.laid(places.cells[metal], places.patches.only(metal).slopes)
    # cells without a metal column are NaN, and so are the sums of sites that lack a neighbour
    total = np.zeros(grid.shape)
    for du, dv in BONDED:
        outwards = du * lattice.a1 + dv * lattice.a2 - lattice.bond
        total -= shifted(slopes @ (outwards / np.linalg.norm(outwards)), du, dv)
    breath = total[grid.at(places.cells[numbers])]
    asked = np.isfinite(breath)
    numbers, breath = numbers[asked], breath[asked]
    signal = places.signal[numbers]
    plain = ~places.beside_strong[numbers] & (np.abs(signal) < -2 * LIKELY)
    if not plain.any():
        return numbers, np.zeros(len(numbers))
    # regression on the signal of sites without defects: what is left is uncorrelated with it
    shared = (breath[plain] @ signal[plain]) / max(float(signal[plain] @ signal[plain]), 1e-12)
    breath = breath - shared * signal
    scatter = float(np.median(np.abs(breath[plain]))) / 0.6745
    return numbers, breath / max(scatter, 1e-6)


def ratio(signal: np.ndarray, breath: np.ndarray) -> float:
    """Estimate r, the breathing of a vacancy over its signal.

    The sites are a mixture of two normal distributions of unit width, one around (0, 0) and one
    around (-a, -r a), the vacancies, whose number is not known either. Sites with a signal above
    `LIKELY` are left out, which the likelihood allows for.

    Parameters
    ----------
    signal, breath
        (m,) of all sites that may be vacancies, independent of each other.

    Returns
    -------
    r, negative where the neighbours of a vacancy move inwards; 0 where it is not significant.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signal, breath = rng.normal(size=(2, 2700))
    >>> ratio(signal, breath)
    0.0
    >>> signal[:60] -= 4; breath[:60] -= 2
    >>> abs(ratio(signal, breath) - 0.5) < 0.15, abs(ratio(signal, -breath) + 0.5) < 0.15
    (True, True)
    """
    used = signal < LIKELY
    if not used.any():
        return 0.0
    n, signal, breath = len(signal), signal[used], breath[used]
    alone, _ = _vacancies(signal, None, n)
    if abs(alone @ breath) < PROVEN * np.sqrt(max(float(alone @ alone), 1e-12)):
        return 0.0
    share, depth = _vacancies(signal, breath, n)
    return float(-(share @ breath) / max(share.sum(), 1e-12) / depth)


def _vacancies(
    signal: np.ndarray, breath: np.ndarray | None, n_sites: int
) -> tuple[np.ndarray, float]:
    """Return the probability (m,) that each site is a vacancy, and the depth a of their signals.

    Expectation and maximisation; `breath` None looks at the signals alone.
    """
    depth, swing, n_vacancies = 4.5, 0.0, 0.01 * n_sites
    share, before = np.zeros_like(signal), 0.0
    for _ in range(N_ROUNDS):
        exponent = -depth * signal - (depth**2 + swing**2) / 2
        if breath is not None:
            exponent -= swing * breath
        # likelihood around (-depth, -swing) over that around (0, 0), times the prior odds
        odds = n_vacancies / (n_sites - n_vacancies) * np.exp(np.minimum(exponent, 60.0))
        share = odds / (odds + 1)
        total = max(float(share.sum()), 1e-9)
        # vacancies above `LIKELY` were left out: there are more, and they are shallower, than those
        # that are seen
        edge = LIKELY + depth
        seen = max(0.5 * math.erfc(-edge / math.sqrt(2)), 1e-3)
        n_vacancies = min(total / seen, 0.5 * n_sites)
        beyond = math.exp(-0.5 * edge**2) / math.sqrt(2 * math.pi) / seen
        depth = min(max(-float(share @ signal) / total - beyond, 2.0), 40.0)
        if breath is not None:
            swing = -float(share @ breath) / total
        if abs(total - before) < 1e-3 * total:
            break
        before = total
    return share, depth


def combined(places: Sites, numbers: np.ndarray, breath: np.ndarray, r: float) -> Sites:
    """Combine the signal-to-noise of dark chalcogen sites with that of their neighbours.

    Parameters
    ----------
    places
        The sites.
    numbers, breath
        As `breathing` gives them.
    r
        The breathing of a vacancy over its signal.

    Returns
    -------
    The sites, with other signals; `alone` stays what it was. No site becomes less dark.
    """
    signal = places.signal.copy()
    alone = signal[numbers]
    both = (alone + r * breath) / np.sqrt(1 + r * r)
    signal[numbers] = np.where(alone > -both, alone, both)
    return replace(places, signal=signal)
