"""TIFF: ImageJ stacks, OME-TIFF, BigTIFF and multi-page files.

Uncompressed contiguous frames are read raw, without tifffile.

Calibration comes from ImageJ's ``unit``, resolution and ``finterval`` (its ``fps`` is how fast to
play, and does not count), from OME's PhysicalSize, TimeIncrement and DeltaT, from the tags of
DigitalMicrograph, FEI, TVIPS and Olympus, or from a JSON description with stemkin's names
(``tifffile.imwrite(..., metadata={"pixel_size_nm": 0.03})``). A bare resolution per inch or cm is
what printers are told and does not count.
"""

from __future__ import annotations

import html
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemkin.readers.axes import AxisPlan, frames_in
from stemkin.readers.base import FileReader, Options
from stemkin.readers.choice import chosen
from stemkin.readers.errors import DamagedDataError, MovieError, check_promise, opening
from stemkin.readers.place import Place
from stemkin.readers.raw import cut_short, raw_reader
from stemkin.readers.tiff_calibration import TiffProgram
from stemkin.readers.tiff_series import TiffStack, stacks_in

UNCOMPRESSED = 1


def open_tiff(place: Place, options: Options) -> FileReader:
    """Open a TIFF file. Lazy: only its directories are read.

    Raises
    ------
    MovieError
        If it is no TIFF file, or its images cannot be frames.
    """
    with _tiff(place) as tiff:
        if tiff.is_ome and not options.allow_external:
            _check_siblings(tiff, place)
        return _reader(tiff, place, options)


def _check_siblings(tiff: Any, place: Place) -> None:
    """Refuse OME metadata whose frames lie in files outside the folder.

    Raises
    ------
    MovieError
        If they do.
    """
    for said in re.findall(r'FileName\s*=\s*["\']([^"\']*)', tiff.ome_metadata or ""):
        name = html.unescape(said)
        if "/" in name or "\\" in name:
            msg = (
                f"{place} takes its pixels from a file in another folder ({name}); if you trust "
                "it: allow_external=True, --allow-external"
            )
            raise MovieError(msg)


def _reader(tiff: Any, place: Place, options: Options) -> FileReader:
    found = chosen(stacks_in(tiff, place), place, options)
    stack: TiffStack = found.candidate.what
    first = stack.first
    program = TiffProgram(tiff, stack.image, first)
    axes = program.axes(stack.axes)
    plan = frames_in(stack.shape, axes, first.dtype, place, options)
    about: dict[str, Any] = {"format": _format_of(tiff), **program.calibration(plan, axes)}
    if stack.offset is not None and first.is_contiguous and first.dtype.kind in "biuf":
        stored = first.dtype.newbyteorder(tiff.byteorder)
        return raw_reader(place, plan, stored, offset=stack.offset, notes=(found.note,), **about)
    _check_codec(first, place)
    page_bytes = math.prod(first.shape) * first.dtype.itemsize
    check_promise(page_bytes, min(sum(first.databytecounts), place.size()), place)
    # pages that OME metadata promise may lie in other files, so they are not counted here
    held = plan.shape[0]
    if not tiff.is_ome:
        held = min(held, len(tiff.pages))
    notes = [found.note, plan.note]
    if held < stack.promised and "t" in plan.index:
        notes.append(cut_short(stack.promised, held))
    return TiffReader(
        place=place,
        shape=(held, *plan.shape[1:]),
        dtype=plan.dtype(first.dtype),
        plan=plan,
        page_shape=tuple(first.shape),
        image=stack.image,
        pages=stack.pages,
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
    with place.opened() as file:
        with opening(place):
            tiff = tifffile.TiffFile(file, name=place.source)
        with tiff:
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
    image
        Number of the image in OME metadata, which say what its pages are.
    pages
        Numbers of the pages in the file where others lie beside them; None for all of them.
    """

    plan: AxisPlan
    page_shape: tuple[int, ...]
    image: int = 0
    pages: np.ndarray | None = None

    def _frames(self, start: int, stop: int) -> Any:
        with _tiff(self.place) as tiff:
            pages = tiff.pages
            if tiff.is_ome:
                pages = tiff.series[self.image].pages
            return np.stack([self._frame(pages, i) for i in range(start, stop)])

    def _frame(self, pages: Any, i: int) -> np.ndarray:
        number = self._page(i)
        if self.pages is not None and number < len(self.pages):
            number = int(self.pages[number])
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
