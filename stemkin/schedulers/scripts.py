"""A script that starts processes is run again by each of them: what it must not do outside a guard.

Python starts a process by importing the main script anew. Whatever stands outside
``if __name__ == "__main__":`` is then done again, up to the place where processes are started, and
Python ends with three tracebacks. Here it is seen beforehand.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType


def check_guarded() -> None:
    """Check that the line of the main script that is at work now is not run by new processes.

    Raises
    ------
    ValueError
        If it is.
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    # what has no file (a notebook, -c) or is run by its module's name is not run again
    if path is None or getattr(main, "__spec__", None) is not None or not path.endswith(".py"):
        return
    line = _line_of_main(sys._getframe())
    if line is None or not Path(path).is_file():
        return
    if not is_guarded(Path(path).read_bytes(), line):
        msg = (
            f"line {line} of {path} starts processes, and each of them runs this script again; put "
            "that line, and what belongs to it, under if __name__ == '__main__': or use "
            "connect('threads')"
        )
        raise ValueError(msg)


def _line_of_main(frame: FrameType | None) -> int | None:
    """Return the line at which the main script stands now; None where it is not being run.

    A caller in another thread, or in a test runner's own module, is none of it.
    """
    while frame is not None:
        is_module = frame.f_code.co_name == "<module>"
        if is_module and frame.f_globals.get("__name__") == "__main__":
            return frame.f_lineno
        frame = frame.f_back
    return None


def is_guarded(source: bytes, line: int) -> bool:
    """Tell whether a line of a script is under ``if __name__ == "__main__":``.

    Parameters
    ----------
    source
        The script.
    line
        Its number, from 1.

    Examples
    --------
    >>> script = b"import x\\nif __name__ == '__main__':\\n    x.go()\\nx.go()\\n"
    >>> is_guarded(script, 3), is_guarded(script, 4)
    (True, False)
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # Python did run it: nobody can tell
    for node in tree.body:
        if isinstance(node, ast.If) and _asks_for_main(node.test):
            last = node.body[-1].end_lineno or node.body[-1].lineno
            if node.body[0].lineno <= line <= last:
                return True
    return False


def _asks_for_main(test: ast.expr) -> bool:
    """Tell whether an expression compares ``__name__`` with ``"__main__"``."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    words = {node.value for node in ast.walk(test) if isinstance(node, ast.Constant)}
    return "__name__" in names and "__main__" in words
