"""The numbers on top of the report, each with its interval and its null control."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot import summaries
from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.report import quantities
from stemkin.report.lookups import (
    change_label,
    corrected_rate,
    label_of,
    null_diffusion,
    null_hops,
    null_rate,
)
from stemkin.report.results import Results
from stemkin.report.self_check import said_beside
from stemkin.report.words import Quantity, number_of
from stemkin.tables import POOLED

MAX_CARDS = 4
MUCH_MORE = 1e4
"""A control that is larger than this, in the power of ten of its number, is written in a power of
its own."""


def headline_cards(results: Results) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the cards on top, in titled groups; a group without cards is left out."""
    groups = [
        ("Diffusion coefficients", _diffusion_cards(results)),
        ("Hop rates", _hop_cards(results)),
        ("Transition rates", _rate_cards(results)),
        ("Vacancies made by the beam", _creation_cards(results)),
    ]
    return [(title, cards) for title, cards in groups if cards]


def _diffusion_cards(results: Results) -> list[dict[str, Any]]:
    rows, movie = summaries.pooled(results.found["diffusion"])
    cards = []
    for class_id in summaries.ordered(rows["class_id"]):
        own = rows[rows["class_id"] == class_id]
        gaussian = summaries.is_gaussian(results.found["gaussianity"], movie, class_id)
        row = summaries.preferred(own, gaussian=gaussian).iloc[0]
        if math.isfinite(row["D_nm2_per_s"]):
            quantity, detail = quantities.diffusion_quantity(row), _diffusion_detail(row, movie)
            method = str(row["method"])
            null = null_diffusion(results, movie, class_id, method)
            told = {"quantity": "diffusion", "class_id": class_id, "method": method}
            detail += said_beside(results, **told)
            cards.append(_card(label_of(results, class_id), class_id, quantity, detail, null))
    return cards[:MAX_CARDS]


def _diffusion_detail(row: pd.Series, movie: str) -> str:
    steps, tracks = number_of(int(row["n_displacements"]), "step"), int(row["n_tracks"])
    detail = f"{steps} of {number_of(tracks, 'track')}, {summaries.method_name(row['method'])}"
    if movie != POOLED:
        detail += f", in {movie} alone"
    return detail


def _hop_cards(results: Results) -> list[dict[str, Any]]:
    rows, movie = summaries.pooled(results.found["hop_rates"])
    cards = []
    for class_id in summaries.ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        quantity = quantities.hop_quantity(row)
        if quantity.is_known and quantity.value > 0:
            detail = f"effective number of hops {plain(row['n_hops'], 3)}"
            null = null_hops(results, movie, class_id)
            cards.append(_card(label_of(results, class_id), class_id, quantity, detail, null))
    return cards[:MAX_CARDS]


def _rate_cards(results: Results) -> list[dict[str, Any]]:
    rows, _ = summaries.pooled(summaries.shortest_lag(results.found["transitions"]))
    cards = []
    for _, row in summaries.key_transitions(rows, MAX_CARDS).iterrows():
        quantity = quantities.rate_quantity(row)
        detail = f"{number_of(int(row['count']), 'change')} counted"
        better = corrected_rate(results, row)
        if better is not None:
            better = better.like(quantity)
            detail += f"; names corrected: {better.text} ({better.interval})"
        told = {"quantity": "rate", "class_id": row["from_id"], "to_id": row["to_id"]}
        detail += said_beside(results, **told)
        source, null = int(row["from_id"]), null_rate(results, row)
        cards.append(_card(change_label(results, row), source, quantity, detail, null))
    return cards


def _creation_cards(results: Results) -> list[dict[str, Any]]:
    rows, _ = summaries.pooled(results.found["creation"])
    if rows.empty or not math.isfinite(rows["cross_section_barn"].iloc[0]):
        return []
    row = rows.iloc[0]
    made = number_of(int(row["n_created"]), "vacancy", "vacancies")
    detail = f"{made} made, {int(row['n_healed']):,} healed"
    return [_card(Markup("cross-section per atom"), 0, quantities.barn_quantity(row), detail, None)]


def _card(
    what: Markup, class_id: int, quantity: Quantity, detail: str, null: Quantity | None
) -> dict[str, Any]:
    if null is not None and not _dwarfs(null, quantity):
        null = null.like(quantity)
    return {
        "what": what,
        "role": role_of(class_id),
        "mark": marker_of(class_id),
        "quantity": quantity,
        "detail": detail,
        "null": null,
    }


def _dwarfs(null: Quantity, quantity: Quantity) -> bool:
    """Tell whether a control is too large to be written with the power of ten of its number."""
    return max(abs(null.value), abs(null.high)) > MUCH_MORE * 10.0**quantity.exponent
