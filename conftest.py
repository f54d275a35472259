"""How many processes run the tests, which files they begin with, and what tests cost."""

import compileall
import gc
import os
import sys
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule

# Tests start a hundred processes that import stemkin: none of them compiles its 560 files again,
# nor each process of pytest-xdist the tests, where somebody told Python to keep nothing.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LONGEST = [
    "test_pipeline",
    "test_report",
    "test_faults",
    "test_cli",
    "test_examples",
    "test_learning",
    "test_healing",
    "test_faults_s3",
    "test_references",
    "test_diffusion",
    "test_vocabulary",
    "test_growth",
    "test_network",
    "test_linking",
    "test_completion",
    "test_truth",
    "test_kinetics",
    "test_structures",
    "test_whole_tracks",
    "test_report_reading",
    "test_wrong_names",
    "test_sites",
    "test_large_movies",
    "test_detection",
    "test_track_tables",
    "test_player",
    "test_materials",
    "test_blas",
    "test_scheduling",
    "test_phases",
    "test_strange_things",
    "test_extras",
    "test_export",
    "test_corpus",
    "test_readers_remote",
    "test_plan",
]
"""Files that take longer than twenty seconds of computing on their own."""


STEMKIN = Path(__file__).parent / "stemkin"


def has_example(path: Path) -> bool:
    """Return whether an example stands in a file."""
    return ">>> " in path.read_text()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave files of stemkin without an example alone: to look for one imports torch, for nothing."""
    if collection_path.suffix != ".py" or STEMKIN not in collection_path.parents:
        return None
    if has_example(collection_path):
        return None
    return True


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path,
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in no test file without one: it goes through all that the file imports."""
    found = yield
    if file_path.suffix == ".py" and not has_example(file_path):
        return [one for one in found if not isinstance(one, DoctestModule)]
    return found


def pytest_collection() -> None:
    """Let nothing be thrown away while tests are looked for: all that is made then is kept."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for rubbish again, but not among the million things that were imported.

    What a test file computes while it is imported, each process computes: refused where a loop of
    stemkin was called for it.
    """
    if called := [name for name, module in list(sys.modules.items()) if calls_a_loop(module)]:
        said = f"a test file computes while it is imported ({called[0]} was called): let a fixture"
        raise pytest.UsageError(said)
    gc.freeze()
    gc.enable()


def calls_a_loop(module: object) -> bool:
    """Return whether a compiled loop of a module of kernels has been called in this process."""
    if not getattr(module, "__name__", "").startswith("stemkin.kernels"):
        return False
    return any(getattr(loop, "signatures", None) for loop in vars(module).values())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin: what is left for the end is short, and no process waits long."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one process more than cores for the whole suite, none besides pytest's own for a part.

    Tests of faults wait, for processes that start and links that are found cut: the one more keeps
    the cores busy meanwhile. A test or a file that is asked for by name begins at once. ``-n 4`` or ``-n 0`` overrides this.
    """
    is_named = any(not Path(word.split("::")[0]).is_dir() for word in config.args)
    if is_named or config.option.keyword:
        return 0
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) + 1
    return (os.cpu_count() or 1) + 1


def pytest_xdist_setupnodes() -> None:
    """Make what all processes need once, before several do that beside each other."""
    from tests.loops import make_ready

    compileall.compile_dir(STEMKIN, quiet=2, workers=0)
    make_ready()


DEAR_TEST_S, DEAR_FILE_S = 5.0, 30.0
"""Processor seconds of a step of a test, and of a file, above which the report of a run names them.
Processes count that a test started and that have ended. What is told is told and fails nothing: the
same test takes twice as long beside others."""

spent: dict[tuple[str, str], float] = defaultdict(float)
"""Processor seconds by test and step (setup, call, teardown), where the reports come together."""


LOOKED_AT = pytest.StashKey[float]()


def processor_seconds() -> float:
    """What this process has computed so far, and those that it waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Look at the clock when a test begins."""
    item.stash[LOOKED_AT] = processor_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let each step of a test say what it cost; the first test of a module pays for its fixtures."""
    report = yield
    now = processor_seconds()
    report.user_properties.append(("processor_s", now - item.stash[LOOKED_AT]))
    item.stash[LOOKED_AT] = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather what the steps cost, from all processes."""
    spent[report.nodeid, report.when or ""] += dict(report.user_properties).get("processor_s", 0.0)


def what_is_dear(costs: Mapping[tuple[str, str], float]) -> list[str]:
    """Return a line for each step and for each file that costs much, the dearest first."""
    files: dict[str, float] = defaultdict(float)
    for (test, _), seconds in costs.items():
        files[test.split("::")[0]] += seconds
    dear = [(s, f"{test} ({step})") for (test, step), s in costs.items() if s > DEAR_TEST_S]
    dear += [(s, f"{file}, all of it") for file, s in files.items() if s > DEAR_FILE_S]
    return [f"{s:6.1f} s  {what}" for s, what in sorted(dear, reverse=True)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what costs much, so that it is seen when it comes (docs/contributing.md)."""
    if lines := what_is_dear(spent):
        terminalreporter.section(f"{sum(spent.values()):.0f} s of processor; of these")
        for line in lines:
            terminalreporter.line(line)
