"""Processes that start in a tenth of a second: forked off one that has loaded stemkin and used it once.

>>> from tests.forks import forking, started

Each is a process like any other, to be killed, cut off or configured; what it need not do is load a
thousand files and machine code, which takes a processor eight seconds.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOADED = ["distributed", "dask.__main__", "stemkin.pipeline", "stemkin.cli", "tests.used_once"]
"""What the process loads that all others are forked off."""
DASK = "from dask.__main__ import main; main()"
STEMKIN = "from stemkin.cli import main; main()"


@lru_cache(maxsize=1)
def context() -> Any:
    """Return the context in which processes are forked.

    The first call starts what they are forked off and waits until it has loaded: nobody else waits.
    """
    from distributed.utils import get_mp_context

    get_mp_context()  # has a list of its own, and sets it once
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(LOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        forkserver.ensure_running()
    first = forks.Process(target=int)
    first.start()
    first.join()
    return forks


@contextmanager
def forking() -> Iterator[None]:
    """Let workers of local clusters that are started within be forked.

    They have the environment of the first that was so started: a test that changes the environment
    of its workers starts them anew, as users do.
    """
    import dask

    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        context()
        yield


class Forked:
    """A process, as `subprocess.Popen` has it."""

    def __init__(self, process: Any) -> None:
        self.process, self.pid = process, process.pid

    def poll(self) -> int | None:
        """Return how it ended, None while it goes on."""
        return self.process.exitcode

    def wait(self, timeout: float) -> int | None:
        """Return how it ended, within `timeout` seconds."""
        self.process.join(timeout)
        return self.process.exitcode

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def anew(code: str, *words: str, folder: Path) -> Any:
    """Start the same as `started` with nothing loaded, as users do."""
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet, start_new_session=True)


def started(
    code: str,
    *words: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    network: str | None = None,
    complaints: Path = Path(os.devnull),
) -> Forked:
    """Start a process that runs `code` with `words` in `sys.argv`, in a group of its own.

    Nobody hears what it prints; what it complains of goes to a file. It lives in the network
    namespace `network`, if one is named.
    """
    given = (code, words, str(folder), dict(environment or os.environ), network, str(complaints))
    process = context().Process(target=_run, args=given)
    process.daemon = True
    process.start()
    return Forked(process)


def _run(
    code: str,
    words: tuple[str, ...],
    folder: str,
    environment: dict[str, str],
    network: str | None,
    complaints: str,
) -> None:
    import dask

    multiprocessing.current_process()._config["daemon"] = False  # it may start processes itself
    os.setsid()
    os.chdir(folder)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream, place in enumerate((quiet, quiet, os.open(complaints, os.O_WRONLY | os.O_CREAT))):
        os.dup2(place, stream)
    if network is not None:
        _enter(network)
    os.environ.clear()
    os.environ.update(environment)
    dask.config.refresh()
    sys.argv = ["forked", *words]
    exec(compile(code, "forked", "exec"), {"__name__": "__main__"})


def _enter(network: str) -> None:
    """Leave this network for another, as ``ip netns exec`` does; of this process alone."""
    import ctypes

    new_network = 0x40000000
    with open(f"/run/netns/{network}") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), new_network):
            raise OSError(ctypes.get_errno(), f"cannot enter {network}")
