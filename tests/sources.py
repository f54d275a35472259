"""The code of stemkin as trees, for tests that read it instead of running it.

Such a test goes through all files and names all that are wrong: a test for each of 500 files and
three promises would cost more than what it looks at. Trees are large, so what tests keep of them is
not: names and docstrings.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "stemkin"
FILES = sorted(PACKAGE.rglob("*.py"))
KERNELS = [path for path in FILES if PACKAGE / "kernels" in path.parents]


def tree_of(path: Path) -> ast.Module:
    """What a file holds."""
    return ast.parse(path.read_text())


def nodes_of(path: Path) -> Iterator[ast.AST]:
    """Every node of a file, those inside others too."""
    return ast.walk(tree_of(path))


def mentioning(*words: str) -> list[Path]:
    """The files in which one of `words` stands: where none does, there is nothing to parse for."""
    return [path for path in FILES if any(word in path.read_text() for word in words)]


def below_package(path: Path) -> str:
    """A file as sentences name it: ``kernels/chains/markov.py``."""
    return path.relative_to(PACKAGE).as_posix()
