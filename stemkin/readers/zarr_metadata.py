"""Metadata of Zarr and OME-Zarr: the letters of an array's axes, and its calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from stemkin.readers.units import calibrated, in_nanometres, in_seconds, named_values


def dimension_letters(array: Any) -> str | None:
    """Return the letters of Zarr v3 dimension names, if they are such letters."""
    v3_names = getattr(array.metadata, "dimension_names", None)
    names = v3_names or dict(array.attrs).get("_ARRAY_DIMENSIONS") or ()
    letters = [str(name).lower() for name in names]
    letters = [{"time": "t"}.get(letter, letter) for letter in letters]
    if any(len(letter) != 1 for letter in letters) or not {"y", "x"} <= set(letters):
        return None
    if len(set(letters)) != array.ndim:
        return None
    return "".join(letters)


def ome_axes(image: dict[str, Any]) -> str | None:
    """Return the letters of an image's axes, which are objects or, before OME-Zarr 0.4, names."""
    names = []
    for axis in image.get("axes") or ():
        if isinstance(axis, dict):
            names.append(axis["name"])
        else:
            names.append(str(axis))
    return "".join(name[0].lower() for name in names) or None


def ome_calibration(image: dict[str, Any]) -> dict[str, Any]:
    """Return the calibration in the coordinate transformations: the scales of level and image."""
    axes = [axis for axis in image.get("axes") or () if isinstance(axis, dict)]
    # each step scales all axes, in their order; the level's own steps and those of the whole image
    # multiply
    scale = np.ones(len(axes))
    for transformations in (
        image["datasets"][0].get("coordinateTransformations"),
        image.get("coordinateTransformations"),
    ):
        for step in transformations or ():
            if step.get("type") == "scale" and len(step.get("scale", ())) == len(axes):
                scale = scale * np.asarray(step["scale"], float)
    by_name = {
        axis["name"].lower()[:1]: (value, axis.get("unit"))
        for axis, value in zip(axes, scale, strict=True)
    }
    y, x = (in_nanometres(*by_name.get(name, (None, None))) for name in "yx")
    time_s = in_seconds(*by_name.get("t", (None, None)))
    stated = named_values(image.get("metadata") or {}, "OME-Zarr metadata")
    dose = None
    if stated is not None:
        dose = stated["calibration"].dose_rate_e_per_nm2_s
    return calibrated(y, x, time_s, "OME-Zarr axes", dose_rate_e_per_nm2_s=dose)
