"""The outcome of a run: its exit code, what failed, and how much was done before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stemkin.results.journal import Journal
from stemkin.results.quarantine import QUARANTINE, set_aside_since

log = logging.getLogger(__name__)

MENDED_NAMED = 1000
"""So many files that were made again stand in ``run.json``."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes
    ----------
    folder
        The results folder.
    exit_code
        0 all done; 3 done, but some movies or blocks failed.
    problems
        One sentence for each of those.
    report
        Path of ``report.html``, None where the run stopped before it.
    blocks
        How many blocks there are, how many were done before, and how many of the others were stale.
    """

    folder: str
    exit_code: int
    problems: list[str] = field(default_factory=list)
    report: str | None = None
    blocks: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the few lines that the command line prints."""
        lines = [f"failed: {problem}" for problem in self.problems]
        if self.blocks.get("reused") or self.blocks.get("stale"):
            lines.append(kept_and_redone(self.blocks))
        lines.append(f"results: {self.folder}")
        if self.report:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)


def say_what_was_mended(before: frozenset[str], journal: Journal) -> None:
    """Write down which files were set aside since the notes were those of `before`, and why."""
    mended = set_aside_since(journal.store, before)
    journal.content["mended"] = mended[:MENDED_NAMED]
    if not mended:
        return
    first = mended[0]
    count = f"{len(mended)} files of the results were" if len(mended) > 1 else "1 file was"
    journal.warn(
        f"{count} not as written and made again (the first: {first['file']}, {first['why']}); what "
        f"was damaged lies in {QUARANTINE}/"
    )


def fail_movie(journal: Journal, movie: str, reason: str) -> None:
    """Write down that a movie failed: no number follows from it, and the others go on."""
    for listed in journal.content["movies"]:
        if listed["movie"] == movie and listed["status"] == "ok":
            listed |= {"status": "failed", "reason": reason}
            log.error("%s is given up: %s", movie, reason)


def is_analysed(journal: Journal, movie: str) -> bool:
    """Tell whether a movie takes part in the run, and has not failed so far."""
    return any(
        listed["movie"] == movie and listed["status"] == "ok"
        for listed in journal.content["movies"]
    )


def kept_and_redone(blocks: Mapping[str, Any]) -> str:
    """Say how much of the pixel pass was done before.

    >>> kept_and_redone({"total": 10, "done": 9, "reused": 6, "stale": 1, "failed": [{}]})
    'blocks: 6 of 10 were done before and kept, 1 was stale and done again, 2 were new, 1 failed'
    """
    done, reused, stale = blocks["done"], blocks["reused"], blocks["stale"]
    new, failed = done - reused - stale, len(blocks["failed"])
    words = [f"{reused:,} of {blocks['total']:,} were done before and kept"]
    if stale:
        words.append(f"{stale:,} {_were(stale)} stale and done again")
    if new:
        words.append(f"{new:,} {_were(new)} new")
    if failed:
        words.append(f"{failed:,} failed")
    return "blocks: " + ", ".join(words)


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def problems_of(journal: Journal) -> list[str]:
    """Return one sentence for each movie and each block that failed."""
    movies = [
        m["reason"] if m["source"] in m["reason"] else f"{m['source']}: {m['reason']}"
        for m in journal.content["movies"]
        if m["status"] == "failed"
    ]
    blocks = [
        f"{b['movie']}, frames {b['start']} to {b['stop'] - 1}: {b['error']}"
        for b in journal.content["blocks"]["failed"]
    ]
    unusable = journal.content.get("unusable") or {}
    return movies + blocks + [f"{movie}: {reason}" for movie, reason in unusable.items()]
