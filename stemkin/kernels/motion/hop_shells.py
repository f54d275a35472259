"""Shells of a lattice: where a defect is after n hops, at which distance, and in which bin.

A *lattice* is triangular (six neighbours), square (four), or a honeycomb (three, as the bonds of
graphene). The chance to be at a site after n hops is the n-th power of what one hop does to a plane
wave, transformed back: exact for any number of hops.

>>> shells("triangular").radius[:4].round(3).tolist()
[0.0, 1.0, 1.732, 2.0]
>>> shell_probabilities(np.array([0.0]), "triangular")[0, :2].tolist()
[1.0, 0.0]
>>> shells("honeycomb").chance[2, :3].round(3).tolist()  # back home, or to one of six
[0.333, 0.0, 0.667]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy import fft, special

Lattice = Literal["triangular", "honeycomb", "square"]
LATTICES: tuple[Lattice, ...] = ("triangular", "honeycomb", "square")

BINS_PER_HOP = 40
FINE_TO, COARSE_TO, FARTHEST = 6, 16, 32
"""Distances are counted in bins of a/40 up to 6 a, of a/4 up to 16 a, and of a up to 32 a; the last
bin holds what is farther."""

_FINE = np.arange(FINE_TO * BINS_PER_HOP) / BINS_PER_HOP
_COARSE = np.arange(FINE_TO, COARSE_TO, 0.25)
_COARSEST = np.arange(COARSE_TO, FARTHEST + 1.0)
EDGES = np.concatenate([_FINE, _COARSE, _COARSEST, [np.inf]])
"""(N_BINS + 1,) ends of the bins [a]."""
N_BINS = len(EDGES) - 1
N_FINE = len(_FINE)

MOST_HOPS = 200
"""In one displacement; more are as if they were not."""
FASTEST = 37.0
"""Hops per frame that can still be counted over four frames."""
_HALF = 64


def bins_of(distance: np.ndarray) -> np.ndarray:
    """Return in which bin each distance lies.

    Parameters
    ----------
    distance
        (n,) [a].

    Returns
    -------
    (n,) numbers of bins.
    """
    # Below 6 a by a product, so that a distance falls into the same bin as ever; beyond, the edges
    # are exact in binary.
    near = np.minimum(distance * BINS_PER_HOP, N_FINE).astype(np.int64)
    far = np.searchsorted(EDGES, distance, side="right") - 1
    return np.where(distance < FINE_TO, near, np.minimum(far, N_BINS - 1))


@dataclass(frozen=True, eq=False)
class Shells:
    """Sites at the same distance from the one where a defect was.

    Attributes
    ----------
    radius
        (n_shells,) distances within 34 a, ascending [a].
    chance
        (MOST_HOPS + 1, n_shells) to be there after 0, 1, ... hops.
    """

    radius: np.ndarray
    chance: np.ndarray


@cache
def shells(lattice: Lattice) -> Shells:
    """Return the shells of a lattice.

    Parameters
    ----------
    lattice
        Which; the honeycomb lies on the sites of a triangular one with a as its bond.

    Source: Hughes, Random Walks and Random Environments 1 (1995), ch. 3.
    """
    # A site is u a1 + v a2 on a torus so large that none of `MOST_HOPS` hops comes round. The two
    # vectors are at 60 degrees (squared length u² + u v + v²), or at right angles.
    place = np.fft.ifftshift(np.arange(-_HALF, _HALF))
    u, v = np.meshgrid(place, place, indexing="ij")
    k = 2 * np.pi * place / len(place)
    ku, kv = np.meshgrid(k, k, indexing="ij")
    if lattice == "square":
        square, wave = u**2 + v**2, (np.cos(ku) + np.cos(kv)) / 2
        back = wave
    else:
        square = u**2 + u * v + v**2
        wave = (np.exp(1j * ku) + np.exp(1j * (kv - ku)) + np.exp(-1j * kv)) / 3
        back = np.conj(wave)  # from the other kind of site the three hops are the opposite ones
        if lattice == "triangular":
            wave = back = wave.real
    near = square <= (FARTHEST + 2) ** 2
    squares, shell = np.unique(square[near], return_inverse=True)
    chance, power = np.empty((MOST_HOPS + 1, len(squares))), np.ones_like(wave)
    for n in range(MOST_HOPS + 1):
        there = np.maximum(fft.ifft2(power).real, 0.0)[near]
        chance[n] = np.bincount(shell, weights=there, minlength=len(squares))
        power = power * (wave, back)[n % 2]
    chance[chance < 1e-15] = 0.0
    return Shells(np.sqrt(squares), chance)


def shell_probabilities(
    mean_hops: np.ndarray, lattice: Lattice, n_shells: int | None = None
) -> np.ndarray:
    """Return the chance to be on each shell where the number of hops is a Poisson number.

    Parameters
    ----------
    mean_hops
        (...) mean numbers of hops.
    lattice
        On which the hops lead.
    n_shells
        Of the nearest shells only; None: all.

    Returns
    -------
    (..., n_shells) chances.
    """
    mean = np.asarray(mean_hops, dtype=np.float64)[..., None]
    fastest = float(mean.max(initial=0.0))
    n = np.arange(min(MOST_HOPS, int(fastest + 9 * np.sqrt(fastest) + 9)) + 1)
    weight = np.exp(special.xlogy(n, mean) - mean - special.gammaln(n + 1))
    return np.asarray(weight @ shells(lattice).chance[: len(n), :n_shells])


def distance_probabilities(s: float, bins: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return the chance to see a distance in each bin, from each shell: Rice's density.

    Parameters
    ----------
    s
        Localisation error per axis [a].
    bins
        (m,) numbers of bins, ascending.
    radius
        (n_shells,) of the shells [a].

    Returns
    -------
    (n_shells, m) chances, at least 1e-12; beyond 6 a of Gauss's law along the radius.
    """
    near, far = bins[bins < N_FINE], bins[bins >= N_FINE]
    R, spread = radius[:, None], 2 * s**2
    chance = np.zeros((len(radius), len(near)))
    # Only bins within 7 errors of a shell; the mean over 4 points within a bin is the bin's.
    parts = (np.arange(4)[:, None] + 0.5) / 4
    reach = 7 * np.sqrt(spread) + 1 / BINS_PER_HOP
    shell, place = np.nonzero(np.abs(near / BINS_PER_HOP - R) < reach)
    d, own = (near[place] + parts) / BINS_PER_HOP, radius[shell]
    bell = np.exp(-((d - own) ** 2) / (2 * spread))
    density = d / spread * bell * special.i0e(d * own / spread)
    chance[shell, place] = density.mean(axis=0) / BINS_PER_HOP
    if len(far):
        below = special.ndtr((EDGES[far] - R) / np.sqrt(spread))
        chance = np.concatenate(
            [chance, special.ndtr((EDGES[far + 1] - R) / np.sqrt(spread)) - below], axis=1
        )
    return np.asarray(np.maximum(chance, 1e-12))
