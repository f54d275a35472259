"""What an axis of a stored array is, by what the file calls it and by its unit.

>>> Axis("Energy loss", "eV").what, Axis("stack_element").what, Axis("z", "s").what
('energy', 'stack', 't')
>>> Axis("x", "1/nm").what, Axis("", "[n_m]").what, Axis("Height (px)").what
('reciprocal', 'length', 'y')
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from stemkin.readers.units import quantity_of, text_of

NAMES = {
    "energy": "energy loss ev kev wavelength lambda spectrum spectral frequency wavenumber",
    "angle": "angle angles tilt tilts alpha beta gamma theta phi rotation azimuth polar",
    "focus": "focus defocus focal df c10",
    "reciprocal": "kx ky kz qx qy qz gx gy k reciprocal scattering",
    "condition": "temperature temp voltage bias pressure dose current",
    "y": "y height row rows line lines ry",
    "x": "x width col cols column columns rx",
    "t": "t time times timepoint timestamp elapsed frame frames",
    "z": "z depth plane planes slice slices section sections layer layers thickness",
    "c": "channel channels detector detectors band bands ch c",
    "s": "sample samples rgb rgba colour color s",
    "stack": "stack element elements image images index nav navigation series sequence number "
    "repeat repetition acquisition event step scan count record page pages n i q",
}  # fmt: skip
"""Words for an axis, by what it is. Of a name with several words the earliest line here counts:
the ``tilt step`` is an angle, the ``scan row`` a y."""

MEANING = {word: what for what, words in NAMES.items() for word in words.split()}

ALONE = frozenset("kcsniq")
"""Letters that mean something only where they are the whole name."""

QUANTITIES = {
    "time": "t",
    "length": "length",
    "reciprocal length": "reciprocal",
    "energy": "energy",
    "angle": "angle",
    "temperature": "condition",
    "voltage": "condition",
    "pressure": "condition",
    "dose": "condition",
}
"""What an axis is by what its unit measures, where its name does not say it."""

THINGS = {
    "energy": "a spectrum image: {axis} is an energy",
    "angle": "a tilt series or a scan of angles: {axis} is an angle",
    "focus": "a focal series: {axis} is a focus",
    "reciprocal": "diffraction patterns: {axis} lies in reciprocal space",
    "condition": "a series under changing conditions: {axis} is neither time nor space",
    "z": "a stack in depth, or a focal series: {axis} is a place, not a time",
    "length": "a stack in depth, or a focal series: {axis} is a place, not a time",
}
"""What is no movie, by the axis that shows it."""


@dataclass(frozen=True)
class Axis:
    """An axis of a stored array, as its file describes it.

    Attributes
    ----------
    name
        As the file has it; empty where it has none.
    unit
        Of `step`, in the file's spelling.
    step
        From index to index, None where the file does not say.
    origin
        What in the file says so, for the user.
    doubt
        Why there is no step, where the file has something that is none.
    """

    name: str = ""
    unit: str = ""
    step: float | None = None
    origin: str = ""
    doubt: str = ""

    @property
    def called(self) -> str:
        """What its name says: a key of `NAMES`, or empty."""
        return meaning_of(self.name)

    @property
    def measured(self) -> str:
        """What its unit says: a value of `QUANTITIES`, or empty."""
        return QUANTITIES.get(quantity_of(self.unit), "")

    @property
    def what(self) -> str:
        """What it is.

        ``"t"``, ``"y"``, ``"x"``, ``"c"`` (channels), ``"s"`` (colours), ``"stack"`` (a number of
        images), a key of `THINGS`, or empty where the file says nothing.
        """
        called, measured = self.called, self.measured
        if called in ("y", "x"):
            if measured in ("", "length"):
                return called
            # scattering angles, where there should be places
            return {"angle": "reciprocal"}.get(measured, measured)
        if called == "z" and measured == "length":
            return "z"
        # a name that says little gives way to the unit: a z that is measured in seconds is a time
        if called in ("", "stack", "z") and measured:
            return measured
        return called

    def contradiction(self) -> str:
        """Return how name and unit contradict each other; empty if they agree."""
        called, measured = self.called, self.measured
        wrong = {
            "t": ("length", "reciprocal", "energy", "angle"),
            "y": ("t", "condition"),
            "x": ("t", "condition"),
            "energy": ("t",),
            "angle": ("t", "energy"),
            "focus": ("t", "energy"),
        }
        if measured not in wrong.get(called, ()):
            return ""
        return f"is called {self.name!r}, but its unit is {self.unit}"


def meaning_of(name: Any) -> str:
    """Return what a name of an axis means: a key of `NAMES`, or empty.

    >>> names = ("x_nm", "Frame number", "stack_element", "Q_x", "x [A]", "<undefined>")
    >>> [meaning_of(name) for name in names]
    ['x', 't', 'stack', 'reciprocal', 'x', '']
    """
    # what stands in brackets at the end is a unit; words are told apart by signs and by capitals:
    # "stack_element", "frameNumber"
    text = re.sub(r"(?<=.)[\[(].*$", "", text_of(name).strip().strip("\x00"))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    if not words:
        return ""
    candidates = {"".join(words)} | {word for word in words if word not in ALONE}
    meant = [MEANING[word] for word in candidates if word in MEANING]
    return min(meant, key=list(NAMES).index, default="")
