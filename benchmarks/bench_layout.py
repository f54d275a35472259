"""How long `link` takes to lay out its graph, from 50 blocks to 16,000 (a terabyte of pixels).

    python benchmarks/bench_layout.py [-o FILE]

Nothing is computed: the blocks cannot even be read. `layout` is the call of the verb, `graph` what
Dask does besides until tasks could be sent; both in seconds of one core (the least of three), and
as multiples of a yardstick, the time in which the same Python makes as many tuples as the graph has
tasks and puts them into a dictionary. `exponent`: by which power of the number of blocks the layout
grew since the row above; 1 is linear.
"""

import argparse
import itertools
import math
import os
import platform
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask.dataframe as dd
import pandas as pd
from keeping import keep

from stemkin import link, tables
from stemkin.rows.table import with_experiment

BLOCKS = [50, 100, 200, 782, 4000, 16_000]
N_TUPLES = 200_000


def unread(number):
    """Stand for a block of detections."""
    raise AssertionError(number)


def detections(n_blocks):
    rows = dd.from_map(unread, range(n_blocks), meta=tables.empty("detections"))
    movies = pd.DataFrame({"movie": ["m"], "pixel_size_nm": [0.03]})
    return with_experiment(rows, tables.Experiment(movies), movie_of_partition=["m"] * n_blocks)


def least_time(function, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def tuples(n_tasks):
    return {("task", number): (len, ("task", number - 1)) for number in range(n_tasks)}


def measure(n_blocks):
    layout_s, tracks = least_time(lambda: link(detections(n_blocks), max_step_nm=0.5))
    graph_s, graph = least_time(lambda: tracks.optimize().__dask_graph__())
    yardstick_s = least_time(lambda: tuples(N_TUPLES))[0] * len(graph) / N_TUPLES
    return {
        "blocks": n_blocks,
        "partitions": tracks.npartitions,
        "tasks": len(graph),
        "tasks_per_block": len(graph) / n_blocks,
        "layout_s": layout_s,
        "graph_s": graph_s,
        "yardsticks": (layout_s + graph_s) / yardstick_s,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, nargs="+", default=BLOCKS)
    parser.add_argument("-o", "--json", help="also write the results to this file")
    options = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine)
    measure(10)  # libraries are loaded
    rows = [measure(n_blocks) for n_blocks in options.blocks]
    for before, row in itertools.pairwise(rows):
        growth = math.log(row["layout_s"] / before["layout_s"])
        row["exponent"] = growth / math.log(row["blocks"] / before["blocks"])
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    keep({"sizes": rows}, options.json)


if __name__ == "__main__":
    main()
