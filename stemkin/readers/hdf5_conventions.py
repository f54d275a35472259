"""Velox EMD, Berkeley EMD, HyperSpy and NeXus: what each says of the movies in a file.

Each convention is a function that lists the datasets it sees, with what is said of their axes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axis import Axis
from stemkin.readers.coordinates import axis_of
from stemkin.readers.hyperspy import NO_MOVIES, axes_of_signal, kind_of_signal
from stemkin.readers.units import text_of

MAX_DATASETS = 10_000


@dataclass(frozen=True)
class FoundDataset:
    """A dataset that can be a movie.

    Attributes
    ----------
    path
        In the file.
    axes
        What the file says of each axis, None where it says nothing.
    convention
        By which it was found.
    order
        In which the convention stores t, y and x where the file does not say so.
    stated
        What `stemkin.readers.calibration.named_values` found; None where it found nothing.
    label
        The detector, where several datasets differ in it.
    is_none
        What it is instead of a movie, where the file says so of the whole.
    exposure
        How long each frame is exposed; None where the file does not say.
    """

    path: str
    axes: Sequence[Axis] | None
    convention: str
    order: str = "tyx"
    stated: dict[str, Any] | None = None
    label: str = ""
    is_none: str = ""
    exposure: Axis | None = None


def velox_datasets(file: Any) -> Iterator[FoundDataset]:
    """Thermo Fisher's Velox: ``Data/Image/<id>/Data`` (y, x, t), with JSON per frame beside it."""
    for group in file["Data/Image"].values():
        dataset = group["Data"]
        if dataset.dtype.kind not in "iuf":
            continue
        # Velox stores time last: (y, x, t), and single images as (y, x, 1) or (y, x)
        axes = [Axis(letter) for letter in "yxt"]
        label, exposure = "", None
        with suppress(ValueError, KeyError, TypeError, AttributeError, OSError):
            # (bytes, n_frames), a column per frame, ended by zeros; the first speaks for all
            said = json.loads(bytes(np.asarray(group["Metadata"][:, 0])).rstrip(b"\0"))
            label = str(said.get("BinaryResult", {}).get("Detector", ""))
            axes, exposure = _velox_axes(said), _velox_exposure(said)
        axes = axes[: dataset.ndim]
        yield FoundDataset(dataset.name, axes, "Velox EMD", "yxt", label=label, exposure=exposure)


def _velox_axes(said: dict[str, Any]) -> list[Axis]:
    """Return the axes (y, x, t) of a Velox image.

    Scanned frames have a frame time, those of a camera an exposure.
    """
    binary = said["BinaryResult"]
    size = binary.get("PixelSize", {})
    edges = [
        Axis(letter, str(binary.get(unit) or "m"), size.get(edge), "Velox PixelSize")
        for letter, edge, unit in (
            ("y", "height", "PixelUnitY"),
            ("x", "width", "PixelUnitX"),
        )
    ]
    time = Axis("t", "s", said.get("Scan", {}).get("FrameTime"), "Velox FrameTime")
    if time.step is None:
        time = _velox_exposure(said) or time
    return [*edges, time]


def _velox_exposure(said: dict[str, Any]) -> Axis | None:
    """Return how long the frames of a camera are exposed; None of a scan."""
    if said.get("Scan", {}).get("FrameTime") is not None:
        return None
    detector = f"Detector-{said['BinaryResult'].get('DetectorIndex', 0)}"
    exposure = said.get("Detectors", {}).get(detector, {}).get("ExposureTime")
    return Axis("t", "s", exposure, f"Velox ExposureTime of {detector}")


def berkeley_datasets(file: Any) -> Iterator[FoundDataset]:
    """EMD of the Berkeley group: groups with ``emd_group_type``, of ``data``, ``dim1``, ..."""
    for group in _groups(file):
        if "emd_group_type" not in group.attrs:
            continue
        dataset = _emd_data(group)
        if dataset is None:
            continue
        # files of version 1 count from dim0, those before from dim1
        first = int("dim0" not in group)
        axes = []
        for i, n in enumerate(dataset.shape):
            vector = group.get(f"dim{i + first}")
            name = None
            if vector is not None:
                name = vector.attrs.get("name")
            if getattr(getattr(vector, "dtype", None), "kind", "") in "OS":
                name = "channel"  # a text for every image
            axes.append(axis_of(vector, name, n, f"EMD dim{i + first}"))
        # HyperSpy keeps its signals here, and turns the order of their axes round
        order = "tyx"
        if group.name.startswith("/signals/"):
            order = "xyt"
        is_none = NO_MOVIES.get(text_of(group.attrs.get("signal_type")).strip().lower(), "")
        yield FoundDataset(dataset.name, axes, "Berkeley EMD", order, is_none=is_none)


def _emd_data(group: Any) -> Any:
    """Return the dataset of an EMD group: ``data``, or the only one that is no coordinate."""
    import h5py

    if isinstance(group.get("data"), h5py.Dataset):
        found = [group["data"]]
    else:
        found = [
            item
            for name, item in group.items()
            if isinstance(item, h5py.Dataset) and not re.fullmatch(r"dim\d+", name)
        ]
    images = [dataset for dataset in found if dataset.ndim >= 2 and dataset.dtype.kind in "biuf"]
    if len(images) != 1:
        return None
    return images[0]


def hyperspy_datasets(file: Any) -> Iterator[FoundDataset]:
    """HyperSpy: ``Experiments/<title>/data``, with a group per axis."""
    for group in file["Experiments"].values():
        dataset = group["data"]
        if dataset.ndim < 2:
            continue
        described = [dict(group[f"axis-{i}"].attrs) for i in range(dataset.ndim)]
        signal = group.get("metadata/Signal")
        signal_type = None
        if signal is not None:
            signal_type = signal.attrs.get("signal_type")
        yield FoundDataset(
            dataset.name,
            axes_of_signal(described, "HyperSpy axis"),
            "HyperSpy",
            is_none=kind_of_signal(described, signal_type),
        )


def nexus_datasets(file: Any) -> Iterator[FoundDataset]:
    """NeXus: groups of class NXdata; ``signal`` names the frames, ``axes`` their coordinates."""
    default = _default_of(file)
    groups = [default]
    if default is None:
        groups = [group for group in _groups(file) if _is_nxdata(group)]
    for group in groups:
        dataset = _signal_of(group)
        if dataset is None or dataset.ndim < 2:
            continue
        axes = []
        for name, n in zip(_nexus_names(group, dataset), dataset.shape, strict=True):
            vector = None
            if name not in ("", "."):  # so NeXus writes an axis without coordinates
                vector = group.get(name)
            axes.append(axis_of(vector, name.strip("."), n, "NeXus axis"))
        is_none = ""
        if text_of(dataset.attrs.get("interpretation")) == "spectrum":
            is_none = "spectra: so its interpretation says"
        yield FoundDataset(dataset.name, axes, "NeXus", is_none=is_none)


def _signal_of(group: Any) -> Any:
    """Return the dataset that a data group is about; None if it does not say.

    Files from before 2014 mark the dataset itself.
    """
    name = text_of(group.attrs.get("signal"))
    if name:
        return group.get(name)
    marked = [item for item in group.values() if int(item.attrs.get("signal", 0) or 0) == 1]
    if len(marked) != 1:
        return None
    return marked[0]


def _nexus_names(group: Any, dataset: Any) -> list[str]:
    """Return the name of each axis of the dataset, empty where there is none."""
    names = [text_of(name) for name in np.atleast_1d(group.attrs.get("axes", []))]
    old = text_of(dataset.attrs.get("axes"))
    if not names and old:
        names = re.split(r"[:,]", old.strip("[] "))
    by_index = [""] * dataset.ndim
    for i, name in enumerate(names):
        # a name stands for the axis that <name>_indices says, else for the one at its place
        place = np.atleast_1d(group.attrs.get(f"{name}_indices", i))
        if place.size == 1 and 0 <= int(place[0]) < dataset.ndim:
            by_index[int(place[0])] = name.strip()
    return by_index


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


def _groups(file: Any) -> Iterator[Any]:
    import h5py

    found = [file]

    def look(_name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Group):
            found.append(item)
        return enough(found)

    file.visititems(look)
    yield from found


def enough(found: list[Any]) -> bool | None:
    """Return True to end HDF5's walk through a file; None has it go on."""
    return len(found) >= MAX_DATASETS or None
