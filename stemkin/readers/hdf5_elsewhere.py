"""What an HDF5 file reads from other files: external storage, virtual datasets, external links.

A file from someone else may name any file of yours so, and its bytes come out as pixels. This is
read only where the user allows it.
"""

from __future__ import annotations

import math
import os
from typing import Any

from stemkin.readers.errors import MovieError, check_promise
from stemkin.readers.place import Place

DEPTH = 4
"""A virtual dataset of virtual datasets is followed so far."""
MOST_SOURCES = 10_000
"""Files that a virtual dataset may be put together from."""


def check_elsewhere(file: Any, dataset: Any, place: Place, *, allowed: bool) -> None:
    """Refuse a dataset whose pixels lie in other files, unless that is allowed.

    Raises
    ------
    MovieError
        If it is not allowed, or the other files hold too little for the shape.
    """
    names = _other_files(file, dataset, DEPTH)
    if names and not allowed:
        msg = (
            f"{place} takes its pixels from another file ({names[0]}), which can be any file of "
            "yours; if you trust it: allow_external=True, --allow-external"
        )
        raise MovieError(msg)
    if dataset.is_virtual or dataset.external:
        _check_sources(file, dataset, place)


def opened_dataset(file: Any, path: str, place: Place) -> Any:
    """Return a dataset; external storage is looked for beside the file, not where Python runs."""
    import h5py

    if not file[path].external:
        return file[path]
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_efile_prefix(os.fsencode(os.path.dirname(os.path.abspath(place.path))))
    return h5py.Dataset(h5py.h5d.open(file.id, path.encode(), access))


def _other_files(file: Any, dataset: Any, depth: int) -> list[str]:
    """Return the names of other files that the pixels of a dataset lie in."""
    import h5py

    if dataset.file.filename != file.filename:
        return [str(dataset.file.filename)]
    names = [str(name) for name, _, _ in dataset.external or ()]
    if not dataset.is_virtual:
        return names
    for source in dataset.virtual_sources():
        if source.file_name not in (".", file.filename):
            names.append(str(source.file_name))
            continue
        inner = file.get(source.dset_name)
        if depth and isinstance(inner, h5py.Dataset):
            names += _other_files(file, inner, depth - 1)
    return names


def _check_sources(file: Any, dataset: Any, place: Place) -> None:
    """Refuse a shape that what lies elsewhere cannot fill, and sources that are not there."""
    folder = os.path.dirname(place.path)
    stored = 0
    if dataset.external:
        for name, _, _ in dataset.external:
            stored += os.path.getsize(_found(name, folder, place))
    else:
        sources = {(one.file_name, one.dset_name) for one in dataset.virtual_sources()}
        if len(sources) > MOST_SOURCES:
            msg = f"{place} is put together from {len(sources):,} datasets, which no movie is"
            raise MovieError(msg)
        for name, path in sources:
            stored += _stored_in(file, name, path, folder, place)
    check_promise(math.prod(dataset.shape) * dataset.dtype.itemsize, stored, place)


def _stored_in(file: Any, name: str, path: str, folder: str, place: Place) -> int:
    """Return how many bytes a source of a virtual dataset stores."""
    import h5py

    if name in (".", file.filename):
        return _bytes_of(file, path)
    if "%" in name:  # a pattern of names; what it names is known when it is read
        return 0
    with h5py.File(_found(name, folder, place), "r") as other:
        return _bytes_of(other, path)


def _bytes_of(file: Any, path: str) -> int:
    if path not in file:
        return 0
    return int(file[path].id.get_storage_size())


def _found(name: str, folder: str, place: Place) -> str:
    """Return the path of a file that another one names.

    Raises
    ------
    MovieError
        If it is not there: the library would put zeros in its place.
    """
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        msg = f"{place} takes its pixels from {name}, which is not there"
        raise MovieError(msg)
    return path
