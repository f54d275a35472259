"""How seldom noise may pass for a defect, at which level that is so, and whether it is.

>>> round(site_threshold(1.0, 2700), 2)
3.38
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.crystal import peaks
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.normalisation import seldom_noise
from stemkin.kernels.detection.observer import Observer
from stemkin.kernels.detection.sites import STRONG_SITE

SHARES = {(METAL, -1): 0.04, (METAL, 1): 0.02, (CHALCOGEN, -1): 0.88, (CHALCOGEN, 1): 0.02}
"""How the false positives are shared among dark and bright sites; the rest is for what lies between
them.

Nearly all go where the signal is weakest: to the missing chalcogen atom. A metal atom more or less
is never close to the threshold.
"""

WEAK = 8.0
"""Dark defects on metal sites that stand out less get as many false positives as the vacancies."""


@dataclass(frozen=True)
class Allowance:
    """How seldom noise may pass: false positives in a frame, or the |z| itself (`threshold`)."""

    false_positives: float
    threshold: float | None
    observer: Observer | None
    heavier: np.ndarray

    @property
    def shares(self) -> dict[tuple[int, int], float] | None:
        """How the false positives are shared; None where one level holds for all."""
        if self.threshold is not None:
            return None
        return shares_of(self.observer)

    def of_sites(self, sublattice: np.ndarray, signal: np.ndarray) -> np.ndarray:
        """Return the |z| (m,) from which sites of such signals are defects."""
        if self.threshold is not None:
            return np.full(len(sublattice), self.threshold)
        least = np.full(len(sublattice), np.inf)
        for (which, side), share in shares_of(self.observer).items():
            own = sublattice == which
            level = site_threshold(share * self.false_positives, int(own.sum()))
            least[own & (np.sign(signal) == side)] = level * self.heavier[which]
        return least

    @property
    def between(self) -> float:
        """How many false positives are left for what lies between the sites."""
        return (1 - sum(SHARES.values())) * self.false_positives

    def elsewhere(self, shape: tuple[int, int], filter_sd_px: float) -> float:
        """Return the |z| from which an extremum between the sites is a defect."""
        if self.threshold is not None:
            return self.threshold
        return peaks.threshold_for(self.between, shape, filter_sd_px)


def shares_of(observer: Observer | None) -> dict[tuple[int, int], float]:
    """Return how the false positives are shared among dark and bright sites of each sublattice.

    Parameters
    ----------
    observer
        What was learned of the movie; None for nothing.

    Returns
    -------
    `SHARES`, or both sublattices alike where what is dark on metal sites is weak, too: a dopant of
    nearly the same atomic number, or a vacancy of the brighter column.
    """
    if observer is None or not observer.depths[METAL] < WEAK:
        return SHARES
    dark = (SHARES[METAL, -1] + SHARES[CHALCOGEN, -1]) / 2
    return SHARES | {(METAL, -1): dark, (CHALCOGEN, -1): dark}


def site_threshold(false_positives: float, n_sites: int) -> float:
    """Choose the z that so many of a number of noise values exceed on one side, on average.

    Their scale was measured on the values themselves (`normalisation.seldom_noise`).

    Parameters
    ----------
    false_positives
        How many exceed it.
    n_sites
        Number of values.

    Returns
    -------
    The level z.

    Examples
    --------
    >>> round(site_threshold(1.0, 2700), 2)
    3.38
    """
    return seldom_noise(min(0.4, false_positives / max(n_sites, 1)), n_sites)


def mirrored(
    sublattice: np.ndarray,
    signal: np.ndarray,
    least: np.ndarray,
    beside_strong: np.ndarray,
    shares: dict[tuple[int, int], float] | None,
) -> float:
    """Estimate how many defects of a frame are false, from sites that are bright by chance.

    Noise makes sites bright as often as dark; next to no defect makes a chalcogen column brighter.
    So as many of these are dark by chance as are bright beyond the level from which dark ones are
    defects: a control on the very sites that are judged (target and decoy: Elias & Gygi, Nat.
    Methods 4, 207 (2007)). Sites in and beside a strong defect are left out.

    Parameters
    ----------
    sublattice, signal
        (m,) kind and signal of each site.
    least
        (m,) |z| from which it is a defect, were it as dark.
    beside_strong
        (m,) as `Sites` has it.
    shares
        Of the false positives, by sublattice and sign (`shares_of`); None where one level holds for
        sites of both kinds, dark and bright.

    Returns
    -------
    The number, 0 or more; NaN without chalcogen sites. One frame tells little, the sum over many.
    """
    own = sublattice == CHALCOGEN
    if not own.any():
        return float("nan")
    control = own & (signal >= least) & (signal < STRONG_SITE) & ~beside_strong
    if shares is None:
        # bright or dark, on a site of either kind
        return float(control.sum() * 2 * len(signal) / own.sum())
    return float(control.sum() / shares[CHALCOGEN, -1])
