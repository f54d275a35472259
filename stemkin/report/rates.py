"""What becomes of defects: the transition matrix, its rates, and how long a class lasts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report import figures, summaries
from stemkin.report.intervals import Row, interval_table
from stemkin.report.lookups import (
    corrected_rate,
    interval_row,
    label_of,
    legend,
    null_rate,
    one,
    ordered,
    sentence,
    shortest_lag,
)
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results
from stemkin.report.words import Quantity, plain

MAX_CURVES = 6
LEAST_EXITS = 5
"""A class that was left less often has no survival curve worth drawing."""


def transitions(results: Results) -> dict[str, Any]:
    """Return the matrix and the rates."""
    found = shortest_lag(results.found["transitions"])
    rows, movie = summaries.pooled(found)
    if not rows["count"].sum():
        return {
            "nothing": sentence(
                results.why(
                    "transitions", "no track has two frames in a row, so nothing was counted"
                )
            )
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
        "rates": interval_table("rate", "per s", [r for _, row in changes.iterrows() for r in _rate_rows(results, row)],
                                ("counted", "naming errors alone (per s)")),
        "corrected": bool(len(results.found["hidden_transitions"])),
        "barns": _barns(results, changes),
        "chain": _chain(results),
    }  # fmt: skip


def dwell_times(results: Results) -> dict[str, Any]:
    """Return the mean time that defects stay in a class."""
    rows, movie = summaries.pooled(results.found["dwell_times"])
    rows = rows[(rows["time_at_risk_s"] > 0) | (rows["n_exits"] > 0)]
    if rows.empty:
        return {
            "nothing": sentence(
                results.why(
                    "dwell_times", "no track was long enough to tell how long a class lasts"
                )
            )
        }
    table = []
    for class_id in ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        cells = (
            f"{int(row['n_exits']):,}",
            f"{int(row['n_censored']):,}",
            plain(row["time_at_risk_s"]),
        )
        null = one(results.nulls.get("dwell_times"), movie=movie, class_id=class_id)
        quantity = summaries.dwell_quantity(row)
        table.append(
            interval_row(
                results,
                class_id,
                quantity,
                None if null is None else summaries.dwell_quantity(null),
                cells,
            )
        )
        better = one(
            results.found["hidden_transitions"], movie=movie, from_id=class_id, to_id=class_id
        )
        if better is not None and better["rate_per_s"] < 0:
            corrected = interval_row(
                results, class_id, summaries.leaving_quantity(better), None, ("", "", "")
            )
            table.append(replace(corrected, below="names corrected"))
    headings = ("exits", "cut short", "watched for (s)")
    figure, ids = _survival(results, movie)
    return {
        "nothing": None, "movie": movie, "table": interval_table("mean time", "s", table, headings), "figure": figure,
        "legend": legend(results, ids),
    }  # fmt: skip


def _survival(results: Results, movie: str) -> tuple[Markup | None, list[int]]:
    """Return the survival curves of the classes that were left at all, with the exponential law of
    their mean time."""
    curves = results.found["survival"]
    curves = curves[(curves["movie"] == movie) & curves["survival"].notna()]
    left = curves.groupby("class_id")["n_exits"].sum()
    ids = ordered(left.index[left >= LEAST_EXITS].to_series())[:MAX_CURVES] if len(left) else []
    if not ids:
        return None, []
    dwell = results.found["dwell_times"]
    means = {i: one(dwell, movie=movie, class_id=i) for i in ids}
    laws = {i: float(row["mean_dwell_s"]) for i, row in means.items() if row is not None}
    return figures.survival(curves, ids, laws), ids


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


def _rate_rows(results: Results, row: pd.Series) -> list[Row]:
    """Return the rate as counted and, below it, with naming errors taken out."""
    source, label = int(row["from_id"]), _change(results, row)
    static = one(
        results.nulls.get("static_transitions"),
        **{key: row[key] for key in ("movie", "from_id", "to_id")},
    )
    alone = "" if static is None else plain(static["rate_per_s"], 2)
    cells = (f"{int(row['count']):,}", alone)
    rows = [
        Row(
            label,
            role_of(source),
            mark_of(source),
            summaries.rate_quantity(row),
            null_rate(results, row),
            cells,
        )
    ]
    better = corrected_rate(results, row)
    if better is not None:
        rows.append(
            Row(label, role_of(source), mark_of(source), better, None, ("", ""), "names corrected")
        )
    return rows


def _change(results: Results, row: pd.Series) -> Markup:
    return Markup("{} → {}").format(
        label_of(results, int(row["from_id"])), label_of(results, int(row["to_id"]))
    )


def _barns(results: Results, changes: pd.DataFrame) -> Any:
    """Return the rates per dose of the same changes, None where the dose is not known."""
    found, rows = results.found["beam_transitions"], []
    for _, row in changes.iterrows():
        dosed = one(found, movie=row["movie"], from_id=row["from_id"], to_id=row["to_id"])
        if dosed is not None and math.isfinite(dosed["cross_section_barn"]):
            source = int(row["from_id"])
            rows.append(
                Row(
                    _change(results, row),
                    role_of(source),
                    mark_of(source),
                    summaries.barn_quantity(dosed),
                )
            )
    return interval_table("rate per dose", "barn", rows) if rows else None


def _chain(results: Results) -> dict[str, Any] | None:
    """Return whether a Markov chain is a fair model, and what it implies; None where it was not
    tested."""
    states, tested = results.found["chain"], results.found["chapman_kolmogorov"]
    states = states[states["set"] >= 0]
    if states.empty:
        return None
    names = {
        s: [label_of(results, int(i)) for i in own["class_id"]] for s, own in states.groupby("set")
    }
    times = results.found["timescales"]
    times = times[(times["lag_frames"] == times["lag_frames"].min()) & times["timescale_s"].notna()]
    rows = []
    for _, row in times.iterrows():
        label = Markup(", ").join(names.get(row["set"], []))
        quantity = Quantity(float(row["timescale_s"]), float(row["low"]), float(row["high"]), "s")
        rows.append(Row(label, "accent", "dot", quantity, None, (f"{int(row['rank'])}",)))
    back = results.found["reversibility"]
    return {
        "sets": [Markup(", ").join(labels) for labels in names.values()],
        "states": [
            (
                label_of(results, int(r["class_id"])),
                f"{100 * r['seen_share']:.1f} %",
                _share(r["stationary_share"]),
            )
            for _, r in states.iterrows()
        ],
        "timescales": interval_table("timescale", "s", rows, ("rank",)) if rows else None,
        "n_agree": int(tested["agrees"].astype(bool).sum()),
        "n_tested": len(tested),
        "lags": ", ".join(str(int(lag)) for lag in tested["lag_frames"].unique()),
        "reversible": None
        if back.empty or not back["degrees_of_freedom"].iloc[0]
        else plain(back["p_value"].iloc[0], 2),
    }


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"
