"""Axes by one rule: every format that describes its axes gives the movie, or one sentence."""

import itertools
import sys

import h5py
import numpy as np
import pytest
import tifffile

from stemkin.archive import open_archive
from stemkin.cli import main
from stemkin.conversion import convert
from stemkin.description import describe
from stemkin.movie import open_movie
from stemkin.pipeline.opening import uncalibrated
from stemkin.readers import MovieError, Options, open_reader
from stemkin.readers.axes import AxisPlan, frames_in
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
    write = WRITERS.get(name, WRITERS["film.emd"])
    write(str(folder / name), stored, axes)
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


def dm(path, scales, units):
    files.write_dm(path, FILM, scales=scales, units=units)


def tiff_of_dm(path, scales, units):
    """As DigitalMicrograph exports a stack: private tags for x, y and z."""
    tags = [(65003 + i, "s", 0, unit.encode("latin1"), True) for i, unit in enumerate(units)]
    tags += [(65009 + i, "d", 1, scale, True) for i, scale in enumerate(scales)]
    tifffile.imwrite(path, FILM, photometric="minisblack", metadata=None, extratags=tags)


FIXED = {"film.dm3": dm, "film.tif": tiff_of_dm}
"""Formats whose axes have an order, and units alone say what they are."""


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(
    ("scales", "units", "said"),
    [
        ((0.03, 0.03, 0.5), ("nm", "nm", "s"), BOTH),
        ((3e-5, 3e-5, 500.0), ("µm", "µm", "ms"), BOTH),
        ((0.03, 0.03, 1.0), ("nm", "nm", ""), SIZE),
        ((4.2e16, 4.2e16, 0.5), ("nm", "nm", "s"), {"frame_time_s": 0.5}),
        ((1.0, 1.0, 0.5), ("", "", "s"), {"frame_time_s": 0.5}),
        ((0.03, 1.0, 0.5), ("nm", "", "s"), {"frame_time_s": 0.5}),
    ],
)
def test_the_unit_of_a_third_axis_says_what_it_is(tmp_path, name, scales, units, said):
    FIXED[name](tmp_path / name, scales, units)
    assert_is_the_film(open_reader(tmp_path / name), said)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(
    ("units", "sentence"),
    [
        (("nm", "nm", "eV"), "no movie but a spectrum image"),
        (("nm", "nm", "nm"), "no movie but a stack in depth"),
        (("nm", "nm", "deg"), "no movie but a tilt series"),
        (("1/nm", "1/nm", "s"), "no movie but diffraction patterns"),
        (("mrad", "mrad", "s"), "no movie but diffraction patterns"),
        (("1/nm", "nm", "s"), "contradicts itself: .*'x' is measured in 1/nm"),
        (("nm", "s", "s"), "contradicts itself: .*'y', but its unit is s"),
    ],
)
def test_units_of_something_else_are_refused_where_axes_have_no_names(
    tmp_path, name, units, sentence
):
    FIXED[name](tmp_path / name, (0.03, 0.03, 0.5), units)
    with pytest.raises(MovieError, match=sentence):
        open_reader(tmp_path / name)


def test_imagej_says_z_and_time_and_diffraction(tmp_path):
    def write(name, **said):
        tifffile.imwrite(
            tmp_path / name, FILM, imagej=True, resolution=(1 / 0.03, 1 / 0.03), metadata=said
        )
        return tmp_path / name

    film = write("t.tif", axes="TYX", unit="nm", finterval=0.5)
    assert_is_the_film(open_reader(film), BOTH)
    slices = write("z.tif", axes="ZYX", unit="nm", finterval=0.5, spacing=5.0)
    with pytest.raises(MovieError, match="a stack in depth"):
        open_reader(slices)
    assert_is_the_film(open_reader(slices, Options(time_axis="z")), SIZE)
    with pytest.raises(MovieError, match="diffraction patterns"):
        open_reader(write("k.tif", axes="TYX", unit="1/nm", finterval=0.5))


def ome_with_times(path, times, **said):
    described = {"axes": "TYX", "Plane": {"DeltaT": times, "TheT": list(range(7))}, **said}
    for axis in "XY":
        described.update({f"PhysicalSize{axis}": 0.03, f"PhysicalSize{axis}Unit": "nm"})
    tifffile.imwrite(path, FILM, metadata=described)


def test_ome_times_of_planes_give_the_frame_time_if_they_are_even(tmp_path):
    even, path = [0.5 * t for t in range(7)], tmp_path / "a.ome.tif"
    ome_with_times(path, even)
    reader = open_reader(path)
    assert_is_the_film(reader, BOTH)
    assert reader.calibration.origin["frame_time_s"] == "OME DeltaT"
    ome_with_times(path, [*even[:-1], 9.0])
    assert "not evenly spaced" in open_reader(path).calibration.doubts["frame_time_s"]
    ome_with_times(path, even, TimeIncrement=2.0)
    reader = open_reader(path)
    assert_is_the_film(reader, SIZE)
    assert "says 2 s, but DeltaT" in reader.calibration.doubts["frame_time_s"]


@pytest.mark.parametrize(
    ("pixel_m", "dimension", "sentence"),
    [
        (4.2e7, ("Number", ""), "no movie but diffraction patterns"),
        (3e-11, ("Position", "meters"), "no movie but a stack in depth"),
        (3e-11, ("Defocus", "m"), "no movie but a focal series"),
        (3e-11, ("Tilt", "deg"), "no movie but a tilt series"),
    ],
)
def test_a_ser_file_says_along_what_its_images_follow_each_other(
    tmp_path, pixel_m, dimension, sentence
):
    files.write_ser(tmp_path / "a.ser", FILM, pixel_m=pixel_m, dimension=dimension)
    with pytest.raises(MovieError, match=sentence):
        open_reader(tmp_path / "a.ser")


def test_a_ser_file_may_count_or_time_its_images(tmp_path):
    files.write_ser(tmp_path / "a.ser", FILM, dimension=("Time", "s"), step=0.5)
    assert_is_the_film(open_reader(tmp_path / "a.ser"), BOTH)
    files.write_ser(tmp_path / "b.ser", FILM, pixel_m=1.0)
    reader = open_reader(tmp_path / "b.ser")
    assert_is_the_film(reader, {})
    assert "1e+09 nm" in reader.calibration.doubts["pixel_size_nm"]


def write_ome_exposed(path, seconds):
    """OME-TIFF with the exposure of every plane, in milliseconds."""
    planes = {"ExposureTime": [1e3 * seconds] * 7, "ExposureTimeUnit": ["ms"] * 7}
    about = {"axes": "TYX", "TimeIncrement": 0.5, "TimeIncrementUnit": "s", "Plane": planes}
    tifffile.imwrite(path, FILM, ome=True, metadata=about)


def write_dm_exposed(path, seconds):
    files.write_dm(path, FILM, scales=(0.03, 0.03, 0.5), exposure_s=seconds)


EXPOSED = [("a.ome.tif", write_ome_exposed), ("a.dm3", write_dm_exposed)]


@pytest.mark.parametrize(("name", "write"), EXPOSED)
def test_the_exposed_part_of_a_frame_is_read_where_the_file_says_it(tmp_path, name, write):
    path = tmp_path / name
    write(path, 0.2)
    movie = open_movie(path)
    assert movie.exposure_fraction == pytest.approx(0.4)
    assert "xposure" in movie.calibration.origin["exposure_fraction"]
    assert open_movie(path, exposure_fraction=0.0).exposure_fraction == 0.0
    write(path, 0.7)
    assert open_movie(path).exposure_fraction is None, "no frame is exposed longer than it takes"


def test_an_exposure_that_is_no_part_of_a_frame_is_refused(tmp_path):
    files.write_npy(tmp_path / "a.npy", FILM)
    with pytest.raises(ValueError, match="exposure_fraction must be a number from 0 to 1"):
        open_movie(tmp_path / "a.npy", exposure_fraction=1.5)
    [store] = convert(tmp_path / "a.npy", tmp_path / "b.zarr", exposure_fraction=0.25)
    assert open_movie(store).exposure_fraction == 0.25
    (tmp_path / "list.csv").write_text("path,exposure_fraction\na.npy,0\n")
    [listed] = open_archive(tmp_path / "list.csv")
    assert listed.exposure_fraction == 0.0
    assert describe(tmp_path / "list.csv")["exposure_from"].tolist() == ["manifest"]


def test_velox_has_a_frame_time_or_an_exposure_or_a_pattern(tmp_path):
    path = tmp_path / "a.emd"
    files.write_velox(path, FILM, scan={"FrameTime": "0.5"})
    assert_is_the_film(open_reader(path), BOTH)
    exposed = {"Detector-0": {"ExposureTime": "0.5"}}
    files.write_velox(path, FILM, scan={}, detectors=exposed)
    reader = open_reader(path)
    assert_is_the_film(reader, {**BOTH, "exposure_fraction": 1.0})
    assert reader.calibration.origin["frame_time_s"] == "Velox ExposureTime of Detector-0"
    files.write_velox(path, FILM, unit="1/m")
    with pytest.raises(MovieError, match="diffraction patterns"):
        open_reader(path)


def test_tvips_magnifies_the_pixels_of_its_camera(tmp_path):
    writer = pytest.importorskip("rsciio.tvips").file_writer
    path = str(tmp_path / "film.tvips")
    names = (("time", "s", 0.5), ("y", "nm", 1), ("x", "nm", 1))
    axes = [
        {"name": n, "units": u, "scale": s, "offset": 0, "size": k, "navigate": n == "time"}
        for (n, u, s), k in zip(names, FILM.shape, strict=True)
    ]
    signal = {"data": FILM, "axes": axes, "metadata": {}, "original_metadata": {}}
    writer(path, {**signal, "attributes": {"_lazy": False}}, mode=1)
    path = path.replace(".tvips", "_000.tvips")
    header = np.memmap(path, "<u4", "r+", shape=(12,))
    header[[7, 8, 9, 11]] = 1, 1, 15_000, 500_000  # binning, camera pixel [nm], magnification
    header.flush()
    assert_is_the_film(open_reader(path), BOTH)
    header[7:9] = 2
    header.flush()
    reader = open_reader(path)
    assert_is_the_film(reader, {"frame_time_s": 0.5})
    assert "binned" in reader.calibration.doubts["pixel_size_nm"]
    writer(path.replace("_000", ""), {**signal, "attributes": {"_lazy": False}}, mode=2)
    with pytest.raises(MovieError, match="diffraction patterns"):
        open_reader(path)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize("clock", ["seconds", "timedelta64", "datetime64"])
def test_what_xarray_writes_is_read_with_its_coordinates(tmp_path, kind, clock):
    xarray = pytest.importorskip("xarray")
    steps = np.arange(7) * np.timedelta64(500, "ms")
    times = {
        "seconds": ("time", np.arange(7) * 0.5, {"units": "s"}),
        "timedelta64": ("time", steps.astype("timedelta64[ns]")),
        "datetime64": ("time", (np.datetime64("2026-01-01") + steps).astype("datetime64[ns]")),
    }
    edges = {
        name: (name, np.arange(n) * 0.03, {"units": "nm"}) for name, n in (("row", 24), ("col", 40))
    }
    film = xarray.DataArray(
        FILM, dims=("time", "row", "col"), coords={"time": times[clock], **edges}, name="film"
    ).transpose("row", "col", "time")
    path = str(tmp_path / f"a.{kind}")
    if kind == "nc":
        pytest.importorskip("h5netcdf")
        film.to_netcdf(path, engine="h5netcdf")
    else:
        film.to_dataset().to_zarr(path, consolidated=False)
    assert_is_the_film(open_reader(path), BOTH)


@pytest.fixture
def typed(capsys, monkeypatch):
    """Return the exit code and what is printed of a command, as it is typed."""

    def type_in(*words):
        monkeypatch.setattr(sys, "argv", ["stemkin", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    return type_in


def test_info_of_a_folder_where_nothing_opens_ends_with_2_and_says_why_for_each_kind(
    tmp_path, typed
):
    for i in range(3):
        files.write_dm(tmp_path / f"si{i}.dm3", FILM, units=("nm", "nm", "eV"))
    for i in range(2):
        written(tmp_path, f"focus{i}.emd", third("z", "nm"))
    (tmp_path / "empty.mrc").write_bytes(b"")
    code, said = typed("info", tmp_path)
    assert code == 2
    first, *reasons = said.splitlines()
    assert first == "no movies"
    assert len(reasons) == 3
    for kind, sentence in (
        ("(and 2 more .dm3 like it)", "spectrum image"),
        ("(and 1 more .emd like it)", "a stack in depth"),
        ("", "empty.mrc is empty (0 bytes)"),
    ):
        assert any(kind in reason and sentence in reason for reason in reasons)


def test_info_of_a_folder_without_movies_says_what_is_in_it(tmp_path, typed):
    (tmp_path / "notes").mkdir()
    for name in ("a.txt", "notes/b.txt", "notes/c.docx"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"no file of a format that stemkin reads, but 2 \.txt, 1"):
        describe(tmp_path)
    assert typed("info", tmp_path)[0] == 2


def test_the_time_axis_is_said_in_the_terminal_and_in_a_manifest(tmp_path, typed):
    path = written(tmp_path, "film.emd", third("depth", "nm"))
    assert typed("info", path)[0] == 2
    code, said = typed("info", path, "--time-axis", "depth")
    assert code == 0
    assert "7 x 24 x 40" in said
    assert "its axis 'depth' is read as time, as was asked for" in said
    np.save(tmp_path / "turned.npy", FILM.transpose(1, 2, 0))
    manifest = tmp_path / "all.toml"
    manifest.write_text(
        'frame_time_s = 0.5\n[[movie]]\npath = "film.emd"\ntime_axis = "depth"\n'
        '[[movie]]\npath = "turned.npy"\ntime_axis = 2\n'
    )
    table = tmp_path / "all.csv"
    table.write_text("path,time_axis,frame_time_s\nfilm.emd,depth,0.5\nturned.npy,2,0.5\n")
    for archive in (open_archive(manifest), open_archive(table)):
        assert [movie.shape for movie in archive] == [FILM.shape] * 2
        assert archive[0].calibration.origin["frame_time_s"] == "manifest"


def test_a_run_says_why_a_calibration_is_not_believed(tmp_path):
    path = written(tmp_path, "film.emd", [("x", "nm", 4e4), ("y", "nm", 4e4), MOVIE["t"]])
    [row] = describe(path).to_dict("records")
    assert "its pixel size is not known: EMD dim2 'y'" in row["problems"]
    assert "would make it 4e+04 nm" in uncalibrated(open_movie(path))
    assert uncalibrated(open_movie(path, pixel_size_nm=4e4)) is None


def test_what_was_said_by_the_user_is_kept_in_the_store_that_is_converted(tmp_path):
    np.save(tmp_path / "a.npy", FILM)
    [store] = convert(tmp_path / "a.npy", tmp_path / "a.zarr", pixel_size_nm=12, frame_time_s=0.5)
    assert open_reader(store).calibration.known() == {"pixel_size_nm": 12, "frame_time_s": 0.5}


def fei_entries(*, days=None, tilt=0.0):
    """Return an extended header as the library of the format lays it out."""
    dtypes = pytest.importorskip("mrcfile.dtypes")
    entries = np.zeros(7, dtypes.get_ext_header_dtype(b"FEI1"))
    entries["Metadata size"] = entries.dtype.itemsize
    entries["Alpha tilt"] = tilt
    entries["Timestamp"] = 46_000 + np.arange(7) * 0.5 / 86_400 if days is None else days
    entries["Pixel size X"] = entries["Pixel size Y"] = 3e-11
    return entries.tobytes()


def test_extended_headers_of_mrc_say_time_and_tilt(tmp_path):
    path = tmp_path / "a.mrc"
    files.write_mrc(path, FILM, cell_angstrom=0, kind=b"FEI1", entries=fei_entries())
    assert_is_the_film(open_reader(path), BOTH)
    files.write_mrc(path, FILM, kind=b"FEI1", entries=fei_entries(days=46_000))
    assert_is_the_film(open_reader(path), SIZE)
    tilted = fei_entries(tilt=np.linspace(-60, 60, 7))
    files.write_mrc(path, FILM, kind=b"FEI1", entries=tilted)
    with pytest.raises(MovieError, match="no movie but a tilt series"):
        open_reader(path)
    for tilts, is_series in ((np.arange(7), True), (np.zeros(7), False)):
        stored = (100 * tilts).astype("<i2").tobytes()
        files.write_mrc(path, FILM, kind=b"SERI", entries=stored, per_section=(2, 1))
        if is_series:
            with pytest.raises(MovieError, match="no movie but a tilt series"):
                open_reader(path)
        else:
            assert_is_the_film(open_reader(path), SIZE)


@pytest.mark.parametrize(
    ("index", "chunk", "together"),
    [(("t", "y", "x"), 10_000, 10_000), (("x", "y", "t"), 10_000, 256), (("y", "x", "t"), 4, 4)],
)
def test_a_block_of_transposed_frames_stays_small(index, chunk, together):
    lengths = [{"t": 10_000, "y": 1024, "x": 512}[letter] for letter in index]
    plan = AxisPlan(index, tuple(lengths))
    assert plan.frames_together(chunk, np.dtype("u2")) == together


def test_chunks_across_frames_give_the_same_frames(tmp_path):
    with h5py.File(tmp_path / "a.emd", "w") as file:
        group = file.create_group("signals/film")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=FILM.transpose(2, 1, 0), chunks=(8, 8, 7), compression=1)
        for i, name in enumerate(("x", "y", "")):
            group.create_dataset(f"dim{i + 1}", data=[0, 0.03]).attrs["name"] = name
    reader = open_reader(tmp_path / "a.emd")
    assert (reader.frames_per_chunk, reader.chunks) == (7, (8, 8, 7))
    np.testing.assert_array_equal(reader.read(2, 5), FILM[2:5])


def hyperspy_group(file, title, data, axes, *, signal_type="", navigate=(True, False, False)):
    group = file.create_group(f"Experiments/{title}")
    group["data"] = data
    for i, (name, unit, step) in enumerate(axes):
        said = {"name": name, "units": unit, "scale": step, "navigate": navigate[i]}
        group.create_group(f"axis-{i}").attrs.update(said)
    group.create_group("metadata/Signal").attrs["signal_type"] = signal_type


def test_a_movie_beside_what_is_none_is_read_and_the_others_are_named(tmp_path):
    movie = [MOVIE[letter] for letter in "tyx"]
    spectra = [MOVIE["y"], MOVIE["x"], ("Energy", "keV", 0.01)]
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        hyperspy_group(file, "EDS", FILM, spectra, navigate=(True, True, False))
        hyperspy_group(file, "HAADF", FILM, movie)
    reader = open_reader(tmp_path / "a.hspy")
    assert_is_the_film(reader, BOTH)
    assert reader.notes == (
        "dataset '/Experiments/HAADF/data' is read; '/Experiments/EDS/data': no movies",
    )
    with pytest.raises(MovieError, match="a spectrum image"):
        open_reader(tmp_path / "a.hspy", Options(dataset="Experiments/EDS/data"))


@pytest.mark.parametrize(
    ("signal_type", "navigate", "names", "thing"),
    [
        ("EELS", (True, True, False), ("", "", ""), r"a spectrum image \(electron energy loss"),
        ("electron_diffraction", (True, False, False), ("", "", ""), "diffraction patterns"),
        ("", (True, True, False), ("", "", ""), "a spectrum at each place"),
        ("", (True, False, False), ("", "", ""), ""),
        ("", (False, False, False), ("", "", ""), ""),
        ("", (True, True, False), ("x", "y", "time"), ""),
    ],
)
def test_signals_of_hyperspy_say_what_they_are(tmp_path, signal_type, navigate, names, thing):
    frames = FILM
    if "time" in names:
        frames = FILM.transpose(2, 1, 0)
    axes = [(name or "<undefined>", "<undefined>", 1.0) for name in names]
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        hyperspy_group(file, "a", frames, axes, signal_type=signal_type, navigate=navigate)
    if not thing:
        assert_is_the_film(open_reader(tmp_path / "a.hspy"), {})
        return
    with pytest.raises(MovieError, match=f"is no movie but {thing}"):
        open_reader(tmp_path / "a.hspy")


def test_nexus_of_every_age_says_the_order_of_its_axes(tmp_path):
    turned = FILM.transpose(1, 2, 0)
    with h5py.File(tmp_path / "old.nxs", "w") as file:
        data = file.create_group("entry/data")
        data.attrs["NX_class"] = "NXdata"
        data["counts"] = turned
        data["counts"].attrs.update(signal=1, axes="y:x:time")
    with h5py.File(tmp_path / "indices.nxs", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update(NX_class="NXdata", signal="counts", axes=["time"], time_indices=2)
        data["counts"] = turned
        data["time"] = np.arange(7) * 0.5
        data["time"].attrs["units"] = "s"
    assert_is_the_film(open_reader(tmp_path / "old.nxs"), {})
    assert_is_the_film(open_reader(tmp_path / "indices.nxs"), {"frame_time_s": 0.5})
    with h5py.File(tmp_path / "indices.nxs", "r+") as file:
        file["entry/data/counts"].attrs["interpretation"] = "spectrum"
    with pytest.raises(MovieError, match="is no movie but spectra"):
        open_reader(tmp_path / "indices.nxs")


def test_images_of_emd_that_have_texts_are_channels(tmp_path):
    """As py4DSTEM writes the maps of one scan, each with its name."""
    with h5py.File(tmp_path / "a.emd", "w") as file:
        group = file.create_group("root/maps")
        group.attrs["emd_group_type"] = "array"
        group["realslice"] = FILM.transpose(1, 2, 0)
        for i, name in enumerate(("R_x", "R_y")):
            group[f"dim{i}"] = np.arange(FILM.shape[i + 1]) * 0.03
            group[f"dim{i}"].attrs.update(name=name, units="nm")
        group["dim2"] = [f"map {i}" for i in range(7)]
    with pytest.raises(MovieError, match="7 channels; choose one"):
        open_reader(tmp_path / "a.emd")
    chosen = open_reader(tmp_path / "a.emd", Options(channel=3))
    np.testing.assert_array_equal(chosen.read(0, 1)[0], FILM[3].T)


def test_arrays_of_matlab_are_stored_the_other_way_round(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["film"] = FILM.transpose(0, 2, 1)
        file["film"].attrs["MATLAB_class"] = np.bytes_("uint16")
    assert_is_the_film(open_reader(tmp_path / "a.mat"), {})


def test_an_emd_file_of_hyperspy_without_names_has_its_order(tmp_path):
    path = written(tmp_path, "film.emd", [("", "", 1.0)] * 3)
    assert_is_the_film(open_reader(path), {})
    # another program's order is not turned round
    path = written(tmp_path, "film1.emd", [("", "", 1.0)] * 3, order="tyx")
    assert_is_the_film(open_reader(path), {})
