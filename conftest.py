"""How many processes run the tests."""

import os
from pathlib import Path

import pytest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one process a core for the whole suite, and none besides pytest's own for a part.

    A test or a file that is asked for by name begins at once. ``-n 4`` or ``-n 0`` overrides this.
    """
    is_named = any(not Path(word.split("::")[0]).is_dir() for word in config.args)
    if is_named or config.option.keyword:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
