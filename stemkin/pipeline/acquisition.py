"""A run that follows an acquisition: what is recorded is searched while more is being recorded.

    look at the folder ──▶ whole blocks of movies that grow, all of those that are done ──▶ `run`
          ▲                                                                                  │
          └────────────────── wait until something is new ◀──────────────────────────────────┘

Each round is a run of its own over what there is, with the report of it; blocks, tracks and the model
of the rounds before are kept, so a round costs what is new. A movie that grows is searched up to its
last whole block, and its tail when it has not changed for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

from stemkin.blas import one_thread
from stemkin.config import RunConfig
from stemkin.errors import DamagedFileError
from stemkin.movie import Movie
from stemkin.pipeline import run
from stemkin.pipeline.blocks import block_mib, edges_of
from stemkin.pipeline.lineage import is_part
from stemkin.pipeline.opening import Inputs, open_inputs
from stemkin.pipeline.outcome import RunOutcome
from stemkin.results.store import RUN_FILE, Store
from stemkin.vocabulary import checked

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""So often the folder is looked at while nothing is new."""
QUIET_S = 30.0
"""A movie that has not changed for so long is taken to be whole."""


@one_thread
@checked
def follow_acquisition(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    config: RunConfig | None = None,
    until_idle_s: float | None = None,
    quiet_s: float = QUIET_S,
    look_every_s: float = LOOK_EVERY_S,
    **words: Any,
) -> RunOutcome:
    """Run over a folder of movies as they are recorded, again and again. Computes once each round.

    Parameters
    ----------
    inputs, out, config
        As for `run`; `inputs` may hold no movie yet.
    until_idle_s
        End when nothing has changed for so long [s] and all is done; None goes on until Ctrl-C.
    quiet_s
        A movie that has not changed for so long [s] is taken to be whole: its last frames are searched.
    look_every_s
        Time between two looks [s].
    **words
        Further keywords of `run`.

    Returns
    -------
    What came of the last round.

    Raises
    ------
    ValueError
        As `run`; if nothing was recorded until the end.
    """
    config = config or RunConfig()
    if until_idle_s is not None:
        # what is still waited for is not idle
        until_idle_s = max(until_idle_s, quiet_s + look_every_s)
    folder = WatchedFolder(quiet_s)
    outcome, done, idle_since = None, None, time.monotonic()
    while True:
        found, trouble = _opened(inputs, config, out)
        ready = None
        if found is not None:
            ready = folder.ready(found, config, _settled_mib(out, found.movies))
        if folder.changed:
            idle_since = time.monotonic()
        if ready is not None and _summary(ready) != done:
            done = _summary(ready)
            outcome = run(ready, out, config=config, **words)
            # an archive is learned from anew only once
            words = {**words, "fresh": False, "relearn": False}
            _say(ready, outcome)
            idle_since = time.monotonic()
        elif until_idle_s is not None and time.monotonic() - idle_since > until_idle_s:
            break
        else:
            time.sleep(look_every_s)
    if outcome is None:
        raise trouble or ValueError(f"{inputs}: nothing was recorded there")
    return outcome


def _opened(
    inputs: Any, config: RunConfig, out: str | PathLike[str]
) -> tuple[Inputs | None, ValueError | None]:
    """Return the movies that there are now; or why there is none yet."""
    try:
        return open_inputs(inputs, config, results=out), None
    except ValueError as error:
        return None, error


@dataclass
class WatchedFolder:
    """What was seen of each movie, look by look.

    Attributes
    ----------
    quiet_s
        A movie that has not changed for so long [s] is whole.
    changed
        Whether the last look saw something new.
    """

    quiet_s: float
    changed: bool = False
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    _first: dict[str, int] = field(default_factory=dict)

    def ready(self, found: Inputs, config: RunConfig, mib: float) -> Inputs | None:
        """Return the movies that can be searched now: whole ones, and whole blocks of the others.

        Parameters
        ----------
        found
            All movies that open now.
        config
            Says how they are cut in blocks of `mib`.
        mib
            Size of a block's frames [MiB].

        Returns
        -------
        None where there is no such movie yet.
        """
        self.changed, ready = False, []
        for movie in found.movies:
            n_frames = self._n_ready(movie, config, mib)
            if n_frames == movie.n_frames:
                ready.append(movie)
            elif n_frames > 0:
                ready.append(movie[:n_frames])
        if not ready:
            return None
        return replace(found, movies=ready)

    def _n_ready(self, movie: Movie, config: RunConfig, mib: float) -> int:
        """Return how many frames of a movie can be searched now."""
        now = time.monotonic()
        identity, since = self._seen.get(movie.name, ("", now))
        first = min(movie.n_frames, self._first.get(movie.name, movie.n_frames))
        self._first[movie.name] = first
        if identity != movie.reader.identity:
            self._seen[movie.name] = (movie.reader.identity, now)
            self.changed = True
        elif now - since >= self.quiet_s:
            return movie.n_frames
        # a file that is made at its full length before it is filled has frames that are not there
        # yet: only one that was seen to become longer is searched before it is whole
        if movie.n_frames == first:
            return 0
        (_, longest), *_ = edges_of(movie, config.detect, mib)
        return movie.n_frames // longest * longest


def _settled_mib(out: str | PathLike[str], movies: Sequence[Movie]) -> float:
    """Return the size of blocks [MiB] of the results folder, or that of a new one."""
    with suppress(DamagedFileError):  # a run mends it
        before = Store.at(out).read_json(RUN_FILE) or {}
        return float((before.get("blocks") or {}).get("mib") or block_mib(movies))
    return block_mib(movies)


def _summary(ready: Inputs) -> tuple[Any, ...]:
    """Return what makes a round worth while when it changes."""
    movies = []
    for movie in ready.movies:
        # of a movie that grows the first frames stay, whatever is written after them
        identity = "" if is_part(movie) else movie.reader.identity
        movies.append((movie.name, movie.n_frames, identity))
    return (movies, ready.problems)


def _say(ready: Inputs, outcome: RunOutcome) -> None:
    """Say on the terminal that a round is done."""
    n_frames = sum(movie.n_frames for movie in ready.movies)
    log.warning(
        "%d movies, %d frames are done so far: %s; waiting for more (Ctrl-C ends, and the same "
        "command goes on)",
        len(ready.movies),
        n_frames,
        outcome.report or outcome.folder,
    )
