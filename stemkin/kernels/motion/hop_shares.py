"""The shares of a lattice's shells themselves, where hops do not come like Poisson numbers.

A defect that hops once in every frame, a mixture of mobile and immobile ones, or hops that avoid
each other still stand on the lattice's sites. The shares w of the shells then follow from the
histogram by expectation and maximisation, whatever put the defects there, and the mean squared
step, sum w R², gives D without any assumption on the hops (it is what a Poisson walk of as many
hops per frame has).

Source: Laird, J. Am. Stat. Assoc. 73, 805 (1978); the test that the shares are those of Poisson
hops is the likelihood ratio.

>>> step = np.array([0, 50])  # fifty steps of one lattice constant, none of nought
>>> free_shares(step, np.eye(2), np.array([0.6, 0.4]), np.array([0.0, 1.0]))[0]
1.0
"""

from __future__ import annotations

import numpy as np
from scipy import special

SURE = 1e-3
"""Poisson hops are given up where shells as they were seen would come out of them less often."""
N_STEPS = 300


def fitted_shares(histogram: np.ndarray, seen_from: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the shares of the shells that make a histogram most likely.

    Parameters
    ----------
    histogram, seen_from, shares
        As of `free_shares`; the search begins at the shares.

    Returns
    -------
    (n_shells,) shares.
    """
    n, free = float(histogram.sum()), np.maximum(shares, 1e-6)
    for _ in range(N_STEPS):
        free = free * (seen_from @ (histogram / np.maximum(free @ seen_from, 1e-300))) / n
    return np.asarray(free)


def free_shares(
    histogram: np.ndarray, seen_from: np.ndarray, shares: np.ndarray, radius: np.ndarray
) -> tuple[float, float] | None:
    """Return the mean squared step over one frame, and the number of hops that it is worth.

    Parameters
    ----------
    histogram
        (m,) weighted numbers of distances over one frame, by bins.
    seen_from
        (n_shells, m) chance to see a distance in each bin, from each shell.
    shares
        (n_shells,) of Poisson hops, as fitted.
    radius
        (n_shells,) [a].

    Returns
    -------
    None where hops may be Poisson numbers, or no displacement spans one frame.
    """
    n = float(histogram.sum())
    if n == 0:
        return None
    poisson = float(histogram @ np.log(shares @ seen_from))
    free = fitted_shares(histogram, seen_from, shares)
    gained = float(histogram @ np.log(np.maximum(free @ seen_from, 1e-300))) - poisson
    freedom = max(int(((n * free > 0.5) | (n * shares > 0.5)).sum()) - 2, 1)
    if special.chdtrc(freedom, max(2 * gained, 0.0)) > SURE:
        return None
    # Of shares as of counts: half a displacement more at home and half a one at the most common
    # shell, so that what happened every time is not sure to happen always.
    square = radius**2
    mean = float(free @ square)
    common = int(np.argmax(free * (square > 0)))
    known = n * free
    known[0] += 0.5
    known[common] += 0.5
    known /= n + 1
    variance = float(known @ square**2 - (known @ square) ** 2) / n
    return mean, mean**2 / variance
