"""How the defects of a movie lie about their sites: the same for all of a kind, so it can be measured.

Dopants may stand a few picometres beside the sites that they took, and a vacancy pulls the image of
the column beside it. How far is asked of many detections at once: their distances from the sites,
less what noise explains (`atoms`), with the weight that each deserves.

>>> round(positive_mean(20.0, scale=3.0), 1), positive_mean(-2.0, scale=3.0) < 0.1
(19.9, True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL

FAR = 4.0
"""From so many standard deviations on a defect does not belong to its site."""

GROUPS = ((METAL, -1), (METAL, 1), (CHALCOGEN, -1), (CHALCOGEN, 1))
"""Kind of site and sign of the signal: dark and bright defects on either lie about their sites in
ways of their own."""

LEAST_SPREAD = 1e-12
"""A variance [px2] so small is none, and can be divided by."""


@dataclass(frozen=True)
class SiteScatter:
    """How the defects of a movie lie about their sites, as a sample of its frames told.

    Attributes
    ----------
    spreads
        Standard deviation of each of `GROUPS` about its sites, along each axis, over the lattice
        constant.
    pull
        How far metal columns that are others are seen towards the vacancy beside them, over the same.
    scan
        By how much the scan shows the same site elsewhere from frame to frame, over the same.
    """

    spreads: tuple[float, float, float, float]
    pull: float = 0.0
    scan: float = 0.0


Away = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""`away`, `variance`, `lean` and `group` as `scattered` takes them, over the lattice constant."""

Scan = tuple[np.ndarray, np.ndarray]
"""Displacements of the rows and of the columns of a frame (n, 2) [px]."""


def groups_of(sublattice: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Return which of `GROUPS` defects belong to.

    Parameters
    ----------
    sublattice
        (m,) METAL or CHALCOGEN; anything else for no site.
    signal
        (m,) signed signal-to-noise.

    Returns
    -------
    (m,) numbers, -1 for no site.
    """
    group = np.full(len(signal), -1, np.int64)
    for i, (which, sign) in enumerate(GROUPS):
        group[(sublattice == which) & (np.sign(signal) == sign)] = i
    return group


def scattered(
    away: np.ndarray,
    variance: np.ndarray,
    lean: np.ndarray,
    group: np.ndarray,
    *,
    prior_px: np.ndarray,
    pooled: bool = False,
) -> tuple[float, np.ndarray]:
    """Measure how defects lie about their sites.

    Parameters
    ----------
    away
        (m, 2) from the site to where each is seen [px]; NaN where it has none.
    variance
        (m,) of that, along each axis [px2].
    lean, group
        (m, 2) and (m,) as `PlacedDefects` has them.
    prior_px
        (4,) standard deviation of each of `GROUPS` about its sites before anything is seen [px].
    pooled
        Whether many frames are seen, and not one.

    Returns
    -------
    How far metal columns that are others are seen towards the vacancy beside them [px], and the (4,) variances
    of each group about its sites along each axis [px2].
    """
    pull = _pull(away, lean, group >= 0, variance, float(prior_px[0]))
    away = away - pull * lean
    spread = np.zeros(len(GROUPS))
    for i, prior in enumerate(prior_px):
        own = group == i
        spread[i] = _spread(away[own], variance[own], prior_px=float(prior), pooled=pooled)
    return pull, spread


def with_vacancies_at_sites(known: SiteScatter, sublattice: int) -> SiteScatter:
    """Return how defects lie about their sites where it is known which columns lose atoms.

    What is missing has no place of its own but its site.

    Parameters
    ----------
    known
        As `pooled_scatter` gives it.
    sublattice
        METAL or CHALCOGEN: where the vacancies are.

    Returns
    -------
    The same, without scatter of what is dark there.
    """
    spreads = list(known.spreads)
    spreads[GROUPS.index((sublattice, -1))] = 0.0
    first, second, third, fourth = spreads
    return replace(known, spreads=(first, second, third, fourth))


def pooled_scatter(
    seen: Sequence[Away], scans: Sequence[tuple[Scan | None, float]], *, off_site: float
) -> SiteScatter | None:
    """Pool what frames tell of how defects lie about their sites.

    Parameters
    ----------
    seen
        Of each frame, `away_from_sites`.
    scans
        Of each frame, the displacement of its rows and columns by the scan, and its lattice
        constant [px].
    off_site
        Standard deviation of defects about their sites, over the lattice constant, before anything
        is seen.

    Returns
    -------
    What they tell; None without frames, or where `off_site` is infinite.
    """
    if not seen or not np.isfinite(off_site):
        return None
    pooled = (np.concatenate([frame[i] for frame in seen]) for i in range(4))
    pull, variances = scattered(*pooled, prior_px=np.full(len(GROUPS), off_site), pooled=True)
    first, second, third, fourth = np.sqrt(variances).tolist()
    return SiteScatter((first, second, third, fourth), pull, _scan_scatter(scans))


def _scan_scatter(scans: Sequence[tuple[Scan | None, float]]) -> float:
    """Return by how much a site is shown elsewhere from frame to frame, over the lattice constant.

    Half the mean square of the difference of two frames is the variance of one. What the scan does
    in every frame alike is left out; of all pairs of frames that follow each other the median
    counts, since two may be of different movies.
    """
    squares = []
    for (one, spacing_px), (other, _) in pairwise(scans):
        if one is None or other is None:
            continue
        if any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
            continue
        # rows and columns add up; each axis by itself is what an error is stated for
        parts = [((a - b) ** 2).mean() / 2 for a, b in zip(one, other, strict=True)]
        squares.append(sum(parts) / spacing_px**2)
    if not squares:
        return 0.0
    return float(np.sqrt(np.median(squares)))


def _pull(
    away: np.ndarray,
    lean: np.ndarray,
    on_site: np.ndarray,
    variance: np.ndarray,
    spread_px: float,
) -> float:
    """Return how far [px] metal columns that are others are seen towards the vacancy beside them."""
    leaning = on_site & (lean != 0).any(axis=1)
    if not (leaning.any() and np.isfinite(spread_px)):
        return 0.0
    weight = 1 / variance[leaning]
    along = (away[leaning] * lean[leaning]).sum(axis=1)
    return float((weight @ along) / (weight.sum() + 1 / spread_px**2))


def _spread(away: np.ndarray, variance: np.ndarray, *, prior_px: float, pooled: bool) -> float:
    """Return the variance [px2] of defects about their sites.

    It is how far (m, 2) `away` goes beyond its noise (m,) `variance`. What is not significant in one
    frame is noise; of many frames `pooled` the mean of what may be is taken.
    """
    spread = prior_px**2
    if not np.isfinite(prior_px):
        return spread
    prior = 1 / (2 * spread**2)
    for _ in range(4):
        near = (away**2).max(axis=1, initial=0.0) < FAR**2 * (spread + variance)
        # inverse variance of the mean of two squares, each of variance 2 (spread + variance)^2; the
        # prior weighs as one defect would
        weight = near / (spread + variance) ** 2
        total = float(weight.sum()) + prior
        seen = (float(weight @ ((away**2).mean(axis=1) - variance)) + prior * prior_px**2) / total
        error = 1 / np.sqrt(total)
        if pooled:
            spread = error * positive_mean(seen / error, scale=prior_px / np.sqrt(error))
        else:
            spread = max(seen - error, 0.0)
    return max(spread, LEAST_SPREAD)


def positive_mean(x: float, *, scale: float) -> float:
    """Return the posterior mean of a variance that was measured as `x`, with a standard error of 1.

    Beforehand it is as likely 0 as not (atoms stand at sites, or they do not), and if not, its root
    has a half-Cauchy distribution (Gelman, Bayesian Analysis 1, 515 (2006)).

    Parameters
    ----------
    x
        The measured one, over its standard error; negative where less scatter was seen than noise
        explains.
    scale
        Of the root, over the root of that standard error.

    Returns
    -------
    The mean, positive; about `x` itself where that is large.

    Examples
    --------
    >>> [round(positive_mean(x, scale=3.0), 2) for x in (-2.0, 0.0, 2.0, 20.0)]
    [0.02, 0.08, 0.92, 19.94]
    """
    top = np.sqrt(max(x, 0.0) + 6.0)
    root = (np.arange(400) + 0.5) * top / 400
    prior = 2 / (np.pi * scale * (1 + (root / scale) ** 2)) * top / 400
    # likelihoods over that of the variance 0
    ratio = np.exp(np.minimum(x * root**2 - root**4 / 2, 500.0)) * prior
    return float((ratio @ root**2) / (1 + ratio.sum()))
