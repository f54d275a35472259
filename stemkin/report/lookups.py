"""What several parts of the report look up: names of classes, null controls, single rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.plot import summaries
from stemkin.plot.palette import marker_of, role_of
from stemkin.report import quantities
from stemkin.report.intervals import Row
from stemkin.report.results import Results
from stemkin.report.words import Quantity, class_label

ERRORS_WORDS = {
    "none": "names as they are",
    "independent": "names corrected",
    "lasting": "corrected, wrong names last",
}
"""How wrong names were taken, in words."""


def label_of(results: Results, class_id: int) -> Markup:
    """Return the name of a class as HTML."""
    return class_label(results.name_of(class_id))


def change_label(results: Results, row: pd.Series) -> Markup:
    """Return the change of class of a row of ``transitions`` as HTML."""
    source, target = (label_of(results, int(row[column])) for column in ("from_id", "to_id"))
    return Markup("{} → {}").format(source, target)


def legend(results: Results, class_ids: list[int]) -> list[dict[str, Any]]:
    """Return what stands for each class in a figure."""
    return [_entry(results, class_id) for class_id in class_ids]


def _entry(results: Results, class_id: int) -> dict[str, Any]:
    return {
        "role": role_of(class_id),
        "mark": marker_of(class_id),
        "label": label_of(results, class_id),
    }


def first_row(rows: pd.DataFrame | None, **values: Any) -> pd.Series | None:
    """Return the first of `rows` with these values, None where there is none."""
    if rows is None:
        return None
    same = np.ones(len(rows), dtype=bool)
    for column, value in values.items():
        same &= rows[column].to_numpy() == value
    found = np.flatnonzero(same)
    if not len(found):
        return None
    return rows.iloc[int(found[0])]


def interval_row(
    results: Results,
    class_id: int,
    quantity: Quantity,
    null: Quantity | None = None,
    cells: tuple[str, ...] = (),
    *,
    label: Markup | None = None,
    below: str = "",
) -> Row:
    """Return the row of a class in an interval table.

    Parameters
    ----------
    results
        Where names are looked up.
    class_id
        Decides colour and mark.
    quantity, null, cells, below
        As in `Row`.
    label
        The class's name unless said.
    """
    if label is None:
        label = label_of(results, class_id)
    return Row(label, role_of(class_id), marker_of(class_id), quantity, null, cells, below)


def null_diffusion(results: Results, movie: str, class_id: int, method: str) -> Quantity | None:
    """Return D of the null control, None where there is none."""
    nulls = results.nulls.get("diffusion")
    row = first_row(nulls, movie=movie, class_id=class_id, method=method)
    if row is None or not math.isfinite(row["D_nm2_per_s"]):
        return None
    return quantities.diffusion_quantity(row)


def null_hops(results: Results, movie: str, class_id: int) -> Quantity | None:
    """Return the hop rate of the null control, None where there is none."""
    row = first_row(results.nulls.get("hop_rates"), movie=movie, class_id=class_id)
    if row is None:
        return None
    return quantities.hop_quantity(row)


def null_dwell(results: Results, movie: str, class_id: int) -> Quantity | None:
    """Return the mean dwell time of the null control, None where there is none."""
    row = first_row(results.nulls.get("dwell_times"), movie=movie, class_id=class_id)
    if row is None:
        return None
    return quantities.dwell_quantity(row)


def null_rate(results: Results, row: pd.Series) -> Quantity | None:
    """Return the null control's rate of the change of class of `row`, None where there is none."""
    same = {key: row[key] for key in ("movie", "lag_frames", "from_id", "to_id")}
    return _known_rate(first_row(results.nulls.get("transitions"), **same))


def corrected_rate(results: Results, row: pd.Series) -> Quantity | None:
    """Return the rate of a change of class with naming errors taken out, None where not known.

    They are taken out in the way that the names speak for.
    """
    return _known_rate(summaries.corrected_row(results.found["hidden_transitions"], row))


def corrected_rates(results: Results, row: pd.Series) -> list[tuple[str, Quantity]]:
    """Return the rate of a change of class with naming errors taken out in every way.

    Before each stands how wrong names were taken; the way that the names speak for comes first.
    """
    found = []
    for recommended in (True, False):
        same = _same(row) | {"recommended": recommended}
        own = first_row(results.found["hidden_transitions"], **same)
        rate = _known_rate(own)
        if own is not None and rate is not None:
            found.append((ERRORS_WORDS[str(own["errors"])], rate))
    return found


def _same(row: pd.Series) -> dict[str, Any]:
    return {key: row[key] for key in ("movie", "from_id", "to_id")}


def _known_rate(row: pd.Series | None) -> Quantity | None:
    if row is None or not math.isfinite(row["rate_per_s"]):
        return None
    return quantities.rate_quantity(row)


def sentence(clause: str) -> str:
    """Return a clause as a sentence.

    >>> sentence("nothing was named")
    'Nothing was named.'
    """
    return clause[:1].upper() + clause[1:].rstrip(".") + "."
