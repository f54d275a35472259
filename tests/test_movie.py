"""A movie is lazy, picklable, cut into whole storage chunks, and knows where its calibration comes
from."""

import itertools
import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin import movie as module
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import Movie, each_movie, movies_table, open_movie
from stemkin.readers import ArrayReader, Calibration, DamagedDataError, MovieError
from stemkin.readers.wrappers import TolerantReader
from stemkin.schedulers.clients import connect
from tests import movie_files as files
from tests.strategies import computes, time_chunkings


@pytest.fixture
def path(tmp_path):
    files.write_zarr3(str(tmp_path / "film.zarr"), files.pixels(n=12))
    return tmp_path / "film.zarr"


def test_an_argument_counts_more_than_the_file_and_says_so(tmp_path):
    files.write_imagej(tmp_path / "a.tif", files.pixels())
    movie = open_movie(tmp_path / "a.tif", frame_time_s=1.5, dose_rate_e_per_nm2_s=9e5)
    assert (movie.pixel_size_nm, movie.frame_time_s, movie.dose_rate_e_per_nm2_s) == (
        pytest.approx(0.03),
        1.5,
        9e5,
    )
    origin = {
        "pixel_size_nm": "ImageJ metadata",
        "frame_time_s": "argument",
        "dose_rate_e_per_nm2_s": "argument",
    }
    assert movie.calibration.origin == origin


def test_what_nobody_says_stays_unknown(path):
    movie = open_movie(path)
    assert movie.calibration.known() == {}
    row = movies_table(movie).iloc[0]
    assert np.isnan(row[["pixel_size_nm", "frame_time_s"]].astype(float)).all()
    assert (row["movie"], row["n_frames"], row["source"]) == ("film", 12, str(path))


def test_opening_and_laying_out_computes_nothing(path, monkeypatch):
    monkeypatch.setattr(TolerantReader, "read", lambda *_: pytest.fail("a frame was read"))
    with computes(at_most=0):
        frames = open_movie(path).frames
        assert frames.shape == (12, 16, 32)
        assert frames.chunks[1:] == ((16,), (32,))


def test_one_compute_reads_each_frame_once(path, monkeypatch):
    reads = []
    plain = TolerantReader.read
    monkeypatch.setattr(
        TolerantReader, "read", lambda self, a, b: reads.append((a, b)) or plain(self, a, b)
    )
    open_movie(path).to_dask(frames_per_block=4).sum().compute(scheduler="synchronous")
    assert sorted(reads) == [(0, 4), (4, 8), (8, 12)]


@pytest.mark.parametrize("where", ["synchronous", "threads", "processes"])
def test_every_scheduler_reads_the_same_pixels(path, where, request):
    if where == "processes":
        where = request.getfixturevalue("two_processes")
    with connect(where):
        np.testing.assert_array_equal(
            open_movie(path).to_dask(frames_per_block=4).compute(), files.pixels(n=12)
        )


@given(chunks=time_chunkings(n_frames=12))
@settings(deadline=None, max_examples=15)
def test_any_cut_reads_the_same_pixels(tmp_path_factory, chunks):
    path = tmp_path_factory.getbasetemp() / "shared.zarr"
    if not path.exists():
        files.write_zarr3(str(path), files.pixels(n=12))
    movie, edges = open_movie(path), np.cumsum([0, *chunks])
    parts = [movie.reader.read(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), files.pixels(n=12))


@given(n=st.integers(1, 400), whole=st.integers(1, 50), mib=st.integers(1, 64))
@settings(deadline=None, max_examples=50)
def test_blocks_cover_the_movie_once_and_never_split_a_chunk(n, whole, mib):
    reader = ArrayReader(
        np.broadcast_to(np.zeros((1, 1, 1), "u1"), (n, 512, 512)), frames_per_chunk=whole
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_MIB", mib)
        edges = Movie(reader, "m", Calibration()).block_edges()
    assert [a for a, _ in edges] == [0, *(b for _, b in edges[:-1])]
    assert edges[-1][1] == n
    assert all(a % whole == 0 for a, _ in edges)


def test_a_movie_pickles_small_whatever_its_length(tmp_path):
    zarr.create_array(
        str(tmp_path / "long.zarr"), shape=(10**5, 64, 64), dtype="u2", chunks=(10, 64, 64)
    )
    assert len(pickle.dumps(open_movie(tmp_path / "long.zarr"))) < 4000


def test_ten_thousand_chunks_open_at_once(tmp_path):
    import time

    array = zarr.create_array(
        str(tmp_path / "long.zarr"), shape=(10**4, 8, 8), dtype="u1", chunks=(1, 8, 8)
    )
    array[:200] = 1
    start = time.process_time()
    movie = open_movie(tmp_path / "long.zarr")
    assert len(movie.block_edges()) >= 1
    assert time.process_time() - start < 1


class Breaking(ArrayReader):
    """Frames of which some cannot be read, in chunks of `piece`."""

    bad = frozenset({3, 7})
    piece = 1
    error: Exception = DamagedDataError("flipped bits")

    def read(self, start, stop):
        if self.bad & set(
            range(start // self.piece * self.piece, -(-stop // self.piece) * self.piece)
        ):
            raise self.error
        return super().read(start, stop)


@pytest.mark.parametrize(
    ("piece", "lost"), [(1, {3, 7}), (2, {2, 3, 6, 7}), (4, {0, 1, 2, 3, 4, 5, 6, 7})]
)
def test_damage_costs_its_own_chunk_and_the_numbering_stays(caplog, piece, lost):
    frames = files.pixels(n=12)
    reader = Breaking(frames)
    object.__setattr__(reader, "piece", piece)
    for start, stop in [(0, 12), (1, 9), (3, 4)]:
        read = TolerantReader(reader).read(start, stop)
        statuses = frame_status(read)
        for i, frame in enumerate(read, start):
            if i in lost:
                assert statuses[i - start] == "corrupt"
            else:
                np.testing.assert_array_equal(frame, frames[i])
    assert "flipped bits" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("gone"),
        ConnectionResetError(104, "reset"),
        OSError(5, "I/O"),
        MemoryError(),
    ],
)
def test_trouble_of_the_moment_is_raised_and_no_damage(error):
    reader = Breaking(files.pixels(n=12))
    object.__setattr__(reader, "error", error)
    with pytest.raises(type(error)):
        TolerantReader(reader).read(0, 12)


def test_a_flipped_bit_in_a_store_is_found_by_its_checksum(tmp_path, caplog):
    from stemkin.conversion import convert

    frames = files.pixels(n=12, height=64, width=64)
    np.save(tmp_path / "a.npy", frames)
    convert(tmp_path / "a.npy", tmp_path / "a.zarr")
    shard = next(p for p in (tmp_path / "a.zarr/0/c").rglob("*") if p.is_file())
    content = bytearray(shard.read_bytes())
    content[50] ^= 4
    shard.write_bytes(content)
    read = open_movie(tmp_path / "a.zarr").reader.read(0, 12)
    assert "checksum" in caplog.text
    assert (frame_status(read) == "corrupt").any()
    shard.unlink()
    assert set(frame_status(open_movie(tmp_path / "a.zarr").reader.read(0, 12))) == {"corrupt"}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.tif", b"", "is empty"),
        ("a.tif", b"nonsense" * 100, "could not be opened as TIFF"),
        ("a.h5", b"nonsense" * 100, "could not be opened as HDF5"),
        ("a.npy", b"nonsense" * 100, "could not be opened as NPY"),
        ("a.npz", b"nonsense" * 100, "could not be opened as NPZ"),
        ("a.mp4", b"nonsense" * 100, "could not be opened as video"),
        ("a.dm3", b"nonsense" * 100, "could not be opened as DM"),
        ("a.ser", b"nonsense" * 100, "could not be opened as SER"),
        ("a.mrc", b"nonsense" * 200, "no MRC stack"),
        ("a.mrc", b"nonsense", "not a whole MRC"),
        ("a.emi", b"nonsense", r"a_1\.ser"),
        ("a.xyz", b"nonsense", "of no format that stemkin reads"),
    ],
)
def test_what_does_not_open_is_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MovieError, match=sentence) as caught:
        open_movie(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file or folder .*nowhere\.tif$"):
        open_movie(tmp_path / "nowhere.tif")
    with pytest.raises(MovieError, match="open_archive opens a folder"):
        open_movie(tmp_path)


def test_zero_frames_are_no_movie(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 16, 16)))
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(0, 16, 16), dtype="u2", chunks=(1, 16, 16))
    for name in ("a.npy", "a.zarr"):
        with pytest.raises(MovieError, match="holds no frames"):
            open_movie(tmp_path / name)


def test_numbers_that_are_no_intensities_are_refused(tmp_path):
    for dtype in ("c8", "U3", "M8[s]"):
        np.save(tmp_path / "a.npy", np.zeros((2, 16, 16), dtype))
        with pytest.raises(MovieError, match="real numbers"):
            open_movie(tmp_path / "a.npy")
    np.save(tmp_path / "o.npy", np.full((2, 16, 16), None))
    with pytest.raises(MovieError, match=r"o\.npy"):
        open_movie(tmp_path / "o.npy")


def test_truth_values_become_numbers(tmp_path):
    np.save(tmp_path / "a.npy", files.pixels() > 20)
    assert open_movie(tmp_path / "a.npy").reader.read(0, 6).dtype == np.uint8


def test_a_movie_an_archive_and_a_list_are_all_movies(path):
    one = open_movie(path)
    assert list(each_movie(one)) == list(each_movie([one])) == [one]


def test_the_identity_changes_with_the_content_alone(tmp_path):
    import os

    files.write_zarr3(str(tmp_path / "a.zarr"), files.pixels())
    np.save(tmp_path / "a.npy", files.pixels())
    for name in ("a.zarr", "a.npy"):
        before = open_movie(tmp_path / name).reader.identity
        assert open_movie(tmp_path / name).reader.identity == before
        changed = tmp_path / name / "c/0/0/0" if name == "a.zarr" else tmp_path / name
        os.utime(changed, ns=(1, 1))
        assert open_movie(tmp_path / name).reader.identity != before
