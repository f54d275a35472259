"""Physics that others measured: known diffusion coefficients, and how often intervals hold them.

Beads in water as in trackpy's example (D by Stokes and Einstein), and worlds as in benchmarks of
single-particle tracking: motion blur, places known as badly as a step is long, short tracks with
missed and false rows, fast motion in a small field. Each is simulated many times as tables.

    python benchmarks/bench_foreign.py                  # 100 sets of each world, a minute or two
    python benchmarks/bench_foreign.py --sets 1000 --json out.json
"""

import argparse
import math
import platform
import time

import pandas as pd
from keeping import keep

from stemkin.selfcheck import Asked, TrackWorld, self_check

BOLTZMANN_J_PER_K = 1.380649e-23


def stokes_einstein_nm2_per_s(radius_nm, temperature_K, viscosity_Pa_s):
    """D of a sphere, k T / (6 pi eta a) (Einstein, Ann. Phys. 322, 549 (1905))."""
    drag = 6 * math.pi * viscosity_Pa_s * radius_nm * 1e-9
    return BOLTZMANN_J_PER_K * temperature_K / drag * 1e18


def movie(n_frames, edge_px, pixel_size_nm, frame_time_s):
    return pd.DataFrame(
        {
            "movie": ["m"],
            "n_frames": n_frames,
            "height_px": edge_px,
            "width_px": edge_px,
            "pixel_size_nm": pixel_size_nm,
            "frame_time_s": frame_time_s,
        }
    )


WATER_D = stokes_einstein_nm2_per_s(500.0, 293.15, 1.0016e-3)
PIXEL_NM = 1e5 / 285
BEADS = {"densities_per_nm2": (60 / (512 * PIXEL_NM) ** 2,), "D_nm2_per_s": (WATER_D,)}
"""trackpy's ``bulk_water``: polystyrene beads of 1 um in water at room temperature, 24 frames per
second, 100/285 um per pixel, about 60 in sight, followed for up to 300 frames."""
SPT = {"densities_per_nm2": (40 / 12_800**2,), "D_nm2_per_s": (1e5,)}
"""0.1 um2/s at 50 ms: a step of 100 nm."""
CAMERA = movie(60, 128, 100.0, 0.05)

WORLDS = {
    "beads in water, shutter": (
        TrackWorld(**BEADS, sigma_nm=25.0),
        movie(150, 512, PIXEL_NM, 1 / 24),
    ),
    "sharp places": (TrackWorld(**SPT, sigma_nm=20.0), CAMERA),
    "as bad as a step": (TrackWorld(**SPT, sigma_nm=100.0), CAMERA),
    "missed and false": (
        TrackWorld(
            **SPT,
            sigma_nm=30.0,
            efficiency=(0.8,),
            false_per_nm2=(4 / 12_800**2,),
            loss_rates_per_s=(2.0,),
        ),
        CAMERA,
    ),
    "small field": (
        TrackWorld(densities_per_nm2=(15 / 3200**2,), D_nm2_per_s=(1e5,), sigma_nm=20.0),
        movie(200, 32, 100.0, 0.05),
    ),
    "full exposure": (
        TrackWorld(**SPT, sigma_nm=20.0, exposure=1.0),
        CAMERA.assign(exposure_fraction=1.0),
    ),
    "the same, not told": (TrackWorld(**SPT, sigma_nm=20.0, exposure=1.0), CAMERA),
}
"""Name → world and movie. In the last two the camera integrates over the whole frame time, which an
estimator that is not told must get wrong (Berglund, Phys. Rev. E 82, 011917 (2010)): it is here to
show that the check finds it out."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(WORLDS))
    parser.add_argument("--json", help="where the table is written")
    words = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, python {platform.python_version()}")
    print(f"beads of 1 um in water at 20 C: D = {WATER_D:.3e} nm2/s")
    begin, parts = time.perf_counter(), []
    for name, (world, movies) in WORLDS.items():
        if words.only in (None, name):
            asked = Asked(("mle", "cve"))
            found = self_check(world, movies, asked=asked, n_runs=words.sets, seed=words.seed)
            found = found[found["quantity"] == "diffusion"].assign(world=name)
            for row in found.to_dict("records"):
                print(
                    f"{name:24} {row['method']:4} D {row['truth']:.3e} bias {100 * row['bias']:+6.2f}"
                    f" +- {100 * row['bias_error']:.2f} %  half width "
                    f"{100 * row['half_width'] / row['truth']:.1f} %  held by {row['coverage']:.3f} "
                    f"[{row['coverage_low']:.3f}, {row['coverage_high']:.3f}]",
                    flush=True,
                )
            parts.append(found)
    print(f"{time.perf_counter() - begin:.0f} s")
    keep({"rows": pd.concat(parts).to_dict("records")}, words.json)


if __name__ == "__main__":
    main()
