"""Fast and slow ones of one class: how many, and how mobile each."""

from types import SimpleNamespace

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.diffusion.mobilities import Tally
from stemkin.report.motion import _populations
from stemkin.simulation import TrackWorld, simulate_tracks

MOVIES = pd.DataFrame(
    {
        "movie": ["m"],
        "n_frames": 60,
        "height_px": 501,
        "width_px": 501,
        "pixel_size_nm": 0.03,
        "frame_time_s": 2.0,
    }
)
BOTH_ARE_CALLED_0 = ((1.0, 0.0), (1.0, 0.0))
A_NM = 0.3153
HOP = A_NM**2 / 4


def asked(n_replicas=1, **motion):
    """Tracks of two kinds with one name, and the words of the question."""
    n = len(next(iter(motion.values())))
    words = {"densities_per_nm2": (0.2 / n,) * n, "sigma_nm": 0.02}
    if n > 1:
        words["confusion"] = BOTH_ARE_CALLED_0
    made = simulate_tracks(TrackWorld(**words, **motion), MOVIES, n_replicas=n_replicas, seed=1)
    return made.rows, {"experiment": made.experiment, "border_px": 0, "hop_length_nm": A_NM}


@pytest.mark.parametrize(
    ("motion", "model", "D"),
    [
        ({"hop_rates_per_s": (0.3, 0.0)}, "mobile and at rest", (0.3 * HOP, 0.0)),
        ({"hop_rates_per_s": (0.4, 0.04)}, "two mobilities", (0.4 * HOP, 0.04 * HOP)),
        ({"D_nm2_per_s": (0.003, 0.0003)}, "two mobilities", (0.003, 0.0003)),
    ],
)
def test_each_population_is_found_with_its_share(motion, model, D):
    rows, words = asked(n_replicas=10, **motion)
    every = sk.mobilities(rows, by="replica", **words)
    single = every[every["replica"].notna() & (every["movie"] == "*")]
    right = single[single["model"] == model]
    assert len(right) >= 18, "two rows for each"
    for i, true in enumerate(D):
        own = right[right["population"] == i]
        assert ((own["low"] <= true) & (own["high"] >= true)).sum() >= 7
        assert ((own["share_low"] < 0.5) & (own["share_high"] > 0.5)).sum() >= 7
    assert right.groupby("replica")["share"].sum().to_numpy() == pytest.approx(1)
    assert right["p_value"].max() < 0.01
    assert set(right["method"]) == {{True: "hop", False: "mle"}["hop_rates_per_s" in motion]}
    found, mean = (verb(rows, **words) for verb in (sk.mobilities, sk.fit_diffusion))
    assert "one mobility" in mean["violated"].iloc[0]
    of_all = found["share"] @ found["D_nm2_per_s"]
    assert of_all == pytest.approx(mean["D_nm2_per_s"].iloc[0], rel=0.1)


@pytest.mark.parametrize("motion", [{"hop_rates_per_s": (0.2,)}, {"D_nm2_per_s": (0.002,)}])
def test_equal_defects_are_one_population(motion):
    rows, words = asked(n_replicas=5, **motion)
    found = sk.mobilities(rows, by="movie", **words)
    single = found[found["movie"] != "*"]
    assert (single.groupby("movie")["model"].first() == "one mobility").sum() >= 4
    pooled = found[found["movie"] == "*"].iloc[0]
    true = next(iter(motion.values()))[0] * {True: HOP, False: 1.0}["hop_rates_per_s" in motion]
    assert pooled["low"] < true < pooled["high"]
    assert (pooled["share_low"], pooled["share"], pooled["share_high"]) == (1, 1, 1)


def test_populations_are_the_same_bits_however_tracks_are_spread():
    rows, words = asked(n_replicas=2, hop_rates_per_s=(0.4, 0.04))
    whole = sk.mobilities(rows, by="movie", **words)
    owner = rows["movie"] + rows["particle"].astype(str)
    part = pd.util.hash_pandas_object(owner, index=False) % 3
    parts = [dd.from_pandas(rows[part == i], npartitions=1) for i in range(3)]
    found = sk.mobilities(dd.concat(parts), by="movie", **words)
    pd.testing.assert_frame_equal(found, whole, check_exact=True)


def test_a_track_longer_than_is_told_apart_counts_once_and_as_mobile_as_it_is():
    frames = np.arange(2000)
    site = np.where(frames % 4 < 2, 0.0, A_NM)
    rows = pd.DataFrame({"particle": 0, "frame": frames, "class_id": 0, "y_nm": site, "x_nm": 0.0})
    found = sk.mobilities(rows, frame_time_s=1.0)
    assert found["n_tracks"].tolist() == [1]
    both = Tally.of(np.array([5, 3, 5])) + Tally.of(np.array([3, 9]))
    assert dict(zip(both.key.tolist(), both.count.tolist(), strict=True)) == {3: 2, 5: 2, 9: 1}


def test_no_defect_has_no_population():
    rows, words = asked(hop_rates_per_s=(0.2,))
    assert sk.mobilities(rows.iloc[:0], **words).empty


def test_the_report_says_of_what_a_mean_is_the_mean():
    rows, words = asked(hop_rates_per_s=(0.3, 0.0))
    found = sk.mobilities(rows, **words)
    results = SimpleNamespace(found={"mobilities": found})
    said = _populations(results, pd.Series({"movie": "*", "class_id": 0}))
    assert said.startswith("it is the mean of ")
    assert said.endswith(" at rest")
    assert " with D = " in said
    assert _populations(results, pd.Series({"movie": "*", "class_id": 1})) == ""
