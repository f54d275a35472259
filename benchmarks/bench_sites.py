"""Hop rates from correlations of site traces: bias, spread and coverage, beside perfect eyes.

Worlds of 2,704 chalcogen sites with 50 vacancies that hop 0.14 times a frame, as signals with noise
of sd 1 (`simulate_traces`). For each depth of a vacancy (the d' of a site in one frame): the mean of
the hop rate over the true one, its relative spread, how often the 95 % interval holds the truth, and
the relative spread of counting every hop with perfect eyes.

    python benchmarks/bench_sites.py --frames 100 --n 20 --depths 8 4 2 1.4

``--dopants`` adds dopants that catch vacancies, creation and healing.
"""

import argparse
import platform
import time

import numpy as np
from keeping import keep

from stemkin.simulation import simulate_traces
from stemkin.sites import hopping, lattice_correlation

DOPANTS = {
    "dopant_fraction": 0.03,
    "vacancy_fraction": 0.01,
    "hop_rate_per_s": 0.12,
    "frame_time_s": 2.25,
    "cross_section_barn": 0.3,
    "healing_rate_per_s": 0.0044,
    "complex_healing_rate_per_s": 0.0044,
}
"""Rates like those of the movie of the paper."""


def measured(seed, frames, depths, rates):
    """Return one dictionary per depth, of one world."""
    found = []
    for depth in depths:
        world = simulate_traces(n_frames=frames, depth=depth, seed=seed, **rates)
        begin = time.perf_counter()
        row = hopping(lattice_correlation(world.traces)).iloc[0]
        hops = world.hop_rate_per_s * world.settings.instrument.frame_time_s
        found.append(
            {
                "depth": depth,
                "ratio": row["hop_rate_per_s"] / world.hop_rate_per_s,
                "low": row["hop_low"] / world.hop_rate_per_s,
                "high": row["hop_high"] / world.hop_rate_per_s,
                "n_ratio": row["n_mobile"] / world.n_vacancies,
                "chi2": row["chi2"] / row["freedom"],
                "counting": 1 / np.sqrt(hops * frames * world.n_vacancies),
                "seconds": time.perf_counter() - begin,
            }
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--n", type=int, default=20, help="worlds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--depths", type=float, nargs="+", default=[8.0, 4.0, 2.0, 1.4])
    parser.add_argument("--dopants", action="store_true")
    parser.add_argument("--json", help="where to write every world")
    args = parser.parse_args()
    print(platform.platform(), platform.processor(), flush=True)
    rates = DOPANTS if args.dopants else {}
    rows = []
    for seed in range(args.first, args.first + args.n):
        rows += measured(seed, args.frames, args.depths, rates)
        keep({"rows": rows}, args.json)
    print("depth  worlds  mean    spread  half-width  covered  counting  chi2  seconds")
    for depth in args.depths:
        own = [row for row in rows if row["depth"] == depth]
        value = {name: np.array([row[name] for row in own]) for name in own[0]}
        covered = ((value["low"] <= 1) & (value["high"] >= 1)).mean()
        half = np.median(value["high"] - value["low"]) / 2
        print(
            f"{depth:5.1f}  {len(own):6d}  {np.nanmean(value['ratio']):.3f}   "
            f"{np.nanstd(value['ratio']):.3f}   {half:.3f}       {covered:.3f}    "
            f"{value['counting'].mean():.3f}     {value['chi2'].mean():.2f}  "
            f"{value['seconds'].mean():.1f}"
        )


if __name__ == "__main__":
    main()
