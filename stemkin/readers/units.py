"""Unit conversion: lengths and times in the units that files use, to nm and s.

>>> in_nanometres(0.03, "nm"), in_nanometres(3e-11, "m"), in_nanometres(0.3, "\\u00c5")
(0.03, 0.03, 0.03)
>>> in_nanometres(1, "pixels") is None
True
>>> in_seconds(2250, "ms"), in_seconds(1, "frame")
(2.25, None)
"""

from __future__ import annotations

import math
from typing import Any

from stemkin.readers.base import CALIBRATED, Calibration

_NM = {
    "m": 1e9, "meter": 1e9, "metre": 1e9, "[m]": 1e9,
    "cm": 1e7, "centimeter": 1e7, "mm": 1e6, "millimeter": 1e6,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "[u_m]": 1e3, "micron": 1e3, "microns": 1e3,
    "micrometer": 1e3, "micrometre": 1e3, "[n_m]": 1.0, "n_m": 1.0,
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0, "nanometers": 1.0,
    "å": 0.1, "a": 0.1, "ang": 0.1, "angstrom": 0.1, "angstroms": 0.1, "ångström": 0.1, "Å": 0.1,
    "pm": 1e-3, "picometer": 1e-3, "picometre": 1e-3,
}  # fmt: skip
_S = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "[s]": 1.0,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "microsecond": 1e-6, "ns": 1e-9, "nanosecond": 1e-9,
    "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0,
}  # fmt: skip


def in_nanometres(value: Any, unit: Any) -> float | None:
    """Return a length in nm; None where the unit is no length or the value no positive number.

    Parameters
    ----------
    value
        Anything that may be a number, as a file's metadata have it.
    unit
        Its unit as text or bytes, in the spelling of any program that is known.
    """
    return _converted(value, unit, _NM)


def in_seconds(value: Any, unit: Any) -> float | None:
    """Return a time in s; None where the unit is no time or the value no positive number.

    Parameters
    ----------
    value, unit
        As in `in_nanometres`.
    """
    return _converted(value, unit, _S)


def _converted(value: Any, unit: Any, factors: dict[str, float]) -> float | None:
    if isinstance(unit, bytes):
        unit = unit.decode("utf-8", "replace")
    if value is None or not isinstance(unit, str):
        return None
    name = unit.strip().strip("\x00")
    factor = factors.get(name) or factors.get(name.lower())
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    return float(f"{number * factor:.12g}")  # 3e-11 m is 0.03 nm, not 0.030000000000000002


SQUARE_WITHIN = 5e-3
"""Pixel edges that differ by less than this part are taken for equal."""


def calibrated(
    y_nm: float | None,
    x_nm: float | None,
    frame_time_s: float | None,
    where: str,
    *,
    dose_rate_e_per_nm2_s: float | None = None,
) -> dict[str, Any]:
    """Return a calibration as arguments of `FileReader`.

    Unequal edges give ``pixel_sizes_nm`` and no pixel size, for the user to decide.

    Parameters
    ----------
    y_nm, x_nm
        Edges of a pixel [nm].
    frame_time_s
        From frame to frame [s].
    where
        What in the file says so; becomes the origin of every value.
    dose_rate_e_per_nm2_s
        Electrons per nm2 and second.
    """
    values: dict[str, float | None] = {
        "frame_time_s": frame_time_s,
        "dose_rate_e_per_nm2_s": dose_rate_e_per_nm2_s,
    }
    found: dict[str, Any] = {}
    if y_nm is None or x_nm is None:
        # a file that knows one edge alone means squares
        values["pixel_size_nm"] = x_nm or y_nm
    elif abs(y_nm - x_nm) <= SQUARE_WITHIN * max(y_nm, x_nm):
        values["pixel_size_nm"] = x_nm
    else:
        found["pixel_sizes_nm"] = (y_nm, x_nm)
    known = {
        name: float(value)
        for name, value in values.items()
        if value is not None and 0 < value < math.inf
    }
    return {**found, "calibration": Calibration(**known, origin=dict.fromkeys(known, where))}


def named_values(attributes: Any, where: str) -> dict[str, Any] | None:
    """Return the calibration in `attributes` under stemkin's own names; None without any."""
    values = {
        name: float(attributes[name]) for name in CALIBRATED if attributes.get(name) is not None
    }
    if not values:
        return None
    size = values.get("pixel_size_nm")
    dose = values.get("dose_rate_e_per_nm2_s")
    return calibrated(size, size, values.get("frame_time_s"), where, dose_rate_e_per_nm2_s=dose)
