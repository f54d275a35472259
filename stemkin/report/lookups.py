"""What several parts of the report look up: names of classes, null controls, single rows."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.report import summaries
from stemkin.report.intervals import Row
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results
from stemkin.report.words import Quantity, class_label
from stemkin.tables import NOT_NAMED


def label_of(results: Results, class_id: int) -> Markup:
    """Return the name of a class as HTML."""
    return class_label(
        results.class_names.get(
            class_id, "not named" if class_id == NOT_NAMED else f"class {class_id}"
        )
    )


def legend(results: Results, class_ids: list[int]) -> list[dict[str, Any]]:
    """Return what stands for each class in a figure."""
    return [
        {"role": role_of(i), "mark": mark_of(i), "label": label_of(results, i)} for i in class_ids
    ]


def ordered(class_ids: pd.Series) -> list[int]:
    """Return the class numbers once each, not-named last, or only where nothing is named."""
    ids = sorted({int(i) for i in class_ids}, key=lambda i: (i == NOT_NAMED, i))
    return ids if ids == [NOT_NAMED] else [i for i in ids if i != NOT_NAMED]


def one(rows: pd.DataFrame | None, **values: Any) -> pd.Series | None:
    """Return the first of `rows` with these values, None where there is none."""
    if rows is None:
        return None
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows.iloc[0] if len(rows) else None


def shortest_lag(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``transitions`` at the shortest lag."""
    return rows[rows["lag_frames"] == rows["lag_frames"].min()] if len(rows) else rows


def interval_row(
    results: Results,
    class_id: int,
    quantity: Quantity,
    null: Quantity | None,
    cells: tuple[str, ...],
) -> Row:
    """Return the row of a class in an interval table."""
    return Row(
        label_of(results, class_id), role_of(class_id), mark_of(class_id), quantity, null, cells
    )


def is_gaussian(results: Results, movie: str, class_id: int) -> bool:
    """Tell whether displacements may be taken for Gaussian; where that was not tested, they are."""
    tested = one(results.found["gaussianity"], movie=movie, class_id=class_id)
    return tested is None or bool(tested["gaussian"])


def null_diffusion(results: Results, movie: str, class_id: int, method: str) -> Quantity | None:
    """Return D of the null control, None where there is none."""
    row = one(results.nulls.get("diffusion"), movie=movie, class_id=class_id, method=method)
    return (
        None
        if row is None or not math.isfinite(row["D_nm2_per_s"])
        else summaries.diffusion_quantity(row)
    )


def null_hops(results: Results, movie: str, class_id: int) -> Quantity | None:
    """Return the hop rate of the null control, None where there is none."""
    row = one(results.nulls.get("hop_rates"), movie=movie, class_id=class_id)
    return None if row is None else summaries.hop_quantity(row)


def null_rate(results: Results, row: pd.Series) -> Quantity | None:
    """Return the null control's rate of the same change of class as `row`, None where there is
    none."""
    same = {key: row[key] for key in ("movie", "lag_frames", "from_id", "to_id")}
    null = one(results.nulls.get("transitions"), **same)
    return (
        None
        if null is None or not math.isfinite(null["rate_per_s"])
        else summaries.rate_quantity(null)
    )


def corrected_rate(results: Results, row: pd.Series) -> Quantity | None:
    """Return the rate of the same change of class with naming errors taken out, None where there is
    none."""
    same = {key: row[key] for key in ("movie", "from_id", "to_id")}
    found = one(results.found["hidden_transitions"], **same)
    return (
        None
        if found is None or not math.isfinite(found["rate_per_s"])
        else summaries.rate_quantity(found)
    )


def sentence(clause: str) -> str:
    """Return a clause as a sentence.

    >>> sentence("nothing was named")
    'Nothing was named.'
    """
    return clause[:1].upper() + clause[1:].rstrip(".") + "."
