"""The hop rate behind correlations of site traces, by generalised least squares.

    C(d, t) = A G(d, h t) exp(-m t) + S(d) + B(d, t)

A G is what hops (`lattice_walks`), m by how much it grows less while it hops (walkers are made,
heal and are caught), S what stays where it is, any function of the step, and B what is smooth in
space and changes with time: haze. What filters sites may show a walker on its neighbours, too, with
a share that is fitted (of the other sign where the filter is blind to neighbours). Whether there is
loss, leak or haze, and how much, the correlations decide: `correlation_besides` has several
accounts, whose likelihoods are averaged at each h. A and S are linear and are solved for; h is
searched. The weights follow from what was found (`correlation_noise`), so that the fit is repeated
until it agrees with itself. An h is in the interval while chi² is within that of one parameter of
the best.

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
from scipy import optimize, special

from stemkin.kernels.motion.correlation_besides import (
    Account,
    Accounts,
    Correlated,
    accounts_of,
    noise_power,
)
from stemkin.kernels.motion.correlation_noise import LagBins, SeenField
from stemkin.kernels.motion.lattice_walks import LatticeWaves, StepShells

ROUNDS = 4
"""How often the weights are looked at again."""

BY_CHANCE = 0.001
"""A fit that is worse than chance explains in so few cases widens the interval."""

SLOWEST, FASTEST = 1e-4, 3.0
"""Hops per frame that are looked for."""

N_TRIED = 41
"""Hop rates that are tried before the best is refined."""

MOST_USUAL, MOST_GROWTH = 3.0, 1.0
"""Loss and leak are no larger than so often what is usual; walkers grow by a factor e at most."""

MOST_STEPS, CLOSE = 6, 0.02
"""Loss and leak are found in so many steps; the last is so small, over what is usual."""


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
        -2 log likelihood, all accounts together.
    chi2, freedom
        Of the correlations in the likeliest account, and its degrees of freedom.
    gain
        By how much the lowest falls for what hops.
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
    """What one account says at one hop rate.

    Attributes
    ----------
    lowest
        -2 log likelihood.
    strength, strength_error
        A and its error; 0 where nothing hops.
    free
        (2,) loss per frame and leak.
    chi2
        What is left of the correlations, weighed.
    used
        How many of them were taken up by what hops.
    """

    lowest: float
    strength: float
    strength_error: float
    free: np.ndarray
    chi2: float
    used: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """One set of weights, for any hop rate."""

    accounts: Accounts
    waves: LatticeWaves
    bins: LagBins
    data: np.ndarray

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
        return np.asarray(self.accounts.whiten @ own.reshape(-1, 3))

    def solved(self, hops: float) -> list[_Solution]:
        """Return what each account says at a hop rate."""
        plain = self.columns(hops, 0.0, 0.0)
        return [self._solved_in(account, hops, plain) for account in self.accounts.every]

    def _solved_in(self, account: Account, hops: float, plain: np.ndarray) -> _Solution:
        """Return what fits best at a hop rate in one account; A, with loss and leak if it has any."""
        own = plain[:, 0]
        weight, told = float(own @ account.weights @ own), float(own @ account.told)
        strength = told / weight
        if strength <= 0:
            return _nothing(account, weight**-0.5)
        if account.usual is None:
            left = account.alone - told * strength
            return _Solution(account.price + left, strength, weight**-0.5, np.zeros(2), left, 1.0)
        return self._with_losses(account, hops, plain, strength)

    def _with_losses(
        self, account: Account, hops: float, columns: np.ndarray, strength: float
    ) -> _Solution:
        """Return what fits best with a loss and a leak, which are held by what is usual."""
        assert account.usual is not None
        usual = np.array([account.usual[0] * hops, account.usual[1]])
        free, lowest = np.zeros(2), -MOST_USUAL * usual
        # walkers that grow by a large factor within the lags would be all there is to see
        lowest[0] = max(lowest[0], -MOST_GROWTH / self.bins.last[-1])
        for _ in range(MOST_STEPS):
            seen = columns.T @ account.weights @ columns
            # what is fitted is strength times the step from `free`
            held = 1 / (strength * usual) ** 2
            held_by = np.diag([0.0, *held])
            wanted = columns.T @ account.told - np.array([0.0, *(held * strength * free)])
            inverse = np.linalg.inv(seen + held_by)
            found = inverse @ wanted
            if found[0] <= 0:
                return _nothing(account, float(np.sqrt(max(inverse[0, 0], 0.0))))
            strength = float(found[0])
            before = free
            free = np.clip(free + found[1:] / strength, lowest, MOST_USUAL * usual)
            step = free - before
            columns = self.columns(hops, free[0], free[1])
            if (np.abs(step) < CLOSE * usual).all():
                break
        own = columns[:, 0]
        left = account.alone - 2 * strength * float(own @ account.told)
        left += strength**2 * float(own @ account.weights @ own)
        price = account.price + float(((free / usual) ** 2).sum())
        # what is left of loss and leak once A is known, over what they were held by
        inner = (seen + held_by)[1:, 1:] - np.outer(seen[0, 1:], seen[0, 1:]) / seen[0, 0]
        price += float(np.log(max(np.linalg.det(inner), 0.0) / np.prod(held) + 1e-300))
        used = float(np.trace(seen @ inverse))
        error = float(np.sqrt(inverse[0, 0]))
        return _Solution(price + left, strength, error, free, left, used)


def _nothing(account: Account, error: float = 0.0) -> _Solution:
    """Return what an account says where nothing hops; `error` is how well A is known."""
    return _Solution(account.price + account.alone, 0.0, error, np.zeros(2), account.alone, 0.0)


def _together(solutions: list[_Solution]) -> float:
    """Return -2 log of the mean likelihood of all accounts."""
    each = -0.5 * np.array([one.lowest for one in solutions])
    return float(-2 * (special.logsumexp(each) - np.log(len(each))))


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
    power = noise_power(seen, shells, 0.0, 0.0)
    field = SeenField(0.0, 0.1, seen.depth2, power, seen.n_frames, seen.excess)
    waves = LatticeWaves.of(shells)
    best: HopFit | None = None
    for _ in range(ROUNDS):
        accounts = accounts_of(seen, shells, bins, field, loses=loses, haze=haze)
        problem = _Problem(accounts, waves, bins, accounts.whiten @ seen.values.ravel())
        best = _best(problem, best)
        strength = float(np.clip(best.strength, 0.0, seen.variance))
        power = noise_power(seen, shells, strength, best.still)
        still = float(np.clip(best.still, 0.0, seen.variance))
        again = replace(field, strength=strength, hops=best.hops, noise=power, still=still)
        close = abs(np.log(again.hops / field.hops)) < 0.01
        close = close and abs(strength - field.strength) < 0.01 * strength
        close = close and abs(still - field.still) < 0.1 * max(still, strength)
        field = again
        if close:
            break
    assert best is not None
    return _with_interval(problem, best, confidence)


def strength_at(
    hops: float, seen: Correlated, shells: StepShells, bins: LagBins
) -> tuple[float, float]:
    """Find how strong what hops is in correlations, its hop rate known.

    Parameters
    ----------
    hops
        Per walker and frame.
    seen, shells, bins
        As of `fit_hops`.

    Returns
    -------
    A and its error, as of `HopFit`.
    """
    strength, power = 0.0, noise_power(seen, shells, 0.0, 0.0)
    for _ in range(2):
        field = SeenField(strength, hops, seen.depth2, power, seen.n_frames, seen.excess)
        accounts = accounts_of(seen, shells, bins, field)
        data = accounts.whiten @ seen.values.ravel()
        every = _Problem(accounts, LatticeWaves.of(shells), bins, data).solved(hops)
        found, error, _, _ = _averaged(every)
        strength = float(np.clip(found, 0.0, seen.variance))
        power = noise_power(seen, shells, strength, 0.0)
    return found, error


def _averaged(every: list[_Solution]) -> tuple[float, float, np.ndarray, _Solution]:
    """Return strength, its error, loss and leak of all accounts, and the likeliest of them."""
    each = np.array([one.lowest for one in every])
    share = np.exp(-0.5 * (each - each.min()))
    share = share / share.sum()
    strengths = np.array([one.strength for one in every])
    errors = np.array([one.strength_error for one in every])
    strength = float(share @ strengths)
    # accounts differ by more than each of them admits
    variance = share @ (errors**2 + (strengths - strength) ** 2)
    free = np.asarray(share @ np.array([one.free for one in every]))
    return strength, float(np.sqrt(variance)), free, every[int(np.argmin(each))]


def _bracket(problem: _Problem, before: HopFit | None) -> tuple[float, float]:
    """Return hop rates on both sides of the most likely one, looked for beside that of before."""
    grid = np.geomspace(SLOWEST, FASTEST, N_TRIED)
    tried = [grid]
    if before is not None:
        beside = before.hops * (grid[1] / grid[0]) ** np.arange(-2, 3)
        tried = [np.clip(beside, SLOWEST, FASTEST), grid]
    for hops in tried:
        left = np.array([_together(problem.solved(one)) for one in hops])
        at = int(np.argmin(left))
        if hops is grid or 0 < at < len(hops) - 1:
            break
    return float(hops[max(at - 1, 0)]), float(hops[min(at + 1, len(hops) - 1)])


def _best(problem: _Problem, before: HopFit | None) -> HopFit:
    """Return the most likely hop rate, its interval not yet known."""
    low, high = _bracket(problem, before)
    found = optimize.minimize_scalar(
        lambda x: _together(problem.solved(float(np.exp(x)))),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    hops = float(np.exp(found.x))
    every = problem.solved(hops)
    lowest = _together(every)
    strength, error, (loss, leak), likeliest = _averaged(every)
    n_used = problem.accounts.n_still + likeliest.used + 1
    moving = strength * problem.columns(hops, loss, leak)[:, 0]
    return HopFit(
        hops,
        low=0.0,
        high=np.inf,
        strength=strength,
        strength_error=error,
        loss=float(loss),
        leak=float(leak),
        still=float((problem.accounts.still_of @ (problem.data - moving))[0]),
        lowest=lowest,
        chi2=likeliest.chi2,
        freedom=round(len(problem.data) - n_used),
        gain=_together([_nothing(account) for account in problem.accounts.every]) - lowest,
    )


def _with_interval(problem: _Problem, best: HopFit, confidence: float) -> HopFit:
    """Return the fit with the hop rates whose chi² is close enough to the best."""
    worse = 1.0
    if best.chi2 > special.chdtri(best.freedom, BY_CHANCE):
        worse = best.chi2 / best.freedom
    allowed = best.lowest + worse * float(special.chdtri(1, 1 - confidence))

    def above(x: float) -> float:
        return _together(problem.solved(float(np.exp(x)))) - allowed

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
