"""What a benchmark found, as it is kept: commit, date, machine and versions, by one hand.

    with keeping(found, asked.out):       # whatever ends it, what was found so far is in the file
        found["rows"].append(...)
    add(found, asked.out, asked.name)     # commit beside commit, in one file

Rows stand one in a line, so that a file that is kept can be read, and compared by lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from stemkin.results.journal import machine

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "dask", "scikit-learn")
LINE = 160
"""A list or mapping that is no longer stands in one line."""


def about() -> dict[str, Any]:
    """Return of what, when and where a benchmark is run."""
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "commit": said.stdout.strip() or "unknown",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def keep(found: Mapping[str, Any], path: str | os.PathLike[str] | None) -> None:
    """Write what was found, whole or not at all; nothing where there is no `path`."""
    if path is not None:
        _write({**about(), **found}, Path(path))


def add(found: Mapping[str, Any], path: Path | None, name: str | None = None) -> dict[str, Any]:
    """Write what was found beside what stands in a file already; return the first that stands there.

    Parameters
    ----------
    found
        What was found.
    path
        The file; None writes nothing.
    name
        What it is called there, by default its commit.
    """
    one = {**about(), **found}
    every = kept_in(path)
    first: dict[str, Any] = next(iter(every.values()), one)
    if path is not None:
        every[name or one["commit"]] = one
        _write(every, path)
    return first


def kept_in(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return what stands in a file, nothing where there is none."""
    if path is None or not Path(path).exists():
        return {}
    kept: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return kept


@contextmanager
def keeping(found: dict[str, Any], path: str | os.PathLike[str] | None) -> Iterator[dict[str, Any]]:
    """Keep what stands in `found` when the work is done, stopped or failed."""
    try:
        yield found
    except BaseException as error:
        found["ended_by"] = f"{type(error).__name__}: {error}".strip(": ")
        raise
    finally:
        keep(found, path)


def as_text(content: Any, indent: int = 0) -> str:
    """Return content as JSON, short lists and mappings in one line.

    >>> print(as_text({"few": [1, 2], "rows": [{"a": i} for i in range(17)]})[:60])
    {
     "few": [1, 2],
     "rows": [
      {"a": 0},
      {"a": 1},
      {"a"
    """
    line = json.dumps(content, default=_plain)
    if len(line) + indent <= LINE or not isinstance(content, dict | list):
        return line
    space = " " * (indent + 1)
    if isinstance(content, dict):
        parts = [f"{json.dumps(k)}: {as_text(v, indent + 1)}" for k, v in content.items()]
        begin, end = "{", "}"
    else:
        parts = [json.dumps(one, default=_plain) for one in content]
        begin, end = "[", "]"
    return begin + "\n" + ",\n".join(space + part for part in parts) + "\n" + " " * indent + end


def _plain(value: Any) -> Any:
    """Return a number of NumPy's as one of Python's, and anything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _write(content: Any, path: Path) -> None:
    begun = path.with_name(path.name + ".part")
    begun.write_text(as_text(content) + "\n", encoding="utf-8")
    begun.replace(path)
