"""D on simulated tracks: bias, efficiency against the Cramer-Rao bound and coverage of the 95 %
intervals, for every method.

    python benchmarks/bench_diffusion.py --sets 1000 -o diffusion.json

Brownian motion at SNR = sqrt(D t)/s of 0.5, 1, 2, 5 in single tracks of 10, 30 and 100 steps and in
30 tracks of 30; hops on a triangular lattice at 0.1 and 0.5 per frame; hops in a field that they
leave. "bound" is the Cramer-Rao error with unknown localisation error, for hops 1/sqrt(n_hops);
"limit" is, for hops, what no unbiased estimator that sees places once per frame can be better than
(of several hops in one frame only their sum is seen): 1/sqrt(n I) with I = sum P'(shell)²/P(shell)
of the compound Poisson walk per frame. "efficiency" is bound² over the mean squared error, with its
standard error; single tracks of 10 and 30 steps at SNR 0.5 and 1 are drawn five times as often.
Beside stemkin's methods: the MSD of one lag over 4 t and the fit of a line to trackpy's curve, as
they are often used, and the published var(place)/(4 N t).
"""

import argparse
import os
import platform
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from keeping import keep
from scipy.stats import poisson

import stemkin as sk
from stemkin.kernels.motion.hop_shells import shells
from stemkin.tables import Experiment

A = 0.3153


def walks(n_sets, n_tracks, n_steps, rng, *, D=0.0, sigma=0.0, hops=0.0):
    n = n_sets * n_tracks
    steps = rng.normal(0, np.sqrt(2 * D), (n, n_steps, 2))
    n_hops = rng.poisson(hops, (n, n_steps))
    for k in range(n_hops.max(initial=0)):
        angle = rng.integers(6, size=n_hops.shape) * np.pi / 3
        steps += A * np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (n_hops > k)[..., None]
    places = np.concatenate([np.zeros((n, 1, 2)), steps.cumsum(axis=1)], axis=1) + rng.normal(
        0, sigma, (n, n_steps + 1, 2)
    )
    movie = np.repeat(
        np.array([f"{k:06d}" for k in range(n_sets)], dtype=object), n_tracks * (n_steps + 1)
    )
    frame = np.tile(np.arange(n_steps + 1), n)
    rows = {
        "movie": movie,
        "particle": np.repeat(np.arange(n), n_steps + 1),
        "frame": frame,
        "class_id": 0,
    }
    return pd.DataFrame({**rows, "y_nm": places[..., 0].ravel(), "x_nm": places[..., 1].ravel()})


def in_a_field(n_sets, n, n_frames, rng, *, edge_nm, hops, sigma):
    """Hoppers on an endless plane; who is seen inside a square field is a detection, and who comes
    back is a new track."""
    place = rng.uniform(-2, edge_nm + 2, (n_sets, n, 2))
    name, inside, rows = np.arange(n_sets * n).reshape(n_sets, n), np.zeros((n_sets, n), bool), []
    for frame in range(n_frames):
        seen = place + rng.normal(0, sigma, place.shape)
        now = ((seen > 0) & (seen < edge_nm)).all(axis=2)
        fresh = now & ~inside
        name[fresh] = np.arange(fresh.sum()) + n_sets * n * (frame + 1)
        inside = now
        k, _ = np.nonzero(now)
        rows.append(np.column_stack([k, np.full(len(k), frame), name[now], seen[now]]))
        n_hops = rng.poisson(hops, now.shape)
        for i in range(n_hops.max(initial=0)):
            angle = rng.integers(6, size=now.shape) * np.pi / 3 + 0.2
            place = (
                place
                + A * np.stack([np.sin(angle), np.cos(angle)], axis=2) * (n_hops > i)[..., None]
            )
    k, frame, particle, y, x = np.concatenate(rows).T
    movie = np.array([f"{i:06d}" for i in range(n_sets)], dtype=object)[k.astype(int)]
    rows = {
        "movie": movie,
        "particle": particle.astype(np.int64),
        "frame": frame.astype(np.int64),
        "class_id": 0,
    }
    return pd.DataFrame({**rows, "y_nm": y, "x_nm": x, "y": y / 0.03, "x": x / 0.03})


def bound(n_tracks, n_steps, D, sigma):
    """Relative Cramer-Rao errors of D with unknown and with known localisation error."""
    second = 2 * np.eye(n_steps) - np.eye(n_steps, k=1) - np.eye(n_steps, k=-1)
    inverse = np.linalg.inv(2 * D * np.eye(n_steps) + sigma**2 * second)
    slopes = [2 * inverse, second @ inverse]
    information = n_tracks * np.array([[np.trace(a @ b) for a in slopes] for b in slopes])
    return np.sqrt(np.linalg.inv(information)[0, 0]) / D, 1 / np.sqrt(information[0, 0]) / D


def hop_limit(mean_hops, n_frames):
    """Relative error of the hop rate that the information in the sites of each frame allows, sites
    known exactly."""
    n = np.arange(len(shells("triangular").chance))
    chance = poisson.pmf(n, mean_hops)
    P, slope = (
        chance @ shells("triangular").chance,
        (chance * (n / mean_hops - 1)) @ shells("triangular").chance,
    )
    return 1 / (mean_hops * np.sqrt(n_frames * np.sum(slope[P > 0] ** 2 / P[P > 0])))


def as_often_used(rows):
    """One-lag MSD over 4 t, the line through five points of trackpy's kind of curve, and the
    published formula; per data set."""
    curve = sk.msd(rows, frame_time_s=1.0, max_lag_frames=5).query("movie != '*'")
    msd = curve.pivot_table(index="movie", columns="lag_frames", values="msd_nm2").to_numpy()
    places = rows.groupby(["movie", "particle"])[["y_nm", "x_nm"]]
    spread = (
        (places.var(ddof=0).sum(axis=1) / (4 * places.size())).groupby("movie").mean().to_numpy()
    )
    line = np.polyfit(np.arange(1, msd.shape[1] + 1), msd.T, 1)[0] / 4
    return {"msd(1)/4t": msd[:, 0] / 4, "line of msd": line, "published": spread}


def measure(rows, truth, least, words, *, methods, **known):
    found = []
    table = sk.fit_diffusion(rows, method=methods, hop_length_nm=A, frame_time_s=1.0, **known)
    for method, own in table[table["movie"] != "*"].groupby("method", sort=False):
        known_ends = own["low"].notna()
        inside = ((own["low"] <= truth) & (truth <= own["high"]))[known_ends]
        found.append(
            (
                method,
                own["D_nm2_per_s"].to_numpy() / truth,
                inside.mean() if len(inside) else np.nan,
            )
        )
    if not known:
        found += [(name, D / truth, np.nan) for name, D in as_often_used(rows).items()]
    return [
        {
            **words, "method": name, "mean": np.nanmean(ratio), "sd": np.nanstd(ratio), "bound": least,
            "efficiency": least**2 / np.nanmean((ratio - 1) ** 2), "efficiency_error": _efficiency_error(ratio, least),
            "cover": cover,
        }
        for name, ratio, cover in found
    ]  # fmt: skip


def _efficiency_error(ratio, least):
    squares = (ratio[np.isfinite(ratio)] - 1) ** 2
    return least**2 / squares.mean() * squares.std() / squares.mean() / np.sqrt(len(squares))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=1000, help="data sets per regime")
    parser.add_argument("-o", "--json", help="also write the results to this file")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine, f"{words.sets} data sets per regime")
    warnings.simplefilter("ignore")
    start, rng, found = time.process_time(), np.random.default_rng(1), []
    for n_tracks, n_steps in ((1, 10), (1, 30), (1, 100), (30, 30)):
        for snr in (0.5, 1, 2, 5):
            D = 0.01
            sigma = float(np.sqrt(D) / snr)
            n_sets = words.sets * (5 if n_tracks == 1 and snr < 2 and n_steps < 100 else 1)
            rows = walks(n_sets, n_tracks, n_steps, rng, D=D, sigma=sigma)
            regime = {"motion": "Brownian", "tracks": n_tracks, "steps": n_steps, "snr": snr}
            least, known_least = bound(n_tracks, n_steps, D, sigma)
            found += measure(rows, D, least, regime, methods=("mle", "cve", "ols"))
            known = measure(rows, D, known_least, regime, methods=("mle",), sigma_nm=sigma)
            found += [row | {"method": "mle, s known"} for row in known]
    for n_tracks, n_steps, hops in ((1, 300, 0.1), (30, 30, 0.1), (30, 30, 0.5), (60, 100, 0.3)):
        rows = walks(words.sets, n_tracks, n_steps, rng, hops=hops, sigma=0.01)
        regime = {"motion": "hops", "tracks": n_tracks, "steps": n_steps, "hops_per_frame": hops}
        regime["limit"] = hop_limit(hops, n_tracks * n_steps)
        least = 1 / np.sqrt(n_tracks * n_steps * hops)
        found += measure(rows, hops * A**2 / 4, least, regime, methods=("mle", "cve", "ols", "hop"))
    size = 168
    movies = pd.DataFrame(
        {
            "movie": [f"{k:06d}" for k in range(words.sets)],
            "pixel_size_nm": 0.03,
            "frame_time_s": 1.0,
        }
    )
    known = Experiment(movies.assign(height_px=size, width_px=size))
    rows = in_a_field(words.sets, 60, 30, rng, edge_nm=(size - 1) * 0.03, hops=0.3, sigma=0.01)
    least = 1 / np.sqrt(0.3 * rows.groupby(["movie", "particle"]).size().sub(1).sum() / words.sets)
    for border_px in (None, 0.0):
        regime = {
            "motion": "hops in 5 nm" + (", corrected" if border_px is not None else ""),
            "hops_per_frame": 0.3,
        }
        methods = ("mle", "cve", "ols", "hop")
        found += measure(
            rows,
            0.3 * A**2 / 4,
            least,
            regime,
            methods=methods,
            experiment=known,
            border_px=border_px,
        )
    table = pd.DataFrame(found)
    print(table.round(3).to_string(index=False), f"\n{time.process_time() - start:.0f} s")
    keep({"sets": words.sets, "regimes": table.to_dict("records")}, words.json)


if __name__ == "__main__":
    main()
