"""Memory of a worker's process: the peak of a task, and what the allocator keeps unused."""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory_mib() -> float:
    """Return the most memory that this process has held since `restart_peak` [MiB].

    Where the system cannot restart the peak, it is that since the process began.
    """
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes
    if sys.platform == "darwin":
        return peak / 2**20
    return peak / 2**10


def restart_peak() -> None:
    """Let the peak begin at what the process holds now.

    Nothing happens where the system cannot do that (it is Linux's).
    """
    with suppress(OSError):
        CLEAR_REFS.write_text("5")


def given_back() -> None:
    """Give memory that nobody uses back to the system, and let the peak begin anew.

    With glibc; elsewhere the allocator decides.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
    restart_peak()


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
