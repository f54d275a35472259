"""What TIFF files say of their axes: ImageJ, OME, DigitalMicrograph, FEI, TVIPS, Olympus and stemkin.

Each program is a function that says what it knows by letter: ``"x"``, ``"y"``, ``"z"``, ``"t"``,
and ``"i"`` for the pages of a file that do not say what they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan
from stemkin.readers.axis import Axis
from stemkin.readers.calibration import calibration_along, completed, named_values
from stemkin.readers.coordinates import axis_with
from stemkin.readers.units import in_seconds

GATAN_UNITS = {"x": 65003, "y": 65004, "i": 65005}
GATAN_SCALES = {"x": 65009, "y": 65010, "i": 65011}
"""Private tags that DigitalMicrograph writes when it exports an image or a stack."""

TIFFFILE_NAMES = {"a": "angle", "e": "wavelength", "h": "lifetime", "p": "phase", "r": "tile"}
"""Letters of tifffile for axes that are not met in movies."""

AGREE_WITHIN = 0.1
"""OME's two statements of the frame time may differ by so much."""

BROKEN = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ZeroDivisionError,
    OverflowError,
    SyntaxError,
)
"""What metadata that are broken end in: they say nothing."""


@dataclass(frozen=True)
class TiffProgram:
    """What the program that wrote a TIFF file says of one of its stacks.

    Attributes
    ----------
    tiff
        An open TiffFile.
    image, page
        Number of the series of images that is meant, and its first page.
    """

    tiff: Any
    image: int
    page: Any

    def axes(self, letters: str) -> list[Axis]:
        """Return what is known of the axes that tifffile calls by `letters` (``"IYX"``)."""
        said = self._said()
        axes = []
        for letter in letters.lower():
            if letter in ("i", "q"):  # pages that are counted, or of a shape that was written down
                axes.append(said.get("i", Axis(letter)))
            else:
                name = TIFFFILE_NAMES.get(letter, letter)
                axes.append(replace(said.get(letter, Axis()), name=name))
        return axes

    def calibration(self, plan: AxisPlan, axes: list[Axis]) -> dict[str, Any]:
        """Return the calibration as arguments of `FileReader`; `axes` are those of the `plan`."""
        by_letter = plan.named(axes)
        # a single image has no axis of time, but may say how long it took
        if plan.shape[0] == 1 and "t" not in by_letter:
            said = self._said()
            by_letter["t"] = said.get("t", said.get("i", Axis()))
        about = calibration_along(by_letter, exposure=self._exposure())
        stated = None
        with suppress(*BROKEN):
            if self.page.is_shaped:
                stated = named_values(json.loads(self.page.description), "its JSON description")
        return completed(about, stated)

    def _exposure(self) -> Axis | None:
        """Return how long each frame is exposed; None where OME metadata do not say one time."""
        with suppress(*BROKEN):
            if self.tiff.is_ome:
                return _ome_exposure(_ome_pixels(self))
        return None

    def _said(self) -> dict[str, Axis]:
        """Return what the first program that says anything says, by letter."""
        for look in LOOKS:
            with suppress(*BROKEN):
                found = look(self)
                if any(axis.unit or axis.step is not None for axis in found.values()):
                    return found
        return {}


def _imagej(program: TiffProgram) -> dict[str, Axis]:
    described = program.tiff.imagej_metadata
    if not described:
        return {}
    units = {
        letter: _unescaped(described.get(f"{letter}unit") or described.get("unit") or "")
        for letter in "yxz"
    }
    tags = program.page.tags
    found = {
        "y": Axis("y", units["y"], _per_unit(tags.get("YResolution")), "ImageJ metadata"),
        "x": Axis("x", units["x"], _per_unit(tags.get("XResolution")), "ImageJ metadata"),
        "z": Axis("z", units["z"], described.get("spacing"), "ImageJ metadata"),
    }
    time = Axis("t", described.get("tunit", "s"), described.get("finterval"), "ImageJ finterval")
    # images that are neither slices nor channels nor frames follow each other in time
    counted = {key for key in ("slices", "channels", "frames") if described.get(key, 1) > 1}
    if time.step is not None and not counted:
        return {**found, "t": time, "i": time}
    return {**found, "t": time}


def _unescaped(unit: Any) -> str:
    return str(unit).encode().decode("unicode_escape")  # ImageJ writes \u00B5m for µm


def _per_unit(tag: Any) -> float | None:
    """Return the length of a pixel; the tag's fraction is (pixels, units), pixels per unit."""
    if tag is None:
        return None
    pixels, units = tag.value
    return float(units) / float(pixels)


def _ome(program: TiffProgram) -> dict[str, Axis]:
    if not program.tiff.is_ome:
        return {}
    pixels = _ome_pixels(program)
    found = {
        letter.lower(): Axis(
            letter.lower(),
            pixels.get(f"PhysicalSize{letter}Unit", "µm"),
            pixels.get(f"PhysicalSize{letter}"),
            f"OME PhysicalSize{letter}",
        )
        for letter in "YXZ"
        if f"PhysicalSize{letter}" in pixels
    }
    return {**found, "t": _ome_time(pixels)}


def _ome_pixels(program: TiffProgram) -> dict[str, Any]:
    """Return what OME metadata say of the pixels of one image."""
    import tifffile

    images = tifffile.xml2dict(program.tiff.ome_metadata)["OME"]["Image"]
    if isinstance(images, dict):
        images = [images]
    found: dict[str, Any] = images[program.image]["Pixels"]
    return found


def _ome_exposure(pixels: dict[str, Any]) -> Axis | None:
    """Return the ExposureTime of the planes; None where they have none, or several."""
    planes = pixels.get("Plane") or []
    if isinstance(planes, dict):
        planes = [planes]
    times = {(float(p["ExposureTime"]), p.get("ExposureTimeUnit", "s")) for p in planes}
    if len(times) != 1:
        return None
    step, unit = times.pop()
    return Axis("t", unit, step, "OME ExposureTime")


def _ome_time(pixels: dict[str, Any]) -> Axis:
    """Return the axis of time: TimeIncrement, or the steps of DeltaT from plane to plane."""
    unit = pixels.get("TimeIncrementUnit", "s")
    stated = Axis("t", unit, pixels.get("TimeIncrement"), "OME TimeIncrement")
    timed = _ome_times(pixels)
    if timed is None or stated.step is None:
        return timed or stated
    first, second = (in_seconds(axis.step, axis.unit) for axis in (stated, timed))
    if first and second and abs(first - second) > AGREE_WITHIN * max(first, second):
        doubt = f"OME TimeIncrement says {first:g} s, but DeltaT grows by {second:g} s a frame"
        return Axis("t", "s", None, "OME metadata", doubt)
    return stated


def _ome_times(pixels: dict[str, Any]) -> Axis | None:
    """Return the axis of time by the times of the planes; None where they have none."""
    planes = pixels.get("Plane") or []
    if isinstance(planes, dict):
        planes = [planes]
    # of several planes at a time, the first one says when it was
    when: dict[int, float] = {}
    units = set()
    for plane in planes:
        if "DeltaT" in plane:
            units.add(plane.get("DeltaTUnit", "s"))
            t, value = int(plane.get("TheT", 0)), float(plane["DeltaT"])
            when[t] = min(value, when.get(t, value))
    if len(when) < 2 or len(units) != 1 or sorted(when) != list(range(len(when))):
        return None
    times = np.array([when[t] for t in range(len(when))])
    return axis_with(times, "t", units.pop(), "OME DeltaT")


def _gatan(program: TiffProgram) -> dict[str, Axis]:
    tags = program.page.tags
    return {
        letter: Axis(
            letter.strip("i"), tags[unit].value, tags[scale].value, "DigitalMicrograph's tags"
        )
        for (letter, unit), scale in zip(GATAN_UNITS.items(), GATAN_SCALES.values(), strict=True)
        if unit in tags and scale in tags
    }


def _fei(program: TiffProgram) -> dict[str, Axis]:
    scan = (program.tiff.fei_metadata or {}).get("Scan")
    if not scan:
        return {}
    edges = {
        letter: Axis(letter, "m", scan.get(name), "FEI metadata")
        for letter, name in (("y", "PixelHeight"), ("x", "PixelWidth"))
    }
    time = Axis("t", "s", scan.get("FrameTime"), "FEI FrameTime")
    return {**edges, "t": time, "i": time}


def _tvips(program: TiffProgram) -> dict[str, Axis]:
    said = program.tiff.tvips_metadata or {}
    return {
        letter: Axis(letter, "nm", said.get(f"PixelSize{letter.upper()}"), "TVIPS metadata")
        for letter in "yx"
        if said.get(f"PixelSize{letter.upper()}")
    }


def _olympus(program: TiffProgram) -> dict[str, Axis]:
    said = program.tiff.sis_metadata or {}
    return {
        letter: Axis(letter, "m", said.get(f"pixelsize{letter}"), "Olympus SIS metadata")
        for letter in "yx"
        if said.get(f"pixelsize{letter}")
    }


LOOKS: tuple[Callable[[TiffProgram], dict[str, Axis]], ...] = (
    _ome, _imagej, _gatan, _fei, _tvips, _olympus,
)  # fmt: skip
"""Tried in this order; the first that says anything counts."""
