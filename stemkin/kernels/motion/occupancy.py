"""Where walkers are, site by site and frame by frame, when single frames do not tell.

A walker is on one site in each frame, and a site holds one at most. So walkers are flows of 0 or 1
through a net whose nodes are sites in frames, and whose edges lead to the sites that a walker can
reach by the next frame (Berclaz et al., IEEE Trans. Pattern Anal. Mach. Intell. 33, 1806 (2011)).
Each edge has the chance G of its step, each node the likelihood ratio L of what it shows. Instead of
the one best flow, the chance of every node and edge is found, by belief propagation (Pearl,
Probabilistic Reasoning in Intelligent Systems, 1988; for flows and matchings it is the Bethe
approximation: Chertkov et al., PNAS 107, 7663 (2010)): odds that an edge is used, as its earlier end
and its later end say,

    F(j, e) = L S_in / (1 + L S_in (S_out - out_e)),    B(j, e) = L S_out / (1 + L S_out (S_in - in_e)),

where S are sums over the edges of a node and in = G F, out = G B come from its neighbours. A walker
that is surely there has to be somewhere next, which filters that judge each site by itself forget.
Walkers leave to, and come from, sites that are not followed, with the density of all.

>>> net = SiteNet.of(np.array([[0, 0], [1, 0], [2, 0]]))
>>> z = np.array([[-4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -4.0, 0.0]])
>>> chances_of_sites(z, net, WalkerLook(depth=4.0, hops=0.3, density=0.05)).chances.round(1).tolist()[2]
[0.0, 1.0, 0.0]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from stemkin.kernels.motion.lattice_walks import LatticeWaves, StepShells

REACH = 2.0
"""No walker goes further from frame to frame, in lattice constants."""

SLOWEST, FASTEST = 1e-4, 1.0
"""Hops per frame that are looked for."""

LARGEST = 40.0
"""Logarithms of likelihood ratios beyond this tell nothing more."""

N_SWEEPS = 4
"""So often messages go forward and backward through time; further ones change chances by < .01."""

FROM_NOTHING = 1e-3
"""Walkers are made and heal about so often per frame, as a share of those that there are."""


@dataclass(frozen=True, eq=False)
class SiteNet:
    """Which sites a walker can reach by the next frame.

    Attributes
    ----------
    shells
        The steps.
    to
        (site, e) number of the site at the end of each step; -1 for one that is not followed.
    back
        (e,) number of the step that leads back.
    """

    shells: StepShells
    to: np.ndarray
    back: np.ndarray

    @classmethod
    def of(cls, cells: np.ndarray) -> SiteNet:
        """Return the net of `cells` (m, 2), whole-numbered u, v, each there once."""
        shells = StepShells.within(REACH)
        margin = int(np.ceil(2 * REACH))
        low = cells.min(axis=0) - margin
        place = np.full(cells.max(axis=0) + margin + 1 - low, -1)
        place[tuple((cells - low).T)] = np.arange(len(cells))
        to = [place[tuple((cells + step - low).T)] for step in shells.steps]
        number = {tuple(step): i for i, step in enumerate(shells.steps.tolist())}
        back = [number[-u, -v] for u, v in shells.steps.tolist()]
        return cls(shells, np.stack(to, axis=1), np.array(back))

    def chances(self, hops: float) -> np.ndarray:
        """Return (e,) the chance of each step, `hops` per frame; all steps together have 1."""
        found = np.maximum(LatticeWaves.of(self.shells).propagator(np.ones(1), hops)[0], 1e-12)
        each = found[self.shells.shell]
        return np.asarray(each / each.sum())

    def arriving(self, sent: np.ndarray, beyond: float) -> np.ndarray:
        """Return (site, e) what comes along each step from its end, `beyond` the sites the same.

        `sent` (site, e) is what sites send along the steps that lead back.
        """
        return np.where(self.to >= 0, sent[self.to, self.back], beyond)


@dataclass(frozen=True)
class WalkerLook:
    """What walkers are like: by how much a signal falls, hops per frame, and walkers per site."""

    depth: float
    hops: float
    density: float


@dataclass(frozen=True, eq=False)
class SiteChances:
    """Chances, and what they say of walkers.

    Attributes
    ----------
    chances
        (t, site) that a site holds a walker, given all frames.
    steps
        (m,) expected number of steps of each shell.
    falls
        (2,) expected number of sites with a walker that are judged, and the sum of their signals.
    """

    chances: np.ndarray
    steps: np.ndarray
    falls: np.ndarray


def chances_of_sites(signals: np.ndarray, net: SiteNet, look: WalkerLook) -> SiteChances:
    """Find where walkers are from the signals of sites in all frames.

    Parameters
    ----------
    signals
        (t, site) of noise 1, lower by `look.depth` where a walker is; NaN where not judged.
    net
        Which sites are beside each other.
    look
        What walkers are like.

    Returns
    -------
    Chances and sums.
    """
    known = np.isfinite(signals)
    z = np.where(known, signals, 0.0).astype(np.float64)
    told = np.where(known, -look.depth * z - look.depth**2 / 2, 0.0)
    ratio = np.exp(np.clip(told, -LARGEST, LARGEST))
    step, odds = net.chances(look.hops), look.density / (1 - look.density)
    n = len(z)
    forward = np.zeros((n, *net.to.shape), dtype=np.float32)
    backward = np.ones_like(forward)

    def sums(t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return what comes to the sites of a frame from before and after, and the sums."""
        before, after = np.full(net.to.shape, odds * step), np.broadcast_to(step, net.to.shape)
        if t > 0:
            before = step * net.arriving(forward[t - 1], odds)
        if t < n - 1:
            after = step * net.arriving(backward[t + 1], 1.0)
        total = before.sum(axis=1) + FROM_NOTHING * odds
        return before, after, total, after.sum(axis=1) + FROM_NOTHING

    for _ in range(N_SWEEPS):
        for t in range(n):
            _, after, entered, left = sums(t)
            own = (ratio[t] * entered)[:, None]
            forward[t] = own / (1 + own * np.maximum(left[:, None] - after, 0.0))
        for t in range(n - 1, -1, -1):
            before, _, entered, left = sums(t)
            own = (ratio[t] * left)[:, None]
            backward[t] = own / (1 + own * np.maximum(entered[:, None] - before, 0.0))
    chances, steps = np.empty_like(z), np.zeros(len(net.shells.squares))
    for t in range(n):
        _, after, entered, left = sums(t)
        both = ratio[t] * entered * left
        chances[t] = both / (1 + both)
        if t < n - 1:
            used = forward[t] * after
            used = (used / (1 + used)).sum(axis=0)
            steps += np.bincount(net.shells.shell, used, minlength=len(steps))
    falls = np.array([(chances * known).sum(), (chances * z).sum()])
    return SiteChances(chances, steps, falls)


def refined_look(look: WalkerLook, found: SiteChances, net: SiteNet, *, deeper: bool) -> WalkerLook:
    """Return the look that the expected steps and falls make most likely.

    Parameters
    ----------
    look
        The look before.
    found
        Sums of what it found.
    net
        Which sites are beside each other.
    deeper
        Whether the depth is looked at again, too.

    Returns
    -------
    The look after one round of expectation and maximisation (Dempster, Laird & Rubin, J. R. Stat.
    Soc. B 39, 1 (1977)).
    """
    first = np.unique(net.shells.shell, return_index=True)[1]

    def told(x: float) -> float:
        return -float(found.steps @ np.log(net.chances(float(np.exp(x)))[first]))

    best = optimize.minimize_scalar(
        told, bounds=(np.log(SLOWEST), np.log(FASTEST)), method="bounded", options={"xatol": 1e-4}
    )
    depth = look.depth
    if deeper and found.falls[0] > 0:
        depth = float(max(-found.falls[1] / found.falls[0], 0.1))
    return replace(
        look,
        hops=float(np.exp(best.x)),
        density=float(np.clip(found.chances.mean(), 1e-6, 0.5)),
        depth=depth,
    )
