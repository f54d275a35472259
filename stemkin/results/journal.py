"""``run.json``: what a run was asked, what it did, what failed and why; written often, so that a
crash loses little.

The journal also keeps two runs apart: a folder remembers which inputs it belongs to, and a lock
says who writes there.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stemkin import __version__
from stemkin.errors import StoppedError, UnwritableError
from stemkin.results.store import LOCK_FILE, RUN_FILE, Store

log = logging.getLogger(__name__)


class FolderError(ValueError):
    """A results folder that cannot be used; its message is one sentence."""


class Journal:
    """The content of ``run.json``, kept in memory and written by `save`."""

    def __init__(self, store: Store, content: dict[str, Any]) -> None:
        """Keep `content` for `store`."""
        self.store = store
        self.content = content

    @classmethod
    def read(cls, store: Store) -> Journal:
        """Return the journal of a results folder.

        Raises
        ------
        FolderError
            If there is none.
        """
        content = store.read_json(RUN_FILE)
        if content is None:
            msg = (
                f"{store.root} is no results folder: it has no {RUN_FILE}; make one with `stemkin "
                f"run INPUT -o {store.root}`"
            )
            raise FolderError(msg)
        parts = {"config": dict, "movies": list, "stages": dict, "blocks": dict}
        wrong = [
            key
            for key, kind in parts.items()
            if not isinstance(content, dict) or not isinstance(content.get(key), kind)
        ]
        if wrong:
            msg = (
                f"{store.path(RUN_FILE)} is damaged (it has no {wrong[0]!r}); start over with "
                "--fresh, or in another folder with -o"
            )
            raise FolderError(msg)
        return cls(store, content)

    @classmethod
    def start(
        cls,
        store: Store,
        inputs: Sequence[str],
        config: dict[str, Any],
        *,
        fresh: bool,
        command: str = "",
    ) -> Journal:
        """Begin or resume a run of `inputs` in the folder of `store`.

        Raises
        ------
        FolderError
            If the folder holds another run, or files that are none of stemkin's.
        """
        known = _known(store, fresh=fresh)
        if known is None and store.names():
            msg = (
                f"{store.root} holds files but no {RUN_FILE}, so it is no results folder; choose "
                "an empty one with -o"
            )
            raise FolderError(msg)
        if known is not None and known.get("inputs") != list(inputs) and not fresh:
            msg = (
                f"{store.root} belongs to another run, of {_some(known.get('inputs', []))}; choose "
                "another folder with -o, or start over with --fresh"
            )
            raise FolderError(msg)
        if known is not None and fresh:
            for name in sorted(
                store.names(), key=lambda name: name == RUN_FILE
            ):  # last: a results folder to the end
                store.remove(name)
        before = {} if known is None or fresh else known
        content: dict[str, Any] = {
            "version": __version__,
            "created": before.get("created") or now(),
            "finished": None,
            "command": command,
            "inputs": list(inputs),
            "config": config,
            "machine": machine(),
            "movies": [],
            "stages": {},
            "blocks": {
                "mib": _block_mib(before),
                "total": 0,
                "done": 0,
                "reused": 0,
                "stale": 0,
                "failed": [],
            },
            "warnings": [],
            "exit_code": None,
        }
        return cls(store, content)

    def save(self) -> None:
        """Write ``run.json``."""
        self.store.write_json(self.content, RUN_FILE)

    def warn(self, sentence: str) -> None:
        """Log a warning and keep it for the report."""
        log.warning(sentence)
        self.content["warnings"].append(sentence)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Record how a stage went; the caller may add to the yielded record."""
        began = datetime.now(UTC)
        record: dict[str, Any] = {"status": "running", "seconds": None}
        self.content["stages"][name] = record
        log.info("%s begins", name, extra={"fields": {"stage": name}})
        try:
            yield record
            record["status"] = "done"
        except BaseException as error:
            record["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            record["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            record["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 3)
            log.info("%s: %s", name, record["status"], extra={"fields": {"stage": name, **record}})
            self._save_if_possible(record)

    def _save_if_possible(self, record: dict[str, Any]) -> None:
        """Save, unless the stage has failed already: then its own error is the one to tell."""
        try:
            self.save()
        except UnwritableError:
            if record["status"] == "done":
                raise
            log.warning("run.json could not be written either")

    def finish(self, exit_code: int) -> None:
        """Record the end of the run."""
        self.content["finished"] = now()
        self.content["exit_code"] = exit_code
        self.save()


def _block_mib(before: dict[str, Any]) -> float | None:
    """Return how large blocks were cut before: a run goes on with them, whoever joined its archive
    meanwhile."""
    blocks = before.get("blocks")
    mib = blocks.get("mib") if isinstance(blocks, dict) else None
    return float(mib) if isinstance(mib, (int, float)) and mib > 0 else None


def _known(store: Store, *, fresh: bool) -> dict[str, Any] | None:
    """Return what the folder's ``run.json`` says; where a run starts over, a damaged one is an
    empty one."""
    try:
        known = store.read_json(RUN_FILE)
        if known is not None and not isinstance(known, dict):
            msg = (
                f"{store.path(RUN_FILE)} is damaged (it holds no table); start over with --fresh, "
                "or in another folder with -o"
            )
            raise FolderError(msg)
    except ValueError:
        if not fresh:
            raise
        return {}
    return dict(known) if known is not None else None


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Keep other runs out of the folder of `store`; a lock whose process is gone is taken over.

    Raises
    ------
    FolderError
        If another run is writing there.
    """
    with _turn:
        _take_once(store)
        _held.add(store.root)
    try:
        yield
    finally:
        _held.discard(store.root)
        with suppress(
            OSError
            # a store that is out of reach keeps the lock, which the next run of this machine takes
            # over
        ):
            store.remove(LOCK_FILE)


_turn = threading.Lock()
_held: set[str] = set()
"""The folders in which this process writes now: a lock of its own elsewhere was left by a run that
could not remove it."""


def _take_once(store: Store) -> None:
    """Take the lock, or say why not."""
    try:
        _take_in_store(store) if not store.is_local else _take(Path(store.path(LOCK_FILE)), store)
    except StoppedError:  # a store that does not answer now
        raise
    except OSError as error:
        why = error.strerror or error
        msg = (
            f"the results folder {store.root} cannot be written: {why}; choose another one with -o"
        )
        raise FolderError(msg) from error


def _take(path: Path, store: Store) -> None:
    """Make the lock file appear with its content; runs that start at once look at a stale one in
    turn."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    turn = os.open(path.parent, os.O_RDONLY)
    signed = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        signed.write_text(_signature())
        os.link(signed, path)
    except FileExistsError:
        _check_gone(path.read_text(), store)
        os.replace(signed, path)
    finally:
        signed.unlink(missing_ok=True)
        os.close(turn)


def _take_in_store(store: Store) -> None:
    """Write the lock of an object store: created only where there is none, if the store can promise
    that."""
    if store.exists(LOCK_FILE):
        _check_gone(store.read_bytes(LOCK_FILE).decode(errors="replace"), store)
        store.write_bytes(_signature().encode(), LOCK_FILE)
    else:
        store.create_bytes(_signature().encode(), LOCK_FILE)


def _check_gone(holder: str, store: Store) -> None:
    """Check that the run that signed a lock has ended.

    Raises
    ------
    FolderError
        If it has not, or nobody can tell.
    """
    left_by_us = holder == _signature() and store.root not in _held
    if not left_by_us and not _is_gone(holder):
        msg = (
            f"{store.root} is being written by another run ({holder}); wait for it, or choose "
            f"another folder with -o (if it is gone, remove {store.path(LOCK_FILE)})"
        )
        raise FolderError(msg)
    log.warning(
        "the lock of %s was left by a run that is gone (%s); taking it over", store.root, holder
    )


def _signature() -> str:
    import psutil

    return (
        f"process {os.getpid()} started {psutil.Process().create_time():.0f} on "
        f"{socket.gethostname()}"
    )


def _is_gone(holder: str) -> bool:
    """Tell whether the process that signed a lock has ended; on another host that cannot be
    known."""
    import psutil

    words = holder.split()
    if len(words) != 6:
        return True
    if words[5] != socket.gethostname():
        return False
    try:
        return bool(abs(psutil.Process(int(words[1])).create_time() - float(words[3])) > 2)
    except (psutil.NoSuchProcess, ValueError):
        return True


def machine() -> dict[str, Any]:
    """Return what this machine is, as far as a reader of results needs it."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def now() -> str:
    """Return the time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
