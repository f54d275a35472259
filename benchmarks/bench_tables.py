"""Speed of transition counts and MSD on one core, beside pandas' group-by and trackpy's emsd; equal results are checked first.

python benchmarks/bench_tables.py --rows 1000000 --json tables.json
"""

import argparse
import json
import os
import platform
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import stemkin as sk


def tracks(n_rows, n_frames=50):
    rng = np.random.default_rng(0)
    n = n_rows // n_frames
    rows = {"particle": np.tile(np.arange(n), n_frames), "frame": np.repeat(np.arange(n_frames), n)}
    walk = rng.normal(size=(n_frames, n, 2)).cumsum(axis=0)
    rows |= {"y_nm": walk[..., 0].ravel(), "x_nm": walk[..., 1].ravel(), "class_id": rng.integers(4, size=n * n_frames)}
    return pd.DataFrame(rows)


def best(work, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def by_pandas(rows):
    rows = rows.sort_values(["particle", "frame"])
    after = rows.groupby("particle")["class_id"].shift(-1)
    return pd.crosstab(rows["class_id"], after).to_numpy()


def track_by_track(rows):
    """The same in pandas, one group at a time."""
    counts = np.zeros((4, 4), int)
    for _, track in rows.sort_values(["particle", "frame"]).groupby("particle"):
        state = track["class_id"].to_numpy()
        np.add.at(counts, (state[:-1], state[1:]), 1)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json")
    words = parser.parse_args()
    print(platform.platform(), platform.python_version(), f"{os.cpu_count()} cores")
    found = []
    for n_rows in (words.rows // 10, words.rows):
        rows = tracks(n_rows)
        own, counts = best(lambda rows=rows: sk.transitions(rows).counts.to_numpy())
        other, theirs = best(lambda rows=rows: by_pandas(rows), 1)
        assert (counts == theirs).all()
        found.append(("transitions", len(rows), own, "pandas, shift", other))
        if n_rows <= 1_000_000:
            other, theirs = best(lambda rows=rows: track_by_track(rows), 1)
            assert (counts == theirs).all()
            found.append(("transitions", len(rows), own, "pandas, group by group", other))
        own, _ = best(lambda rows=rows: sk.msd(rows, frame_time_s=1.0, class_of="all", by="pooled"))
        found.append(("msd", len(rows), own, "", np.nan))
    try:
        import trackpy
    except ImportError:
        trackpy = None
    if trackpy is not None:
        rows = tracks(words.rows // 20)
        own, curve = best(lambda: sk.msd(rows, frame_time_s=1.0, class_of="all", by="pooled"))
        named = rows.rename(columns={"y_nm": "y", "x_nm": "x"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other, theirs = best(lambda: trackpy.emsd(named, 1, 1, max_lagtime=10), 1)
        np.testing.assert_allclose(curve["msd_nm2"], theirs, rtol=1e-9)
        found.append(("msd", len(rows), own, "trackpy", other))
    table = pd.DataFrame(found, columns=["what", "rows", "seconds", "beside", "its_seconds"])
    table["Mrows_per_s"] = table["rows"] / table["seconds"] / 1e6
    table["factor"] = table["its_seconds"] / table["seconds"]
    print(table.round(3).to_string(index=False))
    if words.json:
        with open(words.json, "w", encoding="utf-8") as file:
            json.dump({"machine": platform.platform(), "rows": table.to_dict("records")}, file, indent=1)


if __name__ == "__main__":
    main()
