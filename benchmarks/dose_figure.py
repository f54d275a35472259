"""The picture of docs/faint_movies.md: D and its interval against dose, tracked and correlated.

One world of 676 chalcogen sites with 1.85 % vacancies, 300 frames; the dose decides how deep a vacancy
stands in the signal of a site (d' 8 at a usual dose). Three answers at each dose: tracks of what
single frames show at one false detection per frame of 2,704 sites, tracks of what `occupancy` finds
likely (which refuses below a depth of 2), and `hopping` from correlations, in which no vacancy is picked.

    python benchmarks/dose_figure.py -o docs/dose.png
"""

import argparse
import platform

import matplotlib as mpl
import numpy as np
import pandas as pd

import stemkin as sk
from stemkin import tables
from stemkin.kernels.detection.false_positives import site_threshold
from stemkin.simulation import simulate_traces
from stemkin.sites.chances import LEAST_DEPTH

DOSES = {"1": 8.0, "1/4": 4.0, "1/16": 2.0, "1/64": 1.0}
PIXEL_NM, SITES_OF_A_FRAME = 0.03, 2704


def world_at(depth, frames, edge, seed):
    """Return traces whose sites have places."""
    world = simulate_traces(n_frames=frames, shape=(edge, edge), depth=depth, seed=seed)
    a = world.traces.lattice_nm
    places = world.traces.cells @ (a * np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]]))
    sites = world.traces.sites.assign(y_nm=places[:, 0], x_nm=places[:, 1])
    return world, sk.SiteTraces.of(
        world.traces.values, sites, movie="m", frame_time_s=1.0, lattice_nm=a, depth=depth
    )


def seen_in_single_frames(traces):
    """Return what stands out in single frames, as the table ``detections``."""
    values = traces.values.compute()
    frame, site = np.nonzero(values < -site_threshold(1.0, SITES_OF_A_FRAME))
    places = traces.sites[["y_nm", "x_nm"]].to_numpy()[site] / PIXEL_NM
    rows = {
        "movie": "m", "frame": frame, "y": places[:, 0], "x": places[:, 1],
        "score": -values[frame, site], "class_id": 0, "probability": 1.0, "orientation": -1,
    }  # fmt: skip
    ordered = pd.DataFrame(rows).sort_values(["frame", "y", "x"], kind="stable")
    return tables.conform(ordered, "detections")


def tracked(detections, n_frames, a):
    """Return D with its interval, from tracks of detections."""
    known = {
        "movie": "m", "n_frames": n_frames, "height_px": 400, "width_px": 600,
        "pixel_size_nm": PIXEL_NM, "frame_time_s": 1.0, "dose_rate_e_per_nm2_s": np.nan,
        "exposure_fraction": 0.0, "source": "",
    }  # fmt: skip
    experiment = tables.Experiment(tables.conform(pd.DataFrame([known]), "movies"))
    tracks = sk.link(detections, experiment=experiment, max_step_nm=2.2 * a)
    found = sk.fit_diffusion(tracks, hop_length_nm=a)
    row = found[found["recommended"]].iloc[0]
    return tuple(float(row[name]) for name in ("D_nm2_per_s", "low", "high"))


def answers_at(depth, frames, edge, seed):
    """Return name -> (D, low, high) in nm²/s, and the true D."""
    world, traces = world_at(depth, frames, edge, seed)
    a = traces.lattice_nm
    row = sk.hopping(sk.lattice_correlation(traces)).iloc[0]
    together = (np.nan, np.nan, np.nan)
    if depth >= LEAST_DEPTH:  # below, likely vacancies are not counted
        together = tracked(sk.occupancy(traces).detections(PIXEL_NM), frames, a)
    found = {
        "tracked, single frames": tracked(seen_in_single_frames(traces), frames, a),
        "tracked, all frames together": together,
        "correlated": tuple(float(row[name]) for name in ("D_nm2_per_s", "low", "high")),
    }
    return found, world.D_nm2_per_s


def drawn(rows, truth, path):
    """Draw D over the true one against dose."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    looks = {
        "tracked, single frames": ("#777777", "s"),
        "tracked, all frames together": ("#0868ac", "^"),
        "correlated": ("#d95f02", "o"),
    }
    axes.axhline(1.0, color="black", linewidth=0.8)
    for number, (name, (colour, mark)) in enumerate(looks.items()):
        at = np.arange(len(DOSES)) + 0.16 * (number - 1)
        D, low, high = (np.array([rows[dose][name][i] for dose in DOSES]) / truth for i in range(3))
        known = np.isfinite(D)
        bars = [(D - low)[known], np.minimum(high, 9.0 * D)[known] - D[known]]
        axes.errorbar(at[known], D[known], yerr=bars, fmt=mark, color=colour, capsize=3, label=name)
        axes.plot(at[~known], np.full((~known).sum(), 0.08), "x", color=colour)
    axes.set_yscale("log")
    axes.set_ylim(0.06, 60)
    axes.set_yticks([0.1, 0.3, 1, 3, 10, 30], ["0.1", "0.3", "1", "3", "10", "30"])
    axes.set_xticks(range(len(DOSES)), [f"{dose}\n(d' {d:g})" for dose, d in DOSES.items()])
    axes.set_xlabel("dose, over a usual one")
    axes.set_ylabel("D, over the true one")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", default="dose.png")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--edge", type=int, default=26, help="sites along each lattice vector")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    print(platform.platform(), platform.processor(), flush=True)
    rows, truth = {}, np.nan
    for dose, depth in DOSES.items():
        rows[dose], truth = answers_at(depth, args.frames, args.edge, args.seed)
        for name, (D, low, high) in rows[dose].items():
            said = f"{D / truth:.3f} [{low / truth:.3f}, {high / truth:.3f}]"
            print(f"{dose:>5s}  {name:30s} {said}", flush=True)
    drawn(rows, truth, args.out)


if __name__ == "__main__":
    main()
