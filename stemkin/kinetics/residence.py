"""How long a class lasts: rates of leaving, and survival curves of the stays themselves.

>>> rows = pd.DataFrame({"particle": 1, "frame": range(9), "class_id": [0, 0, 1, 1, 1, 0, 1, 0, 0]})
>>> survival(rows, frame_time_s=2.0)[["class_id", "time_s", "n_at_risk", "n_exits", "survival"]].to_numpy().tolist()
[[0.0, 2.0, 2.0, 1.0, 0.5], [1.0, 2.0, 2.0, 1.0, 0.5], [1.0, 4.0, 1.0, 0.0, 0.5], [1.0, 6.0, 1.0, 1.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from stemkin.kernels.chains.counting import small_codes
from stemkin.kernels.chains.rate_intervals import exit_rates
from stemkin.kernels.chains.survival import LifeTable, kaplan_meier, stay_ages
from stemkin.kinetics.changes import names_of, spans
from stemkin.kinetics.counts import MAX_GAP, count_transitions, counts_of
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Question, Sums, added, verb
from stemkin.rows.tracks import Trajectories, surely_named
from stemkin.tables import NOT_NAMED, Experiment
from stemkin.vocabulary import chosen_classes, of_classes

Begun = Literal["change", "seen", "any"]


@verb
def dwell_times(
    tracks: Any,
    *,
    by: By = "pooled",
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return how fast each class is left for another one. Computes once: one pass over the tracks.

    A particle that is seen twice running was at risk in between, whether it left or not; so stays
    whose beginning or end was not seen count with the time for which they were seen (left and right
    censoring). The rate of leaving is that of the generator that makes all changes most likely (see
    `transitions`), so it allows for particles that left and came back between two frames, and
    across gaps of up to `MAX_GAP` frames.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    by
        As in `transitions`.
    class_name, class_names, class_ids
        Classes that the table tells of: one, several, or their numbers; by default all.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    confidence
        Of the interval of the rate.

    Returns
    -------
    Table ``dwell_times``. `n_exits` and `time_at_risk_s` count neighbouring frames; `n_censored`
    the stays whose end was not seen, `n_left_censored` those whose beginning was not. The mean time
    is that of an exponential law: see `survival` for the curve itself.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, or a frame time is not known.
    """
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    time_of = calibrations.frame_times()
    grouping = Grouping.of(by, tracks, calibrations)
    chosen = chosen_classes(
        known, class_name=class_name, class_names=class_names, class_ids=class_ids
    )

    def table(changes: Sums, unseen: Sums) -> pd.DataFrame:
        classes = tuple(sorted({*names_of(known), *(i for _, i in unseen)}))
        counts = counts_of(changes, classes)
        rows = []
        for group, keys in grouping.groups(counts):
            own = {key: counts[key] for key in keys}
            rows.append((group, _dwell_rows(own, unseen, classes, time_of, confidence)))
        return of_classes(grouping.table(rows, "dwell_times"), chosen)

    count = partial(count_transitions, max_lag=1, states=None, grouping=grouping.of_rows())
    return Question((count, partial(count_unseen_ends, grouping=grouping.of_rows())), table)


def count_unseen_ends(rows: pd.DataFrame, *, grouping: Grouping) -> Sums:
    """Return key, class → (2,) stays whose end was not seen, and whose beginning was not."""
    rows = surely_named(rows)
    tracks = Trajectories.of(rows, need=("class_id",))
    tracks = tracks.keep(tracks.class_id != NOT_NAMED)
    if len(tracks.frame) == 0:
        return {}
    keys, code = grouping.codes(
        tracks.movies, tracks.movie[tracks.track], tracks.frame, rows.iloc[tracks.row]
    )
    linked = (tracks.track[1:] == tracks.track[:-1]) & (tracks.frame[1:] == tracks.frame[:-1] + 1)
    found, state = small_codes(tracks.class_id)
    n = len(keys) * len(found)
    # linked[i] is true where row i + 1 continues row i without a gap: a stay's end was not seen
    # behind a row that nothing continues, its beginning not before one that continues nothing.
    lost, met = ~np.append(linked, False), ~np.append(False, linked)
    cell = code * len(found) + state
    open_ended = [np.bincount(cell[mask], minlength=n) for mask in (lost, met)]
    table = np.stack(open_ended, axis=1).reshape(len(keys), len(found), 2)
    where = ((m, i) for m in range(len(keys)) for i in range(len(found)))
    return {(keys[m], int(found[i])): table[m, i] for m, i in where}


def _dwell_rows(
    parts: Mapping[Key, np.ndarray],
    stays: Sums,
    classes: tuple[int, ...],
    time_of: Any,
    confidence: float,
) -> pd.DataFrame:
    times = [time_of(key[0]) for key in parts]
    near = [matrix[-MAX_GAP:] for matrix in parts.values()]
    rate, low, high = exit_rates(*spans(near, times), confidence=confidence)
    one_step = np.stack([matrix[0] for matrix in parts.values()])
    exits = (one_step.sum(axis=2) - np.diagonal(one_step, axis1=1, axis2=2)).sum(axis=0)
    at_risk_s = np.array(times) @ one_step.sum(axis=2)
    nothing = np.zeros(2, np.int64)
    unseen = [np.sum([stays.get((key, i), nothing) for key in parts], axis=0) for i in classes]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = 1.0 / rate
    return pd.DataFrame(
        {
            "class_id": classes,
            "n_exits": exits,
            "time_at_risk_s": at_risk_s,
            "exit_rate_per_s": rate,
            "low": low,
            "high": high,
            "mean_dwell_s": mean,
            "n_censored": [n[0] for n in unseen],
            "n_left_censored": [n[1] for n in unseen],
        }
    )


@verb
def survival(
    tracks: Any,
    *,
    begun: Begun = "seen",
    by: By = "pooled",
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return the Kaplan-Meier survival curves of the stays in each class. Computes once.

    A stay ends (is an exit) where the particle is seen in another class in the next frame. It is
    censored where the track ends or has a gap; behind a gap it comes back with its age, if the
    class is the same (delayed entry, so the gap itself is not at risk).

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    begun
        Which stays count. ``"change"``: those that began with a change from another class.
        ``"seen"``: also those of tracks that begin after the movie's first frame. ``"any"``: all,
        aged from when they were first seen; right only where leaving does not depend on age.
    by
        As in `transitions`; a stay belongs to the group in which it began.
    class_name, class_names, class_ids
        Classes that the table tells of: one, several, or their numbers; by default all.
    experiment, frame_time_s
        Where the frame times come from; by default from the tracks themselves.
    confidence
        Of the interval.

    Returns
    -------
    Table ``survival``: `movie`, `class_id`, `time_s`, `n_at_risk`, `n_exits`, `survival`, `low`,
    `high`; one row per age up to the oldest that was seen. Where nothing falls on the logarithmic
    scale of an exponential law, leaving depends on age: the class hides more than one state. A lost
    track that is found again by another name begins a stay of its own: see `begun`.

    Raises
    ------
    ValueError
        If movies of different frame times are pooled, `begun` is none of these words, or as in
        `transitions`.
    """
    if begun not in ("change", "seen", "any"):
        msg = f"begun must be 'change', 'seen' or 'any', but it is {begun!r}"
        raise ValueError(msg)
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    time_of = calibrations.frame_times()
    grouping = Grouping.of(by, tracks, calibrations)
    chosen = chosen_classes(
        known, class_name=class_name, class_names=class_names, class_ids=class_ids
    )

    def table(sums: Sums) -> pd.DataFrame:
        rows = []
        for group, keys in grouping.groups(key for key, _ in sums):
            for class_id in sorted({i for key, i in sums if key in keys}):
                by_time = _by_frame_time(sums, keys, class_id, time_of)
                if len(by_time) == 1:  # ages of different frame times cannot be added
                    ((step, stays),) = by_time.items()
                    rows.append((group, _curve(stays, class_id, step, confidence)))
        return of_classes(grouping.table(rows, "survival"), chosen)

    return Question(partial(count_ages, begun=begun, grouping=grouping.of_rows()), table)


def _by_frame_time(
    sums: Sums, keys: Sequence[Key], class_id: int, time_of: Callable[[str], float]
) -> dict[float, LifeTable]:
    """Return frame time [s] → the stays of a class, of all movies of the `keys` that have it."""
    parts = [{time_of(key[0]): sums[key, class_id]} for key in keys if (key, class_id) in sums]
    return added(parts)


def count_ages(rows: pd.DataFrame, *, begun: Begun, grouping: Grouping) -> Sums:
    """Return key, class → how many stays were at risk and left at each age. Computes once."""
    rows = surely_named(rows)
    tracks = Trajectories.of(rows, need=("class_id",))
    tracks = tracks.keep(tracks.class_id != NOT_NAMED)
    if len(tracks.frame) == 0:
        return {}
    keys, code = grouping.codes(
        tracks.movies, tracks.movie[tracks.track], tracks.frame, rows.iloc[tracks.row]
    )
    found, state = small_codes(tracks.class_id)
    ages = stay_ages(tracks.track, tracks.frame, state)
    if begun == "any":
        wanted = np.ones_like(ages.changed)
    elif begun == "change":
        wanted = ages.changed
    else:  # what is there in the first frame may have begun at any time before
        wanted = ages.changed | (ages.first_frame > 0)
    group = code[ages.first_row] * len(found) + state
    sums: Sums = {}
    for which in np.unique(group[wanted & ages.at_risk]).tolist():
        own = wanted & ages.at_risk & (group == which)
        key = (keys[which // len(found)], int(found[which % len(found)]))
        sums[key] = LifeTable.of(ages.age[own], ages.left[own])
    return sums


def _curve(stays: LifeTable, class_id: int, step: float, confidence: float) -> pd.DataFrame:
    share, low, high = kaplan_meier(stays.at_risk, stays.exits, confidence=confidence)
    return pd.DataFrame(
        {
            "class_id": class_id,
            "time_s": step * np.arange(1, len(share) + 1),
            "n_at_risk": stays.at_risk,
            "n_exits": stays.exits,
            "survival": share,
            "low": low,
            "high": high,
        }
    )
