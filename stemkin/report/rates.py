"""What becomes of defects: the transition matrix, its rates, and how long a class lasts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report import summaries
from stemkin.report.intervals import Row, interval_table
from stemkin.report.lookups import (
    interval_row,
    label_of,
    null_rate,
    one,
    ordered,
    sentence,
    shortest_lag,
)
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results
from stemkin.report.words import plain


def transitions(results: Results) -> dict[str, Any]:
    """Return the matrix and the rates."""
    found = shortest_lag(results.found["transitions"])
    rows, movie = summaries.pooled(found)
    if not rows["count"].sum():
        return {
            "nothing": sentence(results.why("transitions", "no track has two frames in a row, so nothing was counted"))
        }
    nulls = shortest_lag(results.nulls.get("transitions", rows.iloc[:0]))
    null_rows = nulls[nulls["movie"] == movie]
    changes = summaries.key_transitions(rows, 20)
    return {
        "nothing": None,
        "movie": movie,
        "mixed": not np.isfinite(rows["probability"]).any() and bool(rows["count"].sum()),
        "lag_frames": int(rows["lag_frames"].iloc[0]),
        "matrix": _matrix(results, rows),
        "null_matrix": _matrix(results, null_rows) if null_rows["count"].sum() else None,
        "rates": interval_table(
            "rate", "per s", [_rate_row(results, row) for _, row in changes.iterrows()], ("counted",)
        ),
    }


def dwell_times(results: Results) -> dict[str, Any]:
    """Return the mean time that defects stay in a class."""
    rows, movie = summaries.pooled(results.found["dwell_times"])
    rows = rows[(rows["time_at_risk_s"] > 0) | (rows["n_exits"] > 0)]
    if rows.empty:
        return {
            "nothing": sentence(results.why("dwell_times", "no track was long enough to tell how long a class lasts"))
        }
    table = []
    for class_id in ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        cells = (f"{int(row['n_exits']):,}", f"{int(row['n_censored']):,}", plain(row["time_at_risk_s"]))
        null = one(results.nulls.get("dwell_times"), movie=movie, class_id=class_id)
        quantity = summaries.dwell_quantity(row)
        table.append(
            interval_row(results, class_id, quantity, None if null is None else summaries.dwell_quantity(null), cells)
        )
    headings = ("exits", "cut short", "watched for (s)")
    return {"nothing": None, "movie": movie, "table": interval_table("mean time", "s", table, headings)}


def _matrix(results: Results, rows: pd.DataFrame) -> dict[str, Any]:
    ids, cells = summaries.matrix(rows)
    return {
        "ids": ids,
        "labels": {i: label_of(results, i) for i in ids},
        "cells": {key: _cell(row) for key, row in cells.items()},
        "totals": {i: int(rows.loc[rows["from_id"] == i, "count"].sum()) for i in ids},
    }


def _cell(row: pd.Series) -> dict[str, Any]:
    p = float(row["probability"])
    known = math.isfinite(p)
    return {
        "probability": f"{p:.3f}" if known else "–",
        "interval": f"{row['low']:.3f} – {row['high']:.3f}" if math.isfinite(row["low"]) else "",
        "count": f"{int(row['count']):,}",
        "counted": int(row["count"]) > 0,
        "shade": round(100 * math.sqrt(min(1.0, max(0.0, p)))) if known else 0,
        "known": known,
    }


def _rate_row(results: Results, row: pd.Series) -> Row:
    source, target = int(row["from_id"]), int(row["to_id"])
    label = Markup("{} → {}").format(label_of(results, source), label_of(results, target))
    return Row(
        label,
        role_of(source),
        mark_of(source),
        summaries.rate_quantity(row),
        null_rate(results, row),
        (f"{int(row['count']):,}",),
    )
