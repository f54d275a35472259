"""Figures of the report in one's own axes: the same functions draw the page and the notebook."""

import ast
import inspect
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import stemkin as sk
from stemkin import plot, tables
from stemkin.order import histories
from stemkin.plot.palette import DARK, LIGHT
from stemkin.results.store import Block
from stemkin.structures import described, neighbourhood_sums
from tests.test_player import write_film
from tests.test_report import HOSTILE, make_results

mpl.use("Agg")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Results of two movies; one has pictures, tracks, a hole, and atoms around class 2."""
    store = make_results(tmp_path_factory.mktemp("plots"), movies=("film", "other"), n_frames=20)
    write_film(store, "film", 20)
    atoms = np.random.default_rng(0).normal(0.0127, 0.004, (40, 30))
    rows = pd.DataFrame(atoms, columns=list(tables.ATOM_COLUMNS)).assign(class_id=2, d00=0.0)
    for name, table in vars(described(neighbourhood_sums(rows))).items():
        store.write_table(table, "x", f"{name}.parquet")
    seen = pd.DataFrame({"movie": "film", "frame": [0, 1, 2], "time_s": [0.0, 2.0, 4.0], "kind": "hole", "y": 9.0, "x": 9.0,
                         "area_px": [90.0, 140.0, 200.0], "area_nm2": [0.09, 0.14, 0.2], "turn_deg": np.nan, "region": 0})  # fmt: skip
    store.write_block("regions", Block("film", 0, 20), tables.conform(seen, "regions"), "x")
    store.write_table(histories(seen), "x", "phases.parquet")
    time = np.arange(6) * 2.25
    share = np.exp(-time / 20)
    stays = pd.DataFrame({"time_s": time, "n_at_risk": 30, "n_exits": 4, "survival": share, "low": share - 0.1, "high": share + 0.1})  # fmt: skip
    stays = stays.assign(movie=tables.POOLED, class_id=2)
    store.write_table(tables.conform(stays, "survival"), "x", "survival.parquet")
    return store


@pytest.fixture(scope="module")
def results(store):
    return sk.open_results(store.root)


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


LABELS = {
    "populations": ("time (s)", "defects per frame"),
    "order": ("time (s)", "share of the area (%)"),
    "survival": ("time in the class (s)", "share still there"),
    "msd": ("lag time (s)", "mean squared displacement (nm²)"),
    "drift": ("time (s)", "shift (nm)"),
    "statuses": ("time (s)", ""),
    "frame": ("x (nm)", "y (nm)"),
    "regions": ("time (s)", "area (nm²)"),
    "likeness": ("class", "distance"),
    "training": ("epoch", "loss"),
    "occupancy": ("x (nm)", "y (nm)"),
    "states": ("", ""),
    "broom": ("", ""),
    "structure": ("", ""),
    "mode": ("", ""),
}
WANTS = {"occupancy": ("V_S",), "structure": ("V_S",), "mode": ("V_S",)}


@pytest.mark.parametrize("name", LABELS)
def test_every_figure_of_the_report_is_drawn_by_its_name_with_units(results, name):
    figure = pyplot.figure()
    axes = figure.add_subplot()
    words = WANTS.get(name, ())
    assert getattr(results.plot, name)(*words, axes=axes) is axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == LABELS[name]
    assert axes.has_data()
    figure.savefig("/dev/null", format="png")
    assert isinstance(getattr(results.plot, name)(*words), Axes), "new ones are made"


def test_what_was_not_measured_is_one_sentence(results, tmp_path):
    for name in ("signature", "noise"):
        with pytest.raises(ValueError, match="learned no look of a missing atom"):
            getattr(results.plot, name)()
    empty = sk.open_results(make_results(tmp_path / "bare", movies=("only",), n_frames=6).root)
    for name in ("survival", "regions", "broom", "frame"):
        with pytest.raises(ValueError, match=r"there is no|no movie|no hole|no rows"):
            getattr(empty.plot, name)()
    with pytest.raises(ValueError, match=r"no class is called 'V_X'.*'V_S2'"):
        results.plot.structure("V_X")
    with pytest.raises(ValueError, match=r"no movie 'other' to show; name one of \['film'\]"):
        results.plot.broom(movie="other")


def test_the_report_draws_every_figure_by_a_function_of_plot():
    """Nothing is drawn twice in two ways: report/figures.py calls plot and no method of axes."""
    path = Path(inspect.getfile(plot)).parents[1] / "report" / "figures.py"
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    drawing = {name for name in plot.__all__ if name.startswith("draw_")}
    elsewhere = {"draw_frame", "draw_shapes"}  # micrographs of the page; of the verb `complexes`
    assert drawing - elsewhere <= calls
    assert not calls & {"plot", "scatter", "fill_between", "imshow", "errorbar", "add_patch", "bar"}
    assert "stemkin.report" not in "".join(
        p.read_text() for p in Path(inspect.getfile(plot)).parent.glob("*.py")
    )


def test_classes_have_the_colours_of_the_ground_that_they_are_drawn_on(results):
    def colours(axes):
        return {line.get_color() for line in axes.lines}

    assert colours(results.plot.populations()) == set(LIGHT[:4])
    with pyplot.style.context("dark_background"):
        assert colours(results.plot.populations()) == set(DARK[:4])
    before = dict(mpl.rcParams)
    results.plot.msd()
    assert dict(mpl.rcParams) == before, "Matplotlib's settings are left as they were"


def test_a_legend_bears_names_as_text_and_only_where_they_are_given(store):
    rows = sk.read_table(store.root, "msd")
    assert plot.draw_msd(None, rows).get_legend() is None
    axes = plot.draw_msd(None, rows, classes={0: HOSTILE, 1: "$x^", 2: "空"})
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [HOSTILE[:24], "$x^", "?"]
    axes.figure.savefig("/dev/null", format="png")


def test_shifts_without_calibration_are_in_pixels_and_time_in_frames(store):
    rows = store.read_movie("frames", "film").assign(time_s=np.nan)
    axes = plot.draw_drift(None, rows)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frame", "shift (px)")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), rows["shift_x"])


def test_results_write_their_report_again(store, results):
    assert results.report() == store.path("report.html")
    assert b"stemkin" in store.read_bytes("report.html")
    assert repr(results.plot).startswith(f"figures of {store.root}: broom, drift, frame")
