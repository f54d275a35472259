"""A converted store holds the same bits, appears whole or not at all, and a killed conversion ends
in the same bytes."""

import errno
import json
import os
import signal
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from stemkin import conversion
from stemkin.archive import open_archive
from stemkin.conversion import chunking, convert
from stemkin.kernels.images.quality import frame_status
from stemkin.movie import Movie, open_movie
from stemkin.readers import ArrayReader, Calibration, MovieError
from stemkin.schedulers.clients import connect
from tests import movie_files as files
from tests.forks import started


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few small frames, so that a small movie has many."""
    monkeypatch.setattr("stemkin.movie.BLOCK_MIB", 1 / 64)
    monkeypatch.setattr(conversion, "BLOCK_MIB", 1 / 64)
    monkeypatch.setattr(conversion, "CHUNK_BYTES", 4096)


def content(folder):
    """Every file of a store with its bytes."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u4", "f4", "f8"])
def test_every_type_comes_back_bit_by_bit(tmp_path, small_blocks, dtype):
    frames = files.pixels(n=50, height=31, width=33, dtype=dtype)
    if dtype.startswith("f"):
        frames[3, 2, 2] = np.nan
    np.save(tmp_path / "a.npy", frames)
    [store] = convert(tmp_path / "a.npy", tmp_path / "a.zarr")
    movie = open_movie(store)
    assert movie.reader.inner.frames_per_chunk < 50  # several shards
    read = movie.reader.read(0, 50)
    assert read.dtype == frames.dtype
    assert read.tobytes() == frames.tobytes()
    np.testing.assert_array_equal(
        zarr.open_group(store, mode="r")["0"][:], frames
    )  # zarr-python reads it too


def test_the_metadata_are_ome_zarr_and_calibrated(tmp_path):
    files.write_imagej(tmp_path / "film.tif", files.pixels())
    [store] = convert(tmp_path / "film.tif", tmp_path / "out.zarr", dose_rate_e_per_nm2_s=9e5)
    said = json.loads((tmp_path / "out.zarr/zarr.json").read_text())["attributes"]
    image = said["ome"]["multiscales"][0]
    assert said["ome"]["version"] == "0.5"
    assert [(a["name"], a["type"], a["unit"]) for a in image["axes"]] == [
        ("t", "time", "second"), ("y", "space", "nanometer"), ("x", "space", "nanometer"),
    ]  # fmt: skip
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx(
        [2.25, 0.03, 0.03]
    )
    assert said["stemkin"]["complete"] is True
    movie = open_movie(store)
    assert movie.calibration.known() == pytest.approx(
        {"pixel_size_nm": 0.03, "frame_time_s": 2.25, "dose_rate_e_per_nm2_s": 9e5}
    )
    assert movie.reader.inner.format == "OME-Zarr 0.5"


def test_an_outside_library_reads_image_and_scale(tmp_path):
    ome_zarr_reader = pytest.importorskip("ome_zarr.reader")
    parse_url = pytest.importorskip("ome_zarr.io").parse_url
    files.write_imagej(tmp_path / "film.tif", files.pixels())
    [store] = convert(tmp_path / "film.tif", tmp_path / "out.zarr")
    [node] = ome_zarr_reader.Reader(parse_url(store))()
    np.testing.assert_array_equal(node.data[0].compute(), files.pixels())
    assert [axis["name"] for axis in node.metadata["axes"]] == ["t", "y", "x"]
    assert node.metadata["coordinateTransformations"][0][0]["scale"] == pytest.approx(
        [2.25, 0.03, 0.03]
    )


@given(
    n=st.integers(1, 60), edge=st.integers(4, 40), whole=st.integers(1, 20), block=st.sampled_from([2**-8, 2**-7, 2**-6]),
    dtype=st.sampled_from(["u1", "u2", "f4"]),
)  # fmt: skip
@settings(deadline=None, max_examples=25)
def test_shards_are_whole_chunks_of_both_stores_and_pixels_stay(
    tmp_path_factory, n, edge, whole, block, dtype
):
    frames = files.pixels(n=n, height=edge, width=edge, dtype=dtype)
    movie = Movie(ArrayReader(frames, frames_per_chunk=whole), "m", Calibration())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "BLOCK_MIB", block)
        patch.setattr(conversion, "CHUNK_BYTES", 2048)
        per_shard, per_chunk = chunking(movie)
        assert per_shard % per_chunk == 0
        assert per_shard % whole == 0 or per_shard >= n
        [store] = convert(movie, tmp_path_factory.mktemp("z") / "a.zarr")
    np.testing.assert_array_equal(open_movie(store).reader.read(0, n), frames)


@pytest.mark.parametrize("where", ["synchronous", "threads", "processes"])
def test_every_scheduler_writes_the_same_bytes(tmp_path, where, request):
    if where == "processes":
        where = request.getfixturevalue("two_processes")
    frames = files.pixels(n=64, height=64, width=64)
    np.save(tmp_path / "a.npy", frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "BLOCK_MIB", 1 / 16)
        convert(tmp_path / "a.npy", tmp_path / "expected.zarr")
        with connect(where):
            convert(tmp_path / "a.npy", tmp_path / "a.zarr")
    assert content(tmp_path / "a.zarr") == content(tmp_path / "expected.zarr")


CONVERT_SLOWLY = """
import sys, time
from stemkin import conversion
conversion.BLOCK_MIB, conversion.CHUNK_BYTES = 1 / 64, 4096
plain = conversion.mark_done
def slow(job, note):
    plain(job, note)
    time.sleep(0.05)
conversion.mark_done = slow
conversion.convert(sys.argv[1], sys.argv[2])
"""


def test_a_killed_conversion_goes_on_to_the_same_bytes(tmp_path, small_blocks):
    np.save(tmp_path / "a.npy", files.pixels(n=200, height=32, width=32))
    convert(tmp_path / "a.npy", tmp_path / "expected.zarr")
    n_copied = []
    for _ in range(3):
        before = len(list(tmp_path.glob("b.zarr.part/*.json")))
        movie, into = str(tmp_path / "a.npy"), str(tmp_path / "b.zarr")
        process = started(CONVERT_SLOWLY, movie, into, folder=tmp_path)
        deadline = time.monotonic() + 300  # of a busy machine
        while (
            len(list(tmp_path.glob("b.zarr.part/*.json"))) < before + 4
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        n_copied.append(len(list(tmp_path.glob("b.zarr.part/0*.json"))))
        assert not (tmp_path / "b.zarr").exists()
    assert 0 < n_copied[0] < n_copied[-1] < 25
    assert [movie.name for movie in open_archive(tmp_path)] == ["a", "expected"]
    with pytest.MonkeyPatch.context() as patch:
        copied = []
        plain = conversion.copy_block
        patch.setattr(
            conversion, "copy_block", lambda task: copied.append(task.start) or plain(task)
        )
        convert(tmp_path / "a.npy", tmp_path / "b.zarr")
    assert len(copied) == 25 - n_copied[-1]
    assert content(tmp_path / "b.zarr") == content(tmp_path / "expected.zarr")
    assert not (tmp_path / "b.zarr.part").exists()


@pytest.mark.parametrize("step", ["_write_json", "_create", "os.replace"])
def test_a_conversion_killed_before_its_first_block_begins_anew(tmp_path, monkeypatch, step):
    from stemkin.readers import zarr_writing

    np.save(tmp_path / "a.npy", files.pixels(n=20, height=32, width=32))
    with monkeypatch.context() as patch:
        owner, name = (os, "replace") if step == "os.replace" else (zarr_writing, step)
        patch.setattr(owner, name, lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            convert(tmp_path / "a.npy", tmp_path / "b.zarr")
    convert(tmp_path / "a.npy", tmp_path / "b.zarr")
    np.testing.assert_array_equal(
        open_movie(tmp_path / "b.zarr").reader.read(0, 20), files.pixels(n=20, height=32, width=32)
    )
    assert not (tmp_path / "b.zarr.part").exists()


def test_what_is_finished_is_not_done_again_and_not_overwritten_by_others(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", files.pixels())
    np.save(tmp_path / "b.npy", files.pixels(seed=2))
    convert(tmp_path / "a.npy", tmp_path / "o.zarr")
    monkeypatch.setattr(conversion, "copy_block", lambda task: pytest.fail("copied again"))
    assert convert(tmp_path / "a.npy", tmp_path / "o.zarr") == [str(tmp_path / "o.zarr")]
    with pytest.raises(FileExistsError, match=r"was not made from .*b\.npy as it is now"):
        convert(tmp_path / "b.npy", tmp_path / "o.zarr")
    monkeypatch.undo()
    convert(tmp_path / "b.npy", tmp_path / "o.zarr", overwrite=True)
    np.testing.assert_array_equal(
        open_movie(tmp_path / "o.zarr").reader.read(0, 6), files.pixels(seed=2)
    )


def test_a_half_written_store_of_another_movie_is_not_mixed_in(tmp_path, small_blocks, monkeypatch):
    np.save(tmp_path / "a.npy", files.pixels(n=40))
    plain = conversion.copy_block
    monkeypatch.setattr(
        conversion, "copy_block", lambda task: plain(task) if task.start == 0 else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        convert(tmp_path / "a.npy", tmp_path / "o.zarr")
    monkeypatch.undo()
    np.save(tmp_path / "b.npy", files.pixels(n=40, seed=2))
    with pytest.raises(FileExistsError, match="was begun with another movie"):
        convert(tmp_path / "b.npy", tmp_path / "o.zarr")
    convert(tmp_path / "b.npy", tmp_path / "o.zarr", overwrite=True)
    np.testing.assert_array_equal(
        open_movie(tmp_path / "o.zarr").reader.read(0, 40), files.pixels(n=40, seed=2)
    )


def test_several_movies_go_into_a_folder_and_a_broken_one_costs_itself(tmp_path):
    (tmp_path / "in" / "d").mkdir(parents=True)
    for name in ("a.npy", "d/a.npy", "..b.npy"):
        np.save(tmp_path / "in" / name, files.pixels())
    (tmp_path / "in" / "bad.tif").write_bytes(b"")
    stores = convert([str(tmp_path / "in")], tmp_path / "out")
    assert [os.path.relpath(s, tmp_path) for s in stores] == ["out/a.zarr", "out/d%2Fa.zarr"]
    assert [r.rsplit("/", 1)[1] for _, r in stores.problems] == ["bad.tif is empty (0 bytes)"]
    with pytest.raises(ValueError, match="2 movies do not go into one store; give a folder"):
        convert(tmp_path / "in", tmp_path / "out.zarr")
    with pytest.raises(ValueError, match="is empty"):
        convert(tmp_path / "in" / "bad.tif", tmp_path / "x.zarr")


def test_damaged_frames_stay_marked_and_are_listed(tmp_path):
    frames = files.pixels(n=8, height=64, width=64)
    zarr.create_array(str(tmp_path / "a.zarr"), data=frames, chunks=(1, 64, 64))
    (tmp_path / "a.zarr/c/5/0/0").write_bytes(b"broken")
    [store] = convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
    said = json.loads((tmp_path / "b.zarr/zarr.json").read_text())["attributes"]["stemkin"]
    assert said["damaged_frames"] == [5]
    assert frame_status(open_movie(store).reader.read(0, 8)).tolist() == [
        "corrupt" if i == 5 else "ok" for i in range(8)
    ]


def test_a_disk_that_gives_back_other_pixels_is_found_out(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", files.pixels())
    plain = conversion.read_back
    monkeypatch.setattr(conversion, "read_back", lambda *a: plain(*a) + 1)
    with pytest.raises(OSError, match="gave back other pixels than were written"):
        convert(tmp_path / "a.npy", tmp_path / "o.zarr")
    assert not (tmp_path / "o.zarr").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "No space left"),
        (errno.EROFS, "Read-only"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_a_full_or_read_only_disk_is_one_sentence_and_nothing_is_lost(
    tmp_path, small_blocks, monkeypatch, number, words
):
    frames = files.pixels(n=64, height=32, width=32)
    np.save(tmp_path / "a.npy", frames)
    plain = conversion.write_frames

    def full(job, start, block):
        if start >= 24:
            raise OSError(number, os.strerror(number))
        plain(job, start, block)

    monkeypatch.setattr(conversion, "write_frames", full)
    with pytest.raises(
        OSError, match=f"o.zarr could not be written: {words}.*what was written is kept"
    ) as caught:
        convert(tmp_path / "a.npy", tmp_path / "o.zarr")
    assert str(caught.value).startswith(str(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr("stemkin.movie.BLOCK_MIB", 1 / 64)
    monkeypatch.setattr(conversion, "BLOCK_MIB", 1 / 64)
    monkeypatch.setattr(conversion, "CHUNK_BYTES", 4096)
    assert len(list(tmp_path.glob("o.zarr.part/0*.json"))) >= 1
    convert(tmp_path / "a.npy", tmp_path / "o.zarr")
    np.testing.assert_array_equal(open_movie(tmp_path / "o.zarr").reader.read(0, 64), frames)


def test_a_place_that_is_no_folder_is_one_sentence(tmp_path):
    np.save(tmp_path / "a.npy", files.pixels())
    with pytest.raises(OSError, match=r"could not be written: Not a directory"):
        convert(tmp_path / "a.npy", tmp_path / "a.npy" / "o.zarr")


def test_the_checksums_in_the_store_are_those_of_its_blocks(tmp_path, small_blocks):
    frames = files.pixels(n=50)
    np.save(tmp_path / "a.npy", frames)
    convert(tmp_path / "a.npy", tmp_path / "o.zarr")
    array = zarr.open_group(str(tmp_path / "o.zarr"), mode="r")["0"]
    said = array.attrs["stemkin"]["crc32"]
    step = array.shards[0]
    assert said == [f"{zlib.crc32(frames[i : i + step].tobytes()):08x}" for i in range(0, 50, step)]


def test_progress_is_told_after_every_block(tmp_path, small_blocks):
    np.save(tmp_path / "a.npy", files.pixels(n=40))
    seen = []
    convert(tmp_path / "a.npy", tmp_path / "o.zarr", progress=lambda *a: seen.append(a))
    assert seen[-1] == ("a", 40, 40)
    assert [n for _, n, _ in seen] == sorted(n for _, n, _ in seen)
    assert len(seen) > 2


def test_no_bit_that_flips_in_the_metadata_of_a_store_changes_a_movie_in_silence(tmp_path):
    frames = files.pixels(n=3, height=8, width=12)
    np.save(tmp_path / "a.npy", frames)
    convert(tmp_path / "a.npy", tmp_path / "a.zarr", pixel_size_nm=0.03, frame_time_s=2.0)
    refused = 0
    for file in (tmp_path / "a.zarr" / "zarr.json", tmp_path / "a.zarr" / "0" / "zarr.json"):
        content = file.read_bytes()
        for bit in range(0, 8 * len(content), 37):
            broken = bytearray(content)
            broken[bit // 8] ^= 1 << bit % 8
            file.write_bytes(broken)
            try:
                movie = open_movie(tmp_path / "a.zarr")
            except ValueError:
                refused += 1
                continue
            assert (movie.pixel_size_nm, movie.frame_time_s) == (0.03, 2.0)
            assert np.array_equal(movie.reader.read(0, 3), frames)
        file.write_bytes(content)
    assert refused > 300


def test_metadata_changed_by_hand_are_one_sentence_with_two_cures(tmp_path):
    np.save(tmp_path / "a.npy", files.pixels(n=3, height=8, width=12))
    convert(tmp_path / "a.npy", tmp_path / "a.zarr", pixel_size_nm=0.03, frame_time_s=2.0)
    file = tmp_path / "a.zarr" / "zarr.json"
    said = json.loads(file.read_text().replace("0.03", "0.04"))
    file.write_text(json.dumps(said))
    with pytest.raises(MovieError, match=r"changed by hand; convert .* remove 'stemkin'"):
        open_movie(tmp_path / "a.zarr")
    del said["attributes"]["stemkin"]
    file.write_text(json.dumps(said))
    assert open_movie(tmp_path / "a.zarr").pixel_size_nm == 0.04
