"""Movies of xarray, and ours for xarray: the frames stay where they are until they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.extras import needed
from stemkin.readers.base import Calibration

TO_NM = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "A": 0.1, "Å": 0.1, "pm": 1e-3, "m": 1e9}
TO_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0}
"""Units of coordinates, in nanometres and seconds."""

IRREGULAR = 1e-4
"""Steps of a coordinate may differ by this share of the mean step."""


def as_xarray(frames: Any, known: Calibration, *, name: str, source: str) -> Any:
    """Return frames as a DataArray (t, y, x). Lazy.

    Parameters
    ----------
    frames
        (t, y, x), Dask or NumPy.
    known
        Calibration: coordinates are in nanometres and seconds where these are known, else in pixels
        and frames.
    name, source
        Of the movie.
    """
    xarray: Any = needed("xarray", extra="xarray", wanted_for="Movie.to_xarray")
    lengths = [("t", known.frame_time_s, "s", "frame")]
    lengths += [(axis, known.pixel_size_nm, "nm", "px") for axis in ("y", "x")]
    coordinates = {}
    for (axis, step, unit, otherwise), n in zip(lengths, frames.shape, strict=True):
        values, named = np.arange(n) * (step or 1.0), unit if step else otherwise
        coordinates[axis] = (axis, values, {"units": named})
    about = {"source": source, **known.known()}
    return xarray.DataArray(
        frames, dims=("t", "y", "x"), coords=coordinates, name=name, attrs=about
    )


@dataclass(frozen=True, eq=False)
class XarrayReader:
    """The frames of a DataArray (t, y, x); chunks of it are computed as frames are read."""

    array: Any
    calibration: Calibration

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        n, height, width = self.array.shape
        return int(n), int(height), int(width)

    @property
    def dtype(self) -> np.dtype:
        """Of one pixel."""
        kind: np.dtype = np.dtype(self.array.dtype)
        return kind

    @property
    def source(self) -> str:
        """What the array calls its source."""
        return str(self.array.attrs.get("source") or self.array.name or "xarray")

    @property
    def frames_per_chunk(self) -> int:
        """Frames that are computed together."""
        chunks = getattr(self.array.data, "chunks", None)
        return max(1, int(chunks[0][0])) if chunks else 1

    @property
    def identity(self) -> str:
        """Changes when the content does: Dask's name of the array, or a checksum of its pixels."""
        name = getattr(self.array.data, "name", None)
        if isinstance(name, str):
            return f"xarray {self.shape} {self.dtype} {name}"
        import zlib

        pixels = np.ascontiguousarray(self.array.values)
        return f"xarray {self.shape} {self.dtype} {zlib.crc32(pixels.tobytes()):08x}"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded)."""
        return np.asarray(self.array[start:stop].values)


def movie_parts(array: Any) -> XarrayReader:
    """Return the reader of a DataArray (t, y, x), with the calibration that its coordinates say.

    Parameters
    ----------
    array
        DataArray.

    Raises
    ------
    ValueError
        If it has not three dimensions, its pixels are not square, or a coordinate is not regular.
    """
    if getattr(array, "ndim", None) != 3 or not hasattr(array, "dims"):
        msg = (
            "a movie is an xarray DataArray of three dimensions (t, y, x), but this is a "
            f"{type(array).__name__} of {getattr(array, 'dims', getattr(array, 'ndim', 'none'))}"
        )
        raise ValueError(msg)
    time, y, x = (str(name) for name in array.dims)
    step_s = _step(array, time, TO_S)
    edges = [edge for edge in (_step(array, y, TO_NM), _step(array, x, TO_NM)) if edge is not None]
    if len(edges) == 2 and abs(edges[0] - edges[1]) > 1e-3 * edges[0]:
        msg = (
            f"its pixels are {edges[0]:g} nm high and {edges[1]:g} nm wide; stemkin needs square "
            "pixels: resample the array"
        )
        raise ValueError(msg)
    attributes = array.attrs
    values = {
        "pixel_size_nm": edges[0] if len(edges) == 2 else attributes.get("pixel_size_nm"),
        "frame_time_s": step_s if step_s is not None else attributes.get("frame_time_s"),
        "dose_rate_e_per_nm2_s": attributes.get("dose_rate_e_per_nm2_s"),
        "exposure_fraction": attributes.get("exposure_fraction"),
    }
    known = {name: float(value) for name, value in values.items() if value is not None}
    return XarrayReader(array, Calibration.of(known, dict.fromkeys(known, "xarray")))


def _step(array: Any, axis: str, units: dict[str, float]) -> float | None:
    """Return the step of a coordinate in nanometres or seconds; None where it is not said."""
    if axis not in array.coords or array.sizes[axis] < 2:
        return None
    coordinate = array.coords[axis]
    unit = str(coordinate.attrs.get("units", ""))
    if unit not in units:
        return None
    steps = np.diff(np.asarray(coordinate.values, dtype=float))
    mean = float(steps.mean())
    if not mean > 0 or np.abs(steps - mean).max() > IRREGULAR * mean:
        msg = (
            f"the coordinate {axis!r} does not grow in equal steps (from {steps.min():g} to "
            f"{steps.max():g} {unit}); stemkin needs frames and pixels at equal distances"
        )
        raise ValueError(msg)
    return mean * units[unit]
