"""Write the pages that say what code and benchmarks say: formats, reference and accuracy.

    python docs/generate.py

Formats are those of the registry, each with the docstring of the module that opens it and with what
the corpus of test files found; the reference is the docstrings of `stemkin.__all__`. A test compares
the pages with what this script would write.
"""

import ast
import inspect
import json
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import stemkin
from stemkin import plot
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
    "opened": "Runs and results",
    "exporting": "Runs and results",
    "errors": "Runs and results",
    "schedulers": "Runs and results",
    "simulation": "Simulation, planning and scores",
    "selfcheck": "Simulation, planning and scores",
    "scoring": "Simulation, planning and scores",
}
"""Room → the part of the reference in which its names stand, in order."""

WRITTEN = "<!-- Written by docs/generate.py; change what it is made of and write it again. -->"


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


def entry(name: str, room: object = stemkin) -> str:
    """Return what the reference says of a public name."""
    thing = getattr(room, name)
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
    text += [
        "## Figures",
        "The functions of `stemkin.plot`: `from stemkin import plot`. `open_results(path).plot` has each "
        "figure of the report under its name.",
        *(entry(name, plot) for name in plot.__all__),
    ]
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
    rows = []
    for one in FORMATS:
        extra = extra_of(one)
        needs, mark = "nothing more", "yes"
        if extra:
            needs = f"`pip install 'stemkin[{extra}]'`"
        if one.matches is None:
            mark = "no"
        suffixes = " ".join(f"`{suffix}`" for suffix in one.suffixes)
        rows.append([one.name, suffixes, mark, needs])
    text.append(table(("format", "suffixes", "known by its first bytes", "needs"), rows))
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


def table(headings: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown; numbers have three significant digits, what is not known a dash."""
    lines = [headings, ["---"] * len(headings), *([written(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def written(cell: object) -> str:
    """Return what stands in a cell."""
    if not isinstance(cell, float):
        return str(cell)
    if not math.isfinite(cell):
        return "-"
    return f"{cell:.3g}"


def result(name: str) -> Any:
    """Return a kept result of the benchmarks."""
    return json.loads((ROOT / "benchmarks/results" / name).read_text(encoding="utf-8"))


def corpus() -> list[str]:
    """Return what the corpus of test files found, as paragraphs."""
    keys = ("format", "files", "right", "refused", "wrong", "compared")
    rows = ([row[key] for key in keys] for row in result("corpus.json")["table"])
    return [
        "A corpus of small files, each with its truth, is read right or refused in a sentence "
        "(`benchmarks/bench_corpus.py`, `benchmarks/results/corpus.json`). Refused are files that are broken, that "
        "contradict themselves or that hold no movie.",
        table(("family", *keys[1:-1], "read by another library, too"), rows),
    ]


def accuracy() -> str:
    """Return the page that says how right and how fast stemkin was when that was measured."""
    text = [WRITTEN, "# How right, how fast"]
    text.append(
        "Tables out of `benchmarks/results/`, written by `docs/generate.py`. How each was made, and on which "
        "machine, stands in `benchmarks/README.md`. All are of simulated movies or tracks, whose truth is known."
    )
    return "\n\n".join([*text, *seen_and_followed(), *measured(), *costs()]) + "\n"


def in_worlds(name: str) -> str:
    """Return how well defects are found, named and placed in the worlds of a kept result."""
    deciles = result(name)["deciles"]
    keys = {
        "of_ideal": "d' of a lone vacancy over that of an ideal observer",
        "recall": "lone vacancies found",
        "possible": "that an ideal observer finds",
        "false": "false ones per frame",
        "names": "names that are right",
        "pull": "error of place over the stated one",
    }
    return table(
        ("", *deciles), ([says, *(deciles[d][key] for d in deciles)] for key, says in keys.items())
    )


def seen_and_followed() -> list[str]:
    """Return how well defects are found, named and linked, as paragraphs."""
    kinds = {
        "worlds_usual.json": "At a usual dose (an ideal observer sees lone vacancies at a d' of 8):",
        "worlds_quarter.json": "At a quarter of it (d' 4):",
        "worlds.json": "At doses drawn with the world (d' 3 to 10), in worlds that were looked at while "
        "names and places were mended:",
    }
    worlds = [part for name, says in kinds.items() for part in (says, in_worlds(name))]
    kept = [r for r in result("association.json")["rows"] if "gaps " not in r["linker"]]
    linked = ([r["movie"], r["linker"], r["hota"]] for r in kept if r["movie"] != "null")
    return [
        "## Detection",
        "In ten worlds drawn at random for each table, of seeds that nothing was tuned on but for the "
        "last (`benchmarks/bench_worlds.py`). Some fifty false ones are asked for in all frames of a "
        "world, so that chance alone moves their number by .14.",
        *worlds,
        "## Linking",
        "HOTA of tracks, 1 for perfect ones; trackpy and LapTrack at the best of three reaches, where they ended "
        "(`benchmarks/results/association.json`):",
        table(("movie", "linker", "HOTA"), linked),
    ]


def measured() -> list[str]:
    """Return how right rates and diffusion coefficients are, as paragraphs."""
    lines = result("estimators.json")["lines"]
    beside = ([r["quantity"], r["estimator"], r["off_by"], r["cover"]] for r in lines)
    regimes = result("kinetics.json")["lines"]
    covers = ([r["quantity"], r["regime"], r["intervals"], r["cover"]] for r in regimes)
    return [
        "## Estimators on the same tracks",
        "Bias over the truth, and how often the 95 % interval held the truth; a dash where there is no "
        "interval (`benchmarks/results/estimators.json`):",
        table(("quantity", "estimator", "bias", "coverage"), beside),
        "## Coverage of rates and numbers",
        "How often 95 % intervals held the truth (`benchmarks/results/kinetics.json`); D in 42 regimes: "
        "`benchmarks/results/regimes.txt`.",
        table(("number", "regime", "intervals", "coverage"), covers),
    ]


def costs() -> list[str]:
    """Return time and memory, as paragraphs."""
    keys = ("link_s", "count_s", "msd_s")
    sizes = result("long_movie.json")["sizes"]
    peaks = ("link_peak_mib", "count_peak_mib", "msd_peak_mib")
    rows = ([f"{r['rows']:,}", *(r[k] for k in keys), max(r[p] for p in peaks)] for r in sizes)
    flat = result("memory.json")["flat"]
    kinds = ("client_mib", "scheduler_mib", "worker_peak_mib")
    held = ([r["gb"], *(f"{r[kind]:.0f}" for kind in kinds)] for r in flat)
    return [
        "## One giant movie",
        "Seconds on one core, and the peak of memory (`benchmarks/results/long_movie.json`):",
        table(("rows", "link", "count", "MSD", "MiB"), rows),
        "## Memory of a run",
        "In MiB, against the size of the archive in GB (`benchmarks/results/memory.json`); of the largest only "
        "the beginning was run:",
        table(("GB", "client", "scheduler", "worker"), held),
    ]


PAGES = {"accuracy.md": accuracy, "formats.md": formats, "reference.md": reference}


if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
