"""What does one more movie cost the client? Archives of many movies, with a detector that is cheap.

The movies are *virtual* (frames made when they are read) and small, and a detector of bright pixels
stands in for the real one, so that what remains is what a run does beside the search: listing,
journal, requests to the store, tables of numbers. Tasks run on one thread of this process, beside
the main one, which is the client: its processor time is told by the clock of threads, stage by
stage. Requests are counted where the store makes them, by kind and by who asks. Of each quantity the
growth exponent from the smallest archive to the largest is printed (1 is in proportion).

    python benchmarks/bench_scale.py --movies 30 100 300
    python benchmarks/bench_scale.py --grow 2 100
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keeping import keep

import stemkin as sk
from stemkin import tables
from stemkin.config import RunConfig
from stemkin.movie import Movie
from stemkin.pipeline import Inputs, block_search, maps, memory, pixels, run
from stemkin.progress import Unwatched
from stemkin.readers import Calibration
from stemkin.results.journal import machine
from stemkin.results.quarantine import standing
from stemkin.results.store import PIXEL_TABLES, Store

EDGE, FRAMES, BLOCK = 32, 16, 8
CALIBRATION = Calibration(pixel_size_nm=0.03, frame_time_s=1.0)
CONFIG = RunConfig().with_values(
    detect={"frames_per_block": BLOCK},
    learn={"n_frames": 2},
    kinetics={
        "null_controls": False,
        "self_check_runs": 0,
        "correct_names": False,
        "diffusion_methods": ["cve"],
    },
)


@dataclass(frozen=True)
class VirtualReader:
    """Frames that are nowhere until they are read."""

    source: str
    calibration: Calibration = CALIBRATION
    frames_per_chunk: int = 1
    shape: tuple[int, int, int] = (FRAMES, EDGE, EDGE)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16)

    @property
    def identity(self) -> str:
        return self.source

    def read(self, start: int, stop: int) -> np.ndarray:
        y, x = np.indices((EDGE, EDGE))
        waves = 1000 + 300 * np.cos(0.6 * x) + 300 * np.cos(0.6 * y)
        frames = [np.roll(waves, n, axis=0) for n in range(start, stop)]
        return np.asarray(frames).astype(np.uint16)


def archive(n_movies: int) -> Inputs:
    """Return so many movies."""
    names = [f"movie {i:06d}" for i in range(n_movies)]
    movies = [Movie(VirtualReader(f"virtual://{name}"), name, CALIBRATION) for name in names]
    return Inputs(["virtual archive"], movies, [])


def bright_pixels(task: block_search.PixelTask) -> block_search.PixelSummary:
    """Do what `pixels.detect_to_store` does, with a cheap detector."""
    began = time.perf_counter()
    block, store = task.block, task.store
    n_frames = block.stop - block.start
    words = (memory.peak_memory_mib(),)
    if standing(store, "steps", block.movie, block.file_name).get("fingerprint") == task.made_of:
        words = (True, time.perf_counter() - began, *words)
        return block_search.PixelSummary(block, n_frames, 0, 0, *words, n_usable=n_frames)
    frames = block_search.read_block(task.movie, block)
    number = np.arange(block.start, block.stop, dtype=np.int32)
    steps = tables.empty("frames").reindex(range(n_frames)).drop(columns=["shift_y", "shift_x"])
    steps = steps.assign(
        movie=block.movie, frame=number, time_s=number.astype(float), status=tables.OK, step_y=0.0, step_x=0.0, shift_quality=1.0,
        n_detections=1, lattice_px=10.5, ordered=1.0, disordered=0.0, vacuum=0.0, expected_false=0.0,
    )  # fmt: skip
    found = tables.empty("detections").reindex(range(n_frames)).assign(
        movie=block.movie, frame=number, y=16.0 + 0.1 * (number % 7), x=16.0, score=9.0, position_error=0.1, at_edge=False,
        class_id=0, probability=1.0, orientation=-1,
    )  # fmt: skip
    rows = {
        "detections": tables.conform(found, "detections"),
        "neighbours": tables.empty("neighbours"),
        "breaks": tables.empty("regions"),
        "steps": steps,
    }
    for table in PIXEL_TABLES:
        store.write_block(table, block, rows[table], task.made_of)
    words = (False, time.perf_counter() - began, *words)
    counts = {"n_usable": n_frames, "noise": float(n_frames)}
    return block_search.PixelSummary(block, n_frames, n_frames, frames.nbytes, *words, **counts)


ASKED = ("exists", "names", "read_bytes", "note", "write_bytes", "remove")
"""Methods of a store that make one request or a few."""


class Counting:
    """Counts requests to the store by kind and by who asks, and the bytes of ``run.json``."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.journal_bytes = 0
        self._kept = {name: getattr(Store, name) for name in ASKED}

    def __enter__(self) -> Counting:
        for name, method in self._kept.items():
            setattr(Store, name, self._counted(name, method))
        return self

    def __exit__(self, *_: object) -> None:
        for name, method in self._kept.items():
            setattr(Store, name, method)

    def _counted(self, name: str, method: Any) -> Any:
        def counted(store: Store, *args: Any, **words: Any) -> Any:
            who = "task"
            if threading.current_thread() is threading.main_thread():
                who = "client"
            self.requests[who, name] += 1
            if name == "write_bytes" and args[1:] == ("run.json",):
                self.journal_bytes += len(args[0])
            return method(store, *args, **words)

        return counted


class Clock(Unwatched):
    """Processor time of the main thread, stage by stage."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._name, self._since = "start", time.thread_time()

    def stage(self, name: str, total: int) -> None:  # noqa: ARG002 - the run says it
        """Book the time of the stage before."""
        now = time.thread_time()
        self.seconds[self._name] += now - self._since
        self._name, self._since = name, now

    def end(self) -> None:
        """Book the time of the last stage."""
        self.stage("", 0)


def one_run(n_movies: int, out: Path, model: Path, until: str) -> dict[str, Any]:
    """Run over so many movies and return what it cost."""
    clock, found = Clock(), archive(n_movies)
    began = time.perf_counter()
    with sk.connect("threads", workers=1), Counting() as counted:
        outcome = run(found, out, config=CONFIG, model=model, until=until, watch=clock)
    clock.end()
    n_blocks = outcome.blocks["total"]
    by_client = {k: n for (who, k), n in counted.requests.items() if who == "client"}
    by_tasks = {k: n for (who, k), n in counted.requests.items() if who == "task"}
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        "movies": n_movies,
        "blocks": n_blocks,
        "reused": outcome.blocks["reused"],
        "exit_code": outcome.exit_code,
        "seconds": round(time.perf_counter() - began, 2),
        "client_cpu_s": round(sum(clock.seconds.values()), 3),
        "client_ms_per_block": round(1e3 * sum(clock.seconds.values()) / n_blocks, 3),
        "client_cpu_s_by_stage": {k: round(s, 3) for k, s in clock.seconds.items()},
        "client_requests_per_movie": round(sum(by_client.values()) / n_movies, 2),
        "client_requests": dict(sorted(by_client.items())),
        "task_requests_per_block": round(sum(by_tasks.values()) / n_blocks, 2),
        "files_per_block": round(len(files) / n_blocks, 2),
        "run_json_bytes": (out / "run.json").stat().st_size,
        "journal_bytes_written": counted.journal_bytes,
    }


def exponent(rows: list[dict[str, Any]], key: str) -> float:
    """Return the growth exponent of a quantity from the smallest archive to the largest."""
    first, last = rows[0], rows[-1]
    ratio = np.log(last[key] / first[key]) / np.log(last["movies"] / first["movies"])
    return round(float(ratio), 3)


def small_model(place: Path) -> Path:
    """Learn a model from a few frames, for its classes."""
    movie = sk.simulate_movie("paper", n_frames=4, shape=(128, 128), seed=1)
    sk.learn(movie, n_frames=4).save(place)
    return place


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--movies", type=int, nargs="*", default=[], help="sizes of archives")
    parser.add_argument("--grow", type=int, nargs="*", default=[], help="add one movie to so many")
    parser.add_argument("--until", default="kinetics")
    parser.add_argument("--out", type=Path, default=None, help="JSON file of results")
    asked = parser.parse_args()
    print(json.dumps(machine()))
    pixels.detect_to_store = bright_pixels
    maps.prepare_maps = lambda *_: None
    found: dict[str, Any] = {"scale": [], "growth": []}
    with tempfile.TemporaryDirectory() as scratch:
        model = small_model(Path(scratch) / "model")
        for n in asked.movies:
            found["scale"].append(one_run(n, Path(scratch) / f"run {n}", model, asked.until))
            print(json.dumps(found["scale"][-1]), flush=True)
            shutil.rmtree(Path(scratch) / f"run {n}")
        for n in asked.grow:
            out = Path(scratch) / f"grown {n}"
            one_run(n, out, model, asked.until)
            found["growth"].append(one_run(n + 1, out, model, asked.until))
            print(json.dumps(found["growth"][-1]), flush=True)
            shutil.rmtree(out)
    if len(found["scale"]) > 1:
        keys = ("client_cpu_s", "run_json_bytes", "journal_bytes_written", "seconds")
        found["exponents"] = {key: exponent(found["scale"], key) for key in keys}
        print(json.dumps(found["exponents"]))
    keep(found, asked.out)


if __name__ == "__main__":
    main()
