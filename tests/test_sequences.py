"""One file per frame is a movie in every format that may have one image, and a note says so."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from stemkin.archive import open_archive
from stemkin.movie import open_movie
from stemkin.readers import MovieError, Options, open_reader
from tests import movie_files as files

FILM = files.pixels(n=6, height=24, width=40)


def write_png(path, frame):
    Image.fromarray(frame[0].astype("u2")).save(path)


def write_jpeg(path, frame):
    Image.fromarray(np.full((24, 40), 8 * int(path.stem[-1]), "u1")).save(path, quality=100)


WRITERS = {
    "tif": files.write_tiff,
    "dm3": files.write_dm,
    "dm4": lambda path, frame: files.write_dm(path, frame[0], version=4),
    "mrc": files.write_mrc,
    "ser": files.write_ser,
    "npy": files.write_npy,
    "png": write_png,
    "jpg": write_jpeg,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_numbered_files_are_the_frames_of_one_movie_and_a_gap_stays_one(tmp_path, suffix):
    for i in (0, 1, 2, 4, 5):
        WRITERS[suffix](tmp_path / f"run 3_{i}.{suffix}", FILM[i : i + 1])
    movie = open_movie(tmp_path)
    assert movie.shape == (6, 24, 40)
    notes = movie.reader.inner.notes
    assert notes[0].startswith("its 5 ")
    assert notes[0].endswith(" files are read as the frames of one movie")
    assert notes[1] == "1 numbers between the first file and the last are missing"
    read = movie.reader.read(0, 6)
    wanted = FILM
    if suffix == "jpg":
        wanted = np.broadcast_to(8 * np.arange(6)[:, None, None], FILM.shape)
    there = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(read[there], wanted[there])
    archive = open_archive(tmp_path)
    assert [one.name for one in archive] == [tmp_path.name]
    assert not archive.problems


def test_an_in_situ_camera_counts_anew_in_each_second_and_has_a_folder_for_it(tmp_path):
    """The folders of a OneView: Hour_00/Minute_00/Second_01/..._Frame_0002.dm4."""
    frames = files.pixels(n=13, height=24, width=40)
    for i, frame in enumerate(frames, 1):  # it begins with the second frame of a second
        second, number = divmod(i, 4)
        minute = 59 + second // 2
        folder = tmp_path / f"Hour_{minute // 60:02}/Minute_{minute % 60:02}/Second_{second % 2:02}"
        folder.mkdir(parents=True, exist_ok=True)
        hour = f"Hour_{minute // 60:02}_Minute_{minute % 60:02}_Second_{second % 2:02}"
        files.write_dm(folder / f"run_{hour}_Frame_{number:04}.dm4", frame, version=4)
    # seconds 0, 1 of minute 59 and of minute 60: between them 58 seconds are not there
    movie = open_movie(tmp_path)
    np.testing.assert_array_equal(movie.reader.read(0, movie.n_frames), frames)
    assert [one.shape for one in open_archive(tmp_path)] == [movie.shape]


def test_seconds_of_an_in_situ_camera_that_follow_each_other_keep_their_gaps(tmp_path):
    frames = files.pixels(n=12, height=24, width=40)
    for i, frame in enumerate(frames):
        if i != 5:
            name = f"run_Hour_00_Minute_00_Second_0{i // 3}_Frame_000{i % 3}.dm3"
            files.write_dm(tmp_path / name, frame)
    reader = open_reader(tmp_path)
    there = np.delete(np.arange(12), 5)
    for i in there:
        np.testing.assert_array_equal(reader.read(i, i + 1)[0], frames[i])
    with pytest.raises(ValueError, match="file of frame 5 is missing"):
        reader.read(5, 6)


def test_the_names_of_an_in_situ_camera_tell_frames_per_second_but_no_file_a_frame_time(tmp_path):
    for i in range(12):
        name = f"run_Hour_00_Minute_00_Second_0{i // 3}_Frame_000{i % 3}.dm3"
        files.write_dm(tmp_path / name, FILM[0])
    movie = open_movie(tmp_path)
    assert any("names count 3 frames a second" in note for note in movie.reader.inner.notes)
    assert movie.frame_time_s is None


def test_what_lies_beside_a_sequence_is_a_movie_of_its_own(tmp_path):
    for i in range(4):
        files.write_dm(tmp_path / f"run_{i}.dm3", FILM[i])
        Image.fromarray(FILM[i].astype("u1")).save(tmp_path / f"run_{i}.png")
    np.save(tmp_path / "stack.npy", FILM)
    files.write_dm(tmp_path / "survey.dm3", FILM[0])
    archive = open_archive(tmp_path)
    assert {one.name: one.n_frames for one in archive} == {
        tmp_path.name: 4,
        "stack": 6,
        "survey": 1,
    }
    assert any("other files beside them" in n for n in archive[tmp_path.name].reader.inner.notes)


def test_two_kinds_of_files_of_one_movie_are_a_question(tmp_path):
    for i in range(3):
        files.write_dm(tmp_path / f"run_{i}.dm3", FILM[i])
        tifffile.imwrite(tmp_path / f"run_{i}.tif", FILM[5 - i])
    with pytest.raises(MovieError, match=r"choose one with dataset=: 'DM' \(3 files\), 'TIFF'"):
        open_reader(tmp_path)
    np.testing.assert_array_equal(open_reader(tmp_path, Options("DM")).read(0, 3), FILM[:3])
    np.testing.assert_array_equal(open_reader(tmp_path, Options("TIFF")).read(0, 3), FILM[:2:-1])


def test_figures_in_a_folder_of_movies_are_no_movies(tmp_path):
    np.save(tmp_path / "film.npy", FILM)
    for i in range(3):
        Image.fromarray(FILM[i].astype("u1")).save(tmp_path / f"figure {i}.png")
    assert [one.name for one in open_archive(tmp_path)] == ["film"]
    (tmp_path / "film.npy").unlink()
    Image.fromarray(FILM[0].astype("u1")).save(tmp_path / "overview.png")
    Image.fromarray(FILM[0].astype("u1")).save(tmp_path / "map.png")
    (tmp_path / "figure 0.png").unlink()
    with pytest.raises(ValueError, match=r"holds 4 pictures .* only if all are numbered"):
        open_archive(tmp_path)
    assert len(open_archive(str(tmp_path / "*.png"))) == 4


def test_the_detectors_of_an_emi_file_are_no_frames(tmp_path):
    (tmp_path / "film.emi").write_bytes(b"JJ....")
    for i in (1, 2):
        files.write_ser(tmp_path / f"film_{i}.ser", FILM[i : i + 1])
    assert [one.name for one in open_archive(tmp_path)] == ["film_1", "film_2"]


def test_files_of_unlike_pixel_size_are_not_frames_of_one_movie(tmp_path):
    for i, size in enumerate((0.03, 0.03, 0.05)):
        files.write_dm(tmp_path / f"f{i}.dm3", FILM[i], scales=(size, size, 1))
    with pytest.raises(MovieError, match=r"0\.03 nm and f2\.dm3 has .*0\.05 nm; put each movie"):
        open_movie(tmp_path)
    for i in range(3, 60):
        files.write_dm(tmp_path / f"f{i}.dm3", FILM[0])
    files.write_dm(tmp_path / "f2.dm3", FILM[2])
    files.write_dm(tmp_path / "f10.dm3", FILM[1], scales=(0.06, 0.06, 1))
    reader = open_reader(tmp_path)
    with pytest.raises(ValueError, match=r"pixels of 0\.06 nm, unlike the other frames"):
        reader.read(10, 11)


def test_a_sequence_changes_its_identity_with_its_files(tmp_path):
    for i in range(3):
        np.save(tmp_path / f"f{i}.npy", FILM[i])
    before = open_reader(tmp_path).identity
    np.save(tmp_path / "f3.npy", FILM[3])
    reader = open_reader(tmp_path)
    assert reader.shape[0] == 4
    assert reader.identity != before


def test_single_images_that_are_not_joined_are_said_to_be_so(tmp_path, caplog):
    for name in ("a_1", "a_2", "b_1", "b_2"):
        np.save(tmp_path / f"{name}.npy", FILM[0])
    assert len(open_archive(tmp_path)) == 4
    assert "gave 4 movies of one frame each, such as 'a_1'; frames of one movie" in caplog.text
