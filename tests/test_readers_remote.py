"""Object stores and web servers: every format from memory://, HTTP and S3 (a server on loopback
that the fixture starts and stops)."""

import functools
import http.server
import os
import pickle
import threading

import dask
import fsspec
import numpy as np
import pytest

from stemkin.archive import open_archive
from stemkin.conversion import convert
from stemkin.description import describe
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import open_movie
from stemkin.readers import MovieError
from stemkin.schedulers.clients import connect
from tests import movie_files as files
from tests.object_stores import s3_at
from tests.test_readers import FORMATS_WRITTEN, frames_for


def upload(folder, url):
    fs = fsspec.core.url_to_fs(url)[0]
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.fixture
def in_memory(tmp_path):
    url = "memory://archive"
    yield url
    fsspec.filesystem("memory").rm("/archive", recursive=True)


@pytest.fixture
def served(tmp_path):
    """A folder and the address under which a web server shows it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def s3():
    """A bucket of an S3 server on loopback."""
    moto_server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with s3_at(f"http://{host}:{port}") as fs:
        fs.mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.mark.parametrize("name", FORMATS_WRITTEN)
def test_every_format_opens_in_an_object_store(tmp_path, in_memory, name):
    write, said, _ = FORMATS_WRITTEN[name]
    frames = frames_for(name)
    write(str(tmp_path / name), frames)
    upload(tmp_path, in_memory)
    movie = open_movie(f"{in_memory}/{name}")
    assert movie.calibration.known() == pytest.approx(said)
    assert movie.name == name.split(".")[0]
    np.testing.assert_array_equal(movie.reader.read(1, 5), frames[1:5])
    before = movie.reader.identity
    assert open_movie(f"{in_memory}/{name}").reader.identity == before


def test_what_needs_a_local_disk_says_so(tmp_path, in_memory):
    np.save(tmp_path / "a.npy", np.asfortranarray(files.pixels()))
    upload(tmp_path, in_memory)
    with pytest.raises(MovieError, match="copy it to a local disk first"):
        open_movie(f"{in_memory}/a.npy")
    with pytest.raises(FileNotFoundError, match="there is no file or folder memory://"):
        open_movie(f"{in_memory}/b.npy")
    with pytest.raises(MovieError, match="could not be opened as Zarr"):
        open_movie(f"{in_memory}/b.zarr")


def test_a_storage_that_is_not_known_is_one_sentence():
    with pytest.raises(MovieError, match="nowhere:// is not a kind of storage that is known"):
        open_movie("nowhere://a.npy")


def test_a_prefix_and_a_pattern_are_archives(tmp_path, in_memory):
    (tmp_path / "day1").mkdir()
    files.write_npy(tmp_path / "day1" / "a.npy", files.pixels())
    files.write_zarr3(str(tmp_path / "b.zarr"), files.pixels())
    (tmp_path / "bad.tif").write_bytes(b"no")
    upload(tmp_path, in_memory)
    archive = open_archive(in_memory)
    assert [m.name for m in archive] == ["b", "day1/a"]
    assert [s.rsplit("/", 1)[1] for s, _ in archive.problems] == ["bad.tif"]
    assert [m.name for m in open_archive(f"{in_memory}/day*/*.npy")] == ["day1/a"]
    assert describe(in_memory)["bytes"].dropna().tolist() == [6144, 6144]


def test_a_manifest_may_lie_in_a_store(tmp_path, in_memory):
    files.write_npy(tmp_path / "a.npy", files.pixels())
    (tmp_path / "all.csv").write_text("path,pixel_size_nm\na.npy,0.02\n")
    upload(tmp_path, in_memory)
    assert open_archive(f"{in_memory}/all.csv")["a"].pixel_size_nm == 0.02


@pytest.mark.parametrize("name", ["a.npy", "imagej.tif", "v3.zarr", "chunked.h5", "a.mrc"])
def test_a_web_server_is_read_by_address(served, name):
    pytest.importorskip("aiohttp")
    folder, url = served
    write, _, _ = FORMATS_WRITTEN[name]
    write(str(folder / name), frames_for(name))
    np.testing.assert_array_equal(
        open_movie(f"{url}/{name}").reader.read(1, 5), frames_for(name)[1:5]
    )


def test_an_archive_in_s3_is_listed_read_and_converted(tmp_path, s3):
    frames = files.pixels(n=12, height=64, width=64)
    np.save(tmp_path / "film.npy", frames)
    files.write_imagej(tmp_path / "stack.tif", frames)
    files.write_ome_zarr5(str(tmp_path / "film5.zarr"), frames)
    upload(tmp_path, f"{s3}/archive")
    archive = open_archive(f"{s3}/archive")
    assert [m.name for m in archive] == ["film", "film5", "stack"]
    for movie in archive:
        copy = pickle.loads(pickle.dumps(movie))
        np.testing.assert_array_equal(copy.reader.read(2, 9), frames[2:9])
        np.testing.assert_array_equal(movie.to_dask(frames_per_block=5).compute(), frames)
    [store] = convert(archive["stack"], f"{s3}/out/stack.zarr")
    movie = open_movie(store)
    assert movie.pixel_size_nm == pytest.approx(0.03)
    np.testing.assert_array_equal(movie.reader.read(0, 12), frames)
    assert convert(archive["stack"], f"{s3}/out/stack.zarr") == [store]
    assert fsspec.filesystem("s3").find(f"{s3}/out/stack.zarr.part") == []


def test_a_lost_object_of_a_finished_store_makes_its_frames_corrupt(tmp_path, s3):
    np.save(tmp_path / "a.npy", files.pixels(n=12, height=64, width=64))
    [store] = convert(tmp_path / "a.npy", f"{s3}/lost.zarr")
    fs = fsspec.filesystem("s3")
    [shard] = [path for path in fs.find(f"{s3}/lost.zarr") if "/c/" in path]
    fs.rm(shard)
    fs.invalidate_cache()
    assert set(frame_status(open_movie(store).reader.read(0, 12))) == {"corrupt"}


def test_a_worker_opens_the_store_itself(tmp_path, s3, forked_workers):
    frames = files.pixels(n=12, height=64, width=64)
    np.save(tmp_path / "a.npy", frames)
    [store] = convert(tmp_path / "a.npy", f"{s3}/workers.zarr")
    keys = {name: value for name, value in os.environ.items() if name.startswith("AWS")}
    with dask.config.set({"distributed.nanny.environ": keys}), connect("processes", workers=1):
        np.testing.assert_array_equal(
            open_movie(store).to_dask(frames_per_block=4).compute(), frames
        )
