"""Walks on the triangular lattice of one sublattice: shells of steps, and where a walker is later.

A walker that hops to each of its six neighbours at the rate h / 6 has the propagator

    G(d, t) = mean over q of cos(q d) exp(-h t (1 - g(q))),  g(q) = mean over neighbours of cos(q n),

the same for a vacancy that is barred from taken sites, as far as two-point correlations go
(symmetric exclusion: Spitzer, Adv. Math. 5, 246 (1970)). Steps are counted in lattice vectors
(u, v), lengths in lattice constants: |(u, v)|² = u² + v² + u v.

>>> shells = StepShells.within(2.0)
>>> shells.squares.tolist(), shells.sizes.tolist()
([0, 1, 3, 4], [1, 6, 6, 6])
>>> waves = LatticeWaves.of(shells)
>>> stays = waves.propagator(np.array([0.0, 1.0]), hops=0.1)[:, 0]
>>> stays.round(3).tolist()
[1.0, 0.906]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

N_WAVES = 48
"""Waves along each lattice vector; a walker that goes further than half as many sites comes in
from the other side."""


def steps_within(reach: float) -> np.ndarray:
    """List the steps of a triangular lattice up to a length.

    Parameters
    ----------
    reach
        Longest step, in lattice constants.

    Returns
    -------
    (n, 2) whole-numbered (u, v), by length and then by u and v; (0, 0) is the first.

    Examples
    --------
    >>> steps_within(1.0)[:3].tolist()
    [[0, 0], [-1, 0], [-1, 1]]
    """
    far = int(np.ceil(2 * reach))
    index = np.arange(-far, far + 1)
    u, v = (part.ravel() for part in np.meshgrid(index, index, indexing="ij"))
    square = u * u + v * v + u * v
    near = square <= reach**2 + 1e-9
    u, v, square = u[near], v[near], square[near]
    order = np.lexsort((v, u, square))
    return np.stack([u[order], v[order]], axis=1)


@dataclass(frozen=True, eq=False)
class StepShells:
    """Steps of equal length, which a lattice with all its symmetries cannot tell apart.

    Attributes
    ----------
    steps
        (n, 2) steps (u, v).
    shell
        (n,) number of the shell of each.
    squares
        (m,) squared lengths of the shells, in lattice constants squared, ascending.
    """

    steps: np.ndarray
    shell: np.ndarray
    squares: np.ndarray

    @classmethod
    def within(cls, reach: float) -> StepShells:
        """Return the shells up to `reach` lattice constants."""
        return cls.of(steps_within(reach))

    @classmethod
    def of(cls, steps: np.ndarray) -> StepShells:
        """Return the shells of `steps` (n, 2)."""
        u, v = steps.T
        squares, shell = np.unique(u * u + v * v + u * v, return_inverse=True)
        return cls(steps, shell, squares)

    @property
    def sizes(self) -> np.ndarray:
        """(m,) how many steps each shell has."""
        return np.bincount(self.shell, minlength=len(self.squares))

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Return (..., m) sums over the shells of `values` (..., n)."""
        of_shell = np.zeros((len(self.shell), len(self.squares)), dtype=values.dtype)
        of_shell[np.arange(len(self.shell)), self.shell] = 1
        return np.asarray(values @ of_shell)


@dataclass(frozen=True, eq=False)
class LatticeWaves:
    """Plane waves on a triangular lattice, one for each that its symmetries leave different.

    Attributes
    ----------
    weight
        (k,) share of all waves; they add up to 1.
    stay
        (k,) 1 - g(q): what a hop takes from the wave.
    forms
        (m, k) mean of cos(q d) over the steps d of each shell.
    """

    weight: np.ndarray
    stay: np.ndarray
    forms: np.ndarray

    @classmethod
    def of(cls, shells: StepShells, n: int = N_WAVES) -> LatticeWaves:
        """Return the waves of an `n` by `n` lattice, with what they are on the `shells`."""
        key = tuple(map(tuple, shells.steps.tolist()))
        return _waves(key, n)

    def propagator(self, lags: np.ndarray, hops: float) -> np.ndarray:
        """Return G, (lags, m): the chance to be at one site of each shell, `hops` per lag."""
        decay = np.exp(-hops * np.asarray(lags)[:, None] * self.stay)
        return np.asarray((decay * self.weight) @ self.forms.T)


@lru_cache(maxsize=8)
def _waves(steps: tuple[tuple[int, int], ...], n: int) -> LatticeWaves:
    """Return the waves of an n by n lattice; see `LatticeWaves.of`."""
    shells = StepShells.of(np.array(steps))
    index = np.arange(n) * (2 * np.pi / n)
    qu, qv = (part.ravel() for part in np.meshgrid(index, index, indexing="ij"))
    near = (np.cos(qu) + np.cos(qv) + np.cos(qu - qv)) / 3
    far = (np.cos(qu + qv) + np.cos(2 * qu - qv) + np.cos(qu - 2 * qv)) / 3
    # waves that a symmetry carries into each other agree on the first two shells
    key = np.round(np.stack([near, far], axis=1), 9)
    _, first, counts = np.unique(key, axis=0, return_index=True, return_counts=True)
    phase = np.outer(shells.steps[:, 0], qu[first]) + np.outer(shells.steps[:, 1], qv[first])
    forms = shells.summed(np.cos(phase).T).T / shells.sizes[:, None]
    return LatticeWaves(counts / n**2, 1 - near[first], forms)
