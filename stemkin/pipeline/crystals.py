"""The crystal of every movie, found before any block is searched: one task and one file a movie.

All blocks of a movie are judged beside the same crystal, which is found in a sample of its frames.
A frame of the sample that nobody can read, or that ends the process of whoever tries, is left out
and named; a later run tries it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemkin.errors import StoppedError
from stemkin.movie import Movie
from stemkin.pipeline.lineage import identity_of, look_of
from stemkin.pipeline.outcome import fail_movie
from stemkin.progress import Watch
from stemkin.readers.errors import ChangedMovieError
from stemkin.references import reference_crystal, sample_numbers
from stemkin.results.crystals import about_crystal, crystal_file, note_look, write_crystal
from stemkin.results.journal import Journal
from stemkin.results.quarantine import GONE, set_aside
from stemkin.results.store import Store, fingerprint
from stemkin.schedulers.streams import results, stream

STAGE_VERSION = 3
"""Raised when the same frames would give another crystal than before."""

NAMED = 3
"""So many movies are named in a warning."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrystalTask:
    """All that a worker needs for the crystal of one movie.

    `left_out` are frames of the sample that cannot be read.
    """

    movie: Movie
    store: Store
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class CrystalSummary:
    """What comes back: the fingerprint of the crystal, and whether it was there before.

    `identity` is the one under which the movie is searched: that of its first look, however long it
    is by now. `lattice_px` is its lattice constant [px], None where the movie shows no crystal.
    """

    content: str
    identity: str
    reused: bool
    left_out: tuple[int, ...]
    lattice_px: float | None


def find_crystals(
    movies: Sequence[Movie],
    store: Store,
    retries: int,
    journal: Journal,
    record: dict[str, Any],
    watch: Watch,
) -> dict[str, CrystalSummary]:
    """Find the crystals of all movies through the active scheduler; those known are kept.

    Computes once.

    Returns
    -------
    What came of each movie, by its name; nothing of a movie that is not any more what it was.

    Raises
    ------
    StoppedError
        If the results folder cannot be written, or a store does not answer.
    """
    watch.stage("crystals", len(movies))
    tasks = (CrystalTask(movie, store) for movie in movies)
    found: dict[str, CrystalSummary] = {}
    doubtful = []
    for outcome in stream(crystal_to_store, tasks, retries=retries):
        if isinstance(outcome.error, StoppedError):
            raise outcome.error
        if isinstance(outcome.error, ChangedMovieError):
            fail_movie(journal, outcome.item.movie.name, str(outcome.error))
        elif outcome.result is None:
            doubtful.append(outcome.item)
        else:
            found[outcome.item.movie.name] = outcome.result
        watch.advance()
    # whoever failed in company is looked at alone, frame by frame: then it is sure who is to blame
    for task in doubtful:
        rest = replace(task, left_out=_unreadable(task.movie, retries))
        for _, summary in results(crystal_to_store, [rest], retries=retries):
            found[task.movie.name] = summary
    _note(found, journal, record)
    return found


def crystal_to_store(task: CrystalTask) -> CrystalSummary:
    """Find the crystal of one movie and write it, unless that was done already. Computes once.

    A movie that was written on keeps the crystal of its first frames.
    """
    movie, store, left_out = task.movie, task.store, task.left_out
    if not store.exists(*crystal_file(movie.name)) and store.blocks("steps", movie.name):
        # it was there before any block was searched beside it
        set_aside(store, GONE, *crystal_file(movie.name))
    known = about_crystal(store, movie.name)
    identity = identity_of(movie, known.get("look")) or movie.reader.identity
    made_of = fingerprint("crystal", STAGE_VERSION, movie.name, identity)
    numbers = sample_numbers(movie.n_frames, movie.shape[1] * movie.shape[2])
    if known.get("made_of") == made_of and known.get("left_out") == list(left_out):
        basis = None if known["crystal"] is None else np.array(known["crystal"]["basis"])
        if known.get("look", {}).get("n_frames") != movie.n_frames:
            look = look_of(movie, identity, numbers=numbers, left_out=left_out)
            note_look(store, movie.name, known, look)
        return CrystalSummary(known["content"], identity, True, left_out, _lattice_px(basis))
    crystal = reference_crystal(movie, left_out=left_out)
    look = look_of(movie, identity, numbers=numbers, left_out=left_out)
    content = write_crystal(
        store, movie.name, crystal, made_of=made_of, left_out=left_out, look=look
    )
    basis = None if crystal is None else crystal.basis
    return CrystalSummary(content, identity, False, left_out, _lattice_px(basis))


def is_still(movie: Movie, store: Store) -> bool:
    """Tell whether a movie is the one, or the beginning of the one, that was searched before."""
    return identity_of(movie, about_crystal(store, movie.name).get("look")) is not None


def _lattice_px(basis: np.ndarray | None) -> float | None:
    """Return the shortest vector of a lattice [px] of (2, 2) reciprocal vectors [cycles per px]."""
    if basis is None:
        return None
    one, other = np.linalg.inv(basis).T
    lengths = [np.linalg.norm(vector) for vector in (one, other, one + other, one - other)]
    return float(min(lengths))


def _unreadable(movie: Movie, retries: int) -> tuple[int, ...]:
    """Return the frames of a movie's sample that cannot be read, tried one at a time.

    Who dies may have died of something else: a frame is given up after it has failed twice.

    Raises
    ------
    StoppedError
        If its store does not answer: no frame is to blame.
    """
    _, height, width = movie.shape
    numbers = sample_numbers(movie.n_frames, height * width)
    for _ in range(2):
        items = [(movie, number) for number in numbers]
        numbers = []
        for outcome in stream(_try_to_read, items, retries=retries, window=1):
            if isinstance(outcome.error, StoppedError):
                raise outcome.error
            if outcome.error is not None:
                numbers.append(outcome.item[1])
    for number in numbers:
        log.warning("frame %d of %s cannot be read and tells nothing", number, movie.name)
    return tuple(sorted(numbers))


def _try_to_read(item: tuple[Movie, int]) -> None:
    movie, number = item
    movie.reader.read(number, number + 1)


def _note(found: dict[str, CrystalSummary], journal: Journal, record: dict[str, Any]) -> None:
    """Write down what came of all movies, and which frames told nothing."""
    record["movies"] = len(found)
    record["lattice_px"] = {name: summary.lattice_px for name, summary in found.items()}
    record["reused"] = sum(summary.reused for summary in found.values())
    record["left_out"] = {name: one.left_out for name, one in found.items() if one.left_out}
    if not record["left_out"]:
        return
    named = [
        f"{name}: {', '.join(map(str, numbers))}"
        for name, numbers in list(record["left_out"].items())[:NAMED]
    ]
    n_more = len(record["left_out"]) - len(named)
    more = f" and {n_more} more movies" if n_more else ""
    journal.warn(
        "frames that could not be read told nothing of the crystal of their movie "
        f"({'; '.join(named)}{more}); the next run tries them again"
    )
