"""Do defects that are put into frames tell how many of the true ones are found?

In worlds drawn at random (`stemkin.simulation.worlds`) a model is learned without the truth, known
defects are put into the frames (`stemkin.inject`), and the shares that are found stand beside the
recall of the defects that were simulated, kind by kind. Both are counted where `bench_worlds.py`
judges: away from edges, rims and adsorbates. A recall has an error of its own, of which defects
that stay (dopants) make few independent looks: their number is that of different places.

    python benchmarks/bench_injection.py --n 8 --first 7000 --ideal 4
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench_worlds import NEAR_NM, _judged, read_world
from scipy.special import betaincinv

import stemkin as sk
from stemkin.injection import efficiencies, inject
from stemkin.kernels.common.matching import match_points


def recalls(truth: Any, rows: pd.DataFrame, frames: list[int]) -> pd.DataFrame:
    """Return how many of each simulated kind there are, are found, and stand at how many places."""
    near, seen = NEAR_NM / truth.pixel_size_nm, []
    for frame in frames:
        true = truth.defects_between(frame, frame + 1)
        places = true[["y", "x"]].to_numpy()
        hit = np.zeros(len(true), bool)
        at = rows.loc[rows["frame"] == frame, ["y", "x"]].to_numpy(float)
        hit[match_points(places, at, max_distance=near)[0]] = True
        seen.append(true.assign(hit=hit)[_judged(truth, frame, places)])
    every = pd.concat(seen)
    told = every.groupby("kind").agg(n=("hit", "size"), hit=("hit", "sum"), own=("site", "nunique"))
    return told.assign(recall=told["hit"] / told["n"])


def compared(world: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return, for each kind of a world, its recall and what injection says of it."""
    movie, truth = read_world(world, options.frames, options.edge, options.cache, options.ideal)
    model = sk.learn(movie, n_frames=options.frames, material=truth.settings.material)
    rows = sk.detect(movie, model, frames_per_block=4).compute()
    try:
        injected = inject(movie, model, n_frames=options.frames, seed=world)
    except ValueError as error:
        print(world, error)
        return []
    frames = np.flatnonzero(truth.frames["status"].to_numpy() == "ok").tolist()
    judged = np.concatenate(
        [
            _judged(truth, int(frame), own[["y", "x"]].to_numpy()) & (frame in frames)
            for frame, own in injected.groupby("frame", sort=False)
        ]
    )
    shares = efficiencies(injected[judged])
    names = model.classes.set_index("class_id")["name"]
    true, found = recalls(truth, rows, frames), []
    for row in shares.to_dict("records"):
        kind = names[row["class_id"]]
        if kind not in true.index:
            continue
        own = true.loc[kind]
        # places that are looked at again and again are as many looks as there are places
        n = min(own["n"], 2 * own["own"])
        low, high = betaincinv(own["recall"] * n + 0.5, n - own["recall"] * n + 0.5, [0.025, 0.975])
        found.append(
            {
                "world": world,
                "kind": kind,
                "n_true": int(own["n"]),
                "recall": own["recall"],
                "recall_low": low,
                "recall_high": high,
                "efficiency": row["efficiency"],
                "low": row["low"],
                "high": row["high"],
                "depth": row["depth"],
                "agrees": row["low"] <= high and low <= row["high"],
                "holds": row["low"] <= own["recall"] <= row["high"],
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=8, help="worlds")
    parser.add_argument("--first", type=int, default=7000, help="seed of the first one")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--edge", type=int, default=384, help="pixels")
    parser.add_argument("--ideal", type=float, default=4.0, help="as of bench_worlds.py")
    parser.add_argument("--cache", type=Path, help="folder in which rendered movies are kept")
    parser.add_argument("-o", "--out", type=Path, help="write the table here")
    options = parser.parse_args()
    print(platform.platform())
    table = pd.DataFrame(
        [
            row
            for world in range(options.first, options.first + options.n)
            for row in compared(world, options)
        ]
    )
    said = table.round(3).to_string(index=False)
    off = table["efficiency"] - table["recall"]
    said += (
        f"\nintervals meet in {table['agrees'].mean():.0%} of {len(table)} kinds; the recall lies in "
        f"the interval in {table['holds'].mean():.0%}; efficiency less recall {off.mean():+.3f} on "
        f"average, {np.abs(off).median():.3f} in the median"
    )
    print(said)
    if options.out:
        options.out.write_text(f"{platform.platform()}\n{said}\n")


if __name__ == "__main__":
    main()
