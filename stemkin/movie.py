"""A movie: frames that are read when they are needed, and what is known of them.

>>> import numpy as np
>>> calibration = {"pixel_size_nm": 0.03, "frame_time_s": 2.25}
>>> movie = Movie.from_array(np.zeros((6, 32, 32)), name="tiny", **calibration)
>>> movie.frames.shape, movie.pixel_size_nm
((6, 32, 32), 0.03)
>>> movie.block_edges(frames_per_block=4)
[(0, 4), (4, 6)]
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.blas import one_thread
from stemkin.errors import reaching
from stemkin.names import readable
from stemkin.readers import (
    CALIBRATED,
    ArrayReader,
    Calibration,
    MovieError,
    Options,
    Reader,
    open_reader,
    stem_of,
)
from stemkin.readers.corrected import CorrectedReader, Corrections
from stemkin.readers.wrappers import PartReader, TolerantReader

log = logging.getLogger(__name__)

BLOCK_MIB = 64
"""What a block of frames aims at: seconds of work for a task, and several fit into a laptop's
memory."""


@dataclass(frozen=True, eq=False)
class Movie:
    """Frames with their calibration; immutable, picklable, nothing read yet.

    Attributes
    ----------
    reader
        Where the frames come from.
    name
        Unique in its archive.
    calibration
        After arguments and manifest have overridden what the file says.
    """

    reader: Reader
    name: str
    calibration: Calibration

    def __post_init__(self) -> None:
        """Spell out the bytes of a name that are no text."""
        object.__setattr__(self, "name", readable(self.name))

    @classmethod
    def from_array(
        cls,
        array: np.ndarray,
        *,
        name: str = "movie",
        pixel_size_nm: float | None = None,
        frame_time_s: float | None = None,
        dose_rate_e_per_nm2_s: float | None = None,
        exposure_fraction: float | None = None,
    ) -> Movie:
        """Make a movie of an array (n, y, x) in memory; calibration as in `open_movie`."""
        known = argument_calibration(
            "argument", pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction
        )
        return cls(ArrayReader(array, known), name, known)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.n_frames

    @overload
    def __getitem__(self, which: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, which: slice) -> Movie: ...
    def __getitem__(self, which: int | slice) -> np.ndarray | Movie:
        """Return one frame (y, x), read now; or of a slice the movie of those frames, lazy.

        Every n-th frame makes a movie whose frame time is n times as long.

        Raises
        ------
        IndexError
            If there is no such frame.
        ValueError
            If a slice goes backwards or holds no frame.
        """
        if isinstance(which, slice):
            return self._part(which)
        number = which + self.n_frames * (which < 0)
        if not 0 <= number < self.n_frames:
            msg = f"{self.name} has frames 0 to {self.n_frames - 1}, and no frame {which}"
            raise IndexError(msg)
        return np.asarray(self.reader.read(number, number + 1)[0])

    def _part(self, which: slice) -> Movie:
        """Return the movie of some frames."""
        start, stop, step = which.indices(self.n_frames)
        n = len(range(start, stop, step))
        if step < 1 or n == 0:
            asked = f"{which.start}:{which.stop}:{which.step}".replace("None", "")
            msg = (
                f"{self.name}[{asked}] holds no frame in the order of time; it has frames 0 to "
                f"{self.n_frames - 1}"
            )
            raise ValueError(msg)
        known = self.calibration
        if step > 1 and known.frame_time_s is not None:
            # a frame is exposed as long as before, and that is a smaller part of the time
            part = known.exposure_fraction
            known = replace(
                known,
                frame_time_s=step * known.frame_time_s,
                dose_rate_e_per_nm2_s=None,
                exposure_fraction=None if part is None else part / step,
            )
        return Movie(PartReader(self.reader, start, n, step), self.name, known)

    def __repr__(self) -> str:
        """Say in a line how large it is, and what is known of it."""
        n, height, width = self.shape
        size = n * height * width * self.reader.dtype.itemsize / 2**20
        said = ", ".join(f"{words} {value}" for words, value, _ in said_of_calibration(self))
        return (
            f"Movie {self.name!r}: {n:,} frames of {height} x {width} px ({self.reader.dtype}, "
            f"{size:,.0f} MiB), {said}"
        )

    def _repr_html_(self) -> str:
        """Return the same for notebooks: a table, and one frame as a picture."""
        from stemkin.plot.frame import html_of_movie

        rows = [("frames", f"{self.n_frames:,}")]
        rows.append(("size", "{} x {} px".format(*self.shape[1:])))
        rows.append(("pixels", f"{self.reader.dtype} in {self.source}"))
        for words, value, origin in said_of_calibration(self):
            rows.append((words, f"{value} (from {origin})" if origin else value))
        return html_of_movie(self.name, rows, lambda: self[self.n_frames // 2])

    def plot(
        self,
        frame: int = 0,
        *,
        detections: pd.DataFrame | None = None,
        tracks: pd.DataFrame | None = None,
        classes: pd.DataFrame | Mapping[int, str] | None = None,
        axes: Any = None,
    ) -> Any:
        """Draw a frame, and what was found in it, with Matplotlib. Computes once.

        Parameters
        ----------
        frame
            Its number.
        detections
            Table ``detections`` (pandas); those of this movie and frame are drawn.
        tracks
            Table ``tracks`` (pandas) likewise, each with the way that it has come.
        classes
            Table ``classes`` (of a model or of results), or class number → name, for a legend.
        axes
            Matplotlib axes to draw into; by default new ones.

        Returns
        -------
        The axes.
        """
        from stemkin.plot import draw_frame

        return draw_frame(
            axes,
            self[frame],
            pixel_size_nm=self.pixel_size_nm,
            detections=_of_movie(detections, self.name, frame, past=False),
            tracks=_of_movie(tracks, self.name, frame, past=True),
            frame=frame,
            classes=classes,
        )

    def to_xarray(self) -> Any:
        """Return the frames as an xarray DataArray (t, y, x), lazy, with coordinates and units.

        Raises
        ------
        MissingExtraError
            If xarray is not installed. An ImportError.
        """
        from stemkin.readers.xarrays import as_xarray

        return as_xarray(self.frames, self.calibration, name=self.name, source=self.source)

    @classmethod
    def from_xarray(cls, array: Any, *, name: str | None = None) -> Movie:
        """Make a movie of an xarray DataArray (t, y, x). Lazy: its chunks are read when needed.

        Parameters
        ----------
        array
            DataArray with three dimensions, the first of which is time. Coordinates of regular
            steps with units give the frame time and pixel size.
        name
            Of the movie; by default that of the array.

        Raises
        ------
        ValueError
            If it has not three dimensions, or its steps contradict each other.
        """
        from stemkin.readers.xarrays import movie_parts

        reader = movie_parts(array)
        return cls(reader, name or str(array.name or "movie"), reader.calibration)

    def to_hyperspy(self) -> Any:
        """Return the frames as a lazy signal of HyperSpy, with its axes in nm and s.

        Raises
        ------
        MissingExtraError
            If HyperSpy is not installed. An ImportError.
        """
        from stemkin.readers.signals import as_hyperspy

        return as_hyperspy(self.frames, self.calibration, name=self.name, source=self.source)

    @classmethod
    def from_hyperspy(cls, signal: Any, *, name: str | None = None) -> Movie:
        """Make a movie of a HyperSpy signal. Lazy: a lazy signal's chunks are read when needed.

        Parameters
        ----------
        signal
            Signal of images along one axis of navigation, which is time whatever it is called. Its
            axes give frame time and pixel size where they have units.
        name
            Of the movie; by default the title of the signal.

        Raises
        ------
        MovieError
            If it is no movie, an axis does not grow in equal steps, or its pixels are not square. A
            ValueError.
        """
        from stemkin.readers.signals import reader_of_signal

        reader = reader_of_signal(signal)
        return movie_of(reader, Calibration(), name=name or reader.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        return self.reader.shape

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.reader.shape[0]

    @property
    def source(self) -> str:
        """Path or URL."""
        return self.reader.source

    @property
    def pixel_size_nm(self) -> float | None:
        """Edge of a pixel [nm], or None."""
        return self.calibration.pixel_size_nm

    @property
    def frame_time_s(self) -> float | None:
        """Time from frame to frame [s], or None."""
        return self.calibration.frame_time_s

    @property
    def dose_rate_e_per_nm2_s(self) -> float | None:
        """Electrons per nm2 and second, or None."""
        return self.calibration.dose_rate_e_per_nm2_s

    @property
    def dose_e_per_nm2(self) -> float | None:
        """Electrons per nm2 of a frame, or None where rate or frame time are not known."""
        if self.dose_rate_e_per_nm2_s is None or self.frame_time_s is None:
            return None
        return self.dose_rate_e_per_nm2_s * self.frame_time_s

    @property
    def exposure_fraction(self) -> float | None:
        """Part of the frame time during which a frame is exposed, or None."""
        return self.calibration.exposure_fraction

    @property
    def frames(self) -> Any:
        """The frames (t, y, x) as a Dask array with whole frames per chunk. Lazy."""
        return self.to_dask()

    def to_dask(self, *, frames_per_block: int | None = None) -> Any:
        """Return the frames as a Dask array (t, y, x), chunked as `block_edges` says. Lazy."""
        import dask.array as da

        edges = self.block_edges(frames_per_block=frames_per_block)
        _, height, width = self.shape

        # a block reads by frame numbers, which Dask tells it as its place in the array; the array
        # holds no data, only the reader, which opens the file in each task
        @one_thread
        def read_block(block_info: Any = None) -> np.ndarray:
            (start, stop), *_ = block_info[None]["array-location"]
            return self.reader.read(int(start), int(stop))

        chunks = (tuple(stop - start for start, stop in edges), (height,), (width,))
        return da.map_blocks(
            read_block,
            chunks=chunks,
            dtype=self.reader.dtype,
            meta=np.empty((0, 0, 0), self.reader.dtype),
        )

    def block_edges(
        self, *, frames_per_block: int | None = None, block_mib: float = BLOCK_MIB
    ) -> list[tuple[int, int]]:
        """Return (start, stop) of every block: whole storage chunks, about `block_mib` in size."""
        n, height, width = self.shape
        if frames_per_block is None:
            frame_bytes = height * width * self.reader.dtype.itemsize
            whole = self.reader.frames_per_chunk
            # as many whole storage chunks as fit into `block_mib`, and one where not even one fits
            fitting = max(1, int(block_mib * 2**20) // max(1, frame_bytes))
            frames_per_block = max(whole, fitting // whole * whole)
        return [
            (start, min(start + frames_per_block, n)) for start in range(0, n, frames_per_block)
        ]

    def table_row(self) -> dict[str, Any]:
        """Return this movie's row of the table ``movies``; unknown calibration is NaN."""
        n, height, width = self.shape
        unknown = dict.fromkeys(CALIBRATED, float("nan"))
        return {
            "movie": self.name,
            "n_frames": n,
            "height_px": height,
            "width_px": width,
            **unknown,
            **self.calibration.known(),
            "source": self.source,
        }


def said_of_calibration(movie: Movie) -> list[tuple[str, str, str]]:
    """Return what is known of a movie: words, value with its unit, and where that comes from."""
    units = {
        "pixel_size_nm": ("pixel", "nm"),
        "frame_time_s": ("frame time", "s"),
        "dose_rate_e_per_nm2_s": ("dose rate", "e/nm²/s"),
    }
    said = []
    for name, (words, unit) in units.items():
        value = getattr(movie, name)
        if value is None:
            said.append((words, "unknown", ""))
        else:
            said.append((words, f"{value:g} {unit}", movie.calibration.origin.get(name, "")))
    return said


def _of_movie(
    rows: pd.DataFrame | None, movie: str, frame: int, *, past: bool
) -> pd.DataFrame | None:
    """Return the rows of one movie in a frame, or up to it; None for none."""
    if rows is None:
        return None
    own = rows[rows["frame"] <= frame] if past else rows[rows["frame"] == frame]
    if "movie" in own.columns:
        own = own[own["movie"].astype(str) == movie]
    return own


Movies = Movie | Iterable[Movie]
"""What the verbs take: one movie, an archive, or any iterable of movies."""


def each_movie(movies: Movies) -> Iterator[Movie]:
    """Yield the movies of a movie, an archive or an iterable."""
    if isinstance(movies, Movie):
        yield movies
    else:
        yield from movies


def movies_table(movies: Movies) -> pd.DataFrame:
    """Return the table ``movies`` of `movies`."""
    rows = [movie.table_row() for movie in each_movie(movies)]
    return tables.conform(pd.DataFrame(rows, columns=list(tables.COLUMNS["movies"])), "movies")


def open_movie(
    path: str | os.PathLike[str],
    *,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    dose_rate_e_per_nm2_s: float | None = None,
    exposure_fraction: float | None = None,
    name: str | None = None,
    dataset: str | None = None,
    channel: int | None = None,
    time_axis: str | None = None,
    allow_external: bool = False,
    corrections: Corrections | None = None,
) -> Movie:
    """Open a movie, whatever its format. Lazy: no frame is read.

    Parameters
    ----------
    path
        File, folder (Zarr) or URL. One image (y, x) is a movie of one frame.
    pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s
        Calibration; what is given here counts more than what the file says. What neither says stays
        None.
    exposure_fraction
        Part of the frame time during which each frame is exposed, likewise: 0 for a scanned probe,
        1 for a camera that never closes. It is the motion blur of `fit_diffusion`.
    name
        What to call the movie; the file's name without its suffix unless told otherwise.
    dataset
        Which one, where a file holds several images or arrays: the path of an array (Zarr, HDF5,
        NPZ), the number or name of an image (DM, TIFF, OME), of a stream or a signal.
    channel
        Which detector, where the file holds several.
    time_axis
        Name or number (from 0) of the stored axis that is time, where the file calls it something
        else (``"z"``) or does not say it.
    allow_external
        Whether pixels may come from other files that this one points to: HDF5 with external storage,
        virtual datasets or external links, Zarr with links out of the store, stores of references.
        A file from someone else can point to any file of yours.
    corrections
        What the detector did to the frames, to be undone as they are read: dark, gain, dead pixels,
        flyback columns, ...

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MovieError
        If it does not open, is no movie (a spectrum image, a focal series), contradicts itself, or
        its pixels are not square and no `pixel_size_nm` is given. A ValueError.
    UnreachableError
        If its store or server does not answer. An OSError.
    """
    given = argument_calibration(
        "argument", pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction
    )
    source = os.fspath(path)
    with reaching(source):
        reader = open_reader(source, Options(dataset, channel, time_axis, allow_external))
    return movie_of(reader, given, name=name, corrections=corrections)


def argument_calibration(
    origin: str,
    pixel_size_nm: float | None,
    frame_time_s: float | None,
    dose_rate_e_per_nm2_s: float | None,
    exposure_fraction: float | None = None,
) -> Calibration:
    """Return the calibration that the user gives; `origin` is ``"argument"`` or ``"manifest"``."""
    given = Calibration(pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction)
    return Calibration.of(given.known(), dict.fromkeys(given.known(), origin))


def doubts_of(calibration: Calibration) -> list[str]:
    """Return a sentence for every value that a file states and that is not believed."""
    named = {"pixel_size_nm": "pixel size", "frame_time_s": "frame time"}
    return [
        f"its {named.get(name, name)} is not known: {why}"
        for name, why in calibration.doubts.items()
    ]


def movie_of(
    reader: Reader,
    given: Calibration,
    *,
    name: str | None = None,
    corrections: Corrections | None = None,
) -> Movie:
    """Return the movie of a reader, calibrated by what is `given` before what the file says. Lazy.

    Raises
    ------
    MovieError
        If its pixels are not square and no pixel size is given, or the corrections do not fit its
        frames.
    """
    edges = getattr(reader, "pixel_sizes_nm", None)
    if edges is not None and given.pixel_size_nm is None:
        msg = (
            f"{reader.source} says that its pixels are {edges[0]:g} nm high and {edges[1]:g} nm "
            "wide; stemkin needs square pixels: resample the movie, or give pixel_size_nm if the "
            "file is wrong"
        )
        raise MovieError(msg)
    name, calibration = name or stem_of(reader.source), reader.calibration.overridden_by(given)
    for note in (*getattr(reader, "notes", ()), *doubts_of(calibration)):
        log.warning("%s: %s", reader.source, note)
    if corrections is not None:
        reader = CorrectedReader(reader, corrections)
    return Movie(TolerantReader(reader), name, calibration)
