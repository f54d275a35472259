"""How often the intervals of D hold the truth, world by world, with the verbs' own defaults.

Worlds are tables of tracks, without pixels; each is simulated many times with seeds of their own,
and the tracks of each set are shuffled and held still as well, where D is 0.

    python benchmarks/bench_regimes.py                    # 200 sets of each world, a few minutes
    python benchmarks/bench_regimes.py --sets 2000 --only fields --json out.json
"""

import argparse
import json
import platform
import time

import numpy as np
import pandas as pd
from scipy import linalg

import stemkin as sk
from stemkin.kernels.chains.generator import fit_generator
from stemkin.tables import Experiment

A_NM = 0.3153
PIXEL_NM = 0.03
METHODS = ("mle", "cve", "hop")


def in_a_field(rng, edge_nm, n_tracks, n_frames, per_frame, sigma_nm, step=None):
    """Particles on an endless plane, seen in a square field whose border cuts their tracks; with
    `step` they diffuse by Gaussian steps [nm], else they hop."""
    margin = 4 * A_NM + 3 * (step or 0)
    n = round(n_tracks * (1 + 2 * margin / edge_nm) ** 2)
    place = rng.uniform(-margin, edge_nm + margin, (n, 2))
    name, inside = np.arange(n), np.zeros(n, bool)
    frames, names, places = [], [], []
    for frame in range(n_frames):
        now = ((place > 0) & (place < edge_nm)).all(axis=1)
        name = np.where(now & ~inside, rng.integers(2**40, size=n), name)
        inside = now
        frames.append(np.full(now.sum(), frame))
        names.append(name[now])
        places.append(place[now] + rng.normal(0, sigma_nm, (now.sum(), 2)))
        if step is not None:
            place = place + rng.normal(0, step, place.shape)
        else:
            hops = rng.poisson(per_frame, n)
            for i in range(hops.max(initial=0)):
                angle = np.radians(60 * rng.integers(6, size=n))
                move = np.stack([np.sin(angle), np.cos(angle)], axis=1)
                place = place + A_NM * (hops > i)[:, None] * move
        # who wanders off comes back on the other side: as many come in as go out
        place = (place + margin) % (edge_nm + 2 * margin) - margin
    y, x = np.concatenate(places).T
    return pd.DataFrame(
        {
            "frame": np.concatenate(frames),
            "particle": np.concatenate(names),
            "class_id": 0,
            "y_nm": y,
            "x_nm": x,
            "y": y / PIXEL_NM,
            "x": x / PIXEL_NM,
        }
    )


def known(movies, edge_nm, border_px=0):
    size = round(edge_nm / PIXEL_NM) + 1 + 2 * border_px
    return Experiment(
        pd.DataFrame(
            {
                "movie": movies,
                "pixel_size_nm": PIXEL_NM,
                "frame_time_s": 1.0,
                "height_px": size,
                "width_px": size,
            }
        )
    )


FIELDS = {
    "hops 0.3, 5 nm": {"edge_nm": 5.0, "per_frame": 0.3, "n_tracks": 20, "n_frames": 60},
    "hops 0.3, 15 nm": {"edge_nm": 15.0, "per_frame": 0.3, "n_tracks": 20, "n_frames": 60},
    "hops 0.3, 50 nm": {"edge_nm": 50.0, "per_frame": 0.3, "n_tracks": 20, "n_frames": 60},
    "hops 0.05, 15 nm": {"edge_nm": 15.0, "per_frame": 0.05, "n_tracks": 20, "n_frames": 60},
    "hops 2, 15 nm": {"edge_nm": 15.0, "per_frame": 2.0, "n_tracks": 20, "n_frames": 60},
    "hops 8, 50 nm": {"edge_nm": 50.0, "per_frame": 8.0, "n_tracks": 20, "n_frames": 60},
    "Brownian, 5 nm": {"edge_nm": 5.0, "step": 0.1, "n_tracks": 20, "n_frames": 60},
    "Brownian, 50 nm": {"edge_nm": 50.0, "step": 0.1, "n_tracks": 20, "n_frames": 60},
}


def fields(n_sets, seed):
    """D and its null controls in fields of several sizes, borders and all."""
    rows = []
    for world, words in FIELDS.items():
        rng = np.random.default_rng((seed, *world.encode()))
        given = {"per_frame": 0.0, "sigma_nm": 0.02} | words
        movies = [f"{i:04d}" for i in range(n_sets)]
        tracks = pd.concat(
            [in_a_field(rng, **given).assign(movie=name) for name in movies], ignore_index=True
        )
        experiment = known(movies, words["edge_nm"])
        true = given["per_frame"] * A_NM**2 / 4
        methods = METHODS
        if "step" in words:
            true, methods = words["step"] ** 2 / 2, ("mle", "cve")
        views = {
            "measured": (tracks, true),
            "shuffled": (sk.shuffled(tracks, seed=seed), 0.0),
            "immobile": (sk.immobile(tracks, sigma_nm=0.02, seed=seed), 0.0),
        }
        for view, (table, truth) in views.items():
            own = methods
            if view == "shuffled":
                own = ("mle", "cve")
            fit = sk.fit_diffusion(
                table,
                method=own,
                by="movie",
                hop_length_nm=A_NM,
                experiment=experiment,
                border_px=0.0,
            ).query("movie != '*'")
            for method, part in fit.groupby("method"):
                rows.append(summary(world, view, method, part, truth))
                print(line(rows[-1]), flush=True)
    return rows


def summary(world, view, method, part, truth):
    """Coverage, and the mean of D over the truth (or over that of the measured tracks)."""
    low, high, D = (part[c].to_numpy() for c in ("low", "high", "D_nm2_per_s"))
    inside = (low <= truth) & (truth <= high)
    return {
        "world": world,
        "view": view,
        "method": method,
        "true_D": truth,
        "mean_D": float(np.nanmean(D)),
        "error_of_mean": float(np.nanstd(D) / np.sqrt(len(D))),
        "coverage": float(inside.mean()),
        "too_high": float((low > truth).mean()),
        "n_sets": len(part),
    }


def line(row):
    ratio = ""
    if row["true_D"] > 0:
        ratio = f"bias {100 * (row['mean_D'] / row['true_D'] - 1):+5.1f} %"
    return (
        f"{row['world']:18} {row['view']:9} {row['method']:4} true {row['true_D']:.5f} "
        f"mean {row['mean_D']:.5f} ± {row['error_of_mean']:.5f} {ratio:14} "
        f"held by {row['coverage']:.3f} (too high {row['too_high']:.3f})"
    )


def rates(n_sets, seed):
    """Rates of three classes, slow and fast ones, seen with gaps."""
    rows = []
    for world, scale in (("rates 0.02-0.1", 1.0), ("rates 0.2-1", 10.0)):
        Q = scale * np.array([[-0.06, 0.05, 0.01], [0.1, -0.13, 0.03], [0.02, 0.02, -0.04]])
        rng, off = np.random.default_rng((seed, 1)), ~np.eye(3, dtype=bool)
        inside = []
        for _ in range(n_sets):
            counts = np.zeros((3, 3, 3))
            for gap, n in enumerate((300, 40, 8), start=1):
                P = linalg.expm(Q * gap)
                counts[gap - 1] = [rng.multinomial(n, row / row.sum()) for row in P]
            fit = fit_generator(counts, np.arange(1.0, 4.0))
            inside.append(((fit.low <= Q) & (fit.high >= Q))[off])
        rows.append(
            {
                "world": world,
                "view": "measured",
                "method": "generator",
                "coverage": float(np.mean(inside)),
                "n_sets": n_sets,
            }
        )
        print(f"{world:18} generator held by {np.mean(inside):.3f}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--only", choices=("fields", "rates"))
    parser.add_argument("--json", help="where the table is written")
    words = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, python {platform.python_version()}")
    begin, rows = time.perf_counter(), []
    for name, world in (("fields", fields), ("rates", rates)):
        if words.only in (None, name):
            rows += world(words.sets, words.seed)
    print(f"{time.perf_counter() - begin:.0f} s")
    if words.json:
        with open(words.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
