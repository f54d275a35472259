"""How fast is the pass over the pixels with more workers, and what does scheduling cost?

*Strong* scaling: one movie, more workers. *Weak* scaling: as many frames for each worker.
*Overhead*: the part of the pass, by one worker and in blocks of 64 MiB, in which the worker has no
block. Frames are simulated beforehand into Zarr movies, so that a run reads and searches as it
would any movie; the workers have started and loaded their libraries, and the model is learned,
before the clock starts. Of `--repeats` in turn the fastest counts. *Ceiling*: what as many
processes gain that search the same blocks without Dask, each
for itself: what this machine's memory and cores allow; so do a loop of
additions and one over memory, all measured in turn with the passes. Tables are checked to be equal
for all numbers of workers before any time is believed.

    python benchmarks/bench_scaling.py --frames 128 512 --workers 1 2 --size 512
    python benchmarks/bench_scaling.py --cluster tcp://scheduler:8786 --workers 16 --frames 8192
    --folder /shared/scratch

A cluster that runs already has the workers that it has: give `--workers` once, and start the script
again for another number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from keeping import keep

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.results.journal import machine
from stemkin.schedulers.clusters import KEEPING_PAGES
from stemkin.schedulers.streams import stream
from stemkin.simulation import write_simulation

BIG_BLOCK_MIB = 64
WINDOW = 256
"""Tasks in flight where empty ones are counted: as 128 workers would have them."""


def content(results: Path) -> str:
    """Return a hash of every table of a results folder."""
    digest = hashlib.sha256()
    for file in sorted(results.rglob("*.parquet")):
        digest.update(file.relative_to(results).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def warm(model: str) -> None:
    """Load in a worker what its first block would load."""
    from stemkin.learning import Model
    from stemkin.pipeline import pixels  # noqa: F401 - for its libraries

    Model.load(model)


def timed_pass(
    movies: Path,
    results: Path,
    cluster: str,
    n_workers: int,
    model: Path,
    frames_per_block: int | None,
) -> dict[str, Any]:
    """Search `movies` once and return what it took."""
    started = "://" in cluster or cluster.endswith(".json")
    config = RunConfig().with_values(detect={"frames_per_block": frames_per_block})
    with sk.connect(cluster, workers=None if started else n_workers) as client:
        if client is not None:
            client.wait_for_workers(n_workers, timeout=300)
            client.run(warm, str(model))
            n_workers = len(client.nthreads())
        began, used = time.perf_counter(), time.process_time()
        outcome = sk.run(movies, results, config=config, model=model, until="detect")
        seconds, used = time.perf_counter() - began, time.process_time() - used
    assert outcome.exit_code == 0, outcome.problems
    run = json.loads((results / "run.json").read_text())
    detect = run["stages"]["detect"]
    return {
        "workers": n_workers,
        "frames": detect["frames_read"],
        "blocks": run["blocks"]["total"],
        "rows": detect["detections_found"],
        "pass_s": detect["seconds"],
        "busy_s": detect["busy_s"],
        "seconds": seconds,
        "client_and_scheduler_cpu_s": round(used, 2),
        "frames_per_s": detect["frames_read"] / detect["seconds"],
        "idle": 1 - detect["busy_s"] / (n_workers * detect["seconds"]),
        "worker_peak_memory_mib": detect["worker_peak_memory_mib"],
        "projected_peak_memory_mib": detect["projected_peak_memory_mib"],
        "content": content(results),
    }


def search(movies: Path, model: Path, n_blocks: int, n_frames: int) -> float:
    """Return the seconds that the first blocks of a movie take in this process, without Dask."""
    from stemkin.detection import detect_block
    from stemkin.learning import Model
    from stemkin.references import reference_crystal

    (movie,), known = sk.open_archive(movies), Model.load(model)
    crystal = reference_crystal(movie)
    began = time.perf_counter()
    for block in range(n_blocks):  # again from the start where the movie ends
        start = block * n_frames % max(1, movie.n_frames - n_frames + 1)
        frames = movie.reader.read(start, start + n_frames)
        detect_block(
            frames,
            frames[:0],
            first_frame=start,
            movie=movie,
            model=known,
            reference=crystal,
            neighbours=True,
        )
    return time.perf_counter() - began


def tasks_per_s(cluster: str, n_workers: int, n_tasks: int = 3000) -> float:
    """Return how many empty tasks a second go through the window of a run: what scheduler and
    client can do at most."""
    started = "://" in cluster or cluster.endswith(".json")
    with sk.connect(cluster, workers=None if started else n_workers) as client:
        if client is not None:
            client.wait_for_workers(n_workers, timeout=300)
        began = time.perf_counter()
        done = stream(abs, range(n_tasks), window=WINDOW)
        assert sum(outcome.result or 0 for outcome in done) == n_tasks * (n_tasks - 1) // 2
        return n_tasks / (time.perf_counter() - began)


def add_numbers(_: int) -> float:
    """Return the seconds of a loop in the core's registers."""
    began, total = time.perf_counter(), 0
    for n in range(20_000_000):
        total += n & 3
    return time.perf_counter() - began


def stream_memory(_: int) -> float:
    """Return the seconds of a triad on arrays that no cache holds (McCalpin's STREAM)."""
    a, b, c = (np.full(2**23, float(k)) for k in range(3))
    began = time.perf_counter()
    for _ in range(40):
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)
    return time.perf_counter() - began


class Ceiling:
    """What this machine gains with as many processes, each for itself, without Dask: the same
    search, arithmetic, memory."""

    def __init__(self, movies: Path, model: Path, n_processes: int) -> None:
        os.environ.update({key: str(value) for key, value in KEEPING_PAGES.items()})
        self.n = n_processes
        self.work = {
            "search": partial(search, movies, model, 8),
            "arithmetic": add_numbers,
            "memory": stream_memory,
        }
        self.pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"))
        self.took: dict[tuple[str, int], float] = {}
        list(
            self.pool.map(partial(search, movies, model, 1), [16] * n_processes)
        )  # loads libraries

    def measure(self) -> None:
        """Measure everything once, by one process and by all at once; the fastest of all calls
        counts."""
        for name, work in self.work.items():
            for n in (1, self.n):
                slowest = max(
                    job.result() for job in [self.pool.submit(work, 16) for _ in range(n)]
                )
                self.took[name, n] = min(slowest, self.took.get((name, n), slowest))

    def gains(self) -> dict[str, float]:
        """Return how many times faster all processes are than one."""
        return {
            name: round(self.n * self.took[name, 1] / self.took[name, self.n], 3)
            for name in self.work
        }


def learned(movies: Path, folder: Path) -> Path:
    """Learn the model that every pass uses."""
    with sk.connect("threads"):
        sk.learn(sk.open_archive(movies)).save(folder)
    return folder


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the speed of the pass against workers: strong scaling by movie, and what is ideal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for n in sorted({r["frames"] for r in rows}):
        chosen = sorted((r for r in rows if r["frames"] == n), key=lambda r: r["workers"])
        label = f"{n} frames, {chosen[0]['blocks']} blocks"
        (line,) = axes.plot(
            [r["workers"] for r in chosen], [r["frames_per_s"] for r in chosen], "o-", label=label
        )
        first = chosen[0]["frames_per_s"] / chosen[0]["workers"]
        axes.plot(
            [0, chosen[-1]["workers"]],
            [0, first * chosen[-1]["workers"]],
            ":",
            color=line.get_color(),
            lw=1,
        )
    axes.set(
        xlabel="workers",
        ylabel="pass over the pixels [frames/s]",
        ylim=(0, None),
        xlim=(0, None),
        title="dotted: ideal",
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def summary(rows: list[dict[str, Any]], overhead: dict[str, Any] | None) -> dict[str, Any]:
    """Return speed-ups of each movie, the weak scaling where rows allow it, and the overhead."""
    strong = {}
    for n in sorted({r["frames"] for r in rows}):
        own = sorted((r for r in rows if r["frames"] == n), key=lambda r: r["workers"])
        strong[n] = {r["workers"]: round(own[0]["pass_s"] / r["pass_s"], 3) for r in own}
    weak = {}
    for r in rows:
        alone = next(
            (o for o in rows if o["workers"] == 1 and o["frames"] * r["workers"] == r["frames"]),
            None,
        )
        if alone is not None and r["workers"] > 1:
            weak[f"{alone['frames']} frames on 1, {r['frames']} on {r['workers']}"] = round(
                alone["pass_s"] / r["pass_s"], 3
            )
    return {
        "strong": strong,
        "weak_efficiency": weak,
        "overhead_at_64_mib": None if overhead is None else round(overhead["idle"], 4),
    }


def main() -> None:
    """Simulate, run, compare, print a table, write JSON and a plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cluster", default="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where movies and results go; it must be one that all workers see",
    )
    parser.add_argument(
        "--no-overhead", action="store_true", help="leave out the pass in blocks of 64 MiB"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling"))
    options = parser.parse_args()
    print(machine())
    rows, overhead, limit, gains, most = [], None, None, {}, max(options.workers)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        place, model = Path(scratch), None
        for n_frames in options.frames:
            movies = place / f"{n_frames}"
            write_simulation(
                "paper", movies, n_frames=n_frames, shape=(options.size,) * 2, seed=options.seed
            )
            model = model or learned(movies, place / "model")
            if limit is None and options.cluster == "processes" and most > 1:
                limit = Ceiling(movies, model, most)
            own: dict[int, dict[str, Any]] = {}
            for repeat in range(options.repeats):
                for n_workers in options.workers:
                    results = place / f"results-{n_frames}-{n_workers}-{repeat}"
                    row = timed_pass(movies, results, options.cluster, n_workers, model, None)
                    print(line(row), flush=True)
                    if row["content"] != own.get(options.workers[0], row)["content"]:
                        raise SystemExit(
                            f"the tables differ between worker counts at {n_frames} frames"
                        )
                    own[n_workers] = min(row, own.get(n_workers, row), key=lambda r: r["pass_s"])
                if limit is not None:
                    limit.measure()
            rows += own.values()
        if limit is not None:
            gains = limit.gains()
            limit.pool.shutdown()
        rate = tasks_per_s(options.cluster, most)
        if not options.no_overhead:
            assert model is not None
            big = max(1, int(BIG_BLOCK_MIB * 2**20 / (options.size**2 * 2)))
            overhead = timed_pass(
                movies, place / "results-big", options.cluster, options.workers[0], model, big
            )
            print(f"blocks of {BIG_BLOCK_MIB} MiB: {line(overhead)}")
    found = {
        **summary(rows, overhead),
        f"ceiling_of_{most}": gains,
        "empty_tasks_per_s": round(rate),
    }
    print(json.dumps(found, indent=2))
    print(verdict(found["strong"], gains, most))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"summary": found, "rows": rows, "big_blocks": overhead}
    keep(report, options.out.with_suffix(".json"))
    plot(rows, options.out.with_suffix(".png"))


def verdict(strong: dict[int, dict[int, float]], gains: dict[str, float], most: int) -> str:
    """Return in a sentence what holds the speed-up: this machine, or what a run adds."""
    best = max(by_workers[most] for by_workers in strong.values())
    if not gains:
        return f"{most} workers are {best:.2f} times as fast as one"
    words = ", ".join(f"{name} {gain:.2f}" for name, gain in gains.items())
    short = (
        f"; the machine itself gives less than {0.95 * most:g}"
        if gains["search"] < 0.95 * most
        else ""
    )
    return (
        f"{most} workers are {best:.2f} times as fast as one; without Dask {words}{short}: the run "
        f"loses {max(0.0, 100 * (1 - best / gains['search'])):.0f} %"
    )


def line(row: dict[str, Any]) -> str:
    """Return one pass as one line."""
    return (
        f"{row['frames']:6d} frames {row['blocks']:4d} blocks {row['workers']:3d} workers: "
        f"{row['frames_per_s']:7.1f} frames/s, "
        f"pass {row['pass_s']:6.1f} s, idle {100 * row['idle']:4.1f} %, client and scheduler "
        f"{row['client_and_scheduler_cpu_s']:.1f} s, peak {row['worker_peak_memory_mib']:.0f} MiB "
        f"of {row['projected_peak_memory_mib']:.0f}"
    )


if __name__ == "__main__":
    main()
