"""Conventions of HDF5 files: where the frames are, and what is said of their axes.

Known are Velox EMD, Berkeley EMD, HyperSpy and NeXus (`stemkin.readers.hdf5_conventions`);
elsewhere it is the only dataset that can be frames, with the dimension scales that netCDF (xarray)
and h5py attach to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from stemkin.readers.axis import Axis
from stemkin.readers.base import Options
from stemkin.readers.calibration import named_values
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.coordinates import axis_of
from stemkin.readers.errors import MovieError
from stemkin.readers.hdf5_conventions import (
    FoundDataset,
    berkeley_datasets,
    enough,
    hyperspy_datasets,
    nexus_datasets,
    velox_datasets,
)
from stemkin.readers.place import Place
from stemkin.readers.units import text_of

SMALLEST_EDGE = 8
"""Arrays narrower than so many pixels are tables, not images."""
ONLY_A_DIMENSION = "This is a netCDF dimension but not a netCDF variable"


def find_dataset(
    file: Any, place: Place, options: Options, plans: Callable[[FoundDataset], Any]
) -> tuple[FoundDataset, str]:
    """Return the dataset that holds the frames, and a note where the user should know of others.

    Parameters
    ----------
    file
        An open HDF5 file.
    place, options
        For messages; what the user chooses.
    plans
        Raises a `MovieError` where a dataset can be no movie.

    Raises
    ------
    MovieError
        If there is none, or several and `options` chooses none of them.
    """
    candidates = next(filter(None, (list(_tried(look, file)) for look in CONVENTIONS)), [])
    if options.dataset is not None:
        return _named(file, place, options.dataset, candidates), ""
    if not candidates:
        msg = f"{place} holds no dataset that can be frames (real numbers, (t, y, x) or (y, x))"
        raise MovieError(msg)
    if len(candidates) == 1:
        return candidates[0], ""
    # beside a movie lie spectra, transforms and maps, which say themselves that they are none
    possible = _possible(candidates, plans)
    if len(possible) == 1:
        left_out = ", ".join(repr(one.path) for one in candidates if one is not possible[0])
        return possible[0], f"dataset {possible[0].path!r} is read; {left_out}: no movies"
    if options.channel is not None and possible[0].convention == "Velox EMD":
        if not 0 <= options.channel < len(possible):
            msg = (
                f"channel {options.channel} was asked of {place}, which has channels 0 to "
                f"{len(possible) - 1}"
            )
            raise MovieError(msg)
        return possible[options.channel], ""
    asked = [Candidate(one.path, file[one.path].shape, one.label, one) for one in possible]
    found = chosen(asked, place, options)
    return found.candidate.what, found.note


def _possible(
    candidates: list[FoundDataset], plans: Callable[[FoundDataset], Any]
) -> list[FoundDataset]:
    """Return the candidates that can be movies; if none can, why the first one cannot.

    Raises
    ------
    MovieError
        If none can.
    """
    possible, reasons = [], []
    for candidate in candidates:
        try:
            plans(candidate)
            possible.append(candidate)
        except MovieError as error:
            reasons.append(error)
    if not possible:
        raise reasons[0]
    return possible


def _tried(look: Callable[[Any], Iterator[FoundDataset]], file: Any) -> Iterator[FoundDataset]:
    """Yield what a convention sees; a file that follows it only half is not of that convention."""
    with suppress(KeyError, ValueError, TypeError, AttributeError, IndexError, UnicodeError):
        yield from look(file)


def _named(file: Any, place: Place, path: str, candidates: list[FoundDataset]) -> FoundDataset:
    import h5py

    for candidate in candidates:
        if candidate.path.strip("/") == path.strip("/"):
            return candidate
    if path not in file or not isinstance(file[path], h5py.Dataset):
        msg = (
            f"{place} holds no dataset {path!r}; it can be one of "
            f"{[c.path for c in candidates[:8]]}"
        )
        raise MovieError(msg)
    # behind a link to another file the dataset has the name that it has there
    return replace(_plain(file[path]), path=path)


def _any_dataset(file: Any) -> Iterator[FoundDataset]:
    """Whatever is shaped like frames; stacks of images before single images."""
    import h5py

    found: list[Any] = []

    def look(_name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and _can_be_frames(item):
            found.append(item)
        return enough(found)

    file.visititems(look)
    stacks = [d for d in found if d.ndim > 2]
    yield from (_plain(dataset) for dataset in stacks or found)


def _can_be_frames(dataset: Any) -> bool:
    shape = dataset.shape or ()
    return (
        dataset.dtype.kind in "biuf"
        and 2 <= len(shape) <= 6
        and sum(n >= SMALLEST_EDGE for n in shape) >= 2
    )


def _plain(dataset: Any) -> FoundDataset:
    stated = None
    with suppress(ValueError, TypeError):
        stated = named_values(dict(dataset.attrs), "attributes") or named_values(
            dict(dataset.parent.attrs), "attributes"
        )
    order = "tyx"
    if "MATLAB_class" in dataset.attrs:
        order = "txy"  # its columns lie together, and h5py lists axes the other way round
    return FoundDataset(dataset.name, _axes_of_scales(dataset), "HDF5", order, stated)


def _axes_of_scales(dataset: Any) -> list[Axis] | None:
    """Return the axes that the dimension scales of a dataset describe; None if there are none."""
    axes = []
    for dimension, n in zip(dataset.dims, dataset.shape, strict=True):
        name, vector = dimension.label, None
        if len(dimension):
            vector = dimension[0]
            name = name or vector.name.rsplit("/", 1)[-1]
            if text_of(vector.attrs.get("NAME")).startswith(ONLY_A_DIMENSION):
                vector = None
        axes.append(axis_of(vector, name, n, "dimension scale"))
    # xarray calls dimensions that nobody named dim_0, dim_1, ...
    if not any(axis.called or axis.measured for axis in axes):
        return None
    return axes


CONVENTIONS: tuple[Callable[[Any], Iterator[FoundDataset]], ...] = (
    velox_datasets,
    berkeley_datasets,
    hyperspy_datasets,
    nexus_datasets,
    _any_dataset,
)
"""Tried in this order; the first that sees a movie decides."""
