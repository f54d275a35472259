"""``run.json``: what a run was asked, what it did, what failed and why; written often, so that a crash loses little.

The journal also keeps two runs apart: a folder remembers which inputs it belongs to, and a lock says who writes there.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stemkin import __version__
from stemkin.store import LOCK_FILE, RUN_FILE, Store

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
            msg = f"{store.root} is no results folder: it has no {RUN_FILE}; make one with `stemkin run INPUT -o {store.root}`"
            raise FolderError(msg)
        return cls(store, content)

    @classmethod
    def start(
        cls, store: Store, inputs: Sequence[str], config: dict[str, Any], *, fresh: bool, command: str = ""
    ) -> Journal:
        """Begin or resume a run of `inputs` in the folder of `store`.

        Raises
        ------
        FolderError
            If the folder holds another run, or files that are none of stemkin's.
        """
        known = store.read_json(RUN_FILE) if store.exists(RUN_FILE) else None
        if known is None and store.names():
            msg = f"{store.root} holds files but no {RUN_FILE}, so it is no results folder; choose an empty one with -o"
            raise FolderError(msg)
        if known is not None and known.get("inputs") != list(inputs) and not fresh:
            msg = f"{store.root} belongs to another run, of {_some(known.get('inputs', []))}; choose another folder with -o, or start over with --fresh"
            raise FolderError(msg)
        if known is not None and fresh:
            for name in store.names():
                store.remove(name)
        created = known["created"] if known is not None and not fresh else now()
        content = {
            "version": __version__,
            "created": created,
            "finished": None,
            "command": command,
            "inputs": list(inputs),
            "config": config,
            "machine": machine(),
            "movies": [],
            "stages": {},
            "blocks": {"total": 0, "done": 0, "reused": 0, "failed": []},
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
        try:
            yield record
            record["status"] = "done"
        except BaseException as error:
            record["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            raise
        finally:
            record["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 3)
            self.save()

    def finish(self, exit_code: int) -> None:
        """Record the end of the run."""
        self.content["finished"] = now()
        self.content["exit_code"] = exit_code
        self.save()


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Keep other runs out of the folder of `store`; a lock whose process is gone is taken over.

    Object stores have no locks: there the last writer wins, file by whole file.

    Raises
    ------
    FolderError
        If another run is writing there.
    """
    if not store.is_local:
        yield
        return
    path = Path(store.path(LOCK_FILE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _take(path, store)
    except OSError as error:
        msg = f"the results folder {store.root} cannot be written: {error.strerror}; choose another one with -o"
        raise FolderError(msg) from error
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _take(path: Path, store: Store) -> None:
    """Make the lock file appear with its content, once more after removing a stale one."""
    signed = path.with_name(f"{path.name}.{os.getpid()}")
    signed.write_text(_signature())
    try:
        os.link(signed, path)
    except FileExistsError:
        holder = path.read_text()
        if not _is_gone(holder):
            msg = f"{store.root} is being written by another run ({holder}); wait for it, or choose another folder with -o"
            raise FolderError(msg) from None
        log.warning("the lock of %s was left by a run that is gone (%s); taking it over", store.root, holder)
        os.replace(signed, path)
    finally:
        signed.unlink(missing_ok=True)


def _signature() -> str:
    import psutil

    return f"process {os.getpid()} started {psutil.Process().create_time():.0f} on {socket.gethostname()}"


def _is_gone(holder: str) -> bool:
    """Tell whether the process that signed a lock has ended; on another host that cannot be known."""
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
