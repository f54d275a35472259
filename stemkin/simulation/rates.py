"""The rates of the elementary steps, and the records that a simulation leaves: sojourns and why
they end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemkin.simulation.settings import BARN_NM2, BOLTZMANN_EV_PER_K, ROOM_K, Settings

CAUSES = (
    "begin", "end", "hop", "attach", "pair", "rotate", "detach", "split", "create", "heal", "lose_metal", "arrive", "desorb",
)  # fmt: skip
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
        """Return the rates of `settings`: a cross-section [barn] times the dose rate is a rate per
        atom."""
        k = settings.kinetics
        warm = math.exp(-k.hop_energy_eV / BOLTZMANN_EV_PER_K * (1 / k.temperature_K - 1 / ROOM_K))
        flux = settings.instrument.dose_rate_e_per_nm2_s * BARN_NM2
        create = k.cross_section_barn * flux
        return cls(
            k.hop_rate_per_s * warm, k.rotation_rate_per_s * warm, k.detach_rate_per_s * warm, k.split_rate_per_s * warm,
            create, create * k.cross_section_at_dopant, k.metal_cross_section_barn * flux,
            k.healing_rate_per_s, k.complex_healing_rate_per_s,
            k.adatom_fraction * k.adatom_desorption_rate_per_s, k.adatom_hop_rate_per_s * warm, k.adatom_desorption_rate_per_s,
        )  # fmt: skip
