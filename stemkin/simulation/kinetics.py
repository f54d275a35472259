"""Kinetic Monte Carlo of the defects of one area, event by event at exact times (Gillespie 1976;
Bortz et al. 1975).

Every elementary step waits an exponential time, so the area is a continuous-time Markov chain,
simulated without a time
step: the next event comes after an exponential time with the total rate, which event it is follows
the shares of the rates. What is kept is the list of *sojourns*: from when to when a defect was what
it was, where it was. The state at any frame is read from it, and so are dwell times and events.

Steps (rates per second, `Kinetics` names them)
    hop       a vacancy moves to one of the six neighbouring chalcogen columns (each hop_rate / 6)
    attach    ... and finds itself beside a dopant: the two become one complex (same rate per direction)
    pair      ... and finds a vacancy there: a double vacancy
    rotate    a bound vacancy moves to one of its dopant's two other columns (each rotation_rate / 2)
    detach    a bound vacancy moves to one of its four other neighbours (each detach_rate / 4)
    split     one vacancy of a double vacancy moves out (each direction split_rate / 6)
    create    the beam removes an atom of a chalcogen column; beside a dopant at cross_section_at_dopant times the rate
    heal      a vacancy is refilled
    lose_metal  the beam removes a metal atom;  arrive, desorb, hop_adatom: adatoms on top of metal columns

A move onto a column that cannot take it (a double vacancy, a dopant that already holds a vacancy)
does not happen. A dopant keeps its identity whatever it holds; a vacancy that is taken up ends, one
that is let go is new.
"""

from __future__ import annotations

import numpy as np

from stemkin.simulation.area import NONE, AreaState, exponentials
from stemkin.simulation.crystal import BOUND, NEIGHBOURS, Patch
from stemkin.simulation.material import (
    ADATOM,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
)
from stemkin.simulation.rates import SOJOURN
from stemkin.simulation.settings import Settings

_NEIGHBOUR_STEPS: list[tuple[int, int]] = [(int(u), int(v)) for u, v in NEIGHBOURS]
_BOUND_STEPS: list[tuple[int, int]] = [(int(u), int(v)) for u, v in BOUND]
_OUTWARD: list[list[int]] = [
    [
        k
        for k, step in enumerate(_NEIGHBOUR_STEPS)
        if (b[0] + step[0], b[1] + step[1]) not in _BOUND_STEPS
    ]
    for b in _BOUND_STEPS
]
"""For each orientation, the four directions that lead away from the dopant."""


def simulate_area(
    settings: Settings, patch: Patch, *, duration_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Simulate the defects of one area. Computes once.

    Parameters
    ----------
    settings
        Rates and starting fractions.
    patch
        Where the defects live.
    duration_s
        From the area's first to its last moment [s].
    rng
        Source of chance; equal generators give equal sojourns.

    Returns
    -------
    (m,) records `SOJOURN`, ordered by start, then particle.
    """
    area = Area(settings, patch, rng)
    area.populate()
    area.run(duration_s)
    rows = np.array(area.closed, dtype=SOJOURN)
    return rows[np.lexsort((rows["particle"], rows["start_s"]))]


class Area(AreaState):
    """What happens in one area: the loop over events, and each elementary step."""

    def run(self, duration_s: float) -> None:
        """Let events happen until `duration_s`, then close what is still open."""
        r = self.rates
        free, pairs, bound, adatoms = (
            self.of_kind[k].items for k in (VACANCY, DOUBLE_VACANCY, COMPLEX, ADATOM)
        )
        per_free, per_bound = r.hop + r.heal, r.rotate + r.detach + r.heal_complex
        per_pair, per_adatom = r.split + 2 * r.heal, r.hop_adatom + r.desorb
        per_column = self.atoms * max(r.create_per_atom, r.create_at_dopant_per_atom)
        beam = self.n * (per_column + r.lose_metal + r.arrive)
        wait, chance = exponentials(self.rng), self.chance
        while True:
            of_free = per_free * len(free)
            of_bound = of_free + per_bound * len(bound)
            of_pairs = of_bound + per_pair * len(pairs)
            of_adatoms = of_pairs + per_adatom * len(adatoms)
            total = of_adatoms + beam
            if total <= 0:
                break
            self.now += next(wait) / total
            if self.now >= duration_s:
                break
            pick = next(chance) * total
            if pick < of_free:
                self._hop_or_heal()
            elif pick < of_bound:
                self._rotate_detach_or_heal()
            elif pick < of_pairs:
                self._split_or_heal()
            elif pick < of_adatoms:
                self._hop_or_desorb()
            else:
                self._beam(next(chance) * (per_column + r.lose_metal + r.arrive), per_column)
        self.now = duration_s
        for members in self.of_kind:
            for p in sorted(members.items):
                self.close(p, "end")

    def _hop_or_heal(self) -> None:
        if next(self.chance) * (self.rates.hop + self.rates.heal) < self.rates.hop:
            self.hop()
        else:
            self.heal()

    def _rotate_detach_or_heal(self) -> None:
        r = self.rates
        pick = next(self.chance) * (r.rotate + r.detach + r.heal_complex)
        if pick < r.rotate:
            self.rotate()
        elif pick < r.rotate + r.detach:
            self.detach()
        else:
            self.heal_complex()

    def _split_or_heal(self) -> None:
        if next(self.chance) * (self.rates.split + 2 * self.rates.heal) < self.rates.split:
            self.split()
        else:
            self.heal_pair()

    def _hop_or_desorb(self) -> None:
        if next(self.chance) * (self.rates.hop_adatom + self.rates.desorb) < self.rates.hop_adatom:
            self.hop_adatom()
        else:
            self.desorb()

    def _beam(self, pick: float, per_column: float) -> None:
        if pick < per_column:
            self.create()
        elif pick < per_column + self.rates.lose_metal:
            self.lose_metal()
        else:
            self.arrive()

    def _one_of(self, kind: int) -> int:
        items = self.of_kind[kind].items
        return items[int(next(self.chance) * len(items))]

    def hop(self) -> None:
        """A free vacancy moves to a neighbouring column."""
        p = self._one_of(VACANCY)
        self._move_out(p, int(next(self.chance) * 6), "hop")

    def _move_out(self, p: int, direction: int, why: str) -> None:
        """Move a vacancy of `p` one column on, if the column there can take it."""
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
        arrives = there == NONE and dopant == NONE
        # what stays behind
        if why == "hop":
            self.vacancy_at[origin] = NONE
            if arrives:
                self.becomes(p, "hop", kind=VACANCY, step=step)
                self.vacancy_at[target] = p
                return
            self.dies(p, "attach" if dopant != NONE else "pair")
        elif why == "detach":
            self.vacancy_at[origin] = NONE
            self.becomes(p, "detach", kind=DOPANT)
        else:
            self.becomes(p, "split", kind=VACANCY)
        # what arrives
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
        """The beam removes a chalcogen atom; too frequent by `highest` for most columns, so some
        trials are void."""
        column = int(next(self.chance) * self.n)
        there, dopant, r = self.vacancy_at[column], self.dopant_by[column], self.rates
        highest = max(r.create_per_atom, r.create_at_dopant_per_atom)
        rate = r.create_at_dopant_per_atom if dopant != NONE else r.create_per_atom
        if there != NONE:
            rate *= 0.5 if self.kind[there] == VACANCY and self.atoms == 2 else 0.0
        elif dopant != NONE and self.kind[dopant] != DOPANT:
            rate = 0.0
        if next(self.chance) * highest >= rate:
            return
        if there != NONE:
            self.becomes(there, "create", kind=DOUBLE_VACANCY)
        elif dopant != NONE:
            self._bind(dopant, column, "create")
        else:
            self.vacancy_at[column] = self.born(VACANCY, self.cells[column], "create")

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
