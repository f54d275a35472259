"""One giant movie's rows, linked block by block, counted and MSD'd: rows per second and peak memory
against the number of rows.

    python benchmarks/bench_long_movie.py --rows 1e6 1e7 1e8 -o long_movie.json

Each size runs in a process of its own that is scheduler, client and worker at once, so that its
peak is an upper bound for a worker's; the peak of each stage is its own (Linux). The rows (1,000
hoppers per frame, 5 % missed, classes that switch) are written first, in blocks of 250 frames.
Linking closes gaps of one frame, as `run` does, and ends with files of whole tracks; counting and
MSD read these. `rows_read` is how many rows each of the two was given, all partitions together:
each row once. STEMKIN_BENCH_TMP says where the data go (about 170 bytes a row).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask
import numpy as np
import pandas as pd
from keeping import keep

import stemkin as sk
from stemkin import tables
from stemkin.config import LinkSection
from stemkin.pipeline import block_files, tracks
from stemkin.results.reading import movies_of
from stemkin.results.store import Block, Store
from stemkin.results.track_files import track_files
from stemkin.rows.files import tracks_in_files
from stemkin.schedulers.clients import connect

N_POINTS, BLOCK_FRAMES, EDGE_PX, A_PX = 1000, 250, 2000, 10.5
RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def write(folder, n_rows):
    """Write detections and steps as the pixel pass leaves them; return the task that links them."""
    store, rng = Store.at(folder), np.random.default_rng(0)
    n_frames = -(-n_rows // N_POINTS // BLOCK_FRAMES) * BLOCK_FRAMES
    sizes = {"n_frames": n_frames, "height_px": EDGE_PX, "width_px": EDGE_PX, "pixel_size_nm": 0.03}
    movie = {
        "movie": "m",
        "frame_time_s": 1.0,
        "dose_rate_e_per_nm2_s": None,
        "source": "nowhere",
        **sizes,
    }
    place, state, blocks = (
        rng.uniform(0, EDGE_PX, (N_POINTS, 2)),
        rng.integers(3, size=N_POINTS),
        [],
    )
    for start in range(0, n_frames, BLOCK_FRAMES):
        parts = []
        for frame in range(start, start + BLOCK_FRAMES):
            hop, angle = rng.random(N_POINTS) < 0.1, rng.integers(6, size=N_POINTS) * np.pi / 3
            place = (
                place + A_PX * hop[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
            ) % EDGE_PX
            state = np.where(rng.random(N_POINTS) < 0.05, rng.integers(3, size=N_POINTS), state)
            seen = np.flatnonzero(rng.random(N_POINTS) > 0.05)
            points = place[seen] + rng.normal(0, 0.3, (len(seen), 2))
            order = np.lexsort(points.T[::-1])
            parts.append(
                np.column_stack([np.full(len(seen), frame), points[order], state[seen][order]])
            )
        frame, y, x, class_id = np.concatenate(parts).T
        known = {
            "movie": "m",
            "score": 9.0,
            "probability": 1.0,
            "orientation": -1,
            "class_id": class_id,
        }
        rows = pd.DataFrame({"frame": frame, "y": y, "x": x, **known})
        rows = rows.assign(**{c: 0.0 for c in tables.COLUMNS["detections"] if c not in rows})
        block = Block("m", start, start + BLOCK_FRAMES)
        seen = np.bincount(rows["frame"].astype(int) - start, minlength=BLOCK_FRAMES)
        steps = tracks.unread(block, movie).assign(
            status="ok", n_detections=seen, step_y=0.0, step_x=0.0, lattice_px=A_PX
        )
        store.write_block("steps", block, steps, "made")
        store.write_block("detections", block, tables.conform(rows, "detections"), "made")
        blocks.append(block)
    return tracks.LinkTask(movie, tuple(blocks), (), store, LinkSection())


@contextmanager
def stage(found, name):
    """Add to `found` how long the stage `name` took, on one core and by the clock, and the most
    memory it held."""
    if RESET.exists():
        RESET.write_text("5")  # the peak starts anew from what is held now
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found[f"{name}_s"], found[f"{name}_cpu_s"] = (
        time.perf_counter() - wall,
        time.process_time() - cpu,
    )
    status = (
        dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        if STATUS.exists()
        else {}
    )
    found[f"{name}_peak_mib"] = int(status["VmHWM"].split()[0]) / 1024 if status else float("nan")


def measure(n_rows):
    found = {}
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("STEMKIN_BENCH_TMP")) as folder,
        connect("synchronous"),
    ):
        with stage(found, "write"):
            task = write(folder, n_rows)
        tracks.ROWS_AT_ONCE = 0
        with stage(found, "link"):
            found["tracks"], found["rows"] = block_files.link_large(
                tracks.link_to_store(task).large, retries=0
            )
        paths, is_whole = track_files(task.store, "m")
        experiment = tables.Experiment(movies_of([task.movie]))
        rows = tracks_in_files({"m": paths}, experiment, whole=["m"] if is_whole else [])
        with stage(found, "count"):
            found["pairs_counted"] = int(sk.transitions(rows).counts.to_numpy().sum())
        with stage(found, "msd"):
            found["msd_nm2"] = float(sk.msd(rows, by="pooled", class_of="all")["msd_nm2"].iloc[0])
        found["rows_read"] = int(
            sum(dask.compute(*[dask.delayed(len)(part) for part in rows.to_delayed()]))
        )
    found["partitions"] = rows.npartitions
    return found | {
        f"{name}_rows_per_s": found["rows"] / found[f"{name}_s"]
        for name in ("link", "count", "msd")
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("-o", "--json", help="also write the results to this file")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.here:
        print(json.dumps(measure(int(words.rows[0]))))
        return
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine)
    found = []
    for n_rows in words.rows:
        command = [sys.executable, __file__, "--here", "--rows", str(n_rows)]
        found.append(
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        )
        print(
            {
                key: round(value, 3) if value < 10 else round(value)
                for key, value in found[-1].items()
            },
            flush=True,
        )
    keep({"sizes": found}, words.json)


if __name__ == "__main__":
    main()
