"""Where beside its dopant a vacancy sits: the chain of {alone, @0, @1, @2}, and its symmetry.

A dopant has three neighbouring columns that may hold a vacancy (the `orientation` of a complex), so
the classes "Mo_W" and "Mo_W+V_S" of one tracked dopant are four states. By the three-fold axis of
the site they have three rates: attachment (alone to any of the three), detachment, and rotation
from one column to another. Pooling over the symmetry gives each the counts of all its entries.

>>> rows = pd.DataFrame({"particle": 1, "frame": range(8)})
>>> rows = rows.assign(class_id=[0, 0, 1, 1, 1, 1, 0, 0], orientation=[-1, -1, 0, 0, 1, 1, -1, -1])
>>> found = orientations(rows, alone="Mo", bound="Mo+V", experiment=_AN_EXPERIMENT)
>>> found.rates.query("movie == '*'")[["quantity", "n_events"]].values.tolist()[:3]
[['attachment', 1], ['detachment', 1], ['rotation', 1]]

Source: the four states of Maksov et al., npj Comput. Mater. 5, 12 (2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from stemkin.kernels.chains.rate_intervals import endless
from stemkin.kernels.chains.tied_rates import TiedRates
from stemkin.kernels.common.intervals import share_interval
from stemkin.kinetics.changes import question_of_changes, spans
from stemkin.kinetics.counts import MAX_GAP, count_transitions, counts_of
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import surely_named, whole_numbers
from stemkin.tables import NOT_NAMED, Experiment, check_columns

N_COLUMNS = 3
STATES = ("alone", *(f"@{i}" for i in range(N_COLUMNS)))
"""The states of a dopant: without a vacancy, and with one on each of its columns."""

ATTACHMENT, DETACHMENT, ROTATION = "attachment", "detachment", "rotation"
FORWARD, BACKWARD = "rotation forward", "rotation backward"
"""Rates: from alone to any column; from a column to alone; from a column to each of the others;
and, where these need not be alike, to the next and to the one before."""

_AN_EXPERIMENT = Experiment(
    pd.DataFrame({"movie": ["movie"], "n_frames": [8], "frame_time_s": [1.0]}),
    None,
    pd.DataFrame({"class_id": [0, 1], "name": ["Mo", "Mo+V"]}),
)


@dataclass(frozen=True, eq=False)
class OrientationChain:
    """The chain of the orientations of a complex.

    Attributes
    ----------
    transitions
        Table ``orientation_transitions``: the four states as they were counted, and pooled over the
        symmetry of the site (`symmetric`).
    rates
        Table ``orientation_rates``.
    """

    transitions: pd.DataFrame
    rates: pd.DataFrame

    def matrix(
        self, column: str = "probability", *, movie: str = "*", symmetric: bool = False
    ) -> pd.DataFrame:
        """Return a column of `transitions` as a (4, 4) matrix, from row to column.

        Parameters
        ----------
        column
            ``"count"``, ``"probability"``, ``"rate_per_s"``, ...
        movie
            A movie, or "*" for all.
        symmetric
            Whether pooled over the symmetry.

        Raises
        ------
        ValueError
            If there is none of that movie, or several (groups).
        """
        own = self.transitions
        own = own[(own["movie"] == movie) & (own["symmetric"] == symmetric)]
        if len(own) != len(STATES) ** 2:
            there = sorted(self.transitions["movie"].unique().tolist())[:5]
            msg = f"there is no one chain of orientations of movie {movie!r}; name one of {there}"
            raise ValueError(msg)
        values = own[column].to_numpy().reshape(len(STATES), len(STATES))
        return pd.DataFrame(values, index=list(STATES), columns=list(STATES))


@verb
def orientations(
    tracks: Any,
    *,
    bound: str | None = None,
    alone: str | None = None,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[OrientationChain]:
    """Count how a dopant takes up, turns and lets go a vacancy. Computes once: one pass.

    Parameters
    ----------
    tracks
        Table ``tracks`` with `orientation` (pandas or Dask).
    bound, alone
        Names of the class of the complex, and of the dopant by itself. By default the class with
        the most detections whose name is that of another one, a + and a vacancy ("Mo_W+V_S" and
        "Mo_W").
    by
        As in `transitions`.
    experiment, frame_time_s
        Where names and frame times come from; by default from the tracks themselves.
    confidence
        Of all intervals.

    Returns
    -------
    OrientationChain
        Its `transitions` at a lag of one frame, rates across gaps too, as of
        `stemkin.transitions`; where `symmetric`, an entry has the counts of all entries that the
        symmetry carries into it. Its `rates`: attachment, detachment and rotation with
        their intervals; rotation forward (@0 to @1 to @2 to @0) and backward
        where the two need not be alike, with the probability `p_value` of as large a difference if
        they are. Without a complex among the classes both are empty.

    Raises
    ------
    ValueError
        If a column is missing, there is no class of a name that is given, or as in `transitions`.
    """
    check_columns(tracks, "tracks", needed=("frame", "particle", "class_id", "orientation"))
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    grouping = Grouping.of(by, tracks, calibrations)
    time_of = calibrations.frame_times()
    ids, name = _classes_meant(calibrations.experiment, bound, alone)
    counted = question_of_changes(
        grouping,
        time_of,
        lags=[1],
        names=dict(enumerate(STATES)),
        class_ids=range(len(STATES)),
        confidence=confidence,
    )

    def finished(sums: Sums, again: Sums) -> OrientationChain:
        states = tuple(range(len(STATES)))
        found, counts, rows, rates = counted.finish(sums).table, counts_of(again, states), [], []
        for group, keys in grouping.groups(counts):
            own = [counts[key] for key in keys]
            times = [time_of(key[0]) for key in keys]
            pairs = spans([matrix[-MAX_GAP:] for matrix in own], times)
            one = np.sum([matrix[0] for matrix in own], axis=0)
            seconds = np.tensordot(times, [matrix[0] for matrix in own], axes=1)
            fitted = _fitted(*pairs, confidence)
            one_time = len(set(times)) == 1
            rows.append((group, _pooled_rows(one, fitted, confidence, known=one_time)))
            rates.append((group, _rate_rows(one, seconds, fitted)))
        pooled = grouping.table(rows, "orientation_transitions")
        as_counted = _with_states(found, pooled.columns)
        both = pd.concat([as_counted, pooled], ignore_index=True)
        table = grouping.table(rates, "orientation_rates")
        return OrientationChain(both.assign(complex=name), table.assign(complex=name))

    view = partial(in_orientations, ids=ids)
    (count,) = counted.adds
    again = partial(
        count_transitions,
        max_lag=1,
        states=tuple(range(len(STATES))),
        grouping=grouping.of_rows(),
    )
    return Question((count, again), finished).through(view)


def in_orientations(rows: pd.DataFrame, *, ids: tuple[int, int] | None) -> pd.DataFrame:
    """Return the `rows` with a number of `STATES` as their class.

    Parameters
    ----------
    rows
        pandas table ``tracks``.
    ids
        Class of the dopant alone, and of the complex; all other rows are not named, as are
        complexes whose orientation is not known. None: no row is.
    """
    rows = surely_named(rows)
    named, turn = whole_numbers(rows, "class_id"), rows["orientation"].to_numpy()
    state = np.full(len(rows), NOT_NAMED)
    if ids is not None:
        state[named == ids[0]] = 0
        known = (named == ids[1]) & (turn >= 0) & (turn < N_COLUMNS)
        state[known] = 1 + turn[known]
    return rows.assign(class_id=state)


def _classes_meant(
    known: Experiment | None, bound: str | None, alone: str | None
) -> tuple[tuple[int, int] | None, str]:
    """Return the classes of the dopant alone and of the complex, and the name of the latter."""
    if known is None:
        known = Experiment(pd.DataFrame({"movie": []}))
    if bound is not None or alone is not None:
        name, dopant = _named_pair(bound, alone)
        return (known.class_id(dopant), known.class_id(name)), name
    if known.classes is None or "name" not in known.classes.columns:
        return None, ""
    classes = known.classes
    names = classes["name"].astype(str)
    known_names = set(names)
    of_a_pair = ["+" in name and name.rpartition("+")[0] in known_names for name in names]
    pairs = names[np.array(of_a_pair, dtype=bool)]
    if pairs.empty:
        return None, ""
    seen = pd.Series(0, index=classes.index)
    if "n_detections" in classes.columns:
        seen = classes["n_detections"]
    name = str(pairs.iloc[int(seen[pairs.index].astype(float).argmax())])
    return (known.class_id(name.rpartition("+")[0]), known.class_id(name)), name


def _named_pair(bound: str | None, alone: str | None) -> tuple[str, str]:
    """Return the names of a complex and its dopant, of which one at least is given.

    Raises
    ------
    ValueError
        If the complex is not given, or its name does not say what its dopant is called.
    """
    if bound is None or (alone is None and "+" not in bound):
        msg = (
            "a complex and its dopant are told by both their names, bound='Mo_W+V_S' and "
            f"alone='Mo_W', but they are bound={bound!r}, alone={alone!r}"
        )
        raise ValueError(msg)
    if alone is None:
        return bound, bound.rpartition("+")[0]
    return bound, alone


def _with_states(found: pd.DataFrame, columns: pd.Index) -> pd.DataFrame:
    """Return ``transitions`` among `STATES` as the table ``orientation_transitions``."""
    names = np.array(STATES)
    rows = found.assign(
        complex="",
        symmetric=False,
        from_state=names[found["from_id"].to_numpy(int)].astype(str),
        to_state=names[found["to_id"].to_numpy(int)].astype(str),
    )
    return rows[list(columns)]


# --- rates that are the same by symmetry


@dataclass(frozen=True)
class _Fitted:
    """Rates [1/s] by name, each with its ends; and how likely handedness is by chance."""

    rates: Mapping[str, tuple[float, float, float]]
    p_value: float = np.nan

    def of(self, name: str) -> tuple[float, float, float]:
        return self.rates.get(name, (np.nan,) * 3)


def _entries(handed: bool, seen: Sequence[bool]) -> tuple[list[str], list[Any]]:
    """Return the names of the rates, and in which places of the generator each stands."""
    named: list[tuple[str, int, int, float]] = []
    columns = range(1, N_COLUMNS + 1)
    if seen[0]:
        named += [(ATTACHMENT, 0, j, 1 / N_COLUMNS) for j in columns]
    if seen[1]:
        named += [(DETACHMENT, j, 0, 1.0) for j in columns]
        for j in columns:
            ahead, behind = j % N_COLUMNS + 1, (j - 2) % N_COLUMNS + 1
            ways = (FORWARD, BACKWARD) if handed else (ROTATION, ROTATION)
            named += [(ways[0], j, ahead, 1.0), (ways[1], j, behind, 1.0)]
    names = list(dict.fromkeys(name for name, *_ in named))
    return names, [(i, j, names.index(name), share) for name, i, j, share in named]


def _fitted(counts: np.ndarray, times: np.ndarray, confidence: float) -> _Fitted:
    """Return the rates of the counts (m, 4, 4) of each time (m,)."""
    if not len(times) or np.isnan(times).any():
        return _Fitted({})
    begun = counts.sum(axis=(0, 2))
    seen = (begun[0] > 0, begun[1:].sum() > 0)
    unit, found, heights = float(times.min()), {}, []
    for handed in (False, True):
        names, entries = _entries(handed, seen)
        if not entries:
            return _Fitted({})
        problem = TiedRates(counts.astype(np.float64), times / unit, entries)
        x = problem.maximise()
        heights.append(problem.value(np.maximum(x, problem.floor)))
        ends = problem.intervals(x, confidence=confidence)
        for name, *own in zip(names, endless(x), *ends, strict=True):
            if name not in found:  # else of the fit with one rotation, which has fewer numbers
                rate, low, high = (float(v) / unit for v in own)
                found[name] = (rate, low, high)
    p_value = np.nan
    if seen[1]:
        p_value = float(special.chdtrc(1, max(2 * (heights[1] - heights[0]), 0.0)))
    return _Fitted(found, p_value)


def _rate_rows(one: np.ndarray, seconds: np.ndarray, fitted: _Fitted) -> pd.DataFrame:
    """Return the rows of ``orientation_rates`` of a group.

    Parameters
    ----------
    one, seconds
        (4, 4) pairs that are a frame apart, and the time that they span [s].
    """
    ahead, behind = (np.roll(np.eye(N_COLUMNS, dtype=int), shift, axis=1) for shift in (1, -1))
    bound, free = one[1:, 1:], float(seconds[0].sum())
    held = float(seconds[1:].sum())
    events = {
        ATTACHMENT: (one[0, 1:].sum(), free),
        DETACHMENT: (one[1:, 0].sum(), held),
        ROTATION: ((bound * (ahead + behind)).sum(), held * (N_COLUMNS - 1)),
        FORWARD: ((bound * ahead).sum(), held),
        BACKWARD: ((bound * behind).sum(), held),
    }
    rows = []
    for name, (n, at_risk) in events.items():
        rate, low, high = fitted.of(name)
        p_value = fitted.p_value if name in (FORWARD, BACKWARD) else np.nan
        numbers = {"n_events": int(n), "time_at_risk_s": at_risk, "p_value": p_value}
        rows.append({"quantity": name, **numbers, "rate_per_s": rate, "low": low, "high": high})
    return pd.DataFrame(rows).assign(complex="")


def _pooled_rows(
    one: np.ndarray, fitted: _Fitted, confidence: float, *, known: bool
) -> pd.DataFrame:
    """Return the rows of ``orientation_transitions`` of a group, pooled over the symmetry.

    Parameters
    ----------
    one
        (4, 4) pairs that are a frame apart.
    known
        Whether a probability belongs to one frame time.
    """
    n, k = N_COLUMNS, len(STATES)
    # What the symmetry makes equal has one number: 0 stays alone, 1 attaches, 2 detaches, 3 stays
    # on its column, 4 turns; an entry has a share of those that begin where it does.
    kind = np.full((k, k), 4)
    kind[0, 0], kind[0, 1:], kind[1:, 0] = 0, 1, 2
    kind[np.arange(1, k), np.arange(1, k)] = 3
    alike = np.array([1, n, 1, 1, n - 1])[kind]
    events = np.bincount(kind.ravel(), weights=one.ravel(), minlength=5)[kind]
    begun = np.where(np.arange(k)[:, None] == 0, one[0].sum(), one[1:].sum())
    begun = np.broadcast_to(begun, (k, k))
    P, low, high = (np.full((k, k), np.nan) for _ in range(3))
    told = (begun > 0) & known
    ends = share_interval(events[told], begun[told], confidence=confidence)
    P[told] = events[told] / begun[told]
    low[told], high[told] = ends
    rates = np.full((3, k, k), np.nan)
    for number, name, share in ((1, ATTACHMENT, n), (2, DETACHMENT, 1), (4, ROTATION, 1)):
        rates[:, kind == number] = np.array(fitted.of(name))[:, None] / share
    leaving = rates[0].copy()
    np.fill_diagonal(leaving, 0.0)
    np.fill_diagonal(rates[0], -leaving.sum(axis=1))
    table = {
        "complex": "",
        "symmetric": True,
        "from_state": np.repeat(STATES, k),
        "to_state": np.tile(STATES, k),
        "count": events.ravel().astype(np.int64),
        "probability": (P / alike).ravel(),
        "low": (low / alike).ravel(),
        "high": (high / alike).ravel(),
        "rate_per_s": rates[0].ravel(),
        "rate_low": rates[1].ravel(),
        "rate_high": rates[2].ravel(),
        "basis": np.where(np.isfinite(rates[0]), "likelihood", "").ravel(),
    }
    return pd.DataFrame(table)
