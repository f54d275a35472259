"""The lock of a results folder: one run writes there at a time, and holds the lock while it does.

On disks that know it the system keeps the lock (``flock``): it ends with its process, however that
ends, and holds between containers of one machine. Elsewhere (object stores, some network disks) it
is a lease: the holder says every `BEAT_S` seconds that it is there, and another run takes over once
nothing was heard for `LEASE_S` seconds. Clocks of two machines differ, and clocks are set: before a
lease counts as run out, the lock is also watched until it would have changed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from stemkin.errors import StoppedError, UnwritableError
from stemkin.results.store import LOCK_FILE, FolderError, Store
from stemkin.scratch import SCRATCH

log = logging.getLogger(__name__)

BEAT_S = 10.0
"""The holder of a lock says so often that it is there [s]."""
LEASE_S = 60.0
"""A lock that was not heard of for so long may be taken over [s]."""
WATCH_S = 25.0
"""So long a lock whose lease has run out is watched before it is taken over: two beats [s]."""
SAME_START_S = 2.0
"""Two times of start that lie no further apart are those of one process."""
STALE_PART_S = 600.0
"""What writers left unfinished is removed after so long [s]."""
HOLDER_BYTES = 600
"""A lock file always has this size, so that it is written again in place and read whole."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes
    ----------
    process, started
        Number of the process, and when it started: in the system's own ticks since it was booted,
        which no clock changes, where it tells them.
    host
        Name of the machine.
    kernel, namespace
        What tells one booted system from another, and its process numbers from those of another
        container on it; empty where the system does not tell.
    beat, at
        How often it has said that it is there, and when last [s since 1970].
    """

    process: int
    started: float
    host: str
    kernel: str
    namespace: str
    beat: int = 0
    at: float = 0.0

    def __str__(self) -> str:
        """Say who it is, and when it was last heard of."""
        return f"process {self.process} on {self.host}, last heard of {_ago(time.time() - self.at)}"

    @property
    def is_of_this_kernel(self) -> bool:
        """Tell whether it is or was a process of this booted system."""
        own = this_process()
        return bool(own.kernel) and self.kernel == own.kernel

    @property
    def can_be_looked_up(self) -> bool:
        """Tell whether its process number means here what it meant there."""
        own = this_process()
        same = (self.host, self.kernel, self.namespace)
        return same == (own.host, own.kernel, own.namespace)

    def content(self) -> bytes:
        """Return what the lock file holds."""
        return json.dumps(asdict(self)).encode().ljust(HOLDER_BYTES)

    @classmethod
    def of(cls, content: bytes, written_at: float) -> Holder:
        """Return the holder that a lock file names; of one that names none only its time is known."""
        try:
            said = json.loads(content)
            return cls(**{**said, "at": float(said["at"]), "process": int(said["process"])})
        except (ValueError, TypeError, KeyError):
            return cls(0, 0.0, "an unknown machine", "?", "?", at=written_at)


@dataclass
class Held:
    """A lock that this process holds: where, by which open file, and who took it since, if anyone."""

    store: Store
    holder: Holder
    file: int | None = None
    taken_by: str = ""


_turn = threading.Lock()
_held: dict[str, Held] = {}
"""The locks that this process holds, by folder: a lock of its own elsewhere was left by a run that
could not remove it."""


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Keep other runs out of the folder of `store`, and say all the while that this one is there.

    Raises
    ------
    FolderError
        If another run is writing there.
    """
    with _turn:
        held = _taken(store)
        _held[store.root] = held
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(held, ended), name="stemkin-lock", daemon=True)
    beating.start()
    try:
        sweep_parts(store)
        yield
    finally:
        ended.set()
        beating.join()
        _held.pop(store.root, None)
        # a store that is out of reach keeps the lock; the next run of this machine takes it over
        if not held.taken_by:
            with suppress(OSError):
                store.remove(LOCK_FILE)
        if held.file is not None:
            os.close(held.file)


def check_held(store: Store) -> None:
    """Check that no other run has taken over a folder that this process writes.

    Raises
    ------
    StoppedError
        If one has: this one was not heard of for too long (suspended, stopped, cut off).
    """
    held = _held.get(store.root)
    if held is not None and held.taken_by:
        msg = (
            f"{store.root} was taken over by another run ({held.taken_by}) while this one was not "
            "heard of; what is done is kept, and that run goes on with it"
        )
        raise StoppedError(msg)


def writer_of(store: Store) -> tuple[str, bool]:
    """Return who signed the lock of a folder, and whether that run may still be there.

    Parameters
    ----------
    store
        The results folder.

    Returns
    -------
    Who it is ("" where there is no lock), and False where it is known to be gone or was not heard
    of for longer than its lease.
    """
    if not store.exists(LOCK_FILE):
        return "", False
    holder = _holder_in(store)
    if store.is_local:
        by_system = _is_held_by_system(Path(store.path(LOCK_FILE)))
        if by_system is not None and (by_system or holder.is_of_this_kernel):
            return str(holder), by_system
    if holder.can_be_looked_up:
        return str(holder), _is_alive(holder)
    return str(holder), abs(time.time() - holder.at) < LEASE_S


def sweep_parts(store: Store) -> None:
    """Remove what killed writers have left unfinished in a folder whose lock is held."""
    if not store.is_local:
        return
    before = time.time() - STALE_PART_S
    for folder, folders, names in os.walk(store.root):
        left = [name for name in names if name.endswith((".part", ".partial"))]
        left += [name for name in folders if name.startswith(SCRATCH) and name.endswith(".part")]
        for name in left:
            path = os.path.join(folder, name)
            with suppress(OSError):
                if os.lstat(path).st_mtime >= before:
                    continue
                if name in folders and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)


# --- taking -----------------------------------------------------------------------------------


def _taken(store: Store) -> Held:
    """Take the lock, or say why not."""
    try:
        if store.is_local:
            return _take(Path(store.path(LOCK_FILE)), store)
        return _take_in_store(store)
    except StoppedError:  # a store that does not answer now
        raise
    except OSError as error:
        why = error.strerror or error
        msg = (
            f"the results folder {store.root} cannot be written: {why}; choose another one with -o"
        )
        raise FolderError(msg) from error


def _take(path: Path, store: Store) -> Held:
    """Take the lock of a folder on a disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            by_system = _given_by_system(file, store)
            # one that ended this moment has removed the file that we hold: then there is another
            if not _is_the_file(file, path):
                os.close(file)
                continue
            if os.fstat(file).st_size:
                _check_left(store, by_system=by_system)
            held = Held(store, _now(this_process(), 1), file)
            os.pwrite(file, held.holder.content(), 0)
            os.ftruncate(file, HOLDER_BYTES)
        except BaseException:
            with suppress(OSError):
                os.close(file)
            raise
        return held


def _given_by_system(file: int, store: Store) -> bool | None:
    """Have the system lock an open file; None if its disk cannot.

    Raises
    ------
    FolderError
        If another process holds it.
    """
    by_system = _system_locks(file)
    if by_system is False:
        raise _written_by_another(store, _holder_in(store))
    return by_system


def _take_in_store(store: Store) -> Held:
    """Write the lock of an object store, only where there is none if the store can promise that."""
    held = Held(store, _now(this_process(), 1))
    if store.exists(LOCK_FILE):
        _check_left(store, by_system=None)
        store.write_bytes(held.holder.content(), LOCK_FILE)
    else:
        store.create_bytes(held.holder.content(), LOCK_FILE)
    return held


def _check_left(store: Store, *, by_system: bool | None) -> None:
    """Check that who signed a lock is gone; `by_system` says whether the system gave it to us.

    Raises
    ------
    FolderError
        If it is not, or nobody can tell.
    """
    holder = _holder_in(store)
    left_by_us = _is_this_process(holder) and store.root not in _held
    # what the system of this machine lets go of, no process of this machine holds
    gone = left_by_us or (by_system is True and holder.is_of_this_kernel)
    if not gone and by_system is None and holder.can_be_looked_up:
        gone = not _is_alive(holder)
        if not gone:
            raise _written_by_another(store, holder)
    if not gone and not _has_run_out(store, holder):
        raise _written_by_another(store, holder)
    log.warning(
        "the lock of %s was left by a run that is gone (%s); taking it over", store.root, holder
    )


def _has_run_out(store: Store, holder: Holder) -> bool:
    """Tell whether a lease has run out: by the clock, and by watching that nothing changes."""
    if 0 <= time.time() - holder.at < LEASE_S:
        return False
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        time.sleep(min(1.0, WATCH_S / 10))
        if not store.exists(LOCK_FILE):
            return True
        if _holder_in(store) != holder:
            return False
    return True


def _written_by_another(store: Store, holder: Holder) -> FolderError:
    return FolderError(
        f"{store.root} is being written by another run ({holder}); wait for it, or choose another "
        f"folder with -o (if it is gone, its lock is free after {LEASE_S:.0f} s, or remove "
        f"{store.path(LOCK_FILE)})"
    )


# --- holding ----------------------------------------------------------------------------------


def _beat(held: Held, ended: threading.Event) -> None:
    """Say again and again that a lock is held, until it is no more, or another run holds it."""
    while not ended.wait(BEAT_S):
        try:
            there = _holder_in(held.store)
            if not _is_this_process(there):
                held.taken_by = str(there)
                log.error("%s was taken over by %s", held.store.root, there)
                return
            held.holder = _now(held.holder, held.holder.beat + 1)
            if held.file is None:
                held.store.write_bytes(held.holder.content(), LOCK_FILE)
            else:
                os.pwrite(held.file, held.holder.content(), 0)
        except (OSError, UnwritableError) as error:  # it is said again the next time
            log.debug("the lock of %s could not be renewed: %s", held.store.root, error)


def _now(holder: Holder, beat: int) -> Holder:
    return replace(holder, beat=beat, at=time.time())


# --- the system -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _this_process(number: int) -> Holder:
    import psutil

    # the 22nd word of the system's own line, the 20th behind the name in brackets
    started = psutil.Process().create_time()
    with suppress(OSError, IndexError, ValueError):
        started = _ticks_of(number)
    kernel = namespace = ""
    with suppress(OSError):
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return Holder(number, started, socket.gethostname(), kernel, namespace)


def this_process() -> Holder:
    """Return who this process is, without a beat."""
    return _this_process(os.getpid())


def _ticks_of(number: int) -> float:
    """Return when a process started, in ticks since the system was booted."""
    line = Path(f"/proc/{number}/stat").read_text(errors="replace")
    return float(line.rpartition(")")[2].split()[19])


def _is_this_process(holder: Holder) -> bool:
    own = this_process()
    return holder.can_be_looked_up and (holder.process, holder.started) == (
        own.process,
        own.started,
    )


def _is_alive(holder: Holder) -> bool:
    """Tell whether a process of this machine and container that held a lock still runs."""
    import psutil

    try:
        if holder.kernel:
            return _ticks_of(holder.process) == holder.started
        now_there = psutil.Process(holder.process).create_time()
        return bool(abs(now_there - holder.started) <= SAME_START_S)
    except (OSError, psutil.Error, ValueError, IndexError):
        return False


def _holder_in(store: Store) -> Holder:
    """Return who signed a lock."""
    written_at = 0.0
    if store.is_local:
        with suppress(OSError):
            written_at = os.stat(store.path(LOCK_FILE)).st_mtime
    try:
        return Holder.of(store.read_bytes(LOCK_FILE), written_at)
    except FileNotFoundError:
        return Holder.of(b"", written_at)


def _system_locks(file: int) -> bool | None:
    """Have the system lock an open file; False if another holds it, None if the disk cannot."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    for _ in range(4):  # who looks at the status holds it for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            return None
        else:
            return True
    return False


def _is_held_by_system(path: Path) -> bool | None:
    """Tell whether a process holds a lock file; None where the disk does not know such locks."""
    try:
        import fcntl

        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(file)


def _is_the_file(file: int, path: Path) -> bool:
    """Tell whether an open file is still the one at `path`."""
    try:
        there: Any = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(file)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _ago(seconds: float) -> str:
    """Return a time span before now."""
    if abs(seconds) < 1:
        return "just now"
    if seconds < 0:
        return f"{-seconds:,.0f} s ahead of this clock"
    return f"{seconds:,.0f} s ago"
