"""What is written is true: documented verbs exist, and what exists is documented."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import stemkin
from stemkin import tables
from tests.sources import FILES, KERNELS, below_package, nodes_of, tree_of

ROOT = Path(__file__).parents[1]

NO_VERBS = {
    "formats": "an extra of the package",
    "viewer": "another one",
    "flock": "a call of the system",
}
"""Single words in code type that are neither verb nor keyword nor column, and what they name."""


def words_in_code_type(text: str) -> set[str]:
    """Identifiers set in backticks, with or without arguments: `link`, `link(...)`."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {
        found.group(1)
        for found in re.finditer(r"`(?:sk\.|stemkin\.)?([A-Za-z_]\w*)(?:\([^`]*\))?`", prose)
    }


def keywords_and_columns() -> set[str]:
    """Words that may stand in code type though they are no verbs."""
    words = {column for columns in tables.COLUMNS.values() for column in columns}
    for name in stemkin.__all__:
        thing = getattr(stemkin, name)
        if inspect.isfunction(thing):
            words |= set(inspect.signature(thing).parameters)
    return words


@pytest.mark.parametrize("page", ["docs/verbs.md", "CHANGELOG.md"])
def test_every_verb_that_is_written_of_is_found_on_stemkin(page):
    named = words_in_code_type((ROOT / page).read_text()) - set(NO_VERBS)
    assert named, f"{page} names no verb at all"
    named -= keywords_and_columns()
    missing = sorted(name for name in named if not hasattr(stemkin, name))
    assert not missing, f"{page} speaks of {missing}, which `import stemkin as sk` does not have"


def test_every_attribute_of_sk_in_a_page_of_code_exists():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    for page in pages:
        for name in re.findall(r"\bsk\.([A-Za-z_]\w*)", page.read_text()):
            assert hasattr(stemkin, name), f"{page.name} writes sk.{name}, which there is not"


def test_the_design_names_every_room_and_only_tests_that_exist():
    from tests import test_layers

    design = (ROOT / "docs" / "design.md").read_text()
    for room in (*test_layers.LAYERS, *test_layers.WINGS):
        assert re.search(rf"[`{{,/]{room}[`}},./]", design), f"docs/design.md does not name {room}"
    for name in re.findall(r"`(test_\w+)`", design):
        assert (ROOT / "tests" / f"{name}.py").is_file(), f"docs/design.md names {name}"
    for name in re.findall(r"`(?:benchmarks/)?(bench_\w+\.py)`", design):
        assert (ROOT / "benchmarks" / name).is_file(), f"docs/design.md names {name}"


def test_what_is_no_verb_is_none():
    assert not [name for name in NO_VERBS if name in stemkin.__all__]


def arguments(function) -> list[str]:
    """Names of the arguments that a caller may give."""
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def undocumented(function, doc: str) -> list[str]:
    """Arguments that the section Parameters (or Attributes, of a record) does not name."""
    section = re.search(
        r"^(?:Parameters|Attributes)\n-{3,}\n(.*?)(?=^\w[^\n]*\n-{3,}$|\Z)",
        doc,
        re.DOTALL | re.MULTILINE,
    )
    told = set()
    for line in section.group(1).splitlines() if section else []:
        if line[:1].strip():
            told |= {name.strip("`* ") for name in line.split(":")[0].split(",")}
    return [name for name in arguments(function) if name not in told]


def test_every_argument_of_a_public_name_is_documented():
    silent = {}
    for name in stemkin.__all__:
        thing = getattr(stemkin, name)
        doc = inspect.getdoc(thing) or ""
        if inspect.isclass(thing):
            if issubclass(thing, Exception):
                continue
            doc += "\n" + (inspect.getdoc(thing.__init__) or "")
        if missing := undocumented(thing, doc):
            silent[f"stemkin.{name}"] = missing
    assert not silent, f"these docstrings say nothing of these arguments: {silent}"


def test_an_argument_that_a_docstring_leaves_out_is_seen():
    def asked(rows, lag_frames):
        """Asks.

        Parameters
        ----------
        rows
            Rows of tracks.
        """

    assert undocumented(asked, inspect.getdoc(asked)) == ["lag_frames"]


def test_a_public_kernel_has_its_parameters():
    silent = []
    for path in KERNELS:
        for node in tree_of(path).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            takes = node.args.posonlyargs or node.args.args or node.args.kwonlyargs
            doc = inspect.cleandoc(ast.get_docstring(node) or "")
            if takes and not re.search(r"^Parameters\n-{3,}$", doc, re.MULTILINE):
                silent.append(f"{below_package(path)}: {node.name}")
    assert not silent, f"these take arguments and say nothing of them: {silent}"


def test_the_first_line_of_a_docstring_is_a_sentence_on_one_line():
    wrong = []
    for path in FILES:
        for node in nodes_of(path):
            if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                continue
            _, *rest = (ast.get_docstring(node) or "none").splitlines()
            if rest and rest[0].strip():
                wrong.append(f"{below_package(path)}: {getattr(node, 'name', 'the module')}")
    assert not wrong, f"the first line of these goes on in the second: {wrong}"


def definitions() -> dict[str, list[str]]:
    """Where each public class and function of the package is defined."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(below_package(path))
    return found


def test_a_name_means_one_thing():
    """Two classes or functions of one name would mean two things; a reason would stand here."""
    twice = {name: places for name, places in definitions().items() if len(places) > 1}
    assert not twice, f"defined twice: {twice}"
