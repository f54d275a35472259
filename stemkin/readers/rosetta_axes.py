"""Axes of signals that RosettaSciIO reads, and what its formats mean by other words than others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from stemkin.readers.axis import Axis
from stemkin.readers.hyperspy import axes_of_signal, kind_of_signal

ORIGIN = "RosettaSciIO axis"


def rosetta_axes(signal: dict[str, Any], module: str) -> list[Axis]:
    """Return the axes of a signal.

    Parameters
    ----------
    signal
        As the library's ``file_reader`` returns it.
    module
        Of the library that has read it.
    """
    axes = axes_of_signal(signal["axes"], ORIGIN)
    if module.endswith("ripple"):
        # the third dimension of the format is called depth, whatever it is
        return [replace(a, name="image number") if a.name == "depth" else a for a in axes]
    if module.endswith("tvips"):
        return _tvips_axes(axes, signal)
    return axes


def _tvips_axes(axes: list[Axis], signal: dict[str, Any]) -> list[Axis]:
    """Return the axes of a TVIPS file.

    Its header has the pixel of the camera in whole nanometres, and how much it was magnified;
    whether that pixel is a binned one it does not say.
    """
    said = signal["original_metadata"]["tvips_header"]
    camera_nm, magnification = int(said["pixelsize"]), int(said["magtotal"])
    binning = {int(said["binx"]), int(said["biny"])}
    if axes[-1].measured != "length" or not magnification or not camera_nm:
        return axes
    origin, doubt, step = f"TVIPS pixel of the camera / {magnification}", "", None
    if binning <= {0, 1}:
        step = camera_nm / magnification
    else:
        doubt = (
            f"the camera's pixels of {camera_nm} nm were magnified {magnification} times and binned"
        )
    edges = [replace(axis, step=step, origin=origin, doubt=doubt) for axis in axes[-2:]]
    return [*axes[:-2], *edges]


def rosetta_kind(signal: dict[str, Any]) -> str:
    """Return what a signal is if it is no movie by its type; empty if it may be one."""
    signal_type = None
    with suppress(AttributeError, KeyError, TypeError):
        signal_type = signal["metadata"]["Signal"]["signal_type"]
    return kind_of_signal(signal["axes"], signal_type)
