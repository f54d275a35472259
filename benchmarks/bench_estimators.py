"""The same tracks, by stemkin, by deeptime and trackpy, and by the published formulas: how far off
is each?

Defects hop on a lattice and change between three classes; 5 % of the frames are missed, 3 % of the
names are wrong, two defects share each region. The published way (npj Comput. Mater. 5, 12 (2019))
takes all detections of a hand-drawn region in order, so that two in one frame count as a
transition, a gap counts as one step, each region's probabilities are averaged without weights, and
D is var(position) / (4 N tau).

    python benchmarks/bench_estimators.py --sets 40 -o estimators.json --plot estimators.png
"""

import argparse
import os
import platform

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from keeping import keep
from scipy import linalg

import stemkin as sk

A_NM, FRAME_S, HOPS = 0.3153, 2.25, 0.2
Q = np.array([[-0.06, 0.04, 0.02], [0.03, -0.06, 0.03], [0.02, 0.04, -0.06]])  # per frame
CONFUSION = np.full((3, 3), 0.015) + np.eye(3) * 0.955
D_TRUE = HOPS / FRAME_S * A_NM**2 / 4


def tracks(n_tracks, n_frames, rng):
    """Rows of tracks, and what is missing or misnamed."""
    steps = np.zeros((n_tracks, n_frames, 2))
    n_hops = rng.poisson(HOPS, (n_tracks, n_frames))
    for k in range(n_hops.max()):
        angle = rng.integers(6, size=n_hops.shape) * np.pi / 3
        steps += A_NM * np.stack([np.sin(angle), np.cos(angle)], axis=-1) * (n_hops > k)[..., None]
    place = steps.cumsum(axis=1) + rng.normal(0, 0.015, steps.shape)
    bounds = linalg.expm(Q).cumsum(axis=1)
    state = np.zeros((n_tracks, n_frames), dtype=int)
    state[:, 0] = rng.integers(3, size=n_tracks)
    for i in range(1, n_frames):
        state[:, i] = (rng.random(n_tracks)[:, None] > bounds[state[:, i - 1]]).sum(axis=1)
    name = (rng.random(state.shape)[..., None] > CONFUSION.cumsum(axis=1)[state]).sum(axis=-1)
    track, frame = np.nonzero(rng.random(state.shape) > 0.05)
    rows = {"particle": track, "frame": frame, "class_id": name[track, frame]}
    return pd.DataFrame(rows | {"y_nm": place[track, frame, 0], "x_nm": place[track, frame, 1]})


def published_matrix(rows):
    """Transitions as published: regions of two defects each, all their detections in order,
    averaged without weights."""
    parts = []
    for _, own in rows.sort_values(["frame", "particle"]).groupby(rows["particle"] // 2):
        names = own["class_id"].to_numpy()
        counts = np.bincount(names[:-1] * 3 + names[1:], minlength=9).reshape(3, 3).astype(float)
        with np.errstate(invalid="ignore"):
            parts.append(counts / counts.sum(axis=1, keepdims=True))
    return np.nanmean(parts, axis=0)


def published_d(rows):
    each = rows.groupby("particle")
    spread = each[["y_nm", "x_nm"]].var(ddof=0).sum(axis=1)
    return float((spread / (4 * each.size() * FRAME_S)).mean())


def deeptime_matrix(rows):
    from deeptime.markov import TransitionCountEstimator
    from deeptime.markov.msm import MaximumLikelihoodMSM

    ordered = rows.sort_values(["particle", "frame"])
    sequences = [
        own["class_id"].to_numpy() for _, own in ordered.groupby("particle")
    ]  # it knows no gaps
    counts = TransitionCountEstimator(lagtime=1, count_mode="sliding").fit_fetch(sequences)
    return MaximumLikelihoodMSM(reversible=False).fit_fetch(counts).transition_matrix


def trackpy_d(rows):
    import trackpy

    renamed = rows.rename(columns={"y_nm": "y", "x_nm": "x"})
    curve = trackpy.emsd(renamed, mpp=1, fps=1 / FRAME_S, max_lagtime=5)
    return float(np.polyfit(curve.index, curve.to_numpy(), 1)[0] / 4)


def one_set(rng):
    rows = tracks(60, 60, rng)
    words = {"frame_time_s": FRAME_S}
    fits = {
        m: sk.fit_diffusion(
            rows, method=m, by="pooled", class_of="all", hop_length_nm=A_NM, **words
        ).iloc[0]
        for m in ("hop", "mle")
    }
    D = {f"stemkin, {m}": (f["D_nm2_per_s"], f["low"], f["high"]) for m, f in fits.items()}
    D |= {
        "trackpy, line through emsd": (trackpy_d(rows), np.nan, np.nan),
        "published var/(4 N tau)": (published_d(rows), np.nan, np.nan),
    }
    raw, better = (
        sk.transitions(rows, **words),
        sk.hidden_transitions(rows, confusion=CONFUSION, **words),
    )
    P = {}
    for name, found in (("stemkin, raw", raw), ("stemkin, names corrected", better)):
        P[name] = tuple(found.matrix(c).to_numpy() for c in ("probability", "low", "high"))
    nothing = np.full((3, 3), np.nan)
    P |= {
        "deeptime, maximum likelihood": (deeptime_matrix(rows), nothing, nothing),
        "published counting": (published_matrix(rows), nothing, nothing),
    }
    return D, P


def summary(sets):
    true, off = linalg.expm(Q), ~np.eye(3, dtype=bool)
    lines = []
    for name in sets[0][0]:
        value, low, high = np.array([s[0][name] for s in sets]).T
        cover = np.mean((low <= D_TRUE) & (high >= D_TRUE)) if np.isfinite(low).all() else np.nan
        lines.append({"quantity": "D (nm²/s)", "estimator": name, "true": D_TRUE, "mean": value.mean(), "off_by": value.mean() / D_TRUE - 1,
                      "scatter": value.std() / D_TRUE, "cover": cover})  # fmt: skip
    for what, mask in (("P of staying", ~off), ("P of a change", off)):
        for name in sets[0][1]:
            value, low, high = (np.array([s[1][name][i] for s in sets])[:, mask] for i in range(3))
            truth = true[mask]
            cover = np.mean((low <= truth) & (truth <= high)) if np.isfinite(low).all() else np.nan
            lines.append({"quantity": what, "estimator": name, "true": truth.mean(), "mean": value.mean(), "off_by": value.mean() / truth.mean() - 1,
                          "scatter": value.std(axis=0).mean() / truth.mean(), "cover": cover})  # fmt: skip
    return lines


def draw(lines, path):
    import matplotlib.pyplot as plt

    table = pd.DataFrame(lines)
    figure, panels = plt.subplots(1, 3, figsize=(13, 2.8), layout="constrained")
    for axes, (quantity, own) in zip(panels, table.groupby("quantity", sort=False), strict=True):
        place = np.arange(len(own))[::-1]
        axes.errorbar(own["mean"], place, xerr=own["scatter"] * own["true"], fmt="o", capsize=3)
        axes.axvline(own["true"].iloc[0], color="k", linewidth=0.8)
        axes.set_yticks(place, own["estimator"])
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(f"{quantity}: line = truth", fontsize=10)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("-o", "--output", help="JSON file")
    parser.add_argument("--plot", help="PNG file")
    words = parser.parse_args()
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(machine, f"{words.sets} data sets of 60 tracks x 60 frames", sep="; ")
    rng = np.random.default_rng(0)
    lines = summary([one_set(rng) for _ in range(words.sets)])
    print(pd.DataFrame(lines).round(5).to_string(index=False))
    keep({"sets": words.sets, "lines": lines}, words.output)
    if words.plot:
        draw(lines, words.plot)


if __name__ == "__main__":
    main()
