"""What a transition matrix implies, and whether a Markov chain is a fair model of what was seen.

All of these work on the result of `transitions`, which is small; none passes over the tracks again.

>>> rows = pd.DataFrame({"particle": 1, "frame": range(9), "class_id": [0, 0, 0, 1, 1, 0, 0, 1, 1]})
>>> found = transitions(rows, lag_frames=(1, 2), frame_time_s=2.0)
>>> stationary(found)["share"].round(2).tolist()
[0.45, 0.55]
>>> reversibility(found)["p_value"].tolist()
[1.0]
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.kernels.chains import chain_tests
from stemkin.kinetics.changes import Transitions, transitions  # noqa: F401 - for the example above
from stemkin.tables import POOLED
from stemkin.vocabulary import checked

N_SAMPLES = 1000


@checked
def connected(found: Transitions, *, movie: str = POOLED) -> pd.Series:
    """Return the number of the connected set that each class belongs to.

    Within a set every class was reached from every other. A chain that falls apart into several
    sets has no single stationary distribution, and its longest timescale is infinite.

    Parameters
    ----------
    found
        What `transitions` returns.
    movie
        A movie, or "*" for all.
    """
    counts = found.matrix("count", movie=movie)
    return pd.Series(chain_tests.connected_sets(counts.to_numpy()), index=counts.index, name="set")


@one_thread
@checked
def stationary(
    found: Transitions, *, movie: str = POOLED, lag_frames: int | None = None
) -> pd.DataFrame:
    """Return the stationary distribution: the share of each class that the chain would keep.

    Parameters
    ----------
    found
        What `transitions` returns.
    movie
        A movie, or "*" for all.
    lag_frames
        By default the first lag.

    Returns
    -------
    Column `share`, one row per class, labelled by it; NaN where there is no such distribution, or
    several. Classes that were never seen in a track have no share, and do not spoil that of the
    others. This is not the share that was seen: a movie is short, and defects are made and lost.
    """
    P = found.matrix("probability", movie=movie, lag_frames=lag_frames)
    seen = _seen(found, movie, lag_frames)
    share = np.full(len(P), np.nan)
    share[seen] = chain_tests.stationary_distribution(P.to_numpy()[np.ix_(seen, seen)])
    return pd.DataFrame({"share": share}, index=P.index)


@one_thread
@checked
def chain_states(found: Transitions, *, movie: str = POOLED) -> pd.DataFrame:
    """Return the connected set and the stationary share of each class.

    Parameters
    ----------
    found
        What `transitions` returns.
    movie
        A movie, or "*" for all.

    Returns
    -------
    Columns `class_id`, `set` (see `connected`), `seen_share` of all pairs, `stationary_share`; one
    row per class. Each set that is never left is a chain of its own, whose shares add up to 1; the
    classes of a set that is left for good have the share 0. A class that was never seen in two
    frames of a track is in no set (-1).
    """
    ids = np.array(found.class_ids, dtype=np.int64)
    table = pd.DataFrame(
        {"class_id": ids.astype(np.int16), "set": -1, "seen_share": 0.0, "stationary_share": np.nan}
    )
    if not len(ids) or found.table.empty:
        return table.iloc[:0]
    counts = found.matrix("count", movie=movie).to_numpy()
    P = found.matrix("probability", movie=movie).to_numpy()
    seen = _seen(found, movie, None)
    sets = np.full(len(ids), -1)
    sets[seen] = chain_tests.connected_sets(counts[np.ix_(seen, seen)])
    share = np.full(len(ids), np.nan)
    for number in range(sets.max() + 1):
        own = np.flatnonzero(sets == number)
        left = counts[own].sum() > counts[np.ix_(own, own)].sum()
        share[own] = 0.0
        if not left:
            share[own] = chain_tests.stationary_distribution(P[np.ix_(own, own)])
    at_risk = counts.sum(axis=1)
    return table.assign(
        set=sets, seen_share=at_risk / max(at_risk.sum(), 1), stationary_share=share
    )


def _frame_time(found: Transitions, movie: str, frame_time_s: float | None) -> float:
    """Return the time between frames of `movie`, or of all movies; NaN where these have several.

    Raises
    ------
    ValueError
        If it is not known.
    """
    if frame_time_s is not None:
        return frame_time_s
    known = found.frame_times
    times = {seconds for name, seconds in known.items() if movie in (POOLED, name)}
    if not times or any(np.isnan(seconds) for seconds in times):
        msg = (
            "the time between frames is not known; pass frame_time_s=... (or experiment=...) to "
            "`transitions`"
        )
        raise ValueError(msg)
    if len(times) > 1:
        return np.nan
    return times.pop()


def _seen(found: Transitions, movie: str, lag_frames: int | None) -> np.ndarray:
    """Return the places of the classes that were counted at all."""
    counts = found.matrix("count", movie=movie, lag_frames=lag_frames).to_numpy()
    return np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1) > 0)


def _known(found: Transitions, movie: str, lag_frames: int) -> np.ndarray:
    """Return the places of the classes that were seen again: of others nothing is known."""
    counts = found.matrix("count", movie=movie, lag_frames=lag_frames).to_numpy()
    return np.flatnonzero(counts.sum(axis=1) > 0)


def _stacked(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Return the `parts` below each other; without any an empty table with the `columns`."""
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)


@one_thread
@checked
def implied_timescales(
    found: Transitions,
    *,
    frame_time_s: float | None = None,
    movie: str = POOLED,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the implied timescales, over which the chain forgets, at each lag.

    Where classes are Markovian they do not depend on the lag.

    Parameters
    ----------
    found
        Transitions at several lags.
    frame_time_s
        Time between frames; by default what `found` knows of its movies.
    movie
        A movie, or "*" for all.
    confidence
        Of the intervals, between quantiles of matrices drawn from the Dirichlet posterior of the
        counts.
    seed
        Of these draws.

    Returns
    -------
    Columns `lag_frames`, `set`, `rank` (1 is the slowest of its set), `timescale_s`, `low`, `high`.
    Classes that were never seen to turn into each other belong to different sets (see
    `chain_states`), each with timescales of its own; classes that were never seen in a track are
    left out.
    """
    rows = []
    lags = found.table["lag_frames"].unique().tolist()
    seconds = np.nan
    if lags:
        seconds = _frame_time(found, movie, frame_time_s)
    for lag in lags:
        seen = np.ix_(*(_known(found, movie, lags[0]),) * 2)
        P, count = (
            found.matrix(c, movie=movie, lag_frames=lag).to_numpy()[seen]
            for c in ("probability", "count")
        )
        sets = chain_tests.connected_sets(
            found.matrix("count", movie=movie, lag_frames=lags[0]).to_numpy()[seen]
        )
        drawn = chain_tests.sampled_matrices(
            count / lag, N_SAMPLES, np.random.default_rng(seed), sets=sets
        )
        times, which = chain_tests.set_timescales(P, sets, lag * seconds)
        # few counts may say that a set is left for good where a drawn matrix cannot, and the other
        # way round
        sampled, _ = chain_tests.set_timescales(
            drawn, sets, lag * seconds, closed=chain_tests.never_left(P, sets)
        )
        tail = (1 - confidence) / 2
        with np.errstate(invalid="ignore"):  # between two that never end there is no number: NaN
            low, high = times, times
            if len(which):
                low, high = np.quantile(sampled, (tail, 1 - tail), axis=0)
        rank = [int((which[:i] == which[i]).sum()) + 1 for i in range(len(which))]
        own = {"set": which, "rank": rank, "timescale_s": times, "low": low, "high": high}
        rows.append(pd.DataFrame({"lag_frames": lag, **own}))
    columns = ["lag_frames", "set", "rank", "timescale_s", "low", "high"]
    return _stacked(rows, columns)


COMPARED = [
    "lag_frames", "from_id", "to_id",
    "predicted", "low", "high",
    "measured", "measured_low", "measured_high", "agrees",
]  # fmt: skip
"""Columns of the table that `chapman_kolmogorov` returns."""


@one_thread
@checked
def chapman_kolmogorov(
    found: Transitions, *, movie: str = POOLED, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Test the Chapman-Kolmogorov equation: is P(n lag) that is seen the n-th power of P(lag)?

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
    Columns `lag_frames`, `from_id`, `to_id` (of the classes that were seen), `predicted`, its `low`
    and `high`, `measured`, its `measured_low` and `measured_high`, and `agrees`: the two differ by
    less than both errors together allow. Wrong names break the test at short lags first (they look
    like fast switching that does not add up).
    """
    lags = found.table["lag_frames"].unique().tolist()
    if not lags:
        return pd.DataFrame(columns=COMPARED)
    first, places = lags[0], _known(found, movie, lags[0])
    seen = np.ix_(places, places)
    P, count = (
        found.matrix(c, movie=movie, lag_frames=first).to_numpy()[seen]
        for c in ("probability", "count")
    )
    drawn = chain_tests.sampled_matrices(count / first, N_SAMPLES, np.random.default_rng(seed))
    tail, ids = (1 - confidence) / 2, np.array(found.class_ids)[places]
    parts = []
    for lag in (lag for lag in lags[1:] if lag % first == 0):
        predicted, spread = (np.linalg.matrix_power(m, lag // first) for m in (P, drawn))
        low, high = np.quantile(spread, (tail, 1 - tail), axis=0)
        measured, below, above = (
            found.matrix(c, movie=movie, lag_frames=lag).to_numpy()[seen]
            for c in ("probability", "low", "high")
        )
        # of either interval only the side that faces the other number counts
        over = np.hypot(measured - below, high - predicted)
        under = np.hypot(above - measured, predicted - low)
        gap = np.where(measured > predicted, over, under)
        agrees = np.abs(measured - predicted) <= gap
        values = (predicted, low, high, measured, below, above, agrees)
        pair = (np.full(len(ids) ** 2, lag), np.repeat(ids, len(ids)), np.tile(ids, len(ids)))
        columns = [*pair, *(value.ravel() for value in values)]
        parts.append(pd.DataFrame(dict(zip(COMPARED, columns, strict=True))))
    return _stacked(parts, COMPARED)


@one_thread
@checked
def reversibility(found: Transitions, *, movie: str = POOLED) -> pd.DataFrame:
    """Test detailed balance: does every pair of classes change into each other as often either way?

    Under a beam it need not hold; stemkin never imposes it.

    Parameters
    ----------
    found
        What `transitions` returns.
    movie
        A movie, or "*" for all.

    Returns
    -------
    One row: `statistic` (twice the log-likelihood ratio), `degrees_of_freedom`, `p_value`, and
    `reversible` (at 1 %).
    """
    counts = found.matrix("count", movie=movie).to_numpy()
    statistic, freedom, p = chain_tests.reversibility_test(counts)
    test = {"statistic": statistic, "degrees_of_freedom": freedom, "p_value": p}
    return pd.DataFrame([{**test, "reversible": p >= 0.01}])
