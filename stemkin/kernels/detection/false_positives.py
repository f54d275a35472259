"""How seldom noise may pass for a defect, at which level that is so, and whether it is.

>>> round(site_threshold(1.0, 2700), 2)
3.38
"""

from __future__ import annotations

from collections.abc import Sequence
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

DARK = 3.0
"""Beyond so many standard deviations sites that are dark more often than bright hold weak defects,"""
SURELY = 4.0
"""where they are more by so many standard errors,"""
MANY = 0.2
"""and on the other sublattice by no more than so many times as much."""


@dataclass(frozen=True)
class Allowance:
    """How seldom noise may pass: false positives in a frame, or the |z| itself (`threshold`)."""

    false_positives: float
    threshold: float | None
    shared: dict[tuple[int, int], float]
    heavier: np.ndarray

    @property
    def shares(self) -> dict[tuple[int, int], float] | None:
        """How the false positives are shared; None where one level holds for all."""
        if self.threshold is not None:
            return None
        return self.shared

    def of_sites(self, sublattice: np.ndarray, signal: np.ndarray) -> np.ndarray:
        """Return the |z| (m,) from which sites of such signals are defects."""
        if self.threshold is not None:
            return np.full(len(sublattice), self.threshold)
        least = np.full(len(sublattice), np.inf)
        for (which, side), share in self.shared.items():
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


def shares_of(
    observer: Observer | None, weak_dark: tuple[bool, bool] = (False, True)
) -> dict[tuple[int, int], float]:
    """Return how the false positives are shared among dark and bright sites of each sublattice.

    Parameters
    ----------
    observer
        What was learned of the movie; None for nothing.
    weak_dark
        Whether METAL and CHALCOGEN sites were seen to hold weak dark defects (`weak_dark_sites`).

    Returns
    -------
    `SHARES`, or both sublattices alike where what is dark on metal sites is weak, too: a dopant of
    nearly the same atomic number, or a vacancy of the brighter column. Where only those lose atoms
    (selenium in MoSe2 outshines the metal) they have what chalcogen sites have elsewhere.
    """
    both = observer is not None and observer.depths[METAL] < WEAK
    dark = SHARES[METAL, -1], SHARES[CHALCOGEN, -1]
    if weak_dark == (True, False):
        dark = dark[::-1]
    elif both or all(weak_dark):
        dark = (sum(dark) / 2,) * 2
    return SHARES | {(METAL, -1): dark[0], (CHALCOGEN, -1): dark[1]}


def weak_dark_sites(signals: Sequence[np.ndarray]) -> tuple[bool, bool]:
    """Tell on which sublattice weak dark defects are.

    Noise makes sites dark as often as bright, so what is dark more often is defects.

    Parameters
    ----------
    signals
        (m,) of METAL sites, and of CHALCOGEN sites, of many frames; none beside strong defects.

    Returns
    -------
    Whether there are any on METAL, and on CHALCOGEN sites; the latter where neither is sure.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(2, 20_000))
    >>> weak_dark_sites(noise), weak_dark_sites([np.append(noise[0], np.full(200, -4.0)), noise[1]])
    ((False, True), (True, False))
    """
    dark = np.array([(own < -DARK).sum() for own in signals])
    bright = np.array([(own > DARK).sum() for own in signals])
    more = dark - bright
    surely = more > SURELY * np.sqrt(dark + bright)
    held = surely & (more > MANY * more.max())
    if not held.any():
        return False, True
    return bool(held[0]), bool(held[1])


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

    Noise makes sites bright as often as dark; next to no defect makes a column of those brighter
    that most vacancies are in. So as many of these are dark by chance as are bright beyond the
    level from which dark ones are defects: a control on the very sites that are judged (target and
    decoy: Elias & Gygi, Nat. Methods 4, 207 (2007)). Sites in and beside a strong defect are left
    out.

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
    The number, 0 or more; NaN without such sites. One frame tells little, the sum over many.
    """
    which = CHALCOGEN
    if shares is not None and shares[METAL, -1] > shares[CHALCOGEN, -1]:
        which = METAL
    own = sublattice == which
    if not own.any():
        return float("nan")
    control = own & (signal >= least) & (signal < STRONG_SITE) & ~beside_strong
    if shares is None:
        # bright or dark, on a site of either kind
        return float(control.sum() * 2 * len(signal) / own.sum())
    return float(control.sum() / shares[which, -1])
