"""Axes by one rule: every format that describes its axes gives the movie, or one sentence."""

import itertools

import numpy as np
import pytest
import tifffile

from stemkin.description import describe
from stemkin.movie import open_movie
from stemkin.readers import MovieError, Options, open_reader
from stemkin.readers.axes import frames_in
from stemkin.readers.axis import Axis, meaning_of
from stemkin.readers.units import in_nanometres, in_seconds, quantity_of
from tests import movie_files as files
from tests.axis_files import MOVIE, WRITERS, write_bioformats2raw

FILM = files.pixels(n=7, height=24, width=40)
BOTH = {"pixel_size_nm": 0.03, "frame_time_s": 0.5}
SIZE = {"pixel_size_nm": 0.03}
NAMED = pytest.mark.parametrize("name", WRITERS)


def written(folder, name, axes, order="xyt"):
    """Write the film with its axes in `order`, described by `axes`; return the path."""
    stored = np.ascontiguousarray(FILM.transpose(["tyx".index(letter) for letter in order]))
    WRITERS[name](str(folder / name), stored, axes)
    return str(folder / name)


def third(name, unit, step=0.5):
    """Axes of a film as HyperSpy writes it to EMD: x, y, and whatever the third is called."""
    return [MOVIE["x"], MOVIE["y"], (name, unit, step)]


def assert_is_the_film(reader, said):
    assert reader.calibration.known() == pytest.approx(said)
    np.testing.assert_array_equal(reader.read(0, 7), FILM)
    np.testing.assert_array_equal(reader.read(2, 5), FILM[2:5])


@NAMED
@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("tyx")])
def test_every_order_of_the_axes_gives_the_same_frames(tmp_path, name, order):
    path = written(tmp_path, name, [MOVIE[letter] for letter in order], order)
    assert_is_the_film(open_reader(path), BOTH)


@NAMED
@pytest.mark.parametrize(
    ("called", "unit", "said"),
    [
        ("z", "s", BOTH),
        ("stack_element", "", SIZE),
        ("Navigation", "", SIZE),
        ("", "", SIZE),
    ],
)
def test_two_known_axes_fix_the_third(tmp_path, name, called, unit, said):
    assert_is_the_film(open_reader(written(tmp_path, name, third(called, unit))), said)


@NAMED
@pytest.mark.parametrize(("x", "y"), [("width", "height"), ("columns", "y_nm")])
def test_axes_are_known_by_the_names_that_programs_use(tmp_path, name, x, y):
    axes = [(x, "nm", 0.03), (y, "nm", 0.03), ("frames", "s", 0.5)]
    assert_is_the_film(open_reader(written(tmp_path, name, axes)), BOTH)


@NAMED
@pytest.mark.parametrize(
    ("called", "unit", "thing"),
    [
        ("Energy loss", "eV", "a spectrum image"),
        ("stack_element", "keV", "a spectrum image"),
        ("tilt", "deg", "a tilt series"),
        ("defocus", "nm", "a focal series"),
        ("z", "nm", "a stack in depth"),
        ("z", "", "a stack in depth"),
        ("qz", "1/nm", "diffraction patterns"),
        ("temperature", "K", "a series under changing conditions"),
    ],
)
def test_what_is_no_movie_is_called_what_it_is(tmp_path, name, called, unit, thing):
    path = written(tmp_path, name, third(called, unit))
    with pytest.raises(MovieError, match=f"is no movie but {thing}"):
        open_reader(path)
    # the user's word counts more; the step of such an axis is no frame time
    if thing != "diffraction patterns":
        reader = open_reader(path, Options(time_axis=called))
        assert_is_the_film(reader, SIZE)
        assert any("is read as time, as was asked for" in note for note in reader.notes)


@NAMED
@pytest.mark.parametrize("unit", ["1/nm", "mrad"])
def test_patterns_of_diffraction_are_no_images(tmp_path, name, unit):
    axes = [("x", unit, 0.03), ("y", unit, 0.03), MOVIE["t"]]
    with pytest.raises(MovieError, match="is no movie but diffraction patterns"):
        open_reader(written(tmp_path, name, axes))


@NAMED
@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (
            [("x", "s", 0.5), ("y", "nm", 0.03), ("time", "nm", 0.03)],
            "axis 0 is called 'x', but its unit is .*s.*; axis 2 is called 'time'",
        ),
        ([("x", "1/nm", 0.03), MOVIE["y"], MOVIE["t"]], "'x' is measured in .* but 'y'"),
        ([MOVIE["x"], MOVIE["y"], ("frame", "nm", 1.0)], "axis 2 is called 'frame'"),
    ],
)
def test_what_contradicts_itself_says_which_axis_is_which(tmp_path, name, axes, sentence):
    with pytest.raises(MovieError, match=f"contradicts itself: {sentence}") as error:
        open_reader(written(tmp_path, name, axes))
    assert all(repr(called) in str(error.value) for called, _, _ in axes)


@NAMED
@pytest.mark.parametrize("edge", [1e-5, 4.2e16])
def test_a_pixel_size_that_cannot_be_is_none_and_is_said(tmp_path, name, edge):
    axes = [("x", "nm", edge), ("y", "nm", edge), MOVIE["t"]]
    path = written(tmp_path, name, axes)
    reader = open_reader(path)
    assert_is_the_film(reader, {"frame_time_s": 0.5})
    assert "outside of 0.0001 to 10 nm" in reader.calibration.doubts["pixel_size_nm"]
    # what the user says is not doubted
    assert open_movie(path, pixel_size_nm=edge).pixel_size_nm == edge


@NAMED
@pytest.mark.parametrize("step", [1e-8, 1e7])
def test_a_frame_time_that_cannot_be_is_none_and_is_said(tmp_path, name, step):
    reader = open_reader(written(tmp_path, name, third("t", "s", step)))
    assert_is_the_film(reader, SIZE)
    assert "outside of" in reader.calibration.doubts["frame_time_s"]


@NAMED
def test_one_edge_alone_is_no_pixel_size(tmp_path, name):
    reader = open_reader(written(tmp_path, name, [MOVIE["x"], ("y", "", 1.0), MOVIE["t"]]))
    assert_is_the_film(reader, {"frame_time_s": 0.5})
    assert "but not its height" in reader.calibration.doubts["pixel_size_nm"]


@NAMED
@pytest.mark.parametrize("unit", ["Å", "µm", "m", "nanometer"])
def test_units_are_understood_in_every_spelling(tmp_path, name, unit):
    per_nm = {"pm": 1e3, "Å": 10, "angstrom": 10, "µm": 1e-3, "μm": 1e-3, "m": 1e-9}
    step = 0.03 * per_nm.get(unit, 1)
    axes = [("x", unit, step), ("y", unit, step), ("t", "ms", 500.0)]
    assert_is_the_film(open_reader(written(tmp_path, name, axes)), BOTH)


@NAMED
def test_info_says_where_each_number_comes_from(tmp_path, name):
    path = written(tmp_path, name, third("t", "s"))
    [row] = describe(path).to_dict("records")
    assert "'x'" in row["pixel_size_from"]
    assert "'t'" in row["frame_time_from"]
    [row] = describe(path, pixel_size_nm=0.04).to_dict("records")
    assert (row["pixel_size_nm"], row["pixel_size_from"]) == (0.04, "argument")


TWO = [Axis("x", "nm"), Axis("y", "nm")]


@pytest.mark.parametrize(
    ("last", "is_time"),
    [
        (Axis("Time", "second"), True), (Axis("frame number"), True), (Axis("<undefined>"), True),
        (Axis("", "ms"), True), (Axis("z", "s"), True), (Axis("image series"), True),
        (Axis("energy"), False), (Axis("alpha", "degree"), False), (Axis("depth"), False),
        (Axis("stack_element", "nm"), False), (Axis("", "eV"), False), (Axis("", "pm"), False),
        (Axis("wavelength", "nm"), False), (Axis("bias", "V"), False), (Axis("slices"), False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_rule_for_the_third_axis_holds_at_every_place(last, is_time, place):
    axes = [*TWO[:place], last, *TWO[place:]]
    lengths = [{"x": 40, "y": 24}.get(axis.name, 7) for axis in axes]
    if is_time:
        plan = frames_in(lengths, axes, np.dtype("u2"), "film")
        assert (plan.shape, plan.index[place]) == ((7, 24, 40), "t")
    else:
        with pytest.raises(MovieError, match="film is no movie but"):
            frames_in(lengths, axes, np.dtype("u2"), "film")


def test_one_axis_that_is_known_is_not_enough_out_of_order():
    axes = [Axis(""), Axis(""), Axis("y")]
    with pytest.raises(MovieError, match="does not say which axis is time"):
        frames_in((7, 40, 24), axes, np.dtype("u2"), "film")
    plan = frames_in((7, 40, 24), axes, np.dtype("u2"), "film", Options(time_axis="0"))
    assert plan.index == ("t", "x", "y")


def test_an_axis_of_length_one_lends_its_step_to_no_other(tmp_path):
    said = {"axes": "TZYX", "TimeIncrement": 0.5, "PhysicalSizeZ": 5.0, "PhysicalSizeZUnit": "nm"}
    for axis in "XY":
        said.update({f"PhysicalSize{axis}": 0.03, f"PhysicalSize{axis}Unit": "nm"})
    tifffile.imwrite(tmp_path / "a.ome.tif", FILM[None], metadata=said)
    with pytest.raises(MovieError, match="a stack in depth, or a focal series"):
        open_reader(tmp_path / "a.ome.tif")
    assert_is_the_film(open_reader(tmp_path / "a.ome.tif", Options(time_axis="z")), SIZE)


def test_an_image_of_several_in_a_store_is_chosen_with_its_calibration(tmp_path):
    path = str(tmp_path / "a.zarr")
    write_bioformats2raw(path, FILM, [MOVIE[letter] for letter in "tyx"])
    with pytest.raises(MovieError, match="2 images that can be movies"):
        open_reader(path)
    for dataset in ("1", "1/0", 1):
        assert_is_the_film(open_reader(path, Options(dataset=dataset)), BOTH)


def test_a_time_axis_that_is_not_there_is_a_sentence(tmp_path):
    path = written(tmp_path, "film.emd", third("t", "s"))
    with pytest.raises(MovieError, match="has no axis 'depth' that could be time; its axes are 0"):
        open_reader(path, Options(time_axis="depth"))


def test_an_unnamed_array_of_another_order_is_read_by_the_users_word(tmp_path):
    np.save(tmp_path / "a.npy", FILM.transpose(1, 2, 0))
    for axis in ("2", "-1"):
        reader = open_reader(tmp_path / "a.npy", Options(time_axis=axis))
        np.testing.assert_array_equal(reader.read(0, 7), FILM)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("x_nm", "x"), ("Scan row", "y"), ("tilt step", "angle"), ("frameNumber", "t"),
        ("R_x", "x"), ("Q_x", "reciprocal"), ("x (px)", "x"), ("X-ray energy", "energy"),
        ("dx", ""), ("", ""), (b"width", "x"), (None, ""),
    ],
)  # fmt: skip
def test_names_mean_what_they_say(name, what):
    assert meaning_of(name) == what


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [
        ("[n_m]", "length"), ("[µ_m]", "length"), ("[Å]", "length"), ("[m_s]", "time"),
        ("[1_/_n_m]", "reciprocal length"), ("[n_m]^-1", "reciprocal length"), ("A^-1", "reciprocal length"),
        ("Å⁻¹", "reciprocal length"), ("seconds since 2026-01-01", "time"), ("Hz", "frequency"),
        ("1/s", "frequency"), ("[e_V]", "energy"), ("pixels", ""), ("", ""), (None, ""), ("Âµm", "length"),
    ],
)  # fmt: skip
def test_units_measure_what_they_say(unit, quantity):
    assert quantity_of(unit) == quantity


def test_emd_units_are_converted():
    assert in_nanometres(3e-5, "[µ_m]") == in_nanometres(0.3, "[Å]") == 0.03
    assert in_seconds(500, "[m_s]") == 0.5
    assert Axis("z", "[m_s]").what == "t"
