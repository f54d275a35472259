"""What becomes of defects: the transition matrix, its rates, and how long a class lasts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.kinetics.name_tests import said_of_names
from stemkin.plot import summaries
from stemkin.plot.numerals import plain
from stemkin.report import quantities
from stemkin.report.chain import chain_panel
from stemkin.report.figures import survival_figure
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.lookups import (
    change_label,
    corrected_rates,
    first_row,
    interval_row,
    label_of,
    legend,
    null_dwell,
    null_rate,
    sentence,
)
from stemkin.report.results import Results

FAR_BEYOND = 1e3
"""A mean time of more than so many times what was watched is none: nothing was seen to leave."""


def transitions_section(results: Results) -> dict[str, Any]:
    """Return the transition matrix and the rates."""
    rows, movie = summaries.pooled(summaries.shortest_lag(results.found["transitions"]))
    if not rows["count"].sum():
        why = "no track has two frames in a row, so nothing was counted"
        return {"nothing": sentence(results.why("transitions", why))}
    nulls = summaries.shortest_lag(results.nulls.get("transitions", rows.iloc[:0]))
    null_matrix, null_rows = None, nulls[nulls["movie"] == movie]
    if null_rows["count"].sum():
        null_matrix = _matrix(results, null_rows)
    changes = summaries.key_transitions(rows, 20)
    return {
        "nothing": None,
        "movie": movie,
        "mixed": not np.isfinite(rows["probability"]).any(),
        "lag_frames": int(rows["lag_frames"].iloc[0]),
        "matrix": _matrix(results, rows),
        "null_matrix": null_matrix,
        "rates": _rates_table(results, changes),
        "names": _names_panel(results, movie),
        "barns": _barns_table(results, changes),
        "chain": chain_panel(results),
    }


def doubts_of_names(results: Results) -> list[str]:
    """Return what is to be said on top of names that are often wrong."""
    return [sentence(said) for said in said_of_names(results.found["name_errors"])]


def _names_panel(results: Results, movie: str) -> dict[str, str] | None:
    """Return what the test of wrong names found, None where names were not corrected."""
    row = first_row(results.found["name_errors"], movie=movie)
    if row is None:
        return None
    words = {
        "wrong": f"{100 * row['wrong_share']:.2g}",
        "false": "no change of class was counted, so none is due to them",
    }
    if math.isfinite(row["false_changes"]):
        share = f"{100 * row['false_changes']:.2g}"
        words["false"] = f"they alone make {share} % of the changes counted"
    words |= {"frames": plain(row["wrong_frames"], 2), "p_value": plain(row["p_value"], 2)}
    words["kept"] = f"{row['kept']:.2f} ({row['kept_low']:.2f} – {row['kept_high']:.2f})"
    return words | {"recommended": str(row["recommended"])}


def _matrix(results: Results, rows: pd.DataFrame) -> dict[str, Any]:
    ids, cells = summaries.matrix(rows)
    return {
        "ids": ids,
        "labels": {i: label_of(results, i) for i in ids},
        "cells": {key: matrix_cell(row) for key, row in cells.items()},
        "totals": {i: int(rows.loc[rows["from_id"] == i, "count"].sum()) for i in ids},
    }


def matrix_cell(row: pd.Series) -> dict[str, Any]:
    """Return one cell of a matrix of probabilities; its shade is the root of the probability, in per cent."""
    probability, count = float(row["probability"]), int(row["count"])
    cell = {
        "probability": "–",
        "interval": "",
        "count": f"{count:,}",
        "counted": count > 0,
        "shade": 0,
        "known": math.isfinite(probability),
    }
    if cell["known"]:
        cell["probability"] = f"{probability:.3f}"
        cell["shade"] = round(100 * math.sqrt(min(1.0, max(0.0, probability))))
    if math.isfinite(row["low"]):
        cell["interval"] = f"{row['low']:.3f} – {row['high']:.3f}"
    return cell


def _rates_table(results: Results, changes: pd.DataFrame) -> IntervalTable | None:
    rows: list[Row] = []
    for _, row in changes.iterrows():
        rows += _rate_rows(results, row)
    headings = ("counted", "naming errors alone (per s)")
    return interval_table("rate", "per s", rows, headings)


def _rate_rows(results: Results, row: pd.Series) -> list[Row]:
    """Return the rate as counted and, below it, with naming errors taken out."""
    source, label = int(row["from_id"]), change_label(results, row)
    same = {key: row[key] for key in ("movie", "from_id", "to_id")}
    static, alone = first_row(results.nulls.get("static_transitions"), **same), ""
    if static is not None:
        alone = plain(static["rate_per_s"], 2)
    cells = (f"{int(row['count']):,}", alone)
    rate, null = quantities.rate_quantity(row), null_rate(results, row)
    rows = [interval_row(results, source, rate, null, cells, label=label)]
    for i, (below, better) in enumerate(corrected_rates(results, row)):
        if i > 0:
            below += " (rejected)"
        rows.append(interval_row(results, source, better, cells=("", ""), label=label, below=below))
    return rows


def _barns_table(results: Results, changes: pd.DataFrame) -> IntervalTable | None:
    """Return the rates per dose of the same changes, None where the dose is not known."""
    found, rows = results.found["beam_transitions"], []
    for _, row in changes.iterrows():
        dosed = first_row(found, movie=row["movie"], from_id=row["from_id"], to_id=row["to_id"])
        if dosed is not None and math.isfinite(dosed["cross_section_barn"]):
            source, label = int(row["from_id"]), change_label(results, row)
            quantity = quantities.barn_quantity(dosed)
            rows.append(interval_row(results, source, quantity, label=label))
    return interval_table("rate per dose", "barn", rows)


def dwell_times_section(results: Results) -> dict[str, Any]:
    """Return the mean time that defects stay in a class, and the survival curves of stays."""
    rows, movie = summaries.pooled(results.found["dwell_times"])
    rows = rows[(rows["time_at_risk_s"] > 0) | (rows["n_exits"] > 0)]
    if rows.empty:
        why = "no track was long enough to tell how long a class lasts"
        return {"nothing": sentence(results.why("dwell_times", why))}
    table: list[Row] = []
    for class_id in summaries.ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        table += _dwell_rows(results, row, movie, class_id)
    headings = ("exits", "censored", "time at risk (s)")
    figure, entries = _survival_panel(results, movie)
    return {
        "nothing": None,
        "movie": movie,
        "table": interval_table("mean time", "s", table, headings),
        "figure": figure,
        "legend": entries,
    }


def _dwell_rows(results: Results, row: pd.Series, movie: str, class_id: int) -> list[Row]:
    """Return the mean time as counted and, below it, with naming errors taken out."""
    exits, censored = f"{int(row['n_exits']):,}", f"{int(row['n_censored']):,}"
    cells = (exits, censored, plain(row["time_at_risk_s"]))
    quantity, null = quantities.dwell_quantity(row), null_dwell(results, movie, class_id)
    rows = [interval_row(results, class_id, quantity, null, cells)]
    hidden = results.found["hidden_transitions"]
    same = {"movie": movie, "from_id": class_id, "to_id": class_id, "recommended": True}
    better = first_row(hidden, **same)
    if better is not None and better["rate_per_s"] < 0:
        quantity, below = quantities.leaving_quantity(better), "names corrected"
        if quantity.value > FAR_BEYOND * row["time_at_risk_s"]:
            quantity = replace(quantity, value=math.inf)  # nothing was seen to leave
        rows.append(interval_row(results, class_id, quantity, cells=("", "", ""), below=below))
    return rows


def _survival_panel(results: Results, movie: str) -> tuple[Markup | None, list[dict[str, Any]]]:
    """Return the survival curves of the classes that were left often enough, and their legend.

    Beside each stands the exponential law of its mean time.
    """
    curves = results.found["survival"]
    curves = curves[curves["movie"] == movie]
    ids = summaries.often_left(curves)
    if not ids:
        return None, []
    return survival_figure(curves, results.found["dwell_times"], ids), legend(results, ids)
