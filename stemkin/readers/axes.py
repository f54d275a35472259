"""Axes of a stored array: which are time, y and x, and how frames are taken out of it.

Every format says what it knows of its axes (`stemkin.readers.axis.Axis`: a name, a unit, a step),
and the one rule here decides what they are:

1. Names and units have to agree; what contradicts itself is refused.
2. An energy, an angle, a focus, a place in reciprocal space, a depth is not time: what has such an
   axis is refused, and called what it is. ``time_axis`` is the user's word that it is time
   nevertheless.
3. Two known axes fix the third. Where fewer are known, the axes have the order that the format
   usually has, (t, y, x) where it has none; where a known axis contradicts that order, the array is
   refused.
4. Axes of length 1 are a formality of the program that wrote the file.

The order in the file is kept: frames are transposed as they are read.

>>> said = [Axis("x", "nm"), Axis("y", "nm"), Axis("z", "s")]
>>> frames_in((40, 24, 7), said, np.dtype("u2"), "film.emd").shape
(7, 24, 40)
>>> frames_in((7, 24, 40), "zyx", np.dtype("u2"), "film.tif")
Traceback (most recent call last):
...
stemkin.readers.errors.MovieError: film.tif is no movie but a stack in depth, or a focal series: ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axis import Axis
from stemkin.readers.base import Options
from stemkin.readers.notation import remembered
from stemkin.readers.place import Place
from stemkin.readers.stored_axes import StoredArray

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue (ITU-R BT.709), which make a false-colour map monotonic again."""


MOST_TOGETHER_BYTES = 2**28
"""A block of frames is not larger than this because of how the storage cuts them."""


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

    def frames_together(self, chunk: int, dtype: np.dtype) -> int:
        """Return how many frames a block should hold, of a storage that keeps `chunk` together.

        Where frames do not come first, a chunk is a piece of many frames: it is decoded again for
        each block rather than have a block hold more than `MOST_TOGETHER_BYTES`.
        """
        n, height, width = self.shape
        together = min(chunk, n)
        if self.axis("t") == 0:
            return together
        frame_bytes = height * width * dtype.itemsize
        return max(1, min(together, MOST_TOGETHER_BYTES // max(1, frame_bytes)))

    def named(self, axes: Sequence[Axis]) -> dict[str, Axis]:
        """Return which of `axes`, one per axis of the array, are t, y and x, by letter."""
        return {
            letter: axis
            for letter, axis in zip(self.index, axes, strict=True)
            if letter in ("t", "y", "x") and isinstance(letter, str)
        }

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
    axes: str | Sequence[Axis] | None,
    dtype: np.dtype,
    source: str | Place,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    order: str = "tyx",
) -> AxisPlan:
    """Work out which axes are time, y and x.

    Parameters
    ----------
    shape
        Of the stored array.
    axes
        What the file says of each axis: a letter (``"TCYX"``, any case; ``"S"`` is colour samples)
        or an `Axis`; None where it says nothing.
    dtype, source, options
        Type of the pixels; source for messages; which channel and which time axis the user wants.
    order
        In which the format stores t, y and x where it does not say so.

    Raises
    ------
    MovieError
        If the array cannot be (t, y, x), is something else, or contradicts itself.
    """
    lengths = tuple(int(n) for n in shape)
    said = _axes_said(axes, lengths, dtype, order, options)
    array = StoredArray(tuple(said), lengths, source, options)
    if len(said) != len(lengths):
        raise array.no_movie()
    letters = array.letters(order)
    index: list[str | int] = []
    for i, letter in enumerate(letters):
        if letter in ("t", "y", "x", "colour"):
            index.append(letter)
        elif lengths[i] == 1:
            index.append(0)
        else:
            index.append(array.one_of(i))
    return AxisPlan(tuple(index), lengths, array.note(letters))


def _axes_said(
    axes: str | Sequence[Axis] | None,
    lengths: tuple[int, ...],
    dtype: np.dtype,
    order: str,
    options: Options,
) -> list[Axis]:
    """Return what is known of every axis; where nothing is, and the user says nothing, the usual.

    A user who says which axis is time says that the order is not the usual one.
    """
    if axes is None and options.time_axis is not None:
        return [Axis() for _ in lengths]
    if axes is None:
        return [Axis(name) for name in _usual_axes(lengths, dtype, order)]
    if isinstance(axes, str):
        return [Axis(letter.lower()) for letter in axes]
    return list(axes)


def _usual_axes(lengths: tuple[int, ...], dtype: np.dtype, order: str) -> list[str]:
    """Name the axes of an array that does not: (y, x) or (t, y, x), perhaps with colours last.

    Colours are supposed only where three or four 8-bit values lie together.
    """
    kept = list(range(len(lengths)))
    if len(lengths) > 3:
        kept = [i for i in kept if lengths[i] != 1]
    names = [""] * len(lengths)
    if len(kept) >= 3 and lengths[kept[-1]] in (3, 4) and dtype == np.uint8:
        names[kept.pop()] = "s"
    # what has neither two nor three axes left stays without names, and is refused by the caller
    usual = {2: order.replace("t", ""), 3: order}.get(len(kept), "")
    for i, name in zip(kept, usual, strict=False):
        names[i] = name
    return names
