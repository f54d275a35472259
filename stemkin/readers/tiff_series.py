"""Stacks in a TIFF file: which of its pages belong together, and which are previews.

OME metadata say which pages make an image. Elsewhere pages of one shape and type follow each other
in time, unless the program that wrote them says that they are several stacks. Pages that the file
itself calls a reduced image or a mask (``NewSubfileType``) are passed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemkin.readers.choice import Candidate
from stemkin.readers.errors import MovieError
from stemkin.readers.place import Place

REDUCED_OR_MASK = 1 | 4
"""Bits of NewSubfileType."""


@dataclass(frozen=True)
class TiffStack:
    """Images of one shape in a file, as one array.

    Attributes
    ----------
    image
        Number of the series by tifffile, which is that of the image in OME metadata.
    shape, axes
        Of all images together, as tifffile has them.
    promised
        Images that the header promises.
    first
        The page of the first one.
    pages
        Numbers of their pages in the file; None for all, or where OME metadata say which.
    offset
        Byte at which they begin where they lie one after the other, else None.
    """

    image: int
    shape: tuple[int, ...]
    axes: str
    promised: int
    first: Any
    pages: np.ndarray | None = None
    offset: int | None = None


def stacks_in(tiff: Any, place: Place) -> list[Candidate]:
    """Return the stacks of an open TiffFile that can be movies, each with its `TiffStack`.

    Raises
    ------
    MovieError
        If it holds previews alone.
    """
    series = _series(tiff)
    if tiff.is_ome and series:
        return [_of_series(one, i, one.name) for i, one in enumerate(series)]
    whole = _all_in_one(tiff, series)
    if whole is not None:
        return [Candidate("0", whole.shape, "", whole)]
    pages = _pages(tiff)
    # programs that write several stacks describe each of them; elsewhere pages that are alike
    # follow each other, whatever tifffile takes for a series
    described = [one for one in series if one.kind == "shaped" and n_images(one) > 1]
    found = [_of_series(one, series.index(one), _from(one.keyframe)) for one in described]
    taken = {page.index for one in described for page in one.pages if page is not None}
    found += _of_pages([page for page in pages if page.index not in taken])
    if not found:
        msg = f"{place} holds no images but previews"
        raise MovieError(msg)
    ordered = sorted(found, key=lambda one: int(one.what.first.index))
    return [replace(one, name=str(i)) for i, one in enumerate(ordered)]


def _series(tiff: Any) -> list[Any]:
    """Return what tifffile takes for series; nothing where it meets a page it did not expect."""
    try:
        return list(tiff.series)
    except RuntimeError:  # the first pages are alike, and a later one is not
        return []


def n_images(series: Any) -> int:
    """Return the number of images in a series: the product of all axes but y, x and colours."""
    along = zip(series.shape, series.axes, strict=True)
    return math.prod(length for length, axis in along if axis not in "YXS")


def _all_in_one(tiff: Any, series: list[Any]) -> TiffStack | None:
    """Return the stack of all pages, where they are all alike."""
    first, n_pages = tiff.pages.first, len(tiff.pages)
    promised = int((tiff.imagej_metadata or {}).get("images", 0) or 0)
    # one directory for all images (ImageJ beyond 4 GiB), and perhaps the file is too short for them
    if promised > n_pages == 1 and (not series or n_images(series[0]) < promised):
        shape = (promised, *first.shape)
        return TiffStack(0, shape, "I" + first.axes, promised, first, None, first.dataoffsets[0])
    # what tifffile took for one series counts if it leaves no page and no image out
    if len(series) == 1 and n_images(series[0]) >= max(n_pages, promised):
        found: TiffStack = _of_series(series[0], 0, "").what
        if promised > 1 == n_pages and found.offset is None:
            offset = int(first.dataoffsets[0])
            found = TiffStack(0, found.shape, found.axes, found.promised, first, None, offset)
        return found
    return None


def _pages(tiff: Any) -> list[Any]:
    """Return the pages that are no previews."""
    pages = [tiff.pages.get(i, aspage=True) for i in range(len(tiff.pages))]
    return [page for page in pages if not int(page.subfiletype or 0) & REDUCED_OR_MASK]


def _of_series(series: Any, number: int, title: str) -> Candidate:
    """Return the candidate that a series of tifffile is."""
    axes = series.axes.replace("Q", "I")
    offset = series.dataoffset
    pages = None
    if series.kind != "ome":
        pages = _numbers([page for page in series.pages if page is not None])
    stack = TiffStack(
        number, tuple(series.shape), axes, n_images(series), series.keyframe, pages, offset
    )
    return Candidate(str(number), stack.shape, title, stack)


def _of_pages(pages: list[Any]) -> list[Candidate]:
    """Return the candidates that pages make which are alike."""
    alike: dict[Any, list[Any]] = {}
    for page in pages:
        alike.setdefault(_key(page), []).append(page)
    found = []
    for group in alike.values():
        first = group[0]
        shape = (len(group), *first.shape)
        stack = TiffStack(0, shape, "I" + first.axes, len(group), first, _numbers(group))
        found.append(Candidate("", shape, _from(first), stack))
    return found


def _numbers(pages: list[Any]) -> np.ndarray:
    return np.array([page.index for page in pages], np.int64)


def _from(page: Any) -> str:
    return f"from page {page.index}"


def _key(page: Any) -> tuple[Any, ...]:
    return (tuple(page.shape), str(page.dtype), page.axes)
