"""Which array of a Zarr store is the movie, and what is said of its axes.

It is the store itself, the full-resolution level of its OME-Zarr image, the signal of HyperSpy
(``.zspy``), or the only array that can be frames. A store with several images (as bioformats2raw
makes of a file with several) wants to be told: ``dataset="1"`` is an image, ``"1/0"`` a level of
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from stemkin.readers.axis import Axis
from stemkin.readers.base import Options
from stemkin.readers.choice import Candidate, chosen
from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place
from stemkin.readers.zarr_metadata import (
    dimension_axes,
    multiscales_of,
    ome_axes,
    signal_axes,
    stated_in,
)

MAX_ARRAYS = 1000
DEPTH = 4
"""Groups within groups that are searched."""


@dataclass(frozen=True)
class FoundArray:
    """An array that can be a movie.

    Attributes
    ----------
    array
        Of zarr-python.
    axes
        What the store says of each axis, None where it says nothing.
    stated
        What `stemkin.readers.calibration.named_values` found; None where it found nothing.
    format
        Where it is a convention of its own; empty for plain Zarr.
    is_none
        What it is instead of a movie, where the store says so of the whole.
    title
        What the store calls it.
    note
        What the user should know of others.
    """

    array: Any
    axes: list[Axis] | None
    stated: dict[str, Any] | None = None
    format: str = ""
    is_none: str = ""
    title: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """What ``dataset=`` takes for it: the group of an image, or the array."""
        path = str(self.array.path)
        if self.format:
            return path.rpartition("/")[0]
        return path


def find_array(node: Any, place: Place, options: Options) -> FoundArray:
    """Return the array of frames in an open Zarr array or group.

    Raises
    ------
    MovieError
        If there is none, or several and `options` chooses none of them.
    """
    import zarr

    if isinstance(node, zarr.Array):
        return FoundArray(node, dimension_axes(node, None), stated_in(dict(node.attrs)))
    path = options.dataset
    if path is not None:
        member = node.get(path.strip("/"))
        if member is None:
            msg = f"{place} holds no array {path!r}; it holds {_names(node)}"
            raise MovieError(msg)
        if isinstance(member, zarr.Array):
            return _described(node, member)
        node = member
    found = _movie_of(node)
    if found is not None:
        return found
    found_below = list(_images_in(node)) or [_described(node, one) for one in _arrays_in(node)]
    if not found_below:
        msg = f"{place} holds no array that can be frames"
        raise MovieError(msg)
    asked = [Candidate(one.name, one.array.shape, one.title, one) for one in found_below]
    choice = chosen(asked, place, Options())
    found_array: FoundArray = choice.candidate.what
    return replace(found_array, note=choice.note)


def _described(root: Any, array: Any) -> FoundArray:
    """Return an array with what the groups around it say of it."""
    parent_path, _, name = array.path.rpartition("/")
    # paths of members are those from the store's root on
    below = parent_path[len(root.path) :].strip("/")
    parent = root
    if below:
        parent = root[below]
    image = multiscales_of(dict(parent.attrs))
    if image is not None:
        levels = [text_of_path(level) for level in image["datasets"]]
        if name in levels:
            return _level(parent, image, levels.index(name))
    if "axis-0" in parent and name == "data":
        return _signal(parent)
    stated = stated_in(dict(array.attrs), dict(parent.attrs))
    return FoundArray(array, dimension_axes(array, parent), stated)


def text_of_path(level: dict[str, Any]) -> str:
    """Return the path of a level, from its image's group on."""
    return str(level.get("path", "")).strip("/")


def _movie_of(group: Any) -> FoundArray | None:
    """Return the movie that a group is; None where it is none itself."""
    image = multiscales_of(dict(group.attrs))
    if image is not None:
        return _level(group, image, 0)  # the coarser levels follow it
    if "axis-0" in group and "data" in group:
        return _signal(group)
    return None


def _level(group: Any, image: dict[str, Any], level: int) -> FoundArray:
    array = group[text_of_path(image["datasets"][level])]
    stated = stated_in(image.get("metadata") or {}, dict(group.attrs), dict(array.attrs))
    if level and stated is not None:
        stated = None  # said of the full resolution
    version = str(image.get("version", ""))
    axes = ome_axes(image, level, array.ndim) or dimension_axes(array, group)
    title = str(image.get("name") or "")
    return FoundArray(array, axes, stated, f"OME-Zarr {version}".strip(), title=title)


def _signal(group: Any) -> FoundArray:
    array = group["data"]
    axes, is_none = signal_axes(group, array.ndim)
    return FoundArray(array, axes, None, "HyperSpy Zarr", is_none)


def _images_in(node: Any) -> Iterator[FoundArray]:
    """Yield the images of OME-Zarr and the signals of HyperSpy below a group."""
    import zarr

    for _, member in node.members(max_depth=DEPTH):
        if isinstance(member, zarr.Group) and "labels" not in member.path.split("/"):
            found = _movie_of(member)
            if found is not None:
                yield found


def _arrays_in(node: Any) -> list[Any]:
    """Return the arrays below a group that can be frames."""
    members = [member for _, member in node.members(max_depth=DEPTH)]
    return [one for one in members if hasattr(one, "shards") and one.ndim >= 2][:MAX_ARRAYS]


def _names(node: Any) -> list[str]:
    return [name for name, _ in node.members(max_depth=DEPTH)][:8]
