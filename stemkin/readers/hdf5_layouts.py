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
from stemkin.readers.hdf5_axes import (
    Hdf5Axis,
    attribute_of,
    axis_of,
    calibration_along,
    letters_of,
    text_of,
)
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
            # (bytes, n_frames), a column per frame, ended by zeros; the first speaks for all
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
        axes = [axis_of(vector, attribute_of(vector, "name")) for vector in vectors]
        yield FoundDataset(
            dataset.name,
            letters_of(axes),
            "Berkeley EMD",
            calibration_along(axes, "EMD dimensions"),
        )


def _hyperspy(file: Any) -> Iterator[FoundDataset]:
    """HyperSpy: ``Experiments/<title>/data``, with a group per axis."""
    for group in file["Experiments"].values():
        dataset = group["data"]
        axes = []
        for i in range(dataset.ndim):
            said = dict(group[f"axis-{i}"].attrs)
            axes.append(
                Hdf5Axis(text_of(said.get("name")), said.get("scale"), text_of(said.get("units")))
            )
        yield FoundDataset(
            dataset.name, letters_of(axes), "HyperSpy", calibration_along(axes, "HyperSpy axes")
        )


def _nexus(file: Any) -> Iterator[FoundDataset]:
    """NeXus: groups of class NXdata; ``signal`` names the frames, ``axes`` their coordinates."""
    default = _default_of(file)
    groups = [default]
    if default is None:
        groups = [group for group in _groups(file) if _is_nxdata(group)]
    for group in groups:
        signal = text_of(group.attrs.get("signal"))
        if not signal or signal not in group or group[signal].ndim < 2:
            continue
        dataset = group[signal]
        names = [text_of(name) for name in np.atleast_1d(group.attrs.get("axes", []))]
        axes = []
        for name in names or [""] * dataset.ndim:
            vector = None
            if name not in ("", "."):  # so NeXus writes an axis without coordinates
                vector = group.get(name)
            axes.append(axis_of(vector, name))
        yield FoundDataset(
            dataset.name, letters_of(axes), "NeXus", calibration_along(axes, "NeXus axes")
        )


def _default_of(file: Any) -> Any:
    """Return the group that NeXus's attributes ``default`` lead to; None if it is no data group."""
    # each group may name one of its members; eight steps are enough, and end a circle
    group, seen = file, 0
    while (name := text_of(group.attrs.get("default"))) and name in group and seen < 8:
        group, seen = group[name], seen + 1
    if not _is_nxdata(group):
        return None
    return group


def _is_nxdata(group: Any) -> bool:
    return text_of(group.attrs.get("NX_class")) == "NXdata"


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
