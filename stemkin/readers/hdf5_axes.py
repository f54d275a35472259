"""Axes of HDF5 datasets: what their names and coordinates say of order and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.units import calibrated, in_nanometres, in_seconds

_LETTERS = {
    "time": "t", "t": "t", "frame": "t", "frames": "t",
    "y": "y", "height": "y", "x": "x", "width": "x",
}  # fmt: skip
"""Names of axes that are understood."""


@dataclass(frozen=True)
class Hdf5Axis:
    """An axis as a file describes it: its name, the step from index to index, and its unit."""

    name: str = ""
    scale: Any = None
    units: str = ""

    @property
    def letter(self) -> str:
        """``"t"``, ``"y"``, ``"x"``, or empty for another name."""
        return _LETTERS.get(self.name.lower().strip(), "")


def attribute_of(item: Any, name: str) -> Any:
    """Return an attribute of a group or dataset; None where there is no such item."""
    if item is None:
        return None
    return item.attrs.get(name)


def axis_of(vector: Any, name: Any) -> Hdf5Axis:
    """Return the axis with coordinates `vector` (dataset or None); unequal steps give no scale."""
    units = text_of(attribute_of(vector, "units"))
    if vector is None or getattr(vector, "ndim", 0) != 1 or not 2 <= vector.size <= 10**7:
        return Hdf5Axis(text_of(name), None, units)
    # coordinates (n,) stand for a scale only if their steps are alike
    steps = np.diff(np.asarray(vector[:], float))
    if not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
        return Hdf5Axis(text_of(name), None, units)
    return Hdf5Axis(text_of(name), float(steps.mean()), units)


def letters_of(axes: list[Hdf5Axis]) -> str | None:
    """Return the letters of the axes, None where their names do not say them all."""
    letters = "".join(axis.letter for axis in axes)
    all_differ = len(letters) == len(set(letters)) == len(axes)
    if not all_differ or not {"y", "x"} <= set(letters):
        return None
    return letters


def calibration_along(axes: list[Hdf5Axis], where: str) -> dict[str, Any]:
    """Return the calibration in the steps of `axes` as arguments of `FileReader`."""
    # more axes than letters: which of them is which is not known, so nothing is
    letters = letters_of(axes) or "tyx"[-len(axes) :]
    by_letter = {}
    if len(letters) == len(axes):
        by_letter = dict(zip(letters, axes, strict=True))
    nothing = Hdf5Axis()
    y, x, t = (by_letter.get(letter, nothing) for letter in "yxt")
    return calibrated(
        in_nanometres(y.scale, y.units),
        in_nanometres(x.scale, x.units),
        in_seconds(t.scale, t.units),
        where,
    )


def text_of(value: Any) -> str:
    """Return an attribute as text, empty where it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    return ""
