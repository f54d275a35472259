"""TIFF: ImageJ stacks, OME-TIFF, BigTIFF and multi-page files.

Uncompressed contiguous frames are read raw, without tifffile.

Calibration comes from ImageJ's ``unit``, resolution and ``finterval`` (its ``fps`` is how fast to
play, and does not count), from OME's PhysicalSize and TimeIncrement, from DigitalMicrograph's and
FEI's own tags, or from a JSON description with stemkin's names (``tifffile.imwrite(...,
metadata={"pixel_size_nm": 0.03})``). A bare resolution per inch or cm is what printers are told and
does not count.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import DamagedDataError, MovieError, check_promise
from stemkin.readers.place import Place
from stemkin.readers.raw import cut_short, raw_reader
from stemkin.readers.tiff_calibration import calibration_in

UNCOMPRESSED = 1


def open_tiff(place: Place, options: Options) -> FileReader:
    """Open a TIFF file. Lazy: only its directories are read.

    Raises
    ------
    MovieError
        If it is no TIFF file, or its images cannot be frames.
    """
    with _tiff(place) as tiff:
        return _reader(tiff, place, options)


def _reader(tiff: Any, place: Place, options: Options) -> FileReader:
    first = tiff.pages.first
    shape, axes, promised = _stack(tiff)
    plan = frames_in(shape, axes, first.dtype, place, options)
    about: dict[str, Any] = {"format": _format_of(tiff), **calibration_in(tiff)}
    offset = None
    if first.is_contiguous and first.dtype.kind in "biuf":
        offset = _data_offset(tiff, promised)
    if offset is not None:
        stored = first.dtype.newbyteorder(tiff.byteorder)
        return raw_reader(place, plan, stored, offset=offset, **about)
    _check_codec(first, place)
    page_bytes = math.prod(first.shape) * first.dtype.itemsize
    check_promise(page_bytes, min(sum(first.databytecounts), place.size()), place)
    # pages that OME metadata promise may lie in other files, so they are not counted here
    held = plan.shape[0]
    if not tiff.is_ome:
        held = min(held, len(tiff.pages))
    notes = [plan.note]
    if held < promised and "t" in plan.index:
        notes.append(cut_short(promised, held))
    return TiffReader(
        place=place,
        shape=(held, *plan.shape[1:]),
        dtype=plan.dtype(first.dtype),
        plan=plan,
        page_shape=tuple(first.shape),
        notes=tuple(filter(None, notes)),
        chunks=(1, *first.chunks[:2]),
        **about,
    )


def _format_of(tiff: Any) -> str:
    if tiff.is_ome:
        return "OME-TIFF"
    if tiff.is_imagej:
        return "ImageJ TIFF"
    return "TIFF"


def _stack(tiff: Any) -> tuple[tuple[int, ...], str, int]:
    """Return shape and axes of the images as one array, and how many the header promises."""
    first, n_pages = tiff.pages.first, len(tiff.pages)
    page_axes = first.axes
    described = tiff.imagej_metadata or {}
    images = int(described.get("images", 0) or 0)
    if len(tiff.series):
        series = tiff.series[0]
        # what tifffile took for one series counts if it leaves no page and no image out
        holds_all = len(tiff.series) == 1 and _n_images(series) >= max(n_pages, images)
        if tiff.is_ome or holds_all:
            letters = series.axes.replace("Q", "I")
            return tuple(series.shape), letters, _n_images(series)
    if images > n_pages == 1:  # one directory for all images, and the file is too short for them
        return (images, *first.shape), "I" + page_axes, images
    return (n_pages, *first.shape), "I" + page_axes, max(n_pages, images)


def _n_images(series: Any) -> int:
    """Return the number of images in a series: the product of all axes but y, x and colours."""
    along = zip(series.shape, series.axes, strict=True)
    return math.prod(length for length, axis in along if axis not in "YXS")


def _data_offset(tiff: Any, promised: int) -> int | None:
    """Return where the frames begin if they lie one after the other, else None."""
    first = tiff.pages.first
    if len(tiff.series) == 1 and tiff.series[0].dataoffset is not None:
        return int(tiff.series[0].dataoffset)
    # ImageJ writes stacks over 4 GiB with one directory, the images one after the other behind it
    if promised > 1 == len(tiff.pages):
        return int(first.dataoffsets[0])
    return None


def _check_codec(page: Any, place: Place) -> None:
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        if page.predictor != 1:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
    except (KeyError, ValueError) as error:
        msg = (
            f"{place} is compressed with {page.compression.name}, which needs more: pip install "
            '"stemkin[formats]"'
        )
        raise MovieError(msg) from error


@contextmanager
def _tiff(place: Place) -> Iterator[Any]:
    import tifffile

    # what tifffile complains of reaches the user as a note or a damaged frame
    own = logging.getLogger("tifffile")
    if not own.level:
        own.setLevel(logging.CRITICAL)
    with place.opened() as file, tifffile.TiffFile(file, name=place.source) as tiff:
        yield tiff


@dataclass(frozen=True, eq=False, kw_only=True)
class TiffReader(FileReader):
    """Frames that are compressed or lie page by page, decoded by tifffile in each task.

    Attributes
    ----------
    plan
        How frames are taken from the pages as one array.
    page_shape
        (y, x) or, with colours, (y, x, samples) or (samples, y, x); every page must have it.
    """

    plan: AxisPlan
    page_shape: tuple[int, ...]

    def _frames(self, start: int, stop: int) -> Any:
        with _tiff(self.place) as tiff:
            pages = tiff.series[0].pages if tiff.is_ome else tiff.pages
            return np.stack([self._frame(pages, i) for i in range(start, stop)])

    def _frame(self, pages: Any, i: int) -> np.ndarray:
        number = self._page(i)
        # OME metadata may name pages of other files: a series has None in the place of a lost one
        page = None
        if number < len(pages):
            page = pages[number]
        if page is None:
            msg = f"{self.place} does not hold frame {i}"
            raise DamagedDataError(msg)
        page = page.aspage()
        if page.shape != self.page_shape:
            msg = f"frame {i} of {self.place} has shape {page.shape}, not {self.page_shape}"
            raise DamagedDataError(msg)
        stored = np.asarray(page.asarray(maxworkers=1))
        one = frames_in(stored.shape, page.axes, stored.dtype, self.place)
        frame: np.ndarray = one.order(stored[one.selection(0, 1)])[0]
        return frame

    def _page(self, i: int) -> int:
        """Return the number of the page that holds frame `i`."""
        # pages count the axes outside a page with the last one fastest, as in C order: of (t, z, c)
        # it is (t * n_z + z) * n_c + c, where t is `i` and z, c are the plan's fixed indices
        number = 0
        for index, length in zip(self.plan.index, self.plan.lengths, strict=True):
            if index == "t":
                number = number * length + i
            elif isinstance(index, int):
                number = number * length + index
        return number
