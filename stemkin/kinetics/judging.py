"""What a transition matrix implies, and whether a Markov chain is a fair model of what was seen.

All of these work on the result of `transitions`, which is small; none passes over the tracks again.

>>> rows = pd.DataFrame({"particle": 1, "frame": range(9), "class_id": [0, 0, 0, 1, 1, 0, 0, 1, 1]})
>>> found = transitions(rows, lag_frames=(1, 2), frame_time_s=2.0)
>>> stationary(found).round(2).tolist()
[0.45, 0.55]
>>> reversibility(found)["p_value"]
1.0
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels import chains
from stemkin.kinetics.switching import Transitions, transitions  # noqa: F401 - for the example above
from stemkin.tables import POOLED

N_SAMPLES = 1000


def connected(found: Transitions, *, movie: str = POOLED) -> pd.Series:
    """Return the number of the set that each class belongs to; within a set every class was reached from every other.

    A chain that falls apart into several sets has no single stationary distribution, and its longest timescale is infinite.
    """
    counts = found.matrix("count", movie=movie)
    return pd.Series(chains.connected_sets(counts.to_numpy()), index=counts.index, name="set")


def stationary(found: Transitions, *, movie: str = POOLED, lag_frames: int | None = None) -> pd.Series:
    """Return the share of each class that the chain would keep for ever; NaN where there is none, or several.

    That is not the share that was seen: a movie is short, and defects are made and lost.
    """
    P = found.matrix("probability", movie=movie, lag_frames=lag_frames)
    return pd.Series(chains.stationary_distribution(P.to_numpy()), index=P.index, name="stationary")


def implied_timescales(
    found: Transitions, *, frame_time_s: float, movie: str = POOLED, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Return over which times the chain forgets, at each lag. Where classes are Markovian they do not depend on the lag.

    Parameters
    ----------
    found
        Transitions at several lags.
    frame_time_s
        Time between frames.
    movie
        A movie, or "*" for all.
    confidence
        Of the intervals, between quantiles of matrices drawn from the Dirichlet posterior of the counts.
    seed
        Of these draws.

    Returns
    -------
    Columns `lag_frames`, `rank` (1 is the slowest), `timescale_s`, `low`, `high`.
    """
    rows = []
    for lag in found.table["lag_frames"].unique().tolist():
        P, count = (found.matrix(c, movie=movie, lag_frames=lag).to_numpy() for c in ("probability", "count"))
        times = chains.implied_timescales(P, lag * frame_time_s)
        drawn = chains.sampled_matrices(count / lag, N_SAMPLES, np.random.default_rng(seed))
        sampled = chains.implied_timescales(drawn, lag * frame_time_s)
        tail = (1 - confidence) / 2
        low, high = np.quantile(sampled, (tail, 1 - tail), axis=0)
        ranks = zip(times, low, high, strict=True)
        rows += [
            {"lag_frames": lag, "rank": i + 1, "timescale_s": t, "low": a, "high": b}
            for i, (t, a, b) in enumerate(ranks)
        ]
    return pd.DataFrame(rows, columns=["lag_frames", "rank", "timescale_s", "low", "high"])


def chapman_kolmogorov(
    found: Transitions, *, movie: str = POOLED, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Test whether steps of one lag, repeated, give what is seen at its multiples: P(n lag) = P(lag)^n.

    Parameters
    ----------
    found
        Transitions at a lag and multiples of it, for instance ``lag_frames=(1, 2, 4, 8)``.
    movie
        A movie, or "*" for all.
    confidence
        Of the intervals of prediction and measurement.
    seed
        Of the draws from the Dirichlet posterior behind the prediction's interval.

    Returns
    -------
    Columns `lag_frames`, `from_id`, `to_id`, `predicted`, its `low` and `high`, `measured`, its `measured_low` and
    `measured_high`, and `agrees`: the two differ by less than both errors together allow. Wrong names break the test at
    short lags first (they look like fast switching that does not add up).
    """
    lags = found.table["lag_frames"].unique().tolist()
    columns = [
        "lag_frames",
        "from_id",
        "to_id",
        "predicted",
        "low",
        "high",
        "measured",
        "measured_low",
        "measured_high",
        "agrees",
    ]
    if not lags:
        return pd.DataFrame(columns=columns)
    first = lags[0]
    P, count = (found.matrix(c, movie=movie, lag_frames=first).to_numpy() for c in ("probability", "count"))
    drawn = chains.sampled_matrices(count / first, N_SAMPLES, np.random.default_rng(seed))
    tail, ids = (1 - confidence) / 2, np.array(found.class_ids)
    parts = []
    for lag in (lag for lag in lags[1:] if lag % first == 0):
        predicted, spread = (np.linalg.matrix_power(m, lag // first) for m in (P, drawn))
        low, high = np.quantile(spread, (tail, 1 - tail), axis=0)
        seen, below, above = (
            found.matrix(c, movie=movie, lag_frames=lag).to_numpy() for c in ("probability", "low", "high")
        )
        gap = np.where(
            seen > predicted, np.hypot(seen - below, high - predicted), np.hypot(above - seen, predicted - low)
        )
        values = (predicted, low, high, seen, below, above, np.abs(seen - predicted) <= gap)
        part = dict(zip(columns[3:], (v.ravel() for v in values), strict=True))
        parts.append(
            pd.DataFrame(
                {"lag_frames": lag, "from_id": np.repeat(ids, len(ids)), "to_id": np.tile(ids, len(ids)), **part}
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def reversibility(found: Transitions, *, movie: str = POOLED) -> dict[str, Any]:
    """Test detailed balance: does every pair of classes change into each other as often either way?

    Under a beam it need not hold; stemkin never imposes it.

    Returns
    -------
    `statistic` (twice the log-likelihood ratio), `degrees_of_freedom`, `p_value`, and `reversible` (at 1 %).
    """
    counts = found.matrix("count", movie=movie).to_numpy()
    statistic, freedom, p = chains.reversibility_test(counts)
    return {"statistic": statistic, "degrees_of_freedom": freedom, "p_value": p, "reversible": p >= 0.01}
