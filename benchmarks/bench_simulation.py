"""How fast are simulated movies made, and does length cost anything?

Frames per second of one core in the steady state for each preset (512x512), where the time goes,
counts per second of the Poisson kernel beside NumPy's, events per second of the kinetics, the time
to open a movie of a terabyte and to reach any of its frames, and the memory it takes. Before
anything is timed, bits are checked to be equal for different cuts.

    OMP_NUM_THREADS=1 python benchmarks/bench_simulation.py --frames 40 --json simulation.json

"cpu" is processor time, "wall" is the clock's; on a machine that others use too, only the first
tells about the code.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from keeping import keep

from stemkin.kernels.images.shotnoise import alias_tables, poisson_counts
from stemkin.simulation import PRESETS, expected_image, simulate_movie
from stemkin.simulation.crystal import crystal_of
from stemkin.simulation.kinetics import simulate_area

PEAK = """
import resource, sys
from stemkin.simulation import simulate_movie
movie = simulate_movie("long", n_frames=int(float(sys.argv[1])))
for start in range(0, 48, 16):
    movie.reader.read(movie.n_frames - 60 + start, movie.n_frames - 44 + start)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
"""Reads 48 frames at the end of a movie of the given length, prints the peak memory in MiB."""


def clocked(work, n):
    """Return the best of three (processor seconds, wall seconds) per unit of `n` units of work."""
    best = []
    for _ in range(3):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        best.append(((time.process_time() - cpu) / n, (time.perf_counter() - wall) / n))
    return tuple(min(one) for one in zip(*best, strict=True))


def check_equal_bits():
    reader = simulate_movie("paper", n_frames=12, shape=(128, 128), seed=1).reader
    whole = reader.read(0, 12)
    parts = np.concatenate([reader.read(a, b) for a, b in ((0, 1), (1, 6), (6, 12))])
    assert (parts == whole).all(), "bits depend on the cut"


def frames_per_second(preset, n_frames):
    movie = simulate_movie(preset, shape=(512, 512), n_frames=100, seed=1)
    first = 60 if preset == "late-stage" else 40
    movie.reader.read(first, first + 2)
    cpu, wall = clocked(lambda: movie.reader.read(first, first + n_frames), n_frames)
    return {"cpu": round(1 / cpu, 1), "wall": round(1 / wall, 1)}


def kinetics():
    settings = simulate_movie("paper", n_frames=500).reader.settings
    patch = crystal_of(settings).patch
    rows = simulate_area(settings, patch, duration_s=500 * 2.25, rng=np.random.default_rng(1))

    def run():
        rng = np.random.default_rng(1)
        return simulate_area(settings, patch, duration_s=500 * 2.25, rng=rng)

    cpu, _ = clocked(run, 1)
    return {
        "events": len(rows),
        "events_per_s_cpu": round(len(rows) / cpu),
        "ms_per_frame_cpu": round(1e3 * cpu / 500, 3),
    }


def shot_noise():
    means = expected_image(PRESETS["paper"], 0)
    alias_tables()
    rng = np.random.Generator(np.random.SFC64(1))
    own, _ = clocked(lambda: [poisson_counts(means, rng) for _ in range(10)], 10)
    numpys, _ = clocked(lambda: [rng.poisson(means) for _ in range(10)], 10)
    return {
        "ns_per_pixel": round(own / means.size * 1e9, 1),
        "numpy_ns_per_pixel": round(numpys / means.size * 1e9, 1),
    }


def terabyte():
    simulate_movie("paper", shape=(64, 64), n_frames=1).reader.read(0, 1)
    simulate_movie("paper", shape=(64, 64), n_frames=1).to_dask()
    start = time.perf_counter()
    movie = simulate_movie("paper", n_frames=2_000_000)
    opened = time.perf_counter() - start
    lazy = movie.frames
    graph = time.perf_counter() - start - opened
    near = []
    for frame in (1_999_999, 1_234_567, 17):
        begin = time.perf_counter()
        movie.reader.read(frame, frame + 1)
        near.append(round(time.perf_counter() - begin, 3))
    return {
        "TB": lazy.nbytes / 1e12,
        "open_s": round(opened, 6),
        "dask_array_s": round(graph, 3),
        "any_frame_s": near,
    }


def memory():
    peaks = {}
    for n in (1e3, 1e6, 1e9):
        out = subprocess.run(
            [sys.executable, "-c", PEAK, str(n)], capture_output=True, text=True, check=True
        )
        peaks[f"{n:.0e} frames"] = round(float(out.stdout))
    return peaks


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=30, help="frames per measurement")
    parser.add_argument("-o", "--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    machine = {
        "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(), "numpy": np.__version__, "threads": os.environ.get("OMP_NUM_THREADS", "default"),
    }  # fmt: skip
    print(json.dumps(machine))
    check_equal_bits()
    results = {"frames_per_s": {}}
    for preset in ("paper", "null", "low-dose", "rotated", "late-stage"):
        results["frames_per_s"][preset] = frames_per_second(preset, arguments.frames)
        print(preset, results["frames_per_s"][preset], flush=True)
    for name, measure in (
        ("kinetics", kinetics),
        ("shot_noise", shot_noise),
        ("terabyte", terabyte),
        ("peak_MiB", memory),
    ):
        results[name] = measure()
        print(name, results[name], flush=True)
    results["own_peak_MiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    keep(results, arguments.json)


if __name__ == "__main__":
    main()
