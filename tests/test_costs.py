"""What tests cost is told where it is much."""

import runpy
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def test_dear_tests_and_files_are_named_and_cheap_ones_are_not():
    told = runpy.run_path(str(CONFTEST))["what_is_dear"]
    costs = {("tests/a.py::one", "setup"): 6.0, ("tests/a.py::one", "call"): 4.0}
    costs |= {(f"tests/b.py::test_{i}", "call"): 4.0 for i in range(10)}
    assert told(costs) == [
        "  40.0 s  tests/b.py, all of it",
        "   6.0 s  tests/a.py::one (setup)",
    ]
