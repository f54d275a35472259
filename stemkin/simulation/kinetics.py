"""Kinetic Monte Carlo of the defects of one area, event by event at exact times (Gillespie 1976; Bortz et al. 1975).

Every elementary step waits an exponential time, so the area is a continuous-time Markov chain, simulated without a time
step: the next event comes after an exponential time with the total rate, which event it is follows the shares of the
rates. What is kept is the list of *sojourns*: from when to when a defect was what it was, where it was. The state at
any frame is read from it, and so are dwell times and events.

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

A move onto a column that cannot take it (a double vacancy, a dopant that already holds a vacancy) does not happen.
A dopant keeps its identity whatever it holds; a vacancy that is taken up ends, one that is let go is new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from stemkin.simulation.crystal import BOUND, NEIGHBOURS, Patch
from stemkin.simulation.settings import (
    ADATOM,
    BARN_NM2,
    COMPLEX,
    DOPANT,
    DOUBLE_VACANCY,
    METAL_VACANCY,
    VACANCY,
    Settings,
)

CAUSES = (
    "begin", "end", "hop", "attach", "pair", "rotate", "detach", "split", "create", "heal", "lose_metal", "arrive", "desorb",
)  # fmt: skip
"""Why a sojourn began or ended; ``begin`` and ``end`` are the area's."""
_CAUSE = {name: i for i, name in enumerate(CAUSES)}

SOJOURN = np.dtype(
    [
        ("particle", "i8"), ("kind", "i1"), ("orientation", "i1"), ("u", "i4"), ("v", "i4"),
        ("start_s", "f8"), ("end_s", "f8"), ("cause", "i1"), ("fate", "i1"),
    ]
)  # fmt: skip
"""One state of one defect: `kind` as in `Material.kinds`, cell (u, v) not wrapped, times from the area's start."""

_NONE = -1


@dataclass(frozen=True)
class Rates:
    """The rates [1/s] as the simulation uses them, beam and all."""

    hop: float
    rotate: float
    detach: float
    split: float
    create_per_atom: float
    create_at_dopant_per_atom: float
    lose_metal: float
    heal: float
    heal_complex: float
    arrive: float
    hop_adatom: float
    desorb: float

    @classmethod
    def of(cls, settings: Settings) -> Rates:
        """Return the rates of `settings`: a cross-section [barn] times the dose rate is a rate per atom."""
        k = settings.kinetics
        flux = settings.instrument.dose_rate_e_per_nm2_s * BARN_NM2
        create = k.cross_section_barn * flux
        return cls(
            k.hop_rate_per_s, k.rotation_rate_per_s, k.detach_rate_per_s, k.split_rate_per_s,
            create, create * k.cross_section_at_dopant, k.metal_cross_section_barn * flux,
            k.healing_rate_per_s, k.complex_healing_rate_per_s,
            k.adatom_fraction * k.adatom_desorption_rate_per_s, k.adatom_hop_rate_per_s, k.adatom_desorption_rate_per_s,
        )  # fmt: skip


def simulate_area(settings: Settings, patch: Patch, *, duration_s: float, rng: np.random.Generator) -> np.ndarray:
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
    area = _Area(settings, patch, rng)
    area.populate()
    area.run(duration_s)
    rows = np.array(area.closed, dtype=SOJOURN)
    return rows[np.lexsort((rows["particle"], rows["start_s"]))]


class _Members:
    """A set of numbers from which one can be drawn at random."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self._place: dict[int, int] = {}

    def add(self, item: int) -> None:
        self._place[item] = len(self.items)
        self.items.append(item)

    def remove(self, item: int) -> None:
        place, last = self._place.pop(item), self.items.pop()
        if last != item:
            self.items[place] = last
            self._place[last] = place


class _Area:
    """The state of one area. Defects are numbered; columns and cells are indices of the patch."""

    def __init__(self, settings: Settings, patch: Patch, rng: np.random.Generator) -> None:
        self.k, self.rates, self.rng = settings.kinetics, Rates.of(settings), rng
        self.atoms = settings.material.atoms_per_chalcogen_column
        self.patch, self.n = patch, patch.n_cells
        self.cells = patch.cells.tolist()
        self.neighbours = patch.index(patch.cells[:, None] + NEIGHBOURS).tolist()
        self.beside = patch.index(patch.cells[:, None] + BOUND).tolist()  # metal cell -> its three chalcogen columns
        self.vacancy_at = [_NONE] * self.n  # chalcogen column -> the defect that holds its vacancy
        self.dopant_by = [_NONE] * self.n  # chalcogen column -> the dopant beside it
        self.metal_at = [_NONE] * self.n  # metal cell -> dopant or metal vacancy
        self.now = 0.0
        self.kind: list[int] = []
        self.orientation: list[int] = []
        self.cell: list[tuple[int, int]] = []
        self.since: list[float] = []
        self.cause: list[int] = []
        self.closed: list[tuple[int, int, int, int, int, float, float, int, int]] = []
        self.of_kind = [_Members() for _ in range(6)]
        self._chance = _uniforms(rng)

    # -- bookkeeping

    def _index(self, u: int, v: int) -> int:
        a, b, d = self.patch._normal_form
        turns, rest = divmod(u, a)
        return rest * d + (v - turns * b) % d

    def born(self, kind: int, u: int, v: int, cause: str, orientation: int = -1) -> int:
        particle = len(self.kind)
        self.kind.append(kind)
        self.orientation.append(orientation)
        self.cell.append((u, v))
        self.since.append(self.now)
        self.cause.append(_CAUSE[cause])
        self.of_kind[kind].add(particle)
        return particle

    def _close(self, p: int, fate: str) -> None:
        u, v = self.cell[p]
        self.closed.append(
            (p, self.kind[p], self.orientation[p], u, v, self.since[p], self.now, self.cause[p], _CAUSE[fate])
        )

    def dies(self, p: int, fate: str) -> None:
        self._close(p, fate)
        self.of_kind[self.kind[p]].remove(p)

    def becomes(
        self, p: int, why: str, *, kind: int | None = None, orientation: int = -1, step: tuple[int, int] = (0, 0)
    ) -> None:
        """Close the sojourn of `p` and open its next one."""
        self._close(p, why)
        if kind is not None and kind != self.kind[p]:
            self.of_kind[self.kind[p]].remove(p)
            self.of_kind[kind].add(p)
            self.kind[p] = kind
        self.orientation[p] = orientation
        u, v = self.cell[p]
        self.cell[p] = (u + step[0], v + step[1])
        self.since[p] = self.now
        self.cause[p] = _CAUSE[why]

    # -- the start

    def populate(self) -> None:
        """Place dopants apart from each other, then vacancies, then adatoms."""
        rng, k = self.rng, self.k
        near = self.patch.index(self.patch.cells[:, None] + _disc(3)).tolist()
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
            if self.dopant_by[column] == _NONE:
                self.vacancy_at[column] = self.born(VACANCY, *self.cells[column], "begin")
        for cell in np.flatnonzero(rng.random(self.n) < k.adatom_fraction).tolist():
            self.born(ADATOM, *self.cells[cell], "begin")

    def _add_dopant(self, cell: int, *, bound: bool) -> None:
        orientation = int(self.rng.integers(3)) if bound else -1
        dopant = self.born(COMPLEX if bound else DOPANT, *self.cells[cell], "begin", orientation)
        self.metal_at[cell] = dopant
        for column in self.beside[cell]:
            self.dopant_by[column] = dopant
        if bound:
            self.vacancy_at[self.beside[cell][orientation]] = dopant

    # -- the loop

    def run(self, duration_s: float) -> None:
        """Let events happen until `duration_s`, then close what is still open."""
        steps = self._steps()
        wait = _exponentials(self.rng)
        while True:
            rates = [rate() for rate, _ in steps]
            total = math.fsum(rates)
            if total <= 0:
                break
            self.now += next(wait) / total
            if self.now >= duration_s:
                break
            pick = next(self._chance) * total
            for rate, (_, happen) in zip(rates, steps, strict=True):
                pick -= rate
                if pick < 0:
                    happen()
                    break
        self.now = duration_s
        for members in self.of_kind:
            for p in sorted(members.items):
                self._close(p, "end")

    def _steps(self) -> list[tuple[Callable[[], float], Callable[[], None]]]:
        """Return (total rate, what happens) of every kind of step; steps that can never happen are left out."""
        r, of = self.rates, self.of_kind
        free, pairs, bound, adatoms = (of[kind].items for kind in (VACANCY, DOUBLE_VACANCY, COMPLEX, ADATOM))
        per_column = self.atoms * self.n * max(r.create_per_atom, r.create_at_dopant_per_atom)
        per_metal, arrivals = self.n * r.lose_metal, self.n * r.arrive
        steps: list[tuple[float, Callable[[], float], Callable[[], None]]] = [
            (r.hop, lambda: r.hop * len(free), self.hop),
            (r.rotate, lambda: r.rotate * len(bound), self.rotate),
            (r.heal, lambda: r.heal * len(free), self.heal),
            (per_column, lambda: per_column, self.create),
            (r.detach, lambda: r.detach * len(bound), self.detach),
            (r.heal_complex, lambda: r.heal_complex * len(bound), self.heal_complex),
            (r.split, lambda: r.split * len(pairs), self.split),
            (r.heal, lambda: 2 * r.heal * len(pairs), self.heal_pair),
            (r.lose_metal, lambda: per_metal, self.lose_metal),
            (r.hop_adatom, lambda: r.hop_adatom * len(adatoms), self.hop_adatom),
            (r.arrive, lambda: arrivals, self.arrive),
            (r.desorb, lambda: r.desorb * len(adatoms), self.desorb),
        ]
        return [(rate, happen) for possible, rate, happen in steps if possible > 0]

    def _one_of(self, kind: int) -> int:
        items = self.of_kind[kind].items
        return items[int(next(self._chance) * len(items))]

    # -- the steps

    def hop(self) -> None:
        p = self._one_of(VACANCY)
        self._move_out(p, int(next(self._chance) * 6), "hop")

    def _move_out(self, p: int, direction: int, why: str) -> None:
        """Move a vacancy of `p` one column on, if the column there can take it."""
        u, v = self.cell[p]
        if why == "detach":
            du, dv = _BOUND_STEPS[self.orientation[p]]
            u, v = u + du, v + dv
        origin = self._index(u, v)
        target = self.neighbours[origin][direction]
        step = _NEIGHBOUR_STEPS[direction]
        there, dopant = self.vacancy_at[target], self.dopant_by[target]
        if there != _NONE and (self.kind[there] != VACANCY or self.atoms < 2):
            return
        if dopant != _NONE and self.kind[dopant] != DOPANT:
            return
        arrives = there == _NONE and dopant == _NONE
        # what stays behind
        if why == "hop":
            self.vacancy_at[origin] = _NONE
            if arrives:
                self.becomes(p, "hop", kind=VACANCY, step=step)
                self.vacancy_at[target] = p
                return
            self.dies(p, "attach" if dopant != _NONE else "pair")
        elif why == "detach":
            self.vacancy_at[origin] = _NONE
            self.becomes(p, "detach", kind=DOPANT)
        else:
            self.becomes(p, "split", kind=VACANCY)
        # what arrives
        if dopant != _NONE:
            self._bind(dopant, target, "attach")
        elif there != _NONE:
            self.becomes(there, "pair", kind=DOUBLE_VACANCY)
        else:
            self.vacancy_at[target] = self.born(VACANCY, u + step[0], v + step[1], why)

    def _bind(self, dopant: int, column: int, why: str) -> None:
        orientation = self.beside[self._index(*self.cell[dopant])].index(column)
        self.becomes(dopant, why, kind=COMPLEX, orientation=orientation)
        self.vacancy_at[column] = dopant

    def rotate(self) -> None:
        p = self._one_of(COMPLEX)
        columns = self.beside[self._index(*self.cell[p])]
        old = self.orientation[p]
        new = (old + 1 + int(next(self._chance) * 2)) % 3
        self.vacancy_at[columns[old]] = _NONE
        self.vacancy_at[columns[new]] = p
        self.becomes(p, "rotate", orientation=new)

    def detach(self) -> None:
        p = self._one_of(COMPLEX)
        outward = _OUTWARD[self.orientation[p]]
        self._move_out(p, outward[int(next(self._chance) * 4)], "detach")

    def split(self) -> None:
        self._move_out(self._one_of(DOUBLE_VACANCY), int(next(self._chance) * 6), "split")

    def create(self) -> None:
        column = int(next(self._chance) * self.n)
        there, dopant, r = self.vacancy_at[column], self.dopant_by[column], self.rates
        highest = max(r.create_per_atom, r.create_at_dopant_per_atom)
        rate = r.create_at_dopant_per_atom if dopant != _NONE else r.create_per_atom
        if there != _NONE:
            rate *= 0.5 if self.kind[there] == VACANCY and self.atoms == 2 else 0.0
        elif dopant != _NONE and self.kind[dopant] != DOPANT:
            rate = 0.0
        if next(self._chance) * highest >= rate:
            return
        if there != _NONE:
            self.becomes(there, "create", kind=DOUBLE_VACANCY)
        elif dopant != _NONE:
            self._bind(dopant, column, "create")
        else:
            self.vacancy_at[column] = self.born(VACANCY, *self.cells[column], "create")

    def heal(self) -> None:
        p = self._one_of(VACANCY)
        self.vacancy_at[self._index(*self.cell[p])] = _NONE
        self.dies(p, "heal")

    def heal_complex(self) -> None:
        p = self._one_of(COMPLEX)
        self.vacancy_at[self.beside[self._index(*self.cell[p])][self.orientation[p]]] = _NONE
        self.becomes(p, "heal", kind=DOPANT)

    def heal_pair(self) -> None:
        self.becomes(self._one_of(DOUBLE_VACANCY), "heal", kind=VACANCY)

    def lose_metal(self) -> None:
        cell = int(next(self._chance) * self.n)
        if self.metal_at[cell] == _NONE:
            self.metal_at[cell] = self.born(METAL_VACANCY, *self.cells[cell], "lose_metal")

    def arrive(self) -> None:
        self.born(ADATOM, *self.cells[int(next(self._chance) * self.n)], "arrive")

    def hop_adatom(self) -> None:
        self.becomes(self._one_of(ADATOM), "hop", step=_NEIGHBOUR_STEPS[int(next(self._chance) * 6)])

    def desorb(self) -> None:
        self.dies(self._one_of(ADATOM), "desorb")


_NEIGHBOUR_STEPS: list[tuple[int, int]] = [(int(u), int(v)) for u, v in NEIGHBOURS]
_BOUND_STEPS: list[tuple[int, int]] = [(int(u), int(v)) for u, v in BOUND]
_OUTWARD: list[list[int]] = [
    [k for k, step in enumerate(_NEIGHBOUR_STEPS) if (b[0] + step[0], b[1] + step[1]) not in _BOUND_STEPS]
    for b in _BOUND_STEPS
]
"""For each orientation, the four directions that lead away from the dopant."""


def _disc(radius: int) -> np.ndarray:
    """Return the steps (u, v) to all cells within `radius` lattice constants, less than 2.7 of them is too close."""
    u, v = (g.ravel() for g in np.meshgrid(np.arange(-radius, radius + 1), np.arange(-radius, radius + 1)))
    return np.stack([u, v], axis=1)[u * u + v * v + u * v < 2.7**2]


def _uniforms(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(4096).tolist()


def _exponentials(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.standard_exponential(1024).tolist()
