"""Write the pages that say what the code says: `formats.md` and `reference.md`.

    python docs/generate.py

Formats are those of the registry, each with the docstring of the module that opens it and with what
the corpus of test files found; the reference is the docstrings of `stemkin.__all__`. A test compares
the pages with what this script would write.
"""

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path

import stemkin
from stemkin.readers.registry import FORMATS, Format

DOCS = Path(__file__).parent
ROOT = DOCS.parent

TITLES = {
    "movie": "Movies",
    "archive": "Movies",
    "description": "Movies",
    "conversion": "Movies",
    "learning": "Learning",
    "detection": "Detection",
    "network": "Detection",
    "linking": "Linking",
    "kinetics": "Kinetics",
    "diffusion": "Diffusion",
    "sites": "Sites, where no frame shows a vacancy",
    "traces": "Sites, where no frame shows a vacancy",
    "order": "Order and surroundings",
    "structures": "Order and surroundings",
    "rows": "Questions and controls",
    "controls": "Questions and controls",
    "foreign_tables": "Tables of other programs",
    "pipeline": "Runs and results",
    "config": "Runs and results",
    "results": "Runs and results",
    "exporting": "Runs and results",
    "errors": "Runs and results",
    "schedulers": "Runs and results",
    "simulation": "Simulation, planning and scores",
    "selfcheck": "Simulation, planning and scores",
    "scoring": "Simulation, planning and scores",
}
"""Room → the part of the reference in which its names stand, in order."""

WRITTEN = "<!-- Written by docs/generate.py; change the docstrings and write it again. -->"


def without_markup(text: str) -> str:
    """Return words of a docstring as Markdown: single backticks for double ones."""
    return text.replace("``", "`")


def paragraphs(doc: str) -> list[str]:
    """Return a docstring as Markdown, paragraph by paragraph; examples become blocks of code."""
    shown = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(doc)):
        if part.startswith((">>>", "    ", "===")):
            shown.append(f"```text\n{inspect.cleandoc(part)}\n```")
            continue
        shown.append(without_markup(re.sub(r"::$", ":", part)))
    return shown


def sections(doc: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by their headings; the text before them is ''."""
    pieces = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(doc), flags=re.MULTILINE)
    return {"": pieces[0]} | dict(zip(pieces[1::2], pieces[2::2], strict=True))


def as_list(section: str) -> str:
    """Return a section of names and what is said of them as a list."""
    lines: list[str] = []
    for line in section.strip("\n").splitlines():
        if line[:1].strip():
            names = line.split(" : ")[0].split(", ")
            lines.append("- " + ", ".join(f"`{name.strip('`')}`" for name in names) + ":")
        elif line.strip() and lines:
            lines[-1] += " " + without_markup(line.strip())
    return "\n".join(lines)


def call_of(name: str, thing: object) -> str:
    """Return how a verb is called: the names of its arguments and their defaults."""
    words, starred = [], False
    for one in inspect.signature(thing).parameters.values():  # type: ignore[arg-type]
        if one.kind is one.VAR_POSITIONAL:
            words.append(f"*{one.name}")
            starred = True
            continue
        if one.kind is one.VAR_KEYWORD:
            words.append(f"**{one.name}")
            continue
        if one.kind is one.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        word = one.name
        if one.default is not one.empty:
            word += f"={one.default!r}"
        words.append(word)
    return textwrap.fill(f"{name}({', '.join(words)})", 84, subsequent_indent="    ")


def entry(name: str) -> str:
    """Return what the reference says of a public name."""
    thing = getattr(stemkin, name)
    doc = sections(inspect.getdoc(thing) or "")
    lines = [f"### {name}"]
    if inspect.isfunction(thing):
        lines.append(f"```text\n{call_of(name, thing)}\n```")
    lines += paragraphs(doc[""])
    for heading in ("Parameters", "Attributes"):
        if heading in doc:
            lines += [f"**{heading}**", as_list(doc[heading])]
    if "Returns" in doc:
        lines += ["**Returns**", *paragraphs(doc["Returns"].strip("\n"))]
    return "\n\n".join(line for line in lines if line)


def reference() -> str:
    """Return the page of all public names."""
    parts: dict[str, list[str]] = {title: [] for title in TITLES.values()}
    for name in stemkin.__all__:
        room = stemkin._ROOM_OF[name].split(".")[0]
        parts.setdefault(TITLES.get(room, room), []).append(entry(name))
    text = [WRITTEN, "# Reference"]
    text.append(
        f"The {len(stemkin.__all__)} public names of stemkin, by what they are about. After `import stemkin as sk` "
        "each is an attribute of `sk`. Columns and units of every table stand in `stemkin/tables.py`. "
        "What a verb raises, its sources and its examples: `help(sk.link)`, for instance."
    )
    for title, entries in parts.items():
        if entries:
            text += [f"## {title}", *entries]
    return "\n\n".join(text) + "\n"


def module_of(one: Format) -> Path:
    """Return the file that opens a format."""
    return ROOT / (one.opener.partition(":")[0].replace(".", "/") + ".py")


def extra_of(one: Format) -> str:
    """Return the extra of the package that a format needs, as its module asks for it, or ''."""
    if one.name == "RosettaSciIO":
        return "formats"
    found = re.search(r'needed\("\w+", extra="(\w+)"', module_of(one).read_text(encoding="utf-8"))
    if found is None:
        return ""
    return found.group(1)


def formats() -> str:
    """Return the page of all formats."""
    text = [WRITTEN, "# Formats"]
    text.append(
        "What stemkin reads, from the registry of its readers (`stemkin/readers/registry.py`). A file is told by its "
        "first bytes where its format has a mark, and by its suffix. `stemkin info FILE` says what a file holds, "
        "how it is calibrated and where each number comes from; see [your calibration](your_calibration.md). "
        "A folder, a glob, a URL or a manifest opens as an archive. A folder with one file per frame opens as one movie."
    )
    rows = ["| format | suffixes | known by its first bytes | needs |", "|---|---|---|---|"]
    for one in FORMATS:
        extra = extra_of(one)
        needs, mark = "nothing more", "yes"
        if extra:
            needs = f"`pip install 'stemkin[{extra}]'`"
        if one.matches is None:
            mark = "no"
        suffixes = " ".join(f"`{suffix}`" for suffix in one.suffixes)
        rows.append(f"| {one.name} | {suffixes} | {mark} | {needs} |")
    text.append("\n".join(rows))
    seen = set()
    for one in FORMATS:
        path = module_of(one)
        names = [other.name for other in FORMATS if module_of(other) == path]
        if path in seen:
            continue
        seen.add(path)
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        text += [f"## {', '.join(names)}", *paragraphs(doc)]
    text += ["## How sure that is", *corpus()]
    text += [
        "## A format of your own",
        "A reader, an opener and a `Format`, in one file and without a change to stemkin: see "
        "[contributing](contributing.md#where-things-go) and the example in `stemkin/readers/registry.py`.",
    ]
    return "\n\n".join(text) + "\n"


def corpus() -> list[str]:
    """Return what the corpus of test files found, as paragraphs."""
    found = json.loads((ROOT / "benchmarks/results/corpus.json").read_text(encoding="utf-8"))
    rows = ["| family | files | right | refused | wrong | by another library, too |"]
    rows.append("|---|---|---|---|---|---|")
    for row in found["table"]:
        cells = (row[key] for key in ("format", "files", "right", "refused", "wrong", "compared"))
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return [
        "A corpus of small files, each with its truth, is read right or refused in a sentence "
        "(`benchmarks/bench_corpus.py`, `benchmarks/results/corpus.json`). Refused are files that are broken, that "
        "contradict themselves or that hold no movie.",
        "\n".join(rows),
    ]


PAGES = {"formats.md": formats, "reference.md": reference}


if __name__ == "__main__":
    for page, written in PAGES.items():
        (DOCS / page).write_text(written(), encoding="utf-8")
