"""Vacancies with their neighbours: what a frame tells of the sites that may have lost an atom."""

from __future__ import annotations

import numpy as np

from stemkin.devices import Array
from stemkin.kernels.crystal.lattice import Lattice
from stemkin.kernels.detection.observer import Observer, observed
from stemkin.kernels.detection.relaxation import breathing, combined, ratio
from stemkin.kernels.detection.sites import BORDER_PX, STRONG_SITE, Sites, site_signals
from stemkin.kernels.images.filters import Skewness


def dark_sites(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, skew: Skewness | None = None
) -> tuple[Sites, np.ndarray, np.ndarray]:
    """Look at all sites of a lattice and at how the neighbours of chalcogen sites move.

    Parameters
    ----------
    snr
        (y, x) signed matched-filter signal-to-noise, any library.
    lattice
        The crystal.
    mask
        (y, x) of the pixels that belong to it; None for all.
    skew
        Skewness of the noise of `snr`; None for none.

    Returns
    -------
    The sites; rows (k,) of those that may be vacancies; how they breathe (k,). No rows in a crystal
    that is no honeycomb.
    """
    places = site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
    if not lattice.is_honeycomb or not len(places.points):
        return places, np.zeros(0, np.int64), np.zeros(0)
    return places, *breathing(lattice, places)


def vacancy_signals(
    snr: Array, lattice: Lattice, mask: np.ndarray | None, skew: Skewness | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the signal and the breathing of the sites that tell how vacancies breathe.

    Parameters
    ----------
    snr
        (y, x) signed matched-filter signal-to-noise, any library.
    lattice
        The crystal.
    mask
        (y, x) of the pixels that belong to it; None for all.
    skew
        Skewness of the noise of `snr`; None for none.

    Returns
    -------
    Signal and breathing (k,), for `relaxation.ratio`.
    """
    return _told(*dark_sites(snr, lattice, mask, skew))


def _told(places: Sites, numbers: np.ndarray, breath: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the sites that see a strong defect beside them."""
    lonely = ~places.beside_strong[numbers] | (places.signal[numbers] < -STRONG_SITE)
    return places.signal[numbers[lonely]], breath[lonely]


def sites_with_neighbours(
    snr: Array,
    lattice: Lattice,
    mask: np.ndarray | None,
    relaxation: float | None,
    skew: Skewness | None,
    *,
    observer: Observer | None = None,
    noise_units: Array | None = None,
) -> Sites:
    """Read the sites of a lattice, vacancies with what their neighbours tell.

    Parameters
    ----------
    snr, lattice, mask, skew
        As for `dark_sites`.
    relaxation
        How much the neighbours of a vacancy tell over what its own site does; None to measure it on
        this frame, 0 to look at sites alone.
    observer
        What was learned of the movie, in place of `relaxation`; None for nothing.
    noise_units
        (y, x) remainder over its noise, which the observer looks at.

    Returns
    -------
    The sites.
    """
    if observer is not None and noise_units is not None and lattice.is_honeycomb:
        places = site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
        return observed(places, noise_units, lattice, mask, observer, skew)
    if relaxation == 0:
        return site_signals(snr, lattice, mask=mask, border_px=BORDER_PX, skew=skew)
    places, numbers, breath = dark_sites(snr, lattice, mask, skew)
    return with_breathing(places, numbers, breath, relaxation)


def with_breathing(
    places: Sites, numbers: np.ndarray, breath: np.ndarray, relaxation: float | None
) -> Sites:
    """Return sites with what the neighbours of those that may be vacancies tell.

    Parameters
    ----------
    places, numbers, breath
        As `dark_sites` gives them.
    relaxation
        As for `sites_with_neighbours`.

    Returns
    -------
    The sites, with other signals where that is significant.
    """
    r = relaxation
    if r is None:
        r = ratio(*_told(places, numbers, breath))
    if r != 0:
        return combined(places, numbers, breath, r)
    return places
