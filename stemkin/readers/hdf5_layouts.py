"""Conventions of HDF5 files: where the frames are, and how they are calibrated.

Known are Velox EMD, Berkeley EMD, HyperSpy and NeXus; elsewhere it is the only dataset that can be.

Each convention is a function that lists the movies it sees in a file, with their axes and
calibration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stemkin.readers.base import Options
from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place
from stemkin.readers.units import calibrated, in_nanometres, in_seconds, named_values

MAX_DATASETS = 10_000
SMALLEST_EDGE = 8
"""Arrays narrower than so many pixels are tables, not images."""


@dataclass(frozen=True)
class FoundDataset:
    """A dataset that can be a movie.

    Attributes
    ----------
    path
        In the file.
    axes
        One letter per axis, None where the file does not name them.
    convention
        By which it was found.
    about
        Arguments of `FileReader`: what is known of the calibration.
    label
        The detector, where several datasets differ in it.
    """

    path: str
    axes: str | None
    convention: str
    about: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def described(self) -> str:
        """Return the path, and the label where there is one, as a message lists it."""
        if self.label:
            return f"{self.path!r} ({self.label})"
        return repr(self.path)


def find_dataset(file: Any, place: Place, options: Options) -> FoundDataset:
    """Return the dataset that holds the frames.

    Raises
    ------
    MovieError
        If there is none, or several and `options` chooses none of them.
    """
    candidates = next(filter(None, (list(_tried(look, file)) for look in CONVENTIONS)), [])
    if options.dataset is not None:
        return _chosen(file, place, options.dataset, candidates)
    if not candidates:
        msg = f"{place} holds no dataset that can be frames (real numbers, (t, y, x) or (y, x))"
        raise MovieError(msg)
    if len(candidates) == 1:
        return candidates[0]
    if options.channel is not None and candidates[0].convention == "Velox EMD":
        if not 0 <= options.channel < len(candidates):
            msg = (
                f"channel {options.channel} was asked of {place}, which has channels 0 to "
                f"{len(candidates) - 1}"
            )
            raise MovieError(msg)
        return candidates[options.channel]
    names = ", ".join(candidate.described() for candidate in candidates[:8])
    msg = (
        f"{place} holds {len(candidates)} datasets that can be movies; choose one with "
        f"dataset=: {names}"
    )
    raise MovieError(msg)


def _tried(look: Callable[[Any], Iterator[FoundDataset]], file: Any) -> Iterator[FoundDataset]:
    """Yield what a convention sees; a file that follows it only half is not of that convention."""
    with suppress(KeyError, ValueError, TypeError, AttributeError, IndexError, UnicodeError):
        yield from look(file)


def _chosen(file: Any, place: Place, path: str, candidates: list[FoundDataset]) -> FoundDataset:
    import h5py

    for candidate in candidates:
        if candidate.path.strip("/") == path.strip("/"):
            return candidate
    if path not in file or not isinstance(file[path], h5py.Dataset):
        msg = (
            f"{place} holds no dataset {path!r}; it can be one of "
            f"{[c.path for c in candidates[:8]]}"
        )
        raise MovieError(msg)
    return _plain(file[path])


def _velox(file: Any) -> Iterator[FoundDataset]:
    """Thermo Fisher's Velox: ``Data/Image/<id>/Data`` (y, x, t), with JSON per frame beside it."""
    for group in file["Data/Image"].values():
        dataset = group["Data"]
        if dataset.dtype.kind not in "iuf":
            continue
        about: dict[str, Any] = {}
        label = ""
        with suppress(ValueError, KeyError, TypeError, AttributeError, OSError):
            said = json.loads(bytes(np.asarray(group["Metadata"][:, 0])).rstrip(b"\0"))
            label = str(said.get("BinaryResult", {}).get("Detector", ""))
            about = _velox_calibration(said)
        # Velox stores time last: (y, x, t), and single images as (y, x, 1) or (y, x)
        yield FoundDataset(dataset.name, "YXT"[: dataset.ndim], "Velox EMD", about, label)


def _velox_calibration(said: dict[str, Any]) -> dict[str, Any]:
    binary = said["BinaryResult"]
    size = binary["PixelSize"]
    y, x = (
        in_nanometres(size[edge], binary.get(unit) or "m")
        for edge, unit in (("height", "PixelUnitY"), ("width", "PixelUnitX"))
    )
    return calibrated(
        y, x, in_seconds(said.get("Scan", {}).get("FrameTime"), "s"), "Velox metadata"
    )


def _berkeley(file: Any) -> Iterator[FoundDataset]:
    """EMD of the Berkeley group: groups with ``emd_group_type``, of ``data``, ``dim1``, ..."""
    for group in _groups(file):
        if (
            "emd_group_type" not in group.attrs
            or "data" not in group
            or getattr(group["data"], "ndim", 0) < 2
        ):
            continue
        dataset = group["data"]
        vectors = [group.get(f"dim{i + 1}") for i in range(dataset.ndim)]
        axes = [_axis_of(vector, _attribute(vector, "name")) for vector in vectors]
        yield FoundDataset(
            dataset.name, _letters(axes), "Berkeley EMD", _calibration(axes, "EMD dimensions")
        )


def _hyperspy(file: Any) -> Iterator[FoundDataset]:
    """HyperSpy: ``Experiments/<title>/data``, with a group per axis."""
    for group in file["Experiments"].values():
        dataset = group["data"]
        axes = []
        for i in range(dataset.ndim):
            said = dict(group[f"axis-{i}"].attrs)
            axes.append(_Axis(_text(said.get("name")), said.get("scale"), _text(said.get("units"))))
        yield FoundDataset(
            dataset.name, _letters(axes), "HyperSpy", _calibration(axes, "HyperSpy axes")
        )


def _nexus(file: Any) -> Iterator[FoundDataset]:
    """NeXus: groups of class NXdata; ``signal`` names the frames, ``axes`` their coordinates."""
    default = _default_of(file)
    groups = [default]
    if default is None:
        groups = [group for group in _groups(file) if _is_nxdata(group)]
    for group in groups:
        signal = _text(group.attrs.get("signal"))
        if not signal or signal not in group or group[signal].ndim < 2:
            continue
        dataset = group[signal]
        names = [_text(name) for name in np.atleast_1d(group.attrs.get("axes", []))]
        axes = []
        for name in names or [""] * dataset.ndim:
            vector = None
            if name not in ("", "."):  # so NeXus writes an axis without coordinates
                vector = group.get(name)
            axes.append(_axis_of(vector, name))
        yield FoundDataset(dataset.name, _letters(axes), "NeXus", _calibration(axes, "NeXus axes"))


def _default_of(file: Any) -> Any:
    """Return the group that NeXus's attributes ``default`` lead to; None if it is no data group."""
    group, seen = file, 0
    while (name := _text(group.attrs.get("default"))) and name in group and seen < 8:
        group, seen = group[name], seen + 1
    if not _is_nxdata(group):
        return None
    return group


def _is_nxdata(group: Any) -> bool:
    return _text(group.attrs.get("NX_class")) == "NXdata"


def _any_dataset(file: Any) -> Iterator[FoundDataset]:
    """Whatever is shaped like frames; stacks of images before single images."""
    import h5py

    found: list[Any] = []

    def look(_name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and _can_be_frames(item):
            found.append(item)
        return _enough(found)

    file.visititems(look)
    stacks = [d for d in found if d.ndim > 2]
    yield from (_plain(dataset) for dataset in stacks or found)


def _can_be_frames(dataset: Any) -> bool:
    shape = dataset.shape or ()
    return (
        dataset.dtype.kind in "biuf"
        and 2 <= len(shape) <= 6
        and sum(n >= SMALLEST_EDGE for n in shape) >= 2
    )


def _plain(dataset: Any) -> FoundDataset:
    about = None
    with suppress(ValueError, TypeError):
        about = named_values(dict(dataset.attrs), "attributes") or named_values(
            dict(dataset.parent.attrs), "attributes"
        )
    return FoundDataset(dataset.name, None, "HDF5", about or {})


CONVENTIONS: tuple[Callable[[Any], Iterator[FoundDataset]], ...] = (
    _velox,
    _berkeley,
    _hyperspy,
    _nexus,
    _any_dataset,
)
"""Tried in this order; the first that sees a movie decides."""


_LETTERS = {
    "time": "t", "t": "t", "frame": "t", "frames": "t", "y": "y", "height": "y", "x": "x", "width": "x",
}  # fmt: skip
"""Names of axes that are understood."""


@dataclass(frozen=True)
class _Axis:
    """An axis as a file describes it: its name, the step from index to index, and its unit."""

    name: str = ""
    scale: Any = None
    units: str = ""

    @property
    def letter(self) -> str:
        """``"t"``, ``"y"``, ``"x"``, or empty for another name."""
        return _LETTERS.get(self.name.lower().strip(), "")


def _attribute(item: Any, name: str) -> Any:
    """Return an attribute of a group or dataset; None where there is no such item."""
    if item is None:
        return None
    return item.attrs.get(name)


def _axis_of(vector: Any, name: Any) -> _Axis:
    """Return the axis with coordinates `vector` (dataset or None); unequal steps give no scale."""
    units = _text(_attribute(vector, "units"))
    if vector is None or getattr(vector, "ndim", 0) != 1 or not 2 <= vector.size <= 10**7:
        return _Axis(_text(name), None, units)
    steps = np.diff(np.asarray(vector[:], float))
    if not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
        return _Axis(_text(name), None, units)
    return _Axis(_text(name), float(steps.mean()), units)


def _letters(axes: list[_Axis]) -> str | None:
    """Return the letters of the axes, None where their names do not say them all."""
    letters = "".join(axis.letter for axis in axes)
    all_differ = len(letters) == len(set(letters)) == len(axes)
    if not all_differ or not {"y", "x"} <= set(letters):
        return None
    return letters


def _calibration(axes: list[_Axis], where: str) -> dict[str, Any]:
    # more axes than letters: which of them is which is not known, so nothing is
    letters = _letters(axes) or "tyx"[-len(axes) :]
    by_letter = {}
    if len(letters) == len(axes):
        by_letter = dict(zip(letters, axes, strict=True))
    nothing = _Axis()
    y, x, t = (by_letter.get(letter, nothing) for letter in "yxt")
    return calibrated(
        in_nanometres(y.scale, y.units),
        in_nanometres(x.scale, x.units),
        in_seconds(t.scale, t.units),
        where,
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    return ""


def _groups(file: Any) -> Iterator[Any]:
    import h5py

    found = [file]

    def look(_name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Group):
            found.append(item)
        return _enough(found)

    file.visititems(look)
    yield from found


def _enough(found: list[Any]) -> bool | None:
    """Return True to end HDF5's walk through a file; None has it go on."""
    return len(found) >= MAX_DATASETS or None
