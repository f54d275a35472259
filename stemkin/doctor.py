"""What this installation can do: versions, devices, extras, and a small run from end to end.

The first thing to send with a question, and the first thing to try on a new cluster.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from stemkin.blas import one_thread
from stemkin.devices import said_of_devices

CORE = ("stemkin", "dask", "distributed", "numpy", "scipy", "pandas", "pyarrow", "numba", "zarr")
"""Packages whose versions are said first."""

EXTRAS: Mapping[str, tuple[str, str]] = {
    "torch": ("network", "networks that find defects"),
    "cupy": ("gpu", "GPUs"),
    "bokeh": ("dashboard", "Dask's dashboard and performance reports"),
    "av": ("video", "AVI and MP4"),
    "rsciio": ("formats", "vendors' formats"),
    "s3fs": ("cloud", "s3://"),
    "gcsfs": ("cloud", "gs://"),
    "aiohttp": ("cloud", "https://"),
    "dask_jobqueue": ("slurm", "queues"),
    "xarray": ("xarray", "to_xarray"),
    "openpyxl": ("excel", "workbooks"),
}
"""Packages that may be missing: with which extra each comes, and what for."""

DISTRIBUTIONS = {"av": "av", "rsciio": "rosettasciio", "dask_jobqueue": "dask-jobqueue"}
"""Packages that are called otherwise where they are installed from."""

FRAMES, EDGE_PX = 4, 160
"""The movie of the test: a second or two of work."""

ENOUGH = 0.9
"""The share of the defects in it that must be found: all of them stand well above the noise."""


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes
    ----------
    machine
        Python, system, cores, memory.
    versions
        Of the core packages; "" where one is missing.
    extras
        Package of an extra → its version; "" where it is missing.
    devices
        One sentence each.
    test
        What the small run gave, or why it failed.
    is_well
        Whether the core is whole and the small run found what it should.
    seconds
        How long the run took.
    """

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    extras: Mapping[str, str]
    devices: list[str]
    test: str
    is_well: bool
    seconds: float = field(default=0.0)

    def describe(self) -> str:
        """Return the lines that ``stemkin doctor`` prints."""
        lines = [f"{name}: {value}" for name, value in self.machine.items()]
        lines += ["", "packages"]
        lines += [f"  {name:<14} {value or 'MISSING'}" for name, value in self.versions.items()]
        lines += ["", "extras"]
        for name, value in self.extras.items():
            extra, purpose = EXTRAS[name]
            said = value or f'not installed: pip install "stemkin[{extra}]"'
            lines.append(f"  {name:<14} {said}  ({purpose})")
        lines += ["", "devices", *(f"  {device}" for device in self.devices)]
        lines += ["", f"test: {self.test} ({self.seconds:.1f} s)"]
        return "\n".join(lines)


@one_thread
def examined() -> Examination:
    """Look at this installation, and do a small run in memory. Computes once."""
    versions = {name: _version(name) for name in CORE}
    began = time.perf_counter()
    test, works = _small_run()
    return Examination(
        _machine(),
        versions,
        {name: _version(name) for name in EXTRAS},
        said_of_devices(),
        test,
        works and all(versions.values()),
        time.perf_counter() - began,
    )


def _version(package: str) -> str:
    """Return the version of a package, "" where it is not installed or does not load."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        return ""
    try:
        return metadata.version(DISTRIBUTIONS.get(package, package))
    except metadata.PackageNotFoundError:
        # its files are there, but it was not installed as a package of this name
        return "of an unknown version"


def _machine() -> dict[str, str]:
    from stemkin.schedulers.active import available_cores

    memory = "unknown"
    if hasattr(os, "sysconf"):
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        memory = f"{pages * size / 2**30:.1f} GiB"
    return {
        "Python": platform.python_version(),
        "system": platform.platform(),
        "cores": str(available_cores()),
        "memory": memory,
    }


def _small_run() -> tuple[str, bool]:
    """Simulate, detect, link and compare with the truth; say what was found, and if it is right."""
    try:
        found, wanted = _found_and_there()
    except Exception as error:  # noqa: BLE001 - whatever fails is what is to be told
        return f"FAILED: {type(error).__name__}: {error}", False
    said = f"{found} of {wanted} simulated defects were found and linked"
    if found < ENOUGH * wanted:
        return f"FAILED: only {said}", False
    return said, True


def _found_and_there() -> tuple[int, int]:
    """Return how many defects were found in a small simulated movie, and how many there are."""
    import dask

    from stemkin.detection import detect
    from stemkin.detection.detectors import FourierDetector
    from stemkin.linking import link
    from stemkin.scoring import score
    from stemkin.simulation import simulate_movie, truth_of

    movie: Any = simulate_movie("paper", n_frames=FRAMES, shape=(EDGE_PX, EDGE_PX), seed=1)
    with dask.config.set(scheduler="synchronous"):
        tracks = link(detect(movie, FourierDetector()), max_step_nm=0.7).compute()
    table: Any = score(tracks, truth_of(movie)).detection
    return int(table.loc["all", "n_matched"]), int(table.loc["all", "n_true"])
