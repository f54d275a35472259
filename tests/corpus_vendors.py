"""Families of the corpus that RosettaSciIO reads for stemkin, or writes for it."""

from __future__ import annotations

import itertools
import logging
import zipfile
from collections.abc import Iterator
from functools import partial
from io import BytesIO

import numpy as np

from tests.corpus import BOTH, LENGTHS, SIZE_NM, TIME_S, Case, available, by_rosetta, film, larger

WORDS = {"u": "unsigned", "i": "signed", "f": "float"}


def ripple(scale: int) -> Iterator[Case]:
    """Yield Ripple files: a text beside raw data, in both byte orders."""
    shape = larger(scale)
    for dtype in ("u1", "<u2", ">u2", "<i2", ">i2", "<i4", "<f4", ">f4", "<f8"):
        frames = film(dtype, shape)
        yield Case("Ripple", dtype, ".rpl", partial(_ripple, frames), frames,
                   read_by=by_rosetta("ripple"))  # fmt: skip


def _ripple(frames, path):
    n, height, width = frames.shape
    order = {"<": "little-endian", ">": "big-endian"}.get(frames.dtype.str[0], "dont-care")
    words = {
        "width": width, "height": height, "depth": n, "offset": 0,
        "data-length": frames.dtype.itemsize, "data-type": WORDS[frames.dtype.kind],
        "byte-order": order, "record-by": "image",
    }  # fmt: skip
    frames.tofile(path.with_suffix(".raw"))
    lines = ["key\tvalue", *(f"{key}\t{value}" for key, value in words.items())]
    path.write_text("\n".join(lines) + "\n")


def panta_rhei(scale: int) -> Iterator[Case]:
    """Yield PRZ files, whose member is stored or deflated."""
    shape = larger(scale)
    for dtype, deflated in itertools.product(("u1", "u2", "i2", "f4", "f8"), (False, True)):
        frames = film(dtype, shape)
        write = partial(_prz, frames, deflated)
        yield Case("Panta Rhei", f"{dtype} deflated {deflated}", ".prz", write, frames,
                   read_by=by_rosetta("pantarhei"))  # fmt: skip
    yield Case("Panta Rhei", "one image", ".prz", partial(_prz, film("u2", shape)[0], True),
               film("u2", shape)[:1])  # fmt: skip


def _prz(array, deflated, path):
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    content = BytesIO()
    np.save(content, array)
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("data.npy", content.getvalue())
        archive.writestr("file_format_version.npy", _npy(np.array(5)))


def _npy(array):
    content = BytesIO()
    np.save(content, array)
    return content.getvalue()


def signal(frames, unit="nm", clock="s", step=SIZE_NM, time=TIME_S, name="time"):
    """Return frames as the dictionary that RosettaSciIO writes."""
    said = [(name, time, clock, True), ("y", step, unit, False), ("x", step, unit, False)]
    axes = [
        {"name": n, "scale": s, "units": u, "offset": 0.0, "size": length, "navigate": nav,
         "index_in_array": i, "_type": "UniformDataAxis", "is_binned": False}
        for i, ((n, s, u, nav), length) in enumerate(zip(said, frames.shape, strict=True))
    ]  # fmt: skip
    return {
        "data": frames, "axes": axes, "original_metadata": {}, "attributes": {"_lazy": False},
        "metadata": {"General": {"title": "film"}, "Signal": {"signal_type": ""}},
        "package": "hyperspy", "package_version": "2.5", "learning_results": {}, "models": {},
        "tmp_parameters": {}, "package_info": "",
    }  # fmt: skip


WRITERS = {".hspy": "hspy", ".nxs": "nexus", ".emd": "emd"}


def written_by_rosetta(scale: int) -> Iterator[Case]:
    """Yield what HyperSpy saves a movie as."""
    if not available("rsciio"):
        return
    shape = larger(scale)
    for (suffix, module), dtype in itertools.product(WRITERS.items(), ("u1", "u2", "i2", "f4")):
        frames = film(dtype, shape)
        write = partial(_by_rosetta, module, signal(frames))
        yield Case("by HyperSpy", f"{suffix} {dtype}", suffix, write, frames, BOTH,
                   read_by=by_rosetta(module))  # fmt: skip
    frames = film("u2", shape)
    for (suffix, module), (unit, step) in itertools.product(WRITERS.items(), LENGTHS.items()):
        write = partial(_by_rosetta, module, signal(frames, unit=unit, step=step))
        yield Case("by HyperSpy", f"{suffix} in {unit}", suffix, write, frames, BOTH)
    for (suffix, module), (name, unit) in itertools.product(
        WRITERS.items(), (("Energy", "eV"), ("tilt", "deg"), ("z", "nm"), ("kz", "1/nm"))
    ):
        write = partial(_by_rosetta, module, signal(frames, name=name, clock=unit))
        yield Case("by HyperSpy", f"{suffix} {name}", suffix, write, frames, must="refuse")
    for dtype in ("u1", "u2"):  # it writes the pixel size as a whole number of nanometres: none
        frames = film(dtype, shape)
        yield Case("by HyperSpy", f".tvips {dtype}", "_000.tvips",
                   partial(_by_rosetta, "tvips", signal(frames)), frames,
                   {"frame_time_s": TIME_S})  # fmt: skip


def _by_rosetta(module, said, path):
    from importlib import import_module

    logging.getLogger("rsciio").setLevel(logging.CRITICAL)
    import_module(f"rsciio.{module}").file_writer(str(path), said)


def mrcz(scale: int) -> Iterator[Case]:
    """Yield files that need a package which the extra does not bring."""
    if available("rsciio") and not available("mrcz"):
        yield Case("MRCZ", "without its package", ".mrcz",
                   lambda path: path.write_bytes(bytes(2048)), film(), must="refuse")  # fmt: skip


def _if_rosetta(family):
    def guarded(scale: int) -> Iterator[Case]:
        if available("rsciio"):
            yield from family(scale)

    return guarded


FAMILIES = (_if_rosetta(ripple), _if_rosetta(panta_rhei), written_by_rosetta, mrcz)
