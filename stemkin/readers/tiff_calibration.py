"""Calibration in TIFF files: ImageJ, OME, DigitalMicrograph, FEI and stemkin's own names."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from stemkin.readers.units import calibrated, in_nanometres, in_seconds, named_values

GATAN_UNIT_Y, GATAN_UNIT_X, GATAN_SCALE_Y, GATAN_SCALE_X = 65004, 65003, 65010, 65009
"""Private tags that DigitalMicrograph writes when it exports an image."""


def calibration_in(tiff: Any, image: int, page: Any) -> dict[str, Any]:
    """Return the arguments of `FileReader` for what an open TiffFile says of its calibration.

    Metadata that are broken say nothing.

    Parameters
    ----------
    tiff
        Of tifffile.
    image, page
        Number of the series of images that is meant, and its first page.
    """
    for look in (_own, _ome, _imagej, _gatan, _fei):
        with suppress(
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            ZeroDivisionError,
            OverflowError,
            SyntaxError,
        ):
            found = look(tiff, image, page)
            if found is not None and (found["calibration"].known() or "pixel_sizes_nm" in found):
                return found
    return {}


def _own(_tiff: Any, _image: int, page: Any) -> dict[str, Any] | None:
    if not page.is_shaped:
        return None
    return named_values(json.loads(page.description), "its JSON description")


def _imagej(tiff: Any, _image: int, page: Any) -> dict[str, Any] | None:
    described = tiff.imagej_metadata
    if not described:
        return None
    unit = None
    if described.get("unit"):
        unit = str(described["unit"]).encode().decode("unicode_escape")  # it writes \u00B5m for µm
    tags = page.tags
    edges = [
        in_nanometres(_per_unit(tags.get(name)), unit) for name in ("YResolution", "XResolution")
    ]
    interval = described.get("finterval")
    return calibrated(
        edges[0], edges[1], in_seconds(interval, described.get("tunit", "s")), "ImageJ metadata"
    )


def _per_unit(tag: Any) -> float | None:
    """Return the length of a pixel; the tag's fraction is (pixels, units), pixels per unit."""
    if tag is None:
        return None
    pixels, units = tag.value
    return float(units) / float(pixels)


def _ome(tiff: Any, image: int, _page: Any) -> dict[str, Any] | None:
    if not tiff.is_ome:
        return None
    import tifffile

    images = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
    if isinstance(images, dict):
        images = [images]
    pixels = images[image]["Pixels"]
    edges = [
        in_nanometres(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm"))
        for a in "YX"
    ]
    interval = in_seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return calibrated(edges[0], edges[1], interval, "OME metadata")


def _gatan(_tiff: Any, _image: int, page: Any) -> dict[str, Any] | None:
    tags = page.tags
    if GATAN_SCALE_X not in tags:
        return None
    y, x = (
        in_nanometres(tags[scale].value, tags[unit].value)
        for scale, unit in ((GATAN_SCALE_Y, GATAN_UNIT_Y), (GATAN_SCALE_X, GATAN_UNIT_X))
    )
    return calibrated(y, x, None, "DigitalMicrograph's tags")


def _fei(tiff: Any, _image: int, _page: Any) -> dict[str, Any] | None:
    scan = (tiff.fei_metadata or {}).get("Scan")
    if not scan:
        return None
    y, x = (in_nanometres(scan.get(name), "m") for name in ("PixelHeight", "PixelWidth"))
    return calibrated(y, x, in_seconds(scan.get("FrameTime"), "s"), "FEI metadata")
