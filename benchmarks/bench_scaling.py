"""How fast a run is with more workers and longer movies, and what scheduling costs.

Frames are simulated beforehand into one Zarr movie per length, so that a run reads and searches as it would any movie.
Timings are ratios against the same run with one worker; equal tables are checked before any time is believed.

    python benchmarks/bench_scaling.py --frames 128 256 --workers 1 2 --size 512
    python benchmarks/bench_scaling.py --cluster tcp://scheduler:8786 --workers 4 8 16
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

import stemkin as sk
from stemkin.journal import machine
from stemkin.simulation import write


def content(results: Path) -> str:
    """Return a hash of every table of a results folder."""
    digest = hashlib.sha256()
    for file in sorted(results.rglob("*.parquet")):
        digest.update(file.relative_to(results).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def timed_run(movies: Path, results: Path, cluster: str, n_workers: int, model: Path | None) -> dict:
    """Run everything once and return what it took."""
    started = cluster if "://" in cluster or cluster.endswith(".json") else None
    with sk.connect(cluster, workers=None if started else n_workers) as client:
        if client is not None:
            client.wait_for_workers(n_workers, timeout=300)
        began = time.perf_counter()
        outcome = sk.run(movies, results, model=model)
        seconds = time.perf_counter() - began
    assert outcome.exit_code == 0, outcome.problems
    run = json.loads((results / "run.json").read_text())
    detect = run["stages"]["detect"]
    n_rows = detect["detections_found"]
    return {
        "workers": n_workers,
        "frames": detect["frames_read"],
        "rows": n_rows,
        "seconds": seconds,
        "stages": {name: stage["seconds"] for name, stage in run["stages"].items()},
        "frames_per_s": detect["frames_read"] / detect["seconds"],
        "rows_per_s": n_rows / max(1e-9, run["stages"]["link"]["seconds"] + run["stages"]["kinetics"]["seconds"]),
        "worker_peak_memory_mib": detect["worker_peak_memory_mib"],
        "content": content(results),
    }


def plot(rows: list[dict], path: Path) -> None:
    """Draw the speed of the pixel pass against workers, one line per movie length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for n in sorted({r["frames"] for r in rows}):
        chosen = sorted((r for r in rows if r["frames"] == n), key=lambda r: r["workers"])
        axes.plot([r["workers"] for r in chosen], [r["frames_per_s"] for r in chosen], "o-", label=f"{n} frames")
    axes.set(xlabel="workers", ylabel="pixel pass [frames/s]", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Simulate, run, compare, print a table, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cluster", default="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling"))
    options = parser.parse_args()
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for n_frames in options.frames:
            movies = Path(scratch) / f"{n_frames}"
            write("paper", movies, n_frames=n_frames, shape=(options.size,) * 2, seed=options.seed)
            model = None
            for n_workers in options.workers:
                results = Path(scratch) / f"results-{n_frames}-{n_workers}"
                row = timed_run(movies, results, options.cluster, n_workers, model)
                model = model or results / "model"
                rows.append(row)
                print(
                    f"{n_frames:6d} frames {n_workers:3d} workers: {row['frames_per_s']:7.1f} frames/s, {row['seconds']:6.1f} s in all"
                )
            if len({r["content"] for r in rows if r["frames"] == n_frames}) != 1:
                raise SystemExit(f"the tables differ between worker counts at {n_frames} frames")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    plot(rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
