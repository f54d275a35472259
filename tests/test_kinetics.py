"""Populations, transitions and dwell times: by hand, for every chunking and scheduler, beside other
libraries."""

import itertools
from pathlib import Path
from unittest import mock

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import stemkin as sk
from stemkin.kernels.chains import chain_tests
from stemkin.kernels.chains.hidden_markov import UNITS, expected_counts
from stemkin.kernels.chains.missing import seen_share
from stemkin.kernels.chains.single_pass_counting import WORTH_COMPILING, follow_counts
from stemkin.kernels.common.intervals import count_interval
from stemkin.kinetics import cross_section, hidden_transitions
from stemkin.kinetics.counts import MAX_GAP, count_transitions
from stemkin.movie import movies_table
from stemkin.rows.files import tracks_in_files
from stemkin.rows.parquet import sealed_bytes
from stemkin.rows.table import with_experiment
from stemkin.rows.tracks import Trajectories
from stemkin.schedulers.clients import connect
from stemkin.simulation import TrackWorld, simulate_tracks
from stemkin.tables import COLUMNS, Experiment, empty
from tests.strategies import assert_same_sums


def a_walk_through_classes(n_particles=40, n_frames=30, seed=0, movies=("a", "b"), n_classes=3):
    """Tracks whose class is a Markov chain, with missing frames, sorted as a table of tracks is."""
    rng = np.random.default_rng(seed)
    P = np.full((n_classes, n_classes), 0.1 / (n_classes - 1)) + np.eye(n_classes) * (
        0.9 - 0.1 / (n_classes - 1)
    )
    rows = []
    for movie in movies:
        for particle in range(n_particles):
            state, start = rng.integers(n_classes), rng.integers(n_frames // 2)
            for frame in range(start, n_frames - rng.integers(3)):
                if rng.random() > 0.15:
                    rows.append((movie, frame, particle * 1_000_003, state, *rng.normal(size=2)))
                state = rng.choice(n_classes, p=P[state])
    table = pd.DataFrame(rows, columns=["movie", "frame", "particle", "class_id", "y_nm", "x_nm"])
    return table.sort_values(["movie", "frame", "y_nm"], ignore_index=True)


def in_partitions(rows, rng, n):
    """Split `rows` into partitions that hold whole tracks, at random, in random order."""
    part = rng.integers(n, size=rows.groupby(["movie", "particle"]).ngroups)
    number = part[rows.groupby(["movie", "particle"]).ngroup().to_numpy()]
    return dd.from_map(
        lambda i: rows[number == i].sample(frac=1, random_state=int(i)),
        rng.permutation(n),
        meta=rows.iloc[:0],
    )


# --- by hand
#
# ---------------------------------------------------------------------------------------------------------


def test_an_eight_symbol_sequence_is_counted_by_hand():
    rows = pd.DataFrame({"particle": 5, "frame": range(8), "class_id": [0, 0, 0, 1, 1, 0, 1, 1]})
    found = sk.transitions(rows, frame_time_s=2.0)
    assert found.counts.to_numpy().tolist() == [[2, 2], [1, 2]]
    np.testing.assert_allclose(found.probabilities, [[1 / 2, 1 / 2], [1 / 3, 2 / 3]])
    stays = sk.dwell_times(rows, frame_time_s=2.0)
    assert stays["n_exits"].tolist() == [2, 1]
    assert stays["time_at_risk_s"].tolist() == [8.0, 6.0]
    assert stays["n_censored"].tolist() == [0, 1]
    both = (
        -np.log(1 / 2 + 2 / 3 - 1) / 2
    )  # two states: exp(-(a + b) t) is the second eigenvalue of P
    np.testing.assert_allclose(stays["exit_rate_per_s"], [both * 3 / 5, both * 2 / 5], rtol=1e-5)


def test_a_gap_is_no_step_and_two_tracks_in_one_frame_are_no_transition():
    rows = pd.DataFrame(
        {"particle": [1, 1, 1, 2, 2], "frame": [0, 1, 3, 1, 2], "class_id": [0, 0, 1, 1, 1]}
    )
    found = sk.transitions(rows, lag_frames=(1, 2))
    assert found.counts.to_numpy().tolist() == [[1, 0], [0, 1]]
    assert found.matrix("count", lag_frames=2).to_numpy().tolist() == [[0, 1], [0, 0]]


def test_a_state_that_was_never_left_has_no_probabilities_but_a_reason():
    rows = pd.DataFrame({"particle": 1, "frame": range(3), "class_id": [0, 0, 1]})
    found = sk.transitions(rows, frame_time_s=1.0)
    assert found.probabilities.loc[1].isna().all()
    assert found.rates.loc[1].isna().all()
    assert list(found.reasons.index) == [1]
    assert found.table["rate_per_s"].notna().sum() == 2


def test_a_class_that_was_never_seen_changes_no_rate_and_has_a_bound():
    rows = a_walk_through_classes(movies=("a",))
    few, all_of_them = (sk.transitions(rows, frame_time_s=2.0, class_ids=range(n)) for n in (3, 6))
    for column in ("rate_per_s", "rate_low", "rate_high"):
        whole = all_of_them.matrix(column).to_numpy()
        np.testing.assert_allclose(whole[:3, :3], few.matrix(column), rtol=1e-6)
        assert np.isnan(whole[3:]).all()
    assert (all_of_them.matrix("rate_per_s").to_numpy()[:3, 3:] == 0).all()
    bound = all_of_them.matrix("rate_high").to_numpy()[0, 3]
    assert bound == pytest.approx(count_interval(np.array(0.0))[1] / _at_risk_s(rows, 0))


def _at_risk_s(rows, class_id):
    """Seconds at risk of one class, across gaps, at 2 s per frame."""
    ordered = rows.sort_values(["particle", "frame"])
    gap = ordered.groupby("particle")["frame"].shift(-1) - ordered["frame"]
    return 2.0 * gap[ordered["class_id"] == class_id].sum()


def test_unnamed_rows_are_frames_in_which_nothing_is_known():
    rows = pd.DataFrame({"particle": 1, "frame": range(4), "class_id": [0, -1, 0, 0]})
    assert sk.transitions(rows).counts.to_numpy().tolist() == [[1]]


def test_populations_count_every_frame_also_those_without_a_defect():
    rows = pd.DataFrame({"movie": "m", "frame": [0, 0, 2], "class_id": [1, 1, 0]})
    found = sk.populations(rows, frame_time_s=0.5)
    assert found["n"].tolist() == [0, 2, 0, 0, 1, 0]
    assert found["time_s"].tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_frames_that_were_not_looked_at_are_no_frames_without_defects():
    frames = pd.DataFrame(
        {
            "movie": "m",
            "frame": [0, 1, 2],
            "status": ["ok", "corrupt", "ok"],
            "time_s": [0.0, 1.0, 2.5],
        }
    )
    movies = pd.DataFrame({"movie": ["m"], "n_frames": [3], "frame_time_s": [1.0]})
    rows = pd.DataFrame({"movie": "m", "frame": [0], "class_id": [4]})
    found = sk.populations(rows, experiment=Experiment(movies, frames))
    assert found[["frame", "time_s", "n"]].to_numpy().tolist() == [[0, 0, 1], [2, 2.5, 0]]


def test_survival_counts_each_age_with_late_entries_behind_gaps():
    rows = pd.DataFrame(
        {
            "particle": [1] * 6 + [2] * 4 + [3] * 2,
            "frame": [0, 1, 2, 3, 4, 5, 1, 2, 4, 5, 0, 1],
            "class_id": [0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0],
        }
    )
    # class 1: particle 1 stays 3 frames; particle 2 begins at frame 1, is missed at age 3, and
    # leaves at age 4; particle 3 is there from the start
    found = sk.survival(rows, frame_time_s=2.0, begun="seen").query("class_id == 1")
    assert found["time_s"].tolist() == [2, 4, 6, 8]
    assert found["n_at_risk"].tolist() == [2, 1, 1, 1]
    assert found["n_exits"].tolist() == [0, 0, 1, 1]
    assert found["survival"].tolist() == [1, 1, 0, 0]
    changed = sk.survival(rows, frame_time_s=2.0, begun="change").query("class_id == 1")
    assert changed[["n_at_risk", "n_exits"]].to_numpy().tolist() == [[1, 0], [1, 0], [1, 1]]
    everything = sk.survival(rows, frame_time_s=2.0, begun="any").query("class_id == 1")
    assert everything["n_at_risk"].tolist() == [3, 1, 1, 1]
    stays = sk.dwell_times(rows, frame_time_s=2.0).set_index("class_id")
    assert stays.loc[1, ["n_exits", "n_censored", "n_left_censored"]].tolist() == [3, 1, 3]


def test_numbers_per_frame_are_worth_as_many_counts_as_there_are_tracks_that_stay():
    rows = pd.DataFrame(
        {
            "movie": "m",
            "particle": np.repeat(range(8), 10),
            "frame": np.tile(range(10), 8),
            "class_id": 0,
        }
    )
    one = sk.abundances(rows).iloc[0]
    low, high = count_interval(np.array(8.0))[0], special.gammaincinv(9, 0.975)  # of one track more
    assert (one["mean_number"], one["low"], one["high"]) == (
        8.0,
        pytest.approx(low),
        pytest.approx(high),
    )
    assert np.isnan(one["efficiency"])
    by_hand = rows[
        ~((rows["particle"] == 0) & rows["frame"].isin([3, 6]))
        & ~((rows["particle"] == 1) & (rows["frame"] == 0))
    ]
    missed = sk.abundances(by_hand).iloc[0]
    assert missed["efficiency"] == pytest.approx(
        1 - 2 / (2 + 6 * 8 + 7 + 2)
    )  # particle 0 was seen between two sightings twice; no track ends nor begins within
    assert missed["corrected_low"] < 8 < missed["corrected_high"]
    half = sk.abundances(rows, efficiency=0.5).iloc[0]
    assert half["corrected_number"] == 16
    frames = pd.DataFrame(
        {
            "movie": "m",
            "frame": range(10),
            "status": ["ok"] * 5 + ["blank"] + ["ok"] * 4,
            "time_s": 0.0,
        }
    )
    known = Experiment(pd.DataFrame({"movie": ["m"], "n_frames": [10]}), frames)
    blank = sk.abundances(rows[rows["frame"] != 5], experiment=known).iloc[0]
    assert np.isnan(blank["efficiency"])  # a frame that was not looked at is no miss
    assert blank["mean_number"] == 8


@pytest.mark.parametrize("bridged", [1, 2, 3])
def test_the_efficiency_of_a_chain_of_misses_is_that_of_the_chain(bridged):
    q, again = 0.04, 0.5
    seen = 20_000 * (1 - q) ** 2
    runs = 20_000 * q * again ** np.arange(3) * (1 - again)
    gaps = np.where(np.arange(3) < bridged, runs, 0.0)
    ends = 20_000 * q * again**bridged
    found = seen_share(seen, gaps, ends)
    true = (1 - again) / (1 - again + q)
    assert found.low < true < found.high
    if bridged > 1:
        assert found.share == pytest.approx(true, abs=0.01)
        assert found.missed_again == pytest.approx(again, abs=0.05)
    assert seen_share(seen, np.array([runs[0], 0, 0]), 0.0).share > true + 0.03, "as if no more"


@pytest.mark.parametrize("bridged", [1, 2])
def test_intervals_of_the_efficiency_hold_where_misses_last(bridged):
    movies = pd.DataFrame({"movie": ["m"], "n_frames": 60, "height_px": 384, "width_px": 384})
    world = TrackWorld(
        densities_per_nm2=(0.15,),
        efficiency=(0.9,),
        missing_memory=0.4,
        max_gap_frames=bridged,
        hop_rates_per_s=(0.05,),
        false_per_nm2=(0.005,),
    )
    movies = movies.assign(pixel_size_nm=0.03, frame_time_s=1.0)
    tracks = simulate_tracks(world, movies, n_replicas=40, seed=3)
    found = sk.abundances(tracks.rows, by="replica", experiment=tracks.experiment)
    own = found[found["replica"].notna() & (found["movie"] == "*")]
    true = 0.15 * (383 * 0.03) ** 2
    for name, truth in (("efficiency", 0.9), ("corrected", true)):
        held = (own[f"{name}_low"] <= truth) & (truth <= own[f"{name}_high"])
        assert held.sum() >= 34


def test_what_is_seen_once_beyond_what_defects_leave_behind_was_never_there():
    lengths = [10] * 4 + [2] + [1] * 6
    rows = pd.concat(
        [
            pd.DataFrame({"movie": "m", "particle": i, "frame": range(n), "class_id": 0})
            for i, n in enumerate(lengths)
        ]
    )
    one = sk.abundances(rows, efficiency=0.5).iloc[0]
    real = (
        5 * 1.5 / 4.5
    )  # of four tracks that were seen again after their second frame and one that was not
    assert one["mean_number"] == 4.8
    assert one["false_per_frame"] == pytest.approx((6 - real) / 10)
    assert one["corrected_number"] == pytest.approx((48 - 6 + real) / 10 / 0.5)
    told = sk.abundances(rows, efficiency=1.0, false_per_frame={0: 0.3}).iloc[0]
    assert told["corrected_number"] == pytest.approx(4.5)
    assert told["corrected_low"] < 4.5 < told["corrected_high"]
    short = sk.abundances(rows[rows["frame"] < 2], efficiency=1.0).iloc[0]  # two frames cannot tell
    assert np.isnan(
        short[["false_per_frame", "corrected_number", "corrected_high"]].astype(float)
    ).all()
    for words in ({"false_per_frame": -1.0}, {"false_per_frame": "gaps"}, {"efficiency": {0: 1.5}}):
        with pytest.raises(ValueError, match=f"{next(iter(words))} is a"):
            sk.abundances(rows, **words)


# --- groups
#
# ----------------------------------------------------------------------------------------------------------


def test_groups_are_bins_of_time_or_dose_and_columns_of_rows_or_movies():
    rows = a_walk_through_classes()
    movies = pd.DataFrame({"movie": ["a", "b"], "n_frames": 30, "frame_time_s": 2.0, "dose_rate_e_per_nm2_s": [1e6, 2e6], "kelvin": [300, 400]})  # fmt: skip
    known = Experiment(movies)
    by_time = sk.transitions(rows, by=sk.Bins(20.0, "s"), experiment=known)
    for start in (0.0, 20.0):
        own = rows[
            (rows["frame"] >= start / 2) & (rows["frame"] <= start / 2 + 10)
        ]  # a change begins in its bin, and ends one frame later
        later = own[own["frame"] < start / 2 + 10]
        whole, inner = (
            sk.transitions(r, frame_time_s=2.0, class_ids=range(3)).counts.to_numpy().sum()
            for r in (own, later)
        )
        assert inner < by_time.matrix("count", from_s=start).to_numpy().sum() == whole
    everything = sk.transitions(rows, experiment=known)
    assert by_time.table["count"].sum() == everything.table["count"].sum()
    by_dose = sk.transitions(rows, by=["movie", sk.Bins(2e7, "e_per_nm2")], experiment=known).table
    assert by_dose.query("movie == 'a'")["from_e_per_nm2"].max() == 4e7
    assert by_dose.query("movie == 'b'")["from_e_per_nm2"].max() == 1e8
    assert by_dose.query("movie == '*'")["count"].sum() == everything.table["count"].sum()
    by_kelvin = sk.dwell_times(rows, by="kelvin", experiment=known)
    single = sk.dwell_times(rows[rows["movie"] == "b"], experiment=known)
    pd.testing.assert_frame_equal(
        by_kelvin.query("kelvin == 400").drop(columns="kelvin").reset_index(drop=True), single
    )
    own_column = sk.transitions(rows.assign(side=rows["particle"] % 2), by="side", experiment=known)
    assert own_column.table.columns[:3].tolist() == ["movie", "side", "lag_frames"]
    with pytest.raises(ValueError, match="say which of the groups"):
        _ = own_column.counts
    assert own_column.matrix("count", side=1).to_numpy().sum() > 0
    numbers = sk.abundances(rows, by=sk.Bins(20.0, "s"), experiment=known)
    assert numbers.groupby("from_s")["n_frames"].first().tolist() == [20, 20, 20]


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("nothing", "there is no column 'nothing'"),
        (sk.Bins(10.0, "e_per_nm2"), "dose rate is not known"),
        (["movie", "gone"], "rows have no value of 'gone'"),
    ],
)
def test_groups_that_cannot_be_are_refused_in_one_sentence(by, message):
    rows = a_walk_through_classes(n_particles=3, movies=("a",)).head(60).assign(gone=np.nan)
    with pytest.raises(ValueError, match=message):
        sk.transitions(
            rows,
            by=by,
            experiment=Experiment(pd.DataFrame({"movie": ["a"], "frame_time_s": [1.0]})),
        )


def test_bins_need_a_width_and_a_unit():
    for width, unit in ((0, "s"), (np.nan, "s"), (1.0, "hours")):
        with pytest.raises(ValueError, match="positive width"):
            sk.Bins(width, unit)


def test_rates_per_dose_are_those_per_second_over_the_dose_rate():
    rows = a_walk_through_classes()
    movies = pd.DataFrame(
        {"movie": ["a", "b"], "frame_time_s": [1.0, 0.5], "dose_rate_e_per_nm2_s": [1e6, 2e6]}
    )
    found = sk.beam_cross_sections(
        rows, experiment=Experiment(movies)
    )  # each frame adds the same dose
    plain = sk.transitions(rows, frame_time_s=1.0).table
    np.testing.assert_allclose(
        found["cross_section_barn"], plain["rate_per_s"] / 1e6 * 1e10, rtol=1e-4
    )
    with pytest.raises(ValueError, match="no dose rate"):
        sk.beam_cross_sections(rows, frame_time_s=1.0)


def test_gaps_enter_the_rates_with_their_own_time():
    rows = pd.DataFrame(
        {"particle": 1, "frame": range(0, 40, 2), "class_id": [0, 0, 1, 1, 0, 0, 1, 0, 0, 0] * 2}
    )
    dense = rows.assign(frame=rows["frame"] // 2)
    gapped = sk.transitions(rows, frame_time_s=1.0)
    assert gapped.counts.to_numpy().sum() == 0
    np.testing.assert_allclose(
        gapped.rates, sk.transitions(dense, frame_time_s=2.0).rates, rtol=1e-5
    )


# --- partitions, laziness, schedulers
# ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(n=st.integers(1, 12), seed=st.integers(0, 2**20))
def test_numbers_do_not_depend_on_how_tracks_are_spread_over_partitions(n, seed):
    rows = a_walk_through_classes()
    split = in_partitions(rows, np.random.default_rng(seed), n)
    assert_same_sums(split, rows, _everything)
    found, whole = (sk.populations(table, frame_time_s=1.5) for table in (split, rows))
    pd.testing.assert_frame_equal(found, whole, check_exact=True)


def _everything(rows):
    """Questions of every kind, pooled and in groups."""
    by = ("movie", sk.Bins(12.0, "s"))
    return [
        sk.transitions.question(rows, lag_frames=(1, 3), by="movie", frame_time_s=1.5),
        sk.dwell_times.question(rows, by=by, frame_time_s=1.5),
        sk.survival.question(rows, by=by, begun="any", frame_time_s=1.5),
        sk.abundances.question(rows, by=by, frame_time_s=1.5),
    ]


def test_tables_are_the_same_for_another_partitioning():
    rows = a_walk_through_classes()
    split = in_partitions(rows, np.random.default_rng(5), 7)
    for found, whole in zip(
        sk.answers(split, _everything(split)), sk.answers(rows, _everything(rows)), strict=True
    ):
        found, whole = (getattr(answer, "table", answer) for answer in (found, whole))
        pd.testing.assert_frame_equal(found, whole, check_exact=True)


@settings(deadline=None, max_examples=8)
@given(
    edges=st.lists(st.integers(1, 29), max_size=6, unique=True),
    size=st.sampled_from([50, 300, 10**6]),
)
def test_files_cut_anywhere_in_time_give_the_same_numbers(tmp_path_factory, edges, size):
    rows = a_walk_through_classes(n_particles=15)
    folder = tmp_path_factory.mktemp("tracks")
    files = {}
    for movie, own in rows.groupby("movie"):
        bounds = [0, *sorted(edges), 30]
        files[movie] = [str(folder / f"{movie}-{start}.parquet") for start in bounds[:-1]]
        for path, start, stop in zip(files[movie], bounds[:-1], bounds[1:], strict=True):
            part = own[own["frame"].between(start, stop - 1)]
            Path(path).write_bytes(sealed_bytes(part, place=Path(path).name, note={}))
    read = tracks_in_files(files, rows_per_partition=size)
    assert read.npartitions == sum(-(-len(own) // size) for _, own in rows.groupby("movie"))
    assert_same_sums(
        read,
        rows,
        lambda rows: [sk.transitions.question(rows, lag_frames=(1, 4), frame_time_s=1.0)],
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    max_lag=st.integers(1, 6),
    far=st.sampled_from([1, 2**24, 2**58]),
    n=st.integers(1, 80),
)
def test_packed_rows_are_counted_as_written_out(seed, max_lag, far, n):
    """Names too long for one whole number (the largest `far`) go the other way; both ways count the
    same."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {"particle": rng.integers(4, size=n) * far, "frame": rng.integers(-3, 40, n)}
    ).drop_duplicates()
    rows["class_id"] = rng.integers(-1, 3, len(rows)).astype(np.int16)
    seen = {(p, f): c for p, f, c in rows.itertuples(index=False) if c >= 0}
    for states in (None, (0, 2)):
        wanted = {}
        for (particle, frame), start in seen.items():
            for lag in range(1, max_lag + 1):
                end = seen.get((particle, frame + lag), -1)
                if end >= 0 and (states is None or {start, end} <= set(states)):
                    wanted[start, end, lag] = wanted.get((start, end, lag), 0) + 1
        found = count_transitions(rows, max_lag=max_lag, states=states)
        lagged = {key: each[:max_lag].tolist() for key, each in found.items()}
        counted = {
            (i, j, lag + 1): k
            for (_, i, j), each in lagged.items()
            for lag, k in enumerate(each)
            if k
        }
        assert counted == wanted
        follow = {}
        named = sorted((p, f, c) for (p, f), c in seen.items() if states is None or c in states)
        for (p, f, i), (q, g, j) in itertools.pairwise(named):
            if p == q and g - f <= MAX_GAP:
                follow[i, j, g - f] = follow.get((i, j, g - f), 0) + 1
        gaps = {key: each[max_lag:].tolist() for key, each in found.items()}
        assert {
            (i, j, g + 1): k for (_, i, j), each in gaps.items() for g, k in enumerate(each) if k
        } == follow
        assert {i for _, i, _ in found} == {
            c for c in seen.values() if states is None or c in states
        }


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    far=st.sampled_from([1, 2**24, 2**24 - 1, 2**58]),
    n=st.integers(1, 80),
)
def test_one_pass_in_the_order_of_time_counts_what_sorting_does(seed, far, n):
    rng = np.random.default_rng(seed)
    particle = rng.integers(-2, 3, n) * far + rng.integers(2, size=n)
    rows = pd.DataFrame({"particle": particle, "frame": rng.integers(-3, 60, n)}).drop_duplicates()
    rows = rows.assign(class_id=rng.integers(-1, 3, len(rows)).astype(np.int16))
    in_time = rows.sort_values("frame", kind="stable").astype({"frame": "int32"})
    columns = (in_time[c].to_numpy() for c in ("particle", "frame", "class_id"))
    followed = follow_counts(*columns, max_gap=MAX_GAP, left_out=(-1,))
    assert followed is not None or far not in (1, 2**24)
    for states in (None, (0, 2)):
        wanted = count_transitions(rows, max_lag=1, states=states)
        with mock.patch("stemkin.kinetics.counts.WORTH_COMPILING", 1):
            for order in (in_time, rows, rows.sort_values(["particle", "frame"])):
                found = count_transitions(order, max_lag=1, states=states)
                assert {k: v.tolist() for k, v in found.items()} == {
                    k: v.tolist() for k, v in wanted.items()
                }


def test_a_long_table_is_counted_the_same_in_any_order():
    rng = np.random.default_rng(7)
    n_tracks, n_frames = 1000, 80
    rows = pd.DataFrame(
        {
            "frame": np.repeat(np.arange(n_frames), n_tracks),
            "particle": np.tile(np.arange(n_tracks), n_frames),
        }
    )
    rows = rows[rng.random(len(rows)) > 0.1].assign(
        class_id=lambda r: rng.integers(-1, 4, len(r)).astype(np.int16)
    )
    assert len(rows) > WORTH_COMPILING
    counts = sk.transitions(rows).counts
    after = rows[rows["class_id"] >= 0].set_index(["particle", "frame"])["class_id"]
    before = after.rename("to").rename(index=lambda f: f - 1, level="frame")
    pairs = pd.concat([after.rename("from"), before], axis=1, join="inner")
    assert counts.to_numpy().tolist() == pd.crosstab(pairs["from"], pairs["to"]).to_numpy().tolist()
    shuffled = sk.transitions(rows.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled.counts, counts)
    with pytest.raises(ValueError, match=r"is twice in frame 0 \(1 such rows\)"):
        sk.transitions(pd.concat([rows, rows.iloc[:1]]))


@pytest.mark.cluster
def test_every_scheduler_gives_the_same_table(two_processes):
    split = in_partitions(a_walk_through_classes(), np.random.default_rng(0), 5)
    tables = []
    for place in ("synchronous", "threads", two_processes):
        with connect(place):
            tables.append(sk.transitions(split, frame_time_s=1.0).table)
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    pd.testing.assert_frame_equal(tables[0], tables[2], check_exact=True)


def test_reading_tracks_reads_nothing_and_one_number_reads_each_partition_once(tmp_path):
    seen = []

    def load(i):
        seen.append(i)
        return a_walk_through_classes(n_particles=3, movies=(f"m{i}",))

    tracks = dd.from_map(load, range(4), meta=load(0).iloc[:0])
    seen.clear()
    with dask.config.set(scheduler="synchronous"):
        sk.transitions(tracks)
    assert sorted(seen) == [0, 1, 2, 3]


# --- beside other libraries
# ------------------------------------------------------------------------------------------


def test_counts_are_those_of_deeptime_and_of_pandas():
    counting = pytest.importorskip("deeptime.markov").TransitionCountEstimator
    rows = a_walk_through_classes(movies=("a",))
    rows = rows[
        rows.groupby("particle")["frame"].transform(lambda f: f.max() - f.min() + 1 == len(f))
    ]  # no gaps
    own = sk.transitions(rows, lag_frames=(1, 3))
    sequences = [t["class_id"].to_numpy() for _, t in rows.sort_values("frame").groupby("particle")]
    for lag in (1, 3):
        theirs = counting(lagtime=lag, count_mode="sliding").fit_fetch(sequences).count_matrix
        assert (own.matrix("count", lag_frames=lag).to_numpy() == theirs).all()
    rows = rows.sort_values(["particle", "frame"])
    after = rows.groupby("particle")["class_id"].shift(-1)
    assert (pd.crosstab(rows["class_id"], after).to_numpy() == own.counts.to_numpy()).all()


def test_what_a_chain_implies_is_what_deeptime_says():
    msm = pytest.importorskip("deeptime.markov.msm")
    from deeptime.markov.tools.analysis import stationary_distribution

    counts = np.array([[90, 8, 2], [5, 70, 25], [1, 29, 170]])
    rows = pd.concat(
        [pd.DataFrame({"particle": 1000 * i + 100 * j + np.arange(n) // 1, "a": i, "b": j}) for i, r in enumerate(counts) for j, n in enumerate(r)]
    ).reset_index(drop=True)  # fmt: skip
    rows["particle"] = range(len(rows))
    pairs = rows.melt("particle", ["a", "b"], value_name="class_id").assign(
        frame=lambda t: (t["variable"] == "b").astype(int)
    )
    found = sk.transitions(pairs, frame_time_s=2.0)
    assert (found.counts.to_numpy() == counts).all()
    theirs = msm.MaximumLikelihoodMSM(reversible=False).fit_fetch(counts)
    times = sk.implied_timescales(found)
    np.testing.assert_allclose(times["timescale_s"], 2 * theirs.timescales(), rtol=1e-6)
    np.testing.assert_allclose(
        sk.stationary(found)["share"], stationary_distribution(theirs.transition_matrix), rtol=1e-6
    )
    np.testing.assert_allclose(
        sk.chain_states(found)["stationary_share"], sk.stationary(found)["share"]
    )
    balanced = msm.MaximumLikelihoodMSM(reversible=True).fit_fetch(counts).transition_matrix
    np.testing.assert_allclose(chain_tests.reversible_transitions(counts), balanced, atol=1e-5)
    ratio = 2 * (counts * np.log(theirs.transition_matrix / balanced)).sum()
    assert sk.reversibility(found)["statistic"].item() == pytest.approx(ratio, rel=1e-3)


def test_a_chain_that_falls_apart_is_told_set_by_set():
    rows = pd.DataFrame(
        {
            "particle": np.repeat([1, 2, 3], [12, 12, 4]),
            "frame": [*range(12), *range(12), *range(4)],
            "class_id": [
                0,
                0,
                0,
                1,
                1,
                0,
                0,
                1,
                1,
                1,
                0,
                0,
                3,
                3,
                4,
                4,
                3,
                4,
                4,
                4,
                3,
                3,
                3,
                4,
                5,
                5,
                0,
                0,
            ],
        }
    )
    found = sk.transitions(rows, lag_frames=(1, 2), frame_time_s=1.0, class_ids=range(7))
    told = sk.chain_states(found).set_index("class_id")
    assert told["set"].tolist() == [0, 0, -1, 1, 1, 2, -1]
    assert told["stationary_share"].groupby(told["set"]).sum().tolist() == pytest.approx(
        [0, 1, 1, 0]
    )
    assert sk.stationary(found)["share"].isna().all()
    times = sk.implied_timescales(found).query("lag_frames == 1")
    assert times["set"].tolist() == [0, 1, 2]
    for class_ids, where in (((0, 1), 0), ((3, 4), 1)):
        alone = sk.transitions(rows[rows["class_id"].isin(class_ids)], frame_time_s=1.0)
        assert times["timescale_s"].iloc[where] == pytest.approx(
            sk.implied_timescales(alone)["timescale_s"].iloc[0]
        )
    assert times["timescale_s"].iloc[2] == pytest.approx(
        -1 / np.log(1 / 2)
    )  # class 5 is left for good, after two frames on average
    tested = sk.chapman_kolmogorov(found)
    assert set(tested["from_id"]) == {0, 1, 3, 4, 5}
    assert np.isfinite(tested["predicted"]).all()
    assert sk.reversibility(found)["degrees_of_freedom"].item() == 0


# --- the experiment travels, and what is wrong is said
# ---------------------------------------------------------------


def with_calibration(rows, **times):
    movies = pd.DataFrame(
        {"movie": list(times), "n_frames": 30, "frame_time_s": list(times.values())}
    )
    classes = pd.DataFrame(
        {
            "class_id": [0, 1, 2],
            "name": ["V_S", "Mo_W", "V_S2"],
            "n_detections": 1,
            "mean_patch": None,
        }
    )
    return with_experiment(dd.from_pandas(rows, npartitions=1), Experiment(movies, None, classes))


def test_matrices_carry_class_names_and_the_movie_s_own_frame_time():
    rows = a_walk_through_classes()
    found = sk.transitions(with_calibration(rows, a=0.5, b=0.5))
    assert list(found.rates.index) == list(found.rates.columns) == ["V_S", "Mo_W", "V_S2"]
    np.testing.assert_allclose(
        found.rates, 2 * sk.transitions(rows, frame_time_s=1.0).rates, rtol=1e-6
    )


def test_movies_of_other_frame_times_share_rates_but_no_probabilities():
    found = sk.transitions(with_calibration(a_walk_through_classes(), a=0.5, b=1.0), by="movie")
    assert found.probabilities.isna().all(axis=None)
    assert found.matrix("probability", movie="a").notna().all(axis=None)
    each = np.stack([found.matrix("rate_per_s", movie=m) for m in "ab"])
    assert (found.rates.to_numpy() >= each.min(axis=0) - 0.01).all()
    assert (found.rates.to_numpy() <= each.max(axis=0) + 0.01).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="particle"), "particle"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "twice in frame"),
        (lambda t: t.assign(frame=t["frame"] + 0.5), "whole numbers"),
        (lambda t: t.assign(movie=None), "no movie"),
    ],
)
def test_rows_that_cannot_be_tracks_are_refused_in_one_sentence(spoil, message):
    with pytest.raises(ValueError, match=message):
        sk.transitions(spoil(a_walk_through_classes(n_particles=2)))


def test_missing_calibration_is_asked_for():
    rows = a_walk_through_classes(n_particles=2)
    with pytest.raises(ValueError, match="frame_time_s"):
        sk.dwell_times(rows)
    with pytest.raises(ValueError, match="positive"):
        sk.dwell_times(rows, frame_time_s=0)
    with pytest.raises(ValueError, match="movie 'b' has no frame time"):
        sk.transitions(with_calibration(rows, a=1.0, b=np.nan))
    assert sk.transitions(rows).rates.isna().all(axis=None)


def test_a_handful_of_counts_has_timescales_at_every_lag():
    """What is left for good at one lag may not be at another, nor in a matrix drawn from the same
    counts."""
    walks = {1: [0, 0, 1], 2: [2, 1], 3: [0, -1, 2, -1, 0], 4: [2, -1, -1, -1, -1, 0]}
    rows = [
        (particle, frame, c)
        for particle, walk in walks.items()
        for frame, c in enumerate(walk)
        if c >= 0
    ]
    rows = pd.DataFrame(rows, columns=["particle", "frame", "class_id"])
    found = sk.transitions(rows, lag_frames=(1, 2, 3, 5), frame_time_s=1.0)
    times = sk.implied_timescales(found)
    assert {1, 2} <= set(times["lag_frames"])
    slowest = times[(times["lag_frames"] == 1) & (times["set"] == 0)].iloc[0]
    assert slowest["timescale_s"] == pytest.approx(-1 / np.log(0.5))
    assert not (times["low"] > times["high"]).any()


def test_no_tracks_give_tables_with_columns():
    nothing = empty("tracks")
    assert list(sk.transitions(nothing).table.columns) == list(COLUMNS["transitions"])
    assert list(sk.dwell_times(nothing, frame_time_s=1.0).columns) == list(COLUMNS["dwell_times"])
    assert list(sk.populations(nothing, frame_time_s=1.0).columns) == list(COLUMNS["populations"])
    assert list(sk.survival(nothing, frame_time_s=1.0).columns) == list(COLUMNS["survival"])
    assert list(sk.abundances(nothing).columns) == list(COLUMNS["abundances"])
    assert tracks_in_files({}).compute().empty
    unseen = sk.transitions(
        pd.DataFrame({"particle": [1, 2], "frame": 0, "class_id": 0}),
        lag_frames=(1, 2),
        frame_time_s=1.0,
    )
    assert sk.chain_states(unseen)["set"].tolist() == [-1]
    assert sk.implied_timescales(unseen).empty
    assert sk.chapman_kolmogorov(unseen).empty
    assert sk.reversibility(unseen)["p_value"].item() == 1
    lone = pd.DataFrame({"particle": 1, "frame": range(4), "class_id": 3, "probability": 0.9})
    assert np.isnan(hidden_transitions(lone, frame_time_s=1.0).rates).all(axis=None)


def test_one_frame_tracks_and_gaps_longer_than_the_movie_are_fine():
    rows = pd.DataFrame({"particle": [1, 2, 2], "frame": [0, 0, 10**9], "class_id": [0, 1, 1]})
    assert sk.transitions(rows).counts.to_numpy().sum() == 0
    assert Trajectories.of(rows).n_tracks == 2


# --- names that may be wrong, and what the beam makes
# ---------------------------------------------------------------


def test_expected_counts_are_those_of_every_history_written_out():
    P = np.array([[0.8, 0.2], [0.3, 0.7]])
    chance = np.array([[0.9, 0.2], [0.1, 0.8], [0.9, 0.2], [0.5, 0.5]])
    start = np.array([0.6, 0.4])
    total, counts = 0.0, np.zeros((2, 2))
    for history in itertools.product(range(2), repeat=4):
        weight = start[history[0]] * np.prod([chance[i, s] for i, s in enumerate(history)])
        weight *= np.prod([P[a, b] for a, b in itertools.pairwise(history)])
        total += weight
        for a, b in itertools.pairwise(history):
            counts[a, b] += weight
    found = expected_counts(np.array([0, 4]), np.zeros(4, dtype=int), chance, P[None], start)
    np.testing.assert_allclose(found.log_likelihood[0] / UNITS, np.log(total))
    np.testing.assert_allclose(found.counts[0] / UNITS, counts / total, atol=1e-8)


def test_hidden_rates_do_not_depend_on_how_tracks_are_spread_over_partitions():
    rows = a_walk_through_classes(n_particles=25)
    words = {"confusion": np.eye(3), "frame_time_s": 2.0}
    found = hidden_transitions(rows, **words)
    split = in_partitions(rows, np.random.default_rng(1), 4)
    pd.testing.assert_frame_equal(
        hidden_transitions(split, **words).table, found.table, check_exact=True
    )
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_names_as_sure_as_they_say_give_the_rates_of_their_confusion_matrix():
    """By Bayes: a posterior of the name, divided by its share, is what the matrix says."""
    rng = np.random.default_rng(5)
    true = a_walk_through_classes(n_particles=30, n_classes=2, movies=("a",), seed=5)
    confusion = np.array([[0.97, 0.03], [0.12, 0.88]])
    wrong = rng.random(len(true)) > np.diag(confusion)[true["class_id"]]
    rows = true.assign(class_id=np.where(wrong, 1 - true["class_id"], true["class_id"]))
    share = (np.bincount(rows["class_id"]) + 0.5) / (len(rows) + 1)
    assert abs(share[0] - 0.5) > 0.03
    joint = share[:, None] * confusion
    sure = np.diag(joint) / joint.sum(axis=0)
    words = {"errors": "independent", "frame_time_s": 1.0}
    told = hidden_transitions(rows, confusion=confusion, **words)
    surely = rows.assign(probability=sure[rows["class_id"]])
    said = hidden_transitions(surely, n_measured=np.inf, **words)
    np.testing.assert_allclose(said.rates, told.rates, rtol=1e-3)
    blind = sk.transitions(rows, frame_time_s=1.0)
    assert (
        said.rates.to_numpy()[[0, 1], [1, 0]] < 0.8 * blind.rates.to_numpy()[[0, 1], [1, 0]]
    ).all()


def test_hidden_rates_of_each_group_are_those_of_its_own_rows():
    rows = a_walk_through_classes(n_particles=25)
    words = {"by": ["movie", sk.Bins(24.0, "s")], "frame_time_s": 2.0}
    hidden = {"confusion": np.eye(3), "errors": "independent", **words}
    found = hidden_transitions(rows, **hidden).table
    counted = sk.transitions(
        rows, **words
    ).table  # where names are right, both are the same likelihood
    keys = ["movie", "from_s", "from_id", "to_id"]
    assert found[keys].to_numpy().tolist() == counted[keys].to_numpy().tolist()
    np.testing.assert_allclose(found["rate_per_s"], counted["rate_per_s"], rtol=1e-3, atol=1e-6)
    split = in_partitions(rows, np.random.default_rng(1), 4)
    pd.testing.assert_frame_equal(
        hidden_transitions(split, **hidden).table, found, check_exact=True
    )


@pytest.mark.parametrize("confusion", [np.ones((3, 3)), np.eye(2), [[0.5, 0.5]]])
def test_a_confusion_matrix_that_cannot_be_one_is_refused(confusion):
    with pytest.raises(ValueError, match="confusion matrix"):
        hidden_transitions(
            a_walk_through_classes(n_particles=2), confusion=confusion, frame_time_s=1.0
        )


@pytest.mark.parametrize("share_found", [1.0, 0.97])
def test_the_beam_s_cross_section_is_found_on_perfect_tracks_and_on_tracks_with_gaps(share_found):
    movies = [sk.simulate_movie("paper", seed=seed, name=f"m{seed}") for seed in range(2)]
    truths = [sk.truth_of(movie) for movie in movies]
    kinds, a_nm = list(truths[0].kinds), truths[0].settings.material.a_nm
    rows = pd.concat([truth.defects for truth in truths], ignore_index=True)
    rows = rows.assign(class_id=rows["kind"].map({kind: i for i, kind in enumerate(kinds)}))
    rows = rows[np.random.default_rng(0).random(len(rows)) < share_found]
    classes = pd.DataFrame(
        {"class_id": range(len(kinds)), "name": kinds, "n_detections": 1, "mean_patch": None}
    )
    words = {"sites_per_nm2": 4 / (np.sqrt(3) * a_nm**2), "reach_nm": 2.2 * a_nm}
    known = Experiment(movies_table(movies), None, classes)
    whole = sk.creation(rows, experiment=known, **words)
    found = whole.iloc[0]
    assert found["low"] < 0.6 < found["high"]  # barn, what the simulator was told
    assert found["n_created"] > 100
    split = in_partitions(rows, np.random.default_rng(1), 5)
    pd.testing.assert_frame_equal(
        sk.creation(split, experiment=known, **words), whole, check_exact=True
    )
    halves = sk.creation(rows, by=["movie", sk.Bins(112.5, "s")], experiment=known, **words)
    assert halves.query("movie != '*'")["n_created"].sum() == found["n_created"]


def test_a_vacancy_that_goes_too_far_to_be_linked_was_made_by_no_beam():
    """Three hops within a frame time end a track; one made at the other side of the field is new."""
    frames = np.r_[0:10, 10:20, 10:20]
    place = np.repeat([[2.0, 2.0], [2.0, 2.9], [4.0, 4.0]], 10, axis=0)
    rows = pd.DataFrame({"movie": "m", "particle": np.repeat([1, 2, 3], 10), "frame": frames})
    rows = rows.assign(class_id=0, y_nm=place[:, 0], x_nm=place[:, 1])
    rows = rows.assign(y=place[:, 0] / 0.03, x=place[:, 1] / 0.03)
    movies = pd.DataFrame({"movie": ["m"], "n_frames": 20, "height_px": 200, "width_px": 200})
    movies = movies.assign(pixel_size_nm=0.03, frame_time_s=1.0, dose_rate_e_per_nm2_s=1e6)
    words = {"sites_per_nm2": 22.0, "reach_nm": 0.7, "vacancies": {0: 1}}
    found = sk.creation(rows, experiment=Experiment(movies, None, None), **words).iloc[0]
    assert (found["n_created"], found["n_healed"]) == (1, 0)


def test_made_ones_that_healed_ones_nearby_cancel_by_chance_are_made_up_for():
    """Half of the vacancies appear somewhere, some time, and stay; half are there and go."""
    rng, n, frames = np.random.default_rng(3), 80, 200
    movies = pd.DataFrame({"movie": ["m"], "n_frames": frames, "height_px": 200, "width_px": 200})
    movies = movies.assign(pixel_size_nm=0.03, frame_time_s=1.0, dose_rate_e_per_nm2_s=1e6)
    words = {"sites_per_nm2": 22.0, "reach_nm": 0.5, "vacancies": {0: 1}}
    seen, corrected, made = 0, 0.0, 0
    for _ in range(12):
        place, when = rng.uniform(0.05, 5.95, (2 * n, 2)), rng.integers(5, frames - 5, 2 * n)
        lives = [range(when[i], frames) if i < n else range(when[i]) for i in range(2 * n)]
        particle = np.repeat(np.arange(2 * n), [len(life) for life in lives])
        rows = pd.DataFrame({"movie": "m", "particle": particle, "class_id": 0})
        rows = rows.assign(frame=np.concatenate([list(life) for life in lives]))
        rows = rows.assign(y_nm=place[particle, 0], x_nm=place[particle, 1])
        rows = rows.assign(y=rows["y_nm"] / 0.03, x=rows["x_nm"] / 0.03)
        found = sk.creation(rows, experiment=Experiment(movies, None, None), **words).iloc[0]
        seen += found["n_created"]
        corrected += found["n_created"] + found["n_cancelled"]
        made += (np.abs(place[:n] - 2.985) < 2.485).all(axis=1).sum()
        counted = found["n_created"] + found["n_cancelled"]
        electrons = found["n_sites"] * found["dose_e_per_nm2"]
        assert found["cross_section_barn"] == pytest.approx(1e10 * counted / electrons, rel=0.01)
        assert found["rate_per_site_s"] == pytest.approx(1e6 * counted / electrons, rel=0.01)
    assert seen < 0.95 * made
    assert corrected == pytest.approx(made, rel=0.03)


def test_a_crowded_field_and_a_short_movie_have_a_cross_section_too():
    """So many come and go that all of a gain's surroundings hold a loss."""
    rng, n, frames = np.random.default_rng(0), 30, 12
    place, when = rng.uniform(0.05, 2.95, (2 * n, 2)), rng.integers(4, 9, 2 * n)
    lives = [range(when[i], frames) if i < n else range(when[i]) for i in range(2 * n)]
    particle = np.repeat(np.arange(2 * n), [len(life) for life in lives])
    rows = pd.DataFrame({"movie": "m", "particle": particle, "class_id": 0})
    rows = rows.assign(frame=np.concatenate([list(life) for life in lives]))
    rows = rows.assign(y_nm=place[particle, 0], x_nm=place[particle, 1])
    rows = rows.assign(y=rows["y_nm"] / 0.03, x=rows["x_nm"] / 0.03)
    movies = pd.DataFrame({"movie": ["m"], "n_frames": frames, "height_px": 100, "width_px": 100})
    movies = movies.assign(pixel_size_nm=0.03, frame_time_s=1.0, dose_rate_e_per_nm2_s=1e6)
    known = Experiment(movies, None, None)
    for reach_nm in (0.1, 0.2, 0.3, 0.5, 0.7):
        words = {"sites_per_nm2": 22.0, "reach_nm": reach_nm, "vacancies": {0: 1}}
        row = sk.creation(rows, experiment=known, **words).iloc[0]
        most = np.sqrt((row["n_created"] + row["n_at_dopants"]) * row["n_healed"])
        assert 0 <= row["n_cancelled"] <= most
        assert 0 <= row["low"] <= row["cross_section_barn"] <= row["high"]


def test_holes_are_no_area_in_which_vacancies_could_be_made():
    rows = pd.DataFrame({"movie": "m", "particle": 1, "frame": range(20), "class_id": 0})
    rows = rows.assign(y=100.0, x=100.0, y_nm=3.0, x_nm=3.0)
    size = {
        "height_px": 200,
        "width_px": 200,
        "pixel_size_nm": 0.03,
        "frame_time_s": 1.0,
        "dose_rate_e_per_nm2_s": 1e6,
    }
    movies = pd.DataFrame(
        {"movie": ["m"], "n_frames": 20} | {name: [value] for name, value in size.items()}
    )
    classes = pd.DataFrame(
        {"class_id": [0], "name": ["V_S"], "n_detections": 1, "mean_patch": None}
    )
    frames = pd.DataFrame(
        {"movie": "m", "frame": range(20), "status": "ok", "time_s": 1.0 * np.arange(20)}
    )
    words = {"sites_per_nm2": 22.0, "reach_nm": 0.5}
    whole, holed = (
        sk.creation(
            rows, experiment=Experiment(movies, frames.assign(vacuum=vacuum), classes), **words
        ).iloc[0]
        for vacuum in (np.nan, np.where(np.arange(20) < 10, 0.0, 0.4))
    )
    assert holed["n_sites"] == pytest.approx(
        0.8 * whole["n_sites"]
    )  # of the frames 3 to 16, half have a hole
    assert holed["high"] == pytest.approx(whole["high"] / 0.8)


def test_a_cross_section_is_its_count_over_the_exposure():
    value, low, high = cross_section(10, 1e10, efficiency=0.5)
    assert value == pytest.approx(20)
    assert low < value < high
    with pytest.raises(ValueError, match="positive exposure"):
        cross_section(1, 0)
