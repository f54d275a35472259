"""Whether packed counting and the compiled pass are worth their files: the three ways in which
transitions are counted, one core, equal results checked before times are taken.

    python benchmarks/bench_counting.py --rows 100000 1000000 4000000 -o counting.json

plain     tracks are put in order, then rows some places apart are compared (`kernels.chains.counting`)
packed    particle, frame and class in one whole number each, which are sorted (`packed_counting`)
compiled  one pass in the order of time, by numba (`single_pass_counting`); lag 1 alone

Tracks of 50 frames, one row in ten missed, four classes; sorted by frame as a linker leaves them, or
in random order. CPU seconds, the least of three.
"""

import argparse
import os
import platform
from contextlib import ExitStack
from functools import partial
from unittest import mock

import numpy as np
from bench_tables import best, tracks
from keeping import keep

from stemkin.kinetics import counts as counting

WAYS = {
    "plain": {"packed": lambda *_, **__: None, "follow_counts": lambda *_, **__: None},
    "packed": {"follow_counts": lambda *_, **__: None},
    "compiled": {},
}


def counted(rows, max_lag, way):
    with ExitStack() as stack:
        for name, other in WAYS[way].items():
            stack.enter_context(mock.patch.object(counting, name, other))
        return counting.count_transitions(rows, max_lag=max_lag)


def compare(n_rows):
    in_time = tracks(n_rows)
    for order, rows in (("in time", in_time), ("shuffled", in_time.sample(frac=1, random_state=0))):
        for max_lag in (1, 10):
            ways = [way for way in WAYS if way != "compiled" or max_lag == 1]
            wanted = counted(rows, max_lag, "plain")
            seconds = {}
            for way in ways:
                found = counted(rows, max_lag, way)
                assert found.keys() == wanted.keys()
                assert all(np.array_equal(found[key], wanted[key]) for key in wanted)
                seconds[way], _ = best(partial(counted, rows, max_lag, way), 3)
            yield {"rows": len(rows), "order": order, "max_lag": max_lag, **seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("-o", "--out")
    given = parser.parse_args()
    about = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(about)
    found = []
    for n_rows in given.rows:
        for row in compare(int(n_rows)):
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
            found.append(row)
    keep({"seconds": found}, given.out)


if __name__ == "__main__":
    main()
