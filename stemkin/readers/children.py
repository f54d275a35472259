"""Header reading in a subprocess with a time limit, for libraries that may hang or crash.

A damaged HDF5 file can send the HDF5 library round in circles, or crash it, and nothing within a
process stops that. So files of such formats are opened by a child that answers with what the header
says; one that does not answer in time is stopped, and its file is refused in a sentence. A child
serves one file after the other and starts in about half a second, so that thousands of files cost
no more than one.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from stemkin.readers.base import FileReader, Options
from stemkin.readers.errors import MovieError
from stemkin.readers.notation import from_json, to_json
from stemkin.readers.openers import open_as
from stemkin.readers.place import Place, place_of

MOST_BYTES = 2**33
"""A child that reads a header may address no more: Python and its libraries take one eighth."""
LIMIT_S = 20.0
"""Headers take milliseconds; slow network disks are allowed more."""


def opened_by_a_child(
    name: str, opener: str, place: Place, options: Options, *, limit_s: float = LIMIT_S
) -> FileReader | None:
    """Open `place` in another process and return its reader.

    None where that process met trouble that is not the file's.

    Parameters
    ----------
    name
        Of the format.
    opener
        ``module:function`` that takes `place` and `options`.
    place
        Local path.
    options
        What the user said of where the frames lie.
    limit_s
        How long it may take [s].

    Raises
    ------
    MovieError
        If the file does not open, or not in time.
    """
    asked = {
        "name": name,
        "opener": opener,
        "source": place.source,
        "options": to_json(options),
    }
    with _CHILDREN.one() as child:
        answer = child.ask({**asked, "limit_s": limit_s}, limit_s)
    if answer is None:
        msg = (
            f"{place} is damaged: its header could not be read within {limit_s:g} s, or stopped "
            "the library that reads it"
        )
        raise MovieError(msg)
    if "refused" in answer:
        raise MovieError(answer["refused"])
    reader = answer.get("reader")
    if reader is None:
        return None
    import_module(opener.split(":")[0])  # so that its reader is known here
    opened: FileReader = from_json(reader)
    return opened


class _Child:
    """A process that opens files."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def ask(self, question: dict[str, Any], limit_s: float) -> dict[str, Any] | None:
        """Return the answer to a question; None, and the child is gone, if none came in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # whatever stops the child, the timer or a crash, ends the line that is read here early, and
        # so shows as an answer that is not whole
        timer = threading.Timer(limit_s + START_S, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self.stop()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def listens(self) -> bool:
        """Tell whether it can be asked again."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


MAX_CHILDREN = 4
"""So many serve at once; they mostly wait for the disk."""
START_S = 10.0
"""A child that has just been started needs this long at most before it listens."""


@dataclass
class _Children:
    """The children of this process that wait for work."""

    idle: list[_Child] = field(default_factory=list)
    owner: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_CHILDREN))

    @contextmanager
    def one(self) -> Iterator[_Child]:
        """Lend a child that is free; one that has ended does not come back."""
        with self.places:
            child = None
            with self.lock:
                if self.owner != os.getpid():  # a fork does not inherit them
                    self.idle, self.owner = [], os.getpid()
                if self.idle:
                    child = self.idle.pop()
            if child is None:  # started outside the lock: it takes half a second
                child = _Child()
            try:
                yield child
            except BaseException:  # stopped in the middle of an answer
                child.stop()
                raise
            with self.lock:
                if child.listens:
                    self.idle.append(child)

    def stop(self) -> None:
        """End all that wait."""
        with self.lock:
            idle, self.idle = self.idle, []
        if self.owner == os.getpid():
            for child in idle:
                child.stop()


_CHILDREN = _Children()
atexit.register(_CHILDREN.stop)


def serve() -> None:
    """Answer questions, one JSON line each, until there are no more."""
    _bound_memory()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        # also when the parent is gone: SIGALRM ends even a loop within C
        if hasattr(signal, "alarm"):
            signal.alarm(max(1, round(asked["limit_s"])))
        try:
            reader = open_as(
                asked["name"],
                asked["opener"],
                place_of(asked["source"]),
                from_json(asked["options"]),
            )
            answer = {"reader": to_json(reader)}
        except MovieError as error:
            answer = {"refused": str(error)}
        except MemoryError:
            answer = {
                "refused": f"{asked['source']} is damaged: its header asks for over "
                f"{MOST_BYTES >> 30} GiB of memory"
            }
        except Exception as error:  # noqa: BLE001 - the parent meets it again, in its own words
            answer = {"trouble": type(error).__name__}
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _bound_memory() -> None:
    """Have the system refuse more memory than headers take, where it can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most > MOST_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, most))
