"""What every reader is: a small picklable object that knows a movie's shape and reads frames by
number.

A reader holds a path, never an open file: each worker opens the file by itself (open handles do not
survive pickling or forking). Nothing is read or allocated before `Reader.read` is called.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stemkin.errors import is_of_the_network

MAX_FRAME_BYTES = 2**31
"""No frame is larger than this (32,768 x 32,768 in 16 bits); a header that says so is taken for a
broken one."""


MAX_EXPANSION = 10_000
"""Frames that fill more than so many times their stored bytes do not come from a codec (deflate
reaches 1,032) but from a broken header."""
ALWAYS_PLAUSIBLE_BYTES = 2**26
"""So much may be promised by a file that stores nothing: blank frames cost no bytes."""


class MovieError(ValueError):
    """A source that does not open as a movie; the message says what it is, what was met and the
    cure."""


class DamagedDataError(ValueError):
    """Frames that the file cannot give back: cut off, failing their checksum, not decodable. The
    other frames can be read."""


class NoSuchFrameError(IndexError):
    """Frames that a movie does not have were asked for."""


PASSING = (
    FileNotFoundError,
    PermissionError,
    ConnectionError,
    TimeoutError,
    MemoryError,
    ImportError,
    NoSuchFrameError,
)


def is_damage(error: Exception) -> bool:
    """Tell whether an error comes from what a file holds, rather than from the moment it was read
    in.

    Trouble of the moment may pass when it is tried again: a file that is gone, no memory, no
    connection, a failing disk.

    >>> is_damage(ValueError("bad header")), is_damage(OSError(5, "I/O error")), is_damage(FileNotFoundError("gone"))
    (True, False, False)
    """
    if isinstance(error, MovieError | DamagedDataError):
        return True
    if (
        type(error).__module__.split(".")[0] == "av"
    ):  # FFmpeg borrows the system's numbers for streams that do not decode
        return not isinstance(error, FileNotFoundError)
    if isinstance(error, PASSING) or is_of_the_network(error):
        return False
    nonsense = (
        None,
        errno.EINVAL,
        errno.EOVERFLOW,
    )  # a place in the file that cannot be; libraries raise OSError without number
    return (
        not isinstance(error, OSError) or isinstance(error, ValueError) or error.errno in nonsense
    )


def check_promise(promised: float, stored: float, source: str) -> None:
    """Refuse a header that promises `promised` bytes of pixels where `stored` bytes lie in the
    file.

    Raises
    ------
    MovieError
        If no codec could make the one of the other.
    """
    if promised > ALWAYS_PLAUSIBLE_BYTES + MAX_EXPANSION * stored:
        msg = (
            f"{source} promises {promised:.3g} bytes of pixels, but stores {stored:.3g}; its "
            "header is broken"
        )
        raise MovieError(msg)


@dataclass(frozen=True)
class Calibration:
    """Pixel size, frame time and dose rate, each None where the file does not say; they are never
    guessed.

    `origin` says for each value where it was found (``{"pixel_size_nm": "argument"}``).
    """

    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    dose_rate_e_per_nm2_s: float | None = None
    origin: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be a size, a time or a rate."""
        for name in CALIBRATED:
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                msg = f"{name} must be a positive number, but is {value!r}"
                raise ValueError(msg)

    def known(self) -> dict[str, float]:
        """Return the values that are known, by name."""
        return {name: getattr(self, name) for name in CALIBRATED if getattr(self, name) is not None}

    def overridden_by(self, other: Calibration) -> Calibration:
        """Return this calibration with every value that `other` knows put in its place."""
        origin = {**self.origin, **{name: other.origin.get(name, "") for name in other.known()}}
        return Calibration(**{**self.known(), **other.known()}, origin=origin)


CALIBRATED = ("pixel_size_nm", "frame_time_s", "dose_rate_e_per_nm2_s")
"""The names of the three values."""


@dataclass(frozen=True)
class Options:
    """What the user may say about where the frames lie in a file.

    Attributes
    ----------
    dataset
        Path of the array inside a Zarr group, an HDF5 or an NPZ file; None: the only one that can
        be a movie.
    channel
        Which channel (detector) where the file holds several; None: the only one.
    """

    dataset: str | None = None
    channel: int | None = None


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
        Changes when the content does (path, size and modification time; or the seed of a
        simulation).
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

        return (
            f"array {self.shape} {self.dtype} "
            f"{zlib.crc32(np.ascontiguousarray(self.array).tobytes()):08x}"
        )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded)."""
        return np.asarray(self.array[start:stop])


@dataclass(frozen=True, eq=False, kw_only=True)
class FileReader:
    """What the readers of files share; a format adds `_frames`.

    Attributes
    ----------
    source, shape, dtype, calibration, frames_per_chunk
        As in `Reader`; `dtype` is in the machine's own byte order.
    format
        Name of the format, for tables and messages.
    chunks
        How the storage cuts the array, for tables; None where it does not.
    notes
        What the user should know: frames that the header promises and the file does not hold, axes
        that were reinterpreted.
    pixel_sizes_nm
        (y, x) where the file says that pixels are not square: then a pixel size has to be given.
    """

    source: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    calibration: Calibration = Calibration()
    frames_per_chunk: int = 1
    format: str = ""
    chunks: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    pixel_sizes_nm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a movie.

        Raises
        ------
        MovieError
            If there are no frames, no pixels, frames larger than `MAX_FRAME_BYTES`, or numbers that
            are not intensities.
        """
        n, height, width = self.shape
        if n < 1 or height < 1 or width < 1:
            msg = f"{self.source} holds no frames: its shape (frames, y, x) is {self.shape}"
            raise MovieError(msg)
        if self.dtype.kind not in "iuf" or self.dtype.itemsize > 8:
            msg = (
                f"{self.source} holds {self.dtype} values; intensities are real numbers of at most "
                "64 bits"
            )
            raise MovieError(msg)
        if height * width * self.dtype.itemsize > MAX_FRAME_BYTES:
            msg = (
                f"{self.source} promises frames of {height} x {width} pixels, over "
                f"{MAX_FRAME_BYTES >> 30} GiB each; its header is broken"
            )
            raise MovieError(msg)

    @property
    def identity(self) -> str:
        """Where the file is, how large, and when it was last written."""
        from stemkin.readers.files import identity_of

        return identity_of(self.source)

    @property
    def n_bytes(self) -> int:
        """Bytes of all frames in memory."""
        n, height, width = self.shape
        return n * height * width * self.dtype.itemsize

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded) as a (n, y, x) array.

        Raises
        ------
        NoSuchFrameError
            If the movie has no such frames. An IndexError.
        DamagedDataError
            If the file cannot give them back.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            msg = (
                f"frames {start} to {stop} were asked of {self.source}, which has frames 0 to "
                f"{self.shape[0]}"
            )
            raise NoSuchFrameError(msg)
        wanted = (stop - start, *self.shape[1:])
        if start == stop:
            return np.empty(wanted, self.dtype)
        frames: np.ndarray = self._frames(start, stop)
        if frames.shape != wanted:
            msg = (
                f"frames {start} to {stop} of {self.source} have shape {frames.shape}, not {wanted}"
            )
            raise DamagedDataError(msg)
        return frames if frames.dtype == self.dtype else frames.astype(self.dtype)

    def _frames(self, start: int, stop: int) -> Any:
        raise NotImplementedError
