"""Kinetic Monte Carlo of the defects of one area, event by event at exact times.

Every elementary step waits an exponential time, so the area is a continuous-time Markov chain,
simulated without a time step (Gillespie, J. Comput. Phys. 22, 403 (1976); Bortz, Kalos & Lebowitz,
J. Comput. Phys. 17, 10 (1975)): the next event comes after an exponential time with the total rate,
which event it is follows the shares of the rates. What is kept is the list of *sojourns*: from when
to when a defect was what it was, where it was. The state at any frame is read from it, and so are
dwell times and events.

Steps (rates per second, `DefectKinetics` names them)
    hop       a vacancy moves to one of the six neighbouring chalcogen columns (each hop_rate / 6)
    attach    ... and finds itself beside a dopant: the two become one complex (same rate)
    pair      ... and finds a vacancy there: a double vacancy
    rotate    a bound vacancy moves to one of its dopant's two other columns (each rotation / 2)
    detach    a bound vacancy moves to one of its four other neighbours (each detach / 4)
    split     one vacancy of a double vacancy moves out (each direction split_rate / 6)
    create    the beam removes an atom of a chalcogen column; beside a dopant at
              cross_section_at_dopant times the rate
    heal      a vacancy is refilled
    lose_metal  the beam removes a metal atom
    arrive, desorb, hop_adatom  adatoms on top of metal columns

A move onto a column that cannot take it (a double vacancy, a dopant that already holds a vacancy)
does not happen. A dopant keeps its identity whatever it holds; a vacancy that is taken up ends, one
that is let go is new.
"""

from __future__ import annotations

import numpy as np

from stemkin.materials import (
    ADATOM,
    COMPLEX,
    DOUBLE_VACANCY,
    VACANCY,
)
from stemkin.simulation.area import exponentials
from stemkin.simulation.crystal import Patch
from stemkin.simulation.rates import SOJOURN
from stemkin.simulation.settings import Settings
from stemkin.simulation.steps import Steps


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


class Area(Steps):
    """What happens in one area: the loop that draws when the next event comes, and which it is."""

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
            # Running sums of the total rate by group: one number drawn below the last of them
            # falls into each group as often as its share says.
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
