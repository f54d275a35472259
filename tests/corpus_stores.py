"""Families of the corpus: stores of arrays (HDF5, NeXus, HyperSpy, EMD, Zarr, OME-Zarr)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial

import h5py
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from tests.corpus import (
    BOTH,
    DTYPES,
    LENGTHS,
    SIZE_NM,
    TIME_S,
    TIMES,
    Case,
    available,
    by_rosetta,
    film,
    larger,
)

ORDERS = tuple("".join(order) for order in itertools.permutations("tyx"))
"""How the axes of (t, y, x) may be stored."""
NO_MOVIE = {
    "an energy": ("Energy", "eV"), "an angle": ("tilt", "deg"), "a depth": ("depth", "nm"),
    "a focus": ("defocus", "nm"), "reciprocal": ("kz", "1/nm"),
}  # fmt: skip
"""Third axes that are no time."""


def stored(frames: np.ndarray, order: str) -> np.ndarray:
    """Return frames (t, y, x) with their axes in another order."""
    return np.ascontiguousarray(frames.transpose(["tyx".index(letter) for letter in order]))


def in_order(order: str, **values):
    """Return what is said of t, y and x in the order of the axes."""
    return [values[letter] for letter in order]


def hdf5(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    for dtype, (chunks, more) in itertools.product(
        (*DTYPES, "i8", "f2", "?", ">u2", ">f4"),
        (
            (None, {}), ((1, *shape[1:]), {}), ((2, *shape[1:]), {"compression": "gzip"}),
            ((2, 4, 5), {"compression": "lzf", "shuffle": True}), ((5, 3, 3), {"fletcher32": True}),
        ),
    ):  # fmt: skip
        frames = film(dtype, shape)
        write = partial(_dataset, frames, chunks=chunks, **more)
        yield Case("HDF5", f"{dtype} {chunks} {more}", ".h5", write, frames)
    stated = {"pixel_size_nm": SIZE_NM, "frame_time_s": TIME_S}
    frames = film("u2", shape)
    yield Case("HDF5", "its own names", ".h5", partial(_dataset, frames, attributes=stated), frames,
               BOTH)  # fmt: skip
    other = film("u2", shape, seed=1)
    write = partial(_dataset, frames, more={"b/other": other})
    yield Case("HDF5", "two stacks", ".h5", write, frames, must="refuse")
    yield Case("HDF5", "two stacks, one chosen", ".h5", write, other,
               options={"dataset": "b/other"})  # fmt: skip
    yield Case("HDF5", "an image beside", ".h5",
               partial(_dataset, frames, more={"dark": frames[0]}), frames)  # fmt: skip
    for label, array in {
        "complex": film("c8", shape), "a line": np.arange(99.0), "text": np.array([b"a", b"b"]),
        "four axes": film("u2", (2, *shape)),
    }.items():  # fmt: skip
        yield Case("HDF5", label, ".h5", partial(_dataset, array), frames, must="refuse")


def _dataset(array, path, *, attributes=None, more=None, **storage):
    with h5py.File(path, "w") as file:
        file.create_dataset("a/movie", data=array, **storage)
        file["a/movie"].attrs.update(attributes or {})
        for name, other in (more or {}).items():
            file[name] = other


def nexus(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    frames = film("u2", shape)
    for order, (unit, step), clock in itertools.product(ORDERS, LENGTHS.items(), ("s", "ms")):
        steps = {"y": (step, unit), "x": (step, unit), "t": (TIMES[clock], clock)}
        write = partial(_nexus, stored(frames, order), _named(order, steps, "time y x"))
        yield Case("NeXus", f"{order} {unit} {clock}", ".nxs", write, frames, BOTH)
    for label, (name, unit) in NO_MOVIE.items():
        steps = {"y": (SIZE_NM, "nm"), "x": (SIZE_NM, "nm"), "t": (1.0, unit)}
        write = partial(_nexus, frames, _named("tyx", steps, f"{name} y x"))
        yield Case("NeXus", label, ".nxs", write, frames, must="refuse")


def _named(order, steps, names):
    """Return (name, step, unit) of every axis in its order."""
    called = dict(zip("tyx", names.split(), strict=True))
    return [(called[letter], *steps[letter]) for letter in order]


def _nexus(array, axes, path):
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update(NX_class="NXentry", default="scan")
        data = entry.create_group("scan")
        data.attrs.update(NX_class="NXdata", signal="counts", axes=[name for name, _, _ in axes])
        data["counts"] = array
        for (name, step, unit), n in zip(axes, array.shape, strict=True):
            data[name] = np.arange(n) * step
            data[name].attrs["units"] = unit


def hyperspy(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    frames = film("u2", shape)
    for order, (unit, step), clock in itertools.product(ORDERS, LENGTHS.items(), ("s", "ms")):
        steps = {"y": (step, unit), "x": (step, unit), "t": (TIMES[clock], clock)}
        write = partial(_hspy, stored(frames, order), _named(order, steps, "time y x"))
        read_by = by_rosetta("hspy") if order == "tyx" else {}
        yield Case("HyperSpy", f"{order} {unit} {clock}", ".hspy", write, frames, BOTH,
                   read_by=read_by)  # fmt: skip
    for name, unit in (("stack_element", ""), ("", "s"), ("Navigation", "s"), ("frame", "s")):
        steps = {"y": (SIZE_NM, "nm"), "x": (SIZE_NM, "nm"), "t": (TIME_S, unit)}
        called = [(name, TIME_S, unit), ("y", SIZE_NM, "nm"), ("x", SIZE_NM, "nm")]
        says = BOTH if unit else {"pixel_size_nm": SIZE_NM}
        yield Case("HyperSpy", f"frames called {name!r} {unit}", ".hspy",
                   partial(_hspy, frames, called), frames, says)  # fmt: skip
    for label, (name, unit) in NO_MOVIE.items():
        steps = {"y": (SIZE_NM, "nm"), "x": (SIZE_NM, "nm"), "t": (1.0, unit)}
        write = partial(_hspy, frames, _named("tyx", steps, f"{name} y x"))
        yield Case("HyperSpy", label, ".hspy", write, frames, must="refuse")


def _hspy(array, axes, path):
    with h5py.File(path, "w") as file:
        file.attrs.update(file_format="HyperSpy", file_format_version="3.3")
        group = file.create_group("Experiments/film")
        for name in ("metadata", "original_metadata", "learning_results"):
            group.create_group(name)
        group["data"] = array
        for i, (name, step, unit) in enumerate(axes):
            group.create_group(f"axis-{i}").attrs.update(
                name=name, scale=step, units=unit, size=array.shape[i], offset=0.0
            )


EMD_UNITS = {"nm": "[n_m]", "Å": "[Å]", "pm": "[p_m]", "µm": "[µ_m]", "m": "[m]"}


def emd(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    frames = film("u2", shape)
    for order, (unit, step), (clock, time), bracketed in itertools.product(
        ORDERS, LENGTHS.items(), (("s", 0.5), ("ms", 500.0)), (False, True)
    ):
        if scale == 1 and not bracketed and order != "tyx":
            continue
        spelled = EMD_UNITS[unit] if bracketed else unit
        spelled_clock = {"s": "[s]", "ms": "[m_s]"}[clock] if bracketed else clock
        steps = {"y": (step, spelled), "x": (step, spelled), "t": (time, spelled_clock)}
        write = partial(_emd, stored(frames, order), _named(order, steps, "time y x"))
        read_by = {"ncempy": _ncem_emd} if order == "tyx" and available("ncempy") else {}
        yield Case("EMD", f"{order} {spelled} {spelled_clock}", ".emd", write, frames, BOTH,
                   read_by=read_by)  # fmt: skip
    # as HyperSpy writes them: x and y first, and a third axis of any name, with the time as unit
    for name in ("z", "stack_element", "depth", "time", ""):
        axes = [("x", SIZE_NM, "nm"), ("y", SIZE_NM, "nm"), (name, TIME_S, "s")]
        write = partial(_emd, stored(frames, "xyt"), axes)
        yield Case("EMD", f"x, y, {name!r}", ".emd", write, frames, BOTH)
    for label, (name, unit) in NO_MOVIE.items():
        steps = {"y": (SIZE_NM, "nm"), "x": (SIZE_NM, "nm"), "t": (1.0, unit)}
        write = partial(_emd, frames, _named("tyx", steps, f"{name} y x"))
        yield Case("EMD", label, ".emd", write, frames, must="refuse")
    for n in (1, 5):
        write = partial(_velox, frames[:n], 1)
        yield Case("Velox EMD", f"{n} frames", ".emd", write, frames[:n], BOTH)
    for channel in (0, 1):
        yield Case("Velox EMD", f"channel {channel}", ".emd", partial(_velox, frames, 2),
                   frames + channel, BOTH, options={"channel": channel})  # fmt: skip
    yield Case("Velox EMD", "two detectors", ".emd", partial(_velox, frames, 2), frames,
               must="refuse")  # fmt: skip


def _ncem_emd(path):
    from ncempy.io.emd import fileEMD

    with fileEMD(str(path), readonly=True) as file:
        return file.get_emdgroup(0)[0]


def _emd(array, axes, path):
    with h5py.File(path, "w") as file:
        group = file.create_group("data/movie")
        group.attrs["emd_group_type"] = 1
        group["data"] = array
        for i, (name, step, unit) in enumerate(axes):
            group[f"dim{i + 1}"] = np.arange(array.shape[i]) * step
            group[f"dim{i + 1}"].attrs.update(name=name, units=unit)


def _velox(frames, n_detectors, path):
    size = {"width": "3e-11", "height": "3e-11"}
    with h5py.File(path, "w") as file:
        for i in range(n_detectors):
            group = file.create_group(f"Data/Image/{i:032x}")
            array = np.ascontiguousarray((frames + i).transpose(1, 2, 0))
            group.create_dataset("Data", data=array, chunks=(*frames.shape[1:], 1))
            binary = {"PixelSize": size, "PixelUnitX": "m", "PixelUnitY": "m", "Detector": f"D{i}"}
            said = json.dumps({"BinaryResult": binary, "Scan": {"FrameTime": "0.5"}}).encode()
            raw = np.zeros((2000, len(frames)), "u1")
            raw[: len(said)] = np.frombuffer(said, "u1")[:, None]
            group["Metadata"] = raw


CODECS = {
    "none": None, "blosc": [BloscCodec(cname="lz4")], "zstd": [ZstdCodec()],
    "gzip": [GzipCodec()], "crc": [BloscCodec(), Crc32cCodec()],
}  # fmt: skip


def zarr_arrays(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    for dtype, codec, shards in itertools.product(
        (*DTYPES, "i8", "?"), CODECS, (None, (4, *shape[1:]))
    ):
        if scale == 1 and codec not in ("none", "blosc") and dtype not in ("u2", "f4"):
            continue
        frames = film(dtype, shape)
        write = partial(
            _zarr, frames, chunks=(2, *shape[1:]), shards=shards, compressors=CODECS[codec]
        )
        yield Case("Zarr", f"{dtype} {codec} {shards}", ".zarr", write, frames)
    frames = film("u2", shape)
    for dtype, chunks in itertools.product(("u1", ">u2", "f4"), ((1, 9, 12), (2, 4, 5), shape)):
        write = partial(_zarr, film(dtype, shape), zarr_format=2, chunks=chunks)
        yield Case("Zarr", f"v2 {dtype} {chunks}", ".zarr", write, film(dtype, shape))
    for order in ORDERS:
        names = in_order(order, t="time", y="y", x="x")
        write = partial(_zarr, stored(frames, order), dimension_names=names)
        yield Case("Zarr", f"dimensions {order}", ".zarr", write, frames)
    stated = {"pixel_size_nm": SIZE_NM, "frame_time_s": TIME_S}
    yield Case("Zarr", "its own names", ".zarr", partial(_zarr, frames, attributes=stated), frames,
               BOTH)  # fmt: skip
    for label, (name, _) in NO_MOVIE.items():
        write = partial(_zarr, frames, dimension_names=(name, "y", "x"))
        yield Case("Zarr", label, ".zarr", write, frames, must="refuse")


def _zarr(array, path, **more):
    zarr.create_array(str(path), data=array, **more)


OME_UNITS = {
    "nanometer": 0.03, "angstrom": 0.3, "picometer": 30.0, "micrometer": 3e-5, "meter": 3e-11,
}  # fmt: skip
OME_CLOCKS = {"second": 0.5, "millisecond": 500.0, "minute": 0.5 / 60}


def ome_zarr(scale: int) -> Iterator[Case]:
    shape = larger(scale)
    frames = film("u2", shape)
    for version, unit, clock in itertools.product(("0.4", "0.5"), OME_UNITS, OME_CLOCKS):
        axes = [("t", "time", clock), ("y", "space", unit), ("x", "space", unit)]
        scales = [OME_CLOCKS[clock], OME_UNITS[unit], OME_UNITS[unit]]
        write = partial(_ome_zarr, frames, version, axes, scales)
        yield Case("OME-Zarr", f"{version} {unit} {clock}", ".ome.zarr", write, frames, BOTH)
    for version, order in itertools.product(("0.4", "0.5"), ("tcyx", "tzyx", "tczyx")):
        lengths = [dict(zip("tyx", shape, strict=True)).get(letter, 1) for letter in order]
        kinds = {"t": ("time", "second"), "c": ("channel", None)}
        axes = [(a, *kinds.get(a, ("space", "nanometer"))) for a in order]
        scales = [{"t": TIME_S, "c": 1.0}.get(letter, SIZE_NM) for letter in order]
        write = partial(_ome_zarr, frames.reshape(lengths), version, axes, scales)
        yield Case("OME-Zarr", f"{version} {order}", ".ome.zarr", write, frames, BOTH)
    axes = [("z", "space", "nanometer"), ("y", "space", "nanometer"), ("x", "space", "nanometer")]
    for version in ("0.4", "0.5"):
        write = partial(_ome_zarr, frames, version, axes, [SIZE_NM] * 3)
        yield Case("OME-Zarr", f"{version} a depth", ".ome.zarr", write, frames, must="refuse")


def _ome_zarr(array, version, axes, scales, path):
    said = [{"name": n, "type": k, **({"unit": u} if u else {})} for n, k, u in axes]
    transform = [{"type": "scale", "scale": scales}]
    image = {"axes": said, "datasets": [{"path": "0", "coordinateTransformations": transform}]}
    if version == "0.4":
        attributes = {"multiscales": [{"version": version, **image}]}
    else:
        attributes = {"ome": {"version": version, "multiscales": [image]}}
    group = zarr.open_group(
        str(path), mode="w", zarr_format=2 if version == "0.4" else 3, attributes=attributes
    )
    group.create_array("0", data=array)


FAMILIES = (hdf5, nexus, hyperspy, emd, zarr_arrays, ome_zarr)
