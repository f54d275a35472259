"""What is not bounded is infinite: no value that guards a computation is handed out as a number."""

import math

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.report.words import Quantity

FAR = 1e5
"""No bound that a table gives may lie this many times above the largest squared step, and end."""


def steps_of(rng, n_tracks, n_frames, step, noise=0.0):
    """Brownian tracks of unit frame time."""
    walk = rng.normal(0, step, (n_tracks, n_frames, 2)).cumsum(axis=1)
    walk += rng.normal(0, noise, walk.shape)
    return pd.DataFrame(
        {
            "movie": "a",
            "particle": np.repeat(range(n_tracks), n_frames),
            "frame": np.tile(range(n_frames), n_tracks),
            "class_id": 0,
            "y_nm": walk[..., 0].ravel(),
            "x_nm": walk[..., 1].ravel(),
        }
    )


@pytest.mark.parametrize("method", ["mle", "cve", "ols", "hop"])
@pytest.mark.parametrize(("n_tracks", "n_frames"), [(1, 3), (1, 4), (2, 3), (1, 6)])
@pytest.mark.filterwarnings("error")
def test_next_to_nothing_known_gives_an_open_interval_or_none_but_no_guard_value(
    method, n_tracks, n_frames
):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        for confidence in (0.5, 0.999):
            rows = steps_of(rng, n_tracks, n_frames, 0.1, 0.05)
            fit = sk.fit_diffusion(
                rows, method=method, hop_length_nm=0.3, frame_time_s=1.0, confidence=confidence
            ).iloc[0]
            for value in (fit["D_nm2_per_s"], fit["low"], fit["high"]):
                assert not math.isfinite(value) or abs(value) < FAR


@pytest.mark.parametrize("sigma_nm", [1e-5, 1e-3, 0.02])
def test_an_error_that_is_known_to_be_small_leaves_d_where_it_is(sigma_nm):
    """D t once ended at a thousand times the squared error, in silence."""
    rows = steps_of(np.random.default_rng(1), 20, 20, 0.2, sigma_nm)
    fit = sk.fit_diffusion(rows, sigma_nm=sigma_nm, frame_time_s=1.0).iloc[0]
    free = sk.fit_diffusion(rows, frame_time_s=1.0).iloc[0]
    assert fit["D_nm2_per_s"] == pytest.approx(0.02, rel=0.15)
    assert fit["D_nm2_per_s"] == pytest.approx(free["D_nm2_per_s"], rel=0.1)
    assert fit["low"] < 0.02 < fit["high"] < 0.03


def test_movies_in_which_nothing_moves_are_pooled_to_nothing():
    rows = steps_of(np.random.default_rng(1), 4, 6, 0.0)
    rows = pd.concat([rows, rows.assign(movie="b")])
    movies = pd.DataFrame({"movie": ["a", "b"], "frame_time_s": [1.0, 2.0]})
    fit = sk.fit_diffusion(rows, experiment=sk.tables.Experiment(movies)).iloc[0]
    assert fit[["D_nm2_per_s", "low", "high"]].tolist() == [0, 0, 0]


def test_an_infinite_rate_is_written_as_such():
    quantity = Quantity(math.inf, 3.1, math.inf, "per s")
    assert quantity.text == "∞"
    assert quantity.interval == "at least 3.10"
    assert Quantity(math.nan).text == "not measured"
