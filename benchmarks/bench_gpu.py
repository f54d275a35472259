"""The pixel kernels on every array library of this machine: first whether the values agree, then
how fast they are.

NumPy is the reference; CuPy and torch (on a GPU where there is one, else on the CPU) must agree
with it before they are timed. What was never run on a GPU is not claimed: the first lines say what
was found.

    python benchmarks/bench_gpu.py --size 512 --frames 32
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from keeping import keep

from stemkin.detection.detectors import FourierDetector
from stemkin.devices import has_gpu, to_host
from stemkin.network import load_network
from stemkin.results.journal import machine
from stemkin.simulation import simulate_movie

TOLERANCE = {"y": 0.01, "x": 0.01, "score": 0.02}
"""Largest difference from NumPy that counts as equal [px, px, signal-to-noise]."""


def libraries() -> dict[str, str]:
    """Return device name → what it is, for every library that this machine can run."""
    found = {"cpu": f"NumPy {np.__version__}"}
    try:
        import torch

        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        found["torch"] = f"torch {torch.__version__} on {where}"
    except ImportError:
        pass
    if has_gpu():
        import cupy

        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        found["cuda"] = f"CuPy {cupy.__version__} on {name}"
    return found


def differences(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Return the largest difference per column; infinity where the rows do not correspond."""
    if len(found) != len(wanted) or (found["frame"] != wanted["frame"]).any():
        return dict.fromkeys(TOLERANCE, float("inf"))
    return {name: float(np.abs(found[name] - wanted[name]).max(initial=0.0)) for name in TOLERANCE}


def seconds_per_frame(
    detector: Callable[..., np.ndarray], frames: np.ndarray, *, repeats: int
) -> float:
    """Return the shortest of `repeats` timings of the whole block."""
    detector(frames[:2])
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        to_host(detector(frames))
        times.append((time.perf_counter() - began) / len(frames))
    return min(times)


def network_rows(folder: Path, frames: np.ndarray, *, repeats: int) -> list[dict]:
    """Return what the network in `folder`, in float32, gives on torch's CPU and, where there is
    one, on its GPU."""
    import torch

    loaded = load_network(folder)
    exact = replace(loaded, weights=replace(loaded.weights, bf16=False))
    wanted, rows = replace(exact, device="cpu").find(frames), []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        find = replace(exact, device=device).find
        difference = differences(find(frames), wanted)
        agrees = all(difference[column] <= allowed for column, allowed in TOLERANCE.items())
        seconds = seconds_per_frame(find, frames, repeats=repeats)
        rows.append(
            {
                "library": f"network on torch {device}",
                "agrees": agrees,
                "difference": difference,
                "frames_per_s": 1 / seconds,
            }
        )
        print(
            f"{rows[-1]['library']:48s} {'agrees' if agrees else 'DIFFERS'} {difference}  "
            f"{1 / seconds:8.1f} frames/s"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="edge of a frame [px]")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", type=Path, help="compare the network in this folder too")
    parser.add_argument("-o", "--out", type=Path, help="write the results here as JSON")
    options = parser.parse_args()

    print(f"{platform.platform()}; {json.dumps(machine())}")
    shape = (options.size, options.size)
    movie = simulate_movie(options.preset, n_frames=options.frames, shape=shape, seed=options.seed)
    frames = movie.reader.read(0, options.frames)
    wanted = FourierDetector(device="cpu")(frames)
    rows = []
    for device, name in libraries().items():
        detector = FourierDetector(device=device)  # type: ignore[arg-type]
        difference = differences(detector(frames), wanted)
        agrees = all(difference[column] <= allowed for column, allowed in TOLERANCE.items())
        seconds = (
            seconds_per_frame(detector, frames, repeats=options.repeats) if agrees else float("nan")
        )
        rows.append(
            {
                "library": name,
                "agrees": agrees,
                "difference": difference,
                "frames_per_s": 1 / seconds,
            }
        )
        print(
            f"{name:48s} {'agrees' if agrees else 'DIFFERS'} {difference}  {1 / seconds:8.1f} "
            "frames/s"
        )
    if options.network:
        rows += network_rows(options.network, frames, repeats=options.repeats)
    if "cuda" not in libraries() and "GPU" not in str(libraries()):
        print("no GPU on this machine: nothing is claimed about GPUs")
    keep({"rows": rows}, options.out)


if __name__ == "__main__":
    main()
