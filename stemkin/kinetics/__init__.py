"""Kinetics: how many defects of each class there are, how long they stay, and into what they turn.

    tracks ──▶ transitions         counts, probabilities P, rates Q   ──▶ what becomes what, how fast
           ├─▶ hidden_transitions  the same behind names that may be wrong
           ├─▶ name_errors         how often names are wrong, and whether wrong ones last
           ├─▶ orientations        {alone, @0, @1, @2}: attachment, detachment, rotation
           ├─▶ complexes           atoms that stay together, and the shapes that they take
           ├─▶ dwell_times         rates of leaving                   ──▶ how long a class lasts
           ├─▶ survival            Kaplan-Meier curves of the stays   ──▶ does age matter for leaving
           ├─▶ populations         numbers per class, movie and frame ──▶ what there is
           ├─▶ abundances          mean numbers, corrected for missed and false ones
           └─▶ creation            vacancies made per site and dose   ──▶ cross-section in barn

Every verb counts for all movies together, for each movie, for bins of time or dose, or for any
column: ``by="movie"``, ``by=Bins(60, "s")``, ``by=["movie", Bins(5e8, "e_per_nm2")]``,
``by="temperature_K"``.

Counts are pooled over tracks and divided once. Only pairs of rows of the *same track* count, a
missing frame is a gap and never a step, and a state that was never left has no probabilities rather
than invented ones.

>>> rows = pd.DataFrame({"particle": [1] * 5, "frame": range(5), "class_id": [0, 0, 1, 1, 0]})
>>> found = transitions(rows, frame_time_s=2.0)
>>> found.counts.to_numpy().tolist()
[[1, 1], [1, 1]]

Known traps. (1) A few per cent of wrong names look like fast switching: see `hidden_transitions`.
(2) A class that switches faster than the frames follow shows P near the shares of the classes, and
no rate can be read from it: its interval says so. (3) Probabilities belong to a frame time; movies
with other frame times share rates, not probabilities.
"""

import pandas as pd  # noqa: F401 - for the example above

from stemkin.kinetics.abundance import abundances
from stemkin.kinetics.chain import (
    chain_states,
    chapman_kolmogorov,
    connected,
    implied_timescales,
    reversibility,
    stationary,
)
from stemkin.kinetics.changes import Transitions, transitions
from stemkin.kinetics.complexes import Complexes, complexes
from stemkin.kinetics.creation import creation, cross_section
from stemkin.kinetics.dose import beam_cross_sections
from stemkin.kinetics.hidden_states import NameErrors, hidden_transitions, name_errors
from stemkin.kinetics.numbers import populations
from stemkin.kinetics.orientations import OrientationChain, orientations
from stemkin.kinetics.residence import dwell_times, survival
from stemkin.rows.groups import Bins

__all__ = [
    "Bins",
    "Complexes",
    "NameErrors",
    "OrientationChain",
    "Transitions",
    "abundances",
    "beam_cross_sections",
    "chain_states",
    "chapman_kolmogorov",
    "complexes",
    "connected",
    "creation",
    "cross_section",
    "dwell_times",
    "hidden_transitions",
    "implied_timescales",
    "name_errors",
    "orientations",
    "populations",
    "reversibility",
    "stationary",
    "survival",
    "transitions",
]
