"""Rates per dose: what a change of class costs in electrons, as a cross-section.

If the beam drives a change, its rate per second grows with the dose rate and its rate per electron
does not. Movies of different dose rates then share the cross-section, and
`by="dose_rate_e_per_nm2_s"` shows whether they do.

>>> rows = pd.DataFrame({"movie": "m", "particle": 1, "frame": range(6), "class_id": [0, 0, 1, 1, 0, 0]})
>>> movies = pd.DataFrame({"movie": ["m"], "frame_time_s": [2.0], "dose_rate_e_per_nm2_s": [1e6]})
>>> found = beam_cross_sections(rows, experiment=Experiment(movies))
>>> found.query("from_id == 1 and to_id == 0")[["count", "cross_section_barn"]].round(-2).to_numpy().tolist()
[[0.0, 5400.0]]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from stemkin.kinetics.changes import Transitions, names_of, question_of_changes
from stemkin.kinetics.creation import NM2_IN_BARN
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping
from stemkin.rows.passes import Question, Sums, verb
from stemkin.tables import Experiment, empty
from stemkin.vocabulary import chosen_classes


@verb
def beam_cross_sections(
    tracks: Any,
    *,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return the rates of `transitions` per electron and area: cross-sections. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    by, class_name, class_names, class_ids, confidence
        As in `transitions`.
    experiment, frame_time_s
        Where frame times and dose rates come from; by default from the tracks themselves.

    Returns
    -------
    `movie`, columns of groups, `from_id`, `to_id`, `count`, `cross_section_barn`, `low`, `high`; on
    the diagonal minus that of leaving. The generator is fitted with the dose as its clock, so
    movies of different dose rates and frame times are pooled as they should.

    Raises
    ------
    ValueError
        If a movie has no frame time or no dose rate.
    """
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    grouping = Grouping.of(by, tracks, calibrations)
    changes = question_of_changes(
        grouping,
        calibrations.doses(),
        lags=[1],
        names=names_of(known),
        class_ids=chosen_classes(
            known, class_name=class_name, class_names=class_names, class_ids=class_ids
        ),
        confidence=confidence,
    )

    def in_barn(sums: Sums) -> pd.DataFrame:
        return _in_barn(changes.finish(sums), grouping.columns)

    return Question(changes.add, in_barn)


def _in_barn(found: Transitions, groups: list[str]) -> pd.DataFrame:
    """Return rates per dose [nm²/e] as cross-sections, with the columns of `groups`."""
    rates = {"rate_per_s": "cross_section_barn", "rate_low": "low", "rate_high": "high"}
    kept = found.table[["movie", *groups, "from_id", "to_id", "count", *rates]]
    kept = kept.rename(columns=rates)
    return kept.assign(**{name: kept[name] * NM2_IN_BARN for name in rates.values()})


def no_cross_sections() -> pd.DataFrame:
    """Return the table of `beam_cross_sections` without a row."""
    nothing = Transitions(empty("transitions"), {}, ())
    return _in_barn(nothing, [])
