"""What a vacancy bound to a dopant looks like, learned from all dopants of a movie at once.

Beside a dopant atoms relax otherwise than elsewhere: where a lone vacancy draws its neighbours
together, a bound one may push them apart, and an observer that learned of lone ones is then blind
to it. A dopant is seen all the same, with or without a vacancy on one of the three columns bonded to
it. So patches around dopants are a mixture of four classes, of which three are one, turned by 120
degrees: alone, and a vacancy on the first, second or third column. What the vacancy adds is a dip
and a motion of the metal columns around it, the dopant among them; its three amplitudes, the shares
of the classes, and how much dopants scatter about their own sites follow by expectation and
maximisation (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemkin.kernels.crystal.lattice import CHALCOGEN, METAL
from stemkin.kernels.detection.normalisation import scatter_of
from stemkin.kernels.detection.observer import bonded
from stemkin.kernels.detection.patch_grid import GRID
from stemkin.kernels.detection.patch_shapes import (
    another_column,
    column_on_grid,
    moved_outwards,
    operations,
)

LEAST_DOPANTS = 40
"""Fewer do not tell what a vacancy beside them looks like."""

MOST_DOPANTS = 4_000
"""From so many it is learned."""

STARTS = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
"""Motions of the metal columns around, over the dip, from which the climb starts."""

N_ROUNDS = 30
"""Rounds of expectation and maximisation."""

PROVEN = 12.0
"""By how much more likely, in natural logarithms, the classes must be than dopants alone."""

LEAST_SHARE, MOST_SHARE = 0.01, 0.95
"""Between these the share of dopants with a vacancy is looked for."""

LIKE = 2.5
"""By no more than this factor does the dip of a bound vacancy differ from that of a lone one."""

BLIND = 1e3
"""Variance of what is not looked at, over that of the noise of a pixel."""

BRIGHTNESS, SHIFTS, TAILS = 0, (1, 2), 3
"""Which of the shapes of `another_column` are what."""

N_PARTS = 3
"""What a bound vacancy does: a dip, the dopant's motion, that of the two other metal columns."""


@dataclass(frozen=True, eq=False)
class BoundVacancy:
    """How a vacancy on a column bonded to a dopant is told.

    Attributes
    ----------
    weights
        (3, P) what the patch around a dopant is multiplied with, for a vacancy on the first, second
        and third of its bonded columns; each sees nothing of the other two.
    level
        What dopants alone give, over the noise of clean sites.
    scatter
        By how much more it scatters at dopants than at clean sites.
    depth
        How far a bound vacancy stands out, over the noise of clean sites.
    """

    weights: np.ndarray
    level: float
    scatter: float
    depth: float

    @property
    def numbers(self) -> np.ndarray:
        """Level, scatter and depth (3,)."""
        return np.array([self.level, self.scatter, self.depth])


def bound_vacancy(
    patches: np.ndarray, mean: np.ndarray, covariance: np.ndarray, dip: float, filter_sd: float
) -> BoundVacancy | None:
    """Learn how a vacancy beside a dopant is told.

    Parameters
    ----------
    patches
        (n, P) around dopants on METAL sites.
    mean, covariance
        (P,) and (P, P) of patches around clean METAL sites.
    dip
        By how much a lone vacancy is darker than its column, over the noise of a pixel.
    filter_sd
        Standard deviation of a column's image, over the lattice constant.

    Returns
    -------
    What was learned; None where nothing is sure.
    """
    if len(patches) < LEAST_DOPANTS or not dip > 0:
        return None
    rows = patches[:: -(-len(patches) // MOST_DOPANTS)].astype(np.float64) - mean
    shapes = np.concatenate([_parts(k, filter_sd) for k in range(3)])
    shapes = np.concatenate([shapes, another_column(np.zeros(2), filter_sd)])
    seen = _Seen.of(rows, shapes, covariance)
    fits = [_climbed(seen, dip * np.array([1.0, a / 2, a])) for a in STARTS]
    best = max(fits, key=lambda fit: fit.gain)
    if best.gain < PROVEN or not dip / LIKE < best.amplitudes[0] < dip * LIKE:
        return None
    return _told(rows, covariance, shapes, best)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What patches say of S shapes: products with the inverse covariance between.

    `values` (n, S) of the patches, `gram` (S, S) of the shapes with one another, `noise` (S, S) the
    covariance of the values that noise alone gives.
    """

    values: np.ndarray
    gram: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, shapes: np.ndarray, covariance: np.ndarray) -> _Seen:
        """Return what patches `rows` (n, P) say of `shapes` (S, P)."""
        through = np.linalg.solve(_ridged(covariance), shapes.T)
        return cls(rows @ through, shapes @ through, through.T @ covariance @ through)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Amplitudes (3,), variances (4,) of the dopant's own shapes, classes (n, 4), likelihood."""

    amplitudes: np.ndarray
    variances: np.ndarray
    classes: np.ndarray
    gain: float


_FREE = slice(3 * N_PARTS, 3 * N_PARTS + 4)
"""Of all shapes those of the dopant itself: it may be brighter, elsewhere, and have other tails."""


def _ridged(covariance: np.ndarray) -> np.ndarray:
    """Return a covariance (P, P) with its mean variance added to the diagonal."""
    n = len(covariance)
    return np.asarray(covariance + np.trace(covariance) / n * np.eye(n))


def _parts(k: int, sd: float) -> np.ndarray:
    """Return (3, P): a dip at the bonded column `k`, and what metal columns around it gain.

    First the dopant, then the two others, when they move away from it.
    """
    vacant = bonded(METAL)[k]
    others = np.zeros(len(GRID))
    for step in bonded(CHALCOGEN):
        # one of the metal columns around the vacancy is the dopant, in the middle of the patch
        if np.abs(vacant + step).max() > 1e-9:
            others += moved_outwards(vacant + step, vacant, sd)
    dopant = moved_outwards(np.zeros(2), vacant, sd)
    return np.stack([-column_on_grid(vacant, sd)[0], dopant, others])


def _climbed(seen: _Seen, start: np.ndarray) -> _Fit:
    """Fit the mixture from amplitudes (3,) on."""
    values, gram = seen.values, seen.gram
    amplitudes, share = start, 0.4
    variances = np.full(4, BLIND)
    mean = _evened(values.mean(axis=0))
    classes, gain = np.zeros((len(values), 4)), 0.0
    for _ in range(N_ROUNDS):
        blind = _without_dopant(gram, variances)
        drawn = np.zeros((3, len(gram)))
        for k in range(3):
            drawn[k, k * N_PARTS : (k + 1) * N_PARTS] = amplitudes
        # logarithm of the likelihood of each class over that of a dopant alone
        coefficients = drawn @ blind
        energy = np.einsum("ks,st,kt->k", coefficients, gram, drawn)
        logs = (values - mean) @ coefficients.T - energy / 2 + np.log(share / 3 / (1 - share))
        top = np.maximum(logs.max(axis=1), 0.0)
        odds = np.exp(np.column_stack([np.zeros(len(logs)), logs]) - top[:, None])
        classes = odds / odds.sum(axis=1, keepdims=True)
        gain = float((np.log(odds.sum(axis=1)) + top + np.log(1 - share)).sum())
        bound = classes[:, 1:].sum()
        share = float(np.clip(bound / len(values), LEAST_SHARE, MOST_SHARE))
        # what bound vacancies add, seen past the dopant's own shapes, each class turned to the first
        told = np.zeros(N_PARTS)
        for k in range(3):
            own = slice(k * N_PARTS, (k + 1) * N_PARTS)
            told += classes[:, 1 + k] @ (values - mean) @ blind[own].T
        alike = blind[:N_PARTS] @ gram[:, :N_PARTS]
        amplitudes = np.linalg.solve(alike, told / max(bound, 1e-9))
        left = values - classes[:, 1:] @ drawn @ gram
        mean = _evened(left.mean(axis=0))
        variances = _scatter(left - mean, seen)
    return _Fit(amplitudes, variances, classes, gain)


def _without_dopant(gram: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return (S, S) what to multiply products with, so that they see past the dopant's shapes.

    It is the inverse of a covariance to which the shapes were added with their `variances` (4,), by
    Woodbury's identity.
    """
    inner = np.linalg.inv(np.diag(1 / np.maximum(variances, 1e-9)) + gram[_FREE, _FREE])
    blind = np.eye(len(gram))
    blind[:, _FREE] -= gram[:, _FREE] @ inner
    return blind


def _scatter(left: np.ndarray, seen: _Seen) -> np.ndarray:
    """Return the variances (4,) of the dopant's own shapes, beyond what noise explains."""
    inverse = np.linalg.inv(seen.gram[_FREE, _FREE])
    amplitudes = left[:, _FREE] @ inverse
    variances = amplitudes.var(axis=0) - np.diag(inverse @ seen.noise[_FREE, _FREE] @ inverse)
    # dopants have no direction of their own
    variances[list(SHIFTS)] = variances[list(SHIFTS)].mean()
    return np.asarray(np.maximum(variances, 0.0))


def _evened(values: np.ndarray) -> np.ndarray:
    """Return values (S,) of shapes of which a dopant alone has no preferred direction."""
    evened = values.copy()
    parts = values[: 3 * N_PARTS].reshape(3, N_PARTS)
    evened[: 3 * N_PARTS] = np.tile(parts.mean(axis=0), 3)
    evened[_FREE][list(SHIFTS)] = 0.0
    return evened


def _told(rows: np.ndarray, covariance: np.ndarray, shapes: np.ndarray, fit: _Fit) -> BoundVacancy:
    """Return the weights that tell a bound vacancy, and what they give at dopants."""
    signatures = np.stack(
        [fit.amplitudes @ shapes[k * N_PARTS : (k + 1) * N_PARTS] for k in range(3)]
    )
    variances = fit.variances.copy()
    # brightness and tails of a dopant change with dose and haze, and tell nothing of a vacancy
    variances[[BRIGHTNESS, TAILS]] = BLIND
    own = shapes[_FREE]
    first = _ridged(covariance) + own.T @ (variances[:, None] * own)
    first += BLIND * signatures[1:].T @ signatures[1:]
    weights = np.linalg.solve(first, signatures[0])
    weights /= np.sqrt(weights @ covariance @ weights)
    turned = np.stack([weights[_turn_to(k, shapes)] for k in range(3)])
    signals = rows @ turned.T
    alone = fit.classes[:, 0] > 0.5
    here = signals[alone].ravel()
    level, scatter = 0.0, 1.0
    if len(here) >= LEAST_DOPANTS:
        level, scatter = float(np.median(here)), max(scatter_of(here), 1.0)
    return BoundVacancy(turned, level, scatter, float(weights @ signatures[0]))


def _turn_to(k: int, shapes: np.ndarray) -> np.ndarray:
    """Return the order (P,) of points that turns what is on the first bonded column to the `k`-th."""
    first, wanted = shapes[0], shapes[k * N_PARTS]
    turns = operations()[::2]
    return np.asarray(turns[np.argmin([np.abs(first[turn] - wanted).max() for turn in turns])])
