"""How fast the beam makes vacancies: creation rate per site, and its cross-section.

>>> round(float(cross_section(10, 1e4 * 1e6)[0]), 2)
10.0

A vacancy that appears was made by the beam only if it came from nowhere. It may as well have hopped
out of a complex, been lost by the linker and found again, or been a wrong name. So every gain of a
vacancy (a track that begins, a class that takes one up) is matched with a loss nearby (a track that
ends, a class that lets one go), as well as possible all together; gains that are left over were
made, losses that are left over were healed. A false detection gains and loses at once, and cancels.
What is left then is matched once more a little farther away: of ten vacancies that each move a
thousand times, a few go too far to be linked, and false detections that were linked end elsewhere.
A vacancy that was made where another one was healed at about that time cancels, too: how many do so
by chance follows from how many are made and healed, and is made up for (`cancelled`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stemkin.kernels.common.intervals import count_interval
from stemkin.kernels.common.matching import match_points
from stemkin.kinetics.changes import names_of
from stemkin.kinetics.numbers import frames_looked_at
from stemkin.rows.calibrations import Calibrations
from stemkin.rows.groups import By, Grouping, Key
from stemkin.rows.passes import Question, Sums, verb
from stemkin.rows.tracks import Trajectories, cut_by_edge
from stemkin.tables import NOT_NAMED, OK, Experiment, check_columns

NM2_IN_BARN = 1e10
"""One square nanometre in barn."""

WINDOW = 3
"""A gain and a loss that are farther apart in time than this [frames] are two events.

As many frames at both ends of a movie only serve to match: what is first seen there may have been
missed before."""


WIDER = 1.5
"""What is left over is matched again up to so many times the reach: in 500 frames of a dozen mobile
vacancies an eighth of the gains within reach are no beam's, and of those left over none."""


def cross_section(
    n_created: int, exposure_e_per_nm2: float, *, efficiency: float = 1.0, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the cross-section of making a defect, and the interval that its count gives [barn].

    Parameters
    ----------
    n_created
        Defects that were made while the movie ran.
    exposure_e_per_nm2
        Sites that could become one, times the electrons per nm² that each of them saw meanwhile.
    efficiency
        Probability that a defect that was made is found. Vacancies that leave between two frames
        are not: with no allowance for them the result is a lower bound.
    confidence
        Of the interval (Poisson, Jeffreys' prior).

    Raises
    ------
    ValueError
        If the count is negative, there was no exposure, or the efficiency is not in (0, 1].
    """
    if n_created < 0 or not exposure_e_per_nm2 > 0 or not 0 < efficiency <= 1:
        msg = (
            "a cross-section needs a count of 0 or more, a positive exposure and an efficiency in "
            "(0, 1], but they are "
            f"{n_created}, {exposure_e_per_nm2} and {efficiency}"
        )
        raise ValueError(msg)
    low, high = count_interval(np.array(n_created), confidence=confidence)
    scale = NM2_IN_BARN / (exposure_e_per_nm2 * efficiency)
    return float(n_created * scale), float(low * scale), float(high * scale)


def vacancies_in(name: str, chalcogen: str = "S") -> int:
    """Return how many chalcogen atoms a defect of this name lacks.

    >>> [vacancies_in(name) for name in ("V_S", "V_S2", "Mo_W+V_S", "Mo_W", "V_Se")]
    [1, 2, 1, 0, 0]
    """
    found = (re.fullmatch(rf"V_{re.escape(chalcogen)}(\d*)", part) for part in name.split("+"))
    return sum(int(match[1] or 1) for match in found if match)


@verb
def creation(
    tracks: Any,
    *,
    sites_per_nm2: float,
    reach_nm: float,
    atoms_per_column: int = 2,
    vacancies: Mapping[int, int] | None = None,
    by: By = "pooled",
    experiment: Experiment | None = None,
    frame_time_s: float | None = None,
    confidence: float = 0.95,
) -> Question[pd.DataFrame]:
    """Return how many vacancies the beam made per site and dose. Computes once.

    Parameters
    ----------
    tracks
        Table ``tracks`` with `y`, `x` [px], `y_nm`, `x_nm` (pandas or Dask).
    sites_per_nm2
        Atoms per area that could be removed; in a 2H monolayer of lattice constant a two atoms in
        each cell of sqrt(3) a²/2.
    reach_nm
        How far a vacancy may go unseen between two sightings, 2.2 lattice constants for instance.
        As near as this to the edge of the frame nothing is counted, since vacancies hop in.
    atoms_per_column
        Atoms above each other. A column with a vacancy, and the three around any other defect, are
        no sites of an undisturbed crystal and leave the exposure.
    vacancies
        Class → how many atoms it lacks; by default read off the classes' names (``V_S``, ``V_S2``,
        ``Mo_W+V_S``).
    by
        As in `transitions`.
    experiment, frame_time_s
        Where calibration and good frames come from; by default from the tracks themselves.
    confidence
        Of the intervals (Poisson, Jeffreys' prior).

    Returns
    -------
    Table ``creation``: `n_created` atoms away from other defects (the cross-section is theirs),
    `n_at_dopants` those that made a vacancy beside another defect (a class with a + in its name),
    `n_healed`; `n_cancelled` how many more were made, away from other defects, by the chance that
    one that was healed nearby cancels them: the cross-section counts them; `n_sites` is the mean
    number of atoms that were watched (holes, where the table ``frames`` tells their area, have
    none), `dose_e_per_nm2` what each of them saw, `rate_per_site_s`. The cross-section is NaN where a dose rate is not known. Vacancies that are
    made and gone within one frame are not seen.

    Raises
    ------
    ValueError
        If a column, a place, the size of a pixel or a frame time is missing.
    """
    calibrations = Calibrations.of(tracks, experiment, frame_time_s)
    known = calibrations.experiment
    if not isinstance(known, Experiment):
        msg = (
            "the size of the field is not known; pass experiment=... (detections.experiment), "
            "whose movies say height, width and pixel size"
        )
        raise ValueError(msg)
    calibrations.frame_times()  # refuses at once where none is known
    check_columns(
        tracks, "tracks", needed=("frame", "particle", "class_id", "y", "x", "y_nm", "x_nm")
    )
    names = names_of(known)
    if vacancies is None:
        vacancies = {i: vacancies_in(name) for i, name in names.items()}
    lacks = dict(vacancies)
    crowded = frozenset(i for i, name in names.items() if "+" in name)
    grouping = Grouping.of(by, tracks, calibrations)
    looked = frames_looked_at(known)

    def table(sums: Sums) -> pd.DataFrame:
        counts: dict[Key, np.ndarray] = {}
        for movie in sorted({*(k[1] for k in sums), *looked}):
            events = sums.get(("events", movie), _Events.none())
            taken = int(sums.get(("columns", movie), 0)) * atoms_per_column
            counts |= _of_movie(
                movie, events, calibrations, looked, grouping, reach_nm, sites_per_nm2, taken
            )
        rows = []
        for group, keys in grouping.groups(counts):
            together = np.sum([counts[key] for key in keys], axis=0)
            rows.append((group, _row(together, confidence)))
        return grouping.table(rows, "creation")

    return Question(partial(vacancy_events, lacks=lacks, crowded=crowded), table)


@dataclass(frozen=True, eq=False)
class _Events:
    """Gains and losses of vacancies in one movie.

    Attributes
    ----------
    rows
        (n, 7) frame, y_nm, x_nm, y, x, vacancies gained, whether beside another defect.
    """

    rows: np.ndarray

    def __add__(self, other: _Events) -> _Events:
        return _Events(np.concatenate([self.rows, other.rows]))

    @classmethod
    def none(cls) -> _Events:
        return cls(np.zeros((0, 7)))


def vacancy_events(
    rows: pd.DataFrame, *, lacks: Mapping[int, int], crowded: frozenset[int]
) -> Sums:
    """Return the gains and losses of vacancies, and the columns that defects take. Computes once.

    Under ("events", movie) the `_Events`, under ("columns", movie) a number of columns and frames.
    """
    tracks = Trajectories.of(rows, need=("class_id", "y_nm", "x_nm"))
    tracks = tracks.keep(tracks.class_id != NOT_NAMED)
    if len(tracks.frame) == 0:
        return {}
    for column in ("y", "x", "y_nm", "x_nm"):
        if not np.isfinite(rows[column].to_numpy(np.float64)).all():
            msg = (
                f"every row needs a place, but {column!r} is not a number in "
                f"{int((~np.isfinite(rows[column])).sum())} rows; drop these"
            )
            raise ValueError(msg)
    ids = np.unique(tracks.class_id)
    where = np.searchsorted(ids, tracks.class_id)
    held = np.array([lacks.get(int(i), 0) for i in ids])[where]
    beside = np.array([int(i) in crowded for i in ids])[where]
    # A defect that the edge cuts is what it was when it was last seen whole, or will be.
    told = named_like(tracks.track, ~cut_by_edge(rows)[tracks.row])
    held, beside = held[told], beside[told]
    raw = rows[["y", "x"]].to_numpy(np.float64)[tracks.row]
    first = np.append(True, tracks.track[1:] != tracks.track[:-1])
    last = np.append(first[1:], True)
    before = np.where(first, 0, np.append(0, held[:-1]))
    # Each row gains what it holds more than the row before in its track; behind a track's last row,
    # one frame later and at the same place, all that it held is lost.
    place = np.column_stack([tracks.frame, tracks.y_nm, tracks.x_nm, raw, held - before, beside])
    ended = place[last].copy()
    ended[:, 0] += 1
    ended[:, 5] = -held[last]
    # a gain is beside another defect if its own row is, a loss if the row before was
    was_beside = np.append(False, beside[:-1])
    place[:, 6] = np.where(held >= before, beside, was_beside)
    events = np.concatenate([place, ended])
    movie = np.concatenate([tracks.movie[tracks.track], tracks.movie[tracks.track[last]]])
    real = events[:, 5] != 0
    columns = np.bincount(tracks.movie[tracks.track], weights=np.where((held > 0) & ~beside, 1, 3))
    found: Sums = {
        ("events", tracks.movies[m]): _Events(events[real & (movie == m)])
        for m in np.unique(movie[real])
    }
    return found | {("columns", tracks.movies[m]): int(n) for m, n in enumerate(columns) if n}


def named_like(track: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Return the row whose name each row has: its own where it is told, else one of its track.

    That is the last one told before it; where there is none, the first one told after it; a track
    that tells nothing keeps its own names.

    Parameters
    ----------
    track, told
        (n,) rows ordered by track and time, and whether the name of each counts.

    Examples
    --------
    >>> named_like(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 0, 1], bool)).tolist()
    [1, 1, 1, 4, 4]
    """
    row = np.arange(len(track))
    if told.all():
        return row
    before = np.maximum.accumulate(np.where(told, row, -1))
    after = np.minimum.accumulate(np.where(told, row, len(track))[::-1])[::-1]
    there = (before >= 0) & (track[np.maximum(before, 0)] == track)
    later = (after < len(track)) & (track[np.minimum(after, len(track) - 1)] == track)
    return np.where(there, before, np.where(later, after, row))


def _of_movie(
    movie: str,
    events: _Events,
    calibrations: Calibrations,
    looked: Mapping[str, pd.DataFrame],
    grouping: Grouping,
    reach_nm: float,
    sites_per_nm2: float,
    taken: int,
) -> dict[Key, np.ndarray]:
    """Return key → numbers of one movie, that add up over movies.

    They are: made, made beside another defect, healed, sites x time [s], sites x dose [e/nm²],
    time [s], and how many more were made away from others that what was healed nearby cancels.
    """
    step_s = calibrations.frame_times()(movie)
    about, pixel = calibrations.of_movie(movie), calibrations.pixel_sizes()(movie)
    good, there = _good_frames(looked.get(movie), int(about["n_frames"]))
    n_looked = max(len(good), 1)
    # The frames at the movie's ends only serve to match gains with losses: neither what happens in
    # them nor their dose counts.
    inside = slice(WINDOW, max(len(good) - WINDOW, WINDOW))
    ends = good
    if len(good):
        ends = good[[0, -1]]
    good, there = good[inside], there[inside]
    whole = [float(about[name]) * pixel for name in ("height_px", "width_px")]
    if not len(good) or min(whole) <= 2 * reach_nm:
        return {}
    sites = (sites_per_nm2 - taken / n_looked / np.prod(whole)) * np.prod(
        [length - 2 * reach_nm for length in whole]
    )
    rate = float(about.get("dose_rate_e_per_nm2_s", np.nan))
    nobody = pd.DataFrame(index=range(len(good)))
    keys, code = grouping.codes([movie], np.zeros(len(good), int), good, nobody)
    table = np.zeros((len(keys), 7))
    site_time = np.bincount(code, weights=there, minlength=len(keys)) * step_s * sites
    table[:, 3], table[:, 4] = site_time, site_time * rate
    table[:, 5] = np.bincount(code, minlength=len(keys)) * step_s
    frame = events.rows[:, 0]
    inner = (frame > ends[0]) & (frame <= ends[1])  # what begins or ends with the movie is no event
    left = _unmatched(events.rows[inner], reach_nm)
    far = _far_from_edges(left, about, reach_nm / pixel)
    left = left[far & np.isin(left[:, 0], good)]
    group = code[np.searchsorted(good, left[:, 0])]
    gained, beside = left[:, 5] > 0, left[:, 6] > 0
    for column, own in enumerate((gained & ~beside, gained & beside, ~gained)):
        table[:, column] = np.bincount(group[own], minlength=len(keys))
    space = float(np.prod([length - 2 * reach_nm for length in whole])) * len(good)
    n_made, n_lost = table[:, :2].sum(), table[:, 2].sum()
    hidden = cancelled(n_made, n_lost, chance_volume(reach_nm) / space)
    table[:, 6] = table[:, 0] * hidden / max(n_made, 1)
    return dict(zip(keys, table, strict=True))


def _far_from_edges(events: np.ndarray, about: pd.Series, reach_px: float) -> np.ndarray:
    """Return the (n,) mask of `events` farther than `reach_px` from every edge of the frame."""
    edge = reach_px - 0.5
    far = np.ones(len(events), bool)
    for column, size in ((3, about["height_px"]), (4, about["width_px"])):
        far &= np.abs(events[:, column] - (size - 1) / 2) < (size - 1) / 2 - edge
    return far


def _good_frames(rows: pd.DataFrame | None, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames that were looked at, and the share of each that is no hole.

    The share is 1 where it was not measured.
    """
    if rows is None:
        return np.arange(n_frames), np.ones(n_frames)
    own = rows[rows["status"] == OK].sort_values("frame")
    vacuum = np.zeros(len(own))
    if "vacuum" in own.columns:
        vacuum = own["vacuum"].to_numpy(np.float64)
    return own["frame"].to_numpy(), 1 - np.nan_to_num(vacuum)


def _unmatched(events: np.ndarray, reach_nm: float) -> np.ndarray:
    """Return the gains and losses that nothing nearby explains, one row for each vacancy."""
    events = events[np.lexsort(events.T[::-1])]
    single = events[np.repeat(np.arange(len(events)), np.abs(events[:, 5]).astype(int))]
    return _rest(_rest(single, reach_nm), WIDER * reach_nm)


def chance_volume(reach_nm: float) -> float:
    """Return how much of space and time [nm² frames] about a gain cancels a loss, and the reverse."""
    apart = np.arange(-WINDOW, WINDOW + 1) / (WINDOW + 1)
    return float((np.pi * (WIDER * reach_nm) ** 2 * (1 - apart**2)).sum())


def cancelled(n_gains: float, n_losses: float, share: float) -> float:
    """Return how many gains and losses cancel by chance, where so many are left over.

    Parameters
    ----------
    n_gains, n_losses
        What is left over of each.
    share
        Of all space and time, what lies about one of them (`chance_volume`).

    Returns
    -------
    c = share (n_gains + c) (n_losses + c); where a field is so crowded that no such number is left,
    the largest that there can be, sqrt(n_gains n_losses).

    Examples
    --------
    >>> round(cancelled(40, 40, 0.002), 2), cancelled(4, 9, 0.9)
    (3.84, 6.0)
    """
    most = np.sqrt(n_gains * n_losses)
    half = max((1 / share - n_gains - n_losses) / 2, most)
    return float(half - np.sqrt(half**2 - most**2))


def _rest(single: np.ndarray, reach_nm: float) -> np.ndarray:
    """Return the gains and losses (n, 7) of one vacancy each that have no partner within reach."""
    # Frame, y and x as one place in space, in which WINDOW + 1 frames are as far as `reach_nm`.
    point = single[:, :3] * (reach_nm / (WINDOW + 1), 1.0, 1.0)
    gains, losses = np.flatnonzero(single[:, 5] > 0), np.flatnonzero(single[:, 5] < 0)
    i, j = match_points(point[gains], point[losses], max_distance=reach_nm)
    left = np.ones(len(single), bool)
    left[gains[i]] = left[losses[j]] = False
    return np.asarray(single[left])


def _row(total: np.ndarray, confidence: float) -> dict[str, Any]:
    made, beside, healed, site_time, site_dose, time_s, hidden = total
    # the share of those that were made that no healed one cancels, for a count that may be 0, too
    seen = (made + 0.5) / (made + hidden + 0.5)
    ends = count_interval(np.array(made), confidence=confidence)
    low, high = (float(end) / seen for end in ends)
    dose, barn = np.nan, (np.nan, np.nan, np.nan)
    if site_dose > 0:
        dose = site_dose / site_time * time_s
        barn = cross_section(int(made), site_dose, efficiency=seen, confidence=confidence)
    return {
        "n_created": made,
        "n_at_dopants": beside,
        "n_healed": healed,
        "n_cancelled": hidden,
        "n_sites": site_time / time_s,
        "dose_e_per_nm2": dose,
        "rate_per_site_s": made / seen / site_time,
        "rate_low": low / site_time,
        "rate_high": high / site_time,
        "cross_section_barn": barn[0],
        "low": barn[1],
        "high": barn[2],
    }
