"""Rates of the elementary steps, and the records of sojourns that a simulation leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemkin.simulation.settings import BARN_NM2, BOLTZMANN_EV_PER_K, ROOM_K, Settings

CAUSES = (
    "begin",
    "end",
    "hop",
    "attach",
    "pair",
    "rotate",
    "detach",
    "split",
    "create",
    "heal",
    "lose_metal",
    "arrive",
    "desorb",
)
"""Why a sojourn began or ended; ``begin`` and ``end`` are the area's."""

SOJOURN = np.dtype(
    [
        ("particle", "i8"), ("kind", "i1"), ("orientation", "i1"), ("u", "i4"), ("v", "i4"),
        ("start_s", "f8"), ("end_s", "f8"), ("cause", "i1"), ("fate", "i1"),
    ]
)  # fmt: skip
"""One state of one defect: `kind` as in `Material.kinds`, cell (u, v) not wrapped, times from the
area's start."""


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
        """Return the rates that `settings` give.

        A cross-section [barn] times the dose rate is a rate per atom; moves are thermally activated
        (Arrhenius), with the rates of the settings at 300 K.
        """
        k = settings.kinetics
        warm = math.exp(-k.hop_energy_eV / BOLTZMANN_EV_PER_K * (1 / k.temperature_K - 1 / ROOM_K))
        flux = settings.instrument.dose_rate_e_per_nm2_s * BARN_NM2
        create = k.cross_section_barn * flux
        return cls(
            hop=k.hop_rate_per_s * warm,
            rotate=k.rotation_rate_per_s * warm,
            detach=k.detach_rate_per_s * warm,
            split=k.split_rate_per_s * warm,
            create_per_atom=create,
            create_at_dopant_per_atom=create * k.cross_section_at_dopant,
            lose_metal=k.metal_cross_section_barn * flux,
            heal=k.healing_rate_per_s,
            heal_complex=k.complex_healing_rate_per_s,
            arrive=k.adatom_fraction * k.adatom_desorption_rate_per_s,
            hop_adatom=k.adatom_hop_rate_per_s * warm,
            desorb=k.adatom_desorption_rate_per_s,
        )
