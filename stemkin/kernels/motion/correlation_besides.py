"""What correlations of site traces may hold besides hops, and how much of it they ask for.

What stays where it is may be any function of the step. Haze that changes is smooth in space and
changes smoothly with the logarithm of the lag; walkers are made, heal and are caught; filters show a
walker on its neighbours. All of this can be there or not. A fit that is free to explain hops by it
knows less of hops than the data tell, one that is not is wrong where it is there. So several
accounts stand side by side, from none of it to more than there can be, and each has its say by how
likely it makes the correlations (evidence: Jeffreys, Theory of Probability, 1939; MacKay, Neural
Computation 4, 415 (1992)), its haze integrated over.

>>> shells, bins = StepShells.within(3.0), LagBins.up_to(4)
>>> haze_shapes(shells, bins).shape
(24, 16)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from stemkin.kernels.motion.correlation_noise import LagBins, SeenField, correlation_covariance
from stemkin.kernels.motion.lattice_walks import LatticeWaves, StepShells

SMOOTH_A = (1.5, 2.3, 4.0)
"""Standard deviations, in lattice constants, of what haze looks like from site to site."""

MEMORY = 1.0
"""Haze at two lags is alike where their logarithms differ by less."""

HAZE_SHARES = (0.0, 0.1, 0.3, 1.0, 3.0)
"""Haze that is tried, over what distant sites have in common in the same frame."""

USUAL_LOSS = 0.1
"""Walkers are made or lost about so often per hop, before the correlations are asked."""

USUAL_LEAK = 0.1
"""Neighbours of a walker show about so much of its signal, of either sign, likewise."""

FAR_SQUARE = 9
"""Noise of sites so far from each other (lattice constants squared) has nothing in common."""


NOT_KNOWN = 3e-4
"""No mean of correlations is taken to be known better than by this share of their variance: where
walkers are deep, the approximations of the covariance are no better."""


@dataclass(frozen=True, eq=False)
class Correlated:
    """Correlations of traces on shells and bins of lags, and what their spread depends on.

    Attributes
    ----------
    values
        (b, m) correlations.
    variance
        C(0, 0): mean square of the signals.
    at_once
        (m,) correlations of the same frame; of the first shell anything.
    pairs_per_frame
        (m,) pairs of sites of each shell.
    n_frames
        Frames that show the sites.
    depth2
        Square of the depth of one vacancy; 0 where it is not known.
    excess
        By how much the variance of the noise is larger where one is.
    """

    values: np.ndarray
    variance: float
    at_once: np.ndarray
    pairs_per_frame: np.ndarray
    n_frames: int
    depth2: float
    excess: float = 0.0


@dataclass(frozen=True, eq=False)
class Account:
    """One account of what there may be besides hops, in units of what is expected by chance.

    Attributes
    ----------
    weights
        (n, n) of squares of what is left; nothing of what stays, and little of haze, weighs.
    told
        (n,) `weights` times the correlations.
    alone
        Weighed square of the correlations: chi² where nothing hops.
    price
        -2 log of what the account costs: haze that may be anything explains anything.
    usual
        (2,) loss per hop and leak that are usual; None for an account without any.
    """

    weights: np.ndarray
    told: np.ndarray
    alone: float
    price: float
    usual: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Accounts:
    """The accounts that are tried, for one set of weights.

    Attributes
    ----------
    whiten
        (n, n) what brings correlations into units of what is expected by chance.
    every
        The accounts.
    n_still
        How many free numbers what stays has.
    still_of
        (m, n) best estimate of what stays on each shell, times what is left of correlations.
    """

    whiten: np.ndarray
    every: tuple[Account, ...]
    n_still: int
    still_of: np.ndarray


def accounts_of(
    seen: Correlated,
    shells: StepShells,
    bins: LagBins,
    field: SeenField,
    *,
    loses: bool = True,
    haze: bool = True,
) -> Accounts:
    """Return what there may be besides hops.

    Parameters
    ----------
    seen
        The correlations.
    shells, bins
        What they were averaged over.
    field
        What their spread follows from.
    loses, haze
        Whether walkers may be lost and leak, and whether haze may change.

    Returns
    -------
    The accounts, those with less haze first.
    """
    spread = correlation_covariance(shells, bins, field, seen.pairs_per_frame)
    scale = np.sqrt(np.diag(spread))
    spread = spread / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(spread)
    whiten = (vectors / np.sqrt(np.maximum(values, NOT_KNOWN))).T / scale
    n_bins, n_shells = len(bins.first), len(shells.squares)
    still = whiten @ np.tile(np.eye(n_shells), (n_bins, 1))
    data = whiten @ seen.values.ravel()
    shares: tuple[float, ...] = (0.0,)
    if haze:
        shares = HAZE_SHARES
    smooth = whiten @ haze_shapes(shells, bins) * haze_level(seen, shells, field)
    usual: list[tuple[float, float] | None] = [None]
    if loses:
        usual.append((USUAL_LOSS, USUAL_LEAK))
    every = []
    for share in shares:
        weights, price = _weighed(share * smooth, still)
        told = weights @ data
        every += [Account(weights, told, float(data @ told), price, one) for one in usual]
    return Accounts(whiten, tuple(every), n_shells, np.asarray(linalg.pinv(still)))


def _weighed(haze: np.ndarray, still: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weights (n, n) of what is neither, and -2 log of what freedom costs."""
    spread = np.eye(len(haze)) + haze @ haze.T
    lower = linalg.cholesky(spread, lower=True)
    inverse = linalg.cho_solve((lower, True), np.eye(len(haze)))
    loaded = inverse @ still
    inner = linalg.cholesky(still.T @ loaded, lower=True)
    part = linalg.solve_triangular(inner, loaded.T, lower=True)
    price = 2 * (np.log(np.diag(lower)).sum() + np.log(np.diag(inner)).sum())
    return np.asarray(inverse - part.T @ part), float(price)


def haze_shapes(shells: StepShells, bins: LagBins) -> np.ndarray:
    """Return what haze of unit strength can be: independent shapes of lag and step.

    Parameters
    ----------
    shells, bins
        What correlations were averaged over.

    Returns
    -------
    (b m, p): a few smooth functions of the step, each times functions of the lag whose values are
    alike where the logarithms of the lags are (Rasmussen & Williams, Gaussian Processes, 2006).
    """
    smooth = [np.ones(len(shells.squares))]
    smooth += [np.exp(-shells.squares / (2 * sd**2)) for sd in SMOOTH_A]
    when = np.log((bins.first + bins.last) / 2)
    alike = np.exp(-((when[:, None] - when) ** 2) / (2 * MEMORY**2))
    values, vectors = np.linalg.eigh(alike)
    in_time = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(np.hstack([np.kron(in_time, one[:, None]) for one in smooth]))


def haze_level(seen: Correlated, shells: StepShells, field: SeenField) -> float:
    """Return how strong haze may be: by what distant sites have in common in the same frame.

    Parameters
    ----------
    seen, shells
        The correlations and their steps.
    field
        Walkers that are distant have as much in common as chance gives.

    Returns
    -------
    A correlation.
    """
    far = shells.squares >= FAR_SQUARE
    pairs = seen.pairs_per_frame[far] * seen.n_frames
    mean = float((seen.at_once[far] * pairs).sum() / pairs.sum())
    error = np.sqrt(2 * seen.variance**2 / pairs.sum())
    # walkers that stand still for a while are the same pairs for as long
    stay = min(1 / field.hops, seen.n_frames)
    error += field.strength * np.sqrt(2 * stay / pairs.sum())
    return float(max(mean, 0.0) + error)


def noise_power(seen: Correlated, shells: StepShells, strength: float, still: float) -> np.ndarray:
    """Return the power of the noise at each wave: white, and what neighbours have in common.

    Parameters
    ----------
    seen, shells
        The correlations and their steps.
    strength, still
        C(0, 0) of what hops, and of what stays.

    Returns
    -------
    (k,) at each wave of `LatticeWaves`.
    """
    waves = LatticeWaves.of(shells)
    own = max(seen.variance - strength - max(still, 0.0), 0.05 * seen.variance)
    power = np.full(len(waves.weight), own)
    for shell in range(1, len(shells.squares)):
        if shells.squares[shell] <= 4:
            power += seen.at_once[shell] * shells.sizes[shell] * waves.forms[shell]
    return np.asarray(np.maximum(power, 0.05 * own))
