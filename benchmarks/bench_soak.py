"""Does anything grow with the number of runs? Memory, descriptors, threads, children, temporary files.

One process runs round after round until the time is up, on workers of its own. A round is an
archive of many tiny movies, one long movie, a movie whose blocks partly fail, and workers that go
down to none and come back. While it does, a thread looks twice a second at this process and all its
children. Flat is what the last third of the rounds takes no more of than the second.

    python benchmarks/bench_soak.py --minutes 3 --plot soak.png -o benchmarks/results/soak.json
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.movie import Movie
from stemkin.pipeline import Inputs, run
from stemkin.readers import ArrayReader, Calibration
from stemkin.results.journal import machine
from stemkin.simulation import simulate_movie

EDGE = 64
CALIBRATION = Calibration(pixel_size_nm=0.03, frame_time_s=1.0)
CONFIG = RunConfig().with_values(
    learn={"n_frames": 2}, detect={"frames_per_block": 4}, run={"retries": 0}
)
QUANTITIES = ("memory_mib", "descriptors", "threads", "children", "temporary_files")
ALLOWED = {"memory_mib": 1.1, "descriptors": 1.05, "threads": 1.05}
"""By how much the last third may exceed the second; of the others by nothing at all."""
EVERY_S = 0.5


@dataclass(frozen=True, eq=False)
class FailingReader(ArrayReader):
    """Frames of which every third block cannot be read now."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames, or fail as a disk does."""
        if start // 4 % 3 == 1:
            raise OSError(5, "Input/output error")
        return super().read(start, stop)


@dataclass
class Sampler:
    """Looks at this process and its children until it is stopped."""

    folder: str
    rows: list[dict[str, float]] = field(default_factory=list)
    round: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Sample until the end."""
        own = psutil.Process()
        began = time.monotonic()
        while not self.ended.wait(EVERY_S):
            everyone = [own, *own.children(recursive=True)]
            row = dict.fromkeys(QUANTITIES, 0.0)
            row["children"] = len(everyone) - 1
            for one in everyone:
                with suppress(psutil.Error):
                    row["memory_mib"] += one.memory_info().rss / 2**20
                    row["descriptors"] += one.num_fds()
                    row["threads"] += one.num_threads()
            row["temporary_files"] = sum(len(files) for _, _, files in os.walk(self.folder))
            self.rows.append({"s": time.monotonic() - began, "round": self.round, **row})


def film(n_frames: int, seed: int) -> np.ndarray:
    """Return frames (n, y, x) of the paper's kind, of which eight are simulated."""
    eight = simulate_movie("paper", n_frames=8, shape=(EDGE, EDGE), seed=seed).reader.read(0, 8)
    return np.asarray(eight[np.arange(n_frames) % 8])


def movies_of(arrays: list[np.ndarray], kind: type[ArrayReader] = ArrayReader) -> list[Movie]:
    """Return movies of arrays."""
    return [
        Movie(kind(one, CALIBRATION, f"movie {i}"), f"movie {i}", CALIBRATION)
        for i, one in enumerate(arrays)
    ]


def soak(
    minutes: float, n_tiny: int, n_long: int, workers: int, *, processes: bool
) -> tuple[Sampler, int]:
    """Run rounds until the time is up; return what was seen, and how many runs were done."""
    from distributed import Client, LocalCluster

    tiny = movies_of([film(2, 1)] * n_tiny)
    rounds = [
        ("tiny movies", tiny, 0),
        ("one long movie", movies_of([film(n_long, 2)]), 0),
        ("failing blocks", movies_of([film(24, 3)], FailingReader), 3),
    ]
    n_runs = 0
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = str(Path(folder) / "tmp")
        os.environ["TMPDIR"] = tempfile.tempdir
        Path(tempfile.tempdir).mkdir()
        model = Path(folder) / "model"
        sk.learn(tiny[0], n_frames=2).save(model)
        sampler = Sampler(tempfile.tempdir)
        looking = threading.Thread(target=sampler.look, daemon=True)
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=processes,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            protocol="tcp",
        )
        with cluster, Client(cluster):
            looking.start()
            until = time.monotonic() + 60 * minutes
            while time.monotonic() < until:
                sampler.round += 1
                for name, movies, expected in rounds:
                    out = Path(folder) / "results" / f"{sampler.round} {name}"
                    found = Inputs([name], movies, [])
                    outcome = run(found, out, config=CONFIG, model=model, until="link")
                    assert outcome.exit_code == expected, (name, outcome.problems)
                    n_runs += 1
                    print(f"{name}: exit code {outcome.exit_code}", flush=True)
                cluster.scale(0)
                time.sleep(1.0)
                cluster.scale(workers)
                print(f"round {sampler.round}: {n_runs} runs", flush=True)
            sampler.ended.set()
            looking.join()
    return sampler, n_runs


def verdicts(rows: list[dict[str, float]]) -> dict[str, dict[str, float | bool]]:
    """Return for each quantity its median in the second and the last third, and whether it is flat."""
    thirds = np.array_split(np.arange(len(rows)), 3)
    found: dict[str, dict[str, float | bool]] = {}
    for name in QUANTITIES:
        values = np.array([row[name] for row in rows])
        second, last = (float(np.median(values[part])) for part in thirds[1:])
        flat = last <= ALLOWED.get(name, 1.0) * second
        found[name] = {"second_third": second, "last_third": last, "flat": bool(flat)}
    return found


def draw(rows: list[dict[str, float]], path: str) -> None:
    """Draw each quantity over time, with the rounds marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    seconds = [row["s"] for row in rows]
    starts = [
        now["s"]
        for now, before in zip(rows[1:], rows, strict=False)
        if now["round"] != before["round"]
    ]
    figure, panels = plt.subplots(len(QUANTITIES), 1, sharex=True, figsize=(8, 9))
    for panel, name in zip(panels, QUANTITIES, strict=True):
        panel.plot(seconds, [row[name] for row in rows], lw=1)
        for start in starts:
            panel.axvline(start, color="0.85", lw=0.8, zorder=0)
        panel.set_ylim(bottom=0)
        panel.set_ylabel(name.replace("_", " "))
    panels[-1].set_xlabel("seconds (grey lines: a round begins)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Soak, print and keep what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--tiny", type=int, default=20, help="movies of two frames in a round")
    parser.add_argument("--long", type=int, default=60, help="frames of the long movie")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-process", action="store_true", help="workers are threads of this one")
    parser.add_argument("--plot", help="PNG file")
    parser.add_argument("-o", "--out", help="JSON file")
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    print(machine(), flush=True)
    sampler, n_runs = soak(
        asked.minutes, asked.tiny, asked.long, asked.workers, processes=not asked.in_process
    )
    found = verdicts(sampler.rows)
    print(f"{sampler.round} rounds, {n_runs} runs, {len(sampler.rows)} looks")
    for name, one in found.items():
        said = "flat" if one["flat"] else "GROWS"
        print(f"{name:16s} {one['second_third']:9.1f} -> {one['last_third']:9.1f}  {said}")
    if asked.plot:
        draw(sampler.rows, asked.plot)
    if asked.out:
        kept = {"machine": machine(), "rounds": sampler.round, "runs": n_runs, "found": found}
        Path(asked.out).write_text(json.dumps({**kept, "rows": sampler.rows}, indent=1))


if __name__ == "__main__":
    main()
