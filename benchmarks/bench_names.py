"""How often intervals of rates hold the truth where names are wrong for 1, 2, 5 or 10 frames.

Chains of three classes are simulated directly, no pixels. Five names in a hundred are wrong; while
the class stays a name is drawn anew in one frame of 1, 2, 5 or 10, and at every change of class
("redrawn"), or a wrong name goes on through the change ("through changes", which no model here
assumes). The confusion matrix is known exactly, or as measured on 300 defects of each class. Rates
are counted as they are (raw), corrected for names that are wrong independently, for names that
last, and by what the names' own test recommends.

    python benchmarks/bench_names.py --sets 200 -o names.json
"""

import argparse
import os
import platform
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from bench_kinetics import as_movies, chains, generator
from keeping import keep

import stemkin as sk

OFF = ~np.eye(3, dtype=bool)
Q = generator(np.array([[0, 0.02, 0.01], [0.02, 0, 0.02], [0.01, 0.02, 0]]))
CONFUSION = np.full((3, 3), 0.025) + np.eye(3) * 0.925


def misnamed(state, frames, rng, *, through=False):
    """Names of (n_tracks, n_frames) states, each drawn anew in one of so many `frames`."""
    n, length = state.shape
    name, bounds = np.empty_like(state), CONFUSION.cumsum(axis=1)
    for t in range(length):
        drawn = (rng.random(n)[:, None] > bounds[state[:, t]]).sum(axis=1)
        if t:
            stays = state[:, t] == state[:, t - 1]
            if through:
                stays |= name[:, t - 1] != state[:, t - 1]
            kept = stays & (rng.random(n) >= 1 / frames)
            drawn = np.where(kept, name[:, t - 1], drawn)
        name[:, t] = drawn
    return name


def one_set(rng, frames, n_measured, *, through, n_tracks, n_frames):
    """Return way → (total rate, held, below, above) of the six rates, and the row of the test."""
    names = misnamed(chains(Q, n_tracks, n_frames, rng), frames, rng, through=through)
    rows, told = as_movies(names, 1), CONFUSION
    if n_measured is not None:
        drawn = np.array([rng.multinomial(n_measured, row) for row in CONFUSION]) + 0.5 / 3
        told = drawn / drawn.sum(axis=1, keepdims=True)
    found = sk.name_errors(rows, confusion=told, n_measured=n_measured, frame_time_s=1.0)
    tables = {"raw": sk.transitions(rows, frame_time_s=1.0).table}
    tables |= dict(iter(found.hidden.groupby("errors")))
    tables["recommended"] = found.hidden[found.hidden["recommended"]]
    numbers = {}
    for way, table in tables.items():
        rate, low, high = (
            table[c].to_numpy().reshape(3, 3)[OFF] for c in ("rate_per_s", "rate_low", "rate_high")
        )
        truth = Q[OFF]
        numbers[way] = (
            rate.sum() / truth.sum() - 1,
            ((low <= truth) & (truth <= high)).mean(),
            (high < truth).mean(),
            (low > truth).mean(),
            (high - low).mean(),
        )
    return numbers, found.table.iloc[0]


def regime(frames, n_measured, *, through, n_sets, n_tracks, n_frames):
    """Return one line for each way to take wrong names."""
    rng, ways, kept, lasting = np.random.default_rng(round(frames)), {}, [], []
    for _ in range(n_sets):
        numbers, row = one_set(
            rng, frames, n_measured, through=through, n_tracks=n_tracks, n_frames=n_frames
        )
        for way, own in numbers.items():
            ways.setdefault(way, []).append(own)
        kept.append(row["kept_low"] <= 1 - 1 / frames <= row["kept_high"])
        lasting.append(row["recommended"] == "lasting")
    known = {
        "frames": frames,
        "world": "through changes" if through else "redrawn",
        "confusion": "exact" if n_measured is None else f"of {n_measured}",
    }
    for way, own in ways.items():
        bias, cover, below, above, width = np.mean(own, axis=0)
        line = {"way": way, "bias": bias, "cover": cover, "too_low": below, "too_high": above}
        line |= {"width": width, "said_lasting": np.mean(lasting), "kept_held": np.mean(kept)}
        yield known | line


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=200, help="data sets per regime")
    parser.add_argument("--tracks", type=int, default=100)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--lasts", type=float, nargs="+", default=[1, 2, 5, 10], help="[frames]")
    parser.add_argument("--worlds", nargs="+", default=["exact", "measured", "through"])
    parser.add_argument("-o", "--output", help="JSON file")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine, f"{words.sets} data sets per regime", sep="; ", flush=True)
    worlds = {
        "exact": {"n_measured": None, "through": False},
        "measured": {"n_measured": 300, "through": False},
        "through": {"n_measured": None, "through": True},
    }
    lines = []
    for world in words.worlds:
        for frames in words.lasts:
            begun = time.perf_counter()
            size = {"n_sets": words.sets, "n_tracks": words.tracks, "n_frames": words.frames}
            own = list(regime(frames, **worlds[world], **size))
            lines += own
            print(f"{time.perf_counter() - begun:.0f} s", flush=True)
            print(pd.DataFrame(own).round(4).to_string(index=False), flush=True)
    keep({"sets": words.sets, "lines": lines}, words.output)


if __name__ == "__main__":
    main()
