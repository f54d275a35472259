"""Families of the corpus: files of microscopes and cameras (MRC, SER, DM)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from tests import movie_files as files
from tests.corpus import (
    BOTH,
    DTYPES,
    LENGTHS,
    SIZE,
    SIZE_NM,
    TIME_S,
    TIMES,
    Case,
    available,
    by_rosetta,
    film,
    larger,
)


def mrc(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    for dtype, extended in itertools.product(("i1", "i2", "u2", "f2", "f4"), (0, 128)):
        frames = film(dtype, shape)
        read_by = {"mrcfile": _mrcfile} if available("mrcfile") and not extended else {}
        if available("ncempy") and dtype in ("i2", "u2", "f4"):
            read_by["ncempy"] = _ncem_mrc
        write = partial(files.write_mrc, frames=frames, extended=extended)
        yield Case("MRC", f"{dtype} {extended}", ".mrc", write, frames, SIZE, read_by=read_by)
    write = partial(files.write_mrc, frames=film("f4", shape), cell_angstrom=1.0)
    yield Case("MRC", "a cell that nobody set", ".mrc", write, film("f4", shape))
    if available("mrcfile"):
        for dtype in ("i1", "i2", "u2", "f2", "f4"):
            frames = film(dtype, shape)
            yield Case("MRC", f"by mrcfile {dtype}", ".mrc", partial(_by_mrcfile, frames), frames,
                       SIZE)  # fmt: skip
        yield Case("MRC", "complex", ".mrc", partial(_by_mrcfile, film("c8", shape)),
                   film("c8", shape), must="refuse")  # fmt: skip


def _mrcfile(path):
    import mrcfile

    with mrcfile.open(path, permissive=True) as file:
        return np.array(file.data)


def _ncem_mrc(path):
    from ncempy.io.mrc import mrcReader

    return mrcReader(str(path))["data"]


def _by_mrcfile(frames, path):
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(frames)
        file.set_image_stack() if frames.dtype.kind != "c" else None
        file.voxel_size = 0.3


def ser(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    for dtype, version in itertools.product(DTYPES, (0x210, 0x220)):
        frames = film(dtype, shape)
        # (RosettaSciIO 0.15 does not read SER files under NumPy 2.4)
        read_by = {}
        if available("ncempy") and dtype != "u1":  # which ncempy 1.16 does not read
            read_by = {"ncempy": _ncem_ser}
        write = partial(files.write_ser, frames=frames, version=version)
        yield Case("SER", f"{dtype} {version:x}", ".ser", write, frames, SIZE, read_by=read_by)
    for pixel_m in (0.0, 4.2e7, 1.0):
        write = partial(files.write_ser, frames=film("u2", shape), pixel_m=pixel_m)
        yield Case("SER", f"a pixel of {pixel_m:g} m", ".ser", write, film("u2", shape),
                   must="either")  # fmt: skip
    write = partial(files.write_ser, frames=film("u2", shape), valid=3)
    yield Case("SER", "stopped after 3", ".ser", write, film("u2", shape)[:3], SIZE)


def _ncem_ser(path):
    from ncempy.io.ser import serReader

    return np.asarray(serReader(str(path))["data"])[:, ::-1]  # it turns frames upside down


def dm(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    others = by_rosetta("digitalmicrograph")
    if available("ncempy"):
        others["ncempy"] = _ncem_dm
    for dtype, version, order in itertools.product(("u1", *DTYPES[1:]), (3, 4), "<>"):
        frames = film(dtype, shape)
        write = partial(
            files.write_dm, frames=frames, version=version, order=order,
            scales=(SIZE_NM, SIZE_NM, TIME_S),
        )  # fmt: skip
        read_by = others if order == "<" else {}
        yield Case("DM", f"{dtype} DM{version} {order}", f".dm{version}", write, frames, BOTH,
                   read_by=read_by)  # fmt: skip
    for (unit, step), (clock, time) in itertools.product(LENGTHS.items(), TIMES.items()):
        write = partial(files.write_dm, frames=film("u2", shape), units=(unit, unit, clock),
                        scales=(step, step, time))  # fmt: skip
        yield Case("DM", f"{unit} {clock}", ".dm3", write, film("u2", shape), BOTH)
    for preview, says, images in itertools.product((4, 128, None), (True, False), (1, 2)):
        first, second = film("u2", shape), film("u2", shape, seed=1)
        write = partial(
            files.write_dm, frames=first, preview=preview, says_preview=says, version=4,
            scales=(SIZE_NM, SIZE_NM, TIME_S), beside=[second][: images - 1],
        )  # fmt: skip
        label = f"preview {preview} says {says} images {images}"
        if images == 1:
            yield Case("DM", label, ".dm4", write, first, BOTH)
            continue
        yield Case("DM", label, ".dm4", write, first, must="refuse")
        yield Case("DM", f"{label} chosen", ".dm4", write, second, BOTH,
                   options={"dataset": "image 2"})  # fmt: skip
    for label, units in {
        "an energy": ("nm", "nm", "eV"), "reciprocal": ("1/nm", "1/nm", "s"),
        "one edge reciprocal": ("nm", "1/nm", "s"), "a depth": ("nm", "nm", "nm"),
        "an angle": ("nm", "nm", "deg"), "time in the plane": ("s", "nm", "nm"),
    }.items():  # fmt: skip
        write = partial(files.write_dm, frames=film("u2", shape), units=units)
        yield Case("DM", label, ".dm3", write, film("u2", shape), must="refuse")
    for n in (1, 2):
        single = film("u2", (n, *shape[1:]))
        write = partial(files.write_dm, frames=single, scales=(SIZE_NM, SIZE_NM, TIME_S))
        yield Case("DM", f"{n} frames", ".dm4", write, single, BOTH)
    write = partial(files.write_dm, frames=film("u2", shape)[0], scales=(SIZE_NM, SIZE_NM, 1))
    yield Case("DM", "one image", ".dm3", write, film("u2", shape)[:1], SIZE)
    for label, array in {"complex": film("c8", shape), "a line": film("u2", (40,))}.items():
        yield Case("DM", label, ".dm3", partial(files.write_dm, frames=array), film(),
                   must="refuse")  # fmt: skip


def _ncem_dm(path):
    from ncempy.io.dm import dmReader

    return dmReader(str(path))["data"]


FAMILIES = (mrc, ser, dm)
