"""What each stage of `stemkin run` costs: processor seconds, and transforms of a frame.

    python benchmarks/bench_stages.py [--frames 60] [--edge 384] [--movies 2] [-o FILE] [--as NAME]

Movies of the preset ``paper`` are simulated, and run from pixels to report in this process, one
task after another, so that processor time is the work alone: no processes start, nothing waits.
The yardstick is an rfft2 and irfft2 pair of one frame in single precision (SciPy), timed between
the stages; `pairs` is the stage's time over its least one, and per frame where the stage looks at
pixels. Peers: none; what is compared are commits. With -o the measurement is added to FILE under
NAME (the commit unless given), and the ratio to the first one there is printed. Takes about a
minute and a half on an idle core. Only ratios within one machine mean anything.
"""

import argparse
import tempfile
import time
from pathlib import Path

import dask
import distributed  # noqa: F401 - its import is none of the stages'
import numpy as np
from keeping import about, add
from scipy import fft

import stemkin
from stemkin.progress import Unwatched
from stemkin.simulation import simulate_movie
from stemkin.simulation.writing import write_simulation

OF_PIXELS = ("detect",)


class Yardstick:
    """The least processor time of a pair of transforms, taken whenever it is asked."""

    def __init__(self, edge: int) -> None:
        self.frame = np.random.default_rng(0).normal(size=(edge, edge)).astype(np.float32)
        self.least = np.inf

    def take(self, repeats: int = 20) -> None:
        for _ in range(repeats):
            start = time.process_time()
            fft.irfftn(fft.rfftn(self.frame), s=self.frame.shape)
            self.least = min(self.least, time.process_time() - start)


class Clock(Unwatched):
    """Processor time from the beginning of each stage to that of the next one."""

    def __init__(self, yardstick: Yardstick) -> None:
        self.yardstick, self.spent, self.name = yardstick, {}, None
        self.since = time.process_time()

    def stage(self, name: str, total: int) -> None:  # noqa: ARG002 - how many steps is all one
        if self.name is not None:
            spent = time.process_time() - self.since
            self.spent[self.name] = self.spent.get(self.name, 0.0) + spent
        self.yardstick.take()
        self.name, self.since = name, time.process_time()


def measure(n_movies: int, n_frames: int, edge: int) -> dict:
    yardstick = Yardstick(edge)
    with tempfile.TemporaryDirectory() as scratch:
        movies = [
            simulate_movie("paper", n_frames=n_frames, shape=(edge, edge), seed=7 + i, name=f"m{i}")
            for i in range(n_movies)
        ]
        write_simulation(movies, Path(scratch) / "movies")
        clock = Clock(yardstick)
        with dask.config.set(scheduler="synchronous"):
            stemkin.run(str(Path(scratch) / "movies"), Path(scratch) / "results", watch=clock)
        clock.stage("end", 0)
    stages = {}
    for name, spent in clock.spent.items():
        row = {"cpu_s": round(spent, 2), "pairs": round(spent / yardstick.least)}
        if name in OF_PIXELS:
            row["pairs_per_frame"] = round(spent / yardstick.least / (n_movies * n_frames), 1)
        stages[name] = row
    return {"pair_ms": round(1e3 * yardstick.least, 3), "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--edge", type=int, default=384)
    parser.add_argument("--movies", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--as", dest="name", help="what the measurement is called")
    asked = parser.parse_args()
    size = {"movies": asked.movies, "frames": asked.frames, "edge": asked.edge}
    found = {"size": size} | measure(asked.movies, asked.frames, asked.edge)
    first = add(found, asked.out, asked.name)
    print(about(), f"pair {found['pair_ms']} ms")
    print(f"{'stage':12}{'CPU s':>8}{'pairs':>9}{'to the first':>14}")
    for name, row in found["stages"].items():
        before = first["stages"].get(name, row)
        ratio = row["pairs"] / max(before["pairs"], 1)
        print(f"{name:12}{row['cpu_s']:8.2f}{row['pairs']:9}{ratio:14.2f}")


if __name__ == "__main__":
    main()
