"""HDF5: any file with a dataset of frames; NeXus, HyperSpy's ``.hspy`` and EMD files are
understood.

The dataset is the one given (``dataset="entry/data"``), the one that NeXus, HyperSpy or EMD point
to, or the only one that can be a movie. Calibration comes from those conventions, or from
attributes with stemkin's own names (``dataset.attrs["pixel_size_nm"] = 0.03``). Uncompressed
contiguous data are read raw, without the HDF5 library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import MovieError, check_promise
from stemkin.readers.files import filesystem, is_url, local
from stemkin.readers.hdf5_layouts import Found, find_dataset
from stemkin.readers.raw import raw_reader


def open_hdf5(source: str, options: Options) -> FileReader:
    """Open an HDF5 file. Lazy: only its structure is read.

    Raises
    ------
    MovieError
        If it is not whole, or holds nothing that can be a movie, or several such things.
    """
    with _file(source) as file:
        return _reader(file, source, options)


def _reader(file: Any, source: str, options: Options) -> FileReader:
    found: Found = find_dataset(file, source, options)
    dataset = file[found.path]
    stored = dataset.dtype
    if stored.kind not in "biuf":
        msg = f"{found.path!r} in {source} holds {stored} values; intensities are real numbers"
        raise MovieError(msg)
    plan = frames_in(dataset.shape, found.axes, stored, source, options)
    about: dict[str, Any] = {"format": found.convention, **found.about}
    offset = dataset.id.get_offset()
    if (
        offset is not None
        and dataset.chunks is None
        and not dataset.is_virtual
        and not dataset.external
    ):
        return raw_reader(source, plan, stored, offset=int(offset), **about)
    _check_filters(dataset, source)
    _check_promise(dataset, source)
    time = plan.axis("t")
    whole = 1 if dataset.chunks is None or time is None else int(dataset.chunks[time])
    return Hdf5Reader(
        source=source, shape=plan.shape, dtype=plan.dtype(stored), plan=plan, dataset=found.path, frames_per_chunk=min(whole, plan.shape[0]),
        chunks=dataset.chunks, notes=(plan.note,) if plan.note else (), **about,
    )  # fmt: skip


def _check_filters(dataset: Any, source: str) -> None:
    """Refuse at once what this installation cannot decompress, rather than frame by frame."""
    import h5py

    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            msg = (
                f"{source} is compressed with the HDF5 filter {code} "
                f"({name.decode(errors='replace')}), which is not installed; try pip install "
                "hdf5plugin"
            )
            raise MovieError(msg)


def _check_promise(dataset: Any, source: str) -> None:
    """Refuse shapes that the bytes in the file cannot fill."""
    stored = dataset.id.get_storage_size()
    if dataset.is_virtual or dataset.external:
        return
    check_promise(math.prod(dataset.shape) * dataset.dtype.itemsize, stored, source)
    if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > 2**32:
        msg = f"{source} is cut into chunks of over 4 GiB, {dataset.chunks}; its header is broken"
        raise MovieError(msg)


@contextmanager
def _file(source: str) -> Iterator[Any]:
    import h5py

    if is_url(source):
        with filesystem(source).open(source, "rb") as remote, h5py.File(remote, "r") as file:
            yield file
    else:
        with h5py.File(local(source), "r", locking=False) as file:
            yield file


@dataclass(frozen=True, eq=False, kw_only=True)
class Hdf5Reader(FileReader):
    """Frames of a chunked or compressed dataset: decoded by h5py, opened anew in each task."""

    plan: AxisPlan
    dataset: str

    def _frames(self, start: int, stop: int) -> Any:
        with _file(self.source) as file:
            return self.plan.take(file[self.dataset], start, stop)
