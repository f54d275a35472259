"""Writers of small movie files, each by the format's own library, or byte by byte where it has none
that writes."""

import json
import struct

import h5py
import numcodecs
import numpy as np
import tifffile
import zarr


def pixels(n=6, height=16, width=32, dtype="u2", seed=0):
    """Shot noise, so that every frame and every pixel differs."""
    return np.random.default_rng(seed).poisson(20, (n, height, width)).astype(dtype)


def write_npy(path, frames):
    np.save(path, frames)


def write_npz(path, frames):
    np.savez(path, movie=frames, positions=np.zeros(5))


def write_npz_compressed(path, frames):
    np.savez_compressed(path, movie=frames)


def write_tiff(path, frames):
    tifffile.imwrite(
        path,
        frames,
        photometric="minisblack",
        metadata={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    )


def write_imagej(path, frames):
    resolution = (1 / 0.03, 1 / 0.03)
    tifffile.imwrite(
        path,
        frames,
        imagej=True,
        resolution=resolution,
        metadata={"axes": "TYX", "unit": "nm", "finterval": 2.25, "fps": 10},
    )


def write_ome_tiff(path, frames):
    said = {"axes": "TYX", "TimeIncrement": 2250.0, "TimeIncrementUnit": "ms"}
    for axis in "XY":
        said.update({f"PhysicalSize{axis}": 30.0, f"PhysicalSize{axis}Unit": "pm"})
    tifffile.imwrite(path, frames, metadata=said)


def write_tiff_compressed(path, frames):
    tifffile.imwrite(path, frames, compression="zlib", photometric="minisblack", bigtiff=True)


def write_tiff_pages(path, frames):
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, contiguous=False)


def write_hdf5(path, frames):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "entry/movie", data=frames, chunks=(2, *frames.shape[1:]), compression="gzip"
        )
        dataset.attrs.update(pixel_size_nm=0.03, frame_time_s=2.25, dose_rate_e_per_nm2_s=1e5)
        file["entry/times"] = np.arange(len(frames))


def write_hdf5_contiguous(path, frames):
    with h5py.File(path, "w") as file:
        file["movie"] = frames.astype(frames.dtype.newbyteorder(">"))


def write_hdf5_shuffled(path, frames):
    with h5py.File(path, "w") as file:
        chunks = (1, *(max(1, n // 2) for n in frames.shape[1:]))
        file.create_dataset("movie", data=frames, chunks=chunks, compression="gzip", shuffle=True)


def write_hdf5_virtual(path, frames):
    """A virtual dataset of another one in the same file."""
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    layout[:] = h5py.VirtualSource(".", "parts/frames", frames.shape)
    with h5py.File(path, "w") as file:
        file["parts/frames"] = frames
        file.create_virtual_dataset("movie", layout)


def write_npy_missing(path, frames):
    """Frames with dead pixels."""
    frames = frames.astype("f4")
    frames[:, 1::5, ::7] = np.nan
    np.save(path, frames)


def write_zarr2_zlib(path, frames):
    how = {"chunks": (1, *frames.shape[1:]), "zarr_format": 2, "compressors": numcodecs.Zlib()}
    zarr.create_array(path, shape=frames.shape, dtype=frames.dtype, **how)[:] = frames


def write_zarr3_gzip(path, frames):
    """Chunks of half a frame, in shards."""
    height, width = frames.shape[1:]
    how = {"chunks": (1, height // 2, width), "shards": (1, height, width)}
    how["compressors"] = zarr.codecs.GzipCodec()
    zarr.create_array(path, shape=frames.shape, dtype=frames.dtype, **how)[:] = frames


def write_zarr_zipped(path, frames):
    with zarr.storage.ZipStore(str(path), mode="w") as store:
        zarr.create_array(store, data=frames, chunks=(1, *frames.shape[1:]))


def write_hspy(path, frames):
    with h5py.File(path, "w") as file:
        group = file.create_group("Experiments/film")
        group["data"] = frames
        for i, (name, scale, units) in enumerate(
            [("time", 2.25, "s"), ("y", 0.3, "Å"), ("x", 0.3, "Å")]
        ):
            group.create_group(f"axis-{i}").attrs.update(
                name=name, scale=scale, units=units, size=frames.shape[i]
            )


def write_nexus(path, frames):
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update(NX_class="NXentry", default="scan")
        data = entry.create_group("scan")
        data.attrs.update(NX_class="NXdata", signal="counts", axes=["time", "y", "x"])
        data["counts"] = frames
        for name, step, units, n in zip(
            ("time", "y", "x"), (2.25, 3e-11, 3e-11), ("s", "m", "m"), frames.shape, strict=True
        ):
            data[name] = np.arange(n) * step
            data[name].attrs["units"] = units
        entry["other"] = np.zeros((4, 64, 64))


def write_berkeley_emd(path, frames):
    with h5py.File(path, "w") as file:
        group = file.create_group("data/movie")
        group.attrs["emd_group_type"] = 1
        group["data"] = frames
        for i, (name, step, units) in enumerate(
            [("time", 2.25, "[s]"), ("y", 0.03, "[n_m]"), ("x", 0.03, "[n_m]")]
        ):
            group[f"dim{i + 1}"] = np.arange(frames.shape[i]) * step
            group[f"dim{i + 1}"].attrs.update(name=name, units=units)


def write_velox(path, frames, *, unit="m", scan=None, detectors=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("Data/Image/0123abcd")
        group.create_dataset("Data", data=frames.transpose(1, 2, 0), chunks=(*frames.shape[1:], 1))
        size = {"width": "3e-11", "height": "3e-11"}
        said = {
            "BinaryResult": {
                "PixelSize": size,
                "PixelUnitX": unit,
                "PixelUnitY": unit,
                "Detector": "HAADF",
                "DetectorIndex": "0",
            },
            "Scan": {"FrameTime": "2.25"} if scan is None else scan,
            "Detectors": detectors or {},
        }
        raw = np.zeros((2000, len(frames)), "u1")
        text = np.frombuffer(json.dumps(said).encode(), "u1")
        raw[: len(text)] = text[:, None]
        group["Metadata"] = raw


def write_zarr2(path, frames):
    zarr.create_array(
        path,
        data=frames,
        chunks=(2, *frames.shape[1:]),
        zarr_format=2,
        attributes={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
    )


def write_zarr3(path, frames):
    zarr.create_array(
        path,
        data=frames,
        chunks=(1, *frames.shape[1:]),
        shards=(4, *frames.shape[1:]),
        dimension_names=("time", "y", "x"),
    )


def ome_image(**scale):
    axes = [
        {"name": "t", "type": "time", "unit": "millisecond"},
        *({"name": n, "type": "space", "unit": "angstrom"} for n in "yx"),
    ]
    return [
        {
            "axes": axes,
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [{"type": "scale", "scale": [2250.0, 0.3, 0.3]}],
                }
            ],
        }
    ]


def write_ome_zarr4(path, frames):
    group = zarr.open_group(
        path,
        mode="w",
        zarr_format=2,
        attributes={"multiscales": [{"version": "0.4", **ome_image()[0]}]},
    )
    group.create_array("0", data=frames, chunks=(1, 8, 16))
    group.create_array("1", data=frames[:, ::2, ::2])


def write_ome_zarr5(path, frames):
    group = zarr.open_group(
        path, mode="w", attributes={"ome": {"version": "0.5", "multiscales": ome_image()}}
    )
    group.create_array("0", data=frames)


def write_mrc(
    path,
    frames,
    *,
    cell_angstrom=0.3,
    extended=0,
    mode=None,
    kind=b"",
    entries=b"",
    per_section=(0, 0),
):
    """MRC2014 by its definition (Cheng et al., J. Struct. Biol. 192, 146 (2015))."""
    mode = (
        {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}[frames.dtype.str[1:]]
        if mode is None
        else mode
    )
    n, height, width = frames.shape
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, width, height, n, mode, 0, 0, 0, width, height, n)
    struct.pack_into("<3f", header, 40, cell_angstrom * width, cell_angstrom * height, n)
    entries = entries or b"\7" * extended
    struct.pack_into("<i", header, 92, len(entries))
    header[104 : 104 + len(kind)] = kind
    struct.pack_into("<2h", header, 128, *per_section)
    header[208:216] = b"MAP \x44\x44\0\0"
    with open(path, "wb") as file:
        file.write(bytes(header) + entries + frames.tobytes())


def write_ser(
    path,
    frames,
    *,
    version=0x220,
    pixel_m=3e-11,
    valid=None,
    dimension=("Number", ""),
    step=1.0,
):
    """TIA's SER, by the description of P. Ercius in ncempy's documentation."""
    kind = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}[
        frames.dtype.str[1:]
    ]
    n, height, width = frames.shape
    wide = version >= 0x220
    name, unit = (text.encode() for text in dimension)
    dimension = struct.pack("<iddii", n, 0.0, step, 0, len(name)) + name
    dimension += struct.pack("<i", len(unit)) + unit
    table = (34 if wide else 30) + len(dimension)
    item = 8 if wide else 4
    element = 50 + frames[0].nbytes
    first = table + 2 * n * item
    offsets = first + np.arange(n) * element
    with open(path, "wb") as file:
        file.write(
            b"II"
            + struct.pack(
                "<hhiiii", 0x0197, version, 0x4122, 0x4152, n, n if valid is None else valid
            )
        )
        file.write(struct.pack("<q" if wide else "<i", table) + struct.pack("<i", 1) + dimension)
        kinds = "<i8" if wide else "<i4"
        file.write(offsets.astype(kinds).tobytes() + (offsets * 0 + first).astype(kinds).tobytes())
        for frame in frames:
            file.write(
                struct.pack("<ddiddihii", 0.0, pixel_m, 0, 0.0, pixel_m, 0, kind, width, height)
                + frame.tobytes()
            )


def write_dm(
    path,
    frames,
    *,
    version=3,
    units=("nm", "nm", "s"),
    scales=(0.03, 0.03, 2.25),
    order="<",
    preview=16,
    says_preview=True,
    beside=(),
    exposure_s=None,
):
    """DM3 or DM4 with a coloured preview and the movie, by the description of C. B. Boothroyd.

    `preview` is its edge in pixels, None for a file without; `says_preview` whether the file says
    that it is one; `beside` are further arrays, called ``image 2``, ``image 3``, ... `exposure_s`
    is what a camera notes.
    """
    wide = version == 4
    size = ">q" if wide else ">i"

    def tag(name, content, kind):
        raw = name.encode("latin1")
        return (
            struct.pack(">BH", kind, len(raw))
            + raw
            + (struct.pack(">q", len(content)) if wide else b"")
            + content
        )

    def value(*info, raw=b""):
        return (
            b"%%%%"
            + struct.pack(size, len(info))
            + b"".join(struct.pack(size, i) for i in info)
            + raw
        )

    def number(code, form, x):
        return value(code, raw=struct.pack(order + form, x))

    def text(x):
        return value(20, 4, len(x), raw=x.encode("utf-16-le" if order == "<" else "utf-16-be"))

    def group(*tags):
        return b"\1\0" + struct.pack(size, len(tags)) + b"".join(tags)

    def image(array, data_type, code):
        dimensions = [tag("", number(5, "I", n), 21) for n in array.shape[::-1]]
        axes = [
            group(
                tag("Origin", number(6, "f", 0.0), 21),
                tag("Scale", number(6, "f", scale), 21),
                tag("Units", text(unit), 21),
            )
            for scale, unit in zip(scales, units, strict=True)
        ][: array.ndim]
        calibrations = group(tag("Dimension", group(*(tag("", axis, 20) for axis in axes)), 20))
        raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder(order)).tobytes()
        stored = (20, code, array.size)
        if array.dtype.kind == "c":  # pairs of numbers
            stored = (20, 15, 0, 2, 0, code, 0, code, array.size)
        return group(
            tag("Calibrations", calibrations, 20),
            tag("Data", value(*stored, raw=raw), 21),
            tag("DataType", number(5, "I", data_type), 21),
            tag("Dimensions", group(*dimensions), 20),
            tag("PixelDepth", number(5, "I", array.itemsize), 21),
        )

    codes = {"i2": (1, 2), "u2": (10, 4), "f4": (2, 6), "i4": (7, 3), "u1": (6, 8)}
    codes |= {"u4": (11, 5), "f8": (12, 7), "i1": (9, 9), "c8": (3, 6)}

    noted = []
    if exposure_s is not None:
        bar = group(tag("Exposure Time (s)", number(7, "d", exposure_s), 21))
        noted = [tag("DataBar", bar, 20)]

    def entry(array, name, *code):
        return tag(
            "",
            group(
                tag("ImageData", image(array, *(code or codes[array.dtype.str[1:]])), 20),
                tag("ImageTags", group(*noted), 20),
                tag("Name", text(name), 21),
            ),
            20,
        )

    entries = [entry(frames, "film")]
    entries += [entry(array, f"image {i}") for i, array in enumerate(beside, 2)]
    more = []
    if preview:
        coloured = np.full((preview, preview), 0x00204060, "i4")
        entries.insert(0, entry(coloured, "preview", 23, 3))
        index = tag("", group(tag("ImageIndex", number(5, "I", 0), 21)), 20)
        more = [tag("Thumbnails", group(index), 20)] if says_preview else []
    odd = tag("Rect", value(15, 0, 2, 0, 6, 0, 6, raw=struct.pack(order + "ff", 1, 2)), 21)
    table = tag("CLUT", value(20, 15, 0, 3, 0, 4, 0, 4, 0, 4, 5, raw=bytes(30)), 21)
    root = group(tag("ImageList", group(*entries), 20), odd, table, *more)
    with open(path, "wb") as file:
        file.write(
            struct.pack(">i", version)
            + struct.pack(size, len(root))
            + struct.pack(">i", 1 if order == "<" else 0)
            + root
            + bytes(8)
        )


def write_video(path, frames, *, codec="ffv1", pixel_format="gray", rate=5, gop=4, beside=()):
    """A video; `beside` are the frames of further streams."""
    import av

    with av.open(str(path), "w") as container:
        streams = []
        for film in (frames, *beside):
            stream = container.add_stream(codec, rate=rate)
            stream.height, stream.width, stream.pix_fmt = *film.shape[1:3], pixel_format
            stream.codec_context.gop_size = gop
            streams.append(stream)
        for stream, film in zip(streams, (frames, *beside), strict=True):
            for array in film:
                kind = "rgb24" if array.ndim == 3 else "gray"
                frame = av.VideoFrame.from_ndarray(array, format=kind)
                container.mux(stream.encode(frame.reformat(format=pixel_format)))
            container.mux(stream.encode(None))


def write_animation(path, frames, **more):
    """GIF, animated PNG or WebP by Pillow."""
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in frames]
    if rest:
        more |= {"save_all": True, "append_images": rest}
    first.save(path, **more)
