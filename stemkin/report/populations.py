"""How many defects there are: in time, on the mean, and made by the beam."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from stemkin.plot import summaries
from stemkin.plot.numerals import plain
from stemkin.report import quantities
from stemkin.report.figures import populations_figure
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.lookups import interval_row, legend, sentence
from stemkin.report.results import Results
from stemkin.report.words import Quantity, number_of


def populations_section(results: Results) -> dict[str, Any]:
    """Return the number of defects per class against time."""
    rows = results.found["populations"]
    if rows.empty:
        return {"nothing": sentence(results.why("populations", "no defect was found in any frame"))}
    of_read_movies = rows["movie"].isin(set(results.frames["movie"]))
    if of_read_movies.any():
        rows = rows[of_read_movies]
    n_seen = rows.groupby("class_id")["n"].sum()
    ids = summaries.in_class_order(n_seen.index[n_seen > 0])
    if not ids:
        return {"nothing": "No defect was found in any frame."}
    means = summaries.mean_populations(rows, results.frames)
    if means["bin"].nunique() < 2:
        return {"nothing": None, "figure": None, "counts": _single_counts(results, means, ids)}
    return {
        "nothing": None,
        "figure": populations_figure(means, ids),
        "legend": legend(results, ids),
        "n_movies": rows["movie"].nunique(),
    }


def _single_counts(results: Results, means: pd.DataFrame, ids: list[int]) -> list[dict[str, Any]]:
    """Return the counts of movies that are one frame long: no curve, but numbers."""
    mean, entries = means.set_index("class_id")["mean"], legend(results, ids)
    for class_id, entry in zip(ids, entries, strict=True):
        entry["n"] = plain(mean.loc[class_id], 3)
    return entries


def numbers_section(results: Results) -> dict[str, Any]:
    """Return mean numbers per frame, as seen and corrected, and vacancies made by the beam."""
    rows, _ = summaries.pooled(results.found["abundances"])
    rows = rows[rows["n_detections"] > 0]
    by_class = {int(row["class_id"]): row for _, row in rows[::-1].iterrows()}
    table = [_number_row(results, by_class[i], i) for i in summaries.ordered(rows["class_id"])]
    headings = ("by chance", "efficiency (%)", "corrected", "tracks")
    made, _ = summaries.pooled(results.found["creation"])
    creation = None
    if len(made):
        creation = _creation(made.iloc[0])
    counted = interval_table("seen", "per frame", table, headings)
    return {"table": counted, "creation": creation, "injected": _found_of_known(results)}


def _found_of_known(results: Results) -> IntervalTable | None:
    """Return which shares of known defects that were put into frames were found and named."""
    rows = results.found["efficiencies"]
    if not len(rows):
        return None
    by_class = {int(row["class_id"]): row for _, row in rows[rows["by"] == ""].iterrows()}
    table = []
    for class_id in summaries.ordered(pd.Series(list(by_class))):
        row = by_class[class_id]
        ends = 100 * float(row["low"]), 100 * float(row["high"])
        share = Quantity(100 * float(row["efficiency"]), *ends, "%")
        cells = (f"{100 * row['named']:.0f}", f"{row['depth']:.1f}", f"{int(row['n_injected']):,}")
        table.append(interval_row(results, class_id, share, None, cells))
    return interval_table("found", "%", table, ("named right (%)", "depth (sd)", "put in"))


def _number_row(results: Results, row: pd.Series, class_id: int) -> Row:
    """Return the mean number of a row of ``abundances``, with what corrects it."""
    seen, better = quantities.number_quantities(row)
    by_chance = efficiency = corrected = "–"
    judged, known = math.isfinite(row["false_per_frame"]), math.isfinite(row["efficiency"])
    if judged:
        by_chance = f"{row['false_per_frame']:.3g}"
    if known:
        low, high = 100 * row["efficiency_low"], 100 * row["efficiency_high"]
        efficiency = f"{100 * row['efficiency']:.1f} ({low:.1f}–{high:.1f})"
    if known and judged:
        corrected = f"{better.text} ({better.interval.replace(' to ', '–')})"
    cells = (by_chance, efficiency, corrected, f"{int(row['n_tracks']):,}")
    return interval_row(results, class_id, seen, None, cells)


def _creation(row: pd.Series) -> dict[str, Any]:
    """Return the numbers of a row of ``creation``."""
    ends = (float(row["rate_low"]), float(row["rate_high"]))
    barn = None
    if math.isfinite(row["cross_section_barn"]):
        barn = quantities.barn_quantity(row)
    return {
        "rate": Quantity(float(row["rate_per_site_s"]), *ends, "per atom and s"),
        "barn": barn,
        "n_created": number_of(int(row["n_created"]), "vacancy", "vacancies"),
        "n_at_dopants": f"{int(row['n_at_dopants']):,}",
        "n_healed": f"{int(row['n_healed']):,}",
        "n_cancelled": f"{row['n_cancelled']:.1f}",
        "n_sites": f"{row['n_sites']:,.0f}",
        "dose": plain(row["dose_e_per_nm2"], 3),
    }
