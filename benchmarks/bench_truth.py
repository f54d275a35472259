"""From pixels to kinetics on a long simulated movie: every number beside the truth, its interval
and the limit of a perfect observer.

The preset ``long`` (vacancies that hop, bind to and leave dopants, are made and healed), or
another, in fewer frames and a smaller field: learned, detected, linked and counted as a run does
it. "inside" says whether the 95 % interval holds the true value; of 20 numbers one may fail. The
truth is that of what the frames show, and for D that of a defect alone, as `fit_diffusion` says it;
"told" are the hops that happened, of which there are fewer beside dopants and other vacancies. Of
the methods of D the one counts that the run recommends. V_S2 does not hop: where one parts and
another one forms on the next site within a frame time, a link takes both for one.
Raw names make changes that never were, so the raw transitions and dwell times are told apart from
those with the names corrected. For rates "told" is that of all that was simulated, in sight or not.

    python benchmarks/bench_truth.py --frames 1000 --size 384 -o truth.json
    python benchmarks/bench_truth.py --preset paper --frames 500 --size 512 --seeds 20  # the bar: 18
    python benchmarks/bench_truth.py --preset paper --frames 500 --size 192 --seeds 20 --kept w.json

With --kept each call does one experiment that the file does not hold yet, and adds it.
"""

import argparse
import os
import platform
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask
import numpy as np
import pandas as pd
from keeping import keep

import stemkin as sk
from stemkin.config import RunConfig
from stemkin.results.store import Store
from stemkin.simulation.writing import write_simulation
from stemkin.tables import POOLED

TABLES = ("diffusion", "transitions", "hidden_transitions", "dwell_times", "abundances", "creation")
RAW_NAMES = ("transitions", "dwell_times")
WANTED = {"probability": ("Mo_W → Mo_W+V_S (lag 1)", "Mo_W+V_S → Mo_W (lag 1)", "V_S → V_S2 (lag 1)", "V_S2 → V_S (lag 1)"), "rate_per_s": ("Mo_W → Mo_W+V_S", "Mo_W+V_S → Mo_W", "V_S → V_S2", "V_S2 → V_S")}  # fmt: skip


def compare(frames, size, n_movies, seed, folder, preset="long"):
    """Return the scored estimates of all movies pooled."""
    movies = [
        sk.simulate_movie(
            preset, n_frames=frames, shape=(size, size), seed=seed + i, name=f"{preset}-{i}"
        )
        for i in range(n_movies)
    ]
    write_simulation(movies, os.path.join(folder, "movies"))
    # What the run thinks of its own numbers is not asked: the truth is here.
    config = RunConfig().with_values(kinetics={"self_check_runs": 0})
    results = os.path.join(folder, "results")
    with dask.config.set(scheduler="synchronous"):
        sk.run(os.path.join(folder, "movies"), results, config=config, until="kinetics")
    store, truths = (
        Store.at(results),
        [sk.truth_of(movie) for movie in movies],
    )
    classes = store.read_table("classes.parquet", columns=["class_id", "name"])
    kinds = {
        int(i): str(name)
        for i, name in zip(classes["class_id"], classes["name"], strict=True)
        if name in truths[0].kinds
    }
    parts = []
    for name in TABLES:
        table = store.read_table(f"{name}.parquet")
        table = table[table["movie"] == POOLED]
        if "recommended" in table.columns:
            table = table[table["recommended"]]
        table = table.reset_index(drop=True)
        parts.append(sk.score(table, truths, classes=kinds).estimates.assign(table=name))
    found = pd.concat(parts, ignore_index=True)
    wanted = [
        row["what"] in WANTED[row["quantity"]] if row["quantity"] in WANTED else True
        for row in found.to_dict("records")
    ]
    nothing = (found["true"] == 0) & (found["found"] == 0)
    found = found[np.array(wanted) & found["found"].notna() & ~nothing].rename(
        columns={"counted": "told"}
    )
    found["relative_error"] = np.where(
        found["true"] != 0, found["found"] / found["true"].where(found["true"] != 0) - 1, np.nan
    )
    inside = (found["low"] <= found["true"]) & (found["true"] <= found["high"])
    return found.assign(inside=inside.where(found["inside"].notna(), None))


def by_seed(found):
    """Return of each estimate in how many seeds its interval holds the truth, and its mean error."""
    judged = found.dropna(subset="inside").astype({"inside": bool})
    groups = judged.groupby(["table", "quantity", "what"], sort=False)
    return groups.agg(
        seeds=("inside", "size"), held=("inside", "sum"), mean_error=("relative_error", "mean")
    ).reset_index()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="long", help="movie that is simulated")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--size", type=int, default=256, help="edge of the frames [px]")
    parser.add_argument("--movies", type=int, default=1)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--seeds", type=int, default=1, help="experiments, each by itself")
    parser.add_argument("-o", "--output", help="JSON file")
    parser.add_argument("--kept", help="file to which experiments are added, one a call")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(
        machine,
        f"{words.movies} movie(s) {words.preset!r} of {words.frames} frames {words.size} x "
        f"{words.size}",
        sep="; ",
        flush=True,
    )
    begun = time.perf_counter()
    parts, seeds = [], list(range(words.seeds))
    if words.kept and os.path.exists(words.kept):
        kept = pd.read_json(words.kept, orient="records", lines=True)
        parts.append(kept)
        done = set(kept["seed"])
        seeds = [i for i in seeds if words.seed + i * words.movies not in done]
    if words.kept:
        seeds = seeds[:1]
    for i in seeds:
        seed, own = words.seed + i * words.movies, time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            part = compare(words.frames, words.size, words.movies, seed, folder, words.preset)
        parts.append(part.assign(seed=seed))
        if words.kept:
            parts[-1].to_json(words.kept, orient="records", lines=True, mode="a")
        if words.seeds > 1:
            print(f"seed {seed}: {time.perf_counter() - own:.0f} s", flush=True)
    found = pd.concat(parts, ignore_index=True)
    columns = [
        "seed",
        "table",
        "quantity",
        "what",
        "true",
        "told",
        "found",
        "low",
        "high",
        "limit",
        "relative_error",
        "inside",
    ]
    print(found[columns].round(5).to_string(index=False))
    judged = found.dropna(subset="inside").astype({"inside": bool})
    raw = judged["table"].isin(RAW_NAMES)
    for what, own in (("by raw names", judged[raw]), ("all others", judged[~raw])):
        print(f"{what}: {int(own['inside'].sum())} of {len(own)} intervals hold the truth")
    if words.seeds > 1:
        print(by_seed(found).round(3).to_string(index=False))
    print(f"{time.perf_counter() - begun:.0f} s")
    size = {"preset": words.preset, "frames": words.frames, "size": words.size}
    keep({**size, "rows": found[columns].to_dict("records")}, words.output)


if __name__ == "__main__":
    main()
