"""The learned network beside the Fourier detector and AtomAI: recall, false positives, F1 and
speed.

A network is learned from frames of each movie that are not scored, by `network.learn_network` at
its defaults. AtomAI's default segmentor (U-Net) is trained on scenes with the same exact labels
from the same source, for as long as was given to the network, in float32 as it comes; its own
threshold (0.5) and its own coordinates are used. All are scored away from rims and edges by
`bench_detection.away_from_rims`; F1 counts every kind. Speed is CPU time of one thread, all in the
same run.

AtomAI 0.8.1 needs an environment of its own (atomai, six, opencv, gpytorch, mendeleev,
progressbar2); torchvision is replaced by an empty stand-in here, since the segmentor does not use
it.

    OMP_NUM_THREADS=1 python benchmarks/bench_network.py --presets paper low-dose rotated late-stage
    --atomai -o network.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench_detection import ASKED, away_from_rims, cpu_seconds
from keeping import keep

from stemkin import tables
from stemkin.detection.detectors import FourierDetector
from stemkin.movie import Movie
from stemkin.network import NetworkDetector, TrainingRecipe, learn_network, load_network
from stemkin.network.specimen import Specimen
from stemkin.results.journal import machine
from stemkin.simulation import simulate_movie

N_LEARNED = 16


def judge(name: str, find: Any, movie: Movie, frames: range) -> dict:
    """Return recall of each kind, false positives per frame and F1 of one detector."""
    rows = []
    for frame in frames:
        records = tables.located(
            find(movie.reader.read(frame, frame + 1), first_frame=frame), movie.shape[1:]
        )
        rows.append(pd.DataFrame(records))
    inner = away_from_rims(movie, pd.concat(rows), frames)
    kinds = inner.drop(index="false")
    hits, total, false = (
        (kinds["recall"] * kinds["n"]).sum(),
        kinds["n"].sum(),
        inner.loc["false", "n"],
    )
    metal = kinds.loc["Mo_W"]
    f1, f1_metal = (
        2 * h / (2 * h + false + n - h)
        for h, n in ((hits, total), (metal["recall"] * metal["n"], metal["n"]))
    )
    print(
        f"  {name:28s} false/frame {false / len(frames):6.2f}  F1 {f1:.3f}  F1 of Mo_W with every "
        f"false one {f1_metal:.3f}  "
        + "  ".join(f"{kind} {recall:.3f}" for kind, recall in kinds["recall"].items())
        + "  rms_pm "
        + " ".join(f"{value:.1f}" for value in kinds["rms_pm"]),
        flush=True,
    )
    return {
        "detector": name,
        "false_per_frame": false / len(frames),
        "f1": f1,
        "f1_Mo_W": f1_metal,
        "kinds": inner.reset_index().to_dict("records"),
    }


def learned(movie: Movie, last: int, *, steps: int | None, seed: int) -> NetworkDetector:
    """Return the network learned from frames before `last`."""
    numbers = np.linspace(0, last - 1, N_LEARNED).round().astype(int)
    frames = [movie.reader.read(int(k), int(k) + 1)[0] for k in numbers]
    recipe = TrainingRecipe() if steps is None else TrainingRecipe(steps=steps)
    return learn_network(frames, recipe=recipe, seed=seed)


class AtomAI:
    """AtomAI's default segmentor, trained on drawn scenes for about as long as the network."""

    def __init__(
        self, network: NetworkDetector, *, seconds: float, batch: int = 8, size: int = 128
    ) -> None:
        _stand_in_for_torchvision()
        from atomai.models import Segmentor

        from stemkin.network.examples import ExampleSource

        recipe = TrainingRecipe()
        specimen = Specimen.from_dict(dict(network.weights.record["specimen"]))
        source = ExampleSource(specimen, recipe.variety, [], 0.0, size)
        parts = [source.batch(77, number, 16) for number in range(24)]
        frames = np.concatenate([p.frames.numpy() for p in parts])
        marks = np.concatenate([p.marks.numpy() for p in parts]).max(axis=1)
        labels = (np.repeat(np.repeat(marks, 2, axis=1), 2, axis=2) > 0.3).astype(np.float32)[
            :, None
        ]
        self.spacing = specimen.spacing_px
        began = time.perf_counter()
        self.model = Segmentor(nb_classes=1, seed=1)
        split = len(frames) * 7 // 8
        data = (frames[:split], labels[:split], frames[split:], labels[split:])
        settings = {
            "batch_size": batch,
            "print_loss": 100_000,
            "plot_training_history": False,
            "filename": "/tmp/atomai",
        }
        self.model.fit(*data, training_cycles=5, **settings)
        per_cycle = (time.perf_counter() - began) / 5
        self.cycles = max(10, int(seconds / per_cycle))
        self.model = Segmentor(nb_classes=1, seed=1)
        self.model.fit(*data, training_cycles=self.cycles, **settings)
        self.seconds = time.perf_counter() - began

    def __call__(self, frames: np.ndarray, *, first_frame: int = 0) -> np.ndarray:
        from stemkin.network.detector import _prepared

        inputs = np.stack([_prepared(frame, 1.0, self.spacing) for frame in frames])
        _, coordinates = self.model.predict(inputs, verbose=False, norm=False, num_batches=1)
        rows = [np.empty(0, tables.DETECTION)]
        for i in range(len(frames)):
            places = np.asarray(coordinates.get(i, np.zeros((0, 3)))).reshape(-1, 3)
            some = np.zeros(len(places), tables.DETECTION)
            some["frame"], some["y"], some["x"], some["score"] = (
                first_frame + i,
                places[:, 0],
                places[:, 1],
                1.0,
            )
            rows.append(some)
        return np.concatenate(rows)


def _stand_in_for_torchvision() -> None:
    names = ("torchvision", "torchvision.models", "torchvision.utils")
    modules = {name: types.ModuleType(name) for name in names}
    models, utils = modules["torchvision.models"], modules["torchvision.utils"]
    models.mobilenet_v2 = models.resnet50 = models.vgg16 = utils.make_grid = None  # type: ignore[attr-defined]
    sys.modules.update(modules)


def null_curve(
    network: NetworkDetector, *, n_frames: int, **settings: Any
) -> list[tuple[float, float]]:
    """Return asked and found false positives per frame on a perfect crystal like that of the
    movie."""
    frames = simulate_movie("null", seed=5, n_frames=n_frames, **settings).reader.read(0, n_frames)
    found = [
        (a, len(replace(network, false_positives_per_frame=a).find(frames)) / n_frames)
        for a in ASKED
    ]
    print("  null, asked: found", {asked: round(n, 2) for asked, n in found})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="*", default=["paper"])
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="training steps, for a quick look")
    parser.add_argument("--nets", type=Path, help="keep the networks here, and use those that are")
    parser.add_argument(
        "--atomai", action="store_true", help="train and score AtomAI on the first preset too"
    )
    parser.add_argument("--atomai-seconds", type=float, default=120.0)
    parser.add_argument("-o", "--out", type=Path, help="write the results here as JSON")
    options = parser.parse_args()
    print(f"{platform.platform()}; {json.dumps(machine())}")
    results: dict = {"presets": {}}
    for preset in options.presets:
        movie = simulate_movie(preset, seed=options.seed, n_frames=100)
        frames = range(movie.n_frames - options.frames, movie.n_frames)
        kept = options.nets / preset if options.nets else None
        if kept is not None and kept.exists():
            network = load_network(kept)
        else:
            network = learned(movie, frames.start, steps=options.steps, seed=0)
            network = network if kept is None else network.save(kept)
        print(f"{preset}: learned in {network.weights.record['seconds']:.0f} s", flush=True)
        fourier = FourierDetector().tuned(movie.reader.read(frames.start - 24, frames.start))
        detectors: dict[str, Any] = {
            "network, with the lattice": network,
            "network alone": network.find,
            "fourier, tuned": fourier,
        }
        instrument = movie.reader.settings.instrument
        pixels = movie.reader.read(frames.start, frames.start + 1)
        if options.atomai and preset == options.presets[0]:
            detectors["AtomAI 0.8.1 Unet"] = AtomAI(network, seconds=options.atomai_seconds)
            print(
                f"  AtomAI: {detectors['AtomAI 0.8.1 Unet'].cycles} cycles in "
                f"{detectors['AtomAI 0.8.1 Unet'].seconds:.0f} s"
            )
        judged = [judge(name, find, movie, frames) for name, find in detectors.items()]
        times = {
            name: cpu_seconds(lambda find=find, pixels=pixels: find(pixels), repeats=5)
            for name, find in detectors.items()
        }
        print(
            "  CPU ms per frame", {name: round(1e3 * seconds, 1) for name, seconds in times.items()}
        )
        null = null_curve(
            network,
            n_frames=2 * options.frames,
            rotation_deg=instrument.rotation_deg,
            dose_rate_e_per_nm2_s=instrument.dose_rate_e_per_nm2_s,
        )
        results["presets"][preset] = {
            "learned_s": network.weights.record["seconds"],
            "judged": judged,
            "cpu_s": times,
            "null": null,
        }
        keep(results, options.out)


if __name__ == "__main__":
    main()
