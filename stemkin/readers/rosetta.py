"""Vendor formats through RosettaSciIO, the optional ``formats`` extra.

That library is under the GPL: it is imported here, when such a file is opened, and nowhere else.

It is good at metadata; its lazy arrays are opened anew in each task. What it reads lazily is not
always what is in the file (a deflated PRZ file is mapped as if it were stored), so that it is
compared once with what it reads as a whole: where they differ, each block reads the whole file. For
long movies convert once (``stemkin convert``).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.errors import MovieError, opening
from stemkin.readers.place import Place
from stemkin.readers.rosetta_axes import rosetta_axes, rosetta_kind

COMPARED_BYTES = 2**28
"""So many bytes of pixels are read twice, once, to see that parts are read as the whole is."""


def open_rosetta(place: Place, options: Options) -> FileReader:
    """Open a vendor's file through RosettaSciIO. Lazy as far as that library is.

    Raises
    ------
    MovieError
        If RosettaSciIO is not installed, does not read the file, or finds no frames in it.
    """
    if place.is_remote:
        msg = (
            f"{place} is of a vendor's format that is read from local disks alone; copy it there "
            "first"
        )
        raise MovieError(msg)
    module = _module_for(place)
    if place.ends_with(".rpl") and not options.allow_external:
        _check_raw(place)
    signals = _images(module, place, lazy=True)
    if not signals:
        msg = f"{place} holds no images"
        raise MovieError(msg)
    number, note = _chosen(signals, place, options)
    signal = signals[number]
    data = signal["data"]
    axes = rosetta_axes(signal, module)
    plan = frames_in(data.shape, axes, data.dtype, place, options)
    is_none = rosetta_kind(signal)
    if is_none and options.time_axis is None:
        msg = f"{place} is no movie but {is_none} (its signal type or its axes say so)"
        raise MovieError(msg)
    about = calibration_along(plan.named(axes))
    lazy, of_reading = _can_be_lazy(module, place, number, data)
    return RosettaReader(
        place=place,
        shape=plan.shape,
        dtype=plan.dtype(data.dtype),
        plan=plan,
        module=module,
        signal=number,
        lazy=lazy,
        format=f"RosettaSciIO {module.rsplit('.', 1)[-1]}",
        notes=tuple(filter(None, [note, plan.note, of_reading])),
        **about,
    )


def _check_raw(place: Place) -> None:
    """Refuse a Ripple header whose raw file is a link to another folder.

    Raises
    ------
    MovieError
        If it is.
    """
    stem = place.path.rsplit(".", 1)[0]
    folder = os.path.dirname(os.path.realpath(place.path))
    for raw in (f"{stem}.raw", f"{stem}.RAW"):
        if os.path.dirname(os.path.realpath(raw)) != folder and os.path.islink(raw):
            msg = (
                f"{place} takes its pixels from {raw}, a link to another folder; if you trust it: "
                "allow_external=True, --allow-external"
            )
            raise MovieError(msg)


def _module_for(place: Place) -> str:
    """Return the module of RosettaSciIO that reads files with this suffix."""
    try:
        from rsciio import IO_PLUGINS
    except ImportError as error:
        msg = (
            f"{place} is of a vendor's format that needs RosettaSciIO; pip install "
            '"stemkin[formats]"'
        )
        raise MovieError(msg) from error
    suffix = place.source.rsplit(".", 1)[-1].lower()
    for plugin in IO_PLUGINS:
        if suffix in [extension.lower() for extension in plugin["file_extensions"]]:
            return str(plugin["api"])
    msg = f"{place}: RosettaSciIO reads no files that end in .{suffix}"
    raise MovieError(msg)


def _chosen(signals: list[dict[str, Any]], place: Place, options: Options) -> tuple[int, str]:
    """Return the number of the signal that is meant, and a note of the others."""
    if options.channel is not None and options.dataset is None:
        options = replace(options, dataset=str(options.channel))
    found = chosen(
        [
            Candidate(str(i), tuple(signal["data"].shape), _title(signal), i)
            for i, signal in enumerate(signals)
        ],
        place,
        options,
    )
    return int(found.candidate.what), found.note


def _title(signal: dict[str, Any]) -> str:
    return str((signal.get("metadata") or {}).get("General", {}).get("title", ""))


def _can_be_lazy(module: str, place: Place, number: int, data: Any) -> tuple[bool, str]:
    """Tell whether what is read lazily is what is read as a whole, and what the user should know.

    Raises
    ------
    MovieError
        If it is not, and the file is too large to be read as a whole for each block.
    """
    n_bytes = int(data.nbytes)
    if n_bytes > COMPARED_BYTES:
        # a ZIP file is what may be compressed; of the others the pixels are mapped either way
        if place.head().startswith(b"PK"):
            msg = (
                f"{place} is a ZIP file of {n_bytes >> 20} MiB, which RosettaSciIO reads right only "
                "as a whole; save it uncompressed, as HDF5 or as TIFF"
            )
            raise MovieError(msg)
        return True, (
            f"its {n_bytes >> 20} MiB are too many for comparing what RosettaSciIO reads lazily "
            "with what it reads as a whole"
        )
    whole = np.asarray(_images(module, place, lazy=False)[number]["data"])
    if _is_same(data, whole):
        return True, ""
    return False, (
        "RosettaSciIO reads it right only as a whole: each block reads the whole file; convert it "
        "once"
    )


def _is_same(lazily: Any, whole: np.ndarray) -> bool:
    """Tell whether a lazy array computes to what was read as a whole."""
    import dask

    if tuple(lazily.shape) != whole.shape or lazily.dtype != whole.dtype:
        return False
    try:
        with dask.config.set(scheduler="synchronous"):
            return np.asarray(lazily).tobytes() == whole.tobytes()
    except (ValueError, OSError):  # what is mapped ends before the file does
        return False


def _images(module: str, place: Place, *, lazy: bool) -> list[dict[str, Any]]:
    """Return the signals of a file with two axes or more.

    Raises
    ------
    MovieError
        If a package is missing that RosettaSciIO itself needs for this format.
    """
    logging.getLogger("rsciio").setLevel(logging.ERROR)  # its remarks become none of ours
    try:
        signals = import_module(module).file_reader(place.path, lazy=lazy)
    except ImportError as error:
        missing = error.name or str(error)
        msg = (
            f"{place} needs the package {missing}, with which RosettaSciIO reads such files; pip "
            f"install {missing}"
        )
        raise MovieError(msg) from error
    return [one for one in signals if one["data"].ndim >= 2]


@dataclass(frozen=True, eq=False, kw_only=True)
class RosettaReader(FileReader):
    """Frames of one signal in a vendor's file.

    Attributes
    ----------
    plan
        How frames lie in the signal.
    module
        Of RosettaSciIO.
    signal
        Number of the signal among those that are images.
    lazy
        Whether parts of it can be read.
    """

    plan: AxisPlan
    module: str
    signal: int
    lazy: bool = True

    def _frames(self, start: int, stop: int) -> np.ndarray:
        import dask

        with opening(self.place):
            signals = _images(self.module, self.place, lazy=self.lazy)
            data = signals[self.signal]["data"]
        with dask.config.set(scheduler="synchronous"):  # this is a task already
            return self.plan.take(data, start, stop)
