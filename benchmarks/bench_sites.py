"""Hop rates from correlations of site traces: bias, spread and coverage, beside perfect eyes.

Worlds of 2,704 chalcogen sites with 50 vacancies that hop 0.14 times a frame, as signals with noise
of sd 1 (`simulate_traces`). For each depth of a vacancy (the d' of a site in one frame): the mean of
the hop rate over the true one, its relative spread, how often the 95 % interval holds the truth, and
the relative spread of counting every hop with perfect eyes.

    python benchmarks/bench_sites.py --frames 100 --n 20 --depths 8 4 2 1.4

``--dopants`` adds dopants that catch vacancies, creation and healing. ``--nulls`` asks worlds in which
nothing hops: in how many `hopping` says so, and in how many its interval begins at 0. ``--memory`` asks
how long correlations take, and how much memory, by the number of frames.
"""

import argparse
import platform
import resource
import time

import dask
import dask.array as da
import numpy as np
import pandas as pd
from keeping import keep

from stemkin.simulation import TraceHaze, simulate_traces
from stemkin.sites import hopping, lattice_correlation
from stemkin.traces import SiteTraces

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


NULLS = {
    "vacancies that stay": {"hop_rate_per_s": 0.0},
    "no vacancies": {"vacancy_fraction": 0.0},
    "haze that drifts": {"vacancy_fraction": 0.0, "haze": TraceHaze(0.5, 2.0, 0.02)},
    "haze that flickers": {"vacancy_fraction": 0.0, "haze": TraceHaze(0.5, 2.0, 0.0, 10.0)},
}


def ask_nulls(seeds, frames, depths):
    """Print what is said of worlds in which nothing hops."""
    print("nothing hops        depth  worlds  said so  from 0  chi2")
    for name, rates in NULLS.items():
        for depth in depths:
            rows = []
            for seed in seeds:
                world = simulate_traces(
                    n_frames=frames, shape=(30, 30), depth=depth, seed=seed, **rates
                )
                row = hopping(lattice_correlation(world.traces)).iloc[0]
                said, at_0 = row["basis"] == "nothing hops", row["hop_low"] == 0
                rows.append((said, at_0, row["chi2"] / row["freedom"]))
            said, at_0, chi2 = np.mean(rows, axis=0)
            print(
                f"{name:18s}  {depth:5.1f}  {len(rows):6d}  {said:.2f}     {at_0:.2f}    {chi2:.2f}"
            )


def ask_memory(frames):
    """Print what correlations of a movie of so many frames cost; one length a process."""
    rng = np.random.default_rng(0)
    u, v = np.divmod(np.arange(2704), 52)
    values = da.map_blocks(
        lambda block_info=None: rng.standard_normal(
            np.diff(block_info[None]["array-location"], axis=1).ravel(), dtype=np.float32
        ),
        chunks=(da.core.normalize_chunks(128, (frames,), dtype=np.float32)[0], (2704,)),
        dtype=np.float32,
    )
    traces = SiteTraces.of(values, pd.DataFrame({"u": u, "v": v}), frame_time_s=1.0, depth=2.0)
    with dask.config.set(scheduler="synchronous"):
        used, begin = time.process_time(), time.perf_counter()
        lattice_correlation(traces, max_lag_frames=64)
        used, took = time.process_time() - used, time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{frames:,} frames of 2,704 sites, 64 lags: {used:.1f} s of processor ({took:.1f} s), "
        f"peak of the process {peak:.0f} MiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--n", type=int, default=20, help="worlds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--depths", type=float, nargs="+", default=[8.0, 4.0, 2.0, 1.4])
    parser.add_argument("--dopants", action="store_true")
    parser.add_argument("--json", help="where to write every world")
    parser.add_argument("--nulls", action="store_true")
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    print(platform.platform(), platform.processor(), flush=True)
    if args.nulls:
        ask_nulls(range(args.first, args.first + args.n), args.frames, args.depths)
        return
    if args.memory:
        ask_memory(args.frames)
        return
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
