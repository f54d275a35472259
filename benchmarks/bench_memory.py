"""Is memory flat? Client, scheduler and worker on archives of 1 GB and 50 GB, and on the first part
of one of a terabyte.

The archives are *virtual*: frames are made when they are read, by moving eight simulated frames
about. The engine is the one that every run uses (the window of tasks, the journal, tables written
by the worker, a real scheduler and a real worker as processes of their own); in place of the search
a *cheap detector* stands, bright pixels, so that 50 GB take a minute. It tells whether anything
grows with the archive, not what the search needs: that is measured on `--real` movies, with the
detector that runs use, and compared with what ``--dry-run`` projects.

    python benchmarks/bench_memory.py --gb 1 50 --first-gb 20 --real 128 1280 -o
    benchmarks/results/memory.json python benchmarks/bench_memory.py --gb --first-gb 0 --real
    --search-gb 20 --workers 2   # the first 20 GB searched in earnest
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from keeping import keep

import stemkin as sk
from stemkin import tables
from stemkin.config import RunConfig
from stemkin.movie import Movie
from stemkin.pipeline import Inputs, block_search, memory, pixels, plan_run, run
from stemkin.progress import Unwatched
from stemkin.readers import Calibration
from stemkin.results.journal import machine
from stemkin.results.store import PIXEL_TABLES
from stemkin.schedulers.clusters import KEEPING_PAGES
from stemkin.simulation import simulate_movie, write_simulation

EDGE, POOL, MOVIE_GB = 512, 8, 10
FRAME_BYTES = EDGE * EDGE * 2
CALIBRATION = Calibration(pixel_size_nm=0.03, frame_time_s=1.0)


@lru_cache(maxsize=1)
def pool() -> np.ndarray:
    """Return the eight frames of which all others are made."""
    return np.asarray(
        simulate_movie("paper", n_frames=POOL, shape=(EDGE, EDGE), seed=0).reader.read(0, POOL)
    ).astype(np.uint16)


@dataclass(frozen=True)
class VirtualReader:
    """Frames that are nowhere until they are read."""

    n_frames: int
    source: str
    calibration: Calibration = CALIBRATION
    frames_per_chunk: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.n_frames, EDGE, EDGE

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16)

    @property
    def identity(self) -> str:
        return f"{self.source} {self.shape}"

    def read(self, start: int, stop: int) -> np.ndarray:
        frames = np.empty((stop - start, EDGE, EDGE), np.uint16)
        for i, n in enumerate(range(start, stop)):
            frames[i] = np.roll(pool()[n % POOL], n * 37 % EDGE, axis=0)
        return frames


def archive(gb: float) -> Inputs:
    """Return a virtual archive of `gb` (1e9 bytes), in movies of 10 GB at most."""
    left, movies = int(gb * 1e9 / FRAME_BYTES), []
    while left > 0:
        n = min(left, int(MOVIE_GB * 1e9 / FRAME_BYTES))
        name = f"virtual {len(movies):03d}"
        movies.append(Movie(VirtualReader(n, f"virtual://{name}"), name, CALIBRATION))
        left -= n
    return Inputs([f"virtual archive of {gb} GB"], movies, [])


def bright_pixels(task: pixels.PixelTask) -> pixels.PixelSummary:
    """Do what `pixels.detect_to_store` does, with a cheap detector."""
    began = time.perf_counter()
    block, store = task.block, task.store
    frames = block_search.read_block(task.movie, block)
    bright = frames[:, ::8, ::8] > 60_000
    number = np.arange(block.start, block.stop, dtype=np.int32)
    steps = tables.empty("frames").reindex(range(len(frames))).drop(columns=["shift_y", "shift_x"])
    steps = steps.assign(
        movie=block.movie, frame=number, time_s=number.astype(float), status=tables.OK, step_y=0.0, step_x=0.0, shift_quality=1.0,
        n_detections=bright.sum((1, 2)), lattice_px=10.5, ordered=1.0, disordered=0.0, vacuum=0.0,
    )  # fmt: skip
    rows = {
        "detections": tables.empty("detections"),
        "neighbours": tables.empty("neighbours"),
        "breaks": tables.empty("regions"),
        "steps": steps,
    }
    for table in PIXEL_TABLES:
        store.write_block(table, block, rows[table], task.made_of)
    seconds = time.perf_counter() - began
    return pixels.PixelSummary(
        block, len(frames), 0, frames.nbytes, False, seconds, memory.peak_memory_mib()
    )


class Meter(Unwatched):
    """Reads the memory of client and scheduler as the run goes on, and stops it when so much is
    done."""

    def __init__(self, scheduler: int, stop_after_gb: float | None) -> None:
        self.processes = {"client": psutil.Process(), "scheduler": psutil.Process(scheduler)}
        self.peak_mib = dict.fromkeys(self.processes, 0.0)
        self.stop_after_gb, self.gb, self._last, self.name = stop_after_gb, 0.0, 0.0, ""

    def stage(self, name: str, total: int) -> None:  # noqa: ARG002 - the run says it
        """Remember which stage it is."""
        self.name = name

    def advance(self, steps: int = 1, note: str = "") -> None:  # noqa: ARG002 - the run says it
        """Look, every half second."""
        self.gb += steps * FRAME_BYTES / 1e9 * (self.name == "detect")
        if time.monotonic() - self._last > 0.5:
            self._last = time.monotonic()
            for name, process in self.processes.items():
                self.peak_mib[name] = max(self.peak_mib[name], process.memory_info().rss / 2**20)
        if self.stop_after_gb is not None and self.gb >= self.stop_after_gb:
            raise KeyboardInterrupt


WORKER = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--memory-limit", "4GiB"]
ENVIRONMENT = {
    **KEEPING_PAGES,
    "OMP_NUM_THREADS": 1,
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": False,
}
"""As examples/clusters/README.md says for workers that one starts oneself."""


def one_run(
    gb: float, first_gb: float | None, model: str, workers: int = 1, *, search: bool = False
) -> dict[str, Any]:
    """Run an archive of `gb`, or its first part, in this process as client, with scheduler and
    workers beside it.

    `search`: with the detector that every run uses, instead of the cheap one.
    """
    if not search:
        pixels.detect_to_store = bright_pixels
    with tempfile.TemporaryDirectory(
        ignore_cleanup_errors=True
    ) as scratch:  # a stopped worker may still write
        file = Path(scratch) / "scheduler.json"
        dask, known = [sys.executable, "-m", "dask"], ["--scheduler-file", str(file)]
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": scratch}
        options["env"] = {**os.environ, **{name: str(value) for name, value in ENVIRONMENT.items()}}
        scheduler = subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *known],
            **options,
        )
        beside = [
            subprocess.Popen([*dask, "worker", *known, *WORKER], **options) for _ in range(workers)
        ]
        try:
            while not file.exists():
                time.sleep(0.05)
            began = time.perf_counter()
            inputs = archive(gb)
            planned = plan_run(inputs, workers=workers, look=True)
            plan_s = time.perf_counter() - began
            meter, began, ended = Meter(scheduler.pid, first_gb), time.perf_counter(), "whole"
            with sk.connect(str(file)) as client:
                client.wait_for_workers(workers, timeout=60)
                try:
                    run(inputs, f"{scratch}/results", model=model, until="detect", watch=meter)
                except KeyboardInterrupt:
                    ended = f"stopped after the first {meter.gb:.1f} GB"
                worker_peak = max(client.run(memory.peak_memory_mib).values())
            seconds = time.perf_counter() - began
            blocks = json.loads(Path(scratch, "results", "run.json").read_text())["blocks"]
            if blocks["failed"]:
                raise SystemExit(blocks["failed"][0]["traceback"])
        finally:
            for process in (*beside, scheduler):
                process.terminate()
                process.wait(20)
    return {
        "gb": gb, "detector": "fourier" if search else "bright pixels", "workers": workers, "ended": ended, "plan_s": round(plan_s, 2), "plan_says": planned.describe().splitlines(), "blocks": planned.n_blocks,
        "blocks_done": blocks["done"], "seconds": round(seconds, 1), "client_mib": round(meter.peak_mib["client"], 1),
        "scheduler_mib": round(meter.peak_mib["scheduler"], 1), "worker_peak_mib": round(worker_peak, 1),
    }  # fmt: skip


def real_run(n_frames: int, mib: float, movies: Path, model: str) -> dict[str, Any]:
    """Search a simulated movie with the detector of every run, by one worker; return its peak
    beside the projection."""
    config = RunConfig().with_values(
        detect={"frames_per_block": max(1, int(mib * 2**20 / FRAME_BYTES))}
    )
    folder = movies / str(n_frames)
    if not folder.exists():
        write_simulation("paper", folder, n_frames=n_frames, shape=(EDGE, EDGE), seed=0)
    out = movies / f"results-{n_frames}-{mib}"
    with sk.connect("processes", workers=1):
        run(folder, out, config=config, model=model, until="detect")
    detect = json.loads((out / "run.json").read_text())["stages"]["detect"]
    return {
        "frames": n_frames, "block_mib": mib, "worker_peak_mib": detect["worker_peak_memory_mib"],
        "projected_mib": detect.get("projected_peak_memory_mib"), "frames_per_s": detect["frames_per_s"],
    }  # fmt: skip


def plot(flat: list[dict[str, Any]], real: list[dict[str, Any]], path: Path) -> None:
    """Draw memory against the size of the archive, and peaks beside the projection."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    flat = sorted((r for r in flat if r["detector"] != "fourier"), key=lambda r: r["blocks_done"])
    size = [r["blocks_done"] * 64 * 2**20 / 1e9 for r in flat]
    for key, label in (
        ("client_mib", "client"),
        ("scheduler_mib", "scheduler"),
        ("worker_peak_mib", "worker (cheap detector)"),
    ):
        left.plot(size, [r[key] for r in flat], "o-", label=label)
    left.set(
        xscale="log",
        xlabel="searched of a virtual archive [GB]",
        ylabel="peak memory [MiB]",
        ylim=(0, None),
    )
    left.legend(frameon=False)
    names = [f"{r['frames']} frames\n{r['block_mib']:.0f} MiB" for r in real]
    place = np.arange(len(real))
    right.bar(place - 0.2, [r["worker_peak_mib"] for r in real], 0.4, label="measured")
    right.bar(place + 0.2, [r["projected_mib"] or 0 for r in real], 0.4, label="projected")
    right.set_xticks(place, names)
    right.set(ylabel="worker's peak [MiB]", title="the detector of every run")
    right.set_ylim(0, 1.3 * max((r["projected_mib"] or 0 for r in real), default=1))
    right.legend(frameon=False, ncols=2)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, write JSON and a plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--gb",
        type=float,
        nargs="*",
        default=[1.1, 50],
        help="sizes of virtual archives that are run whole (from 1.1 on their blocks are of 64 MiB)",
    )
    parser.add_argument(
        "--tb", type=float, default=1.05, help="size of the archive that is planned, and begun"
    )
    parser.add_argument("--first-gb", type=float, default=20, help="how much of it is run")
    parser.add_argument(
        "--real",
        type=int,
        nargs="*",
        default=[128, 1280],
        help="frames of movies for the true detector",
    )
    parser.add_argument(
        "--search-gb",
        type=float,
        default=0,
        help="how much of it is searched with the detector of every run",
    )
    parser.add_argument("--workers", type=int, default=2, help="so many for that")
    parser.add_argument("--block-mib", type=float, nargs="+", default=[16], help="blocks of these")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        import bench_memory  # by its name, so that scheduler and worker find the same functions

        print(json.dumps(bench_memory.one_run(**json.loads(options.one))))
        return
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        movie = simulate_movie("paper", n_frames=8, shape=(256, 256), seed=0)
        model = f"{scratch}/model"
        sk.learn(dataclasses.replace(movie), n_frames=4).save(model)
        asked = [{"gb": gb, "first_gb": None} for gb in options.gb]
        asked += [{"gb": 1e3 * options.tb, "first_gb": options.first_gb}] * (options.first_gb > 0)
        searched = {
            "gb": 1e3 * options.tb,
            "first_gb": options.search_gb,
            "search": True,
            "workers": options.workers,
        }
        asked += [searched] * (options.search_gb > 0)
        flat, here = (
            [],
            {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
                ),
            },
        )
        for one in asked:
            words = json.dumps({**one, "model": model})
            said = subprocess.run(
                [sys.executable, __file__, "--one", words],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=here,
            )
            flat.append(json.loads(said.stdout.splitlines()[-1]))
            print(json.dumps(flat[-1]), flush=True)
        real = [
            real_run(n, mib, Path(scratch), model)
            for n in options.real
            for mib in options.block_mib
        ]
        for row in real:
            print(json.dumps(row), flush=True)
    whole = [r for r in flat if r["ended"] == "whole"]
    spread = {}
    if len(whole) > 1:
        measured = ("client_mib", "scheduler_mib", "worker_peak_mib")
        spread = {
            k: round(max(r[k] for r in whole) / min(r[k] for r in whole) - 1, 4) for k in measured
        }
    print("spread between the sizes:", spread)
    found = {
        "detector": "bright pixels (cheap) for flat, fourier for real",
        "flat": flat,
        "spread": spread,
        "real": real,
    }
    keep(found, options.out)
    if options.out:
        plot(flat, real, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
