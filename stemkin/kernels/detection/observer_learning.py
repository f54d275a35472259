"""What a missing atom looks like in a movie, and what its noise is: learned without any truth.

Patches around all sites of a sublattice are a mixture of many clean ones and few with a defect. The
covariance C of the clean ones comes first: nearly all are. Then signatures are tried that a missing
atom may have, a dip with neighbours that move by some amount outwards or inwards, each with its own
Hotelling observer; the one whose signals are least like noise begins. In rounds of expectation and
maximisation the signature becomes the mean of the patches weighted by their probability to hold a
defect, C the covariance of the others. What is not significant of the mean is drawn towards dip and
breathing. Both are averaged over the six operations of C3v, which leave a site and its neighbours
alike (METHOD: Barrett & Myers, Foundations of Image Science (2004), ch. 13; shrinkage as in James &
Stein (1961)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from stemkin.devices import Array
from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL, Lattice, numbered_sites
from stemkin.kernels.detection.bound_vacancies import bound_vacancy
from stemkin.kernels.detection.normalisation import scatter_of, seldom_noise
from stemkin.kernels.detection.observer import Observer, bonded, patches_at
from stemkin.kernels.detection.patch_grid import GRID, STEPS
from stemkin.kernels.detection.patch_shapes import (
    another_column,
    dip_and_breathing,
    lattice_places,
    operations,
    symmetrised,
    what_may_stand_around,
)

BREATHING = (-4.0, -2.5, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.5, 4.0)
"""Amplitudes of the breathing, over that of the dip, that are tried first."""

N_ROUNDS = 5
"""Rounds of expectation and maximisation; it settles after two."""

LEAST_SITES = 800
"""Fewer clean patches do not tell a covariance."""

LEAST_DEFECTS = 8.0
"""Fewer defects do not tell a signature."""

PROVEN = 12.0
"""By how much more likely, in natural logarithms, dark defects must be than as many bright ones."""

QUIET = 0.8
"""Share of the sites that have no strong defect beside them."""

BONDED_TO = 0.8
"""Over the lattice constant: a chalcogen column that is closer to a metal column is bonded to it."""

RING = 0.4
"""Over the lattice constant: what lies further away belongs to the neighbours."""

CLEAN = 2.5
"""Sites beyond so many standard deviations tell nothing of the noise."""

SHRUNK = 1.5
"""Parts of a signature below so many standard errors are left out."""

ROWS = 8_000
"""From so many patches a covariance is computed."""

BLIND = 1e3
"""Variance of what may stand on the sites around, over that of the noise of a pixel."""

SELDOM, SELDOM_SITES = 0.005, 40
"""A share of the sites so small, or else so many of them, tells how heavy the tails of noise are."""

LEAST_TAIL, MOST_TAIL = 0.95, 1.3
"""Heavier tails are features, and not noise; much lighter ones there are not."""

RINGS = range(2 * STEPS + 1)
"""Steps of the grid over which noise is compared with itself: up to two lattice constants."""

LEAST_TOLD = 0.8
"""An observer that tells less than this share of what is told without it learned a wrong look."""

WEAK = 8.0
"""Dark defects on metal sites that stand out more are found without an observer."""


def patches_of(
    noise_units: Array,
    lattice: Lattice,
    mask: np.ndarray | None,
    sublattice: int,
    dopants: np.ndarray,
) -> np.ndarray:
    """Take the patches around the sites of a sublattice that lie inside a frame and a crystal.

    Parameters
    ----------
    noise_units
        (y, x) what is left of the frame without its crystal, over its noise, any library.
    lattice
        The crystal.
    mask
        (y, x) of the pixels that belong to it; None for all.
    sublattice
        METAL or CHALCOGEN.
    dopants
        (d, 2) places of METAL sites (y, x) [px] where something else stands. Vacancies beside them
        move their neighbours in ways of their own, and are left out.

    Returns
    -------
    (m, P) float32, interpolated at the points of `GRID`.
    """
    shape = (int(noise_units.shape[0]), int(noise_units.shape[1]))
    _, points = numbered_sites(lattice, shape, sublattice)
    if sublattice == CHALCOGEN and len(dopants):
        apart, _ = cKDTree(dopants).query(points)
        points = points[apart > BONDED_TO * lattice.spacing_px]
    return patches_at(noise_units, points, lattice, mask)[0]


def learned_observer(
    patches: list[np.ndarray], dopants: np.ndarray, filter_sd: float
) -> Observer | None:
    """Learn the observer of the dark defects of a movie.

    Parameters
    ----------
    patches
        (m, P) around METAL sites, and around CHALCOGEN sites.
    dopants
        (d, P) around METAL sites where something else stands, however bright.
    filter_sd
        Standard deviation of the matched filter, over the lattice constant.

    Returns
    -------
    The observer; None where nothing significant was learned.
    """
    weights, blind = np.zeros((2, 2, len(GRID)))
    knowing = np.zeros((2, 3, len(GRID)))
    depths, signatures = np.full(2, np.nan), np.zeros((2, len(GRID)))
    alike = np.full((2, len(RINGS)), np.nan)
    for which in (METAL, CHALCOGEN):
        found = _learned(patches[which], which, filter_sd)
        if found is None or (which == METAL and found.depth >= WEAK):
            continue
        weights[which], depths[which] = found.weights, found.depth
        signatures[which], alike[which] = found.signature, correlation_by_distance(found.covariance)
        blind[which] = _blind_to(what_may_stand_around(which, filter_sd), found)
        for i, uv in enumerate(bonded(which)):
            knowing[which, i] = _blind_to(another_column(uv, filter_sd), found)
    if np.isnan(depths).all():
        return None
    observer = Observer(weights, blind, knowing, depths, np.ones(2), signatures, alike)
    if not observer.knows(CHALCOGEN):
        return observer
    clean = _quiet(patches[METAL])
    if len(clean) < LEAST_SITES:
        return observer
    basis = dip_and_breathing(CHALCOGEN, filter_sd)
    dip, _ = np.linalg.lstsq(basis.T, signatures[CHALCOGEN], rcond=None)[0]
    noise = _noise_of(clean, np.arange(len(clean)))
    told = bound_vacancy(dopants, *noise, float(dip), filter_sd)
    if told is None:
        return observer
    return replace(observer, bound=told.weights, bound_told=told.numbers)


def correlation_by_distance(covariance: np.ndarray) -> np.ndarray:
    """Return how alike the noise is at points of the grid that lie apart.

    Parameters
    ----------
    covariance
        (P, P) of the points of `GRID`.

    Returns
    -------
    (R,) mean correlation of pairs whose distance rounds to 0, 1, ... steps of the grid.
    """
    root = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(root, root)
    places = lattice_places(GRID.astype(float))
    steps = np.rint(np.hypot(*(places[:, None] - places).transpose(2, 0, 1))).astype(np.int64)
    near = steps < len(RINGS)
    total = np.bincount(steps[near], weights=correlation[near], minlength=len(RINGS))
    return np.asarray(total / np.bincount(steps[near], minlength=len(RINGS)))


def tails_of(signals: list[np.ndarray], n_pieces: int) -> np.ndarray:
    """Measure by how much larger seldom signals of clean sites are than those of normal noise.

    Nearly all defects are dark, so the bright side is looked at, where it is as seldom as the
    number of sites allows. Normal noise, too, is Student's t where each piece of crystal tells the
    scale of its own (`false_positives.site_threshold`). What is not beyond the error of such a
    quantile is chance, on either side of 1, and counts the less the smaller it is: a factor that is
    1.02 by chance would let a fifth fewer false positives pass than are asked for.

    Parameters
    ----------
    signals
        (m,) of METAL sites, and of CHALCOGEN sites, that are not beside strong defects.
    n_pieces
        How many pieces of crystal they are from.

    Returns
    -------
    (2,) factors, 1 for normal noise.
    """
    tails = np.ones(2)
    for which, values in enumerate(signals):
        portion = max(SELDOM, SELDOM_SITES / max(len(values), 1))
        if portion < 0.05:
            usual = seldom_noise(portion, round(len(values) / n_pieces))
            beyond = float(np.quantile(values, 1 - portion)) / usual - 1.0
            share = beyond**2 / (beyond**2 + _quantile_error(portion, len(values)) ** 2)
            tails[which] = min(max(1.0 + share * beyond, LEAST_TAIL), MOST_TAIL)
    return tails


def _quantile_error(portion: float, n: int) -> float:
    """Return the standard error of the level that a portion of n normal values exceeds, over it.

    Of any order statistic (Kendall & Stuart, The Advanced Theory of Statistics 1, eq. 10.29).
    """
    from scipy.special import ndtri

    level = float(-ndtri(portion))
    density = np.exp(-0.5 * level**2) / np.sqrt(2 * np.pi)
    return float(np.sqrt(portion * (1 - portion) / n) / (density * level))


@dataclass(frozen=True, eq=False)
class _Learned:
    """Signature (P,), covariance (P, P), what was added to its diagonal, weights (P,), depth."""

    signature: np.ndarray
    covariance: np.ndarray
    ridge: float
    weights: np.ndarray
    depth: float


def _learned(patches: np.ndarray, which: int, filter_sd: float) -> _Learned | None:
    """Learn from the patches (m, P) around the sites of one sublattice; None if it is not sure."""
    quiet = _quiet(patches)
    if len(quiet) < LEAST_SITES:
        return None
    quiet = quiet.astype(np.float64)
    basis = dip_and_breathing(which, filter_sd)
    _, covariance = _noise_of(quiet, np.arange(len(quiet)))
    signature, gain = _first_guess(quiet, covariance, basis)
    if gain < PROVEN:
        return None
    depth, gain = 4.0, 0.0
    for _ in range(N_ROUNDS):
        z = _standard(quiet @ _hotelling(covariance, signature))
        share, depth, gain = _mixture(z, depth)
        # what is much deeper is another kind of defect: two atoms missing, or a dopant
        share = share * (z < max(2.2 * depth, depth + 5))
        n = float(share.sum())
        if n < LEAST_DEFECTS:
            return None
        mean, covariance = _noise_of(quiet, np.flatnonzero(np.abs(z) < CLEAN))
        seen = symmetrised(share @ quiet / n) - mean
        signature = _shrunk(seen, basis, np.diag(covariance), n)
    if gain < PROVEN:
        return None
    weights, ridge = _hotelling(covariance, signature), float(np.trace(covariance)) / len(GRID)
    return _Learned(signature, covariance, ridge, weights, depth)


def _quiet(patches: np.ndarray) -> np.ndarray:
    """Return those of patches (m, P) that have no strong defect beside their middle."""
    if not len(patches):
        return patches
    ring = np.hypot(*lattice_places(GRID / STEPS).T) > RING
    loudest = np.abs(patches[:, ring]).max(axis=1)
    return np.asarray(patches[loudest <= np.quantile(loudest, QUIET)])


def _blind_to(images: np.ndarray, found: _Learned) -> np.ndarray:
    """Return the weights (P,) that see nothing of `images` (k, P), as noisy as the usual ones."""
    covariance = found.covariance + BLIND * (images.T @ images)
    weights = _hotelling(covariance, found.signature, ridge=found.ridge)
    noise = [w @ found.covariance @ w for w in (found.weights, weights)]
    return np.asarray(weights * np.sqrt(noise[0] / noise[1]))


def _first_guess(
    patches: np.ndarray, covariance: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the signature (P,), of those with some breathing, that is least like noise.

    Beside it: by how much more likely dark defects are with it than bright ones.
    """
    best, most = basis[0], -np.inf
    signatures = basis[0] + np.array(BREATHING)[:, None] * basis[1]
    signals = patches @ _hotelling(covariance, signatures.T)
    for signature, seen in zip(signatures, signals.T, strict=True):
        z = _standard(seen)
        gain = _mixture(z, 4.0)[2] - _mixture(-z, 4.0)[2]
        if gain > most:
            best, most = signature, gain
    return best, most


def evidence_of(signals: list[np.ndarray]) -> float:
    """Tell how clearly a few dark defects stand out among sites.

    Parameters
    ----------
    signals
        Of each sublattice, (m,) signals of its sites over the noise; dark ones are negative.

    Returns
    -------
    Sum over the sublattices of the natural logarithm of the likelihood of dark defects over that of
    noise alone, less the same for bright ones.
    """
    told = 0.0
    for own in signals:
        if len(own):
            told += _mixture(-own, 4.0)[2] - _mixture(own, 4.0)[2]
    return told


def tells_enough(seen: list[np.ndarray], unseen: list[np.ndarray], is_known: np.ndarray) -> bool:
    """Tell whether an observer shows the dark defects as clearly as they are seen without it.

    Sites of which nothing was learned have no say: dopants on them may be bright, and far from noise
    either way.

    Parameters
    ----------
    seen, unseen
        Of METAL and of CHALCOGEN sites, (m,) signals with the observer, and without it.
    is_known
        (2,) of which of them something was learned.
    """
    own = np.flatnonzero(is_known)
    told = evidence_of([seen[which] for which in own])
    without = evidence_of([unseen[which] for which in own])
    return told >= LEAST_TOLD * max(without, 0.0)


def _mixture(z: np.ndarray, depth: float) -> tuple[np.ndarray, float, float]:
    """Fit two normal distributions of width 1, around 0 and around the depth of few defects.

    Returns
    -------
    Probability (m,) that each site holds a defect, the depth, and by how much the logarithm of the
    likelihood is above that of noise alone.
    """
    portion, share = 0.01, np.zeros_like(z)
    for _ in range(30):
        odds = portion / (1 - portion) * np.exp(np.minimum(depth * z - depth**2 / 2, 50.0))
        share = odds / (1 + odds)
        total = float(share.sum())
        portion = min(max(total / len(z), 1e-6), 0.3)
        depth = max(float(share @ np.minimum(z, 12.0)) / max(total, 1e-9), 2.5)
    # one site alone, however dark, proves no more than one of six standard deviations
    likely = depth * np.minimum(z, 6.0 + depth / 2) - depth**2 / 2
    return share, depth, float(np.log1p(portion * np.expm1(np.minimum(likely, 50.0))).sum())


def _hotelling(
    covariance: np.ndarray, signature: np.ndarray, *, ridge: float | None = None
) -> np.ndarray:
    """Return the weights (P,) (C + ridge)^-1 s; the ridge is the mean variance unless given.

    Of several signatures, (P, k), the weights of each.
    """
    n = len(signature)
    if ridge is None:
        ridge = float(np.trace(covariance)) / n
    return np.asarray(np.linalg.solve(covariance + ridge * np.eye(n), signature))


def _noise_of(patches: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (P,) and covariance (P, P) of the patches `clean`, averaged over C3v."""
    rows = patches[clean[:: max(1, len(clean) // ROWS)]]
    mean, covariance = rows.mean(axis=0), np.cov(rows.T)
    turned = [covariance[np.ix_(order, order)] for order in operations()]
    return symmetrised(mean), np.asarray(sum(turned)) / len(turned)


def _standard(z: np.ndarray) -> np.ndarray:
    """Return signals (m,) of median 0 and scatter 1."""
    return np.asarray((z - np.median(z)) / max(scatter_of(z), 1e-12))


def _shrunk(seen: np.ndarray, basis: np.ndarray, variance: np.ndarray, n: float) -> np.ndarray:
    """Draw a mean signature (P,) of `n` patches towards dip and breathing where it is not sure.

    Four of the six operations bring independent noise, about.
    """
    root = 1 / np.sqrt(variance)
    amplitudes = np.linalg.lstsq((basis * root).T, seen * root, rcond=None)[0]
    known = amplitudes @ basis
    error = np.sqrt(variance / (4 * n))
    rest = seen - known
    sure = 1 - (SHRUNK * error) ** 2 / np.maximum(rest**2, 1e-30)
    return np.asarray(known + rest * np.maximum(sure, 0.0))
