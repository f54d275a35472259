"""A Dask cluster of real processes on loopback, to be killed in part or whole."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

UNPRIVILEGED = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
)
"""Root heeds no permission unless it gives that right up."""


class Cluster:
    """A scheduler and two workers as processes of their own."""

    def __init__(self, folder: Path, environment: dict[str, str], n_workers: int = 2) -> None:
        self.folder, self.environment, self.n_workers = folder, environment, n_workers
        self.file = folder / "scheduler.json"
        self.scheduler: Any = None
        self.nannies: list[Any] = []

    def start(self) -> None:
        """Start what is not running, and wait until it answers."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.stop()
            self.scheduler = self._launch(
                "scheduler", "--port", "0", "--scheduler-file", str(self.file)
            )
            wait_for(self.file.exists, 30)
        self.nannies = [nanny for nanny in self.nannies if nanny.poll() is None]
        while len(self.nannies) < self.n_workers:
            self.nannies.append(
                self._launch(
                    "worker",
                    "--scheduler-file",
                    str(self.file),
                    "--nthreads",
                    "1",
                    "--local-directory",
                    str(self.folder),
                )
            )
        from distributed import Client

        with Client(scheduler_file=str(self.file), timeout=30, set_as_default=False) as client:
            client.wait_for_workers(self.n_workers, timeout=60)

    def worker(self) -> psutil.Process:
        """Return a process that computes."""
        found = [
            c
            for n in self.nannies
            for c in psutil.Process(n.pid).children()
            if "spawn_main" in " ".join(c.cmdline())
        ]
        return random.choice(found)

    def stop(self) -> None:
        """Kill all."""
        for process in [*self.nannies, *([self.scheduler] if self.scheduler else [])]:
            kill_group(process)
        self.nannies, self.scheduler = [], None
        self.file.unlink(missing_ok=True)

    def _launch(self, kind: str, *options: str) -> Any:
        command = [
            sys.executable,
            "-m",
            "dask",
            kind,
            "--host",
            "127.0.0.1",
            "--no-dashboard",
            *options,
        ]
        return launch(command, self.folder, self.environment)


def launch(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own."""
    errors = subprocess.PIPE if "stemkin.cli" in command else subprocess.DEVNULL
    return subprocess.Popen(
        [*UNPRIVILEGED, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )


def kill_group(process: Any) -> None:
    """Kill a process that `launch` started, and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Return whether `condition` came true in time."""
    deadline = time.monotonic() + limit_s
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met
