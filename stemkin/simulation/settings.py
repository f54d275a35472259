"""Everything that decides a simulated movie: frozen, picklable, equal settings give equal bits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_type_hints

import numpy as np

from stemkin.materials import Material, atomic_number, material_named
from stemkin.simulation.nuisances import Nuisances
from stemkin.simulation.sections import Damage, DefectKinetics, Instrument, Optics

SECTIONS = ("material", "kinetics", "damage", "optics", "instrument", "nuisances")
"""The attributes of `Settings` that hold settings of their own."""

ELEMENTS = ("metal", "chalcogen", "dopant")
"""Settings of a material that are symbols; ``Z_metal`` and so on are their atomic numbers."""

BARN_NM2 = 1e-10
"""One barn (1e-28 m2) in nm2."""
BOLTZMANN_EV_PER_K = 8.617333262e-5
ROOM_K = 300.0
"""The temperature at which the rates of `DefectKinetics` hold."""


@dataclass(frozen=True)
class Settings:
    """All settings of one movie; see the attributes' classes."""

    n_frames: int = 100
    shape: tuple[int, int] = (512, 512)
    seed: int = 0
    material: Material = field(default_factory=Material)
    kinetics: DefectKinetics = field(default_factory=DefectKinetics)
    damage: Damage = field(default_factory=Damage)
    optics: Optics = field(default_factory=Optics)
    instrument: Instrument = field(default_factory=Instrument)
    nuisances: Nuisances = field(default_factory=Nuisances)

    @property
    def dose_e_per_nm2(self) -> float:
        """Electrons per nm2 in one frame."""
        return self.instrument.dose_rate_e_per_nm2_s * self.instrument.frame_time_s

    def counts_px2(self, Z: float) -> float:
        """Return the volume of the image of one atom [counts px2], for a flat dose."""
        contrast = (Z / 74) ** self.optics.contrast_exponent
        return float(self.dose_e_per_nm2 * self.optics.cross_section_nm2 * contrast)

    def with_values(self, **values: Any) -> Settings:
        """Return these settings with some replaced, by the bare name of any setting.

        `material` may be a name, with a dopant if need be (``"MoS2:V"``).

        Raises
        ------
        ValueError
            If a name is unknown.

        Examples
        --------
        >>> Settings().with_values(hop_rate_per_s=0.0, gain=1.0).kinetics.hop_rate_per_s
        0.0
        """
        new = self
        # an element brings its atomic number, unless that is given as well: it comes last
        for name in sorted(values, key=lambda name: name.startswith("Z_")):
            new = _with_value(new, name, values[name])
        return new

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values, as written to ``params.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Rebuild settings from `as_dict` (also after a trip through JSON)."""
        hints = get_type_hints(cls)
        known: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, dict):
                section = {key: _as_tuple(inner) for key, inner in value.items()}
                known[name] = hints[name](**section)
            else:
                known[name] = _as_tuple(value)
        return cls(**known)


def chance(settings: Settings, stream: int, frame: int) -> np.random.Generator:
    """Return the source of chance of one purpose (`stream`) in one frame, whoever renders it."""
    return np.random.Generator(
        np.random.SFC64(np.random.SeedSequence(settings.seed, spawn_key=(stream, frame)))
    )


def _as_tuple(value: Any) -> Any:
    """Return lists, which JSON makes of tuples, as tuples, and anything else as it is."""
    if isinstance(value, list):
        return tuple(_as_tuple(inner) for inner in value)
    return value


def _with_value(settings: Settings, name: str, value: Any) -> Settings:
    """Return `settings` with the setting called `name` replaced, in whichever section it is."""
    if name == "material" and isinstance(value, str):
        value = material_named(value)
    if name in ELEMENTS:
        settings = _with_value(settings, f"Z_{name}", atomic_number(value))
    value = _as_tuple(value)
    if name in {f.name for f in fields(settings)}:
        return replace(settings, **{name: value})
    for section in SECTIONS:
        part = getattr(settings, section)
        if name in {f.name for f in fields(part)}:
            return replace(settings, **{section: replace(part, **{name: value})})
    known = sorted(f.name for section in SECTIONS for f in fields(getattr(settings, section)))
    msg = f"a simulation has no setting {name!r}; the settings are {known}"
    raise ValueError(msg)
