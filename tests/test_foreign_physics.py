"""Physics that others measured: the known answer lies inside the interval."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.selfcheck import Asked, TrackWorld, is_biased, self_check
from stemkin.simulation import simulate_tracks

SHARED = Path(__file__).parents[2] / "shared" / "data"
NANORODS = SHARED / "nanorod-tracks" / "AuNRs_300.mat"

# trackpy's example ``bulk_water``: beads of 1 um in water at 20 C, D by Stokes and Einstein
WATER_D = 1.380649e-23 * 293.15 / (6 * math.pi * 1.0016e-3 * 500e-9) * 1e18
PIXEL_NM = 1e5 / 285
BEADS = TrackWorld(
    densities_per_nm2=(40 / (400 * PIXEL_NM) ** 2,), D_nm2_per_s=(WATER_D,), sigma_nm=25.0
)


def camera(n_frames, edge_px, pixel_size_nm, frame_time_s):
    words = {"height_px": edge_px, "width_px": edge_px, "pixel_size_nm": pixel_size_nm}
    return pd.DataFrame({"movie": ["m"], "n_frames": n_frames, **words}).assign(
        frame_time_s=frame_time_s
    )


def test_beads_in_water_have_the_d_of_stokes_and_einstein():
    """Through the door of foreign tables, in pixels, as trackpy hands them over."""
    six = simulate_tracks(BEADS, camera(60, 400, PIXEL_NM, 1 / 24), n_replicas=6, seed=3)
    theirs = six.rows[["movie", "frame", "particle", "y", "x"]]
    ours = sk.from_table(theirs, pixel_size_nm=PIXEL_NM, frame_time_s=1 / 24)
    found = sk.fit_diffusion(ours, method=("mle", "cve"), by="movie")
    for _, rows in found[found["movie"] != "*"].groupby("method"):
        held = (rows["low"] < WATER_D) & (rows["high"] > WATER_D)
        assert held.sum() >= 5  # of six: a 95 % interval misses more than one in 3 % of such tests
    pooled = found.loc[found["movie"] == "*", "D_nm2_per_s"].to_numpy()
    radius_nm = 1.380649e-23 * 293.15 / (6 * math.pi * 1.0016e-3) / (pooled * 1e-27)
    assert radius_nm == pytest.approx(500, rel=0.04)


SPT = {
    "places as bad as a step": {"sigma_nm": 100.0},
    "short tracks, missed and false": {
        "sigma_nm": 30.0,
        "efficiency": (0.8,),
        "false_per_nm2": (4 / 12_800**2,),
        "loss_rates_per_s": (2.0,),
    },
}


@pytest.mark.parametrize("name", SPT)
def test_worlds_of_single_particle_tracking_give_their_d(name):
    """0.1 um2/s, 50 ms, pixels of 100 nm: `benchmarks/bench_foreign.py` in small."""
    world = TrackWorld(densities_per_nm2=(40 / 12_800**2,), D_nm2_per_s=(1e5,), **SPT[name])
    found = self_check(world, camera(30, 128, 100.0, 0.05), asked=Asked(("mle", "cve")), n_runs=20)
    rows = found[found["quantity"] == "diffusion"]
    assert len(rows) == 2
    for _, row in rows.iterrows():
        assert not is_biased(row), row["method"]
        assert row["coverage"] >= 0.8, row["method"]


@pytest.mark.real
@pytest.mark.skipif(not NANORODS.exists(), reason="the real tracks are not here")
def test_real_nanorods_have_the_d_that_their_displacements_say():
    """No one states their D: it is that of the covariances of all displacements (Vestergaard,
    Blainey & Flyvbjerg, Phys. Rev. E 89, 022726 (2014)), written out here."""
    from scipy.io import loadmat

    x, y, number = loadmat(NANORODS)["tr"].T
    frame = pd.Series(number).groupby(number).cumcount().to_numpy()
    table = {"x": x, "y": y, "particle": number, "frame": frame}
    tracks = sk.from_table(table, frame_time_s=1.0, pixel_size_nm=1.0)
    found = sk.fit_diffusion(tracks, method=("cve", "mle"), border_px=None).set_index("method")
    steps = np.diff(np.stack([y, x]).reshape(2, 459, 300), axis=2)
    by_hand = (steps**2).mean() / 2 + (steps[..., 1:] * steps[..., :-1]).mean()
    assert found.loc["cve", "low"] < by_hand < found.loc["cve", "high"]
    assert found.loc["cve", "D_nm2_per_s"] == pytest.approx(by_hand, rel=0.02)
    by_chance = sk.fit_diffusion(sk.shuffled(tracks, seed=0), method="cve", border_px=None).iloc[0]
    assert by_chance["low"] < 0 < by_chance["high"] or abs(by_chance["D_nm2_per_s"]) < by_hand / 10
    curve = sk.msd(tracks, max_lag_frames=30).set_index("lag_frames")["msd_nm2"]
    assert curve[1] == pytest.approx((steps**2).sum(axis=0).mean())
