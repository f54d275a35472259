"""GIF, animated PNG and WebP, PNG and JPEG: what a paper's supplement holds is a movie."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from stemkin.movie import open_movie
from stemkin.readers import MovieError, open_reader
from tests import movie_files as files

FILM = files.pixels(n=7, height=24, width=40, dtype="u1") * 5


def write_animation(path, frames, **more):
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **more)


@pytest.mark.parametrize(
    ("name", "more"),
    [("a.gif", {}), ("a.apng", {"format": "PNG"}), ("a.png", {}), ("a.webp", {"lossless": True})],
)
def test_an_animation_gives_back_every_grey_pixel_in_any_order(tmp_path, name, more):
    write_animation(tmp_path / name, FILM, duration=200, **more)
    movie = open_movie(tmp_path / name)
    assert movie.shape == FILM.shape
    assert movie.reader.dtype == np.uint8
    np.testing.assert_array_equal(movie.reader.read(0, 7), FILM)
    for start, stop in ((6, 7), (2, 5), (0, 1)):
        np.testing.assert_array_equal(movie.reader.read(start, stop), FILM[start:stop])
    # how long a frame is shown is not how long the microscope took
    assert movie.calibration.known() == {}
    assert movie.reader.inner.notes == ()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_single_png_keeps_its_depth(tmp_path, dtype):
    frame = (FILM[0].astype(dtype) * {"u1": 1, "u2": 200}[dtype]).astype(dtype)
    Image.fromarray(frame).save(tmp_path / "a.png")
    reader = open_reader(tmp_path / "a.png")
    assert reader.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(reader.read(0, 1)[0], frame)


def test_frames_that_change_a_part_of_the_picture_are_whole(tmp_path):
    """As every GIF of a real movie has them: a frame says only what differs from the one before."""
    film = np.repeat(FILM[:1], 5, 0)
    for i in range(1, 5):
        film[i:, 5 + i, 3 * i : 3 * i + 4] = 255
    write_animation(tmp_path / "a.gif", film, duration=100, optimize=True)
    np.testing.assert_array_equal(open_reader(tmp_path / "a.gif").read(0, 5), film)
    np.testing.assert_array_equal(open_reader(tmp_path / "a.gif").read(3, 4), film[3:4])


def test_frames_that_a_writer_left_out_are_told_of(tmp_path):
    """Pillow itself drops a frame that is equal to the one before, and shows that one longer."""
    film = FILM[[0, 1, 1, 2, 3]]
    write_animation(tmp_path / "a.gif", film, duration=100)
    reader = open_reader(tmp_path / "a.gif")
    assert reader.shape[0] == 4
    assert "shown for different times (100, 200 ms)" in reader.notes[0]


def test_false_colours_are_read_as_their_luminance_and_said(tmp_path):
    fire = np.zeros((3, 24, 40, 3), "u1")
    fire[..., 0] = np.linspace(0, 255, 40)
    fire[..., 1] = np.linspace(0, 128, 40)
    write_animation(tmp_path / "a.webp", fire + np.arange(3, dtype="u1")[:, None, None, None] // 2,
                    lossless=True)  # fmt: skip
    reader = open_reader(tmp_path / "a.webp")
    assert reader.notes == ("false colours are read as their luminance",)
    assert (np.diff(reader.read(0, 1)[0, 0].astype(int)) >= 0).all()


def test_the_preview_of_an_animated_png_is_no_frame(tmp_path):
    pictures = [Image.fromarray(frame) for frame in FILM]
    preview = Image.fromarray(np.zeros((24, 40), "u1"))
    preview.save(
        tmp_path / "a.png", save_all=True, append_images=pictures, default_image=True, duration=50
    )
    reader = open_reader(tmp_path / "a.png")
    np.testing.assert_array_equal(reader.read(0, 7), FILM)
    assert reader.notes == ("its first picture is a preview, and no frame",)


def test_colours_of_16_bits_are_refused_rather_than_cut_to_8(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    coloured = np.random.default_rng(1).integers(0, 60_000, (24, 40, 3), "u2")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(coloured))
    with pytest.raises(MovieError, match="colours or opacity of 16 bits; save it as grey PNG"):
        open_reader(tmp_path / "a.png")


def test_a_cut_or_foreign_picture_is_one_sentence(tmp_path):
    write_animation(tmp_path / "a.gif", FILM)
    content = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(content[:20])
    (tmp_path / "not.gif").write_bytes(b"nothing like a GIF")
    for name in ("cut.gif", "not.gif"):
        with pytest.raises(MovieError, match=name):
            open_reader(tmp_path / name)
    (tmp_path / "half.gif").write_bytes(content[: len(content) // 2])
    reader = open_movie(tmp_path / "half.gif").reader
    read = reader.read(0, reader.shape[0])
    equal = [np.array_equal(frame, whole) for frame, whole in zip(read, FILM, strict=False)]
    from stemkin.kernels.images.quality import is_damaged

    assert (np.array(equal) | is_damaged(read)).all()


def test_pillow_reads_the_same_frames(tmp_path):
    write_animation(tmp_path / "a.gif", FILM)
    with Image.open(tmp_path / "a.gif") as picture:
        frames = [np.asarray(one.convert("L")) for one in ImageSequence.Iterator(picture)]
    np.testing.assert_array_equal(open_reader(tmp_path / "a.gif").read(0, 7), frames)
