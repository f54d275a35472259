"""Calibration that a file states: what can be true is taken, what cannot is none, and why is said.

A pixel of an atomic movie measures between 0.1 pm and 10 nm. A file that says 4e16 nm means
something else (the pattern of a diffraction, the default of a program), and then nothing is known
until the user says it: what the user says is not doubted.
"""

from __future__ import annotations

import math
from typing import Any

from stemkin.readers.axis import Axis
from stemkin.readers.base import CALIBRATED, Calibration
from stemkin.readers.units import in_nanometres, in_seconds

PIXEL_SIZES_NM = (1e-4, 10.0)
"""Pixels that atoms can be seen with, and a wide margin."""
FRAME_TIMES_S = (1e-6, 1e5)
"""From the fastest cameras to a frame a day."""
SQUARE_WITHIN = 5e-3
"""Pixel edges that differ by less than this part are taken for equal."""


def calibrated(
    y_nm: float | None,
    x_nm: float | None,
    frame_time_s: float | None,
    where: str,
    *,
    time_from: str = "",
    dose_rate_e_per_nm2_s: float | None = None,
    exposure: Axis | None = None,
) -> dict[str, Any]:
    """Return a calibration as arguments of `FileReader`.

    Unequal edges give ``pixel_sizes_nm`` and no pixel size, for the user to decide. One edge alone
    gives none: nothing says that the other one is alike. What lies outside `PIXEL_SIZES_NM` or
    `FRAME_TIMES_S` gives none either, and becomes a doubt of the calibration.

    Parameters
    ----------
    y_nm, x_nm
        Edges of a pixel [nm].
    frame_time_s
        From frame to frame [s].
    where
        What in the file says so; becomes the origin of every value.
    time_from
        What says the frame time, where it is something else.
    dose_rate_e_per_nm2_s
        Electrons per nm2 and second.
    exposure
        How long each frame is exposed; None where the file does not say.
    """
    time_from = time_from or where
    found: dict[str, Any] = {}
    values: dict[str, float] = {}
    doubts: dict[str, str] = {}
    doubt = _doubt_of_edges(y_nm, x_nm, where)
    if doubt:
        doubts["pixel_size_nm"] = doubt
    elif y_nm is not None and x_nm is not None:
        if abs(y_nm - x_nm) <= SQUARE_WITHIN * max(y_nm, x_nm):
            values["pixel_size_nm"] = x_nm
        else:
            found["pixel_sizes_nm"] = (y_nm, x_nm)
    if frame_time_s is not None:
        if _within(frame_time_s, FRAME_TIMES_S):
            values["frame_time_s"] = frame_time_s
        else:
            doubts["frame_time_s"] = _beyond(time_from, frame_time_s, "s", FRAME_TIMES_S)
    if dose_rate_e_per_nm2_s is not None and 0 < dose_rate_e_per_nm2_s < math.inf:
        values["dose_rate_e_per_nm2_s"] = dose_rate_e_per_nm2_s
    origin = {**dict.fromkeys(values, where)}
    if "frame_time_s" in values:
        origin["frame_time_s"] = time_from
        part = _part_of(values["frame_time_s"], exposure)
        if exposure is not None and part is not None:
            values["exposure_fraction"], origin["exposure_fraction"] = part, exposure.origin
    return {**found, "calibration": Calibration.of(values, origin, doubts)}


def _part_of(frame_time_s: float, exposure: Axis | None) -> float | None:
    """Return the part of a frame's time during which it is exposed; None where it is not known.

    A frame cannot be exposed for longer than it takes: then it was summed, or the time is wrong.
    """
    if exposure is None:
        return None
    seconds = in_seconds(exposure.step, exposure.unit)
    if seconds is None or not 0 <= seconds <= frame_time_s * (1 + SQUARE_WITHIN):
        return None
    return min(seconds / frame_time_s, 1.0)


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _beyond(where: str, value: float, unit: str, limits: tuple[float, float]) -> str:
    low, high = limits
    return (
        f"{where} would make it {value:.3g} {unit}, which is outside of {low:g} to {high:g} {unit}"
    )


def _doubt_of_edges(y_nm: float | None, x_nm: float | None, where: str) -> str:
    """Return why the edges of a pixel give no pixel size; empty if they do, or there are none."""
    if y_nm is None and x_nm is None:
        return ""
    for edge in (y_nm, x_nm):
        if edge is not None and not _within(edge, PIXEL_SIZES_NM):
            return _beyond(where, edge, "nm", PIXEL_SIZES_NM)
    if y_nm is None:
        return f"{where} gives the width of a pixel, {x_nm:g} nm, but not its height"
    if x_nm is None:
        return f"{where} gives the height of a pixel, {y_nm:g} nm, but not its width"
    return ""


def calibration_along(
    by_letter: dict[str, Axis],
    *,
    dose_rate_e_per_nm2_s: float | None = None,
    exposure: Axis | None = None,
) -> dict[str, Any]:
    """Return the calibration in the steps of the axes of a movie, as `calibrated` does.

    Parameters
    ----------
    by_letter
        The axes that are t, y and x (`stemkin.readers.axes.AxisPlan.named`).
    dose_rate_e_per_nm2_s
        Electrons per nm2 and second, which no axis says.
    exposure
        As of `calibrated`.
    """
    nothing = Axis()
    y, x, t = (by_letter.get(letter, nothing) for letter in "yxt")
    about = calibrated(
        in_nanometres(_size(y.step), y.unit),
        in_nanometres(_size(x.step), x.unit),
        in_seconds(t.step, t.unit),
        _both(y.origin, x.origin),
        time_from=t.origin,
        dose_rate_e_per_nm2_s=dose_rate_e_per_nm2_s,
        exposure=exposure,
    )
    stated: Calibration = about["calibration"]
    doubts = {"pixel_size_nm": y.doubt or x.doubt, "frame_time_s": t.doubt}
    missing = {name: doubt for name, doubt in doubts.items() if doubt}
    return {**about, "calibration": stated.doubted(missing)}


def _size(step: Any) -> float | None:
    """Return a step without its sign: an axis may run downwards."""
    try:
        return abs(float(step))
    except (TypeError, ValueError):
        return None


def _both(first: str, second: str) -> str:
    return " and ".join(dict.fromkeys(filter(None, (first, second))))


def named_values(attributes: Any, where: str) -> dict[str, Any] | None:
    """Return the calibration in `attributes` under stemkin's own names; None without any.

    These names are the user's word: every positive number is believed, and an exposure of 0 to 1.

    Raises
    ------
    ValueError, TypeError
        If a value is no number.
    """
    stated = {
        name: float(attributes[name]) for name in CALIBRATED if attributes.get(name) is not None
    }
    values = {name: value for name, value in stated.items() if 0 < value < math.inf}
    values.pop("exposure_fraction", None)
    if 0 <= stated.get("exposure_fraction", math.nan) <= 1:
        values["exposure_fraction"] = stated["exposure_fraction"]
    if not values:
        return None
    return {"calibration": Calibration.of(values, dict.fromkeys(values, where))}


def completed(about: dict[str, Any], stated: dict[str, Any] | None) -> dict[str, Any]:
    """Return the arguments `about` of a reader, `stated` (of `named_values`) put before them."""
    if stated is None:
        return about
    calibration: Calibration = about.get("calibration", Calibration())
    found = {**about, "calibration": calibration.overridden_by(stated["calibration"])}
    if "pixel_size_nm" in stated["calibration"].known():
        found.pop("pixel_sizes_nm", None)
    return found
