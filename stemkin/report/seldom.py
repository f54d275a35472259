"""Classes that were seen a handful of times among thousands of detections.

One detection of ten thousand may well be a wrong name; its probabilities of "0 to 0.85" and its
rate "0 to 14" say nothing, and take a row of every table and a colour of every figure. The report
says how often such a class was seen, and leaves its numbers to the tables of the results folder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from stemkin.tables import NOT_NAMED

FEWEST = 5
"""Classes with fewer detections than this may be left out of the report,"""
LEAST_SHARE = 1e-3
"""if they are fewer than this share of all that were named."""
OF_CLASSES = ("class_id", "from_id", "to_id")
"""Columns that tell which class a row is of."""


def seldom_seen(classes: pd.DataFrame) -> dict[int, int]:
    """Return how often those classes of a table ``classes`` were seen that were hardly seen.

    Examples
    --------
    >>> seldom_seen(pd.DataFrame({"class_id": [0, 1, 2], "n_detections": [9000, 1, 0]}))
    {1: 1}
    """
    named = classes[classes["class_id"] != NOT_NAMED]
    n = named["n_detections"]
    own = named[(n > 0) & (n < FEWEST) & (n < LEAST_SHARE * n.sum())]
    return dict(zip(own["class_id"].astype(int), own["n_detections"].astype(int), strict=True))


def without_classes(
    found: Mapping[str, pd.DataFrame], ids: Collection[int]
) -> dict[str, pd.DataFrame]:
    """Return tables without the rows of some classes; the table ``classes`` itself stays whole."""
    return {
        name: rows if name == "classes" else _without(rows, ids) for name, rows in found.items()
    }


def _without(rows: pd.DataFrame, ids: Collection[int]) -> pd.DataFrame:
    for column in set(OF_CLASSES) & set(rows.columns):
        rows = rows[~rows[column].isin(ids)]
    return rows
