"""Chances of vacancies at sites: recall and calibration, beside single frames.

Worlds of chalcogen sites with 1.85 % vacancies that hop 0.14 times a frame, as signals with noise of
sd 1 (`simulate_traces`). For each depth of a vacancy (the d' of a site in one frame; 8 at a usual
dose, 4 at a quarter, 2 at a sixteenth): how many vacancies score higher than all but one other site
per 2,704, by the signal of single frames and by `occupancy`; the expected number over the true one;
how often the interval of the expected number holds the true one; the share of stays, found and true.

    python benchmarks/bench_occupancy.py --n 3 --depths 4 2.8 2
"""

import argparse
import platform
import time

import numpy as np

from stemkin.simulation import simulate_traces
from stemkin.sites import occupancy

SITES_OF_A_FRAME = 2704


def recall(score, truth):
    """Return the share of taken sites that score higher than all but one other per frame."""
    false = np.sort(score[~truth])[::-1]
    return (score[truth] > false[round(truth.size / SITES_OF_A_FRAME)]).mean()


def measured(seed, depth, frames, edge):
    """Return the numbers of one world."""
    world = simulate_traces(n_frames=frames, shape=(edge, edge), depth=depth, seed=seed)
    truth, begin = world.occupancy > 0, time.perf_counter()
    found = occupancy(world.traces)
    chances, number = found.chances.compute(), found.populations()
    true = truth.sum(axis=1)
    return [
        recall(-world.traces.values.compute(), truth),
        recall(chances, truth),
        chances.sum() / truth.sum(),
        ((number["low"] - 0.5 <= true) & (true <= number["high"] + 0.5)).mean(),
        found.look.hops / 0.14,
        time.perf_counter() - begin,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=3, help="worlds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--edge", type=int, default=36, help="sites along each lattice vector")
    parser.add_argument("--depths", type=float, nargs="+", default=[4.0, 2.8, 2.0])
    args = parser.parse_args()
    print(platform.platform(), platform.processor(), flush=True)
    print("depth  worlds  single  occupancy  number  held   hops   seconds")
    for depth in args.depths:
        seeds = range(args.first, args.first + args.n)
        rows = np.array([measured(seed, depth, args.frames, args.edge) for seed in seeds])
        single, both, number, held, hops, seconds = rows.mean(axis=0)
        print(
            f"{depth:5.1f}  {args.n:6d}  {single:.3f}   {both:.3f}      {number:.3f}   {held:.3f}"
            f"  {hops:.3f}  {seconds:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
