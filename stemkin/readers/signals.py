"""Movies of HyperSpy, and ours for HyperSpy: the frames stay where they are until they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.extras import needed
from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import Calibration
from stemkin.readers.calibration import calibration_along
from stemkin.readers.errors import MovieError
from stemkin.readers.hyperspy import axes_of_signal, kind_of_signal

WHAT = "the HyperSpy signal"


def as_hyperspy(frames: Any, known: Calibration, *, name: str, source: str) -> Any:
    """Return frames as a lazy HyperSpy signal: images along an axis of time. Lazy.

    Parameters
    ----------
    frames
        (t, y, x), Dask or NumPy.
    known
        Calibration: axes are in nanometres and seconds where these are known, else in pixels and
        frames.
    name, source
        Of the movie.
    """
    hyperspy: Any = needed("hyperspy.api", extra="hyperspy", wanted_for="Movie.to_hyperspy")
    steps = [("time", known.frame_time_s, "s", "frame")]
    steps += [(axis, known.pixel_size_nm, "nm", "px") for axis in ("y", "x")]
    axes = []
    for (axis, step, unit, otherwise), n in zip(steps, frames.shape, strict=True):
        said = {"name": axis, "size": n, "scale": 1.0, "units": otherwise, "offset": 0.0}
        if step is not None:
            said |= {"scale": step, "units": unit}
        axes.append({**said, "navigate": axis == "time"})
    about = {"General": {"title": name, "original_filename": source}}
    return hyperspy.signals.Signal2D(frames, axes=axes, metadata=about).as_lazy()


@dataclass(frozen=True, eq=False)
class SignalReader:
    """The frames of a HyperSpy signal; chunks of a lazy one are computed as frames are read.

    Attributes
    ----------
    data
        Array of the signal, NumPy or Dask.
    plan
        How frames lie in it.
    calibration
        What the axes of the signal say.
    source
        The signal's title.
    pixel_sizes_nm
        (y, x) where the axes say that pixels are not square, else None.
    """

    data: Any
    plan: AxisPlan
    calibration: Calibration
    source: str
    pixel_sizes_nm: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        return self.plan.shape

    @property
    def dtype(self) -> np.dtype:
        """Of one pixel."""
        return self.plan.dtype(self.data.dtype)

    @property
    def frames_per_chunk(self) -> int:
        """Frames that are computed together."""
        chunks = getattr(self.data, "chunks", None)
        along = self.plan.axis("t")
        if chunks is None or along is None:
            return 1
        return self.plan.frames_together(max(1, int(chunks[along][0])), self.dtype)

    @property
    def identity(self) -> str:
        """Changes when the content does: Dask's name of the array, or a checksum of its pixels."""
        name = getattr(self.data, "name", None)
        if isinstance(name, str):
            return f"signal {self.shape} {self.dtype} {name}"
        import zlib

        pixels = np.ascontiguousarray(self.data)
        return f"signal {self.shape} {self.dtype} {zlib.crc32(pixels.tobytes()):08x}"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` (excluded)."""
        import dask

        with dask.config.set(scheduler="synchronous"):  # this may be a task already
            return np.asarray(self.plan.take(self.data, start, stop))


def reader_of_signal(signal: Any) -> SignalReader:
    """Return the reader of a HyperSpy signal, with the calibration that its axes say.

    Parameters
    ----------
    signal
        A signal of HyperSpy: anything with ``data`` and an ``axes_manager``.

    Raises
    ------
    MovieError
        If it is no signal, is no movie, or an axis does not grow in equal steps. A ValueError.
    """
    manager = getattr(signal, "axes_manager", None)
    if manager is None or not hasattr(signal, "data"):
        msg = f"a movie is made of a HyperSpy signal (a Signal2D), but this is a {type(signal).__name__}"
        raise MovieError(msg)
    described = list(manager.as_dictionary().values())
    uneven = [said.get("name") for said in described if "scale" not in said]
    if uneven:
        msg = (
            f"the axis {uneven[0]!r} of {WHAT} does not grow in equal steps; stemkin needs frames "
            "and pixels at equal distances: convert_to_uniform_axis() makes it do so"
        )
        raise MovieError(msg)
    axes, data = axes_of_signal(described, "HyperSpy axis"), signal.data
    is_none = kind_of_signal(described, getattr(signal, "_signal_type", ""))
    if is_none:
        msg = f"{WHAT} is no movie but {is_none} (its signal type or its axes say so)"
        raise MovieError(msg)
    plan = frames_in(data.shape, axes, data.dtype, WHAT)
    about = calibration_along(plan.named(axes))
    title = str(signal.metadata.General.title or "signal")
    return SignalReader(
        data, plan, about["calibration"], title, pixel_sizes_nm=about.get("pixel_sizes_nm")
    )
