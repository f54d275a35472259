"""The crystals that can be simulated, and what their defects are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Material:
    """A honeycomb crystal seen from above.

    Attributes
    ----------
    formula
        For labels.
    a_nm
        Lattice constant [nm].
    metal, chalcogen, dopant
        Symbols of the brighter sublattice, the dimmer one, and of what replaces a metal atom.
    Z_metal, Z_chalcogen, Z_dopant
        Their atomic numbers.
    atoms_per_chalcogen_column
        2 in a transition-metal dichalcogenide, 1 in graphene.
    """

    formula: str = "WS2"
    a_nm: float = 0.3153
    metal: str = "W"
    chalcogen: str = "S"
    dopant: str = "Mo"
    Z_metal: int = 74
    Z_chalcogen: int = 16
    Z_dopant: int = 42
    atoms_per_chalcogen_column: int = 2

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the defects: vacancy, double vacancy, dopant, dopant with vacancy, metal
        vacancy, adatom."""
        vacancy, dopant = f"V_{self.chalcogen}", f"{self.dopant}_{self.metal}"
        return (
            vacancy,
            f"{vacancy}2",
            dopant,
            f"{dopant}+{vacancy}",
            f"V_{self.metal}",
            f"{self.metal}_ad",
        )


VACANCY, DOUBLE_VACANCY, DOPANT, COMPLEX, METAL_VACANCY, ADATOM = range(6)
"""Positions of the kinds in `Material.kinds`."""

MATERIALS = {
    "WS2": Material(),
    "MoS2": Material("MoS2", 0.3160, "Mo", "S", "W", 42, 16, 74, 2),
    "WSe2": Material("WSe2", 0.3282, "W", "Se", "Mo", 74, 34, 42, 2),
    "graphene": Material("graphene", 0.2460, "C", "C", "Si", 6, 6, 14, 1),
}
