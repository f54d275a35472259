"""Kinetics: how many defects of each class there are, how long they stay, and into what they turn.

    tracks ──▶ transitions   counts, probabilities P, rates Q         ──▶ which class becomes which, how fast
           ├─▶ dwell_times   exits over time at risk                  ──▶ how long a class lasts
           └─▶ populations   numbers per class, movie and frame       ──▶ what there is

Counts are pooled over tracks and divided once. Only pairs of rows of the *same track* count, a missing frame is a gap
and never a step, and a state that was never left has no probabilities rather than invented ones.

>>> rows = pd.DataFrame({"particle": [1] * 5, "frame": range(5), "class_id": [0, 0, 1, 1, 0]})
>>> found = transitions(rows, frame_time_s=2.0)
>>> found.counts.to_numpy().tolist()
[[1, 1], [1, 1]]

Known traps. (1) A few per cent of wrong names look like fast switching: see `hidden_transitions`. (2) A class that
switches faster than the frames follow shows P near the shares of the classes, and no rate can be read from it: its
interval says so. (3) Probabilities belong to a frame time; movies with other frame times share rates, not probabilities.
"""

import pandas as pd  # noqa: F401 - for the example above

from stemkin.kinetics.creation import cross_section
from stemkin.kinetics.dwelling import dwell_times
from stemkin.kinetics.hidden import hidden_transitions
from stemkin.kinetics.judging import chapman_kolmogorov, connected, implied_timescales, reversibility, stationary
from stemkin.kinetics.numbers import populations
from stemkin.kinetics.switching import Transitions, transitions

__all__ = [
    "Transitions",
    "chapman_kolmogorov",
    "connected",
    "cross_section",
    "dwell_times",
    "hidden_transitions",
    "implied_timescales",
    "populations",
    "reversibility",
    "stationary",
    "transitions",
]
