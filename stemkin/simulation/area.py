"""The state of one area while it is simulated: defects, their places, and ended sojourns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stemkin.materials import ADATOM, COMPLEX, DOPANT, VACANCY
from stemkin.simulation.crystal import BOUND, NEIGHBOURS, Patch
from stemkin.simulation.rates import CAUSES, Rates
from stemkin.simulation.settings import Settings

CAUSE = {name: number for number, name in enumerate(CAUSES)}
NONE = -1
"""Where there is no defect."""


class Members:
    """A set of numbers from which one can be drawn at random."""

    def __init__(self) -> None:
        """Begin empty."""
        self.items: list[int] = []
        self._place: dict[int, int] = {}

    def add(self, item: int) -> None:
        """Put `item` in."""
        self._place[item] = len(self.items)
        self.items.append(item)

    def remove(self, item: int) -> None:
        """Take `item` out."""
        # The last item fills the gap, so that the list stays dense and each draw costs the same.
        place, last = self._place.pop(item), self.items.pop()
        if last != item:
            self.items[place] = last
            self._place[last] = place


class AreaState:
    """The state of one area; defects are numbered, columns and cells are indices of the patch."""

    def __init__(self, settings: Settings, patch: Patch, rng: np.random.Generator) -> None:
        """Begin with a perfect crystal."""
        self.k, self.rates, self.rng = settings.kinetics, Rates.of(settings), rng
        self.atoms = settings.material.atoms_per_chalcogen_column
        self.n, self._normal_form = patch.n_cells, patch.normal_form
        self.cells: list[tuple[int, int]] = [(u, v) for u, v in patch.cells.tolist()]
        self.neighbours = patch.index(patch.cells[:, None] + NEIGHBOURS).tolist()
        self._near = patch.index(patch.cells[:, None] + _close_cells()).tolist()
        # metal cell -> its three chalcogen columns
        self.beside = patch.index(patch.cells[:, None] + BOUND).tolist()
        self.vacancy_at = [NONE] * self.n  # chalcogen column -> the defect that holds its vacancy
        self.dopant_by = [NONE] * self.n  # chalcogen column -> the dopant beside it
        self.metal_at = [NONE] * self.n  # metal cell -> dopant or metal vacancy
        self.now = 0.0
        self.kind: list[int] = []
        self.orientation: list[int] = []
        self.cell: list[tuple[int, int]] = []
        self.since: list[float] = []
        self.cause: list[int] = []
        self.closed: list[tuple[int, int, int, int, int, float, float, int, int]] = []
        self.of_kind = [Members() for _ in range(6)]
        self.chance = uniforms(rng)

    def index(self, u: int, v: int) -> int:
        """Return the index of cell (u, v), in plain Python numbers; see `Patch.index`."""
        a, b, d = self._normal_form
        turns, rest = divmod(u, a)
        return rest * d + (v - turns * b) % d

    def born(self, kind: int, cell: tuple[int, int], cause: str, orientation: int = -1) -> int:
        """Add a defect and return its number."""
        particle = len(self.kind)
        self.kind.append(kind)
        self.orientation.append(orientation)
        self.cell.append(cell)
        self.since.append(self.now)
        self.cause.append(CAUSE[cause])
        self.of_kind[kind].add(particle)
        return particle

    def close(self, p: int, fate: str) -> None:
        """Write down the sojourn of `p` that ends now."""
        what = (p, self.kind[p], self.orientation[p])
        why = (self.cause[p], CAUSE[fate])
        self.closed.append((*what, *self.cell[p], self.since[p], self.now, *why))

    def dies(self, p: int, fate: str) -> None:
        """Close the last sojourn of `p`."""
        self.close(p, fate)
        self.of_kind[self.kind[p]].remove(p)

    def becomes(
        self,
        p: int,
        why: str,
        *,
        kind: int | None = None,
        orientation: int = -1,
        step: tuple[int, int] = (0, 0),
    ) -> None:
        """Close the sojourn of `p` and open its next one."""
        self.close(p, why)
        if kind is not None and kind != self.kind[p]:
            self.of_kind[self.kind[p]].remove(p)
            self.of_kind[kind].add(p)
            self.kind[p] = kind
        self.orientation[p] = orientation
        u, v = self.cell[p]
        self.cell[p] = (u + step[0], v + step[1])
        self.since[p] = self.now
        self.cause[p] = CAUSE[why]

    def populate(self) -> None:
        """Place dopants apart from each other, then vacancies, then adatoms."""
        rng, k = self.rng, self.k
        near = self._near
        taken = [False] * self.n
        wanted = int(rng.binomial(self.n, k.dopant_fraction))
        for cell in rng.permutation(self.n).tolist():
            if wanted == 0:
                break
            if any(taken[c] for c in near[cell]):
                continue
            taken[cell] = True
            wanted -= 1
            self._add_dopant(cell, bound=bool(rng.random() < k.complex_fraction))
        for column in np.flatnonzero(rng.random(self.n) < k.vacancy_fraction).tolist():
            if self.dopant_by[column] == NONE:
                self.vacancy_at[column] = self.born(VACANCY, self.cells[column], "begin")
        for cell in np.flatnonzero(rng.random(self.n) < k.adatom_fraction).tolist():
            self.born(ADATOM, self.cells[cell], "begin")

    def _add_dopant(self, cell: int, *, bound: bool) -> None:
        kind, orientation = DOPANT, NONE
        if bound:
            kind, orientation = COMPLEX, int(self.rng.integers(3))
        dopant = self.born(kind, self.cells[cell], "begin", orientation)
        self.metal_at[cell] = dopant
        for column in self.beside[cell]:
            self.dopant_by[column] = dopant
        if bound:
            self.vacancy_at[self.beside[cell][orientation]] = dopant


def _close_cells() -> np.ndarray:
    """Return the (m, 2) steps (u, v) to all cells nearer than 2.7 lattice constants.

    Two dopants that far apart share no column, and no column beside one is a neighbour of one
    beside the other.
    """
    u, v = (grid.ravel() for grid in np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)))
    return np.asarray(np.stack([u, v], axis=1)[u * u + v * v + u * v < 2.7**2])


def uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Yield numbers between 0 and 1 for ever."""
    while True:
        yield from rng.random(4096).tolist()


def exponentials(rng: np.random.Generator) -> Iterator[float]:
    """Yield exponential waiting times of unit mean for ever."""
    while True:
        yield from rng.standard_exponential(1024).tolist()
