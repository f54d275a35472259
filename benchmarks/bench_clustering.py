"""How right are the names? How much do they cost? And how fast is the mixture?

Accuracy, on simulated movies whose defects are known: adjusted Rand index (ARI) of `class_id`
against the true kinds, given the true positions and end to end; what is lost on a movie of another
rotation, pixel size and dose; the orientation of complexes; the calibration of the probabilities;
area fractions of the phases. Beside it, given the true positions,

- the recipe of Maksov et al. (2019): scikit-learn's Gaussian mixture of 5 full components on raw
  32x32 crops;
- that of AtomAI 0.8.1 (`imlocal.gmm`): the same with diagonal components; and `imlocal.pca_gmm`, on
  principal components.

Cost: what naming, and the atoms around each detection, add to the detection pass. Speed: a step of
expectation-maximisation against scikit-learn's, and steps over more rows than memory holds, made
block by block in worker processes.

    python benchmarks/bench_clustering.py --frames 12 -o names.json
    python benchmarks/bench_clustering.py --only stream --stream-rows 100_000_000 --workers 2
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from keeping import keep

from stemkin import tables
from stemkin.detection.detectors import FourierDetector
from stemkin.detection.survey import Survey
from stemkin.kernels.common.matching import match_points
from stemkin.kernels.crystal.patches import crops
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
        return Survey(
            np.sort(records, order=["frame", "y", "x"]),
            behind.lattices,
            behind.residuals,
            behind.extra,
        )

    def __call__(self, frames, *, first_frame=0):
        return self.survey(frames, first_frame=first_frame).records


def named(movie, model, frames, *, detector=None):
    """Detect and name the given frames; return one row per detection with the true kind beside it
    ("" = false)."""
    spacing_px = truth_of(movie).settings.material.a_nm / movie.pixel_size_nm
    rows = []
    for frame in frames:
        pixels = movie.reader.read(frame, frame + 1)
        survey = (detector or model.detector).survey(pixels, first_frame=frame)
        columns = model.describe(
            pixels,
            survey.records,
            first_frame=frame,
            lattices=survey.lattices,
            residuals=survey.extra["rest"],
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
    """Return ARI, accuracy of the names, share of right orientations, expected calibration
    error."""
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
    """Return the expected calibration error: mean |accuracy - confidence| over bins, weighted by
    size."""
    bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    gaps = [
        abs(right[bins == b].mean() - probability[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def crops_of(movie, frames):
    """Return raw 32x32 crops around the true positions, flattened, and the true kinds."""
    seen, kinds = [], []
    for frame in frames:
        truth = truth_of(movie).defects_between(frame, frame + 1)
        seen.append(
            crops(movie.reader.read(frame, frame + 1)[0], truth[["y", "x"]].to_numpy()).reshape(
                len(truth), -1
            )
        )
        kinds += truth["kind"].tolist()
    rows = np.concatenate(seen).astype(float)
    return rows / rows.max(), kinds


def recipes_on_crops(movie, frames):
    """Return the ARI of the recipes on raw crops, given the true positions and 5 classes."""
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import GaussianMixture

    rows, kinds = crops_of(movie, frames)
    scores_by_pca = PCA(10, random_state=1).fit_transform(rows)
    table = {}
    for label, covariance, x in (
        ("2019: mixture of 5 full on crops", "full", rows),
        ("AtomAI gmm: 5 diagonal on crops", "diag", rows),
        ("AtomAI pca_gmm: 5 diagonal on 10 components", "diag", scores_by_pca),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = GaussianMixture(5, covariance_type=covariance, random_state=1).fit_predict(x)
        table[label] = {"n": len(kinds), "ari": adjusted_rand_score(kinds, found)}
    return table


def areas(seed):
    """Return the largest errors of the area fractions on a movie in which holes open and a fragment
    turns."""
    from stemkin.order import phases

    movie = simulate_movie("late-stage", seed=seed, n_frames=12, frame_time_s=19.0)
    found, truth = phases(movie).compute(), truth_of(movie).frames
    whole = 1 - truth["vacuum"].to_numpy()
    return {
        "largest_vacuum": float(truth["vacuum"].max()),
        "error_vacuum": float(np.abs(found["vacuum"] - truth["vacuum"]).max()),
        "error_ordered": float(np.abs(found["ordered"] - whole).max()),
    }


def cost(seed):
    """Return processor time per frame [ms] of the detection pass without names, with them, and with
    the atoms around."""
    from stemkin.detection import detect_block
    from stemkin.references import reference_crystal

    movie = simulate_movie("paper", seed=seed, n_frames=60)
    model = learn(movie, n_frames=8, seed=1)
    frames, before = movie.reader.read(20, 36), movie.reader.read(19, 20)
    crystal = reference_crystal(movie)

    def spent(what, **words):
        times = []
        for _ in range(3):
            began = time.process_time()
            detect_block(
                frames,
                before,
                first_frame=20,
                movie=movie,
                model=what,
                reference=crystal,
                **words,
            )
            times.append((time.process_time() - began) / 17 * 1e3)
        return min(times)

    bare, with_names, with_atoms = (
        spent(model.detector),
        spent(model),
        spent(model, neighbours=True),
    )
    return {
        "without_names_ms": bare, "with_names_ms": with_names, "with_atoms_ms": with_atoms,
        "naming_share": with_names / bare - 1, "atoms_share": (with_atoms - with_names) / bare,
    }  # fmt: skip


def accuracy(n_frames, seed):
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
    return table | recipes_on_crops(movie, frames)


OTHERS = {
    "rotated 25 deg": {"rotation_deg": 25.0},
    "pixels x0.7": {"pixel_size_nm": 0.021, "rotation_deg": 11.0},
    "pixels x1.4": {"pixel_size_nm": 0.042, "rotation_deg": -8.0},
    "half the dose": {
        "dose_rate_e_per_nm2_s": 0.8e6,
        "rotation_deg": 17.0,
        "drift_y_nm_per_frame": 0.02,
    },
}


def speed(n_rows):
    """Return seconds per step of expectation-maximisation: ours and scikit-learn's, on the same
    rows and cores."""
    from sklearn.mixture import GaussianMixture as Theirs

    from stemkin.kernels.classes.mixture import mixture_of_labels
    from stemkin.learning.gaussian_mixture import mixture_sums

    rng = np.random.default_rng(0)
    parts = [
        rng.normal(size=(n_rows // 6, 16)) @ rng.normal(size=(16, 16)) * 0.3
        + rng.normal(size=16) * 3
        for _ in range(6)
    ]
    rows = np.concatenate(parts)
    start = mixture_of_labels(
        rows, rng.integers(0, 6, len(rows)), 6, covariance="full", regularisation=1e-6
    )
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
        mixture_sums(rows, start)
    ours = (time.perf_counter() - begin) / 3
    return {"rows": len(rows), "ours_s": ours, "scikit_learn_s": theirs, "ratio": ours / theirs}


def block_of(number, *, n_rows):
    """Return one block of rows (n, 16) float32: six Gaussians, the same for the same number."""
    rng = np.random.default_rng(number)
    centres = np.random.default_rng(0).normal(size=(6, 16)) * 3
    return (
        rng.standard_normal((n_rows, 16), np.float32) + centres[rng.integers(0, 6, n_rows)]
    ).astype(np.float32)


def streamed(n_rows, n_workers, n_steps=2):
    """Return seconds per step and the most memory of any worker, over rows that are made block by
    block and never kept."""
    import dask
    import dask.array as da

    from stemkin.kernels.classes.mixture import mixture_of_labels
    from stemkin.kernels.classes.mixture_steps import LEAF_ROWS
    from stemkin.learning.gaussian_mixture import TASK_LEAVES, GaussianMixture
    from stemkin.schedulers.clients import connect

    size = LEAF_ROWS * TASK_LEAVES
    sizes = [min(size, n_rows - start) for start in range(0, n_rows, size)]
    make = dask.delayed(block_of)
    rows = da.concatenate(
        [da.from_delayed(make(i, n_rows=n), (n, 16), np.float32) for i, n in enumerate(sizes)]
    )
    first = block_of(0, n_rows=10_000)
    labels = np.random.default_rng(1).integers(0, 6, len(first))
    start = mixture_of_labels(first, labels, 6, covariance="full", regularisation=1e-6)
    factor = start.precisions_cholesky
    given = {
        "weights_init": start.weights,
        "means_init": start.means,
        "precisions_init": factor @ factor.swapaxes(1, 2),
    }
    with connect("processes", workers=n_workers) as client:
        before = client.run(peak_mib)
        began = time.perf_counter()
        fit = GaussianMixture(6, tol=0.0, max_iter=n_steps, **given).fit(rows)
        seconds = time.perf_counter() - began
        after = client.run(peak_mib)
    return {
        "rows": n_rows, "gigabytes": n_rows * 16 * 4 / 1e9, "workers": n_workers, "steps": fit.n_iter_, "s_per_step": seconds / fit.n_iter_,
        "rows_per_s": n_rows * fit.n_iter_ / seconds, "worker_mib_before": max(before.values()), "worker_peak_mib": max(after.values()),
        "client_peak_mib": peak_mib(), "log_likelihood": fit.lower_bound_,
    }  # fmt: skip


def peak_mib():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PARTS = ("accuracy", "areas", "cost", "speed", "stream")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=PARTS[:-1], help="what to measure"
    )
    parser.add_argument(
        "--frames", type=int, default=12, help="frames to learn from and to score on"
    )
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the timed step")
    parser.add_argument(
        "--stream-rows", type=int, default=10_000_000, help="rows of the streamed steps"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="worker processes of the streamed steps"
    )
    parser.add_argument("-o", "--out", type=Path, help="where to write the numbers as JSON")
    arguments = parser.parse_args()
    machine = (
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy "
        f"{np.__version__}"
    )
    print(machine)
    parts = {
        "accuracy": lambda: accuracy(arguments.frames, arguments.seed),
        "areas": lambda: areas(arguments.seed),
        "cost": lambda: cost(arguments.seed),
        "speed": lambda: speed(arguments.rows),
        "stream": lambda: streamed(arguments.stream_rows, arguments.workers),
    }
    result = {**{name: parts[name]() for name in arguments.only}}
    for name in arguments.only:
        text = (
            pd.DataFrame(result[name]).T.round(3).to_string()
            if name == "accuracy"
            else json.dumps(result[name])
        )
        print(name, text, sep="\n")
    keep(result, arguments.out)


if __name__ == "__main__":
    main()
