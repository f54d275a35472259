"""Hops in movies that differ, and of defects that leave the field and come back within a gap."""

import numpy as np
import pandas as pd
import pytest

import stemkin as sk
from stemkin.diffusion.choice import Choice, Fields
from stemkin.diffusion.segments import segments_of
from stemkin.rows.calibrations import Calibrations
from stemkin.simulation import TrackWorld, simulate_tracks
from stemkin.tables import POOLED, Experiment

A = 0.3153


def movies(n, **others):
    table = {"movie": [f"{i}" for i in range(n)], "n_frames": 40, "height_px": 168}
    table |= {"width_px": 168, "pixel_size_nm": 0.03, "frame_time_s": 1.0}
    return pd.DataFrame(table | others)


def of_unequal_movies():
    """Rows of four movies, two of which hop eight times as often, and what is known of them."""
    parts = []
    for rate, names in ((0.1, ("0", "1")), (0.8, ("2", "3"))):
        world = TrackWorld(densities_per_nm2=(0.8,), hop_rates_per_s=(rate,), hop_length_nm=A)
        own = movies(2).assign(movie=names)
        made = simulate_tracks(world, own, seed=int(10 * rate)).rows
        parts.append(made.assign(movie=made["movie"].str.split().str[1]))
    return pd.concat(parts, ignore_index=True), Experiment(movies(4))


def test_the_rate_of_movies_that_differ_is_their_mean():
    rows, known = of_unequal_movies()
    words = {"experiment": known, "hop_length_nm": A, "border_px": 0.0, "by": "movie"}
    found = sk.fit_diffusion(rows, method="hop", **words)
    each, (pooled,) = (
        found[found["movie"] != POOLED],
        found[found["movie"] == POOLED].to_dict("records"),
    )
    # neighbours are taken the more, the more movies are looked at: what blocks is made up for
    alone = each["D_nm2_per_s"] * (1 - each["blocked"])
    mean = np.average(alone, weights=each["n_displacements"])
    assert pooled["D_nm2_per_s"] * (1 - pooled["blocked"]) == pytest.approx(mean, rel=0.02)
    assert pooled["unit"] == "movie"
    assert pooled["low"] < each["D_nm2_per_s"].min() * 2 < pooled["high"] * 2
    rates = sk.hop_rates(rows, **words)
    (own,) = rates[rates["movie"] == POOLED].to_dict("records")
    scale = A**2 / 4
    assert own["hop_rate_per_s"] * scale == pytest.approx(pooled["D_nm2_per_s"])
    assert own["low"] * scale == pytest.approx(pooled["low"])


def a_track(at_nm, frames, *, with_places=True):
    y = np.full(len(frames), at_nm)
    rows = {"movie": "0", "frame": frames, "particle": 1, "class_id": 0, "y_nm": y, "x_nm": 2.5}
    if with_places:
        rows |= {"y": y / 0.03, "x": 2.5 / 0.03}
    return pd.DataFrame(rows)


def segments(rows):
    fields = Fields.of(Calibrations.of(rows, Experiment(movies(1)), None), 0.0)
    return segments_of(rows, Choice(fields=fields))


def test_a_gap_near_the_border_ends_a_segment_and_one_in_the_middle_does_not():
    frames = [0, 1, 3, 4]
    assert segments(a_track(0.4, frames)).segment.tolist() == [0, 0, 1, 1]
    assert segments(a_track(2.5, frames)).segment.tolist() == [0, 0, 0, 0]
    assert segments(a_track(0.4, [0, 1, 2, 3])).segment.tolist() == [0, 0, 0, 0]
    unknown = a_track(0.4, frames, with_places=False)
    assert segments(unknown).segment.tolist() == [0, 0, 0, 0]


def test_over_a_gap_a_step_stands_for_those_of_the_inner_field():
    own = segments(a_track(2.5, [0, 1, 3, 4]))
    np.testing.assert_allclose(own.room.size[0], [5.01, 3.01, 5.01, 5.01], atol=1e-3)


def test_who_leaves_and_comes_back_within_a_gap_does_not_slow_the_others():
    """Displacements over a gap of who came back are half as large as those of who was missed."""
    world = TrackWorld(densities_per_nm2=(0.8,), hop_rates_per_s=(2.0,), hop_length_nm=A)
    made = simulate_tracks(world, movies(1, n_frames=60), n_replicas=100, seed=4)
    words = {"method": "hop", "hop_length_nm": A, "border_px": 0.0, "experiment": made.experiment}
    D = sk.fit_diffusion(made.rows, **words)["D_nm2_per_s"].iloc[-1]
    blind = sk.fit_diffusion(made.rows.drop(columns=["y", "x"]), **words)["D_nm2_per_s"].iloc[-1]
    truth = 2.0 * A**2 / 4
    assert blind / truth < 0.994
    assert D / truth == pytest.approx(1, abs=0.006)
