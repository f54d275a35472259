"""Metadata of Zarr arrays: what OME-Zarr, xarray, HyperSpy and Zarr itself say of their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from stemkin.readers.axis import Axis
from stemkin.readers.calibration import named_values
from stemkin.readers.coordinates import MAX_COORDINATES, axis_with
from stemkin.readers.hyperspy import axes_of_signal, kind_of_signal
from stemkin.readers.units import text_of

BEFORE_AXES = ("0.1", "0.2")
"""Versions of OME-Zarr whose images have five axes without names, always the same."""


def multiscales_of(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the image that OME-Zarr describes in the attributes of a group; None if it does not.

    Of several descriptions of the same image the first counts.
    """
    inside = attributes.get("ome") or attributes
    if not isinstance(inside, dict):
        return None
    scales = inside.get("multiscales")
    if not isinstance(scales, list) or not scales or not isinstance(scales[0], dict):
        return None
    if not scales[0].get("datasets"):
        return None
    return {"version": inside.get("version", ""), **scales[0]}


def ome_axes(image: dict[str, Any], level: int, n: int) -> list[Axis] | None:
    """Return the axes of a level of an image; None where its description says nothing.

    Axes are objects or, before OME-Zarr 0.4, names. Scales of the level and of the whole image
    multiply, each of all axes in their order.

    Parameters
    ----------
    image
        As `multiscales_of` returns it.
    level
        Number of the level, 0 being the one of full resolution.
    n
        Axes of the array.
    """
    described = image.get("axes") or _axes_of_systems(image)
    if not described and str(image.get("version")) in BEFORE_AXES and n == 5:
        described = list("tczyx")
    if not described or len(described) != n:
        return None
    scale = np.ones(n)
    stated = False
    for transformations in (
        image["datasets"][level].get("coordinateTransformations"),
        image.get("coordinateTransformations"),
    ):
        for step in transformations or ():
            if step.get("type") == "scale" and len(step.get("scale", ())) == n:
                scale, stated = scale * np.asarray(step["scale"], float), True
    axes = []
    for one, value in zip(described, scale, strict=True):
        said, step = one, None
        if not isinstance(one, dict):
            said = {"name": one}
        if stated:
            step = float(value)
        name, unit = text_of(said.get("name")), text_of(said.get("unit"))
        axes.append(Axis(_named(name, said), unit, step, f"OME-Zarr axis {name!r}"))
    return axes


def _axes_of_systems(image: dict[str, Any]) -> list[Any]:
    """Return the axes of the first coordinate system, where OME-Zarr 0.6 has them."""
    systems = image.get("coordinateSystems")
    if isinstance(systems, list) and systems and isinstance(systems[0], dict):
        return list(systems[0].get("axes") or ())
    return []


def _named(name: str, said: dict[str, Any]) -> str:
    """Return the name of an axis, or what its type says where the name says nothing."""
    if Axis(name).called:
        return name
    return {"time": "t", "channel": "c"}.get(text_of(said.get("type")), name)


def dimension_axes(array: Any, group: Any) -> list[Axis] | None:
    """Return the axes of an array by the names of its dimensions; None if they say nothing.

    xarray keeps the coordinates of a dimension in an array of its name beside.
    """
    v3_names = getattr(array.metadata, "dimension_names", None)
    names = [text_of(name) for name in v3_names or array.attrs.get("_ARRAY_DIMENSIONS") or ()]
    if len(names) != array.ndim:
        return None
    axes = []
    for name, n in zip(names, array.shape, strict=True):
        axes.append(_axis_beside(group, name, n))
    if not any(axis.called or axis.measured for axis in axes):
        return None
    return axes


def _axis_beside(group: Any, name: str, n: int) -> Axis:
    from stemkin.readers.zarr_bounds import bounded

    origin = f"coordinates of {name!r}"
    coordinates = None
    if group is not None and name:
        with suppress(KeyError, ValueError):
            coordinates = group.get(name)
    if coordinates is None or getattr(coordinates, "shape", None) != (n,):
        return Axis(name, origin=origin)
    if not 2 <= n <= MAX_COORDINATES:
        return Axis(name, origin=origin)
    units = text_of(coordinates.attrs.get("units"))
    if math.prod(coordinates.chunks) > MAX_COORDINATES:
        return Axis(name, origin=origin)
    coordinates = bounded(coordinates, group.store_path)
    if np.dtype(coordinates.dtype).kind in "Mm":  # numpy's own times count in a unit of their own
        units, _ = np.datetime_data(coordinates.dtype)
        return axis_with(np.asarray(coordinates[:]).astype(np.int64), name, units, origin)
    if np.dtype(coordinates.dtype).kind not in "iuf":
        return Axis(name, units, None, origin)
    return axis_with(np.asarray(coordinates[:]), name, units, origin)


def signal_axes(group: Any, n: int) -> tuple[list[Axis], str]:
    """Return the axes of a signal in a ``.zspy`` store, and what it is if it is no movie."""
    described: Sequence[dict[str, Any]] = [dict(group[f"axis-{i}"].attrs) for i in range(n)]
    signal_type = None
    with suppress(KeyError):
        signal_type = group["metadata/Signal"].attrs.get("signal_type")
    return axes_of_signal(described, "HyperSpy axis"), kind_of_signal(described, signal_type)


def stated_in(*attributes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the calibration under stemkin's own names in the first of `attributes` that has any.

    Names with values that are no numbers say nothing.
    """
    for one in attributes:
        with suppress(ValueError, TypeError):
            stated = named_values(one, "attributes")
            if stated is not None:
                return stated
    return None
