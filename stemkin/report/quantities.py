"""Rows of tables as quantities: a value with its interval and unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stemkin.report.words import Quantity


def diffusion_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return D of a row of ``diffusion``."""
    return Quantity(float(row["D_nm2_per_s"]), float(row["low"]), float(row["high"]), "nm²/s")


def hop_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the rate of a row of ``hop_rates``."""
    return Quantity(float(row["hop_rate_per_s"]), float(row["low"]), float(row["high"]), "per s")


def rate_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the rate of a row of ``transitions``."""
    ends = (float(row["rate_low"]), float(row["rate_high"]))
    return Quantity(float(row["rate_per_s"]), *ends, "per s")


def dwell_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the mean dwell time of a row of ``dwell_times``.

    Its interval is the inverse of the exit rate's: without an end above where the rate may be 0.
    """
    slowest, fastest = float(row["low"]), float(row["high"])
    low = high = math.nan
    if fastest > 0:
        low = 1 / fastest
    if slowest > 0:
        high = 1 / slowest
    elif slowest == 0:
        high = math.inf
    return Quantity(float(row["mean_dwell_s"]), low, high, "s")


def leaving_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the mean dwell time of a diagonal row of ``transitions``: one over minus its rate."""
    value, high, low = (
        _inverse(-float(row[column])) for column in ("rate_per_s", "rate_high", "rate_low")
    )
    return Quantity(value, low, high, "s")


def _inverse(rate: float) -> float:
    if rate > 0:
        return 1 / rate
    return math.inf


def number_quantities(row: Mapping[str, Any] | pd.Series) -> tuple[Quantity, Quantity]:
    """Return the mean number per frame of a row of ``abundances``, as seen and corrected."""
    seen = Quantity(float(row["mean_number"]), float(row["low"]), float(row["high"]), "per frame")
    ends = (float(row["corrected_low"]), float(row["corrected_high"]))
    return seen, Quantity(float(row["corrected_number"]), *ends, "per frame")


def barn_quantity(row: Mapping[str, Any] | pd.Series) -> Quantity:
    """Return the cross-section of a row of ``creation`` or ``beam_transitions``."""
    return Quantity(float(row["cross_section_barn"]), float(row["low"]), float(row["high"]), "barn")
