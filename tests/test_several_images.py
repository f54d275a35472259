"""A file with several images: previews are passed over, and what is not plain is asked for."""

import numpy as np
import pytest
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
