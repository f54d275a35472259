"""Which share of the defects that were put in is found, with an interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.kernels.common.intervals import share_interval
from stemkin.vocabulary import checked

PLACES = ("edge_nm", "neighbour_nm", "surplus")
"""Columns that tell where a defect was put."""


@checked
def efficiencies(
    injected: pd.DataFrame, *, by: str | None = None, n_bins: int = 3, confidence: float = 0.95
) -> pd.DataFrame:
    """Return which share of the defects that were put in was found, by kind. Computes once.

    Parameters
    ----------
    injected
        Table ``injected``.
    by
        A column of places, ``"neighbour_nm"``, ``"edge_nm"`` or ``"surplus"``: shares of the rows
        with the smallest values, and so on, too.
    n_bins
        In how many equal parts the rows are divided by that column.
    confidence
        Of the intervals.

    Returns
    -------
    Table ``efficiencies``: `efficiency` with `low`, `high`, and of those that were found the share
    that was named as it should be; `depth` is the mean signal of all of them, in standard deviations
    of the noise. `from` and `to` bound the part, over the whole range without `by`.

    Raises
    ------
    ValueError
        If `by` is no column of places, or there are less than one part.
    """
    tables.check_columns(injected, "injected")
    if by is not None and by not in PLACES:
        msg = f"defects that were put in are told apart by {list(PLACES)}, not by {by!r}"
        raise ValueError(msg)
    if n_bins < 1:
        msg = f"rows are divided in 1 part or more, not in {n_bins}"
        raise ValueError(msg)
    values, parts = np.zeros(len(injected)), np.zeros(len(injected), int)
    if by is not None:
        values = injected[by].to_numpy()
        parts = (pd.Series(values).rank(method="first", pct=True) * n_bins).to_numpy()
        parts = np.minimum(np.ceil(parts).astype(int), n_bins) - 1
    rows = []
    for key, own in injected.groupby(["class_id", parts]):
        class_id, part = np.asarray(key).astype(int).tolist()
        here = values[parts == part]
        bounds = {"from": np.nan, "to": np.nan}
        if by is not None:
            bounds = {"from": here.min(), "to": here.max()}
        shares = _shares(own, class_id, confidence)
        rows.append({"class_id": class_id, "by": by or "", **bounds, **shares})
    if not rows:
        return tables.empty("efficiencies")
    return tables.conform(pd.DataFrame(rows), "efficiencies")


def _shares(own: pd.DataFrame, class_id: int, confidence: float) -> dict[str, float]:
    """Return the columns of ``efficiencies`` for defects of one kind."""
    n, found = len(own), int(own["found"].sum())
    named = int((own["found"] & (own["found_class_id"] == class_id)).sum())
    share, signal = found / n, own["signal"].abs()
    # were all of them a little deeper, those close to the threshold would decide
    on_edge = ((signal - own["least_signal"]).abs() < 0.5).mean()
    of_depth = float(on_edge * own["depth_error"].mean())
    of_count = max(share * (1 - share), 0.5 / n) / n
    if np.isfinite(of_depth):
        # as if so many fewer had been put in as the depth is not known
        n_told = n * of_count / (of_count + of_depth**2)
    else:
        n_told = float(n)
    low, high = share_interval(np.array(share * n_told), np.array(n_told), confidence=confidence)
    named_low, named_high = share_interval(np.array(named), np.array(found), confidence=confidence)
    return {
        "n_injected": n,
        "n_found": found,
        "efficiency": share,
        "low": float(low),
        "high": float(high),
        "named": named / found if found else float("nan"),
        "named_low": float(named_low),
        "named_high": float(named_high),
        "depth": float(signal.mean()),
    }
