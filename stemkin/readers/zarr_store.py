"""Zarr v2 and v3, plain or OME-Zarr 0.4 and 0.5, in a folder, a ZIP file or an object store.

Which array it is, `stemkin.readers.zarr_images` says. Each task opens the store by itself. A chunk that was never written reads
as zeros in Zarr, so its frames come out blank; in stores that ``stemkin convert`` finished every
chunk is there, and a missing one makes its frames corrupt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along, completed
from stemkin.readers.errors import (
    ALWAYS_PLAUSIBLE_BYTES,
    DamagedDataError,
    MovieError,
    check_promise,
    opening,
)
from stemkin.readers.place import Place, RemotePlace
from stemkin.readers.zarr_blocks import Layout, layout_of
from stemkin.readers.zarr_files import check_zip, check_zipped_chunks
from stemkin.readers.zarr_images import FoundArray, find_array
from stemkin.readers.zarr_seals import COMPLETE, check_metadata

ZARR_FILES = frozenset({"zarr.json", ".zarray", ".zgroup"})
MAX_CHUNK_BYTES = 2**32


def open_zarr(place: Place, options: Options) -> FileReader:
    """Open a Zarr array or group. Lazy: only its metadata are read.

    Raises
    ------
    MovieError
        If there is no array in it that can be frames, or several.
    """
    import zarr

    try:
        if is_zipped(place):
            check_zip(place)
        store = _store(place, external=options.allow_external)
        node = zarr.open(store, mode="r", path=None)
    except FileNotFoundError as error:
        msg = f"{place} could not be opened as Zarr: it has no metadata that say what it is"
        raise MovieError(msg) from error
    check_metadata(place, dict(node.attrs))
    return _reader(find_array(node, place, options), place, options)


def is_zarr_folder(place: Place) -> bool:
    """Tell whether a folder is a Zarr array or group."""
    # a web server lists nothing, and a folder of this machine may hold a million chunks
    if place.is_remote and not place.source.startswith("http"):
        return bool(ZARR_FILES & set(place.names()))
    return any((place / name).exists() for name in ZARR_FILES)


def is_zipped(place: Place) -> bool:
    """Tell whether a store is a ZIP file, as HyperSpy's may be under the suffix of its folders."""
    if place.ends_with(".zspy"):
        return not place.is_folder()
    return place.ends_with(".zip")


def _store(place: Place, *, external: bool) -> Any:
    if is_zipped(place):
        from zarr.storage import ZipStore

        if place.is_remote:
            msg = f"{place} is a ZIP file in an object store; copy it to a local disk first"
            raise MovieError(msg)
        return ZipStore(place.path, mode="r")
    if place.is_remote:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(place.source, read_only=True)
    from stemkin.readers.zarr_bounds import OwnFilesStore

    store = OwnFilesStore(place.path, read_only=True)
    store.external = external
    return store


def _reader(found: FoundArray, place: Place, options: Options) -> FileReader:
    array = found.array
    stored = np.dtype(array.dtype)
    plan = frames_in(array.shape, found.axes, stored, place, options)
    if found.is_none and options.time_axis is None:
        msg = f"{place} is no movie but {found.is_none} (its signal type or its axes say so)"
        raise MovieError(msg)
    about: dict[str, Any] = {"format": found.format or f"Zarr v{array.metadata.zarr_format}"}
    if found.axes is not None:
        about |= calibration_along(plan.named(found.axes))
    about = completed(about, found.stated)
    # what is read as one piece: a shard if there are shards, which then has several chunks
    unit = array.shards or array.chunks
    if math.prod(unit) * stored.itemsize > MAX_CHUNK_BYTES:
        msg = (
            f"{place} is cut into chunks of over {MAX_CHUNK_BYTES >> 30} GiB, {unit}; its "
            "metadata are broken"
        )
        raise MovieError(msg)
    _check_promise(array, place)
    if is_zipped(place):
        check_zipped_chunks(place, array)
    time = plan.axis("t")
    frames_per_unit = frames_per_chunk = 1
    if time is not None:
        frames_per_unit = plan.frames_together(int(unit[time]), stored)
        frames_per_chunk = int(array.chunks[time])
    return ZarrReader(
        place=place,
        shape=plan.shape,
        dtype=plan.dtype(stored),
        plan=plan,
        array_path=array.path,
        frames_per_chunk=frames_per_unit,  # of a shard, where there are shards
        piece=frames_per_chunk,
        chunks=tuple(unit),
        layout=_layout(array, plan, place, external=options.allow_external),
        external=options.allow_external,
        notes=tuple(filter(None, [found.note, plan.note])),
        finished=_finished(array, place),
        **about,
    )


def _layout(array: Any, plan: AxisPlan, place: Place, *, external: bool) -> Layout | None:
    if plan.index != ("t", "y", "x") or is_zipped(place):
        return None
    within = None
    if not place.is_remote and not external:
        within = place
    return layout_of(array, place / array.path, within)


def _check_promise(array: Any, place: Place) -> None:
    """Refuse shapes with far more pixels than are stored, before anything walks through them.

    Shapes of a usual size are not looked into.
    """
    unit = array.shards or array.chunks
    n_chunks = math.prod(-(-n // c) for n, c in zip(array.shape, unit, strict=True))
    frame_bytes = math.prod(array.shape[-2:]) * np.dtype(array.dtype).itemsize
    if n_chunks > 10**6 or frame_bytes > ALWAYS_PLAUSIBLE_BYTES:
        promised = math.prod(array.shape) * np.dtype(array.dtype).itemsize
        folder = place
        if not is_zipped(place):
            folder = place / array.path
        check_promise(promised, sum(size for _, size, _ in _files_of(folder)), place)


def _finished(array: Any, place: Place) -> bool:
    return bool(dict(array.attrs).get(COMPLETE, {}).get("complete")) and not is_zipped(place)


@dataclass(frozen=True, eq=False, kw_only=True)
class ZarrReader(FileReader):
    """Frames of a Zarr array, opened anew in each task.

    Attributes
    ----------
    array_path
        Of the array inside the store; empty if the source itself is the array.
    piece
        Frames that are decoded together: the inner chunk of a shard, or the chunk.
    layout
        How to read it without zarr-python, None where that cannot be.
    external
        Whether its files may be links out of the store.
    finished
        Whether the store says of itself that every chunk was written.
    """

    plan: AxisPlan
    array_path: str
    piece: int = 1
    finished: bool = False
    layout: Layout | None = None
    external: bool = False

    def _content_identity(self) -> str:
        """Return the array's metadata, and name, size and time of all its chunk files."""
        import hashlib

        folder = self.place / self.array_path
        if is_zipped(self.place):
            return self.place.identity()
        return f"{self.place} {hashlib.sha256(repr(_files_of(folder)).encode()).hexdigest()[:32]}"

    def _telling_file(self) -> Place:
        """Return the file that describes the array: whoever writes a store anew writes it."""
        if is_zipped(self.place):
            return self.place
        folder = self.place / self.array_path
        described = (folder / name for name in ("zarr.json", ".zarray"))
        return next((file for file in described if file.exists()), folder)

    def _frames(self, start: int, stop: int) -> Any:
        if self.layout is not None:
            if self.finished:
                self._check_files(self.layout, start, stop)
            return self.layout.read(start, stop)
        import zarr

        from stemkin.readers.zarr_bounds import bounded

        with opening(self.place):
            store = _store(self.place, external=self.external)
            array = zarr.open_array(store, mode="r", path=self.array_path or None)
        return self.plan.take(bounded(array, self.place), start, stop)

    def _check_files(self, layout: Layout, start: int, stop: int) -> None:
        """Raise where a chunk of a finished store is gone."""
        for i in range(start // layout.frames_per_file, -(-stop // layout.frames_per_file)):
            if not layout.file(i).exists():
                msg = f"{layout.file(i)} is missing"
                raise DamagedDataError(msg)


def _files_of(folder: Place) -> list[tuple[str, int, str]]:
    """Return (name, bytes, what changes with its content) of every file of an array, sorted."""
    if isinstance(folder, RemotePlace):
        found = folder.filesystem.find(folder.source, detail=True)
        return sorted(
            (name, int(info.get("size") or 0), str(info.get("ETag") or info.get("mtime") or ""))
            for name, info in found.items()
        )
    from pathlib import Path

    root = Path(folder.path)
    if root.is_file():
        return [(root.name, root.stat().st_size, str(root.stat().st_mtime_ns))]
    files = [(str(p.relative_to(root)), p.stat()) for p in root.rglob("*") if p.is_file()]
    return sorted((name, status.st_size, str(status.st_mtime_ns)) for name, status in files)
