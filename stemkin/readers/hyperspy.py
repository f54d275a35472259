"""Signals as HyperSpy writes them (``.hspy``, ``.zspy``) and RosettaSciIO reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stemkin.readers.axis import Axis, meaning_of
from stemkin.readers.units import text_of

NO_MOVIES = {
    "eels": "a spectrum image (electron energy loss)",
    "eds_tem": "a spectrum image (X-rays)",
    "eds_sem": "a spectrum image (X-rays)",
    "eds": "a spectrum image (X-rays)",
    "luminescence": "a spectrum image (luminescence)",
    "diffraction": "diffraction patterns",
    "electron_diffraction": "diffraction patterns",
    "tilt_series": "a tilt series",
}
"""What signals are by their type, in small letters."""

UNDEFINED = ("<undefined>", "_None_", "None")
"""What HyperSpy writes for a name or unit that nobody gave."""


def axes_of_signal(described: Sequence[Mapping[str, Any]], origin: str) -> list[Axis]:
    """Return the axes of a signal.

    Parameters
    ----------
    described
        For each axis in the order of the array its ``name``, ``scale``, ``units`` and whether it is
        one of navigation (``navigate``); each may be missing.
    origin
        What says so, for the user.
    """
    axes = []
    for said in described:
        name, units = (_said(said.get(key)) for key in ("name", "units"))
        axes.append(Axis(name, units, said.get("scale"), f"{origin} {name!r}"))
    signal = [i for i, said in enumerate(described) if not _navigates(said)]
    # the two axes of a signal are those of its image, whatever they are called
    if len(signal) == 2 < len(axes) and not any(axes[i].called for i in signal):
        for i, letter in zip(signal, "yx", strict=True):
            axes[i] = replace(axes[i], name=letter)
    return axes


def kind_of_signal(described: Sequence[Mapping[str, Any]], signal_type: Any) -> str:
    """Return what a signal is if it is no movie, by its type and its axes; empty if it may be one.

    A signal of one axis under two of navigation is a spectrum at each place.
    """
    known = NO_MOVIES.get(text_of(signal_type).strip().lower(), "")
    if {"t", "y", "x"} <= {meaning_of(said.get("name")) for said in described}:
        return known
    navigates = [said for said in described if _navigates(said)]
    if not known and len(described) > 2 and len(navigates) == len(described) - 1:
        return "a spectrum at each place: its signal has one axis"
    return known


def _said(value: Any) -> str:
    """Return a text; empty where HyperSpy writes that there is none."""
    text = text_of(value)
    if text in UNDEFINED:
        return ""
    return text


def _navigates(said: Mapping[str, Any]) -> bool:
    return bool(said.get("navigate", False))
