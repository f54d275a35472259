"""Vendor formats through RosettaSciIO, the optional ``formats`` extra.

That library is under the GPL: it is imported here, when such a file is opened, and nowhere else.

It is good at metadata; its lazy arrays are opened anew in each task. For long movies convert once
(``stemkin convert``).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along
from stemkin.readers.errors import MovieError
from stemkin.readers.hyperspy import axes_of_signal, kind_of_signal
from stemkin.readers.place import Place


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
    signals = [one for one in _load(module, place) if one["data"].ndim >= 2]
    if not signals:
        msg = f"{place} holds no images"
        raise MovieError(msg)
    signal = signals[options.channel or 0]
    if len(signals) > 1 and options.channel is None:
        msg = f"{place} holds {len(signals)} signals; choose one with channel="
        raise MovieError(msg)
    data = signal["data"]
    axes = axes_of_signal(_described(signal, module), "RosettaSciIO axis")
    plan = frames_in(data.shape, axes, data.dtype, place, options)
    is_none = kind_of_signal(signal["axes"], _signal_type(signal))
    if is_none and options.time_axis is None:
        msg = f"{place} is no movie but {is_none} (its signal type or its axes say so)"
        raise MovieError(msg)
    about = calibration_along(plan.named(axes))
    return RosettaReader(
        place=place,
        shape=plan.shape,
        dtype=plan.dtype(data.dtype),
        plan=plan,
        module=module,
        signal=options.channel or 0,
        format=f"RosettaSciIO {module.rsplit('.', 1)[-1]}",
        notes=tuple(filter(None, [plan.note])),
        **about,
    )


def _described(signal: dict[str, Any], module: str) -> list[dict[str, Any]]:
    """Return what the library says of the axes.

    Ripple calls its third dimension depth, whatever it is.
    """
    if not module.endswith("ripple"):
        return list(signal["axes"])
    named = {"depth": "image number"}
    return [{**axis, "name": named.get(axis["name"], axis["name"])} for axis in signal["axes"]]


def _signal_type(signal: dict[str, Any]) -> Any:
    return (signal.get("metadata") or {}).get("Signal", {}).get("signal_type")


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


def _load(module: str, place: Place) -> list[dict[str, Any]]:
    reader = import_module(module).file_reader
    return list(reader(place.path, lazy=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class RosettaReader(FileReader):
    """Frames of one signal in a vendor's file."""

    plan: AxisPlan
    module: str
    signal: int

    def _frames(self, start: int, stop: int) -> np.ndarray:
        import dask

        signals = [one for one in _load(self.module, self.place) if one["data"].ndim >= 2]
        data = signals[self.signal]["data"]
        with dask.config.set(scheduler="synchronous"):  # this is a task already
            return self.plan.take(data, start, stop)
