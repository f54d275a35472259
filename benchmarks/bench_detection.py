"""How well and how fast defects are found: recall, precision and position beside the ideal
observer, and speed beside trackpy.

Every preset is searched at its default setting, one false positive per frame, and scored against
the truth. With `--learned` the look of vacancies is first learned from 24 frames of the same movie
that are not scored. `ideal_here` is the recall of an ideal observer who makes as many false
positives as were found. The second table leaves out what lies on a rim (some of its twelve
neighbours are gone) or at the frame's edge; `pull` is the standard deviation of (found - true) /
stated error. The null curve says how many detections per frame a perfect crystal gives for what was
asked. Speed is CPU time on one thread, the fastest of several runs, for the whole detector and for
``trackpy.locate`` on the residual that the detector hands it for nothing.

    OMP_NUM_THREADS=1 python benchmarks/bench_detection.py --presets paper low-dose rotated
    late-stage null OMP_NUM_THREADS=1 python benchmarks/bench_detection.py --presets paper --speed
    --null-curve -o detection.json
"""

from __future__ import annotations

import argparse
import cProfile
import json
import platform
import pstats
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from keeping import keep
from scipy.spatial import cKDTree

import stemkin as sk
from stemkin.detection.detectors import FourierDetector
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.images.ideal import best_recall
from stemkin.movie import Movie
from stemkin.results.journal import machine
from stemkin.scoring import score
from stemkin.simulation import simulate_movie, truth_of
from stemkin.simulation.damage import columns_in_sight, fate_of, has_damage
from stemkin.simulation.drift import shifts_px
from stemkin.simulation.scene import area_and_time
from stemkin.simulation.truth import Truth

EDGE_NM = 0.2
"""Nothing closer to the edge is judged: half of its image is missing."""

SITE_PX2 = 95.66
"""Area of a unit cell of WS2 at 0.03 nm per pixel: one chalcogen site each."""

ASKED = (0.1, 0.3, 1.0, 3.0, 10.0)


def accuracy(preset: str, *, n_frames: int, seed: int, learned: bool, asked: float) -> dict:
    """Return the table of kinds and the false positives per frame of one preset."""
    movie = simulate_movie(
        preset, seed=seed, n_frames=None if preset == "late-stage" else n_frames + 24
    )
    detector = FourierDetector(false_positives_per_frame=asked)
    first = movie.n_frames - n_frames
    if learned:
        detector = detector.learned_from(movie.reader.read(first - 24, first))
    rows = sk.detect(movie, detector, frames_per_block=1).partitions[first:].compute()
    judged = score(rows, truth_of(movie), frames=(first, movie.n_frames), edge_nm=EDGE_NM)
    columns = ["n_true", "n_matched", "recall", "best_recall", "ideal_here", "rmse_nm", "bound_nm"]
    false = (
        float(judged.confusion.loc["false"].sum()) / n_frames
        if "false" in judged.confusion.index
        else 0.0
    )
    limits = truth_of(movie).limits.query("against == 'crystal'").set_index("kind")["d_prime"]
    n_sites = round(np.prod(movie.shape[1:]) / SITE_PX2)
    judged.detection["ideal_here"] = [
        best_recall(limits[kind], n_sites=n_sites, false_positives=max(false, 0.01))
        if kind in limits
        else np.nan
        for kind in judged.detection.index
    ]
    inner = away_from_rims(movie, rows, range(first, movie.n_frames))
    print(
        f"\n{preset} (seed {seed}, {n_frames} frames, {detector.observer}, {asked:g} "
        "false positives per frame asked)"
    )
    print(judged.detection[columns].to_string(float_format=lambda value: f"{value:.4f}"))
    print(
        f"false positives per frame: {false:.2f}\naway from "
        f"rims:\n{inner.to_string(float_format=lambda value: f'{value:.3f}')}"
    )
    kinds = judged.detection[columns].reset_index().to_dict("records")
    inner = inner.reset_index().to_dict("records")
    return {
        "preset": preset,
        "asked": asked,
        "false_per_frame": false,
        "kinds": kinds,
        "away_from_rims": inner,
    }


def away_from_rims(movie: Movie, rows: pd.DataFrame, frames: range) -> pd.DataFrame:
    """Return recall, rms error [pm per axis] and pull of each kind where the crystal is whole, and
    ``false`` per frame there."""
    truth, pixel = truth_of(movie), movie.pixel_size_nm
    found = rows[~rows["at_edge"]]
    parts, false = [], 0
    for frame in frames:
        true, seen = truth.defects_between(frame, frame + 1), found[found["frame"] == frame]
        place, at = true[["y", "x"]].to_numpy(), seen[["y", "x"]].to_numpy(float)
        i, j = match_points(place, at, max_distance=0.1 / pixel)
        hit = np.zeros(len(true), bool)
        hit[i] = True
        table = true.assign(hit=hit, error=np.nan, dy=np.nan, dx=np.nan)
        error = seen["position_error"].to_numpy()
        for column, values in (
            ("error", error[j]),
            *zip(("dy", "dx"), (at[j] - place[i]).T, strict=True),
        ):
            table.iloc[i, table.columns.get_loc(column)] = values
        parts.append(table[is_whole(truth, frame, place)])
        partners = truth.partners_between(frame, frame + 1)[["y", "x"]].to_numpy()
        lonely = np.delete(at, j, axis=0)
        lonely = np.delete(
            lonely, match_points(partners, lonely, max_distance=0.1 / pixel)[1], axis=0
        )
        false += int(is_whole(truth, frame, lonely).sum())
    table = pd.concat(parts)
    edge = EDGE_NM / pixel
    high = np.array(movie.shape[1:]) - 1 - edge
    table = table[((table[["y", "x"]] > edge) & (table[["y", "x"]] < high)).all(axis=1)]
    kinds = {}
    for kind, own in table.groupby("kind"):
        miss = own.loc[own["hit"], ["dy", "dx"]].to_numpy()
        pulls = miss / own.loc[own["hit"], ["error"]].to_numpy()
        kinds[kind] = {
            "n": len(own),
            "recall": own["hit"].mean(),
            "rms_pm": 1e3 * pixel * _rms(miss),
            "pull": _rms(pulls),
        }
    kinds["false"] = {"n": false, "recall": false / len(frames)}
    return pd.DataFrame.from_dict(kinds, orient="index").rename_axis("kind")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean())) if values.size else float("nan")


def is_whole(truth: Truth, frame: int, points: np.ndarray) -> np.ndarray:
    """Tell around which `points` (m, 2) [px, raw frame] all twelve nearest columns of the crystal
    are still there."""
    settings = truth.settings
    if not has_damage(settings) or not len(points):
        return np.ones(len(points), bool)
    (shift,) = shifts_px(settings, np.array([frame]))
    area, time_s = area_and_time(settings, frame)
    columns, sites = columns_in_sight(settings, shift, margin_px=20.0)
    fate = fate_of(settings, area, columns, sites, np.full(len(columns), time_s))
    present = fate.points[~fate.gone] + shift
    a_px = settings.material.a_nm / settings.instrument.pixel_size_nm
    near = cKDTree(present).query_ball_point(points, 1.3 * a_px, return_length=True)
    return near >= 13


def null_curve(*, n_frames: int, seed: int) -> dict:
    """Return asked and found false positives per frame on a perfect crystal."""
    frames = simulate_movie("null", seed=seed, n_frames=n_frames, rotation_deg=17.0).reader.read(
        0, n_frames
    )
    found = {
        asked: len(FourierDetector(false_positives_per_frame=asked)(frames)) / n_frames
        for asked in ASKED
    }
    print(
        "\nfalse positives per frame, asked: found",
        {asked: round(n, 2) for asked, n in found.items()},
    )
    return {"asked_found": list(found.items())}


def cpu_seconds(call, *, repeats: int) -> float:
    """Return the shortest CPU time of `repeats` calls."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def speed(*, repeats: int, seed: int) -> dict:
    """Return CPU milliseconds per 512 x 512 frame of the detector and of trackpy."""
    import trackpy

    trackpy.quiet()
    warnings.simplefilter("ignore")
    movie: Movie = simulate_movie("paper", seed=seed, n_frames=1)
    frames, detector = movie.reader.read(0, 1), FourierDetector()
    dark = np.clip(-detector.survey(frames).residuals[0], 0, None)
    times = {"FourierDetector, all of it": cpu_seconds(lambda: detector(frames), repeats=repeats)}
    for engine in ("python", "numba"):
        try:
            trackpy.locate(dark, 7, topn=100, engine=engine)
        except (ImportError, ValueError):
            continue
        times[f"trackpy.locate, {engine}"] = cpu_seconds(
            lambda engine=engine: trackpy.locate(dark, 7, topn=100, engine=engine), repeats=repeats
        )
    print("\nCPU ms per frame", {name: round(1e3 * seconds, 1) for name, seconds in times.items()})
    return times


def kernel_share(*, n_frames: int, seed: int) -> float:
    """Return the share of the whole pass over the pixels, reading left out, that is spent inside
    `stemkin.kernels`."""
    frames = simulate_movie("paper", seed=seed, n_frames=n_frames).reader.read(0, n_frames)
    movie = Movie.from_array(frames, name="in memory", pixel_size_nm=0.03, frame_time_s=2.25)
    profile = cProfile.Profile()
    rows = sk.detect(movie, FourierDetector())
    rows.compute(
        scheduler="sync"
    )  # what is loaded once, and memory that the system has not handed out before
    began = time.perf_counter()
    profile.runcall(rows.compute, scheduler="sync")
    whole = time.perf_counter() - began
    inside = 0.0
    for (path, *_), (*_, callers) in pstats.Stats(profile).stats.items():
        if "stemkin/kernels" in path:
            inside += sum(
                times[3]
                for (caller, *_), times in callers.items()
                if "stemkin/kernels" not in caller
            )
    print(f"\nshare of the pass inside kernels ({n_frames} frames): {inside / whole:.3f}")
    return inside / whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="*", default=["paper"])
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--asked", type=float, default=1.0, help="false positives per frame asked for"
    )
    parser.add_argument(
        "--learned",
        action="store_true",
        help="learn the look of vacancies from other frames first",
    )
    parser.add_argument("--null-curve", action="store_true")
    parser.add_argument(
        "--share", action="store_true", help="how much of the pass is spent inside kernels"
    )
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("-o", "--out", type=Path, help="write the results here as JSON")
    options = parser.parse_args()

    print(f"{platform.platform()}; {json.dumps(machine())}")
    results: dict = {"accuracy": []}
    for preset in options.presets:
        results["accuracy"].append(
            accuracy(
                preset,
                n_frames=options.frames,
                seed=options.seed,
                learned=options.learned,
                asked=options.asked,
            )
        )
    if options.null_curve:
        results["null"] = null_curve(n_frames=2 * options.frames, seed=options.seed)
    if options.share:
        results["kernel_share"] = kernel_share(n_frames=4 * options.frames, seed=options.seed)
    if options.speed:
        results["speed_s"] = speed(repeats=options.repeats, seed=options.seed)
    keep(results, options.out)


if __name__ == "__main__":
    main()
