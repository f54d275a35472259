"""How far correlations of site traces lie from their means, and which of them err together.

What is correlated is a field of walkers in noise. The covariance of two estimates of C has two
parts. One is that of a Gaussian field with the correlation K (Isserlis, Biometrika 12, 134 (1918)),

    sum over d and s of  K(d, s) K(d + d2 - d1, s + t2 - t1) + K(d + d2, s + t2) K(d - d1, s - t1),

over the number of pairs; sums over d are means over waves. The other one is there because walkers
are few and deep: it is what the displacements of one walker over two spells of time have in common,
with the weight depth⁴ per walker. It vanishes where the spells do not overlap, as the number of
walkers is given. Where the noise is strong, only the first part matters; where each vacancy is
seen, the second is the counting statistics of hops. Signals may be noisier where a walker is
(`sharpening`); that noise goes with the walker, and all lags from its frame share it.

>>> shells = StepShells.within(1.0)
>>> seen = SeenField(0.0, 0.1, 1.0, np.ones(len(LatticeWaves.of(shells).weight)), n_frames=11)
>>> spread = correlation_covariance(shells, LagBins.up_to(1), seen, pairs_per_frame=np.array([10.0, 60.0]))
>>> np.diag(spread).round(5).tolist()  # noise alone: one over the number of pairs
[0.01, 0.00167]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from stemkin.kernels.motion.lattice_walks import LatticeWaves, StepShells, steps_within

LONGEST_SUM = 512
"""Sums over the time between two pairs go no further: nothing that hops is remembered longer."""

MIDDLE = 8.0
"""How far walkers are followed between two spells, in lattice constants."""

N_SPELLS = 24
"""Into so many overlaps the meetings of two spells are divided."""


@dataclass(frozen=True, eq=False)
class LagBins:
    """Lags that are fitted together: one by one while they are short, in growing bins later.

    Attributes
    ----------
    first, last
        (b,) lags in frames, both included.
    """

    first: np.ndarray
    last: np.ndarray

    @classmethod
    def up_to(cls, max_lag: int, growth: float = 1.22) -> LagBins:
        """Return bins from lag 1 to `max_lag`, each reaching `growth` times as far as the last."""
        first, last, at = [], [], 1
        while at <= max_lag:
            end = min(max(at, int(at * growth)), max_lag)
            first.append(at)
            last.append(end)
            at = end + 1
        return cls(np.array(first), np.array(last))

    @property
    def sizes(self) -> np.ndarray:
        """(b,) how many lags each bin has."""
        return np.asarray(self.last - self.first + 1)

    @property
    def middles(self) -> np.ndarray:
        """(b,) whole lags in the middle."""
        return np.asarray((self.first + self.last) // 2)

    @property
    def lags(self) -> np.ndarray:
        """(n,) all lags, ascending."""
        return np.arange(1, int(self.last[-1]) + 1)

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Return (b, ...) sums over the bins of `values` (n, ...) of lags 1, 2, ..."""
        return np.add.reduceat(values, self.first - 1, axis=0)


@dataclass(frozen=True, eq=False)
class SeenField:
    """What the spread of correlations follows from.

    Attributes
    ----------
    strength
        C(0, 0) of what hops: walkers per site, times depth squared.
    hops
        Per walker and frame.
    depth2
        Square of the depth of one walker.
    noise
        (k,) power of the noise at each wave of `LatticeWaves`.
    n_frames
        Frames that show the sites.
    excess
        By how much the variance of the noise is larger where a walker is.
    still
        S(0) of what stays.
    """

    strength: float
    hops: float
    depth2: float
    noise: np.ndarray
    n_frames: int
    excess: float = 0.0
    still: float = 0.0


def correlation_covariance(
    shells: StepShells, bins: LagBins, seen: SeenField, pairs_per_frame: np.ndarray
) -> np.ndarray:
    """Return the covariance of correlations averaged over shells and bins of lags.

    Parameters
    ----------
    shells, bins
        What was averaged over.
    seen
        The walkers and the noise.
    pairs_per_frame
        (m,) pairs of sites of each shell.

    Returns
    -------
    (b m, b m) with the shells of a bin next to each other.
    """
    waves = LatticeWaves.of(shells)
    spread = _gaussian(waves, bins, seen)
    if seen.strength > 0:
        spread = spread + _of_single_walkers(shells, bins, seen)
    n_bins, n_shells = len(bins.first), len(shells.squares)
    frames = np.maximum(seen.n_frames - bins.middles, 1).astype(np.float64)
    # per frame a shell has as many pairs as sites, times its size, where the crystal has no end
    sites = pairs_per_frame / shells.sizes
    spread = spread / np.sqrt(np.outer(sites, sites))[None, :, None, :]
    spread = spread / (frames[:, None, None, None] * frames[None, None, :, None])
    return np.asarray(spread.reshape(n_bins * n_shells, n_bins * n_shells))


def _overlap(n_frames: int, first: int, second: int, apart: np.ndarray) -> np.ndarray:
    """Return how many pairs (t, t + first) have a pair (t + apart, t + apart + second) beside."""
    begin = np.maximum(0, -apart)
    end = np.minimum(n_frames - first, n_frames - second - apart)
    return np.asarray(np.maximum(end - begin, 0), dtype=np.float64)


def _gaussian(waves: LatticeWaves, bins: LagBins, seen: SeenField) -> np.ndarray:
    """Return the (b, m, b, m) part of a Gaussian field, for one site and times the frames twice."""
    n_bins, n_waves = len(bins.first), len(waves.weight)
    rate = seen.hops * waves.stay
    noise, size = seen.noise, bins.sizes.astype(np.float64)
    longest = int(min(seen.n_frames + bins.last[-1], LONGEST_SUM + 2 * bins.last[-1]))
    decay = seen.strength * np.exp(-np.arange(2 * longest + 1)[:, None] * rate)
    power = np.zeros((n_bins, n_bins, n_waves))
    apart = np.arange(-min(seen.n_frames, LONGEST_SUM), min(seen.n_frames, LONGEST_SUM) + 1)
    if seen.strength > 0:
        # noise of one pair meets walkers of another: over all lags of two bins
        lags = bins.lags
        behind = decay[np.abs(lags[:, None] - lags)] + decay[lags[:, None] + lags]
        behind = bins.summed(bins.summed(behind).swapaxes(0, 1)).swapaxes(0, 1)
        power += 2 * noise * behind / (size[:, None, None] * size[None, :, None])
    for a, first in enumerate(bins.middles):
        for b, second in enumerate(bins.middles[a:], start=a):
            # noise of a frame beside what stays is in all lags alike, but for those that it is too
            # near the ends of the movie for
            inside = seen.n_frames - max(first, second) + max(seen.n_frames - first - second, 0)
            of_still = 2.0 * seen.still * noise * float(inside)
            together = _overlap(seen.n_frames, int(first), int(second), apart)
            power[a, b] *= float(seen.n_frames - max(first, second))
            if seen.strength > 0:
                later = decay[np.abs(apart)] * decay[np.abs(apart + second - first)]
                across = decay[np.abs(apart + second)] * decay[np.abs(apart - first)]
                power[a, b] += together @ (later + across)
            power[a, b] += of_still
            power[b, a] = power[a, b]
        power[a, a] += (seen.n_frames - first) * noise**2 / size[a]
    shaped = waves.forms * waves.weight
    return np.asarray(np.einsum("iq,abq,jq->aibj", shaped, power, waves.forms, optimize=True))


def _of_single_walkers(shells: StepShells, bins: LagBins, seen: SeenField) -> np.ndarray:
    """Return the (b, m, b, m) part of what two spells of one walker have in common."""
    table = _Displacements.of(shells, seen.hops, int(bins.last[-1]))
    n_bins, n_shells = len(bins.first), len(shells.squares)
    found = np.zeros((n_bins, n_shells, n_bins, n_shells))
    for a, first in enumerate(bins.middles.tolist()):
        for b, second in enumerate(bins.middles.tolist()[a:], start=a):
            own = np.zeros((n_shells, n_shells))
            edges = np.unique(np.linspace(-second, first, N_SPELLS + 2).round().astype(np.int64))
            for start, stop in itertools.pairwise(edges.tolist()):
                # the two spells begin `apart` frames from each other
                apart = np.arange(max(start, -second + 1), stop)
                weight = _overlap(seen.n_frames, first, second, apart).sum()
                middle = int(apart[len(apart) // 2]) if len(apart) else 0
                if weight > 0:
                    own += weight * table.common(first, second, middle)
            own = seen.depth2 * own
            if seen.excess > 0:
                own += _of_their_noise(table, seen, first, second)
                if a == b:
                    own += _of_noise_twice(table, seen, first) / bins.sizes[a]
            found[a, :, b] = own
            found[b, :, a] = own.T
    return seen.strength * found


def _of_their_noise(table: _Displacements, seen: SeenField, first: int, second: int) -> np.ndarray:
    """Return (m, m) what noise of a walker's site leaves in two lags from, or to, its frame."""
    product = np.outer(table.single[first], table.single[second])
    # both lags ahead, or both behind; one ahead and one behind
    together = table.common(first, second, 0) + product
    return np.asarray(2 * seen.excess * (seen.n_frames - second) * (together + product))


def _of_noise_twice(table: _Displacements, seen: SeenField, first: int) -> np.ndarray:
    """Return (m, m) what noise of a walker's sites in both frames of a pair leaves."""
    usual = float(seen.noise.mean())
    twice = ((usual + seen.excess) ** 2 - usual**2) / max(seen.depth2, 1e-12)
    each = table.single[first] * (seen.n_frames - first)
    return np.asarray(np.diag(twice * each / table.sizes))


@dataclass(frozen=True, eq=False)
class _Displacements:
    """Chances of the displacements of a walker, from one shell and to another.

    Attributes
    ----------
    from_shell
        (t, m, k) chance that what is left after a step of the middle list is one step of a shell.
    to_shell
        (t, k, m) the same on average over the steps of a shell.
    middle
        (t, k) chance of each step of the middle list.
    single
        (t, m) chance of one step of each shell.
    sizes
        (m,) how many steps each shell has.
    """

    from_shell: np.ndarray
    to_shell: np.ndarray
    middle: np.ndarray
    single: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, shells: StepShells, hops: float, longest: int) -> _Displacements:
        """Return the table for times from 0 to `longest` frames."""
        middle = steps_within(MIDDLE)
        between = shells.steps[:, None] - middle
        reach = StepShells.of(np.unique(between.reshape(-1, 2), axis=0))
        chances = LatticeWaves.of(reach).propagator(np.arange(longest + 1), hops)
        u, v = between[..., 0], between[..., 1]
        place = np.searchsorted(reach.squares, u * u + v * v + u * v)
        of_steps = chances[:, place]  # (t, n, k)
        first = np.unique(shells.shell, return_index=True)[1]
        mean = shells.summed(of_steps.swapaxes(1, 2)) / shells.sizes
        u, v = middle.T
        own = chances[:, np.searchsorted(reach.squares, u * u + v * v + u * v)]
        single = chances[:, np.searchsorted(reach.squares, shells.squares)]
        return cls(of_steps[:, first], mean, own, single, shells.sizes)

    def common(self, first: int, second: int, apart: int) -> np.ndarray:
        """Return (m, m) how much likelier two displacements are together than one by one."""
        shared = min(first, apart + second) - max(0, apart)
        left = self.from_shell[first - shared] * self.middle[shared]
        together = left @ self.to_shell[second - shared]
        return np.asarray(together - np.outer(self.single[first], self.single[second]))
