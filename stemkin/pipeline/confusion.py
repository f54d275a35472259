"""How often the names of a run are wrong: as measured with the model, or as they say themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin.rows.passes import Question, Sums
from stemkin.tables import NOT_NAMED

PRIOR_ROWS = 0.5
"""Rows that are added to each entry of a confusion matrix."""

UNITS = 2**20
"""Probabilities are added as whole numbers of 2^-20, in any order to the same bit."""


@dataclass(frozen=True)
class Confusion:
    """How often names are wrong.

    Attributes
    ----------
    measured
        (k, k) probability that class i (row) is named j, for classes 0 to k - 1, from the model's
        record; None where only the classifier itself says how sure it is.
    n_classes
        Number of classes of the model.
    n_measured
        (k,) on how many defects of each class it was measured; None where it was not.
    """

    measured: np.ndarray | None
    n_classes: int
    n_measured: np.ndarray | None = None

    def question(self) -> Question[np.ndarray | None]:
        """Return the question of the (k, k) confusion matrix for all classes.

        Its answer is the measured matrix, or what the probabilities of the names say; None below
        two classes.
        """
        if self.measured is not None or self.n_classes < 2:
            return Question((), lambda: self.measured)
        return Question(add_sureness, self._as_sure)

    def _as_sure(self, sums: Sums) -> np.ndarray:
        """Return the matrix whose diagonal is the mean sureness, with equal shares beside it."""
        # Sums are whole numbers of `UNITS`, so their order does not matter. What a class is sure of
        # stands on the diagonal; the rest is shared evenly, so every row adds up to 1.
        matrix = np.eye(self.n_classes)
        for i in range(self.n_classes):
            sure, n = sums.get(i, (0, 0))
            if n:
                matrix[i] = (1 - sure / n / UNITS) / (self.n_classes - 1)
                matrix[i, i] = sure / n / UNITS
        return matrix

    def among(self, class_ids: list[int]) -> dict[str, np.ndarray | None]:
        """Return what is known of some classes alone, as keywords of `stemkin.name_errors`.

        The rows of the matrix add up to 1; None where none was measured.
        """
        if self.measured is None or self.n_measured is None:
            return {"confusion": None, "n_measured": None}
        errors = self.measured[np.ix_(class_ids, class_ids)]
        share = errors.sum(axis=1, keepdims=True)
        of_these = np.maximum(self.n_measured[class_ids] * share[:, 0], PRIOR_ROWS)
        return {"confusion": np.asarray(errors / share), "n_measured": of_these}


def add_sureness(rows: pd.DataFrame) -> Sums:
    """Return class → (2,) sum of the probabilities of its names in `UNITS`, and rows.

    Parameters
    ----------
    rows
        Of ``detections``: at least ``class_id`` and ``probability``.
    """
    named = rows[rows["class_id"] != NOT_NAMED]
    units = np.rint(named["probability"].fillna(1.0).clip(0, 1) * UNITS).astype(np.int64)
    both = units.groupby(named["class_id"]).agg(["sum", "size"])
    return {int(i): np.array([total, n]) for i, total, n in both.itertuples()}


def confusion_of(report: Mapping[str, Any], classes: pd.DataFrame) -> Confusion:
    """Return the confusion that a model's record holds, if it speaks of every class that was seen.

    Parameters
    ----------
    report
        The model's record (see `learning.with_confusion`).
    classes
        Table ``classes`` with the numbers of detections of this run.
    """
    names, n = classes["name"].tolist(), len(classes)
    record = report.get("confusion")
    if not isinstance(record, Mapping) or n < 2:
        return Confusion(None, n)
    counts = pd.DataFrame(record["counts"], record["true"], record["found"])
    counts = counts.reindex(columns=names, fill_value=0)
    seen = classes.loc[classes["n_detections"] > 0, "name"]
    if not set(seen) <= set(counts.index[counts.sum(axis=1) > 0]):
        return Confusion(None, n)
    own = counts.reindex(index=names, fill_value=0).to_numpy(float) + PRIOR_ROWS / n
    rows = own.sum(axis=1, keepdims=True)
    return Confusion(own / rows, n, rows[:, 0])
