"""Figures to keep: each one that is drawn is saved as SVG and PNG, and its numbers as CSV.

    with kept_figures() as drawings:
        page = ...             # every figure drawn here is noted
    for name, content in files_of(drawings):
        ...                    # report/figures/populations.svg, report/tables/populations.csv, ...

Saved figures wear the colours of paper, whatever the theme of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import pandas as pd

from stemkin.names import not_a_formula
from stemkin.plot.palette import light_colours
from stemkin.report.palette import ROLES

FOLDER = "report"
SEALS_FILE = "seals.json"
"""Keeps the SHA-256 of every file of the report, by its place in the results folder."""
NAMED = {"class_id": "class", "from_id": "from", "to_id": "to", "other_id": "other_class"}
"""Columns with numbers of classes → what the column beside them is called that has their names."""
MAX_CSV = 100_000
"""Letters of a table that the page itself holds; longer ones stand in ``report/tables/`` alone."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure as it was drawn, in stand-in colours.

    Attributes
    ----------
    svg
        The file.
    png
        The same on white; a stand-in differs from paper's colour by a shade.
    numbers
        What is drawn, with units in the names; None where that is a picture.
    written
        The numbers as they were written.
    """

    svg: str
    png: bytes
    numbers: pd.DataFrame | None
    written: dict[str, str] = field(default_factory=dict)

    def csv(self, class_names: Mapping[int, str]) -> str | None:
        """Return the numbers as CSV, which are written once, for the page and beside it."""
        if self.numbers is None:
            return None
        if "csv" not in self.written:
            self.written["csv"] = as_csv(self.numbers, class_names)
        return self.written["csv"]


_drawn: ContextVar[dict[str, Drawing] | None] = ContextVar("drawn", default=None)


@contextmanager
def kept_figures() -> Iterator[dict[str, Drawing]]:
    """Yield a mapping that gets every figure drawn within a ``with`` block, by its name.

    Within another such block it is that one's mapping.
    """
    drawings = _drawn.get()
    if drawings is None:
        drawings = {}
    token = _drawn.set(drawings)
    try:
        yield drawings
    finally:
        _drawn.reset(token)


def keep(name: str, drawing: Drawing) -> None:
    """Note a figure, if anybody wants to keep it."""
    drawings = _drawn.get()
    if drawings is not None:
        drawings[name] = drawing


def numbers_in_page(
    drawings: Mapping[str, Drawing], class_names: Mapping[int, str]
) -> dict[str, str]:
    """Return name → CSV of the figures whose numbers the page can hold."""
    found = {}
    for name, drawing in drawings.items():
        csv = drawing.csv(class_names)
        if csv is not None and len(csv) <= MAX_CSV:
            found[name] = csv
    return found


def files_of(
    drawings: Mapping[str, Drawing],
    tables: Mapping[str, pd.DataFrame],
    class_names: Mapping[int, str],
) -> Iterator[tuple[tuple[str, str, str], bytes]]:
    """Yield place and content of every file that stands beside the report.

    Parameters
    ----------
    drawings
        The figures of the report.
    tables
        Small tables behind its numbers, by name.
    class_names
        Class number → name, which is added to every row.
    """
    for name, drawing in drawings.items():
        yield (FOLDER, "figures", f"{name}.svg"), saved_svg(drawing.svg).encode()
        yield (FOLDER, "figures", f"{name}.png"), drawing.png
        csv = drawing.csv(class_names)
        if csv is not None:
            yield (FOLDER, "tables", f"figure_{name}.csv"), _encoded(csv)
    for name, rows in tables.items():
        yield (FOLDER, "tables", f"{name}.csv"), _encoded(as_csv(rows, class_names))


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def as_csv(rows: pd.DataFrame, class_names: Mapping[int, str]) -> str:
    """Return a table as CSV (RFC 4180), with the names of classes behind their numbers.

    A word that a spreadsheet would take for a formula gets an apostrophe in front.

    >>> as_csv(pd.DataFrame({"class_id": [0, -1], "n": [3, 4]}), {0: "=V_S"})
    "class_id,class,n\\r\\n0,'=V_S,3\\r\\n-1,,4\\r\\n"
    """
    rows = rows.copy()
    for column, name in NAMED.items():
        if column in rows.columns:
            words = rows[column].map(lambda number: class_names.get(int(number), ""))
            rows.insert(list(rows.columns).index(column) + 1, name, words)
    for column in rows.columns:
        if not pd.api.types.is_numeric_dtype(rows[column]):
            rows[column] = rows[column].map(not_a_formula)
    return rows.to_csv(index=False, lineterminator="\r\n")


def saved_svg(svg: str) -> str:
    """Return a figure in stand-in colours as an SVG file in those of paper."""
    for role, colour in light_colours().items():
        svg = svg.replace(ROLES[role], colour)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg
