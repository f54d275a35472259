"""The reader protocol: a small picklable object that reads a movie's frames by their number.

A reader holds a path, never an open file: each worker opens the file by itself (open handles do not
survive pickling or forking). Nothing is read or allocated before `Reader.read` is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stemkin.readers.errors import DamagedDataError, MovieError, NoSuchFrameError
from stemkin.readers.notation import remembered
from stemkin.readers.place import Place, State

MAX_FRAME_BYTES = 2**31
"""No frame is larger than this (32,768 x 32,768 in 16 bits); a header that says so is broken."""


@remembered
@dataclass(frozen=True)
class Calibration:
    """Pixel size, frame time, dose rate and exposure; what nobody stated is None, never guessed.

    `exposure_fraction` is the part of the frame time during which a frame is exposed: 0 for a
    scanned probe, which meets each atom for an instant, 1 for a camera that never closes.

    `origin` says for each value where it was found (``{"pixel_size_nm": "argument"}``), `doubts`
    for a value that is None why what the file states of it is not believed.
    """

    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    dose_rate_e_per_nm2_s: float | None = None
    exposure_fraction: float | None = None
    origin: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    doubts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be a size, a time, a rate or a part."""
        part = self.exposure_fraction
        if part is not None and not 0 <= part <= 1:
            msg = f"exposure_fraction must be a number from 0 to 1, but is {part!r}"
            raise ValueError(msg)
        for name in CALIBRATED[:3]:
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                msg = f"{name} must be a positive number, but is {value!r}"
                raise ValueError(msg)

    @classmethod
    def of(
        cls,
        values: Mapping[str, float],
        origin: Mapping[str, str],
        doubts: Mapping[str, str] | None = None,
    ) -> Calibration:
        """Return the calibration whose values are told by name."""
        stated: dict[str, Any] = dict(values)
        return cls(**stated, origin=origin, doubts=doubts or {})

    def known(self) -> dict[str, float]:
        """Return the values that are known, by name."""
        values = {name: getattr(self, name) for name in CALIBRATED}
        return {name: value for name, value in values.items() if value is not None}

    def overridden_by(self, other: Calibration) -> Calibration:
        """Return this calibration with every value that `other` knows put in its place."""
        stated = {name: other.origin.get(name, "") for name in other.known()}
        origin = {**self.origin, **stated}
        found = Calibration.of({**self.known(), **other.known()}, origin)
        return found.doubted({**self.doubts, **other.doubts})

    def doubted(self, doubts: Mapping[str, str]) -> Calibration:
        """Return this calibration with the reasons why values that it does not know are missing."""
        known = self.known()
        missing = {
            name: why for name, why in {**self.doubts, **doubts}.items() if name not in known
        }
        return Calibration.of(known, self.origin, missing)


CALIBRATED = ("pixel_size_nm", "frame_time_s", "dose_rate_e_per_nm2_s", "exposure_fraction")
"""The names of the four values; the last may be 0."""


@remembered
@dataclass(frozen=True)
class Options:
    """What the user may say about where the frames lie in a file.

    Attributes
    ----------
    dataset
        Path, name or number of the array where a file holds several (Zarr, HDF5, NPZ, DM, TIFF, a
        folder of several sequences); None: the only one that can be a movie.
    channel
        Which channel (detector) where the file holds several; None: the only one.
    time_axis
        Name or number (from 0) of the stored axis that is time, where the file calls it otherwise
        (``"z"``) or not at all; None: what the file says.
    allow_external
        Whether pixels may come from where the file only points to: other files, and, of a manifest,
        URLs.
    """

    dataset: str | None = None
    channel: int | None = None
    time_axis: str | None = None
    allow_external: bool = False

    def __post_init__(self) -> None:
        """Take the number of a dataset or an axis for its name."""
        for name in ("dataset", "time_axis"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, str(getattr(self, name)))

    def described(self) -> str:
        """Return what was chosen, empty if nothing was."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        del said["allow_external"]  # the pixels are the same
        return " ".join(f"{name}={value!r}" for name, value in said.items() if value is not None)


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
    place
        Where the file is; `source` says it as the user wrote it.
    shape, dtype, calibration, frames_per_chunk
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
    choice
        What the user chose in the file (``"dataset='1'"``): it is part of the identity.
    """

    place: Place
    shape: tuple[int, int, int]
    dtype: np.dtype
    calibration: Calibration = Calibration()
    frames_per_chunk: int = 1
    format: str = ""
    chunks: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    pixel_sizes_nm: tuple[float, float] | None = None
    choice: str = ""

    def __init_subclass__(cls, **more: Any) -> None:
        """Let every reader of files be remembered: its fields are plain values, or say so."""
        super().__init_subclass__(**more)
        remembered(cls)

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
    def source(self) -> str:
        """Path or URL, as the user wrote it, in text that can be written anywhere."""
        return str(self.place)

    @property
    def identity(self) -> str:
        """Where the file is, how large, when it was last written, and what was chosen in it."""
        return f"{self._content_identity()} {self.choice}".rstrip()

    def _content_identity(self) -> str:
        """Return what changes when the content does; a format with several files has its own."""
        return self.place.identity()

    def state(self) -> State:
        """Return what the file is now, to be compared with what it was (`stemkin.readers.watched`)."""
        return self._telling_file().state()

    def _telling_file(self) -> Place:
        """Return the file that changes when the movie is replaced; of a folder, one in it."""
        return self.place

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
        if frames.dtype == self.dtype:
            return frames
        return frames.astype(self.dtype)

    def _frames(self, start: int, stop: int) -> Any:
        raise NotImplementedError
