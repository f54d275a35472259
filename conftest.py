"""How many processes run the tests, and which files they begin with."""

import os
from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin: what is left for the end is short, and no process waits long."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one process a core for the whole suite, and none besides pytest's own for a part.

    A test or a file that is asked for by name begins at once. ``-n 4`` or ``-n 0`` overrides this.
    """
    is_named = any(not Path(word.split("::")[0]).is_dir() for word in config.args)
    if is_named or config.option.keyword:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
