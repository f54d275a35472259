"""How far defects move: the curve, D by every method, hop rates, and movie by movie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.report import figures, summaries
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.lookups import (
    interval_row,
    is_gaussian,
    label_of,
    legend,
    null_diffusion,
    null_hops,
    ordered,
    sentence,
)
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results
from stemkin.report.words import plain
from stemkin.tables import POOLED

MAX_MOVIES = 20


def diffusion(results: Results) -> dict[str, Any]:
    """Return the MSD figure, D by every method, and D movie by movie."""
    curves, _ = summaries.pooled(results.found["msd"])
    curves = curves[(curves["msd_nm2"] > 0) & (curves["lag_s"] > 0)]
    curves = curves[curves["class_id"].isin(ordered(curves["class_id"]))]
    rows, movie = summaries.pooled(results.found["diffusion"])
    rows = rows[(rows["n_tracks"] > 0) | rows["D_nm2_per_s"].notna()]
    fits = {
        i: summaries.fit_of(rows[rows["class_id"] == i], gaussian=is_gaussian(results, movie, i))
        for i in ordered(rows["class_id"])
    }
    shown = ordered(curves["class_id"])
    figure = (
        figures.mean_squared_displacement(curves, {i: f for i, f in fits.items() if f is not None})
        if shown
        else None
    )
    return {
        "figure": figure,
        "legend": legend(results, shown),
        "no_figure": None
        if shown
        else sentence(
            results.why("msd", "no track has two detections, so nothing moved measurably")
        ),
        "has_fit": any(fits.get(i) for i in shown),
        "movie": movie,
        "table": _methods_table(results, rows, movie),
        "no_table": None
        if len(rows)
        else sentence(
            results.why("diffusion", "no track was long enough for a diffusion coefficient")
        ),
        "hops": _hop_table(results),
        "not_gaussian": [
            label_of(results, i)
            for i in ordered(rows["class_id"])
            if not is_gaussian(results, movie, i)
        ],
        "by_movie": _by_movie(results) if movie == POOLED else [],
    }


def _methods_table(results: Results, rows: pd.DataFrame, movie: str) -> IntervalTable | None:
    table = []
    for class_id in ordered(rows["class_id"]):
        gaussian = is_gaussian(results, movie, class_id)
        for _, row in summaries.preferred(
            rows[rows["class_id"] == class_id], gaussian=gaussian
        ).iterrows():
            sigma_pm = plain(1000 * row["sigma_nm"], 3)
            cells = (
                sigma_pm,
                plain(row["alpha"], 3),
                f"{int(row['n_tracks']):,}",
                f"{int(row['n_displacements']):,}",
            )
            null = null_diffusion(results, movie, class_id, str(row["method"]))
            made = interval_row(results, class_id, summaries.diffusion_quantity(row), null, cells)
            table.append(replace(made, below=summaries.method_name(str(row["method"]))))
    headings = ("σ (pm)", "exponent α", "tracks", "steps")
    kept = [i for i in range(len(headings)) if any(row.cells[i] != "–" for row in table)]
    table = [replace(row, cells=tuple(row.cells[i] for i in kept)) for row in table]
    return interval_table("D", "nm²/s", table, tuple(headings[i] for i in kept)) if table else None


def _hop_table(results: Results) -> IntervalTable | None:
    rows, movie = summaries.pooled(results.found["hop_rates"])
    rows = rows[rows["hop_rate_per_s"].notna()]
    table = []
    for class_id in ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        cells = (plain(row["n_hops"], 3),)
        table.append(
            interval_row(
                results,
                class_id,
                summaries.hop_quantity(row),
                null_hops(results, movie, class_id),
                cells,
            )
        )
    return interval_table("hop rate", "per s", table, ("worth hops",)) if table else None


def _by_movie(results: Results) -> list[tuple[Markup, IntervalTable]]:
    """Return one table per class: D in each movie, where there are several movies."""
    found = summaries.per_movie(results.found["diffusion"])
    found = found[found["D_nm2_per_s"].notna()]
    tables = []
    for class_id in ordered(found["class_id"]):
        rows = found[found["class_id"] == class_id]
        table = []
        for movie, group in list(rows.groupby("movie", sort=False))[:MAX_MOVIES]:
            row = summaries.preferred(group, gaussian=is_gaussian(results, POOLED, class_id)).iloc[
                0
            ]
            quantity = summaries.diffusion_quantity(row)
            table.append(
                Row(Markup("{}").format(str(movie)), role_of(class_id), mark_of(class_id), quantity)
            )
        if len(table) > 1:
            tables.append((label_of(results, class_id), interval_table("D", "nm²/s", table)))
    return tables
