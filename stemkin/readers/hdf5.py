"""HDF5: any file with a dataset of frames, and the conventions of NeXus, HyperSpy and EMD.

The dataset is the one given (``dataset="entry/data"``), the one that NeXus, HyperSpy or EMD point
to, or the only one that can be a movie. Calibration comes from those conventions, or from
attributes with stemkin's own names (``dataset.attrs["pixel_size_nm"] = 0.03``). Uncompressed
contiguous data are read raw, without the HDF5 library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.calibration import calibration_along, completed
from stemkin.readers.errors import MovieError, check_promise
from stemkin.readers.hdf5_chunks import BoundedDataset
from stemkin.readers.hdf5_conventions import FoundDataset
from stemkin.readers.hdf5_elsewhere import check_elsewhere, opened_dataset
from stemkin.readers.hdf5_layouts import find_dataset
from stemkin.readers.hdf5_open import opened_hdf5
from stemkin.readers.place import Place
from stemkin.readers.raw import raw_reader


def open_hdf5(place: Place, options: Options) -> FileReader:
    """Open an HDF5 file. Lazy: only its structure is read.

    Raises
    ------
    MovieError
        If it is not whole, or holds nothing that can be a movie, or several such things.
    """
    if place.head().startswith(b"CDF"):
        msg = (
            f"{place} is netCDF 3, which is no HDF5; write it as netCDF 4 "
            "(to_netcdf(..., engine='h5netcdf'))"
        )
        raise MovieError(msg)
    with opened_hdf5(place) as file:
        return _reader(file, place, options)


def _reader(file: Any, place: Place, options: Options) -> FileReader:
    def plan_of(found: FoundDataset) -> AxisPlan:
        return _plan(file[found.path], found, place, options)

    found, note = find_dataset(file, place, options, plan_of)
    dataset, plan = file[found.path], plan_of(found)
    check_elsewhere(file, dataset, place, allowed=options.allow_external)
    stored = dataset.dtype
    about: dict[str, Any] = {"format": found.convention}
    notes = tuple(filter(None, [note, plan.note]))
    if found.axes is not None:
        about |= calibration_along(plan.named(found.axes), exposure=found.exposure)
    about = completed(about, found.stated)
    # an offset is told for contiguous data only; virtual and external ones lie in other files
    offset = dataset.id.get_offset()
    in_another = dataset.file.filename != file.filename
    lies_elsewhere = dataset.is_virtual or dataset.external or in_another
    if offset is not None and dataset.chunks is None and not lies_elsewhere:
        return raw_reader(place, plan, stored, offset=int(offset), notes=(note,), **about)
    _check_filters(dataset, place)
    _check_promise(dataset, place)
    time = plan.axis("t")
    frames_per_chunk = 1
    if dataset.chunks is not None and time is not None:
        frames_per_chunk = plan.frames_together(int(dataset.chunks[time]), stored)
    return Hdf5Reader(
        place=place,
        shape=plan.shape,
        dtype=plan.dtype(stored),
        plan=plan,
        dataset=found.path,
        frames_per_chunk=frames_per_chunk,
        chunks=dataset.chunks,
        notes=notes,
        **about,
    )


def _plan(dataset: Any, found: FoundDataset, place: Place, options: Options) -> AxisPlan:
    """Return how frames lie in a dataset.

    Raises
    ------
    MovieError
        If it is no movie.
    """
    stored = dataset.dtype
    if stored.kind not in "biuf":
        msg = f"{found.path!r} in {place} holds {stored} values; intensities are real numbers"
        raise MovieError(msg)
    plan = frames_in(dataset.shape, found.axes, stored, place, options, order=found.order)
    if found.is_none and options.time_axis is None:
        msg = f"{place} is no movie but {found.is_none} (its signal type or its axes say so)"
        raise MovieError(msg)
    return plan


def _check_filters(dataset: Any, place: Place) -> None:
    """Refuse at once what this installation cannot decompress, rather than frame by frame."""
    import h5py

    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            msg = (
                f"{place} is compressed with the HDF5 filter {code} "
                f"({name.decode(errors='replace')}), which is not installed; try pip install "
                "hdf5plugin"
            )
            raise MovieError(msg)


def _check_promise(dataset: Any, place: Place) -> None:
    """Refuse shapes that the bytes in the file cannot fill."""
    stored = dataset.id.get_storage_size()
    if dataset.is_virtual or dataset.external:
        return
    check_promise(math.prod(dataset.shape) * dataset.dtype.itemsize, stored, place)
    if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > 2**32:
        msg = f"{place} is cut into chunks of over 4 GiB, {dataset.chunks}; its header is broken"
        raise MovieError(msg)


@dataclass(frozen=True, eq=False, kw_only=True)
class Hdf5Reader(FileReader):
    """Frames of a chunked or compressed dataset: decoded by h5py, opened anew in each task."""

    plan: AxisPlan
    dataset: str

    def _frames(self, start: int, stop: int) -> Any:
        with opened_hdf5(self.place) as file:
            return self.plan.take(
                BoundedDataset(opened_dataset(file, self.dataset, self.place), self.place),
                start,
                stop,
            )
