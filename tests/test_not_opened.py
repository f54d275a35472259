"""A file that does not open has no damaged frames: it is one sentence, and nothing is made up."""

import zipfile

import h5py
import numpy as np
import pytest

from stemkin.archive import open_archive
from stemkin.movie import open_movie
from stemkin.readers import MovieError
from stemkin.readers.errors import NotOpenedError, is_damage, opening
from tests import movie_files as files

FILM = files.pixels(n=6, height=24, width=40)
BEING_WRITTEN = r"is open for writing in this process.*close it first"


@pytest.mark.parametrize("chunks", [None, (2, 24, 40)])
@pytest.mark.parametrize("flushed", [True, False])
def test_an_hdf5_file_that_a_notebook_holds_open_for_writing_is_one_sentence(
    tmp_path, chunks, flushed
):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", data=FILM, chunks=chunks)
        if flushed:
            file.flush()
        with pytest.raises(MovieError, match=BEING_WRITTEN):
            open_movie(path)
        ((_, reason),) = open_archive(tmp_path).problems
        assert "open for writing" in reason
    np.testing.assert_array_equal(open_movie(path).reader.read(0, 6), FILM)


def test_a_movie_whose_file_is_then_opened_for_writing_has_no_corrupt_frames(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("movie", data=FILM, chunks=(2, 24, 40))
    movie = open_movie(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+"), pytest.raises(OSError, match=BEING_WRITTEN):
        movie.reader.read(0, 2)
    np.testing.assert_array_equal(movie.reader.read(0, 6), FILM)


@pytest.mark.parametrize("locking", [True, False, None])
def test_an_hdf5_file_that_is_read_elsewhere_in_the_process_is_read_here_too(tmp_path, locking):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("movie", data=FILM, chunks=(2, 24, 40), compression="gzip")
    with h5py.File(tmp_path / "a.h5", "r", locking=locking):
        movie = open_movie(tmp_path / "a.h5")
        np.testing.assert_array_equal(movie.reader.read(1, 6), FILM[1:])


def test_another_file_that_is_being_written_does_not_matter(tmp_path):
    files.write_hdf5(tmp_path / "a.h5", FILM)
    with h5py.File(tmp_path / "b.h5", "w"):
        np.testing.assert_array_equal(open_movie(tmp_path / "a.h5").reader.read(0, 6), FILM)


WRITERS = {
    "chunked.h5": files.write_hdf5,
    "compressed.btf": files.write_tiff_compressed,
    "pages.tif": files.write_tiff_pages,
    "compressed.npz": files.write_npz_compressed,
    "a.gif": None,
    "a.mkv": files.write_video,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_became_another_one_does_not_open_and_blames_no_frame(tmp_path, name):
    frames = FILM.astype("u1")
    if name == "a.gif":
        from PIL import Image

        first, *rest = (Image.fromarray(frame) for frame in frames)
        first.save(tmp_path / name, save_all=True, append_images=rest)
    else:
        WRITERS[name](str(tmp_path / name), frames)
    movie = open_movie(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing that anybody reads" * 200)
    with pytest.raises(NotOpenedError, match="does not open: "):
        movie.reader.read(0, 2)


def test_what_does_not_open_is_no_damage_whatever_a_library_raises():
    for error in (ValueError("no"), KeyError("no"), zipfile.BadZipFile("no"), OSError("no")):
        with pytest.raises(NotOpenedError) as met, opening("a.tif"):
            raise error
        assert not is_damage(met.value)
    for error in (FileNotFoundError("gone"), MovieError("a sentence"), MemoryError("full")):
        with pytest.raises(type(error)), opening("a.tif"):
            raise error
