"""Kinetics below the detection limit: D tracked and D from correlations of sites, side by side."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from stemkin.plot.numerals import plain
from stemkin.plot.palette import marker_of, role_of
from stemkin.report.intervals import Row, interval_table
from stemkin.report.rates import matrix_cell
from stemkin.report.results import Results
from stemkin.report.words import Quantity, percent

MAX_MOVIES = 20
"""Rows of so many movies are shown; all of them stand in the tables."""

GREY = "unnamed"
"""Colour of a tracked answer that does not lead."""

QUANTITIES = ("attachment", "detachment", "rotation")


def faint_section(results: Results) -> dict[str, Any] | None:
    """Return both answers to how fast vacancies move, and the chains of dopants; None without sites."""
    hops = results.found["hopping"]
    if hops.empty:
        return None
    both = results.found["both_answers"]
    return {
        "table": interval_table(
            "D", "nm²/s", _rows_of_D(both[:MAX_MOVIES]), ("depth of a vacancy (noise = 1)",)
        ),
        "says": [_sentence(row) for _, row in both[:MAX_MOVIES].iterrows()],
        "numbers": [_numbers(row) for _, row in hops[:MAX_MOVIES].iterrows()],
        "rates": interval_table(
            "rate", "per s", _rows_of_rates(results.found["dopant_rates"]), ("events expected",)
        ),
        "matrices": matrices_of_states(results.found["dopant_transitions"]),
        "hidden": max(0, len(hops) - MAX_MOVIES),
    }


def _rows_of_D(both: pd.DataFrame) -> list[Row]:  # noqa: N802 - physics writes D
    """Return two rows a movie, the leading answer first; a tracked one that does not lead is grey."""
    rows = []
    for number, (_, row) in enumerate(both.iterrows()):
        leads = str(row["leads"])
        for answer in sorted(("tracked", "correlated"), key=lambda name: name != leads):
            quantity = Quantity(
                float(row[answer]), float(row[f"{answer}_low"]), float(row[f"{answer}_high"])
            )
            role, words = role_of(number), answer
            if answer == "tracked" and leads != answer:
                role, words = GREY, "tracked; frames show too few vacancies"
            elif answer == leads and quantity.is_known:
                words = f"{answer}; leads"
            cells = (plain(float(row["depth"]), 2),)
            label = Markup("{}").format(row["movie"])
            rows.append(Row(label, role, marker_of(number), quantity, None, cells, words))
    return rows


def _sentence(row: pd.Series) -> Markup:
    """Say whether the two answers agree, and which of them is to be believed."""
    movie, depth = str(row["movie"]), plain(float(row["depth"]), 2)
    if row["verdict"] == "agree":
        text = Markup("<b>{}</b>: the two answers agree within their intervals.")
    elif row["verdict"] == "disagree":
        text = Markup(
            "<b>{}</b>: the two answers disagree by more than their intervals allow. What one of them "
            "assumes does not hold: single frames miss vacancies or take others for them (tracked), "
            "or not all vacancies hop alike (correlated)."
        )
    else:
        missing = "the tracked one"
        if math.isnan(float(row["correlated"])):
            missing = "the correlated one"
        text = Markup("<b>{}</b>: {} is not known, so nothing stands beside the other.")
        return text.format(movie, missing)
    if row["leads"] == "correlated":
        text += Markup(
            " A vacancy stands {} times the noise of one frame deep, so that most frames miss many: "
            "believe the correlated one."
        ).format(depth)
    return text.format(movie)


def _numbers(row: pd.Series) -> dict[str, Any]:
    """Return what correlations say of one movie, in words."""
    mobile = Quantity(float(row["n_mobile"]), float(row["n_low"]), float(row["n_high"]))
    hops = Quantity(float(row["hop_rate_per_s"]), float(row["hop_low"]), float(row["hop_high"]))
    share, fit = float(row["static_share"]), float(row["chi2"]) / max(float(row["freedom"]), 1.0)
    return {
        "movie": str(row["movie"]),
        "hops": f"{hops.text} ({hops.interval})" if hops.is_known else "nothing hops",
        "power": hops.times if hops.is_known else "",
        "mobile": f"{mobile.text} ({mobile.interval})" if mobile.is_known else "not known",
        "still": percent(share) if math.isfinite(share) else "not known",
        "fit": plain(fit, 2),
        "frames": f"{int(row['n_frames']):,}",
        "sites": f"{int(row['n_sites']):,}",
        "lags": f"{int(row['max_lag_frames']):,}",
    }


def _rows_of_rates(rates: pd.DataFrame) -> list[Row]:
    """Return one row for each rate of the dopants of each movie."""
    rows = []
    for _, row in rates[: len(QUANTITIES) * MAX_MOVIES].iterrows():
        number = QUANTITIES.index(str(row["quantity"]))
        quantity = Quantity(float(row["rate_per_s"]), float(row["low"]), float(row["high"]))
        label = Markup("{}").format(row["quantity"])
        cells = (plain(float(row["n_events"]), 2),)
        movie = _movie(row["movie"])
        role, mark = role_of(number), marker_of(number)
        rows.append(Row(label, role, mark, quantity, None, cells, movie))
    return rows


def _movie(name: object) -> str:
    """Return what a movie is called; dopants of all together stand under a star."""
    if name == "*":
        return "all movies"
    return str(name)


def matrices_of_states(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the matrix of the four states of dopants of the first movies."""
    found = []
    for movie, own in list(rows.groupby("movie", sort=True))[:2]:
        names = list(dict.fromkeys(own["from_state"]))
        number = {name: i for i, name in enumerate(names)}
        cells = {
            (number[row["from_state"]], number[row["to_state"]]): matrix_cell(row)
            for _, row in own.iterrows()
        }
        totals = own.groupby("from_state")["count"].sum()
        found.append(
            {
                "movie": _movie(movie),
                "ids": list(range(len(names))),
                "labels": names,
                "cells": cells,
                "totals": {number[name]: round(totals[name]) for name in names},
            }
        )
    return found
