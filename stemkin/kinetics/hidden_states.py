"""Rates behind names that are sometimes wrong: a hidden Markov model over tracks.

Five wrong names in a hundred make a class that switches twice in a hundred frames seem to switch
eleven times. Where the naming errors are known (a confusion matrix measured on simulated movies, or
the classifier's own probabilities), the rates of the hidden states follow from the likelihood of
the names along whole tracks.

A wrong name may be gone in the next frame (noise) or stay as long as what is behind it does (a
smear beside the defect, a neighbour). Taken for noise, one that stays looks like a visit to another
class. So both are fitted, and the likelihoods tell which it is: see `name_errors`.

What cannot be told: a real visit of five frames from a wrong name of five frames. The two differ
only in how many there are: as many wrong names are expected as the confusion says. How well that is
known (`n_measured`) therefore enters every interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import dask
import numpy as np
import pandas as pd

from stemkin.blas import one_thread
from stemkin.controls import checked_confusion
from stemkin.kernels.chains.generator import NEVER
from stemkin.kernels.chains.wrong_names import said_confusion
from stemkin.kernels.common.exact import total
from stemkin.kinetics.baum_welch import BaumWelch, WrongNames, joined
from stemkin.kinetics.changes import Transitions, names_of, transitions
from stemkin.kinetics.held_names import contents_of, names_along_tracks
from stemkin.kinetics.name_tests import INDEPENDENT, LASTING, NONE, tested_names
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Sums, held, sum_over
from stemkin.tables import POOLED, Experiment
from stemkin.vocabulary import checked, chosen_classes

SAID_ROWS = 30.0
"""What names say of their own sureness is worth this many rows of each class: a classifier does not
know what it has never seen."""

FEW_NAMES = 1_000_000
"""So many names, 24 MB at most, come to this process once; more stay in the workers' memory, and
every step of a fit is a pass over all workers."""

Errors = Literal["tested", "independent", "lasting"]


@one_thread
@checked
def hidden_transitions(
    tracks: Any,
    *,
    confusion: Any = None,
    n_measured: Any = None,
    errors: Errors = "tested",
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    confidence: float = 0.95,
    shuffle: bool | None = None,
) -> Transitions:
    """Return transitions with the naming errors taken out. Computes once.

    One pass over the tracks, then some 20 to 300 over the names that are held of them.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask). The names alone, about 12 bytes a row, stay in the
        workers' memory.
    confusion
        (k, k) probability that a defect of class i (row) is named j (column), in the order of the
        classes. None: each row's own ``probability`` p says how sure its name is. Such a posterior
        holds the share w of the name as a prior, so what was seen is p / (1 - p) times (1 - w) / w
        as likely in the named class as in any other.
    n_measured
        Of how many defects of each class the confusion was measured: a number, or (k,) numbers; it
        then is fitted too, and its uncertainty enters the intervals. None: a matrix that is given
        is exact, and what names say of themselves is worth 30 defects of each class.
    errors
        ``"independent"``: a wrong name says nothing of the next frame's. ``"lasting"``: as long as
        the class stays, a name is kept from frame to frame with a probability that is fitted.
        ``"tested"``: both are fitted, and each group has the one that its names speak for
        (`name_errors` returns both, and the test).
    by
        As in `transitions`: each group has rates of its own.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    class_name, class_names, class_ids
        The states: one class, several, or their numbers; by default the classes of the experiment
        and of the rows.
    confidence
        Of all intervals.
    shuffle
        Whether a Dask table is shuffled, so that partitions hold whole tracks. None: where tracks
        are found to be cut and there are fewer than 20 million rows; see `stemkin.answers`.

    Returns
    -------
    Transitions
        Lag 1: `rate_per_s` at the maximum of the likelihood, `probability` = exp(Q t) of the
        shortest frame time, `count` the expected number of one-step transitions, rounded. Intervals
        come from the curvature of the likelihood. `errors` says how names were taken to be wrong.

    Raises
    ------
    ValueError
        If a column is missing, the confusion matrix does not fit the classes, or a frame time is
        not known.
    """
    wanted: tuple[str, ...] = (INDEPENDENT, LASTING)
    if errors != "tested":
        wanted = (errors,)
    if not set(wanted) <= {INDEPENDENT, LASTING}:
        msg = f"errors must be 'tested', 'independent' or 'lasting', but it is {errors!r}"
        raise ValueError(msg)
    found = _corrected(
        tracks,
        wanted,
        confusion=confusion,
        n_measured=n_measured,
        by=by,
        experiment=experiment,
        frame_time_s=frame_time_s,
        chosen={"class_name": class_name, "class_names": class_names, "class_ids": class_ids},
        confidence=confidence,
        shuffle=shuffle,
    )
    rows = found.hidden
    if errors == "tested":
        rows = rows[rows["recommended"]].reset_index(drop=True)
    return Transitions(rows, found.names, found.class_ids, found.frame_times)


@dataclass(frozen=True, eq=False)
class NameErrors:
    """How names are wrong, and what becomes of rates when that is taken out.

    Attributes
    ----------
    hidden
        Table ``hidden_transitions`` with the rows of both ways to take wrong names; `recommended`
        are those that the names speak for.
    table
        Table ``name_errors``: one row per group.
    names
        Class number → name, where a name is known.
    class_ids
        The states, in the order of the matrices.
    frame_times
        Movie → what passes from frame to frame [s].
    """

    hidden: pd.DataFrame
    table: pd.DataFrame
    names: Mapping[int, str]
    class_ids: tuple[int, ...]
    frame_times: Mapping[str, float]


@one_thread
@checked
def name_errors(
    tracks: Any,
    *,
    confusion: Any = None,
    n_measured: Any = None,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    confidence: float = 0.95,
    shuffle: bool | None = None,
) -> NameErrors:
    """Test whether wrong names last from frame to frame, and correct rates either way. Computes once.

    Parameters
    ----------
    tracks, confusion, n_measured, by, experiment, frame_time_s, class_name, class_names, class_ids
        As of `hidden_transitions`.
    confidence, shuffle
        As of `hidden_transitions`.

    Returns
    -------
    NameErrors
        Its `table` says for each group: `wrong_share` of names that are wrong, `kept` the
        probability that a name is kept from frame to frame while the class stays (the
        autocorrelation of what is left of the names when the class is taken out), with `kept_low`,
        `kept_high`; `wrong_frames` how long a wrong name lasts; `false_changes` the share of the changes of
        class that wrong names alone make; `statistic` twice the gain of the
        log-likelihood by letting names last, and `p_value` of as much by chance (half a chi² with
        one degree of freedom, since `kept` cannot be negative); `recommended`: "lasting",
        "independent", or "none" where wrong names make fewer than 2 % of the changes.

    Raises
    ------
    ValueError
        As `hidden_transitions`.

    Notes
    -----
    The test: Self & Liang, J. Am. Stat. Assoc. 82, 605 (1987), case 5.
    """
    return _corrected(
        tracks,
        (INDEPENDENT, LASTING),
        confusion=confusion,
        n_measured=n_measured,
        by=by,
        experiment=experiment,
        frame_time_s=frame_time_s,
        chosen={"class_name": class_name, "class_names": class_names, "class_ids": class_ids},
        confidence=confidence,
        shuffle=shuffle,
    )


def _corrected(
    tracks: Any,
    wanted: tuple[str, ...],
    *,
    confusion: Any,
    n_measured: Any,
    by: By,
    experiment: Experiment | None,
    frame_time_s: float | None,
    chosen: Mapping[str, Any],
    confidence: float,
    shuffle: bool | None,
) -> NameErrors:
    """Return the transitions of each group with the naming errors taken out in the ways `wanted`."""
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    time_of = calibrations.frame_times()
    grouping = Grouping.of(by, tracks, calibrations)
    classes = chosen_classes(known, **chosen)
    words: Any = {"grouping": grouping, "states": classes, "with_probability": confusion is None}
    names = held(tracks, partial(names_along_tracks, **words), shuffle=shuffle)
    seen = sum_over(names, contents_of)
    states = classes or tuple(sorted({*names_of(known), *(k[2] for k in seen if k[0] == "state")}))
    if len(states) < 2:  # a single class has no other to be taken for
        words = {"by": by, "experiment": experiment, "frame_time_s": frame_time_s}
        words |= {"confidence": confidence, "shuffle": shuffle}
        raw = transitions(tracks, class_ids=states, **words)
        rows = raw.table.assign(errors=NONE, recommended=True)
        nothing = grouping.table([], "name_errors")
        return NameErrors(rows, nothing, raw.names, states, raw.frame_times)
    wrong = _wrong_names(confusion, n_measured, states, seen)
    few = sum(n for key, n in seen.items() if key[0] == "state") <= FEW_NAMES
    if few:
        names = list(dask.compute(*names))
    where = dask.compute(*[dask.delayed(list)(part) for part in names])
    gaps = {k[1:] for k in seen if k[0] == "gap"}
    hidden, tested = [], []
    for group, _ in grouping.groups((movie, *group[1:]) for group, movie, _ in gaps):
        holders = [part for part, groups in zip(names, where, strict=True) if group in groups]
        if few:
            holders = [joined(holders, group)]
        times = _times(group, gaps, time_of)
        named = [seen.get(("state", group, i), 0) for i in states]
        own = tuple(i for i, n in zip(states, named, strict=True) if n)
        among = _among(wrong, np.flatnonzero(named))
        fits = {}
        if len(own) > 1:
            fits = {
                way: BaumWelch(holders, group, own, times, among, lasting=way == LASTING)
                for way in wanted
            }
        test = tested_names(fits, confidence, n_changes=seen["changes", group])
        for way in wanted:
            table = _nothing_known(states)
            if way in fits:
                table = _of_all_states(table, fits[way].table(confidence))
            used = test["used"] == way or (test["used"] == NONE and way == wanted[0])
            hidden.append((group, table.assign(errors=way, recommended=used)))
        numbers = {"n_tracks": seen["tracks", group]}
        numbers["n_names"] = sum(named)
        tested.append((group, numbers | {k: v for k, v in test.items() if k != "used"}))
    of_movies = {movie: time_of(movie) for _, movie, _ in gaps}
    rows = grouping.table(hidden, "hidden_transitions")
    table = grouping.table(tested, "name_errors")
    return NameErrors(rows, table, names_of(known), states, of_movies)


def _among(wrong: WrongNames, at: np.ndarray) -> WrongNames:
    """Return what is known of the wrong names of some states, by their places, alone."""
    confusion, odds = wrong.confusion[np.ix_(at, at)], wrong.odds
    share = np.maximum(confusion.sum(axis=1), 1e-9)
    if odds is not None:
        odds = odds[at]
    return WrongNames(confusion / share[:, None], wrong.measured[at] * share, odds)


def _nothing_known(states: tuple[int, ...]) -> pd.DataFrame:
    """Return the table ``transitions`` of states that were never seen, without its group."""
    k = len(states)
    table = pd.DataFrame({"lag_frames": 1, "from_id": np.repeat(states, k)})
    table = table.assign(to_id=np.tile(states, k), count=0)
    numbers = ("probability", "low", "high", "rate_per_s", "rate_low", "rate_high")
    return table.assign(**dict.fromkeys(numbers, np.nan), basis=NEVER)


def _of_all_states(table: pd.DataFrame, fitted: pd.DataFrame) -> pd.DataFrame:
    """Return the `table` of all states with the rows of those that were `fitted`."""
    pair = ["from_id", "to_id"]
    found = table.set_index(pair)
    found.loc[pd.MultiIndex.from_frame(fitted[pair])] = fitted.set_index(pair)
    return found.reset_index()[["lag_frames", *pair, *found.columns[1:]]]


def _times(
    group: Key, gaps: set[tuple[Any, ...]], time_of: Callable[[str], float]
) -> dict[tuple[str, int], float]:
    """Return (movie, frames) → seconds of the `gaps` of a group."""
    own = sorted((movie, gap) for key, movie, gap in gaps if key == group)
    return {(movie, gap): time_of(movie) * gap for movie, gap in own}


def _wrong_names(
    confusion: Any, n_measured: Any, states: tuple[int, ...], seen: Sums
) -> WrongNames:
    """Return what is known of wrong names: as told, or as the names themselves say."""
    k = len(states)
    groups = {key[1] for key in seen if key[0] == "state" and key[1][0] == POOLED}
    rows = np.array([sum(seen.get(("state", g, i), 0) for g in groups) for i in states])
    odds, weight = None, np.inf
    if confusion is None:
        share = (rows + 0.5) / (rows + 0.5).sum()
        nothing = np.zeros(4)
        sums = [sum((seen.get(("sure", g, i), nothing) for g in groups), nothing) for i in states]
        sure = np.array([float(total(own)) for own in sums])
        mean = np.clip(np.where(rows > 0, sure / np.maximum(rows, 1), 1.0), 1e-6, 1 - 1e-9)
        matrix, odds, weight = said_confusion(mean, share), (1 - mean) / mean, SAID_ROWS
    else:
        matrix = _confusion_of(confusion, states)
    if n_measured is not None:
        weight = n_measured
    return WrongNames(matrix, _numbers_of(weight, k), odds)


def _numbers_of(measured: Any, k: int) -> np.ndarray:
    """Return the (k,) numbers of defects on which a confusion was measured.

    Raises
    ------
    ValueError
        If they are no positive numbers, or neither one nor `k`.
    """
    try:
        numbers = np.broadcast_to(np.asarray(measured, np.float64), (k,))
    except (TypeError, ValueError):
        numbers = np.zeros(1)
    if not (numbers > 0).all():
        msg = (
            f"n_measured must be positive numbers of defects, one or one for each of the {k} "
            f"classes, but it is {measured!r}"
        )
        raise ValueError(msg)
    return np.asarray(numbers)


def _confusion_of(confusion: Any, states: tuple[int, ...]) -> np.ndarray:
    matrix = checked_confusion(confusion)
    if len(matrix) != len(states):
        msg = (
            f"the confusion matrix has {len(matrix)} rows, but there are {len(states)} classes "
            f"{states}; give class_ids=..."
        )
        raise ValueError(msg)
    return matrix
