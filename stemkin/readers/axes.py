"""Axes of a stored array: which are time, y and x, and how frames are taken out of it.

>>> plan = frames_in((1, 5, 1, 64, 32), "TZCYX".replace("TZ", "ZT"), np.dtype("u2"), "stack.tif")
>>> plan.shape
(5, 64, 32)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.base import Options
from stemkin.readers.errors import MovieError
from stemkin.readers.notation import remembered
from stemkin.readers.place import Place

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue (ITU-R BT.709), which make a false-colour map monotonic again."""

STACKED = "tzqi"
"""Letters that a stack of frames may carry where nothing is called time: many programs store movies
as z stacks."""

MAX_CHANNELS = 16
"""More "channels" than any microscope has detectors are frames: so ImageJ and its writers name a
stack that says nothing of itself."""


@remembered
@dataclass(frozen=True)
class AxisPlan:
    """How to take frames (t, y, x) out of an array.

    Attributes
    ----------
    index
        Per axis of the array: ``"t"``, ``"y"``, ``"x"``, ``"colour"``, or the one index that is
        taken of it.
    lengths
        Of every axis.
    note
        What was reinterpreted, empty where nothing was.
    """

    index: tuple[str | int, ...]
    lengths: tuple[int, ...]
    note: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        length = dict(zip(self.index, self.lengths, strict=True))
        return length.get("t", 1), length["y"], length["x"]

    @property
    def has_colour(self) -> bool:
        """Tell whether frames are red, green and blue."""
        return "colour" in self.index

    def dtype(self, stored: np.dtype) -> np.dtype:
        """Return the type of the frames: luminance is float32, truth values become 0 and 1."""
        if self.has_colour:
            return np.dtype(np.float32)
        if stored.kind == "b":
            return np.dtype(np.uint8)
        return stored.newbyteorder("=")

    def axis(self, letter: str) -> int | None:
        """Return which axis is ``"t"``, ``"y"`` or ``"x"``; None where there is none."""
        if letter not in self.index:
            return None
        return self.index.index(letter)

    def take(self, array: Any, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` of `array`, which may be anything that slices to NumPy.

        Returns
        -------
        (n, y, x) frames in the type that `dtype` gives, or in the stored one.
        """
        found = np.asarray(array[self.selection(start, stop)])
        return self.order(found)

    def selection(self, start: int, stop: int) -> tuple[slice | int, ...]:
        """Return the index into the array that selects frames `start` to `stop`."""
        whole = {"t": slice(start, stop), "y": slice(None), "x": slice(None), "colour": slice(0, 3)}
        return tuple(whole[i] if isinstance(i, str) else i for i in self.index)

    def order(self, found: np.ndarray) -> np.ndarray:
        """Transpose what `selection` selected to (t, y, x), and turn colours into luminance."""
        # whole numbers in `index` took their axis away: `found` has only the axes with a letter,
        # in the order of the file
        letters = [i for i in self.index if isinstance(i, str)]
        if "t" not in letters:
            found, letters = found[None], ["t", *letters]
        wanted = ["t", "y", "x"]
        if self.has_colour:
            wanted.append("colour")
        found = found.transpose([letters.index(letter) for letter in wanted])
        if not self.has_colour:
            return found
        # (t, y, x, 3) @ (3,); a fourth sample, opacity, was not selected
        weights = np.asarray(LUMINANCE, np.float32)
        return found.astype(np.float32) @ weights


def frames_in(
    shape: Sequence[int],
    axes: str | None,
    dtype: np.dtype,
    source: str | Place,
    options: Options = Options(),  # noqa: B008 - frozen
) -> AxisPlan:
    """Work out which axes are time, y and x.

    Parameters
    ----------
    shape
        Of the stored array.
    axes
        One letter per axis as the file names them (``"TCYX"``, any case; ``"S"`` is colour
        samples), or None where it does not.
    dtype, source, options
        Type of the pixels; source for messages; which channel the user wants.

    Raises
    ------
    MovieError
        If the array cannot be (t, y, x).
    """
    lengths = tuple(int(n) for n in shape)
    letters = _usual_axes(lengths, dtype)
    if axes is not None:
        letters = list(axes.lower())
    if len(letters) != len(lengths) or letters.count("y") != 1 or letters.count("x") != 1:
        msg = (
            f"{source} holds an array of shape {lengths}, which is no movie; frames are (t, y, x), "
            "one image is (y, x)"
        )
        raise MovieError(msg)
    colour = {
        i
        for i, (letter, n) in enumerate(zip(letters, lengths, strict=True))
        if letter == "s" and n in (3, 4)
    }
    long = [
        i for i, n in enumerate(lengths) if n > 1 and letters[i] not in "yx" and i not in colour
    ]
    time = _time_axis(letters, lengths, long, options)
    index: list[str | int] = []
    for i, letter in enumerate(letters):
        if letter in "yx":
            index.append(letter)
        elif i == time:
            index.append("t")
        elif i in colour:
            index.append("colour")
        elif i in long:
            index.append(_one_of(letter, lengths[i], lengths, source, options))
        else:
            index.append(0)
    note = ""
    if time is not None and letters[time] in "zc":
        note = f"its {letters[time]!r} axis is read as time"
    return AxisPlan(tuple(index), lengths, note)


def _usual_axes(lengths: tuple[int, ...], dtype: np.dtype) -> list[str]:
    """Name the axes of an array that does not: (y, x) or (t, y, x), perhaps with colours last.

    Colours are supposed only where three or four 8-bit values lie together.
    """
    kept = list(range(len(lengths)))
    if len(lengths) > 3:
        kept = [i for i in kept if lengths[i] != 1]
    letters = ["1"] * len(lengths)
    if len(kept) >= 3 and lengths[kept[-1]] in (3, 4) and dtype == np.uint8:
        letters[kept.pop()] = "s"
    # what has neither two nor three axes left stays without letters, and is refused by the caller
    names = {2: "yx", 3: "tyx"}.get(len(kept), "")
    for i, name in zip(kept, names, strict=False):
        letters[i] = name
    return letters


def _time_axis(
    letters: list[str], lengths: tuple[int, ...], long: list[int], options: Options
) -> int | None:
    """Return the axis of frames: t where there is one, else the only axis that stacks images."""
    only_channels = bool(long) and all(letters[i] == "c" for i in long)
    if only_channels and lengths[long[0]] > MAX_CHANNELS and options.channel is None:
        return long[0]
    stacked = [i for i in long if letters[i] in STACKED]
    if "t" in letters:
        time = letters.index("t")
        # a time of one step beside a stack is a formality of the program that wrote it
        if lengths[time] > 1 or not stacked:
            return time
    if len(stacked) != 1:
        return None
    return stacked[0]


def _one_of(
    letter: str, n: int, lengths: tuple[int, ...], source: str | Place, options: Options
) -> int:
    """Return the index to take of an axis that is neither time nor space."""
    if letter == "c" and options.channel is not None:
        if not 0 <= options.channel < n:
            msg = (
                f"channel {options.channel} was asked of {source}, which has channels 0 to {n - 1}"
            )
            raise MovieError(msg)
        return options.channel
    what = f"steps along {letter!r}; frames have only (t, y, x)"
    if letter == "c":
        what = "channels; choose one with channel="
    msg = f"{source} has shape {lengths} with {n} {what}"
    raise MovieError(msg)
