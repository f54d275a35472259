"""The crystals that stemkin knows by name: one table for what is simulated and for what is named.

A material is a honeycomb seen from above: columns of one kind (the metal) and of another (the
chalcogens) in turn. A name may say which dopant stands on the metal's places, as in ``MoS2:V``;
without one it is the first of the material's `dopants`.

>>> material_named("MoS2").kinds[2], material_named("MoS2:V").kinds[2]
('W_Mo', 'V_Mo')
>>> material_named("graphene").dopants
('Si',)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se "
    "Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy "
    "Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U"
)
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(_SYMBOLS.split(), start=1)}
"""Of the elements, by symbol."""

VACANCY, DOUBLE_VACANCY, DOPANT, COMPLEX, METAL_VACANCY, ADATOM = range(6)
"""Positions of the defects in `Material.kinds`."""


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
        Symbols of the atoms of either sublattice, and of what replaces a metal atom.
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
        """Names of the defects, in the order of `VACANCY`, `DOUBLE_VACANCY`, ...

        V stands for a vacancy; beside vanadium on the metal's places it would be read as that, so
        there a metal vacancy is ``vac_Mo``.
        """
        vacancy, dopant = f"V_{self.chalcogen}", f"{self.dopant}_{self.metal}"
        metal_vacancy = f"V_{self.metal}"
        if metal_vacancy == dopant:
            metal_vacancy = f"vac_{self.metal}"
        return (
            vacancy,
            f"{vacancy}2",
            dopant,
            f"{dopant}+{vacancy}",
            metal_vacancy,
            f"{self.metal}_ad",
        )

    @property
    def is_elemental(self) -> bool:
        """Whether both sublattices hold the same atoms, as in graphene."""
        return self.metal == self.chalcogen

    @property
    def dopants(self) -> tuple[str, ...]:
        """Symbols of the usual dopants of the metal's places; none where nothing is known."""
        return USUAL_DOPANTS.get(self.formula, ())

    @property
    def source(self) -> str:
        """Where lattice constant and dopants were published; empty where nothing is known."""
        return SOURCES.get(self.formula, "")

    def doped_with(self, dopant: str) -> Material:
        """Return the material with another dopant, and that element's atomic number.

        Raises
        ------
        ValueError
            If `dopant` is no symbol of an element.
        """
        return replace(self, dopant=dopant, Z_dopant=atomic_number(dopant))


USUAL_DOPANTS = {
    "WS2": ("Mo", "V", "Nb", "Re"),
    "MoS2": ("W", "V", "Nb", "Re"),
    "WSe2": ("Mo", "V", "Nb", "Re"),
    "MoSe2": ("W", "V", "Nb", "Re"),
    "graphene": ("Si",),
    "hBN": ("C", "O"),
}
"""Of the metal's places, the most usual first: metals of the neighbouring groups, and the other one
of group 6, which is in every mineral. In graphene silicon stands on either sublattice, in boron
nitride carbon and oxygen stand for nitrogen."""

_SCHUTTE = "Schutte, De Boer & Jellinek, J. Solid State Chem. 70, 207 (1987)"
_BRONSEMA = "Bronsema, De Boer & Jellinek, Z. Anorg. Allg. Chem. 540, 15 (1986)"
_DUMCENCO = "Dumcenco et al., Nat. Commun. 4, 1351 (2013)"

SOURCES = {
    "WS2": f"a: {_SCHUTTE}; Mo and W in one layer: {_DUMCENCO}",
    "MoS2": f"a: {_BRONSEMA}; Mo and W in one layer: {_DUMCENCO}",
    "WSe2": f"a: {_SCHUTTE}",
    "MoSe2": f"a: {_BRONSEMA}",
    "graphene": "a: Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009); Si: Zhou et al., Phys. Rev. "
    "Lett. 109, 206803 (2012)",
    "hBN": "a: Paszkowicz et al., Appl. Phys. A 75, 431 (2002); C and O: Krivanek et al., Nature 464, "
    "571 (2010)",
}
"""Of lattice constants, as a rule of the bulk crystal, and of dopants."""


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element.

    Raises
    ------
    ValueError
        If `symbol` is none of an element.

    Examples
    --------
    >>> atomic_number("W")
    74
    """
    if symbol not in ATOMIC_NUMBERS:
        msg = (
            f"{symbol!r} is no symbol of an element; write it as in the periodic table, such as Mo"
        )
        raise ValueError(msg)
    return ATOMIC_NUMBERS[symbol]


def _honeycomb(
    formula: str, a_nm: float, metal: str, chalcogen: str, *, atoms_per_chalcogen_column: int = 2
) -> Material:
    dopant = USUAL_DOPANTS[formula][0]
    return Material(
        formula,
        a_nm,
        metal,
        chalcogen,
        dopant,
        Z_metal=atomic_number(metal),
        Z_chalcogen=atomic_number(chalcogen),
        Z_dopant=atomic_number(dopant),
        atoms_per_chalcogen_column=atoms_per_chalcogen_column,
    )


MATERIALS = {
    "WS2": _honeycomb("WS2", 0.3153, "W", "S"),
    "MoS2": _honeycomb("MoS2", 0.3160, "Mo", "S"),
    "WSe2": _honeycomb("WSe2", 0.3282, "W", "Se"),
    "MoSe2": _honeycomb("MoSe2", 0.3288, "Mo", "Se"),
    "graphene": _honeycomb("graphene", 0.2460, "C", "C", atoms_per_chalcogen_column=1),
    # the brighter of the two stands where the metal does elsewhere
    "hBN": _honeycomb("hBN", 0.2504, "N", "B", atoms_per_chalcogen_column=1),
}
"""By name, each with its first usual dopant."""


def material_named(name: str) -> Material:
    """Return the material of a name such as ``"MoS2"`` or, with a dopant, ``"MoS2:V"``.

    Raises
    ------
    ValueError
        If the material is not known, or the dopant is no element.
    """
    crystal, _, dopant = name.partition(":")
    if crystal not in MATERIALS:
        msg = (
            f"the material {name!r} is not known; give one of {sorted(MATERIALS)}, with a dopant if "
            "need be ('MoS2:V'), or Material(...)"
        )
        raise ValueError(msg)
    material = MATERIALS[crystal]
    return material.doped_with(dopant) if dopant else material
