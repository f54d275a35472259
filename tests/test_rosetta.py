"""What RosettaSciIO reads lazily is what it reads as a whole, or the whole is read."""

import numpy as np
import pytest

from stemkin.movie import open_movie
from stemkin.readers import MovieError, Options, open_reader, rosetta
from tests.corpus import film
from tests.corpus_vendors import _prz

pytest.importorskip("rsciio")


def test_a_deflated_file_is_read_as_a_whole_and_says_so(tmp_path):
    for deflated in (False, True):
        _prz(film("u2"), deflated, tmp_path / "a.prz")
        movie = open_movie(tmp_path / "a.prz")
        np.testing.assert_array_equal(movie.reader.read(1, 5), film("u2")[1:])
        notes = movie.reader.inner.notes
        assert any("right only as a whole" in note for note in notes) == deflated


def test_a_large_deflated_file_is_refused_and_a_large_mapped_one_is_said_not_to_be_compared(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(rosetta, "COMPARED_BYTES", 100)
    _prz(film("u2"), True, tmp_path / "a.prz")
    with pytest.raises(MovieError, match="reads right only as a whole; save it uncompressed"):
        open_reader(tmp_path / "a.prz")
    from tests.corpus_vendors import _ripple

    _ripple(film("<u2"), tmp_path / "a.rpl")
    reader = open_reader(tmp_path / "a.rpl")
    assert "too many for comparing" in reader.notes[-1]


def test_a_library_that_reads_parts_otherwise_than_the_whole_is_found_out(tmp_path, monkeypatch):
    """Whatever the format: here one whose lazy pixels are shifted by one."""
    from tests.corpus_vendors import _ripple

    _ripple(film("<u2"), tmp_path / "a.rpl")
    images = rosetta._images

    def shifted(module, place, *, lazy):
        found = images(module, place, lazy=lazy)
        if lazy:
            found[0]["data"] = found[0]["data"][:, :, ::-1]
        return found

    monkeypatch.setattr(rosetta, "_images", shifted)
    np.testing.assert_array_equal(open_reader(tmp_path / "a.rpl").read(0, 5), film("<u2"))


def test_several_signals_are_a_question(tmp_path, monkeypatch):
    from tests.corpus_vendors import _ripple

    _ripple(film("<u2"), tmp_path / "a.rpl")
    images = rosetta._images

    def two(module, place, *, lazy):
        (first,), (second,) = (images(module, place, lazy=lazy) for _ in range(2))
        second["data"] = second["data"][::-1]
        return [first, second]

    monkeypatch.setattr(rosetta, "_images", two)
    with pytest.raises(MovieError, match=r"2 images .*dataset=: '0' \(5 x 9 x 12"):
        open_reader(tmp_path / "a.rpl")
    for options in (Options(dataset="1"), Options(channel=1)):
        read = open_reader(tmp_path / "a.rpl", options).read(0, 5)
        np.testing.assert_array_equal(read, film("<u2")[::-1])


def test_a_package_that_the_library_needs_besides_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mrcz", None)
    monkeypatch.delitem(sys.modules, "rsciio.mrcz._api", raising=False)
    monkeypatch.delitem(sys.modules, "rsciio.mrcz", raising=False)
    (tmp_path / "a.mrcz").write_bytes(bytes(2048))
    with pytest.raises(MovieError, match=r"needs the package mrcz.*pip install mrcz"):
        open_reader(tmp_path / "a.mrcz")
