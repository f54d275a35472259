"""How many defects of each class a frame shows on average, raw and corrected, with intervals.

Corrected for what was missed and for what was never there.

A defect that stays is seen again and again, so its frames are not independent looks. Where defects
come and go independently of each other, the sum of all sightings is a compound Poisson number: with
L_i sightings of track i its variance is the sum of L_i², whatever their lifetimes are. Fewer than
about ten tracks do not tell their own spread, and intervals are then too narrow.

What a detector finds by chance is there for one frame only. The tracks of one sighting beyond those
that defects leave behind are therefore taken away, and the rest is divided by the detection
efficiency; raw numbers stand beside.

>>> rows = pd.DataFrame({"movie": "m", "particle": [1, 1, 1, 2], "frame": [0, 1, 2, 1], "class_id": 0})
>>> found = abundances(rows)
>>> found[["n_tracks", "mean_number"]].round(2).to_numpy().tolist(), found[["low", "high"]].round(2).to_numpy().tolist()
([[2.0, 1.33]], [[0.23, 5.92]])
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from stemkin.kernels.chains.abundance import SightingCounts
from stemkin.kernels.chains.counting import small_codes
from stemkin.kernels.chains.missing import MAX_MISSED
from stemkin.kernels.common.intervals import count_interval
from stemkin.kinetics.changes import names_of
from stemkin.kinetics.numbers import frames_listed, frames_looked_at, refuse_frames_outside
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import Trajectories
from stemkin.tables import OK, Experiment, check_columns
from stemkin.vocabulary import chosen_classes, of_classes

Efficiency = pd.DataFrame | Mapping[int, float] | float | Literal["gaps"]
Chance = Mapping[int, float] | float | Literal["tracks"]
N_NUMBERS = 9 + MAX_MISSED
"""Length of what a class adds in a group: sightings, tracks, squares, looks that saw; gaps; tracks of
one, two and more sightings; ends and beginnings."""
LEAST_FRAMES = 3
"""In fewer frames tracks cannot tell what was there by chance."""


@verb
def abundances(
    tracks: Any,
    *,
    efficiency: Efficiency = "gaps",
    false_per_frame: Chance = "tracks",
    by: By = "pooled",
    class_name: str | None = None,
    class_names: Iterable[str] | None = None,
    class_ids: int | Iterable[int] | None = None,
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return the mean number of defects per frame, raw and corrected. Computes once.

    Corrected for missed and for false detections; one pass over the tracks.

    Parameters
    ----------
    tracks
        Table ``tracks`` (pandas or Dask).
    efficiency
        Probability that a defect that is there is found, of all classes or of each. ``"gaps"``:
        measured on the tracks themselves, by the gaps between two sightings as a chain of seen and
        missed (`stemkin.kernels.chains.missing`); not known (NaN) where no track has a gap, since
        then the linker bridged none. Where it bridged one frame only, each track that ends within
        the movie while another one begins may be a longer miss: the interval holds that all are,
        and that none is. Defects that are never seen, in any frame, are not in this; they are in the
        table ``efficiencies`` of defects that were put into the frames (`stemkin.efficiencies`),
        whose intervals count; kinds that it does not tell of are measured by their gaps.
    false_per_frame
        Detections per frame that are no defects, of all classes or of each. ``"tracks"``: measured
        on the tracks themselves, as the tracks of one sighting beyond those that defects leave (see
        `SightingCounts.real_lone_tracks`); not known (NaN) below `LEAST_FRAMES` frames. What is
        found at the same place again and again is not in this.
    by
        As in `transitions`.
    class_name, class_names, class_ids
        Classes that the table tells of: one, several, or their numbers; by default all.
    experiment
        Tells which frames were looked at and how large they are; by default that of the rows.
        Without one, frames run from 0 to the last with a row.
    frame_time_s
        One frame time for all movies, for bins of time.
    confidence
        Of all intervals.

    Returns
    -------
    Table ``abundances``. `mean_number` with `low`, `high`: the expected number per frame of such a
    field; `false_per_frame` how many of them are found by chance; `missed_again` the chance that
    one that was missed is missed in the next frame too; `corrected_number` = (mean - false) /
    efficiency, with the errors of all three.

    Raises
    ------
    ValueError
        If a column is missing, a particle is twice in one frame, an efficiency is not in (0, 1], or
        a rate of false detections is negative.
    """
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    grouping = Grouping.of(by, tracks, calibrations)
    if own := [part for part in grouping.parts if isinstance(part, str) and part in tracks.columns]:
        msg = (
            "numbers per frame are grouped by movie, Bins or a column of the movies, but "
            f"{own[0]!r} is a column of the rows"
        )
        raise ValueError(msg)
    chosen = chosen_classes(
        known, class_name=class_name, class_names=class_names, class_ids=class_ids
    )
    looked = frames_looked_at(known)
    bad = {
        movie: rows.loc[rows["status"] != OK, "frame"].to_numpy() for movie, rows in looked.items()
    }
    told = _Told(
        *_efficiency_given(efficiency),
        _given("false_per_frame", false_per_frame, measured="tracks"),
        confidence,
    )

    def table(sums: Sums) -> pd.DataFrame:
        return of_classes(_table(sums, grouping, known, looked, told), chosen)

    return Question(partial(count_sightings, grouping=grouping.of_rows(), bad=bad), table)


def _table(
    sums: Sums,
    grouping: Grouping,
    known: Experiment | None,
    looked: Mapping[str, pd.DataFrame],
    told: _Told,
) -> pd.DataFrame:
    """Return the table ``abundances`` of the sums of `count_sightings`."""
    last = {k[1]: v.most for k, v in sums.items() if k[0] == "last"}
    lengths_known = frames_listed(known)
    for movie, frame in last.items():
        refuse_frames_outside(lengths_known, movie, -sums["first", movie].most, frame)
    exposure = _exposure(grouping, known, looked, last)
    counts = _within_movies(sums, known, last)
    classes = sorted({*names_of(known), *(i for _, i in counts)})
    bridged = any(total.numbers[4 : 4 + MAX_MISSED].any() for total in counts.values())
    lengths: dict[str, float] = {}
    for (movie, *_), (n, _area) in exposure.items():
        lengths[movie] = lengths.get(movie, 0) + n
    rows = []
    for group, keys in grouping.groups(exposure):
        frames, area = np.sum([exposure[key] for key in keys], axis=0)
        movies = {key[0] for key in keys}
        judged = bridged, all(lengths[movie] >= LEAST_FRAMES for movie in movies)
        for class_id in classes:
            own = [counts[key, class_id] for key in keys if (key, class_id) in counts]
            total = reduce(operator.add, own, _Counted(np.zeros(N_NUMBERS, np.int64), 0))
            rows.append(
                (group, _row(class_id, total.sightings(), frames, area, len(movies), told, judged))
            )
    return grouping.table(rows, "abundances")


def count_sightings(
    rows: pd.DataFrame, *, grouping: Grouping, bad: Mapping[str, np.ndarray]
) -> Sums:
    """Return what `SightingCounts` needs of each key and class. Computes once.

    Under ("count", key, class) the `N_NUMBERS` numbers and the longest track; under ("last", movie)
    its last frame, and under ("first", movie) minus its first, so that of both the larger one
    counts; under ("tails", key, class) and ("heads", key, class) the last tracks to end, and the
    first to begin, by minus their frame.
    """
    tracks = Trajectories.of(rows, need=("class_id",))
    if len(tracks.frame) == 0:
        return {}
    movie = tracks.movie[tracks.track]
    keys, code = grouping.codes(tracks.movies, movie, tracks.frame, rows.iloc[tracks.row])
    found, state = small_codes(tracks.class_id)
    # A cell is a group and a class, packed into one number: group * n_classes + class.
    n = len(keys) * len(found)
    where = code * len(found) + state
    # A whole track belongs to the cell of its first row; rows stand in the order of the tracks, so
    # first rows and lengths run alike.
    length = np.bincount(tracks.track)
    first = np.append(True, tracks.track[1:] != tracks.track[:-1])
    begun, length = where[first], length[length > 0]
    # What one track adds to one cell, packed again: track * n_cells + cell.
    pairs, sightings = np.unique(tracks.track * n + where, return_counts=True)
    cell = pairs % n
    # step[i] leads from row i to row i + 1, and is 0 where another track begins: a row is seen on
    # both sides where two steps of 1 meet, and a step of g + 1 leaves g frames out.
    linked = tracks.track[1:] == tracks.track[:-1]
    step = np.where(linked, np.diff(tracks.frame), 0)
    seen = np.append(False, (step[:-1] == 1) & (step[1:] == 1))
    missed = _missed(tracks, step, movie, bad)
    gaps = [np.bincount(where[:-1][missed == g], minlength=n) for g in range(1, MAX_MISSED + 1)]
    ended = where[np.append(~linked, True)]
    longest = np.zeros(n, np.int64)
    np.maximum.at(longest, cell, sightings)
    of_length = (begun[length == 1], begun[length == 2], begun[length > 2])
    squares = np.bincount(cell, weights=sightings**2, minlength=n).astype(np.int64)
    table = np.stack(
        [
            np.bincount(where, minlength=n),
            np.bincount(cell, minlength=n),
            squares,
            np.bincount(where[: len(seen)][seen], minlength=n),
            *gaps,
            *(np.bincount(cells, minlength=n) for cells in (*of_length, ended, begun)),
        ],
        axis=1,
    )
    result: Sums = {}
    for c in np.flatnonzero(table[:, 0]).tolist():
        group, place = divmod(c, len(found))
        cell_name = keys[group], int(found[place])
        result["count", *cell_name] = _Counted(table[c], int(longest[c]))
        ends = tracks.frame[np.append(~linked, True)][ended == c]
        result["tails", *cell_name] = _Edge.of(ends)
        result["heads", *cell_name] = _Edge.of(-tracks.frame[first][begun == c])
    nothing = np.zeros(0, np.int64)
    for i, name in enumerate(tracks.movies):
        own = tracks.frame[movie == i]
        result["last", name] = _Counted(nothing, int(own.max()))
        result["first", name] = _Counted(nothing, int(-own.min()))
    return result


def _missed(
    tracks: Trajectories, step: np.ndarray, movie: np.ndarray, bad: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the (n - 1,) missed frames between rows; 0 where there are none, or one was bad."""
    missed = np.where(step > 1, step - 1, 0)
    short = np.flatnonzero((missed > 0) & (missed <= MAX_MISSED))
    for m, name in enumerate(tracks.movies):
        own = short[movie[:-1][short] == m]
        if name not in bad or not len(own):
            continue
        spoilt = np.sort(bad[name])
        begin, end = (np.searchsorted(spoilt, tracks.frame[rows]) for rows in (own, own + 1))
        missed[own[end > begin]] = 0
    return missed


def _within_movies(
    sums: Sums, known: Experiment | None, last: Mapping[str, int]
) -> dict[tuple[Key, int], _Counted]:
    """Return key, class → counts, of which ends and beginnings at those of the movie are left out.

    One frame is bridged: who is not seen in the last frame of a movie was perhaps missed once.
    """
    final = dict(last)
    if known is not None and "n_frames" in known.movies.columns:
        movies = known.movies.set_index("movie")["n_frames"].dropna()
        final |= {str(movie): int(n) - 1 for movie, n in movies.items() if str(movie) in final}
    found = {}
    for (kind, *place), counted in sums.items():
        if kind != "count":
            continue
        key, class_id = place
        numbers = counted.numbers.copy()
        numbers[-2] -= sums["tails", key, class_id].beyond(final[key[0]] - 1)
        numbers[-1] -= sums["heads", key, class_id].beyond(-1)
        found[key, class_id] = _Counted(numbers, counted.most)
    return found


@dataclass(frozen=True)
class _Edge:
    """How many frames are the largest one, or one less."""

    largest: int
    there: int
    before: int

    @classmethod
    def of(cls, frames: np.ndarray) -> _Edge:
        largest = int(frames.max(initial=-(2**62)))
        return cls(largest, int((frames == largest).sum()), int((frames == largest - 1).sum()))

    def __add__(self, other: _Edge) -> _Edge:
        low, high = sorted((self, other), key=lambda one: one.largest)
        if low.largest == high.largest:
            return _Edge(high.largest, low.there + high.there, low.before + high.before)
        if low.largest == high.largest - 1:
            return _Edge(high.largest, high.there, high.before + low.there)
        return high

    def beyond(self, frame: int) -> int:
        """Return how many are `frame` or the one after it."""
        return self.there * (self.largest >= frame) + self.before * (self.largest > frame)


@dataclass(frozen=True, eq=False)
class _Counted:
    """Numbers that add up, and one of which the larger counts."""

    numbers: np.ndarray
    most: int

    def __add__(self, other: _Counted) -> _Counted:
        return _Counted(self.numbers + other.numbers, max(self.most, other.most))

    def sightings(self) -> SightingCounts:
        n, tracks, squares, seen, *others = (int(v) for v in self.numbers)
        gaps, rest = tuple(others[:MAX_MISSED]), others[MAX_MISSED:]
        return SightingCounts(n, tracks, squares, self.most, seen, gaps, *rest)


@dataclass(frozen=True)
class _Told:
    """What was given of each class, or the word that says that it is to be measured."""

    efficiency: Mapping[Any, tuple[float, float, float]] | Literal["gaps"]
    by_gaps: bool
    false_per_frame: Mapping[Any, float] | Literal["tracks"]
    confidence: float


def _efficiency_given(
    given: Efficiency,
) -> tuple[Mapping[Any, tuple[float, float, float]] | Literal["gaps"], bool]:
    """Return class → (share, low, high), or "gaps"; and whether the others' gaps are asked.

    Raises
    ------
    ValueError
        If a share is not in (0, 1].
    """
    if isinstance(given, pd.DataFrame):
        check_columns(given, "efficiencies")
        whole = given[(given["by"] == "") & (given["efficiency"] > 0)]
        shares = whole[["efficiency", "low", "high"]].itertuples(index=False, name=None)
        return dict(zip(whole["class_id"].astype(int), shares, strict=True)), True
    told = _given("efficiency", given, measured="gaps", upto=1.0)
    if isinstance(told, str):
        return "gaps", True
    return {class_id: (share,) * 3 for class_id, share in told.items()}, False


def _given(what: str, given: Any, *, measured: str, upto: float = np.inf) -> Any:
    """Return class → value, or None → value of all; or the word that says that it is `measured`.

    Raises
    ------
    ValueError
        If it is no number between 0 and `upto`; 0 is none either where there is an upper end.
    """
    if given == measured:
        return given
    values: dict[Any, float]
    try:
        if isinstance(given, Mapping):
            values = {int(i): float(v) for i, v in given.items()}
        else:
            values = {None: float(given)}
    except (TypeError, ValueError):
        values = {None: np.nan}
    meant, allowed = "a number of 0 or more", all(0 <= v < upto for v in values.values())
    if np.isfinite(upto):
        meant, allowed = "a probability in (0, 1]", all(0 < v <= upto for v in values.values())
    if not allowed:
        msg = f"{what} is {meant}, of all classes or of each, but it is {given!r}"
        raise ValueError(msg)
    return values


def _exposure(
    grouping: Grouping,
    known: Experiment | None,
    looked: Mapping[str, pd.DataFrame],
    last: Mapping[str, int],
) -> dict[Key, np.ndarray]:
    """Return key → (frames looked at, their area [nm²])."""
    listed: dict[str, dict[str, Any]] = {}
    if known is not None:
        rows = known.movies.to_dict("records")
        listed = {str(row["movie"]): row for row in reversed(rows)}
    exposure: dict[Key, np.ndarray] = {}
    for movie in sorted({*last, *looked, *listed}):
        about = listed.get(movie, {})
        if movie in looked:
            frames = looked[movie].loc[looked[movie]["status"] == OK, "frame"].to_numpy()
        elif "n_frames" in about:
            frames = np.arange(int(about["n_frames"]))
        else:
            frames = np.arange(last[movie] + 1)
        lengths = ("height_px", "width_px", "pixel_size_nm", "pixel_size_nm")
        size = [float(about.get(length, np.nan)) for length in lengths]
        nobody = pd.DataFrame(index=range(len(frames)))
        keys, code = grouping.codes([movie], np.zeros(len(frames), int), frames, nobody)
        counted = np.bincount(code, minlength=len(keys))
        exposure |= {
            key: np.array([1.0, np.prod(size)]) * n for key, n in zip(keys, counted, strict=True)
        }
    return exposure


def _row(
    class_id: int,
    seen: SightingCounts,
    frames: float,
    area: float,
    n_movies: int,
    told: _Told,
    judged: tuple[bool, bool],
) -> dict[str, Any]:
    """Return a row of ``abundances``.

    `judged` says whether the tracks can tell the efficiency, and what was there by chance.
    """
    share = _efficiency(class_id, seen, told, judged[0])
    false, uncertain = _chance(class_id, seen, frames, told, judged[1])
    # What is there by chance is taken away where it is known; where it is not, nothing is, and the
    # corrected numbers are not known either.
    known, by_chance = np.nan, 0.0
    if np.isfinite(false):
        known, by_chance = 1.0, false
    rest = seen.without(by_chance)
    # The relative variances of efficiency and chance add up; an efficiency that was given has none.
    z = -float(special.ndtri((1 - told.confidence) / 2))
    spread = 0.0
    if share[1] != share[2] and share[0] > 0:
        spread = ((share[2] - share[1]) / 2 / z / share[0]) ** 2
    if rest.n > 0:
        spread += uncertain / rest.n**2
    low, high = _ends(seen, frames, n_movies, 0.0, told.confidence)
    below, above = _ends(rest, frames, n_movies, spread, told.confidence)
    return {
        "class_id": class_id,
        "n_frames": frames,
        "n_detections": seen.n,
        "n_tracks": seen.tracks,
        "mean_number": _per(seen.n, frames),
        "low": low,
        "high": high,
        "false_per_frame": _per(false, frames),
        "efficiency": share[0],
        "efficiency_low": share[1],
        "efficiency_high": share[2],
        "missed_again": share[3],
        "corrected_number": _per(known * rest.n, frames) / share[0],
        "corrected_low": known * below / share[0],
        "corrected_high": known * above / share[0],
        "density_per_nm2": _per(seen.n, area),
    }


def _per(number: float, whole: float) -> float:
    """Return `number` / `whole`; NaN where there is no whole, or it is not known."""
    if not whole > 0:
        return np.nan
    return number / whole


def _ends(
    seen: SightingCounts, frames: float, n_movies: int, spread: float, confidence: float
) -> tuple[float, float]:
    """Return the interval of the mean number.

    `spread` is the relative variance that comes on top of that of the sightings.
    """
    if not (frames and seen.n > 0):  # one that stays for ever would be seen in every frame
        return 0.0, float(count_interval(np.array(0.0), confidence=confidence)[1]) / n_movies
    low, high = seen.interval(spread=spread, confidence=confidence)
    return low / frames, high / frames


def _efficiency(
    class_id: int, seen: SightingCounts, told: _Told, bridged: bool
) -> tuple[float, float, float, float]:
    """Return the efficiency with its interval, and how often a missed one is missed again."""
    unknown = (np.nan,) * 3
    by_gaps, missed_again = unknown, np.nan
    if told.by_gaps and bridged:
        found = seen.efficiency(confidence=told.confidence)
        by_gaps, missed_again = (found.share, found.low, found.high), found.missed_again
    if told.efficiency == "gaps":
        return (*by_gaps, missed_again)
    return (*told.efficiency.get(class_id, told.efficiency.get(None, by_gaps)), missed_again)


def _chance(
    class_id: int, seen: SightingCounts, frames: float, told: _Told, judged: bool
) -> tuple[float, float]:
    """Return how many sightings were there by chance, and its variance; NaN where not known."""
    if told.false_per_frame == "tracks":
        if not judged:
            return np.nan, 0.0
        real, variance = seen.real_lone_tracks()
        return seen.lone - real, variance
    false = frames * told.false_per_frame.get(class_id, told.false_per_frame.get(None, 0.0))
    return min(false, float(seen.n)), false
