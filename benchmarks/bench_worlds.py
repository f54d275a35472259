"""How well defects are found, named and placed in worlds that nothing was fitted to.

A world (`stemkin.simulation.worlds`) is a movie whose every nuisance is drawn at random. In each
one a model is learned without the truth, all frames are searched with it, and this is told of the
vacancies of the chalcogen columns and of everything that was found:

- ``d_prime``: how far the signal of isolated vacancies lies from that of clean sites, over the
  scatter of those, and ``of_ideal``: the same over the d' of an ideal observer at this dose, who
  knows everything, ``of_reachable`` over that of one who does not know the haze,
- ``recall`` of isolated vacancies and of ``all``; ``possible``: of the one who does not
  know the haze,
- ``false``: false positives over what was asked for: 1 a frame, times the share of the sites that
  were searched for which a detection is judged here. Of 60 asked for chance alone moves it by 0.13,
- ``names``: share of what was found rightly whose name is right,
- ``pull``: root mean square of (found - true) / stated error, per axis, less what all defects of
  a frame have in common: a shift of a whole frame is drift, and no error of a place in it.

Left out are the edges, the rims of holes, adsorbates, and frames that are bad. The table gives the
worst decile, the median and the best decile over worlds.

    OMP_NUM_THREADS=1 python benchmarks/bench_worlds.py --n 24 --first 2000 -o worlds.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench_detection import is_whole
from keeping import keep
from scipy.spatial import cKDTree

import stemkin as sk
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.images.ideal import best_recall
from stemkin.results.journal import machine
from stemkin.simulation import simulate_movie, truth_of
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.haze import adsorbates_in
from stemkin.simulation.limits import detectability_in_haze, limits_table
from stemkin.simulation.truth import Truth

EDGE_NM, NEAR_NM, BESIDE_NM = 0.3, 0.1, 0.25
"""Nothing closer to the edge is judged; a detection further from a defect is not of it; one that is
closer than the last to a defect is not a false one."""

LEARNED = 16
"""Frames at most from which a model is learned: as many as `stemkin learn` takes."""

NUMBERS = (
    "d_prime", "of_ideal", "of_reachable", "recall", "possible", "all", "false", "names", "pull"
)  # fmt: skip
WORSE = {"false": True, "pull": True}
"""Numbers that are worse the larger they are."""


def read_world(
    world: int,
    n_frames: int,
    edge: int,
    cache: Path | None,
    wanted: float | None = None,
    material: str | None = None,
) -> tuple[Any, Truth]:
    """Return a world as a movie in memory, rendered once for all runs, and its truth.

    Its dose is the world's own, or else such that an ideal observer sees vacancies at a d' `wanted`.
    """
    drawn: dict[str, Any] = {"world": world, "n_frames": n_frames, "shape": (edge, edge)}
    if material is not None:
        drawn["material"] = material
    movie = simulate_movie(**drawn)
    truth = truth_of(movie)
    if wanted is not None:
        dose_rate = truth.settings.instrument.dose_rate_e_per_nm2_s
        # counting noise alone makes d' go as the root of the dose; read noise asks for a second look
        for _ in range(2):
            dose_rate *= (wanted / ideal_d_prime(truth)) ** 2
            movie = simulate_movie(**drawn, dose_rate_e_per_nm2_s=dose_rate)
            truth = truth_of(movie)
    path = None
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        path = cache / f"{movie.reader.identity.split()[-1]}.npy"
    if path is not None and path.exists():
        frames = np.load(path)
    else:
        frames = movie.reader.read(0, n_frames)
        if path is not None:
            np.save(path, frames)
    calibration = {"pixel_size_nm": movie.pixel_size_nm, "frame_time_s": movie.frame_time_s}
    return sk.Movie.from_array(frames, name=movie.name, **calibration), truth


def ideal_d_prime(truth: Truth) -> float:
    """Return the d' of lone vacancies for an observer who knows everything, in the middle frame."""
    vacancy, *_ = truth.settings.material.kinds
    limits = limits_table(truth.settings, frame=truth.settings.n_frames // 2)
    return float(limits.query("against == 'crystal'").set_index("kind")["d_prime"][vacancy])


def judged_world(
    world: int,
    n_frames: int,
    edge: int,
    cache: Path | None,
    wanted: float | None = None,
    material: str | None = None,
) -> dict[str, Any]:
    """Return the numbers of one world; see the head of this file."""
    movie, truth = read_world(world, n_frames, edge, cache, wanted, material)
    settings = truth.settings
    vacancy, *_ = settings.material.kinds
    ideal = ideal_d_prime(truth)
    reachable = detectability_in_haze(settings, frame=n_frames // 2)
    began = time.process_time()
    model = sk.learn(movie, n_frames=min(n_frames, LEARNED), material=settings.material)
    learned_s = time.process_time() - began
    began = time.process_time()
    rows = sk.detect(movie, model, frames_per_block=4).compute()
    searched_s = (time.process_time() - began) / n_frames
    names = dict(zip(model.classes["class_id"], model.classes["name"], strict=True))
    good = truth.frames["status"].to_numpy() == "ok"
    counts = [
        _counted(truth, rows[rows["frame"] == frame], frame, vacancy, names)
        for frame in np.flatnonzero(good).tolist()
    ]
    looks = np.flatnonzero(good)[:: max(1, int(good.sum()) // 6)].tolist()
    read = [
        site_signals_of(model.detector, movie.reader.read(frame, frame + 1)[0]) for frame in looks
    ]
    signals = [
        _signals(sites, truth, frame, vacancy) for sites, frame in zip(read, looks, strict=True)
    ]
    lone, clean = (np.concatenate([pair[i] for pair in signals]) for i in (0, 1))
    n = pd.DataFrame(counts).sum()
    shares = [
        judged_share(truth, at, points[np.isfinite(signal)])
        for at, (points, _, signal) in zip(looks, read, strict=True)
    ]
    asked = float(np.mean(shares)) * int(good.sum())
    spread = (np.percentile(clean, 84) - np.percentile(clean, 16)) / 2 if len(clean) else np.nan
    d_prime = np.nan
    if len(lone):
        d_prime = (np.median(clean) - lone.mean()) / spread
    n_sites = len(clean) / max(len(signals), 1)
    return {
        "world": world,
        "material": settings.material.formula,
        "haze": settings.nuisances.haze,
        "ideal": ideal,
        "d_prime": d_prime,
        "of_ideal": d_prime / ideal,
        "of_reachable": d_prime / reachable,
        "recall": n["lone_hit"] / max(n["lone"], 1),
        "possible": best_recall(reachable, n_sites=max(n_sites, 1)),
        "all": n["hit"] / max(n["vacancies"], 1),
        "false": n["false"] / max(asked, 1e-9),
        "asked": asked,
        "names": n["named"] / max(n["nameable"], 1),
        "pull": np.sqrt(n["pull2"] / max(n["placed"], 1)),
        "n_lone": n["lone"],
        "learn_s": learned_s,
        "frame_s": searched_s,
    }


def _judged(truth: Truth, frame: int, points: np.ndarray) -> np.ndarray:
    """Tell which `points` (m, 2) [px, raw frame] are away from edges, rims and adsorbates."""
    settings, edge = truth.settings, EDGE_NM / truth.pixel_size_nm
    if not len(points):
        return np.zeros(0, bool)
    inner = (points > edge).all(axis=1) & (points < np.array(truth.shape) - 1 - edge).all(axis=1)
    inner &= is_whole(truth, frame, points)
    blobs = adsorbates_in(settings, frame)
    (shift,) = shifts_px(settings, np.array([frame]))
    for y, x, sd, _ in blobs:
        apart = np.hypot(*(points - shift - [y, x]).T)
        inner &= apart > 3 * sd + 0.2 / truth.pixel_size_nm
    return inner


def judged_share(truth: Truth, frame: int, points: np.ndarray) -> float:
    """Return for which share of the sites searched, `points` (m, 2), a defect would be a false one.

    What is asked for is shared among all sites that are searched; holes have none.
    """
    if not len(points):
        return 0.0
    partners = truth.partners_between(frame, frame + 1)[["y", "x"]].to_numpy()
    place = truth.defects_between(frame, frame + 1)[["y", "x"]].to_numpy()
    free = _judged(truth, frame, points)
    known = np.concatenate([place, partners])
    if len(known):
        free &= cKDTree(known).query(points)[0] > BESIDE_NM / truth.pixel_size_nm
    return float(free.mean())


def _counted(
    truth: Truth, found: pd.DataFrame, frame: int, vacancy: str, names: dict[int, str]
) -> dict[str, float]:
    """Count what was found and missed in one frame."""
    near = NEAR_NM / truth.pixel_size_nm
    true, at = truth.defects_between(frame, frame + 1), found[["y", "x"]].to_numpy(float)
    place = true[["y", "x"]].to_numpy()
    judged, kinds = _judged(truth, frame, place), true["kind"].to_numpy()
    i, j = match_points(place, at, max_distance=near)
    hit = np.zeros(len(true), bool)
    hit[i] = True
    own = judged & (kinds == vacancy)
    lone = own & _lonely(truth, frame, place)
    partners = truth.partners_between(frame, frame + 1)[["y", "x"]].to_numpy()
    rest = np.delete(at, j, axis=0)
    rest = np.delete(rest, match_points(partners, rest, max_distance=near)[1], axis=0)
    # what is seen between two neighbours of one complex, or of two defects, is not false
    known = np.concatenate([place, partners])
    beside = np.zeros(len(rest), bool)
    if len(rest) and len(known):
        beside = cKDTree(known).query(rest)[0] < BESIDE_NM / truth.pixel_size_nm
    false = int((_judged(truth, frame, rest) & ~beside).sum())
    kept = judged[i]
    miss = (at[j] - place[i])[kept]
    if len(miss) > 1:
        # the mean of what is compared takes as much of its square with it
        miss = (miss - miss.mean(axis=0)) * np.sqrt(len(miss) / (len(miss) - 1))
    error = found["position_error"].to_numpy()[j][kept]
    called = np.array([names.get(k, "-") for k in found["class_id"].to_numpy()[j][kept]])
    return {
        "vacancies": own.sum(),
        "hit": hit[own].sum(),
        "lone": lone.sum(),
        "lone_hit": hit[lone].sum(),
        "false": false,
        "nameable": kept.sum(),
        "named": (called == kinds[i][kept]).sum(),
        "placed": 2 * kept.sum() * (kept.sum() > 1),
        "pull2": float(((miss / error[:, None]) ** 2).sum()) * (kept.sum() > 1),
    }


def _lonely(truth: Truth, frame: int, points: np.ndarray) -> np.ndarray:
    """Tell which `points` (m, 2) have no other defect within 1.5 lattice constants."""
    partners = truth.partners_between(frame, frame + 1)[["y", "x"]].to_numpy()
    around = np.concatenate([truth.defects_between(frame, frame + 1)[["y", "x"]], partners])
    if not len(points):
        return np.zeros(0, bool)
    reach = 1.5 * truth.settings.material.a_nm / truth.pixel_size_nm
    return np.asarray(cKDTree(around).query_ball_point(points, reach, return_length=True) <= 1)


def _signals(
    sites: tuple[np.ndarray, np.ndarray, np.ndarray], truth: Truth, number: int, vacancy: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the signals of isolated vacancies and of clean sites of the same sublattice."""
    points, sublattice, signal = sites
    true = truth.defects_between(number, number + 1)
    place = true[["y", "x"]].to_numpy()
    own = (true["kind"] == vacancy).to_numpy() & _judged(truth, number, place)
    own &= _lonely(truth, number, place)
    if not own.any() or not len(points):
        return np.zeros(0), np.zeros(0)
    apart, site = cKDTree(points).query(place[own])
    site = site[apart < NEAR_NM / truth.pixel_size_nm]
    if not len(site):
        return np.zeros(0), np.zeros(0)
    which = np.bincount(sublattice[site]).argmax()
    site = site[sublattice[site] == which]
    partners = truth.partners_between(number, number + 1)[["y", "x"]].to_numpy()
    around = cKDTree(np.concatenate([place, partners]))
    far = around.query(points)[0] > 1.3 * truth.settings.material.a_nm / truth.pixel_size_nm
    clean = far & (sublattice == which) & _judged(truth, number, points)
    return signal[site], signal[clean]


def site_signals_of(detector: Any, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places (m, 2), sublattices (m,) and signals (m,) of all sites of a frame."""
    read = detector.judged_sites(detector.remainder(frame))
    if not read:
        return np.zeros((0, 2)), np.zeros(0, int), np.zeros(0)
    return tuple(
        np.concatenate([getattr(places, name) for places in read])
        for name in ("points", "sublattice", "signal")
    )


def deciles(table: pd.DataFrame) -> pd.DataFrame:
    """Return worst decile, median and best decile over worlds of each number."""
    told = {}
    for name in NUMBERS:
        low, middle, high = np.nanpercentile(table[name], [10, 50, 90])
        if WORSE.get(name):
            low, high = high, low
        told[name] = {"worst decile": low, "median": middle, "best decile": high}
    return pd.DataFrame(told).T


def chance_of_false_ones(table: pd.DataFrame) -> str:
    """Say how far false positives lie from what was asked, beside what chance alone would do.

    So many were `asked` for in all frames of a world; a perfect detector gives a Poisson number of
    them, and chi2 per world is 1 then.
    """
    asked = table["asked"]
    seen = table["false"] * asked
    chi2 = float(((seen - asked) ** 2 / asked).mean())
    ratio = float(seen.sum() / asked.sum())
    within = np.mean([abs(np.random.default_rng(0).poisson(n, 4000) / n - 1) < 0.3 for n in asked])
    return (
        f"{seen.sum():.0f} false ones where {asked.sum():.0f} were asked ({ratio:.2f}); chi2 per world "
        f"{chi2:.2f}; a perfect detector is within 30 % in {within:.0%} of such worlds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=16, help="worlds")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--edge", type=int, default=256, help="pixels")
    parser.add_argument(
        "--ideal",
        type=float,
        help="set the dose so that an ideal observer sees vacancies at this d': 8 is a usual dose, "
        "4 a quarter of it; without, the dose is drawn with the world",
    )
    parser.add_argument("--material", help="what all worlds are made of; drawn unless given")
    parser.add_argument("--cache", type=Path, help="folder in which rendered movies are kept")
    parser.add_argument("-o", "--out", type=Path, help="write the results here as JSON")
    options = parser.parse_args()
    print(f"{platform.platform()}; {json.dumps(machine())}")
    rows = []
    for world in range(options.first, options.first + options.n):
        asked = (options.frames, options.edge, options.cache, options.ideal, options.material)
        rows.append(judged_world(world, *asked))
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
    table = pd.DataFrame(rows)
    print(deciles(table).to_string(float_format=lambda value: f"{value:.3f}"))
    print(chance_of_false_ones(table))
    within = ((table["false"] > 0.7) & (table["false"] < 1.3)).mean()
    print(f"false positives within 30 % of what was asked in {within:.0%} of worlds")
    kept = {"worlds": rows, "deciles": deciles(table).to_dict()}
    keep(kept, options.out)


if __name__ == "__main__":
    main()
