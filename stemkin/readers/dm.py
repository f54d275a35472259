"""DM3 and DM4, the files of Gatan's DigitalMicrograph: a tree of tags, one of them the pixels.

The format is not documented by its maker; this follows the description by C. B. Boothroyd ("The DM3
image file format") and what files show. Tags are read one after the other; long arrays are passed
over and only their place is kept. The tags say which images are previews (``Thumbnails``); of the
others the only one is read, or the one that ``dataset=`` names by its place in the list of images
or by its name. Its pixel size and, where its third axis is a time, its frame time come from its own
calibrations. How long a scanned frame took is often not in the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stemkin.readers.axes import frames_in
from stemkin.readers.axis import Axis
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.errors import MovieError
from stemkin.readers.paging import Pages
from stemkin.readers.place import Place
from stemkin.readers.raw import raw_reader

TYPES = {
    2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8",
    8: "u1", 9: "i1", 10: "i1", 11: "i8", 12: "u8",
}  # fmt: skip
"""Codes of simple values in tags."""
PIXELS = {
    1: "i2",
    2: "f4",
    6: "u1",
    7: "i4",
    9: "i1",
    10: "u2",
    11: "u4",
    12: "f8",
    14: "u1",
    39: "i8",
    40: "u8",
}
"""Codes of pixel types; the others are complex or coloured."""
KINDS = {
    3: "complex numbers", 5: "complex numbers", 13: "complex numbers", 27: "complex numbers",
    28: "complex numbers", 8: "colours", 23: "colours",
}  # fmt: skip
"""What the pixels of other types are."""
STRUCT, STRING, ARRAY = 15, 18, 20
GROUP, DATA = 20, 21
LONGEST_TEXT = 2048
MAX_TAGS = 10**6
MAX_DEPTH = 64


@dataclass(frozen=True)
class LongArray:
    """A long array in the file: where it is, its code and number of values."""

    offset: int
    code: int
    n: int


@dataclass
class Tags:
    """Reads the tree of tags of one file into nested dictionaries.

    Attributes
    ----------
    pages
        Bytes of the file.
    is_dm4
        Whether lengths have 8 bytes.
    order
        ``"<"`` or ``">"``: byte order of values; lengths and codes are big-endian always.
    n_left
        Tags that may still come, before the file is called broken.
    at
        Byte that is read next.
    """

    pages: Pages
    is_dm4: bool
    order: str
    n_left: int = MAX_TAGS
    at: int = field(default=0)

    def number(self, form: str) -> int:
        """Read one number; `form` as in `struct`, with byte order."""
        size = struct.calcsize(form)
        value: int = struct.unpack(form, self.pages.read(self.at, size))[0]
        self.at += size
        return value

    def length(self) -> int:
        """Read a length, big-endian in both versions: 8 bytes in DM4, 4 in DM3."""
        if self.is_dm4:
            return self.number(">q")
        return self.number(">i")

    def group(self, depth: int = 0) -> dict[str, Any]:
        """Read a group of tags; those without a name are called by their number."""
        if depth > MAX_DEPTH:
            msg = f"its tags are nested deeper than {MAX_DEPTH} groups"
            raise ValueError(msg)
        # two bytes (is it sorted, is it open), the number of tags, then tag after tag: its kind,
        # the length of its name, the name, in DM4 also its size, and what it holds
        self.at += 2
        found: dict[str, Any] = {}
        for i in range(self._plausible(self.length())):
            kind = self.number("B")
            if kind not in (GROUP, DATA):
                if kind == 0:
                    break
                msg = f"it has a tag of kind {kind}"
                raise ValueError(msg)
            n_name = self.number(">H")
            name = self.pages.read(self.at, n_name).decode("latin1") or str(i)
            self.at += n_name
            if self.is_dm4:
                self.at += 8
            if kind == GROUP:
                found[name] = self.group(depth + 1)
            else:
                found[name] = self.value(has_texts=name != "Data")
        return found

    def _plausible(self, n: int) -> int:
        self.n_left -= max(n, 0)
        if n < 0 or self.n_left < 0:
            msg = f"it promises {n} tags in one group"
            raise ValueError(msg)
        return n

    def value(self, *, has_texts: bool) -> Any:
        """Read one value: a number, a tuple of numbers, a text, or the place of an array.

        Texts are arrays of two-byte numbers, as a small image is: where there can be none, an array
        stays one.
        """
        if self.pages.read(self.at, 4) != b"%%%%":
            msg = f"it has no value where one should stand, at byte {self.at}"
            raise ValueError(msg)
        self.at += 4
        # a few numbers say what follows: the code of a simple value alone; (ARRAY, code, n);
        # (STRUCT, 0, n, 0, code, 0, code, ...); an array of structs has both, then n at the end
        n_info = self.length()
        if not 1 <= n_info <= 1000:
            msg = f"it describes a value by {n_info} numbers"
            raise ValueError(msg)
        info = [self.length() for _ in range(n_info)]
        value = self._value(info)
        if not (isinstance(value, LongArray) and value.code == 4 and has_texts):
            return value
        if value.n > LONGEST_TEXT:
            return value
        encoding = {"<": "utf-16-le", ">": "utf-16-be"}[self.order]
        return self.pages.read(value.offset, 2 * value.n).decode(encoding, "replace")

    def _value(self, info: list[int]) -> Any:
        code = info[0]
        if code in TYPES:
            return self._simple(code)
        if code == STRUCT:
            return tuple(self._simple(c) for c in self._fields(info))
        if code == STRING:
            return self._array(4, info[1])
        if code == ARRAY and info[1] == STRUCT:
            size = sum(np.dtype(TYPES[c]).itemsize for c in self._fields(info[1:-1]))
            array = LongArray(self.at, STRUCT, self._not_negative(info[-1]))
            self.at += size * array.n
            return array
        if code == ARRAY:
            return self._array(info[1], info[2])
        msg = f"it has a value of the unknown type {code}"
        raise ValueError(msg)

    def _fields(self, info: list[int]) -> list[int]:
        """Return the codes of a struct's values, which stand at every other number of `info`."""
        return [info[4 + 2 * i] for i in range(info[2])]

    def _simple(self, code: int) -> Any:
        dtype = np.dtype(self.order + TYPES[code])
        value = np.frombuffer(self.pages.read(self.at, dtype.itemsize), dtype)[0].item()
        self.at += dtype.itemsize
        return value

    def _array(self, code: int, n: int) -> LongArray:
        dtype = np.dtype(self.order + TYPES[code])
        array = LongArray(self.at, code, self._not_negative(n))
        self.at += n * dtype.itemsize
        return array

    @staticmethod
    def _not_negative(n: int) -> int:
        if n < 0:
            msg = f"it has an array of {n} values"
            raise ValueError(msg)
        return n


def open_dm(place: Place, options: Options) -> FileReader:
    """Open a DM3 or DM4 file. Lazy: its tags are read, its pixels are not.

    Raises
    ------
    MovieError
        If its tags are not whole, or it holds no image of real numbers.
    """
    tree, order = _tree(place)
    found = chosen(_candidates(tree, place), place, options)
    image, shape = found.candidate.what, found.candidate.shape
    stored = np.dtype(order + PIXELS[int(image["DataType"])])
    axes = _axes(image, len(shape))
    plan = frames_in(shape, axes, stored, place, options)
    about = calibration_along(plan.named(axes), exposure=_exposure(image))
    return raw_reader(
        place,
        plan,
        stored,
        offset=image["Data"].offset,
        format=f"DM{tree['version']}",
        notes=(found.note,),
        **about,
    )


def _tree(place: Place) -> tuple[dict[str, Any], str]:
    """Return the tags of a file, its version among them, and the byte order of its values."""
    tags = Tags(Pages(place, place.size()), is_dm4=False, order="<")
    version = tags.number(">i")
    if version not in (3, 4):
        msg = f"it is of version {version}"
        raise ValueError(msg)
    tags.is_dm4 = version == 4
    tags.length()  # of the file, less its first 16 or 24 bytes
    is_little_endian = tags.number(">i") == 1
    if not is_little_endian:
        tags.order = ">"
    return {**tags.group(), "version": version}, tags.order


def _candidates(tree: dict[str, Any], place: Place) -> list[Candidate]:
    """Return the images of real numbers that are no previews.

    Raises
    ------
    MovieError
        If there is none; it says what the file holds instead.
    """
    images = _images(tree)
    if not images:
        msg = f"{place} holds no image"
        raise MovieError(msg)
    previews = _previews(tree)
    kept = {name: image for name, image in images.items() if name not in previews}
    if not kept:
        msg = f"{place} holds no image but its preview"
        raise MovieError(msg)
    found = [
        Candidate(name, _shape(image), str(image.get("Name", "")), image)
        for name, image in kept.items()
        if int(image["DataType"]) in PIXELS and len(image["Dimensions"]) >= 2
    ]
    if not found:
        codes = ", ".join(sorted({_kind(image) for image in kept.values()}))
        msg = f"{place} holds {codes}; frames are images of real numbers"
        raise MovieError(msg)
    return found


def _images(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the images by their place in the list, each with its name."""
    found = {}
    for i, image in enumerate(tree["ImageList"].values()):
        data = image.get("ImageData", {})
        if isinstance(data.get("Data"), LongArray) and len(data.get("Dimensions", ())):
            about = {"Name": image.get("Name", ""), "Tags": image.get("ImageTags", {})}
            found[str(i)] = {**data, **about}
    return found


def _previews(tree: dict[str, Any]) -> set[str]:
    """Return which images the file calls its previews, by their place in the list."""
    thumbnails = tree.get("Thumbnails")
    if not isinstance(thumbnails, dict):
        return set()
    said = [one.get("ImageIndex") for one in thumbnails.values() if isinstance(one, dict)]
    return {str(index) for index in said if isinstance(index, int)}


def _shape(image: dict[str, Any]) -> tuple[int, ...]:
    # dimensions are listed from the fastest one on (x, y, t); arrays of NumPy say it the other way
    dimensions = image["Dimensions"]
    return tuple(int(dimensions[str(i)]) for i in range(len(dimensions)))[::-1]


def _kind(image: dict[str, Any]) -> str:
    """Return what an image is that cannot be frames."""
    code = int(image["DataType"])
    if code in PIXELS:
        return f"a line of {_shape(image)[-1]} values"
    return f"{KINDS.get(code, 'pixels')} (DigitalMicrograph's type {code})"


def _axes(image: dict[str, Any], n: int) -> list[Axis]:
    """Return the axes of an image in the order of NumPy.

    The format names none: x and y are the fastest ones, and the unit says what a third one is.
    """
    names = ["x", "y", *[""] * (n - 2)]
    axes = []
    for i, name in enumerate(names[:n]):
        scale, unit = _scale_and_unit(image, i)
        axes.append(Axis(name, unit, scale, "DM calibration"))
    return axes[::-1]


EXPOSURES = (
    ("DataBar", "Exposure Time (s)"),
    ("Acquisition", "Parameters", "High Level", "Exposure (s)"),
)
"""Where DigitalMicrograph notes for how long a camera was exposed; a scan has no such tags."""


def _exposure(image: dict[str, Any]) -> Axis | None:
    """Return how long each frame was exposed, where a camera says it."""
    for path in EXPOSURES:
        said: Any = image["Tags"]
        for name in path:
            if isinstance(said, dict):
                said = said.get(name)
        if isinstance(said, int | float):
            return Axis("t", "s", said, f"DM {path[-1]}")
    return None


def _scale_and_unit(image: dict[str, Any], axis: int) -> tuple[float | None, str]:
    """Return scale and unit of an axis (0 is x), where the file has them."""
    try:
        said = image["Calibrations"]["Dimension"][str(axis)]
        return float(said["Scale"]), str(said["Units"])
    except (KeyError, TypeError, ValueError):
        return None, ""
