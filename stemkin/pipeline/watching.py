"""Progress that outlives the terminal: what the watch is told also stands in ``run.json``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from stemkin.progress import UNITS, Pace, Watch
from stemkin.results.journal import Journal, now

NOTED_EVERY_S = 10.0
"""How often ``run.json`` is written for the sake of progress alone."""


class NotedWatch:
    """Tells another watch, and writes ``progress`` into ``run.json``.

    Parameters
    ----------
    inner
        Who is told at once.
    journal
        Gets a table ``progress``: `stage`, `stages`, `done`, `total`, `unit`, `per_s`, `left_s`,
        `failed` and `at`, a time; None once the run has ended.
    """

    def __init__(self, inner: Watch, journal: Journal) -> None:
        """Note nothing yet."""
        self.inner, self.journal = inner, journal
        self._stages: list[str] = []
        self._pace, self._failed, self._saved = Pace(0, 0.0), 0, time.monotonic()

    def begin(self, stages: Sequence[str]) -> None:
        """Note which stages are to come."""
        self._stages = list(stages)
        self.inner.begin(stages)

    def stage(self, name: str, total: int) -> None:
        """Note that a stage begins."""
        self._pace = Pace(total, time.monotonic())
        self._note(name)
        self.inner.stage(name, total)
        self._save()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Note how far the stage is."""
        self._pace.step(steps, time.monotonic())
        self._note(str(self.journal.content["progress"]["stage"]))
        self.inner.advance(steps, note)
        if time.monotonic() - self._saved > NOTED_EVERY_S:
            self._save()

    def fail(self, what: int = 1) -> None:
        """Note that something failed."""
        self._failed += what
        self.inner.fail(what)

    def end(self) -> None:
        """Note that nothing goes on any more."""
        self.journal.content["progress"] = None
        self._save()

    def _note(self, name: str) -> None:
        clock = time.monotonic()
        noted: dict[str, Any] = {
            "stage": name,
            "stages": self._stages,
            "done": self._pace.done,
            "total": self._pace.total,
            "unit": UNITS.get(name, ""),
            "per_s": round(self._pace.per_s(clock), 3),
            "left_s": self._pace.left_s(clock),
            "failed": self._failed,
            "at": now(),
        }
        self.journal.content["progress"] = noted

    def _save(self) -> None:
        self.journal.save()
        self._saved = time.monotonic()
