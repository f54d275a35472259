"""Simulated movies as files: Zarr, TIFF or HDF5, with their truth beside them.

```
PATH/
├── paper-0.zarr            the movie (or .tif, .h5), calibrated
└── truth/paper-0/          defects, frames, sojourns, rates, generator, diffusion, limits
                            (Parquet), and params.json
```
``params.json`` holds every setting, so `truth_of` of the opened movie knows everything that the
simulation knew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stemkin.movie import Movie, Movies, each_movie
from stemkin.rows.parquet import write_plain
from stemkin.simulation.archive import simulate_archive, simulate_movie
from stemkin.simulation.reader import SimulatedReader
from stemkin.simulation.settings import Settings
from stemkin.simulation.truth import PARAMS, TRUTH, Truth, truth_of

Format = Literal["zarr", "tiff", "hdf5"]
SUFFIX = {"zarr": ".zarr", "tiff": ".tif", "hdf5": ".h5"}
FRAMES_AT_ONCE = 16
"""Frames that are in memory at a time, and that a Zarr chunk holds."""


def write_simulation(
    preset: str | Settings | Movies,
    path: str | os.PathLike[str],
    *,
    format: Format = "zarr",
    world: int | None = None,
    n_movies: int | None = None,
    n_frames: int | None = None,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    **overrides: Any,
) -> list[Path]:
    """Write simulated movies and their truth into the folder `path`. Computes once.

    Parameters
    ----------
    preset
        A preset's name, settings, a simulated movie, or several. "archive" gives several movies.
    path
        The folder; made where missing.
    format
        "zarr", "tiff" or "hdf5".
    world, n_movies, n_frames, shape, seed, **overrides
        As in `simulate_archive` and `simulate_movie`; unused where movies are given.
    overwrite
        Replace movies of the same name.

    Returns
    -------
    The paths of the movies. A movie appears under its name when it is whole.

    Raises
    ------
    ValueError
        If the format or a setting is unknown, or several movies of one world are asked for.
    FileExistsError
        If a movie of that name is there and may not be replaced.
    """
    if format not in SUFFIX:
        msg = f"movies cannot be written as {format!r}; choose from {sorted(SUFFIX)}"
        raise ValueError(msg)
    sizes: dict[str, Any] = {"n_frames": n_frames, "shape": shape, "seed": seed, **overrides}
    movies: Movies
    if world is not None and (n_movies or 1) > 1:
        msg = (
            f"a world is one movie, not {n_movies}; write worlds {world}, {world + 1}, ... in turn"
        )
        raise ValueError(msg)
    if preset == "archive" or (n_movies or 1) > 1:
        movies = simulate_archive(preset, n_movies=n_movies or 3, **sizes)  # type: ignore[arg-type]
    elif isinstance(preset, (str, Settings)):
        movies = simulate_movie(preset, world=world, **sizes)
    else:
        movies = preset
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_one(movie, folder, format, overwrite=overwrite) for movie in each_movie(movies)]


def _write_one(movie: Movie, folder: Path, file_format: Format, *, overwrite: bool) -> Path:
    truth = truth_of(movie)
    target = folder / f"{movie.name}{SUFFIX[file_format]}"
    if target.exists() and not overwrite:
        msg = f"{target} exists; choose another folder, or replace it (overwrite=True)"
        raise FileExistsError(msg)
    part = target.with_name(f".{target.name}.part")
    _remove(part)
    _write_truth(truth, folder / TRUTH / movie.name)
    _WRITERS[file_format](movie, part)
    _remove(target)
    part.rename(target)
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _blocks(movie: Movie) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first frame, frames) of a movie, few frames at a time."""
    for start in range(0, movie.n_frames, FRAMES_AT_ONCE):
        yield start, movie.reader.read(start, min(start + FRAMES_AT_ONCE, movie.n_frames))


def _calibration(movie: Movie) -> dict[str, Any]:
    """Return the calibration under stemkin's own names."""
    names = ("pixel_size_nm", "frame_time_s", "dose_rate_e_per_nm2_s")
    return {name: getattr(movie, name) for name in names} | {"source": movie.source}


def _write_zarr(movie: Movie, path: Path) -> None:
    import zarr

    n, height, width = movie.shape
    array = zarr.create_array(
        store=str(path),
        shape=movie.shape,
        chunks=(min(n, FRAMES_AT_ONCE), height, width),
        dtype=movie.reader.dtype,
        dimension_names=("t", "y", "x"),
        attributes=_calibration(movie),
        config={"write_empty_chunks": True},
    )
    for start, frames in _blocks(movie):
        array[start : start + len(frames)] = frames


def _write_tiff(movie: Movie, path: Path) -> None:
    import tifffile

    n_bytes = int(np.prod(movie.shape, dtype=np.int64)) * movie.reader.dtype.itemsize
    frames = (frame for _, block in _blocks(movie) for frame in block)
    with tifffile.TiffWriter(path, bigtiff=n_bytes > 2**31) as tiff:
        tiff.write(
            frames,
            shape=movie.shape,
            dtype=movie.reader.dtype,
            photometric="minisblack",
            metadata={"axes": "TYX", **_calibration(movie)},
        )


def _write_hdf5(movie: Movie, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("frames", shape=movie.shape, dtype=movie.reader.dtype)
        dataset.attrs.update(_calibration(movie))
        for start, frames in _blocks(movie):
            dataset[start : start + len(frames)] = frames


_WRITERS = {"zarr": _write_zarr, "tiff": _write_tiff, "hdf5": _write_hdf5}


def _write_truth(truth: Truth, folder: Path) -> None:
    """Write the tables of the truth, and the settings that all of it follows from."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("defects", "frames"):
        _write_long_table(truth, name, folder / f"{name}.parquet")
    small = {"sojourns": truth.sojourns, "generator": truth.generator.reset_index()}
    small |= {name: getattr(truth, name) for name in ("rates", "diffusion", "limits")}
    for name, rows in small.items():
        write_plain([rows], folder / f"{name}.parquet")
    from stemkin import __version__

    reader = SimulatedReader(truth.settings)
    said = {
        "stemkin": __version__,
        "movie": truth.movie,
        "identity": reader.identity,
        "settings": asdict(truth.settings),
    }
    (folder / PARAMS).write_text(json.dumps(said, indent=1))


def _write_long_table(truth: Truth, name: str, path: Path) -> None:
    """Write a table of all frames, a thousand frames at a time."""
    between, n_frames = getattr(truth, f"{name}_between"), truth.settings.n_frames
    starts = range(0, n_frames, 1000)
    write_plain((between(start, min(start + 1000, n_frames)) for start in starts), path)
