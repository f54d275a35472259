"""How often the intervals of D hold the truth, regime by regime, with the verbs' own defaults.

Worlds are tables of tracks, without pixels (`simulate_tracks`); each is simulated many times,
and the tracks of each set are shuffled and held still as well, where D is 0.

    python benchmarks/bench_regimes.py --world "hops 0.3"        # 200 sets of each, a minute
    python benchmarks/bench_regimes.py --sets 2000 --only fields --json out.json
    python benchmarks/bench_regimes.py --kept sets.csv --seconds 100    # adds up over calls

With --kept the recommended estimates of each set are appended to a file, world by world, 40 sets of
the one that has fewest, until the time is up or all worlds have --sets; the table is of all that is
in the file.
"""

import argparse
import os
import platform
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from keeping import keep
from scipy import linalg

import stemkin as sk
from stemkin.kernels.chains.generator import fit_generator
from stemkin.simulation import TrackWorld, simulate_tracks
from stemkin.tables import POOLED, Experiment

A_NM = 0.3153
PIXEL_NM = 0.03
MIXED = ((1.0, 0.0), (1.0, 0.0))
"""Two kinds of which both are called 0."""


@dataclass(frozen=True)
class Regime:
    """What is filmed, and how.

    Attributes
    ----------
    world
        What the particles do (`TrackWorld`), but for their densities; None: a simulated crystal, in
        which dopants catch vacancies and these pair.
    edge_nm, n_tracks, n_frames
        Of a square field whose border cuts the tracks, the mean number in it, and of its frames.
    n_movies
        Of each set.
    told
        Whether the exposure is known.
    """

    world: dict | None
    edge_nm: float = 15.0
    n_tracks: int = 20
    n_frames: int = 60
    n_movies: int = 1
    told: bool = True

    @property
    def track_world(self):
        """The world with as many kinds as have a rate, in equal shares."""
        motion = "hop_rates_per_s" if "hop_rates_per_s" in self.world else "D_nm2_per_s"
        n = len(self.world[motion])
        density = self.n_tracks / self.edge_nm**2 / n
        words = {"densities_per_nm2": (density,) * n, "hop_length_nm": A_NM, "sigma_nm": 0.02}
        words["max_gap_frames"] = int("efficiency" in self.world)
        if n > 1:
            words["confusion"] = MIXED
        return TrackWorld(**words | self.world)

    @property
    def hops(self):
        """Whether the particles go from site to site."""
        return self.world is None or "hop_rates_per_s" in self.world

    @property
    def true_D(self):  # noqa: N802 - physics writes D
        """The mean D of the particles [nm²/frame]."""
        if self.world is None:
            movie = sk.simulate_movie(n_frames=1)
            return sk.truth_of(movie).D_nm2_per_s * movie.frame_time_s
        return float(self.track_world.diffusion_nm2_per_s.mean())


KINDS = ("V_S", "Mo_W", "Mo_W+V_S", "V_S2", "V_W")


def crystal(rng, n_frames):
    """Rows of a simulated crystal, in which dopants catch vacancies and these pair; V_S is 0."""
    movie = sk.simulate_movie(n_frames=n_frames, seed=int(rng.integers(2**31)))
    rows = sk.truth_of(movie).defects
    rows = rows.assign(class_id=rows["kind"].map({kind: i for i, kind in enumerate(KINDS)}))
    kept = ["frame", "particle", "class_id", "y_nm", "x_nm"]
    return rows.dropna(subset=["class_id"]).astype({"class_id": "int64"})[kept]


def simulated(regime, n_sets, seed):
    """Rows of the tracks of `n_sets` sets, and the experiment with a column `set` of its movies."""
    size = round(regime.edge_nm / PIXEL_NM) + 1
    movies = pd.DataFrame(
        {
            "movie": [f"{k}" for k in range(regime.n_movies)],
            "n_frames": regime.n_frames,
            "height_px": size,
            "width_px": size,
            "pixel_size_nm": PIXEL_NM,
            "frame_time_s": 1.0,
        }
    )
    if regime.world is None:
        rng = np.random.default_rng(seed)
        each = [crystal(rng, regime.n_frames).assign(movie=f"{i:04d} 0") for i in range(n_sets)]
        known = [movies.assign(movie=f"{i:04d} 0", set=i) for i in range(n_sets)]
        return pd.concat(each, ignore_index=True), Experiment(pd.concat(known, ignore_index=True))
    if regime.told:
        movies["exposure_fraction"] = regime.world.get("exposure", 0.0)
    made = simulate_tracks(regime.track_world, movies, n_replicas=n_sets, seed=seed)
    return made.rows, Experiment(made.experiment.movies.rename(columns={"replica": "set"}))


def hopping(*rates, **words):
    """The world of particles that hop at these rates [1/frame], in equal shares."""
    return {"hop_rates_per_s": rates, **words}


def brownian(*steps, **words):
    """The world of Brownian particles with steps of these sd along each axis [nm]."""
    return {"D_nm2_per_s": tuple(step**2 / 2 for step in steps), **words}


SLOWER = 0.1**0.5
HOPS = {
    f"hops {rate:g}, {edge} nm": Regime(hopping(rate), edge_nm=float(edge))
    for rate in (0.05, 0.3, 2.0)
    for edge in (5, 15, 50)
}
REGIMES = {
    **HOPS,
    "hops 8, 50 nm": Regime(hopping(8.0), edge_nm=50.0),
    "a hop every frame": Regime(hopping(1.0, regular_hops=True)),
    "honeycomb, hops 0.3": Regime(hopping(0.3, lattice="honeycomb")),
    "honeycomb, hops 2": Regime(hopping(2.0, lattice="honeycomb")),
    "square, hops 0.3": Regime(hopping(0.3, lattice="square")),
    "square, hops 2": Regime(hopping(2.0, lattice="square")),
    "hops 0.01, 40 tracks": Regime(hopping(0.01), n_tracks=40),
    "Brownian, 5 nm": Regime(brownian(0.1), edge_nm=5.0),
    "Brownian, 50 nm": Regime(brownian(0.1), edge_nm=50.0),
    "Brownian, slow": Regime(brownian(0.02, sigma_nm=0.04), edge_nm=50.0),
    "camera, exposed half": Regime(brownian(0.1, exposure=0.5), edge_nm=50.0),
    "camera, exposed whole": Regime(brownian(0.1, exposure=1.0), edge_nm=50.0),
    "camera, not told": Regime(brownian(0.1, exposure=1.0), edge_nm=50.0, told=False),
    "hops, half at rest": Regime(hopping(0.6, 0.0)),
    "hops, two rates": Regime(hopping(1.0, 0.1)),
    "Brownian, two D": Regime(brownian(0.1, 0.1 * SLOWER), edge_nm=50.0),
    "hops, 8 movies differ": Regime(hopping(0.3, movie_spread=0.3), n_movies=8, n_frames=40),
    "Brownian, 8 movies differ": Regime(brownian(0.1, movie_spread=0.3), n_movies=8, n_frames=30),
    "Brownian, 8 movies alike": Regime(brownian(0.1), n_movies=8, n_frames=30, n_tracks=10),
    "hops, tracks of 6": Regime(hopping(0.3, longest_frames=6)),
    "Brownian, tracks of 6": Regime(brownian(0.1, longest_frames=6), edge_nm=50.0),
    "hops, 15 % missed": Regime(hopping(0.3, efficiency=(0.85,))),
    "Brownian, 15 % missed": Regime(brownian(0.1, efficiency=(0.85,)), edge_nm=50.0),
    "hops, 5 tracks": Regime(hopping(0.3), n_tracks=5, n_frames=40, edge_nm=50.0),
    "Brownian, 5 tracks": Regime(brownian(0.1), n_tracks=5, n_frames=40, edge_nm=50.0),
    "dopants, 100 frames": Regime(None, n_frames=100, edge_nm=15.33),
    "dopants, 500 frames": Regime(None, n_frames=500, edge_nm=15.33),
    "hops, drift left": Regime(hopping(0.3, drift_step_nm=0.01)),
    "hops, 200 frames": Regime(hopping(0.3), n_frames=200),
    "hops 2, 5 nm, bridged": Regime(hopping(2.0, max_gap_frames=1), edge_nm=5.0),
    "sites taken, triangular": Regime(hopping(0.3, excluding=True), n_tracks=150, n_frames=30),
    "sites taken, honeycomb": Regime(
        hopping(0.3, excluding=True, lattice="honeycomb"), n_tracks=150, n_frames=30
    ),
    "sites taken, square": Regime(
        hopping(0.3, excluding=True, lattice="square"), n_tracks=150, n_frames=30
    ),
}
AT_ONCE = 40
"""Sets whose tables are held at a time."""


def named(chosen):
    """Return the worlds whose name holds one of the words that bars divide."""
    return [name for name in REGIMES if any(word in name for word in chosen.split("|"))]


def fields(n_sets, seed, chosen="", part=(1, 1), *, default=False):
    """D and its null controls in worlds of many kinds, borders and all."""
    rows = []
    names = named(chosen)
    for name in names[part[0] - 1 :: part[1]]:
        regime, begin, parts = REGIMES[name], time.perf_counter(), []
        for first in range(0, n_sets, AT_ONCE):
            own = (seed, first, *name.encode())
            parts += fitted(regime, min(AT_ONCE, n_sets - first), own, default=default)
        table = pd.concat(parts)
        for (view, method), own in table.groupby(["view", "method"], sort=False):
            truth = regime.true_D if view == "measured" else 0.0
            rows.append(summary(name, view, method, own, truth))
            rows[-1]["seconds"] = round(time.perf_counter() - begin, 1)
            print(line(rows[-1]), flush=True)
    return rows


def fitted(regime, n_sets, seed, *, default):
    """Tables of D of some sets: as measured, shuffled, and held still."""
    tracks, experiment = simulated(regime, n_sets, seed)
    words = {
        "by": "set",
        "hop_length_nm": A_NM,
        "experiment": experiment,
        "border_px": 0.0,
        "class_ids": 0,
    }
    if default:
        views = {"measured": (tracks, ("auto",))}
    else:
        views = {
            "measured": (tracks, ("auto", "mle", "cve", "hop")),
            "shuffled": (sk.shuffled(tracks, seed=seed[0]), ("auto", "mle", "cve")),
            "immobile": (
                sk.immobile(tracks, sigma_nm=0.02, seed=seed[0]),
                ("auto", "mle", "cve", "hop"),
            ),
        }
    found = []
    for view, (table, methods) in views.items():
        if not regime.hops:
            methods = tuple(m for m in methods if m != "hop")
        fit = sk.fit_diffusion(table, method=methods, **words).assign(view=view)
        fit = fit[fit["movie"] == POOLED]
        own = fit[fit["recommended"]].assign(method="default", taken=fit["method"])
        found.append(own)
        if not default:
            found.append(fit)
    return found


def summary(world, view, method, part, truth):
    """Coverage, and the mean of D over the truth."""
    low, high, D = (part[c].to_numpy() for c in ("low", "high", "D_nm2_per_s"))
    inside = (low <= truth) & (truth <= high)
    taken = {}
    if method == "default":
        taken = part["taken"].value_counts().to_dict()
    return {
        "world": world,
        "view": view,
        "method": method,
        "true_D": truth,
        "mean_D": float(np.nanmean(D)),
        "error_of_mean": float(np.nanstd(D) / np.sqrt(len(D))),
        "coverage": float(inside.mean()),
        # half of where the middle 68 % lie: a few sets by another method do not count
        "spread": float(np.diff(np.nanquantile(D, [0.1587, 0.8413]))[0] / 2),
        "too_high": float((low > truth).mean()),
        "width": float(np.nanmedian(high - low)),
        "n_sets": len(part),
        "taken": taken,
    }


def line(row):
    ratio = ""
    if row["true_D"] > 0:
        ratio = f"bias {100 * (row['mean_D'] / row['true_D'] - 1):+5.1f} %"
    taken = " ".join(f"{name} {n}" for name, n in row["taken"].items())
    return (
        f"{row['world']:26} {row['view']:9} {row['method']:7} true {row['true_D']:.5f} "
        f"mean {row['mean_D']:.5f} ± {row['error_of_mean']:.5f} {ratio:14} held by "
        f"{row['coverage']:.3f} of {row['n_sets']} (too high {row['too_high']:.3f}), spread over half "
        f"width {3.92 * row['spread'] / row['width']:.2f} {taken}"
    )


def added_up(path, n_sets, seed, chosen, seconds, part):
    """Append sets to a file until each world has `n_sets` or the time is up; return the table."""
    names, begin = named(chosen)[part[0] - 1 :: part[1]], time.time()
    columns = ["world", "first", "D_nm2_per_s", "low", "high", "taken", "seconds"]
    if not os.path.exists(path):
        pd.DataFrame(columns=columns).to_csv(path, index=False)
    while time.time() - begin < seconds:
        done = pd.read_csv(path).groupby("world")["first"].nunique()
        name = min(names, key=lambda one: done.get(one, 0))
        first = AT_ONCE * done.get(name, 0)
        if first >= n_sets:
            break
        since = time.process_time()
        found = fitted(REGIMES[name], AT_ONCE, (seed, first, *name.encode()), default=True)
        spent = (time.process_time() - since) / AT_ONCE
        own = pd.concat(found).assign(world=name, first=first, seconds=round(spent, 4))
        own[columns].to_csv(path, mode="a", header=False, index=False)
    rows = []
    for name, own in pd.read_csv(path).groupby("world"):
        own = own.assign(method="default")
        rows.append(summary(name, "measured", "default", own, REGIMES[name].true_D))
        rows[-1]["seconds"] = float(own["seconds"].mean())
        print(line(rows[-1]), flush=True)
    return rows


def rates(n_sets, seed):
    """Rates of three classes, slow, fast and rare ones, seen with gaps: both priors beside each other."""
    rows, off = [], ~np.eye(3, dtype=bool)
    for world, scale in (("rates 0.002-0.01", 0.1), ("rates 0.02-0.1", 1.0), ("rates 0.2-1", 10.0)):
        Q = scale * np.array([[-0.06, 0.05, 0.01], [0.1, -0.13, 0.03], [0.02, 0.02, -0.04]])
        for prior in ("none", "jeffreys"):
            rng, inside, found = np.random.default_rng((seed, 1)), [], []
            for _ in range(n_sets):
                counts = np.zeros((3, 3, 3))
                for gap, n in enumerate((300, 40, 8), start=1):
                    P = linalg.expm(Q * gap)
                    counts[gap - 1] = [rng.multinomial(n, row / row.sum()) for row in P]
                fit = fit_generator(counts, np.arange(1.0, 4.0), prior=prior)
                inside.append(((fit.low <= Q) & (fit.high >= Q))[off])
                found.append((fit.rates / Q)[off])
            held, found = np.array(inside), np.array(found)
            rows.append(
                {
                    "world": world,
                    "view": "measured",
                    "method": prior,
                    "coverage": float(held.mean()),
                    "least": float(held.mean(axis=0).min()),
                    "n_sets": n_sets,
                }
            )
            error = np.sqrt(np.mean((found - 1) ** 2, axis=0)).max()
            print(
                f"{world:18} prior {prior:9} held by {held.mean():.3f} of {n_sets}, the least of "
                f"six {held.mean(axis=0).min():.3f}; largest rms error {error:.2f} of the rate, 0 "
                f"in {np.mean(found == 0):.3f}",
                flush=True,
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--only", choices=("fields", "rates"))
    parser.add_argument("--world", default="", help="worlds whose name holds this, or this|that")
    parser.add_argument("--part", default="1/1", help="2/4: the second quarter of the worlds")
    parser.add_argument("--json", help="where the table is written")
    parser.add_argument(
        "--default", action="store_true", help="only the recommended estimator, no null controls"
    )
    parser.add_argument("--kept", help="file to which sets are added; see above")
    parser.add_argument("--seconds", type=float, default=100, help="time for that")
    words = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, python {platform.python_version()}")
    begin, rows = time.perf_counter(), []
    part = tuple(int(number) for number in words.part.split("/"))
    if words.kept:
        rows = added_up(words.kept, words.sets, words.seed, words.world, words.seconds, part)
        words.only = "kept"
    if words.only in (None, "fields"):
        rows += fields(words.sets, words.seed, words.world, part, default=words.default)
    if words.only in (None, "rates"):
        rows += rates(words.sets, words.seed)
    print(f"{time.perf_counter() - begin:.0f} s")
    keep({"rows": rows}, words.json)


if __name__ == "__main__":
    main()
