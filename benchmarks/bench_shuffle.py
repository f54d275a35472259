"""Transitions of a table whose partitions cut tracks, beside the same table with whole tracks: equal
numbers, time, and the peak memory of the workers.

    python benchmarks/bench_shuffle.py --rows 1e6 1e7 -o benchmarks/results/shuffle.json

The rows (tracks of 50 frames, three classes that switch) are written as Parquet twice: 30 files
(or more, of half a million rows at most) of some frames each, as a run writes its tracks, and as
many of whole tracks. Two worker processes of one thread answer

    whole     the files of whole tracks, which are looked at and found whole
    told      the same, known to be whole: what the look costs
    shuffled  the files cut by frames, ``shuffle=True``: `distributed`'s p2p, then one pass
    found     the files cut by frames, unasked: one pass that finds it, the shuffle, one pass
    refused   the files cut by frames, ``shuffle=False``: one pass

and each table is compared with that of the whole rows to the bit before anything is printed. Peaks
are of the larger worker, over what it held before the first question.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from keeping import keep

import stemkin as sk
from stemkin.rows.table import with_experiment

LENGTH, N_FILES, ROWS_PER_FILE, N_CLASSES = 50, 30, 500_000, 3


def write(folder, n_rows):
    """Write both sets of files; return the number of files of each.

    Track k begins in frame k // 1000, so a thousand of them are seen at once, 50 frames long.
    """
    n_tracks = n_rows // LENGTH
    n_files = max(N_FILES, -(-n_rows // ROWS_PER_FILE))
    tracks = np.arange(n_tracks)
    first = tracks // 20
    for name, keys in (("whole", tracks), ("cut", None)):
        (folder / name).mkdir()
        n_frames = int(first[-1]) + LENGTH
        edges = np.linspace(0, n_tracks if keys is not None else n_frames, n_files + 1).astype(int)
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            if keys is not None:
                rows = rows_of(tracks[start:stop], first[start:stop])
            else:
                near = (first < stop) & (first + LENGTH > start)
                rows = rows_of(tracks[near], first[near])
                rows = rows[rows["frame"].between(start, stop - 1)]
            rows.to_parquet(folder / name / f"{number:04d}.parquet", index=False)
    return n_files


def rows_of(track, first):
    """All rows of some tracks; what they are follows from their numbers alone."""
    age = np.tile(np.arange(LENGTH), len(track))
    particle = np.repeat(track, LENGTH).astype(np.int64)
    chance = np.sin(particle * 12.9898 + age // 5 * 78.233) * 43758.5453
    return pd.DataFrame(
        {
            "movie": "m",
            "frame": (np.repeat(first, LENGTH) + age).astype(np.int32),
            "particle": particle,
            "class_id": (np.floor((chance - np.floor(chance)) * N_CLASSES)).astype(np.int16),
            "y_nm": np.cos(particle) * 50 + age * 0.01,
            "x_nm": np.sin(particle) * 50,
            "probability": np.float32(0.9),
        }
    )


def peak_mib():
    """The most memory that this worker has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def asked(tracks, **words):
    return sk.transitions(tracks, frame_time_s=1.0, **words).table


def answer(folder, question):
    """The table that a way of asking gives, None where it is refused."""
    whole = dd.read_parquet(folder / "whole")
    cut = dd.read_parquet(folder / "cut")
    if question == "told":
        return asked(with_experiment(whole, None, whole_tracks=True))
    if question == "whole":
        return asked(whole, shuffle=False)
    if question == "shuffled":
        return asked(cut, shuffle=True)
    if question == "found":
        return asked(cut)
    with pytest.raises(ValueError, match="must hold whole tracks"):
        asked(cut, shuffle=False)
    return None


def measure(folder, question):
    """How long one question takes, and the workers' peak over what they held before."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(__import__, "stemkin.kinetics")
        first = dd.read_parquet(folder / "whole").partitions[:2]
        asked(with_experiment(first, None, whole_tracks=True))  # imports and compiles
        before = max(client.run(peak_mib).values())
        start = time.perf_counter()
        table = answer(folder, question)
        found = {"s": time.perf_counter() - start, "base_mib": before}
        found["peak_mib"] = max(client.run(peak_mib).values())
    return found | {
        "table": None if table is None else table.to_json(orient="split", double_precision=15)
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6])
    parser.add_argument("-o", "--json", help="also write the results to this file")
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.here:
        print(json.dumps(measure(Path(words.here[0]), words.here[1])))
        return
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine)
    sizes = []
    for n_rows in map(int, words.rows):
        with tempfile.TemporaryDirectory(dir=os.environ.get("STEMKIN_BENCH_TMP")) as name:
            found = {"rows": n_rows, "partitions": write(Path(name), n_rows)}
            tables = {}
            for question in ("whole", "told", "shuffled", "found", "refused"):
                command = [sys.executable, __file__, "--here", name, question]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[question] = json.loads(done.stdout.splitlines()[-1])
                tables[question] = found[question].pop("table")
                print(
                    n_rows,
                    question,
                    {k: round(v, 1) for k, v in found[question].items()},
                    flush=True,
                )
            assert tables["refused"] is None
            same = [tables[q] == tables["told"] for q in ("whole", "shuffled", "found")]
            assert all(same), f"the tables differ: {same}"
            print(f"{n_rows} rows: the tables of whole, shuffled and found are the same to the bit")
        sizes.append(found)
    keep({"sizes": sizes}, words.json)


if __name__ == "__main__":
    main()
