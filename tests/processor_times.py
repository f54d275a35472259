"""How long processors computed for each test: a plug-in of pytest for developers.

    python -m pytest -p tests.processor_times --processor-times times.csv
    python tests/processor_times.py times.csv

A wall clock says how busy a machine was; this says what a test costs. Each line of the table has the
test and the seconds of its set-up (with fixtures that it was the first to ask for), of itself, of
what came after, each with all threads, and of the processes that were started; the line
"collection" is what a process computed before its first test.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest


def of_this_process_s() -> float:
    """Return the processor seconds of this process and of the children that it has buried."""
    mine = os.times()
    return mine.user + mine.system + mine.children_user + mine.children_system


def of_living_children_s() -> float:
    """Return those of the processes that this one has started, and they in turn, and that live."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile: its parent has its seconds
            times = child.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class Times:
    """Appends a line for each test to a table that several processes of pytest-xdist share."""

    def __init__(self, table: Path) -> None:
        self.table = table
        self.mine = 0.0
        self.of_children = 0.0
        self.lines = 0

    def write(self, *values: object) -> None:
        with self.table.open("a", newline="") as file:
            csv.writer(file).writerow(values)

    def since(self) -> float:
        """Return what this process computed since this was asked."""
        before, self.mine = self.mine, of_this_process_s()
        return self.mine - before

    def since_by_children(self) -> float:
        """Return what its children computed; less than nothing where one was buried meanwhile."""
        before, self.of_children = self.of_children, of_living_children_s()
        self.mine = of_this_process_s()  # to count them is no part of a test
        return self.of_children - before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        spent = self.since() + self.since_by_children()
        if not self.lines:
            self.write("collection", f"{spent:.2f}", 0, 0, 0)
        self.lines += 1
        self.phases: list[float] = []
        done = yield
        self.phases.append(self.since_by_children())
        self.write(item.nodeid, *(f"{seconds:.2f}" for seconds in self.phases))
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        return (yield from self.phase())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        return (yield from self.phase())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        return (yield from self.phase())

    def phase(self) -> Iterator[None]:
        try:
            return (yield)
        finally:
            self.phases.append(self.since())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor-times", metavar="CSV", help="append what each test computes")


def pytest_configure(config: pytest.Config) -> None:
    table = config.getoption("--processor-times")
    is_only_handing_out = bool(config.getoption("numprocesses", 0)) and not hasattr(
        config, "workerinput"
    )
    if table and not is_only_handing_out:
        config.pluginmanager.register(Times(Path(table).absolute()))


def main(table: str) -> None:
    """Print the seconds of each file, the most first, and the costliest fifty tests."""
    of_file: dict[str, float] = defaultdict(float)
    of_test: dict[str, float] = {}
    with Path(table).open(newline="") as file:
        for test, *seconds in csv.reader(file):
            total = sum(map(float, seconds))
            of_file[test.split("::")[0]] += total
            of_test[test] = of_test.get(test, 0.0) + total
    print(f"{sum(of_file.values()):8.1f} s in all")
    for costs, n in ((of_file, 100), (of_test, 50)):
        print()
        for name in sorted(costs, key=lambda name: -costs[name])[:n]:
            print(f"{costs[name]:8.2f}  {name}")


if __name__ == "__main__":
    main(sys.argv[1])
