"""The hop rate behind correlations of site traces, by generalised least squares.

    C(d, t) = A G(d, h t) exp(-m t) + S(d) + B(d, t)

A G is what hops (`lattice_walks`), m by how much it grows less while it hops (walkers are made,
heal and are caught), S what stays where it is, any function of the step, and B what is smooth in
space and changes with time: haze. What filters sites may show a walker on its neighbours, too, with
a share that is fitted (of the other sign where the filter is blind to neighbours). A, S and B are linear and are solved for; h and m are searched.
The weights follow from what was found (`correlation_noise`), so that the fit is repeated until it
agrees with itself. An h is in the interval while chi² is within that of one parameter of the best.

>>> shells, bins = StepShells.within(3.0), LagBins.up_to(30)
>>> waves = LatticeWaves.of(shells)
>>> G = bins.summed(waves.propagator(bins.lags, 0.1)) / bins.sizes[:, None]
>>> C = Correlated(0.5 * G, 1.5, 0.0 * shells.squares, 2700.0 * shells.sizes, 100, 27.0)
>>> found = fit_hops(C, shells, bins)
>>> round(found.hops, 4), bool(found.low < 0.1 < found.high)
(0.1, True)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, optimize, special

from stemkin.kernels.motion.correlation_noise import LagBins, SeenField, correlation_covariance
from stemkin.kernels.motion.lattice_walks import LatticeWaves, StepShells

ROUNDS = 4
"""How often the weights are looked at again."""

SMOOTH_A = (1.5, 2.3, 4.0)
"""Standard deviations, in lattice constants, of what haze looks like from site to site."""

BY_CHANCE = 0.001
"""A fit that is worse than chance explains in so few cases widens the interval."""

USUAL_LOSS = 0.1
"""Walkers are made or lost about so often per hop, before the correlations are asked."""

USUAL_LEAK = 0.1
"""Neighbours of a walker show about so much of its signal, of either sign, likewise."""

FAR_SQUARE = 9
"""Noise of sites so far from each other (lattice constants squared) has nothing in common."""

SLOWEST, FASTEST = 1e-4, 3.0
"""Hops per frame that are looked for."""

N_TRIED = 41
"""Hop rates that are tried before the best is refined."""


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
    """

    values: np.ndarray
    variance: float
    at_once: np.ndarray
    pairs_per_frame: np.ndarray
    n_frames: int
    depth2: float


@dataclass(frozen=True, eq=False)
class HopFit:
    """What correlations say of what hops.

    Attributes
    ----------
    hops, low, high
        Hops per walker and frame, and the interval.
    strength, strength_error
        A: walkers per site, times depth squared.
    loss
        m, by how much the walkers grow fewer per frame.
    leak
        Share of a walker's signal that each neighbouring site shows.
    still
        S(0), of what does not move.
    lowest
        chi² of the correlations, and of what haze and loss are held by.
    chi2, freedom
        Of the correlations alone, and their degrees of freedom.
    gain
        By how much the lowest chi² falls for what hops.
    """

    hops: float
    low: float
    high: float
    strength: float
    strength_error: float
    loss: float
    leak: float
    still: float
    lowest: float
    chi2: float
    freedom: int
    gain: float


@dataclass(frozen=True, eq=False)
class _Solution:
    """What is linear, solved for at one hop rate.

    Attributes
    ----------
    chi2
        Of the correlations, and of what haze and loss are held by.
    amplitudes
        (p,) of what hops, of its loss and leak where it has any, of what stays, and of haze.
    loss
        Per frame.
    leak
        Share of the signal of a site that each neighbour shows.
    root
        (p, p) upper triangle whose square is the information of the amplitudes.
    misfit, used
        chi² of the correlations alone, and how many of them the amplitudes took up.
    """

    chi2: float
    amplitudes: np.ndarray
    loss: float
    leak: float
    root: np.ndarray
    misfit: float
    used: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """One set of weights, for any hop rate.

    Attributes
    ----------
    data
        (n,) correlations in units of what is expected by chance, then zeros for `fixed`.
    whiten
        (b m, b m) what brings correlations into these units.
    fixed
        (n, p) what stays and what is haze; the last rows hold haze to what lag 0 shows of it.
    """

    data: np.ndarray
    whiten: np.ndarray
    fixed: np.ndarray
    waves: LatticeWaves
    bins: LagBins

    def columns(self, hops: float, loss: float, leak: float) -> np.ndarray:
        """Return what hops, and its slopes in the loss and in the leak: (b m, 3)."""
        lags, near = self.bins.lags, 6 * (1 - self.waves.stay)
        waves = np.exp(-hops * lags[:, None] * self.waves.stay) * self.waves.weight
        waves = waves * np.exp(-loss * lags)[:, None]
        # a site shows what is on it and, `leak` times, what is on each of its six neighbours
        moving = (waves * (1 + leak * near) ** 2) @ self.waves.forms.T
        leaking = (waves * (2 * near * (1 + leak * near))) @ self.waves.forms.T
        own = np.stack([moving, -lags[:, None] * moving, leaking], axis=-1)
        own = self.bins.summed(own) / self.bins.sizes[:, None, None]
        return np.asarray(own.reshape(-1, 3))

    def solved(self, hops: float, *, loses: bool) -> _Solution:
        """Return what fits best at a hop rate."""
        free, strength = np.zeros(2), 0.0
        usual = np.array([USUAL_LOSS * hops, USUAL_LEAK])
        n_more = len(self.data) - len(self.whiten)
        fixed = np.vstack([self.fixed, np.zeros((2, self.fixed.shape[1]))])
        for _ in range(8):
            n_free = 2 * (loses and strength > 0)
            own = self.whiten @ self.columns(hops, free[0], free[1])[:, : 1 + n_free]
            own = np.vstack([own, np.zeros((n_more + 2, own.shape[1]))])
            data = np.append(self.data, np.zeros(2))
            if n_free:
                # what is fitted is strength times the step from `free`
                own[-2:, 1:] = np.diag(1 / (strength * usual))
                data[-2:] = -free / usual
            q, r = linalg.qr(np.hstack([own, fixed]), mode="economic")
            told = q.T @ data
            found = linalg.solve_triangular(r, told)
            left = float(data @ data - told @ told)
            strength = float(found[0])
            if not loses or strength <= 0:
                break
            if n_free:
                step = np.clip(found[1:3] / strength, -2 * usual, 2 * usual)
                if (np.abs(step) < 1e-3 * usual).all():
                    break
                free = free + step
        n = len(self.whiten)
        misfit = float(((data - q @ told)[:n] ** 2).sum())
        used = float((q[:n] ** 2).sum())
        return _Solution(left, found, float(free[0]), float(free[1]), r, misfit, used)


def fit_hops(
    seen: Correlated,
    shells: StepShells,
    bins: LagBins,
    *,
    confidence: float = 0.95,
    loses: bool = True,
    haze: bool = True,
) -> HopFit:
    """Find how often walkers hop from the correlations that they leave.

    Parameters
    ----------
    seen
        The correlations.
    shells, bins
        StepShells of steps and bins of lags that they were averaged over.
    confidence
        Of the interval.
    loses
        Whether walkers may grow fewer, or more, while they are followed, and show on the sites
        beside them.
    haze
        Whether what is smooth in space may change with time.

    Returns
    -------
    The hop rate; where nothing hops `strength` is 0 within its error, and the interval is wide.
    """
    field = SeenField(0.0, 0.1, seen.depth2, _noise_power(seen, shells, 0.0, 0.0), seen.n_frames)
    best = None
    for _ in range(ROUNDS):
        problem = _problem(seen, shells, bins, field, haze=haze)
        best = _best(problem, loses=loses)
        strength = float(np.clip(best.strength, 0.0, seen.variance))
        power = _noise_power(seen, shells, strength, best.still)
        again = replace(field, strength=strength, hops=best.hops, noise=power)
        close = abs(np.log(again.hops / field.hops)) < 0.01
        close = close and abs(strength - field.strength) < 0.01 * strength
        field = again
        if close:
            break
    assert best is not None
    return _with_interval(problem, best, confidence, loses=loses)


def _noise_power(seen: Correlated, shells: StepShells, strength: float, still: float) -> np.ndarray:
    """Return the power of the noise at each wave: white, and what neighbours have in common."""
    waves = LatticeWaves.of(shells)
    own = max(seen.variance - strength - max(still, 0.0), 0.05 * seen.variance)
    power = np.full(len(waves.weight), own)
    for shell in range(1, len(shells.squares)):
        if shells.squares[shell] <= 4:
            power += seen.at_once[shell] * shells.sizes[shell] * waves.forms[shell]
    return np.asarray(np.maximum(power, 0.05 * own))


def _problem(
    seen: Correlated, shells: StepShells, bins: LagBins, field: SeenField, *, haze: bool
) -> _Problem:
    """Return the correlations and all that is free, in units of what is expected by chance."""
    spread = correlation_covariance(shells, bins, field, seen.pairs_per_frame)
    scale = np.sqrt(np.diag(spread))
    spread = spread / np.outer(scale, scale)
    spread[np.diag_indices_from(spread)] += 1e-9
    waves = LatticeWaves.of(shells)
    lower = linalg.cholesky(spread, lower=True)
    whiten = linalg.solve_triangular(lower, np.diag(1 / scale), lower=True)
    n_bins, n_shells = len(bins.first), len(shells.squares)
    still = np.tile(np.eye(n_shells), (n_bins, 1))
    if not haze:
        return _Problem(whiten @ seen.values.ravel(), whiten, whiten @ still, waves, bins)
    smooth = _haze_columns(shells, bins)
    fixed = whiten @ np.hstack([still, smooth])
    held = np.zeros((smooth.shape[1], fixed.shape[1]))
    held[:, n_shells:] = np.eye(smooth.shape[1]) / _haze_level(seen, shells, field)
    data = np.append(whiten @ seen.values.ravel(), np.zeros(len(held)))
    return _Problem(data, whiten, np.vstack([fixed, held]), waves, bins)


def _haze_level(seen: Correlated, shells: StepShells, field: SeenField) -> float:
    """Return how strong haze may be: by what distant sites have in common in the same frame."""
    far = shells.squares >= FAR_SQUARE
    pairs = seen.pairs_per_frame[far] * seen.n_frames
    mean = float((seen.at_once[far] * pairs).sum() / pairs.sum())
    error = np.sqrt(2 * seen.variance**2 / pairs.sum())
    # walkers that stand still for a while are the same pairs for as long
    stay = min(1 / field.hops, seen.n_frames)
    error += field.strength * np.sqrt(2 * stay / pairs.sum())
    return float(max(mean, 0.0) + error)


def _haze_columns(shells: StepShells, bins: LagBins) -> np.ndarray:
    """Return (b m, p) what haze can be: a few smooth functions of the step, free at each lag."""
    smooth = [np.ones(len(shells.squares))]
    smooth += [np.exp(-shells.squares / (2 * sd**2)) for sd in SMOOTH_A]
    return np.hstack([np.kron(np.eye(len(bins.first)), one[:, None]) for one in smooth])


def _best(problem: _Problem, *, loses: bool) -> HopFit:
    """Return the most likely hop rate, its interval not yet known."""
    tried = np.geomspace(SLOWEST, FASTEST, N_TRIED)
    left = np.array([_chi2(problem, hops, loses=loses) for hops in tried])
    at = int(np.argmin(left))
    low, high = tried[max(at - 1, 0)], tried[min(at + 1, N_TRIED - 1)]
    found = optimize.minimize_scalar(
        lambda x: _chi2(problem, float(np.exp(x)), loses=loses),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    hops = float(np.exp(found.x))
    best = problem.solved(hops, loses=loses)
    inverse = linalg.solve_triangular(best.root, np.eye(len(best.root)))
    error = np.sqrt((inverse**2).sum(axis=1))
    strength = float(best.amplitudes[0])
    chi2 = _chi2(problem, hops, loses=loses)
    return HopFit(
        hops,
        low=0.0,
        high=np.inf,
        strength=strength,
        strength_error=float(error[0]),
        loss=best.loss,
        leak=best.leak,
        still=float(best.amplitudes[1 + 2 * (loses and strength > 0)]),
        lowest=chi2,
        chi2=best.misfit,
        freedom=round(len(problem.whiten) - best.used - 1),
        gain=_chi2_of_nothing(problem) - chi2,
    )


def _chi2(problem: _Problem, hops: float, *, loses: bool) -> float:
    """Return chi² of a hop rate; what hops cannot be less than nothing."""
    found = problem.solved(hops, loses=loses)
    if found.amplitudes[0] < 0:
        return _chi2_of_nothing(problem)
    return found.chi2


def _chi2_of_nothing(problem: _Problem) -> float:
    """Return chi² where nothing hops."""
    q, _ = linalg.qr(problem.fixed, mode="economic")
    told = q.T @ problem.data
    return float(problem.data @ problem.data - told @ told)


def _with_interval(problem: _Problem, best: HopFit, confidence: float, *, loses: bool) -> HopFit:
    """Return the fit with the hop rates whose chi² is close enough to the best."""
    worse = 1.0
    if best.chi2 > special.chdtri(best.freedom, BY_CHANCE):
        worse = best.chi2 / best.freedom
    allowed = best.lowest + worse * float(special.chdtri(1, 1 - confidence))

    def above(x: float) -> float:
        return _chi2(problem, float(np.exp(x)), loses=loses) - allowed

    bounds = []
    for direction, end in ((-1, np.log(SLOWEST)), (1, np.log(FASTEST))):
        x, step = np.log(best.hops), 0.05
        inside = x
        while above(x) <= 0 and direction * (end - x) > 0:
            inside = x
            x = x + direction * step
            step *= 1.5
        if above(x) <= 0:
            bounds.append({-1: 0.0, 1: np.inf}[direction])
        else:
            bounds.append(float(np.exp(optimize.brentq(above, inside, x, xtol=1e-4))))
    error = best.strength_error * np.sqrt(worse)
    return replace(
        best, low=bounds[0], high=bounds[1], strength_error=error, gain=best.gain / worse
    )
