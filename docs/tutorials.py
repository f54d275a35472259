"""Run the tutorials and write their pages, with what they print and draw.

    python docs/tutorials.py               # all of them
    python docs/tutorials.py first_movie   # one

CI runs them all when it builds the site. A tutorial is a script in `docs/tutorials/`: its docstring is title and first words, a line ``# %%``
begins a new cell, comment lines behind it are prose, the rest is code. A test runs the quickest
and compares what it prints with its page.
"""

import ast
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

DOCS = Path(__file__).parent
SCRIPTS = {path.stem: path for path in sorted((DOCS / "tutorials").glob("*.py"))}
QUICK = ("someone_elses_tracks",)
"""Tutorials that a test runs; of the others it compares the code."""
WRITTEN = "<!-- Written by docs/tutorials.py; change docs/tutorials/{}.py and run it again. -->"


def cells(script: str) -> Iterator[tuple[str, str]]:
    """Yield prose and code of each cell of a script, its docstring first."""
    tree = ast.parse(script)
    yield ast.get_docstring(tree) or "", ""
    for cell in re.split(r"^# %%.*\n", script, flags=re.MULTILINE)[1:]:
        lines = cell.splitlines()
        n = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        prose = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:n])
        yield prose, "\n".join(lines[n:]).strip("\n")


def page(name: str, figures: Path) -> str:
    """Return the page of a tutorial as Markdown; its figures are written into a folder.

    It runs in a folder of its own, so that what it writes is gone afterwards.
    """
    from matplotlib import pyplot

    text, known, n = [WRITTEN.format(name)], {"__name__": "__main__"}, 0
    here = Path.cwd()
    pyplot.close("all")  # what whoever calls has drawn is no figure of the page
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            for prose, code in cells(SCRIPTS[name].read_text(encoding="utf-8")):
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    exec(compile(code, name, "exec"), known)  # noqa: S102 - our own script
                text += [prose] if prose else []
                text += [f"```python\n{code}\n```"] if code else []
                text += [f"```text\n{said.getvalue().rstrip()}\n```"] if said.getvalue() else []
                for number in pyplot.get_fignums():
                    n += 1
                    file = f"tutorial_{name}_{n}.png"
                    pyplot.figure(number).savefig(
                        figures / file, dpi=80, metadata={"Software": None}
                    )
                    text.append(f"![What the code above draws]({file})")
                pyplot.close("all")
        finally:
            os.chdir(here)
    return "\n\n".join(text) + "\n"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SCRIPTS:
        (DOCS / f"tutorial_{wanted}.md").write_text(page(wanted, DOCS), encoding="utf-8")
        print(wanted)
