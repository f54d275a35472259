"""What the search of one frame costs, stage by stage, in transforms of that frame.

    OMP_NUM_THREADS=1 python benchmarks/bench_frame.py [--edge 512] [--frames 10] [--repeats 12]
                                                       [-o FILE] [--as NAME]

A movie of the preset ``paper`` is simulated, a model learned from six of its frames, and a block of
it searched with all that a run asks for: names, neighbours, order, steps. Processor time of each
stage is what is spent in it and not in another one; it is the least of the repeats, and so is the
yardstick, an rfft2 and irfft2 pair of one frame in single precision (SciPy), which is timed before
each repeat. `copies` is how often a frame could be copied from memory to memory in that time: no
stage that makes more passes over a frame can be as fast. Peers: none; what is compared are commits.
With -o the measurement is added to FILE under NAME (the commit unless given), and the ratio to the
first one there is printed. Takes about half a minute, half a minute more where machine code has to
be made first. Only ratios within one machine mean anything, and of a busy one not many.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
from bench_stages import Yardstick
from keeping import about, add

import stemkin
from stemkin.detection import block, detectors
from stemkin.kernels.crystal import division, residual
from stemkin.references import reference_crystal

STAGES = {
    "status and missing pixels": [(block, "without_missing"), (block, "frame_status")],
    "own contrast": [(detectors, "in_own_contrast")],
    "lattice": [(detectors.verdicts, "judged")],
    "jitter": [(division, "row_jitter")],
    "crystal drawn": [(residual, "_draw")],
    "haze": [(residual, "_without_haze")],
    "noise and filter": [(detectors.residual, "remove_crystal")],
    "sites": [(detectors.vacancies, "sites_with_neighbours")],
    "defects and places": [
        (detectors.defects, "on_lattices"),
        (detectors.placing, "towards_sites"),
    ],
    "order": [(block, "_order"), (block, "_regions")],
    "names and neighbours": [(block, "named_columns")],
    "steps": [(block, "_steps")],
}
"""Functions in which each stage is spent; what is spent in none of them is "the rest"."""


class Stopwatch:
    """Processor time spent in stages, each without those that it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.inner = [0.0]
        for stage, functions in STAGES.items():
            for module, name in functions:
                setattr(module, name, self._timed(stage, getattr(module, name)))

    def _timed(self, stage: str, function: Any) -> Any:
        def timed(*given: Any, **words: Any) -> Any:
            start = time.process_time()
            self.inner.append(0.0)
            try:
                return function(*given, **words)
            finally:
                took = time.process_time() - start
                own = took - self.inner.pop()
                self.inner[-1] += took
                self.spent[stage] = self.spent.get(stage, 0.0) + own

        return timed


def measure(edge: int, n_frames: int, repeats: int) -> dict[str, Any]:
    """Return the least processor time of each stage [pairs a frame], and of the yardsticks."""
    movie = stemkin.simulate_movie("paper", n_frames=n_frames, shape=(edge, edge), seed=3)
    frames = movie.reader.read(0, n_frames)
    with dask.config.set(scheduler="synchronous"):
        model = stemkin.learn(movie, n_frames=6)
    asked = {"movie": movie, "model": model, "reference": reference_crystal(movie)}
    watch, yardstick = Stopwatch(), Yardstick(edge)
    least: dict[str, float] = {}
    copied, rows = np.inf, 0
    image = frames[0].astype(np.float32)
    into = np.empty((64, *image.shape), np.float32)
    for _ in range(repeats + 1):  # machine code is made in the first one
        yardstick.take()
        start = time.process_time()
        for one in into:
            one[:] = image
        copied = min(copied, (time.process_time() - start) / len(into))
        watch.spent.clear()
        start = time.process_time()
        found = block.detect_block(frames, frames[:0], first_frame=0, neighbours=True, **asked)
        took = {"all": time.process_time() - start}
        took |= watch.spent | {"the rest": took["all"] - sum(watch.spent.values())}
        rows = len(found.detections)
        for stage, seconds in took.items():
            least[stage] = min(least.get(stage, np.inf), seconds / n_frames)
    return {
        "pair_ms": round(1e3 * yardstick.least, 3),
        "copy_ms": round(1e3 * copied, 3),
        "detections": rows,
        "stages": {
            stage: {
                "pairs": round(least.get(stage, 0.0) / yardstick.least, 2),
                "copies": round(least.get(stage, 0.0) / copied, 1),
            }
            for stage in ("all", *STAGES, "the rest")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=512, help="pixels")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--as", dest="name", help="what the measurement is called")
    asked = parser.parse_args()
    size = {"frames": asked.frames, "edge": asked.edge, "repeats": asked.repeats}
    found = {"size": size} | measure(asked.edge, asked.frames, asked.repeats)
    first = add(found, asked.out, asked.name)
    print(about())
    print(f"a pair of transforms {found['pair_ms']} ms, a copy {found['copy_ms']} ms")
    print(f"{'stage':28}{'pairs':>8}{'copies':>9}{'first':>8}{'to the first':>14}")
    for stage, row in found["stages"].items():
        before = first["stages"].get(stage, row)["pairs"]
        ratio = row["pairs"] / max(before, 0.01)
        print(f"{stage:28}{row['pairs']:8.2f}{row['copies']:9.1f}{before:8.2f}{ratio:14.2f}")


if __name__ == "__main__":
    main()
