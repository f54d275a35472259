"""The numbers on top of the report, each with its interval and its null control."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from stemkin.report import summaries
from stemkin.report.lookups import (
    corrected_rate,
    is_gaussian,
    label_of,
    null_diffusion,
    null_hops,
    null_rate,
    ordered,
    shortest_lag,
)
from stemkin.report.palette import mark_of, role_of
from stemkin.report.results import Results
from stemkin.report.words import Quantity, counted, plain
from stemkin.tables import POOLED

MAX_CARDS = 4
MUCH_MORE = 1e4
"""A control that is larger than this, in the power of ten of its number, is written in a power of
its own."""


def headline(results: Results) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the cards on top in titled groups: D per class, then the most counted changes of
    class."""
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
    for class_id in ordered(rows["class_id"]):
        row = summaries.preferred(
            rows[rows["class_id"] == class_id], gaussian=is_gaussian(results, movie, class_id)
        ).iloc[0]
        if not math.isfinite(row["D_nm2_per_s"]):
            continue
        detail = (
            f"{counted(int(row['n_displacements']), 'step')} of "
            f"{counted(int(row['n_tracks']), 'track')}, {summaries.method_name(row['method'])}"
        )
        detail = detail if movie == POOLED else f"{detail}, in {movie} alone"
        null = null_diffusion(results, movie, class_id, str(row["method"]))
        cards.append(
            _card(
                label_of(results, class_id),
                class_id,
                summaries.diffusion_quantity(row),
                detail,
                null,
            )
        )
    return cards[:MAX_CARDS]


def _hop_cards(results: Results) -> list[dict[str, Any]]:
    rows, movie = summaries.pooled(results.found["hop_rates"])
    cards = []
    for class_id in ordered(rows["class_id"]):
        row = rows[rows["class_id"] == class_id].iloc[0]
        quantity = summaries.hop_quantity(row)
        if quantity.is_known and quantity.value > 0:
            null = null_hops(results, movie, class_id)
            cards.append(
                _card(
                    label_of(results, class_id),
                    class_id,
                    quantity,
                    f"worth {plain(row['n_hops'], 3)} hops",
                    null,
                )
            )
    return cards[:MAX_CARDS]


def _rate_cards(results: Results) -> list[dict[str, Any]]:
    rows, _ = summaries.pooled(shortest_lag(results.found["transitions"]))
    cards = []
    for _, row in summaries.key_transitions(rows, MAX_CARDS).iterrows():
        source, target = int(row["from_id"]), int(row["to_id"])
        what = Markup("{} → {}").format(label_of(results, source), label_of(results, target))
        detail = f"{counted(int(row['count']), 'change')} counted"
        better = corrected_rate(results, row)
        if better is not None:
            better = better.like(summaries.rate_quantity(row))
            detail += f"; names corrected: {better.text} ({better.interval})"
        cards.append(
            _card(what, source, summaries.rate_quantity(row), detail, null_rate(results, row))
        )
    return cards


def _creation_cards(results: Results) -> list[dict[str, Any]]:
    rows, _ = summaries.pooled(results.found["creation"])
    if rows.empty or not math.isfinite(rows["cross_section_barn"].iloc[0]):
        return []
    row = rows.iloc[0]
    detail = (
        f"{counted(int(row['n_created']), 'vacancy', 'vacancies')} made, {int(row['n_healed']):,} "
        "healed"
    )
    return [_card(Markup("cross-section per atom"), 0, summaries.barn_quantity(row), detail, None)]


def _card(
    what: Markup, class_id: int, quantity: Quantity, detail: str, null: Quantity | None
) -> dict[str, Any]:
    if (
        null is not None
        and not max(abs(null.value), abs(null.high)) > MUCH_MORE * 10.0**quantity.exponent
    ):
        null = null.like(quantity)
    return {
        "what": what,
        "role": role_of(class_id),
        "mark": mark_of(class_id),
        "quantity": quantity,
        "detail": detail,
        "null": null,
    }
