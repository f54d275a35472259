"""The house in numbers: lines, density, comments and documentation, room by room.

    python benchmarks/house.py            # a table by room, then the whole
    python benchmarks/house.py kernels/linking readers

Counted from the source alone, by the syntax tree and the tokens; docstrings are not comments. Per
1,000 lines: conditional expressions (``a if b else c``) and comprehensions. `documented`: share of
public functions whose docstring has a Parameters section, or that take nothing.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "stemkin"
WIDE, LONG_FUNCTION, LARGE_FILE = 100, 60, 250
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    if parts[0] == "kernels" and len(parts) == 3:
        return f"kernels/{parts[1]}"
    return parts[0] if len(parts) > 1 else "(top)"


def counts_of(path: Path) -> Counter:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    found = Counter(files=1, lines=len(lines), large=len(lines) > LARGE_FILE)
    found["wide"] = sum(len(line) > WIDE for line in lines)
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    code, comments = set(), set()
    silent = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    for token in tokens:
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in silent and token.type != tokenize.STRING:
            code.add(token.start[0])
    found["code"], found["comments"] = len(code), len(comments - code)
    for node in ast.walk(tree):
        found["conditional"] += isinstance(node, ast.IfExp)
        found["comprehensions"] += isinstance(node, COMPREHENSIONS)
        if isinstance(node, FUNCTIONS):
            found["long"] += node.end_lineno - node.lineno > LONG_FUNCTION
    for node in tree.body:
        if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            takes = [a.arg for a in (*node.args.args, *node.args.kwonlyargs) if a.arg != "self"]
            found["public"] += 1
            told = "Parameters\n" in (ast.get_docstring(node) or "")
            found["documented"] += told or not takes
    return found


def row(name: str, n: Counter) -> str:
    thousand = n["lines"] / 1000
    return (
        f"{name:20}{n['files']:6}{n['lines']:8}{100 * n['wide'] / n['lines']:8.2f}"
        f"{n['conditional'] / thousand:8.1f}{n['comprehensions'] / thousand:8.1f}"
        f"{n['comments'] / max(1, n['code']):10.3f}{100 * n['documented'] / max(1, n['public']):12.0f}"
        f"{n['long']:6}{n['large']:7}"
    )


def main(asked: list[str]) -> None:
    rooms: dict[str, Counter] = defaultdict(Counter)
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = str(path.relative_to(PACKAGE))
        if not asked or any(inside.startswith(start.rstrip("/")) for start in asked):
            rooms[room_of(path)] += counts_of(path)
    print(
        f"{'room':20}{'files':>6}{'lines':>8}{'wide %':>8}{'cond/k':>8}{'compr/k':>8}"
        f"{'comm/code':>10}{'documented %':>12}{'long':>6}{'large':>7}"
    )
    for name, found in sorted(rooms.items()):
        print(row(name, found))
    print(row("all", sum(rooms.values(), Counter())))


if __name__ == "__main__":
    main(sys.argv[1:])
