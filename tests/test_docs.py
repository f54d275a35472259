"""The pages of `docs/` are true: links lead somewhere, code is code, and what is typed is known."""

import ast
import importlib
import importlib.util
import math
import re
from functools import cache
from pathlib import Path

import pytest
import typer.main
import yaml

import stemkin
import stemkin.plot
from stemkin.cli.commands import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
PYTHON = [
    pytest.param(page, code, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]
NO_MODULES = {"stemkin.formats": "a group of entry points"}
"""Dotted names that are no modules, and what they are."""

RUN_BLOCKS = r"<!-- runs -->\n```python\n(.*?)```"
"""Blocks that the page marks, unseen by its readers, as cheap enough to run."""


@cache
def script(name):
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator():
    """Return docs/generate.py as a module."""
    return script("generate")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as Python-Markdown makes them."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(PAGES[page])):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, heading = target.partition("#")
        assert not name or (DOCS / name).is_file(), f"{page} links to {target}"
        if heading:
            assert heading in anchors(PAGES[name or page]), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    for path in re.findall(r"`((?:benchmarks|examples|stemkin|docs)/[\w./]+)`", PAGES[page]):
        assert (ROOT / path).exists(), f"{page} names {path}"


def test_headings_of_a_page_differ():
    for page, text in PAGES.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
        assert len(headings) == len(anchors(text)), f"{page} has two headings of one name"


@pytest.mark.parametrize("page", ["accuracy.md", "formats.md", "reference.md"])
def test_generated_pages_are_what_the_code_says(page):
    written = generator().PAGES[page]()
    assert PAGES[page] == written, "run python docs/generate.py"


def quoted() -> dict[str, list[str]]:
    """What pages quote of kept results, in the words in which they have to quote it."""
    results = generator().result
    usual, quarter = (results(f"worlds_{dose}.json")["deciles"] for dose in ("usual", "quarter"))

    def down(deciles: dict[str, dict[str, float]], name: str, which: str = "median") -> str:
        return f"{math.floor(100 * deciles[which][name] + 1e-9) / 100:.2f}".lstrip("0")

    hota = {
        row["linker"]: row["hota"]
        for row in results("association.json")["rows"]
        if row["movie"] == "6 steps apart"
    }
    linkers = ("stemkin, defaults", "trackpy, best", "laptrack, best")
    published = next(
        line for line in results("estimators.json")["lines"] if "published var" in line["estimator"]
    )
    sites = (ROOT / "benchmarks/results/sites.txt").read_text(encoding="utf-8")
    columns = [line.split() for line in sites.splitlines() if re.match(r" *\d\.\d +\d+ ", line)]
    seeds = (ROOT / "benchmarks/results/truth_seeds.txt").read_text(encoding="utf-8")
    return {
        "your_detector.md": [
            f"{down(usual, 'of_ideal')} of an ideal",
            f"{down(usual, 'of_ideal', 'worst decile')} in the worst decile at a usual",
            f"{down(quarter, 'of_ideal')} and {down(quarter, 'of_ideal', 'worst decile')} at a quarter",
            f"{down(quarter, 'recall')} of them are found in the median ({down(quarter, 'possible')} ",
            f"{down(quarter, 'recall', 'worst decile')} in the worst decile.",
        ],
        "tracks_of_others.md": [", ".join(f"{hota[linker]:.3f}"[1:] for linker in linkers)],
        "faq.md": [f"−{abs(published['off_by']):.0%}".replace("%", " %")],
        "faint_movies.md": [
            f"| 100 | {depth} | {mean} | {spread} | {half} | {covered} | {counting} |"
            for depth, worlds, mean, spread, half, covered, counting, *_ in columns
            if worlds == "20"
        ],
        "reading_the_report.md": [
            re.search(r"others: (\d+ of \d+)", seeds).group(1),
            re.search(r"raw names: (\d+ of \d+)", seeds).group(1),
        ],
    }


def test_numbers_that_pages_quote_are_those_of_the_results():
    for page, phrases in quoted().items():
        assert phrases
        for phrase in phrases:
            assert phrase in PAGES[page], f"{page} no longer says what was measured: {phrase}"


def test_every_public_name_stands_in_the_reference():
    headings = re.findall(r"^### (\w+)$", PAGES["reference.md"], re.MULTILINE)
    assert sorted(headings) == sorted([*stemkin.__all__, *stemkin.plot.__all__])


def test_every_format_stands_in_its_page():
    from stemkin.readers.registry import FORMATS

    for one in FORMATS:
        for suffix in one.suffixes:
            assert f"`{suffix}`" in PAGES["formats.md"]


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_blocks_of_python_compile(page, code):
    compile(code, page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_names_of_stemkin_exist(page):
    for name in re.findall(r"\bsk\.([A-Za-z_]\w*)", PAGES[page]):
        assert hasattr(stemkin, name), f"{page} writes sk.{name}"
    for path in re.findall(r"`(stemkin(?:\.\w+)+)`", PAGES[page]):
        assert path in NO_MODULES or is_there(path), f"{page} writes {path}"


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_what_is_imported_exists(page, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("stemkin"):
            for name in node.names:
                assert is_there(f"{node.module}.{name.name}"), f"{page}: {name.name}"


def is_there(path: str) -> bool:
    """Tell whether a dotted path names a module or something in one."""
    names = path.split(".")[1:]
    thing = stemkin
    for i, name in enumerate(names):
        if not hasattr(thing, name):
            place = Path(ROOT, "stemkin", *names[: i + 1])
            if not place.is_dir() and not place.with_suffix(".py").is_file():
                return False
            thing = importlib.import_module(".".join(["stemkin", *names[: i + 1]]))
        else:
            thing = getattr(thing, name)
    return True


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "<!-- runs -->" in text])
def test_marked_blocks_run_one_after_another(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "docs"}
    for code in re.findall(RUN_BLOCKS, PAGES[page], re.DOTALL):
        exec(compile(code, page, "exec"), names)


def test_marks_stand_before_blocks_of_python():
    for page, text in PAGES.items():
        assert text.count("<!-- runs -->") == len(re.findall(RUN_BLOCKS, text, re.DOTALL)), page


def typed(text: str) -> list[str]:
    """Lines of a page that are typed in a terminal, and commands in its prose."""
    lines = re.findall(r"^\$ (stemkin .*)$", text, re.MULTILINE)
    return lines + re.findall(r"`(stemkin [a-z]+[^`\n]*)`", without_blocks(text))


def without_blocks(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if typed(PAGES[page])])
def test_commands_and_options_are_known_to_the_command_line(page):
    group = typer.main.get_command(app)
    for line in typed(PAGES[page]):
        name, *words = line.split("#")[0].split()[1:]
        assert name in group.commands, f"{page}: there is no stemkin {name}"
        known = {option for one in group.commands[name].params for option in one.opts}
        for word in words:
            if word.startswith("-"):
                assert word.split("=")[0] in known, f"{page}: {line} ({word})"


def test_settings_that_are_typed_exist():
    for page, text in PAGES.items():
        for word in re.findall(r"--set (\w+\.\w+=[^\s`]+)", text):
            changed = stemkin.RunConfig().with_words([word])
            assert changed != stemkin.RunConfig(), f"{page}: {word} is the default"


def test_the_site_lists_every_page_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = []
    for entry in site["nav"]:
        for value in entry.values():
            listed += [value] if isinstance(value, str) else [next(iter(p.values())) for p in value]
    assert sorted(listed) == sorted(PAGES)


@pytest.mark.parametrize("name", [path.stem for path in (DOCS / "tutorials").glob("*.py")])
def test_a_tutorial_has_its_page_with_its_code_and_its_figures(name):
    tutorials = script("tutorials")
    page = PAGES[f"tutorial_{name}.md"]
    for prose, code in tutorials.cells(tutorials.SCRIPTS[name].read_text(encoding="utf-8")):
        assert prose in page
        assert not code or f"```python\n{code}\n```" in page
    for figure in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page):
        assert (DOCS / figure).read_bytes().startswith(b"\x89PNG")


def test_a_quick_tutorial_prints_what_its_page_says(tmp_path):
    from matplotlib import pyplot

    tutorials = script("tutorials")
    pyplot.figure()  # left open by somebody else
    for name in tutorials.QUICK:
        assert tutorials.page(name, tmp_path) == PAGES[f"tutorial_{name}.md"]
        assert {path.name for path in tmp_path.iterdir()} == {
            path.name for path in DOCS.glob(f"tutorial_{name}_*.png")
        }
