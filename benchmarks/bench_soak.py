"""Does anything grow with the number of runs? Memory, descriptors, threads, children, temporary files.

One process runs round after round until the time is up, on workers of its own. A round is an
archive of many tiny movies, one long movie, a movie whose blocks partly fail (or, ``--together``,
one archive of all three), and the first of these once
more on workers that come as they are wanted, none to four, and go again; after some rounds the
scheduler is another one. Frames are made where they are read. While it does, a thread looks twice
a second at this process and all its children. Flat is what the rounds of the last scheduler take no more of than as many rounds before
them, on a scheduler of the same age; the slope over all rounds but the first quarter is said, too.

    python benchmarks/bench_soak.py --in-process --rounds 32 --tiny 1 --long 4 --failing 2 \
        --breathe-every 4 --rounds-per-scheduler 16 --plot soak.png -o soak.json
    python benchmarks/bench_soak.py --in-process --together --cheap --block 2000 --rounds 2 \
        --tiny 40 --long 200000 --failing 300 --breathe-every 2 --rounds-per-scheduler 1 \
        --minutes 60 --plot soak_large.png -o soak_large.json

With ``--cheap`` a detector of bright pixels stands in for the real one: what is asked is what a run
leaves behind, not what the search takes.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bench_scale import bright_pixels
from keeping import keep

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.movie import Movie
from stemkin.pipeline import Inputs, pixels, run
from stemkin.readers import Calibration
from stemkin.results.journal import machine
from stemkin.schedulers.clusters import SHORT_MEMORY, forget_closed_servers
from stemkin.simulation import simulate_movie

EDGE, POOL = 64, 8
CALIBRATION = Calibration(pixel_size_nm=0.03, frame_time_s=1.0)
CONFIG = RunConfig().with_values(learn={"n_frames": 2}, run={"retries": 0})
QUANTITIES = ("memory_mib", "descriptors", "threads", "children", "temporary_files")
ALLOWED = {"memory_mib": 1.1, "descriptors": 1.05, "threads": 1.05}
"""By how much the later rounds may exceed those before; of the others by nothing at all."""
EVERY_S = 0.5
MOST_WORKERS = 4


@lru_cache(maxsize=1)
def pool() -> np.ndarray:
    """Return the eight simulated frames (8, y, x) of which all others are made."""
    movie = simulate_movie("paper", n_frames=POOL, shape=(EDGE, EDGE), seed=1)
    return np.asarray(movie.reader.read(0, POOL))


@dataclass(frozen=True)
class MadeReader:
    """Frames that are nowhere until they are read; of some, two blocks of three cannot be read.

    `failing_by` is how many frames such a block has, 0 where every frame is good.
    """

    source: str
    n_frames: int
    failing_by: int = 0
    calibration: Calibration = CALIBRATION
    frames_per_chunk: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.n_frames, EDGE, EDGE

    @property
    def dtype(self) -> np.dtype:
        return pool().dtype

    @property
    def identity(self) -> str:
        return f"{self.source} {self.n_frames} {self.failing_by}"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames, or fail as a disk does."""
        number = np.arange(start, stop)
        if self.failing_by and (number // self.failing_by % 3 > 0).any():
            raise OSError(5, "Input/output error")
        return pool()[number % POOL]


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

    def last(self) -> str:
        """Return in words what was seen last."""
        if not self.rows:
            return ""
        return ", ".join(f"{self.rows[-1][name]:.0f} {name}" for name in QUANTITIES)


def made(name: str, n_frames: int, failing_by: int = 0) -> Movie:
    """Return a movie whose frames are made."""
    return Movie(MadeReader(f"made://{name}", n_frames, failing_by), name, CALIBRATION)


def archives(asked: argparse.Namespace) -> list[tuple[str, list[Movie], int]]:
    """Return the archives of a round: name, movies, and how many blocks fail."""
    failing = round(1.5 * asked.failing) * asked.block
    tiny = [made(f"tiny {i}", 2) for i in range(asked.tiny)]
    parts = [
        ("tiny movies", tiny, 0),
        ("one long movie", [made("long", asked.long)], 0),
        ("failing blocks", [made("failing", failing, asked.block)], asked.failing),
    ]
    if not asked.together:
        return parts
    return [("all", [movie for _, movies, _ in parts for movie in movies], asked.failing)]


def run_once(movies: list[Movie], out: Path, model: Path, *, n_failing: int, block: int) -> None:
    """Run over an archive as far as tracks; it has to end with its code and to name what failed."""
    config = CONFIG.with_values(detect={"frames_per_block": block})
    words: dict[str, Any] = {"config": config, "model": model, "until": "link", "fresh": True}
    outcome = run(Inputs(["made"], movies, []), out, **words)
    named = [words for words in outcome.problems if "Input/output error" in words]
    assert len(named) == len(outcome.problems) == n_failing, outcome.problems[:3]
    assert outcome.exit_code == 3 * (n_failing > 0), outcome.exit_code
    shutil.rmtree(out)


@contextmanager
def workers_of_mine(n_workers: int, *, processes: bool, profiled: bool) -> Iterator[Any]:
    """Start workers as `stemkin.connect` does, or threads of this process; yield their cluster."""
    import dask
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        if processes:
            yield stack.enter_context(sk.connect("processes", workers=n_workers)).cluster
            return
        stack.callback(forget_closed_servers)
        settings = {**SHORT_MEMORY, "distributed.worker.profile.enabled": profiled}
        stack.enter_context(dask.config.set(settings))
        where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
        cluster = stack.enter_context(
            LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=False, **where)
        )
        stack.enter_context(Client(cluster))
        yield cluster


def breathe(cluster: Any, work: Callable[[], None]) -> None:
    """Do some work on workers that come as they are wanted, none to four, and go again."""
    cluster.scale(0)
    adaptive = cluster.adapt(minimum=0, maximum=MOST_WORKERS, interval="200 ms", wait_count=5)
    try:
        work()
        until = time.monotonic() + 60
        while cluster.scheduler_info["workers"] and time.monotonic() < until:
            time.sleep(0.1)
        left = len(cluster.scheduler_info["workers"])
        assert left == 0, f"{left} workers did not go"
    finally:
        adaptive.stop()
        forget_closed_servers()


def soak(
    asked: argparse.Namespace, until: Callable[[int], bool]
) -> tuple[Sampler, int, dict[str, int]]:
    """Run rounds until the time is up; return what was seen, how many runs were done, and events."""
    parts = archives(asked)
    done = {"runs": 0, "movies": 0, "schedulers": 0, "breaths": 0}
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = str(Path(folder) / "tmp")
        os.environ["TMPDIR"] = tempfile.tempdir
        Path(tempfile.tempdir).mkdir()
        model = Path(folder) / "model"
        sk.learn(made("learned", POOL), n_frames=2).save(model)
        sampler = Sampler(tempfile.tempdir)
        looking = threading.Thread(target=sampler.look, daemon=True)
        looking.start()

        def one(name: str, movies: list[Movie], n_failing: int) -> None:
            out = Path(folder) / name
            run_once(movies, out, model, n_failing=n_failing, block=asked.block)
            done["runs"] += 1
            done["movies"] += len(movies)

        while not until(sampler.round):
            with workers_of_mine(
                asked.workers, processes=not asked.in_process, profiled=asked.profiled
            ) as cluster:
                done["schedulers"] += 1
                for _ in range(asked.rounds_per_scheduler):
                    if until(sampler.round):
                        break
                    sampler.round += 1
                    for part in parts:
                        one(*part)
                    if sampler.round % asked.breathe_every == 0:
                        breathe(cluster, lambda: one(*parts[0]))
                        done["breaths"] += 1
                        cluster.scale(asked.workers)
                    print(f"round {sampler.round}: {done}, {sampler.last()}", flush=True)
        sampler.ended.set()
        looking.join()
    return sampler, done["runs"], done


def verdicts(
    rows: list[dict[str, float]], rounds_per_scheduler: int
) -> dict[str, dict[str, float | bool]]:
    """Return for each quantity what rounds took before and after, whether it is flat, its slope.

    Of each round its median, and of these the median: a round that waits for workers to start is
    looked at more often than others.
    """
    rounds = np.array([row["round"] for row in rows])
    n_rounds = int(rounds.max())
    n_each = min(rounds_per_scheduler, max(1, n_rounds // 2))
    number = np.arange(max(1, n_rounds - 2 * n_each + 1), n_rounds + 1)
    found: dict[str, dict[str, float | bool]] = {}
    for name in QUANTITIES:
        values = np.array([row[name] for row in rows])
        medians = [np.median(values[rounds == n]) for n in number]
        first, last = float(np.median(medians[:-n_each])), float(np.median(medians[-n_each:]))
        flat = bool(last <= ALLOWED.get(name, 1.0) * first)
        found[name] = {"before": first, "after": last, "flat": flat, **slope(rounds, values)}
    return found


def slope(rounds: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Return how much the rounds' medians grow by in a round, and the standard error of that."""
    n_rounds = int(rounds.max())
    number = np.arange(n_rounds // 4 + 1, n_rounds + 1)
    if len(number) < 4:
        return {}
    medians = [np.median(values[rounds == n]) for n in number]
    (per_round, _), spread = np.polyfit(number, medians, 1, cov=True)
    return {"per_round": float(per_round), "standard_error": float(np.sqrt(spread[0, 0]))}


def draw(rows: list[dict[str, float]], path: str) -> None:
    """Draw each quantity over the rounds, however long each took."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rounds = np.array([row["round"] for row in rows])
    first, n_looks = (np.unique(rounds, return_index=True)[1], np.bincount(rounds.astype(int)))
    begins = dict(zip(np.unique(rounds), first, strict=True))
    place = [n + (i - begins[n]) / n_looks[int(n)] for i, n in enumerate(rounds)]
    figure, panels = plt.subplots(len(QUANTITIES), 1, sharex=True, figsize=(8, 9))
    for panel, name in zip(panels, QUANTITIES, strict=True):
        values = [row[name] for row in rows]
        panel.plot(place, values, lw=1)
        panel.set_ylim(0, 1.15 * max(*values, 1))
        panel.set_ylabel(name.replace("_mib", " (MiB)").replace("_", " "))
    panels[-1].set_xlabel("round")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Soak, print and keep what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=30, help="end after so many, or the minutes")
    parser.add_argument("--tiny", type=int, default=20, help="movies of two frames in a round")
    parser.add_argument("--long", type=int, default=60, help="frames of the long movie")
    parser.add_argument("--failing", type=int, default=4, help="blocks that fail for good")
    parser.add_argument("--block", type=int, default=4, help="frames of a block")
    parser.add_argument("--together", action="store_true", help="one archive of all movies")
    parser.add_argument("--cheap", action="store_true", help="bright pixels stand for the search")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-process", action="store_true", help="workers are threads of this one")
    parser.add_argument("--breathe-every", type=int, default=1, help="rounds: 0 -> 4 -> 0 workers")
    parser.add_argument("--rounds-per-scheduler", type=int, default=10, help="then another starts")
    parser.add_argument("--profiled", action="store_true", help="let Dask keep its profiles")
    parser.add_argument("--plot", help="PNG file")
    parser.add_argument("-o", "--out", help="JSON file")
    asked = parser.parse_args()
    if asked.rounds < 2:
        parser.error("what grows is told by two rounds at least")
    logging.disable(logging.ERROR)
    if asked.cheap:
        pixels.detect_to_store = bright_pixels
    print(machine(), flush=True)
    until = time.monotonic() + 60 * asked.minutes
    sampler, n_runs, done = soak(
        asked, lambda n: n >= asked.rounds or (n > 0 and time.monotonic() > until)
    )
    found = verdicts(sampler.rows, asked.rounds_per_scheduler)
    print(f"{sampler.round} rounds, {n_runs} runs, {len(sampler.rows)} looks")
    for name, one in found.items():
        said = "flat" if one["flat"] else "GROWS"
        growth = (
            f"{one['per_round']:+.2f} ± {one['standard_error']:.2f}" if "per_round" in one else "?"
        )
        print(f"{name:16s} {one['before']:9.1f} -> {one['after']:9.1f}  {said:5s} {growth} a round")
    if asked.plot:
        draw(sampler.rows, asked.plot)
    keep({"rounds": sampler.round, **done, "found": found, "rows": sampler.rows}, asked.out)


if __name__ == "__main__":
    import bench_soak  # what workers are sent is known to them by this name, and not sent along

    bench_soak.main()
