"""What every reader is: a small picklable object that knows a movie's shape and reads frames by number.

A reader holds a path, never an open file: each worker opens the file by itself (open handles do not survive pickling
or forking). Nothing is read or allocated before `Reader.read` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """Pixel size, frame time and dose rate, each None where the file does not say; they are never guessed."""

    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    dose_rate_e_per_nm2_s: float | None = None

    def overridden_by(self, other: Calibration) -> Calibration:
        """Return this calibration with every value that `other` knows put in its place."""
        return Calibration(
            self.pixel_size_nm if other.pixel_size_nm is None else other.pixel_size_nm,
            self.frame_time_s if other.frame_time_s is None else other.frame_time_s,
            self.dose_rate_e_per_nm2_s if other.dose_rate_e_per_nm2_s is None else other.dose_rate_e_per_nm2_s,
        )


@runtime_checkable
class Reader(Protocol):
    """A source of frames.

    Attributes
    ----------
    shape
        (n_frames, height, width).
    dtype
        Of one pixel, as stored.
    calibration
        What the file says of itself.
    source
        Path or URL, as the user would write it.
    frames_per_chunk
        Frames that the storage keeps together; a block of frames never splits such a chunk.
    identity
        Changes when the content does (path, size and modification time; or the seed of a simulation).
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype: ...  # noqa: D102
    @property
    def calibration(self) -> Calibration: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def frames_per_chunk(self) -> int: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded) as a (n, y, x) array."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Frames that are already in memory (or any array that slices to NumPy)."""

    array: np.ndarray
    calibration: Calibration = Calibration()
    source: str = "array"
    frames_per_chunk: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        n, height, width = self.array.shape
        return n, height, width

    @property
    def dtype(self) -> np.dtype:
        """Of one pixel."""
        return self.array.dtype

    @property
    def identity(self) -> str:
        """Shape, type and a checksum of the pixels."""
        import zlib

        return f"array {self.shape} {self.dtype} {zlib.crc32(np.ascontiguousarray(self.array).tobytes()):08x}"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded)."""
        return np.asarray(self.array[start:stop])
