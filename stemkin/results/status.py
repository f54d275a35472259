"""How a run stands, told from its folder alone: what is done, what goes on, what failed.

The run itself may be on another machine: it writes ``run.json`` often, and signs the folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stemkin.results.journal import Journal
from stemkin.results.lock import writer_of
from stemkin.results.store import Store

SHOWN = 5
"""So many failures and warnings are written out."""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands.

    Attributes
    ----------
    folder
        The results folder.
    state
        ``"running"``, ``"stopped"`` (the same command goes on), ``"complete"`` or ``"incomplete"``
        (done, but movies or blocks failed).
    writer
        Which process writes there; "" for none.
    stages
        Rows of `name`, `status`, `seconds`.
    progress
        What ``run.json`` says of the stage that goes on; empty for none.
    problems, warnings
        One sentence each.
    """

    folder: str
    state: str
    writer: str
    stages: Sequence[Mapping[str, Any]]
    progress: Mapping[str, Any]
    problems: Sequence[str]
    warnings: Sequence[str]

    def describe(self) -> str:
        """Return the lines that ``stemkin status`` prints."""
        head = f"{self.folder}: {self.state}"
        if self.writer:
            head += f" ({self.writer})"
        lines = [head, *(_line(stage) for stage in self.stages)]
        if self.progress:
            lines.append(f"  now: {_progress(self.progress)}")
        lines += _listed("failed", self.problems) + _listed("warning", self.warnings)
        return "\n".join(lines)


def status_of(store: Store) -> RunStatus:
    """Return how the run in a results folder stands. Computes once: ``run.json`` and the lock.

    Parameters
    ----------
    store
        The results folder.

    Raises
    ------
    FolderError
        If it is no results folder.
    """
    content = Journal.read(store).content
    signed, alive = writer_of(store)
    writer, state = "", "stopped"
    if alive:
        writer, state = signed, "running"
    elif content.get("finished"):
        state = "incomplete" if content.get("exit_code") else "complete"
    stages = [
        {"name": name, **(stage if isinstance(stage, dict) else {})}
        for name, stage in content["stages"].items()
    ]
    for stage in stages:
        stage["status"] = str(stage.get("status") or "")
        if stage["status"] == "running" and not alive:
            stage["status"] = "stopped"
    progress = content.get("progress")
    return RunStatus(
        store.root,
        state,
        writer,
        stages,
        progress if isinstance(progress, dict) and alive else {},
        _problems(content),
        [str(one) for one in content.get("warnings") or []],
    )


def _problems(content: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each movie and each block that failed."""
    found = [
        f"{movie.get('source')}: {movie.get('reason')}"
        for movie in content["movies"]
        if isinstance(movie, dict) and movie.get("status") == "failed"
    ]
    for block in content["blocks"].get("failed") or []:
        if isinstance(block, dict):
            said = str(block.get("error") or "").splitlines()
            frames = f"frames {block.get('start')} to {block.get('stop')}"
            found.append(f"{block.get('movie')}, {frames}: {said[-1] if said else 'no reason'}")
    return found


def _listed(what: str, sentences: Sequence[str]) -> list[str]:
    """Return the first of some sentences, and how many more there are."""
    lines = [f"  {what}: {' '.join(one.split())}" for one in sentences[:SHOWN]]
    if len(sentences) > SHOWN:
        lines.append(f"  {what}: and {len(sentences) - SHOWN:,} more in run.json")
    return lines


def _line(stage: Mapping[str, Any]) -> str:
    """Return the line of a stage."""
    return f"  {stage['name']:<10} {stage['status']:<12} {_seconds(stage)}".rstrip()


def _seconds(stage: Mapping[str, Any]) -> str:
    """Return how long a stage took."""
    seconds = stage.get("seconds")
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return ""
    return f"{seconds:.1f} s"


def _progress(progress: Mapping[str, Any]) -> str:
    """Return how far the stage is that goes on."""
    done, total = (float(progress.get(key) or 0) for key in ("done", "total"))
    words = [str(progress.get("stage"))]
    if total > 1:
        share = 100 * done / total
        words.append(
            f"{share:.0f} % ({done:,.0f} of {total:,.0f} {progress.get('unit') or 'steps'})"
        )
    speed, left_s = progress.get("per_s"), progress.get("left_s")
    if isinstance(speed, (int, float)) and speed and progress.get("unit"):
        words.append(f"{speed:.3g} {progress['unit']}/s")
    if isinstance(left_s, (int, float)):
        words.append(f"about {left_s:.0f} s left in this stage")
    if progress.get("failed"):
        words.append(f"{progress['failed']} failed")
    return ", ".join([*words, f"at {progress.get('at')}"])
