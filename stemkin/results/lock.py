"""The lock of a results folder: one run writes there at a time.

A lock is a file that its run has signed: which process, when it started, on which machine. One
that was left by a run that is gone is taken over; a process number alone proves nothing, as the
system gives it to another process later.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stemkin.errors import StoppedError
from stemkin.results.store import LOCK_FILE, FolderError, Store

log = logging.getLogger(__name__)

SAME_START_S = 2.0
"""Two times of start that lie no further apart are those of one process."""


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
        # A store that is out of reach keeps the lock; the next run of this machine takes it over.
        with suppress(OSError):
            store.remove(LOCK_FILE)


_turn = threading.Lock()
_held: set[str] = set()
"""The folders in which this process writes now: a lock of its own elsewhere was left by a run that
could not remove it."""


def _take_once(store: Store) -> None:
    """Take the lock, or say why not."""
    try:
        if store.is_local:
            _take(Path(store.path(LOCK_FILE)), store)
        else:
            _take_in_store(store)
    except StoppedError:  # a store that does not answer now
        raise
    except OSError as error:
        why = error.strerror or error
        msg = (
            f"the results folder {store.root} cannot be written: {why}; choose another one with -o"
        )
        raise FolderError(msg) from error


def _take(path: Path, store: Store) -> None:
    """Make the lock file appear with its content.

    Runs that start at once look at a stale lock in turn: each holds the folder (``flock``) while it
    does. A hard link is made only where there is no file of that name, so that one run wins.
    """
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
    """Write the lock of an object store, only where there is none if the store can promise that."""
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


def writer_of(store: Store) -> tuple[str, bool]:
    """Return who signed the lock of a folder, and whether that run may still be there.

    Parameters
    ----------
    store
        The results folder.

    Returns
    -------
    The signature ("" where there is no lock), and False where its process is known to be gone.
    """
    if not store.exists(LOCK_FILE):
        return "", False
    holder = store.read_bytes(LOCK_FILE).decode(errors="replace")
    return holder, not _is_gone(holder)


def _signature() -> str:
    """Return who this process is, in six words."""
    import psutil

    return (
        f"process {os.getpid()} started {psutil.Process().create_time():.0f} on "
        f"{socket.gethostname()}"
    )


def _is_gone(holder: str) -> bool:
    """Tell whether the process that signed a lock has ended; of another host nobody can know."""
    import psutil

    words = holder.split()
    if len(words) != len(_signature().split()):
        return True
    _, number, _, started, _, host = words
    if host != socket.gethostname():
        return False
    try:
        now_there = psutil.Process(int(number)).create_time()
        return bool(abs(now_there - float(started)) > SAME_START_S)
    except (psutil.NoSuchProcess, ValueError):
        return True
