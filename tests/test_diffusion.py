"""MSD and diffusion coefficients: by hand, for every partitioning, beside other libraries."""

from dataclasses import replace
from functools import partial

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stemkin as sk
from stemkin.diffusion import arrhenius, compare_diffusion
from stemkin.diffusion.crowding import COLUMNS as LOOKED
from stemkin.diffusion.crowding import NOT_LOOKED, Crowd, blocked_share
from stemkin.diffusion.methods import Estimate
from stemkin.kernels.motion.borders import Room
from stemkin.kernels.motion.brownian import _bounds, most_likely
from stemkin.kernels.motion.covariance import covariance_interval, covariance_sums
from stemkin.kernels.motion.crowding import share_of_returns
from stemkin.kernels.motion.evidence import Evidence
from stemkin.kernels.motion.hops import hop_numbers, most_likely_rate
from stemkin.kernels.motion.known_errors import LOG_D, stated_numbers
from stemkin.kernels.motion.likelihood import LOG_R, innovation_sums, likelihood_numbers
from stemkin.kernels.motion.walks import Walks
from stemkin.movie import movies_table
from stemkin.schedulers.clients import connect
from stemkin.simulation import TrackWorld, simulate_tracks
from stemkin.tables import COLUMNS, Experiment, empty
from tests.strategies import assert_same_sums


def random_walks(
    n_particles=30, n_frames=25, step=0.1, noise=0.02, missing=0.0, seed=0, movies=("a",)
):
    rng = np.random.default_rng(seed)
    rows = []
    for movie in movies:
        walk = rng.normal(0, step, (n_particles, n_frames, 2)).cumsum(axis=1) + rng.normal(
            0, noise, (n_particles, n_frames, 2)
        )
        rows.append(
            pd.DataFrame(
                {
                    "movie": movie, "particle": np.repeat(np.arange(n_particles), n_frames),
                    "frame": np.tile(np.arange(n_frames), n_particles), "y_nm": walk[..., 0].ravel(),
                    "x_nm": walk[..., 1].ravel(), "class_id": np.repeat(np.arange(n_particles) % 2, n_frames),
                }
            )
        )  # fmt: skip
    table = pd.concat(rows, ignore_index=True)
    table = table[rng.random(len(table)) >= missing]
    return table.sort_values(["movie", "frame", "y_nm"], ignore_index=True)


def in_partitions(rows, rng, n):
    groups = rows.groupby(["movie", "particle"]).ngroup().to_numpy()
    number = rng.integers(n, size=groups.max() + 1)[groups]
    return dd.from_map(
        lambda i: rows[number == i].sample(frac=1, random_state=int(i)),
        rng.permutation(n),
        meta=rows.iloc[:0],
    )


# --- by hand
#
# ---------------------------------------------------------------------------------------------------------


def test_five_positions_are_squared_by_hand():
    rows = pd.DataFrame(
        {
            "particle": 1,
            "frame": [0, 1, 2, 4, 5],
            "y_nm": [0.0, 1, 1, 1, 3],
            "x_nm": [0.0, 0, 2, 2, 2],
        }
    )
    found = sk.msd(rows, frame_time_s=0.5, max_lag_frames=3, by="pooled")
    assert found["n"].tolist() == [3, 2, 2]
    np.testing.assert_allclose(found["msd_nm2"], [(1 + 4 + 4) / 3, (5 + 0) / 2, (4 + 4) / 2])
    assert found["lag_s"].tolist() == [0.5, 1.0, 1.5]
    assert found["n_independent"].tolist() == [3, 2, 0]


def test_the_covariance_estimator_is_its_formula():
    rows = pd.DataFrame({"particle": 1, "frame": range(4), "y_nm": [0.0, 1, 0.5, 2.5], "x_nm": 0.0})
    found = sk.fit_diffusion(rows, frame_time_s=2.0, method="cve").iloc[0]
    d = np.array([1, -0.5, 2])
    expected = (
        (d**2).mean() / 2 / 2 + (d[1:] * d[:-1]).mean() / 2
    ) / 2  # the other axis does not move
    assert found["D_nm2_per_s"] == pytest.approx(expected)
    assert found["n_displacements"] == 3


def test_a_displacement_belongs_to_a_class_that_lasted():
    rows = pd.DataFrame(
        {
            "particle": 1,
            "frame": range(5),
            "class_id": [0, 0, 1, 1, 0],
            "y_nm": [0.0, 1, 5, 7, 0],
            "x_nm": 0.0,
        }
    )
    found = sk.msd(rows, frame_time_s=1.0, max_lag_frames=4, by="pooled")
    assert found[["class_id", "lag_frames", "msd_nm2", "n"]].to_numpy().tolist() == [
        [0, 1, 1, 1],
        [1, 1, 4, 1],
    ]
    whole = sk.msd(rows, frame_time_s=1.0, max_lag_frames=4, by="pooled", class_of="track")
    assert whole["class_id"].unique().tolist() == [0]
    assert whole["n"].tolist() == [4, 3, 2, 1]


# --- partitions and schedulers
# -----------------------------------------------------------------------------------


@pytest.mark.equality
@settings(deadline=None, max_examples=8)
@given(n=st.integers(1, 9), seed=st.integers(0, 2**20))
def test_numbers_are_the_same_bits_for_every_partitioning(n, seed):
    rows = random_walks(missing=0.2, movies=("a", "b"))
    rows = rows.assign(y=rows["y_nm"] * 10 + 20, x=rows["x_nm"] * 10 + 20)
    split = in_partitions(rows, np.random.default_rng(seed), n)
    words = {"method": ("mle", "cve", "ols", "hop"), "hop_length_nm": 0.3, "by": "movie"}
    sizes = {"height_px": [30, 40], "width_px": 35, "pixel_size_nm": 0.1, "frame_time_s": 1.5}
    fields = Experiment(pd.DataFrame({"movie": ["a", "b"], **sizes}))

    def asked(rows):
        return [
            sk.msd.question(rows, frame_time_s=1.5, by="movie"),
            sk.fit_diffusion.question(rows, frame_time_s=1.5, **words),
            sk.fit_diffusion.question(rows, experiment=fields, **words),
        ]

    assert_same_sums(split, rows, asked)


@pytest.mark.equality
def test_tables_are_the_same_bits_for_another_partitioning():
    rows = random_walks(missing=0.2, movies=("a", "b"))
    split = in_partitions(rows, np.random.default_rng(3), 5)
    words = {"frame_time_s": 1.5, "by": "movie"}
    fit = {"method": ("mle", "cve", "ols", "hop"), "hop_length_nm": 0.3, **words}
    for verb, said in ((sk.msd, words), (sk.fit_diffusion, fit)):
        pd.testing.assert_frame_equal(verb(split, **said), verb(rows, **said), check_exact=True)


@pytest.mark.cluster
def test_every_scheduler_gives_the_same_table(two_processes):
    split = in_partitions(random_walks(missing=0.1), np.random.default_rng(0), 5)
    tables = []
    for place in ("synchronous", "threads", two_processes):
        with connect(place):
            tables.append(sk.msd(split, frame_time_s=1.0, by="movie"))
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    pd.testing.assert_frame_equal(tables[0], tables[2], check_exact=True)


# --- beside other libraries
# ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_curve_is_that_of_trackpy(missing):
    tp = pytest.importorskip("trackpy")
    rows = random_walks(missing=missing)
    own = sk.msd(rows, frame_time_s=0.5, max_lag_frames=8, by="pooled", class_of="all")
    theirs = tp.emsd(
        rows.rename(columns={"x_nm": "x", "y_nm": "y"}), mpp=1, fps=2, max_lagtime=8, detail=True
    )
    if not missing:
        np.testing.assert_allclose(own["msd_nm2"], theirs["msd"], rtol=1e-12)
    else:  # trackpy weighs tracks by a formula for tracks without gaps
        np.testing.assert_allclose(own["msd_nm2"], theirs["msd"], rtol=0.05)


# --- what is wrong is said
# -------------------------------------------------------------------------------------------


def test_no_tracks_give_tables_with_columns():
    nothing = empty("tracks")
    assert list(sk.msd(nothing, frame_time_s=1.0).columns) == list(COLUMNS["msd"])
    assert list(sk.fit_diffusion(nothing, frame_time_s=1.0).columns) == list(COLUMNS["diffusion"])


def test_a_track_of_one_frame_moves_nowhere_and_nan_is_a_gap():
    one = pd.DataFrame({"particle": [1, 2], "frame": [0, 0], "y_nm": 0.0, "x_nm": 0.0})
    assert sk.msd(one, frame_time_s=1.0).empty
    assert np.isnan(sk.fit_diffusion(one, frame_time_s=1.0)["D_nm2_per_s"]).all()
    rows = pd.DataFrame({"particle": 1, "frame": range(3), "y_nm": [0.0, np.nan, 2.0], "x_nm": 0.0})
    assert sk.msd(rows, frame_time_s=1.0, by="pooled")["lag_frames"].tolist() == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "guess"}, "method must be one of"),
        ({"class_of": "mood"}, "class_of must be one of"),
        ({"class_name": "V_S"}, "experiment"),
        (
            {"class_name": "V_S", "class_ids": 1},
            "chosen by one keyword, but class_name and class_ids",
        ),
        ({"frame_time_s": -1.0}, "positive"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(words, message):
    with pytest.raises(ValueError, match=message):
        sk.fit_diffusion(random_walks(n_particles=2), **{"frame_time_s": 1.0, **words})


@pytest.mark.parametrize(
    "verb",
    [
        partial(sk.msd, frame_time_s=1.0, by="movie"),
        partial(
            sk.fit_diffusion,
            frame_time_s=1.0,
            by="movie",
            method=("mle", "cve", "ols", "hop", "auto"),
            hop_length_nm=0.3,
        ),
        partial(sk.hop_rates, frame_time_s=1.0, hop_length_nm=0.3, by="movie"),
        partial(sk.gaussianity, frame_time_s=1.0, by="movie"),
        lambda rows: sk.fit_diffusion(
            rows, method=("auto", "cve"), frame_time_s=1.0, hop_length_nm=0.3, by="movie"
        ),
    ],
)
def test_odd_tables_are_refused_in_a_sentence_or_answered_with_a_table(verb):
    rows = random_walks(n_particles=4, n_frames=12)
    pd.testing.assert_frame_equal(
        verb(rows.sample(frac=1, random_state=1)), verb(rows), check_exact=True
    )
    assert list(verb(rows.assign(y_nm=np.nan)).columns) == list(verb(empty("tracks")).columns)
    assert verb(rows.assign(y_nm=np.nan)).empty
    assert set(verb(rows.groupby("particle").head(1))["movie"]) <= {"a", "*"}
    later = rows.assign(frame=np.where(rows["frame"] > 5, rows["frame"] + 10**9, rows["frame"]))
    assert set(verb(later)["movie"]) == {"a", "*"}
    with pytest.raises(ValueError, match="is twice in frame 0"):
        verb(pd.concat([rows, rows.iloc[:1]]))
    with pytest.raises(ValueError, match="a position 1e\\+15 nm away, more than a centimetre"):
        verb(rows.assign(y_nm=rows["y_nm"].mask(rows.index == 3, 1e15)))
    with pytest.raises(ValueError, match="must hold numbers of nanometres"):
        verb(rows.assign(x_nm="far"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"confidence": 95}, "between 0 and 1"),
        (
            {"by": "day"},
            "by must be 'pooled', 'movie', Bins or a column, but there is no column 'day'",
        ),
    ],
)
def test_confidence_and_grouping_are_checked(words, message):
    for verb in (sk.fit_diffusion, partial(sk.hop_rates, hop_length_nm=0.3)):
        with pytest.raises(ValueError, match=message):
            verb(random_walks(n_particles=2), frame_time_s=1.0, **words)


def test_missing_columns_and_calibration_are_named():
    with pytest.raises(ValueError, match="y_nm"):
        sk.msd(pd.DataFrame({"particle": [1], "frame": [0]}), frame_time_s=1.0)
    with pytest.raises(ValueError, match="frame_time_s"):
        sk.msd(random_walks(n_particles=2))


def test_auto_quotes_hops_where_they_are_and_spreading_elsewhere_whatever_classes_there_are():
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 0.05, (400, 2))
    hops = np.zeros((400, 2))
    hopping = rng.random(400) < 0.1
    angle = rng.integers(6, size=400) * np.pi / 3
    hops[hopping] = 0.3153 * np.column_stack([np.sin(angle), np.cos(angle)])[hopping]
    parts = [
        pd.DataFrame(
            {
                "particle": i,
                "frame": range(len(d)),
                "class_id": i,
                "y_nm": d[:, 0].cumsum(),
                "x_nm": d[:, 1].cumsum(),
            }
        )
        for i, d in enumerate([steps, hops + rng.normal(0, 0.001, hops.shape), steps[:1]])
    ]
    rows = pd.concat(parts, ignore_index=True)
    found = sk.fit_diffusion(
        rows, method="auto", hop_length_nm=0.3153, frame_time_s=1.0, by="pooled"
    ).set_index("class_id")
    assert found.loc[[0, 1], "method"].tolist() == ["mle", "hop"]


# --- what leaves the field
# ------------------------------------------------------------------------------------------


def hoppers_in_a_field(n, n_frames, *, edge_nm, a=0.3153, per_frame=0.3, sigma=0.01, seed=0):
    """Particles that hop on an endless plane, seen in a square field; the border cuts their
    tracks."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-3, edge_nm + 3, (n, 2))
    rows = []
    name, inside = np.arange(n), np.zeros(n, bool)
    for frame in range(n_frames):
        now = ((place > 0) & (place < edge_nm)).all(axis=1)
        name = np.where(
            now & ~inside, rng.integers(2**40, size=n), name
        )  # who comes back is a new track
        inside = now
        seen = place[now] + rng.normal(0, sigma, (now.sum(), 2))
        rows.append(
            pd.DataFrame(
                {"frame": frame, "particle": name[now], "y_nm": seen[:, 0], "x_nm": seen[:, 1]}
            )
        )
        for _ in range(4):
            hop, angle = rng.random(n) < per_frame / 4, rng.integers(6, size=n) * np.pi / 3 + 0.3
            place = place + (a * hop)[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    table = pd.concat(rows, ignore_index=True)
    return table.assign(movie="m", class_id=0, y=table["y_nm"] / 0.03, x=table["x_nm"] / 0.03)


def test_steps_that_leave_the_field_are_made_up_for_whatever_the_method():
    rows = hoppers_in_a_field(900, 60, edge_nm=5.0)
    size = round(5.0 / 0.03) + 1
    movies = {
        "movie": ["m"],
        "pixel_size_nm": 0.03,
        "frame_time_s": 1.0,
        "height_px": size,
        "width_px": size,
    }
    known = Experiment(pd.DataFrame(movies))
    words = {
        "method": ("mle", "cve", "ols", "hop"),
        "by": "pooled",
        "experiment": known,
        "hop_length_nm": 0.3153,
    }
    true = 0.3 * 0.3153**2 / 4
    plain = sk.fit_diffusion(rows, border_px=None, **words)
    right = sk.fit_diffusion(rows, border_px=0.0, **words)
    assert (plain["high"] < true).all()
    assert ((right["low"] < true) & (true < right["high"])).all()
    assert (right["high"] - right["low"] < 0.1 * true).all()
    assert right["n_displacements"].tolist()[:2] == plain["n_displacements"].tolist()[:2]
    rates = sk.hop_rates(
        rows, hop_length_nm=0.3153, by="pooled", experiment=known, border_px=0.0
    ).iloc[0]
    assert rates["low"] < 0.3 < rates["high"]


@pytest.mark.parametrize("method", ["mle", "cve"])
def test_in_a_small_field_nothing_moves_in_shuffled_nor_in_immobile_tracks(method):
    """The border's weights once took shuffled tracks for moving ones: D was above 0 in most."""
    tracks = pd.concat(
        [
            hoppers_in_a_field(60, 40, edge_nm=5.0, seed=seed).assign(movie=f"{seed:02d}")
            for seed in range(40)
        ]
    )
    sizes = {"pixel_size_nm": 0.03, "frame_time_s": 1.0, "height_px": 168, "width_px": 168}
    known = Experiment(pd.DataFrame({"movie": tracks["movie"].unique(), **sizes}))
    for control in (sk.shuffled(tracks, seed=1), sk.immobile(tracks, sigma_nm=0.02, seed=1)):
        words = {"method": method, "by": "movie", "border_px": 0.0, "experiment": known}
        fit = sk.fit_diffusion(control, **words).query("movie != '*'")
        assert (fit["low"] > 0).mean() < 0.1
        assert ((fit["low"] <= 0) & (fit["high"] >= 0)).mean() > 0.84
        if method == "cve":
            D = fit["D_nm2_per_s"]
            assert abs(D.mean()) < 3 * D.std() / np.sqrt(len(D))


@pytest.mark.parametrize(("n_steps", "snr"), [(10, 0.5), (10, 2.0), (40, 0.5)])
def test_the_interval_of_the_covariance_estimator_holds_for_single_short_tracks(n_steps, snr):
    rng, n = np.random.default_rng(n_steps), 1500
    walk = rng.normal(size=(n, n_steps + 1, 2)).cumsum(axis=1) + rng.normal(
        0, 1 / snr, (n, n_steps + 1, 2)
    )
    track, frame = np.repeat(np.arange(n), n_steps + 1), np.tile(np.arange(n_steps + 1), n)
    sums = covariance_sums(Walks.of(track, frame, walk[..., 0].ravel(), walk[..., 1].ravel()))
    low, high = np.array([covariance_interval(own) for own in sums]).T
    assert 0.93 < ((low < 0.5) & (high > 0.5)).mean() < 0.97


def test_nothing_moves_in_shuffled_tracks_that_wandered_unequally_far():
    """Fifteen tracks each in 600 data sets, shuffled: D = 0 lies within the interval as often as
    said."""
    rng, n_sets, n_tracks, n_frames = np.random.default_rng(7), 600, 15, 20
    walk = rng.normal(0, 0.3, (n_sets * n_tracks, n_frames, 2)).cumsum(axis=1)
    walk += rng.normal(0, 0.2, walk.shape)
    rows = pd.DataFrame(
        {
            "movie": np.repeat([f"set {i:03d}" for i in range(n_sets)], n_tracks * n_frames), "frame": np.tile(np.arange(n_frames), len(walk)),
            "particle": np.repeat(np.arange(len(walk)), n_frames), "class_id": 0, "y_nm": walk[..., 0].ravel(), "x_nm": walk[..., 1].ravel(),
        }
    )  # fmt: skip
    fit = sk.fit_diffusion(
        sk.shuffled(rows, seed=1), method="cve", frame_time_s=1.0, by="movie"
    ).query("movie != '*'")
    assert 0.93 < ((fit["low"] < 0) & (fit["high"] > 0)).mean() < 0.97


@pytest.mark.filterwarnings("error")
def test_bounds_of_the_likelihood_are_open_where_next_to_nothing_is_known():
    low, high = _bounds(np.array([2.0]), np.array([0.0]))
    assert low == pytest.approx(2.0, rel=1e-5)
    assert high == pytest.approx(2.0, rel=1e-5)
    low, high = _bounds(np.array([1.0, 2.0]), np.array([735.0, 9e4]))
    assert low == 0
    assert high == np.inf
    low, high = _bounds(np.array([1.0]), np.array([5.0]))
    assert 0 < low < 1 < high < 1e6


def test_steps_that_stand_for_several_say_less_than_as_many_steps():
    n = 4000
    hop, twice = np.arange(n) % 20 == 0, np.arange(n) % 40 == 0
    angle = np.arange(n) % 6 * np.pi / 3
    y, x = (np.append(0.0, (f(angle) * hop).cumsum()) for f in (np.sin, np.cos))
    one = Walks.of(np.zeros(n + 1, dtype=int), np.arange(n + 1), y, x)
    weighted = replace(one, weights=lambda rows, _: np.where(twice[rows], 2.0, 1.0))
    group = np.zeros(1, dtype=int)
    fits = [
        most_likely_rate(hop_numbers(walk, group, n_groups=1, hop_length=1.0)[0])
        for walk in (one, weighted)
    ]
    assert fits[0].n_hops == pytest.approx(200, rel=0.02)
    assert fits[1].rate == pytest.approx(fits[0].rate * 1.5 / (1 + 0.025), rel=0.01)
    in_theory = (100 + 2 * 100) ** 2 / (
        100 + 4 * 100
    )  # of a sum with such weights: (sum of w)² over the sum of w²
    assert fits[1].n_hops == pytest.approx(fits[0].n_hops * in_theory / 200, rel=0.03)


def test_the_share_of_paths_inside_a_field_is_that_of_paths_drawn_anywhere():
    rng = np.random.default_rng(0)
    path = np.array([[0.0, 0.0], [1.5, -0.7], [0.4, 0.9]])
    places = rng.uniform(-2, 7, (400_000, 1, 2)) + path
    inside = ((places > 0) & (places < (5, 4))).all(axis=2)
    share = inside.all(axis=1).sum() / inside[:, 0].sum()
    extent = np.ptp(path, axis=0)[:, None]
    found = Room(np.array([[5.0], [4.0]])).weights(np.zeros(1, int), extent)
    assert found.item() == pytest.approx(1 / share, rel=0.01)


@pytest.mark.parametrize("n_in_order", [3, 4])
def test_in_every_order_of_time_together_nothing_moves_whatever_the_weights(n_in_order):
    """Covariances of consecutive steps cancel over all orders of the same places, in any field."""
    from itertools import permutations

    places = np.random.default_rng(1).uniform(0, 3, (n_in_order, 2))
    orders = np.array([places[list(order)] for order in permutations(range(n_in_order))])
    track = np.repeat(range(len(orders)), n_in_order)
    frame = np.tile(range(n_in_order), len(orders))
    for room in (Room(np.array([[4.0], [3.5]])), Room(np.array([[50.0], [50.0]]))):
        walks = Walks.of(
            track, frame, orders[..., 0].ravel(), orders[..., 1].ravel(), weights=room.weights
        )
        n, squared, n_pairs, product = covariance_sums(walks).sum(axis=0)[:4]
        assert squared / n / 4 + product / n_pairs / 2 == pytest.approx(0, abs=1e-3 * squared / n)


def test_long_tracks_that_wander_far_and_short_ones_that_do_not_move_nowhere_together():
    """In every order of time: a run of frames counts alike in squares and products."""
    from itertools import permutations

    rng, parts = np.random.default_rng(2), []
    for n, far in ((3, 1.0), (5, 4.0)):
        places = rng.uniform(0, far, (n, 2))
        parts += [places[list(order)] for order in permutations(range(n))]
    track = np.repeat(range(len(parts)), [len(own) for own in parts])
    frame = np.concatenate([np.arange(len(own)) for own in parts])
    walks = Walks.of(track, frame, *np.concatenate(parts).T)
    n, squared, n_pairs, product = covariance_sums(walks).sum(axis=0)[:4]
    assert squared / n / 4 + product / n_pairs / 2 == pytest.approx(0, abs=1e-9 * squared / n)


def test_one_pass_says_what_the_verbs_say_one_by_one():
    rows = random_walks(n_particles=40, movies=("a", "b"))
    words = {"frame_time_s": 1.5, "hop_length_nm": 0.3, "by": "movie"}
    methods = ("auto", "mle", "cve", "hop")
    asked = [
        sk.fit_diffusion.question(rows, method=methods, **words),
        sk.hop_rates.question(rows, **words),
        sk.gaussianity.question(rows, frame_time_s=1.5, by="movie"),
    ]
    diffusion, hops, shape = sk.answers(dd.from_pandas(rows, npartitions=1, sort=False), asked)
    for method in ("mle", "cve", "hop"):
        own = diffusion[diffusion["method"] == method].reset_index(drop=True)
        alone = sk.fit_diffusion(rows, method=method, **words)
        pd.testing.assert_frame_equal(own, alone, check_exact=True)
    pd.testing.assert_frame_equal(hops, sk.hop_rates(rows, **words), check_exact=True)
    pd.testing.assert_frame_equal(
        shape, sk.gaussianity(rows, frame_time_s=1.5, by="movie"), check_exact=True
    )


def test_d_is_told_by_time_by_temperature_and_by_any_column_as_in_kinetics():
    rng = np.random.default_rng(4)
    rows = random_walks(n_particles=60, n_frames=40, movies=("a", "b", "c"))
    movies = pd.DataFrame({"movie": ["a", "b", "c"], "frame_time_s": 1.0, "temperature_K": [300, 300, 400]})  # fmt: skip
    known = Experiment(movies)
    found = sk.fit_diffusion(rows, by="temperature_K", experiment=known)
    assert found.columns[:3].tolist() == ["movie", "temperature_K", "class_id"]
    for kelvin, own in found.groupby("temperature_K"):
        part = rows[rows["movie"].isin(movies.loc[movies["temperature_K"] == kelvin, "movie"])]
        alone = sk.fit_diffusion(part, experiment=known)
        pd.testing.assert_frame_equal(
            own.drop(columns="temperature_K").reset_index(drop=True), alone, check_exact=True
        )
    timed = sk.msd(rows, by=["movie", sk.Bins(10, "s")], max_lag_frames=2, experiment=known)
    for start in (0.0, 10.0, 20.0, 30.0):
        part = rows[(rows["frame"] // 10 * 10) == start]
        alone = sk.msd(part, by="movie", max_lag_frames=2, experiment=known)
        own = timed[timed["from_s"] == start].drop(columns="from_s").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone, check_exact=True)
    sides = rows.assign(side=rng.choice(list("lr"), len(rows)))
    words = {"by": ["movie", "side"], "experiment": known, "hop_length_nm": 0.3}
    split = in_partitions(sides, rng, 4)
    pd.testing.assert_frame_equal(
        sk.fit_diffusion(split, method=("auto", "cve"), **words),
        sk.fit_diffusion(sides, method=("auto", "cve"), **words),
        check_exact=True,
    )
    for found in (sk.hop_rates(sides, **words), sk.gaussianity(sides, by="side", experiment=known)):
        assert set(found["side"]) == {"l", "r"}


# --- the likelihood, written out
# -----------------------------------------------------------------------------------------


def test_the_likelihood_is_that_of_the_whole_covariance_matrix_gaps_included():
    rng = np.random.default_rng(0)
    frame = np.flatnonzero(rng.random(25) > 0.3)
    y, x = rng.normal(size=(2, len(frame)))
    _, n, m, log_b, quadratic, _ = innovation_sums(
        Walks.of(np.zeros(len(frame), dtype=int), frame, y, x)
    )
    assert n.tolist() == m.tolist() == [len(frame) - 1]
    for i in (3, 16, 28):
        r, n = np.exp(LOG_R[i]), len(frame) - 1
        covariance = np.diag(2.0 * np.diff(frame) + 2 * r) - r * (np.eye(n, k=1) + np.eye(n, k=-1))
        inverse = np.linalg.inv(covariance)
        assert log_b[0, i] == pytest.approx(np.linalg.slogdet(covariance)[1])
        assert quadratic[0, i] == pytest.approx(
            np.diff(y) @ inverse @ np.diff(y) + np.diff(x) @ inverse @ np.diff(x)
        )


def test_with_few_tracks_the_error_of_hops_is_taken_from_their_steps():
    rng = np.random.default_rng(1)
    angle = rng.integers(6, size=600) * np.pi / 3
    steps = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (rng.random((600, 1)) < 0.1)
    y, x = (steps.cumsum(axis=0) + rng.normal(0, 0.05, (600, 2))).T
    track, frame = np.zeros(600, dtype=int), np.arange(600)
    fit, larger = (
        most_likely(Evidence(likelihood_numbers(Walks.of(track, frame, a * y, a * x))[0], 1.0))
        for a in (1, 7)
    )
    assert 2.5 < fit.inflation < 8
    assert larger.inflation == pytest.approx(fit.inflation)
    np.testing.assert_allclose(larger.D, 49 * fit.D)
    assert fit.low < 0.1 / 4 < fit.high


def test_the_likelihood_of_single_hopping_tracks_holds_the_truth_as_often_as_it_says():
    rng, n, n_steps = np.random.default_rng(5), 400, 300
    angle = rng.integers(6, size=(n, n_steps)) * np.pi / 3
    steps = (
        np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        * rng.poisson(0.1, (n, n_steps))[..., None]
    )
    walk = steps.cumsum(axis=1) + rng.normal(0, 0.03, (n, n_steps, 2))
    track, frame = np.repeat(np.arange(n), n_steps), np.tile(np.arange(n_steps), n)
    numbers = likelihood_numbers(Walks.of(track, frame, walk[..., 0].ravel(), walk[..., 1].ravel()))
    fits = [most_likely(Evidence(own, 1.0)) for own in numbers]
    true = (0.1 + 0.1**2) / 4  # <n²> / 4: here several hops of one frame go the same way
    assert 0.93 < np.mean([fit.low < true < fit.high for fit in fits]) < 0.978


# --- places that state their errors
# --------------------------------------------------------------------------------------


def uneven_walks(n, n_frames, *, error=0.2, D=0.01, keep=0.85, per_movie=1, seed=0):
    """Brownian tracks with gaps, each place with an error of its own, which it states."""
    rng = np.random.default_rng(seed)
    own = error * np.exp(rng.normal(0, 0.7, (n, n_frames)) - 0.49)
    walk = (
        rng.normal(0, np.sqrt(2 * D), (n, n_frames, 2)).cumsum(axis=1)
        + rng.normal(size=(n, n_frames, 2)) * own[..., None]
    )
    rows = {
        "particle": np.repeat(np.arange(n), n_frames),
        "frame": np.tile(np.arange(n_frames), n),
        "class_id": 0,
    }
    table = pd.DataFrame(
        {
            **rows,
            "y_nm": walk[..., 0].ravel(),
            "x_nm": walk[..., 1].ravel(),
            "position_error": own.ravel() / 0.03,
        }
    )
    table["movie"] = (table["particle"] // per_movie).map("{:04d}".format)
    known = Experiment(
        pd.DataFrame({"movie": table["movie"].unique(), "pixel_size_nm": 0.03, "frame_time_s": 1.0})
    )
    return table[rng.random(len(table)) < keep].reset_index(drop=True), known


def test_the_likelihood_of_stated_errors_is_that_of_the_whole_covariance_matrix():
    rng = np.random.default_rng(0)
    frame = np.flatnonzero(rng.random(20) > 0.3)
    n = len(frame)
    y, x, variance = *rng.normal(size=(2, n)), rng.uniform(0.1, 2, n)
    track = np.zeros(n, dtype=int)
    found = stated_numbers(Walks.of(track, frame, y, x), variance=variance)[0]
    for i in (45, 52, 60):
        off = np.diag(variance[1:-1], 1) + np.diag(variance[1:-1], -1)
        covariance = (
            np.diag(2 * np.exp(LOG_D[i]) * np.diff(frame) + variance[1:] + variance[:-1]) - off
        )
        inverse = np.linalg.inv(covariance)
        square = np.diff(y) @ inverse @ np.diff(y) + np.diff(x) @ inverse @ np.diff(x)
        assert found[6 + i] == pytest.approx(-np.linalg.slogdet(covariance)[1] - square / 2)


def test_stated_errors_tell_more_of_d_and_cover_it_as_often_as_they_say():
    rows, known = uneven_walks(400, 31)
    fits = {}
    for sigma in (None, "position_error"):
        found = sk.fit_diffusion(rows, sigma_nm=sigma, by="movie", experiment=known)
        fits[sigma] = found[found["movie"] != "*"]
    stated, fitted = (
        np.mean((fits[k]["D_nm2_per_s"] / 0.01 - 1) ** 2) for k in ("position_error", None)
    )
    assert stated < 0.6 * fitted
    own = fits["position_error"]
    assert 0.93 < ((own["low"] <= 0.01) & (own["high"] >= 0.01)).mean() < 0.975


@pytest.mark.equality
def test_stated_errors_give_the_same_bits_for_every_partitioning():
    rows, known = uneven_walks(60, 20, per_movie=30)
    words = {"sigma_nm": "position_error", "by": "movie", "experiment": known}
    split = in_partitions(rows, np.random.default_rng(1), 5)
    pd.testing.assert_frame_equal(
        sk.fit_diffusion(split, **words), sk.fit_diffusion(rows, **words), check_exact=True
    )


def test_where_a_place_states_no_error_it_is_fitted_and_where_none_does_that_is_said():
    rows, known = uneven_walks(60, 20, per_movie=30)
    rows.loc[(rows["movie"] == "0000") & (rows["frame"] == 3), "position_error"] = np.nan
    words = {"by": "movie", "experiment": known}
    found = sk.fit_diffusion(rows, sigma_nm="position_error", **words).set_index("movie")
    fitted = sk.fit_diffusion(rows, **words).set_index("movie")
    pd.testing.assert_frame_equal(found.loc[["0000", "*"]], fitted.loc[["0000", "*"]])
    assert found.loc["0001", "sigma_nm"] != fitted.loc["0001", "sigma_nm"]
    with pytest.raises(ValueError, match="needs the column 'position_error'"):
        sk.fit_diffusion(
            rows.drop(columns="position_error"), sigma_nm="position_error", experiment=known
        )
    with pytest.raises(ValueError, match=r"pass experiment=.* with pixel_size_nm"):
        sk.fit_diffusion(rows, sigma_nm="position_error", frame_time_s=1.0)
    with pytest.raises(
        ValueError, match="'position_error', or None where it is to be fitted, but it is 'guess'"
    ):
        sk.fit_diffusion(rows, sigma_nm="guess", experiment=known)


# --- between movies
#
# ------------------------------------------------------------------------------------------------------


def movies_with(ln_D, error, rng, class_id=0):
    """One row per movie whose D is known to `error` (sd of ln D)."""
    seen = np.asarray(ln_D) + rng.normal(0, error, len(ln_D))
    rows = {
        "movie": [f"m{k}" for k in range(len(seen))],
        "class_id": class_id,
        "method": "hop",
        "D_nm2_per_s": np.exp(seen),
    }
    return pd.DataFrame(
        {**rows, "low": np.exp(seen - 1.96 * error), "high": np.exp(seen + 1.96 * error)}
    )


@pytest.mark.parametrize("scatter", [0.0, 0.3])
def test_the_intervals_of_groups_and_energies_hold_as_often_as_they_say(scatter):
    """400 archives of 12 movies, each as a class of its own, so that they are asked at once."""
    rng = np.random.default_rng(4)
    kT = 8.617333262e-5 * np.repeat([300.0, 350.0, 400.0], 4)
    names = [f"m{k}" for k in range(12)]
    rows = pd.concat(
        movies_with(5 - 0.3 / kT + rng.normal(0, scatter, 12), 0.1, rng, class_id)
        for class_id in range(400)
    )
    fit = arrhenius(rows, temperature_k=dict(zip(names, kT / 8.617333262e-5, strict=True)))
    groups = compare_diffusion(
        rows, dict(zip(names, np.repeat(["cold", "hot", "warm"], [4, 4, 4]), strict=True))
    )
    assert len(fit) == 400
    second = groups[groups["group"] == "hot"]
    true = np.exp(5 - 0.3 / kT[4])
    ratio = true / np.exp(5 - 0.3 / kT[0])
    hits = [
        fit["E_low"].lt(0.3) & fit["E_high"].gt(0.3),
        fit["D0_low"].lt(np.exp(5)) & fit["D0_high"].gt(np.exp(5)),
        second["low"].lt(true) & second["high"].gt(true),
        second["ratio_low"].lt(ratio) & second["ratio_high"].gt(ratio),
    ]
    assert (np.mean(hits, axis=1) > 0.93).all()
    assert (np.mean(hits, axis=1) < 0.985).all()


def test_too_few_movies_tell_no_energy_and_cold_is_not_below_zero():
    rows = movies_with([0.0, 0.1], 0.1, np.random.default_rng(0))
    assert np.isnan(arrhenius(rows, temperature_k={"m0": 300.0, "m1": 310.0})["E_ev"]).all()
    assert arrhenius(empty("diffusion"), temperature_k={"m0": 300.0}).empty
    with pytest.raises(ValueError, match="in kelvin and above 0, but of 'm0' it is -5"):
        arrhenius(rows, temperature_k={"m0": -5.0})
    with pytest.raises(ValueError, match="no movie of the table is in a group"):
        compare_diffusion(rows, {"other": 1})


# --- which estimator, and why


def filmed(D, exposure, *, n_tracks=120, n_frames=40, seed=0, sub=20):
    """Brownian tracks, each place the mean over the exposed part of its frame."""
    rng = np.random.default_rng(seed)
    shape = (n_tracks, n_frames * sub, 2)
    fine = np.cumsum(rng.normal(0, np.sqrt(2 * D / sub), shape), axis=1)
    fine = fine.reshape(n_tracks, n_frames, sub, 2)[:, :, : max(1, round(exposure * sub))]
    place = fine.mean(axis=2) + rng.normal(0, 0.1, (n_tracks, n_frames, 2))
    return pd.DataFrame(
        {
            "particle": np.repeat(np.arange(n_tracks), n_frames),
            "frame": np.tile(np.arange(n_frames), n_tracks),
            "class_id": 0,
            "y_nm": place[..., 0].ravel(),
            "x_nm": place[..., 1].ravel(),
        }
    )


@pytest.mark.parametrize("exposure", [0.5, 1.0])
def test_motion_blur_is_part_of_every_estimator_and_seen_where_nobody_told_of_it(exposure):
    rows, methods = filmed(1.0, exposure), ("mle", "cve", "ols")
    words = {"frame_time_s": 1.0, "method": methods}
    told = sk.fit_diffusion(rows, exposure_fraction=exposure, **words).set_index("method")
    assert ((told["low"] < 1) & (told["high"] > 1)).all()
    assert (told["violated"] == "").all()
    assert told["sigma_nm"][["mle", "cve"]].to_numpy() == pytest.approx(0.1, abs=0.12)
    assert told["recommended"].to_dict() == {"mle": True, "cve": False, "ols": False}
    assert "blur as told" in told.loc["mle", "assumes"]
    silent = sk.fit_diffusion(rows, **words).set_index("method")
    assert silent.loc["mle", "high"] < 1, "without the blur the likelihood is low"
    assert silent["violated"].to_dict() == {"mle": "no blur", "cve": "", "ols": ""}
    assert silent["recommended"].to_dict() == {"mle": False, "cve": True, "ols": False}


def test_the_exposure_of_each_movie_is_taken_from_the_experiment():
    both = pd.concat(
        [filmed(1.0, 1.0).assign(movie="film"), filmed(1.0, 0.0, seed=1).assign(movie="scan")]
    )
    movies = pd.DataFrame(
        {"movie": ["film", "scan"], "frame_time_s": 1.0, "exposure_fraction": [1.0, 0.0]}
    )
    found = sk.fit_diffusion(both, experiment=Experiment(movies), method="mle", by="movie")
    assert ((found["low"] < 1) & (found["high"] > 1)).all()
    apart = sk.fit_diffusion(
        both[both["movie"] == "film"], exposure_fraction=1.0, frame_time_s=1.0, method="mle"
    )
    assert found.loc[0, "D_nm2_per_s"] == apart.loc[0, "D_nm2_per_s"]


def test_the_default_takes_hops_on_a_lattice_and_neither_shuffled_nor_brownian_tracks():
    rng, words = np.random.default_rng(3), {"frame_time_s": 1.0, "hop_length_nm": 0.3}
    hops = rng.integers(0, 6, (40, 40)) * np.pi / 3
    moved = 0.3 * (rng.random((40, 40)) < 0.3)
    place = np.stack([moved * np.sin(hops), moved * np.cos(hops)], axis=-1).cumsum(axis=1)
    place += rng.normal(0, 0.02, place.shape)
    rows = filmed(1.0, 0.0, n_tracks=40).assign(
        y_nm=place[..., 0].ravel(), x_nm=place[..., 1].ravel()
    )
    hopping = sk.fit_diffusion(rows, **words).iloc[0]
    assert (hopping["method"], hopping["violated"]) == ("hop", "")
    assert hopping["low"] < 0.3 * 0.3**2 / 4 < hopping["high"]
    shuffled = sk.fit_diffusion(sk.shuffled(rows), **words).iloc[0]
    assert shuffled["method"] != "hop"
    assert shuffled["low"] <= 0 <= shuffled["high"]
    spreading = sk.fit_diffusion(filmed(0.01, 0.0), **words).iloc[0]
    assert spreading["method"] == "mle"
    by_hops = sk.fit_diffusion(filmed(0.01, 0.0), method="hop", **words).iloc[0]
    assert "steps on the lattice" in by_hops["violated"]
    assert not by_hops["recommended"]


def test_two_mobilities_have_their_mean_and_are_said_to_be_two():
    rows = pd.concat(
        [
            filmed(1.0, 0.0, n_tracks=40),
            filmed(0.01, 0.0, n_tracks=40).assign(particle=lambda r: r["particle"] + 100),
        ]
    )
    found = sk.fit_diffusion(rows, frame_time_s=1.0, method=("mle", "auto")).set_index("method")
    assert found["violated"].to_dict() == {"mle": "one mobility", "cve": "one mobility"}
    assert found["recommended"].to_dict() == {"mle": False, "cve": True}
    assert found.loc["cve", "low"] < 0.505 < found.loc["cve", "high"]


def test_drift_that_is_left_is_no_motion_of_independent_steps():
    rows = filmed(0.01, 0.0, n_tracks=40)
    found = sk.fit_diffusion(rows.assign(y_nm=rows["y_nm"] + 0.3 * rows["frame"]), frame_time_s=1.0)
    assert "independent steps" in found["violated"].iloc[0]
    assert sk.fit_diffusion(rows, frame_time_s=1.0)["violated"].iloc[0] == ""


ONE = {"particle": 0, "class_id": 0, "x_nm": 0.0}


@pytest.mark.parametrize("method", ["auto", "mle", "cve", "hop", "ols"])
@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"frame": range(2), "y_nm": [0.0, 0.3], **ONE}),
        pd.DataFrame({"frame": range(30), "y_nm": np.arange(30) % 2 * 0.3, **ONE}),
        pd.DataFrame({"frame": range(30), "y_nm": 0.0, **ONE}),
        pd.DataFrame({"frame": range(30), "y_nm": 0.3 * np.arange(30), **ONE}),
        pd.DataFrame({"frame": np.arange(30) ** 2, "y_nm": np.sqrt(np.arange(30)), **ONE}),
        pd.DataFrame({"frame": 4 * np.arange(20), "y_nm": 0.3 * (np.arange(20) % 3), **ONE}),
    ],
    ids=["one step", "all hops", "immobile", "one way", "unequal times", "no two frames"],
)
def test_hardly_any_tracks_give_a_number_with_its_interval_or_none(rows, method):
    found = sk.fit_diffusion(rows, frame_time_s=1.0, hop_length_nm=0.3, method=method).iloc[0]
    D, low, high = found[["D_nm2_per_s", "low", "high"]].astype(float)
    assert np.isnan(D) or np.isnan(low) or low <= D <= high
    assert not high > 1e6 or np.isinf(high)
    assert np.isfinite(found["n_displacements"])


def movies_that_differ(spread, n_movies, seed):
    """Ten tracks in each movie, whose D = 0.01 differs by `spread` (sd of ln D)."""
    rng, parts = np.random.default_rng(seed), []
    for i in range(n_movies):
        D = 0.01 * np.exp(rng.normal(0, spread) - spread**2 / 2)
        rows = filmed(D, 0.0, n_tracks=10, n_frames=30, seed=int(rng.integers(1e9)), sub=1)
        parts.append(rows.assign(movie=f"{seed:03d}-{i}", set=seed))
    return pd.concat(parts)


def test_where_movies_differ_the_interval_is_that_of_movies():
    rows = pd.concat([movies_that_differ(0.4, 8, seed) for seed in range(40)])
    found = sk.fit_diffusion(rows, frame_time_s=1.0, by="set")
    inside = (found["low"] < 0.01) & (found["high"] > 0.01)
    assert inside.mean() >= 0.9
    assert (found["unit"] == "movie").mean() > 0.8
    alike = pd.concat([movies_that_differ(0.0, 8, seed) for seed in range(40)])
    found = sk.fit_diffusion(alike, frame_time_s=1.0, by="set")
    assert ((found["low"] < 0.01) & (found["high"] > 0.01)).mean() >= 0.9
    assert (found["unit"] == "movie").mean() < 0.4


def test_few_tracks_that_differ_in_mobility_tell_their_mean_as_their_spread_says():
    movies = pd.DataFrame({"movie": ["m"], "n_frames": 40, "height_px": 1001, "width_px": 1001})
    world = TrackWorld(
        densities_per_nm2=(6 / 900, 6 / 900),
        D_nm2_per_s=(0.005, 0.0002),
        confusion=((1.0, 0.0), (1.0, 0.0)),
    )
    tracks = simulate_tracks(
        world, movies.assign(pixel_size_nm=0.03, frame_time_s=1.0), n_replicas=60, seed=3
    )
    found = sk.fit_diffusion(
        tracks.rows, by="replica", border_px=0, experiment=tracks.experiment, method="cve"
    )
    own = found[found["replica"].notna() & (found["movie"] == "*")]
    differ = own[own["violated"] == "one mobility"]
    assert len(differ) > 40
    assert differ["n_tracks"].max() < 25
    true = world.diffusion_nm2_per_s.mean()
    held = (differ["low"] <= true) & (differ["high"] >= true)
    assert held.mean() > 0.85, "by their steps alone it is .6"


def test_what_has_no_d_is_not_recommended():
    rows = filmed(0.01, 0.0, n_tracks=4)
    alone = rows.groupby("particle").head(1).assign(class_id=-1, particle=99)
    both = pd.concat([rows, alone.head(1)])
    found = sk.fit_diffusion(both, method=("auto", "cve"), frame_time_s=1.0)
    assert (found["recommended"] <= found["D_nm2_per_s"].notna()).all()
    assert found.loc[found["class_id"] != -1, "recommended"].sum() == 1


def test_a_movie_that_is_there_twice_says_no_more_than_once():
    rows = filmed(0.01, 0.0, n_tracks=40).assign(movie="one")
    once = sk.fit_diffusion(rows, frame_time_s=1.0).iloc[0]
    twice = sk.fit_diffusion(pd.concat([rows, rows.assign(movie="copy")]), frame_time_s=1.0).iloc[0]
    assert twice["violated"] == "movies of their own"
    width = np.log(twice["high"] / twice["low"]) / np.log(once["high"] / once["low"])
    assert width == pytest.approx(1, abs=0.1)


def test_hops_into_traps_and_onto_taken_sites_are_made_up_for():
    ratio, blocked = [], []
    for seed in (1, 2, 4):
        movie = sk.simulate_movie(n_frames=150, seed=seed)
        truth = sk.truth_of(movie)
        kinds = sorted(truth.defects["kind"].unique())
        rows = truth.defects.assign(class_id=truth.defects["kind"].map(kinds.index))
        found = sk.fit_diffusion(
            rows,
            class_ids=kinds.index("V_S"),
            hop_length_nm=truth.settings.material.a_nm,
            experiment=Experiment(movies_table([movie])),
        ).iloc[0]
        assert found["method"] == "hop"
        ratio.append(found["D_nm2_per_s"] / truth.D_nm2_per_s)
        blocked.append(found["blocked"])
        rates = sk.hop_rates(
            rows,
            class_ids=kinds.index("V_S"),
            hop_length_nm=truth.settings.material.a_nm,
            experiment=Experiment(movies_table([movie])),
        ).iloc[0]
        assert rates["D_nm2_per_s"] == pytest.approx(found["D_nm2_per_s"])
    assert np.mean(ratio) == pytest.approx(1, abs=0.03)
    assert min(blocked) > 0.04, "of the tracks themselves D is low by as much"


@pytest.mark.parametrize("lattice", ["triangular", "honeycomb", "square"])
def test_taken_sites_are_made_up_for_on_every_lattice(lattice):
    movies = pd.DataFrame({"movie": ["m"], "n_frames": 40, "height_px": 501, "width_px": 501})
    world = TrackWorld(
        densities_per_nm2=(0.9,),
        hop_rates_per_s=(0.3,),
        excluding=True,
        lattice=lattice,
        sigma_nm=0.01,
    )
    tracks = simulate_tracks(
        world, movies.assign(pixel_size_nm=0.03, frame_time_s=1.0), n_replicas=3, seed=1
    )
    found = sk.fit_diffusion(
        tracks.rows, hop_length_nm=world.hop_length_nm, border_px=0, experiment=tracks.experiment
    ).iloc[0]
    site = {"triangular": 0.75**0.5, "honeycomb": 1.6875**0.5, "square": 1.0}[lattice]
    assert found["method"] == "hop"
    assert found["blocked"] == pytest.approx(0.9 * site * world.hop_length_nm**2, rel=0.2)
    assert found["D_nm2_per_s"] == pytest.approx(world.diffusion_nm2_per_s[0], rel=0.05)


def test_a_way_back_that_is_free_is_made_up_for_where_a_frame_has_many_hops():
    movies = pd.DataFrame({"movie": ["m"], "n_frames": 40, "height_px": 501, "width_px": 501})
    world = TrackWorld(
        densities_per_nm2=(0.9,),
        hop_rates_per_s=(2.0,),
        excluding=True,
        lattice="honeycomb",
        sigma_nm=0.01,
    )
    tracks = simulate_tracks(
        world, movies.assign(pixel_size_nm=0.03, frame_time_s=1.0), n_replicas=4, seed=3
    )
    found = sk.fit_diffusion(
        tracks.rows, hop_length_nm=world.hop_length_nm, border_px=0, experiment=tracks.experiment
    ).iloc[0]
    assert found["D_nm2_per_s"] == pytest.approx(world.diffusion_nm2_per_s[0], rel=0.025)
    for lattice in ("triangular", "honeycomb", "square"):
        few, many = (share_of_returns(0.1, hops, lattice) for hops in (0.01, 100.0))
        assert 0 < few < 1e-3 < many < share_of_returns(0.1, np.inf, lattice)


def test_few_neighbours_do_not_show_that_defects_exclude_each_other():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [6.0, 0.0]])
    few = Crowd(np.zeros(4, int), np.zeros(4, int), *places.T)
    many = Crowd(np.arange(400).repeat(4), np.zeros(1600, int), *np.tile(places.T, 400))
    of_tracks = Estimate(1.0, 0.9, 1.1, 0.0, 20, 1000)
    unsure, sure = (blocked_share([looks], 0, 1.0) for looks in (few, many))
    assert unsure.share == sure.share == 1 / 6
    assert unsure.freed(of_tracks, 1.96).low == pytest.approx(0.9)
    assert sure.freed(of_tracks, 1.96).low > 1.0
    assert unsure.freed(of_tracks, 1.96).D == sure.freed(of_tracks, 1.96).D == pytest.approx(1.2)


def test_an_interval_reaches_that_of_hops_where_these_are_nearly_recommended(monkeypatch):
    monkeypatch.setattr("stemkin.diffusion.assumptions.ON_BALANCE", 0.5)  # else one of 80 is
    movies = pd.DataFrame({"movie": ["m"], "n_frames": 40, "height_px": 1001, "width_px": 1001})
    world = TrackWorld(densities_per_nm2=(0.01,), hop_rates_per_s=(1.0,), regular_hops=True)
    tracks = simulate_tracks(
        world, movies.assign(pixel_size_nm=0.03, frame_time_s=1.0), n_replicas=4, seed=2
    )
    found = sk.fit_diffusion(
        tracks.rows,
        method=("auto", "mle", "hop"),
        by="replica",
        hop_length_nm=world.hop_length_nm,
        border_px=0,
        experiment=tracks.experiment,
    )
    other = found[found["recommended"] & (found["method"] != "hop") & (found["movie"] == "*")]
    hops = found[found["method"] == "hop"].set_index("replica").loc[other["replica"]]
    assert len(other), "hops are given up by chance"
    assert (hops["high"] / hops["low"] < 1.1).all()
    assert (other["low"].to_numpy() <= hops["low"].to_numpy()).all()
    assert (other["high"].to_numpy() >= hops["high"].to_numpy()).all()


def test_particles_that_stand_on_one_site_take_none_from_each_other():
    rng = np.random.default_rng(0)
    site = rng.integers(0, 20, (32, 200, 2))
    looks = Crowd(
        np.repeat(np.arange(32), 200),
        np.zeros(6400, int),
        (site[..., 0] + site[..., 1] / 2).ravel(),
        (site[..., 1] * np.sqrt(0.75)).ravel(),
    )
    assert blocked_share([looks], 0, 1.0) == NOT_LOOKED
    places = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [5.0, 2 / np.sqrt(3)]])
    apart = Crowd(np.zeros(4, int), np.array([0, 1, 0, 1]), *places.T)
    assert blocked_share([apart], 0, 1.0).share == (1 + 2) / 12
    parts = [Crowd(*(getattr(looks, c)[i::3] for c in LOOKED)) for i in range(3)]
    joined = parts[0] + parts[1] + parts[2]
    assert len(np.unique(joined.frame)) == 32
    assert sorted(joined.y_nm) == sorted(looks.y_nm)
