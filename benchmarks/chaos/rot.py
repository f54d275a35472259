"""What can become of the files of a results folder at rest, and whether the run's own command mends
it: bits that flip, files that are cut, emptied, gone, or those of another run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stemkin.results.quarantine import QUARANTINE

DAMAGES = ("bit flipped", "cut short", "emptied", "gone", "text in its place", "of another run")
"""What becomes of a file."""
MORE_DAMAGES = (*DAMAGES, "page of zeros", "page of noise", "end of another file", "twice over")
"""The same, and what bad disks and interrupted copies do besides."""
PAGE = 512
NEVER_THE_SAME = ("run.json", "report.html", "headers.json", "seals.json")
"""Files that tell of a run itself: two runs never have the same ones."""
UNSEALED = (QUARANTINE, "so_far", "log", "performance")
"""What begins so is under no checksum: it grows, or is gone when the run ends."""


@dataclass(frozen=True)
class Fault:
    """One damage to one file of a results folder, by its path within the folder."""

    file: str
    damage: str
    at: float = 0.5

    def strike(self, results: Path, other: Path) -> bool:
        """Do it; return whether the file is another one now.

        Parameters
        ----------
        results
            The folder that is damaged.
        other
            A folder of another run, which has the same files.
        """
        path = results / self.file
        before = path.read_bytes()
        if self.damage == "gone":
            path.unlink()
            return True
        path.write_bytes(self._damaged(before, other / self.file))
        return path.read_bytes() != before

    def _damaged(self, content: bytes, of_other: Path) -> bytes:
        """Return what a file holds after the fault."""
        if self.damage == "bit flipped":
            bit = int(self.at * (8 * len(content) - 1))
            broken = bytearray(content)
            broken[bit // 8] ^= 1 << bit % 8
            return bytes(broken)
        if self.damage == "cut short":
            return content[: int(self.at * len(content))]
        if self.damage == "emptied":
            return b""
        if self.damage in ("page of zeros", "page of noise"):
            return self._with_a_page_lost(content)
        if self.damage == "end of another file":
            return content[: len(content) // 2] + of_other.read_bytes()[len(content) // 2 :]
        if self.damage == "twice over":
            return content + content
        if self.damage == "text in its place":
            return b"<html>404 Not Found</html>\n"
        return of_other.read_bytes()

    def _with_a_page_lost(self, content: bytes) -> bytes:
        """Return a content with a page of zeros or of noise somewhere in it."""
        start = int(self.at * max(0, len(content) - PAGE))
        page = bytes(PAGE)
        if self.damage == "page of noise":
            page = random.Random(self.at).randbytes(PAGE)
        return content[:start] + page[: len(content) - start] + content[start + PAGE :]


def kinds_of_files(results: Path) -> dict[str, list[str]]:
    """Return the files of a results folder that are under a checksum, by their kind."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(p for p in results.rglob("*") if p.is_file()):
        name = path.relative_to(results).as_posix()
        # what a killed writer left is swept when it is old, and is no file of the folder till then
        if name.startswith(UNSEALED) or path.name.startswith("."):
            continue
        kind = name.split("/", maxsplit=1)[0]
        if kind.endswith(".parquet"):
            kind = "numbers"
        if kind == "maps" and name.endswith("zarr.json"):
            kind = "maps (zarr.json)"
        if kind == "model":
            kind = name
        kinds.setdefault(kind, []).append(name)
    return kinds


def faults(results: Path, *, flips: int, seed: int) -> Iterator[Fault]:
    """Yield every damage to a file of every kind, and `flips` bits at random places of each."""
    chance = random.Random(seed)
    for files in kinds_of_files(results).values():
        for damage in DAMAGES:
            for _ in range(flips if damage == "bit flipped" else 1):
                yield Fault(chance.choice(files), damage, chance.random())


def mended(
    calm: Path, place: Path, fault: Fault, other: Path, run: Callable[[Path], Any]
) -> dict[str, Any]:
    """Damage a copy of a finished folder, give the same command again, and say what came of it.

    Parameters
    ----------
    calm
        The folder of an undisturbed run.
    place
        Where the copy goes.
    fault, other
        What becomes of it; a folder of another run.
    run
        The command: from a results folder to what `stemkin.run` returns.

    Returns
    -------
    `struck`, `equal` (every file under a checksum has the calm run's bytes), `named` (the run
    said which file was damaged, or refused with a sentence), `said`.
    """
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(calm, place)
    row: dict[str, Any] = {"kind": _kind(fault.file), "file": fault.file, "damage": fault.damage}
    row["struck"] = fault.strike(place, other)
    try:
        outcome = run(place)
        row |= {"exit_code": outcome.exit_code, "said": ""}
    except ValueError as error:
        row |= {"exit_code": 2, "said": str(error)}
    noted = [path.name for path in (place / QUARANTINE / "notes").glob("*")]
    row["named"] = bool(noted) or "damaged" in row["said"] or "another run" in row["said"]
    row["equal"] = contents(place) == contents(calm)
    return row


def contents(results: Path) -> dict[str, bytes]:
    """Return every file under a checksum by its path, but for those that tell of the run."""
    names = (name for files in kinds_of_files(results).values() for name in files)
    return {
        name: (results / name).read_bytes()
        for name in names
        if name.rsplit("/", maxsplit=1)[-1] not in NEVER_THE_SAME
    }


def _kind(file: str) -> str:
    kind = file.split("/", maxsplit=1)[0]
    return "numbers" if kind.endswith(".parquet") else kind


def another(fault: Fault, **changes: Any) -> Fault:
    """Return a fault with some of it changed."""
    return replace(fault, **changes)
