"""Ten thousand hostile inputs: files of every format, folders of results, models, settings, tables.

Each is a good one with bytes flipped, overwritten, cut, repeated, numbers at their extremes. It has
to open, or to be refused in one sentence: no traceback, nothing over 30 s, no more memory than twice
what it declares. A file of results that was changed is refused, or still says what it said.

    python benchmarks/bench_hostile.py --seconds 100 --results RESULTS -o benchmarks/results/hostile.json

Called again, it goes on after the inputs that stand in the file; the seed and the number of an
input tell what it is. RESULTS is a finished folder, of which a copy is struck.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from keeping import about, keep

LIMIT_S = 30
SLACK_BYTES = 2**27
"""What libraries take for themselves when they are used first, and a frame of usual size."""
EXTREMES = (0, 1, -1, 2**7, 2**15, 2**31 - 1, -(2**31), 2**40, 2**63 - 1)
FAMILIES = ("movie", "movie", "movie", "results", "manifest", "settings", "model", "headers", "table")  # fmt: skip
CSV = 'path,name,pixel_size_nm,frame_time_s,channel\na.npy,one,0.03,2.25,0\nb c.npy,"two, three",1e-2,,\n'
TOML = 'pixel_size_nm = 0.03\n[[movie]]\npath = "a.npy"\nname = "one"\nframe_time_s = 2.25\n'
SETTINGS = "[calibration]\npixel_size_nm = 0.03\n[link]\nmax_step_nm = 0.5\n[learn]\nn_frames = 6\n"
EDITS = '[rename]\n0 = "V_S"\n[merge]\nMo_W = [1, 2]\n'


class HungError(Exception):
    """Raised in whatever takes too long."""


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a content with one to six changes, in its first bytes more often than in its last."""
    raw = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at = int(len(raw) * chance.random() ** 3) if raw else 0
        kind = chance.randrange(7)
        if kind == 0 and raw:
            raw[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and raw:
            raw[at] = chance.randrange(256)
        elif kind == 2:
            number = chance.choice(EXTREMES)
            form = chance.choice("<>") + ("q" if abs(number) > 2**31 else "i")
            packed = struct.pack(form, number)
            raw[at : at + len(packed)] = packed
        elif kind == 3:
            number = chance.choice([float("nan"), float("inf"), -1.0, 1e300])
            raw[at : at + 8] = struct.pack("<d", number)
        elif kind == 4 and chance.random() < 0.5:
            del raw[at:]
        elif kind == 5:
            raw[at:at] = chance.randbytes(chance.randint(1, 8))
        else:
            raw[at:at] = raw[at : at + chance.randint(1, 64)]
    return bytes(raw)


class Hostile:
    """Makes hostile inputs below a folder, and opens them.

    Parameters
    ----------
    folder
        Where they are written.
    results
        A finished folder of results, which is copied.
    """

    def __init__(self, folder: Path, results: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        if not self.results.exists():
            shutil.copytree(results, self.results)
        self.files = sorted(
            p.relative_to(self.results).as_posix() for p in self.results.rglob("*") if p.is_file()
        )
        self._good: dict[int, dict[str, bytes]] = {}

    @cached_property
    def cases(self) -> list[Any]:
        """Good movies of every format."""
        from tests.corpus import every_case

        return [case for case in every_case() if not case.suffix.startswith(".zip")]

    def strike(self, family: str, chance: random.Random) -> tuple[str, Callable[[], int]]:
        """Write a hostile input of a family; return what it is, and what opens it.

        That returns how many bytes the input declares.
        """
        return getattr(self, f"_{family}")(chance)  # type: ignore[no-any-return]

    def _movie(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        number = chance.randrange(len(self.cases))
        case, place = self.cases[number], self.folder / "movie"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if number not in self._good:
            case.write(place / f"a{case.suffix}")
            self._good[number] = {
                p.relative_to(place).as_posix(): p.read_bytes()
                for p in sorted(place.rglob("*"))
                if p.is_file()
            }
        good = self._good[number]
        which = chance.choice(sorted(good))
        for name, content in good.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(mutated(content, chance) if name == which else content)
        return f"{case.family}: {case.label}", lambda: _opened(place / f"a{case.suffix}")

    def _manifest(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        from stemkin.archive import open_archive

        name, text = chance.choice([("m.csv", CSV), ("m.toml", TOML)])
        file = self._written(name, mutated(text.encode(), chance))
        return name, lambda: len(open_archive(file))

    def _settings(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        from stemkin.config import RunConfig
        from stemkin.learning.edits import read_edits

        name, text = chance.choice([("settings.toml", SETTINGS), ("edits.toml", EDITS)])
        file = self._written(name, mutated(text.encode(), chance))
        read = RunConfig.from_file if name == "settings.toml" else read_edits
        return name, lambda: 0 * len(str(read(file)))

    def _headers(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        from stemkin.readers.headers import Headers

        content = (self.results / "headers.json").read_bytes()
        file = self._written("headers.json", mutated(content, chance))
        return "headers.json", lambda: 0 * len(Headers.load(str(file)).known)

    def _model(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        from stemkin.model import Model

        place = self.folder / "model"
        shutil.copytree(self.results / "model", place, dirs_exist_ok=True)
        which = place / chance.choice(["model.json", "arrays.npz"])
        which.write_bytes(mutated(which.read_bytes(), chance))
        return which.name, lambda: 0 * len(Model.load(place).classes)

    def _table(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        import stemkin as sk

        name = chance.choice(["a.xml", "a.csv"])
        good = self._good.setdefault(-1, {})
        if not good:
            good |= _foreign_tables(self.folder)
        file = self._written(name, mutated(good[name], chance))
        return f"tracks of other programs: {name}", lambda: 0 * len(str(sk.from_trackmate(file)))

    def _results(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        name = chance.choice(self.files)
        file = self.results / name
        good = file.read_bytes()
        broken = mutated(good, chance)
        thorough = chance.random() < 0.03

        def opened() -> int:
            try:
                file.write_bytes(broken)
                _read_results(self.results, name, thorough=thorough, is_same=broken == good)
            finally:
                file.write_bytes(good)
            return 0

        kind = name.split("/", maxsplit=1)[0]
        return f"results: {kind if '/' in name else Path(name).suffix}", opened

    def _written(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file


def _foreign_tables(folder: Path) -> dict[str, bytes]:
    """Return a table of TrackMate as XML and as CSV."""
    import numpy as np
    import pandas as pd

    import stemkin as sk

    rows = {"particle": [0, 0, 1], "frame": [0, 1, 1], "y": [1.0, 2.0, 5.0], "x": [1.0, 1.5, 4.0]}
    tracks = sk.from_table(pd.DataFrame(rows), pixel_size_nm=0.03, frame_time_s=2.0)
    sk.to_trackmate(tracks, folder / "good.xml")
    spots = {"LABEL": ["a", "b", "c"], "ID": [0, 1, 2], "TRACK_ID": [0, 0, 1], "POSITION_X": np.arange(3.0),
             "POSITION_Y": np.arange(3.0), "FRAME": [0, 1, 1]}  # fmt: skip
    return {
        "a.xml": (folder / "good.xml").read_bytes(),
        "a.csv": pd.DataFrame(spots).to_csv(index=False).encode(),
    }


def _opened(path: Path) -> int:
    """Open a movie and read its ends; return how many bytes these are."""
    from stemkin.readers import open_reader
    from stemkin.readers.wrappers import TolerantReader

    reader = TolerantReader(open_reader(str(path)))
    n, height, width = reader.shape
    for start in {0, n // 2, n - 1}:
        frames = reader.read(start, start + 1)
        if frames.shape != (1, height, width):
            msg = f"a frame of {frames.shape} where {reader.shape} were declared"
            raise AssertionError(msg)
    return int(frames.nbytes * min(n, reader.frames_per_chunk))


def _read_results(results: Path, name: str, *, thorough: bool, is_same: bool) -> None:
    """Read a file of a results folder as stemkin does; silence where it is not the same is a fault."""
    from stemkin.pipeline.checking import check_results
    from stemkin.pipeline.model import load_model
    from stemkin.results.journal import Journal
    from stemkin.results.store import Store

    store, parts = Store.at(results), name.split("/")
    sealed = not name.startswith(("log", "performance", "maps"))
    if thorough:
        outcome = check_results(results)
        if not outcome.damages and sealed and not is_same:
            msg = f"a check did not see what became of {name}"
            raise AssertionError(msg)
        return
    if name.endswith(".parquet"):
        store.read_table(*parts)
    elif parts[0] == "model":
        load_model(store)
    elif name == "run.json":
        Journal.read(store)
    elif parts[0] == "crystals":
        store.read_json(*parts)
    else:
        return
    if not is_same:
        msg = f"{name} was read, and is not what was written"
        raise AssertionError(msg)


def judged(work: Callable[[], int]) -> tuple[str, str]:
    """Return what came of opening an input, and the words: opened, refused, or a fault."""

    def stop(*_: Any) -> None:
        raise HungError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    declared, verdict, said = 0, "opened", ""
    try:
        declared = work()
    except HungError:
        verdict, said = "over 30 s", ""
    except (ValueError, OSError) as error:
        verdict, said = "refused", str(error)
        if "\n" in said.strip():
            verdict = "more than one line"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        verdict, said = "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > 2 * declared + SLACK_BYTES:
        verdict, said = "memory", f"{grown >> 20} MiB for {declared >> 20} declared ({said})"
    return verdict, said


def go_on(
    kept: dict[str, Any], folder: Path, results: Path, *, n: int, seed: int, seconds: float
) -> None:
    """Open hostile inputs until there are `n` or the time is up; what came of them goes to `kept`."""
    hostile, until = Hostile(folder, results), time.monotonic() + seconds
    for family in dict.fromkeys(FAMILIES):  # libraries are imported, and take what they keep
        for number in range(12):
            judged(hostile.strike(family, random.Random(number))[1])
    counts = {family: Counter(found) for family, found in kept["counts"].items()}
    while kept["inputs"] < n and time.monotonic() < until:
        chance = random.Random(f"{seed}-{kept['inputs']}")
        family = FAMILIES[kept["inputs"] % len(FAMILIES)]
        what, work = hostile.strike(family, chance)
        verdict, said = judged(work)
        counts.setdefault(what.split(":")[0], Counter())[verdict] += 1
        if verdict not in ("opened", "refused"):
            kept["faults"].append({"input": kept["inputs"], "what": what, "verdict": verdict, "said": said[:300]})  # fmt: skip
            print(json.dumps(kept["faults"][-1]), flush=True)
        kept["inputs"] += 1
    kept["counts"] = {family: dict(found) for family, found in sorted(counts.items())}


def main() -> None:
    """Go on with hostile inputs for some time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=100.0, help="of this call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    kept: dict[str, Any] = {"inputs": 0, "counts": {}, "faults": []}
    if asked.out.exists():
        kept |= json.loads(asked.out.read_text())
    with tempfile.TemporaryDirectory() as folder:
        go_on(
            kept,
            Path(folder),
            asked.results,
            n=asked.inputs,
            seed=asked.seed,
            seconds=asked.seconds,
        )
    keep({**kept, **about(), "seed": asked.seed}, asked.out)
    for family, found in kept["counts"].items():
        print(f"{family:28s} {found}")
    print(f"{kept['inputs']} inputs, {len(kept['faults'])} faults")


if __name__ == "__main__":
    main()
