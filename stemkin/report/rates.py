"""The report's numbers: the headline, transitions, dwell times, diffusion."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from stemkin.report import figures, summaries
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results
from stemkin.report.words import Quantity, class_label, counted, plain
from stemkin.tables import NOT_NAMED, POOLED

MAX_CARDS = 4
MAX_MOVIES = 20


def headline(results: Results) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the cards on top in titled groups: D per class, then the most counted changes of class."""
    groups = [("Diffusion coefficients", _diffusion_cards(results)), ("Transition rates", _rate_cards(results))]
    return [(title, cards) for title, cards in groups if cards]


def _diffusion_cards(results: Results) -> list[dict[str, Any]]:
    rows, movie = summaries.pooled(results.found["diffusion"])
    cards = []
    for class_id in _ordered(rows["class_id"]):
        row = summaries.preferred(rows[rows["class_id"] == class_id]).iloc[0]
        if not math.isfinite(row["D_nm2_per_s"]):
            continue
        detail = f"{counted(int(row['n_displacements']), 'step')} of {counted(int(row['n_tracks']), 'track')}, {summaries.method_name(row['method'])}"
        detail = detail if movie == POOLED else f"{detail}, in {movie} alone"
        null = _null_diffusion(results, movie, class_id, str(row["method"]))
        cards.append(_card(label_of(results, class_id), class_id, summaries.diffusion_quantity(row), detail, null))
    return cards[:MAX_CARDS]


def _rate_cards(results: Results) -> list[dict[str, Any]]:
    rows, _ = summaries.pooled(_shortest_lag(results.found["transitions"]))
    cards = []
    for _, row in summaries.key_transitions(rows, MAX_CARDS).iterrows():
        source, target = int(row["from_id"]), int(row["to_id"])
        what = Markup("{} → {}").format(label_of(results, source), label_of(results, target))
        detail = f"{counted(int(row['count']), 'change')} counted"
        cards.append(_card(what, source, summaries.rate_quantity(row), detail, _null_rate(results, row)))
    return cards


def _card(what: Markup, class_id: int, quantity: Quantity, detail: str, null: Quantity | None) -> dict[str, Any]:
    null = null.like(quantity) if null is not None else None
    return {
        "what": what,
        "role": role_of(class_id),
        "mark": mark_of(class_id),
        "quantity": quantity,
        "detail": detail,
        "null": null,
    }


def transitions(results: Results) -> dict[str, Any]:
    """Return the matrix and the rates."""
    found = _shortest_lag(results.found["transitions"])
    rows, movie = summaries.pooled(found)
    if not rows["count"].sum():
        return {
            "nothing": _sentence(results.why("transitions", "no track has two frames in a row, so nothing was counted"))
        }
    nulls = _shortest_lag(results.nulls.get("transitions", rows.iloc[:0]))
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
            "nothing": _sentence(results.why("dwell_times", "no track was long enough to tell how long a class lasts"))
        }
    table = []
    for class_id in _ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        cells = (f"{int(row['n_exits']):,}", f"{int(row['n_censored']):,}", plain(row["time_at_risk_s"]))
        null = _one(results.nulls.get("dwell_times"), movie=movie, class_id=class_id)
        quantity = summaries.dwell_quantity(row)
        table.append(_row(results, class_id, quantity, None if null is None else summaries.dwell_quantity(null), cells))
    headings = ("exits", "cut short", "watched for (s)")
    return {"nothing": None, "movie": movie, "table": interval_table("mean time", "s", table, headings)}


def diffusion(results: Results) -> dict[str, Any]:
    """Return the MSD figure, D by every method, and D movie by movie."""
    curves, _ = summaries.pooled(results.found["msd"])
    curves = curves[(curves["msd_nm2"] > 0) & (curves["lag_s"] > 0)]
    curves = curves[curves["class_id"].isin(_ordered(curves["class_id"]))]
    rows, movie = summaries.pooled(results.found["diffusion"])
    fits = {int(str(i)): summaries.fit_of(group) for i, group in rows.groupby("class_id")}
    shown = _ordered(curves["class_id"])
    figure = (
        figures.mean_squared_displacement(curves, {i: f for i, f in fits.items() if f is not None}) if shown else None
    )
    return {
        "figure": figure,
        "legend": legend(results, shown),
        "no_figure": None
        if shown
        else _sentence(results.why("msd", "no track has two detections, so nothing moved measurably")),
        "has_fit": any(fits.get(i) for i in shown),
        "movie": movie,
        "table": _methods_table(results, rows, movie),
        "no_table": None
        if len(rows)
        else _sentence(results.why("diffusion", "no track was long enough for a diffusion coefficient")),
        "by_movie": _by_movie(results) if movie == POOLED else [],
    }


def _methods_table(results: Results, rows: pd.DataFrame, movie: str) -> IntervalTable | None:
    table = []
    for class_id in _ordered(rows["class_id"]):
        for _, row in summaries.preferred(rows[rows["class_id"] == class_id]).iterrows():
            sigma_pm = plain(1000 * row["sigma_nm"], 3)
            cells = (sigma_pm, plain(row["alpha"], 3), f"{int(row['n_tracks']):,}", f"{int(row['n_displacements']):,}")
            null = _null_diffusion(results, movie, class_id, str(row["method"]))
            made = _row(results, class_id, summaries.diffusion_quantity(row), null, cells)
            table.append(replace(made, below=summaries.method_name(str(row["method"]))))
    headings = ("σ (pm)", "exponent α", "tracks", "steps")
    kept = [i for i in range(len(headings)) if any(row.cells[i] != "–" for row in table)]
    table = [replace(row, cells=tuple(row.cells[i] for i in kept)) for row in table]
    return interval_table("D", "nm²/s", table, tuple(headings[i] for i in kept)) if table else None


def _by_movie(results: Results) -> list[tuple[Markup, IntervalTable]]:
    """Return one table per class: D in each movie, where there are several movies."""
    found = summaries.per_movie(results.found["diffusion"])
    tables = []
    for class_id in _ordered(found["class_id"]):
        rows = found[found["class_id"] == class_id]
        table = []
        for movie, group in list(rows.groupby("movie", sort=False))[:MAX_MOVIES]:
            row = summaries.preferred(group).iloc[0]
            quantity = summaries.diffusion_quantity(row)
            table.append(Row(Markup("{}").format(str(movie)), role_of(class_id), mark_of(class_id), quantity))
        if len(table) > 1:
            tables.append((label_of(results, class_id), interval_table("D", "nm²/s", table)))
    return tables


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
        _null_rate(results, row),
        (f"{int(row['count']):,}",),
    )


def _row(results: Results, class_id: int, quantity: Quantity, null: Quantity | None, cells: tuple[str, ...]) -> Row:
    return Row(label_of(results, class_id), role_of(class_id), mark_of(class_id), quantity, null, cells)


def _null_diffusion(results: Results, movie: str, class_id: int, method: str) -> Quantity | None:
    row = _one(results.nulls.get("diffusion"), movie=movie, class_id=class_id, method=method)
    return None if row is None or not math.isfinite(row["D_nm2_per_s"]) else summaries.diffusion_quantity(row)


def _null_rate(results: Results, row: pd.Series) -> Quantity | None:
    same = {key: row[key] for key in ("movie", "lag_frames", "from_id", "to_id")}
    null = _one(results.nulls.get("transitions"), **same)
    return None if null is None or not math.isfinite(null["rate_per_s"]) else summaries.rate_quantity(null)


def _one(rows: pd.DataFrame | None, **values: Any) -> pd.Series | None:
    """Return the first of `rows` with these values, None where there is none."""
    if rows is None:
        return None
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows.iloc[0] if len(rows) else None


def _shortest_lag(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["lag_frames"] == rows["lag_frames"].min()] if len(rows) else rows


def _ordered(class_ids: pd.Series) -> list[int]:
    """Return the class numbers once each, not-named last, or only where nothing is named."""
    ids = sorted({int(i) for i in class_ids}, key=lambda i: (i == NOT_NAMED, i))
    return ids if ids == [NOT_NAMED] else [i for i in ids if i != NOT_NAMED]


def label_of(results: Results, class_id: int) -> Markup:
    """Return the name of a class as HTML."""
    return class_label(results.class_names.get(class_id, "not named" if class_id == NOT_NAMED else f"class {class_id}"))


def legend(results: Results, class_ids: list[int]) -> list[dict[str, Any]]:
    """Return what stands for each class in a figure."""
    return [{"role": role_of(i), "mark": mark_of(i), "label": label_of(results, i)} for i in class_ids]


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:].rstrip(".") + "."
