"""Chains of dopants at doses at which no frame shows them: bias, coverage, and states that are right.

Worlds of dopants beside which a vacancy is caught, turns and is let go, as signals with noise of sd 1
(`simulate_traces`). For each depth of a vacancy (2 at a sixteenth of a usual dose): the mean of each rate
over that which perfect eyes count in the same states, how often the 95 % interval holds the true rate
(of detachment and rotation; that of attachment follows from who comes by), and the share of frames in
which the likeliest state is right.

    python benchmarks/bench_chains.py --n 12 --depths 2 1.5
"""

import argparse
import platform
import time

import numpy as np

from stemkin.simulation import simulate_traces
from stemkin.sites import dopant_chains

RATES = {
    "dopant_fraction": 0.03,
    "rotation_rate_per_s": 0.1,
    "detach_rate_per_s": 0.01,
    "vacancy_fraction": 0.02,
    "hop_rate_per_s": 0.1,
}
TRUE = {"detachment": 0.01, "rotation": 0.05}


def counted(states):
    """Return the rates that perfect eyes see in (t, dopant) states, per frame."""
    before, after = states[:-1], states[1:]
    free, bound = (before == 0).sum(), (before > 0).sum()
    return {
        "attachment": ((before == 0) & (after > 0)).sum() / free,
        "detachment": ((before > 0) & (after == 0)).sum() / bound,
        "rotation": ((before > 0) & (after > 0) & (after != before)).sum() / (2 * bound),
    }


def measured(seed, frames, depth):
    """Return the numbers of one world."""
    world = simulate_traces(n_frames=frames, shape=(24, 24), depth=depth, seed=seed, **RATES)
    begin = time.process_time()
    chain = dopant_chains(world.traces, world.dopants)
    used, rates = time.process_time() - begin, chain.rates.set_index("quantity")
    eyes = counted(world.states)
    row = {"right": (chain.states == world.states).mean(), "seconds": used}
    for name in eyes:
        row[name] = rates.loc[name, "rate_per_s"] / eyes[name]
    for name, rate in TRUE.items():
        row[f"{name} held"] = rates.loc[name, "low"] < rate < rates.loc[name, "high"]
        row[f"{name} true"] = rates.loc[name, "rate_per_s"] / rate
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=12, help="worlds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--depths", type=float, nargs="+", default=[2.0, 1.5])
    args = parser.parse_args()
    print(platform.platform(), platform.processor(), flush=True)
    for depth in args.depths:
        seeds = range(args.first, args.first + args.n)
        rows = [measured(seed, args.frames, depth) for seed in seeds]
        said = ", ".join(f"{name} {np.mean([row[name] for row in rows]):.3f}" for name in rows[0])
        print(f"depth {depth:g}, {args.n} worlds of {args.frames} frames: {said}", flush=True)


if __name__ == "__main__":
    main()
