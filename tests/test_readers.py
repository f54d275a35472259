"""Every format gives back the pixels and the calibration that its own library wrote."""

import contextlib
import pickle

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from stemkin.movie import open_movie
from stemkin.readers import FORMATS, Calibration, MovieError, Options, open_reader, stem_of
from stemkin.readers.axes import frames_in
from stemkin.readers.units import in_nanometres, in_seconds
from stemkin.readers.wrappers import TolerantReader
from tests import movie_files as files

BOTH = {"pixel_size_nm": 0.03, "frame_time_s": 2.25}
SIZE = {"pixel_size_nm": 0.03}

# file name, writer, what the file says, and whether frames are read raw
FORMATS_WRITTEN = {
    "a.npy": (files.write_npy, {}, True),
    "a.npz": (files.write_npz, {}, True),
    "compressed.npz": (files.write_npz_compressed, {}, False),
    "own.tif": (files.write_tiff, BOTH, True),
    "imagej.tif": (files.write_imagej, BOTH, True),
    "a.ome.tif": (files.write_ome_tiff, BOTH, True),
    "compressed.btf": (files.write_tiff_compressed, {}, False),
    "pages.tiff": (files.write_tiff_pages, {}, False),
    "chunked.h5": (files.write_hdf5, {**BOTH, "dose_rate_e_per_nm2_s": 1e5}, False),
    "contiguous.hdf5": (files.write_hdf5_contiguous, {}, True),
    "a.hspy": (files.write_hspy, BOTH, True),
    "a.nxs": (files.write_nexus, BOTH, True),
    "berkeley.emd": (files.write_berkeley_emd, BOTH, True),
    "velox.emd": (files.write_velox, BOTH, False),
    "v2.zarr": (files.write_zarr2, BOTH, False),
    "v3.zarr": (files.write_zarr3, {}, False),
    "ome4.zarr": (files.write_ome_zarr4, BOTH, False),
    "ome5.zarr": (files.write_ome_zarr5, BOTH, False),
    "a.mrc": (files.write_mrc, SIZE, True),
    "a.ser": (files.write_ser, SIZE, False),
    "a.dm3": (files.write_dm, BOTH, True),
    "a.dm4": (lambda path, frames: files.write_dm(path, frames, version=4), BOTH, True),
    "a.avi": (files.write_video, {}, False),
    "a.mkv": (files.write_video, {}, False),
}


NEEDS_ITS_END = {
    "a.npz",
    "compressed.npz",
    "chunked.h5",
    "contiguous.hdf5",
    "velox.emd",
    "berkeley.emd",
    "a.hspy",
    "a.nxs",
    "a.dm3",
    "a.dm4",
}
"""What these hold cannot be found without the end of the file, or is checked against its size."""


def frames_for(name):
    return files.pixels(dtype="u1" if name.endswith((".avi", ".mkv")) else "u2", height=32)


@pytest.mark.parametrize("name", FORMATS_WRITTEN)
def test_every_format_gives_back_pixels_and_calibration(tmp_path, name):
    write, said, raw = FORMATS_WRITTEN[name]
    frames = frames_for(name)
    write(str(tmp_path / name), frames)
    reader = pickle.loads(pickle.dumps(open_reader(str(tmp_path / name))))
    assert reader.shape == frames.shape
    assert reader.dtype == frames.dtype
    assert reader.calibration.known() == pytest.approx(said)
    assert set(reader.calibration.origin) == set(said)
    assert (type(reader).__name__ == "RawReader") == raw
    np.testing.assert_array_equal(reader.read(0, 6), frames)
    for start, stop in [(0, 1), (2, 5), (5, 6), (3, 3)]:
        part = reader.read(start, stop)
        assert part.dtype == frames.dtype
        np.testing.assert_array_equal(part, frames[start:stop])


@pytest.mark.parametrize("name", FORMATS_WRITTEN)
def test_a_format_is_known_by_its_first_bytes_where_it_has_a_mark(tmp_path, name):
    write, _, _ = FORMATS_WRITTEN[name]
    if name.endswith(".zarr"):
        pytest.skip("a Zarr store is a folder")
    write(str(tmp_path / name), frames_for(name))
    (tmp_path / name).rename(tmp_path / "no suffix at all")
    assert open_reader(str(tmp_path / "no suffix at all")).shape == (6, 32, 32)


@pytest.mark.parametrize("name", FORMATS_WRITTEN)
def test_frames_that_are_not_there_are_refused(tmp_path, name):
    write, _, _ = FORMATS_WRITTEN[name]
    write(str(tmp_path / name), frames_for(name))
    reader = open_reader(str(tmp_path / name))
    for start, stop in [(0, 7), (-1, 2), (4, 3)]:
        with pytest.raises(IndexError, match="frames 0 to 6"):
            reader.read(start, stop)


@pytest.mark.parametrize(
    "name", [n for n in FORMATS_WRITTEN if not n.endswith((".zarr", ".avi", ".mkv"))]
)
def test_a_file_cut_short_keeps_its_whole_frames_or_says_so(tmp_path, name):
    write, _, _ = FORMATS_WRITTEN[name]
    frames = frames_for(name)
    write(str(tmp_path / name), frames)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) - 3 * frames[0].nbytes - 100])
    reader = None
    with contextlib.suppress(MovieError):
        reader = open_reader(str(tmp_path / name))
    assert (reader is None) == (name in NEEDS_ITS_END)
    if reader is None:
        return
    read = TolerantReader(reader).read(0, reader.shape[0])
    good = [i for i in range(len(read)) if np.array_equal(read[i], frames[i])]
    assert len(good) <= 3
    from stemkin.kernels.images.quality import is_damaged

    assert is_damaged(read).tolist() == [i not in good for i in range(len(read))]


@pytest.mark.parametrize(
    "compressors",
    [None, [BloscCodec(cname="lz4")], [ZstdCodec()], [GzipCodec()], [BloscCodec(), Crc32cCodec()]],
)
@pytest.mark.parametrize("shards", [None, (6, 16, 32)])
def test_every_cut_of_every_zarr_layout(tmp_path, compressors, shards):
    frames = files.pixels(n=11)
    zarr.create_array(
        str(tmp_path / "a.zarr"),
        data=frames,
        chunks=(3, 16, 32),
        shards=shards,
        compressors=compressors,
    )
    reader = open_reader(str(tmp_path / "a.zarr"))
    assert reader.frames_per_chunk == (6 if shards else 3)
    assert (reader.layout is None) == (
        compressors is not None and isinstance(compressors[0], GzipCodec)
    )
    for start in range(11):
        for stop in range(start, 12):
            np.testing.assert_array_equal(reader.read(start, stop), frames[start:stop])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", [">u2", ">f4", "<i4", "u1"])
def test_both_byte_orders_of_zarr(tmp_path, zarr_format, dtype):
    frames = files.pixels(dtype=dtype)
    more = {}
    if zarr_format == 3 and dtype != "u1":
        endian = "big" if dtype[0] == ">" else "little"
        more = {"serializer": zarr.codecs.BytesCodec(endian=endian)}
    zarr.create_array(
        str(tmp_path / "a.zarr"), data=frames, chunks=(2, 16, 32), zarr_format=zarr_format, **more
    )
    reader = open_reader(str(tmp_path / "a.zarr"))
    assert reader.layout is not None
    np.testing.assert_array_equal(reader.read(1, 6), frames[1:])


def test_zarr_in_a_zip_file(tmp_path):
    store = zarr.storage.ZipStore(tmp_path / "a.zarr.zip", mode="w")
    zarr.create_array(store, data=files.pixels())
    store.close()
    np.testing.assert_array_equal(
        open_reader(str(tmp_path / "a.zarr.zip")).read(0, 6), files.pixels()
    )


def test_chunks_never_written_are_blank_as_zarr_has_it(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(6, 16, 32), dtype="u2", chunks=(2, 16, 32)
    )
    array[2:4] = files.pixels()[2:4]
    read = open_reader(str(tmp_path / "a.zarr")).read(0, 6)
    assert (read.reshape(6, -1).max(axis=1) > 0).tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4"])
def test_mrc_types_and_extended_headers(tmp_path, dtype):
    frames = files.pixels(dtype=dtype) if dtype != "u1" else files.pixels(dtype="i1")
    files.write_mrc(tmp_path / "a.mrc", frames, extended=256)
    np.testing.assert_array_equal(open_reader(str(tmp_path / "a.mrc")).read(1, 6), frames[1:])


def test_mrc_written_by_its_own_library(tmp_path):
    mrcfile = pytest.importorskip("mrcfile")
    for name, is_stack in (("stack.mrc", True), ("volume.mrc", False)):
        with mrcfile.new(tmp_path / name) as file:
            file.set_data(files.pixels())
            if is_stack:
                file.set_image_stack()
            file.voxel_size = 0.3
    with pytest.raises(MovieError, match="a stack in depth"):
        open_reader(str(tmp_path / "volume.mrc"))
    for name, options in (("stack.mrc", Options()), ("volume.mrc", Options(time_axis="z"))):
        reader = open_reader(str(tmp_path / name), options)
        assert reader.calibration.known() == pytest.approx(SIZE)
        np.testing.assert_array_equal(reader.read(0, 6), files.pixels())


@pytest.mark.parametrize("version", [0x210, 0x220])
def test_ser_of_both_versions_and_its_emi(tmp_path, version):
    files.write_ser(tmp_path / "film_1.ser", files.pixels(), version=version)
    (tmp_path / "film.emi").write_bytes(b"JJ....")
    for name in ("film_1.ser", "film.emi"):
        np.testing.assert_array_equal(open_reader(str(tmp_path / name)).read(0, 6), files.pixels())


def test_a_series_that_was_stopped_has_its_valid_frames(tmp_path):
    files.write_ser(tmp_path / "a.ser", files.pixels(), valid=4)
    assert open_reader(str(tmp_path / "a.ser")).shape[0] == 4


@pytest.mark.parametrize(
    ("library", "suffix"),
    [("ncempy", "dm3"), ("ncempy", "dm4"), ("rsciio", "dm3"), ("ncempy", "ser")],
)
def test_what_we_write_byte_by_byte_others_read_too(tmp_path, library, suffix):
    pytest.importorskip(library)
    path = str(tmp_path / f"a.{suffix}")
    (files.write_ser if suffix == "ser" else files.write_dm)(
        path, files.pixels(), **({"version": 4} if suffix == "dm4" else {})
    )
    if library == "rsciio":
        from rsciio.digitalmicrograph import file_reader

        read = file_reader(path)[-1]["data"]
    elif suffix == "ser":
        from ncempy.io.ser import serReader as reader  # noqa: N813

        read = reader(path)["data"][
            :, ::-1
        ]  # which turns frames upside down; we take rows as they are stored
    else:
        from ncempy.io.dm import dmReader as reader  # noqa: N813

        read = reader(path)["data"]
    np.testing.assert_array_equal(read, files.pixels())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [3, 4])
def test_dm_of_both_versions_and_byte_orders(tmp_path, version, order):
    files.write_dm(tmp_path / "a.dm3", files.pixels(dtype="f4"), version=version, order=order)
    reader = open_reader(str(tmp_path / "a.dm3"))
    np.testing.assert_array_equal(reader.read(0, 6), files.pixels(dtype="f4"))
    assert reader.calibration.known() == pytest.approx(BOTH)


def test_a_spectrum_image_is_no_movie(tmp_path):
    files.write_dm(tmp_path / "a.dm3", files.pixels(), units=("nm", "nm", "eV"))
    with pytest.raises(MovieError, match="spectrum image"):
        open_reader(str(tmp_path / "a.dm3"))


def test_a_video_is_sought_frame_by_frame_through_lossy_groups(tmp_path):
    bright = np.repeat(np.arange(20, 240, 10, dtype="u1")[:, None, None], 64, 1).repeat(64, 2)
    files.write_video(tmp_path / "a.mp4", bright, codec="mpeg4", pixel_format="yuv420p", gop=7)
    reader = open_reader(str(tmp_path / "a.mp4"))
    whole = reader.read(0, 22).astype(float)
    assert np.abs(whole.mean(axis=(1, 2)) - bright[:, 0, 0]).max() < 3
    for start in range(0, 22, 5):
        np.testing.assert_array_equal(reader.read(start, start + 2), whole[start : start + 2])
    assert reader.calibration.known() == {}  # the playback rate is not the frame time


def test_false_colours_become_luminance_and_are_mentioned(tmp_path, caplog):
    fire = np.zeros((3, 32, 32, 3), "u1")
    fire[..., 0] = np.linspace(0, 255, 32)
    fire[..., 1] = np.linspace(0, 128, 32)
    files.write_video(tmp_path / "a.avi", fire, codec="ffv1", pixel_format="bgr0")
    with caplog.at_level("INFO"):
        movie = open_movie(tmp_path / "a.avi")
    assert "luminance" in caplog.text
    line = movie.reader.read(0, 1)[0, 0].astype(int)
    assert (np.diff(line) >= 0).all()
    assert line[-1] > 100


def test_colour_images_become_luminance(tmp_path):
    coloured = np.zeros((2, 16, 16, 3), "u1")
    coloured[..., 1] = 100
    tifffile.imwrite(tmp_path / "a.tif", coloured, photometric="rgb")
    np.save(tmp_path / "a.npy", coloured)
    for name in ("a.tif", "a.npy"):
        np.testing.assert_allclose(open_reader(str(tmp_path / name)).read(0, 2), 71.52, rtol=1e-5)


@pytest.mark.parametrize("name", ["one.npy", "one.tif", "one.h5"])
def test_one_image_is_a_movie_of_one_frame(tmp_path, name):
    image = files.pixels()[0]
    if name.endswith(".npy"):
        np.save(tmp_path / name, image)
    elif name.endswith(".tif"):
        tifffile.imwrite(tmp_path / name, image)
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["image"] = image
    np.testing.assert_array_equal(open_reader(str(tmp_path / name)).read(0, 1), image[None])


def test_time_last_and_fortran_order_are_picked_from_a_map(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(files.pixels()))
    np.testing.assert_array_equal(
        open_reader(str(tmp_path / "a.npy")).read(2, 5), files.pixels()[2:5]
    )


def test_a_folder_of_numbered_tiffs_is_one_movie_with_gaps_where_files_are_missing_or_broken(
    tmp_path,
):
    frames = files.pixels(n=12)
    for i, frame in enumerate(frames):
        if i != 4:
            tifffile.imwrite(tmp_path / f"film 2_{i + 8}.tif", frame)
    (tmp_path / "film 2_15.tif").write_bytes(b"II*\0 broken")
    movie = open_movie(tmp_path)
    read = movie.reader.read(0, 12)
    from stemkin.kernels.images.quality import frame_status

    assert frame_status(read).tolist() == ["corrupt" if i in (4, 7) else "ok" for i in range(12)]
    np.testing.assert_array_equal(np.delete(read, [4, 7], 0), np.delete(frames, [4, 7], 0))


def test_files_of_unlike_shape_are_not_frames_of_one_movie(tmp_path):
    for i in range(6):
        tifffile.imwrite(tmp_path / f"f{i}.tif", np.zeros((16, 16 + i // 3), "u1"))
    with pytest.raises(MovieError, match=r"16 x 16 pixels of uint8 and f3\.tif has 16 x 17"):
        open_movie(tmp_path)


def test_unequal_pixels_are_refused_with_a_cure(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        files.pixels(),
        imagej=True,
        resolution=(10, 20),
        metadata={"axes": "TYX", "unit": "nm"},
    )
    with pytest.raises(MovieError, match=r"0\.05 nm high and 0\.1 nm wide.*give pixel_size_nm"):
        open_movie(tmp_path / "a.tif")
    assert open_movie(tmp_path / "a.tif", pixel_size_nm=0.1).pixel_size_nm == 0.1


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((5, 1, 1, 8, 9), "TCZYX", (5, 8, 9)),
        ((7, 1, 1, 8, 9), "TZCYX", (7, 8, 9)),
        ((8, 9, 5), "YXT", (5, 8, 9)),
        ((8, 9), None, (1, 8, 9)),
        ((1, 1, 5, 8, 9), None, (5, 8, 9)),
        ((5, 8, 9, 3), "TYXS", (5, 8, 9)),
    ],
)
def test_axes_by_hand(shape, axes, expected):
    plan = frames_in(shape, axes, np.dtype("u1"), "x")
    assert plan.shape == expected
    assert plan.take(np.zeros(shape, "u1"), 0, expected[0]).shape == expected


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((5, 2, 8, 9), "TCYX", "2 channels; choose one"),
        ((5, 4, 8, 9), "TZYX", "a stack in depth"),
        ((4, 5, 8, 9), None, "which is no movie"),
        ((12,), None, "which is no movie"),
        ((), None, "which is no movie"),
    ],
)
def test_what_is_no_movie_is_one_sentence(shape, axes, sentence):
    with pytest.raises(MovieError, match=sentence):
        frames_in(shape, axes, np.dtype("u2"), "x")


def test_an_imagej_stack_that_calls_its_frames_channels_is_a_movie(tmp_path):
    """What ``tifffile.imwrite(..., imagej=True)`` makes of a stack whose axes nobody named."""
    frames = np.random.default_rng(3).integers(0, 900, (20, 12, 14)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", frames, imagej=True, metadata={"axes": "CYX"})
    reader = open_reader(str(tmp_path / "a.tif"), Options())
    assert "its 'c' axis is read as time" in reader.notes
    np.testing.assert_array_equal(reader.read(3, 9), frames[3:9])
    assert open_reader(str(tmp_path / "a.tif"), Options(channel=4)).shape == (1, 12, 14)
    tifffile.imwrite(tmp_path / "few.tif", frames[:4], imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(MovieError, match="4 channels; choose one"):
        open_reader(str(tmp_path / "few.tif"), Options())


def test_a_channel_is_chosen(tmp_path):
    both = np.stack([files.pixels(), files.pixels(seed=1)], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", both, imagej=True, metadata={"axes": "TCYX"})
    np.testing.assert_array_equal(
        open_reader(str(tmp_path / "a.tif"), Options(channel=1)).read(1, 4),
        files.pixels(seed=1)[1:4],
    )
    with pytest.raises(MovieError, match="channels 0 to 1"):
        open_reader(str(tmp_path / "a.tif"), Options(channel=2))


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (30, "pm", 0.03),
        (0.3, "Å", 0.03),
        (3e-5, "µm", 0.03),
        (3e-5, "\u03bcm", 0.03),
        (3e-11, "m", 0.03),
        (0.03, b"nm", 0.03),
        (1, "pixel", None),
        (1, None, None),
        (0, "nm", None),
        (-1, "nm", None),
        (float("nan"), "nm", None),
        ("x", "nm", None),
    ],
)
def test_lengths_become_nanometres_or_nothing(value, unit, expected):
    assert in_nanometres(value, unit) == (None if expected is None else pytest.approx(expected))


def test_times_become_seconds_or_nothing():
    assert [in_seconds(2250, "ms"), in_seconds(0.0375, "min"), in_seconds(5, "fps")] == [
        2.25,
        2.25,
        None,
    ]


def test_calibration_that_cannot_be_is_refused():
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="frame_time_s must be a positive number"):
            Calibration(frame_time_s=value)


def test_every_suffix_leads_to_an_opener_that_exists():
    from importlib import import_module

    for known in FORMATS:
        module, function = known.opener.split(":")
        assert callable(getattr(import_module(module), function))
    assert stem_of("a/b.ome.zarr") == "b"


def test_a_vendor_format_names_the_extra_that_reads_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rsciio", None)
    (tmp_path / "a.mib").write_bytes(b"MQ1,000001")
    with pytest.raises(MovieError, match=r'pip install "stemkin\[formats\]"'):
        open_reader(str(tmp_path / "a.mib"))


def test_a_vendor_format_is_read_through_rosettasciio(tmp_path):
    pytest.importorskip("rsciio")
    frames = files.pixels(dtype="u1")
    frames.tofile(tmp_path / "a.raw")
    words = {
        "width": 32,
        "height": 16,
        "depth": 6,
        "offset": 0,
        "data-length": 1,
        "data-type": "unsigned",
        "byte-order": "dont-care",
    }
    text = "key\tvalue\n" + "".join(
        f"{k}\t{v}\n" for k, v in {**words, "record-by": "image"}.items()
    )
    (tmp_path / "a.rpl").write_text(text)
    np.testing.assert_array_equal(open_reader(str(tmp_path / "a.rpl")).read(1, 5), frames[1:5])
