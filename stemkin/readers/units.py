"""Units of files: what they measure, and lengths and times in nm and s.

Every program spells units its own way: ``nm``, ``[n_m]`` (EMD of the Berkeley group, also as
HyperSpy writes it), ``nanometer`` (OME-Zarr), ``1 / nm``, ``nm^-1``, ``seconds since 2026-01-01``
(xarray). They are brought into one spelling before they are looked up.

>>> in_nanometres(0.03, "nm"), in_nanometres(3e-5, "[µ_m]"), in_nanometres(0.3, "\\u00c5")
(0.03, 0.03, 0.03)
>>> in_nanometres(1, "pixels") is None
True
>>> in_seconds(2250, "[m_s]"), in_seconds(1, "frame")
(2.25, None)
>>> quantity_of("1/nm"), quantity_of("eV"), quantity_of("")
('reciprocal length', 'energy', '')
"""

from __future__ import annotations

import math
import re
from typing import Any

METRE = 1e9
LENGTHS = {
    "m": METRE, "meter": METRE, "metre": METRE,
    "cm": 1e7, "centimeter": 1e7, "centimetre": 1e7,
    "mm": 1e6, "millimeter": 1e6, "millimetre": 1e6,
    "um": 1e3, "micron": 1e3, "micrometer": 1e3, "micrometre": 1e3,
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0,
    "å": 0.1, "a": 0.1, "ang": 0.1, "angstrom": 0.1, "ångström": 0.1, "ångstrom": 0.1,
    "pm": 1e-3, "picometer": 1e-3, "picometre": 1e-3,
}  # fmt: skip
"""Nanometres per unit."""
TIMES = {
    "s": 1.0, "sec": 1.0, "second": 1.0,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "millisec": 1e-3,
    "us": 1e-6, "usec": 1e-6, "microsecond": 1e-6, "microsec": 1e-6,
    "ns": 1e-9, "nsec": 1e-9, "nanosecond": 1e-9,
    "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "day": 86400.0,
}  # fmt: skip
"""Seconds per unit."""
OTHERS = {
    "energy": ("ev", "kev", "mev", "electronvolt", "kiloelectronvolt", "j", "joule"),
    "angle": (
        "rad", "mrad", "urad", "radian", "milliradian", "microradian",
        "deg", "degree", "°", "arcsec", "arcmin",
    ),
    "temperature": ("k", "kelvin", "°c", "degc", "celsius", "°f"),
    "voltage": ("v", "mv", "kv", "volt", "millivolt", "kilovolt"),
    "pressure": ("pa", "hpa", "kpa", "mbar", "bar", "torr"),
    "dose": ("e/nm2", "e/a2", "e/å2", "e-/nm2", "e-/a2", "e-/å2", "e/nm^2", "e/a^2", "e-/a^2"),
    "frequency": ("hz", "khz", "mhz", "fps", "hertz"),
}  # fmt: skip
"""Units of what neither a place nor a time is measured in."""

RECIPROCAL = re.compile(
    r"^(?:1/|/|inverse|reciprocal|per)(?P<below>.+)$"
    r"|^(?P<base>.+?)(?:\^|\*\*)?[({]?[-⁻\u2212](?:1|¹)[)}]?$"
)
"""``1/nm``, ``nm^-1``, ``nm**-1``, ``nm-1``, ``nm⁻¹``, ``inverse nm``."""


def text_of(value: Any) -> str:
    """Return an attribute as text, empty where it is none.

    An array of one text, as some writers of HDF5 make it, is that text.
    """
    if getattr(value, "shape", None) == (1,):
        value = value[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return str(value)
    return ""


def unit_name(unit: Any) -> str:
    """Return a unit in one spelling: no brackets, blanks or plurals, ``u`` for micro.

    >>> unit_name("[µ_m]"), unit_name(b"Seconds"), unit_name("milliseconds since 2026-01-01")
    ('um', 'second', 'millisecond')
    """
    text = text_of(unit).strip().strip("\x00").partition(" since ")[0]
    # UTF-8 that was read as Latin-1 shows an A with a circumflex before the sign
    text = text.replace("Âµ", "µ").replace("Â°", "°").replace("Ã\x85", "Å")
    if "[" in text:  # [n_m], [1_/_n_m], [n_m]^-1
        text = text.replace("[", "").replace("]", "").replace("_", "")
    text = re.sub(r"\s+", "", text).lower()
    text = text.replace("\u00b5", "u").replace("\u03bc", "u").replace("\u212b", "å")
    if len(text) > 3 and text.endswith("s") and text.rstrip("s") in (LENGTHS | TIMES):
        text = text.rstrip("s")
    elif len(text) > 3 and text.endswith("s") and text[:-1] in _QUANTITY:
        text = text[:-1]
    return text


_QUANTITY = {
    **dict.fromkeys(LENGTHS, "length"),
    **dict.fromkeys(TIMES, "time"),
    **{name: quantity for quantity, names in OTHERS.items() for name in names},
}


def quantity_of(unit: Any) -> str:
    """Return what a unit measures: ``"length"``, ``"time"``, ``"reciprocal length"``, ...

    Empty where the text is no unit that is known (pixels, frames, nothing at all).
    """
    name = unit_name(unit)
    if name in _QUANTITY:
        return _QUANTITY[name]
    found = RECIPROCAL.match(name)
    if found is None:
        return ""
    below = _QUANTITY.get(unit_name(found["below"] or found["base"]), "")
    return {"length": "reciprocal length", "time": "frequency"}.get(below, "")


def in_nanometres(value: Any, unit: Any) -> float | None:
    """Return a length in nm; None where the unit is no length or the value no positive number.

    Parameters
    ----------
    value
        Anything that may be a number, as a file's metadata have it.
    unit
        Its unit as text or bytes, in the spelling of any program that is known.
    """
    return _converted(value, unit, LENGTHS)


def in_seconds(value: Any, unit: Any) -> float | None:
    """Return a time in s; None where the unit is no time or the value no positive number.

    Parameters
    ----------
    value, unit
        As in `in_nanometres`.
    """
    return _converted(value, unit, TIMES)


def _converted(value: Any, unit: Any, factors: dict[str, float]) -> float | None:
    factor = factors.get(unit_name(unit))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    return float(f"{number * factor:.12g}")  # 3e-11 m is 0.03 nm, not 0.030000000000000002
