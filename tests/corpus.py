"""A corpus of small files of every format, each with its truth: read right, or refused.

A `Case` writes one file by hand, or by the format's own library, and says what it holds: frames
(t, y, x) with every pixel, and the calibration. `judged` opens it as a user does and compares;
``"wrong"`` is what must never come out. The families stand in `tests/corpus_*.py`;
`benchmarks/bench_corpus.py` runs all of them in larger numbers and prints the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stemkin.readers import MovieError, Options, open_reader

SHAPE = (5, 9, 12)
"""(t, y, x): three lengths that tell the axes apart, the shortest edge no table's."""
SIZE_NM, TIME_S = 0.03, 0.5
BOTH = {"pixel_size_nm": SIZE_NM, "frame_time_s": TIME_S}
SIZE = {"pixel_size_nm": SIZE_NM}
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")
LENGTHS = {"nm": 0.03, "Å": 0.3, "pm": 30.0, "µm": 3e-5, "m": 3e-11}
"""0.03 nm in the units that files use."""
TIMES = {"s": 0.5, "ms": 500.0, "min": 0.5 / 60}
"""0.5 s, likewise."""

Write = Callable[[Path], None]


def larger(scale: int) -> tuple[int, int, int]:
    """Return the shape of the frames at a scale."""
    n, height, width = SHAPE
    return n * scale, height * scale, width * scale


@dataclass(frozen=True, eq=False)
class Case:
    """A file and its truth.

    Attributes
    ----------
    family
        The format.
    label
        What is special about it, unique in the family.
    suffix
        Of the file or folder that is written.
    write
        Writes it.
    frames
        What it holds, (t, y, x).
    says
        The calibration in it, by name; what is not named is unknown.
    must
        ``"read"``, ``"refuse"``, or ``"either"`` where a format leaves it open.
    options
        Of `Options`.
    read_by
        Functions of other libraries that give the same frames, by the library's name.
    """

    family: str
    label: str
    suffix: str
    write: Write
    frames: np.ndarray
    says: dict[str, float] = field(default_factory=dict)
    must: str = "read"
    options: dict[str, Any] = field(default_factory=dict)
    read_by: dict[str, Callable[[Path], np.ndarray]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.family} {self.label}"


@dataclass(frozen=True)
class Verdict:
    """What came out of a case: ``"right"``, ``"refused"`` or ``"wrong"``, and why."""

    what: str
    why: str = ""
    others: tuple[str, ...] = ()

    def fits(self, case: Case) -> bool:
        """Tell whether it is what the case asks for."""
        allowed = {"read": ("right",), "refuse": ("refused",), "either": ("right", "refused")}
        return self.what in allowed[case.must]


def film(dtype: str = "u2", shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Return frames that use the whole range of a type, every pixel of its own."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(kind)
    if kind.kind == "f":
        return rng.normal(100, 30, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind.newbyteorder("=")).astype(kind)


def judged(case: Case, folder: Path) -> Verdict:
    """Write a case into an empty folder, open it, and compare all of it with the truth."""
    path = folder / f"film{case.suffix}"
    case.write(path)
    others = tuple(name for name, read in case.read_by.items() if _agrees(read, path, case.frames))
    disagree = sorted(set(case.read_by) - set(others))
    if disagree:
        return Verdict("wrong", f"{disagree} read something else than was written", others)
    quiet = logging.getLogger("stemkin")
    before = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        return _compared(case, path, others)
    finally:
        quiet.setLevel(before)


def _compared(case: Case, path: Path, others: tuple[str, ...]) -> Verdict:
    options = Options(**case.options)
    try:
        reader = open_reader(path, options)
    except MovieError as error:
        return Verdict("refused", str(error), others)
    try:
        found = differences(case, reader)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is neither right nor refused
        found = [f"{type(error).__name__}: {error}"]
    if found:
        return Verdict("wrong", "; ".join(found), others)
    return Verdict("right", "", others)


def differences(case: Case, reader: Any) -> list[str]:
    """Return how an opened reader differs from the truth of a case."""
    wanted = case.frames
    dtype = wanted.dtype.newbyteorder("=")
    if dtype.kind == "b":
        dtype = np.dtype("u1")
    found = []
    if reader.shape != wanted.shape:
        return [f"shape {reader.shape}, not {wanted.shape}"]
    if reader.dtype != dtype:
        found.append(f"dtype {reader.dtype}, not {dtype}")
    known = reader.calibration.known()
    if set(known) != set(case.says) or not all(
        np.isclose(known[name], value, rtol=1e-5) for name, value in case.says.items()
    ):
        found.append(f"calibration {known}, not {case.says}")
    if set(reader.calibration.origin) != set(known):
        found.append(f"origin of {set(reader.calibration.origin)} for {set(known)}")
    n = len(wanted)
    for start, stop in {(0, n), (n // 2, n), (n - 1, n)}:
        if not np.array_equal(reader.read(start, stop), wanted[start:stop].astype(dtype)):
            found.append(f"pixels of frames {start} to {stop}")
    return found


def _agrees(read: Callable[[Path], np.ndarray], path: Path, frames: np.ndarray) -> bool:
    return bool(np.array_equal(np.asarray(read(path)), frames))


def available(*libraries: str) -> bool:
    """Tell whether libraries of the extra ``test`` are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in libraries)


def by_rosetta(module: str) -> dict[str, Callable[[Path], np.ndarray]]:
    """Return how RosettaSciIO reads a file as a whole, where it is installed."""
    if not available("rsciio"):
        return {}

    def read(path: Path) -> np.ndarray:
        from importlib import import_module

        logging.getLogger("rsciio").setLevel(logging.CRITICAL)
        signals = import_module(f"rsciio.{module}").file_reader(str(path))
        images = [np.asarray(one["data"]) for one in signals]
        return max(reversed(images), key=lambda image: image.ndim)

    return {"rsciio": read}


def every_case(scale: int = 1) -> Iterator[Case]:
    """Yield the whole corpus; `scale` multiplies the numbers of frames and pixels."""
    from tests import (
        corpus_arrays,
        corpus_microscopes,
        corpus_pictures,
        corpus_stores,
        corpus_vendors,
    )

    for module in (
        corpus_arrays, corpus_microscopes, corpus_pictures, corpus_stores, corpus_vendors,
    ):  # fmt: skip
        for family in module.FAMILIES:
            yield from family(scale)


def table(verdicts: list[tuple[Case, Verdict]]) -> list[dict[str, Any]]:
    """Return the table of a corpus: files, right, refused, wrong, compared with others, by format."""
    rows: dict[str, dict[str, Any]] = {}
    for case, verdict in verdicts:
        row = rows.setdefault(
            case.family,
            {
                "format": case.family,
                "files": 0,
                "right": 0,
                "refused": 0,
                "wrong": 0,
                "compared": 0,
            },
        )
        row["files"] += 1
        row[verdict.what] += 1
        row["compared"] += len(verdict.others)
    return [*rows.values(), _total(list(rows.values()))]


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    counted = ("files", "right", "refused", "wrong", "compared")
    return {"format": "all", **{name: sum(row[name] for row in rows) for name in counted}}
