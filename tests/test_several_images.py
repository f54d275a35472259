"""A file with several images: previews are passed over, and what is not plain is asked for."""

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import stemkin as sk
from stemkin.cli import app
from stemkin.config import RunConfig
from stemkin.movie import open_movie
from stemkin.pipeline import open_inputs
from stemkin.readers import MovieError, Options, open_reader
from tests import movie_files as files

FILM = files.pixels(n=7, height=24, width=40)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("preview", [8, 128, None])
def test_a_dm_file_knows_its_preview_however_large_it_is(tmp_path, version, preview):
    files.write_dm(tmp_path / "a.dm3", FILM, version=version, preview=preview)
    reader = open_reader(tmp_path / "a.dm3")
    np.testing.assert_array_equal(reader.read(0, 7), FILM)
    assert reader.notes == ()


def test_an_image_of_real_numbers_that_the_file_calls_its_preview_is_passed_over(tmp_path):
    files.write_dm(tmp_path / "a.dm3", FILM[0], preview=128)
    content = (tmp_path / "a.dm3").read_bytes()
    kind = content.index(b"DataType")
    at = content.index(np.int32(23).tobytes(), kind)
    grey = content[:at] + np.int32(7).tobytes() + content[at + 4 :]
    (tmp_path / "a.dm3").write_bytes(grey)
    np.testing.assert_array_equal(open_reader(tmp_path / "a.dm3").read(0, 1), FILM[:1])


def test_a_preview_without_the_files_word_is_no_candidate_where_it_is_coloured(tmp_path):
    files.write_dm(tmp_path / "a.dm3", FILM, preview=128, says_preview=False)
    np.testing.assert_array_equal(open_reader(tmp_path / "a.dm3").read(0, 7), FILM)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (FILM[0].astype("c8"), r"complex numbers \(DigitalMicrograph's type 3\)"),
        (FILM[0, 0], "a line of 40 values"),
    ],
)
def test_a_dm_file_of_something_else_says_what_it_is_and_not_what_its_preview_is(
    tmp_path, array, said
):
    files.write_dm(tmp_path / "a.dm3", array)
    with pytest.raises(MovieError, match=f"holds {said}; frames are images of real numbers"):
        open_reader(tmp_path / "a.dm3")


def test_two_stacks_are_a_question_with_the_choices(tmp_path):
    files.write_dm(tmp_path / "a.dm4", FILM, version=4, beside=[FILM[::-1], FILM[0]])
    with pytest.raises(
        MovieError,
        match=r"3 images that can be movies; choose one with dataset=: '1' \(7 x 24 x 40 film\), "
        r"'2' \(7 x 24 x 40 image 2\), '3' \(24 x 40 image 3\)$",
    ):
        open_reader(tmp_path / "a.dm4")
    for choice in ("2", 2, "image 2"):
        movie = open_movie(tmp_path / "a.dm4", dataset=choice)
        np.testing.assert_array_equal(movie.reader.read(0, 7), FILM[::-1])
    np.testing.assert_array_equal(
        open_reader(tmp_path / "a.dm4", Options("3")).read(0, 1), FILM[:1]
    )
    for missing in ("0", "4", "survey"):
        with pytest.raises(MovieError, match=f"no dataset '{missing}'; it can be one of '1'"):
            open_reader(tmp_path / "a.dm4", Options(missing))


def test_the_only_stack_is_taken_before_images_beside_it_and_a_note_says_so(tmp_path):
    files.write_dm(tmp_path / "a.dm3", FILM, beside=[np.zeros((64, 64), "u2")])
    reader = open_reader(tmp_path / "a.dm3")
    np.testing.assert_array_equal(reader.read(0, 7), FILM)
    assert reader.notes == (
        "dataset '1' (7 x 24 x 40 film) is read, and '2' (64 x 64 image 2) left out",
    )


def test_another_choice_is_another_movie(tmp_path):
    """A run that is repeated with another dataset does not take the first one's rows for its own."""
    files.write_dm(tmp_path / "a.dm3", FILM, beside=[FILM[::-1]])
    first, second = (open_movie(tmp_path / "a.dm3", dataset=name) for name in "12")
    assert first.reader.identity != second.reader.identity
    assert first.reader.identity == open_movie(tmp_path / "a.dm3", dataset="1").reader.identity


def test_a_choice_typed_in_the_terminal_reaches_the_reader(tmp_path):
    files.write_dm(tmp_path / "a.dm3", FILM, beside=[FILM[:4]])
    said = CliRunner().invoke(app, ["info", str(tmp_path / "a.dm3"), "--dataset", "2"])
    assert "4 x 24 x 40" in said.output
    out = str(tmp_path / "a.zarr")
    said = CliRunner().invoke(
        app, ["convert", str(tmp_path / "a.dm3"), "--out", out, "--dataset", "2"]
    )
    assert said.exit_code == 0, said.output
    np.testing.assert_array_equal(open_reader(out).read(0, 4), FILM[:4])
    config = RunConfig.from_toml('[input]\ndataset = "2"')
    assert open_inputs(tmp_path / "a.dm3", config).movies[0].n_frames == 4
    assert sk.describe(tmp_path / "a.dm3", dataset=2)["shape"].tolist() == ["4 x 24 x 40"]


def write_pages(path, *stacks, **more):
    """Write stacks of images into one TIFF file, each frame a page that says nothing of itself."""
    with tifffile.TiffWriter(path) as writer:
        for stack in stacks:
            for frame in stack:
                writer.write(frame, photometric="minisblack", metadata=None, **more)


def test_two_images_of_an_ome_tiff_are_a_question_and_have_calibrations_of_their_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for i, stack in enumerate([FILM, FILM[::-1]]):
            said = {"axes": "TYX", "Name": f"camera {i}", "TimeIncrement": 1.0 + i}
            said |= {f"PhysicalSize{a}": 0.03 + i / 100 for a in "XY"}
            writer.write(stack, metadata={**said, **{f"PhysicalSize{a}Unit": "nm" for a in "XY"}})
    with pytest.raises(
        MovieError,
        match=r"2 images that can be movies; choose one with dataset=: "
        r"'0' \(7 x 24 x 40 camera 0\), '1' \(7 x 24 x 40 camera 1\)$",
    ):
        open_movie(tmp_path / "a.ome.tif")
    for name in ("1", "camera 1"):
        movie = open_movie(tmp_path / "a.ome.tif", dataset=name)
        np.testing.assert_array_equal(movie.reader.read(0, 7), FILM[::-1])
        assert movie.pixel_size_nm == pytest.approx(0.04)
        assert movie.frame_time_s == 2
    first = open_movie(tmp_path / "a.ome.tif", dataset="0")
    np.testing.assert_array_equal(first.reader.read(2, 5), FILM[2:5])
    assert first.pixel_size_nm == pytest.approx(0.03)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_page_of_another_shape_is_not_a_frame(tmp_path, compression, at):
    """Wherever it stands: before, between or behind the frames."""
    survey = files.pixels(n=1, height=50, width=60)
    write_pages(tmp_path / "a.tif", FILM[:at], survey, FILM[at:], compression=compression)
    movie = open_movie(tmp_path / "a.tif")
    np.testing.assert_array_equal(movie.reader.read(0, 7), FILM)
    assert [note for note in movie.reader.inner.notes if "left out" in note]
    other = {0: "0"}.get(at, "1")
    chosen = open_movie(tmp_path / "a.tif", dataset=other)
    np.testing.assert_array_equal(chosen.reader.read(0, 1), survey)


def test_two_stacks_of_pages_are_a_question(tmp_path):
    other = files.pixels(n=4, height=30, width=40)
    write_pages(tmp_path / "a.tif", FILM, other)
    with pytest.raises(MovieError, match=r"'0' \(7 x 24 x 40 .*'1' \(4 x 30 x 40 .*"):
        open_movie(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        open_reader(tmp_path / "a.tif", Options("1")).read(1, 4), other[1:]
    )


def test_stacks_that_were_written_one_after_the_other_are_not_one_movie(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for stack in (FILM, FILM[::-1]):
            writer.write(stack, photometric="minisblack", contiguous=False)
    with pytest.raises(MovieError, match="2 images that can be movies"):
        open_movie(tmp_path / "a.tif")
    chosen = open_reader(tmp_path / "a.tif", Options("1"))
    np.testing.assert_array_equal(chosen.read(0, 7), FILM[::-1])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_that_the_file_calls_previews_are_passed_over(tmp_path, compression):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for frame in FILM:
            more = {"photometric": "minisblack", "metadata": None, "compression": compression}
            writer.write(frame, **more)
            writer.write(frame[::2, ::2], subfiletype=1, **more)
    reader = open_reader(tmp_path / "a.tif")
    np.testing.assert_array_equal(reader.read(0, 7), FILM)
    np.testing.assert_array_equal(reader.read(3, 5), FILM[3:5])
    assert not reader.notes


def test_each_stack_of_a_tiff_has_the_calibration_of_its_own_description(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for stack, size in ((FILM, 0.03), (FILM[:5], 0.05)):
            said = {"pixel_size_nm": size, "frame_time_s": 2.0}
            writer.write(stack, photometric="minisblack", contiguous=False, metadata=said)
    sizes = [open_movie(tmp_path / "a.tif", dataset=i).pixel_size_nm for i in (0, 1)]
    assert sizes == [0.03, 0.05]


def test_two_streams_of_a_video_are_a_question(tmp_path):
    grey = FILM.astype("u1")
    files.write_video(tmp_path / "a.mkv", grey, beside=[grey[::-1]])
    with pytest.raises(MovieError, match=r"2 images that can be movies; choose one with dataset="):
        open_movie(tmp_path / "a.mkv")
    for name, wanted in (("0", grey), ("1", grey[::-1])):
        reader = open_reader(tmp_path / "a.mkv", Options(name))
        np.testing.assert_array_equal(reader.read(0, 7), wanted)
        np.testing.assert_array_equal(reader.read(4, 6), wanted[4:6])


def test_several_series_of_an_emi_file_are_a_question(tmp_path):
    (tmp_path / "film.emi").write_bytes(b"JJ....")
    for i in (1, 2):
        files.write_ser(tmp_path / f"film_{i}.ser", FILM + i)
    with pytest.raises(
        MovieError, match=r"2 series; choose one with dataset=: '0' \(film_1\.ser\), '1'"
    ):
        open_reader(tmp_path / "film.emi")
    for options in (Options("1"), Options("film_2.ser"), Options(channel=1)):
        np.testing.assert_array_equal(
            open_reader(tmp_path / "film.emi", options).read(0, 7), FILM + 2
        )
    with pytest.raises(MovieError, match="no dataset '2'"):
        open_reader(tmp_path / "film.emi", Options(channel=2))
