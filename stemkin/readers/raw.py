"""Uncompressed frames: NPY, and what TIFF, HDF5, MRC, SER and DM files often turn out to hold.

They are read with one system call per block straight into the array that the caller gets, as fast
as a memory map, and a file that was cut short gives an error instead of killing the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan
from stemkin.readers.base import FileReader
from stemkin.readers.errors import DamagedDataError, MovieError
from stemkin.readers.place import Place


@dataclass(frozen=True, eq=False, kw_only=True)
class RawReader(FileReader):
    """Frames at known places of a file.

    Attributes
    ----------
    stored_dtype
        With the file's byte order.
    offset, stride
        Byte of the first frame, and from frame to frame.
    offsets
        (n_frames,) byte of every frame where they lie irregularly; then `offset` and `stride` do
        not count.
    """

    stored_dtype: np.dtype
    offset: int = 0
    stride: int = 0
    offsets: np.ndarray | None = None

    def _frames(self, start: int, stop: int) -> np.ndarray:
        frames = np.empty((stop - start, *self.shape[1:]), self.stored_dtype)
        frame_bytes = frames[0].nbytes
        if self.offsets is None and self.stride == frame_bytes:
            self.place.read_into(self.offset + start * frame_bytes, frames)
        else:
            for i, at in enumerate(self._starts(start, stop)):
                self.place.read_into(int(at), frames[i])
        if self.stored_dtype.isnative:
            return frames
        return frames.byteswap(inplace=True).view(self.dtype)

    def _starts(self, start: int, stop: int) -> np.ndarray:
        if self.offsets is not None:
            return self.offsets[start:stop]
        return self.offset + np.arange(start, stop) * self.stride


@dataclass(frozen=True, eq=False, kw_only=True)
class MappedReader(FileReader):
    """Frames scattered in a file (time last, several channels), picked from a memory map.

    Attributes
    ----------
    stored_dtype, stored_shape
        Of the array, with the file's byte order and axes.
    plan
        Which of these axes are (t, y, x).
    offset
        Byte at which the array begins.
    order
        ``"C"`` or ``"F"``, as NumPy has it.
    """

    stored_dtype: np.dtype
    stored_shape: tuple[int, ...]
    plan: AxisPlan
    offset: int = 0
    order: str = "C"

    def _frames(self, start: int, stop: int) -> np.ndarray:
        if self.place.size() < self.offset + _n_bytes(self.stored_shape, self.stored_dtype):
            msg = f"{self.place} has been cut short"
            raise DamagedDataError(msg)
        mapped = np.memmap(
            self.place.path, self.stored_dtype, "r", self.offset, self.stored_shape, self.order
        )  # type: ignore[call-overload]
        return np.ascontiguousarray(self.plan.take(mapped, start, stop)).astype(
            self.dtype, copy=False
        )


def raw_reader(
    place: Place,
    plan: AxisPlan,
    stored_dtype: np.dtype,
    *,
    offset: int,
    order: str = "C",
    **about: Any,
) -> FileReader:
    """Return the reader of an uncompressed array in a file.

    Frames that the header promises beyond the file's end are left out, and a note says so.

    Parameters
    ----------
    place
        The file.
    plan
        How frames lie in the array.
    stored_dtype
        Of a pixel, with the file's byte order.
    offset
        Byte at which the array begins.
    order
        ``"C"``, the last axis being the fastest, or ``"F"``.
    **about
        Further arguments of `FileReader`: format, calibration, notes.

    Raises
    ------
    MovieError
        If the file does not hold a single frame.
    """
    n, height, width = plan.shape
    if stored_dtype.itemsize == 0 or stored_dtype.kind not in "biuf":
        msg = f"{place} holds {stored_dtype} values; intensities are real numbers"
        raise MovieError(msg)
    frame_bytes = height * width * stored_dtype.itemsize
    available = max(0, place.size() - offset)
    notes = tuple(note for note in (plan.note, *about.pop("notes", ())) if note)
    common: dict[str, Any] = {
        "place": place,
        "dtype": plan.dtype(stored_dtype),
        "stored_dtype": stored_dtype,
        "offset": offset,
        **about,
    }
    if order == "C" and _frames_follow_each_other(plan):
        # pixels follow one another from `offset` to the end of the file; what is promised beyond
        # that is not there, and only whole frames count
        held = min(n, available // max(1, frame_bytes))
        if held < n:
            notes = (*notes, cut_short(n, held))
        if held == 0 and n > 0:
            msg = (
                f"{place} is cut short: its header promises {n} frames of {frame_bytes} bytes, "
                f"but only {available} bytes follow"
            )
            raise MovieError(msg)
        return RawReader(**common, shape=(held, height, width), stride=frame_bytes, notes=notes)
    _check_scattered(place, _n_bytes(plan.lengths, stored_dtype), available)
    return MappedReader(
        **common, shape=plan.shape, stored_shape=plan.lengths, plan=plan, order=order, notes=notes
    )


def _check_scattered(place: Place, promised: int, available: int) -> None:
    """Refuse an array that has to be mapped whole, but is not there whole, or not on a disk."""
    if promised > available:
        msg = f"{place} is cut short: its header promises {promised} bytes, but {available} follow"
        raise MovieError(msg)
    if place.is_remote:
        msg = (
            f"the frames in {place} do not lie one after the other; copy it to a local disk first "
            "(stemkin convert reads it there)"
        )
        raise MovieError(msg)


def cut_short(promised: int, held: int) -> str:
    """Return the note for a file that holds fewer frames than its header promises."""
    return f"its header promises {promised} frames, but the file ends after {held}"


def _frames_follow_each_other(plan: AxisPlan) -> bool:
    """Tell whether frames lie in the file whole and one after the other."""
    # axes of length 1 and fixed index take no room, so the order of the others decides
    long = [i for i, n in zip(plan.index, plan.lengths, strict=True) if n > 1 or isinstance(i, str)]
    return long in (["t", "y", "x"], ["y", "x"])


def _n_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    n = dtype.itemsize
    for length in shape:
        n *= length
    return n
