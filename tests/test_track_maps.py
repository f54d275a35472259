"""Figures of tracks in space and time, and the graph of states, by hand."""

import numpy as np
import pandas as pd
import pytest

from stemkin.plot.canvas import HALF, drawn_name
from stemkin.plot.places import _pieces, _shares
from stemkin.report.canvas import as_markup, new_figure, stand_ins
from stemkin.report.figures import broom_figure, occupancy_figure, states_figure
from tests.test_report import HOSTILE


def test_steps_of_a_walk_are_one_line_with_breaks_by_hand():
    walk, nothing = np.arange(5.0), np.nan
    own = np.array([True, True, False, True])
    assert np.array_equal(_pieces(walk, own), [0, 1, 2, nothing, 3, 4, nothing], equal_nan=True)
    assert _pieces(walk, np.zeros(4, bool)).tolist() == []


def test_shares_of_places_by_hand():
    rows = pd.DataFrame({"y": [0.1, 0.9, 1.2, 0.2], "x": [0.2, 0.3, 0.2, 2.7]})
    shares = _shares(rows, 1.0, 4)
    assert shares.to_numpy().tolist() == [[0, 0, 0.5], [0, 2, 0.25], [1, 0, 0.25]]


def test_one_defect_in_one_frame_and_frames_without_times_are_drawn():
    row = pd.DataFrame({"particle": [0], "frame": [0], "class_id": [-1], "y": [1.0], "x": [2.0]})
    size = {"size": (4.0, 6.0), "unit": "px", "n_frames": 1}
    broom = broom_figure(row, frame_time_s=np.nan, name="broom", **size)
    assert "x, 6 px" in broom
    assert ">0 frame<" in broom
    assert "fullest: 100 % of frames" in occupancy_figure(row, [-1], name="map", **size)


def test_the_graph_writes_each_rate_with_its_interval():
    edges = pd.DataFrame(
        [(0, 1, 0.01234, 0.00456, 0.0219), (1, 0, np.inf, 0.5, np.inf)],
        columns=["from_id", "to_id", "rate_per_s", "rate_low", "rate_high"],
    )
    drawn = states_figure(edges, {0: "V_S", 1: "V_S2"})
    for said in (">0.012/s<", ">0.0046 – 0.022<", ">V_S<", ">∞/s<"):
        assert said in drawn


def test_a_hostile_name_in_the_graph_is_short_text():
    edges = pd.DataFrame(
        [(0, 1, 1.0, 0.5, 2.0)], columns=["from_id", "to_id", "rate_per_s", "rate_low", "rate_high"]
    )
    drawn = states_figure(edges, {0: HOSTILE, 1: "V"})
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
    assert drawn_name("\udcff空") == "??"


@pytest.mark.parametrize("text", ["0.12345", "0.0079 – 0.0151"])
def test_numbers_that_are_read_keep_their_digits(text):
    with stand_ins():
        figure = new_figure(HALF)
        figure.text(0.5, 0.5, text)
        assert f">{text}<" in as_markup(figure, "digits", "says")
