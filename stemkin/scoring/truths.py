"""What the comparisons share: which truths a row belongs to, and how a comparison is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stemkin.tables import POOLED


class Comparison(NamedTuple):
    """One estimate beside its true value; the fields are columns of `Score.estimates`."""

    quantity: str
    movie: str
    what: str
    true: float
    found: float
    low: float = np.nan
    high: float = np.nan
    counted: float = np.nan
    limit: float = np.nan


def truths_of(truths: Mapping[str, Any], movie: str) -> list[Any]:
    """Return the truths that a row of `movie` belongs to: all of them for the pooled one."""
    if movie == POOLED:
        return list(truths.values())
    return [truth for name, truth in truths.items() if name == movie]


def simulated(truths: Sequence[Any]) -> list[Any]:
    """Return those of `truths` whose rates are known because they were simulated."""
    return [truth for truth in truths if hasattr(truth, "settings")]


def mean_of(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing."""
    if len(values) == 0:
        return np.nan
    return float(np.mean(values))


def counting_error(value: float, n_events: float) -> float:
    """Return the standard error of a rate that `n_events` events gave, NaN without any."""
    if not n_events:
        return np.nan
    return float(value / np.sqrt(n_events))
