"""The elementary steps of the defects of one area; see `kinetics` for what each one does."""

from __future__ import annotations

from stemkin.materials import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.area import NONE, AreaState
from stemkin.simulation.crystal import BOUND, NEIGHBOURS

_NEIGHBOUR_STEPS: list[tuple[int, int]] = [(int(u), int(v)) for u, v in NEIGHBOURS]
_BOUND_STEPS: list[tuple[int, int]] = [(int(u), int(v)) for u, v in BOUND]


def _outward(bound: tuple[int, int]) -> list[int]:
    """Return the four directions that lead from a dopant's column `bound` away from the dopant."""
    ends = [(bound[0] + u, bound[1] + v) for u, v in _NEIGHBOUR_STEPS]
    return [direction for direction, end in enumerate(ends) if end not in _BOUND_STEPS]


_OUTWARD: list[list[int]] = [_outward(bound) for bound in _BOUND_STEPS]
"""For each orientation of a complex, the directions in which its vacancy can leave."""


class Steps(AreaState):
    """What can happen in one area: each step changes the state and writes down what has ended."""

    def _one_of(self, kind: int) -> int:
        items = self.of_kind[kind].items
        return items[int(next(self.chance) * len(items))]

    def hop(self) -> None:
        """A free vacancy moves to a neighbouring column."""
        p = self._one_of(VACANCY)
        self._move_out(p, int(next(self.chance) * 6), "hop")

    def _move_out(self, p: int, direction: int, why: str) -> None:
        """Move a vacancy of `p` one column on, if the column there can take it.

        Parameters
        ----------
        p
            The defect that gives the vacancy away: it moves itself ("hop"), is a complex ("detach")
            or a double vacancy ("split").
        direction
            Which of the six neighbours it moves to.
        why
            The step's name.
        """
        u, v = self.cell[p]
        if why == "detach":
            du, dv = _BOUND_STEPS[self.orientation[p]]
            u, v = u + du, v + dv
        origin = self.index(u, v)
        target = self.neighbours[origin][direction]
        step = _NEIGHBOUR_STEPS[direction]
        there, dopant = self.vacancy_at[target], self.dopant_by[target]
        if there != NONE and (self.kind[there] != VACANCY or self.atoms < 2):
            return
        if dopant != NONE and self.kind[dopant] != DOPANT:
            return
        # What stays behind. A free vacancy that finds an empty column keeps its identity; one that
        # is taken up, by a dopant or by another vacancy, ends.
        if why == "hop":
            self.vacancy_at[origin] = NONE
            if there == NONE and dopant == NONE:
                self.becomes(p, "hop", kind=VACANCY, step=step)
                self.vacancy_at[target] = p
                return
            if dopant != NONE:
                self.dies(p, "attach")
            else:
                self.dies(p, "pair")
        elif why == "detach":
            self.vacancy_at[origin] = NONE
            self.becomes(p, "detach", kind=DOPANT)
        else:
            self.becomes(p, "split", kind=VACANCY)
        # What arrives.
        if dopant != NONE:
            self._bind(dopant, target, "attach")
        elif there != NONE:
            self.becomes(there, "pair", kind=DOUBLE_VACANCY)
        else:
            self.vacancy_at[target] = self.born(VACANCY, (u + step[0], v + step[1]), why)

    def _bind(self, dopant: int, column: int, why: str) -> None:
        orientation = self.beside[self.index(*self.cell[dopant])].index(column)
        self.becomes(dopant, why, kind=COMPLEX, orientation=orientation)
        self.vacancy_at[column] = dopant

    def rotate(self) -> None:
        """A bound vacancy moves to one of its dopant's two other columns."""
        p = self._one_of(COMPLEX)
        columns = self.beside[self.index(*self.cell[p])]
        old = self.orientation[p]
        new = (old + 1 + int(next(self.chance) * 2)) % 3
        self.vacancy_at[columns[old]] = NONE
        self.vacancy_at[columns[new]] = p
        self.becomes(p, "rotate", orientation=new)

    def detach(self) -> None:
        """A bound vacancy moves away from its dopant."""
        p = self._one_of(COMPLEX)
        outward = _OUTWARD[self.orientation[p]]
        self._move_out(p, outward[int(next(self.chance) * 4)], "detach")

    def split(self) -> None:
        """One vacancy of a double vacancy moves out."""
        self._move_out(self._one_of(DOUBLE_VACANCY), int(next(self.chance) * 6), "split")

    def create(self) -> None:
        """The beam removes a chalcogen atom.

        Every column is tried at the highest rate that any column has; a trial is void with the
        chance that leaves each column its own rate (thinning: Lewis & Shedler 1979).
        """
        column = int(next(self.chance) * self.n)
        there, dopant, r = self.vacancy_at[column], self.dopant_by[column], self.rates
        highest = max(r.create_per_atom, r.create_at_dopant_per_atom)
        if next(self.chance) * highest >= self._creation_rate(there, dopant):
            return
        if there != NONE:
            self.becomes(there, "create", kind=DOUBLE_VACANCY)
        elif dopant != NONE:
            self._bind(dopant, column, "create")
        else:
            self.vacancy_at[column] = self.born(VACANCY, self.cells[column], "create")

    def _creation_rate(self, there: int, dopant: int) -> float:
        """Return the rate per atom at which a column with these defects loses one [1/s]."""
        rate = self.rates.create_per_atom
        if dopant != NONE:
            rate = self.rates.create_at_dopant_per_atom
        if there != NONE:
            # one atom of two is left where a vacancy is, and none in any other taken column
            single = self.kind[there] == VACANCY and self.atoms == 2
            return rate * 0.5 * single
        if dopant != NONE and self.kind[dopant] != DOPANT:
            return 0.0
        return rate

    def heal(self) -> None:
        """A free vacancy is refilled."""
        p = self._one_of(VACANCY)
        self.vacancy_at[self.index(*self.cell[p])] = NONE
        self.dies(p, "heal")

    def heal_complex(self) -> None:
        """A bound vacancy is refilled."""
        p = self._one_of(COMPLEX)
        self.vacancy_at[self.beside[self.index(*self.cell[p])][self.orientation[p]]] = NONE
        self.becomes(p, "heal", kind=DOPANT)

    def heal_pair(self) -> None:
        """One vacancy of a double vacancy is refilled."""
        self.becomes(self._one_of(DOUBLE_VACANCY), "heal", kind=VACANCY)

    def lose_metal(self) -> None:
        """The beam removes a metal atom."""
        cell = int(next(self.chance) * self.n)
        if self.metal_at[cell] == NONE:
            self.metal_at[cell] = self.born(METAL_VACANCY, self.cells[cell], "lose_metal")

    def arrive(self) -> None:
        """An adatom lands on a metal column."""
        self.born(ADATOM, self.cells[int(next(self.chance) * self.n)], "arrive")

    def hop_adatom(self) -> None:
        """An adatom moves to a neighbouring metal column."""
        self.becomes(self._one_of(ADATOM), "hop", step=_NEIGHBOUR_STEPS[int(next(self.chance) * 6)])

    def desorb(self) -> None:
        """An adatom leaves."""
        self.dies(self._one_of(ADATOM), "desorb")
