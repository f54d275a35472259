"""What each movie adds to the numbers of a run, kept: a movie that comes or goes costs itself only.

    tracks of a movie ──▶ its sums, ``sums/MOVIE/*.parquet`` ──┐
                                                               ├─ + ─▶ finish ─▶ tables of the run
    sums of the other movies, as they were kept ───────────────┘

Sums add exactly and in any order (`stemkin.rows.passes`), so the tables are the same to the bit as
those of one pass over all tracks. A sum is known by all that it depends on: the tracks it was made
of, and what is asked, as it is asked of this movie alone. Whatever of it changes - a setting, the
lattice constant that the movies show, a calibration - is summed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.config import KineticsSection
from stemkin.names import folder_name
from stemkin.pipeline.confusion import Confusion
from stemkin.pipeline.questions import Asking, Questions
from stemkin.results.quarantine import standing
from stemkin.results.reading import movies_of
from stemkin.results.store import Store, fingerprint
from stemkin.results.track_files import track_files
from stemkin.rows.files import tracks_in_files
from stemkin.rows.packing import UnpackableError, packed_sums, unpacked_sums
from stemkin.rows.passes import AskedSums, Sums, all_sums
from stemkin.schedulers.active import here_alone, n_threads
from stemkin.schedulers.streams import results

FOLDER = "sums"
"""Folder of what movies add, by movie and pass."""
MOVIES_PER_TASK = 32
"""A task sums at most so many movies, so that what comes back to the client is little."""
TASKS_PER_THREAD = 4
"""But there are at least so many tasks for each thread, if there are so many movies."""

Added = dict[tuple[str, int], Sums]
"""(question, number of its sum) → what movies add to it."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass over the tracks: what is asked of a movie, and where its sums are kept.

    Attributes
    ----------
    store, name
        Results folder, and name of the pass.
    stage
        Version of the stage of numbers.
    columns
        Of the tracks, that are read.
    classes, settings, hop_length_nm, material
        As of `Asking`.
    confusion
        How often names are wrong.
    controls
        What is asked of controls at rest: confusion matrix, error of a position [nm]; None for the
        first pass, which asks of the tracks as they are.
    """

    store: Store
    name: str
    stage: int
    columns: tuple[str, ...]
    classes: pd.DataFrame
    settings: KineticsSection
    hop_length_nm: float | None
    material: str
    confusion: Confusion
    controls: tuple[np.ndarray | None, float | None] | None = None

    def questions(self, asking: Asking) -> Questions:
        """Return what is asked, of all movies or of one, as `asking` knows them."""
        if self.controls is not None:
            return asking.at_rest(*self.controls)
        asked = asking.as_they_are()
        if self.settings.null_controls:
            asked |= asking.shuffled()
            asked |= {"misnaming": asking.of_timed(self.confusion.question())}
        return asked

    def of_movie(self, movie: Mapping[str, Any], frames: pd.DataFrame) -> Questions:
        """Return what is asked of one movie, for which the others do not exist."""
        experiment = tables.Experiment(movies_of([dict(movie)]), frames, self.classes)
        nothing = tables.empty("tracks")[list(self.columns)]
        timed: Sequence[str] | None = None
        if movie["frame_time_s"] is None:
            timed = ()
        words = (self.settings, self.hop_length_nm, self.material)
        return self.questions(Asking(nothing, experiment, *words, timed=timed))


@dataclass(frozen=True, eq=False)
class SumsTask:
    """All that a worker needs to sum over some movies: rows of ``run.json``."""

    ask: Pass
    movies: tuple[Mapping[str, Any], ...]


def answers_of_movies(
    ask: Pass,
    asking: Asking,
    movies: Sequence[Mapping[str, Any]],
    large: Any,
    *,
    retries: int,
) -> tuple[dict[str, Any], int]:
    """Answer what a pass asks, with the sums of each movie kept. Computes once.

    Parameters
    ----------
    ask
        The pass.
    asking
        All that the run knows.
    movies
        Rows of ``run.json`` of the movies whose tracks lie in files of blocks.
    large
        Tracks of the others, in files of whole tracks: summed anew, in parallel; None for none.
    retries
        How often a task that fails is tried again.

    Returns
    -------
    Name → answer, and of how many movies no row was read, as all their sums were kept.
    """
    questions = ask.questions(asking)
    size = -(-len(movies) // (TASKS_PER_THREAD * n_threads()))
    size = min(max(size, 1), MOVIES_PER_TASK)
    tasks = [
        SumsTask(ask, tuple(movies[start : start + size])) for start in range(0, len(movies), size)
    ]
    total, n_kept = _of_large(questions, large), 0
    for _, (added, kept) in results(sums_of_movies, tasks, retries=retries):
        total = all_sums([total, added])
        n_kept += kept
    found = {}
    for name, question in questions.items():
        sums = [total.get((name, i), {}) for i in range(len(question.adds))]
        found[name] = question.finish(*sums)
    return found, n_kept


def _of_large(questions: Questions, large: Any) -> Added:
    """Return the sums of movies that are too large for one task."""
    if large is None:
        return {}
    sought = AskedSums.of(list(questions.values()))
    return _named(questions, sought, sought.total(large))


def _named(questions: Questions, sought: AskedSums, total: Mapping[int, Sums]) -> Added:
    """Return sums by the names of the questions in place of their numbers."""
    return {
        (name, i): total.get(number, {})
        for name, numbers in zip(questions, sought.asked, strict=True)
        for i, number in enumerate(numbers)
    }


def sums_of_movies(task: SumsTask) -> tuple[Added, int]:
    """Return what some movies add, and how many of them were kept whole. Computes once."""
    parts, n_kept = [], 0
    with here_alone():
        for movie in task.movies:
            added, is_kept = _sums_of(task.ask, movie)
            parts.append(added)
            n_kept += is_kept
    return all_sums(parts), n_kept


def _sums_of(ask: Pass, movie: Mapping[str, Any]) -> tuple[Added, bool]:
    """Return what one movie adds, from what was kept as far as it goes."""
    store, name = ask.store, str(movie["movie"])
    place = (FOLDER, folder_name(name), f"{ask.name}.parquet")
    frames = store.read_movie("frames", name)
    questions = ask.of_movie(movie, frames)
    sought = AskedSums.of(list(questions.values()))
    prints = [store.block_made_of("tracks", block) for block in store.blocks("tracks", name)]
    made_of = fingerprint("sums", ask.stage, prints)
    kept = _kept(store, made_of, place)
    wanted = dict(enumerate(sought.tokens))
    total = {
        number: unpacked_sums(kept[token]) for number, token in wanted.items() if token in kept
    }
    missing = [number for number in wanted if number not in total]
    if missing:
        total |= _summed_now(ask, name, sought.only(missing))
        _keep(store, made_of, place, {wanted[number]: sums for number, sums in total.items()})
    return _named(questions, sought, total), not missing


def _summed_now(ask: Pass, movie: str, sought: AskedSums) -> dict[int, Sums]:
    """Return sums of the rows of a movie, read now."""
    files, _ = track_files(ask.store, movie)
    rows = tracks_in_files({movie: files}, None, columns=ask.columns)
    if rows.npartitions == 1:
        return sought.total(rows.compute())
    return sought.total(rows)


def _kept(store: Store, made_of: str, place: tuple[str, ...]) -> dict[str, bytes]:
    """Return the sums in a file by their token; nothing of a file that was made of other tracks."""
    if standing(store, *place).get("fingerprint") != made_of:
        return {}
    rows = store.read_table(*place)
    return dict(zip(rows["token"], rows["content"], strict=True))


def _keep(store: Store, made_of: str, place: tuple[str, ...], sums: Mapping[str, Sums]) -> None:
    """Write the sums of a movie by their token; those of a kind that is not written are left out."""
    tokens, contents = [], []
    for token in sorted(sums):
        try:
            contents.append(packed_sums(sums[token]))
        except UnpackableError:
            continue
        tokens.append(token)
    store.write_table(pd.DataFrame({"token": tokens, "content": contents}), made_of, *place)


def forget_sums(store: Store, movies: Sequence[Mapping[str, Any]]) -> None:
    """Remove what movies added that are not in the run any more."""
    there = {folder_name(str(movie["movie"])) for movie in movies}
    for name in set(store.names(FOLDER)) - there:
        store.remove(FOLDER, name)


def split_by_size(
    store: Store, movies: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], dict[str, list[str]]]:
    """Tell movies whose tracks lie in files of blocks from those in files of whole tracks."""
    small, large = [], {}
    for movie in movies:
        files, is_whole = track_files(store, str(movie["movie"]))
        if is_whole:
            large[str(movie["movie"])] = files
        else:
            small.append(movie)
    return small, large
