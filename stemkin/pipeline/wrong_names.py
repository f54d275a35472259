"""Whether the names of a run can be trusted, and its rates with naming errors taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from stemkin import tables
from stemkin.kinetics import name_errors
from stemkin.pipeline.confusion import Confusion
from stemkin.pipeline.questions import Asking

LEAST_SEEN = 20
"""Classes with fewer detections in the whole run say nothing of rates: for the correction of names
their rows are not looked at."""


def names_tested(
    timed: Callable[[], Any], classes: pd.DataFrame, confusion: Confusion, asking: Asking
) -> dict[str, pd.DataFrame]:
    """Return the tables ``hidden_transitions`` and ``name_errors``. Computes once.

    Parameters
    ----------
    timed
        Makes the rows of whole tracks of the movies whose frame time is known.
    classes
        Table ``classes`` with the numbers of detections of this run: those seen often enough are
        corrected.
    confusion
        How often names are wrong.
    asking
        What the run asks.
    """
    seen = classes.loc[classes["n_detections"] >= LEAST_SEEN, "class_id"].astype(int).tolist()
    names = ("hidden_transitions", "name_errors")
    if not asking.settings.correct_names or len(seen) < 2:
        return {name: tables.empty(name) for name in names}
    words: dict[str, Any] = confusion.among(seen) | asking.words
    found = name_errors(timed(), class_ids=seen, **words)
    return dict(zip(names, (found.hidden, found.table), strict=True))
