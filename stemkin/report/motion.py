"""How far defects move: the curve, D by every method, hop rates, and movie by movie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.kernels.motion.assumptions import ONE_MOBILITY
from stemkin.plot import summaries
from stemkin.plot.numerals import plain
from stemkin.report import quantities
from stemkin.report.figures import msd_figure
from stemkin.report.intervals import IntervalTable, Row, interval_table
from stemkin.report.lookups import (
    interval_row,
    label_of,
    legend,
    null_diffusion,
    null_hops,
    sentence,
)
from stemkin.report.results import Results
from stemkin.tables import POOLED

MAX_MOVIES = 20


def diffusion_section(results: Results) -> dict[str, Any]:
    """Return the MSD figure, D by every method, and D movie by movie."""
    rows, movie = summaries.pooled(results.found["diffusion"])
    rows = rows[(rows["n_tracks"] > 0) | rows["D_nm2_per_s"].notna()]
    ids = summaries.ordered(rows["class_id"])
    section = {
        **_msd_panel(results),
        "movie": movie,
        "table": _methods_table(results, rows, movie),
        "no_table": None,
        "hops": _hop_table(results),
        "chosen": [_choice(results, rows[rows["class_id"] == i]) for i in ids],
        "by_movie": [],
    }
    if rows.empty:
        why = results.why("diffusion", "no track was long enough for a diffusion coefficient")
        section["no_table"] = sentence(why)
    if movie == POOLED:
        section["by_movie"] = _by_movie(results)
    return section


def _choice(results: Results, own: pd.DataFrame) -> Markup:
    """Say which estimate of a class is quoted, what it assumes, and what speaks against the others.

    Parameters
    ----------
    results
        Where names are looked up.
    own
        Rows of ``diffusion`` of the class; empty text where none of them is recommended.
    """
    quoted_alone = "recommended" in own and own["recommended"].sum() == 1
    if not quoted_alone:
        return Markup("")
    quoted = own[own["recommended"]].iloc[0]
    text = Markup("{}: {}").format(
        label_of(results, int(quoted["class_id"])), summaries.method_name(quoted["method"])
    )
    against = [
        f"not {summaries.method_name(row['method'])} ({row['violated']} does not hold)"
        for _, row in own[~own["recommended"] & (own["violated"] != "")].iterrows()
    ]
    if quoted["violated"]:
        against.insert(0, f"although {quoted['violated']} does not hold")
        if ONE_MOBILITY in quoted["violated"]:
            against.insert(1, _populations(results, quoted))
    return Markup(", ").join([text, *(words for words in against if words)])


def _populations(results: Results, quoted: pd.Series) -> str:
    """Say which populations a class has by the table ``mobilities``; nothing where it has one."""
    found = results.found["mobilities"]
    own = found[(found["movie"] == quoted["movie"]) & (found["class_id"] == quoted["class_id"])]
    if len(own) < 2:
        return ""
    said = []
    for _, row in own.sort_values("population").iterrows():
        ends = f"{100 * row['share_low']:.0f} – {100 * row['share_high']:.0f}"
        moves = "at rest"
        if row["D_nm2_per_s"] > 0:
            D = quantities.diffusion_quantity(row)
            moves = f"with D = {D.text} ({D.interval}) nm²/s"
        said.append(f"{100 * row['share']:.0f} % ({ends}) {moves}")
    return "it is the mean of " + " and ".join(said)


def _msd_panel(results: Results) -> dict[str, Any]:
    """Return the MSD figure with the lines that the estimates of D give."""
    curves = summaries.moving(results.found["msd"])
    shown = summaries.ordered(curves["class_id"])
    if not shown:
        why = results.why("msd", "no track has two detections, so nothing moved measurably")
        return {"figure": None, "legend": [], "no_figure": sentence(why), "has_fit": False}
    found = results.found
    lines = summaries.lines_of_diffusion(found["diffusion"], found["gaussianity"])
    return {
        "figure": msd_figure(curves, lines),
        "legend": legend(results, shown),
        "no_figure": None,
        "has_fit": any(class_id in lines for class_id in shown),
    }


def _methods_table(results: Results, rows: pd.DataFrame, movie: str) -> IntervalTable | None:
    table = []
    for class_id in summaries.ordered(rows["class_id"]):
        own = rows[rows["class_id"] == class_id]
        gaussian = summaries.is_gaussian(results.found["gaussianity"], movie, class_id)
        for _, row in summaries.preferred(own, gaussian=gaussian).iterrows():
            table.append(_method_row(results, row, movie, class_id))
    headings = ("σ (pm)", "exponent α", "tracks", "steps")
    # A column that no method fills is left out.
    kept = [i for i in range(len(headings)) if any(row.cells[i] != "–" for row in table)]
    table = [_with_cells(row, kept) for row in table]
    return interval_table("D", "nm²/s", table, tuple(headings[i] for i in kept))


def _method_row(results: Results, row: pd.Series, movie: str, class_id: int) -> Row:
    method = str(row["method"])
    cells = (
        plain(1000 * row["sigma_nm"], 3),
        plain(row["alpha"], 3),
        f"{int(row['n_tracks']):,}",
        f"{int(row['n_displacements']):,}",
    )
    return interval_row(
        results,
        class_id,
        quantities.diffusion_quantity(row),
        null_diffusion(results, movie, class_id, method),
        cells,
        below=summaries.method_name(method),
    )


def _with_cells(row: Row, kept: list[int]) -> Row:
    return replace(row, cells=tuple(row.cells[i] for i in kept))


def _hop_table(results: Results) -> IntervalTable | None:
    rows, movie = summaries.pooled(results.found["hop_rates"])
    rows = rows[rows["hop_rate_per_s"].notna()]
    table = []
    for class_id in summaries.ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        quantity, null = quantities.hop_quantity(row), null_hops(results, movie, class_id)
        table.append(interval_row(results, class_id, quantity, null, (plain(row["n_hops"], 3),)))
    return interval_table("hop rate", "per s", table, ("effective number",))


def _by_movie(results: Results) -> list[tuple[Markup, IntervalTable | None]]:
    """Return one table per class: D in each movie, where there are several movies."""
    found = summaries.per_movie(results.found["diffusion"])
    found = found[found["D_nm2_per_s"].notna()]
    tables = []
    for class_id in summaries.ordered(found["class_id"]):
        gaussian = summaries.is_gaussian(results.found["gaussianity"], POOLED, class_id)
        movies = found[found["class_id"] == class_id].groupby("movie", sort=False)
        table = []
        for movie, rows in list(movies)[:MAX_MOVIES]:
            row = summaries.preferred(rows, gaussian=gaussian).iloc[0]
            label = Markup("{}").format(str(movie))
            quantity = quantities.diffusion_quantity(row)
            table.append(interval_row(results, class_id, quantity, label=label))
        if len(table) > 1:
            tables.append((label_of(results, class_id), interval_table("D", "nm²/s", table)))
    return tables
