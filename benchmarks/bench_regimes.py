"""How often the intervals of D hold the truth, regime by regime, with the verbs' own defaults.

Worlds are tables of tracks, without pixels; each is simulated many times with seeds of their own,
and the tracks of each set are shuffled and held still as well, where D is 0.

    python benchmarks/bench_regimes.py --world "hops 0.3"        # 200 sets of each, a minute
    python benchmarks/bench_regimes.py --sets 2000 --only fields --json out.json
"""

import argparse
import json
import platform
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg

import stemkin as sk
from stemkin.kernels.chains.generator import fit_generator
from stemkin.tables import Experiment

A_NM = 0.3153
PIXEL_NM = 0.03


LATTICES = {"triangular": 60, "square": 90, "honeycomb": 120}
"""Angle between the neighbours of a site [degrees]; on a honeycomb they turn round with each hop."""


@dataclass(frozen=True)
class World:
    """What is filmed, and how.

    Attributes
    ----------
    per_frame, lattice
        Mean hops of a frame, and on which lattice; where `per_frame` is None, as many as `every`.
    step
        Instead: Gaussian steps of this sd along each axis [nm].
    share, slower
        This share of the particles is slower, by this factor (0: at rest).
    edge_nm, n_tracks, n_frames
        Of a square field whose border cuts the tracks, the mean number in it, and of its frames.
    sigma_nm, exposure, told
        Error of a place, the part of the frame time that is exposed, and whether that is known.
    n_movies, differ
        Of each set, and the sd of ln D between them.
    missed
        Share of places that are not seen.
    lasts
        After so many frames a particle is lost, and found again under another name.
    crystal
        Whether vacancies of a simulated crystal are asked for, which dopants catch.
    drift
        Sd of the steps by which all particles of a movie are displaced together [nm].
    """

    per_frame: float | None = None
    every: int = 0
    lattice: str = "triangular"
    step: float | None = None
    share: float = 0.0
    slower: float = 0.0
    edge_nm: float = 15.0
    n_tracks: int = 20
    n_frames: int = 60
    sigma_nm: float = 0.02
    exposure: float = 0.0
    told: bool = True
    n_movies: int = 1
    differ: float = 0.0
    missed: float = 0.0
    lasts: int | None = None
    crystal: bool = False
    drift: float = 0.0

    @property
    def true_D(self):  # noqa: N802 - physics writes D
        """The mean D of the particles [nm²/frame]."""
        if self.crystal:
            movie = sk.simulate_movie(n_frames=1)
            return sk.truth_of(movie).D_nm2_per_s * movie.frame_time_s
        whole = 1 - self.share + self.share * self.slower
        if self.step is not None:
            return whole * self.step**2 / 2
        hops = self.every if self.per_frame is None else self.per_frame
        return whole * hops * A_NM**2 / 4


SUBFRAMES = 10
"""Instants of an exposed frame."""


def moved(rng, world, factor, turned, part):
    """Steps [nm] of n particles in a part of a frame; `turned` (n,) counts the hops made so far."""
    n = len(factor)
    if world.step is not None:
        return rng.normal(0, 1, (n, 2)) * (world.step * np.sqrt(factor * part))[:, None]
    if world.per_frame is None:
        hops = np.where(rng.random(n) < factor * part, world.every, 0)
    else:
        hops = rng.poisson(world.per_frame * factor * part)
    step, apart = np.zeros((n, 2)), LATTICES[world.lattice]
    for i in range(hops.max(initial=0)):
        goes = hops > i
        turn = (turned % 2) * 60 if world.lattice == "honeycomb" else 0
        angle = np.radians(apart * rng.integers(360 // apart, size=n) + turn)
        step += A_NM * goes[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        turned += goes
    return step


KINDS = ("V_S", "Mo_W", "Mo_W+V_S", "V_S2", "V_W")


def crystal(rng, n_frames):
    """Rows of a simulated crystal, in which dopants catch vacancies and these pair; V_S is 0."""
    movie = sk.simulate_movie(n_frames=n_frames, seed=int(rng.integers(2**31)))
    rows = sk.truth_of(movie).defects
    rows = rows.assign(class_id=rows["kind"].map({kind: i for i, kind in enumerate(KINDS)}))
    kept = ["frame", "particle", "class_id", "y_nm", "x_nm"]
    return rows.dropna(subset=["class_id"]).astype({"class_id": "int64"})[kept]


def one_movie(rng, world):
    """Rows of the tracks of a movie: particles on an endless plane, seen in a field."""
    if world.crystal:
        return crystal(rng, world.n_frames)
    margin = 4 * A_NM + 3 * (world.step or 0)
    edge, wide = world.edge_nm, world.edge_nm + 2 * margin
    n = round(world.n_tracks * (wide / edge) ** 2)
    place = rng.uniform(-margin, edge + margin, (n, 2))
    factor = np.where(rng.random(n) < world.share, world.slower, 1.0)
    factor = factor * np.exp(rng.normal(0, world.differ) - world.differ**2 / 2)
    name, inside, age = np.arange(n), np.zeros(n, bool), np.zeros(n, int)
    turned, common = np.zeros(n, int), np.zeros(2)
    frames, names, places = [], [], []
    for frame in range(world.n_frames):
        now = ((place > 0) & (place < edge)).all(axis=1)
        age = np.where(now & inside, age + 1, 0)
        lost = age == (world.lasts or -1)
        name = np.where((now & ~inside) | lost, rng.integers(2**40, size=n), name)
        age[lost], inside = 0, now
        seen, n_parts = [place.copy()], SUBFRAMES if world.exposure else 1
        for part in range(n_parts):
            place = place + moved(rng, world, factor, turned, 1 / n_parts)
            if part + 1 < round(world.exposure * n_parts):
                seen.append(place.copy())
        common = common + rng.normal(0, 1, 2) * world.drift
        shown = np.mean(seen, axis=0)[now] + rng.normal(0, world.sigma_nm, (now.sum(), 2)) + common
        kept = rng.random(len(shown)) >= world.missed
        frames.append(np.full(kept.sum(), frame))
        names.append(name[now][kept])
        places.append(shown[kept])
        # who wanders off comes back on the other side: as many come in as go out
        place = (place + margin) % wide - margin
    y, x = np.concatenate(places).T
    return pd.DataFrame(
        {
            "frame": np.concatenate(frames),
            "particle": np.concatenate(names),
            "class_id": 0,
            "y_nm": y,
            "x_nm": x,
        }
    )


def known(movies, world):
    size = round(world.edge_nm / PIXEL_NM) + 1
    about = {
        "movie": movies,
        "pixel_size_nm": PIXEL_NM,
        "frame_time_s": 1.0,
        "height_px": size,
        "width_px": size,
    }
    if world.told:
        about["exposure_fraction"] = world.exposure
    return Experiment(pd.DataFrame(about))


HOPS = {
    f"hops {rate:g}, {edge} nm": World(per_frame=rate, edge_nm=float(edge))
    for rate in (0.05, 0.3, 2)
    for edge in (5, 15, 50)
}
REGIMES = {
    **HOPS,
    "hops 8, 50 nm": World(per_frame=8.0, edge_nm=50.0),
    "a hop every frame": World(every=1),
    "honeycomb, hops 0.3": World(per_frame=0.3, lattice="honeycomb"),
    "honeycomb, hops 2": World(per_frame=2.0, lattice="honeycomb"),
    "square, hops 0.3": World(per_frame=0.3, lattice="square"),
    "square, hops 2": World(per_frame=2.0, lattice="square"),
    "hops 0.01, 40 tracks": World(per_frame=0.01, n_tracks=40),
    "Brownian, 5 nm": World(step=0.1, edge_nm=5.0),
    "Brownian, 50 nm": World(step=0.1, edge_nm=50.0),
    "Brownian, slow": World(step=0.02, sigma_nm=0.04, edge_nm=50.0),
    "camera, exposed half": World(step=0.1, exposure=0.5, edge_nm=50.0),
    "camera, exposed whole": World(step=0.1, exposure=1.0, edge_nm=50.0),
    "camera, not told": World(step=0.1, exposure=1.0, edge_nm=50.0, told=False),
    "hops, half at rest": World(per_frame=0.6, share=0.5),
    "hops, two rates": World(per_frame=1.0, share=0.5, slower=0.1),
    "Brownian, two D": World(step=0.1, share=0.5, slower=0.1, edge_nm=50.0),
    "hops, 8 movies differ": World(per_frame=0.3, n_movies=8, differ=0.3, n_frames=40),
    "Brownian, 8 movies differ": World(step=0.1, n_movies=8, differ=0.3, n_frames=30),
    "Brownian, 8 movies alike": World(step=0.1, n_movies=8, n_frames=30, n_tracks=10),
    "hops, tracks of 6": World(per_frame=0.3, lasts=5),
    "Brownian, tracks of 6": World(step=0.1, lasts=5, edge_nm=50.0),
    "hops, 15 % missed": World(per_frame=0.3, missed=0.15),
    "Brownian, 15 % missed": World(step=0.1, missed=0.15, edge_nm=50.0),
    "hops, 5 tracks": World(per_frame=0.3, n_tracks=5, n_frames=40, edge_nm=50.0),
    "Brownian, 5 tracks": World(step=0.1, n_tracks=5, n_frames=40, edge_nm=50.0),
    "dopants, 100 frames": World(crystal=True, n_frames=100, edge_nm=15.33),
    "dopants, 500 frames": World(crystal=True, n_frames=500, edge_nm=15.33),
    "hops, drift left": World(per_frame=0.3, drift=0.01),
    "hops, 200 frames": World(per_frame=0.3, n_frames=200),
}
AT_ONCE = 20
"""Sets whose tables are held at a time."""


def fields(n_sets, seed, chosen="", part=(1, 1)):
    """D and its null controls in worlds of many kinds, borders and all."""
    rows = []
    names = [name for name in REGIMES if chosen in name]
    for name in names[part[0] - 1 :: part[1]]:
        world = REGIMES[name]
        rng, parts = np.random.default_rng((seed, *name.encode())), []
        for first in range(0, n_sets, AT_ONCE):
            parts += fitted(rng, world, range(first, min(first + AT_ONCE, n_sets)), seed)
        table = pd.concat(parts)
        for (view, method), own in table.groupby(["view", "method"], sort=False):
            truth = world.true_D if view == "measured" else 0.0
            rows.append(summary(name, view, method, own, truth))
            print(line(rows[-1]), flush=True)
    return rows


def fitted(rng, world, sets, seed):
    """Tables of D of some sets: as measured, shuffled, and held still."""
    each = [
        one_movie(rng, world).assign(movie=f"{i:05d}-{k}", set=i)
        for i in sets
        for k in range(world.n_movies)
    ]
    tracks = pd.concat(each, ignore_index=True)
    words = {
        "by": "set",
        "hop_length_nm": A_NM,
        "experiment": known(sorted(tracks["movie"].unique()), world),
        "border_px": 0.0,
        "class_ids": 0,
    }
    views = {
        "measured": (tracks, ("mle", "cve", "hop")),
        "shuffled": (sk.shuffled(tracks, seed=seed), ("mle", "cve")),
        "immobile": (sk.immobile(tracks, sigma_nm=0.02, seed=seed), ("mle", "cve", "hop")),
    }
    found = []
    for view, (table, methods) in views.items():
        if world.step is not None:
            methods = tuple(m for m in methods if m != "hop")
        fit = sk.fit_diffusion(table, method=methods, **words).assign(view=view)
        chosen = fit["method"] == "mle"  # what the verb gave where nothing was asked for
        if "recommended" in fit:
            chosen = fit["recommended"]
        default = fit[chosen].assign(method="default", taken=fit["method"])
        found += [default, fit]
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
        f"{row['coverage']:.3f} of {row['n_sets']} (too high {row['too_high']:.3f}) {taken}"
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
    parser.add_argument("--world", default="", help="worlds whose name holds this")
    parser.add_argument("--part", default="1/1", help="2/4: the second quarter of the worlds")
    parser.add_argument("--json", help="where the table is written")
    words = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, python {platform.python_version()}")
    begin, rows = time.perf_counter(), []
    if words.only in (None, "fields"):
        part = tuple(int(number) for number in words.part.split("/"))
        rows += fields(words.sets, words.seed, words.world, part)
    if words.only in (None, "rates"):
        rows += rates(words.sets, words.seed)
    print(f"{time.perf_counter() - begin:.0f} s")
    if words.json:
        with open(words.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
