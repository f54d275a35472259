"""What a file may unpack to, and what it may read: its own shape, and its own files."""

import json
import math
import os
import tracemalloc
import zipfile
import zlib

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.archive import open_archive
from stemkin.kernels.images.quality import is_damaged
from stemkin.readers import MovieError, Options, open_reader, place_of
from stemkin.readers.hdf5_chunks import BoundedDataset, unshuffled
from stemkin.readers.place import RemotePlace
from stemkin.readers.wrappers import TolerantReader
from stemkin.readers.zarr_bounds import zstd_content_size
from tests.movie_files import pixels

CALIBRATION = {"pixel_size_nm": 0.03, "frame_time_s": 1.0}
FRAMES = pixels(n=3, height=32, width=48)
BOMB = np.zeros(2**26, "u1")
"""64 MiB in the place of 3 KiB."""


def hdf5(path, packed, **how):
    with h5py.File(path, "w") as file:
        d = file.create_dataset("movie", data=FRAMES, chunks=(1, 32, 48), compression="gzip", **how)
        d.id.write_direct_chunk((1, 0, 0), packed + bytes(4 * bool(how.get("fletcher32"))))


def zarr_with(path, packed, key, **how):
    array = zarr.create_array(path, shape=FRAMES.shape, dtype="u2", **how)
    array[:] = FRAMES
    with open(os.path.join(path, key), "wb") as file:
        file.write(packed)


BOMBS = {
    "gzip.h5": lambda path: hdf5(path, zlib.compress(BOMB, 9)),
    "shuffled.h5": lambda path: hdf5(path, zlib.compress(BOMB, 9), shuffle=True),
    "checked.h5": lambda path: hdf5(path, zlib.compress(BOMB, 9), fletcher32=True),
    "zlib2.zarr": lambda path: zarr_with(
        path, numcodecs.Zlib().encode(BOMB), "1.0.0",
        chunks=(1, 32, 48), zarr_format=2, compressors=numcodecs.Zlib(),
    ),
    "bz2.zarr": lambda path: zarr_with(
        path, numcodecs.BZ2().encode(BOMB), "1.0.0",
        chunks=(1, 32, 48), zarr_format=2, compressors=numcodecs.BZ2(),
    ),
    "lzma.zarr": lambda path: zarr_with(
        path, numcodecs.LZMA().encode(BOMB), "1.0.0",
        chunks=(1, 32, 48), zarr_format=2, compressors=numcodecs.LZMA(),
    ),
    "lz4.zarr": lambda path: zarr_with(
        path, numcodecs.LZ4().encode(BOMB), "1.0.0",
        chunks=(1, 32, 48), zarr_format=2, compressors=numcodecs.LZ4(),
    ),
    "gzip3.zarr": lambda path: zarr_with(
        path, numcodecs.GZip().encode(BOMB), "c/1/0/0",
        chunks=(1, 32, 48), compressors=zarr.codecs.GzipCodec(),
    ),
    "zstd3.zarr": lambda path: zarr_with(
        path, numcodecs.Zstd().encode(BOMB), "c/1/0/0",
        chunks=(1, 32, 48), compressors=zarr.codecs.ZstdCodec(),
    ),
    "in quarters.zarr": lambda path: zarr_with(
        path, numcodecs.Zstd().encode(BOMB), "c/1/1/0",
        chunks=(1, 16, 24), compressors=zarr.codecs.ZstdCodec(),
    ),
    "blosc in quarters.zarr": lambda path: zarr_with(
        path, numcodecs.Blosc().encode(BOMB), "c/1/1/0",
        chunks=(1, 16, 24), compressors=zarr.codecs.BloscCodec(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore")
def test_a_chunk_that_unpacks_beyond_its_shape_costs_its_frame_and_no_memory(tmp_path, name):
    BOMBS[name](str(tmp_path / name))
    reader = TolerantReader(open_reader(str(tmp_path / name)))
    reader.read(0, 1)  # imports
    tracemalloc.start()
    try:
        found = reader.read(0, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert is_damaged(found).tolist() == [False, True, False]
    assert np.array_equal(found[::2], FRAMES[::2])
    # a decoder of LZMA takes up to 24 MiB whatever it unpacks
    assert peak < 2**25, f"{peak / 2**20:.0f} MiB"


@pytest.mark.filterwarnings("ignore")
def test_gzip_inside_shards_is_read_and_bounded(tmp_path):
    path = str(tmp_path / "a.zarr")
    how = {"chunks": (1, 32, 48), "shards": (3, 32, 48), "compressors": zarr.codecs.GzipCodec()}
    zarr.create_array(path, shape=FRAMES.shape, dtype="u2", **how)[:] = FRAMES
    assert np.array_equal(open_reader(path).read(0, 3), FRAMES)


@settings(max_examples=40)
@given(data=st.data())
def test_chunks_that_are_unpacked_here_are_what_the_library_gives(tmp_path_factory, data):
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(3))
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    dtype = data.draw(st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f8", "i4", "?"]))
    how = data.draw(st.sampled_from([{}, {"shuffle": True}, {"fletcher32": True}]))
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    path = tmp_path_factory.mktemp("h5") / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "movie", shape, dtype, chunks=chunks, compression="gzip", fillvalue=1, **how
        )
        written = data.draw(st.integers(0, shape[0]))
        made[:written] = values[:written]  # the rest stays what fills it
        selection = []
        for n in shape:
            start = data.draw(st.integers(0, n - 1))
            stop = data.draw(st.integers(start + 1, n))
            selection.append(data.draw(st.sampled_from([start, slice(start, stop)])))
        found = BoundedDataset(made, place_of(path))[tuple(selection)]
        if found.ndim:
            assert found.dtype == made.dtype
        # a single number may have the byte order of this machine
        assert found.dtype.newbyteorder("=") == made.dtype.newbyteorder("=")
        assert np.array_equal(found, made[tuple(selection)])


def test_bytes_of_numbers_are_put_together_again():
    assert unshuffled(np.array([1, 2], "<u2").view("u1").reshape(2, 2).T.tobytes(), 2) == (
        np.array([1, 2], "<u2").tobytes()
    )


@pytest.mark.parametrize("n", [0, 1, 200, 255, 256, 300, 65_791, 65_792, 2**21])
def test_the_size_in_a_zstandard_frame_is_read(n):
    assert zstd_content_size(numcodecs.Zstd().encode(bytes(n))) in (n, None)


def zipped(folder, target, more):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                archive.writestr(name, path.read_bytes() + more.get(name, b""))


@pytest.mark.parametrize("member", ["zarr.json", "c/1/0/0"])
def test_a_zipped_store_that_unpacks_to_more_than_a_store_is_refused(tmp_path, member):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=FRAMES.shape, dtype="u2", chunks=(1, 32, 48), compressors=[]
    )
    array[:] = FRAMES
    zipped(tmp_path / "a.zarr", tmp_path / "good.zarr.zip", {})
    assert np.array_equal(open_reader(tmp_path / "good.zarr.zip").read(0, 3), FRAMES)
    zipped(tmp_path / "a.zarr", tmp_path / "bad.zarr.zip", {member: b" " * (2**26 + 1)})
    with pytest.raises(MovieError, match=member) as refused:
        open_reader(tmp_path / "bad.zarr.zip")
    assert len(str(refused.value).splitlines()) == 1


def test_metadata_without_end_are_refused_unread(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with open(tmp_path / "a.zarr" / "zarr.json", "wb") as file:
        file.truncate(2**33)  # sparse: no disk is taken
    with pytest.raises(MovieError, match="no store has"):
        open_reader(tmp_path / "a.zarr")


def external_storage(folder):
    secret = folder / "secret.raw"
    FRAMES.tofile(secret)
    with h5py.File(folder / "film.h5", "w") as file:
        file.create_dataset(
            "movie", FRAMES.shape, "u2", external=[("secret.raw", 0, h5py.h5f.UNLIMITED)]
        )
    return folder / "film.h5"


def virtual(folder):
    with h5py.File(folder / "source.h5", "w") as file:
        file["frames"] = FRAMES
    layout = h5py.VirtualLayout(FRAMES.shape, "u2")
    layout[:] = h5py.VirtualSource("source.h5", "frames", FRAMES.shape)
    with h5py.File(folder / "film.h5", "w") as file:
        file.create_virtual_dataset("movie", layout)
    return folder / "film.h5"


def virtual_of_virtual(folder):
    virtual(folder).rename(folder / "inner.h5")
    with h5py.File(folder / "inner.h5", "a") as file:
        layout = h5py.VirtualLayout(FRAMES.shape, "u2")
        layout[:] = h5py.VirtualSource(".", "movie", FRAMES.shape)
        file.create_virtual_dataset("z", layout)
        file.move("movie", "hidden")
        del file["z"]
        layout = h5py.VirtualLayout(FRAMES.shape, "u2")
        layout[:] = h5py.VirtualSource(".", "hidden", FRAMES.shape)
        file.create_virtual_dataset("movie", layout)
        file.create_group("entry")
    return folder / "inner.h5"


def linked_dataset(folder):
    with h5py.File(folder / "source.h5", "w") as file:
        file["frames"] = FRAMES
    with h5py.File(folder / "film.h5", "w") as file:
        file["movie"] = h5py.ExternalLink("source.h5", "/frames")
    return folder / "film.h5"


def linked_chunk(folder):
    secret = folder / "secret"
    FRAMES[1].tofile(secret)
    path = folder / "film.zarr"
    array = zarr.create_array(
        str(path), shape=FRAMES.shape, dtype="u2", chunks=(1, 32, 48), compressors=[]
    )
    array[:] = FRAMES
    (path / "c/1/0/0").unlink()
    (path / "c/1/0/0").symlink_to(secret)
    return path


def linked_folder(folder):
    path = linked_chunk(folder)
    (path / "c/1").rename(folder / "elsewhere")
    (path / "c/1").symlink_to(folder / "elsewhere")
    return path


def linked_chunk_in_quarters(folder):
    path = folder / "film.zarr"
    array = zarr.create_array(
        str(path), shape=FRAMES.shape, dtype="u2", chunks=(1, 16, 24), compressors=[]
    )
    array[:] = FRAMES
    (path / "c/1/0/0").rename(folder / "secret")
    (path / "c/1/0/0").symlink_to(folder / "secret")
    return path


def page_of_another_folder(folder):
    (folder / "private").mkdir()
    tifffile.imwrite(folder / "private" / "b.ome.tif", FRAMES, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "a.ome.tif", FRAMES, metadata={"axes": "TYX"}, compression="zlib")
    with tifffile.TiffFile(folder / "a.ome.tif") as file:
        said = file.ome_metadata.replace("</UUID>", "")
    said = said.replace(
        "<TiffData", '<TiffData><UUID FileName="private/b.ome.tif">u</UUID></TiffData><TiffData', 1
    )
    tifffile.tiffcomment(folder / "a.ome.tif", said.encode())
    return folder / "a.ome.tif"


ELSEWHERE = (
    external_storage,
    virtual,
    virtual_of_virtual,
    linked_dataset,
    linked_chunk,
    linked_folder,
    linked_chunk_in_quarters,
    page_of_another_folder,
)


@pytest.mark.parametrize("make", ELSEWHERE, ids=lambda one: one.__name__)
def test_pixels_of_other_files_are_read_only_where_that_is_allowed(tmp_path, make):
    path = make(tmp_path)
    options = {}
    if path.suffix == ".h5":
        options["dataset"] = "movie"
    if path.suffix == ".zarr":
        found = sk.open_movie(path).reader.read(0, 3)
        assert is_damaged(found).tolist() == [False, True, False]
    else:
        with pytest.raises(MovieError, match="--allow-external") as refused:
            sk.open_movie(path, **options)
        assert len(str(refused.value).splitlines()) == 1
    if make is page_of_another_folder:
        return  # tifffile has its own mind of what is there
    allowed = sk.open_movie(path, allow_external=True, **options)
    assert np.array_equal(allowed.reader.read(0, 3), FRAMES)


def test_a_link_within_a_store_is_its_own_file(tmp_path):
    path = linked_chunk(tmp_path)
    (path / "c/1/0/0").unlink()
    (path / "c/1/0/0").symlink_to("../../0/0/0")
    assert np.array_equal(open_reader(path).read(0, 3), FRAMES[[0, 0, 2]])


def test_a_store_may_be_a_link_itself(tmp_path):
    path = linked_chunk(tmp_path)
    (path / "c/1/0/0").unlink()
    FRAMES[1].tofile(path / "c/1/0/0")
    (tmp_path / "link.zarr").symlink_to(path)
    assert np.array_equal(open_reader(tmp_path / "link.zarr").read(0, 3), FRAMES)


def test_a_virtual_dataset_of_two_billion_frames_is_one_sentence(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = FRAMES
        layout = h5py.VirtualLayout((2**31, 32, 48), "u2")
        layout[:3] = h5py.VirtualSource(".", "frames", FRAMES.shape)
        file.create_virtual_dataset("movie", layout)
    for allowed in (False, True):
        with pytest.raises(MovieError, match="promises") as refused:
            open_reader(tmp_path / "a.h5", Options("movie", allow_external=allowed))
        assert len(str(refused.value).splitlines()) == 1


def test_a_source_that_is_gone_is_a_sentence_and_no_frames_of_zeros(tmp_path):
    path = virtual(tmp_path)
    (tmp_path / "source.h5").unlink()
    with pytest.raises(MovieError, match="not there"):
        sk.open_movie(path, allow_external=True)


def test_a_manifest_names_urls_of_its_own_store_alone_unless_allowed(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    (tmp_path / "m.csv").write_text("path\na.npy\nmemory://elsewhere/b.npy\n")
    opened = open_archive(tmp_path / "m.csv", **CALIBRATION)
    assert [movie.name for movie in opened] == ["a"]
    ((_, why),) = opened.problems
    assert "--allow-external" in why
    place = RemotePlace("memory://elsewhere/b.npy")
    place.filesystem.pipe_file(place.source, (tmp_path / "a.npy").read_bytes())
    opened = open_archive(tmp_path / "m.csv", allow_external=True, **CALIBRATION)
    assert [movie.name for movie in opened] == ["a", "memory://elsewhere/b"]
    own = RemotePlace("memory://elsewhere/m.csv")
    own.filesystem.pipe_file(own.source, b"path\nb.npy\nmemory://elsewhere/b.npy\n")
    assert len(open_archive(own.source, **CALIBRATION)) == 2


def test_a_ripple_header_whose_pixels_are_a_link_is_refused_unless_allowed(tmp_path):
    pytest.importorskip("rsciio")
    from tests.corpus_vendors import _ripple

    (tmp_path / "private").mkdir()
    _ripple(FRAMES, tmp_path / "a.rpl")
    (tmp_path / "a.raw").rename(tmp_path / "private" / "a.raw")
    (tmp_path / "a.raw").symlink_to(tmp_path / "private" / "a.raw")
    with pytest.raises(MovieError, match=r"a link to another folder.*--allow-external"):
        sk.open_movie(tmp_path / "a.rpl")
    allowed = sk.open_movie(tmp_path / "a.rpl", allow_external=True)
    assert np.array_equal(allowed.reader.read(0, 3), FRAMES)


def test_a_movie_may_be_a_link_to_a_movie_and_to_nothing_else(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    (tmp_path / "film.npy").symlink_to("a.npy")
    assert np.array_equal(sk.open_movie(tmp_path / "film.npy").reader.read(0, 3), FRAMES)
    for name in ("secret.npy", "secret.tif", "secret.csv", "secret"):
        (tmp_path / name).symlink_to("/etc/passwd")
        with pytest.raises(MovieError) as refused:
            sk.open_movie(tmp_path / name)
        assert "root:" not in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("url", ["reference::memory://x.zarr", "reference://x.zarr"])
def test_a_store_of_references_is_refused_unless_allowed(url):
    with pytest.raises(MovieError, match="allow-external"):
        sk.open_movie(url)


def test_what_is_allowed_is_a_setting_and_typed_in_the_terminal(tmp_path):
    from typer.testing import CliRunner

    from stemkin.cli import app

    path = str(virtual(tmp_path))
    typed = CliRunner().invoke(app, ["info", path])
    assert "--allow-external" in typed.output
    assert typed.exit_code == 2
    typed = CliRunner().invoke(app, ["info", path, "--allow-external"])
    assert typed.exit_code == 0
    config = sk.RunConfig.from_toml("[input]\nallow_external = true")
    assert config.input.allow_external
    assert json.loads(config.model_dump_json())["input"]["allow_external"]
