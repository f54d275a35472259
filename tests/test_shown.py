"""What people see of a movie, an archive and results in Python; parts of movies; xarray."""

import base64
import io
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import stemkin as sk
from stemkin import plot, tables
from stemkin.model import Model
from stemkin.results.store import Store

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def movie():
    frames = np.arange(10 * 6 * 8, dtype=np.uint16).reshape(10, 6, 8)
    return sk.Movie.from_array(
        frames, name="tiny", pixel_size_nm=0.03, frame_time_s=2.0, exposure_fraction=0.5
    )


def test_a_line_says_what_a_movie_is(movie):
    assert repr(movie) == (
        "Movie 'tiny': 10 frames of 6 x 8 px (uint16, 0 MiB), pixel 0.03 nm, frame time 2 s, "
        "dose rate unknown"
    )


def test_a_notebook_shows_a_frame_and_where_each_number_comes_from(movie):
    page = movie._repr_html_()
    assert "<td>0.03 nm (from argument)</td>" in page
    data = page.split("base64,")[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (8, 6)
    hostile = sk.Movie.from_array(np.zeros((2, 4, 4)), name=HOSTILE)
    assert "<script>" not in hostile._repr_html_()
    # what cannot be read is said, and all else is shown
    gone = sk.Movie(FailingReader(movie.reader.array), "gone", movie.calibration)
    page = gone._repr_html_()
    assert "no frame can be shown: the disk is gone" in page
    assert "frame time" in page


class FailingReader(type(sk.Movie.from_array(np.zeros((2, 4, 4))).reader)):
    def read(self, start, stop):
        raise OSError("the disk is gone")


def test_a_notebook_shows_an_archive_and_what_did_not_open(movie):
    many = sk.Archive(tuple(movie for _ in range(12)), ((HOSTILE, "it is <b>empty"),))
    assert repr(many) == "Archive of 12 movies, 120 frames; 1 sources that are none"
    page = many._repr_html_()
    assert page.count("<td>tiny</td>") == 10
    assert "and 2 more" in page
    assert "it is &lt;b&gt;empty" in page
    assert "<script>" not in page


def test_a_notebook_shows_the_classes_of_a_model_with_their_mean_images():
    rows = tables.conform(
        {"class_id": [0, 1], "name": ["V_S", HOSTILE], "n_detections": [1200, 3],
         "mean_patch": [np.eye(3).tolist(), np.zeros((3, 3)).tolist()]}, "classes")  # fmt: skip
    model = Model(sk.FourierDetector(), None, None, rows, np.ones((1, 1)), np.zeros(2, bool))
    assert repr(model) == f"Model: FourierDetector, 2 classes (V_S, {HOSTILE})"
    page = model._repr_html_()
    assert "<td>1,200</td>" in page
    assert page.count("<img") == 1, "an image on which there is nothing to see is not shown"
    assert "<script>" not in page


def test_there_and_back_through_hyperspy_keeps_pixels_and_calibration(movie):
    pytest.importorskip("hyperspy.api")
    signal = movie.to_hyperspy()
    assert signal._lazy, "nothing is computed"
    assert (signal.axes_manager.navigation_shape, signal.axes_manager.signal_shape) == ((10,), (8, 6))  # fmt: skip
    assert [a.units for a in signal.axes_manager._axes] == ["s", "nm", "nm"]
    back = sk.Movie.from_hyperspy(signal)
    np.testing.assert_array_equal(back.frames.compute(), movie.frames.compute())
    assert (back.name, back.pixel_size_nm, back.frame_time_s) == ("tiny", 0.03, 2.0)
    assert back.calibration.origin["pixel_size_nm"].startswith("HyperSpy axis")


class Signal:
    """What stemkin asks of a HyperSpy signal."""

    def __init__(self, data, axes, kind=""):
        self.data, self.axes, self._signal_type = data, axes, kind
        self.axes_manager = self
        general = type("General", (), {"title": "film"})
        self.metadata = type("Metadata", (), {"General": general})

    def as_dictionary(self):
        return {f"axis-{i}": axis for i, axis in enumerate(self.axes)}


def axis(scale=1.0, units=None, *, navigate=False, **said):
    return {"name": None, "scale": scale, "units": units, "navigate": navigate} | said


def test_a_signal_whose_navigation_has_no_name_is_a_movie_in_time(movie):
    frames = movie.frames.compute()
    axes = [axis(navigate=True, units="ms", scale=500.0), axis(0.3, "Å"), axis(0.3, "Å")]
    read = sk.Movie.from_hyperspy(Signal(frames, axes))
    assert (read.name, read.shape) == ("film", (10, 6, 8))
    assert read.frame_time_s == pytest.approx(0.5)
    assert read.pixel_size_nm == pytest.approx(0.03)
    np.testing.assert_array_equal(read[2:4].frames.compute(), frames[2:4])


def test_a_signal_that_is_no_movie_is_one_sentence(movie):
    frames = movie.frames.compute()
    three = [axis(navigate=True), axis(), axis()]
    uneven = {"name": "time", "navigate": True, "axis": [0, 1, 4]}
    for signal, said in (
        (frames, "but this is a ndarray"),
        (Signal(frames, [uneven, *three[1:]]), "'time' of the HyperSpy signal does not grow"),
        (Signal(frames, three, "EELS"), "is no movie but a spectrum image"),
        (Signal(frames, [axis(navigate=True), axis(navigate=True), axis()]), "its signal has one axis"),
        (Signal(frames, [axis(navigate=True), axis(0.1, "nm"), axis(0.2, "nm")]), "nm"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            sk.Movie.from_hyperspy(signal)


def test_a_movie_is_counted_and_cut_like_a_list(movie):
    assert len(movie) == 10
    whole = movie.frames.compute()
    np.testing.assert_array_equal(movie[3], whole[3])
    np.testing.assert_array_equal(movie[-1], whole[9])
    part = movie[2:7]
    assert (len(part), part.frame_time_s, part.exposure_fraction) == (5, 2.0, 0.5)
    np.testing.assert_array_equal(part.frames.compute(), whole[2:7])
    np.testing.assert_array_equal(part[1:3].frames.compute(), whole[3:5])
    third = movie[1::3]
    assert (len(third), third.frame_time_s) == (3, 6.0)
    assert third.exposure_fraction == pytest.approx(0.5 / 3)
    np.testing.assert_array_equal(third.frames.compute(), whole[1::3])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(third))[2], whole[7])
    assert len({movie.reader.identity, part.reader.identity, third.reader.identity}) == 3


@pytest.mark.parametrize("cut", [slice(5, 5), slice(7, 2), slice(None, None, -1), slice(20, 30)])
def test_a_part_without_frames_in_order_is_refused(movie, cut):
    with pytest.raises(ValueError, match="holds no frame in the order of time"):
        movie[cut]


def test_a_frame_that_is_not_there_is_one_sentence(movie):
    for number in (10, -11):
        with pytest.raises(IndexError, match=f"has frames 0 to 9, and no frame {number}"):
            movie[number]


def test_a_part_is_searched_as_the_frames_alone_would_be():
    long = sk.simulate_movie("paper", n_frames=6, shape=(96, 96), seed=3)
    detector = sk.FourierDetector()
    part = sk.detect(long[2:5], detector).compute()
    alone = sk.Movie.from_array(long.reader.read(2, 5), name=long.name, pixel_size_nm=long.pixel_size_nm, frame_time_s=long.frame_time_s)  # fmt: skip
    pd.testing.assert_frame_equal(part, sk.detect(alone, detector).compute())


def test_there_and_back_through_xarray_keeps_pixels_and_calibration(movie):
    xarray = pytest.importorskip("xarray")
    array = movie.to_xarray()
    assert array.dims == ("t", "y", "x")
    assert array.chunks is not None, "nothing is computed"
    assert array.coords["y"].attrs["units"] == "nm"
    back = sk.Movie.from_xarray(array)
    np.testing.assert_array_equal(back.frames.compute(), movie.frames.compute())
    assert back.calibration == movie.calibration
    assert back.name == "tiny"
    plain = sk.Movie.from_xarray(xarray.DataArray(np.zeros((3, 4, 4)), dims=("t", "y", "x")))
    assert (plain.pixel_size_nm, plain.frame_time_s) == (None, None)
    microns = array.assign_coords(y=("y", np.arange(6) * 3e-5, {"units": "um"}), x=("x", np.arange(8) * 3e-5, {"units": "µm"}))  # fmt: skip
    assert sk.Movie.from_xarray(microns).pixel_size_nm == pytest.approx(0.03)


def test_an_array_that_is_no_movie_is_one_sentence(movie):
    xarray = pytest.importorskip("xarray")
    with pytest.raises(ValueError, match="three dimensions"):
        sk.Movie.from_xarray(xarray.DataArray(np.zeros((3, 4))))
    with pytest.raises(ValueError, match="three dimensions"):
        sk.Movie.from_xarray(np.zeros((3, 4, 4)))
    array = movie.to_xarray()
    uneven = array.assign_coords(t=("t", np.arange(10.0) ** 2, {"units": "s"}))
    with pytest.raises(ValueError, match="'t' does not grow in equal steps"):
        sk.Movie.from_xarray(uneven)
    wide = array.assign_coords(x=("x", np.arange(8) * 0.05, {"units": "nm"}))
    with pytest.raises(ValueError, match=r"0\.03 nm high and 0\.05 nm wide"):
        sk.Movie.from_xarray(wide)


def test_a_frame_is_drawn_with_what_was_found_in_it(movie):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    rows = pd.DataFrame(
        {
            "movie": ["tiny", "tiny", "tiny", "other"],
            "frame": [0, 1, 2, 1],
            "particle": [1, 1, 1, 2],
            "y": [1.0, 2.0, 3.0, 0.0],
            "x": [1.0, 1.0, 2.0, 0.0],
            "class_id": [0, 0, 1, 0],
        }
    )
    axes = movie.plot(1, detections=rows, tracks=rows)
    (ring,) = axes.collections
    np.testing.assert_allclose(ring.get_offsets(), [[0.03, 0.06]])
    (way,) = axes.lines
    assert len(way.get_xdata()) == 2, "the way so far, of this movie alone"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == (
        "x (nm)",
        "y (nm)",
        "frame 1",
    )
    own = pyplot.figure().add_subplot()
    assert plot.draw_frame(own, np.full((4, 4), np.nan)) is own
    assert own.get_xlabel() == "x (px)"
    pyplot.close("all")


def test_a_frame_says_which_colour_is_which_class():
    places = {"frame": 0, "y": [1.0, 2.0], "x": [1.0, 2.0], "class_id": [3, 0]}
    found = pd.DataFrame(places)
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ground = np.arange(16.0).reshape(4, 4)
    legend = plot.draw_frame(
        None, ground, detections=found, classes={0: "V_S", 3: "Mo_W"}
    ).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["V_S", "Mo_W"]
    assert plot.draw_frame(None, ground, detections=found).get_legend() is None
    pyplot.close("all")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    frames = np.random.default_rng(0).poisson(100, (4, 64, 64)).astype(np.uint16)
    np.save(out.parent / "noise.npy", frames)
    config = sk.RunConfig().with_values(
        calibration={"pixel_size_nm": 0.03, "frame_time_s": 2.25},
        kinetics={"self_check_runs": 0, "null_controls": False},
    )
    sk.run(out.parent / "noise.npy", out, config=config, until="kinetics")
    return sk.open_results(out)


def test_results_have_their_tables_as_attributes(results):
    assert results.frames.compute()["frame"].tolist() == [0, 1, 2, 3]
    assert len(results.tracks.compute()) == len(results.detections.compute())
    pd.testing.assert_frame_equal(results.transitions, sk.read_table(results, "transitions"))
    assert {"transitions", "diffusion", "tracks"} <= set(dir(results))
    assert repr(results).startswith(f"Results in {results.store.root}: 1 movies")
    assert "noise" in results._repr_html_()
    with pytest.raises(AttributeError, match="have no 'transition'; tables"):
        results.transition  # noqa: B018
    assert pickle.loads(pickle.dumps(results)).store == Store.at(results.store.root)
