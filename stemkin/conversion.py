"""Convert movies to OME-Zarr 0.5: compressed, in shards, calibrated, read at the disk's speed.

>>> import numpy as np, pathlib, tempfile
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> np.save(folder / "a.npy", np.arange(3 * 16 * 16, dtype="u2").reshape(3, 16, 16))
>>> [store] = convert(folder / "a.npy", folder / "a.zarr", pixel_size_nm=0.03, frame_time_s=2.25)
>>> from stemkin.movie import open_movie
>>> movie = open_movie(store)
>>> movie.pixel_size_nm, movie.frame_time_s, int(movie.frames[2, 15, 15].compute())
(0.03, 2.25, 767)

**What is promised.** Pixels are copied bit by bit. A shard is one block of frames, written by one
task that owns it alone, read back from the disk and compared by checksum; only then a marker says
that it is done. A conversion that was killed goes on where it was, to the same bytes. The store is
built in a folder named ``....part`` and renamed when it is whole; in an object store, its metadata
come last. A frame that the source could not give back stays marked as damaged, and is listed in the
attributes.

**Why this codec.** Shot noise is what limits compression: a 16-bit image of 12 counts per pixel has
4.8 bits of entropy (3.4 x smaller at best), of 240 counts 8.9 bits (1.8 x). Measured on such
images, one core, MB/s of pixels (encode / decode / ratio at 12 and 240 counts):
blosc-lz4-bitshuffle 629/1363/3.1/1.9, blosc-zstd1-shuffle 198/1183/3.3/1.8, blosc-zstd3-bitshuffle
216/557/3.2/1.9, zstd alone 72/255/2.6/1.5. So lz4 behind a bit shuffle is within 7 % of the best
ratio and two to three times faster at both ends. Chunks of about half a MiB (one 512 x 512 frame of
16 bits) let a single frame be read cheaply and cost no ratio; shards of about 64 MiB keep the
number of files and of requests small. A CRC32C behind every chunk finds flipped bits, which Zarr
alone would not.
"""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stemkin.archive import Archive, named_problem, open_archive
from stemkin.errors import StoppedError, UnwritableError, reaching
from stemkin.kernels.images.quality import is_damaged
from stemkin.movie import BLOCK_MIB, Movie, argument_calibration
from stemkin.names import folder_name
from stemkin.readers import Calibration, MovieError, Options
from stemkin.readers.place import Place, bytes_view, place_of
from stemkin.readers.zarr_writing import (
    Job,
    begin,
    finish,
    is_finished,
    mark_done,
    read_back,
    write_frames,
)
from stemkin.schedulers.streams import results

log = logging.getLogger(__name__)

CHUNK_BYTES = 2**19
Inputs = str | os.PathLike[str] | Movie | Archive | Sequence[Any]


class Stores(list[str]):
    """Paths of the stores that are whole, in the order of the movies.

    Attributes
    ----------
    problems
        (source, reason) of what was not converted.
    """

    problems: list[tuple[str, str]]

    def __init__(self, paths: Iterable[str] = (), problems: Iterable[tuple[str, str]] = ()) -> None:
        """Hold `paths` and `problems`."""
        super().__init__(paths)
        self.problems = list(problems)


@dataclass(frozen=True)
class BlockTask:
    """The copying of one block, as a worker takes it."""

    movie: Movie
    job: Job
    start: int
    stop: int


def convert(
    inputs: Inputs,
    out: str | os.PathLike[str],
    *,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
    dose_rate_e_per_nm2_s: float | None = None,
    exposure_fraction: float | None = None,
    dataset: str | None = None,
    channel: int | None = None,
    time_axis: str | None = None,
    allow_external: bool = False,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Stores:
    """Convert movies to OME-Zarr stores, checked block by block. Computes once; resumable.

    Blocks are copied through the active Dask scheduler.

    Parameters
    ----------
    inputs
        Whatever `open_archive` opens, a `Movie`, or several.
    out
        For one movie the store to write (``....zarr``, path or URL); for several the folder that
        gets one store per movie.
    pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction
        As in `open_archive`.
    dataset, channel, time_axis, allow_external
        As in `open_archive`.
    overwrite
        Whether a store or a half-written one of another movie may be replaced.
    progress
        Called with the movie's name, frames done and frames in all, after every block.

    Returns
    -------
    The paths of the stores, with ``.problems``: the sources that did not open or failed.

    Raises
    ------
    ValueError
        If nothing could be opened, or `out` does not fit the number of movies.
    FileExistsError
        If there is something else at `out`.
    StoppedError
        If `out` cannot be written, or a store does not answer; what was written is kept, and the
        same call goes on from there.
    """
    given = argument_calibration(
        "argument", pixel_size_nm, frame_time_s, dose_rate_e_per_nm2_s, exposure_fraction
    )
    archive = _opened(inputs, given, Options(dataset, channel, time_axis, allow_external))
    if not len(archive):
        raise ValueError(named_problem(*archive.problems[0]))
    stores = Stores(problems=archive.problems)
    for movie, target in zip(archive, _targets(archive, os.fspath(out)), strict=True):
        try:
            with reaching(str(target)):
                stores.append(_convert_one(movie, target, overwrite=overwrite, progress=progress))
        except (FileExistsError, StoppedError):
            raise
        except OSError as error:
            why = str(error)
            if error.errno:
                why = os.strerror(error.errno)
            msg = (
                f"{target} could not be written: {why}; what was written is kept, and the same "
                "command goes on from there"
            )
            if isinstance(error, (NotADirectoryError, IsADirectoryError)):
                raise OSError(msg) from error
            raise UnwritableError(msg) from error
        except ValueError as error:
            if len(archive) == 1:
                raise
            log.warning("%s was not converted: %s", movie.source, error)
            stores.problems.append((movie.source, str(error)))
    return stores


def _opened(inputs: Inputs, given: Calibration, options: Options) -> Archive:
    """Return the movies to be converted; what is open already keeps its calibration."""
    if isinstance(inputs, Movie):
        return Archive((inputs,))
    if isinstance(inputs, Archive):
        return inputs
    if not isinstance(inputs, (str, os.PathLike)) and any(isinstance(one, Movie) for one in inputs):
        return Archive(tuple(cast(Iterable[Movie], inputs)))
    source: Any = inputs
    if isinstance(inputs, Sequence) and not isinstance(inputs, str) and len(inputs) == 1:
        source = inputs[0]
    return open_archive(
        source,
        pixel_size_nm=given.pixel_size_nm,
        frame_time_s=given.frame_time_s,
        dose_rate_e_per_nm2_s=given.dose_rate_e_per_nm2_s,
        exposure_fraction=given.exposure_fraction,
        dataset=options.dataset,
        channel=options.channel,
        time_axis=options.time_axis,
        allow_external=options.allow_external,
    )


def _targets(archive: Archive, out: str) -> list[Place]:
    """Return where each movie goes."""
    out = out.rstrip("/")
    is_store = out.lower().endswith(".zarr")
    if is_store and len(archive) > 1:
        msg = (
            f"{len(archive)} movies do not go into one store; give a folder instead of {out}, and "
            "each gets a store in it"
        )
        raise ValueError(msg)
    if is_store:
        return [place_of(out)]
    return [place_of(f"{out}/{folder_name(movie.name)}.zarr") for movie in archive]


def _convert_one(
    movie: Movie,
    target: Place,
    *,
    overwrite: bool,
    progress: Callable[[str, int, int], None] | None,
) -> str:
    """Write the store of one movie, or what is missing of it."""
    frames_per_shard, frames_per_chunk = chunking(movie)
    job = job_of(movie, target, frames_per_shard, frames_per_chunk)
    if is_finished(job):
        return target.source
    done = begin(job, overwrite=overwrite)
    # one task per shard, so that no two tasks write to the same file; a shard is known by its first
    # frame, which is also what its marker is called by
    starts = range(0, movie.n_frames, frames_per_shard)
    edges = [(start, min(start + frames_per_shard, movie.n_frames)) for start in starts]
    n_done = sum(stop - start for start, stop in edges if start in done)
    todo = [BlockTask(movie, job, *edge) for edge in edges if edge[0] not in done]
    for task, copied in results(copy_block, todo, retries=1):
        done[task.start] = copied
        n_done += task.stop - task.start
        if progress is not None:
            progress(movie.name, n_done, movie.n_frames)
    finish(job, [done[start] for start, _ in edges])
    return target.source


def copy_block(task: BlockTask) -> dict[str, Any]:
    """Copy one block, read it back, and say that it is done; runs on a worker.

    Raises
    ------
    MovieError
        If the source cannot be read now.
    OSError
        If the store cannot be written, or gives back other pixels than it got.
    """
    try:
        frames = task.movie.reader.read(task.start, task.stop)
    except StoppedError:
        raise
    except OSError as error:
        msg = f"{task.movie.source} could not be read: {error}"
        raise MovieError(msg) from error
    # the checksum is of the pixels as they were read; what comes back from the store has to have
    # the same before the marker may be written
    wanted = zlib.crc32(bytes_view(np.ascontiguousarray(frames)))
    write_frames(task.job, task.start, frames)
    back = read_back(task.job, task.start, task.stop)
    if zlib.crc32(bytes_view(np.ascontiguousarray(back))) != wanted:
        msg = (
            f"{task.job.target} gave back other pixels than were written to frames {task.start} to "
            f"{task.stop}; the disk may be failing"
        )
        raise OSError(msg)
    damaged = (np.nonzero(is_damaged(frames))[0] + task.start).tolist()
    note = {"start": task.start, "stop": task.stop, "crc32": f"{wanted:08x}", "damaged": damaged}
    mark_done(task.job, note)
    return note


def chunking(movie: Movie) -> tuple[int, int]:
    """Return frames per shard and per chunk of a store.

    A shard holds whole chunks of the source, and whole chunks of the store.

    >>> chunking(Movie.from_array(np.zeros((1000, 512, 512), "u2")))
    (128, 1)
    """
    n, height, width = movie.shape
    frame_bytes = height * width * movie.reader.dtype.itemsize
    # a shard is a multiple of both its own chunks and the source's, so that no chunk of the source
    # is decoded twice; where that would be far over a block, chunks of one frame fit any shard
    per_chunk = max(1, min(CHUNK_BYTES // frame_bytes, n))
    whole = math.lcm(per_chunk, movie.reader.frames_per_chunk)
    if whole * frame_bytes > 2 * BLOCK_MIB * 2**20:
        per_chunk, whole = 1, movie.reader.frames_per_chunk
    per_shard = max(whole, int(BLOCK_MIB * 2**20) // frame_bytes // whole * whole)
    # a short movie is one shard, as long as its frames rounded up to whole chunks
    return min(per_shard, -(-n // per_chunk) * per_chunk), per_chunk


def job_of(movie: Movie, target: Place, frames_per_shard: int, frames_per_chunk: int) -> Job:
    """Return the `Job` that writes the store of a movie."""
    return Job(
        target=target,
        name=movie.name,
        source=movie.source,
        identity=movie.reader.identity,
        shape=movie.shape,
        dtype=movie.reader.dtype.str,
        calibration=tuple(movie.calibration.known().items()),
        frames_per_shard=frames_per_shard,
        frames_per_chunk=frames_per_chunk,
    )
