"""Progress of a run: which stage, how far, how fast, how long still; for people and for scripts.

On a terminal every stage has a bar, and all of them together one. In a log or a pipe a line stands
at the end of each stage, and once a minute within it. Both are a `Watch`, which is told of stages
and steps; what is left of a stage is told by `Pace`.

>>> pace = Pace(total=100, began=0.0)
>>> pace.step(25, now=10.0)
>>> pace.per_s(now=10.0), pace.left_s(now=10.0)
(2.5, 30.0)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

EVERY_S = 60.0
"""How often a line is written within a stage, where nobody sees bars."""

UNITS = {
    "detect": "frames",
    "crystals": "movies",
    "link": "movies",
    "phases": "movies",
    "sites": "movies",
    "name": "blocks",
}
"""What the steps of a stage are; other stages are done in one."""

UNITS_OF_TIME = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
"""Units of time [s] and the next smaller ones, from the largest on."""


class Watch(Protocol):
    """Who is told how a run goes."""

    def begin(self, stages: Sequence[str]) -> None:
        """So many stages are to come, in this order."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins; the one before it is over."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many steps more are done."""

    def fail(self, what: int = 1) -> None:
        """So many more movies or blocks failed."""


class Unwatched:
    """Nobody looks."""

    def begin(self, stages: Sequence[str]) -> None:
        """Say nothing."""

    def stage(self, name: str, total: int) -> None:
        """Say nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say nothing."""

    def fail(self, what: int = 1) -> None:
        """Say nothing."""


@dataclass
class Pace:
    """How far a stage is, and how fast it goes.

    Attributes
    ----------
    total
        Its steps.
    began
        When it began [s of any clock].
    done
        Steps that are done.
    """

    total: int
    began: float
    done: int = 0

    def step(self, steps: int, now: float) -> None:  # noqa: ARG002 - the clock is the caller's
        """Count so many steps more."""
        self.done += steps

    def per_s(self, now: float) -> float:
        """Return steps per second so far, 0 at the beginning."""
        passed = now - self.began
        if passed <= 0:
            return 0.0
        return self.done / passed

    def left_s(self, now: float) -> float | None:
        """Return the seconds that are left at this pace; None where it is not known."""
        speed = self.per_s(now)
        if speed <= 0 or self.total <= self.done:
            return None
        return (self.total - self.done) / speed


class Lines:
    """A line per minute, and one at the end of each stage, for logs and pipes.

    Parameters
    ----------
    write
        Takes a line; to standard error unless told otherwise.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        write: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say nothing yet."""
        self._write = write or _to_standard_error
        self._clock = clock
        self._stages: list[str] = []
        self._name, self._pace, self._note, self._failed = "", Pace(0, 0.0), "", 0
        self._said = clock()

    def begin(self, stages: Sequence[str]) -> None:
        """Remember which stages are to come."""
        self._stages = list(stages)

    def stage(self, name: str, total: int) -> None:
        """Begin to count a stage."""
        self._name, self._note = name, ""
        self._pace = Pace(total, self._clock())
        self._said = self._clock()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps; say how far the stage is when it ends, and once a minute."""
        now = self._clock()
        self._pace.step(steps, now)
        self._note = note
        ended = self._pace.done >= self._pace.total
        if ended or now - self._said >= EVERY_S:
            self._said = now
            self._write(self._line(now, ended=ended))

    def fail(self, what: int = 1) -> None:
        """Count what failed: the next line says it."""
        self._failed += what

    def _line(self, now: float, *, ended: bool) -> str:
        """Return what is to be said now."""
        pace, unit = self._pace, UNITS.get(self._name, "")
        words = [f"{datetime.now():%H:%M:%S} {self._name}"]
        if self._name in self._stages:
            number = self._stages.index(self._name) + 1
            words[0] += f" (stage {number} of {len(self._stages)})"
        if unit:
            share = 100 * pace.done / max(1, pace.total)
            words.append(f"{share:.0f} % ({pace.done:,} of {pace.total:,} {unit})")
        if ended:
            words.append(f"done in {in_words(now - pace.began)}")
        elif (left_s := pace.left_s(now)) is not None:
            words.append(f"{in_words(left_s)} left")
        words += [self._note] if self._note else []
        words += [f"{self._failed} failed"] if self._failed else []
        return ", ".join(words)


def in_words(seconds: float) -> str:
    """Return a duration as people say it, in its two largest units.

    >>> in_words(0.42), in_words(75), in_words(119.7), in_words(7300), in_words(1e6)
    ('0 s', '1 min 15 s', '2 min 0 s', '2 h 2 min', '11 d 14 h')
    """
    for unit, name, smaller, its_name in UNITS_OF_TIME:
        # in whole smaller units, so that 59.7 s beside a minute are a minute more
        n = round(seconds / smaller)
        if n * smaller >= unit:
            return f"{n * smaller // unit} {name} {n % (unit // smaller)} {its_name}"
    return f"{seconds:.0f} s"


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Bars:
    """One bar per stage, and one for all stages, drawn by rich."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._all: Any = None
        self._stages: list[str] = []
        self._task: Any = None
        self._failed = 0

    def begin(self, stages: Sequence[str]) -> None:
        self._stages = list(stages)
        self._all = self._progress.add_task("all stages", total=len(stages), note="")

    def stage(self, name: str, total: int) -> None:
        if name in self._stages:
            self._progress.update(self._all, completed=self._stages.index(name))
        self._task = self._progress.add_task(name, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        if self._failed:
            note = f"{note}, {self._failed} failed".lstrip(", ")
        self._progress.update(self._task, advance=steps, note=note)
        task = self._progress.tasks[-1]
        if task.finished and task.description == (self._stages or [""])[-1]:
            self._progress.update(self._all, completed=len(self._stages))

    def fail(self, what: int = 1) -> None:
        self._failed += what


@contextmanager
def shown() -> Iterator[Watch]:
    """Yield a watch that draws bars on a terminal, and writes lines into logs and pipes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        "{task.description:<10}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)
    ) as progress:
        yield _Bars(progress)
