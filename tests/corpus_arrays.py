"""Families of the corpus: arrays and stacks of pages (NPY, NPZ, TIFF, ImageJ, OME-TIFF)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from tests.corpus import (
    BOTH,
    DTYPES,
    LENGTHS,
    SIZE_NM,
    TIME_S,
    TIMES,
    Case,
    available,
    film,
    larger,
)


def npy(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    for dtype, order in itertools.product((*DTYPES, "i8", "u8", "f2", "?", ">u2", ">f8"), "CF"):
        frames = film(dtype, shape)
        array = np.asarray(frames, order=order)
        yield Case("NPY", f"{dtype} {order}", ".npy", partial(_save, array), frames)
    for extra in ((), (1,), (1, 1)):
        frames = film("u2", shape)
        yield Case("NPY", f"{len(extra)} axes of 1 before", ".npy",
                   partial(_save, frames.reshape(*extra, *shape)), frames)  # fmt: skip
    yield Case("NPY", "one image", ".npy", partial(_save, film("f4")[0]), film("f4")[:1])
    for label, array in {
        "complex": film("c8"),
        "a line": np.arange(9.0),
        "a number": np.array(3.0),
        "text": np.array([["a", "b"]]),
        "times": np.zeros((3, 9, 12), "M8[s]"),
        "records": np.zeros((9, 12), [("a", "u1"), ("b", "f4")]),
        "four axes": film("u2", (2, 5, 9, 12)),
        "no frames": np.zeros((0, 9, 12)),
        "no pixels": np.zeros((5, 0, 12)),
    }.items():
        yield Case("NPY", label, ".npy", partial(_save, array), film(), must="refuse")


def _save(array: np.ndarray, path: Path) -> None:
    np.save(path, array)


def npz(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    for dtype, save in itertools.product(DTYPES, (np.savez, np.savez_compressed)):
        frames = film(dtype, shape)
        yield Case("NPZ", f"{dtype} {save.__name__}", ".npz",
                   lambda path, save=save, frames=frames: save(path, movie=frames), frames)  # fmt: skip
    both = {"first": film("u2", shape), "second": film("u2", shape, seed=1)}
    for save in (np.savez, np.savez_compressed):
        write = partial(_save_all, save, both)
        yield Case("NPZ", f"two {save.__name__}", ".npz", write, both["first"], must="refuse")
        yield Case("NPZ", f"two {save.__name__}, one chosen", ".npz", write, both["second"],
                   options={"dataset": "second"})  # fmt: skip
    beside = {"movie": film("u2", shape), "times": np.arange(5.0), "mask": film("u1")[0]}
    yield Case("NPZ", "an image beside", ".npz", partial(_save_all, np.savez, beside),
               beside["movie"])  # fmt: skip


def _save_all(save, arrays, path):
    save(path, **arrays)


COMPRESSIONS = (None, "zlib", "lzw", "zstd", "packbits")


def tiff(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    has_codecs = available("imagecodecs")
    read_by = {"tifffile": tifffile.imread}
    for dtype, order in itertools.product((*DTYPES, "f2"), "<>"):
        frames = film(dtype, shape)
        yield Case("TIFF", f"{dtype} {order}", ".tif",
                   partial(_tiff, frames, byteorder=order), frames, read_by=read_by)  # fmt: skip
    for codec, predictor, tile in itertools.product(COMPRESSIONS, (None, True), (None, (16, 16))):
        if codec not in (None, "zlib") and not has_codecs:
            continue
        if predictor and codec in (None, "packbits"):
            continue
        frames = film("u2", shape)
        write = partial(_tiff, frames, compression=codec, predictor=predictor, tile=tile)
        yield Case("TIFF", f"{codec} {predictor} {tile}", ".tif", write, frames, read_by=read_by)
    for big, pages, codec in itertools.product((False, True), (False, True), (None, "zlib")):
        frames = film("i2", shape)
        write = partial(_tiff, frames, bigtiff=big, one_by_one=pages, compression=codec)
        others = {} if pages else read_by
        yield Case("TIFF", f"big {big} pages {pages} {codec}", ".tif", write, frames,
                   read_by=others)  # fmt: skip
    yield from _described(shape)
    yield from _several(shape)
    coloured = film("u1", (*shape, 3))
    luminance = coloured.astype("f4") @ np.array((0.2126, 0.7152, 0.0722), "f4")
    yield Case("TIFF", "colours", ".tif", partial(_tiff, coloured, photometric="rgb"), luminance)
    for label, array in {"complex": film("c8", shape), "u8": film("u8", shape)}.items():
        must = {"complex": "refuse"}.get(label, "read")
        yield Case("TIFF", label, ".tif", partial(_tiff, array), array, must=must)


def _tiff(frames, path, *, one_by_one=False, bigtiff=False, byteorder="<", **more):
    more = {"photometric": "minisblack", "metadata": None, **more}
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as writer:
        if not one_by_one:
            writer.write(frames, **more)
            return
        for frame in frames:
            writer.write(frame, contiguous=False, **more)


def _described(shape) -> Iterator[Case]:
    """Yield ImageJ, OME and stemkin's own descriptions, in every unit and order of axes."""
    frames = film("u2", shape)
    for unit, codec in itertools.product(LENGTHS, (None, "zlib")):
        if unit == "m":
            continue
        step = LENGTHS[unit]
        escaped = unit.encode("unicode_escape").decode().replace("\\x", "\\u00")
        said = {"axes": "TYX", "unit": escaped, "finterval": TIME_S, "fps": 7.0}
        write = partial(
            tifffile.imwrite, data=frames, imagej=True, resolution=(1 / step, 1 / step),
            metadata=said, compression=codec,
        )  # fmt: skip
        yield Case("ImageJ", f"{unit} {codec}", ".tif", write, frames, BOTH,
                   read_by={"tifffile": tifffile.imread})  # fmt: skip
    bare = partial(tifffile.imwrite, data=frames, imagej=True, metadata={"axes": "TYX"})
    yield Case("ImageJ", "without calibration", ".tif", bare, frames)
    printed = partial(tifffile.imwrite, data=frames, resolution=(300, 300), resolutionunit=2,
                      photometric="minisblack")  # fmt: skip
    yield Case("TIFF", "a printer's resolution", ".tif", printed, frames)
    for (unit, step), (clock, time) in itertools.product(LENGTHS.items(), TIMES.items()):
        said = {"axes": "TYX", "TimeIncrement": time, "TimeIncrementUnit": clock}
        for axis in "XY":
            said |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": unit}
        write = partial(tifffile.imwrite, data=frames, metadata=said, ome=True)
        yield Case("OME-TIFF", f"{unit} {clock}", ".ome.tif", write, frames, BOTH,
                   read_by={"tifffile": tifffile.imread})  # fmt: skip
    for axes in ("TYX", "TCYX", "TZYX", "TZCYX", "TCZYX"):
        lengths = tuple(dict(zip("TYX", shape, strict=True)).get(a, 1) for a in axes)
        write = partial(tifffile.imwrite, data=frames.reshape(lengths), ome=True,
                        metadata={"axes": axes})  # fmt: skip
        yield Case("OME-TIFF", f"axes {axes}", ".ome.tif", write, frames)
    for channel in (0, 1):
        both = np.stack([frames, film("u2", shape, seed=1)], 1)
        write = partial(tifffile.imwrite, data=both, ome=True, metadata={"axes": "TCYX"})
        yield Case("OME-TIFF", f"channel {channel}", ".ome.tif", write, both[:, channel],
                   options={"channel": channel})  # fmt: skip
    yield Case("OME-TIFF", "channels, none chosen", ".ome.tif", write, both[:, 0], must="refuse")
    write = partial(tifffile.imwrite, data=frames, photometric="minisblack",
                    metadata={"pixel_size_nm": SIZE_NM, "frame_time_s": TIME_S})  # fmt: skip
    yield Case("TIFF", "its own description", ".tif", write, frames, BOTH)


def _several(shape) -> Iterator[Case]:
    """Yield files with several stacks: a question, answered by `dataset`."""
    first, second = film("u2", shape), film("u2", shape, seed=1)
    survey = film("u2", (1, 20, 30))

    def ome(path):
        with tifffile.TiffWriter(path, ome=True) as writer:
            for stack in (first, second):
                writer.write(stack, metadata={"axes": "TYX"})

    def described(path):
        with tifffile.TiffWriter(path) as writer:
            for stack in (first, second):
                writer.write(stack, photometric="minisblack", contiguous=False)

    for name, write, suffix in (("OME-TIFF", ome, ".ome.tif"), ("TIFF", described, ".tif")):
        yield Case(name, "two stacks", suffix, write, first, must="refuse")
        for i, stack in enumerate((first, second)):
            yield Case(name, f"two stacks, number {i}", suffix, write, stack,
                       options={"dataset": str(i)})  # fmt: skip

    for at, codec in itertools.product((0, 2, len(first)), (None, "zlib")):

        def pages(path, at=at, codec=codec):
            with tifffile.TiffWriter(path) as writer:
                for page in (*first[:at], survey[0], *first[at:]):
                    writer.write(page, photometric="minisblack", metadata=None, compression=codec)

        yield Case("TIFF", f"a page of another shape at {at} {codec}", ".tif", pages, first)

    def previews(path):
        with tifffile.TiffWriter(path) as writer:
            for page in first:
                writer.write(page, photometric="minisblack", metadata=None)
                writer.write(page[::3, ::3], photometric="minisblack", metadata=None, subfiletype=1)

    yield Case("TIFF", "previews that say so", ".tif", previews, first)


FAMILIES = (npy, npz, tiff)
