"""How many processes run the tests, and which files they begin with."""

import os
import sys
from pathlib import Path

import pytest

# Tests start a hundred processes that import stemkin: none of them compiles its 560 files again,
# nor each process of pytest-xdist the tests, where somebody told Python to keep nothing.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LONGEST = [
    "test_faults",
    "test_pipeline",
    "test_examples",
    "test_learning",
    "test_completion",
    "test_truth",
    "test_network",
    "test_cli",
    "test_linking",
    "test_kinetics",
    "test_detection",
    "test_large_movies",
    "test_blas",
    "test_diffusion",
    "test_faults_s3",
    "test_fuzz_readers",
]
"""Files that take longer than half a minute of computing on their own."""


STEMKIN = Path(__file__).parent / "stemkin"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave files of stemkin without an example alone: to look for one imports torch, for nothing."""
    if collection_path.suffix != ".py" or STEMKIN not in collection_path.parents:
        return None
    if ">>> " in collection_path.read_text():
        return None
    return True


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
