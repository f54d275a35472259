"""How often 95 % intervals of D hold the truth, and how close the errors are to the Cramer-Rao bound, on simulated tracks.

python benchmarks/bench_kinetics.py --sets 400 --json kinetics.json
"""

import argparse
import json
import os
import platform

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from stemkin.kernels.brownian import Evidence, most_likely
from stemkin.kernels.likelihood import likelihood_numbers


def walks(n_tracks, n_steps, rng, *, D, sigma, hops):
    steps = rng.normal(0, np.sqrt(2 * D), (n_tracks, n_steps, 2))
    n_hops = rng.poisson(hops, (n_tracks, n_steps))
    for k in range(n_hops.max(initial=0)):
        angle = rng.integers(6, size=n_hops.shape) * np.pi / 3
        steps += np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (n_hops > k)[..., None]
    places = np.concatenate([np.zeros((n_tracks, 1, 2)), steps.cumsum(axis=1)], axis=1)
    return places + rng.normal(0, sigma, places.shape)


def bound(n_tracks, n_steps, D, sigma):
    """Relative Cramer-Rao error of D with unknown localisation error."""
    second = 2 * np.eye(n_steps) - np.eye(n_steps, k=1) - np.eye(n_steps, k=-1)
    inverse = np.linalg.inv(2 * D * np.eye(n_steps) + sigma**2 * second)
    slopes = [2 * inverse, second @ inverse]
    information = n_tracks * np.array([[np.trace(a @ b) for a in slopes] for b in slopes])
    return np.sqrt(np.linalg.inv(information)[0, 0]) / D


def regime(n_sets, n_tracks, n_steps, *, D=0.0, sigma=0.0, hops=0.0):
    n = n_sets * n_tracks
    places = walks(n, n_steps, np.random.default_rng(1), D=D, sigma=sigma, hops=hops)
    track, frame = np.repeat(np.arange(n), n_steps + 1), np.tile(np.arange(n_steps + 1), n)
    each = likelihood_numbers(track, frame, places[..., 0].ravel(), places[..., 1].ravel(), track, n_units=n)
    fits = [most_likely(Evidence(sums, 1.0)) for sums in each.reshape(n_sets, n_tracks, -1).sum(axis=1)]
    truth = D + hops / 4
    ratio = np.array([fit.D for fit in fits]) / truth
    least = bound(n_tracks, n_steps, D, sigma) if D else 1 / np.sqrt(n_tracks * n_steps * hops)
    return {
        "motion": "Brownian" if D else "hops", "tracks": n_tracks, "steps": n_steps, "snr": np.sqrt(D) / sigma if D else np.nan,
        "hops_per_frame": hops, "mean": ratio.mean(), "sd": ratio.std(), "bound": least,
        "efficiency": least**2 / ((ratio - 1) ** 2).mean(), "cover": np.mean([f.low <= truth <= f.high for f in fits]),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--json")
    words = parser.parse_args()
    print(platform.platform(), platform.python_version(), f"{os.cpu_count()} cores, {words.sets} data sets per regime")
    rows = [
        regime(words.sets, tracks, steps, D=1.0, sigma=1 / snr)
        for tracks, steps in ((1, 10), (1, 30), (1, 100), (30, 30))
        for snr in (0.5, 1, 2, 5)
    ]
    rows += [regime(words.sets, t, n, hops=h, sigma=0.05) for t, n, h in ((1, 300, 0.1), (30, 30, 0.1), (30, 30, 0.5))]
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    if words.json:
        with open(words.json, "w", encoding="utf-8") as file:
            json.dump({"machine": platform.platform(), "regimes": table.to_dict("records")}, file, indent=1)


if __name__ == "__main__":
    main()
