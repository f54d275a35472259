"""Every benchmark by one command.

    python -m benchmarks --list
    python -m benchmarks --quick                   # ratios, less than a minute; fails where one fell
    python -m benchmarks --only frame linking      # the scripts themselves, results are kept
    python -m benchmarks --tables                  # write the tables of benchmarks/README.md

A script is run as a process of its own, with the arguments of its entry in `registry.py`; what it
keeps names commit, date, machine and versions (`keeping.py`). One that is stopped has kept what it
had; those after it are not begun.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from keeping import RESULTS, ROOT
from registered import Benchmark
from registry import EVERY, named


def run_one(one: Benchmark, results: str | None) -> str:
    """Run a script; return in words what came of it.

    Parameters
    ----------
    one
        Which.
    results
        A finished results folder, for those that ask for one.
    """
    if "{results}" in one.asked and results is None:
        return "left out: it asks for a finished results folder, --results FOLDER"
    print(f"{one.name}: about {one.minutes:g} minutes", flush=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        given = {"kept": str(RESULTS), "scratch": scratch, "results": str(results)}
        asked = [word.format(**given) for word in one.asked.split()]
        command = [sys.executable, f"benchmarks/{one.script}", *asked]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the terminal has told the script, too: it keeps what it has
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if code != 0:
        return f"failed (exit code {code})"
    return f"done in {time.monotonic() - began:.0f} s"


def run_all(benchmarks: list[Benchmark], results: str | None) -> int:
    """Run scripts one after the other, print what came of each; return how many failed."""
    said: dict[str, str] = {}
    try:
        for one in benchmarks:
            said[one.name] = run_one(one, results)
    except KeyboardInterrupt:
        said[one.name] = "stopped; what it had is kept"
    for one in benchmarks:
        print(f"{one.name:24s} {said.get(one.name, 'not begun')}")
    return sum(words.startswith(("failed", "stopped")) for words in said.values())


def main(words: list[str] | None = None) -> int:
    """Do what is asked; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="names, minutes and what they tell")
    parser.add_argument(
        "--quick", action="store_true", help="ratios to a yardstick of the same run"
    )
    parser.add_argument("--keep", action="store_true", help="with --quick: keep these ratios")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these; with --quick these ratios"
    )
    parser.add_argument("--all", action="store_true", help="every script, for hours")
    parser.add_argument("--tables", action="store_true", help="write the tables of the README")
    parser.add_argument("--results", metavar="FOLDER", help="a finished results folder")
    asked = parser.parse_args(words)
    if asked.list:
        for one in EVERY:
            print(f"{one.name:20s} {one.minutes:5g} min  {one.tells}")
        return 0
    if asked.tables:
        from tables_of_readme import write_tables

        write_tables()
        return 0
    if asked.quick:
        from quick import judged_ratios

        return judged_ratios(asked.only, keep_them=asked.keep)
    if not (asked.only or asked.all):
        parser.error("say --list, --quick, --tables, --only NAME ... or --all")
    try:
        benchmarks = named(asked.only) if asked.only else list(EVERY)
    except ValueError as error:
        parser.error(str(error))
    return min(1, run_all(benchmarks, asked.results))


if __name__ == "__main__":
    sys.exit(main())
