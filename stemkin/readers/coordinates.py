"""Coordinates along an axis, as HDF5, Zarr and OME keep them: the step they stand for, or none."""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin.readers.axis import Axis
from stemkin.readers.units import quantity_of, text_of

MAX_COORDINATES = 10**7
EVEN_WITHIN = {"length": 1e-2, "time": 0.1}
"""Steps that differ by less than this part are taken for equal; clocks tremble more than grids."""


def attribute_of(item: Any, name: str) -> Any:
    """Return an attribute of a group or dataset; None where there is no such item."""
    if item is None:
        return None
    return item.attrs.get(name)


def axis_of(vector: Any, name: Any, n: int, origin: str) -> Axis:
    """Return the axis with coordinates `vector`; unequal steps give none, and a doubt.

    Parameters
    ----------
    vector
        Dataset of coordinates, or None. EMD files may hold the first two alone, NeXus files the
        edges of every pixel.
    name
        Of the axis.
    n
        Its length.
    origin
        What the convention calls it, for the user.
    """
    units = text_of(attribute_of(vector, "units"))
    name, origin = text_of(name), f"{origin} {text_of(name)!r}"
    sizes = {2, n, n + 1}
    is_number = getattr(getattr(vector, "dtype", None), "kind", "") in "iuf"
    if not is_number or getattr(vector, "ndim", 0) != 1 or vector.size not in sizes:
        return Axis(name, units, None, origin)
    if not 2 <= vector.size <= MAX_COORDINATES:
        return Axis(name, units, None, origin)
    return axis_with(np.asarray(vector[:]), name, units, origin)


def axis_with(coordinates: np.ndarray, name: str, units: str, origin: str) -> Axis:
    """Return the axis with `coordinates` (n,), which stand for a step if their steps are alike."""
    values = coordinates.astype(np.float64)
    steps = np.diff(values)
    mean = float(steps.mean())
    # 7 digits are what a float32 has of a coordinate: small steps far from 0 tremble by them
    trembling = 4e-7 * float(np.abs(values).max())
    even = EVEN_WITHIN.get(quantity_of(units), 1e-2) * abs(mean) + trembling
    if not np.isfinite(mean) or np.abs(steps - mean).max() > even:
        doubt = (
            f"the coordinates of {origin} are not evenly spaced ({steps.min():.3g} to "
            f"{steps.max():.3g} {units})"
        )
        return Axis(name, units, None, origin, doubt)
    return Axis(name, units, mean, origin)
