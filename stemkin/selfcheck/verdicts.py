"""Estimates of many replicas beside the truth: bias, coverage, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from stemkin.kernels.common.intervals import share_interval
from stemkin.tables import conform, empty

LARGEST_BIAS = 0.10
"""A relative bias that is not worth a warning."""
SURE_BY = 3.0
"""So many standard errors of its own a bias must be from zero to be told."""
SHORT_BY = 0.02
"""Coverage may be so much below what an interval claims: 93 % for 95 %."""

KEYS = ("quantity", "class_id", "to_id", "method")


def judged_estimates(
    estimates: pd.DataFrame,
    truths: Mapping[tuple[Any, ...], float],
    *,
    n_asked: Mapping[str, int],
    share: float,
) -> pd.DataFrame:
    """Return the table ``self_check``: each quantity's bias and coverage over the replicas.

    Parameters
    ----------
    estimates
        Columns of `KEYS`, `estimate`, `low`, `high`: one row per replica. Rows without a finite
        estimate or without both ends (infinity is an end) count as not answered.
    truths
        (quantity, class, other class) → what was put in; other estimates are left out.
    n_asked
        Quantity → how many replicas were asked; those without a row did not answer.
    share
        Of the experiment's rows that each replica holds.

    Returns
    -------
    One row per quantity, class and method. `bias` is relative to the truth (NaN where that is 0),
    `coverage` with its own 95 % interval; `half_width` is the median of half the interval, and
    `n_runs` how many replicas had an answer, of `n_asked`.
    """
    parts = []
    for found, own in estimates.groupby(list(KEYS), sort=True):
        key = cast("tuple[str, int, int, str]", found)
        quantity, class_id, to_id, _ = key
        if (quantity, class_id, to_id) in truths:
            words: dict[str, Any] = dict(zip(KEYS, key, strict=True))
            numbers = _numbers(own, truths[quantity, class_id, to_id])
            parts.append(words | numbers | {"n_asked": n_asked[quantity], "share": share})
    if not parts:
        return empty("self_check")
    return conform(pd.DataFrame(parts), "self_check")


def _numbers(own: pd.DataFrame, truth: float) -> dict[str, Any]:
    """Return what the estimates of one quantity say of themselves, given the `truth`."""
    estimate, low, high = (own[c].to_numpy(float) for c in ("estimate", "low", "high"))
    answered = np.isfinite(estimate) & ~np.isnan(low) & ~np.isnan(high)
    n, n_held = int(answered.sum()), int(((low <= truth) & (truth <= high) & answered).sum())
    mean = bias = error = coverage = least = most = half = np.nan
    if n:
        mean = float(estimate[answered].mean())
        half = float(np.median((high - low)[answered]) / 2)
        coverage = n_held / n
        ends = share_interval(np.array(n_held), np.array(n))
        least, most = (float(end) for end in ends)
    if n > 1:
        error = float(estimate[answered].std(ddof=1) / np.sqrt(n))
    if n and truth != 0:
        bias, error = (mean - truth) / abs(truth), error / abs(truth)
    return {
        "truth": truth,
        "mean_estimate": mean,
        "bias": bias,
        "bias_error": error,
        "half_width": half,
        "coverage": coverage,
        "coverage_low": least,
        "coverage_high": most,
        "n_runs": n,
    }


def is_biased(row: Mapping[str, Any] | pd.Series) -> bool:
    """Tell whether a row of ``self_check`` is off by more than chance, and by more than a little."""
    bias, error = float(row["bias"]), float(row["bias_error"])
    return bool(abs(bias) > max(LARGEST_BIAS, SURE_BY * error))


def is_undercovered(row: Mapping[str, Any] | pd.Series, *, confidence: float = 0.95) -> bool:
    """Tell whether the interval of a row of ``self_check`` holds the truth too seldom for chance."""
    return bool(float(row["coverage_high"]) < confidence - SHORT_BY)


def verdict_words(row: Mapping[str, Any] | pd.Series) -> str:
    """Return what is said beside a number: how often its interval holds the truth, and its bias.

    >>> verdict_words({"coverage": 0.94, "bias": -0.012, "bias_error": 0.004})
    'the interval holds the truth in 94 %, bias −1.2 ± 0.4 %'
    >>> verdict_words({"coverage": 1.0, "bias": float("nan"), "bias_error": 0.1})
    'the interval holds the truth in 100 %'
    """
    words = f"the interval holds the truth in {100 * float(row['coverage']):.0f} %"
    bias, error = 100 * float(row["bias"]), 100 * float(row["bias_error"])
    if np.isfinite(bias) and np.isfinite(error):
        words += f", bias {bias:+.1f} ± {error:.1f} %".replace("-", "−")
    return words
