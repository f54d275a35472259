"""Every benchmark, by name; and the table of them in `benchmarks/README.md`."""

from __future__ import annotations

from registered import Benchmark
from registered_answers import ANSWERS
from registered_runs import RUNS

EVERY: tuple[Benchmark, ...] = (*RUNS, *ANSWERS)
HEADER = "| script | what it tells | beside | bar | minutes | command | kept result |"


def named(names: list[str]) -> list[Benchmark]:
    """Return the benchmarks of these names, of scripts or without what scripts share.

    Raises
    ------
    ValueError
        If there is none of a name.
    """
    known = {one.name: one for one in EVERY}
    asked = [name.removesuffix(".py").removeprefix("bench_") for name in names]
    unknown = [name for name in asked if name not in known]
    if unknown:
        msg = f"there is no benchmark {unknown[0]!r}; there are {', '.join(sorted(known))}"
        raise ValueError(msg)
    return [known[name] for name in asked]


def table() -> str:
    """Return the table of all benchmarks."""
    return "\n".join(
        [HEADER, "|---" * (HEADER.count("|") - 1) + "|", *(one.row() for one in EVERY)]
    )
