"""``log.jsonl``: what a run says, one JSON object a line, from this process and from the workers.

Each line has ``time`` (ISO 8601, UTC), ``level``, ``room`` (who speaks) and ``message``, and
whatever fields the speaker adds (``stage``, ``seconds``, ``block``, ...). A run that goes on adds
to the file; in an object store it is written when the run ends.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stemkin.extras import needed
from stemkin.results.store import Store
from stemkin.scratch import scratch_folder

LOG_FILE = "log.jsonl"
PERFORMANCE_FILE = "performance.html"
MAX_LINES_KEPT = 20_000
"""So many lines wait in memory where a file cannot grow (object stores), the last ones."""

log = logging.getLogger(__name__)


class LogFile(logging.Handler):
    """Writes records to ``log.jsonl`` of a results folder."""

    def __init__(self, store: Store) -> None:
        """Open the file for adding; an object store's is read, to be written again by `close`."""
        super().__init__(logging.INFO)
        self._store = store
        self._file: Any = None
        self._is_broken = False
        self._lines: deque[str] = deque(maxlen=MAX_LINES_KEPT)
        if store.is_local:
            self._file = Path(store.path(LOG_FILE)).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by `close`
        elif store.exists(LOG_FILE):
            self._lines.extend(store.read_bytes(LOG_FILE).decode(errors="replace").splitlines())

    def emit(self, record: logging.LogRecord) -> None:
        """Add one line; a log that cannot be written stops no run, and says so once."""
        line = as_json(record)
        if self._file is None:
            self._lines.append(line)
            return
        try:
            self._file.write(line + "\n")
        except OSError as error:
            if not self._is_broken:
                self._is_broken = True
                log.warning(
                    "%s cannot be written (%s); the run goes on without it",
                    self._store.path(LOG_FILE),
                    error,
                )

    def close(self) -> None:
        """Write what waits, if it can be, and close.

        Python calls this once more when it ends, and nothing waits then.
        """
        super().close()
        lines, self._lines = self._lines, deque()
        try:
            if self._file is not None:
                self._file.close()
            elif lines:
                self._store.write_bytes(("\n".join(lines) + "\n").encode(), LOG_FILE)
        except OSError as error:
            log.warning("the log is not whole: %s", error)


def as_json(record: logging.LogRecord) -> str:
    """Return one line for a record; it has no line break, whatever the record says.

    >>> as_json(logging.LogRecord("stemkin.movie", logging.INFO, "", 0, "two\\nlines", None, None))  # doctest: +ELLIPSIS
    '{"time": "...", "level": "info", "room": "movie", "message": "two\\\\nlines"}'
    """
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "room": record.name.removeprefix("stemkin."),
        "message": record.getMessage(),
    }
    return json.dumps({**line, **getattr(record, "fields", {})}, default=str)


@contextmanager
def logged(store: Store, client: Any = None) -> Iterator[None]:
    """Keep the log of a run in its results folder for the length of a ``with`` block.

    Parameters
    ----------
    store
        The results folder.
    client
        A `distributed` client, whose workers send what they have to say; None without one.
    """
    logger = logging.getLogger("stemkin")
    before, handler = logger.level, LogFile(store)
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    if client is not None:
        client.forward_logging("stemkin", logging.INFO)
    try:
        yield
    except BaseException as error:
        said = f"the run stopped: {type(error).__name__}: {error}".rstrip(": ")
        # Only the file is told; the caller tells the terminal.
        handler.handle(logging.LogRecord(log.name, logging.ERROR, __file__, 0, said, None, None))
        raise
    finally:
        if client is not None and client.status == "running":
            client.unforward_logging("stemkin")
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


class _Ear(logging.Handler):
    """Keeps what is said as a warning or worse, each sentence once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a sentence that was not heard before."""
        said = record.getMessage()
        if said not in self.heard:
            self.heard.append(said)


@contextmanager
def warnings_heard(room: str) -> Iterator[list[str]]:
    """Yield a list that gets every warning said in `room` within a ``with`` block.

    >>> with warnings_heard("stemkin.learning") as heard:
    ...     logging.getLogger("stemkin.learning.clustering").warning("%d classes are alike", 2)
    >>> heard
    ['2 classes are alike']
    """
    logger, ear = logging.getLogger(room), _Ear()
    logger.addHandler(ear)
    try:
        yield ear.heard
    finally:
        logger.removeHandler(ear)


@contextmanager
def performance_reported(store: Store, client: Any) -> Iterator[None]:
    """Keep Dask's report of a ``with`` block as ``performance.html`` in the results folder.

    Only a `distributed` scheduler makes one; without a client a warning says so. Its profile is
    empty for workers that `stemkin.schedulers.clients.connect` started.
    """
    if client is None:
        log.warning(
            "threads of this process leave no performance report; it needs processes or a cluster"
        )
        yield
        return
    needed("bokeh", extra="dashboard", wanted_for="a performance report")
    from distributed import performance_report

    with scratch_folder(store.folder) as scratch:
        path = scratch / PERFORMANCE_FILE
        with performance_report(filename=str(path)):
            yield
        store.write_bytes(path.read_bytes(), PERFORMANCE_FILE)
