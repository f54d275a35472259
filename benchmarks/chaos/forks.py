"""Runs in children of this process, with a fault at a moment that file events tell.

The parent has imported everything, so that a run costs its own work alone; a child that is killed
takes nothing else with it. Python tells an audit hook of every file that is opened and renamed: the
fault strikes at the n-th file of a kind, as it is begun (an empty ``.part``) or as it is to be put
in its place (a whole one).
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_S = 100.0
"""A child that takes longer hangs."""
KINDS = {
    "the files of a block": r"/(detections|neighbours|breaks|steps|thumbnails)/[^/]+/",
    "maps": r"/maps/",
    "run.json": r"/\.?run\.json",
    "model": r"/model/",
    "crystals": r"/crystals/",
    "tracks": r"/(frames|tracks|regions)/[^/]+/",
    "numbers": r"/\.?[a-z_]+\.parquet",
    "gallery": r"/gallery/",
    "report": r"/report(/|\.html)|/\.report\.html",
}
"""What is written, and how its paths look."""


@dataclass
class Moment:
    """The n-th time that a file of a kind is begun, or is to be put in its place."""

    kind: str
    number: int
    begun: bool
    strike: Callable[[], None]
    seen: int = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be told of an event of Python's own."""
        wanted = "open" if self.begun else "os.rename"
        if event != wanted or self.seen >= self.number:
            return
        path = arguments[0] if self.begun else arguments[1]
        if not isinstance(path, (str, os.PathLike)):
            return
        text = os.fspath(path)
        if self.begun and not text.endswith((".part", ".partial")):
            return
        if re.search(KINDS[self.kind], text):
            self.seen += 1
            if self.seen == self.number:
                self.strike()


@dataclass
class Counter:
    """Counts the moments of every kind."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be told of an event."""
        if event == "os.rename":
            for kind, looks in KINDS.items():
                self.counts[kind] += bool(re.search(looks, os.fspath(arguments[1])))


def killed() -> None:
    """End this process as the system does for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def stopped() -> None:
    """Suspend this process, as a closed laptop does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def clock_set(seconds: float) -> Callable[[], None]:
    """Return what sets this process' clock forward or back."""

    def strike() -> None:
        truly = time.time
        time.time = lambda: truly() + seconds

    return strike


def files_limited(n_bytes: int) -> Callable[[], None]:
    """Return what lets no file of this process become larger."""

    def strike() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))

    return strike


def filled(folder: Path, *, inodes: bool) -> Callable[[], None]:
    """Return what fills a small disk: its room, or its places for files."""

    def strike() -> None:
        (folder / "filler").mkdir(exist_ok=True)
        try:
            for number in range(100_000):
                with (folder / "filler" / str(number)).open("wb") as file:
                    file.write(b"" if inodes else bytes(2**16))
        except OSError:
            return

    return strike


@dataclass
class Child:
    """A run in a process of its own."""

    process: int
    answer: Path

    def wait(self, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Return what it answered; ``code`` is "killed" or "hung" where it did not."""
        status = self._status(limit_s, os.WNOHANG)
        if status is None:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            return {"code": "hung", "said": "", "mended": []}
        if os.WIFSIGNALED(status):
            return {"code": "killed", "said": "", "mended": []}
        try:
            told: dict[str, Any] = json.loads(self.answer.read_text())
        except (OSError, ValueError):
            return {"code": f"ended with {os.waitstatus_to_exitcode(status)}", "said": "", "mended": []}  # fmt: skip
        return told

    def is_stopped(self, limit_s: float = LIMIT_S) -> bool:
        """Wait until it is suspended; False if it ended before."""
        status = self._status(limit_s, os.WNOHANG | os.WUNTRACED)
        return status is not None and os.WIFSTOPPED(status)

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.process, signal.SIGCONT)

    def _status(self, limit_s: float, options: int) -> int | None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            number, status = os.waitpid(self.process, options)
            if number:
                return status
            time.sleep(0.005)
        return None


def in_child(
    work: Callable[[], Any],
    *,
    moment: Callable[[str, tuple[Any, ...]], None] | None = None,
    before: Callable[[], None] | None = None,
) -> Child:
    """Start `work`, a run that returns its outcome, in a child; `before` comes first there."""
    handle, name = tempfile.mkstemp(suffix=".json", dir=os.environ.get("CHAOS_TMP"))
    os.close(handle)
    number = os.fork()
    if number:
        return Child(number, Path(name))
    code = 1
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        if before is not None:
            before()
        if moment is not None:
            sys.addaudithook(moment)
        told = _answer(work)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        if isinstance(moment, Counter):
            told["counts"] = moment.counts
        Path(name).write_text(json.dumps(told))
        code = 0
    finally:
        os._exit(code)


def _answer(work: Callable[[], Any]) -> dict[str, Any]:
    """Return the exit code and the words of a run, as the command line would give them."""
    import traceback

    from stemkin.errors import BAD_USAGE, STOPPED, StoppedError

    try:
        outcome = work()
    except StoppedError as error:
        return {"code": STOPPED, "said": str(error), "mended": []}
    except (ValueError, FileNotFoundError) as error:
        return {"code": BAD_USAGE, "said": str(error), "mended": []}
    except BaseException:  # noqa: BLE001 - a traceback is what is looked for
        return {"code": "traceback", "said": traceback.format_exc()[-1500:], "mended": []}
    return {"code": outcome.exit_code, "said": "; ".join(getattr(outcome, "problems", [])), "mended": []}  # fmt: skip
