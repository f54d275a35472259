"""Tables of tracks without frames: what is put in is what is there."""

import numpy as np
import pandas as pd
import pytest
from scipy import spatial

import stemkin as sk
from stemkin.simulation import TrackWorld, simulate_tracks
from stemkin.simulation.lattice_gas import hops_in_turn

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
QUIET = {"densities_per_nm2": (0.2,), "sigma_nm": 0.0}


def steps_of(tracks):
    """Displacements between frames in a row, all tracks of a table."""
    rows = tracks.rows
    both = rows.groupby(["movie", "particle"], observed=True)[["frame", "y_nm", "x_nm"]].diff()
    return both.loc[both["frame"] == 1, ["y_nm", "x_nm"]].to_numpy()


def test_defects_at_rest_stay_where_they_are_and_keep_their_name():
    tracks = simulate_tracks(TrackWorld(**QUIET), MOVIES, seed=1)
    rows = tracks.rows
    assert (rows.groupby("particle").size() == 60).all()
    assert rows.groupby("particle")[["y_nm", "x_nm"]].nunique().to_numpy().max() == 1
    assert rows[["y", "x"]].to_numpy().min() >= 0
    assert rows[["y", "x"]].to_numpy().max() <= 500


def test_numbers_are_those_of_the_density_in_the_field():
    world = TrackWorld(densities_per_nm2=(0.2, 0.05), sigma_nm=0.0, border_px=50.0)
    rows = simulate_tracks(world, MOVIES.assign(n_frames=1), n_replicas=400, seed=1).rows
    found = rows.groupby("class_id").size().to_numpy() / 400
    true = np.array([0.2, 0.05]) * (400 * 0.03) ** 2
    assert np.abs(found - true).max() < 4 * np.sqrt(true.max() / 400)
    assert rows["y"].min() >= 50


@pytest.mark.parametrize("lattice", ["triangular", "square", "honeycomb"])
@pytest.mark.parametrize("per_s", [0.05, 4.0])
def test_hops_lead_to_neighbouring_sites_at_their_rate(lattice, per_s):
    world = TrackWorld(hop_rates_per_s=(per_s,), lattice=lattice, hop_length_nm=0.3, **QUIET)
    large = MOVIES.assign(height_px=5000, width_px=5000, n_frames=4)
    steps = steps_of(simulate_tracks(world, large, seed=2))
    lengths = np.hypot(*steps.T) / 0.3
    if per_s < 1:
        assert lengths[lengths > 1e-9].min() == pytest.approx(1.0)
    # what leaves a field of 150 nm in a frame time is 2 % of those that move by 1.7 nm
    squares = (steps**2).sum(axis=1)
    error = squares.std() / np.sqrt(len(squares)) / 8
    true = world.diffusion_nm2_per_s[0]
    assert squares.mean() / 8 == pytest.approx(true, abs=4 * error + 0.02 * true)


@pytest.mark.parametrize("exposure", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("motion", [{"D_nm2_per_s": (0.01,)}, {"hop_rates_per_s": (0.4022,)}])
def test_an_exposure_blurs_steps_as_theory_says(exposure, motion):
    """Of steps of means over a share e of the frame time t: variance 2Dt (1 - e/3), covariance
    Dt e/3 of neighbours (Berglund 2010; the same for hops, whose steps do not remember)."""
    world = TrackWorld(exposure=exposure, sigma_nm=0.0, densities_per_nm2=(0.4,), **motion)
    large = MOVIES.assign(height_px=3000, width_px=3000, n_frames=3)
    rows = simulate_tracks(world, large, n_replicas=2, seed=3).rows
    whole = rows.groupby(["movie", "particle"]).filter(lambda own: len(own) == 3)
    y = whole["y_nm"].to_numpy().reshape(-1, 3)
    one, two = np.diff(y, axis=1).T
    unit = 2 * 0.01 * 2.0
    n = len(y)
    kurtosis = np.mean(one**4) / np.mean(one**2) ** 2
    error = unit * np.sqrt(kurtosis / n)
    assert n > 4000
    assert np.mean(one**2) == pytest.approx(unit * (1 - exposure / 3), abs=4 * error)
    assert np.mean(one * two) == pytest.approx(unit * exposure / 6, abs=4 * error)


def test_classes_change_as_their_rates_say_also_within_a_frame_time():
    Q = ((0, 0.3, 0.02), (0.5, 0, 0.1), (0.05, 0.05, 0))
    world = TrackWorld(densities_per_nm2=(0.2, 0.2, 0.2), rates_per_s=Q, sigma_nm=0.01)
    tracks = simulate_tracks(world, MOVIES, n_replicas=1, seed=4)
    found = sk.transitions(tracks.rows, experiment=tracks.experiment)
    counts = found.counts.to_numpy()
    P = world.probabilities(2.0)
    error = np.sqrt(P * (1 - P) / counts.sum(axis=1, keepdims=True))
    assert (np.abs(found.probabilities.to_numpy() - P) < 4.5 * error).all()


def test_what_is_missed_misnamed_and_false_comes_as_often_as_asked():
    world = TrackWorld(
        densities_per_nm2=(0.3, 0.3),
        confusion=((0.9, 0.1), (0.02, 0.98)),
        efficiency=(0.9, 0.8),
        false_per_nm2=(0.0, 0.02),
        sigma_nm=0.0,
        max_gap_frames=3,
    )
    rows = simulate_tracks(world, MOVIES, n_replicas=5, seed=5).rows
    length = rows.groupby(["movie", "particle"])["frame"].transform("size")
    true, false = rows[length > 20], rows[length == 1]
    mostly = true.groupby(["movie", "particle"])["class_id"].transform("median").round()
    wrong = (true["class_id"] != mostly).groupby(mostly).mean()
    assert wrong.to_numpy() == pytest.approx([0.1, 0.02], abs=0.01)
    assert len(false) / 5 / 60 / 225 == pytest.approx(0.02, rel=0.15)
    groups = true.groupby(["movie", "particle"])["frame"]
    # the first and the last sighting of a track are seen for certain
    seen = (groups.size() - 2) / (groups.max() - groups.min() - 1)
    kind = mostly.groupby([true["movie"], true["particle"]]).first()
    assert seen.groupby(kind).mean().to_numpy() == pytest.approx([0.9, 0.8], abs=0.01)


def test_a_name_that_is_remembered_persists():
    told = {"densities_per_nm2": (0.3, 0.3), "confusion": ((0.5, 0.5), (0.5, 0.5))}
    changes = []
    for memory in (0.0, 0.9):
        world = TrackWorld(naming_memory=memory, sigma_nm=0.0, **told)
        rows = simulate_tracks(world, MOVIES, n_replicas=2, seed=6).rows
        step = rows.groupby(["movie", "particle"])["class_id"].diff().dropna()
        changes.append((step != 0).mean())
    assert changes == pytest.approx([0.5, 0.05], abs=0.01)


def test_a_track_ends_where_its_defect_is_missed_for_longer_than_the_linker_waits():
    lengths = []
    for gap in (0, 1):
        world = TrackWorld(densities_per_nm2=(0.3,), efficiency=(0.8,), max_gap_frames=gap)
        rows = simulate_tracks(world, MOVIES, seed=7).rows
        apart = rows.groupby("particle")["frame"].diff().dropna()
        assert apart.max() == gap + 1
        lengths.append(rows.groupby("particle").size().mean())
    assert lengths[1] > 3 * lengths[0]


def test_what_is_lost_is_made_good():
    world = TrackWorld(loss_rates_per_s=(0.05,), **QUIET)
    rows = simulate_tracks(world, MOVIES, n_replicas=20, seed=8).rows
    numbers = rows.groupby("frame").size().to_numpy()
    assert numbers[-10:].mean() == pytest.approx(numbers[:10].mean(), rel=0.1)
    inner = rows.groupby(["movie", "particle"])["frame"].agg(["min", "max"])
    ends = (inner["max"] < 59).sum() / len(rows)
    assert ends == pytest.approx(1 - np.exp(-0.1), rel=0.1)


def test_the_error_of_a_frame_is_shared_by_all_of_its_defects():
    world = TrackWorld(shift_error_nm=0.1, **QUIET)
    rows = simulate_tracks(world, MOVIES, seed=9).rows
    away = rows["y_nm"] - rows.groupby("particle")["y_nm"].transform("mean")
    assert away.groupby(rows["frame"]).std().max() < 1e-9
    assert away.groupby(rows["frame"]).first().std() == pytest.approx(0.1, rel=0.3)


def test_a_defect_that_is_missed_is_missed_again_as_often_as_told():
    world = TrackWorld(efficiency=(0.9,), missing_memory=0.4, max_gap_frames=60, **QUIET)
    rows = simulate_tracks(world, MOVIES, n_replicas=4, seed=3).rows
    gap = rows.groupby(["movie", "particle"])["frame"].diff().dropna() - 1
    gaps = gap[gap > 0]
    assert (gap > 0).mean() == pytest.approx(0.6 * 0.1, rel=0.1)
    assert 1 - len(gaps) / gaps.sum() == pytest.approx(0.4 + 0.6 * 0.1, abs=0.04)


def test_regular_hops_come_in_every_frame():
    words = QUIET | {"hop_length_nm": 0.3, "regular_hops": True}
    steps = steps_of(simulate_tracks(TrackWorld(hop_rates_per_s=(0.5,), **words), MOVIES, seed=4))
    assert np.hypot(*steps.T) == pytest.approx(0.3)


@pytest.mark.parametrize(("lattice", "neighbours"), [("triangular", 6), ("square", 4)])
def test_defects_that_exclude_each_other_never_share_a_site(lattice, neighbours):
    words = QUIET | {"densities_per_nm2": (1.0,), "hop_length_nm": 0.3, "lattice": lattice}
    world = TrackWorld(hop_rates_per_s=(0.02,), excluding=True, loss_rates_per_s=(0.02,), **words)
    tracks = simulate_tracks(world, MOVIES, seed=5)
    nearest, beside = [], 0
    for _, frame in tracks.rows.groupby("frame"):
        apart = spatial.cKDTree(frame[["y_nm", "x_nm"]]).query(frame[["y_nm", "x_nm"]], 7)[0][:, 1:]
        nearest.append(apart.min())
        beside += (apart < 0.31).sum()
    assert min(nearest) > 0.29
    site = {"triangular": np.sqrt(0.75), "square": 1.0}[lattice] * 0.3**2
    taken = beside / len(tracks.rows) / neighbours
    assert taken == pytest.approx(site, rel=0.1)
    moved = np.hypot(*steps_of(tracks).T) > 0.2
    assert moved.mean() == pytest.approx(0.04 * (1 - site), rel=0.15)


def test_hops_are_made_one_after_the_other_each_onto_a_site_that_is_free_then():
    aside = np.array([[[0, 2]]] * 2)
    for order, moves in (([1, 0], [[0, 2], [0, 2]]), ([0, 1], [[0, 0], [0, 2]])):
        site, taken = np.array([[0, 0], [0, 2]]), np.zeros((1, 2, 8), bool)
        taken[0, 0, [0, 2]] = True
        words = (np.zeros(2, np.int64), np.zeros(2, bool), np.array(order), np.zeros(2, np.int64))
        assert hops_in_turn(site, *words, aside, taken).tolist() == moves
        assert taken[0, *site.T].all()
        assert taken.sum() == 2


def test_drift_is_shared_by_all_defects_of_a_movie_and_wanders():
    world = TrackWorld(drift_step_nm=0.1, **QUIET)
    rows = simulate_tracks(world, MOVIES, n_replicas=20, seed=6).rows
    away = rows["y_nm"] - rows.groupby(["movie", "particle"])["y_nm"].transform("first")
    own = away.groupby([rows["movie"], rows["frame"]]).agg(["std", "first"])
    assert own["std"].max() < 1e-9
    assert own["first"].xs(50, level="frame").std() == pytest.approx(0.1 * np.sqrt(50), rel=0.4)


def test_movies_differ_in_mobility_as_told_and_on_average_do_not():
    world = TrackWorld(D_nm2_per_s=(0.001,), movie_spread=0.5, **QUIET)
    rows = simulate_tracks(world, MOVIES, n_replicas=60, seed=7).rows
    y = rows.groupby(["movie", "particle"])["y_nm"].diff().dropna()
    D = (y**2).groupby(rows["movie"]).mean() / 4
    assert np.log(D).std() == pytest.approx(0.5, rel=0.3)
    assert D.mean() == pytest.approx(0.001, rel=0.2)


def test_wrong_links_exchange_the_names_of_neighbours():
    words = QUIET | {"densities_per_nm2": (1.0,)}
    tracks = simulate_tracks(TrackWorld(wrong_links=0.01, **words), MOVIES, seed=8)
    jumps = np.hypot(*steps_of(tracks).T)
    jumps = jumps[jumps > 0]
    assert jumps.max() < 1.5 * 0.3153
    pairs = np.pi * (1.5 * 0.3153) ** 2  # neighbours of each, each pair twice
    assert len(jumps) / len(tracks.rows) == pytest.approx(0.01 * pairs, rel=0.2)


def test_a_track_is_cut_where_it_has_lasted():
    rows = simulate_tracks(TrackWorld(longest_frames=6, **QUIET), MOVIES, seed=9).rows
    assert (rows.groupby("particle").size() == 6).all()


def test_equal_seeds_give_equal_tables_and_other_seeds_others():
    world = TrackWorld(hop_rates_per_s=(0.1,), **QUIET | {"sigma_nm": 0.02})
    one, same, other = (simulate_tracks(world, MOVIES, seed=s).rows for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one["y_nm"].head(50).equals(other["y_nm"].head(50))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"densities_per_nm2": ()}, "at least one class"),
        ({"densities_per_nm2": (0.1,), "efficiency": (0.9, 0.9)}, "efficiency needs 1 numbers"),
        ({"densities_per_nm2": (-0.1,)}, "densities_per_nm2 needs 1 numbers from 0 on"),
        ({"densities_per_nm2": (0.1,), "rates_per_s": ((0, 1),)}, "rates_per_s needs 1 rows"),
        ({"densities_per_nm2": (0.1,), "exposure": 2.0}, "exposure lies between 0 and 1"),
        ({"densities_per_nm2": (0.1,), "lattice": "cubic"}, "lattice must be one of"),
        ({"densities_per_nm2": (0.1,), "wrong_links": 2.0}, "wrong_links lies between 0 and 1"),
        ({"densities_per_nm2": (0.1,), "drift_step_nm": -1.0}, "drift_step_nm must be a number"),
        (
            {"densities_per_nm2": (0.1,), "D_nm2_per_s": (1.0,), "excluding": True},
            "defects that exclude each other stand on sites",
        ),
    ],
)
def test_a_world_that_cannot_be_is_refused_in_a_sentence(words, says):
    with pytest.raises(ValueError, match=says):
        TrackWorld(**words)


def test_a_movie_without_calibration_is_refused():
    with pytest.raises(ValueError, match="movie 'm' cannot be simulated"):
        simulate_tracks(TrackWorld(**QUIET), MOVIES.assign(pixel_size_nm=np.nan))
    with pytest.raises(ValueError, match="n_replicas must be at least 1"):
        simulate_tracks(TrackWorld(**QUIET), MOVIES, n_replicas=0)
