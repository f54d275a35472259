"""Speed of transition counts and MSD on one core, beside pandas and trackpy; equal results are
checked before times are taken.

    python benchmarks/bench_tables.py --rows 100000 1000000 10000000 -o tables.json

Tracks of 50 frames, one row in ten missed, four classes, sorted by frame as a linker leaves them.
The yardsticks:

sorted      what a user writes for rows in any order (which stemkin takes, too): ``sort_values(["particle", "frame"])``, a
            group-by with ``shift(-1)``, only neighbours in time, ``crosstab``
in order    the same without sorting, for one who knows that each track's rows are in the order of time, and with the
            quicker ``groupby(["from", "to"]).size()`` for the pairs: about the least that pandas
            needs
by group    a loop over ``groupby("particle")``

"counts" is the counting alone, as the yardsticks do it (and all gaps up to 16 frames besides);
"transitions" is the whole verb with probabilities, intervals and its table. "shuffled" are the same
rows in random order, which have to be sorted. The pass is compiled when it is first needed: the
first call in a process is shown apart. The least of five times counts.
"""

import argparse
import os
import platform
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from keeping import keep

import stemkin as sk
from stemkin.kinetics.counts import count_transitions


def tracks(n_rows, n_frames=50, seen=0.9):
    rng = np.random.default_rng(0)
    n = n_rows // n_frames
    rows = {
        "frame": np.repeat(np.arange(n_frames), n).astype(np.int32),
        "particle": np.tile(np.arange(n), n_frames),
    }
    walk = rng.normal(size=(n_frames, n, 2)).cumsum(axis=0)
    rows |= {"y_nm": walk[..., 0].ravel(), "x_nm": walk[..., 1].ravel()}
    rows["class_id"] = rng.integers(4, size=n * n_frames).astype(np.int16)
    return pd.DataFrame(rows)[rng.random(n * n_frames) < seen].reset_index(drop=True)


def best(work, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def by_sorting(rows):
    rows = rows.sort_values(["particle", "frame"])
    after = rows.groupby("particle")[["frame", "class_id"]].shift(-1)
    near = after["frame"] == rows["frame"] + 1
    return pd.crosstab(rows["class_id"][near], after["class_id"][near]).to_numpy()


def in_order(rows):
    after = rows.groupby("particle")[["frame", "class_id"]].shift(-1)
    near = after["frame"] == rows["frame"] + 1
    pairs = pd.DataFrame({"from": rows["class_id"][near], "to": after["class_id"][near]})
    return pairs.groupby(["from", "to"]).size().unstack(fill_value=0).to_numpy()


def by_group(rows):
    counts = np.zeros((4, 4), int)
    for _, track in rows.sort_values(["particle", "frame"]).groupby("particle"):
        frame, state = track["frame"].to_numpy(), track["class_id"].to_numpy()
        near = np.diff(frame) == 1
        np.add.at(counts, (state[:-1][near], state[1:][near]), 1)
    return counts


def counted(rows):
    sums = count_transitions(rows, max_lag=1)
    return np.array([[sums[("movie",), i, j][0] for j in range(4)] for i in range(4)])


def compare_counts(n_rows):
    rows = tracks(n_rows)
    shuffled = rows.sample(frac=1, random_state=0)
    start = time.perf_counter()
    counts = counted(rows)
    first = time.perf_counter() - start
    whole = lambda table: sk.transitions(table).counts.to_numpy()  # noqa: E731
    yardsticks = [("sorted", by_sorting), ("in order", in_order), ("by group", by_group)]
    found = []
    for name, work, table in (
        ("counts", counted, rows),
        ("transitions", whole, rows),
        ("counts, shuffled", counted, shuffled),
    ):
        assert (work(table) == counts).all()
        own, _ = best(lambda work=work, table=table: work(table))
        for beside, theirs in yardsticks:
            slow = beside == "by group" and n_rows > 1_000_000
            if slow or ("shuffled" in name and beside != "sorted"):
                continue
            its, answer = best(
                lambda theirs=theirs, table=table: theirs(table), 2 if n_rows > 1_000_000 else 3
            )
            assert (answer == counts).all(), f"stemkin and pandas ({beside}) disagree"
            found.append((name, len(rows), own, f"pandas, {beside}", its))
    print(f"{len(rows)} rows: the first call took {first:.3f} s")
    return found


def compare_msd(n_rows):
    import trackpy

    rows = tracks(n_rows, seen=1.0)
    own, curve = best(lambda: sk.msd(rows, frame_time_s=1.0, class_of="all", by="pooled"))
    named = rows.rename(columns={"y_nm": "y", "x_nm": "x"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other, theirs = best(lambda: trackpy.emsd(named, 1, 1, max_lagtime=10), 1)
    np.testing.assert_allclose(curve["msd_nm2"], theirs, rtol=1e-9)
    return [("msd", len(rows), own, "trackpy", other)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[100_000, 1_000_000],
        help="numbers of rows, before some are missed",
    )
    parser.add_argument("-o", "--json", help="also write the results to this file")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine)
    found = [line for n_rows in words.rows for line in compare_counts(n_rows)]
    found += compare_msd(50_000)
    table = pd.DataFrame(found, columns=["what", "rows", "seconds", "beside", "its_seconds"])
    table["Mrows_per_s"] = table["rows"] / table["seconds"] / 1e6
    table["factor"] = table["its_seconds"] / table["seconds"]
    print(table.to_string(index=False, float_format="{:.4g}".format))
    keep({"rows": table.to_dict("records")}, words.json)


if __name__ == "__main__":
    main()
