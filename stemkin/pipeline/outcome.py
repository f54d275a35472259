"""The outcome of a run: its exit code, what failed, and how much was done before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stemkin.results.journal import Journal


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
        f"{m['source']}: {m['reason']}"
        for m in journal.content["movies"]
        if m["status"] == "failed"
    ]
    blocks = [
        f"{b['movie']}, frames {b['start']} to {b['stop'] - 1}: {b['error']}"
        for b in journal.content["blocks"]["failed"]
    ]
    return movies + blocks
