"""Writing an OME-Zarr 0.5 store block by block: it appears whole or not at all, and is resumable.

A local store is built in ``<target>.part/store`` and renamed at the end; in an object store the
root's metadata, without which it is no image, are written last. Each block that was read back
leaves a marker in ``<target>.part``; what has one is not done again.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stemkin.readers.place import Place, place_of
from stemkin.readers.zarr_blocks import layout_of
from stemkin.readers.zarr_seals import COMPLETE, metadata_sealed

ARRAY = "0"
RECORD = "job.json"
VERSION = 2
"""Raised when the same movie would be written in other bytes."""


@dataclass(frozen=True)
class Job:
    """One store to be written; picklable and small.

    Attributes
    ----------
    target
        Where the store will be.
    name, source, identity
        Of the movie; another identity makes another job.
    shape, dtype
        (n_frames, height, width); the type as NumPy writes it.
    calibration
        (name, value) of what is known.
    frames_per_shard, frames_per_chunk
        A shard is written by one task.
    """

    target: Place
    name: str
    source: str
    identity: str
    shape: tuple[int, int, int]
    dtype: str
    calibration: tuple[tuple[str, float], ...]
    frames_per_shard: int
    frames_per_chunk: int

    @property
    def work(self) -> Place:
        """Where the store is built."""
        if self.target.is_remote:
            return self.target
        return self.markers / "store"

    @property
    def markers(self) -> Place:
        """The folder that says what is done."""
        return place_of(f"{self.target.path}.part")

    @property
    def array(self) -> Place:
        """Where the frames are written."""
        return self.work / ARRAY

    @cached_property
    def fs(self) -> Any:
        """The file system of the store."""
        import fsspec

        return fsspec.core.url_to_fs(self.markers.path)[0]

    def record(self) -> dict[str, Any]:
        """Return what identifies this job to a later call."""
        said = {
            key: value for key, value in asdict(self).items() if key not in ("target", "source")
        }
        return json.loads(json.dumps({**said, "version": VERSION}))  # type: ignore[no-any-return]


def is_finished(job: Job) -> bool:
    """Tell whether the target is this job's whole store; what is left of writing it is removed."""
    root = _json(job, job.target / "zarr.json")
    said = (root or {}).get("attributes", {}).get(COMPLETE, {})
    finished = bool(said.get("complete")) and said.get("made_of") == _made_of(job)
    if finished and _json(job, job.markers / RECORD) is not None:
        _remove(job, job.markers)
    return finished


def begin(job: Job, *, overwrite: bool) -> dict[int, dict[str, Any]]:
    """Create the store to be filled, or resume the one that an earlier call began.

    Returns
    -------
    The markers of finished blocks by their first frame.

    Raises
    ------
    FileExistsError
        If there is something else, and it may not be overwritten.
    """
    # an object store has no folders: what was begun there has no metadata of its root yet
    begun = job.target.is_remote and not (job.target / "zarr.json").exists()
    if job.target.exists() and not begun:
        if not overwrite:
            msg = (
                f"{job.target} exists and was not made from {job.source} as it is now; choose "
                "another name, or overwrite=True"
            )
            raise FileExistsError(msg)
        _remove(job, job.target)
    # the record is written first, then the array, then shards and their markers: so a record that
    # is this job's means that everything with a marker is this job's, too
    earlier = _json(job, job.markers / RECORD)
    if earlier == job.record():
        if not (job.array / "zarr.json").exists():
            _create(job)
        return _markers(job)
    if job.markers.exists():
        if not overwrite and not _barely_begun(job):
            msg = (
                f"{job.markers} was begun with another movie or other settings; remove it, or "
                "overwrite=True"
            )
            raise FileExistsError(msg)
        _remove(job, job.markers)
        _remove(job, job.work)
    _write_json(job, job.markers / RECORD, job.record())
    _create(job)
    return {}


def _barely_begun(job: Job) -> bool:
    """Tell whether a job was stopped while it wrote down what it is, before anything else."""
    return all(name.startswith(f"{RECORD}.") for name in job.markers.names())


def write_frames(job: Job, start: int, frames: np.ndarray) -> None:
    """Write the shard that begins with frame `start`; it belongs to the caller alone.

    Parameters
    ----------
    job
        The store.
    start
        A multiple of `Job.frames_per_shard`.
    frames
        (n, y, x), all that the shard holds.
    """
    # frames begin at a shard's beginning, so that no other task writes to the same file
    _array(job, "r+")[start : start + len(frames)] = frames
    if not job.target.is_remote:
        _to_disk(job.array / f"c/{start // job.frames_per_shard}/0/0")


def read_back(job: Job, start: int, stop: int) -> np.ndarray:
    """Return frames from the store as it is now, every chunk checked."""
    array = _array(job, "r")
    layout = layout_of(array, job.array)
    if layout is None:
        return np.asarray(array[start:stop])
    return layout.read(start, stop)


def mark_done(job: Job, note: dict[str, Any]) -> None:
    """Leave the marker of a block."""
    _write_json(job, job.markers / f"{note['start']:012d}.json", note)


def finish(job: Job, notes: list[dict[str, Any]]) -> None:
    """Give the store its metadata and its name.

    Parameters
    ----------
    job
        The store.
    notes
        Of all blocks in order: ``start``, ``stop``, ``crc32`` and ``damaged``, the numbers of
        frames that the source could not give back.
    """
    import zarr

    # the array's own attributes come first, the root's metadata make it an image, and the name
    # comes last; a store that was stopped in between is not finished for `is_finished`
    damaged = [frame for note in notes for frame in note["damaged"]]
    said = {
        "complete": True,
        "made_of": _made_of(job),
        "crc32": [note["crc32"] for note in notes],
        "damaged_frames": damaged,
    }
    _array(job, "r+").update_attributes({COMPLETE: said})
    short = {key: said[key] for key in ("complete", "made_of", "damaged_frames")}
    attributes = metadata_sealed(
        {"ome": ome_metadata(job), COMPLETE: short}, {ARRAY: _json(job, job.array / "zarr.json")}
    )
    zarr.create_group(job.work.path, zarr_format=3, overwrite=False, attributes=attributes)
    if not job.target.is_remote:
        os.rename(job.work.path, job.target.path)
    _remove(job, job.markers)


def ome_metadata(job: Job) -> dict[str, Any]:
    """Return the OME-NGFF 0.5 metadata of the image: axes, units where known, and scale."""
    known = dict(job.calibration)
    size, time_s = known.get("pixel_size_nm"), known.get("frame_time_s")
    axes = [{"name": "t", "type": "time"}, *({"name": name, "type": "space"} for name in "yx")]
    if time_s:
        axes[0]["unit"] = "second"
    if size:
        axes[1]["unit"] = axes[2]["unit"] = "nanometer"
    # an axis without a unit has the scale 1: a frame, a pixel
    scale = [time_s or 1.0, size or 1.0, size or 1.0]
    image: dict[str, Any] = {
        "name": job.name,
        "axes": axes,
        "datasets": [
            {"path": ARRAY, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        ],
    }
    if known:
        # under stemkin's own names too: the dose has no other place, and what the user says is kept
        image["metadata"] = dict(known)
    return {"version": "0.5", "multiscales": [image]}


def _create(job: Job) -> None:
    """Make an empty array, compressed and sharded."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    dtype = np.dtype(job.dtype)
    if not job.target.is_remote:
        os.makedirs(job.work.path, exist_ok=True)
    shape = job.shape
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize)
    zarr.create_array(
        job.array.path,
        shape=shape,
        dtype=dtype,
        chunks=(job.frames_per_chunk, *shape[1:]),
        shards=(job.frames_per_shard, *shape[1:]),
        fill_value=0,
        dimension_names=("t", "y", "x"),
        zarr_format=3,
        compressors=[codec, Crc32cCodec()],
        config={"write_empty_chunks": True},
    )


def _array(job: Job, mode: Any) -> Any:
    import zarr

    return zarr.open_array(job.array.path, mode=mode, config={"write_empty_chunks": True})


def _made_of(job: Job) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(job.record(), sort_keys=True).encode()).hexdigest()[:24]


def _markers(job: Job) -> dict[int, dict[str, Any]]:
    """Return the notes of the blocks that are done, by their first frame."""
    # a marker is called by its first frame, 000000000128.json; job.json is none, nor is what is
    # still being written, and one that is not whole does not count
    found = {}
    for path in job.fs.ls(job.markers.path, detail=False):
        name = str(path).rsplit("/", 1)[-1]
        if name.endswith(".json") and name[:-5].isdigit():
            note = _json(job, job.markers / name)
            if note is not None:
                found[int(note["start"])] = note
    return found


def _json(job: Job, file: Place) -> Any:
    """Return a JSON file's content; None if it is not there or not whole."""
    try:
        return json.loads(job.fs.cat_file(file.path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _write_json(job: Job, file: Place, content: Any) -> None:
    """Write a JSON file so that it appears whole or not at all."""
    raw = json.dumps(content).encode()
    if file.is_remote:
        job.fs.pipe_file(file.path, raw)
        return
    os.makedirs(os.path.dirname(file.path), exist_ok=True)
    with open(f"{file.path}.{os.getpid()}.tmp", "wb") as part:
        part.write(raw)
        part.flush()
        os.fsync(part.fileno())
    os.replace(part.name, file.path)


def _to_disk(file: Place) -> None:
    """Flush a file to the disk, so that its marker does not outlive it when the power fails."""
    with open(file.path, "rb") as written:
        os.fsync(written.fileno())


def _remove(job: Job, place: Place) -> None:
    if place.is_remote:
        with suppress(FileNotFoundError):
            job.fs.rm(place.path, recursive=True)
    elif place.is_folder():
        shutil.rmtree(place.path)
    elif place.exists():
        os.unlink(place.path)
