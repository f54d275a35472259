"""How right are the names? And how fast is the mixture?

Scores the taxonomy on simulated movies whose defects are known: the adjusted Rand index (ARI) of `class_id` against the
true kinds, given the true positions and end to end; what is lost on a movie of another rotation, pixel size and dose;
the orientation of complexes; the calibration of the probabilities. Beside it the recipe of Maksov et al. (2019): a full-covariance
Gaussian mixture of 5 components on raw 32x32 crops. Then a step of expectation-maximisation is timed against scikit-learn's.

    python benchmarks/bench_clustering.py --frames 12 --json names.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stemkin import tables
from stemkin.detectors import FourierDetector, Survey
from stemkin.kernels.matching import match_points
from stemkin.kernels.patches import crops
from stemkin.learning import learn
from stemkin.simulation import simulate_movie, truth_of

NEAR_PX_PER_A = 0.3
"""Matching distance over the lattice constant."""


@dataclass(frozen=True)
class TruePositions:
    """A detector that knows where the defects of one movie are."""

    movie: object

    def survey(self, frames, *, first_frame=0):
        behind = FourierDetector().survey(frames, first_frame=first_frame)
        seen = truth_of(self.movie).defects_between(first_frame, first_frame + len(frames))
        records = np.zeros(len(seen), tables.DETECTION)
        for column in ("frame", "y", "x"):
            records[column] = seen[column]
        records["score"] = 1.0
        return Survey(np.sort(records, order=["frame", "y", "x"]), behind.lattices, behind.residuals, behind.extra)

    def __call__(self, frames, *, first_frame=0):
        return self.survey(frames, first_frame=first_frame).records


def named(movie, model, frames, *, detector=None):
    """Detect and name the given frames; return one row per detection with the true kind beside it ("" = false)."""
    spacing_px = truth_of(movie).settings.material.a_nm / movie.pixel_size_nm
    rows = []
    for frame in frames:
        pixels = movie.reader.read(frame, frame + 1)
        survey = (detector or model.detector).survey(pixels, first_frame=frame)
        columns = model.describe(
            pixels, survey.records, first_frame=frame, lattices=survey.lattices, residuals=survey.extra["rest"]
        )
        records = survey.records
        if "keep" in columns:
            keep = columns.pop("keep")
            records, columns = records[keep], {k: v[keep] for k, v in columns.items()}
        found = pd.DataFrame({**{c: records[c] for c in ("frame", "y", "x", "score")}, **columns})
        truth = truth_of(movie).defects_between(frame, frame + 1).reset_index(drop=True)
        i, j = match_points(
            found[["y", "x"]].to_numpy(float),
            truth[["y", "x"]].to_numpy(float),
            max_distance=NEAR_PX_PER_A * spacing_px,
        )
        found["kind"], found["true_orientation"] = "", -1
        found.loc[i, "kind"] = truth["kind"].to_numpy()[j]
        found.loc[i, "true_orientation"] = truth["orientation"].to_numpy()[j]
        rows.append(found)
    return pd.concat(rows, ignore_index=True)


def scores(rows, model):
    """Return ARI, accuracy of the names, share of right orientations, expected calibration error."""
    from sklearn.metrics import adjusted_rand_score

    names = dict(zip(model.classes["class_id"], model.classes["name"], strict=True)) | {-1: "-"}
    rows = rows.assign(name=rows["class_id"].map(names))
    true = rows[rows["kind"] != ""]
    pairs = true[(true["kind"] == "Mo_W+V_S") & (true["name"] == "Mo_W+V_S")]
    called = true[true["class_id"] >= 0]
    right = (called["name"] == called["kind"]).to_numpy()
    return {
        "n": len(true),
        "ari": adjusted_rand_score(true["kind"], true["class_id"]),
        "right_name": float((true["name"] == true["kind"]).mean()),
        "orientation": float((pairs["orientation"] == pairs["true_orientation"]).mean()),
        "calibration_error": calibration_error(called["probability"].to_numpy(), right),
        "false_named": int(((rows["kind"] == "") & (rows["class_id"] >= 0)).sum()),
        "false": int((rows["kind"] == "").sum()),
    }, pd.crosstab(rows["kind"].replace("", "(false)"), rows["name"])


def calibration_error(probability, right, *, n_bins=10):
    """Return the expected calibration error: mean |accuracy - confidence| over bins, weighted by size."""
    bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    gaps = [abs(right[bins == b].mean() - probability[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def paper_recipe(movie, frames, kinds_of):
    """Return the ARI of scikit-learn's mixture of 5 full components on raw crops around the true positions."""
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import GaussianMixture

    seen, kinds = [], []
    for frame in frames:
        truth = kinds_of(frame)
        seen.append(crops(movie.reader.read(frame, frame + 1)[0], truth[["y", "x"]].to_numpy()).reshape(len(truth), -1))
        kinds += truth["kind"].tolist()
    rows = np.concatenate(seen).astype(float)
    rows /= rows.max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = GaussianMixture(5, covariance_type="full", random_state=1).fit(rows)
    return adjusted_rand_score(kinds, fit.predict(rows))


def accuracy(n_frames, seed):
    from stemkin.model import Model  # noqa: F401

    movie = simulate_movie("paper", seed=seed, n_frames=100)
    frames = range(0, 100, max(1, 100 // n_frames))
    table = {}
    known = learn(movie, n_frames=n_frames, detector=TruePositions(movie), seed=1)
    table["true positions"], confusion = scores(named(movie, known, frames), known)
    print(known.classes[["class_id", "name", "n_detections"]], confusion, sep="\n")
    model = learn(movie, n_frames=n_frames, seed=1)
    table["end to end"], confusion = scores(named(movie, model, frames), model)
    print(model.classes[["class_id", "name", "n_detections"]], confusion, sep="\n")
    for label, settings in OTHERS.items():
        other = simulate_movie("paper", seed=seed + 1, n_frames=20, **settings)
        own = learn(other, n_frames=10, detector=TruePositions(other), seed=1)
        table[f"{label}, own taxonomy"], _ = scores(named(other, own, range(0, 20, 2)), own)
        table[f"{label}, carried over"], confusion = scores(
            named(other, known, range(0, 20, 2), detector=TruePositions(other)), known
        )
        print(label, confusion, sep="\n")
    table["recipe of 2019, true positions"] = {
        "ari": paper_recipe(movie, frames, lambda f: truth_of(movie).defects_between(f, f + 1))
    }
    return table


OTHERS = {
    "rotated 25 deg": {"rotation_deg": 25.0},
    "pixels x0.7": {"pixel_size_nm": 0.021, "rotation_deg": 11.0},
    "pixels x1.4": {"pixel_size_nm": 0.042, "rotation_deg": -8.0},
    "half the dose": {"dose_rate_e_per_nm2_s": 0.8e6, "rotation_deg": 17.0, "drift_y_nm_per_frame": 0.02},
}


def speed(n_rows):
    """Return seconds per step of expectation-maximisation: ours and scikit-learn's, on the same rows and cores."""
    from sklearn.mixture import GaussianMixture as Theirs

    from stemkin.gaussian_mixture import total
    from stemkin.kernels.mixture import mixture_of_labels

    rng = np.random.default_rng(0)
    parts = [
        rng.normal(size=(n_rows // 6, 16)) @ rng.normal(size=(16, 16)) * 0.3 + rng.normal(size=16) * 3 for _ in range(6)
    ]
    rows = np.concatenate(parts)
    start = mixture_of_labels(rows, rng.integers(0, 6, len(rows)), 6, covariance="full", regularisation=1e-6)
    factor = start.precisions_cholesky
    given = {
        "weights_init": start.weights,
        "means_init": start.means,
        "precisions_init": factor @ factor.swapaxes(1, 2),
    }
    seconds = {}
    for steps in (1, 4):
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Theirs(6, tol=0.0, max_iter=steps, init_params="random", **given).fit(rows)
        seconds[steps] = time.perf_counter() - begin
    theirs = (seconds[4] - seconds[1]) / 3
    begin = time.perf_counter()
    for _ in range(3):
        total(rows, start)
    ours = (time.perf_counter() - begin) / 3
    return {"rows": len(rows), "ours_s": ours, "scikit_learn_s": theirs, "ratio": ours / theirs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=12, help="frames to learn from and to score on")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the timed step; 0 leaves it out")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    print(platform.platform(), platform.processor(), f"NumPy {np.__version__}")
    result = {"accuracy": accuracy(arguments.frames, arguments.seed)}
    print(pd.DataFrame(result["accuracy"]).T.round(3).to_string())
    if arguments.rows:
        result["speed"] = speed(arguments.rows)
        print(result["speed"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
