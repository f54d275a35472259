"""A header that hangs or crashes its library costs its file and a few seconds, nothing else."""

import os
import signal
import time

import numpy as np
import pytest

from stemkin.readers import MovieError, Options, open_reader, place_of
from stemkin.readers.children import opened_by_a_child
from tests import movie_files as files

OPTIONS = Options()


def hangs(place, options):
    while True:
        time.sleep(1)


def crashes(place, options):
    os.kill(os.getpid(), signal.SIGSEGV)


def devours(place, options):
    return bytearray(9 * 2**30)


def chatters(place, options):
    os.write(1, b"a library says something\n")
    raise MovieError("it is refused")


def is_gone(place, options):
    raise place.missing()


def test_a_header_that_never_ends_is_a_sentence():
    began = time.monotonic()
    with pytest.raises(
        MovieError, match=r"a\.x is damaged: its header could not be read within 1 s"
    ):
        opened_by_a_child("X", "tests.test_guarded:hangs", place_of("a.x"), OPTIONS, limit_s=1)
    assert time.monotonic() - began < 10


def test_a_header_that_crashes_the_library_is_a_sentence_and_the_next_file_opens(tmp_path):
    with pytest.raises(MovieError, match=r"a\.x is damaged"):
        opened_by_a_child("X", "tests.test_guarded:crashes", place_of("a.x"), OPTIONS)
    files.write_hdf5(tmp_path / "b.h5", files.pixels(n=3))
    np.testing.assert_array_equal(open_reader(str(tmp_path / "b.h5")).read(0, 3), files.pixels(n=3))


def test_a_header_that_wants_more_memory_than_any_header_is_a_sentence():
    """No page of what it asks for is touched: where it got all the 9 GiB, it would answer."""
    with pytest.raises(MovieError, match=r"a\.x is damaged: .* over 8 GiB of memory") as refused:
        opened_by_a_child("X", "tests.test_guarded:devours", place_of("a.x"), OPTIONS)
    assert len(str(refused.value).splitlines()) == 1


def test_what_a_library_prints_is_no_answer():
    with pytest.raises(MovieError, match="it is refused"):
        opened_by_a_child("X", "tests.test_guarded:chatters", place_of("a.x"), OPTIONS)


def test_trouble_that_is_not_the_files_is_left_to_the_caller():
    assert opened_by_a_child("X", "tests.test_guarded:is_gone", place_of("a.x"), OPTIONS) is None


def test_a_child_reads_the_same_header_as_this_process(tmp_path):
    from stemkin.readers.hdf5 import open_hdf5
    from stemkin.readers.notation import to_json

    for name, write in {
        "a.h5": files.write_hdf5,
        "a b é.emd": files.write_berkeley_emd,
        "a.hspy": files.write_hspy,
    }.items():
        write(tmp_path / name, files.pixels())
        source = str(tmp_path / name)
        assert to_json(open_reader(source)) == to_json(open_hdf5(place_of(source), OPTIONS))


def test_a_child_that_says_nothing_is_ended_and_its_silence_is_an_answer(monkeypatch):
    """Where the library hangs so deep that the child's own clock does not wake it."""
    import subprocess
    import sys
    import time

    from stemkin.readers import children

    monkeypatch.setattr(children, "START_S", 0.5)
    child = children._Child()
    child.stop()
    child._process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(20)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    began = time.monotonic()
    assert child.ask({}, 0.5) is None
    assert time.monotonic() - began < 15
    assert not child.listens
